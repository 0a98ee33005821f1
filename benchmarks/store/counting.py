"""A store that counts what is asked of it: requests by kind, bytes each way, and which paths in which order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from versioning.store import Entry, Store

__all__ = ["Counting"]


class Counting:
    """A :class:`versioning.store.Store` around another one. ``remote`` hides that files can be read directly."""

    def __init__(self, inner: Store, *, remote: bool = False) -> None:
        self._inner = inner
        self._remote = remote
        self.clear()

    def clear(self) -> None:
        self.requests: Counter[str] = Counter()
        self.written = 0
        self.read = 0
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        return self._inner.url

    @property
    def local_root(self) -> Path | None:
        return None if self._remote else self._inner.local_root

    def get(self, path: str) -> bytes:
        self._asked("get", path)
        data = self._inner.get(path)
        self.read += len(data)
        return data

    def get_range(self, path: str, start: int, length: int) -> bytes:
        self._asked("get_range", path)
        data = self._inner.get_range(path, start, length)
        self.read += len(data)
        return data

    def stream(self, path: str) -> Iterator[memoryview]:
        self._asked("stream", path)
        for part in self._inner.stream(path):
            self.read += len(part)
            yield part

    def size(self, path: str) -> int | None:
        self._asked("size", path)
        return self._inner.size(path)

    def put_new(self, path: str, data: bytes) -> bool:
        self._writes("put_new", path, data)
        return self._inner.put_new(path, data)

    def put_stream(self, path: str, chunks: Iterable[bytes]) -> None:
        data = b"".join(chunks)
        self._writes("put_stream", path, data)
        self._inner.put_stream(path, [data])

    def put_record(self, path: str, data: bytes) -> bool:
        self._writes("put_record", path, data)
        return self._inner.put_record(path, data)

    def replace(self, path: str, data: bytes) -> None:
        self._writes("replace", path, data)
        self._inner.replace(path, data)

    def delete(self, paths: Sequence[str]) -> None:
        self.requests["delete"] += len(paths)
        self._inner.delete(paths)

    def now(self) -> datetime:
        self.requests["now"] += 1
        return self._inner.now()

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Entry]:
        self._asked("list", prefix)
        return self._inner.list(prefix, after=after)

    def folders(self, prefix: str) -> list[str]:
        self._asked("folders", prefix)
        return self._inner.folders(prefix)

    def _asked(self, verb: str, path: str) -> None:
        self.requests[verb] += 1
        self.paths.append(f"{verb} {path}")

    def _writes(self, verb: str, path: str, data: bytes) -> None:
        self.requests[verb] += 1
        self.paths.append(f"{verb} {path} {len(data)}")
        self.written += len(data)
