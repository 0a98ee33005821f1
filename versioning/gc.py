"""Garbage collection: what nothing needs is condemned first, and deleted by a later run if nothing needs it still.

One run does, in this order (a dry run only counts):

1. **Mark** everything that is needed (:mod:`versioning.reachability`). Anything damaged that this reads ends the run.
2. **Sweep** each open condemned list, oldest first, that was published at least ``delay`` ago by the store's clock,
   unless a run that began before it is unfinished and was active in the last seven days. A ``sweep`` record is created;
   then runs and heads are listed again, and what has appeared is marked too, again every minute. Of every batch the
   modification times are listed right before it is deleted: a file goes only if nothing needs it, and size and time
   are those of the list. A look counts for a minute, by either clock of this machine. A ``swept`` record ends it.
3. **Condemn** what nothing needs and is older than ``older_than`` by the store's clock: the list is written, then the
   ``condemned`` record that names it.
4. Clear away what finished and died work left (:mod:`versioning.leftovers`).

What commits do about it, and why the two together are safe, stands in :mod:`versioning.condemned`. Two at once: a sweep
without its ``swept`` record that is less than an hour old is somebody's, and the second run ends with a Conflict. One
that is older died, and is done again. So that this is true of a slow one too, a sweep ends itself after 30 minutes, and
begins anew if anything is left; and after 45 minutes it deletes nothing more, whatever held it up.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from versioning.catalog import Catalog
from versioning.errors import Integrity, InvalidInput
from versioning.events import Listener, Progress, silent
from versioning.gc_log import Condemned, GcLog, append_record, load_list, publish_list, read_log
from versioning.gc_report import Amount, GcReport, Waiting
from versioning.leftovers import find_leftovers, remove_leftovers
from versioning.reachability import GRACE, Marks, classify, marked, store_time
from versioning.records import CondemnedRecord, time_text
from versioning.store import Entry
from versioning.sweep import Sweeper, refuse_if_running, too_many

__all__ = ["DELAY", "collect"]

DELAY = timedelta(hours=24)
_RUN_MAY_TAKE = timedelta(days=7)
_BATCH = 1000
_TRIES = 16


def collect(
    catalog: Catalog,
    *,
    older_than: timedelta = GRACE,
    delay: timedelta = DELAY,
    apply: bool = False,
    on_event: Listener = silent,
) -> GcReport:
    """Collect garbage, or say what would be collected.

    Parameters
    ----------
    catalog
        Where. Others may be writing to it meanwhile.
    older_than
        How old an unreferenced file must be to be condemned, and how long ago a version must have been retired.
        It should be longer than any commit takes.
    delay
        How long ago something must have been condemned to be deleted. It must be longer than the last step of any
        commit, from :func:`versioning.condemned.spare` to the creation of its record; that takes well under a second.
    apply
        Whether to do it; otherwise nothing is written.
    on_event
        Hears how far it is.

    Raises
    ------
    InvalidInput
        If ``older_than`` or ``delay`` is negative.
    Integrity
        If a record, snapshot or manifest that has to be read is missing or damaged; then nothing was deleted
        that it may need.
    Conflict
        If another garbage collection is at work.
    """
    if min(older_than, delay) < timedelta(0):
        raise InvalidInput("An age cannot be negative.", hint="Use for example --older-than 14d --delay 24h.")
    now = store_time(catalog.store, writable=apply)
    log = read_log(catalog.store, strict=True)
    if apply:
        refuse_if_running(log, now)
    marks = marked(catalog, grace=older_than, now=now, on_event=on_event)
    _check_heads(log, marks)
    report = GcReport(apply, math.ceil(older_than.total_seconds()), math.ceil(delay.total_seconds()))
    sweeper = Sweeper(catalog, marks, report, now, on_event)
    open_lists = list(log.open())
    ready = 0
    for each in open_lists:
        waiting = _waiting(each, marks, now, delay)
        if waiting is not None:
            break
        sweeper.sweep(each)
        ready += 1
    rest = open_lists[ready:]
    report.waiting = [_waiting(each, marks, now, delay) or _describe(each, delay) for each in rest]
    job = _Job(catalog, marks, report, now, on_event, sweeper.gone)
    job.condemn(rest, older_than)
    if report.record is not None:
        amount = report.condemned
        report.waiting.append(Waiting(report.record, amount.files, amount.bytes, now, now + delay))
    job.clear(older_than)
    report.versions = marks.versions
    report.unfinished = [run.run for run in marks.runs if not run.finished]
    return report


def _check_heads(log: GcLog, marks: Marks) -> None:
    """Versions that an earlier run saw must be there: what a lost one needs is not known."""
    for each in log.lists:
        for name, head in each.record.heads.items():
            if marks.heads.get(name, 0) < head:
                raise Integrity(
                    f"datasets/{name}/versions/{head:08d}.json is missing: gc/{each.record.number:08d}.json saw it.",
                    hint="Restore it from a mirror: what it needs is not known, so nothing is deleted. "
                    f"If it was taken away on purpose, take away gc/{each.record.number:08d}.json too.",
                    kind="missing",
                )


def _waiting(each: Condemned, marks: Marks, now: datetime, delay: timedelta) -> Waiting | None:
    """Why a list is not swept yet; None if it may be."""
    runs = tuple(
        run.run
        for run in marks.runs
        if not run.finished and run.began <= each.published and now - run.last < _RUN_MAY_TAKE
    )
    return _describe(each, delay, runs) if runs or now < each.published + delay else None


def _describe(each: Condemned, delay: timedelta, runs: tuple[str, ...] = ()) -> Waiting:
    record = each.record
    return Waiting(record.number, record.count, record.bytes, each.published, each.published + delay, runs)


@dataclass(slots=True)
class _Job:
    """What one run does besides sweeping."""

    catalog: Catalog
    marks: Marks
    report: GcReport
    now: datetime
    on_event: Listener
    # What a dry run would have deleted by now.
    gone: set[tuple[str, datetime]]

    def condemn(self, rest: Sequence[Condemned], older_than: timedelta) -> None:
        """Count all files, and publish a list of those that nothing needs and no open list has."""
        store, report = self.catalog.store, self.report
        # What is in an open list with the time that it has now waits for that list to be swept.
        known = {(entry.path, entry.modified) for each in rest for entry in load_list(store, each.record)}
        amounts = {
            "live": report.live, "staged": report.staged, "recent": report.recent, "unreferenced": report.unreferenced
        }  # fmt: skip
        chosen: list[Entry] = []
        for done, (entry, need) in enumerate(classify(self.catalog, marks=self.marks, older_than=older_than), start=1):
            if (entry.path, entry.modified) in self.gone:
                continue
            amounts[need].add(entry.size)
            if need == "unreferenced" and (entry.path, entry.modified) not in known:
                chosen.append(entry)
            if done % _BATCH == 0:
                self.on_event(Progress("list", done, None, "files"))
        for entry in chosen:
            report.condemned.add(entry.size)
        if not (report.applied and chosen):
            return
        file = publish_list(store, chosen)
        for _ in range(_TRIES):
            record = CondemnedRecord(
                number=read_log(store, strict=True).head + 1,
                older_than_seconds=report.older_than_seconds,
                heads=self.marks.heads,
                file=file,
                count=report.condemned.files,
                bytes=report.condemned.bytes,
                time=time_text(self.now),
                nonce=secrets.token_hex(8),
            )
            if append_record(store, record.number, record):
                report.record = record.number
                return
        raise too_many()

    def clear(self, older_than: timedelta) -> None:
        """Clear away what finished and died work left."""
        store, report = self.catalog.store, self.report
        found = find_leftovers(store, self.marks.runs, now=self.now, older_than=older_than)
        report.cleared = Amount(found.count, found.bytes)
        report.cleared_runs = list(found.runs)
        if report.applied:
            remove_leftovers(store, found)
