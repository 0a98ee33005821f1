"""The backend of a team's server: histories and items from the index in PostgreSQL, all else from the store.

What the index does not hold yet does not exist here, so ``latest`` is the latest that can be searched.
"""

from __future__ import annotations

import logging
import re
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar

from cachetools import LRUCache

from api.backend import no_dataset
from api.pgstac_client import PgstacClient
from api.pgstac_pool import PoolSettings, StaleIndex
from api.service.health import Check, Probe
from api.service.logs import REQUEST_ID
from api.service.observing import Lag
from catalog.paging import Token, identity, in_order
from catalog.pgstac.records import IndexedStore
from catalog.pgstac.rows import OPEN, restored
from catalog.pgstac.schema import check_schema
from catalog.pgstac.searching import ITEM, LAG, REVISION, REVISIONS, Pinned, page_token, places_of, search_body
from catalog.query import Query
from catalog.search import SearchPage
from versioning.catalog import Catalog
from versioning.dataset import Dataset
from versioning.errors import InvalidInput, StacpinError, StorageUnavailable
from versioning.ids import split_collection_id
from versioning.rows import Row, make_row
from versioning.version import Version

__all__ = ["PgstacBackend"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
# What a version is never changes but for its expiry, which so takes a second to show.
_SECONDS = 1.0
_TRIES = 3
_NUMBER = re.compile(r"v[0-9]{1,9}")
_STATE = "select state from pin.state"
_RECORDS = "select path, data, state from pin.records where state > $1 order by state"
_PLACES = "select dataset, number, seq, mark from pin.versions where seq > $1 order by number"


@dataclass(slots=True)
class _Places:
    """Where a dataset's versions stand in the index's sequence, by their numbers."""

    numbers: list[int] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)

    def put(self, number: int, seq: int, mark: int) -> None:
        place = bisect_left(self.numbers, number)
        if place < len(self.numbers) and self.numbers[place] == number:
            self.seqs[place], self.marks[place] = seq, mark
        else:
            self.numbers.insert(place, number)
            self.seqs.insert(place, seq)
            self.marks.insert(place, mark)

    def of(self, version: Version) -> Pinned | None:
        place = bisect_left(self.numbers, version.number)
        if place == len(self.numbers) or self.numbers[place] != version.number:
            return None
        ends = self.seqs[place + 1] if place + 1 < len(self.seqs) else OPEN
        return Pinned(version, self.seqs[place], ends, self.marks[place])


