"""A catalog with a history worth copying, and what must be true of its copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from threading import Lock
from typing import Any

from version_helpers import AUTHOR, Wrapped, asset_of, item_of, memory_catalog

from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.errors import Expired
from versioning.store import Entry, Store
from versioning.verify import verify_chain, verify_version

DATASET = "ds"


def asset(data: bytes) -> dict[str, Any]:
    return asset_of(data, ".tif")


def item(item_id: str, data: bytes) -> dict[str, Any]:
    """An item with one asset of these bytes and one that all share, also with save()."""
    return item_of(item_id, data.hex()[:8], assets={"own": asset(data), "all": asset(b"data")})


def history(*, items: int = 6, catalog: Catalog | None = None, extra: bytes | None = None) -> Catalog:
    """Three versions of a dataset, a tag on the first, stable on the second; v2 adds an item, v3 replaces it."""
    catalog = catalog or memory_catalog()
    dataset = catalog.dataset(DATASET)

    def put(item_id: str, data: bytes) -> dict[str, Any]:
        catalog.store.put_new(asset(data)["href"], data)
        return item(item_id, data)

    catalog.objects.put_bytes(b"data", ".tif")
    first = [put(f"i{number:02d}", b"data of %d" % number) for number in range(items)]
    commit(dataset, items=first, message="m", author=AUTHOR)
    dataset.tag("v1.0.0", 1, author=AUTHOR)
    commit(dataset, items=[put("z", b"of version two")], message="m", author=AUTHOR)
    dataset.move("stable", 2, why="reviewed", author=AUTHOR)
    commit(dataset, items=[put("z", extra or b"of version three")], message="m", author=AUTHOR)
    return catalog


def objects_of(catalog: Catalog, number: int) -> set[str]:
    return {each.href for _, each in catalog.dataset(DATASET).version(number).assets()}


def digests(catalog: Catalog) -> dict[str, list[str]]:
    fresh = Catalog.open(catalog.store)
    return {name: [record.digest for record in fresh.dataset(name).versions()] for name in fresh.dataset_ids()}


def whole(store: Store, source: Catalog) -> int:
    """Every version that a destination shows is the source's, byte for byte, and whole; how many it shows."""
    try:
        there = Catalog.open(store)
    except Exception:  # noqa: BLE001 - no catalog yet
        return 0
    heads = 0
    for name in source.dataset_ids():
        dataset = there.dataset(name)
        if dataset.head() == 0:
            continue
        heads += dataset.head()
        assert verify_chain(dataset).ok, verify_chain(dataset).problems
        for number in range(1, dataset.head() + 1):
            assert dataset.log.get(number) == source.dataset(name).log.get(number)
            try:
                report = verify_version(dataset, dataset.version(number))
            except Expired:
                continue
            assert report.ok, report.problems
    return heads


class Counts(Wrapped):
    """Remembers what was really written, in order, and counts the questions for sizes."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.writes: list[str] = []
        self.streams: list[str] = []
        self.sizes = 0
        self.lock = Lock()

    def _note(self, path: str, written: bool) -> bool:
        if written:
            with self.lock:
                self.writes.append(path)
        return written

    def put_new(self, path: str, data: bytes) -> bool:
        return self._note(path, self.inner.put_new(path, data))

    def put_record(self, path: str, data: bytes) -> bool:
        return self._note(path, self.inner.put_record(path, data))

    def put_stream(self, path: str, chunks: Iterable[bytes]) -> None:
        self.inner.put_stream(path, chunks)
        self._note(path, True)

    def stream(self, path: str) -> Iterator[memoryview]:
        with self.lock:
            self.streams.append(path)
        return self.inner.stream(path)

    def size(self, path: str) -> int | None:
        with self.lock:
            self.sizes += 1
        return self.inner.size(path)

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Entry]:
        return self.inner.list(prefix, after=after)
