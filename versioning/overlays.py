"""How the files of a chunk lie over each other: the rows that they make together, and where single ids stand.

See :mod:`versioning.manifests` for what they are.
"""

# pyarrow makes the functions of pyarrow.compute at run time, so a type checker cannot see them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from versioning.arrays import Texts, integers, searched

# A piece takes as long as this many rows that are taken one by one.
_ROWS_OF_A_PIECE = 16

__all__ = ["merge_tables", "overlay", "places_of", "within"]


def within(table: pa.Table, first_id: str, last_id: str) -> pa.Table:
    """The rows of a sorted table whose ids lie in a range, both ends included."""
    ids = Texts(table.column("id"))
    start, end = bisect_left(ids, first_id), bisect_right(ids, last_id)
    return table if (start, end) == (0, len(ids)) else table.slice(start, end - start)


def places_of(table: pa.Table, wanted: Collection[str]) -> dict[str, int]:
    """Where some ids stand in a sorted table, in the order of ids; those that it does not have are left out.

    Not by Arrow's own search, which imports pandas for it.
    """
    ids = searched(table.column("id"), len(wanted))
    found: dict[str, int] = {}
    position = 0
    for item_id in sorted(wanted):
        position = bisect_left(ids, item_id, position)
        if position < len(ids) and ids[position] == item_id:
            found[item_id] = position
    return found


def merge_tables(tables: Sequence[pa.Table], first_id: str, last_id: str) -> pa.Table:
    """The rows of a chunk: for each id in the range the row of the last table that has it, without tombstones."""
    base, *deltas = [within(table, first_id, last_id) for table in tables]
    if "deleted" in base.column_names:
        base = base.filter(pc.invert(base.column("deleted"))).drop_columns(["deleted"])
    place: dict[str, int] = {}
    offset = base.num_rows
    for delta in deltas:
        ids = delta.column("id").to_pylist()
        deleted = delta.column("deleted").to_pylist() if "deleted" in delta.column_names else [False] * len(ids)
        for position, (item_id, gone) in enumerate(zip(ids, deleted, strict=True), start=offset):
            place[item_id] = -1 if gone else position
        offset += len(ids)
    if not place:
        return base
    order = overlay(searched(base.column("id"), len(place)), place)
    plain = [table.drop_columns(["deleted"]) if "deleted" in table.column_names else table for table in deltas]
    return _in_order(pa.concat_tables([base, *plain]), order)


def _in_order(table: pa.Table, order: np.ndarray) -> pa.Table:
    """Some rows of a table in a given order: by pieces where there are few, since ``take`` looks at every row."""
    breaks = np.flatnonzero(np.diff(order) != 1) + 1
    if len(order) < _ROWS_OF_A_PIECE * (len(breaks) + 1):
        return table.take(integers(order))
    starts, ends = [0, *breaks.tolist()], [*breaks.tolist(), len(order)]
    pieces = [table.slice(int(order[start]), end - start) for start, end in zip(starts, ends, strict=True)]
    return pa.concat_tables(pieces).combine_chunks()


def overlay(ids: Sequence[str], place: Mapping[str, int]) -> np.ndarray:
    """Which row of all tables, one after the other, stands where.

    ``ids`` are those of the first table, sorted; ``place`` says of ids in later ones where their rows are, -1 if they
    are taken out.
    """
    order = np.arange(len(ids))
    positions: list[int] = []
    inserted: list[int] = []
    position = 0
    for item_id in sorted(place):
        row = place[item_id]
        position = bisect_left(ids, item_id, position)
        if position < len(ids) and ids[position] == item_id:
            order[position] = row
        elif row >= 0:
            positions.append(position)
            inserted.append(row)
    if positions:
        order = np.insert(order, positions, inserted)
    return order[order >= 0]
