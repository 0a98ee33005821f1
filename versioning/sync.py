"""Sync: one catalog gets from another what it lacks, in an order in which its readers only ever see whole versions.

The histories of all datasets are compared before anything is written; where they contradict, nothing is. The manifest
and snapshot files that the destination lacks are copied as they are read. Then, version by version: the objects that
are not there, each proven by its sha256 on arrival; the mark of a version that has expired; the version's record, which
makes it visible; the tags and the moves of pointers that mean it. So the destination goes through states that the
source has been in, and a sync that dies at any point is finished by the next one, which does not move again what is
there.

A ``staging/<run>/begin.json`` tells garbage collection that something is on its way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from versioning.catalog import Catalog
from versioning.errors import Integrity, InvalidInput, NotFound
from versioning.events import Listener, silent
from versioning.histories import Comparison, Copy, compare
from versioning.ids import check_dataset_id
from versioning.needs import Reader
from versioning.presence import missing
from versioning.record_names import read_record
from versioning.records import SettingsRecord, VersionRecord
from versioning.store import Store, open_store
from versioning.sync_report import SyncReport
from versioning.sync_run import Run, announced, conflict, create, unless_expired
from versioning.sync_write import Objects, write_dataset
from versioning.transfer import Pace

__all__ = ["sync"]

_MARK = "stacpin.json"
_SETTINGS = re.compile(r"settings/[0-9]{8}\.json")
_NAMED = 3
_MOST_WORKERS = 256


def sync(
    source: Catalog | Store | str,
    destination: Catalog | Store | str,
    *,
    datasets: Sequence[str] | None = None,
    workers: int = 8,
    bandwidth: int | None = None,
    dry_run: bool = False,
    deep: bool = False,
    on_event: Listener = silent,
) -> SyncReport:
    """Copy to one catalog what it lacks of another: versions, tags, moves of pointers, expiries, and their files.

    Parameters
    ----------
    source
        A catalog, its store, or its URL.
    destination
        The same; a place without a catalog becomes a mirror, with the source's id.
    datasets
        Which datasets; None is all.
    workers
        How many objects are moved at once. Each takes up to 40 MB of memory while it moves objects over 16 MB.
    bandwidth
        Bytes a second that all workers together may read from the source; None is without limit.
    dry_run
        Only report; nothing is written.
    deep
        Also compare what versions that both sides have need, by name and size, and copy what is missing of it; and all
        their records, byte by byte.
    on_event
        Hears how far it is.

    Raises
    ------
    NotFound
        If there is no catalog at the source, or no such dataset in it.
    InvalidInput
        If the two are the same place, or a number makes no sense.
    Conflict
        If a history has diverged (kind "diverged"); it names what, with both digests. Datasets that have not diverged
        are not copied either: leave out the one that has with ``datasets``.
    Integrity
        If the source is damaged or lies, or if the destination has damaged files that a version needs.
    """
    if not 1 <= workers <= _MOST_WORKERS or (bandwidth is not None and bandwidth < 1):
        raise InvalidInput(f"sync takes 1 to {_MOST_WORKERS} workers and a bandwidth above 0.")
    place = source if isinstance(source, Catalog) else Catalog.open(source)
    store, where = _destination(destination, dry_run=dry_run)
    if _same_place(place.store, store):
        raise InvalidInput(f"{where} is both the source and the destination.", hint="Name two places.")
    report = SyncReport(place.url, where, dry_run)
    run = Run(place, store, report, Pace(bandwidth), workers, deep, on_event)
    report.datasets = _chosen(run, datasets)
    mark = _check_mark(run)
    for dataset in report.datasets:
        found = compare(place.store, store, dataset, deep=deep, workers=workers)
        run.found.append(found)
        _report_records(report, found)
    if report.diverged:
        if not dry_run:
            raise conflict(report)
        run.found = [each for each in run.found if not each.diverged]
    if dry_run:
        _find_needs(run)
        return report
    with announced(run, needed=bool(mark or report.missing.count or deep)):
        for copy in mark:
            create(run, copy, _MARK)
        _find_needs(run)
        if report.mismatched.count:
            raise _damaged_destination(report)
        objects = Objects(run)
        for each in run.found:
            write_dataset(run, each, objects)
    return report


def _destination(destination: Catalog | Store | str, *, dry_run: bool) -> tuple[Store, str]:
    if isinstance(destination, Catalog):
        return destination.store, destination.url
    if not isinstance(destination, str):
        return destination, destination.url
    try:
        store = open_store(destination, create=not dry_run)
    except NotFound:  # a dry run makes no folder
        return open_store("memory://"), destination
    return store, store.url


def _same_place(one: Store, other: Store) -> bool:
    if one is other:
        return True
    if one.local_root is not None and other.local_root is not None:
        return Path(one.local_root).resolve() == Path(other.local_root).resolve()
    return one.url.rstrip("/") == other.url.rstrip("/") and not one.url.startswith("memory:")


def _chosen(run: Run, datasets: Sequence[str] | None) -> list[str]:
    """The datasets to sync. A name that none may have is left out of a whole sync, and refused if it is asked for."""
    if datasets is not None:
        for name in datasets:
            if run.source.dataset(name).head() == 0:
                raise NotFound(
                    f"{run.source.url} has no dataset {name!r}; datasets: "
                    f"{', '.join(run.source.dataset_ids()[:20]) or 'none'}.",
                    kind="no-such-dataset",
                )
        return sorted(set(datasets))
    found: list[str] = []
    for name in run.source.store.folders("datasets"):
        try:
            found.append(check_dataset_id(name))
        except InvalidInput:
            run.report.notes.append(f"datasets/{name!r} at the source is no dataset and was left out")
    return found


def _check_mark(run: Run) -> list[Copy]:
    """What makes the destination a catalog, if it is none yet; the mark comes last."""
    try:
        there = Catalog.open(run.destination)
    except NotFound:
        there = None
    source = run.source.store
    if there is not None:
        run.report.mirror = there.record.id == run.source.record.id
        if not run.report.mirror:
            run.report.notes.append(
                f"the destination is another catalog ({there.record.id}, not {run.source.record.id}): it gets the "
                "datasets, and keeps its own id and settings"
            )
            return []
    have = {entry.path for entry in run.destination.list("settings")}
    settings = {entry.path: entry.size for entry in source.list("settings") if _SETTINGS.fullmatch(entry.path)}
    copies: list[Copy] = []
    for path in sorted(settings.keys() - have):
        data = read_record(source, path, settings[path])
        SettingsRecord.decode(data, where=f"{source.url}/{path}")
        copies.append(Copy(path, data))
    if there is None:
        copies.append(Copy(_MARK, source.get(_MARK)))
    for copy in copies:
        run.report.missing.add(copy.path, len(copy.data))
    return copies


def _report_records(report: SyncReport, found: Comparison) -> None:
    for copy in found.copies():
        report.missing.add(copy.path, len(copy.data))
    for path, size in found.extra.items():
        report.extra.add(path, size)
    report.kept += found.kept.values()
    report.diverged += found.diverged
    report.notes += found.notes
    if found.ahead:
        report.ahead[found.dataset] = found.ahead


def _find_needs(run: Run) -> None:
    """Read the manifests of what is to be copied, and ask the destination which of their objects it has."""
    for found in run.found:
        reader = Reader(
            run.source.store,
            run.destination,
            found.dataset,
            report=run.report,
            pace=run.pace,
            workers=run.workers,
            objects=run.objects,
        )
        wanted = {n: record for n, (_, record) in found.versions.items() if n not in found.retired}
        shared = {n for n in found.shared if n not in found.retired}
        if run.deep:
            wanted |= {n: _record(run, found.dataset, n) for n in shared}
        elif wanted:
            bases = {record.parent or 0 for record in wanted.values()}
            bases |= {n - 1 for n in wanted} | {max(shared, default=0)}
            for number in sorted(bases & shared):
                reader.know(_record(run, found.dataset, number))
        needs = run.needs[found.dataset] = {}
        for number in sorted(wanted):
            with unless_expired(run, found.dataset, number):
                needs[number] = reader.read(wanted[number], run.on_event)
    presence = missing(run.destination, run.objects, workers=2 * run.workers)
    for path, size in run.objects.items():
        if path in presence.wrong:
            run.report.mismatched.add(path, presence.wrong[path])
        else:
            (run.report.missing if path in presence.missing else run.report.skipped).add(path, size)
    run.absent = presence.missing


def _record(run: Run, dataset: str, number: int) -> VersionRecord:
    """The record of a version that both sides have, from the side that is trusted."""
    path = f"datasets/{dataset}/versions/{number:08d}.json"
    return VersionRecord.decode(run.destination.get(path), where=f"{run.destination.url}/{path}")


def _damaged_destination(report: SyncReport) -> Integrity:
    names = ", ".join(sorted(report.mismatched.names)[:_NAMED])
    return Integrity(
        f"{report.destination} has {report.mismatched.count} damaged files that are needed: {names} have other sizes "
        "than their manifests say. No record was written.",
        hint="Repair them from the source first: see stacpin verify --help.",
        kind="damaged",
        data=report.to_dict(),
    )