class PgstacBackend:
    """Answers from the pgstac index of a catalog.

    Parameters
    ----------
    catalog
        The catalog itself.
    database_url
        Where its index is; nothing is asked of it before the first request.
    pool
        Limits of the connections.
    """

    def __init__(self, catalog: Catalog, database_url: str, *, pool: PoolSettings | None = None) -> None:
        self._store = IndexedStore(catalog.store)
        self._catalog = Catalog(self._store, catalog.record)
        self._client = PgstacClient(database_url, PoolSettings() if pool is None else pool)
        self._lock = Lock()
        self._state = self._seq = -1
        self._asked = float("-inf")
        self._request: str | None = None
        self._checked = False
        self._places: dict[str, _Places] = {}
        self._matched: LRUCache[str, int] = LRUCache(4096)
        self._revisions: LRUCache[tuple[str, str, int], list[Sequence[Any]]] = LRUCache(4096)
        self._cached = Lock()

    def probes(self) -> Sequence[Probe]:
        """What readiness depends on beside the catalog: that the index answers, and is one that can be read."""
        return [_IndexProbe(self)]

    def lag(self) -> Lag:
        """How far the index is behind."""
        versions, seconds = self._client.rows(LAG)[0]
        return Lag(versions, seconds if seconds is not None else float("inf"))

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    @property
    def catalog(self) -> Catalog:
        """The catalog, with the histories that the index holds."""
        return self._catalog

    def dataset_ids(self) -> list[str]:
        """The datasets that have versions in the index, sorted."""
        self._refresh(0)
        return self._catalog.dataset_ids()

    def dataset(self, dataset_id: str) -> Dataset:
        """A dataset with its history."""
        self._refresh(0)
        return self._dataset(dataset_id)

    def _dataset(self, dataset_id: str) -> Dataset:
        names = self._catalog.dataset_ids()
        if dataset_id not in names:
            raise no_dataset(dataset_id, names)
        return self._catalog.dataset(dataset_id)

    def resolve(self, dataset_id: str, ref: str) -> Version:
        """The version that a reference means in the index."""
        if _NUMBER.fullmatch(ref):
            self._refresh(_SECONDS)
            places = self._places.get(dataset_id)
            if places is not None and places.numbers[-1] >= int(ref[1:]):
                return self._dataset(dataset_id).resolve(ref)
        return self.dataset(dataset_id).resolve(ref)

    # -- items

    def search(self, versions: Sequence[Version], query: Query, *, limit: int, token: str | None) -> SearchPage:
        """One page of the items that match."""
        ordered = in_order(versions)
        owner = identity(ordered, query)
        place = None if token is None else Token.decode(token, owner)
        if not ordered:
            return SearchPage([], None, None, 0)
        return self._steady(lambda: self._page(ordered, query, limit, place, owner))

    def _page(
        self, versions: Sequence[Version], query: Query, limit: int, place: Token | None, owner: str
    ) -> SearchPage:
        pinned = [self._place_of(version) for version in versions]
        token = None if place is None else self._token(pinned, place)
        body = search_body(pinned, query, limit=limit, token=token)
        places = places_of(pinned)
        found = self._client.search(body, places)
        names = {version.dataset: version.collection_id for version in versions}
        items = [restored(feature, names[feature["collection"]]) for feature in found.items]
        whole = place is None and not found.more
        return SearchPage(
            items=items,
            next=Token.at("next", items[-1]).encode(owner) if items and found.more else None,
            prev=Token.at("prev", items[0]).encode(owner) if items and found.earlier else None,
            matched=len(items) if whole else self._count(pinned, query, owner, body, places),
        )

    def _token(self, pinned: Sequence[Pinned], place: Token) -> str:
        dataset, _ = split_collection_id(place.collection)
        for each in pinned:
            if each.version.collection_id == place.collection and "\0" not in place.item:
                revision = self._client.rows(REVISION, *each.of_item(place.item))[0][0]
                if revision is not None:
                    return page_token(place.direction, dataset, revision)
        raise InvalidInput(
            "The paging token names an item that this search does not find.",
            hint="Take it from a next or prev link of the same search, or start again without it.",
            kind="invalid-token",
        )

    def _count(self, pinned: Sequence[Pinned], query: Query, owner: str, body: dict[str, Any], places: str) -> int:
        """How many match: versions never change, so it is counted once."""
        if not query.narrows:
            return sum(each.version.record.statistics.items for each in pinned)
        with self._cached:
            known = self._matched.get(owner)
        if known is None:
            known = self._client.matched(body, places)
            with self._cached:
                self._matched[owner] = known
        return known

    def find(self, version: Version, item_id: str) -> Row | None:
        """One item of a version, or None."""

        def find() -> Row | None:
            found = self._client.rows(ITEM, *self._place_of(version).of_item(item_id))[0][0]
            return None if found is None else make_row(restored(found, version.collection_id))

        return None if "\0" in item_id else self._steady(find)

    def digest(self, version: Version, item_id: str) -> bytes | None:
        """The digest of one item of a version, or None."""

        def find() -> bytes | None:
            pinned = self._place_of(version)
            key = (version.dataset, item_id, self._state)
            with self._cached:
                rows = self._revisions.get(key)
            if rows is None:
                rows = self._client.rows(REVISIONS, *pinned.of_item(item_id)[:-1])
                with self._cached:
                    self._revisions[key] = rows
            # No revision at all is a row of nulls.
            valid = (row[2] for row in rows if row[0] is not None and row[0] <= pinned.begins < row[1])
            return next(valid, None)

        return None if "\0" in item_id else self._steady(find)

    # -- what the index holds

    def _steady(self, work: Callable[[], _T]) -> _T:
        """Do some work by places in the sequence; again where they mean nothing any more."""
        for _ in range(_TRIES):
            try:
                return work()
            except StaleIndex:
                with self._lock:
                    self._doubt()
        raise StorageUnavailable("The index is being built anew.", hint="Try again in a few seconds.")

    def _place_of(self, version: Version) -> Pinned:
        for within in (_SECONDS, 0):
            self._refresh(within)
            places = self._places.get(version.dataset)
            found = None if places is None else places.of(version)
            if found is not None:
                return found
        raise StorageUnavailable(
            f"{version.pin} is not in the index at the moment.", hint="It is being built anew: try again later."
        )

    def _refresh(self, within: float) -> None:
        """Read what changed in the index, unless that was done within some seconds; for one request it is done once."""
        request = REQUEST_ID.get()
        if request is not None and request == self._request:
            within = _SECONDS  # an id may be a client's, who gives the same again and again
        if time.monotonic() - self._asked < within:
            return
        with self._lock:
            moment = time.monotonic()
            if moment - self._asked < within:
                return
            rows = self._client.rows(_STATE) if self._checked else []
            if not rows:  # at first, and where somebody took the index away
                check_schema(self._client.rows, self._catalog.record.id)
                self._checked = True
                rows = self._client.rows(_STATE)
            state = rows[0][0]
            if state < self._state:  # the database lost what it had: a crash, a failover, a restored backup
                self._doubt()
            if state != self._state:
                self._take(self._client.rows(_RECORDS, self._state))
            self._asked, self._request = moment, request

    def _doubt(self) -> None:
        """Read everything anew at the next look: what was read before is not what the index says now."""
        self._state = self._seq = -1
        self._asked = float("-inf")

    def _take(self, records: Sequence[Sequence[Any]]) -> None:
        """Take what changed; of an index that was doubted, all that it says in the place of what was known."""
        anew = self._state < 0
        places = {} if anew else dict(self._places)
        changed = {path.split("/")[1] for path, data, _ in records if data is None}
        for dataset_id in changed:
            places.pop(dataset_id, None)
        # Read after the records: a version that has a record has its place then.
        rows = self._client.rows(_PLACES, self._seq)
        # Other threads may be reading the places that are known: what changes is a copy.
        for dataset_id in {dataset_id for dataset_id, *_ in rows} & set(places):
            places[dataset_id] = deepcopy(places[dataset_id])
        for dataset_id, number, seq, mark in rows:
            places.setdefault(dataset_id, _Places()).put(number, seq, mark)
        self._store.update(((path, data) for path, data, _ in records), anew=anew)
        for dataset_id in [*self._places, *places] if anew else changed:
            self._catalog.forget(dataset_id)
        self._places = places
        self._seq = max([self._seq, *(seq for _, _, seq, _ in rows)])
        self._state = max([self._state, *(state for _, _, state in records)])
        if anew:
            with self._cached:
                self._revisions.clear()


class _IndexProbe:
    """Whether the index answers."""

    name = "index"

    def __init__(self, backend: PgstacBackend) -> None:
        self._backend = backend

    def check(self) -> Check:
        """Read its state, and what changed in it; nothing of it is told, since everybody may ask for readiness."""
        try:
            self._backend.dataset_ids()
        except StacpinError as error:
            _log.error("the index does not answer: %s", error)
            return Check(self.name, ok=False, detail=f"does not answer ({error.kind})")
        return Check(self.name, ok=True, detail="answers")
