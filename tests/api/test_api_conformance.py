"""What stac-api-validator 0.6.8 asks of core, collections, features, item search and filter, asked here offline."""

from __future__ import annotations

import pystac
import pytest

QUERYABLES = "http://www.opengis.net/def/rel/ogc/1.0/queryables"
GEOMETRIES = [
    {"type": "Point", "coordinates": [1.5, 0.5]},
    {"type": "LineString", "coordinates": [[1.5, 0.5], [2.5, 0.5]]},
    {"type": "Polygon", "coordinates": [[[1.2, 0.2], [2.8, 0.2], [2.8, 0.8], [1.2, 0.2]]]},
    {"type": "MultiPoint", "coordinates": [[1.5, 0.5], [2.5, 0.5]]},
    {"type": "MultiLineString", "coordinates": [[[1.5, 0.5], [2.5, 0.5]], [[0.5, 0.5], [1.5, 0.6]]]},
    {"type": "MultiPolygon", "coordinates": [[[[1.2, 0.2], [2.8, 0.2], [2.8, 0.8], [1.2, 0.2]]]]},
    {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [1.5, 0.5]}]},
]


def link(body: dict, rel: str, method: str | None = None) -> dict:
    (found,) = (each for each in body["links"] if each["rel"] == rel and method in {None, each.get("method")})
    return found


def test_the_landing_page_leads_to_each_part_in_its_media_type(client):
    page = client.get("/").json()
    for rel, media_type in [
        ("self", "application/json"),
        ("root", "application/json"),
        ("data", "application/json"),
        ("conformance", "application/json"),
        ("service-desc", "application/vnd.oai.openapi+json;version=3.0"),
        ("service-doc", "text/html"),
        (QUERYABLES, "application/schema+json"),
    ]:
        found = link(page, rel)
        answer = client.get(found["href"], headers={"Accept": found["type"]})
        assert answer.status_code == 200
        assert found["type"] == media_type
        assert answer.headers["content-type"].partition(";")[0] == media_type.partition(";")[0]
    assert link(page, "search", "GET")["href"] == link(page, "search", "POST")["href"]
    assert all("/req/" not in name for name in page["conformsTo"])


@pytest.mark.parametrize(
    "path",
    [
        "/collections",
        "/collections?versions=all&limit=2",
        "/collections/landcover--v2",
        "/collections/landcover--v2/items",
        "/collections/landcover--v2/items?limit=1",
        "/collections/landcover--v2/items/t01",
        "/search",
        "/search?limit=1",
    ],
)
def test_documents_name_themselves_and_their_root(client, path):
    body = client.get(path).json()
    assert link(body, "self")["href"] == f"http://api.test{path}"
    assert link(body, "root")["href"] == "http://api.test/"
    match body.get("type"):
        case "Feature":
            pystac.Item.from_dict(body)
            assert link(body, "parent")["href"] == link(body, "collection")["href"]
        case "FeatureCollection":
            assert len(pystac.ItemCollection.from_dict(body)) == body["numberReturned"]
        case "Collection":
            pystac.Collection.from_dict(body)


@pytest.mark.parametrize("path", ["/queryables", "/collections/landcover--v2/queryables", "/collection-queryables"])
def test_queryables_are_a_json_schema_of_this_address(client, path):
    answer = client.get(path, headers={"Accept": "application/schema+json"})
    assert answer.headers["content-type"] == "application/schema+json"
    schema = answer.json()
    assert schema["$schema"] in {
        "https://json-schema.org/draft/2019-09/schema",
        "http://json-schema.org/draft-07/schema#",
    }
    assert schema["$id"] == f"http://api.test{path}"
    assert schema["type"] == "object"


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda geometry: geometry["type"])
def test_every_geometry_type(client, geometry):
    found = client.post("/search", json={"collections": ["landcover--v2"], "intersects": geometry}).json()["features"]
    assert "t01" in [item["id"] for item in found]


TIME = "1985-04-12T23:20:50.52"


@pytest.mark.parametrize("route", ["/search", "/collections"])
def test_times(client, route):
    fine = [
        *(f"{TIME}{zone}" for zone in ("Z", "z", "+00:00", "-00:00", "-08:00", "+08:00")),
        *(f"2020-07-23T00:00:00.{'0123456789'[:digits]}Z" for digits in range(1, 10)),
        *(f"../{TIME}Z", f"{TIME}Z/..", f"/{TIME}Z", f"{TIME}Z/", f"{TIME}Z/1986-04-12T23:20:50.52Z"),
        # More than the validator wants: a day stands for all of it, as pystac-client's users write it.
        *("1985-04-12", "1985-04", "1985"),
    ]
    wrong = [
        *("/", "../..", "/..", "../", f"/{TIME}Z/{TIME}Z", f"{TIME}Z/{TIME}Z/", f"/{TIME}Z/{TIME}Z/", TIME),
        *("1937-01-01T12:00:27.87+0100", "37-01-01T12:00:27.87Z", "21985-12-12T23:20:50.52Z"),
        *("1985-13-12T23:20:50.52Z", "1985-12-32T23:20:50.52Z", "1985-12-01T25:20:50.52Z", "1985-12-01T00:60:50.52Z"),
        *("1985-12-01T00:06:61.52Z", "1985-04-12T23:20:50.Z", "1985-04-12T23:20:50,Z", "1990-12-31T23:59:61Z"),
        f"1986-04-12T23:20:50.52Z/{TIME}Z",
    ]
    for text in fine:
        assert client.get(route, params={"datetime": text}).status_code == 200, text
    for text in wrong:
        assert client.get(route, params={"datetime": text}).status_code == 400, text


def test_ids_do_not_override_other_parameters(client):
    asked = {"collections": ["landcover--v2"], "ids": ["t01", "t04"], "bbox": [1.4, 0.4, 1.6, 0.6]}
    assert [item["id"] for item in client.post("/search", json=asked).json()["features"]] == ["t01"]


FILTERS = [
    "id = 't01' AND collection = 'landcover--v2'",
    "id = 't01' OR collection = 'none'",
    "NOT (id = 't01')",
    "eo:cloud_cover BETWEEN 0 AND 50",
    "NOT (eo:cloud_cover BETWEEN 0 AND 50)",
    "platform LIKE 'sentinel%'",
    "NOT (platform LIKE 'sentinel%')",
    "eo:cloud_cover <> 10",
    "eo:cloud_cover IS NULL",
    "eo:cloud_cover IS NOT NULL",
    "datetime > TIMESTAMP('2021-04-08T04:39:23Z')",
    "T_INTERSECTS(datetime, INTERVAL('2020-11-11T00:00:00Z', '2024-11-12T00:00:00Z'))",
    "S_INTERSECTS(geometry, POLYGON((1.2 0.2, 2.8 0.2, 2.8 0.8, 1.2 0.8, 1.2 0.2)))",
    "S_INTERSECTS(geometry, POINT(1.5 0.5)) OR S_INTERSECTS(geometry, POINT(2.5 0.5))",
]


@pytest.mark.parametrize("text", FILTERS)
def test_filters_as_text_and_as_json(client, text):
    import cql2

    asked = {"collections": "landcover--v2", "filter": text, "filter-lang": "cql2-text"}
    got = client.get("/search", params=asked)
    tree = cql2.parse_text(text).to_json()
    posted = client.post("/search", json={"collections": ["landcover--v2"], "filter": tree, "filter-lang": "cql2-json"})
    assert (got.status_code, posted.status_code) == (200, 200)
    assert got.headers["content-type"] == "application/geo+json"
    assert got.json()["features"] == posted.json()["features"]
