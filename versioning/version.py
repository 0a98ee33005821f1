"""One immutable version: its record, its chunks, its rows."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from threading import Lock
from typing import Any

import pyarrow as pa
from cachetools import LRUCache

from versioning.digests import leaf_digest, parse_digest, version_digest
from versioning.errors import Integrity, NotFound
from versioning.ids import collection_id
from versioning.manifests import FileRef, decode_rows, merge_tables, rows_of
from versioning.objects import ManifestFiles
from versioning.records import VersionRecord
from versioning.rows import AssetRef, Row
from versioning.snapshots import Chunk, decode_snapshot, roots_of

__all__ = ["Files", "Version"]


# Decoded chunks are remembered up to this many bytes a dataset: reading one again takes 3 ms otherwise.
_REMEMBERED = 128 * 1024 * 1024


def _nbytes(table: pa.Table) -> int:
    return table.nbytes


class Files:
    """The manifest and snapshot files of one dataset, with the tables that were read last."""

    def __init__(self, manifests: ManifestFiles, snapshots: ManifestFiles) -> None:
        self.manifests = manifests
        self.snapshots = snapshots
        self._tables: LRUCache[tuple[bytes, tuple[str, ...] | None], pa.Table] = LRUCache(
            _REMEMBERED, getsizeof=_nbytes
        )
        self._lock = Lock()

    def table(self, ref: FileRef, columns: tuple[str, ...] | None) -> pa.Table:
        """The table of a chunk file or a delta file, proven by its hash when it is first read."""
        key = (ref.sha256, columns)
        with self._lock:
            table = self._tables.get(key)
        if table is None:
            table = decode_rows(self.manifests.get(ref), where=self.manifests.path(ref), columns=columns)
            with self._lock, suppress(ValueError):  # a table larger than the cache is not remembered
                self._tables[key] = table
        return table


class Version:
    """A version of a dataset, read-only. Everything it returns is the same for ever."""

    def __init__(self, record: VersionRecord, files: Files) -> None:
        self.record = record
        self._files = files

    def __repr__(self) -> str:
        return f"Version({self.pin}, {self.digest[:19]}…, {self.record.statistics.items} items)"

    @property
    def number(self) -> int:
        """The version's number, from 1."""
        return self.record.number

    @property
    def dataset(self) -> str:
        """The dataset's id."""
        return self.record.dataset

    @property
    def digest(self) -> str:
        """What proves the bytes: ``sha256:…`` over the snapshot's root and the collection metadata."""
        return self.record.digest

    @property
    def pin(self) -> str:
        """The canonical pin, ``landcover@v3``."""
        return f"{self.dataset}@v{self.number}"

    @property
    def collection_id(self) -> str:
        """The STAC collection id, ``landcover--v3``."""
        return collection_id(self.dataset, self.number)

    @cached_property
    def chunks(self) -> Sequence[Chunk]:
        """The version's chunks in the order of their ids, proven against the version's digest.

        Raises
        ------
        Integrity
            If a snapshot file is damaged, or does not add up to the digest.
        """
        chunks: list[Chunk] = []
        for entry in self.record.snapshot:
            ref = FileRef(bytes.fromhex(entry.sha256), entry.size)
            path = self._files.snapshots.path(ref)
            chunks += decode_snapshot(self._files.snapshots.get(ref), where=path)
        roots = roots_of(chunks)
        root, content = parse_digest(self.record.root), parse_digest(self.record.content_root)
        collection = self.record.collection
        proven = (
            roots.digest == root
            and roots.content == content
            and version_digest(root, collection) == self.record.digest
            and version_digest(content, collection, family="content") == self.record.content_digest
        )
        if not proven:
            raise Integrity(
                f"{self.pin} does not add up to its digest {self.record.digest}.",
                hint=f"Run: stacpin verify {self.pin}",
                kind="altered",
            )
        return tuple(chunks)

    def table(self, chunk: Chunk, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of one chunk as Arrow, sorted by id; ``columns`` of :data:`versioning.manifests.ROW_SCHEMA`.

        Raises
        ------
        Integrity
            If a file is damaged, or files that lie over each other do not give the rows that the snapshot names.
        """
        merged = len(chunk.files) > 1
        wanted = None if columns is None else (*columns, "digest") if merged else tuple(columns)
        tables = [self._files.table(ref, wanted) for ref in chunk.files]
        table = merge_tables(tables, chunk.first_id, chunk.last_id)
        # One file alone is proven by its own hash, which the snapshot holds; a merge is proven by its rows.
        if table.num_rows != chunk.rows or (merged and leaf_digest(table.column("digest").to_pylist()) != chunk.digest):
            raise Integrity(
                f"{self.pin}: the files of the chunk that begins at {chunk.first_id!r} do not give its rows.",
                hint=f"Run: stacpin verify {self.pin}",
                kind="altered",
            )
        return table

    def rows(self, chunks: Sequence[Chunk] | None = None) -> Iterator[Row]:
        """All rows in the order of their ids, or those of some chunks."""
        for chunk in self.chunks if chunks is None else chunks:
            yield from rows_of(self.table(chunk))

    def chunk_of(self, item_id: str) -> Chunk | None:
        """The chunk whose range holds an id, whether or not the item is there."""
        chunks = self.chunks
        index = bisect_left(chunks, item_id, key=lambda chunk: chunk.last_id)
        return chunks[index] if index < len(chunks) and chunks[index].first_id <= item_id else None

    def find(self, item_id: str) -> Row | None:
        """One item's row, or None."""
        chunk = self.chunk_of(item_id)
        if chunk is None:
            return None
        table = self.table(chunk)
        position = table.column("id").index(item_id).as_py()
        return next(rows_of(table.slice(position, 1))) if position >= 0 else None

    def item(self, item_id: str) -> dict[str, Any]:
        """One item as it is stored: without links and collection, hrefs relative to the catalog.

        Raises
        ------
        NotFound
            If the version has no such item.
        """
        row = self.find(item_id)
        if row is None:
            raise NotFound(
                f"{self.pin} has no item {item_id!r}.",
                hint=f"List them: stacpin search {self.pin}",
                kind="no-such-item",
            )
        return row.parse()

    def assets(self) -> Iterator[tuple[str, AssetRef]]:
        """The exact asset set: every item id with each of its assets."""
        for chunk in self.chunks:
            table = self.table(chunk, columns=["id", "assets"])
            ids, assets = table.column("id").to_pylist(), table.column("assets").to_pylist()
            for item_id, group in zip(ids, assets, strict=True):
                for asset in group:
                    yield item_id, AssetRef(**asset)

    def same_content(self, other: Version) -> bool:
        """Whether two versions hold the same content, whatever bytes it is written in."""
        return self.record.content_digest == other.record.content_digest

    def summary(self) -> dict[str, Any]:
        """The version in a few words, for ``--json`` and logs."""
        record = self.record
        return {
            "dataset": record.dataset,
            "version": record.number,
            "pin": self.pin,
            "collection": self.collection_id,
            "digest": record.digest,
            "content_digest": record.content_digest,
            "parent": record.parent,
            "time": record.time,
            "author": record.author,
            "message": record.message,
            "advance": record.advance,
            "statistics": record.statistics.model_dump(),
        }
