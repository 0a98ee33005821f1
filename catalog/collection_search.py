"""Search among the versions of datasets: from what their records say, without reading any manifest."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal

import orjson
import shapely

from catalog import cql, query_area
from catalog.collection_places import Keys, Place
from catalog.collections import Links, collection_dict
from catalog.cql_values import member, path_of, sort_key
from catalog.query import Query
from catalog.query_time import parse_instant
from versioning.errors import InvalidInput
from versioning.ids import collection_id
from versioning.version import Version

__all__ = ["CollectionPage", "Entry", "Shared", "search_collections"]

# What says nothing about the data, or stands in columns of its own.
_LEFT_OUT = ("type", "stac_version", "stac_extensions", "id", "links", "extent")
# How often the clock is looked at.
_ENTRIES_A_LOOK = 256

# What versions have in common, by its JSON: most of what a dataset declares stays from version to version.
Shared = dict[bytes, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A version as a search sees it: where and when its items are, and the members of its collection.

    ``own`` is JSON of what no other version has, so that 100,000 of them take little; ``start`` and ``end`` are
    microseconds since 1970, None where the interval is open.
    """

    dataset: str
    number: int
    boxes: tuple[query_area.Box, ...]
    start: int | None
    end: int | None
    declared: dict[str, Any]
    summaries: dict[str, Any]
    own: bytes

    @classmethod
    def of(cls, version: Version, shared: Shared) -> Entry:
        """The entry of a version.

        Parameters
        ----------
        version
            The version; only its record is looked at.
        shared
            What the versions before it had; what is new is added.
        """
        document = collection_dict(version, _Nowhere())
        extent = document["extent"]
        box = extent["spatial"]["bbox"][0]
        start, end = extent["temporal"]["interval"][0]
        summaries = document.pop("summaries", {})
        for name in _LEFT_OUT:
            document.pop(name, None)
        declared = {key: value for key, value in document.items() if version.record.collection.get(key) == value}
        own = {key: value for key, value in document.items() if key not in declared}
        return cls(
            dataset=version.dataset,
            number=version.number,
            boxes=tuple(query_area.boxes_of((box[0], box[1], box[2], box[3]))),
            start=None if start is None else parse_instant(start),
            end=None if end is None else parse_instant(end),
            declared=_one_of(declared, shared),
            summaries=_one_of(summaries, shared),
            # Copied, since orjson's own bytes keep the 8 kB that it wrote them into.
            own=bytes(memoryview(orjson.dumps(own))),
        )

    @property
    def collection_id(self) -> str:
        """The STAC collection id, ``landcover--v3``."""
        return collection_id(self.dataset, self.number)

    def properties(self) -> dict[str, Any]:
        """The members of the collection that filters and sorts can name, made anew."""
        return {**self.declared, **orjson.loads(self.own), "summaries": self.summaries}


@dataclass(frozen=True, slots=True)
class CollectionPage:
    """One page of versions; ``next`` and ``prev`` are tokens, None at the ends; ``matched`` counts all exactly."""

    entries: list[Entry]
    next: str | None
    prev: str | None
    matched: int


def search_collections(
    entries: Iterable[Entry],
    query: Query,
    *,
    limit: int,
    token: str | None = None,
    scope: str = "",
    seconds: float | None = None,
) -> CollectionPage:
    """One page of the versions that match, with how many match in all.

    They come in the order of ``entries``, or as ``sortby`` says; what has no value comes last when ascending.

    Parameters
    ----------
    entries
        Where to search: each version once, by dataset, a dataset's newest version first.
    query
        What for: ``bbox`` and ``datetime`` meet the version's extent, ``filter`` (and free text) reads the members of
        its collection, such as ``license``, ``keywords`` or ``summaries.gsd``; ``datetime`` there is where the extent
        begins.
    limit
        How many versions a page has.
    token
        ``next`` or ``prev`` of another page of the same search. A page begins where the other ended, even if what
        stood there is gone.
    scope
        What tells apart searches of one query among other versions.
    seconds
        How long filtering may take, for servers; None for as long as it takes.

    Raises
    ------
    InvalidInput
        If the token is of another search, or it takes too long.
    """
    found = _matching(entries, query, seconds)
    owner = f"{query.digest[:16]} {scope}"
    place = None if token is None else Place.decode(token, owner, fields=len(query.sortby))
    rows: list[_Row] = [(_keys(entry, query), (entry.dataset, -entry.number), entry) for entry in found]
    start, stop = 0, limit
    if place is None:
        _sort(rows, query)
    else:
        name = (place.name[0], -place.name[1])
        at = bisect_left(rows, name, key=itemgetter(1))
        there = at < len(rows) and rows[at][1] == name
        if not there:
            rows.insert(at, (place.keys, name, None))
        mark = rows[at]
        _sort(rows, query)
        at = next(n for n, row in enumerate(rows) if row is mark)
        if not there:
            del rows[at]
        start, stop = (at + there, at + there + limit) if place.direction == "next" else (max(0, at - limit), at)
    page = rows[start:stop]
    return CollectionPage(
        entries=[entry for _, _, entry in page if entry is not None],
        next=_token("next", page[-1], owner) if page and stop < len(rows) else None,
        prev=_token("prev", page[0], owner) if page and start > 0 else None,
        matched=len(rows),
    )


