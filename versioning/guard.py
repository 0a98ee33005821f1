"""Automatic rollback: when a measured value or a proof says that a pointer's version is bad, the pointer goes back.

The move is an entry of the pointer's log like any other, with its reason; that log is all that the guard remembers.
It goes back to what the pointer meant before, further if that is bad too, and never to a version that a guard left
before: promoting it again is for people. It never undoes a move that somebody made after the guard looked.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from versioning.dataset import LATEST, Dataset
from versioning.errors import Conflict, Expired, Integrity, InvalidInput, NotFound
from versioning.events import Listener, silent
from versioning.ids import check_pointer_name
from versioning.numbered import NumberedLog
from versioning.records import PointerRecord, parse_time, record_digest, time_text
from versioning.verify import WORKERS, Sampling, verify_version

__all__ = ["GuardReport", "Metric", "guard"]

_LEFT = re.compile(r"guard: .* \(back from v([1-9][0-9]{0,7})\)", re.DOTALL)
State = Literal["holds", "reverted", "would-revert", "left", "overtaken"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A measured value and what it must be; both limits belong to what is allowed, None is no limit."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None

    def fault(self) -> str | None:
        """What is wrong with the value, or None. NaN is never right: it is what a training that diverged measures.

        Raises
        ------
        InvalidInput
            If the limits allow everything, or nothing.
        """
        low = -math.inf if self.least is None else self.least
        high = math.inf if self.most is None else self.most
        if (self.least is None and self.most is None) or not low <= high:
            raise InvalidInput(
                f"The limits of {self.name} make no sense: least {self.least}, most {self.most}.",
                hint="Give a least value, a greatest, or both.",
            )
        if low <= self.value <= high:
            return None
        if math.isnan(self.value):
            return f"{self.name} is not a number"
        side, limit = ("below", low) if self.value < low else ("above", high)
        return f"{self.name} = {_text(self.value)} is {side} {_text(limit)}"


def _text(value: float) -> str:
    """Six digits, or all if those are another number: 0.74999999 must not be told to be 0.75, below 0.75."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


