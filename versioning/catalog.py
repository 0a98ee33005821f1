"""A catalog: a prefix in an object store that holds objects and datasets."""

from __future__ import annotations

import difflib
import secrets
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from threading import Lock

import orjson
from cachetools import LRUCache

from versioning.dataset import Dataset
from versioning.errors import Expired, Integrity, InvalidInput, NotFound
from versioning.ids import check_dataset_id
from versioning.numbered import NumberedLog
from versioning.objects import Objects
from versioning.pins import parse_pin
from versioning.records import FORMAT, CatalogRecord, SettingsRecord, time_text
from versioning.store import Store, open_store
from versioning.version import Version

__all__ = ["Catalog"]

_MARK = "stacpin.json"


def _now() -> datetime:
    return datetime.now(UTC)


class Catalog:
    """The way into a catalog. Make one with :meth:`create` or :meth:`open`."""

    def __init__(self, store: Store, record: CatalogRecord, *, clock: Callable[[], datetime] = _now) -> None:
        self.store = store
        self.record = record
        self.objects = Objects(store)
        self._clock = clock
        self._lock = Lock()
        # Bounded: an API is asked for any name that a stranger thinks of.
        # A dataset remembers its head and so needs one probe to find the next; one that is made anew needs 15.
        self._datasets: LRUCache[str, Dataset] = LRUCache(maxsize=4096)

    def __repr__(self) -> str:
        return f"Catalog({self.store.url!r})"

    @property
    def url(self) -> str:
        """Where the catalog is."""
        return self.store.url

    @classmethod
    def create(cls, where: str | Store, *, title: str = "", clock: Callable[[], datetime] = _now) -> Catalog:
        """Make a catalog, or open the one that is there.

        Parameters
        ----------
        where
            A path, a URL, or an open store.
        title
            What people shall read above it.
        clock
            What gives the time; for tests.

        Raises
        ------
        InvalidInput
            If the place holds a catalog of a newer format.
        """
        store = open_store(where, create=True) if isinstance(where, str) else where
        moment = time_text(clock())
        record = CatalogRecord(format=FORMAT, id=str(uuid.uuid4()), created=moment)
        if store.size(_MARK) is None:
            # The settings come first: what has stacpin.json is complete.
            settings = SettingsRecord(number=1, title=title, time=moment, nonce=secrets.token_hex(8))
            NumberedLog(store, "settings").append(1, settings.encode())
            store.put_record(_MARK, record.encode())
        return cls.open(store, clock=clock)

    @classmethod
    def open(
        cls, where: str | Store, *, mirrors: Sequence[str | Store] = (), clock: Callable[[], datetime] = _now
    ) -> Catalog:
        """Open a catalog.

        Parameters
        ----------
        where
            A path, a URL, or an open store.
        mirrors
            Other catalogs with the same files, for reading what this one misses; with any the catalog is read-only.
        clock
            What gives the time; for tests.

        Raises
        ------
        NotFound
            If there is none.
        InvalidInput
            If it has a newer format than this stacpin knows.
        """
        if mirrors:
            from versioning.mirrored import open_mirrored

            store: Store = open_mirrored(where, mirrors)
        else:
            store = open_store(where) if isinstance(where, str) else where
        try:
            data = store.get(_MARK)
        except NotFound as error:
            if error.kind == "no-such-bucket":
                raise
            half = "datasets" in store.folders("")
            raise NotFound(
                f"{store.url} is not a stacpin catalog: it has no {_MARK}.",
                hint=f"It was half copied: copy {_MARK} and settings/ from its source, or run stacpin sync again."
                if half
                else f"Make one there: stacpin init {store.url}",
                kind="no-such-catalog",
            ) from error
        try:
            found = orjson.loads(data).get("format")
        except (orjson.JSONDecodeError, AttributeError):
            found = None
        if isinstance(found, int) and found > FORMAT:
            raise InvalidInput(
                f"{store.url} has catalog format {found}; this stacpin reads format {FORMAT}.",
                hint="Upgrade stacpin: pip install --upgrade stacpin",
                kind="newer-format",
            )
        return cls(store, CatalogRecord.decode(data, where=f"{store.url}/{_MARK}"), clock=clock)

    @cached_property
    def settings(self) -> SettingsRecord:
        """The newest settings."""
        log = NumberedLog(self.store, "settings")
        head = log.head()
        return SettingsRecord.decode(log.get(head), where=log.path(head))

    def dataset(self, dataset_id: str) -> Dataset:
        """A dataset by its id, whether or not it has versions yet.

        Raises
        ------
        InvalidInput
            If no dataset may have such an id.
        """
        check_dataset_id(dataset_id)
        with self._lock:
            found = self._datasets.get(dataset_id)
            if found is None:
                found = self._datasets[dataset_id] = Dataset(self.store, dataset_id, clock=self._clock)
        return found

    def forget(self, dataset_id: str) -> None:
        """Read a dataset's history anew: for stores that are copies, and whose entries may therefore go away."""
        with self._lock:
            self._datasets.pop(dataset_id, None)

    def dataset_ids(self) -> list[str]:
        """The ids of all datasets that have a version, sorted."""
        return [name for name in self.store.folders("datasets") if self._has(name)]

    def resolve(self, pin: str) -> Version:
        """The version that a pin means.

        Raises
        ------
        InvalidInput
            If the text is not a pin, or means the future.
        NotFound
            If there is no such dataset, version, tag or pointer; the error says what there is.
        Expired
            If the version was retired.
        """
        ref = parse_pin(pin)
        dataset = self.dataset(ref.dataset)
        if ref.kind == "version":
            # Most pins name a number: no need to look for the highest first.
            try:
                return dataset.resolve(ref)
            except Expired:
                raise
            except NotFound as error:
                if error.kind != "no-such-version" or dataset.head():
                    raise
        if dataset.head() == 0:
            known = self.dataset_ids()
            near = difflib.get_close_matches(ref.dataset, known, n=1)
            listed = ", ".join(known[:20]) or "none"
            raise NotFound(
                f"{self.url} has no dataset {ref.dataset!r}; datasets: {listed}.",
                hint=f"Did you mean {near[0]}?" if near else None,
                kind="no-such-dataset",
            )
        return dataset.resolve(ref)

    def _has(self, name: str) -> bool:
        try:
            return self.dataset(name).head() > 0
        except InvalidInput:
            return False
        except Integrity:
            return True  # it is there, and damaged: whoever opens it hears how
