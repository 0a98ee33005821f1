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
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby

from versioning.candidates import is_candidate
from versioning.catalog import Catalog
from versioning.errors import Conflict, Integrity, InvalidInput, StorageUnavailable
from versioning.events import Listener, Progress, silent
from versioning.gc_log import Condemned, GcLog, append_record, load_list, publish_list, read_log
from versioning.gc_report import Amount, GcReport, Waiting
from versioning.leftovers import find_leftovers, remove_leftovers
from versioning.reachability import GRACE, Marks, classify, marked, store_time
from versioning.records import CondemnedRecord, SweepRecord, SweptRecord, time_text
from versioning.store import Entry

__all__ = ["DELAY", "collect"]

DELAY = timedelta(hours=24)
_RUN_MAY_TAKE = timedelta(days=7)
_DIED = timedelta(hours=1)
# Seconds. A look at modification times counts for this long; a commit that saw the sweep waits longer (condemned.WAIT).
_FRESH = 60.0
_MARK_AGAIN = 60.0
_SHIFT = 30 * 60.0
_FENCE = 45 * 60.0
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
        Where. Another version of stacpin may be writing to it meanwhile.
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
        _refuse_if_running(log, now)
    marks = marked(catalog, grace=older_than, now=now, on_event=on_event)
    _check_heads(log, marks)
    report = GcReport(apply, math.ceil(older_than.total_seconds()), math.ceil(delay.total_seconds()))
    job = _Job(catalog, marks, report, now, on_event)
    open_lists = list(log.open())
    ready = 0
    for each in open_lists:
        waiting = _waiting(each, marks, now, delay)
        if waiting is not None:
            break
        job.sweep(each)
        ready += 1
    rest = open_lists[ready:]
    report.waiting = [_waiting(each, marks, now, delay) or _describe(each, delay) for each in rest]
    job.condemn(rest, older_than)
    if report.record is not None:
        amount = report.condemned
        report.waiting.append(Waiting(report.record, amount.files, amount.bytes, now, now + delay))
    job.clear(older_than)
    report.versions = marks.versions
    report.unfinished = [run.run for run in marks.runs if not run.finished]
    return report


def _refuse_if_running(log: GcLog, now: datetime) -> None:
    for each in log.lists:
        if each.running and each.sweep is not None and now - each.sweep.published < _DIED:
            raise Conflict(
                f"Another garbage collection has been deleting since {time_text(each.sweep.published)[:19]}Z.",
                hint="Let it come to an end. If it died, it can be done again an hour after it began.",
                kind="gc-running",
            )


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


class _Watch:
    """Seconds since it was made, by whichever clock says more: one of them stands still while a machine sleeps."""

    def __init__(self) -> None:
        self._monotonic, self._wall = time.monotonic(), time.time()

    def elapsed(self) -> float:
        return max(time.monotonic() - self._monotonic, time.time() - self._wall)


