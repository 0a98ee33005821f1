"""The audit trail: every write of a catalog, in the order of time, from its records alone.

Each entry has the sha256 of its record, and the chains are proven while they are read: every record is what its path
says, in its only spelling, and versions and moves name the hash of the one before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from versioning.audit_head import AuditHead, Trace
from versioning.audit_read import Listed, Read, list_records, read_records
from versioning.catalog import Catalog
from versioning.errors import NotFound
from versioning.events import Listener, silent
from versioning.ids import check_dataset_id
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
from versioning.verify_report import Problem

__all__ = ["AuditEntry", "AuditTrail", "audit"]

_KINDS: dict[type[Record], str] = {
    CatalogRecord: "catalog",
    SettingsRecord: "settings",
    VersionRecord: "version",
    TagRecord: "tag",
    PointerRecord: "move",
    ExpiryRecord: "expiry",
    CondemnedRecord: "condemned",
    SweepRecord: "sweep",
    SweptRecord: "swept",
}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One write: who, when, what, and why.

    Attributes
    ----------
    time
        By the writer's clock, and never before the entry before it in the same log.
    kind
        ``catalog``, ``settings``, ``version``, ``tag``, ``move``, ``expiry``, ``condemned``, ``sweep`` or ``swept``.
    dataset, name, version
        What it is about: a tag's or pointer's name, the number of the version.
    digest
        The version's digest.
    author, why
        Who, and the message or reason. Records of garbage collection and settings name nobody.
    path, sha256
        The record, and the sha256 of its bytes in hex.
    """

    time: str
    kind: str
    dataset: str
    name: str
    version: int | None
    digest: str
    author: str
    why: str
    path: str
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """The entry for ``--json``."""
        return asdict(self)


