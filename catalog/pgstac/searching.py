"""Searches at pins as searches of pgstac: one predicate says which revisions are valid, everything else is pgstac's.

Validity is counted in one sequence for all datasets, so that versions whose ranges meet need one predicate together;
others are an OR of groups, which is some three times as slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from catalog import query_area
from catalog.pgstac.filters import all_of, any_of, geometry_meets, op, translate
from catalog.pgstac.rows import OPEN, without_nul
from catalog.query import Query
from versioning.version import Version

__all__ = ["ITEM", "LAG", "REVISION", "REVISIONS", "Pinned", "groups", "page_token", "places_of", "search_body"]

# How many versions the index lacks, and since how many seconds it may lack some: what nobody looks for is not known.
LAG = (
    "select coalesce((select sum(greatest(head - indexed, 0)) from pin.datasets), 0)::int,"
    " extract(epoch from now() - least(checked, (select min(behind) from pin.datasets)))::float8 from pin.state"
)

# Of one item ($2) of a dataset ($1). That a dataset is the version that is meant at its place ($3, as `places_of`
# writes it) is proven beside what is read, of a moment after the tables were locked: as a condition it would not be
# looked at where the dataset's partition is gone, and nothing would be found, which would be wrong.
REVISIONS = (
    "select begins, ends, digest, proven from (select pin.placed($3::text::jsonb) as proven) as places left join ("
    "select (private->>'f')::int as begins, (private->>'u')::int as ends, decode(private->>'d', 'hex') as digest"
    " from pgstac.items where collection = $1 and split_part(id, '!', 1) = $2) as revisions on true"
)
_VALID = "where collection = $1 and split_part(id, '!', 1) = $2 and pin.at(private, $4::int)"
# The id of the revision that is valid at a place in the sequence ($4), or null.
REVISION = f"select (select id from pgstac.items {_VALID}), pin.placed($3::text::jsonb)"  # noqa: S608 - constants
# That revision as a search gives it, or null. To write and plan a search takes 4 ms, and this 0.3.
ITEM = (
    "select (select jsonb_build_object('type', 'Feature', 'geometry', ST_AsGeoJSON(geometry, 20)::jsonb) || content"  # noqa: S608 - constants
    f" from pgstac.items {_VALID}), pin.placed($3::text::jsonb)"
)


@dataclass(frozen=True, slots=True)
class Pinned:
    """A version and where it stands in the index: it is what its dataset was from ``begins`` until before ``ends``.

    ``mark`` is drawn by chance when a version is indexed: what is indexed anew, or after a crash again, has another.
    """

    version: Version
    begins: int
    ends: int = OPEN
    mark: int = 0

    def of_item(self, item_id: str) -> tuple[str, str, str, int]:
        """What :data:`REVISION` and :data:`ITEM` are asked with, and all but the last :data:`REVISIONS`."""
        return self.version.dataset, item_id, places_of([self]), self.begins


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


def places_of(versions: Sequence[Pinned]) -> str:
    """Which versions stand at which places, for ``pin.placed`` to prove: ``[[7, [["a", 3, 90211], …]], …]``."""
    found = [
        [place, [[each.version.dataset, each.version.number, each.mark] for each in some]]
        for place, some in groups(versions)
    ]
    return orjson.dumps(found).decode()


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
        # The index's own name is nobody's property. Of one dataset, ids of revisions sort as the items do.
        names = {"pin:id": "properties.pin:id"} | ({"id": "pin:id"} if len(versions) > 1 else {})
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
    # As text: beside a number pgstac reads all arguments of an operator as numbers.
    if len(stabbed) == 1:
        parts = [op("pin_at", str(stabbed[0][0]))]
    else:
        parts = [any_of([op("and", op("pin_at", str(place)), _collections(some)) for place, some in stabbed])]
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
    """The user's filter, in which the property ``collection`` is the id of the version that an item was found in."""
    if len(versions) == 1:
        return translate(node, versions[0].version.collection_id)
    return translate(node, {each.version.dataset: each.version.collection_id for each in versions})


def _collections(versions: Sequence[Pinned]) -> dict[str, Any]:
    return op("pin_collections", orjson.dumps([each.version.dataset for each in versions]).decode())
