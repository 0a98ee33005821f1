"""Verification: every byte that a version needs is read and proven; what is wrong is named and told apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any, TypeVar

from versioning.canonical import is_canonical
from versioning.chunking import cut_rows
from versioning.dataset import Dataset
from versioning.errors import Integrity, InvalidInput, NotFound, StacpinError
from versioning.events import Listener, Progress, silent
from versioning.numbered import NumberedLog
from versioning.objects import Objects
from versioning.records import PointerRecord, VersionRecord, record_digest
from versioning.row_tables import table_of
from versioning.rows import AssetRef, Row, parse_item
from versioning.snapshots import Chunk, describe
from versioning.version import Version

__all__ = ["Problem", "VerifyReport", "detail_of", "verify_chain", "verify_version"]

_WORKERS = 4
_ENTRY = re.compile(r"([0-9]{8})\.json")
_Linked = TypeVar("_Linked", VersionRecord, PointerRecord)


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
    """Prove a version: its dataset's records and names, its manifests, each of its items, the bytes of its objects.

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
    # A new Dataset remembers nothing: what is proven is what the store holds now.
    fresh = Dataset(dataset.store, dataset.id, clock=dataset.now)
    records = _chain(fresh, report)
    if records.get(version.number, version.record) != version.record:
        path = fresh.log.path(version.number)
        report.problems.append(Problem(path, "altered", "it is not what it was when the version was opened"))
    _names(fresh, report, records)
    assets = _items(Version(version.record, fresh.files), report)
    if objects:
        _objects(dataset, assets, report, on_event)
    return report


def verify_chain(dataset: Dataset) -> VerifyReport:
    """Prove all records of a dataset: each version and each pointer move names the hash of the one before it.

    Raises
    ------
    NotFound
        If the dataset has no versions.
    """
    head = dataset.head()
    if head == 0:
        raise NotFound(f"{dataset.id} has no versions.", kind="no-such-version")
    report = VerifyReport(f"{dataset.id}@v{head}", "")
    records = _chain(dataset, report)
    if head in records:
        report.digest = records[head].digest
    _names(dataset, report, records)
    return report


def _names(dataset: Dataset, report: VerifyReport, records: Mapping[int, VersionRecord]) -> None:
    """Pointers and tags: a pin may have come by any of them."""
    for name in dataset.pointer_names():
        _moves(dataset, name, report, records)
    for name in dataset.tag_names():
        fault = _wrong_tag(dataset, name, records)
        if fault:
            report.problems.append(Problem(f"{dataset.folder}/tags/{name}.json", "altered", fault))


def _wrong_tag(dataset: Dataset, name: str, versions: Mapping[int, VersionRecord]) -> str | None:
    try:
        tag = dataset.find_tag(name)
    except Integrity as error:
        return error.message
    target = versions.get(tag.target) if tag else None
    if tag and (target is None or target.digest != tag.digest):
        return f"v{tag.target} is not the version that it names"
    return None


def _chain(dataset: Dataset, report: VerifyReport) -> dict[int, VersionRecord]:
    """All records, also those after the version: a record is proven by the one that comes next."""

    def wrong(record: VersionRecord, number: int) -> str | None:
        if record.number != number or record.dataset != dataset.id:
            return f"it says it is {record.dataset}@v{record.number}"
        return f"its parent is v{record.parent}" if record.parent is not None and record.parent >= number else None

    return _linked(dataset, f"{dataset.folder}/versions", VersionRecord, wrong, report)


def _moves(dataset: Dataset, name: str, report: VerifyReport, versions: Mapping[int, VersionRecord]) -> None:
    def wrong(entry: PointerRecord, number: int) -> str | None:
        if entry.number != number or entry.pointer != name:
            return f"it says it is move {entry.number} of {entry.pointer}"
        return None if entry.target in versions else f"there is no v{entry.target}"

    _linked(dataset, f"{dataset.folder}/pointers/{name}", PointerRecord, wrong, report)


