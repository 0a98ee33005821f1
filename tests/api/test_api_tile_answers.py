"""Vector tiles over HTTP: their limits, what is cached and refused, TileJSON, and the links to them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import shapely
from label_tiles import (
    MVT,
    ask,
    features,
    label_item,
    publish,
    square,
    tile_at,
    write_geojson,
)

from api.pictures.mercator import Tile
from versioning.catalog import Catalog

# -- limits


def test_the_largest_features_are_kept(client_of, buildings):
    catalog, item, outlines = buildings
    client = client_of(catalog, max_tile_features=10)
    west, south, east, north = item["bbox"]
    tile = tile_at((west + east) / 2, (south + north) / 2, 14)
    answer = ask(client, tile)
    shown = {properties["pin:feature"] for _, properties, _ in features(answer, tile)}
    bounds = shapely.bounds(outlines)
    sides = np.maximum(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1])
    assert shown == set(np.argsort(-sides)[:10].tolist())
    everything = len(features(ask(client_of(catalog), tile), tile))
    assert answer.headers["pin-left-out"] == f"items=0, features={everything - 10}"
    assert "10 features" in client.get("/collections/marks--v1/tilejson.json").json()["description"]


def test_a_tile_is_never_larger_than_allowed(client_of, buildings):
    catalog, item, _ = buildings
    tile = tile_at(*item["bbox"][:2], 14)
    whole = ask(client_of(catalog), tile)
    assert len(whole.content) > 3_000
    answer = ask(client_of(catalog, max_tile_bytes=2_000), tile)
    assert 500 < len(answer.content) <= 2_000
    kept = {number for number, _, _ in features(answer, tile)}
    assert 0 < len(kept) < len(features(whole, tile))
    assert answer.headers["etag"] != whole.headers["etag"]


def test_so_many_items_and_no_more(client_of, tmp_path):
    catalog = Catalog.create("memory://")
    items = [
        label_item(catalog, write_geojson(tmp_path / f"{n}.geojson", (square(n, 1, 0.5), {"n": n})), tmp_path, f"i{n}")
        for n in range(4)
    ]
    publish(catalog, *items)
    tile = tile_at(2, 1.5, 4)
    answer = ask(client_of(catalog, max_tile_items=3), tile)
    assert {properties["n"] for _, properties, _ in features(answer, tile)} == {0, 1, 2}
    assert answer.headers["pin-left-out"] == "items=1, features=0"
    client = client_of(catalog)
    assert {properties["n"] for _, properties, _ in features(ask(client, tile), tile)} == {0, 1, 2, 3}
    only = ask(client, tile, query="?ids=i3,i1")
    assert {properties["n"] for _, properties, _ in features(only, tile)} == {1, 3}
    assert "pin-left-out" not in only.headers


def test_a_file_that_is_too_large_is_refused(client_of, buildings, monkeypatch):
    catalog, item, _ = buildings
    monkeypatch.setattr("api.pictures.label_files.LARGEST_FILE", 1_000)
    answer = ask(client_of(catalog), tile_at(*item["bbox"][:2], 14))
    assert (answer.status_code, answer.json()["code"]) == (400, "too-large")
    monkeypatch.undo()
    monkeypatch.setattr("api.pictures.label_files._LARGEST_DECODED", 1_000)
    answer = ask(client_of(catalog), tile_at(*item["bbox"][:2], 14))
    assert (answer.status_code, answer.json()["code"]) == (400, "too-large")
    assert "/tmp" not in answer.text


def test_an_altered_object_is_told_and_not_drawn(client_of, tmp_path):
    catalog = Catalog.create(str(tmp_path / "catalog"))
    source = write_geojson(tmp_path / "a.geojson", (square(1, 1, 1), {}))
    item = label_item(catalog, source, tmp_path, "one")
    publish(catalog, item)
    stored = tmp_path / "catalog" / item["assets"]["labels"]["href"]
    data = bytearray(stored.read_bytes())
    data[50] ^= 1
    stored.chmod(0o644)
    stored.write_bytes(data)
    tile = tile_at(1.5, 1.5, 5)
    answer = ask(client_of(catalog), tile)
    assert (answer.status_code, answer.json()["code"]) == (500, "altered")
    stored.unlink()
    answer = ask(client_of(catalog), tile)
    assert (answer.status_code, answer.json()["code"]) == (500, "missing")


# -- HTTP


def test_a_pinned_tile_is_for_ever_and_any_other_name_tells_it(client_of, buildings):
    catalog, item, _ = buildings
    client = client_of(catalog)
    tile = tile_at(*item["bbox"][:2], 15)
    pinned = ask(client, tile)
    assert pinned.headers["content-type"] == MVT
    assert pinned.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "content-location" not in pinned.headers
    for query in ("", "?version=latest", "?version=v1"):
        other = ask(client, tile, "marks", query)
        assert other.content == pinned.content
        assert other.headers["cache-control"] == "no-cache"
        assert client.get(other.headers["content-location"]).content == pinned.content
    etag = pinned.headers["etag"]
    again = client.get(pinned.url.path, headers={"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    head = client.head(pinned.url.path)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", etag)


def test_the_order_of_ogc_api_tiles(client_of, buildings):
    catalog, item, _ = buildings
    client = client_of(catalog)
    tile = tile_at(*item["bbox"][:2], 15)
    assert tile.x != tile.y
    ogc = client.get(f"/collections/marks--v1/tiles/WebMercatorQuad/{tile.z}/{tile.y}/{tile.x}")
    assert ogc.content == ask(client, tile).content != b""


def test_an_empty_tile_is_204(client_of, buildings):
    catalog, _, _ = buildings
    answer = ask(client_of(catalog), Tile(5, 3, 3))
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["cache-control"].endswith("immutable")
    assert answer.headers["etag"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/tiles/25/0/0", 404, "no-such-tile"),
        ("/tiles/-1/0/0", 404, "no-such-tile"),
        ("/tiles/3/8/0", 404, "no-such-tile"),
        ("/tiles/3/0/8", 404, "no-such-tile"),
        ("/tiles/3/-1/0", 404, "no-such-tile"),
        ("/tiles/99999999999999999999999/0/0", 404, "no-such-tile"),
        ("/tiles/3/" + "9" * 5000 + "/0", 400, "invalid-input"),
        ("/tiles/a/0/0", 400, "invalid-input"),
        ("/tiles/1.5/0/0", 400, "invalid-input"),
        ("/tiles/3/0/0%00", 400, "invalid-input"),
        ("/tiles/3/0/0?ids=", 400, "invalid-input"),
        ("/tiles/3/0/0?layer=x", 400, "unknown-parameter"),
        ("/tiles/3/0/0?version=v1", 400, "pinned-twice"),
        ("/tiles/WorldCRS84Quad/3/0/0", 404, "not-found"),
        ("/tilejson.json?f=json", 400, "unknown-parameter"),
        ("/tilejson.json?ids=nobody", 404, "no-labels"),
    ],
)
def test_refusals(client_of, buildings, path, status, code):
    answer = client_of(buildings[0]).get(f"/collections/marks--v1{path}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert len(answer.content) < 2_000


def test_what_does_not_exist(client):
    assert client.get("/collections/nothing/tiles/0/0/0").json()["code"] == "no-such-dataset"
    assert client.get("/collections/landcover--v9/tiles/0/0/0").json()["code"] == "no-such-version"
    assert client.get("/collections/landcover--v1/tilejson.json").json()["code"] == "no-labels"
    assert client.get("/collections/landcover--v1/tiles/0/0/0").status_code == 204


# -- TileJSON and links


def test_tilejson(client_of, buildings):
    catalog, item, _ = buildings
    client = client_of(catalog)
    answer = client.get("/collections/marks/tilejson.json")
    assert answer.headers["content-location"].endswith("/collections/marks--v1/tilejson.json")
    document = answer.json()
    assert document["tilejson"] == "3.0.0"
    assert document["tiles"] == ["http://api.test/collections/marks--v1/tiles/{z}/{x}/{y}"]
    assert document["bounds"] == item["bbox"]
    assert document["attribution"] == "Me &amp; &lt;you&gt;"
    assert document["minzoom"] == 0 < document["maxzoom"] <= 24
    (layer,) = document["vector_layers"]
    assert (layer["id"], layer["description"]) == ("labels", "The labels")
    west, south, _, _ = document["bounds"]
    tile = tile_at(west, south, document["maxzoom"] - 3)
    url = document["tiles"][0].format(z=tile.z, x=tile.x, y=tile.y)
    named = {name for _, properties, _ in features(client.get(url), tile) for name in properties}
    assert named
    assert named <= layer["fields"].keys()
    ours = client.get("/collections/marks--v1/tilejson.json?ids=alexandria").json()
    assert ours["tiles"] == ["http://api.test/collections/marks--v1/tiles/{z}/{x}/{y}?ids=alexandria"]


def test_a_collection_of_labels_links_to_its_tiles(client_of, buildings, shared_data):
    import jsonschema

    client = client_of(buildings[0])
    collection = client.get("/collections/marks--v1").json()
    schema = json.loads((shared_data / "stac/schemas/web-map-links.json").read_text())
    jsonschema.validate(collection, schema)
    (link,) = [link for link in collection["links"] if link["rel"] == "tilejson"]
    assert client.get(link["href"]).json()["tilejson"] == "3.0.0"
    listed = client.get("/collections").json()["collections"][0]
    assert link in listed["links"]


def test_an_item_of_labels_links_to_its_own_tiles(client_of, buildings):
    client = client_of(buildings[0])
    item = client.get("/collections/marks--v1/items/alexandria").json()
    (link,) = [link for link in item["links"] if link["rel"] == "tilejson"]
    (tiles,) = client.get(link["href"]).json()["tiles"]
    assert tiles.endswith("?ids=alexandria")
    west, south, _, _ = item["bbox"]
    tile = tile_at(west, south, 14)
    assert features(client.get(tiles.format(z=tile.z, x=tile.x, y=tile.y)), tile)


def test_a_collection_without_labels_has_no_such_link(client):
    collection = client.get("/collections/landcover--v1").json()
    assert not [link for link in collection["links"] if link["rel"] == "tilejson"]
    assert not [name for name in collection["stac_extensions"] if "web-map-links" in name]
