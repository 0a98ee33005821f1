"""HTTP/1.1 for uvicorn, with two things that it lacks: refusals as JSON, and no client that sends for ever.

uvicorn bounds the time between requests, not the time that a request takes to arrive: clients that send a byte now and
then (Slowloris) would hold all connections.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.errors import problem

__all__ = ["BoundedProtocol", "Config"]

_MANAGEMENT = ("/_mgmt/ping", "/_mgmt/health", "/_mgmt/metrics")


class Config(uvicorn.Config):
    """uvicorn's configuration, and the seconds that a client has for the head of a request."""

    client_seconds: float = 30.0


class BoundedProtocol(H11Protocol):
    """One connection."""

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._seconds = config.client_seconds if isinstance(config, Config) else Config.client_seconds
        self._arriving: asyncio.TimerHandle | None = None
        # uvicorn refuses in plain text, and probes too: a service that is busy would be restarted for it.
        self._most, self.limit_concurrency = self.limit_concurrency, None
        self._inner: ASGIApp = self.app  # pyright: ignore[reportAttributeAccessIssue] - the same protocol, typed twice
        self.app = self._admit

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what has come, and go on waiting if that is no whole head of a request."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()  # the body, if any, is waited for by the application
        elif self._arriving is None and self.timeout_keep_alive_task is None:
            self._arriving = self.loop.call_later(self._seconds, self._too_slow)

    def _forget(self) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None

    def _too_slow(self) -> None:
        self._arriving = None
        if self.transport.is_closing() or (self.cycle is not None and not self.cycle.response_complete):
            return
        # Browsers open connections that they then do not need: those are only closed.
        if self.conn.trailing_data[0] and self.conn.our_state is h11.IDLE:
            answer = problem(408, "timeout", f"The request did not arrive within {self._seconds:g} seconds.")
            headers = [*answer.raw_headers, (b"connection", b"close")]
            for event in (
                h11.Response(status_code=408, headers=headers),
                h11.Data(data=bytes(answer.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._most is not None and len(self.connections) > self._most and not scope["path"].endswith(_MANAGEMENT):
            busy = problem(
                503,
                "busy",
                "The service has as many connections as it takes.",
                "Ask again in a moment, with fewer connections at once.",
                **{"Retry-After": "2", "Connection": "close"},
            )
            await busy(scope, receive, send)
            return
        await self._inner(scope, receive, send)
