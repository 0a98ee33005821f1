"""One immutable version: its record, its chunks, its rows."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, repeat
from typing import Any

import pyarrow as pa

from versioning.arrays import integers
from versioning.digests import parse_digest, sha256, version_digest
from versioning.errors import Integrity, NotFound
from versioning.files import Files, Light, missing_rows
from versioning.ids import collection_id
from versioning.manifests import DIGESTS, FileRef
from versioning.overlays import merge_tables, places_of
from versioning.parquet_guard import check_parquet
from versioning.records import VersionRecord
from versioning.row_tables import flat_asset_refs, rows_of
from versioning.rows import AssetRef, Row
from versioning.snapshots import Chunk, Layers, apply_changes, decode_snapshot, leaf_of, roots_of
from versioning.together import together

__all__ = ["Files", "Version"]


class Version:
    """A version of a dataset, read-only. Everything it returns is the same for ever."""

    def __init__(self, record: VersionRecord, files: Files) -> None:
        self.record = record
        self._files = files
        self._layers: Layers | None = None

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

    @property
    def chunks(self) -> Sequence[Chunk]:
        """The version's chunks in the order of their ids, proven against the version's digest.

        Raises
        ------
        Integrity
            If a snapshot file is damaged, or does not add up to the digest.
        """
        return self.layers.chunks

    @property
    def layers(self) -> Layers:
        """The chunks as the snapshot's files give them, proven like :attr:`chunks`."""
        # No cached_property: on Python 3.11 one that waits for a slow store holds up those of all other versions.
        if self._layers is None:
            self._layers = self._proven_layers()
        return self._layers

    def _proven_layers(self) -> Layers:
        layers = self._files.layers(self._names, self._read_layers)
        collection = self.record.collection
        root, content = parse_digest(self.record.root), parse_digest(self.record.content_root)
        proven = (
            version_digest(root, collection) == self.record.digest
            and version_digest(content, collection, family="content") == self.record.content_digest
        )
        if not proven:
            raise self._not_adding_up()
        return layers

    def remember(self, layers: Layers) -> None:
        """Take the chunks from whoever has just written them."""
        self._files.remember_layers(self._names, layers)

    @property
    def _names(self) -> list[str]:
        return [self.record.root, self.record.content_root, *(entry.sha256 for entry in self.record.snapshot)]

    def _read_layers(self) -> Layers:
        base: list[Chunk] = []
        changes: list[tuple[Chunk, ...]] = []
        refs = [FileRef(bytes.fromhex(entry.sha256), entry.size) for entry in self.record.snapshot]
        snapshots = self._files.snapshots
        read = together(snapshots.store, [partial(snapshots.get, ref) for ref in refs])
        for entry, ref, data in zip(self.record.snapshot, refs, read, strict=True):
            path = snapshots.path(ref)
            file = check_parquet(data, where=path)
            found = decode_snapshot(data, where=path, changes=entry.changes, file=file)
            if entry.changes:
                changes.append(tuple(found))
            elif changes:
                raise Integrity(f"{self.pin} lists {path} after changes of it.", hint="Restore it from a mirror.")
            else:
                base += found
        chunks: Sequence[Chunk] = base
        for change in changes:
            chunks = apply_changes(chunks, change)
        roots = roots_of(chunks)
        if (roots.digest, roots.content) != (parse_digest(self.record.root), parse_digest(self.record.content_root)):
            raise self._not_adding_up()
        return Layers(tuple(base), tuple(changes), tuple(chunks))

    def _not_adding_up(self) -> Integrity:
        return Integrity(
            f"{self.pin} does not add up to its digest {self.record.digest}.",
            hint=f"Run: stacpin verify {self.pin}",
            kind="altered",
        )

    def table(self, chunk: Chunk, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of one chunk as Arrow, sorted by id; ``columns`` of :data:`versioning.manifests.ROW_SCHEMA`.

        Raises
        ------
        Integrity
            If a file is damaged, or files that lie over each other do not give the rows that the snapshot names.
        """
        merged = len(chunk.files) > 1
        wanted = None if columns is None else (*columns, "digest") if merged else tuple(columns)
        table = merge_tables(self._files.tables(chunk, wanted), chunk.first_id, chunk.last_id)
        # One file alone is proven by its own hash, which the snapshot holds; a merge is proven by its rows.
        if table.num_rows != chunk.rows or (merged and leaf_of(table, "digest") != chunk.digest):
            raise missing_rows(self.pin, chunk)
        return table

    def light(self, chunk: Chunk) -> pa.Table:
        """The rows of one chunk with what decides changes: :data:`versioning.manifests.LIGHT`, sorted by id.

        It reads an eighth of the files. Both digests of every row are proven by the chunk's leaves, the rest by the
        checksums of pages alone: against accidents, not against forgery.

        Raises
        ------
        Integrity
            If a file is damaged, or does not give the rows that the snapshot names.
        """
        return self._files.light(chunk, pin=self.pin).rows

    def digests(self, chunk: Chunk) -> pa.Table:
        """The same with the columns :data:`versioning.manifests.DIGESTS` alone, all proven."""
        return self._files.light(chunk, DIGESTS, pin=self.pin).rows

    def layered(self, chunk: Chunk) -> Light:
        """What :meth:`light` gives, with how the chunk's files lie over each other; for who writes over them."""
        return self._files.light(chunk, pin=self.pin)

    def succeed(self, old: Chunk, new: Chunk, changes: pa.Table) -> None:
        """Remember what a commit made of a chunk of this version, see :meth:`versioning.files.Files.succeed`."""
        self._files.succeed(old, new, changes)

    def delta(self, ref: FileRef, chunk: Chunk) -> pa.Table:
        """What a delta file has in or around the range of a chunk, proven by the file's name."""
        return self._files.delta(ref, chunk)

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
        return None if chunk is None else self.find_in(chunk, (item_id,)).get(item_id)

    def find_all(self, ids: Iterable[str]) -> dict[str, Row]:
        """The rows of several items, by their ids, each chunk looked at once; those that are not there are left out."""
        wanted: dict[str, tuple[Chunk, list[str]]] = {}
        for item_id in ids:
            chunk = self.chunk_of(item_id)
            if chunk is not None:
                wanted.setdefault(chunk.first_id, (chunk, []))[1].append(item_id)
        found: dict[str, Row] = {}
        for chunk, some in wanted.values():
            found |= self.find_in(chunk, some)
        return found

    def find_in(self, chunk: Chunk, ids: Collection[str]) -> dict[str, Row]:
        """The rows of some items of one chunk, by their ids; those that it does not have are left out.

        Of a chunk with delta files only what is asked for is merged: the rows' digests are those of the chunk's leaf.
        """
        if len(chunk.files) == 1:
            return dict(_picked(self.table(chunk), ids))
        light = self.digests(chunk)
        digests = {row: light.column("digest")[place].as_py() for row, place in places_of(light, ids).items()}
        found: dict[str, Row] = {}
        for table in reversed(self._files.tables(chunk, None)):
            for item_id, row in _picked(table, digests.keys() - found.keys()):
                if row.digest != digests[item_id] or sha256(row.item) != row.digest:
                    raise missing_rows(self.pin, chunk)
                found[item_id] = row
        if found.keys() != digests.keys():
            raise missing_rows(self.pin, chunk)
        return found

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
            for batch in self.table(chunk, columns=["id", "assets"]).to_batches():
                lengths, refs = flat_asset_refs(batch.column("assets"))
                owners = chain.from_iterable(map(repeat, batch.column("id").to_pylist(), lengths))
                yield from zip(owners, refs, strict=True)

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


def _picked(table: pa.Table, ids: Collection[str]) -> Iterator[tuple[str, Row]]:
    """Some rows of a table; a tombstone has none of the columns of a row, and so cannot be one that is asked for."""
    places = places_of(table, ids)
    if not places:
        return
    part = table.take(integers(list(places.values())))
    if "deleted" in part.column_names:
        if any(part.column("deleted").to_pylist()):
            raise Integrity("a row that the small columns of its chunk name is deleted.", kind="altered")
        part = part.drop_columns(["deleted"])
    yield from zip(places, rows_of(part), strict=True)