@dataclass(slots=True)
class _Job:
    """One run."""

    catalog: Catalog
    marks: Marks
    report: GcReport
    now: datetime
    on_event: Listener
    _marked: _Watch = field(default_factory=_Watch)
    # What a dry run would have deleted by now.
    _gone: set[tuple[str, datetime]] = field(default_factory=set)

    def sweep(self, each: Condemned) -> None:
        """Delete what a list has and nothing needs, if it was not written again."""
        listed = load_list(self.catalog.store, each.record)
        strange = next((entry.path for entry in listed if not is_candidate(entry.path)), None)
        if strange is not None:
            raise Integrity(
                f"gc/{each.record.number:08d}.json condemned {strange}, which garbage collection never takes away.",
                hint="Take that record away: somebody else than stacpin wrote it.",
                kind="altered",
            )
        while listed:
            number = self._begin(each)
            if number is None:
                return  # somebody else swept it
            listed, amount, spared = self._pass(listed)
            self.report.deleted.files += amount.files
            self.report.deleted.bytes += amount.bytes
            self.report.spared += spared
            self._end(each, number, amount, spared, left=len(listed))

    def _begin(self, each: Condemned) -> int | None:
        """Say that a sweep begins; 0 in a dry run."""
        if not self.report.applied:
            return 0
        store = self.catalog.store
        for _ in range(_TRIES):
            log = read_log(store, strict=True)
            _refuse_if_running(log, self.now)
            if each.record.number not in {other.record.number for other in log.open()}:
                return None
            record = SweepRecord(
                number=log.head + 1, of=each.record.number, time=self._time(), nonce=secrets.token_hex(8)
            )
            if append_record(store, record.number, record):
                self._mark_again()
                return record.number
        raise _too_many()

    def _end(self, each: Condemned, sweep: int, amount: Amount, spared: int, *, left: int) -> None:
        if not self.report.applied:
            return
        store = self.catalog.store
        for _ in range(_TRIES):
            record = SweptRecord(
                number=read_log(store, strict=True).head + 1,
                of=each.record.number,
                sweep=sweep,
                deleted=amount.files,
                bytes=amount.bytes,
                spared=spared,
                left=left,
                time=self._time(),
                nonce=secrets.token_hex(8),
            )
            if append_record(store, record.number, record):
                return
        raise _too_many()

    def _pass(self, listed: Sequence[Entry]) -> tuple[list[Entry], Amount, int]:
        """One sweep over a list: what it had no time for, what it deleted, how many it spared."""
        shift = _Watch()
        amount, spared, done = Amount(), 0, 0
        for folder, group in groupby(listed, key=lambda entry: entry.path.rsplit("/", 1)[0]):
            of_folder = list(group)
            there: dict[str, Entry] = {}
            looked: _Watch | None = None
            for start in range(0, len(of_folder), _BATCH):
                if self.report.applied and shift.elapsed() > _SHIFT:
                    return list(listed[done:]), amount, spared
                batch = of_folder[start : start + _BATCH]
                if self.report.applied and self._marked.elapsed() > _MARK_AGAIN:
                    self._mark_again()
                if looked is None or looked.elapsed() > _FRESH / 2:
                    looked = _Watch()
                    wanted = {entry.path for entry in of_folder[start:]}
                    there = {entry.path: entry for entry in self.catalog.store.list(folder) if entry.path in wanted}
                # Equal in everything: what was written again since it was condemned has another time.
                doomed = [
                    entry for entry in batch if there.get(entry.path) == entry and not self.marks.needs(entry.path)
                ]
                if self.report.applied and doomed:
                    if looked.elapsed() > _FRESH:  # listing alone took longer than a look counts for
                        doomed = []
                    if shift.elapsed() > _FENCE:
                        raise StorageUnavailable(
                            "The sweep was held up for so long that another may have begun.", hint="Run it again."
                        )
                    self.catalog.store.delete([entry.path for entry in doomed])
                for entry in doomed:
                    amount.add(entry.size)
                    if not self.report.applied:
                        self._gone.add((entry.path, entry.modified))
                spared += len(batch) - len(doomed)
                done += len(batch)
                self.on_event(Progress("delete", done, len(listed), "files"))
        return [], amount, spared

    def _mark_again(self) -> None:
        watch = _Watch()
        self.marks.refresh()
        self._marked = watch

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
            if (entry.path, entry.modified) in self._gone:
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
                time=self._time(),
                nonce=secrets.token_hex(8),
            )
            if append_record(store, record.number, record):
                report.record = record.number
                return
        raise _too_many()

    def clear(self, older_than: timedelta) -> None:
        """Clear away what finished and died work left."""
        store, report = self.catalog.store, self.report
        found = find_leftovers(store, self.marks.runs, now=self.now, older_than=older_than)
        report.cleared = Amount(found.count, found.bytes)
        report.cleared_runs = list(found.runs)
        if report.applied:
            remove_leftovers(store, found)

    def _time(self) -> str:
        return time_text(self.now)


def _too_many() -> Conflict:
    return Conflict("Other garbage collections keep writing to the log.", hint="Run one at a time.", kind="gc-running")