# What a version is sorted by, then its dataset and its number from the highest down; None where one has been.
_Row = tuple[Keys, tuple[str, int], Entry | None]


def _token(direction: Literal["next", "prev"], row: _Row, owner: str) -> str:
    keys, (dataset, number), _ = row
    return Place(direction, (dataset, -number), keys).encode(owner)


class _Seen:
    """An entry as a filter sees it; what costs is made when it is first asked for."""

    __slots__ = ("_entry", "_item", "collection", "end", "id", "start")

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._item: dict[str, Any] | None = None
        self.id = self.collection = entry.collection_id
        self.start, self.end = entry.start, entry.end

    @property
    def item(self) -> dict[str, Any]:
        item = self._item
        if item is None:
            item = self._item = {"properties": self._entry.properties()}
        return item

    @property
    def shape(self) -> shapely.Geometry:
        return shapely.union_all([query_area.box_shape(box) for box in self._entry.boxes])


def _matching(entries: Iterable[Entry], query: Query, seconds: float | None) -> Iterator[Entry]:
    tests = _tests(query)
    until = None if seconds is None else time.monotonic() + seconds
    for count, entry in enumerate(entries):
        if until is not None and count % _ENTRIES_A_LOOK == 0 and time.monotonic() > until:
            raise InvalidInput(
                f"the search takes longer than {seconds:g} seconds.", hint="Simplify its filter.", kind="too-slow"
            )
        if all(test(entry) for test in tests):
            yield entry


def _tests(query: Query) -> list[Callable[[Entry], bool]]:
    tests: list[Callable[[Entry], bool]] = []
    if query.bbox is not None:
        wanted = query_area.boxes_of(query.bbox)
        tests.append(lambda entry: any(_meet(one, two) for one in entry.boxes for two in wanted))
    if query.interval is not None:
        first, last = query.interval
        tests.append(
            lambda entry: (
                (last is None or entry.start is None or entry.start <= last)
                and (first is None or entry.end is None or entry.end >= first)
            )
        )
    if query.filter is not None:
        matches = cql.compile_filter(query.filter).matches
        tests.append(lambda entry: matches(_Seen(entry)))
    return tests


def _meet(one: query_area.Box, two: query_area.Box) -> bool:
    return one[0] <= two[2] and one[2] >= two[0] and one[1] <= two[3] and one[3] >= two[1]


def _keys(entry: Entry, query: Query) -> Keys:
    if not query.sortby:
        return ()
    seen = _Seen(entry)
    return tuple(_key(seen, field) for field, _ in query.sortby)


def _key(seen: _Seen, field: str) -> tuple[Any, ...]:
    match field:
        case "id" | "collection":
            # By number, not by its digits: v10 comes after v9.
            dataset, _, number = seen.id.rpartition("--v")
            return (1, dataset, int(number))
        case "datetime" | "start_datetime":
            return sort_key(seen.start)
        case "end_datetime":
            return sort_key(seen.end)
        case _:
            return sort_key(member(seen.item, path_of(field)))


def _sort(rows: list[_Row], query: Query) -> None:
    for place, (_, direction) in reversed(list(enumerate(query.sortby))):
        rows.sort(key=lambda row: row[0][place], reverse=direction == "desc")


def _one_of(value: dict[str, Any], shared: Shared) -> dict[str, Any]:
    return shared.setdefault(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), value)


class _Nowhere(Links):
    """No document is anywhere, so a collection made with it has no link of ours."""

    def root(self) -> None: ...
    def dataset(self, dataset: str) -> None: ...
    def history(self, dataset: str) -> None: ...
    def collection(self, collection_id: str) -> None: ...
    def items(self, collection_id: str) -> None: ...
    def item(self, collection_id: str, item_id: str) -> None: ...
