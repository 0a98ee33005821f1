"""Records are proven: each is what its path says, in its only spelling, and names the hash of the one before it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from versioning.canonical import is_canonical
from versioning.dataset import Dataset
from versioning.errors import Integrity, InvalidInput, NotFound
from versioning.ids import check_pointer_name, check_tag_name
from versioning.records import (
    CatalogRecord,
    ExpiryRecord,
    PointerRecord,
    Record,
    SettingsRecord,
    TagRecord,
    VersionRecord,
    not_yet,
    record_digest,
)
from versioning.store import Store
from versioning.verify_report import Problem, VerifyReport, detail_of

__all__ = ["DatasetRecords", "is_name", "prove_mark", "read_record"]

# A version's record holds the declared metadata of its collection: some kilobytes.
MAX_RECORD = 64 * 1024 * 1024
_ENTRY = re.compile(r"([0-9]{8})\.json")
_GAP = 20
_Any = TypeVar("_Any", bound=Record)
_Linked = TypeVar("_Linked", VersionRecord, PointerRecord)
_Numbered = TypeVar("_Numbered", VersionRecord, PointerRecord, ExpiryRecord, SettingsRecord)


def read_record(store: Store, path: str, size: int | None = None) -> bytes:
    """The bytes of a record, of which a stranger's catalog may have a gigabyte; its size is asked if it is not known.

    Raises
    ------
    NotFound
        If there is none.
    Integrity
        If it is longer than any record, or empty.
    """
    if ((store.size(path) if size is None else size) or 0) > MAX_RECORD:
        raise Integrity(f"{path} is altered: it has more than {MAX_RECORD} bytes.", kind="altered")
    data = store.get(path)
    if not data:
        raise Integrity(f"{path} is truncated: it is empty.", hint="Restore it from a mirror.", kind="truncated")
    return data


def prove_mark(store: Store, report: VerifyReport) -> None:
    """Prove ``stacpin.json`` and the settings."""
    if _read(store, "stacpin.json", CatalogRecord, report) is not None:
        report.records += 1

    def wrong(record: SettingsRecord, number: int) -> str | None:
        return None if record.number == number else f"it says it is settings {record.number}"

    for _ in _numbered(store, "settings", SettingsRecord, wrong, report):
        pass


class DatasetRecords:
    """All records of one dataset, proven when this is made.

    Attributes
    ----------
    versions
        The sound version records by their numbers.
    expired
        The numbers of versions that were retired.
    """

    def __init__(self, dataset: Dataset, report: VerifyReport) -> None:
        self._store = dataset.store
        self._dataset = dataset.id
        self._folder = dataset.folder
        self._report = report
        self._told: set[int] = set()
        self.versions = self._linked(f"{self._folder}/versions", VersionRecord, self._wrong_version)
        self._head = max([*self.versions, *self._told], default=0)
        self.expired = self._expired()
        for name in self._store.folders(f"{self._folder}/pointers"):
            if is_name(check_pointer_name, name):
                self._pointer(name)
        self._tags()

    def _wrong_version(self, record: VersionRecord, number: int) -> str | None:
        if record.number != number or record.dataset != self._dataset:
            return f"it says it is {record.dataset}@v{record.number}"
        return f"its parent is v{record.parent}" if record.parent is not None and record.parent >= number else None

    def _pointer(self, name: str) -> None:
        folder = f"{self._folder}/pointers/{name}"

        def wrong(entry: PointerRecord, number: int) -> str | None:
            if entry.number != number or entry.pointer != name:
                return f"it says it is move {entry.number} of {entry.pointer}"
            self._named(max(entry.target, entry.seen), f"{folder}/{number:08d}.json")
            return None

        self._linked(folder, PointerRecord, wrong)

    def _tags(self) -> None:
        sizes = {entry.path: entry.size for entry in self._store.list(f"{self._folder}/tags")}
        for path in sorted(sizes):
            name = path.removeprefix(f"{self._folder}/tags/").removesuffix(".json")
            if not path.endswith(".json") or not is_name(check_tag_name, name):
                continue
            tag = _read(self._store, path, TagRecord, self._report, size=sizes[path])
            if tag is None:
                continue
            self._report.records += 1
            target = self.versions.get(tag.target)
            if tag.tag != name:
                self._report.problems.append(Problem(path, "altered", f"it is the record of the tag {tag.tag!r}"))
            elif target is None:
                self._named(tag.target, path)
            elif target.digest != tag.digest:
                self._report.problems.append(
                    Problem(path, "altered", f"v{tag.target} is not the version that it names")
                )

    def _expired(self) -> frozenset[int]:
        def wrong(entry: ExpiryRecord, number: int) -> str | None:
            if entry.number != number:
                return f"it says it is the expiry of v{entry.number}"
            self._named(number, f"{self._folder}/expired/{number:08d}.json")
            return None

        folder = f"{self._folder}/expired"
        for _ in _entries(self._store, folder, ExpiryRecord, wrong, self._report, gaps=False):
            pass
        # A damaged expiry is one all the same: the version's bytes may be gone.
        return frozenset(_listed(self._store, folder))

    def _named(self, number: int, by: str) -> None:
        """Note that a record names a version: one beyond the head of the log can only be missed so."""
        if number > self._head and number not in self._told:
            self._told.add(number)
            path = f"{self._folder}/versions/{number:08d}.json"
            self._report.problems.append(Problem(path, "missing", f"it is not there, and {by} names it"))

    def _linked(
        self, folder: str, kind: type[_Linked], wrong: Callable[[_Linked, int], str | None]
    ) -> dict[int, _Linked]:
        """The sound entries of a log in which each names the one before it."""
        found: dict[int, _Linked] = {}
        before: tuple[int, str] | None = None
        for number, (record, digest) in _numbered(self._store, folder, kind, wrong, self._report):
            found[number] = record
            known = before is not None and before[0] == number - 1
            if number == 1 or known:
                wanted = before[1] if known and before is not None else None
                if record.previous != wanted:
                    path = f"{folder}/{number:08d}.json"
                    blamed = f"{folder}/{number - 1:08d}.json" if known else path
                    self._report.problems.append(Problem(blamed, "altered", f"{path} names another hash for it"))
            before = (number, digest)
        if kind is VersionRecord:
            damaged = (problem.path.rsplit("/", 1)[-1] for problem in self._report.problems if folder in problem.path)
            self._told |= {int(match[1]) for name in damaged if (match := _ENTRY.fullmatch(name))}
        return found


def _numbered(
    store: Store,
    folder: str,
    kind: type[_Numbered],
    wrong: Callable[[_Numbered, int], str | None],
    report: VerifyReport,
) -> Iterator[tuple[int, tuple[_Numbered, str]]]:
    return _entries(store, folder, kind, wrong, report, gaps=True)


def _entries(
    store: Store,
    folder: str,
    kind: type[_Numbered],
    wrong: Callable[[_Numbered, int], str | None],
    report: VerifyReport,
    *,
    gaps: bool,
) -> Iterator[tuple[int, tuple[_Numbered, str]]]:
    """The sound entries of a folder with their hashes. A listing says which there are: probing stops at a lost one."""
    sizes = _listed(store, folder)
    if gaps:
        report.problems += _missing(folder, sorted(sizes))
    for number in sorted(sizes):
        path = f"{folder}/{number:08d}.json"
        digests: list[str] = []
        record = _read(store, path, kind, report, size=sizes[number], digests=digests)
        if record is None:
            continue
        report.records += 1
        fault = wrong(record, number)
        if fault:
            report.problems.append(Problem(path, "altered", fault))
        yield number, (record, digests[0])


def _listed(store: Store, folder: str) -> dict[int, int]:
    """The numbers of a log's entries, and their sizes."""
    found = ((_ENTRY.fullmatch(entry.path.removeprefix(f"{folder}/")), entry.size) for entry in store.list(folder))
    return {int(match[1]): size for match, size in found if match and int(match[1])}


