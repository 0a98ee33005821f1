"""Patience with a store that does not answer: the same call again, with growing pauses, until a limit."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from versioning.errors import StorageUnavailable

__all__ = ["Patience"]

_T = TypeVar("_T")
# After these a second attempt could seem to work and keep nothing: the system forgets what it failed to write.
_FINAL = {"disk-error"}
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


class Patience:
    """Calls again what the store did not do. Only for what may be done twice.

    obstore has tried again for a minute before a store counts as unavailable, so this is for outages.

    Parameters
    ----------
    limit
        How long one call is made again.
    """

    def __init__(self, limit: timedelta) -> None:
        self._limit = limit.total_seconds()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.retries = 0

    def end(self) -> None:
        """Wait no longer: the next failure is final, in every thread."""
        self._over.set()

    def __call__(self, call: Callable[[], _T]) -> _T:
        """What ``call`` gives.

        Raises
        ------
        StorageUnavailable
            If the store still does not answer at the limit, or if its disk has failed.
        """
        end, pause = time.monotonic() + self._limit, _FIRST_PAUSE
        while True:
            try:
                return call()
            except StorageUnavailable as error:
                # Several writers that lost the same store shall not come back at the same moment.
                rest = pause * random.uniform(0.5, 1)  # noqa: S311 - no secret
                if error.kind in _FINAL or time.monotonic() + rest > end:
                    raise
                with self._lock:
                    self.retries += 1
                if self._over.wait(rest):
                    raise
            pause = min(2 * pause, _LONGEST_PAUSE)
