"""Snapshots: a version's list of chunks, with what search prunes by and the files that hold the rows.

A list is one file (or one a page), and may have files of changes after it: each of their chunks takes the place of all
chunks before it whose ranges it meets; one without rows only takes them away.
"""

# pyarrow makes the functions of pyarrow.compute at run time, so a type checker cannot see them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import ge
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from versioning import arrays, chunking, digests
from versioning.errors import Integrity
from versioning.manifests import FileRef, encode_table
from versioning.rows import BBox

__all__ = [
    "SNAPSHOT_SCHEMA",
    "Chunk",
    "Layers",
    "Roots",
    "apply_changes",
    "changed_chunks",
    "decode_snapshot",
    "describe",
    "describe_replaced",
    "encode_changes",
    "encode_snapshots",
    "leaf_of",
    "roots_of",
]

_DIGEST = pa.binary(32)
_TIME = pa.timestamp("us", tz="UTC")
_FILE = pa.struct([("sha256", _DIGEST), ("size", pa.int64())])

SNAPSHOT_SCHEMA = pa.schema(
    [
        pa.field("first_id", pa.string(), nullable=False),
        pa.field("last_id", pa.string(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("digest", _DIGEST, nullable=False),
        pa.field("content_digest", _DIGEST, nullable=False),
        pa.field("xmin", pa.float64()),
        pa.field("ymin", pa.float64()),
        pa.field("xmax", pa.float64()),
        pa.field("ymax", pa.float64()),
        pa.field("start_datetime", _TIME),
        pa.field("end_datetime", _TIME),
        pa.field("assets", pa.int64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("files", pa.list_(_FILE), nullable=False),
    ],
    metadata={"stacpin": "snapshot/1"},
)

# Of a row, what the place and time of its chunk follow from.
_PRUNES = ["bbox", "start_datetime", "end_datetime"]

# Up to this many chunks (some eight million items) the list is one file; beyond, one file a page, so that a commit
# rewrites the pages it touched and not the whole list.
_ONE_FILE = 8192


class Chunk(NamedTuple):
    """One chunk of a version: its range of ids, its digests, what prunes it, and its files, base first.

    ``bbox`` covers the boxes of all items that have one (-180 to 180 where one crosses the antimeridian); ``start`` and
    ``end`` are microseconds since 1970; ``bytes`` is the sum of the sizes of all assets. A tuple, since a list has
    thousands: a frozen dataclass takes ten times as long to make.
    """

    first_id: str
    last_id: str
    rows: int
    digest: bytes
    content_digest: bytes
    bbox: BBox | None
    start: int | None
    end: int | None
    assets: int
    bytes: int
    files: tuple[FileRef, ...]


@dataclass(frozen=True, slots=True)
class Layers:
    """A list of chunks as its files give it: the whole list, then changes of it, oldest first; and what they make."""

    base: tuple[Chunk, ...]
    changes: tuple[tuple[Chunk, ...], ...]
    chunks: tuple[Chunk, ...]

    def before(self, count: int) -> tuple[Chunk, ...]:
        """The list without its last ``count`` changes."""
        chunks: Sequence[Chunk] = self.base
        for change in self.changes[: len(self.changes) - count]:
            chunks = apply_changes(chunks, change)
        return tuple(chunks)


@dataclass(frozen=True, slots=True)
class Roots:
    """The two roots of a snapshot: over item digests, and over content digests."""

    digest: bytes
    content: bytes


def describe(table: pa.Table, files: tuple[FileRef, ...]) -> Chunk:
    """The entry of a chunk whose merged rows are ``table``; the table must not be empty and must be sorted by id."""
    ids = table.column("id")
    assets, size = _assets_of(table)
    starts, ends = (
        arrays.numbers(arrays.one(table.column(name)), np.int64) for name in ("start_datetime", "end_datetime")
    )
    return Chunk(
        first_id=ids[0].as_py(),
        last_id=ids[-1].as_py(),
        rows=table.num_rows,
        digest=leaf_of(table, "digest"),
        content_digest=leaf_of(table, "content_digest"),
        bbox=_cover(table),
        start=int(starts.min()) if len(starts) else None,
        end=int(ends.max()) if len(ends) else None,
        assets=assets,
        bytes=size,
        files=files,
    )


def _assets_of(table: pa.Table) -> tuple[int, int]:
    """How many assets some rows have, and how many bytes these take together."""
    sizes = arrays.numbers(pc.struct_field(arrays.one(table.column("assets")).flatten(), "size"), np.int64)
    return len(sizes), int(sizes.sum())


def describe_replaced(chunk: Chunk, table: pa.Table, places: Sequence[int], rows: pa.Table) -> Chunk:
    """The entry of a chunk with some rows replaced, in ``places`` of its ``table``, by ``rows`` of the same ids.

    It does not make the new table if places and times stay, which takes five times as long for one row of a thousand.
    """
    where = np.fromiter(places, np.int64, len(places))
    old = table.select([*_PRUNES, "assets"]).take(arrays.integers(where))
    if not old.select(_PRUNES).equals(rows.select(_PRUNES)):
        order = np.arange(table.num_rows)
        order[where] = np.arange(len(where)) + table.num_rows
        return describe(pa.concat_tables([table, rows]).take(arrays.integers(order)), chunk.files)
    proofs, contents = (_raw(table, column).copy() for column in ("digest", "content_digest"))
    proofs[where], contents[where] = (_raw(rows, column) for column in ("digest", "content_digest"))
    (less, smaller), (more, larger) = _assets_of(old), _assets_of(rows)
    return chunk._replace(
        digest=digests.leaf_digest((proofs.data,)),
        content_digest=digests.leaf_digest((contents.data,), family="content"),
        assets=chunk.assets - less + more,
        bytes=chunk.bytes - smaller + larger,
    )


def _raw(table: pa.Table, column: str) -> np.ndarray:
    """A column of digests as rows of bytes, straight from Arrow's memory."""
    values = arrays.one(table.column(column))
    size, first = digests.DIGEST_SIZE, values.offset
    data = np.frombuffer(values.buffers()[1], np.uint8, len(values) * size, first * size)
    return data.reshape(-1, size)


def leaf_of(table: pa.Table, column: Literal["digest", "content_digest"]) -> bytes:
    """The leaf over a column of digests, straight from Arrow's memory."""
    values = arrays.one(table.column(column))
    size = digests.DIGEST_SIZE
    start = values.offset * size
    data = values.buffers()[1].slice(start, len(values) * size) if len(values) else b""
    return digests.leaf_digest((memoryview(data),), family="digest" if column == "digest" else "content")


def changed_chunks(before: Sequence[Chunk], after: Sequence[Chunk]) -> list[Chunk]:
    """What makes ``after`` of ``before``, in order; a chunk without rows stands for what is gone and not replaced."""
    old, new = set(before), set(after)
    found = [chunk for chunk in after if chunk not in old]
    starts, ends = [chunk.first_id for chunk in found], [chunk.last_id for chunk in found]
    gone = [
        chunk._replace(rows=0, files=(), assets=0, bytes=0)
        for chunk in before
        if chunk not in new and bisect_left(ends, chunk.first_id) >= bisect_right(starts, chunk.last_id)
    ]
    return sorted([*found, *gone], key=lambda chunk: chunk.first_id)


def apply_changes(chunks: Sequence[Chunk], changes: Sequence[Chunk]) -> list[Chunk]:
    """A list of chunks with a file of changes applied to it; both are in order."""
    starts, ends = [chunk.first_id for chunk in chunks], [chunk.last_id for chunk in chunks]
    found: list[Chunk] = []
    place = 0
    for change in changes:
        # Chunks stay up to the first whose range the change meets, and from the one after the last on.
        first, last = bisect_left(ends, change.first_id), bisect_right(starts, change.last_id)
        found += chunks[place:first]
        place = max(place, last)
        if change.rows:
            found.append(change)
    return [*found, *chunks[place:]]


def _cover(table: pa.Table) -> BBox | None:
    boxes = arrays.one(table.column("bbox"))
    if boxes.null_count:
        boxes = boxes.filter(boxes.is_valid())
    if len(boxes) == 0:
        return None
    west, south, east, north = (
        arrays.numbers(pc.struct_field(boxes, side), np.float64) for side in ("xmin", "ymin", "xmax", "ymax")
    )
    lowest, highest = float(south.min()), float(north.max())
    if (west > east).any():
        return (-180.0, lowest, 180.0, highest)
    return (float(west.min()), lowest, float(east.max()), highest)


def roots_of(chunks: Sequence[Chunk]) -> Roots:
    """The roots over a list of chunks, as the format defines them."""
    ends = chunking.page_ends([chunk.last_id for chunk in chunks])
    return Roots(
        digest=digests.tree([chunk.digest for chunk in chunks], ends),
        content=digests.tree([chunk.content_digest for chunk in chunks], ends, family="content"),
    )


def encode_snapshots(chunks: Sequence[Chunk]) -> list[bytes]:
    """The snapshot files of a list of chunks, in order: none if empty, one up to 8,192 chunks, else one a page."""
    if not chunks:
        return []
    ends = [len(chunks)] if len(chunks) <= _ONE_FILE else chunking.page_ends([chunk.last_id for chunk in chunks])
    starts = [0, *ends[:-1]]
    return [_encode(chunks[start:end]) for start, end in zip(starts, ends, strict=True)]


def encode_changes(changes: Sequence[Chunk]) -> bytes:
    """A file of changes."""
    return _encode(changes)


def _encode(chunks: Sequence[Chunk]) -> bytes:
    boxes = [chunk.bbox or (None, None, None, None) for chunk in chunks]
    files = [file for chunk in chunks for file in chunk.files]
    listed = pa.StructArray.from_arrays(
        [arrays.digests([file.sha256 for file in files]), arrays.integers([file.size for file in files])],
        fields=list(_FILE),
    )
    columns = {
        "first_id": arrays.texts([chunk.first_id.encode() for chunk in chunks], pa.string()),
        "last_id": arrays.texts([chunk.last_id.encode() for chunk in chunks], pa.string()),
        "rows": arrays.integers([chunk.rows for chunk in chunks]),
        "digest": arrays.digests([chunk.digest for chunk in chunks]),
        "content_digest": arrays.digests([chunk.content_digest for chunk in chunks]),
        **{
            side: arrays.doubles([box[place] for box in boxes])
            for place, side in enumerate(("xmin", "ymin", "xmax", "ymax"))
        },
        "start_datetime": arrays.integers([chunk.start for chunk in chunks], _TIME),
        "end_datetime": arrays.integers([chunk.end for chunk in chunks], _TIME),
        "assets": arrays.integers([chunk.assets for chunk in chunks]),
        "bytes": arrays.integers([chunk.bytes for chunk in chunks]),
        "files": arrays.lists([len(chunk.files) for chunk in chunks], listed),
    }
    table = pa.Table.from_arrays([columns[name] for name in SNAPSHOT_SCHEMA.names], schema=SNAPSHOT_SCHEMA)
    return encode_table(table)


def _columns(table: pa.Table) -> list[Sequence[Any]]:
    """The members of :class:`Chunk`, each for all rows of a table."""
    plain = {name: table.column(name).to_pylist() for name in ("first_id", "last_id", "rows", "assets", "bytes")}
    sides = [table.column(side).to_pylist() for side in ("xmin", "ymin", "xmax", "ymax")]
    times = {name: table.column(name).cast(pa.int64()).to_pylist() for name in ("start_datetime", "end_datetime")}
    listed = arrays.one(table.column("files"))
    flat = listed.flatten()
    sizes = pc.struct_field(flat, "size")
    if sizes.null_count or listed.null_count:
        raise ValueError("a file is null")
    names = arrays.bytes_of(pc.struct_field(flat, "sha256"))
    refs = list(arrays.tuples(FileRef, (names, sizes.to_pylist())))
    ends = list(itertools.accumulate(pc.list_value_length(listed).to_pylist()))
    return [
        plain["first_id"],
        plain["last_id"],
        plain["rows"],
        arrays.bytes_of(table.column("digest")),
        arrays.bytes_of(table.column("content_digest")),
        [None if None in box else box for box in zip(*sides, strict=True)],
        times["start_datetime"],
        times["end_datetime"],
        plain["assets"],
        plain["bytes"],
        [tuple(refs[start:end]) for start, end in zip([0, *ends], ends, strict=False)],
    ]


def decode_snapshot(
    data: bytes, *, where: str, changes: bool = False, file: pq.ParquetFile | None = None
) -> list[Chunk]:
    """The chunks of one snapshot file, or of a file of changes.

    Raises
    ------
    Integrity
        If the bytes are not a snapshot of this format, or the chunks are not in order.
    """
    try:
        # Not pq.read_table: its scanner may let go of the bytes in a thread of Arrow's after Python has ended, which
        # aborts the process (exit code 134 in 19 of 100 runs on a busy machine, in none of 100 by ParquetFile).
        table = (
            (file or pq.ParquetFile(pa.BufferReader(data)))
            .read(use_threads=False)
            .select(SNAPSHOT_SCHEMA.names)
            .cast(SNAPSHOT_SCHEMA)
        )
        columns = _columns(table)
        chunks = list(arrays.tuples(Chunk, columns))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise Integrity(f"{where} is not a snapshot of format 1: {error}.", hint="Restore it from a mirror.") from error
    for chunk in chunks:
        if not chunk.files and not (changes and chunk.rows == 0):
            raise Integrity(f"{where} lists a chunk without files at {chunk.first_id!r}.")
    first_ids, last_ids = columns[:2]
    if any(map(ge, last_ids, first_ids[1:])):
        after = next(chunk for before, chunk in itertools.pairwise(chunks) if before.last_id >= chunk.first_id)
        raise Integrity(f"{where} lists chunks out of order at {after.first_id!r}.")
    return chunks
