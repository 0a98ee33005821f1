"""The STAC API's contract: what every backend must answer. Tests take `client`, whatever is behind it."""

from __future__ import annotations

import json

import pystac
import pytest
from pystac.validation import validate_dict

LATEST, STABLE, FIRST = "landcover--v3", "landcover--v2", "landcover--v1"
SQUARE = {"type": "Polygon", "coordinates": [[[1.2, 0.2], [2.8, 0.2], [2.8, 0.8], [1.2, 0.8], [1.2, 0.2]]]}


def ids(answer) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["features"]]


def links(body: dict) -> dict[str, dict]:
    return {link["rel"]: link for link in body["links"]}


def validate(document: dict) -> None:
    kind = {"Collection": pystac.Collection, "Catalog": pystac.Catalog}.get(document["type"], pystac.Item)
    kind.from_dict(document, preserve_dict=True)
    core = {**document, "stac_extensions": []}  # extensions are validated, offline, where documents are made
    validate_dict(core)


# -- catalog and collections


def test_landing_page_is_a_catalog_that_leads_everywhere(client):
    page = client.get("/").json()
    validate(page)
    assert page["title"] == "Test catalog"
    assert page["pin:catalog"] == client.get("/collections/dem/versions").json()["pin:catalog"]
    for rel in ("self", "root", "data", "conformance", "search", "service-desc", "service-doc"):
        link = links(page)[rel]
        assert client.get(link["href"]).status_code == 200, rel
    assert {link["method"] for link in page["links"] if link["rel"] == "search"} == {"GET", "POST"}
    assert client.get("/conformance").json()["conformsTo"] == page["conformsTo"]


def test_collections_are_the_latest_versions(client):
    body = client.get("/collections").json()
    assert [collection["id"] for collection in body["collections"]] == ["dem--v1", LATEST]
    for collection in body["collections"]:
        validate(collection)


def test_all_versions_on_request(client):
    body = client.get("/collections?versions=all").json()
    assert [collection["id"] for collection in body["collections"]] == ["dem--v1", LATEST, STABLE, FIRST]


@pytest.mark.parametrize(
    ("asked", "resolved"),
    [
        ("landcover", LATEST),
        ("landcover?version=latest", LATEST),
        ("landcover?version=stable", STABLE),
        ("landcover?version=v2", STABLE),
        ("landcover?version=2", STABLE),
        ("landcover?version=v2.1.4", FIRST),
        ("landcover/versions/stable", STABLE),
        ("landcover/versions/v1", FIRST),
    ],
)
def test_other_names_of_a_version_say_what_they_meant(client, asked, resolved):
    answer = client.get(f"/collections/{asked}")
    assert answer.json()["id"] == resolved
    assert answer.headers["content-location"] == f"http://api.test/collections/{resolved}"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.json() == client.get(f"/collections/{resolved}").json()


def test_a_version_by_its_digest(client):
    digest = client.get(f"/collections/{STABLE}").json()["pin:digest"]
    assert client.get("/collections/landcover", params={"version": digest}).json()["id"] == STABLE


def test_collection_links_through_its_history(client):
    collection = client.get(f"/collections/{STABLE}").json()
    found = links(collection)
    assert found["predecessor-version"]["href"].endswith(f"/collections/{FIRST}")
    assert found["successor-version"]["href"].endswith(f"/collections/{LATEST}")
    assert client.get(found["latest-version"]["href"]).json()["id"] == LATEST
    assert client.get(found["version-history"]["href"]).status_code == 200
    assert client.get(found["http://www.opengis.net/def/rel/ogc/1.0/queryables"]["href"]).status_code == 200


# -- items


def test_items_of_a_version(client):
    answer = client.get(f"/collections/{FIRST}/items")
    assert ids(answer) == ["t04", "t03", "t02", "t01", "t00"]  # the newest first
    assert answer.headers["content-type"] == "application/geo+json"
    assert answer.json()["numberMatched"] == 5
    for item in answer.json()["features"]:
        validate(item)
        assert item["collection"] == FIRST


def test_items_of_an_alias_name_their_version(client):
    answer = client.get("/collections/landcover/items?limit=2")
    assert answer.headers["content-location"] == f"http://api.test/collections/{LATEST}/items?limit=2"
    assert answer.json()["pin:versions"] == ["landcover@v3"]
    assert {item["collection"] for item in answer.json()["features"]} == {LATEST}
    assert ids(client.get("/collections/landcover/items?version=stable&bbox=0,0,0.5,0.5")) == ["t00"]


