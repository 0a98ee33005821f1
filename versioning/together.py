"""Several requests at once where each takes a round trip, and one after the other where none does.

Threads work in the context of whoever asks: an API knows by it who reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from versioning.store import Store

__all__ = ["both", "together"]

_AT_ONCE = 16
_Out = TypeVar("_Out")
_Other = TypeVar("_Other")


def together(store: Store, tasks: Sequence[Callable[[], _Out]]) -> list[_Out]:
    """What the tasks return, in their order; of several errors the first in that order is raised."""
    if len(tasks) < 2 or _near(store):  # noqa: PLR2004 - one task has nothing to wait for
        return [task() for task in tasks]
    with ThreadPoolExecutor(min(_AT_ONCE, len(tasks))) as pool:
        return [future.result() for future in [pool.submit(copy_context().run, task) for task in tasks]]


def both(store: Store, one: Callable[[], _Out], other: Callable[[], _Other]) -> tuple[_Out, _Other]:
    """What two tasks return."""
    if _near(store):
        return one(), other()
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(copy_context().run, other)
        return one(), later.result()


def _near(store: Store) -> bool:
    """A local file is read in 0.1 ms, which is less than a thread takes to start."""
    return store.local_root is not None or store.url.startswith("memory:")
