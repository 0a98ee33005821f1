"""So many searches at once and no more: the others wait outside, and hold no thread that another route could use."""

from __future__ import annotations

import asyncio
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.middleware import route_path

__all__ = ["SearchLane"]

_SEARCHES = re.compile(r"/search|/collections/[^/]+/items")
# Of the 40 threads that work at requests. The index has 8 connections for them.
_AT_ONCE = 16


class SearchLane:
    """Lets searches in, in the order in which they came, until their answers begin."""

    def __init__(self, app: ASGIApp, at_once: int = _AT_ONCE) -> None:
        self.app = app
        self._free = asyncio.Semaphore(at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or _SEARCHES.fullmatch(route_path(scope)) is None:
            await self.app(scope, receive, send)
            return
        await self._free.acquire()
        inside = True

        def leave() -> None:
            nonlocal inside
            if inside:
                inside = False
                self._free.release()

        async def begun(message: Message) -> None:
            leave()  # whoever reads slowly keeps nobody from searching
            await send(message)

        try:
            await self.app(scope, receive, begun)
        finally:
            leave()
