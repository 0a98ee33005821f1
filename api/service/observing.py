"""A backend and a store that tell observers of each search and each read: what metrics and traces are made from.

Nothing is wrapped where nobody observes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from api.backend import Backend
from catalog.query import Query
from catalog.search import SearchPage
from versioning.catalog import Catalog
from versioning.dataset import Dataset
from versioning.errors import NotFound
from versioning.rows import Row
from versioning.store import Entry, Store
from versioning.version import Version

__all__ = ["Call", "Lag", "Lagging", "ObservedBackend", "ObservedStore", "Observer", "kind_of"]


@dataclass(slots=True)
class Call:
    """What became of a call, for those who were told of its beginning: filled in before it ends."""

    size: int = 0
    outcome: str = "ok"
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Lag:
    """How far an index is behind its catalog: versions that it lacks, and since how many seconds it may lack some."""

    versions: int
    seconds: float


@runtime_checkable
class Lagging(Protocol):
    """A backend that answers from an index."""

    def lag(self) -> Lag:
        """How far the index is behind now."""
        ...


class Observer(Protocol):
    """Somebody who is told: each call happens inside of what it gives."""

    def store_call(self, operation: str, call: Call) -> AbstractContextManager[object]:
        """Around one call of the store; ``operation`` is the name of its method."""
        ...

    def search(self, kind: str, call: Call) -> AbstractContextManager[object]:
        """Around one search of the backend; ``call.size`` is its items."""
        ...


def kind_of(query: Query) -> str:
    """What a search selects by: ``all``, or some of ids, space, time and filter with ``+`` between them."""
    parts = {
        "ids": query.ids is not None,
        "space": query.bbox is not None or query.intersects is not None,
        "time": query.datetime is not None,
        "filter": query.filter is not None,
    }
    return "+".join(name for name, given in parts.items() if given) or "all"


class ObservedBackend:
    """A backend whose searches are observed; it is otherwise the one that it stands before."""

    def __init__(self, inner: Backend, observers: Sequence[Observer]) -> None:
        self._inner = inner
        self._observers = tuple(observers)

    @property
    def catalog(self) -> Catalog:
        """The catalog."""
        return self._inner.catalog

    def dataset_ids(self) -> list[str]:
        """The datasets that have versions, sorted."""
        return self._inner.dataset_ids()

    def dataset(self, dataset_id: str) -> Dataset:
        """A dataset with its history."""
        return self._inner.dataset(dataset_id)

    def resolve(self, dataset_id: str, ref: str) -> Version:
        """The version that a reference means."""
        return self._inner.resolve(dataset_id, ref)

    def search(self, versions: Sequence[Version], query: Query, *, limit: int, token: str | None) -> SearchPage:
        """One page of the items that match, observed."""
        call = Call()
        with _told([each.search(kind_of(query), call) for each in self._observers], call):
            page = self._inner.search(versions, query, limit=limit, token=token)
            call.size = len(page.items)
            return page

    def find(self, version: Version, item_id: str) -> Row | None:
        """One item of a version, or None."""
        return self._inner.find(version, item_id)

    def digest(self, version: Version, item_id: str) -> bytes | None:
        """The digest of one item of a version, or None."""
        return self._inner.digest(version, item_id)


class ObservedStore:
    """A store whose reads are observed; it is otherwise the one that it stands before."""

    def __init__(self, inner: Store, observers: Sequence[Observer]) -> None:
        self._inner = inner
        self._observers = tuple(observers)

    @property
    def wrapped(self) -> Store:
        """The store that it stands before."""
        return self._inner

    @property
    def url(self) -> str:
        """Where it is."""
        return self._inner.url

    @property
    def local_root(self) -> Path | None:
        """The folder of a local store."""
        return self._inner.local_root

    @contextmanager
    def _call(self, operation: str) -> Iterator[Call]:
        call = Call()
        with _told([each.store_call(operation, call) for each in self._observers], call):
            yield call

    def get(self, path: str) -> bytes:
        """The bytes of an object."""
        with self._call("get") as call:
            data = self._inner.get(path)
            call.size = len(data)
            return data

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``."""
        with self._call("get_range") as call:
            data = self._inner.get_range(path, start, length)
            call.size = len(data)
            return data

    def stream(self, path: str) -> Iterator[memoryview]:
        """The bytes of an object, a few megabytes at a time; each of them is a call."""
        parts = self._inner.stream(path)
        while True:
            with self._call("stream") as call:
                part = next(parts, None)
                call.size = 0 if part is None else len(part)
            if part is None:
                return
            yield part

    def size(self, path: str) -> int | None:
        """The size of an object in bytes, or None."""
        with self._call("size") as call:
            found = self._inner.size(path)
            call.outcome = "ok" if found is not None else "missing"
            return found

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Entry]:
        """Every object below a folder. A listing is one call, which ends before its first entry is used."""
        with self._call("list"):
            entries = self._inner.list(prefix, after=after)
            first = next(entries, None)
        if first is not None:
            yield first
            yield from entries

    def folders(self, prefix: str) -> list[str]:
        """The names of the folders directly below a folder."""
        with self._call("folders"):
            return self._inner.folders(prefix)

    def now(self) -> datetime:
        """The store's time."""
        return self._inner.now()

    # The API writes nothing; a store has these verbs all the same.

    def put_new(self, path: str, data: bytes) -> bool:
        """As the store does it."""
        return self._inner.put_new(path, data)

    def put_stream(self, path: str, chunks: Iterable[bytes]) -> None:
        """As the store does it."""
        self._inner.put_stream(path, chunks)

    def put_record(self, path: str, data: bytes) -> bool:
        """As the store does it."""
        return self._inner.put_record(path, data)

    def replace(self, path: str, data: bytes) -> None:
        """As the store does it."""
        self._inner.replace(path, data)

    def delete(self, paths: Sequence[str]) -> None:
        """As the store does it."""
        self._inner.delete(paths)


@contextmanager
def _told(around: Sequence[AbstractContextManager[object]], call: Call) -> Iterator[None]:
    """Inside of what all observers gave; what happened is known before they are told of the end."""
    with ExitStack() as stack:
        for each in around:
            stack.enter_context(each)
        start = time.perf_counter()
        try:
            yield
        except NotFound:
            call.outcome = "missing"
            raise
        except Exception:
            call.outcome = "error"
            raise
        finally:
            call.seconds = time.perf_counter() - start
