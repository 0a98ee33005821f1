"""Vector tiles: the labels' own places and properties, the same bytes each time, and nothing that breaks them."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import mapbox_vector_tile
import numpy as np
import pyproj
import pytest
import shapely

from api.pictures.label_files import in_mercator
from api.pictures.mercator import WORLD, Tile
from catalog.assets import labels_asset
from catalog.items import build_item
from catalog.summaries import dataset_summaries
from catalog.vectors import read_features
from ingest.labels import to_labels
from versioning.catalog import Catalog
from versioning.commit import Notes, commit

MVT = "application/vnd.mapbox-vector-tile"
BUILDINGS = "labels/alexandria-va-buildings/buildings.geojson"
FIRES = "labels/yellowstone-fires/ynp_fires_1984_2022.gpkg"
WHEN = "2020-01-01T00:00:00Z"


def label_item(
    catalog: Catalog,
    source: Path,
    scratch: Path,
    name: str,
    *,
    key: str = "labels",
    place: dict | None = None,
    **options,
) -> dict:
    """An item of the labels in a file, as ingest makes it; ``place`` is another footprint than it finds."""
    made = to_labels(source, scratch / f"{name}-{key}.parquet", **options)
    part = labels_asset(
        made.path,
        catalog.objects.put_file(made.path),
        digest=made.digest,
        count=made.count,
        geometry_types=made.geometry_types,
        columns={column: summary.kind for column, summary in made.properties.items()},
        crs=made.crs,
        footprint=place or made.footprint,
        native_bbox=made.native_bbox,
        title=f"The {key}",
    )
    return build_item(name, {key: part}, datetime=WHEN)


def publish(catalog: Catalog, *items: dict, dataset: str = "marks") -> None:
    commit(
        catalog.dataset(dataset),
        items=items,
        message="labels",
        author="tester",
        notes=Notes(summaries=dataset_summaries(items)),
        collection={"title": "Marks", "providers": [{"name": "Me & <you>"}]},
    )


def write_geojson(path: Path, *features: tuple[dict, dict]) -> Path:
    made = [{"type": "Feature", "geometry": shape, "properties": more} for shape, more in features]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": made}))
    return path


def square(west: float, south: float, side: float) -> dict:
    return shapely.geometry.mapping(shapely.box(west, south, west + side, south + side))


def tile_at(longitude: float, latitude: float, z: int) -> Tile:
    count = 2**z
    y = (1 - math.asinh(math.tan(math.radians(latitude))) / math.pi) / 2
    return Tile.checked(z, int((longitude + 180) / 360 * count), int(y * count))


def tiles_of(box: tuple[float, float, float, float], z: int) -> list[Tile]:
    first, last = tile_at(box[0], box[3], z), tile_at(box[2], box[1], z)
    return [Tile(z, x, y) for x in range(first.x, last.x + 1) for y in range(first.y, last.y + 1)]


def ask(client, tile: Tile, collection: str = "marks--v1", query: str = ""):
    return client.get(f"/collections/{collection}/tiles/{tile.z}/{tile.x}/{tile.y}{query}")


def features(answer, tile: Tile, key: str = "labels") -> list[tuple[int, dict, shapely.Geometry]]:
    """Id, properties and geometry in EPSG:3857 of what a tile shows."""
    assert answer.status_code in {200, 204}, answer.text
    if answer.status_code == 204:
        return []
    layer = mapbox_vector_tile.decode(answer.content, default_options={"y_coord_down": True}).get(key)
    if layer is None:
        return []
    assert (layer["extent"], layer["version"]) == (4096, 2)
    west, _, _, north = tile.bounds
    step = tile.side / 4096

    def placed(at: np.ndarray) -> np.ndarray:
        return np.column_stack([west + at[:, 0] * step, north - at[:, 1] * step])

    return [
        (each["id"], each["properties"], shapely.transform(shapely.geometry.shape(each["geometry"]), placed))
        for each in layer["features"]
    ]


@pytest.fixture(scope="module")
def buildings(shared_data, tmp_path_factory):
    """Real buildings: their catalog, and their outlines in EPSG:3857 in the order of the stored file."""
    folder = tmp_path_factory.mktemp("buildings")
    catalog = Catalog.create(str(folder / "catalog"), title="Buildings")
    source = shared_data / BUILDINGS
    item = label_item(catalog, source, folder, "alexandria")
    publish(catalog, item)
    return catalog, item, in_mercator(read_features(folder / "alexandria-labels.parquet"))


# -- places


@pytest.mark.parametrize("z", [14, 16, 18, 20])
def test_every_building_is_in_its_place(client_of, buildings, z):
    catalog, item, outlines = buildings
    client = client_of(catalog)
    step = WORLD / 2**z / 4096
    shown: dict[int, list[shapely.Geometry]] = {}
    for tile in tiles_of(item["bbox"], z):
        for _, properties, shape in features(ask(client, tile), tile):
            assert properties["pin:item"] == "alexandria"
            shown.setdefault(properties["pin:feature"], []).append(
                shapely.intersection(shape, shapely.box(*tile.bounds))
            )
    assert len(shown) == len(outlines)
    for row, parts in shown.items():
        whole = shapely.union_all(parts)
        # Simplified by two steps of the grid, and put on it.
        assert shapely.hausdorff_distance(whole, outlines[row]) < 3 * step
        assert abs(whole.area - outlines[row].area) <= 3 * step * outlines[row].length
    total = sum(shapely.union_all(parts).area for parts in shown.values())
    assert total == pytest.approx(shapely.area(outlines).sum(), rel={14: 0.05, 16: 0.01}.get(z, 0.002))


def test_shapes_are_simplified_to_what_can_be_seen(client_of, shared_data, tmp_path):
    catalog = Catalog.create("memory://")
    item = label_item(catalog, shared_data / FIRES, tmp_path, "fires")
    publish(catalog, item)
    own = in_mercator(read_features(tmp_path / "fires-labels.parquet"))
    client = client_of(catalog)

    def vertices(z: int) -> dict[int, int]:
        """Of each feature that lies in one tile and is larger than a pixel of it."""
        found = {}
        for tile in tiles_of(item["bbox"], z):
            for _, properties, shape in features(ask(client, tile), tile):
                outline = own[properties["pin:feature"]]
                west, south, east, north = outline.bounds
                large = max(east - west, north - south) > tile.side / 512
                if large and shapely.contains(shapely.box(*tile.bounds), outline):
                    # Not by distance: islands that are too small to be drawn are left out.
                    assert shapely.symmetric_difference(shape, outline).area < 3 * tile.side / 4096 * outline.length
                    found[properties["pin:feature"]] = int(shapely.get_num_coordinates(shape))
        return found

    far, near = vertices(6), vertices(9)
    both = far.keys() & near.keys()
    assert len(both) > 10
    stored = sum(int(shapely.get_num_coordinates(own[row])) for row in both)
    assert sum(far[row] for row in both) < 0.6 * sum(near[row] for row in both) < 0.6 * stored


def test_far_away_each_pixel_has_one_mark(client_of, buildings):
    catalog, item, outlines = buildings
    tile = tile_at(*item["bbox"][:2], 6)
    shown = features(ask(client_of(catalog), tile), tile)
    pixel = tile.side / 512
    assert 1 <= len(shown) <= 4
    assert all(shape.area == pytest.approx(pixel**2) for _, _, shape in shown)
    around = shapely.union_all([shape for _, _, shape in shown]).buffer(pixel)
    assert all(around.contains(outline) for outline in outlines)


@pytest.mark.parametrize(
    "source",
    [
        "labels/slovenia-lulc/LULC.gpkg",  # UTM
        FIRES,  # Montana's state plane, in metres
    ],
)
def test_projected_labels_are_transformed(client_of, shared_data, tmp_path, source):
    catalog = Catalog.create("memory://")
    item = label_item(catalog, shared_data / source, tmp_path, "places")
    publish(catalog, item)
    stored = read_features(tmp_path / "places-labels.parquet")
    assert not stored.crs.degrees
    to_degrees = pyproj.Transformer.from_crs(stored.crs.name, "EPSG:3857", always_xy=True)
    client = client_of(catalog)
    west, south, east, north = item["bbox"]
    tile = tile_at((west + east) / 2, (south + north) / 2, 11)
    shown = features(ask(client, tile), tile)
    assert len(shown) > 3
    box = shapely.box(*tile.bounds)
    for _, properties, shape in shown:
        own = shapely.transform(
            stored.geometries[properties["pin:feature"]], lambda at: np.column_stack(to_degrees.transform(*at.T))
        )
        own = shapely.intersection(shapely.make_valid(own), box)
        inside = shapely.intersection(shape, box)
        step = tile.side / 4096
        # What is smaller than a pixel is drawn as one, of 8 steps a side.
        assert shapely.symmetric_difference(own, inside).area <= 3 * step * own.length + (8 * step) ** 2


def test_points_and_lines_of_the_example(client_of, examples, tmp_path):
    catalog = Catalog.create("memory://")
    glaciers = label_item(catalog, examples / "labels/colorado-glaciers.geojson", tmp_path, "glaciers", key="ice")
    park = label_item(catalog, examples / "labels/rmnp.shp", tmp_path, "park", key="boundary")
    publish(catalog, glaciers, park)
    client = client_of(catalog)
    stored = read_features(tmp_path / "glaciers-ice.parquet")
    tile = tile_at(-105.65, 40.3, 9)
    points = in_mercator(stored)
    box = shapely.box(*tile.bounds).buffer(tile.side / 64, join_style="mitre")
    answer = ask(client, tile)
    shown = features(answer, tile, "ice")
    assert len(shown) == int(shapely.within(points, box).sum()) > 0
    for _, properties, shape in shown:
        row = properties.pop("pin:feature")
        assert shapely.distance(shape, points[row]) <= tile.side / 4096
        assert properties.pop("pin:item") == "glaciers"
        assert properties == {name: values[row] for name, values in stored.columns.items() if values[row] is not None}
    ((_, _, boundary),) = features(answer, tile, "boundary")
    own = in_mercator(read_features(tmp_path / "park-boundary.parquet"))[0]
    assert boundary.area == pytest.approx(shapely.intersection(own, box).area, rel=0.001)


# -- identity and properties


def test_ids_are_the_same_at_every_zoom_and_unique(client_of, buildings):
    catalog, item, _ = buildings
    client = client_of(catalog)
    seen: dict[int, int] = {}
    for z in (14, 16, 18):
        for tile in tiles_of(item["bbox"], z):
            for number, properties, _ in features(ask(client, tile), tile):
                assert seen.setdefault(properties["pin:feature"], number) == number
    assert len(set(seen.values())) == len(seen) == 84
    assert max(seen.values()) < 2**53


def test_properties_are_as_they_are(client_of, tmp_path):
    catalog = Catalog.create("memory://")
    more = {
        "text": "ü",
        "whole": 7,
        "real": 1.5,
        "yes": True,
        "missing": None,
        "nested": {"b": [1, {"a": None}], "a": "x"},
        "huge": 2**70,
        "pin:item": "forged",
    }
    source = write_geojson(tmp_path / "a.geojson", (square(1, 1, 1), more), (square(3, 1, 1), {"whole": 8}))
    publish(catalog, label_item(catalog, source, tmp_path, "one"))
    tile = tile_at(2, 1.5, 4)
    by_size = {each["whole"]: each for _, each, _ in features(ask(client_of(catalog), tile), tile)}
    shown = by_size[7]
    assert json.loads(shown.pop("nested")) == more["nested"]
    assert shown.pop("huge") == str(2**70)
    assert shown.pop("pin:feature") in {0, 1}
    assert shown == {"text": "ü", "whole": 7, "real": 1.5, "yes": True, "pin:item": "one"}
    assert type(shown["yes"]) is bool
    assert set(by_size[8]) == {"whole", "pin:item", "pin:feature"}


def test_the_same_bytes_on_every_store_and_in_every_process(client_of, buildings, shared_data, tmp_path):
    catalog, item, _ = buildings
    other = Catalog.create("memory://")
    publish(
        other,
        label_item(other, shared_data / BUILDINGS, tmp_path, "alexandria"),
    )
    tile = tile_at(*item["bbox"][:2], 15)
    here, there = ask(client_of(catalog), tile), ask(client_of(other), tile)
    assert here.content == there.content != b""
    assert here.headers["etag"] == there.headers["etag"]
    code = (
        "import hashlib, sys; from api.backend import EmbeddedBackend; from api.pictures.mercator import Tile\n"
        "from api.pictures.vector_tiles import TileLimits, VectorTiles; from versioning.catalog import Catalog\n"
        "backend = EmbeddedBackend(Catalog.open(sys.argv[1]))\n"
        "tiles = VectorTiles(backend, TileLimits(500, 20_000, 1 << 20))\n"
        f"made = tiles.draw(backend.resolve('marks', 'v1'), Tile({tile.z}, {tile.x}, {tile.y}))\n"
        "print(hashlib.sha256(made.data).hexdigest())"
    )
    root = Path(__file__).resolve().parents[2]
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code, catalog.url]
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == hashlib.sha256(here.content).hexdigest(), done.stderr


def test_the_same_from_s3(client_of, buildings, s3_server, monkeypatch, shared_data, tmp_path):
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    catalog, item, _ = buildings
    other = Catalog.create(s3_server.new_bucket() + "/catalog")
    publish(
        other,
        label_item(other, shared_data / BUILDINGS, tmp_path, "alexandria"),
    )
    tile = tile_at(*item["bbox"][:2], 16)
    assert ask(client_of(other), tile).content == ask(client_of(catalog), tile).content != b""


# -- the antimeridian, and shapes that are broken


ACROSS = shapely.geometry.mapping(
    shapely.MultiPolygon([shapely.box(179, -17, 180, -15), shapely.box(-180, -17, -179, -15)])
)


def test_across_the_antimeridian(client_of, tmp_path):
    catalog = Catalog.create("memory://")
    beyond = write_geojson(tmp_path / "a.geojson", (square(179, -17, 2), {"name": "beyond"}))
    item = label_item(catalog, beyond, tmp_path, "fiji", place=ACROSS, crs="EPSG:4979")
    publish(catalog, item)
    client = client_of(catalog)
    for longitude in (179.5, -179.5):
        tile = tile_at(longitude, -16, 6)
        ((_, properties, shape),) = features(ask(client, tile), tile)
        assert properties["name"] == "beyond"
        west, _, east, _ = (edge / WORLD * 360 for edge in shape.bounds)
        margin = 360 / 2**6 / 64
        wanted = (179, 180 + margin) if longitude > 0 else (-180 - margin, -179)
        assert (west, east) == pytest.approx(wanted, abs=0.01)


def test_a_projected_zone_across_the_antimeridian(client_of, tmp_path):
    catalog = Catalog.create("memory://")
    zone = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32701", always_xy=True)
    ring = [zone.transform(*at) for at in [(179.5, -17), (-179.5, -17), (-179.5, -16), (179.5, -16), (179.5, -17)]]
    source = write_geojson(tmp_path / "a.geojson", ({"type": "Polygon", "coordinates": [ring]}, {}))
    publish(catalog, label_item(catalog, source, tmp_path, "fiji", place=ACROSS, crs="EPSG:32701"))
    client = client_of(catalog)
    tile = tile_at(-179.9, -16.5, 7)
    ((_, _, shape),) = features(ask(client, tile), tile)
    west, _, east, _ = (edge / WORLD * 360 for edge in shape.bounds)
    assert (west, east) == pytest.approx((-180 - 360 / 2**7 / 64, -179.5), abs=0.01)


def test_a_broken_label_does_not_break_its_tile(client_of, tmp_path):
    catalog = Catalog.create("memory://")
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}
    spike = {"type": "Polygon", "coordinates": [[[6, 0], [8, 0], [6, 0], [6, 0]]]}
    mixed = {"type": "GeometryCollection", "geometries": [square(10, 0, 1), {"type": "Point", "coordinates": [12, 1]}]}
    north = {"type": "Polygon", "coordinates": [[[0, 80], [20, 80], [20, 90], [0, 90], [0, 80]]]}
    source = write_geojson(
        tmp_path / "a.geojson",
        (bow, {"n": 1}),
        (square(3, 0, 2), {"n": 2}),
        (spike, {"n": 3}),
        (mixed, {"n": 4}),
        (None, {"n": 5}),
        (north, {"n": 6}),
    )
    publish(catalog, label_item(catalog, source, tmp_path, "one"))
    tile = tile_at(5, 1, 4)
    shown: dict[int, list] = {}
    for _, properties, shape in features(ask(client_of(catalog), tile), tile):
        assert shape.is_valid
        shown.setdefault(properties["n"], []).append(shape)
    assert set(shown) >= {1, 2, 4}
    degree = WORLD / 360
    assert shown[1][0].area == pytest.approx(2 * degree**2, rel=0.02)
    assert shown[2][0].area == pytest.approx(4 * degree**2, rel=0.02)
    assert sorted(shape.geom_type for shape in shown[4]) == ["Point", "Polygon"]
    top = Tile(1, 1, 0)
    polar = [shape for _, each, shape in features(ask(client_of(catalog), top), top) if each["n"] == 6]
    assert polar[0].bounds[3] == pytest.approx(WORLD / 2, rel=1e-3)


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
