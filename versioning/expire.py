"""Expiring versions: what a policy does not keep is retired. Its record stays, and it answers with a clear error.

Nothing is deleted here: garbage collection takes what only retired versions needed, after its grace period.

What ``latest``, a pointer or a tag means is never retired: names are read just before the first record is written. A
name that is given to a version in that instant cannot be prevented (the record and the name are two files, and a
retirement is final), so names are read again afterwards: if there is one, :func:`expire` raises a Conflict that says
what means a retired version now. ``tag``, ``promote`` and ``rollback`` refuse a version that is retired already, and
look again after their own write too: so one of the two always sees the other. Such a pin says that its version expired,
and never gives other data; garbage collection keeps the bytes of a version for as long as a name means it.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from versioning.dataset import LATEST, Dataset
from versioning.errors import Conflict, InvalidInput, NotFound
from versioning.events import Listener, Progress, silent
from versioning.reachability import store_time
from versioning.records import ExpiryRecord, VersionRecord, parse_time, time_text

__all__ = ["ExpireReport", "Kept", "expire", "names_of"]


@dataclass(frozen=True, slots=True)
class Kept:
    """A version that a policy would retire, and the names that keep it."""

    number: int
    names: tuple[str, ...]


@dataclass(slots=True)
class ExpireReport:
    """What was retired, or, if ``applied`` is False, would be.

    Attributes
    ----------
    expired
        The records of the versions, oldest first.
    kept
        What the policy would retire too, were it not for names.
    already
        How many of the versions it speaks of were retired before.
    live
        How many versions are left.
    """

    dataset: str
    applied: bool
    why: str
    expired: list[VersionRecord] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    already: int = 0
    live: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The report for ``--json``; ``bytes`` are those that the version uses, most of them often shared."""
        return {
            "dataset": self.dataset,
            "applied": self.applied,
            "why": self.why,
            "expired": [
                {
                    "pin": f"{self.dataset}@v{record.number}",
                    "version": record.number,
                    "digest": record.digest,
                    "time": record.time,
                    "message": record.message,
                    "items": record.statistics.items,
                    "bytes": record.statistics.bytes,
                }
                for record in self.expired
            ],
            "kept": [{"version": each.number, "names": list(each.names)} for each in self.kept],
            "already": self.already,
            "live": self.live,
        }


def expire(
    dataset: Dataset,
    *,
    keep_last: int | None = None,
    older_than: timedelta | None = None,
    versions: Collection[int] | None = None,
    why: str,
    author: str,
    apply: bool = False,
    on_event: Listener = silent,
) -> ExpireReport:
    """Retire versions by a policy, or say which would be.

    Parameters
    ----------
    dataset
        Whose versions.
    keep_last
        How many of the newest live versions stay.
    older_than
        How old a version must be, by the time in its record and the store's clock. With ``keep_last``, both must agree.
    versions
        Exactly these versions, instead of a policy.
    why, author
        The reason, which everybody hears who asks for such a version, and who decided.
    apply
        Whether to do it. It is final.
    on_event
        Hears how far it is.

    Raises
    ------
    InvalidInput
        If no criterion is given, or one makes no sense.
    NotFound
        If one of ``versions`` does not exist, or the dataset has none.
    Conflict
        If a name means one of ``versions``; then nothing was written. With the kind ``named-meanwhile`` if a name was
        given to a version while it was retired.
    """
    _check(keep_last, older_than, versions, why)
    # A new Dataset remembers nothing.
    fresh = Dataset(dataset.store, dataset.id, clock=dataset.now)
    head = fresh.head()
    if head == 0:
        raise NotFound(f"{dataset.id} has no versions.", kind="no-such-version")
    lost = sorted(set(versions or ()) - set(range(1, head + 1)))
    if lost:
        raise NotFound(f"{dataset.id}@v{lost[0]} does not exist; versions: v1 to v{head}.", kind="no-such-version")
    retired = fresh.expired()
    live = [number for number in range(1, head + 1) if number not in retired]
    report = ExpireReport(dataset.id, apply, why)
    if versions is not None:
        chosen = sorted(set(versions) & set(live))
        report.already = len(set(versions)) - len(chosen)
    else:
        chosen = live if keep_last is None else live[: max(0, len(live) - keep_last)]
        if older_than is not None:
            limit = store_time(fresh.store, writable=False) - older_than
            chosen = [number for number in chosen if parse_time(fresh.record(number).time) <= limit]
    names = names_of(fresh)
    report.kept = [Kept(number, names[number]) for number in chosen if number in names]
    if versions is not None and report.kept:
        first = report.kept[0]
        raise Conflict(
            f"{dataset.id}@v{first.number} cannot expire: {_means(first.names)} it.",
            hint="Let the name mean another version first; what has a tag stays for ever.",
            kind="version-in-use",
        )
    report.expired = [fresh.record(number) for number in chosen if number not in names]
    report.live = len(live) - len(report.expired)
    if apply and report.expired:
        _retire(fresh, report, why=why, author=author, on_event=on_event)
    return report


def _check(keep_last: int | None, older_than: timedelta | None, versions: Collection[int] | None, why: str) -> None:
    hint = "Say --keep-last N, --older-than AGE (or both), or --version vN."
    if keep_last is None and older_than is None and not versions:
        raise InvalidInput("Nothing says which versions expire.", hint=hint)
    if versions is not None and (keep_last is not None or older_than is not None):
        raise InvalidInput("Single versions and a policy cannot be named at once.", hint=hint)
    if keep_last is not None and keep_last < 1:
        raise InvalidInput(f"A dataset cannot keep its last {keep_last} versions.", hint="Keep one at least.")
    if older_than is not None and older_than < timedelta(0):
        raise InvalidInput("An age cannot be negative.", hint="Use for example --older-than 90d.")
    if not why.strip():
        raise InvalidInput("Why the versions expire is not said.", hint="Whoever asks for one of them hears it.")


def _retire(dataset: Dataset, report: ExpireReport, *, why: str, author: str, on_event: Listener) -> None:
    for done, version in enumerate(report.expired, start=1):
        record = ExpiryRecord(
            number=version.number, why=why, author=author, time=time_text(dataset.now()), nonce=secrets.token_hex(8)
        )
        # The first record of a version wins; one that another has just written says the same.
        dataset.store.put_record(f"{dataset.folder}/expired/{version.number:08d}.json", record.encode())
        on_event(Progress("expire", done, len(report.expired)))
    retired = {record.number for record in report.expired}
    meanwhile = {number: names for number, names in names_of(dataset).items() if number in retired}
    if meanwhile:
        said = "; ".join(f"{_means(names)} v{number}" for number, names in sorted(meanwhile.items()))
        raise Conflict(
            f"{dataset.id}: {said}, which expired in the same moment.",
            hint="Move the pointer to another version (stacpin promote, stacpin rollback); a tag says for ever that "
            "its version expired. The bytes are kept as long as a name means them.",
            kind="named-meanwhile",
            data=report.to_dict(),
        )


def names_of(dataset: Dataset) -> dict[int, tuple[str, ...]]:
    """What each named version is called."""
    found: dict[int, tuple[str, ...]] = {}
    pairs = [*dataset.pointers().items(), *((tag.tag, tag.target) for tag in dataset.tags())]
    for name, number in pairs:
        found[number] = (*found.get(number, ()), name)
    return found


def _means(names: tuple[str, ...]) -> str:
    said = [name if name == LATEST else repr(name) for name in names]
    return f"{', '.join(said)} {'means' if len(names) == 1 else 'mean'}"
