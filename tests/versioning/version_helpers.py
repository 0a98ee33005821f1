"""What the tests of the version store share: items, a clock, chunks small enough to see, stores that fail."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from versioning import chunking
from versioning.catalog import Catalog
from versioning.commit import CommitResult, commit
from versioning.dataset import Dataset
from versioning.errors import StorageUnavailable
from versioning.rows import object_path
from versioning.store import Entry, Store, open_store
from versioning.version import Version

AUTHOR = "Ada <ada@example.org>"
SMALL_CHUNKS = chunking.Cut(least=2, wanted=5, most=9, rare=8, often=2)
SMALL_PAGES = chunking.Cut(least=2, wanted=3, most=5, rare=4, often=2)


class Clock:
    """A clock that moves one minute at each look."""

    def __init__(self, start: str = "2026-03-01T12:00:00+00:00") -> None:
        self.moment = datetime.fromisoformat(start)

    def __call__(self) -> datetime:
        self.moment += timedelta(minutes=1)
        return self.moment


def at(text: str) -> Callable[[], datetime]:
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return lambda: moment


def asset_of(data: bytes, extension: str = ".tif", **more: Any) -> dict[str, Any]:
    digest = hashlib.sha256(data).digest()
    return {
        "href": object_path(digest, extension),
        "file:checksum": "1220" + digest.hex(),
        "file:size": len(data),
        **more,
    }


def item_of(item_id: str, value: object = 0, **more: Any) -> dict[str, Any]:
    """A small STAC Item whose content is decided by ``value``."""
    x = int.from_bytes(hashlib.sha256(item_id.encode()).digest()[:2], "big") / 400 - 80
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": item_id,
        "geometry": {"type": "Point", "coordinates": [x, 10]},
        "bbox": [x, 10, x, 10],
        "properties": {"datetime": "2024-05-01T00:00:00Z", "value": value},
        "assets": {"data": asset_of(b"data")},
        **more,
    }


def items_of(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [item_of(item_id, value) for item_id, value in content.items()]


def values_of(version: Version | None) -> dict[str, Any]:
    return {row.id: row.parse()["properties"]["value"] for row in version.rows()} if version else {}


def save(dataset: Dataset, content: dict[str, Any] | None = None, **more: Any) -> CommitResult:
    """Commit items given as id -> value."""
    return commit(dataset, items=items_of(content or {}), **{"message": "m", "author": AUTHOR, **more})


def memory_catalog() -> Catalog:
    return Catalog.create("memory://", clock=Clock())


def again(catalog: Catalog) -> Catalog:
    """The catalog as another process sees it: nothing is remembered."""
    return Catalog.open(catalog.store, clock=Clock("2026-04-01T00:00:00+00:00"))


@contextmanager
def small_chunks() -> Iterator[None]:
    """Chunks of 2 to 9 rows and pages of 2 to 5 chunks, so that a few items have many."""
    with mock.patch.object(chunking, "CHUNKS", SMALL_CHUNKS), mock.patch.object(chunking, "PAGES", SMALL_PAGES):
        yield


class Wrapped:
    """A Store around another, for stores that fail in one way."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    @property
    def url(self) -> str:
        return self.inner.url

    @property
    def local_root(self) -> Path | None:
        return self.inner.local_root

    def get(self, path: str) -> bytes:
        return self.inner.get(path)

    def get_range(self, path: str, start: int, length: int) -> bytes:
        return self.inner.get_range(path, start, length)

    def stream(self, path: str) -> Iterator[memoryview]:
        return self.inner.stream(path)

    def size(self, path: str) -> int | None:
        return self.inner.size(path)

    def put_new(self, path: str, data: bytes) -> bool:
        return self.inner.put_new(path, data)

    def put_stream(self, path: str, chunks: Iterable[bytes]) -> None:
        self.inner.put_stream(path, chunks)

    def put_record(self, path: str, data: bytes) -> bool:
        return self.inner.put_record(path, data)

    def replace(self, path: str, data: bytes) -> None:
        self.inner.replace(path, data)

    def delete(self, paths: Sequence[str]) -> None:
        self.inner.delete(paths)

    def now(self) -> datetime:
        return self.inner.now()

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Entry]:
        return self.inner.list(prefix, after=after)

    def folders(self, prefix: str) -> list[str]:
        return self.inner.folders(prefix)


class LosesReplies(Wrapped):
    """Every write succeeds, but its reply is lost and the retry is told that the name is taken."""

    def put_new(self, path: str, data: bytes) -> bool:
        self.inner.put_new(path, data)
        return self.inner.put_new(path, data)

    def put_record(self, path: str, data: bytes) -> bool:
        self.inner.put_record(path, data)
        return self.inner.put_record(path, data)


class Dies(Wrapped):
    """The ``nth`` write fails, before it is done or after; so does everything that follows."""

    def __init__(self, inner: Store, nth: int, *, after: bool) -> None:
        super().__init__(inner)
        self.left = nth
        self.after = after
        self.writes = 0

    def _write(self, write: Callable[[], Any]) -> Any:
        self.writes += 1
        self.left -= 1
        if self.left > 0:
            return write()
        if self.left == 0 and self.after:
            write()
        raise StorageUnavailable("the machine died")

    def put_new(self, path: str, data: bytes) -> bool:
        return self._write(lambda: self.inner.put_new(path, data))

    def put_stream(self, path: str, chunks: Iterable[bytes]) -> None:
        return self._write(lambda: self.inner.put_stream(path, chunks))

    def put_record(self, path: str, data: bytes) -> bool:
        return self._write(lambda: self.inner.put_record(path, data))


class Reads(Wrapped):
    """Remembers which paths were read."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.paths: list[str] = []

    def get(self, path: str) -> bytes:
        self.paths.append(path)
        return self.inner.get(path)


class Editable(Wrapped):
    """Lets a test damage what is stored: an altered, truncated or missing object."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.changed: dict[str, bytes | None] = {}

    def get(self, path: str) -> bytes:
        data = self.changed.get(path, b"")
        if path in self.changed and data is not None:
            return data
        return self.inner.get(path if data is not None else f"{path}/missing")

    def stream(self, path: str) -> Iterator[memoryview]:
        if path in self.changed:
            yield memoryview(self.get(path))
        else:
            yield from self.inner.stream(path)

    def size(self, path: str) -> int | None:
        if path in self.changed:
            data = self.changed[path]
            return None if data is None else len(data)
        return self.inner.size(path)

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Entry]:
        return (
            entry for entry in self.inner.list(prefix, after=after) if self.changed.get(entry.path, b"") is not None
        )


def local_store(folder: Path) -> Store:
    return open_store(str(folder), create=True)
