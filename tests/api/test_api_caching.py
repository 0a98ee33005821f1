"""What never changes says so and is asked for once; what follows a pointer names what it meant."""

from __future__ import annotations

import json

import pytest

from versioning.commit import Notes

IMMUTABLE = "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    "path",
    [
        "/collections/landcover--v1/items",
        "/collections/landcover--v1/items?limit=1",
        "/collections/landcover--v1/items/t01",
        "/collections/landcover--v1/assets",
        "/search?collections=landcover--v1,dem--v1&bbox=0,0,2,2",
        "/collections/landcover/diff?from=v1&to=v2",
    ],
)
def test_pinned_resources_are_immutable(client, path):
    answer = client.get(path)
    assert answer.headers["cache-control"] == IMMUTABLE
    assert "content-location" not in answer.headers
    etag = answer.headers["etag"]
    assert etag.startswith('"')
    for asked in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = client.get(path, headers={"If-None-Match": asked})
        assert again.status_code == 304, asked
        assert again.content == b""
        assert again.headers["etag"] == etag or asked == "*"
        assert again.headers["cache-control"] == IMMUTABLE
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_etags_differ_between_versions_pages_and_addresses(client):
    paths = [
        "/collections/landcover--v1/items/t01",
        "/collections/landcover--v2/items/t01",
        "/collections/landcover--v2/items/t02",
        "/collections/landcover--v2/items",
        "/collections/landcover--v2/items?limit=1",
        "/collections/landcover--v2",
    ]
    tags = [client.get(path).headers["etag"] for path in paths]
    tags.append(client.get(paths[0], headers={"Host": "other.test"}).headers["etag"])
    assert len(set(tags)) == len(tags)


def test_every_encoding_has_an_etag_of_its_own(client):
    path = "/collections/landcover--v1/items"
    tags = {}
    for encoding in ("identity", "gzip", "br"):
        answer = client.get(path, headers={"Accept-Encoding": encoding})
        assert "Accept-Encoding" in answer.headers.get("vary", "") or encoding == "identity"
        tags[encoding] = answer.headers["etag"]
        again = client.get(path, headers={"Accept-Encoding": encoding, "If-None-Match": tags[encoding]})
        assert again.status_code == 304
        assert again.headers["etag"] == tags[encoding]
    assert len(set(tags.values())) == 3


def test_a_collection_is_asked_for_again_since_later_versions_are_linked_from_it(client_of, own_site):
    client = client_of(own_site)
    path = "/collections/landcover--v3"
    before = client.get(path)
    assert before.headers["cache-control"] == "public, max-age=60, must-revalidate"
    assert client.get(path, headers={"If-None-Match": before.headers["etag"]}).status_code == 304
    own_site.commit("landcover", own_site.item("new", 9, west=9.0, when="2026-01-01T00:00:00Z"))
    after = client.get(path, headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    added = [link for link in after.json()["links"] if link not in before.json()["links"]]
    assert [link["rel"] for link in added] == ["latest-version", "successor-version"]
    assert {**after.json(), "links": 0} == {**before.json(), "links": 0}


def test_what_is_published_later_changes_no_pinned_answer(client_of, own_site):
    client = client_of(own_site)
    pinned = [
        "/collections/landcover--v3/items",
        "/collections/landcover--v3/items/t01",
        "/collections/landcover--v3/assets",
        "/search?collections=landcover--v3&limit=2",
        "/search?collections=landcover--v3&filter=eo:cloud_cover < 30",
        "/collections/landcover/diff?from=v1&to=v3",
    ]
    before = [client.get(path) for path in pinned]
    first = client.get("/search?collections=landcover&limit=2").json()
    new = own_site.item("t01", 77, west=1.0, when="2026-01-01T00:00:00Z")
    own_site.commit("landcover", new, remove=["t02", "t03"])
    after = [client.get(path) for path in pinned]
    assert [answer.content for answer in after] == [answer.content for answer in before]
    assert [answer.headers["etag"] for answer in after] == [answer.headers["etag"] for answer in before]
    # A page that was begun before is finished at the version that it was begun at.
    seen = [item["id"] for item in first["features"]]
    following = next(link["href"] for link in first["links"] if link["rel"] == "next")
    while following:
        page = client.get(following).json()
        assert page["pin:versions"] == ["landcover@v3"]
        seen += [item["id"] for item in page["features"]]
        following = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
    assert seen == ["t05", "t04", "t03", "t02", "t01"]
    # What follows latest shows it at once, and says so.
    moved = client.get("/search?collections=landcover")
    assert moved.json()["pin:versions"] == ["landcover@v4"]
    assert moved.headers["content-location"].endswith("collections=landcover--v4")
    assert {item["collection"] for item in moved.json()["features"]} == {"landcover--v4"}
    assert client.get("/collections/landcover").json()["id"] == "landcover--v4"


def test_a_rollback_moves_latest_and_nothing_else(client_of, own_site):
    client = client_of(own_site)
    own_site.catalog.dataset("landcover").move("latest", 1, why="v3 is wrong", author="tester")
    assert client.get("/collections/landcover").json()["id"] == "landcover--v1"
    assert client.get("/collections").json()["collections"][1]["id"] == "landcover--v1"
    assert client.get("/collections/landcover--v3").status_code == 200


def test_a_version_that_failed_its_checks_is_there_but_not_latest(client_of, own_site):
    client = client_of(own_site)
    own_site.commit("landcover", remove=["t01"], advance=False)
    assert client.get("/collections/landcover").json()["id"] == "landcover--v3"
    assert client.get("/collections/landcover--v4").json()["pin:advance"] is False
    own_site.commit("bad", own_site.item("x", 1, west=0.0, when="2020-01-01T00:00:00Z"), advance=False)
    assert "bad" not in str(client.get("/search").json()["pin:versions"])
    assert client.get("/collections/bad").status_code == 404
    assert client.get("/collections/bad--v1").status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/", "/collections", "/collections/landcover--v1/items", "/search", "/api"],
)
def test_head_is_get_without_the_body(client, path):
    head, get = client.head(path), client.get(path)
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers.get("etag") == get.headers.get("etag")
    assert head.headers["content-type"] == get.headers["content-type"]


