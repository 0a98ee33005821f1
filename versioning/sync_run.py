"""One sync under way: its two sides, what it has found, and what every step of it needs."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from versioning.canonical import canonical
from versioning.catalog import Catalog
from versioning.errors import Conflict, Integrity, StacpinError
from versioning.events import Listener
from versioning.histories import Comparison, Copy
from versioning.needs import Needs
from versioning.records import record_digest, time_text
from versioning.store import Store
from versioning.sync_report import Divergence, SyncReport
from versioning.transfer import Pace

__all__ = ["Run", "announced", "conflict", "create", "unless_expired"]


@dataclass(slots=True)
class Run:
    """One sync: its two sides and how it is to be done."""

    source: Catalog
    destination: Store
    report: SyncReport
    pace: Pace
    workers: int
    deep: bool
    on_event: Listener
    found: list[Comparison] = field(default_factory=list)
    needs: dict[str, dict[int, Needs]] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)


def create(run: Run, copy: Copy, name: str) -> None:
    """Write a record unless the same is there; somebody else's of that name is a conflict."""
    if run.destination.put_record(copy.path, copy.data):
        run.report.copied.add(copy.path, len(copy.data))
        return
    there = run.destination.get(copy.path)
    if there != copy.data:
        dataset = copy.path.split("/")[1] if copy.path.startswith("datasets/") else ""
        run.report.diverged.append(Divergence(dataset, name, copy.path, record_digest(copy.data), record_digest(there)))
        raise conflict(run.report)


@contextmanager
def announced(run: Run, *, needed: bool) -> Iterator[None]:
    """Tell garbage collection of the destination that a run is under way; and when it is over, however it ended."""
    if not needed:
        yield
        return
    moment = datetime.now(UTC)
    name = f"{moment:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    folder = f"staging/{name}"
    begin = {"type": "sync", "run": name, "from": run.source.record.id, "time": time_text(moment)}
    run.destination.put_new(f"{folder}/begin.json", canonical(begin))
    try:
        yield
    except BaseException:
        run.pace.stop()
        with suppress(StacpinError):
            run.destination.put_new(f"{folder}/discarded.json", canonical({"run": name}))
        raise
    run.destination.put_new(f"{folder}/committed.json", canonical({"run": name}))


@contextmanager
def unless_expired(run: Run, dataset: str, number: int) -> Iterator[None]:
    """Where bytes are missing because the source retired the version meanwhile, say so: they are no damage."""
    try:
        yield
    except Integrity as error:
        path = f"datasets/{dataset}/expired/{number:08d}.json"
        kept = any((each.dataset, each.number) == (dataset, number) for each in run.report.kept)
        if error.kind != "missing" or kept or run.source.store.size(path) is None:
            raise
        raise Conflict(
            f"{dataset}@v{number} expired at the source while it was being copied.",
            hint="Sync again: its record is copied, its bytes are not.",
            kind="expired-meanwhile",
        ) from error


def conflict(report: SyncReport) -> Conflict:
    """The error for histories that have diverged; it names the first place with both digests, its data has all."""
    first = report.diverged[0]
    others = len(report.diverged) - 1
    more = f" (and {others} more)" if others else ""
    return Conflict(
        f"The histories have diverged: {first}{more}.",
        hint="Decide which side counts: make the other side's change again on top of it by a commit, or sync into an "
        "empty place. Other datasets can be named to be synced alone.",
        kind="diverged",
        data=report.to_dict(),
    )
