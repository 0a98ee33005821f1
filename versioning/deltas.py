"""Delta files: one for all chunks that a commit changes a little, and which earlier ones it takes up.

The rule is that of a binary counter, for each place in the order of ids: a delta file is taken up if it lies on top of
every chunk that it serves, and is at most three times as large as what is written for those chunks anyway. So after n
commits a chunk has about log2(n) delta files, and every row has been written again about as often.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from versioning.arrays import bools, integers
from versioning.manifests import DELTA_SCHEMA, FileRef, encode_delta
from versioning.objects import ManifestFiles
from versioning.overlays import within
from versioning.snapshots import Chunk
from versioning.version import Version

__all__ = ["Layered", "write_deltas"]

# A reader of one chunk fetches whole delta files: this many rows are some 10 MB.
_MOST_ROWS = 16_384
# Scattered changes meet two thirds of the chunks of those before them, and small files compress worse: with 1 nothing
# would be taken up. benchmarks/RESULTS.md has what 200 such commits write.
_RATIO = 3
# What a file takes without its rows. It is no reason to leave one alone: a hundred tiny files are worse than one.
_EMPTY = 4096


@dataclass(frozen=True, slots=True)
class Layered:
    """A chunk of the next version: over which files of the parent's it lies, and which changes are still to be written.

    ``first`` to ``last`` are positions among the changes; ``under`` is empty for a chunk that has its own file already.
    ``old`` is the parent's chunk that the changes make it of.
    """

    chunk: Chunk
    under: tuple[FileRef, ...]
    first: int
    last: int
    old: Chunk | None = None

    @property
    def changed(self) -> bool:
        """Whether changes are to be written over its files."""
        return self.last > self.first


def write_deltas(
    parent: Version, pieces: Sequence[Layered], changes: Callable[[int, int], pa.Table], files: ManifestFiles
) -> list[Chunk]:
    """Write what the pieces lack, and return their chunks with all files.

    Parameters
    ----------
    parent
        The version whose files the pieces lie over.
    pieces
        All chunks of the next version, in order.
    changes
        Gives some changes, by position, as a delta table.
    files
        Where files are written.
    """
    if not any(piece.changed for piece in pieces):
        return [piece.chunk for piece in pieces]
    taken = _taken(pieces)
    chunks: list[Chunk] = []
    waiting: list[int] = []
    tables: list[pa.Table] = []
    rows = 0

    def write() -> None:
        ref = files.put(encode_delta(pa.concat_tables(tables)))
        for index in waiting:
            chunks[index] = chunks[index]._replace(files=(*chunks[index].files, ref))
        waiting.clear()
        tables.clear()

    for piece, count in zip(pieces, taken, strict=True):
        if not piece.changed and not count:
            chunks.append(piece.chunk)
            continue
        kept = piece.under[: len(piece.under) - count]
        over = [parent.delta(ref, piece.chunk) for ref in piece.under[len(piece.under) - count :]]
        if piece.changed:
            over.append(changes(piece.first, piece.last))
        tables.append(_stacked(over, piece.chunk) if count else over[0])
        rows += tables[-1].num_rows
        waiting.append(len(chunks))
        chunks.append(piece.chunk._replace(files=kept))
        if rows >= _MOST_ROWS:
            write()
            rows = 0
    if waiting:
        write()
    return chunks


def _taken(pieces: Sequence[Layered]) -> list[int]:
    """How many delta files are taken from the top of each piece."""
    serves: dict[FileRef, list[int]] = defaultdict(list)
    for index, piece in enumerate(pieces):
        for ref in piece.under[1:]:
            serves[ref].append(index)
    written = [_bytes_a_row(piece) * (piece.last - piece.first) for piece in pieces]
    taken = [0] * len(pieces)
    while True:
        tops = Counter(piece.under[-1 - count] for piece, count in zip(pieces, taken, strict=True)
                       if len(piece.under) - count > 1)  # fmt: skip
        fitting: list[FileRef] = []
        for ref, times in tops.items():
            there = sum(written[index] for index in serves[ref]) if times == len(serves[ref]) else 0.0
            if there and ref.size - _EMPTY <= _RATIO * there:
                fitting.append(ref)
        if not fitting:
            return taken
        smallest = min(fitting, key=lambda ref: (ref.size, ref.sha256))
        for index in serves[smallest]:
            taken[index] += 1
            written[index] += smallest.size / len(serves[smallest])


def _bytes_a_row(piece: Layered) -> float:
    return piece.under[0].size / max(1, piece.chunk.rows) if piece.under else 0.0


def _stacked(tables: Sequence[pa.Table], chunk: Chunk) -> pa.Table:
    """Delta tables as one: for each id the row of the last that has it, tombstones included."""
    parts = [within(_with_deleted(table), chunk.first_id, chunk.last_id) for table in tables]
    place: dict[str, int] = {}
    offset = 0
    for part in parts:
        place.update((item_id, offset + index) for index, item_id in enumerate(part.column("id").to_pylist()))
        offset += part.num_rows
    order = np.fromiter((place[item_id] for item_id in sorted(place)), np.int64, len(place))
    return pa.concat_tables(parts).take(integers(order))


def _with_deleted(table: pa.Table) -> pa.Table:
    if "deleted" in table.column_names:
        return table
    return table.append_column(DELTA_SCHEMA.field("deleted"), bools(np.zeros(table.num_rows, bool)))
