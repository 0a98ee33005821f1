"""The sweep of garbage collection: delete what a condemned list has, as the rules of :mod:`versioning.gc` say."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby

from versioning.candidates import is_candidate
from versioning.catalog import Catalog
from versioning.errors import Conflict, Integrity, StorageUnavailable
from versioning.events import Listener, Progress
from versioning.gc_log import Condemned, GcLog, append_record, load_list, read_log
from versioning.gc_report import Amount, GcReport
from versioning.reachability import Marks
from versioning.records import SweepRecord, SweptRecord, time_text
from versioning.store import Entry

__all__ = ["Sweeper", "refuse_if_running", "too_many"]

_DIED = timedelta(hours=1)
# Seconds. A look at modification times counts for this long; a commit that saw the sweep waits longer (condemned.WAIT).
_FRESH = 60.0
_MARK_AGAIN = 60.0
_SHIFT = 30 * 60.0
_FENCE = 45 * 60.0
_BATCH = 1000
_TRIES = 16


class _Watch:
    """Seconds since it was made, by whichever clock says more: one of them stands still while a machine sleeps."""

    def __init__(self) -> None:
        self._monotonic, self._wall = time.monotonic(), time.time()

    def elapsed(self) -> float:
        return max(time.monotonic() - self._monotonic, time.time() - self._wall)


@dataclass(slots=True)
class Sweeper:
    """The sweeps of one run of garbage collection. ``gone`` is what a dry run would have deleted."""

    catalog: Catalog
    marks: Marks
    report: GcReport
    now: datetime
    on_event: Listener
    gone: set[tuple[str, datetime]] = field(default_factory=set)
    _marked: _Watch = field(default_factory=lambda: _Watch())  # noqa: PLW0108 - looked up late, for tests

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
            # From before the record: others count its hour from when the store has it.
            shift = _Watch()
            number = self._begin(each)
            if number is None:
                return  # somebody else swept it
            listed, amount, spared = self._pass(listed, shift)
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
            refuse_if_running(log, self.now)
            if each.record.number not in {other.record.number for other in log.open()}:
                return None
            record = SweepRecord(
                number=log.head + 1, of=each.record.number, time=self._time(), nonce=secrets.token_hex(8)
            )
            if append_record(store, record.number, record):
                self._mark_again()
                return record.number
        raise too_many()

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
        raise too_many()

    def _pass(self, listed: Sequence[Entry], shift: _Watch) -> tuple[list[Entry], Amount, int]:
        """One sweep over a list: what it had no time for, what it deleted, how many it spared."""
        amount, spared, done = Amount(), 0, 0
        for folder, group in groupby(listed, key=lambda entry: entry.path.rsplit("/", 1)[0]):
            of_folder = list(group)
            there: dict[str, Entry] = {}
            looked: _Watch | None = None
            for start in range(0, len(of_folder), _BATCH):
                # Something is done in each: what is needed may take longer to find out than a shift.
                if self.report.applied and done and shift.elapsed() > _SHIFT:
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
                        self.gone.add((entry.path, entry.modified))
                spared += len(batch) - len(doomed)
                done += len(batch)
                self.on_event(Progress("delete", done, len(listed), "files"))
        return [], amount, spared

    def _mark_again(self) -> None:
        watch = _Watch()
        self.marks.refresh()
        self._marked = watch

    def _time(self) -> str:
        return time_text(self.now)


def refuse_if_running(log: GcLog, now: datetime) -> None:
    """Raise a Conflict while another sweep is at work, or may be."""
    for each in log.lists:
        if each.running and each.sweep is not None and now - each.sweep.published < _DIED:
            raise Conflict(
                f"Another garbage collection has been deleting since {time_text(each.sweep.published)[:19]}Z.",
                hint="Let it come to an end. If it died, it can be done again an hour after it began.",
                kind="gc-running",
            )


def too_many() -> Conflict:
    """Others append to the log again and again."""
    return Conflict("Other garbage collections keep writing to the log.", hint="Run one at a time.", kind="gc-running")
