"""Collection search: which versions are found, page by page, at a date, and what they are told apart by."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from versioning.commit import Notes

ALL = ["dem--v1", "landcover--v3", "landcover--v2", "landcover--v1"]


def ids(answer) -> list[str]:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["numberReturned"] == len(body["collections"])
    return [collection["id"] for collection in body["collections"]]


def link(body: dict, rel: str) -> str | None:
    return next((link["href"] for link in body["links"] if link["rel"] == rel), None)


def test_it_says_that_it_conforms(client):
    classes = set(client.get("/conformance").json()["conformsTo"])
    base = "https://api.stacspec.org/v1.0.0-rc.1/collection-search"
    assert {base, *(f"{base}#{name}" for name in ("free-text", "filter", "sort", "fields"))} <= classes
    assert "http://www.opengis.net/spec/ogcapi-common-2/1.0/conf/simple-query" in classes


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["dem--v1", "landcover--v3"]),
        ({"versions": "latest"}, ["dem--v1", "landcover--v3"]),
        ({"versions": "all"}, ALL),
        ({"version": "latest"}, ["dem--v1", "landcover--v3"]),
        ({"version": "v1"}, ["dem--v1", "landcover--v1"]),
        ({"version": "stable"}, ["landcover--v2"]),
        ({"version": "v2.1.4"}, ["landcover--v1"]),
        ({"bbox": "179,-10,-179,10"}, ["dem--v1"]),
        ({"bbox": "3,0,4,1"}, ["landcover--v3"]),
        ({"bbox": "3,0,-10,4,1,10"}, ["landcover--v3"]),
        ({"bbox": "0,0,0.5,0.5", "versions": "all"}, ["landcover--v2", "landcover--v1"]),
        ({"bbox": "50,50,51,51"}, []),
        ({"datetime": "2020"}, ["dem--v1"]),
        ({"datetime": "2025-06-01T00:00:00Z/..", "versions": "all"}, ["landcover--v3", "landcover--v2"]),
        ({"datetime": "../2020-06-01T00:00:00Z", "versions": "all"}, ["dem--v1", "landcover--v2", "landcover--v1"]),
        ({"q": "LAND cover"}, ["dem--v1", "landcover--v3"]),
        ({"q": "land cover v3"}, ["landcover--v3"]),
        ({"q": "made-up,nothing", "versions": "all"}, ALL),
        ({"q": "cover land"}, []),
        ({"q": "tes"}, ["dem--v1", "landcover--v3"]),
        ({"filter": "pin:dataset = 'landcover' AND pin:version < 3", "versions": "all"}, ALL[2:]),
        ({"filter": "license = 'CC0-1.0'"}, ["dem--v1", "landcover--v3"]),
        ({"filter": "pin:message LIKE 'sec%'", "versions": "all"}, ["landcover--v2"]),
        ({"filter": "pin:statistics.items >= 6", "versions": "all"}, ["landcover--v2"]),
        ({"filter": "A_CONTAINS(keywords, ('test'))"}, ["dem--v1", "landcover--v3"]),
        ({"filter": "S_INTERSECTS(geometry, POINT(2.5 0.5))"}, ["landcover--v3"]),
        ({"filter": "datetime < TIMESTAMP('2020-03-01T00:00:00Z')", "versions": "all"}, ["dem--v1"]),
        ({"filter": "id = 'dem--v1'"}, ["dem--v1"]),
        ({"filter": "nothing = 1"}, []),
        ({"sortby": "-id", "versions": "all"}, ["landcover--v3", "landcover--v2", "landcover--v1", "dem--v1"]),
        ({"sortby": "+id", "versions": "all"}, ["dem--v1", "landcover--v1", "landcover--v2", "landcover--v3"]),
        ({"sortby": "pin:message", "versions": "all"}, ["dem--v1", "landcover--v1", "landcover--v2", "landcover--v3"]),
        ({"sortby": "-pin:statistics.items,pin:version", "versions": "all"}, [ALL[2], ALL[3], ALL[1], ALL[0]]),
        ({"sortby": "-nothing", "versions": "all"}, ALL),
        ({"limit": 2, "versions": "all"}, ALL[:2]),
        ({"limit": 100_000, "versions": "all"}, ALL),
    ],
)
def test_versions_are_found_by_what_their_records_say(client, asked, found):
    answer = client.get("/collections", params=asked)
    assert ids(answer) == found
    assert answer.json()["numberMatched"] == (4 if "limit" in asked else len(found))
    for collection in answer.json()["collections"]:
        assert collection == client.get(f"/collections/{collection['id']}").json()


def test_a_filter_as_json(client):
    tree = {"op": "=", "args": [{"property": "pin:version"}, 2]}
    asked = {"versions": "all", "filter": json.dumps(tree), "filter-lang": "cql2-json"}
    assert ids(client.get("/collections", params=asked)) == ["landcover--v2"]


def test_fields(client):
    slim = client.get("/collections", params={"fields": "title,extent.temporal"}).json()["collections"][0]
    assert set(slim) == {"type", "id", "title", "extent"}
    assert set(slim["extent"]) == {"temporal"}
    less = client.get("/collections", params={"fields": "-links,-summaries"}).json()["collections"][0]
    assert "links" not in less
    assert "description" in less


@pytest.mark.parametrize("sortby", [None, "-pin:created", "+title,-pin:version", "-summaries.nothing"])
def test_pages_keep_every_parameter_and_go_both_ways(client, sortby):
    asked = {"versions": "all", "q": "land cover,x y", "filter": "pin:version > 0", "fields": "id,title", "limit": "1"}
    if sortby is not None:
        asked["sortby"] = sortby
    whole = ids(client.get("/collections", params={**asked, "limit": "9"}))
    assert len(whole) == 4
    answer = client.get("/collections", params=asked)
    forward, last = [], None
    while answer is not None:
        body = answer.json()
        assert body["numberMatched"] == 4
        assert set(body["collections"][0]) == {"type", "id", "title"}
        forward += ids(answer)
        last, following = body, link(body, "next")
        answer = following and client.get(following)
    assert forward == whole
    backward = [last["collections"][0]["id"]]
    while (before := link(last, "prev")) is not None:
        last = client.get(before).json()
        backward.append(last["collections"][0]["id"])
    assert backward == whole[::-1]
    assert "prev" not in {each["rel"] for each in last["links"]}


def test_a_token_belongs_to_one_search(client):
    token = link(client.get("/collections?versions=all&limit=1").json(), "next").partition("token=")[2]
    for other in ("", "versions=all&q=land", "version=v1", "versions=all&sortby=id"):
        assert client.get(f"/collections?{other}&limit=1&token={token}").status_code == 400
    assert client.get(f"/collections?versions=all&limit=2&token={token}").status_code == 200


def test_nothing_comes_twice_while_versions_are_published_and_retired(client_of, own_site):
    client = client_of(own_site)
    first = client.get("/collections?versions=all&limit=2").json()
    own_site.commit("landcover", remove=["t05"], message="fourth")
    expiry = {"type": "expiry", "number": 3, "why": "old", "author": "t", "nonce": "n"}
    expiry["time"] = "2026-01-01T00:00:00.000000Z"
    own_site.catalog.store.put_record("datasets/landcover/expired/00000003.json", json.dumps(expiry).encode())
    assert [each["id"] for each in first["collections"]] == ["dem--v1", "landcover--v3"]
    second = client.get(link(first, "next"))
    assert ids(second) == ["landcover--v2", "landcover--v1"]
    assert ids(client.get(link(second.json(), "prev"))) == ["dem--v1", "landcover--v4"]
    assert ids(client.get("/collections?versions=all")) == [
        "dem--v1",
        "landcover--v4",
        "landcover--v2",
        "landcover--v1",
    ]


def test_collections_and_searches_as_of_a_date(client_of, own_site):
    client = client_of(own_site)
    times = [own_site.catalog.dataset("landcover").record(number).time for number in (1, 2, 3)]
    dem = own_site.catalog.dataset("dem").record(1).time
    before = (datetime.fromisoformat(times[0]) - timedelta(microseconds=1)).isoformat().replace("+00:00", "Z")
    own_site.commit("landcover", remove=["t05"], message="after all dates")
    for moment, found in [
        (before, []),
        (times[0], ["landcover--v1"]),
        (times[1], ["landcover--v2"]),
        (times[2], ["landcover--v3"]),
        (dem, ["dem--v1", "landcover--v3"]),
    ]:
        asked = {"version": f"{{{moment}}}"}
        assert ids(client.get("/collections", params=asked)) == found
        if len(found) == 2:
            both = client.get("/search", params={**asked, "collections": "landcover,dem"})
            assert both.json()["pin:versions"] == ["dem@v1", "landcover@v3"]
            assert both.headers["content-location"].endswith("/search?collections=dem--v1,landcover--v3")
            posted = client.post("/search", json={**asked, "collections": ["landcover", "dem"]})
            assert posted.json()["features"] == both.json()["features"]
    # In a search every dataset that is named must have been there.
    assert (
        client.get("/search", params={"version": f"{{{times[0]}}}", "collections": "landcover,dem"}).status_code == 404
    )


def test_summaries_can_be_filtered_and_sorted_by(client_of, own_site):
    notes = Notes(summaries={"gsd": [10, 30], "eo:cloud_cover": {"minimum": 5, "maximum": 40}, "platform": ["a", "b"]})
    own_site.commit("landcover", remove=["t04"], notes=notes)
    client = client_of(own_site)
    for text in (
        "summaries.eo:cloud_cover.maximum > 30",
        "A_CONTAINS(summaries.platform, ('b'))",
        "summaries.gsd = 10",
    ):
        assert ids(client.get("/collections", params={"filter": text, "versions": "all"})) == ["landcover--v4"]
    asked = {"sortby": "summaries.eo:cloud_cover.minimum", "versions": "all"}
    assert ids(client.get("/collections", params=asked))[0] == "landcover--v4"


def test_what_it_can_be_asked_by(client):
    body = client.get("/collections").json()
    answer = client.get(link(body, "http://www.opengis.net/def/rel/ogc/1.0/queryables"))
    assert answer.headers["content-type"] == "application/schema+json"
    assert answer.json()["$id"] == "http://api.test/collection-queryables"
    document = client.get("/collections/landcover--v3").json()
    for name, schema in answer.json()["properties"].items():
        if name in {"geometry", "datetime", "end_datetime", "pin:parent"}:
            continue
        value = document
        for step in name.split("."):
            value = value[step]
        kinds = {"string": str, "integer": int, "boolean": bool, "array": list}
        assert isinstance(value, kinds[schema["type"]]), name
    assert ids(client.get("/collections?filter=pin:parent=2")) == ["landcover--v3"]


def test_a_version_that_failed_its_checks_is_only_among_all(client_of, own_site):
    own_site.commit("bad", own_site.item("x", 1, west=0.0, when="2020-01-01T00:00:00Z"), advance=False)
    client = client_of(own_site)
    assert ids(client.get("/collections")) == ["dem--v1", "landcover--v3"]
    assert ids(client.get("/collections?versions=all&filter=experimental=TRUE")) == ["bad--v1"]
