"""Search at a pin, straight from the manifests: what the loaders and the embedded STAC API both use.

What matches and in which order follows the SQL of pgstac 0.10, so that a pgstac index can give the same answers. Two
things are otherwise on purpose: a box with west > east crosses the antimeridian, as STAC says, where pgstac takes the
rest of the world; and CQL2's DATE can be compared, where pgstac finds nothing.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from threading import Lock
from typing import Any

from cachetools import LRUCache

from catalog.paging import Order, Token, identity, in_order, make_order
from catalog.query import Query
from catalog.quoting import brief
from catalog.scan import Found, Plan
from versioning.canonical import parse
from versioning.errors import InvalidInput
from versioning.snapshots import Chunk
from versioning.version import Version

__all__ = ["MOST_ON_A_PAGE", "Explanation", "Query", "SearchPage", "explain", "iterate", "search"]

MOST_ON_A_PAGE = 10_000
# Chunks are read side by side: Arrow and the store work outside the interpreter's lock, and on S3 each read waits.
_READERS = 8
_FEW = 2

# The orders of recent searches: versions never change, so they stay right, and the next page needs no second scan.
_remembered: LRUCache[tuple[str, ...], Order] = LRUCache(64 * 1024 * 1024, getsizeof=lambda order: order.nbytes)
_lock = Lock()


@dataclass(frozen=True, slots=True)
class SearchPage:
    """One page of a search.

    ``items`` are stored items (without links, hrefs relative to the catalog) with their ``collection``; ``next`` and
    ``prev`` are tokens, None at the ends; ``matched`` counts all matches exactly.
    """

    items: list[dict[str, Any]]
    next: str | None
    prev: str | None
    matched: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a search reads and finds."""

    pin: str
    query: dict[str, Any]
    chunks: int
    chunks_read: int
    items: int
    examined: int
    reads_json: bool
    matched: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def __str__(self) -> str:
        what = json.dumps(self.query) if self.query else "everything"
        reads = "parses the items that are left" if self.reads_json else "parses no item"
        return (
            f"{self.pin}: {what}\n"
            f"  reads {self.chunks_read:,} of {self.chunks:,} chunks\n"
            f"  looks at {self.examined:,} of {self.items:,} items, {reads}\n"
            f"  finds {self.matched:,}"
        )


