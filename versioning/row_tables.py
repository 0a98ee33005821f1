"""Item rows as Arrow tables, and back."""

# pyarrow makes the functions of pyarrow.compute at run time, so a type checker cannot see them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from versioning.arrays import bools, bytes_of, digests, doubles, integers, lists, one, texts, tuples
from versioning.manifests import DELTA_SCHEMA, ROW_SCHEMA
from versioning.rows import AssetRef, Row

__all__ = ["asset_refs", "delta_of", "flat_asset_refs", "rows_of", "table_of"]


def table_of(rows: Sequence[Row]) -> pa.Table:
    """Rows as an Arrow table of :data:`versioning.manifests.ROW_SCHEMA`."""
    return pa.Table.from_arrays([_COLUMNS[name](rows) for name in ROW_SCHEMA.names], schema=ROW_SCHEMA)


def delta_of(rows: Sequence[Row | str]) -> pa.Table:
    """Rows, and the ids of rows that are gone, as a table of :data:`versioning.manifests.DELTA_SCHEMA`, by id."""
    ordered = sorted(rows, key=lambda row: row if isinstance(row, str) else row.id)
    live = [row for row in ordered if isinstance(row, Row)]
    table = table_of(live)
    gone = np.fromiter((isinstance(row, str) for row in ordered), bool, len(ordered))
    columns: list[pa.Array | pa.ChunkedArray] = table.columns
    if len(live) < len(ordered):
        # A taken null is null in every column: that is a tombstone but for its id.
        places = (np.cumsum(~gone) - 1).tolist()
        order = integers([None if dead else place for place, dead in zip(places, gone.tolist(), strict=True)])
        ids = texts([(row if isinstance(row, str) else row.id).encode() for row in ordered], pa.string())
        columns = [ids, *(one(column).take(order) for column in columns[1:])]
    return pa.Table.from_arrays([*columns, bools(gone)], schema=DELTA_SCHEMA)


def rows_of(table: pa.Table) -> Iterator[Row]:
    """The rows of a table that has all columns of :data:`versioning.manifests.ROW_SCHEMA`."""
    for batch in table.to_batches():
        starts = batch.column("start_datetime").cast(pa.int64()).to_pylist()
        ends = batch.column("end_datetime").cast(pa.int64()).to_pylist()
        digests_, contents = (bytes_of(batch.column(name)) for name in ("digest", "content_digest"))
        names = ("id", "bbox", "geometry", "item", "reuse")
        columns = [batch.column(name).to_pylist() for name in names]
        groups = asset_refs(batch.column("assets"))
        for item_id, box, geometry, item, reuse, digest, content, start, end, assets in zip(
            *columns, digests_, contents, starts, ends, groups, strict=True
        ):
            yield Row(
                id=item_id,
                digest=digest,
                content_digest=content,
                bbox=None if box is None else (box["xmin"], box["ymin"], box["xmax"], box["ymax"]),
                geometry=geometry,
                start=start,
                end=end,
                assets=assets,
                item=item.encode("utf-8"),
                reuse=None if reuse is None else tuple(reuse),
            )


def asset_refs(lists: pa.Array) -> list[tuple[AssetRef, ...]]:
    """The assets of each row, from the column ``assets``."""
    lengths, flat = flat_asset_refs(lists)
    return [tuple(islice(flat, length)) for length in lengths]


def flat_asset_refs(lists: pa.Array) -> tuple[list[int], Iterator[AssetRef]]:
    """How many assets each row has, and all of them one after the other.

    Flat columns take a third of the time of dicts. Each is made when it is asked for: a list of thousands of tuples has
    Python's garbage collector look at them all again and again, which took half of the time.
    """
    flat = lists.flatten()
    keys, hrefs, digests_, sizes = (pc.struct_field(flat, name) for name in AssetRef._fields)
    columns = (keys.to_pylist(), hrefs.to_pylist(), bytes_of(digests_), sizes.to_pylist())
    # By Python, not by fill_null(): to make a scalar for it pyarrow imports pandas, 0.3 s.
    lengths = [length or 0 for length in pc.list_value_length(lists).to_pylist()]
    return lengths, tuples(AssetRef, columns)


def _boxes(rows: Sequence[Row]) -> pa.Array:
    boxes = np.array([row.bbox or (0.0, 0.0, 0.0, 0.0) for row in rows], np.float64).reshape(-1, 4)
    sides = [doubles(boxes[:, side]) for side in range(4)]
    missing = bools(np.fromiter((row.bbox is None for row in rows), bool, len(rows)))
    return pa.StructArray.from_arrays(sides, fields=list(ROW_SCHEMA.field("bbox").type), mask=missing)


def _assets(rows: Sequence[Row]) -> pa.Array:
    flat = [asset for row in rows for asset in row.assets]
    columns = [
        texts([asset.key.encode() for asset in flat], pa.string()),
        texts([asset.href.encode() for asset in flat], pa.string()),
        digests([asset.sha256 for asset in flat]),
        integers([asset.size for asset in flat], pa.int64()),
    ]
    fields = list(ROW_SCHEMA.field("assets").type.value_type)
    return lists([len(row.assets) for row in rows], pa.StructArray.from_arrays(columns, fields=fields))


def _hints(rows: Sequence[Row]) -> pa.Array:
    flat = [value for row in rows for value in row.reuse or ()]
    return lists([None if row.reuse is None else len(row.reuse) for row in rows], integers(flat, pa.int64()))


_TIME = ROW_SCHEMA.field("start_datetime").type
_COLUMNS = {
    "id": lambda rows: texts([row.id.encode() for row in rows], pa.string()),
    "digest": lambda rows: digests([row.digest for row in rows]),
    "content_digest": lambda rows: digests([row.content_digest for row in rows]),
    "bbox": _boxes,
    "geometry": lambda rows: texts([row.geometry for row in rows], pa.binary()),
    "start_datetime": lambda rows: integers([row.start for row in rows], _TIME),
    "end_datetime": lambda rows: integers([row.end for row in rows], _TIME),
    "assets": _assets,
    "item": lambda rows: texts([row.item for row in rows], pa.string()),
    "reuse": _hints,
}
