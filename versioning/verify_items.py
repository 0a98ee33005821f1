"""Snapshots, manifests and items are proven: every column follows from the items' JSON, every list from its chunks."""

# pyarrow makes the functions of pyarrow.compute at run time, so a type checker cannot see them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import islice, pairwise

import pyarrow as pa
import pyarrow.compute as pc
from cachetools import LRUCache

from versioning.canonical import parse
from versioning.chunking import cut_rows
from versioning.dataset import Dataset
from versioning.declared import declared_objects
from versioning.errors import Integrity, InvalidInput
from versioning.events import Listener, Progress
from versioning.manifests import FileRef, decode_rows
from versioning.objects import ManifestFiles
from versioning.overlays import merge_tables
from versioning.parquet_guard import check_parquet
from versioning.records import VersionRecord
from versioning.row_tables import rows_of
from versioning.rows import Row, make_rows, parse_item
from versioning.snapshots import Chunk, describe
from versioning.verify_objects import ObjectSet
from versioning.verify_report import Problem, VerifyReport, detail_of, problem_of
from versioning.version import Version

__all__ = ["ItemProof"]

# Delta files serve many chunks: those that were read last are kept decoded, up to so many bytes.
_KEPT = 128 * 1024 * 1024
_TOGETHER = 1024


def _nbytes(table: pa.Table) -> int:
    return table.nbytes


class ItemProof:
    """Proves versions one after the other; what several of them share is proven once.

    Attributes
    ----------
    objects
        The objects that the proven versions name.
    needed
        The paths of their snapshot and manifest files.
    revisions
        How many rows of items were proven.
    """

    def __init__(self, report: VerifyReport, on_event: Listener) -> None:
        self.objects = ObjectSet()
        self.needed: set[str] = set()
        self.revisions = 0
        self._report = report
        self._on_event = on_event
        self._chunks: set[bytes] = set()
        self._bad: set[str] = set()
        self._tables: LRUCache[str, pa.Table] = LRUCache(_KEPT, getsizeof=_nbytes)

    def prove(self, dataset: Dataset, record: VersionRecord) -> None:
        """Prove one version whose record is sound, and count its items."""
        self.objects.add_declared(declared_objects(record.collection))
        pin = f"{record.dataset}@v{record.number}"
        snapshots = dataset.files.snapshots
        refs = [FileRef(bytes.fromhex(entry.sha256), entry.size) for entry in record.snapshot]
        readable = [self._readable(snapshots, ref) for ref in refs]  # all of them: each damaged one is named
        if not all(readable):
            return
        try:
            chunks = Version(record, dataset.files).chunks
        except Integrity as error:
            self._report.problems.append(problem_of(error))
            return
        count = record.statistics.items
        self._on_event(Progress("items", 0, count, "items", pin))
        done = 0
        for chunk in chunks:
            self._chunk(dataset.files.manifests, chunk, pin, last=chunk is chunks[-1])
            done += chunk.rows
            self._on_event(Progress("items", done, count, "items", pin))

    def _chunk(self, files: ManifestFiles, chunk: Chunk, pin: str, *, last: bool) -> None:
        key = blake2b(repr((files.path(chunk.files[0]), chunk, last)).encode(), digest_size=16).digest()
        if key in self._chunks:
            self._report.items += chunk.rows
            return
        tables = [self._table(files, ref) for ref in chunk.files]
        whole = [table for table in tables if table is not None]
        if len(whole) < len(tables):
            return
        merged = merge_tables(whole, chunk.first_id, chunk.last_id)
        self._report.items += merged.num_rows
        where = f"{pin} chunk {chunk.first_id}"
        faults = list(_wrong_chunk(chunk, merged, last=last))
        self._report.problems += [Problem(where, "altered", fault) for fault in faults]
        if not faults:
            self._chunks.add(key)
        self._report.referenced += self.objects.add_all(merged)

    def _table(self, files: ManifestFiles, ref: FileRef) -> pa.Table | None:
        """A file's rows, proven when it is first read; None if it is damaged, which is said once."""
        path = files.path(ref)
        if path in self._bad:
            return None
        table = self._tables.get(path)
        if table is not None:
            return table
        data = self._get(files, ref)
        try:
            table = None if data is None else decode_rows(data, where=path)
        except Integrity as error:
            self._report.problems.append(Problem(path, "altered", detail_of(error, path)))
        if table is None:
            self._bad.add(path)
            return None
        if path not in self.needed:
            self.needed.add(path)
            self._rows(table, path)
        if table.nbytes <= _KEPT:
            self._tables[path] = table
        return table

    def _rows(self, table: pa.Table, path: str) -> None:
        if "deleted" in table.column_names:
            table = table.filter(pc.invert(table.column("deleted"))).drop_columns(["deleted"])
        rows = rows_of(table)
        while block := list(islice(rows, _TOGETHER)):
            self.revisions += len(block)
            self._report.problems += _wrong_rows(block, path)

    def _readable(self, files: ManifestFiles, ref: FileRef) -> bool:
        path = files.path(ref)
        if path not in self.needed and path not in self._bad:
            (self._bad if self._get(files, ref) is None else self.needed).add(path)
        return path in self.needed

    def _get(self, files: ManifestFiles, ref: FileRef) -> bytes | None:
        path = files.path(ref)
        try:
            data = files.get(ref)
            check_parquet(data, where=path)
        except Integrity as error:
            kind = "altered" if error.kind == "too-large" else error.kind
            self._report.problems.append(Problem(path, kind, detail_of(error, path), ref.size))
            return None
        return data


def _wrong_chunk(chunk: Chunk, table: pa.Table, *, last: bool) -> Iterator[str]:
    """What the snapshot says of a chunk must follow from its rows: search prunes by it."""
    ids: Sequence[str] = table.column("id").to_pylist()
    if not ids:
        yield "its files have none of its rows"
        return
    if any(one >= other for one, other in pairwise(ids)):
        yield "its rows are not in the order of their ids"
    ends = list(cut_rows(ids))
    if ends != [len(ids)] and not (last and not ends):
        yield "its rows are not cut where the format cuts them"
    again = describe(table, chunk.files)
    names = [name for name in Chunk._fields if getattr(again, name) != getattr(chunk, name)]
    if names:
        yield f"the snapshot says otherwise than its rows: {', '.join(names)}"


def _wrong_rows(rows: Sequence[Row], path: str) -> Iterator[Problem]:
    """Every column must follow from the item's JSON. Rows are made again together; one by one only to find a fault."""
    try:
        made = list(make_rows(parse(row.item) for row in rows))
    except (InvalidInput, ValueError):
        made = [None] * len(rows)
    for row, again in zip(rows, made, strict=True):
        yield from _wrong_row(row, again, path)


def _wrong_row(row: Row, again: Row | None, path: str) -> Iterator[Problem]:
    where = f"{path} item {row.id}"
    try:
        again = again or parse_item(row.item)
    except (InvalidInput, ValueError) as error:
        yield Problem(where, "altered", f"it is not an item: {error}")
        return
    names = [name for name in Row.__slots__ if getattr(again, name) != getattr(row, name)]
    if row.reuse is None and "reuse" in names:  # a file of before there was such a column
        names.remove("reuse")
    if names:
        yield Problem(where, "altered", f"its columns do not follow from its JSON: {', '.join(names)}")