def search(
    versions: Sequence[Version],
    query: Query,
    *,
    limit: int = 10,
    token: str | None = None,
    seconds: float | None = None,
) -> SearchPage:
    """One page of the items of some versions that match a query, with how many match in all.

    Parameters
    ----------
    versions
        Where to search, at most one version of each dataset.
    query
        What for; its ``sortby``, or else ``datetime`` descending, is the order. Ties go by collection and id.
    limit
        How many items a page has, 1 to 10,000.
    token
        ``next`` or ``prev`` of another page of the same search.
    seconds
        How long filtering may take, for servers; None for as long as it takes.

    Raises
    ------
    InvalidInput
        If the limit is out of range, the token is not one of this search, two versions are of one dataset, or it takes
        too long.
    Integrity
        If a manifest is damaged.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_ON_A_PAGE:
        raise InvalidInput(f"limit {brief(limit)} cannot be used.", hint=f"Give 1 to {MOST_ON_A_PAGE:,}.")
    ordered = in_order(versions)
    owner = identity(ordered, query)
    place = None if token is None else Token.decode(token, owner)
    order = _order(ordered, query, owner, seconds)
    if place is None:
        start, stop = 0, limit
    elif place.direction == "next":
        start = order.position(ordered, place) + 1
        stop = start + limit
    else:
        stop = order.position(ordered, place)
        start = max(0, stop - limit)
    items = _fetch(ordered, order, start, stop)
    return SearchPage(
        items=items,
        next=Token.at("next", items[-1]).encode(owner) if items and stop < len(order) else None,
        prev=Token.at("prev", items[0]).encode(owner) if items and start > 0 else None,
        matched=len(order),
    )


def iterate(version: Version, query: Query) -> Iterator[dict[str, Any]]:
    """All matching items of a version in the order of their ids, in the memory of one chunk.

    Each is the stored item with its ``collection``.

    Raises
    ------
    InvalidInput
        If the query asks for another order: that needs all of them at once, so use :func:`search`.
    """
    if query.sortby:
        raise InvalidInput(
            "A stream of items comes in the order of their ids.", hint="Leave sortby away, or use search."
        )
    return _stream(version, Plan(query, keep=True))


def _stream(version: Version, plan: Plan) -> Iterator[dict[str, Any]]:
    for chunk in plan.chunks(version):
        for item in plan.scan(version, chunk).items():
            item["collection"] = version.collection_id
            yield item


def explain(version: Version, query: Query) -> Explanation:
    """Run a query without giving its items: how many chunks it reads, how many rows it looks at, and how many match."""
    plan = Plan(query)
    chunks = plan.chunks(version)
    found = _scan_all([version], [(0, chunk) for chunk in chunks], plan)
    return Explanation(
        pin=version.pin,
        query=query.to_dict(),
        chunks=len(version.chunks),
        chunks_read=len(chunks),
        items=version.record.statistics.items,
        examined=sum(part.examined for part in found),
        reads_json=plan.reads_item,
        matched=sum(len(part.rows) for part in found),
    )


def _order(versions: Sequence[Version], query: Query, owner: str, seconds: float | None) -> Order:
    key = (owner, *(version.collection_id for version in versions))
    with _lock:
        order = _remembered.get(key)
    if order is None:
        plan = Plan(query, seconds=seconds)
        chunks = [(number, chunk) for number, version in enumerate(versions) for chunk in plan.chunks(version)]
        order = make_order(versions, chunks, _scan_all(versions, chunks, plan), query.sortby)
        with _lock:
            if order.nbytes <= _remembered.maxsize:
                _remembered[key] = order
    return order


def _scan_all(versions: Sequence[Version], chunks: Sequence[tuple[int, Chunk]], plan: Plan) -> list[Found]:
    if len(chunks) <= _FEW:
        return [plan.scan(versions[number], chunk) for number, chunk in chunks]
    with ThreadPoolExecutor(_READERS) as readers:
        if not plan.reads_item:
            return list(readers.map(lambda pair: plan.scan(versions[pair[0]], pair[1]), chunks))
        # Parsing holds the interpreter's lock, and eight threads that fight for it are 1.5 times slower than one: they
        # only read ahead, by as many chunks as fit in memory.
        found: list[Found] = []
        tables = deque(readers.submit(versions[n].table, chunk, plan.columns) for n, chunk in chunks[:_READERS])
        for place, (number, chunk) in enumerate(chunks):
            table = tables.popleft().result()
            if place + _READERS < len(chunks):
                ahead, following = chunks[place + _READERS]
                tables.append(readers.submit(versions[ahead].table, following, plan.columns))
            found.append(plan.scan(versions[number], chunk, table))
        return found


def _fetch(versions: Sequence[Version], order: Order, start: int, stop: int) -> list[dict[str, Any]]:
    """The items of a page: of each chunk that it touches only the rows that are on it are parsed."""
    places = order.places(start, stop)
    wanted: dict[int, list[int]] = {}
    for part, row in places:
        wanted.setdefault(part, []).append(row)

    def read(part: int) -> dict[int, dict[str, Any]]:
        number, chunk = order.chunks[part]
        rows = wanted[part]
        texts = versions[number].table(chunk, ("item",)).column("item").take(rows).to_pylist()
        items = [parse(text.encode()) for text in texts]
        for item in items:
            item["collection"] = versions[number].collection_id
        return dict(zip(rows, items, strict=True))

    if len(wanted) <= _FEW:
        found = {part: read(part) for part in wanted}
    else:
        with ThreadPoolExecutor(_READERS) as readers:
            found = dict(zip(wanted, readers.map(read, wanted), strict=True))
    return [found[part][row] for part, row in places]