def test_public_url_and_root_path(client_of, site):
    client = client_of(site, public_url="https://data.example/stac")
    body = client.get("/collections/landcover--v1/items/t01").json()
    assert body["assets"]["cover"]["href"].startswith("https://data.example/stac/objects/")
    assert {link["href"].startswith("https://data.example/stac/") for link in body["links"]} == {True}
    rooted = client_of(site, root_path="/stac")
    for path in ("/collections", "/stac/collections"):  # behind proxies that take the root away, and that leave it
        assert rooted.get(path).json()["links"][0]["href"] == "http://api.test/stac/collections"
    for options in ({"root_path": "/stac"}, {"public_url": "http://api.test/stac"}):
        landing = client_of(site, **options)
        assert landing.get("/stac").json() == landing.get("/stac/").json() == landing.get("/").json()
        assert landing.get("/stacked").status_code == 404
    assert rooted.get("/search?limit=1").json()["links"][0]["href"] == "http://api.test/stac/search?limit=1"
    assert rooted.get("/browser/config.js").text.count("http://api.test/stac/") == 1
    forwarded = {"X-Forwarded-Host": "proxy.example", "X-Forwarded-Proto": "https"}
    trusting = client_of(site, proxy_headers=True)
    assert (
        trusting.get("/collections", headers=forwarded).json()["links"][0]["href"]
        == "https://proxy.example/collections"
    )


def test_cors_lets_pages_read_ranges_and_versions(client):
    answer = client.get("/collections/landcover", headers={"Origin": "https://viewer.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "Content-Location" in answer.headers["access-control-expose-headers"]
    asked = {
        "Origin": "https://v.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "range",
    }
    preflight = client.options("/collections", headers=asked)
    assert preflight.status_code == 200
    assert "Range" in preflight.headers["access-control-allow-headers"]


def test_predecessors_follow_parents_and_stop_at_what_is_expired(client_of, own_site):
    def before(collection: str, item: str) -> str | None:
        links = client.get(f"/collections/{collection}/items/{item}").json()["links"]
        return next((link["href"].split("/")[4] for link in links if link["rel"] == "predecessor-version"), None)

    client = client_of(own_site)
    assert before("landcover--v3", "t01") == "landcover--v1"  # v2 has the same one
    assert before("landcover--v3", "t02") is None  # always as it is
    assert before("landcover--v3", "t05") is None  # new in v2
    assert before("landcover--v1", "t01") is None
    record = {
        "type": "expiry",
        "number": 1,
        "why": "old",
        "author": "t",
        "nonce": "n",
        "time": "2026-01-01T00:00:00.000000Z",
    }
    own_site.catalog.store.put_record("datasets/landcover/expired/00000001.json", json.dumps(record).encode())
    assert before("landcover--v3", "t01") is None


def test_branches_have_several_successors(client_of, own_site):
    client = client_of(own_site)
    dataset = own_site.catalog.dataset("landcover")
    dataset.move("latest", 2, why="v3 is wrong", author="tester")
    own_site.commit("landcover", remove=["t04"], base=dataset.version(2))
    links = client.get("/collections/landcover--v2").json()["links"]
    assert [link["href"].split("/")[-1] for link in links if link["rel"] == "successor-version"] == [
        "landcover--v3",
        "landcover--v4",
    ]
    assert client.get("/collections/landcover").json()["id"] == "landcover--v4"


def test_queryables_come_from_summaries(client_of, own_site):
    summaries = {
        "eo:cloud_cover": {"minimum": 5, "maximum": 40},
        "platform": ["a", "b"],
        "gsd": [10, 30],
        "odd": {"x": 1},
        "flag": [True, False],
        "processed": {"minimum": "2024-01-01T00:00:00Z", "maximum": "2024-02-01T00:00:00Z"},
        "processed_at": ["2024-01-01T00:00:00Z"],
        "many": [f"v{n}" for n in range(33)],
        "shape": {"type": "array", "items": {"type": "integer"}, "$ref": "https://example.com"},
        "mixed": [1, "a"],
        "either": {"type": ["number", "string"]},
        "instruments": ["msi"],
    }
    own_site.commit("landcover", remove=["t04"], notes=Notes(summaries=summaries))
    found = client_of(own_site).get("/collections/landcover/queryables").json()["properties"]
    assert found["eo:cloud_cover"]["type"] == "number"
    assert found["platform"] == {"title": "platform", "type": "string", "enum": ["a", "b"]}
    assert found["gsd"]["type"] == "number"
    assert found["odd"] == {"title": "odd"}
    assert found["flag"] == {"title": "flag", "type": "boolean"}
    for name in ("processed", "processed_at"):
        assert found[name] == {"title": name, "type": "string", "format": "date-time"}
    assert found["many"] == {"title": "many", "type": "string"}
    assert found["shape"] == {"title": "shape", "type": "array", "items": {"type": "integer"}}
    assert found["mixed"] == {"title": "mixed"}
    assert found["either"]["type"] == ["number", "string"]
    assert found["instruments"]["type"] == "array"
    assert found["instruments"]["items"] == {"type": "string", "enum": ["msi"]}
