"""What surrounds every answer: ids, logs, time limits, compression, and headers for web browsers."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import threading

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.middleware import BodyLimit
from api.service.encoding import choose
from api.service.logs import REQUEST_ID, JsonLines, RequestIds, configuration
from api.service.security import BROWSER_POLICY

PAGE = "/collections/landcover--v1/items"


# -- ids


def test_a_sane_id_is_taken(client):
    for name in ("0f8fad5b-d9cb-469f-a165-70867728950e", "Root=1-67891233-abcdef012345678912345678", "a" * 128):
        assert client.get("/", headers={"X-Request-ID": name}).headers["x-request-id"] == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "short",
        "a" * 129,
        "a b c d e f",
        "<script>alert(1)</script>",
        "äöüäöüäöü".encode(),
        "-rf /////////",
        '"quoted-id"',
    ],
)
def test_any_other_is_replaced(client, name):
    given_back = client.get("/", headers={"X-Request-ID": name}).headers["x-request-id"]
    assert len(given_back) == 32
    assert int(given_back, 16) >= 0


def test_every_answer_has_an_id_of_its_own(client, monkeypatch):
    monkeypatch.setattr("api.core.collection_document", lambda *_: 1 / 0)
    answers = [client.get(path) for path in ("/", "/", "/nothing", "/search?x=1", "/collections/landcover--v1", PAGE)]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 400, 500, 200]
    names = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(names)) == len(names)


# -- logs


@pytest.fixture
def logged(caplog):
    caplog.set_level(logging.INFO, logger="api.service.requests")
    caplog.handler.addFilter(RequestIds())
    return caplog


def lines(caplog) -> list[dict]:
    return [json.loads(JsonLines().format(record)) for record in caplog.records]


def test_a_line_for_each_request(client, logged):
    answer = client.get(f"{PAGE}?limit=2&signature=secret", headers={"X-Request-ID": "asked-by-me"})
    assert answer.status_code == 400
    client.get(f"{PAGE}?limit=2", headers={"Accept-Encoding": "identity"})
    first, second = (line for line in lines(logged) if line["logger"] == "api.service.requests")
    assert (first["request_id"], first["status"], first["method"]) == ("asked-by-me", 400, "GET")
    assert (second["route"], second["path"]) == ("/collections/{collection_id}/items", PAGE)
    assert second["bytes"] == len(client.get(f"{PAGE}?limit=2", headers={"Accept-Encoding": "identity"}).content)
    assert 0 <= second["seconds"] < 60
    # Signatures of addresses stand in queries, tokens in headers: neither is written down.
    assert "secret" not in logged.text


def test_a_defect_is_logged_with_the_id_that_the_client_was_told(client, logged, monkeypatch):
    monkeypatch.setattr("api.core.collection_document", lambda *_: 1 / 0)
    name = client.get("/collections/landcover--v1").headers["x-request-id"]
    failed = [line for line in lines(logged) if "exception" in line]
    assert "ZeroDivisionError" in failed[0]["exception"]
    assert {line["request_id"] for line in lines(logged)} == {name}


def test_no_request_can_forge_a_line(client, logged):
    client.get("/nothing%0a%7b%22level%22:%22error%22%7d%0d%1b%5b31m")
    for form in (JsonLines(), logging.Formatter("%(message)s")):
        for record in logged.records:
            text = form.format(record)
            assert "\n" not in text
            assert "\r" not in text
            assert "\x1b" not in text


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_configuration_is_one(form):
    import logging.config

    before = logging.root.handlers[:]
    try:
        logging.config.dictConfig(configuration(form, "warning", requests=True))
        (handler,) = [each for each in logging.root.handlers if each not in before]
        REQUEST_ID.set("of-this-request")
        record = logging.LogRecord("api", logging.ERROR, "", 0, "said %s", ("this",), None)
        assert handler.filter(record)
        text = handler.format(record)
    finally:
        logging.root.handlers[:] = before
        logging.getLogger("api").setLevel(logging.NOTSET)
        logging.getLogger("api.service.requests").setLevel(logging.NOTSET)
    if form == "text":
        assert text == "ERROR: said this [of-this-request]"
    else:
        assert {**json.loads(text), "time": 0} == {
            "time": 0, "level": "error", "logger": "api", "message": "said this", "request_id": "of-this-request",
        }  # fmt: skip


# -- time limits


def test_an_answer_that_does_not_come(client_of, site, monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr("api.core.collection_document", lambda *_: ended.wait(60) and {"links": []})
    client = client_of(site, request_seconds=0.1, metrics="path")
    threading.Timer(1.0, ended.set).start()
    answer = client.get("/collections/landcover--v1")
    assert (answer.status_code, answer.json()["code"]) == (503, "timeout")
    assert answer.headers["retry-after"] == "10"
    labels = {"method": "GET", "route": "/collections/{collection_id}", "status": "5xx"}
    assert client.app.state.metrics.registry.get_sample_value("stacpin_http_requests_total", labels) == 1


def test_an_answer_that_has_begun_may_take_its_time(client_of, site):
    whole = client_of(site).get("/collections/landcover--v1/assets").content
    assert client_of(site, request_seconds=30).get("/collections/landcover--v1/assets").content == whole


def test_a_body_that_does_not_come():
    async def run() -> list[dict]:
        sent = []

        async def receive():
            if not sent:
                await asyncio.sleep(30)
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        async def app(*_):
            raise AssertionError

        scope = {"type": "http", "method": "POST", "path": "/search", "headers": []}
        await BodyLimit(app, limit=100, seconds=0.05)(scope, receive, send)
        return sent

    start, body = asyncio.run(run())
    assert start["status"] == 408
    assert json.loads(body["body"])["code"] == "timeout"


# -- compression


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        (None, "identity"),
        ("", "identity"),
        ("identity", "identity"),
        ("gzip", "gzip"),
        ("br", "br"),
        ("gzip, deflate, br", "br"),
        ("gzip, deflate", "gzip"),
        ("br;q=0, gzip", "gzip"),
        ("br;q=0", "identity"),
        ("br;q=0.5, gzip;q=0.8", "gzip"),
        ("br;q=0.8,gzip;q=0.5", "br"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("*", "br"),
        ("*;q=0", "identity"),
        ("br;q=0, *", "gzip"),
        ("gzip;q=0.5, identity", "identity"),
        ("gzip;q=0.5, identity;q=0.2", "gzip"),
        ("brotli", "identity"),
        ("gzip;q=2", "identity"),
        ("gzip;q=abc", "identity"),
        ("zstd, gzip ; Q=0.9", "gzip"),
        ("x-br-y", "identity"),
    ],
)
def test_the_client_chooses_how_an_answer_is_compressed(client, accepted, chosen):
    assert choose(accepted) == chosen
    headers = {"Accept-Encoding": accepted} if accepted is not None else {"Accept-Encoding": ""}
    with client.stream("GET", PAGE, headers=headers) as answer:
        assert answer.headers.get("content-encoding", "identity") == chosen
        assert answer.headers["vary"].split(", ").count("Accept-Encoding") == 1
        body = b"".join(answer.iter_raw())
    plain = {"br": brotli.decompress, "gzip": gzip.decompress, "identity": bytes}[chosen](body)
    assert json.loads(plain)["numberMatched"] == 5


@given(st.text(max_size=200))
def test_any_header_means_something(text):
    assert choose(text) in {"br", "gzip", "identity"}


def test_what_has_ranges_is_never_compressed(client):
    href = client.get(f"{PAGE}/t01").json()["assets"]["note"]["href"]
    answer = client.get(href, headers={"Accept-Encoding": "gzip, br"})
    assert "content-encoding" not in answer.headers
    assert "Accept-Encoding" not in answer.headers.get("vary", "")


# -- web browsers


def test_every_site_may_ask_unless_told(client):
    answer = client.get("/", headers={"Origin": "https://example.org"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    assert {"ETag", "X-Request-ID", "Retry-After"} <= set(answer.headers["access-control-expose-headers"].split(", "))


def test_only_some_sites_may_ask(client_of, site):
    client = client_of(site, cors_origins=("https://example.org", "http://localhost:3000"))
    for origin in ("https://example.org", "http://localhost:3000"):
        answer = client.get("/", headers={"Origin": origin})
        assert answer.headers["access-control-allow-origin"] == origin
        assert "Origin" in answer.headers["vary"]
    for origin in ("https://example.org.evil.test", "http://example.org", "null", "https://sub.example.org"):
        assert "access-control-allow-origin" not in client.get("/", headers={"Origin": origin}).headers
    assert (
        "access-control-allow-origin"
        not in client_of(site, cors_origins=()).get("/", headers={"Origin": "http://x"}).headers
    )


@pytest.mark.parametrize(
    "origins",
    [
        ("*", "https://x"),
        ("x",),
        ("https://x/",),
        ("https://x/y",),
        ("ftp://x",),
        ("https://*.x",),
        ("https://a@x",),
        ("",),
    ],
)
def test_what_is_no_origin(client_of, site, origins):
    with pytest.raises(ValueError, match="cors_origins"):
        client_of(site, cors_origins=origins)


def test_headers_for_web_browsers(client, client_of, site, tmp_path):
    dist = tmp_path / "dist"
    dist.mkdir()
    (dist / "index.html").write_text("<title>x</title>")
    for path in ("/", "/nothing", PAGE, "/files/", "/api.html", "/_mgmt/ping"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "strict-origin-when-cross-origin", path
    for options, root in (({}, ""), ({"public_url": "https://example.org/stac"}, "/stac")):
        browser = client_of(site, browser_dir=dist, **options)
        for path in ("/browser/", "/browser/collections/landcover", "/browser/config.js"):
            assert browser.get(root + path).headers["content-security-policy"] == BROWSER_POLICY, path
        assert "content-security-policy" not in browser.get(root + "/api.html").headers
    # A page of ours that has stricter rules keeps them.
    assert "default-src 'none'" in client.get("/files/").headers["content-security-policy"]
