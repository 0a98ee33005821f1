"""Bad input: one clear error with a documented status, never a 500 and never an ignored parameter."""

from __future__ import annotations

import json
import time

import pytest

FIRST = "landcover--v1"


def refused(answer, status: int, *words: str) -> dict:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) <= {"code", "description", "hint"}
    assert {"code", "description"} <= set(body)
    for word in words:
        assert word in answer.text
    assert "Traceback" not in answer.text
    return body


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/collections/nothing", ["nothing", "landcover"]),
        ("/collections/Not A Name", ["no collection"]),
        ("/collections/landcover--v9", ["landcover@v9", "v1 v2 v3", "Did you mean"]),
        ("/collections/landcover--v9/items", ["landcover@v9"]),
        ("/collections/landcover--v9/assets", ["landcover@v9"]),
        ("/collections/landcover--v9/queryables", ["landcover@v9"]),
        ("/collections/landcover?version=stabel", ["stabel", "landcover@stable"]),
        ("/collections/landcover/versions/v9", ["landcover@v9"]),
        ("/collections/landcover/versions/sha256:0123456789", ["digest"]),
        ("/collections/landcover--v3/items/t00", ["landcover@v3", "t00"]),
        ("/collections/landcover--v3/items/..%2F..%2Fstacpin.json", []),
        ("/search?collections=landcover--v9", ["landcover@v9"]),
        ("/search?collections=landcover,dem&version=stable", ["dem@stable"]),
        ("/collections?version=stabel", ["stabel"]),
        ("/search?collections=landcover,nothing", ["nothing"]),
        ("/search?collections=landcover@v1", ["landcover--v1"]),
        ("/nothing", []),
    ],
)
def test_what_does_not_exist(client, path, words):
    refused(client.get(path), 404, *words)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/?x=1", "unknown-parameter"),
        ("/collections?ids=a", "unknown-parameter"),
        ("/collections?collections=landcover", "unknown-parameter"),
        ("/collections?limit=0", "invalid-input"),
        ("/collections?bbox=1,2,3", None),
        ("/collections?bbox=0,0,5,1,1,0", None),
        ("/collections?datetime=soon", None),
        ("/collections?q=", None),
        ("/collections?filter=title <", None),
        ("/collections?filter-lang=cql2-text", None),
        ("/collections?sortby=links", None),
        ("/collections?fields=a..b", None),
        ("/collections?token=garbage", None),
        ("/collections?token=", None),
        ("/collections?version=", None),
        ("/collections?version=a/b", None),
        ("/collections?version={2999-01-01}", "invalid-pin"),
        ("/collections?version={soon}", "invalid-pin"),
        ("/collections?version=v1&versions=all", "pinned-twice"),
        ("/collections?version=v1&versions=latest", "pinned-twice"),
        ("/collections?versions=some", "invalid-input"),
        ("/collections/landcover?versions=all", "unknown-parameter"),
        ("/collections/landcover--v3?version=v3", "pinned-twice"),
        ("/collections/landcover--v3/items?version=v3", "pinned-twice"),
        ("/collections/landcover?version=", None),
        ("/collections/landcover?version=a/b", None),
        ("/collections/landcover?version={2999-01-01}", "invalid-pin"),
        ("/collections/landcover?version=v1&version=v2", "repeated-parameter"),
        ("/collections/landcover/items?intersects={}", "unknown-parameter"),
        ("/collections/landcover/items?collections=dem", None),
        ("/collections/landcover--v3/versions", None),
        ("/collections/landcover/versions?token=x", None),
        ("/collections/landcover/versions?limit=0", None),
        ("/collections/landcover/diff", "invalid-input"),
        ("/collections/landcover/diff?from=", None),
        ("/search?query={}", "unknown-parameter"),
        ("/search?Version=v1&collections=landcover", "unknown-parameter"),
        ("/search?version=v1", None),
        ("/search?collections=", None),
        ("/search?collections=landcover,", None),
        ("/search?collections=landcover--v1,landcover--v2", "two-versions"),
        ("/search?collections=landcover,landcover--v2", "two-versions"),
        ("/search?collections=landcover--v1&version=v1", "pinned-twice"),
        ("/search?limit=0", "invalid-input"),
        ("/search?limit=-1", "invalid-input"),
        ("/search?limit=1.5", "invalid-input"),
        ("/search?limit=" + "9" * 5000, "invalid-input"),
        ("/search?bbox=1,2,3", None),
        ("/search?bbox=a,b,c,d", None),
        ("/search?bbox=", None),
        ("/search?bbox=nan,0,1,1", None),
        ("/search?bbox=0,0,inf,1", None),
        ("/search?bbox=0,1,1,0", None),
        ("/search?bbox=0,0,5,1,1,0", None),
        ("/search?bbox=0,0,1000,1", None),
        ("/search?bbox=0,0,1,1,1,1,1", None),
        ("/search?bbox=0,0,1,1&intersects={}", None),
        ("/search?intersects=POINT(0 0)", None),
        ("/search?intersects=[[[", None),
        ('/search?intersects={"type":"Polygon","coordinates":[]}', None),
        ("/search?datetime=yesterday", None),
        ("/search?datetime=2024-01-02T00:00:00Z/2024-01-01T00:00:00Z", None),
        ("/search?datetime=../..", None),
        ("/search?datetime=", None),
        ("/search?datetime=2024-13-45T99:99:99Z", None),
        ("/search?filter=eo:cloud_cover <", None),
        ("/search?filter=", None),
        ("/search?filter={", None),
        ("/search?filter=a=1&filter-lang=cql2-xml", None),
        ("/search?filter=a=1&filter-lang=cql2-json", None),
        ("/search?filter=a=1&filter-crs=http://www.opengis.net/def/crs/EPSG/0/3857", None),
        ("/search?filter-lang=cql2-text", None),
        ("/search?filter=" + "(" * 500 + "a=1" + ")" * 500, None),
        ("/search?filter=" + "NOT " * 5000 + "a=1", None),
        ("/search?q=", None),
        ("/search?q=a,,b", None),
        ("/search?q=%25", None),
        ("/search?q=" + "x" * 500, None),
        ("/search?sortby=,", None),
        ("/search?sortby=geometry", None),
        ("/search?fields=,", None),
        ("/search?fields=a..b", None),
        ("/search?fields=" + ".".join("a" * 50), None),
        ("/search?token=garbage", None),
        ("/search?token=", None),
        ("/search?ids=", None),
    ],
)
def test_what_cannot_be_meant(client, path, code):
    body = refused(client.get(path), 400)
    assert code in {None, body["code"]}


