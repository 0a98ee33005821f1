"""From a version's chunks and a set of changes to the chunks of the next version, touching only what changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from versioning import chunking
from versioning.manifests import encode_rows
from versioning.objects import ManifestFiles
from versioning.row_tables import table_of
from versioning.rows import Row
from versioning.snapshots import Chunk, describe
from versioning.version import Version

__all__ = ["rewrite"]


def rewrite(
    parent: Version | None, upserts: Mapping[str, Row], removed: AbstractSet[str], files: ManifestFiles
) -> list[Chunk]:
    """The chunks of ``parent`` with rows put in and taken out; new chunk files are written.

    The result is the same as chunking the whole new set afresh: a chunk is copied only when a cut fell just before it
    and nothing changed within it.
    """
    known = {chunk.digest: chunk for chunk in parent.chunks} if parent else {}
    changes = sorted(upserts.keys() | removed)
    cutter = _Cutter(files, known)
    position = 0
    if parent is not None:
        for index, chunk in enumerate(parent.chunks):
            last = index == len(parent.chunks) - 1
            end = position
            while end < len(changes) and (last or changes[end] <= chunk.last_id):
                end += 1
            if end == position and cutter.empty:
                cutter.chunks.append(chunk)
                continue
            for row in _merged(parent.rows([chunk]), changes[position:end], upserts):
                cutter.push(row)
            position = end
    for item_id in changes[position:]:
        if item_id in upserts:
            cutter.push(upserts[item_id])
    return cutter.finish()


def _merged(rows: Iterator[Row], changes: list[str], upserts: Mapping[str, Row]) -> Iterator[Row]:
    """Sorted rows with sorted changes applied; a change that is not in ``upserts`` is a removal."""
    position = 0
    for row in rows:
        while position < len(changes) and changes[position] < row.id:
            if changes[position] in upserts:
                yield upserts[changes[position]]
            position += 1
        if position < len(changes) and changes[position] == row.id:
            if row.id in upserts:
                yield upserts[row.id]
            position += 1
        else:
            yield row
    for item_id in changes[position:]:
        if item_id in upserts:
            yield upserts[item_id]


class _Cutter:
    """Takes sorted rows and makes chunks of them."""

    def __init__(self, files: ManifestFiles, known: Mapping[bytes, Chunk]) -> None:
        self.chunks: list[Chunk] = []
        self._files = files
        self._known = known
        self._rows: list[Row] = []

    @property
    def empty(self) -> bool:
        return not self._rows

    def push(self, row: Row) -> None:
        self._rows.append(row)
        count = len(self._rows)
        if count >= chunking.CHUNKS.least and chunking.CHUNKS.ends(count, chunking.chunk_hash(row.id)):
            self._cut()

    def finish(self) -> list[Chunk]:
        if self._rows:
            self._cut()
        return self.chunks

    def _cut(self) -> None:
        table = table_of(self._rows)
        self._rows = []
        chunk = describe(table, ())
        # The same rows may already lie in files of the parent's, whatever their encoding.
        there = self._known.get(chunk.digest)
        self.chunks.append(there or replace(chunk, files=(self._files.put(encode_rows(table)),)))
