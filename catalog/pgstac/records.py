"""A catalog whose records come from the index: a consistent copy, so that a version shows only once it is indexed.

Records are small (one to three kilobytes a version), so a server holds them all in memory and asks the database only
for what changed. Manifests and objects come from the catalog's own store.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from threading import Lock

from versioning.errors import NotFound
from versioning.read_only import ReadOnly
from versioning.store import Entry, Store

__all__ = ["IndexedStore", "is_record"]

_FOLDERS = ("versions", "pointers", "tags", "expired")
_DEPTH = 3


def is_record(path: str) -> bool:
    """Whether a path is of those that an index copies: the history of a dataset, not its manifests or objects."""
    parts = path.split("/", _DEPTH)
    return parts[0] == "datasets" and (len(parts) < _DEPTH or parts[2] in _FOLDERS)


class IndexedStore(ReadOnly):
    """A store that has the records of an index, and everything else of the catalog's store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._records: dict[str, bytes] = {}
        self._paths: list[str] = []
        self._lock = Lock()

    def update(self, changed: Iterable[tuple[str, bytes | None]], *, anew: bool = False) -> None:
        """Take records that are new or other; None takes one away. ``anew`` forgets all others, in the same moment."""
        with self._lock:
            records = {} if anew else dict(self._records)
            for path, data in changed:
                if data is None:
                    records.pop(path, None)
                else:
                    records[path] = bytes(data)
            self._records, self._paths = records, sorted(records)

    @property
    def wrapped(self) -> Store:
        """The catalog's own store."""
        return self._store

    @property
    def url(self) -> str:
        """Where the catalog is."""
        return self._store.url

    @property
    def local_root(self) -> Path | None:
        """The folder of a local catalog."""
        return self._store.local_root

    def get(self, path: str) -> bytes:
        """The bytes of a record, or of an object."""
        if not is_record(path):
            return self._store.get(path)
        data = self._records.get(path)
        if data is None:
            raise NotFound(f"{path} is not in the index.")
        return data

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """A part of them."""
        if not is_record(path):
            return self._store.get_range(path, start, length)
        return self.get(path)[start : start + length]

    def stream(self, path: str) -> Iterator[memoryview]:
        """The bytes a few megabytes at a time."""
        if not is_record(path):
            yield from self._store.stream(path)
        else:
            yield memoryview(self.get(path))

    def size(self, path: str) -> int | None:
        """The size in bytes, or None if there is nothing."""
        if not is_record(path):
            return self._store.size(path)
        data = self._records.get(path)
        return None if data is None else len(data)

    def now(self) -> datetime:
        """The time by the store's clock."""
        return self._store.now()

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Entry]:
        """Every object below a folder."""
        if not is_record(prefix):
            yield from self._store.list(prefix, after=after)
            return
        for path in self._below(prefix):
            if after is None or path > after:
                yield Entry(path, len(self._records.get(path, b"")), self._store.now())

    def folders(self, prefix: str) -> list[str]:
        """The names of the folders directly below a folder, sorted."""
        if not is_record(prefix):
            return self._store.folders(prefix)
        start = len(prefix.rstrip("/")) + 1
        return sorted({path[start:].partition("/")[0] for path in self._below(prefix) if "/" in path[start:]})

    def _below(self, prefix: str) -> list[str]:
        folder = prefix.rstrip("/") + "/" if prefix else ""
        with self._lock:
            start = bisect_left(self._paths, folder)
            end = bisect_left(self._paths, folder + "\U0010ffff")
            return self._paths[start:end]