@dataclass(slots=True)
class AuditTrail:
    """All entries, oldest first, what is wrong with the records, and the head of what was read.

    ``trace`` and ``reads`` (time, path and sha256 of every record) are what earlier heads are compared with.
    """

    catalog: str
    dataset: str | None
    entries: list[AuditEntry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    head: AuditHead = field(default_factory=lambda: AuditHead("", None, {}, {}))
    trace: Trace = field(default_factory=Trace, repr=False)
    reads: list[tuple[str, str, bytes]] = field(default_factory=list, repr=False)

    def check(self, expected: AuditHead | str) -> list[Problem]:
        """Whether an earlier head is a prefix of this history: nothing if it is, else what is not.

        A digest alone is looked for among the moments of this history, in the order of its times. That proves as much,
        but fails also where records with earlier times came later: by a sync, or with a clock that was wrong.

        Parameters
        ----------
        expected
            A head, or the digest of one.
        """
        if isinstance(expected, AuditHead):
            if (expected.catalog, expected.dataset) != (self.head.catalog, self.head.dataset):
                of = expected.dataset or "all datasets"
                return [Problem("stacpin.json", "altered", f"the head is that of catalog {expected.catalog}, {of}")]
            return list(self.trace.since(expected))
        if not _DIGEST.fullmatch(expected):
            return [Problem(expected, "altered", "it is not the digest of a head")]
        if expected in self._digests():
            return []
        return [
            Problem(
                self.catalog,
                "altered",
                f"no moment of this history has the head {expected}; records were changed or taken away, or some with "
                "earlier times came later (then only the file of --save-head can prove it)",
            )
        ]

    def _digests(self) -> Iterator[str]:
        yield self.head.digest
        trace = Trace()
        for index, (moment, path, digest) in enumerate(self.reads):
            trace.add(path, digest)
            following = self.reads[index + 1][0] if index + 1 < len(self.reads) else None
            if following != moment:
                yield trace.head(self.head.catalog, self.head.dataset).digest


def audit(
    catalog: Catalog, dataset: str | None = None, *, workers: int = 16, on_event: Listener = silent
) -> AuditTrail:
    """Read and prove all records of a catalog.

    Parameters
    ----------
    catalog, dataset
        Of which dataset; None is everything.
    workers
        How many records are read at once.
    on_event
        Hears how far it is.

    Raises
    ------
    NotFound
        If there is no such dataset.
    """
    store = catalog.store
    if dataset is not None and not any(store.list(f"datasets/{check_dataset_id(dataset)}")):
        known = ", ".join(catalog.dataset_ids()[:20]) or "none"
        raise NotFound(f"{catalog.url} has no dataset {dataset!r}; datasets: {known}.", kind="no-such-dataset")
    trail = AuditTrail(catalog.url, dataset)
    listed = list_records(store, dataset)
    reads = list(read_records(store, listed, trail.problems, workers=workers, on_event=on_event))
    trail.problems += _unnamed(listed, reads)
    digests = {
        (read.dataset, read.record.number): read.record.digest
        for read in reads
        if isinstance(read.record, VersionRecord)
    }
    for read in reads:
        trail.trace.add(read.path, read.digest)
        trail.reads.append((read.time, read.path, read.digest))
        if read.record is not None:
            entry = _entry(read, read.record)
            trail.entries.append(replace(entry, digest=digests.get((read.dataset, entry.version or 0), "")))
    trail.reads.sort()
    trail.entries.sort(key=lambda entry: (entry.time, entry.path))
    trail.head = trail.trace.head(catalog.record.id, dataset)
    return trail


def _entry(read: Read, record: Record) -> AuditEntry:
    kind, name, version, author, why = _said(record)
    return AuditEntry(read.time, kind, read.dataset, name, version, "", author, why, read.path, read.digest.hex())


def _said(record: Record) -> tuple[str, str, int | None, str, str]:
    """Kind, name, version, author and reason."""
    name, version, author, why = "", None, "", ""
    match record:
        case VersionRecord():
            version, author, why = record.number, record.author, record.message
        case TagRecord():
            name, version, author, why = record.tag, record.target, record.author, record.message
        case PointerRecord():
            name, version, author, why = record.pointer, record.target, record.author, record.why
        case ExpiryRecord():
            version, author, why = record.number, record.author, record.why
        case CondemnedRecord():
            why = f"{record.count} files, {record.bytes} bytes, that nothing needed"
        case SweepRecord():
            why = f"begins to delete what gc/{record.of:08d}.json condemned"
        case SweptRecord():
            why = f"{record.deleted} files deleted, {record.bytes} bytes; {record.spared} spared, {record.left} left"
        case SettingsRecord():
            why = f"title: {record.title}"
        case CatalogRecord():
            name, why = record.id, f"format {record.format}"
    return _KINDS[type(record)], name, version, author, why


def _unnamed(listed: list[Listed], reads: list[Read]) -> Iterator[Problem]:
    """What other records say of versions: one that is named and not there; a tag of a version with another digest."""
    heads: dict[str, int] = {}
    for each in listed:
        if each.kind is VersionRecord:
            heads[each.dataset] = max(heads.get(each.dataset, 0), each.number)
    versions = {
        (read.dataset, read.record.number): read.record for read in reads if isinstance(read.record, VersionRecord)
    }
    told: set[str] = set()
    for read in reads:
        record = read.record
        if isinstance(record, TagRecord):
            target = versions.get((read.dataset, record.target))
            if target is not None and target.digest != record.digest:
                yield Problem(read.path, "altered", f"v{record.target} is not the version that it names")
        named = max(record.target, record.seen) if isinstance(record, PointerRecord) else 0
        named = record.target if isinstance(record, TagRecord) else named
        named = record.number if isinstance(record, ExpiryRecord) else named
        path = f"datasets/{read.dataset}/versions/{named:08d}.json"
        if named > heads.get(read.dataset, 0) and path not in told:
            told.add(path)
            yield Problem(path, "missing", f"it is not there, and {read.path} names it")
