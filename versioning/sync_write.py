"""The writing half of a sync: a dataset's versions, one after the other, each with its objects before its record."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from threading import Lock

from versioning.catalog import Catalog
from versioning.condemned import spare
from versioning.events import Progress
from versioning.expire import names_of
from versioning.histories import Comparison, Copy
from versioning.needs import Needs, object_digest, paths_of, version_files
from versioning.records import PointerRecord, TagRecord
from versioning.sync_report import KeptVersion
from versioning.sync_run import Run, create, unless_expired
from versioning.transfer import Transfer, run_all
from versioning.version import Version

__all__ = ["Objects", "write_dataset"]


class Objects:
    """Moves the objects that the destination lacks, and tells how far it is."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._transfer = Transfer(run.source.store, run.destination, run.pace)
        self._total = sum(run.objects[path] for path in run.absent)
        self._done = 0
        self._lock = Lock()

    def move(self, needs: Needs) -> None:
        """Move what a version needs that is absent."""
        tasks = (partial(self._move, path) for path in needs.objects if path in self._run.absent)
        with unless_expired(self._run, needs.version.dataset, needs.version.number):
            run_all(tasks, workers=self._run.workers, pace=self._run.pace)

    def _move(self, path: str) -> None:
        size = self._run.objects[path]
        if self._transfer.move(path, object_digest(path), size):
            self._run.report.copied.add(path, size)
        with self._lock:
            self._done += size
            self._run.on_event(Progress("copy", self._done, self._total, "bytes", path))


def write_dataset(run: Run, found: Comparison, objects: Objects) -> None:
    """One dataset: every version with its objects and the names that mean it, as they came about at the source."""
    tags = dict(found.tags)
    moves = {name: list(reversed(each)) for name, each in found.moves.items()}
    expired = dict(found.expired)
    head = max(found.shared, default=0)
    for number, needs in run.needs[found.dataset].items():
        if number in found.shared:
            objects.move(needs)
    _write_names(run, found, tags, moves, head)
    for number, (copy, record) in found.versions.items():
        if number in expired:
            # Before the record: the destination must never show a version as live whose bytes it has not got.
            create(run, expired.pop(number), f"the expiry of {found.dataset}@v{number}")
        needs = run.needs[found.dataset].get(number)
        if needs is not None:
            objects.move(needs)
            # What is read back here is what readers will see: the snapshot adds up to the version's digest.
            len(Version(record, version_files(run.destination, found.dataset)).chunks)
            spare(run.destination, paths_of(needs))
        create(run, copy, f"{found.dataset}@v{number}")
        run.on_event(Progress("versions", number, max(found.versions), "items", f"{found.dataset}@v{number}"))
        head = max(head, number)
        _write_names(run, found, tags, moves, head)
    # Copying may have taken hours, in which a name was given to a version that the source has retired.
    names = names_of(Catalog.open(run.destination).dataset(found.dataset)) if expired else {}
    for number, copy in expired.items():
        if number in names:
            run.report.kept.append(KeptVersion(found.dataset, number, copy.path, names[number]))
        else:
            create(run, copy, f"the expiry of {found.dataset}@v{number}")


def _write_names(
    run: Run,
    found: Comparison,
    tags: dict[str, tuple[Copy, TagRecord]],
    moves: Mapping[str, list[tuple[Copy, PointerRecord]]],
    head: int,
) -> None:
    """The tags and the moves that mean versions up to ``head``; each log in its order."""
    for name in [name for name, (_, record) in found.tags.items() if name in tags and record.target <= head]:
        create(run, tags.pop(name)[0], f"{found.dataset}@{name}")
    for name, log in moves.items():
        while log and max(log[-1][1].seen, log[-1][1].target) <= head:
            copy, record = log.pop()
            create(run, copy, f"move {record.number} of {found.dataset}@{name}")
