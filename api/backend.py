"""What answers come from: a small protocol, and its embedded form that reads the catalog's own manifests."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from threading import Lock
from typing import Protocol

from cachetools import LRUCache

from catalog.query import Query
from catalog.search import SearchPage, search
from versioning.catalog import Catalog
from versioning.dataset import Dataset
from versioning.errors import NotFound
from versioning.rows import Row
from versioning.version import Version

__all__ = ["Backend", "EmbeddedBackend", "no_dataset"]

# A version remembers its chunks once they are read; a snapshot of a million items is some 1,000 of them.
_VERSIONS = 64


class Backend(Protocol):
    """What the API needs to know. The catalog stays the truth; an index may find items faster, and must find the same.

    A backend decides which versions can be seen: an index shows none before it holds it.
    """

    @property
    def catalog(self) -> Catalog:
        """The catalog, for objects and records."""
        ...

    def dataset_ids(self) -> list[str]:
        """The datasets that have versions, sorted."""
        ...

    def dataset(self, dataset_id: str) -> Dataset:
        """A dataset with its history; NotFound if it has no version."""
        ...

    def resolve(self, dataset_id: str, ref: str) -> Version:
        """The version that a reference means; NotFound, Expired, InvalidInput."""
        ...

    def search(self, versions: Sequence[Version], query: Query, *, limit: int, token: str | None) -> SearchPage:
        """One page of the items of some versions that match; InvalidInput if the token belongs to another search."""
        ...

    def find(self, version: Version, item_id: str) -> Row | None:
        """One item of a version, or None."""
        ...

    def digest(self, version: Version, item_id: str) -> bytes | None:
        """The digest of one item of a version, or None: what tells whether two versions have the same."""
        ...


class EmbeddedBackend:
    """Straight from the manifests: no server, no index, nothing that could be stale."""

    def __init__(self, catalog: Catalog, *, seconds: float | None = None) -> None:
        self._catalog = catalog
        self._seconds = seconds
        self._versions: LRUCache[str, Version] = LRUCache(_VERSIONS)
        self._known: set[str] = set()
        self._lock = Lock()

    @property
    def catalog(self) -> Catalog:
        """The catalog."""
        return self._catalog

    def dataset_ids(self) -> list[str]:
        """The datasets that have versions, sorted."""
        names = self._catalog.dataset_ids()
        self._known.update(names)
        return names

    def dataset(self, dataset_id: str) -> Dataset:
        """A dataset with its history."""
        # A catalog remembers every dataset that it was asked for; strangers shall not fill the memory with names.
        if dataset_id not in self._known:
            names = self.dataset_ids()
            if dataset_id not in names:
                raise no_dataset(dataset_id, names)
        return self._catalog.dataset(dataset_id)

    def resolve(self, dataset_id: str, ref: str) -> Version:
        """The version that a reference means: asked of the store each time, so that what is new or retired shows."""
        version = self.dataset(dataset_id).resolve(ref)
        with self._lock:
            return self._versions.setdefault(version.pin, version)

    def search(self, versions: Sequence[Version], query: Query, *, limit: int, token: str | None) -> SearchPage:
        """One page of the items that match."""
        return search(versions, query, limit=limit, token=token, seconds=self._seconds)

    def find(self, version: Version, item_id: str) -> Row | None:
        """One item of a version, or None."""
        return version.find(item_id)

    def digest(self, version: Version, item_id: str) -> bytes | None:
        """The digest of one item of a version, or None."""
        row = version.find(item_id)
        return None if row is None else row.digest


def no_dataset(dataset_id: str, names: Sequence[str]) -> NotFound:
    """The error for a name that no dataset has, with those there are: in one place, so that it is always the same."""
    near = difflib.get_close_matches(dataset_id, names, n=1)
    return NotFound(
        f"There is no dataset {dataset_id!r}; datasets: {', '.join(names[:20]) or 'none'}.",
        hint=f"Did you mean {near[0]}?" if near else None,
        kind="no-such-dataset",
    )
