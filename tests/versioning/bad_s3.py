"""A tiny S3 server that misbehaves as a test asks it to: a process of its own, reached over real HTTP.

It answers what obstore asks of a bucket (create, read, list, delete), checks no signatures, and takes orders as JSON by
``POST /-/``: ``ignore`` (preconditions are ignored), ``fail`` (answer with this status and code), ``lose`` (do it, then
cut the connection without an answer), ``cut`` (send half of a body).
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

OBJECTS: dict[str, bytes] = {}
ORDERS: dict[str, Any] = {}
REQUESTS: list[str] = []
LOCK = Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Otherwise each answer waits 40 ms for the acknowledgement of its headers.
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        if url.path == "/-/":
            ORDERS.clear()
            ORDERS.update(json.loads(body))
            told = list(REQUESTS)
            REQUESTS.clear()
            self._answer(200, json.dumps(told).encode())
            return
        key, query = unquote(url.path).lstrip("/"), parse_qs(url.query, keep_blank_values=True)
        REQUESTS.append(f"{self.command} {key}")
        if self._wanted("fail", key):
            order = ORDERS["fail"]
            self._error(order["status"], order["code"], order["message"], order.get("more", ""))
            return
        getattr(self, f"_do_{self.command.lower()}")(key, query, body)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _handle  # noqa: N815 - the names that http.server wants

    def _wanted(self, order: str, key: str) -> bool:
        """Whether an order is for this request; with ``times`` it counts down."""
        told = ORDERS.get(order)
        if not told or not re.search(told["match"], f"{self.command} {key}?{urlsplit(self.path).query}"):
            return False
        with LOCK:
            left = told.get("times", 1_000_000)
            told["times"] = left - 1
        return left > 0

    def _do_put(self, key: str, query: dict[str, list[str]], body: bytes) -> None:
        with LOCK:
            taken = key in OBJECTS and self.headers.get("If-None-Match") == "*" and not ORDERS.get("ignore")
            if not taken:
                OBJECTS[key] = body
        if self._wanted("lose", key):
            self._cut()
        elif taken:
            self._error(412, "PreconditionFailed")
        else:
            self._answer(200, b"", ETag=_etag(body))

    def _do_get(self, key: str, query: dict[str, list[str]], body: bytes) -> None:
        if "list-type" in query:
            bucket, prefix = key.rstrip("/"), query.get("prefix", [""])[0]
            after = f"{bucket}/{query.get('start-after', [''])[0]}"
            found = sorted(each for each in OBJECTS if each.startswith(f"{bucket}/{prefix}") and each > after)
            rows = "".join(
                f"<Contents><Key>{escape(each.partition('/')[2])}</Key><Size>{len(OBJECTS[each])}</Size>"
                "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
                for each in found
            )
            self._answer(200, f"<ListBucketResult>{rows}<IsTruncated>false</IsTruncated></ListBucketResult>".encode())
            return
        data = OBJECTS.get(key)
        if data is None:
            self._error(404, "NoSuchKey")
            return
        status, extra = 200, {}
        if ranged := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            start, end = int(ranged[1]), min(int(ranged[2] or len(data)), len(data) - 1)
            extra = {"Content-Range": f"bytes {start}-{end}/{len(data)}"}
            status, data = 206, data[start : end + 1]
        self._answer(status, data, cut=self._wanted("cut", key), ETag=_etag(OBJECTS[key]), **extra)

    _do_head = _do_get

    def _do_delete(self, key: str, query: dict[str, list[str]], body: bytes) -> None:
        OBJECTS.pop(key, None)
        self._answer(204, b"")

    def _do_post(self, key: str, query: dict[str, list[str]], body: bytes) -> None:
        for name in re.findall(r"<Key>([^<]+)</Key>", body.decode()):
            OBJECTS.pop(f"{key.rstrip('/')}/{name}", None)
        self._answer(200, b"<DeleteResult></DeleteResult>")

    def _error(self, status: int, code: str, message: str = "no", more: str = "") -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>".encode())

    def _answer(self, status: int, body: bytes, *, cut: bool = False, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Last-Modified", self.date_time_string())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)


def _etag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'


@dataclass(frozen=True)
class BadServer:
    """A running server. ``environment`` is what a client needs in its environment variables."""

    endpoint: str
    process: subprocess.Popen[bytes]

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "anyone",
            "AWS_SECRET_ACCESS_KEY": "anything",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def order(self, **orders: Any) -> list[str]:
        """Give orders instead of those before; returns the requests since the last time."""
        request = urllib.request.Request(f"{self.endpoint}/-/", json.dumps(orders).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def fail(self, match: str, status: int, code: str, message: str = "no", **more: Any) -> None:
        self.order(fail={"match": match, "status": status, "code": code, "message": message, **more})


@contextmanager
def run_bad_s3() -> Iterator[BadServer]:
    """Start a server; it is ended by its process id."""
    process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield BadServer(f"http://127.0.0.1:{port}", process)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
