"""Pins from an API that asks who reads: the token goes to that API alone, and signed hrefs are followed."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from loader_servers import serving

from api.access.bearer import hash_of, new_token
from api.access.settings import AccessSettings
from api.app import create_app
from api.settings import ApiSettings
from loaders import open as open_pin
from loaders.remote import HttpReader
from versioning.errors import Forbidden, NotFound

TOKEN = new_token()


def guarded(url: str, tmp_path, public=()):
    settings = AccessSettings.model_validate(
        {
            "public": list(public),
            "token": [{"name": "trainer", "sha256": hash_of(TOKEN), "scopes": ["read:fields"]}],
            "hrefs": {"keys": [{"value": "k" * 40}]},
            "folder": tmp_path,
        }
    )
    return serving(create_app(ApiSettings(catalog=url, access=settings)))


def test_with_a_token(fields_template, tmp_path, monkeypatch):
    with guarded(fields_template.url, tmp_path) as base:
        monkeypatch.delenv("STACPIN_TOKEN", raising=False)
        with pytest.raises(NotFound, match="no dataset"):
            open_pin(base, "fields")
        monkeypatch.setenv("STACPIN_TOKEN", "wrong")
        with pytest.raises(Forbidden, match="not valid here"):
            open_pin(base, "fields")
        monkeypatch.setenv("STACPIN_TOKEN", TOKEN)
        pin = open_pin(base, "fields@v2")
        local = open_pin(fields_template.url, "fields@v2")
        assert [asset.stored for asset in pin.assets()] == [asset.stored for asset in local.assets()]
        assert all("signature=" in asset.href for asset in pin.assets() if asset.stored.startswith("objects/"))
        assert pin.verify().ok
        pin.pull(tmp_path / "data")
        local.pull(tmp_path / "other")
        files = {path.relative_to(tmp_path / "data"): path.read_bytes() for path in (tmp_path / "data").rglob("*.tif")}
        assert files
        assert all((tmp_path / "other" / name).read_bytes() == data for name, data in files.items())


def test_hrefs_that_are_not_good_any_more_are_asked_for_again(fields_template, tmp_path, monkeypatch):
    monkeypatch.delenv("STACPIN_TOKEN", raising=False)
    with guarded(fields_template.url, tmp_path, ["fields"]) as base:
        source = open_pin(base, "fields@v2").source
        asset = next(asset for row in source.rows(_all()) for asset in row.assets if asset.stored)
        whole = b"".join(source.read(asset))
        for signed in ("", "?expires=1&signature=x"):
            source._signed[asset.href] = signed
            assert b"".join(source.read(asset)) == whole
            source._signed[asset.href] = signed
            assert source.peek(asset).size == len(whole)


def _all():
    from catalog.query import Query

    return Query()


class _Elsewhere(BaseHTTPRequestHandler):
    seen: list[str | None] = []  # noqa: RUF012 - what came to the server

    def do_GET(self):
        self.seen.append(self.headers.get("Authorization"))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


def test_a_token_goes_to_its_api_and_to_nobody_else():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        base = f"http://127.0.0.1:{server.server_port}/stac"
        reader = HttpReader(base, "secret")
        for path, sent in (("", True), ("/search", True), ("?x=1", True), ("x", False), ("/../x", True)):
            _Elsewhere.seen.clear()
            reader.json(base + path)
            assert _Elsewhere.seen == ["Bearer secret" if sent else None], path
        _Elsewhere.seen.clear()
        reader.json(f"http://localhost:{server.server_port}/stac/x")
        HttpReader().json(base)
        HttpReader(base, None).json(base)
        assert _Elsewhere.seen == [None, None, None]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