@pytest.mark.parametrize(
    "body",
    [
        {"query": {}},
        {"collection": ["landcover"]},
        {"collections": "landcover"},
        {"collections": [1]},
        {"collections": []},
        {"collections": ["landcover--v1", "landcover--v2"]},
        {"collections": ["landcover"], "version": 3},
        {"version": "v1"},
        {"limit": "10"},
        {"limit": True},
        {"limit": 0},
        {"limit": 10.5},
        {"bbox": "0,0,1,1"},
        {"bbox": [0, 0, 1]},
        {"bbox": [0, 0, None, 1]},
        {"bbox": [[0], 0, 1, 1]},
        {"bbox": [0, 0, 1e400, 1]},
        {"intersects": {"type": "Feature"}},
        {"intersects": {"type": "Point", "coordinates": [0]}},
        {"intersects": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}},
        {"intersects": {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}},
        {"bbox": [0, 0, 1, 1], "intersects": {"type": "Point", "coordinates": [0, 0]}},
        {"datetime": 2024},
        {"datetime": ["2024-01-01T00:00:00Z"]},
        {"filter": []},
        {"filter": {"op": "launch", "args": []}},
        {"filter": {"op": "and", "args": []}},
        {"filter": {"op": "=", "args": [{"property": "a"}]}},
        {"filter_lang": "cql2-json"},
        {"filter-lang": "cql2-json"},
        {"q": []},
        {"q": [1]},
        {"q": {"a": 1}},
        {"sortby": "+id"},
        {"sortby": [{"field": "id", "order": "asc"}]},
        {"sortby": [{"direction": "asc"}]},
        {"sortby": [{"field": "id", "direction": "sideways"}]},
        {"fields": {"includes": []}},
        {"fields": {"include": [""]}},
        {"fields": ["id"]},
        {"token": 1},
        {"ids": [""]},
        {"ids": [["t01"]]},
        {"ids": []},
        [],
        "search",
        None,
        17,
    ],
)
def test_bodies_that_cannot_be_meant(client, body):
    answer = client.post("/search", content=json.dumps(body), headers={"Content-Type": "application/json"})
    if body == {"ids": []}:
        assert answer.status_code in {200, 400}  # nothing, or refused: but never everything
        assert answer.status_code == 400 or answer.json()["features"] == []
    else:
        refused(answer, 400)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"NaN", b'{"bbox": [NaN, 0, 1, 1]}', b'{"limit": Infinity}', b"[" * 100_000],
)
def test_bodies_that_are_not_json(client, body):
    refused(client.post("/search", content=body, headers={"Content-Type": "application/json"}), 400)