def test_one_item(client):
    answer = client.get(f"/collections/{STABLE}/items/t01")
    item = answer.json()
    validate(item)
    assert item["properties"]["eo:cloud_cover"] == 5
    assert item["assets"]["cover"]["href"].startswith("http://api.test/objects/")
    assert links(item)["predecessor-version"]["href"].endswith(f"/collections/{FIRST}/items/t01")
    assert client.get(links(item)["permalink"]["href"]).json() == item
    assert client.get(links(item)["version-history"]["href"]).json()["versions"][0]["collection"] == STABLE
    alias = client.get("/collections/landcover/items/t01/versions/stable")
    assert alias.json() == item
    assert alias.headers["content-location"] == f"http://api.test/collections/{STABLE}/items/t01"


def test_every_link_of_an_item_leads_somewhere(client):
    for link in client.get(f"/collections/{LATEST}/items/t02").json()["links"]:
        assert client.get(link["href"]).status_code == 200, link


# -- search


def both(client, **wanted) -> list[str]:
    """Ask by POST and by GET; the answers must be the same."""
    posted = client.post("/search", json=wanted)
    plain = {}
    for key, value in wanted.items():
        if key in {"intersects", "filter"} and isinstance(value, dict):
            plain[key] = json.dumps(value)
        elif key == "sortby":
            plain[key] = ",".join(("-" if e["direction"] == "desc" else "+") + e["field"] for e in value)
        elif key == "fields":
            plain[key] = ",".join([*value.get("include", []), *(f"-{name}" for name in value.get("exclude", []))])
        else:
            plain[key] = ",".join(map(str, value)) if isinstance(value, list) else value
    got = client.get("/search", params=plain)
    assert got.status_code == posted.status_code, (got.text, posted.text)
    assert got.json()["features"] == posted.json()["features"]
    return ids(posted)


def test_search_everything_is_all_datasets_at_latest(client):
    answer = client.post("/search", json={"limit": 100})
    assert answer.json()["pin:versions"] == ["dem@v1", "landcover@v3"]
    assert sorted(ids(answer)) == ["height", "t01", "t02", "t03", "t04", "t05"]
    assert ids(client.get("/search?limit=100")) == ids(answer)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"collections": [FIRST]}, ["t04", "t03", "t02", "t01", "t00"]),
        ({"collections": ["landcover"], "version": "v2.1.4"}, ["t04", "t03", "t02", "t01", "t00"]),
        ({"collections": ["landcover"], "version": "stable"}, ["t05", "t04", "t03", "t02", "t01", "t00"]),
        ({"collections": ["landcover"]}, ["t05", "t04", "t03", "t02", "t01"]),
        ({"collections": ["landcover", "dem"]}, ["t05", "t04", "t03", "t02", "t01", "height"]),
        ({"collections": [STABLE, "dem--v1"], "ids": ["t00", "height", "none"]}, ["t00", "height"]),
        ({"collections": [STABLE], "bbox": [1.5, 0.5, 2.5, 0.6]}, ["t02", "t01"]),
        ({"collections": [STABLE], "bbox": [1.5, 0.5, -10, 2.5, 0.6, 10]}, ["t02", "t01"]),
        ({"bbox": [179, -10, -179, 10]}, ["height"]),
        ({"collections": [STABLE], "intersects": SQUARE}, ["t02", "t01"]),
        ({"collections": [STABLE], "datetime": "2021-01-01T00:00:00Z/2022-12-31T23:59:59Z"}, ["t02", "t01"]),
        ({"collections": [STABLE], "datetime": "../2020-12-31T00:00:00Z"}, ["t00"]),
        ({"collections": [STABLE], "datetime": "2024-06-01T00:00:00Z"}, ["t04"]),
        (
            {"collections": [STABLE], "sortby": [{"field": "eo:cloud_cover", "direction": "asc"}], "limit": 3},
            ["t00", "t01", "t02"],
        ),
        ({"collections": [STABLE], "sortby": [{"field": "id", "direction": "asc"}], "limit": 2}, ["t00", "t01"]),
    ],
)
def test_search(client, wanted, found):
    assert both(client, **wanted) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("eo:cloud_cover < 20", ["t01", "t00"]),
        ("eo:cloud_cover BETWEEN 20 AND 30", ["t03", "t02"]),
        ("platform LIKE 'landsat%'", ["t03", "t01"]),
        ("platform IN ('sentinel-2a')", ["t04", "t02", "t00"]),
        ("platform IS NULL", ["t05"]),
        ("CASEI(platform) = CASEI('LANDSAT-8')", ["t03", "t01"]),
        ("NOT (platform = 'landsat-8') AND eo:cloud_cover >= 20", ["t04", "t02"]),
        ("S_INTERSECTS(geometry, POINT(2.5 0.5))", ["t02"]),
        ("T_AFTER(datetime, TIMESTAMP('2024-01-01T00:00:00Z'))", ["t05", "t04"]),
        ("id = 't03' OR id = 't04'", ["t04", "t03"]),
    ],
)
def test_filter_text(client, text, found):
    assert ids(client.get("/search", params={"collections": STABLE, "filter": text})) == found
    assert ids(client.get(f"/collections/{STABLE}/items", params={"filter": text, "filter-lang": "cql2-text"})) == found