def _linked(
    dataset: Dataset,
    folder: str,
    kind: type[_Linked],
    wrong: Callable[[_Linked, int], str | None],
    report: VerifyReport,
) -> dict[int, _Linked]:
    """The sound entries of a log. A listing says how long it is: probing for the head stops at a lost entry."""
    log = NumberedLog(dataset.store, folder)
    names = (entry.path.rsplit("/", 1)[-1] for entry in dataset.store.list(folder))
    listed = max((int(match[1]) for name in names if (match := _ENTRY.fullmatch(name))), default=0)
    found: dict[int, _Linked] = {}
    before: bytes | None = None
    for each in range(1, listed + 1):
        path = log.path(each)
        try:
            data = dataset.store.get(path)
            record = kind.decode(data, where=path)
        except (Integrity, NotFound) as error:
            fault = "missing" if isinstance(error, NotFound) else "altered"
            report.problems.append(Problem(path, fault, detail_of(error, path)))
            before = None
            continue
        report.records += 1
        faults = [wrong(record, each), None if is_canonical(data) else "it is not canonical JSON"]
        report.problems.extend(Problem(path, "altered", fault) for fault in faults if fault)
        if (each == 1 or before is not None) and record.previous != (record_digest(before) if before else None):
            blamed = log.path(each - 1) if each > 1 else path
            report.problems.append(Problem(blamed, "altered", f"{path} names another hash for it"))
        found[each] = record
        before = data
    return found


def _items(version: Version, report: VerifyReport) -> dict[str, AssetRef]:
    """Prove the manifests and items; return the objects that they name, and count what lies elsewhere."""
    found: dict[str, AssetRef] = {}
    try:
        for chunk in version.chunks:
            try:
                rows = list(version.rows([chunk]))
            except Integrity as error:
                report.problems.append(_problem_of(error))
                continue
            where = f"{version.pin} chunk {chunk.first_id}"
            faults = _wrong_chunk(chunk, rows, last=chunk is version.chunks[-1])
            report.problems.extend(Problem(where, "altered", fault) for fault in faults)
            for row in rows:
                report.items += 1
                report.problems.extend(_wrong(row, version.pin))
                for asset in row.assets:
                    if asset.stored:
                        found[asset.href] = asset
                    else:
                        report.referenced += 1
    except Integrity as error:
        report.problems.append(_problem_of(error))
    return found


def _wrong_chunk(chunk: Chunk, rows: list[Row], *, last: bool) -> Iterator[str]:
    """What the snapshot says of a chunk must follow from its rows: search prunes by it."""
    ids = [row.id for row in rows]
    if any(one >= other for one, other in pairwise(ids)):
        yield "its rows are not in the order of their ids"
    ends = list(cut_rows(ids))
    if ends != [len(ids)] and not (last and not ends):
        yield "its rows are not cut where the format cuts them"
    again = describe(table_of(rows), chunk.files)
    names = [each.name for each in fields(Chunk) if getattr(again, each.name) != getattr(chunk, each.name)]
    if names:
        yield f"the snapshot says otherwise than its rows: {', '.join(names)}"


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
            return Problem(asset.href, error.kind, detail_of(error, asset.href))
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


def _problem_of(error: Integrity) -> Problem:
    path = error.message.split(" ", 1)[0].rstrip(":")
    return Problem(path, error.kind, detail_of(error, path))


def detail_of(error: StacpinError, path: str) -> str:
    """What an error says beyond the path and the kind of a problem, which are told beside it.

    ``objects/79/a.tif is altered: its bytes hash to 12…`` at that path is ``its bytes hash to 12…``.
    """
    text = error.message.strip().rstrip(".")
    rest = text.removeprefix(path)
    if rest == text or not rest.startswith((" ", ":")):
        return text
    rest = re.sub(rf"\A[: ]*(\([^()]*\) )?(is {re.escape(error.kind)}\b[: ]*)?", "", rest)
    return rest or f"it is {error.kind}"