def test_deep_filters_are_refused(client):
    tree: dict = {"op": "=", "args": [{"property": "a"}, 1]}
    for _ in range(300):
        tree = {"op": "not", "args": [tree]}
    refused(client.post("/search", json={"filter": tree}), 400, "deep")
    deep = '{"filter": ' + '{"op": "not", "args": [' * 50_000 + "1" + "]}" * 50_000 + "}"
    refused(client.post("/search", content=deep, headers={"Content-Type": "application/json"}), 400)


def test_bodies_that_are_too_large(client_of, site):
    small = client_of(site, max_body_bytes=1000)
    refused(small.post("/search", json={"ids": ["x" * 2000]}), 413, "1,000 bytes")
    chunks = (b" " * 400 for _ in range(4))
    refused(small.post("/search", content=chunks, headers={"Content-Type": "application/json"}), 413)
    assert small.post("/search", json={"ids": ["t01"]}).status_code == 200


def test_bodies_of_other_types_are_refused(client):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    refused(client.post("/search", content=b"limit=1", headers=headers), 400)


def test_other_methods(client):
    refused(client.put("/search", json={}), 405)
    refused(client.post("/collections", json={}), 405)
    refused(client.delete(f"/collections/{FIRST}/items/t01"), 405)


def test_a_large_limit_is_cut_and_says_so(client):
    body = client.get("/search?limit=1000000").json()
    assert body["numberReturned"] == body["numberMatched"] == 6


def test_tokens_belong_to_one_search(client):
    links = client.get(f"/search?collections={FIRST}&limit=2").json()["links"]
    token = next(link["href"] for link in links if link["rel"] == "next").partition("token=")[2]
    assert client.get(f"/search?collections={FIRST}&limit=2&token={token}").status_code == 200
    refused(client.get(f"/search?collections=landcover--v2&limit=2&token={token}"), 400)
    refused(client.get(f"/search?collections={FIRST}&limit=2&ids=t01&token={token}"), 400)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": 'evil"<script>'},
        {"Host": "a b c"},
        {"Host": ""},
        {"Host": "[::1"},
        {"Host": "a:notaport"},
        {"X-Forwarded-Host": "evil.example"},
        {"Forwarded": "host=evil.example;proto=https"},
        {"If-None-Match": b"\x80garbage,,,"},
        {"Accept-Encoding": "gzip;q=x, br;;;"},
    ],
)
def test_odd_headers(client, headers):
    answer = client.get(f"/collections/{FIRST}/items/t01", headers=headers)
    assert answer.status_code in {200, 400}
    assert "evil.example" not in answer.text


def test_text_that_is_not_text(client):
    for path in ("/collections/%ff%fe", "/collections/landcover/items/%00", "/search?ids=%ff", "/search?%ff=1"):
        assert client.get(path).status_code in {200, 400, 404}, path


