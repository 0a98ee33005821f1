"""A backend that shows a part of another: the datasets that whoever asks may see. The rest is as if it did not exist.

Every route reads through a backend, so this one place covers them all. A name that may not be seen is refused before
anything of it is looked up, with the words, and after the reads, of a name that nobody has.
"""

from __future__ import annotations

from collections.abc import Sequence

from api.access.asking import current
from api.access.visible_store import VisibleStore
from api.backend import Backend, no_dataset
from catalog.query import Query
from catalog.search import SearchPage
from versioning.catalog import Catalog
from versioning.dataset import Dataset
from versioning.errors import NotFound
from versioning.pins import parse_pin
from versioning.rows import Row
from versioning.version import Version

__all__ = ["VisibleBackend"]

_UNKNOWN = "no-such-dataset"


class VisibleBackend:
    """Another backend as the reader of the request may see it. Outside of a request there is nothing to see."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self._catalog = _VisibleCatalog(inner.catalog, self)

    @property
    def catalog(self) -> Catalog:
        """The catalog, with the datasets that can be seen and nothing of the others."""
        return self._catalog

    def dataset_ids(self) -> list[str]:
        """The datasets that can be seen, sorted."""
        asking = current()
        return [] if asking is None else [name for name in self._inner.dataset_ids() if asking.reader.may(name)]

    def dataset(self, dataset_id: str) -> Dataset:
        """A dataset with its history."""
        self._check(dataset_id)
        try:
            found = self._inner.dataset(dataset_id)
        except NotFound as error:
            raise self._as_seen(error, dataset_id) from error
        self._note(dataset_id)
        return found

    def resolve(self, dataset_id: str, ref: str) -> Version:
        """The version that a reference means."""
        self._check(dataset_id)
        try:
            found = self._inner.resolve(dataset_id, ref)
        except NotFound as error:
            raise self._as_seen(error, dataset_id) from error
        self._note(dataset_id, found)
        return found

    def search(self, versions: Sequence[Version], query: Query, *, limit: int, token: str | None) -> SearchPage:
        """One page of the items that match."""
        for version in versions:
            self._check(version.dataset)
        page = self._inner.search(versions, query, limit=limit, token=token)
        asking = current()
        if asking is not None:
            asking.counted(len(page.items))
        return page

    def find(self, version: Version, item_id: str) -> Row | None:
        """One item of a version, or None."""
        self._check(version.dataset)
        row = self._inner.find(version, item_id)
        asking = current()
        if asking is not None and row is not None:
            asking.counted(1)
        return row

    def digest(self, version: Version, item_id: str) -> bytes | None:
        """The digest of one item of a version, or None."""
        self._check(version.dataset)
        return self._inner.digest(version, item_id)

    def _check(self, dataset_id: str) -> None:
        asking = current()
        if asking is None or not asking.may(dataset_id):
            raise no_dataset(dataset_id, self.dataset_ids())

    def _as_seen(self, error: NotFound, dataset_id: str) -> NotFound:
        """The error of a backend that knows all names, with those that can be seen."""
        return no_dataset(dataset_id, self.dataset_ids()) if error.kind == _UNKNOWN else error

    def _note(self, dataset_id: str, version: Version | None = None) -> None:
        asking = current()
        if asking is not None:
            asking.datasets.add(dataset_id)
            if version is not None:
                asking.drawn_from(version)


class _VisibleCatalog(Catalog):
    """A catalog for routes that ask it for datasets themselves: it asks the backend, and its store is a part too."""

    def __init__(self, inner: Catalog, backend: VisibleBackend) -> None:
        super().__init__(VisibleStore(inner.store), inner.record)
        self._backend = backend

    def dataset(self, dataset_id: str) -> Dataset:
        """A dataset by its id."""
        return self._backend.dataset(dataset_id)

    def dataset_ids(self) -> list[str]:
        """The datasets that can be seen."""
        return self._backend.dataset_ids()

    def resolve(self, pin: str) -> Version:
        """The version that a pin means."""
        ref = parse_pin(pin)
        return self._backend.dataset(ref.dataset).resolve(ref)