def test_filter_json(client):
    tree = {"op": "<", "args": [{"property": "eo:cloud_cover"}, 20]}
    assert both(client, collections=[STABLE], filter=tree, **{"filter-lang": "cql2-json"}) == ["t01", "t00"]
    crs = {"filter-crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"}
    assert both(client, collections=[STABLE], filter=tree, **crs) == ["t01", "t00"]


def test_free_text(client, own_site, client_of):
    about = {"title": "Land cover of Peru", "keywords": ["forest", "Amazon basin"]}
    own_site.commit(
        "landcover",
        own_site.item("a", 31, west=7.0, when="2026-01-01T00:00:00Z", **about),
        own_site.item("b", 32, west=8.0, when="2026-01-02T00:00:00Z", description="50% of a_b"),
    )
    own = client_of(own_site)
    for q, found in [
        ("LAND COVER", ["a"]),
        ("cover land", []),
        ("amazon,50%", ["b", "a"]),
        ("a_b", ["b"]),
        ("axb", []),
    ]:
        assert both(own, q=q) == found
        assert both(own, q=q.split(","), collections=["landcover"]) == found
        assert ids(own.get("/collections/landcover--v4/items", params={"q": q})) == found
    first = own.get("/search", params={"q": "amazon,50%", "limit": 1, "filter": "datetime > DATE('2020-01-01')"}).json()
    assert first["numberMatched"] == 2
    assert ids(own.get(links(first)["next"]["href"])) == ["a"]


def test_fields(client):
    both(client, collections=[STABLE], fields={"include": ["properties.platform"]})
    slim = client.get("/search", params={"collections": STABLE, "fields": "properties.platform,-links", "ids": "t01"})
    assert slim.json()["features"] == [
        {"type": "Feature", "id": "t01", "collection": STABLE, "properties": {"platform": "landsat-8"}}
    ]
    less = client.get("/search", params={"collections": STABLE, "fields": "-assets,-properties.platform"}).json()
    for item in less["features"]:
        assert "assets" not in item
        assert "datetime" in item["properties"]
        assert "platform" not in item["properties"]
    deeper = client.get("/search", params={"collections": STABLE, "fields": "assets.cover.href,-assets.note"}).json()
    assert all(set(item["assets"]["cover"]) == {"href"} for item in deeper["features"])
    plus = client.get(f"/search?collections={STABLE}&fields=+geometry,+bbox&limit=1").json()["features"][0]
    assert set(plus) == {"type", "id", "collection", "geometry", "bbox"}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pages_come_in_both_directions_and_keep_their_versions(client, method):
    if method == "GET":
        answer = client.get("/search?collections=landcover,dem&limit=4&fields=id")
    else:
        body = {"collections": ["landcover", "dem"], "limit": 4, "fields": {"include": ["id"]}}
        answer = client.post("/search", json=body)
    first = answer.json()
    follow = links(first)["next"]
    assert "prev" not in links(first)
    if method == "POST":
        assert follow["body"]["collections"] == ["dem--v1", LATEST]
        second = client.post(follow["href"], json=follow["body"]).json()
        back = links(second)["prev"]
        again = client.post(back["href"], json=back["body"]).json()
    else:
        assert "collections=dem--v1,landcover--v3" in follow["href"]
        answer = client.get(follow["href"])
        assert answer.headers["cache-control"].endswith("immutable")
        second = answer.json()
        again = client.get(links(second)["prev"]["href"]).json()
    assert [item["id"] for item in first["features"]] == ["t05", "t04", "t03", "t02"]
    assert [item["id"] for item in second["features"]] == ["t01", "height"]
    assert "next" not in links(second)
    assert second["numberMatched"] == 6
    assert second["numberReturned"] == 2
    assert again["features"] == first["features"]


