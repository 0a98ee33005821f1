"""From a version's chunks and a set of changes to the chunks of the next version, touching only what changed.

A chunk of which less than half changed keeps its files and gets a delta file on top; others are written as one file of
their own. A commit writes one delta file for all its chunks, and takes up earlier ones that are not larger than what it
adds to their chunks anyway (:mod:`versioning.deltas`), so a version has few of them and every row is written again a
logarithmic number of times.
"""

# pyarrow makes the functions of pyarrow.compute at run time, so a type checker cannot see them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from versioning import chunking
from versioning.arrays import integers, searched
from versioning.deltas import Layered, write_deltas
from versioning.errors import Integrity
from versioning.files import Light
from versioning.manifests import encode_rows, light_of
from versioning.objects import ManifestFiles
from versioning.overlays import merge_tables, overlay, places_of
from versioning.row_tables import delta_of
from versioning.rows import Row
from versioning.snapshots import Chunk, describe, describe_replaced
from versioning.version import Version

__all__ = ["rewrite"]

# A chunk with more files than this is written anew: each is another request for whoever opens it.
_MOST_FILES = 12
# New rows without a chunk of the parent's are taken in blocks of this many.
_BLOCK = 4096
_BLOCKS = 2


def rewrite(
    parent: Version | None, upserts: Mapping[str, Row], removed: AbstractSet[str], files: ManifestFiles
) -> list[Chunk]:
    """The chunks of ``parent`` with rows put in and taken out; new chunk files and delta files are written.

    The result has the same rows and digests as chunking the whole new set afresh.
    """
    changes = _Changes(upserts, removed)
    cutter = _Cutter(parent, changes, files)
    for segment in _segments(parent, changes):
        cutter.take(segment)
    pieces = cutter.finish()
    if parent is None:
        return [piece.chunk for piece in pieces]
    chunks = write_deltas(parent, pieces, changes.table, files)
    for piece, chunk in zip(pieces, chunks, strict=True):
        if piece.old is not None:
            parent.succeed(piece.old, chunk, changes.light(piece.first, piece.last))
    return chunks


