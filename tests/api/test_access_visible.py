"""What a reader may not see answers exactly as what does not exist, on every route that there is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from urllib.parse import quote

import pytest
from access_site import Asked, access, bearer, told, with_roads, without_roads

from api import pgstac_backend
from api.access.asking import ASKING
from api.access.visible import VisibleBackend
from api.backend import EmbeddedBackend
from catalog.query import Query
from versioning.catalog import Catalog
from versioning.errors import Forbidden, NotFound

HIDDEN, UNKNOWN = "roads", "rxadz"
# What stands in a path beside the dataset; a route with another parameter must be added here to be covered.
PATH = {
    "collection_id": ["{ds}", "{ds}--v1", "{ds}--v9", "{ds}@v1"],
    "dataset": ["{ds}"],
    "item_id": ["r01", "none"],
    "version_id": ["v1", "v9", "stable", "v7.7.7", "{{2026-01-31}}", "sha256:00000000"],
    "version": ["v1", "latest", "sha256-" + "0" * 64],
    "layer": ["raster", "none"],
    "name": ["r01.cover.tif", "none"],
    "project": ["test-catalog"],
    "shard": ["00"],
    "x": ["0"],
    "y": ["0"],
    "z": ["0"],
}
BODIES = [
    {"collections": ["{ds}"]},
    {"collections": ["{ds}--v1"]},
    {"collections": ["{ds}--v1", "{ds}--v2"]},
    {"collections": ["dem", "{ds}"]},
    {"collections": ["{ds}"], "version": "v7.7.7"},
    {"collections": ["dem"], "filter": {"op": "=", "args": [{"property": "collection"}, "{ds}--v1"]}},
    {"collections": ["dem"], "filter": {"op": "=", "args": [{"property": "secret:name"}, "A1"]}},
    {"ids": ["r01", "{ds}"]},
    {"filter": {"op": "=", "args": [{"property": "collection"}, "{ds}"]}},
    {"sortby": [{"field": "secret:name", "direction": "asc"}]},
    {"fields": {"include": ["{ds}"]}},
    {"token": "{ds}"},
    {"version": "{ds}"},
    {},
]


@pytest.fixture(scope="module")
def hidden(site, tmp_path_factory):
    return with_roads(site, tmp_path_factory.mktemp("hidden"))


@pytest.fixture(scope="module", params=["embedded", pytest.param("pgstac", marks=pytest.mark.slow)])
def asked_at(request) -> Iterator[Callable[[str], Asked]]:
    """Makes the API of a catalog, on each backend."""
    with ExitStack() as stack:

        def make(where: str) -> Asked:
            index = None
            if request.param == "pgstac":
                # What an index holds is looked at once a second where that is enough: here at every question, so that
                # the same is asked for each request.
                stack.enter_context(pytest.MonkeyPatch.context()).setattr(pgstac_backend, "_SECONDS", 0)
                index = request.getfixturevalue("index_of")(Catalog.open(where))
            made = Asked(where, access(Path(where)), index=index)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture(scope="module")
def asked(hidden, asked_at) -> Asked:
    return asked_at(str(hidden.folder))


def requests(document: dict) -> list[tuple[str, str, dict]]:
    """Every operation with the dataset, written ``{ds}``, in every position that can hold text."""
    found: list[tuple[str, str, dict]] = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parameters = operation.get("parameters", [])
            names = [p["name"] for p in parameters if p["in"] == "path"]
            assert set(names) <= PATH.keys(), f"{path} has a parameter that this walk does not know"
            filled = []
            for values in product(*(PATH[name] for name in names)):
                one = path
                for name, value in zip(names, values, strict=True):
                    one = one.replace(f"{{{name}}}", value.replace("{ds}", "<ds>"))
                filled.append(one.replace("{{", "{").replace("}}", "}"))
            filled = filled or [path]
            needed = "&".join(f"{p['name']}=v1" for p in parameters if p["in"] == "query" and p.get("required"))
            found += [(method.upper(), f"{one}?{needed}" if needed else one, {}) for one in filled]
            for parameter in (p["name"] for p in parameters if p["in"] == "query"):
                for value in ("<ds>", "<ds>--v1", "dem,<ds>", "collection = '<ds>--v1'"):
                    found += [
                        (method.upper(), f"{one}?{parameter}={quote(value, safe='<>')}", {}) for one in filled[:2]
                    ]
            if method == "post":
                found += [
                    ("POST", path, json.loads(json.dumps(body).replace("{ds}", "<ds>")) or {"limit": 100})
                    for body in BODIES
                ]
    return found


def ask(asked: Asked, request: tuple[str, str, dict], dataset: str, headers: dict):
    method, path, body = request
    options = {"content": json.dumps(body).replace("<ds>", dataset)} if method == "POST" else {}
    if method == "POST":
        headers = {**headers, "Content-Type": "application/json"}
    return asked(method, path.replace("<ds>", dataset), headers=headers, **options)


def as_hidden(calls: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    # Free text is compared in upper case.
    return [
        tuple(word.replace(UNKNOWN, HIDDEN).replace(UNKNOWN.upper(), HIDDEN.upper()) for word in call) for call in calls
    ]


@pytest.mark.parametrize("who", [None, "bob"])
def test_every_route_answers_as_for_a_dataset_that_is_not_there(asked, who):
    if who is None and asked.index is not None:
        pytest.skip("on the index by a reader with a token: what is shown is decided before a backend is asked")
    headers = bearer(who) if who else {}
    walked = requests(asked.client.get("/api").json())
    named = [request for request in walked if "<ds>" in str(request)]
    assert len(named) > 200
    # What is read once and remembered shall not make the first of two requests look different.
    for request in named:
        ask(asked, request, UNKNOWN, headers)
    refused = 0
    for request in named:
        answer, calls = ask(asked, request, HIDDEN, headers)
        other, other_calls = ask(asked, request, UNKNOWN, headers)
        status, body, kept = told(answer)
        other_status, other_body, other_kept = told(other)
        assert status == other_status, request
        assert body == other_body.replace(UNKNOWN.encode(), HIDDEN.encode()), request
        if status == 200:  # an ETag is drawn from the document, which has the name in it
            kept.pop("etag", None)
            other_kept.pop("etag", None)
        assert kept == {k: v.replace(UNKNOWN, HIDDEN) for k, v in other_kept.items()}, request
        # Sorted: several datasets are read side by side.
        assert sorted(calls) == sorted(as_hidden(other_calls)), request
        refused += status == 404
    assert refused > 80


@pytest.mark.parametrize("who", [None, "bob"])
def test_a_catalog_without_the_dataset_answers_the_same_bytes(asked, asked_at, hidden, tmp_path, who):
    if who is not None and asked.index is not None:
        pytest.skip("on the index by nobody in particular: what is shown is decided before a backend is asked")
    headers = bearer(who) if who else {}
    other = asked_at(without_roads(hidden, tmp_path / "copy"))
    walked = requests(asked.client.get("/api").json())
    walked += [("GET", "/browser/config.js", {}), ("GET", "/files/?f=json", {}), ("GET", "/files/test-catalog/", {})]
    walked += [("GET", "/collections?versions=all", {}), ("GET", "/search?limit=1000", {})]
    for request in walked:
        mine, theirs = (ask(each, request, HIDDEN, headers)[0] for each in (asked, other))
        assert told(mine) == told(theirs), request
        assert b"Hidden" not in mine.content
        assert b"secret:name" not in mine.content or "secret" in str(request), request


def test_a_hidden_dataset_is_not_looked_up(asked):
    """But for the list of all names, which is read for every unknown name alike."""
    asked("GET", "/collections/rxadz")  # what a server has read of all datasets it reads once
    _, listing = asked("GET", "/collections/rxadz")
    _, calls = asked("GET", "/collections/roads/items/r01/versions/v1")
    assert calls == listing
    assert not [call for call in calls if "manifests" in str(call) or "snapshots" in str(call)]


def test_each_sees_what_is_theirs(asked):
    def seen(who: str | None) -> list[str]:
        answer = asked.client.get("/collections", headers=bearer(who) if who else {})
        return [collection["id"] for collection in answer.json()["collections"]]

    assert seen(None) == seen("nobody") == ["dem--v1"]
    assert seen("bob") == ["dem--v1", "landcover--v3"]
    assert seen("ann") == ["dem--v1", "roads--v2"]
    assert seen("root") == ["dem--v1", "landcover--v3", "roads--v2"]
    assert seen(None) == ["dem--v1"]
    # A search of everything, its counts and its pins.
    for who, pins, matched in (("ann", ["dem@v1", "roads@v2"], 3), (None, ["dem@v1"], 1)):
        body = asked.client.get("/search", headers=bearer(who) if who else {}).json()
        assert (body["pin:versions"], body["numberMatched"]) == (pins, matched)


def test_hints_name_what_can_be_seen(asked):
    for who, near in ((None, None), ("ann", "Did you mean roads?"), ("bob", None)):
        body = asked.client.get("/collections/roadz", headers=bearer(who) if who else {}).json()
        assert body.get("hint") == near
        assert ("roads" in body["description"].replace("roadz", "")) == (who == "ann")


def test_caches_do_not_pass_from_one_reader_to_another(asked):
    paths = ["/collections/roads--v1", "/collections/roads--v1/items/r01", "/search?collections=roads--v2", "/files/x/"]
    paths += ["/files/test-catalog/roads/v1/", "/collections/roads--v1/assets", "/collections/roads/diff?from=v1&to=v2"]
    for path in paths:
        before = told(asked("GET", path)[0])
        mine = asked("GET", path, headers=bearer("ann"))[0]
        assert mine.status_code in {200, 307} or path == "/files/x/"
        again = asked("GET", path, headers={"If-None-Match": mine.headers.get("etag", '"x"')})[0]
        assert told(again) == before
        assert before[0] == 404


def test_private_answers_are_private_and_public_ones_public(asked):
    path = "/collections/dem--v1/items/height"
    anonymous = asked.client.get(path)
    assert anonymous.headers["cache-control"].startswith("public, max-age=")
    assert "Authorization" in anonymous.headers["vary"]
    for who in ("ann", "root"):
        for each in (path, "/collections", "/files/test-catalog/dem/", "/", "/search?limit=1"):
            headers = asked.client.get(each, headers=bearer(who)).headers
            assert "private" in headers["cache-control"], each
            assert "public" not in headers["cache-control"]
            assert "Authorization" in headers["vary"]


def test_browsers_may_send_tokens(asked):
    wanted = {
        "Origin": "https://v.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    answer = asked.client.options("/collections", headers=wanted)
    assert answer.status_code == 200
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    refused = asked.client.get("/", headers={"Authorization": "Bearer x", "Origin": "https://v.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "*"


def test_outside_of_a_request_nothing_can_be_seen(hidden):
    backend = VisibleBackend(EmbeddedBackend(hidden.catalog))
    assert ASKING.get() is None
    assert backend.dataset_ids() == backend.catalog.dataset_ids() == []
    version = hidden.catalog.resolve("dem@v1")
    calls = [
        lambda: backend.dataset("dem"),
        lambda: backend.resolve("dem", "v1"),
        lambda: backend.find(version, "height"),
        lambda: backend.digest(version, "height"),
        lambda: backend.search([version], Query.parse(), limit=1, token=None),
        lambda: backend.catalog.dataset("dem"),
        lambda: backend.catalog.resolve("dem@v1"),
        lambda: backend.catalog.store.get("datasets/dem/versions/00000001.json"),
        lambda: list(backend.catalog.store.list("datasets/dem")),
        lambda: list(backend.catalog.store.list("")),
        lambda: list(backend.catalog.store.list("objects")),
        lambda: backend.catalog.store.folders("staging"),
        lambda: backend.catalog.store.get("gc/00000001.json"),
        lambda: backend.catalog.store.get("objects/../datasets/dem/versions/00000001.json"),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            call()
    assert backend.catalog.store.folders("datasets") == []
    assert backend.catalog.settings.title == "Test catalog"


def test_the_part_that_is_shown_cannot_be_written_to(hidden):
    store = VisibleBackend(EmbeddedBackend(hidden.catalog)).catalog.store
    writes = [
        lambda: store.put_new("objects/x", b""),
        lambda: store.put_stream("objects/x", [b""]),
        lambda: store.put_record("objects/x", b""),
        lambda: store.replace("objects/x", b""),
        lambda: store.delete(["stacpin.json"]),
        store.now,
    ]
    for write in writes:
        with pytest.raises(Forbidden):
            write()


def test_without_access_settings_all_is_as_before(hidden):
    open_to_all = Asked(str(hidden.folder), None)
    answer = open_to_all.client.get("/collections/roads--v1/items/r01")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "authorization" not in answer.headers.get("vary", "").lower()
    href = answer.json()["assets"]["cover"]["href"]
    assert "?" not in href
    assert open_to_all.client.get(href).status_code == 200
    assert open_to_all.client.get(f"{href}?expires=1&signature=x").status_code == 400


def test_what_a_reader_may_see_is_found_by_every_route(asked):
    """The walk, by somebody who may: otherwise it would prove nothing."""
    walked = [r for r in requests(asked.client.get("/api").json()) if "<ds>" in str(r)]
    found = [r for r in walked if ask(asked, r, HIDDEN, bearer("ann"))[0].status_code in {200, 307}]
    assert len({path.partition("?")[0] for _, path, _ in found}) > 15


def test_a_catalog_that_is_opened_elsewhere_shows_everything(hidden):
    assert Catalog.open(str(hidden.folder)).dataset_ids() == ["dem", "landcover", "roads"]
