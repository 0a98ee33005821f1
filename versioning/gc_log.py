"""The log of garbage collection, ``gc/``: what was condemned, which sweeps ran, and the lists of condemned files.

A record is one of ``condemned``, ``sweep`` and ``swept`` (:mod:`versioning.records`); all three share one numbered log,
so their order is the order of what happened. Times are those of the store's own clock, as a listing of the folder
gives them. A condemned record is *closed* by a ``swept`` record of it that left nothing; until then it is *open*.
A lost record does no harm: what it condemned is condemned again, what it swept is swept again.
"""

# pyarrow makes the functions of pyarrow.compute at run time, so a type checker cannot see them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from weakref import WeakKeyDictionary

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from cachetools import LRUCache

from versioning.digests import sha256
from versioning.errors import Integrity, NotFound
from versioning.manifests import encode_table
from versioning.numbered import NumberedLog
from versioning.parquet_guard import check_parquet
from versioning.records import CondemnedRecord, ListFile, SweepRecord, SweptRecord
from versioning.store import Entry, Store

__all__ = [
    "GC_FOLDER",
    "Condemned",
    "GcEntry",
    "GcLog",
    "append_record",
    "load_list",
    "publish_list",
    "read_log",
]

GC_FOLDER = "gc"
GcRecord = CondemnedRecord | SweepRecord | SweptRecord

_ENTRY = re.compile(rf"{GC_FOLDER}/([0-9]{{8}})\.json")
_KINDS = {"condemned": CondemnedRecord, "sweep": SweepRecord, "swept": SweptRecord}
# Lists that were swept longer before the newest record than this are not looked at any more. A commit that found an
# object there, and became a version only so long after, would have to be older still.
_REMEMBERED = timedelta(days=30)
_LIST_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("modified", pa.timestamp("us", tz="UTC"), nullable=False),
    ],
    metadata={"stacpin": "condemned/1"},
)


@dataclass(frozen=True, slots=True)
class GcEntry:
    """One record and when it was written, by the store's clock."""

    record: GcRecord
    published: datetime


@dataclass(frozen=True, slots=True)
class Condemned:
    """One condemned list, and what has become of it.

    Attributes
    ----------
    sweep
        The newest ``sweep`` record of it, None if it was never swept.
    running
        Whether that sweep has no ``swept`` record: it runs, or died.
    closed
        Whether it was swept and nothing was left.
    """

    record: CondemnedRecord
    published: datetime
    sweep: GcEntry | None
    running: bool
    closed: bool


@dataclass(frozen=True, slots=True)
class GcLog:
    """What the log says at one moment. ``head`` is the highest number; ``lists`` are in the order of their numbers."""

    head: int
    lists: tuple[Condemned, ...]

    def open(self) -> Iterator[Condemned]:
        """The lists that may still be deleted from."""
        return (each for each in self.lists if not each.closed)


# Records never change, so each is read once a store and process. A damaged one may be taken away, and its number used
# again: size and time tell the two apart.
_records: WeakKeyDictionary[Store, dict[Entry, bytes]] = WeakKeyDictionary()
_tables: LRUCache[str, pa.Table] = LRUCache(128 * 1024 * 1024, getsizeof=lambda table: table.nbytes)
_lock = Lock()


def read_log(store: Store, *, strict: bool) -> GcLog:
    """Read the log as far back as it matters.

    Parameters
    ----------
    store
        Where the catalog is.
    strict
        Whether a damaged record is an error. A commit passes over it: what gc cannot read it does not delete.

    Raises
    ------
    Integrity
        If ``strict`` and a record is damaged.
    """
    found: dict[int, Entry] = {}
    for entry in store.list(GC_FOLDER):
        match = _ENTRY.fullmatch(entry.path)
        if match:
            found[int(match[1])] = entry
    if not found:
        return GcLog(0, ())
    newest = max(entry.modified for entry in found.values())
    entries: list[GcEntry] = []
    for number in sorted(found, reverse=True):
        path = found[number].path
        try:
            record = _decode(_read(store, found[number]), path, number)
        except (Integrity, NotFound):
            if strict:
                raise
            continue
        published = found[number].modified
        entries.append(GcEntry(record, published))
        # Lists are swept in the order of their numbers, so nothing before this one is open.
        if isinstance(record, SweptRecord) and not record.left and newest - published > _REMEMBERED:
            break
    return GcLog(max(found), tuple(_lists(entries[::-1])))


