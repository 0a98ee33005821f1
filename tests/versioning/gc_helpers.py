"""What the tests of garbage collection share: a store that can be interrupted at every call, catalogs with garbage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from version_helpers import AUTHOR, Clock, Wrapped, asset_of, item_of

from versioning.catalog import Catalog
from versioning.commit import CommitResult, commit
from versioning.dataset import Dataset
from versioning.digests import sha256
from versioning.errors import StorageUnavailable
from versioning.expire import expire
from versioning.gc import collect
from versioning.gc_report import GcReport
from versioning.reachability import classify
from versioning.rows import object_path
from versioning.store import Entry, Store
from versioning.verify import verify_version

NOW = timedelta(0)


class Called(Wrapped):
    """Tells ``hook`` of each call before it is made; its clock is ``ahead``, so that nothing seems young."""

    def __init__(
        self, inner: Store, hook: Callable[[str], None] = lambda _: None, *, ahead: timedelta = timedelta(minutes=10)
    ) -> None:
        super().__init__(inner)
        self.hook = hook
        self.ahead = ahead

    def get(self, path: str) -> bytes:
        self.hook("get")
        return self.inner.get(path)

    def get_range(self, path: str, start: int, length: int) -> bytes:
        self.hook("get_range")
        return self.inner.get_range(path, start, length)

    def stream(self, path: str) -> Iterator[memoryview]:
        self.hook("stream")
        yield from list(self.inner.stream(path))

    def size(self, path: str) -> int | None:
        self.hook("size")
        return self.inner.size(path)

    def put_new(self, path: str, data: bytes) -> bool:
        self.hook("put_new")
        return self.inner.put_new(path, data)

    def put_stream(self, path: str, chunks: Iterable[bytes]) -> None:
        self.hook("put_stream")
        self.inner.put_stream(path, chunks)

    def put_record(self, path: str, data: bytes) -> bool:
        self.hook("put_record")
        return self.inner.put_record(path, data)

    def replace(self, path: str, data: bytes) -> None:
        self.hook("replace")
        self.inner.replace(path, data)

    def delete(self, paths: Sequence[str]) -> None:
        self.hook("delete")
        self.inner.delete(paths)

    def now(self) -> datetime:
        self.hook("now")
        return self.inner.now() + self.ahead

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Entry]:
        self.hook("list")
        return iter(list(self.inner.list(prefix, after=after)))

    def folders(self, prefix: str) -> list[str]:
        self.hook("folders")
        return self.inner.folders(prefix)


class At:
    """A hook that does something once, at the ``nth`` call, and counts the calls."""

    def __init__(self, nth: int, action: Callable[[], None]) -> None:
        self.nth = nth
        self.action = action
        self.calls = 0

    def __call__(self, _: str) -> None:
        self.calls += 1
        if self.calls == self.nth:
            self.action()


class Dead(StorageUnavailable):
    """The machine died."""


class DiesAt(Called):
    """The ``nth`` call fails, before it is done or after; so does everything that follows."""

    def __init__(self, inner: Store, nth: int, *, after: bool) -> None:
        super().__init__(inner, self._count)
        self.nth = nth
        self.after = after
        self.calls = 0

    def _count(self, _: str) -> None:
        self.calls += 1
        if self.calls > self.nth or (self.calls == self.nth and not self.after):
            raise Dead("the machine died")

    def _finish(self, done: Any) -> Any:
        if self.calls >= self.nth:
            raise Dead("the machine died")
        return done

    def put_new(self, path: str, data: bytes) -> bool:
        return self._finish(super().put_new(path, data))

    def put_record(self, path: str, data: bytes) -> bool:
        return self._finish(super().put_record(path, data))

    def delete(self, paths: Sequence[str]) -> None:
        return self._finish(super().delete(paths))


def opened(store: Store) -> Catalog:
    """A catalog as a process that has just begun sees it."""
    return Catalog.open(store, clock=Clock("2026-06-01T00:00:00+00:00"))


def put(dataset: Dataset, catalog: Catalog, content: dict[str, bytes], **more: Any) -> CommitResult:
    """Store an object for each item, and commit the items."""
    items = []
    for item_id, data in content.items():
        catalog.objects.put_bytes(data, ".tif")
        item = item_of(item_id, data.hex())
        items.append(item | {"assets": {"data": asset_of(data)}})
    return commit(dataset, items=items, **{"message": "m", "author": AUTHOR, **more})


def retire(catalog: Catalog, dataset: str, *versions: int) -> None:
    expire(catalog.dataset(dataset), versions=versions, why="a test", author=AUTHOR, apply=True)


def gc(store: Store, *, ahead: timedelta = timedelta(minutes=10), apply: bool = True) -> GcReport:
    """Garbage collection as hard as it can be: nothing is too young, and nothing waits."""
    return collect(opened(Called(store, ahead=ahead)), older_than=NOW, delay=NOW, apply=apply)


def paths_of(store: Store) -> set[str]:
    """All files that garbage collection may take away."""
    return {entry.path for entry, _ in classify(opened(Called(store)), older_than=NOW)}


def unneeded(store: Store) -> set[str]:
    return {entry.path for entry, need in classify(opened(Called(store)), older_than=NOW) if need == "unreferenced"}


def check_all(store: Store) -> int:
    """Every live version must verify, objects included; how many there are."""
    catalog = opened(store)
    count = 0
    for name in catalog.dataset_ids():
        dataset = catalog.dataset(name)
        for number in range(1, dataset.head() + 1):
            if dataset.expiry(number) is None:
                report = verify_version(dataset, dataset.version(number))
                assert report.ok, [(problem.path, problem.kind) for problem in report.problems]
                count += 1
    return count


def object_of(data: bytes) -> str:
    return object_path(sha256(data), ".tif")


def with_garbage(catalog: Catalog) -> Catalog:
    """v1 has one and two, v2 two and three; v1 is retired."""
    dataset = catalog.dataset("land")
    put(dataset, catalog, {"a": b"one", "b": b"two"})
    put(dataset, catalog, {"a": b"three"})
    retire(catalog, "land", 1)
    return catalog
