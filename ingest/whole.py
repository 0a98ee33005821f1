"""What follows from all items of a version together: which assets its items may have, and the summaries."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow.compute as pc

from catalog.summaries import Summing
from ingest.describe import kinds_of
from versioning.arrays import texts
from versioning.canonical import parse
from versioning.version import Version

__all__ = ["Before", "Whole", "items_after", "rows_by_id", "whole_after", "whole_of"]


@dataclass(frozen=True, slots=True)
class Whole:
    """What all items add up to.

    Attributes
    ----------
    kinds
        The keys and media types of their assets.
    summaries
        As a STAC Collection has them.
    """

    kinds: frozenset[tuple[str, str]]
    summaries: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Before:
    """What a version has of an item: its content digest and its JSON."""

    content_digest: bytes
    item: bytes

    def parse(self) -> dict[str, Any]:
        """The item as a new dict."""
        return parse(self.item)


def whole_of(items: Iterable[Mapping[str, Any]]) -> Whole:
    """Add up items, each of which is looked at once."""
    kinds, summing = _sum(items)
    return Whole(frozenset(kinds), summing.summaries())


def whole_after(
    parent: Version | None,
    changed: Mapping[str, bytes],
    removed: Collection[str],
    software: Mapping[str, str],
) -> Whole:
    """What the items of a version add up to, once some of them have changed.

    Where those that change add up to the same as before, nothing else has to be looked at: 200 changed tiles of 20,000
    then cost 20 ms instead of 600.

    Parameters
    ----------
    parent
        The version before; None if there is none.
    changed
        The JSON of the items that are new or other than in the parent, by id.
    removed
        Ids of the items that are no more.
    software
        What adds up now. Of a version that another stacpin summed up, everything is looked at again.
    """
    now = (orjson.loads(line) for line in changed.values())
    if parent is None:
        return whole_of(now)
    if _summed_up(parent, software):
        before = rows_by_id(parent, [*changed, *removed])
        if _sum(row.parse() for row in before.values()) == _sum(now):
            declared = parent.record.collection.get("item_assets", {})
            kinds = frozenset((key, asset.get("type", "")) for key, asset in declared.items())
            return Whole(kinds, dict(parent.record.summaries))
    return whole_of(items_after(parent, changed, removed))


def items_after(
    parent: Version | None, changed: Mapping[str, bytes], removed: Collection[str]
) -> Iterator[dict[str, Any]]:
    """All items, once some of them have changed; in no particular order."""
    gone = {*changed, *removed}
    for row in parent.rows() if parent else ():
        if row.id not in gone:
            yield row.parse()
    for line in changed.values():
        yield orjson.loads(line)


def rows_by_id(version: Version, ids: Collection[str]) -> dict[str, Before]:
    """Some items, as far as the version has them; each chunk is read once."""
    wanted = sorted(set(ids))
    found: dict[str, Before] = {}
    for chunk in version.chunks:
        first = bisect_left(wanted, chunk.first_id)
        end = bisect_left(wanted, chunk.last_id, lo=first)
        end += end < len(wanted) and wanted[end] == chunk.last_id
        if first == end:
            continue
        table = version.table(chunk, ["id", "content_digest", "item"])
        ids = texts([item_id.encode() for item_id in wanted[first:end]], table.schema.field("id").type)
        # The stubs do not know the functions of Arrow, which are made when it is imported.
        table = table.filter(pc.is_in(table.column("id"), value_set=ids))  # type: ignore[reportAttributeAccessIssue]
        columns = (table.column(name).to_pylist() for name in ("id", "content_digest", "item"))
        found |= {item_id: Before(digest, item.encode()) for item_id, digest, item in zip(*columns, strict=True)}
    return found


def _summed_up(parent: Version, software: Mapping[str, str]) -> bool:
    """Whether the parent's record says what this release would say of its items."""
    record = parent.record
    return record.recipe is not None and record.software.get("stacpin") == software.get("stacpin")


def _sum(items: Iterable[Mapping[str, Any]]) -> tuple[set[tuple[str, str]], Summing]:
    kinds: set[tuple[str, str]] = set()
    summing = Summing()
    for item in items:
        kinds.update(kinds_of(item))
        summing.add(item)
    return kinds, summing