def _lists(entries: Iterable[GcEntry]) -> Iterator[Condemned]:
    lists: dict[int, tuple[CondemnedRecord, datetime]] = {}
    sweeps: dict[int, GcEntry] = {}
    over: set[int] = set()
    closed: set[int] = set()
    for entry in entries:
        record = entry.record
        if isinstance(record, CondemnedRecord):
            lists[record.number] = (record, entry.published)
        elif isinstance(record, SweepRecord):
            sweeps[record.of] = entry
        else:
            over.add(record.sweep)
            if not record.left:
                closed.add(record.of)
    for number, (record, published) in lists.items():
        sweep = sweeps.get(number)
        running = sweep is not None and sweep.record.number not in over and number not in closed
        yield Condemned(record, published, sweep, running, number in closed)


def append_record(store: Store, number: int, record: GcRecord) -> bool:
    """Write record ``number``; False if somebody else has written one of that number."""
    return NumberedLog(store, GC_FOLDER).append(number, record.encode())


def publish_list(store: Store, entries: Iterable[Entry]) -> ListFile:
    """Write a list of files, sorted by path, and return how a record names it."""
    ordered = sorted(entries, key=lambda entry: entry.path)
    columns = [
        pa.array([entry.path for entry in ordered], pa.string()),
        pa.array([entry.size for entry in ordered], pa.int64()),
        pa.array([entry.modified for entry in ordered], _LIST_SCHEMA.field("modified").type),
    ]
    data = encode_table(pa.Table.from_arrays(columns, schema=_LIST_SCHEMA))
    file = ListFile(sha256=sha256(data).hex(), size=len(data))
    store.put_new(_list_path(file), data)
    return file


def load_list(store: Store, record: CondemnedRecord, *, among: Collection[str] | None = None) -> list[Entry]:
    """The files that a record condemned, sorted by path; ``among`` leaves out all others, without making them objects.

    Raises
    ------
    Integrity
        If the list is missing or damaged.
    """
    path = _list_path(record.file)
    with _lock:
        table = _tables.get(record.file.sha256)
    if table is None:
        table = _decode_list(store, path, record)
        with _lock:
            if table.nbytes <= _tables.maxsize:
                _tables[record.file.sha256] = table
    if among is not None:
        # The hash table is made of the few and not of the list: 30 ms for a list of 1,000,000.
        table = table.filter(pc.is_in(table.column("path"), value_set=pa.array(list(among), pa.string())))
    columns = (table.column(name).to_pylist() for name in _LIST_SCHEMA.names)
    return [Entry(*row) for row in zip(*columns, strict=True)]


def _decode_list(store: Store, path: str, record: CondemnedRecord) -> pa.Table:
    again = "Remove the record that names it: what it condemned will be condemned again."
    try:
        data = store.get(path)
    except NotFound as error:
        raise Integrity(f"{path} is missing.", hint=again, kind="missing") from error
    if sha256(data).hex() != record.file.sha256:
        raise Integrity(f"{path} is altered: its bytes do not hash to its name.", hint=again, kind="altered")
    check_parquet(data, where=path)
    try:
        return pq.ParquetFile(io.BytesIO(data)).read().select(_LIST_SCHEMA.names).cast(_LIST_SCHEMA)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise Integrity(f"{path} is not a list of condemned files: {error}.", hint=again, kind="altered") from error


def _list_path(file: ListFile) -> str:
    return f"{GC_FOLDER}/lists/{file.sha256}.parquet"


def _read(store: Store, entry: Entry) -> bytes:
    with _lock:
        known = _records.setdefault(store, {}).get(entry)
    if known is None:
        known = store.get(entry.path)
        with _lock:
            _records.setdefault(store, {})[entry] = known
    return known


def _decode(data: bytes, path: str, number: int) -> GcRecord:
    again = "Remove it: what it condemned will be condemned again."
    try:
        kind = orjson.loads(data).get("type")
    except (orjson.JSONDecodeError, AttributeError) as error:
        raise Integrity(f"{path} is not a record.", hint=again, kind="altered") from error
    if kind not in _KINDS:
        raise Integrity(f"{path} is a record of the unknown type {kind!r}.", hint="Upgrade stacpin.", kind="altered")
    record = _KINDS[kind].decode(data, where=path)
    if record.number != number:
        raise Integrity(f"{path} says it is record {record.number}.", hint=again, kind="altered")
    return record