@dataclass(slots=True)
class GuardReport:
    """What a guard decided.

    Attributes
    ----------
    version
        The version that was judged.
    fault
        What is wrong with it, None if nothing is.
    state
        ``holds``: nothing is wrong. ``reverted``, or for a dry run ``would-revert``: the pointer goes back to
        ``target``. ``left``: the pointer does not mean that version, or a guard has just left it. ``overtaken``:
        somebody moved the pointer while the guard worked; that move stays.
    target
        What the pointer means afterwards.
    passed
        Versions that it did not go back to, and why.
    """

    dataset: str
    pointer: str
    version: int
    target: int
    state: State = "holds"
    fault: str | None = None
    passed: dict[int, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The report for ``--json``."""
        return {
            "dataset": self.dataset,
            "pointer": self.pointer,
            "judged": f"{self.dataset}@v{self.version}",
            "state": self.state,
            "fault": self.fault,
            "pin": f"{self.dataset}@v{self.target}",
            "passed": [{"version": number, "why": why} for number, why in self.passed.items()],
        }


@dataclass(frozen=True, slots=True)
class _Now:
    """A pointer's log at one moment: its moves, oldest first, the head of the versions, and what the pointer means."""

    log: NumberedLog
    moves: Sequence[PointerRecord]
    head: int
    target: int


def guard(
    dataset: Dataset,
    pointer: str = "stable",
    *,
    metric: Metric | None = None,
    verify: bool = False,
    sampling: Sampling | None = None,
    workers: int = WORKERS,
    version: int | None = None,
    author: str,
    at_most: int = 3,
    within: timedelta = timedelta(days=1),
    apply: bool = True,
    on_event: Listener = silent,
) -> GuardReport:
    """Judge the version that a pointer means, and move the pointer back if it is bad.

    Parameters
    ----------
    dataset, pointer
        Which pointer; ``latest`` goes back to the version that its version was made from.
    metric
        A value that was measured with the version.
    verify
        Whether to prove the version's bytes; versions to go back to are proven too. ``sampling`` and ``workers`` are
        those of :func:`versioning.verify.verify_version`.
    version
        Which version ``metric`` was measured with: a pointer that does not mean it stays. None takes what the pointer
        means now, unless its last move was a guard's: then a value may still be of the version that was left, and
        nothing happens.
    author
        Who asks; the move says it.
    at_most, within
        So many moves by guards are allowed in such a time: more is no accident of one version.
    apply
        Whether to do it.
    on_event
        Hears how far the proof is.

    Raises
    ------
    NotFound
        If the pointer was never moved.
    InvalidInput
        If nothing says what to judge by.
    Conflict
        With the kind ``no-good-version`` if there is none to go back to, or ``too-many-reverts``; the pointer stays.
    """
    if metric is None and not verify:
        raise InvalidInput("A guard needs something to judge by.", hint="Give a metric with its limit, or verify.")
    # A new Dataset remembers nothing.
    fresh = Dataset(dataset.store, dataset.id, clock=dataset.now)
    now = _look(fresh, check_pointer_name(pointer))
    judged = now.target if version is None else version
    report = GuardReport(dataset.id, pointer, judged, now.target)

    def proof(number: int) -> str | None:
        return _unproven(fresh, number, sampling, workers, on_event)

    report.fault = metric.fault() if metric is not None else None
    if judged != now.target:
        report.state = "left"
        return report
    # Nobody has promoted anything since a guard left a version, so that is what the value may have been measured with.
    stale = version is None and report.fault is not None and now.moves and _left(now.moves[-1]) is not None
    damage = proof(judged) if verify and (stale or report.fault is None) else None
    report.fault = damage or report.fault
    if report.fault is None:
        return report
    if stale and damage is None:
        report.state = "left"
        return report
    back = _back(fresh, now, proof if verify else None, report.passed)
    if back is None:
        passed = "; ".join(f"v{number}: {why}" for number, why in report.passed.items())
        raise Conflict(
            f"{dataset.id}@{pointer} stays at v{judged}, though {report.fault}: there is no version to go back to"
            f"{f' ({passed})' if passed else ''}.",
            hint=f"Move it by hand: stacpin promote {dataset.id}@vN {pointer}",
            kind="no-good-version",
            data=report.to_dict(),
        )
    recent = [move for move in now.moves if _left(move) and parse_time(move.time) > fresh.now() - within]
    if len(recent) >= at_most:
        raise Conflict(
            f"{dataset.id}@{pointer} stays at v{judged}, though {report.fault}: guards moved it {len(recent)} times "
            f"in {within}.",
            hint=f"Look at what happens (stacpin log {dataset.id} --moves {pointer}), then move it by hand.",
            kind="too-many-reverts",
            data=report.to_dict(),
        )
    if not apply:
        report.state, report.target = "would-revert", back
        return report
    why = f"guard: {report.fault} (back from v{judged})"
    if _append(fresh, pointer, now, back, why=why, author=author):
        report.state, report.target = "reverted", back
    else:
        report.state, report.target = "overtaken", _look(fresh, pointer).target
    return report


def _look(dataset: Dataset, pointer: str) -> _Now:
    # The head before the log: a version that appears in between is above what the move has seen, and stays latest.
    head = dataset.head()
    log = NumberedLog(dataset.store, f"{dataset.folder}/pointers/{pointer}")
    moves = [PointerRecord.decode(log.get(number), where=log.path(number)) for number in range(1, log.head() + 1)]
    last = moves[-1] if moves else None
    target = last.target if last else 0
    if pointer == LATEST:
        seen = last.seen if last else 0
        target = next((n for n in range(head, seen, -1) if dataset.record(n).advance), target)
    if not target:
        raise NotFound(
            f"{dataset.id} has no pointer {pointer!r}.",
            hint=f"Make it: stacpin promote {dataset.id}@vN {pointer}",
            kind="no-such-pointer",
        )
    return _Now(log, moves, head, target)


def _left(move: PointerRecord) -> int | None:
    """The version that a guard's move left, None if a person made the move."""
    match = _LEFT.fullmatch(move.why)
    return int(match[1]) if match else None


def _back(dataset: Dataset, now: _Now, proof: Callable[[int], str | None] | None, passed: dict[int, str]) -> int | None:
    """The nearest version to go back to; what is passed over is noted with its reason."""
    bad = {number for number in map(_left, now.moves) if number is not None}
    before = _parents(dataset, now.target) if now.log.path(1).split("/")[-2] == LATEST else _before(now.moves)
    for number in before:
        fault = "a guard left it before" if number in bad else _unusable(dataset, number)
        if fault is None and proof is not None:
            fault = proof(number)
        if fault is None:
            return number
        passed[number] = fault
    return None


def _before(moves: Sequence[PointerRecord]) -> Iterator[int]:
    """What a pointer meant before, nearest first. A move back to one of them leaves what lay between behind."""
    trail: list[int] = []
    for move in moves:
        if move.target in trail:
            del trail[trail.index(move.target) :]
        trail.append(move.target)
    return iter(trail[-2::-1])


def _parents(dataset: Dataset, number: int) -> Iterator[int]:
    """What ``latest`` was before, nearest first: each version was made from it."""
    parent = dataset.record(number).parent
    while parent is not None:
        yield parent
        parent = dataset.record(parent).parent


def _unusable(dataset: Dataset, number: int) -> str | None:
    try:
        return None if dataset.version(number).record.advance else "its checks failed"
    except Expired:
        return "it expired"
    except (NotFound, Integrity) as error:
        return error.message


def _unproven(dataset: Dataset, number: int, sampling: Sampling | None, workers: int, on_event: Listener) -> str | None:
    """What is wrong with a version's bytes, or None. A store that does not answer proves nothing, and raises."""
    try:
        version = dataset.version(number)
        found = verify_version(dataset, version, sampling=sampling, workers=workers, on_event=on_event)
    except Expired:
        return f"v{number} expired"
    except (NotFound, Integrity) as error:
        return f"v{number} is damaged: {error.message}"
    # The proof covers all records of the dataset; a damaged tag, or another version's record, is no fault of this one.
    others = (f"{dataset.folder}/versions/", f"{dataset.folder}/pointers/", f"{dataset.folder}/tags/")
    own = dataset.log.path(number)
    mine = [
        problem
        for problem in found.problems
        if problem.path == own or not problem.path.startswith((*others, f"{dataset.folder}/expired/"))
    ]
    if not mine:
        return None
    more = f" and {len(mine) - 1} more" if len(mine) > 1 else ""
    return f"v{number} is damaged: {mine[0].path} is {mine[0].kind}{more}"


def _append(dataset: Dataset, pointer: str, now: _Now, target: int, *, why: str, author: str) -> bool:
    """Move the pointer unless anybody has moved it since ``now``: the number of the entry is then taken."""
    number = len(now.moves) + 1
    before = now.log.get(number - 1) if now.moves else None
    moments = [dataset.now(), *(parse_time(move.time) for move in now.moves[-1:])]
    # The newest record may be the damage that is fled from.
    with suppress(Integrity):
        moments.append(parse_time(dataset.record(now.head).time))
    entry = PointerRecord(
        pointer=pointer,
        number=number,
        previous=record_digest(before) if before else None,
        target=target,
        seen=now.head,
        why=why,
        author=author,
        time=time_text(max(moments)),
        nonce=secrets.token_hex(8),
    )
    return now.log.append(number, entry.encode())
