"""What wraps every request: the public address, HEAD, the size of bodies, and ETags of compressed answers."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem

__all__ = ["UNCOMPRESSED", "BodyLimit", "EncodedETags", "HeadAsGet", "PublicAddress", "is_head", "route_path"]

# The Content-Encoding by which an answer says that it is compressed already. RFC 9110 (12.5.3) wants nobody to send it.
UNCOMPRESSED = "identity"
_HEAD = "stacpin.head"
_ENCODED = re.compile(r'-(?:br|gzip)"')


def is_head(scope: Scope) -> bool:
    """Whether the request was HEAD and is answered as GET, so that a body need not be made."""
    return bool(scope.get(_HEAD))


def route_path(scope: Scope) -> str:
    """The path that routes go by: without what a proxy has in front of it."""
    path, root = scope["path"], scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


class HeadAsGet:
    """Answers HEAD on every GET route, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        ended = False

        async def without_body(message: Message) -> None:
            nonlocal ended
            if message["type"] == "http.response.start":
                await send(message)
            elif message["type"] == "http.response.body" and not ended:
                ended = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self.app({**scope, "method": "GET", _HEAD: True}, receive, without_body)


class BodyLimit:
    """Refuses bodies above a size, whether or not they say their length, and those that take too long to arrive."""

    def __init__(self, app: ASGIApp, limit: int, seconds: float | None = None) -> None:
        self.app = app
        self.limit = limit
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD", "OPTIONS"}:
            await self.app(scope, receive, send)
            return
        # Read before the application runs, so that no half-read body reaches its parser.
        try:
            async with asyncio.timeout(self.seconds):
                body = await self._read(receive)
        except TimeoutError:
            body = problem(
                408, "timeout", f"The body did not arrive within {self.seconds:g} seconds.", "Send it again."
            )
        if not isinstance(body, bytes):
            if body is not None:
                await body(scope, receive, send)
            return
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self.app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes | Response | None:
        """The body, or why it is refused, or None if the client is gone."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.limit:
                return problem(413, "too-large", f"The body is larger than {self.limit:,} bytes.", "Send less.")
            if not message.get("more_body", False):
                return b"".join(parts)


class EncodedETags:
    """Gives a compressed answer an ETag of its own (RFC 9110, 8.8.3), and understands it when it comes back."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("if-none-match", "")
        suffixes = {match.group() for match in _ENCODED.finditer(asked)}
        if suffixes:
            plain = [(k, _ENCODED.sub('"', v.decode("latin-1")).encode("latin-1") if k == b"if-none-match" else v)
                     for k, v in scope["headers"]]  # fmt: skip
            scope = {**scope, "headers": plain}

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                etag, encoding = headers.get("etag"), headers.get("content-encoding")
                if encoding == UNCOMPRESSED:
                    del headers["content-encoding"]
                if etag and encoding in {"br", "gzip"} and not etag.startswith("W/"):
                    headers["etag"] = f'{etag[:-1]}-{encoding}"'
                elif etag and message["status"] == 304 and len(suffixes) == 1:  # noqa: PLR2004 - Not Modified
                    headers["etag"] = f"{etag[:-1]}{next(iter(suffixes))}"
            await send(message)

        await self.app(scope, receive, named)


class PublicAddress:
    """Makes requests look as if they came to the public address, so that every link is made with it."""

    def __init__(self, app: ASGIApp, *, url: str | None, root_path: str) -> None:
        self.app = app
        parts = urlsplit(url) if url else None
        self.scheme, self.host = (parts.scheme, parts.netloc.encode("latin-1")) if parts else (None, None)
        self.root = (parts.path.rstrip("/") if parts else "") or root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            scope = dict(scope)
            if self.scheme and self.host:
                headers = [(key, value) for key, value in scope["headers"] if key != b"host"]
                scope |= {"scheme": self.scheme, "headers": [*headers, (b"host", self.host)]}
            if self.root:
                # ASGI wants the path with its root; most proxies take the root away. People type the root alone.
                path = f"{self.root}/" if scope["path"] == self.root else scope["path"]
                under = path.startswith(f"{self.root}/")
                scope |= {"root_path": self.root, "path": path if under else self.root + path}
        await self.app(scope, receive, send)