def test_permalink_asks_the_same_of_the_same_versions(client):
    answer = client.get("/search?collections=landcover&version=stable&bbox=1.5,0.5,2.5,0.6")
    permalink = links(answer.json())["permalink"]["href"]
    assert permalink == answer.headers["content-location"]
    assert "version=" not in permalink
    again = client.get(permalink)
    assert again.json()["features"] == answer.json()["features"]
    assert again.headers["cache-control"].endswith("immutable")
    posted = client.post("/search", json={"collections": ["landcover"], "version": "stable", "ids": ["t01"]}).json()
    link = links(posted)["canonical"]
    assert link["body"] == {"collections": [STABLE], "ids": ["t01"]}


def test_two_names_of_one_version_are_one(client):
    assert len(ids(client.get(f"/search?collections=landcover,{LATEST}"))) == 5


def test_queryables(client):
    for path in ("/queryables", "/collections/landcover/queryables", f"/collections/{FIRST}/queryables"):
        answer = client.get(path)
        assert answer.headers["content-type"] == "application/schema+json"
        assert {"id", "collection", "geometry", "datetime"} <= answer.json()["properties"].keys()


# -- versions, differences, assets


def test_versions_of_a_dataset(client):
    body = client.get("/collections/landcover/versions").json()
    validate(body)
    assert [entry["id"] for entry in body["versions"]] == [LATEST, STABLE, FIRST]
    assert body["pointers"] == {"latest": 3, "stable": 2}
    assert body["tags"] == {"v2.1.4": 1}
    assert body["versions"][1]["pointers"] == ["stable"]
    assert body["versions"][2]["tags"] == ["v2.1.4"]
    assert body["versions"][0]["message"] == "third"
    assert body["versions"][0]["collection"]["title"] == "Land cover"
    for link in body["links"]:
        assert client.get(link["href"]).status_code == 200, link


def test_versions_come_in_pages(client):
    first = client.get("/collections/landcover/versions?limit=2").json()
    second = client.get(links(first)["next"]["href"]).json()
    assert [entry["number"] for entry in first["versions"] + second["versions"]] == [3, 2, 1]
    assert "next" not in links(second)


def test_revisions_of_an_item(client):
    changes = {
        name: [(entry["version"], entry["change"]) for entry in client.get(path).json()["versions"]]
        for name in ("t00", "t01", "t02", "t05")
        for path in [f"/collections/landcover/items/{name}/versions"]
    }
    assert changes == {
        "t00": [("3", "removed"), ("1", "added")],
        "t01": [("2", "changed"), ("1", "added")],
        "t02": [("1", "added")],
        "t05": [("2", "added")],
    }
    validate(client.get("/collections/landcover/items/t01/versions").json())
    assert client.get("/collections/landcover/items/nothing/versions").status_code == 404


def test_diff(client):
    answer = client.get("/collections/landcover/diff?from=v1&to=stable")
    body = answer.json()
    assert (body["from"], body["to"]) == ("landcover@v1", "landcover@v2")
    assert (body["added"], body["removed"]) == (["t05"], [])
    assert [entry["id"] for entry in body["changed"]] == ["t01"]
    assert body["changed"][0]["assets"] == {"cover": "changed"}
    assert body["changed"][0]["properties"]["eo:cloud_cover"] == {"from": 10, "to": 5}
    assert answer.headers["content-location"] == "http://api.test/collections/landcover/diff?from=v1&to=v2"
    pinned = client.get(answer.headers["content-location"])
    assert pinned.json() == body
    assert pinned.headers["cache-control"].endswith("immutable")
    assert client.get("/collections/landcover/diff?from=v2").json()["removed"] == ["t00"]


def test_asset_set_is_exact(client, site):
    answer = client.get("/collections/landcover/assets?version=stable")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-location"].endswith(f"/collections/{STABLE}/assets")
    found = [json.loads(line) for line in answer.text.splitlines()]
    wanted = [
        (item_id, asset.key, asset.sha256.hex(), asset.size)
        for item_id, asset in site.catalog.resolve("landcover@v2").assets()
    ]
    assert [(line["item"], line["key"], line["sha256"], line["file:size"]) for line in found] == wanted
    assert len(found) == 12
    for line in found:
        assert line["file:checksum"] == f"1220{line['sha256']}"
        assert len(client.get(line["href"]).content) == line["file:size"]
