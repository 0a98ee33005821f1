"""Verification: every byte that a version needs is read and proven; what is wrong is named and told apart."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from versioning.canonical import canonical
from versioning.dataset import Dataset
from versioning.digests import leaf_digest
from versioning.errors import Integrity, InvalidInput, NotFound
from versioning.events import Listener, Progress, silent
from versioning.objects import Objects
from versioning.records import VersionRecord, record_digest
from versioning.rows import AssetRef, Row, parse_item
from versioning.version import Version

__all__ = ["Problem", "VerifyReport", "verify_chain", "verify_version"]

_WORKERS = 4
Fault = Literal["missing", "truncated", "altered", "extra"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it must be: what, where, how."""

    path: str
    kind: str
    detail: str


@dataclass(slots=True)
class VerifyReport:
    """What was proven, and what could not be."""

    pin: str
    digest: str
    records: int = 0
    items: int = 0
    objects: int = 0
    bytes: int = 0
    referenced: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """The report for ``--json``; ``referenced`` counts assets outside the catalog, which were not read."""
        return {
            "pin": self.pin,
            "digest": self.digest,
            "ok": self.ok,
            "records": self.records,
            "items": self.items,
            "objects": self.objects,
            "bytes": self.bytes,
            "referenced": self.referenced,
            "problems": [{"path": each.path, "kind": each.kind, "detail": each.detail} for each in self.problems],
        }


def verify_version(
    dataset: Dataset, version: Version, *, objects: bool = True, on_event: Listener = silent
) -> VerifyReport:
    """Prove a version: the chain of records up to it, its manifests, each of its items, and the bytes of its objects.

    Parameters
    ----------
    dataset
        The dataset of the version.
    version
        What to prove.
    objects
        Whether the objects are read too; otherwise only records, manifests and items are.
    on_event
        Hears how far it is, in bytes.
    """
    report = VerifyReport(version.pin, version.digest)
    _chain(dataset, report)
    # A new Dataset remembers nothing: what is proven is what the store holds now.
    fresh = Dataset(dataset.store, dataset.id, clock=dataset.now)
    assets = _items(Version(version.record, fresh.files), report)
    if objects:
        _objects(dataset, assets, report, on_event)
    return report


def verify_chain(dataset: Dataset) -> VerifyReport:
    """Prove the chain of all records of a dataset: each names the hash of the one before it."""
    head = dataset.head()
    report = VerifyReport(f"{dataset.id}@v{head}", dataset.record(head).digest)
    _chain(dataset, report)
    return report


def _chain(dataset: Dataset, report: VerifyReport) -> None:
    """All records, also those after the version: a record is proven by the one that comes next."""
    before: bytes | None = None
    for each in range(1, dataset.head() + 1):
        path = dataset.log.path(each)
        try:
            data = dataset.store.get(path)
            record = VersionRecord.decode(data, where=path)
        except (Integrity, NotFound) as error:
            kind = "missing" if isinstance(error, NotFound) else "altered"
            report.problems.append(Problem(path, kind, error.message))
            before = None
            continue
        report.records += 1
        if record.number != each or record.dataset != dataset.id:
            report.problems.append(Problem(path, "altered", f"it says it is {record.dataset}@v{record.number}"))
        if (each == 1 or before is not None) and record.previous != (record_digest(before) if before else None):
            blamed = dataset.log.path(each - 1) if each > 1 else path
            report.problems.append(Problem(blamed, "altered", f"{path} names another hash for it"))
        if canonical(record.model_dump(mode="json")) != data:
            report.problems.append(Problem(path, "altered", "it is not canonical JSON"))
        before = data


def _items(version: Version, report: VerifyReport) -> dict[str, AssetRef]:
    """Prove the manifests and items; return the objects that they name, and count what lies elsewhere."""
    found: dict[str, AssetRef] = {}
    try:
        for chunk in version.chunks:
            try:
                rows = list(version.rows([chunk]))
            except Integrity as error:
                report.problems.append(Problem(_file_of(error), error.kind, error.message))
                continue
            where = f"{version.pin} chunk {chunk.first_id}"
            if leaf_digest(row.digest for row in rows) != chunk.digest or [row.id for row in rows] != sorted(
                {row.id for row in rows}
            ):
                report.problems.append(Problem(where, "altered", "its rows do not hash to its leaf digest"))
            if leaf_digest((row.content_digest for row in rows), family="content") != chunk.content_digest:
                report.problems.append(Problem(where, "altered", "its rows do not hash to its content digest"))
            for row in rows:
                report.items += 1
                report.problems.extend(_wrong(row, version.pin))
                for asset in row.assets:
                    if asset.stored:
                        found[asset.href] = asset
                    else:
                        report.referenced += 1
    except Integrity as error:
        report.problems.append(Problem(_file_of(error), error.kind, error.message))
    return found


def _wrong(row: Row, pin: str) -> Iterator[Problem]:
    where = f"{pin} item {row.id}"
    try:
        again = parse_item(row.item)
    except (InvalidInput, ValueError) as error:
        yield Problem(where, "altered", f"it is not an item: {error}")
        return
    if again != row:
        names = [name for name in Row.__slots__ if getattr(again, name) != getattr(row, name)]
        yield Problem(where, "altered", f"its columns do not follow from its JSON: {', '.join(names)}")


def _objects(dataset: Dataset, assets: dict[str, AssetRef], report: VerifyReport, on_event: Listener) -> None:
    total = sum(asset.size for asset in assets.values())
    store = Objects(dataset.store)

    def prove(asset: AssetRef) -> Problem | None:
        try:
            for _ in store.read(asset.href, asset.sha256, asset.size):
                pass
        except NotFound:
            return Problem(asset.href, "missing", f"an object of {asset.size} bytes is missing")
        except Integrity as error:
            return Problem(asset.href, error.kind, error.message)
        return None

    on_event(Progress("verify", 0, total, "bytes"))
    done = 0
    ordered = [assets[href] for href in sorted(assets)]
    with ThreadPoolExecutor(_WORKERS) as pool:
        for asset, problem in zip(ordered, pool.map(prove, ordered), strict=True):
            report.objects += 1
            done += asset.size
            if problem is None:
                report.bytes += asset.size
            else:
                report.problems.append(problem)
            on_event(Progress("verify", done, total, "bytes", asset.href))


def _file_of(error: Integrity) -> str:
    return error.message.split(" ", 1)[0].rstrip(":")
