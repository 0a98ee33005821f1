"""What draws tiles and pictures: whether its libraries are here, and a few threads with a short queue before them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import lru_cache
from http import HTTPStatus
from importlib import import_module
from importlib.util import find_spec
from threading import Lock

from starlette.responses import Response

from api.errors import problem

__all__ = ["Drawing", "can_draw", "load_libraries"]

# What the extra `service` brings for pictures; nothing of it is imported before something is drawn.
_LIBRARIES = ("mapbox_vector_tile", "pyogrio", "rasterio", "rio_tiler", "titiler.core")
_RETRY_SECONDS = 2
_loading = Lock()


@lru_cache(maxsize=1)
def can_draw() -> bool:
    """Whether the libraries that draw are installed; without them the API has no pictures and no links to any."""
    try:
        return all(find_spec(name) is not None for name in _LIBRARIES)
    except ModuleNotFoundError:  # the parent of titiler.core
        return False


def load_libraries() -> None:
    """Import rio-tiler whole, in one thread; call it before anything is imported from it.

    Its modules import each other in a circle, which fails where two threads begin it: two thumbnails at the start of a
    server gave an ImportError.
    """
    with _loading:
        import_module("rio_tiler.io")


class Drawing:
    """Draws a few answers at once. Threads of its own, so that searches never wait for a picture.

    Parameters
    ----------
    at_once
        How many are drawn side by side.
    waiting
        How many more may wait. A map asks for some thirty tiles at a time: to refuse at once would leave holes in it.
    """

    def __init__(self, *, at_once: int, waiting: int) -> None:
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="drawing")
        self._most = at_once + waiting
        self._lock = Lock()
        self._begun = 0

    async def run(self, draw: Callable[[], Response]) -> Response:
        """What ``draw`` answers, or 503 with ``Retry-After`` where too many wait already."""
        with self._lock:
            if self._begun >= self._most:
                return self._busy()
            self._begun += 1
        try:
            # With what is known of the request: what is drawn is read as whoever asks may read.
            future = self._threads.submit(copy_context().run, draw)
        except BaseException:
            self._ended()
            raise
        future.add_done_callback(self._ended)
        # One that is cancelled because its client has gone is not drawn, if it has not begun.
        return await asyncio.wrap_future(future)

    def _ended(self, _: Future[Response] | None = None) -> None:
        with self._lock:
            self._begun -= 1

    def _busy(self) -> Response:
        return problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "busy",
            f"{self._most} tiles and pictures are being drawn or wait for it.",
            "Ask again in some seconds.",
            **{"Retry-After": str(_RETRY_SECONDS)},
        )
