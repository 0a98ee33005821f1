"""The end of the service: readiness goes first, then no more connections, then what runs may finish, then exit.

A load balancer needs a moment to see that an instance wants nothing more; for ``drain_seconds`` it is still answered.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from api.service.health import Health

__all__ = ["Stopping"]

_log = logging.getLogger(__name__)
# For the layers of the server to close what they hold, after the last request was broken off.
_GRACE = 5.0


class Stopping:
    """An application that hears SIGTERM and SIGINT before its server does.

    Parameters
    ----------
    app
        The application.
    health
        Its readiness.
    drain_seconds
        How long it goes on as before, but for its readiness.
    shutdown_seconds
        How long the server lets requests finish. A thread that hangs in the store longer than that, and cannot be
        broken off, does not keep the process: it ends a few seconds later without it.
    """

    def __init__(self, app: ASGIApp, health: Health, *, drain_seconds: float, shutdown_seconds: float) -> None:
        self.app = app
        self._health = health
        self._drain = drain_seconds
        self._longest = drain_seconds + shutdown_seconds + _GRACE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take over the signals when the server begins, which has set its own handlers by then."""
        if scope["type"] == "lifespan" and threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                handler = signal.getsignal(number)
                if callable(handler):
                    signal.signal(number, self._heard(handler, loop))
        await self.app(scope, receive, send)

    def _heard(
        self, handler: Callable[[int, FrameType | None], Any], loop: asyncio.AbstractEventLoop
    ) -> Callable[[int, FrameType | None], None]:
        def heard(number: int, frame: FrameType | None) -> None:
            again, self._health.stopping = self._health.stopping, True
            if not again:
                timer = threading.Timer(self._longest, _leave)
                timer.daemon = True
                timer.start()
            if again or not self._drain:
                handler(number, frame)
            else:
                loop.call_soon_threadsafe(loop.call_later, self._drain, handler, number, None)

        return heard


def _leave() -> None:
    _log.error("some request could not be broken off: the process ends without it")
    logging.shutdown()
    sys.stderr.flush()
    os._exit(0)
