"""An API that answers without end is stopped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from loaders import open as open_pin
from loaders.remote import HttpReader
from versioning.errors import InvalidInput, StorageUnavailable


class _Endless(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    sent = 0

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        if self.path == "/good":
            self.send_header("Content-Length", "7")
            self.end_headers()
            self.wfile.write(b'{"a":1}')
            return
        if self.path == "/text":
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"<html")
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        block = b" " * 65536
        try:
            for _ in range(4096):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
                type(self).sent += len(block)
        except OSError:
            return

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endless() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Endless)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_endless_json(endless: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("loaders.remote._JSON", 2_000_000)
    with pytest.raises(InvalidInput, match="more than 2000000 bytes of JSON") as caught:
        HttpReader().json(f"{endless}/x")
    assert (caught.value.kind, bool(caught.value.hint)) == ("too-large", True)
    assert _Endless.sent < 64_000_000
    with pytest.raises(InvalidInput, match="more than"):
        open_pin(endless, "ds@v1")
    assert HttpReader().json(f"{endless}/good") == {"a": 1}
    with pytest.raises(StorageUnavailable, match="did not answer with JSON"):
        HttpReader().json(f"{endless}/text")
