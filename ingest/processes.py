"""Processes of our own, started when they are first needed; they stay for all steps of a run.

Each takes 1 to 2 s of CPU to import what it needs, so inspecting and converting share them.
"""

from __future__ import annotations

import multiprocessing
import signal
import weakref
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from typing import Self, TypeVar

from ingest.imports import import_later

__all__ = ["Processes"]

_Answer = TypeVar("_Answer")


class Processes:
    """At most so many processes. Who leaves the ``with`` block, or drops the object, ends them."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pool(self) -> Executor:
        """The processes; after `close`, new ones."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            pool = self._pool = ProcessPoolExecutor(self.most, mp_context=context, initializer=_begin)
            weakref.finalize(self, pool.shutdown, wait=False, cancel_futures=True)
        return self._pool

    def ask(self, function: Callable[[], _Answer]) -> _Answer:
        """What a function says in one of the processes, if there are any; else here."""
        if self._pool is None:
            return function()
        try:
            return self._pool.submit(function).result()
        except BrokenExecutor:
            return function()

    def close(self) -> None:
        """End them, after what they are at."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """Leave Ctrl-C to the process that started this one, and boto3 until it is needed.

    Ctrl-C goes to all processes of a terminal; the one that started them ends them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import_later("boto3")