def _missing(folder: str, numbers: Sequence[int]) -> Iterator[Problem]:
    """The numbers below the highest that are not there; of a stranger's 99999999.json not all of them one by one."""
    expected = 1
    for number in numbers:
        for each in range(expected, min(number, expected + _GAP)):
            yield Problem(f"{folder}/{each:08d}.json", "missing", "it is not there, and a later one is")
        if number > expected + _GAP:
            more = f"neither it nor any other up to {number - 1:08d}.json is there, and {number:08d}.json is"
            yield Problem(f"{folder}/{expected + _GAP:08d}.json", "missing", more)
        expected = number + 1


def _read(
    store: Store,
    path: str,
    kind: type[_Any],
    report: VerifyReport,
    *,
    size: int | None = None,
    digests: list[str] | None = None,
) -> _Any | None:
    """A record, or None after saying what is wrong with it; its hash is put into ``digests``."""
    try:
        data = read_record(store, path, size)
        record = kind.decode(data, where=path)
    except NotFound as error:
        report.problems.append(Problem(path, "missing", detail_of(error, path)))
        return None
    except Integrity as error:
        fault = error.kind if error.kind in {"truncated", "missing"} else "altered"
        report.problems.append(Problem(path, fault, detail_of(error, path)))
        return None
    if not is_canonical(data):
        report.problems.append(Problem(path, "altered", "it is not canonical JSON"))
    moment = record.created if isinstance(record, CatalogRecord) else str(getattr(record, "time", ""))
    # By this machine's clock, since who verifies may have no right to write, which asking a store for its time takes.
    fault = not_yet(moment, datetime.now(UTC))
    if fault is not None:
        report.problems.append(Problem(path, "altered", fault))
    if digests is not None:
        digests.append(record_digest(data))
    return record


def is_name(check: Callable[[str], str], name: str) -> bool:
    """Whether a check of :mod:`versioning.ids` takes a name."""
    try:
        check(name)
    except InvalidInput:
        return False
    return True
