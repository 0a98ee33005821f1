"""Headers that tell web browsers to be careful with what this service answers."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["BROWSER_POLICY", "SecurityHeaders"]

# STAC Browser's own files alone run. Its styles are set by scripts, rasters are decoded in workers that OpenLayers and
# geotiff.js make of blobs and data, and tiles, thumbnails and assets that are referenced in place lie on any host.
_DIRECTIVES = {
    "default-src": "'self'",
    "script-src": "'self'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob: https: http:",
    "font-src": "'self' data:",
    "connect-src": "'self' data: blob: https: http:",
    "worker-src": "'self' blob: data:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'self'",
}
BROWSER_POLICY = "; ".join(f"{name} {sources}" for name, sources in _DIRECTIVES.items())


class SecurityHeaders:
    """Sets what an answer has not set itself.

    ``Referrer-Policy`` keeps paths and queries from other hosts, and still names the origin: the tile servers of
    OpenStreetMap refuse requests without one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        root = scope.get("root_path", "")
        in_browser = scope["path"].removeprefix(root).startswith("/browser/")

        async def careful(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("x-content-type-options", "nosniff")
                headers.setdefault("referrer-policy", "strict-origin-when-cross-origin")
                if in_browser:
                    headers.setdefault("content-security-policy", BROWSER_POLICY)
            await send(message)

        await self.app(scope, receive, careful)
