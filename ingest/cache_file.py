"""A small SQLite file in the user's cache folder: it helps where it can, and is never needed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from platformdirs import user_cache_path

__all__ = ["CacheFile", "cache_folder"]

_MANY = 500  # parameters of one query; SQLite before 3.32 takes 999


def cache_folder() -> Path:
    """Where all caches lie: ``STACPIN_CACHE``, else the user's cache folder."""
    return Path(os.environ["STACPIN_CACHE"]) if "STACPIN_CACHE" in os.environ else user_cache_path("stacpin")


class CacheFile:
    """One file with its tables. Without a writable place it remembers nothing, and says nothing about it.

    Parameters
    ----------
    path
        Where it lies.
    tables
        Statements that make its tables, if they are not there.
    """

    def __init__(self, path: Path, *tables: str) -> None:
        self.path = path
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=5, check_same_thread=False)
            self._connection.execute("pragma journal_mode = wal")
            # A power cut may lose the newest entries, and never makes wrong ones: nothing waits for the disk.
            self._connection.execute("pragma synchronous = normal")
            for statement in tables:
                self._connection.execute(statement)
        except (OSError, sqlite3.Error):
            self.close()

    def read(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query; none where something is wrong with the file."""
        if self._connection is None:
            return []
        try:
            with self._lock:
                return self._connection.execute(query, parameters).fetchall()
        except (sqlite3.Error, OverflowError):
            return []

    def read_many(self, query: str, keys: Iterable[Any]) -> list[tuple[Any, ...]]:
        """The rows of a query with ``in (%s)``, for any number of keys."""
        wanted, found = list(keys), []
        for start in range(0, len(wanted), _MANY):
            some = wanted[start : start + _MANY]
            found += self.read(query % ",".join("?" * len(some)), some)
        return found

    def write(self, *statements: tuple[str, Sequence[Sequence[Any]]]) -> None:
        """Statements, each for many rows, in one transaction."""
        if self._connection is None:
            return
        try:
            with self._lock, self._connection:
                for statement, rows in statements:
                    self._connection.executemany(statement, rows)
        except (sqlite3.Error, OverflowError):
            return

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