class _Changes:
    """What is put in and taken out, by position in the order of ids."""

    def __init__(self, upserts: Mapping[str, Row], removed: AbstractSet[str]) -> None:
        self._upserts = upserts
        self._blocks: dict[int, tuple[pa.Table, pa.Table]] = {}
        self.ids = sorted(upserts.keys() | removed)

    def table(self, first: int, last: int) -> pa.Table:
        """Some changes as a delta table: what is taken out is a tombstone."""
        return self._slices(first, last, 0)

    def light(self, first: int, last: int) -> pa.Table:
        """The same with the columns that :data:`versioning.manifests.LIGHT` names."""
        return self._slices(first, last, 1)

    def _slices(self, first: int, last: int, which: int) -> pa.Table:
        parts = [
            self._block(number)[which].slice(max(0, first - number * _BLOCK), last - max(first, number * _BLOCK))
            for number in range(first // _BLOCK, max(first, last - 1) // _BLOCK + 1)
        ]
        return parts[0] if len(parts) == 1 else pa.concat_tables(parts)

    def _block(self, number: int) -> tuple[pa.Table, pa.Table]:
        """Tables are made of thousands of changes at once: one of a single row takes as long as one of hundreds."""
        if number not in self._blocks:
            if len(self._blocks) == _BLOCKS:
                del self._blocks[min(self._blocks)]
            ids = self.ids[number * _BLOCK : (number + 1) * _BLOCK]
            table = delta_of([self._upserts.get(item_id, item_id) for item_id in ids])
            self._blocks[number] = (table, light_of(table))
        return self._blocks[number]


@dataclass(frozen=True, slots=True)
class _Segment:
    """A chunk of the parent's (or none) with the changes that fall on it: positions ``first`` to ``last``."""

    chunk: Chunk | None
    first: int
    last: int


def _segments(parent: Version | None, changes: _Changes) -> Iterator[_Segment]:
    position, ids = 0, changes.ids
    for index, chunk in enumerate(parent.chunks if parent else ()):
        last = index == len(parent.chunks) - 1 if parent else True
        end = position
        while end < len(ids) and (last or ids[end] <= chunk.last_id):
            end += 1
        yield _Segment(chunk, position, end)
        position = end
    for start in range(position, len(ids), _BLOCK):
        yield _Segment(None, start, min(start + _BLOCK, len(ids)))


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one segment that belong to the chunk which is being cut."""

    segment: _Segment
    rows: pa.Table


class _Cutter:
    """Takes segments in the order of their ids and cuts chunks of them."""

    def __init__(self, parent: Version | None, changes: _Changes, files: ManifestFiles) -> None:
        self._parent = parent
        self._changes = changes
        self._files = files
        self._known = {chunk.digest: chunk for chunk in parent.chunks} if parent else {}
        self._pieces: list[Layered] = []
        self._parts: list[_Part] = []
        self._count = 0

    def take(self, segment: _Segment) -> None:
        chunk = segment.chunk
        if chunk is not None and segment.first == segment.last and not self._parts:
            # It ends where it ended: a chunk is copied only when a cut fell just before it and nothing changed in it.
            self._pieces.append(Layered(chunk, chunk.files, 0, 0))
            return
        piece = None if self._parts else self._replaced(segment)
        if piece is not None:
            self._pieces.append(piece)
            return
        rows, suspects = self._merged(segment)
        ids = rows.column("id").to_pylist()
        start = 0
        if suspects is None or self._parts:
            suspects = range(len(ids))
        begun = self._count
        for index in suspects:
            count = begun + index + 1 - start
            if count >= chunking.CHUNKS.least and chunking.CHUNKS.ends(count, chunking.chunk_hash(ids[index])):
                self._parts.append(_Part(segment, rows.slice(start, index + 1 - start)))
                self._cut()
                # What was no suspect while counted from the chunk's start may be one now.
                start, begun = index + 1, 0
                if index + 1 < len(ids):
                    self._take_rest(segment, rows, ids, start)
                return
        if len(ids):
            self._parts.append(_Part(segment, rows))
            self._count += len(ids)

    def _take_rest(self, segment: _Segment, rows: pa.Table, ids: Sequence[str], start: int) -> None:
        for index in range(start, len(ids)):
            count = index + 1 - start
            if count >= chunking.CHUNKS.least and chunking.CHUNKS.ends(count, chunking.chunk_hash(ids[index])):
                self._parts.append(_Part(segment, rows.slice(start, count)))
                self._cut()
                start = index + 1
        if start < len(ids):
            self._parts.append(_Part(segment, rows.slice(start)))
            self._count = len(ids) - start

    def finish(self) -> list[Layered]:
        if self._parts:
            self._cut()
        return self._pieces

    def _replaced(self, segment: _Segment) -> Layered | None:
        """The segment's chunk if its changes only replace few of its rows: with the same ids it ends where it ended."""
        old, first, last = segment.chunk, segment.first, segment.last
        if old is None or self._parent is None:
            return None
        light = self._parent.layered(old)
        if not _are_few(light, last - first, old, old.rows):
            return None
        changed = self._changes.light(first, last)
        places = places_of(light.rows, self._changes.ids[first:last])
        if len(places) < last - first or any(changed.column("deleted").to_pylist()):
            return None
        chunk = describe_replaced(old, light.rows, [*places.values()], changed.drop_columns(["deleted"]))
        there = self._known.get(chunk.digest)
        return Layered(there, there.files, 0, 0) if there is not None else Layered(chunk, old.files, first, last, old)

    def _merged(self, segment: _Segment) -> tuple[pa.Table, Sequence[int] | None]:
        """The segment's rows after the changes, with light columns, and at which of them alone a cut may fall.

        Hashing every id takes as long as everything else together. Where a chunk's rows are counted as before, none of
        them ends a chunk but the last; so only new ids are looked at, and those that other rows have pushed beyond the
        least or the wanted size.
        """
        changed = self._changes.light(segment.first, segment.last)
        if segment.chunk is None or self._parent is None:
            alive = changed.filter(pc.invert(changed.column("deleted"))).drop_columns(["deleted"])
            return alive, None
        old = self._parent.light(segment.chunk)
        ids, gone = changed.column("id").to_pylist(), changed.column("deleted").to_pylist()
        count = old.num_rows
        place = {each: -1 if dead else count + index for index, (each, dead) in enumerate(zip(ids, gone, strict=True))}
        order = overlay(searched(old.column("id"), len(place)), place)
        rows = pa.concat_tables([old, changed.drop_columns(["deleted"])]).take(integers(order)) if ids else old
        before, after = order + 1, np.arange(1, len(order) + 1)
        looser = (_kind(after) > _kind(before)) | (order >= count)
        if len(order):
            looser[-1] = True
            # The last row of the parent's chunk may have ended it, and stand inside of it now.
            looser |= order == count - 1
            looser[chunking.CHUNKS.most - 1 :: chunking.CHUNKS.most] = True
        return rows, np.flatnonzero(looser).tolist()

    def _cut(self) -> None:
        parts, self._parts, self._count = self._parts, [], 0
        chunk = describe(pa.concat_tables([part.rows for part in parts]), ())
        # The same rows may already lie in files of the parent's, whatever their encoding.
        there = self._known.get(chunk.digest)
        if there is not None:
            self._pieces.append(Layered(there, there.files, 0, 0))
            return
        layered = self._on_top(chunk, parts)
        self._pieces.append(layered or Layered(self._plain(chunk, parts), (), 0, 0))

    def _on_top(self, chunk: Chunk, parts: Sequence[_Part]) -> Layered | None:
        """The chunk as its parent's files with a delta file over them, if that is less and safe."""
        old = parts[0].segment.chunk
        if len(parts) > 1 or old is None or self._parent is None:
            return None
        segment = parts[0].segment
        ids = self._changes.ids
        first, last = segment.first, segment.last
        while first < last and ids[first] < chunk.first_id:
            first += 1
        while last > first and ids[last - 1] > chunk.last_id:
            last -= 1
        light = self._parent.layered(old)
        if not _are_few(light, last - first, old, chunk.rows):
            return None
        if light.wider and (chunk.first_id < old.first_id or chunk.last_id > old.last_id):
            # What lies beyond the old range would come back to life.
            return None
        return Layered(chunk._replace(files=old.files), old.files, first, last, old)

    def _plain(self, chunk: Chunk, parts: Sequence[_Part]) -> Chunk:
        tables: list[pa.Table] = []
        for segment in dict.fromkeys(part.segment for part in parts):
            changed = self._changes.table(segment.first, segment.last)
            whole = [self._parent.table(segment.chunk)] if self._parent and segment.chunk else []
            tables.append(merge_tables([*(whole or [changed.slice(0, 0)]), changed], chunk.first_id, chunk.last_id))
        table = pa.concat_tables(tables)
        written = describe(table, ())
        if written != chunk:
            # Only forged columns can do that: the light ones are proven by their leaves and checksums alone.
            raise Integrity(
                f"the chunk that begins at {chunk.first_id!r} has other rows than its small columns say.",
                hint=f"Run: stacpin verify {self._parent.pin}" if self._parent else None,
                kind="altered",
            )
        return chunk._replace(files=(self._files.put(encode_rows(table)),))


def _are_few(light: Light, changes: int, old: Chunk, rows: int) -> bool:
    """Whether changes of a chunk are few enough to lie over its files, beside those that lie there already."""
    return len(old.files) < _MOST_FILES and 2 * (light.over + changes) <= rows


def _kind(counts: np.ndarray) -> np.ndarray:
    """How easily a chunk ends after so many rows: never, rarely, often."""
    return (counts >= chunking.CHUNKS.least).astype(np.int8) + (counts >= chunking.CHUNKS.wanted)
