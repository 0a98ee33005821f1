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
from versioning.version import Version

__all__ = ["ITEM", "LAG", "REVISION", "REVISIONS", "Pinned", "groups", "page_token", "search_body"]

# How many versions the index lacks, and since how many seconds it may lack some: what nobody looks for is not known.
LAG = (
    "select coalesce((select sum(greatest(head - indexed, 0)) from pin.datasets), 0)::int,"
    " extract(epoch from now() - least(checked, (select min(behind) from pin.datasets)))::float8 from pin.state"
)

# Of one item ($2) of a dataset ($1). That at a place ($3) the dataset is the version that is meant ($4) is looked at
# first, once: what is asked for by places that mean nothing any more would find nothing, which would be wrong.
REVISIONS = (
    "select (private->>'f')::int, (private->>'u')::int, decode(private->>'d', 'hex') from pgstac.items"
    " where (select pin.placed($3::int, $4::text::jsonb)) and collection = $1 and split_part(id, '!', 1) = $2"
)
# The id of the revision that is valid at that place.
REVISION = (
    "select id from pgstac.items"
    " where (select pin.placed($3::int, $4::text::jsonb)) and collection = $1 and split_part(id, '!', 1) = $2"
    " and pin.at(private, $3::int)"
)
# That revision as a search gives it. To write and plan a search takes 4 ms, and this 0.3.
ITEM = (
    "select jsonb_build_object('type', 'Feature', 'geometry', ST_AsGeoJSON(geometry, 20)::jsonb) || content"
    " from pgstac.items"
    " where (select pin.placed($3::int, $4::text::jsonb)) and collection = $1 and split_part(id, '!', 1) = $2"
    " and pin.at(private, $3::int)"
)


@dataclass(frozen=True, slots=True)
class Pinned:
    """A version and where it stands in the index: it is what its dataset was from ``begins`` until before ``ends``."""

    version: Version
    begins: int
    ends: int = OPEN

    def of_item(self, item_id: str) -> tuple[str, str, int, str]:
        """What :data:`REVISION`, :data:`REVISIONS` and :data:`ITEM` are asked with."""
        return self.version.dataset, item_id, self.begins, _wanted([self])


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
    versions: Sequence[Pinned], query: Query, *, limit: int = 10, token: str | None = None
) -> dict[str, Any]:
    """The body of a search, as pgstac's ``search`` function takes it.

    Parameters
    ----------
    versions
        Where to search: at least one, at most one of each dataset.
    query
        What for.
    limit
        How many items.
    token
        A place, as :func:`page_token` writes it.
    """
    body: dict[str, Any] = {
        "collections": sorted(each.version.dataset for each in versions),
        "filter": _filter(versions, query),
        "filter-lang": "cql2-json",
        "limit": limit,
        # What matches is counted by whoever wants to know; pgstac would count again on each page.
        "conf": {"context": "off"},
    }
    # In pgstac's own words where those mean the same: it reads them faster than operators.
    if query.datetime is not None:
        body["datetime"] = query.datetime
    if _is_plain(query.bbox):
        body["bbox"] = query.bbox
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


def _filter(versions: Sequence[Pinned], query: Query) -> dict[str, Any]:
    stabbed = groups(versions)
    if len(stabbed) == 1:
        # As text: beside a number pgstac reads all arguments of an operator as numbers.
        place = str(stabbed[0][0])
        parts = [op("pin_valid", place, place, _wanted(versions))]
    else:
        parts = [op("pin_placed", str(place), _wanted(some)) for place, some in stabbed]
        parts.append(any_of([op("and", op("pin_at", str(place)), _collections(some)) for place, some in stabbed]))
    if query.ids is not None:
        parts.append(op("pin_ids", orjson.dumps([each for each in query.ids if "\0" not in each]).decode()))
    if query.bbox is not None and not _is_plain(query.bbox):
        parts.append(geometry_meets(query_area.box_shape(query.bbox)))
    if query.intersects is not None:
        parts.append(geometry_meets(query_area.geometry_shape(query.intersects)))
    if query.filter is not None:
        parts.append(without_nul(_asked(versions, query.filter)))
    return all_of(parts)


def _is_plain(box: query_area.Box | None) -> bool:
    """Whether a box has an area, and does not cross the antimeridian, where pgstac takes the rest of the world."""
    return box is not None and box[0] < box[2] and box[1] < box[3]


def _asked(versions: Sequence[Pinned], node: Any) -> dict[str, Any]:
    """The user's filter: once for each version where it names the collection, whose id is then another in each."""
    if len(versions) > 1 and "collection" in cql.compile_filter(node).uses.names:
        each = [op("and", _collections([one]), translate(node, one.version.collection_id)) for one in versions]
        return any_of(each)
    return translate(node, versions[0].version.collection_id)


def _wanted(versions: Sequence[Pinned]) -> str:
    return orjson.dumps([[each.version.dataset, each.version.number] for each in versions]).decode()


def _collections(versions: Sequence[Pinned]) -> dict[str, Any]:
    return op("pin_collections", orjson.dumps([each.version.dataset for each in versions]).decode())