def test_an_expired_version_says_so(client_of, own_site):
    store = own_site.catalog.store
    record = {"type": "expiry", "number": 1, "why": "too old", "author": "t", "nonce": "n"}
    record["time"] = "2026-01-01T00:00:00.000000Z"
    store.put_record("datasets/landcover/expired/00000001.json", json.dumps(record).encode())
    client = client_of(own_site)
    for path in (f"/collections/{FIRST}", f"/collections/{FIRST}/items/t01", f"/search?collections={FIRST}"):
        body = refused(client.get(path), 410, "too old")
        assert body["code"] == "expired"
    assert [c["id"] for c in client.get("/collections?versions=all").json()["collections"]][-1] == "landcover--v2"
    versions = client.get("/collections/landcover/versions").json()["versions"]
    assert versions[-1]["expired"] == {"time": "2026-01-01T00:00:00.000000Z", "why": "too old"}
    assert client.get("/collections/landcover/items/t02/versions").json()["versions"][0]["version"] == "2"


def test_damage_is_an_error_of_integrity(client_of, own_site):
    # What no other catalog of these tests has: searches remember what they found, by digest.
    own_site.commit("landcover", own_site.item("unique", 88, west=8.0, when="2026-01-01T00:00:00Z"))
    for path in (own_site.folder / "datasets/landcover/snapshots").iterdir():
        path.write_bytes(path.read_bytes()[:-8])
    client = client_of(own_site)
    for path in ("/search?collections=landcover", f"/collections/{FIRST}/items/t01", f"/collections/{FIRST}/assets"):
        answer = client.get(path)
        body = refused(answer, 500)
        assert body["code"] in {"integrity", "truncated", "altered", "missing"}
        assert str(own_site.folder) not in answer.text


def test_an_unexpected_error_tells_nothing(client_of, site, monkeypatch, caplog):
    client = client_of(site)
    monkeypatch.setattr("api.core.collection_document", lambda *_: 1 / 0)
    body = refused(client.get(f"/collections/{FIRST}"), 500)
    assert "division" not in str(body)
    assert "ZeroDivisionError" in caplog.text


def test_a_store_that_is_gone(client_of, own_site):
    client = client_of(own_site)
    assert client.get("/_mgmt/health").json()["status"] == "UP"
    own_site.folder.rename(own_site.folder.with_name("moved"))
    time.sleep(1.1)  # an answer is kept for a second
    answer = client.get("/_mgmt/health")
    assert (answer.status_code, answer.json()["code"]) == (503, "not-ready")
    assert client.get("/_mgmt/ping").status_code == 200
    refused(client.get("/collections/landcover"), 404)


def test_a_difference_that_is_too_large(client_of, site):
    refused(client_of(site, max_diff_items=3).get("/collections/landcover/diff?from=v1&to=v2"), 400, "stacpin diff")


def test_the_query_extension_is_told_from_its_successor(client):
    asked = {"query": {"eo:cloud_cover": {"lt": 10}}}
    posted = refused(client.post("/search", json={"collections": [FIRST], **asked}), 400)
    got = refused(client.get(f"/search?collections={FIRST}&query={json.dumps(asked['query'])}"), 400)
    for body in (posted, got):
        assert body["code"] == "unknown-parameter"
        assert body["description"].rstrip(".") == "query is not a parameter of this route"
        assert body["hint"].startswith("Use filter (CQL2) instead of query. It takes: bbox, collections, ")
        assert "filter-lang" in body["hint"]


def test_an_unknown_member_of_a_member_is_named_with_its_place(client):
    body = refused(client.post("/search", json={"collections": [FIRST], "fields": {"query": ["id"]}}), 400)
    assert body["description"] == "fields.query is not a parameter of this route"


def test_half_a_surrogate_pair_is_told_escaped(client):
    body = b'{"version": "\\ud800", "collections": ["landcover"]}'
    answer = client.post("/search", content=body, headers={"Content-Type": "application/json"})
    refused(answer, answer.status_code, "\\ud800")
    assert answer.status_code in {400, 404}


@pytest.mark.parametrize(
    "path", ["/search", "/collections", "/collections/landcover--v1/items", "/collections/landcover/versions"]
)
def test_a_token_is_never_repeated(client, path):
    secret = f"stacpin_{'s' * 43}"
    refused(client.get(path, params={"token": secret}), 400, "token")
    assert "sss" not in client.get(path, params={"token": secret}).text
    if path == "/search":
        for value in (secret, 123456789, 1.5):
            answer = client.post(path, json={"token": value})
            refused(answer, 400, "token")
            assert str(value)[-6:] not in answer.text
