"""One request from its first byte to its last: its id, its line in the log, its part in the metrics."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.service.logs import REQUEST_ID, request_id_of

if TYPE_CHECKING:
    from api.service.metrics import Metrics

__all__ = ["RequestWatch", "RouteNote", "route_of"]

_log = logging.getLogger(__name__)
_SEEN = "stacpin.seen"
_UNMATCHED = "none"


@dataclass(slots=True)
class _Seen:
    """What becomes known of a request on its way: layers between copy the scope, but not this."""

    route: str = _UNMATCHED
    status: int = 500
    sent: int = 0
    began: float | None = None


class RequestWatch:
    """The outermost layer: gives each request its id (``X-Request-ID``), and tells of it when its answer has ended.

    Parameters
    ----------
    app
        What answers.
    metrics
        Where it is counted, if anywhere.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics | None = None) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name = request_id_of(Headers(scope=scope).get("x-request-id"))
        # Never taken back: what logs an error of this request does so outside of this layer.
        REQUEST_ID.set(name)
        seen = scope[_SEEN] = _Seen()
        start = time.perf_counter()

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.status, seen.began = message["status"], time.perf_counter()
                MutableHeaders(scope=message)["x-request-id"] = name
            elif message["type"] == "http.response.body":
                seen.sent += len(message.get("body", b""))
            await send(message)

        if self.metrics:
            self.metrics.running.inc()
        try:
            await self.app(scope, receive, noted)
        finally:
            if self.metrics:
                self.metrics.running.dec()
            self._tell(scope, seen, start)

    def _tell(self, scope: Scope, seen: _Seen, start: float) -> None:
        end = time.perf_counter()
        if self.metrics:
            self.metrics.answered(
                scope["method"],
                seen.route,
                seen.status,
                seconds=(seen.began or end) - start,
                sent=seen.sent,
                conditional="if-none-match" in Headers(scope=scope),
            )
        if _log.isEnabledFor(logging.INFO):
            client = scope.get("client")
            fields: dict[str, Any] = {
                "client": client[0] if client else None,
                "method": scope["method"],
                # Without its query: what is asked for is not the operator's, and signatures stand there.
                "path": scope["path"],
                "route": seen.route,
                "status": seen.status,
                "bytes": seen.sent,
                "seconds": round(end - start, 6),
            }
            text = f"{fields['client']} {ascii(fields['method'])[1:-1]} {ascii(fields['path'])[1:-1]} {seen.status}"
            took = f"{seen.sent} bytes, {end - start:.3f} s [{REQUEST_ID.get()}]"
            _log.info("%s, %s", text, took, extra={"fields": fields})


class RouteNote:
    """The innermost layer, where the scope is the router's own: takes down which route answered."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        try:
            await self.app(scope, receive, send)
        finally:
            seen = scope.get(_SEEN)
            if isinstance(seen, _Seen):
                seen.route = route_of(scope)


def route_of(scope: Scope) -> str:
    """The template of the route that a router has chosen, or ``none``: there are as many as there are routes."""
    path = getattr(scope.get("route"), "path", None)
    if isinstance(path, str):
        return path
    if "app_root_path" in scope and "endpoint" in scope:  # a folder of files that is mounted
        return scope["root_path"].removeprefix(scope["app_root_path"]) + "/{path}"
    return _UNMATCHED
