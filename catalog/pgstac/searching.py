"""Searches at pins as searches of pgstac: one predicate says which revisions are valid, everything else is pgstac's.

Validity is counted in one sequence for all datasets, so that versions whose ranges meet need one predicate together;
others are an OR of groups, which is some three times as slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from catalog import cql, query_area
from catalog.pgstac.filters import all_of, any_of, geometry_meets, op, translate
from catalog.pgstac.rows import OPEN, without_nul
from catalog.query import Query
from catalog.query_time import instant_text
from versioning.version import Version

__all__ = ["LAG", "REVISION", "REVISIONS", "Pinned", "groups", "page_token", "search_body"]

# How many versions the index lacks, and since how many seconds it may lack some: what nobody looks for is not known.
LAG = (
    "select coalesce((select sum(greatest(head - indexed, 0)) from pin.datasets), 0)::int,"
    " extract(epoch from now() - least(checked, (select min(behind) from pin.datasets)))::float8 from pin.state"
)

# Revisions of an item, and the one of them that is valid at a place in the sequence.
REVISION = (
    "select id from pgstac.items where collection = $1 and split_part(id, '!', 1) = $2 and pin.at(private, $3::int)"
)
REVISIONS = (
    "select (private->>'f')::int, (private->>'u')::int, decode(private->>'d', 'hex') from pgstac.items"
    " where collection = $1 and split_part(id, '!', 1) = $2"
)


@dataclass(frozen=True, slots=True)
class Pinned:
    """A version and where it stands in the index: it is what its dataset was from ``begins`` until before ``ends``."""

    version: Version
    begins: int
    ends: int = OPEN


def groups(versions: Sequence[Pinned]) -> list[tuple[int, list[Pinned]]]:
    """The fewest places in the sequence so that each version is valid at one of them, with the versions of each.

    The classic stabbing of intervals: by where they begin, from the last; a place takes all that hold it.
    """
    found: list[tuple[int, list[Pinned]]] = []
    left = sorted(versions, key=lambda each: each.begins, reverse=True)
    while left:
        place = left[0].begins
        found.append((place, [each for each in left if each.ends > place]))
        left = [each for each in left if each.ends <= place]
    return found


def search_body(
    versions: Sequence[Pinned], query: Query, *, generation: int, limit: int = 10, token: str | None = None
) -> dict[str, Any]:
    """The body of a search, as pgstac's ``search`` function takes it.

    Parameters
    ----------
    versions
        Where to search: at least one, at most one of each dataset.
    query
        What for.
    generation
        That of the index when the places of ``versions`` were read: the search fails if it is another now.
    limit
        How many items.
    token
        A place, as :func:`page_token` writes it.
    """
    body: dict[str, Any] = {
        "collections": sorted(each.version.dataset for each in versions),
        "filter": _filter(versions, query, generation),
        "filter-lang": "cql2-json",
        "limit": limit,
        # What matches is counted by whoever wants to know; pgstac would count again on each page.
        "conf": {"context": "off"},
    }
    if query.sortby:
        # Of one dataset, ids of revisions sort as the items do.
        names = {"id": "pin:id"} if len(versions) > 1 else {}
        body["sortby"] = [
            {"field": names.get(field, without_nul(field)), "direction": direction} for field, direction in query.sortby
        ]
    if token is not None:
        body["token"] = token
    return body


def page_token(direction: str, dataset: str, revision: str) -> str:
    """A place in pgstac's own words: the direction, and both ids in hex digits (``page_token`` of pgstac 0.10)."""
    return f"{direction}:{dataset.encode().hex()}:{revision.encode().hex()}"


def _filter(versions: Sequence[Pinned], query: Query, generation: int) -> dict[str, Any]:
    """Always an AND: pgstac reads a number otherwise where an operator stands alone."""
    stabbed = groups(versions)
    if len(stabbed) == 1:
        valid = op("pin_at", stabbed[0][0])
    else:
        valid = any_of([op("and", op("pin_at", place), _collections(some)) for place, some in stabbed])
    parts = [valid, op("pin_current", generation)]
    if query.ids is not None:
        parts.append(op("pin_ids", orjson.dumps([each for each in query.ids if "\0" not in each]).decode()))
    if query.interval is not None:
        start, end = query.interval
        if end is not None:
            parts.append(op("<=", op("pin_start"), {"timestamp": instant_text(end)}))
        if start is not None:
            parts.append(op(">=", op("pin_end"), {"timestamp": instant_text(start)}))
    if query.bbox is not None:
        parts.append(geometry_meets(query_area.box_shape(query.bbox)))
    if query.intersects is not None:
        parts.append(geometry_meets(query_area.geometry_shape(query.intersects)))
    if query.filter is not None:
        parts.append(without_nul(_asked(versions, query.filter)))
    return all_of(parts)


def _asked(versions: Sequence[Pinned], node: Any) -> dict[str, Any]:
    """The user's filter: once for each version where it names the collection, whose id is then another in each."""
    if len(versions) > 1 and "collection" in cql.compile_filter(node).uses.names:
        each = [op("and", _collections([one]), translate(node, one.version.collection_id)) for one in versions]
        return any_of(each)
    return translate(node, versions[0].version.collection_id)


def _collections(versions: Sequence[Pinned]) -> dict[str, Any]:
    return op("pin_collections", orjson.dumps([each.version.dataset for each in versions]).decode())
