"""No answer is waited for without end: a request whose answer does not begin in time gets 503."""

from __future__ import annotations

import asyncio
import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem

__all__ = ["Deadline"]

_log = logging.getLogger(__name__)


class Deadline:
    """Answers 503 in the place of an application that takes too long to begin.

    What it works at cannot be broken off where it waits for a store in a thread; it ends when the store gives up, and
    whatever it then says goes nowhere. An answer that has begun may take as long as its client reads.

    Parameters
    ----------
    app
        What answers.
    seconds
        The time until an answer must have begun.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = over = False
        told: list[asyncio.Task[None]] = []

        def give_up() -> None:
            nonlocal over
            if began:
                return
            over = True
            _log.error("%s %s had no answer after %g s", scope["method"], ascii(scope["path"])[1:-1], self.seconds)
            answer = problem(
                503,
                "timeout",
                f"There was no answer within {self.seconds:g} seconds.",
                "Ask for less at once, or again later.",
                **{"Retry-After": "10"},
            )
            told.append(asyncio.ensure_future(answer(scope, receive, send)))

        async def in_time(message: Message) -> None:
            nonlocal began
            if over:
                return
            began = True
            await send(message)

        timer = asyncio.get_running_loop().call_later(self.seconds, give_up)
        try:
            await self.app(scope, receive, in_time)
        except Exception:
            if not over:
                raise
            _log.exception("a request that had its answer already (timeout) failed")
        finally:
            timer.cancel()
            if told:
                await told[0]
