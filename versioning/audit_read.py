"""Reading all records of a catalog for its audit trail, each proven: its path, its spelling, its place in a chain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import orjson

from versioning.canonical import is_canonical
from versioning.digests import digest_text, sha256
from versioning.errors import Integrity, InvalidInput, NotFound
from versioning.events import Listener, Progress
from versioning.gc_log import GC_FOLDER
from versioning.ids import check_dataset_id
from versioning.record_names import list_names, read_record
from versioning.records import (
    CatalogRecord,
    CondemnedRecord,
    ExpiryRecord,
    PointerRecord,
    Record,
    SettingsRecord,
    SweepRecord,
    SweptRecord,
    TagRecord,
    VersionRecord,
)
from versioning.store import Store
from versioning.verify_objects import in_order
from versioning.verify_report import Problem, detail_of

__all__ = ["Listed", "Read", "list_records", "read_records"]

_ENTRY = re.compile(r"(?!0{8})([0-9]{8})\.json")
_GC = {"condemned": CondemnedRecord, "sweep": SweepRecord, "swept": SweptRecord}
# Of a stranger's 99999999.json not every number before it is told.
_GAP = 20


@dataclass(frozen=True, slots=True)
class Listed:
    """A record that a listing shows. ``kind`` is None where the record itself says what it is (``gc/``)."""

    path: str
    size: int
    kind: type[Record] | None
    dataset: str = ""
    name: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Read:
    """A record that was read: None if it is not one, its time (never before that of the entry before), its sha256."""

    path: str
    dataset: str
    record: Record | None
    time: str
    digest: bytes


def list_records(store: Store, dataset: str | None) -> list[Listed]:
    """All records of a catalog, or of one dataset: log by log, each in the order of its numbers."""
    found: list[Listed] = []
    if dataset is None:
        found += [Listed("stacpin.json", store.size("stacpin.json") or 0, CatalogRecord)]
        found += _numbered(store, "settings", SettingsRecord)
        found += _numbered(store, GC_FOLDER, None)
    names = store.folders("datasets") if dataset is None else [dataset]
    for name in names:
        try:
            found += _of_dataset(store, check_dataset_id(name))
        except InvalidInput:
            continue  # no dataset can be called so: whatever it is, nobody reads it
    return found


def _numbered(store: Store, folder: str, kind: type[Record] | None) -> Iterable[Listed]:
    sizes = {entry.path: entry.size for entry in store.list(folder)}
    for path in sorted(sizes):
        match = _ENTRY.fullmatch(path.removeprefix(f"{folder}/"))
        if match:
            yield Listed(path, sizes[path], kind, number=int(match[1]))


def _of_dataset(store: Store, dataset: str) -> Iterator[Listed]:
    names, folder = list_names(store, dataset), f"datasets/{dataset}"
    for number, size in sorted(names.versions.items()):
        yield Listed(f"{folder}/versions/{number:08d}.json", size, VersionRecord, dataset, number=number)
    for pointer, moves in sorted(names.moves.items()):
        for number, size in sorted(moves.items()):
            path = f"{folder}/pointers/{pointer}/{number:08d}.json"
            yield Listed(path, size, PointerRecord, dataset, pointer, number)
    for tag, size in sorted(names.tags.items()):
        yield Listed(f"{folder}/tags/{tag}.json", size, TagRecord, dataset, tag)
    for number, size in sorted(names.expired.items()):
        yield Listed(f"{folder}/expired/{number:08d}.json", size, ExpiryRecord, dataset, number=number)


def read_records(
    store: Store, listed: list[Listed], problems: list[Problem], *, workers: int, on_event: Listener
) -> Iterator[Read]:
    """Read and prove records, in the order of the list; what is wrong goes to ``problems``.

    Raises
    ------
    StorageUnavailable
        If the store does not answer: that is no damage.
    """

    def fetch(each: Listed) -> bytes | Integrity | NotFound:
        try:
            return read_record(store, each.path, each.size)
        except (Integrity, NotFound) as error:
            return error

    folder, number, before, moment = "", 0, b"", ""
    for done, (each, data) in enumerate(zip(listed, in_order(fetch, listed, workers), strict=True), start=1):
        on_event(Progress("records", done, len(listed), "files"))
        here = each.path.rpartition("/")[0]
        if here != folder:
            folder, number, before, moment = here, 0, b"", ""
        chained = each.number > 0 and each.kind is not ExpiryRecord
        if chained:
            problems += _missing(folder, number, each.number)
        if not isinstance(data, bytes):
            kind = data.kind if data.kind in {"missing", "truncated"} else "altered"
            problems.append(Problem(each.path, kind, detail_of(data, f"{store.url}/{each.path}")))
            number, before = each.number, b""
            continue
        record = _decoded(each, data, problems)
        linked = isinstance(record, VersionRecord | PointerRecord)
        if linked and (each.number == 1 or (before and number == each.number - 1)):
            wanted = digest_text(before) if each.number > 1 else None
            if record.previous != wanted:
                blamed = f"{folder}/{max(1, each.number - 1):08d}.json"
                problems.append(Problem(blamed, "altered", f"{each.path} names another hash for it"))
        said = _time(record)
        # Clocks may be wrong; the numbers of a log are not.
        moment = max(moment, said) if chained else said
        number, before = each.number, sha256(data)
        yield Read(each.path, each.dataset, record, moment, before)


def _decoded(each: Listed, data: bytes, problems: list[Problem]) -> Record | None:
    record: Record | None = None
    fault: str | None = "it is not a record"
    try:
        kind = each.kind or _GC.get(str(orjson.loads(data).get("type")))
        if kind is not None:
            record = kind.decode(data, where=each.path)
            fault = _fault(each, record) if is_canonical(data) else "it is not canonical JSON"
    except Integrity as error:
        fault = detail_of(error, each.path)
    except (ValueError, AttributeError):
        pass
    if fault is not None:
        problems.append(Problem(each.path, "altered", fault))
        return None
    return record


def _fault(each: Listed, record: Record) -> str | None:
    """What a record says it is, if that is not what its path says."""
    number = getattr(record, "number", 0)
    if number != each.number and not isinstance(record, TagRecord):
        return f"it says that its number is {number}"
    if isinstance(record, VersionRecord) and record.dataset != each.dataset:
        return f"it says that it is of {record.dataset}"
    if isinstance(record, PointerRecord) and record.pointer != each.name:
        return f"it says that it is a move of {record.pointer}"
    if isinstance(record, TagRecord) and record.tag != each.name:
        return f"it says that it is the tag {record.tag!r}"
    return None


def _time(record: Record | None) -> str:
    if record is None:
        return ""
    return str(getattr(record, "created" if isinstance(record, CatalogRecord) else "time"))


def _missing(folder: str, before: int, number: int) -> Iterator[Problem]:
    for lost in range(before + 1, min(number, before + 1 + _GAP)):
        yield Problem(f"{folder}/{lost:08d}.json", "missing", "it is not there, and a later one is")
    if number > before + 1 + _GAP:
        last = f"neither it nor any other up to {number - 1:08d}.json is there, and {number:08d}.json is"
        yield Problem(f"{folder}/{before + 1 + _GAP:08d}.json", "missing", last)
