"""Times in a query: RFC 3339 instants, intervals with open ends, and bare years, months and days."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from catalog.quoting import brief
from versioning.errors import InvalidInput

__all__ = [
    "DAY",
    "Interval",
    "TimeLike",
    "instant_text",
    "interval_text",
    "parse_day",
    "parse_instant",
    "parse_interval",
]

# Microseconds since 1970 in UTC; None is an open end.
Interval = tuple[int | None, int | None]
TimeLike = str | date | None

DAY = 86_400_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LATEST = (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_INSTANT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,20}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_PARTIAL = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)
_LONGEST = 64
_ENDS = 2
_HINT = "Use RFC 3339 such as 2024-05-01T10:30:00Z, a date, or an interval such as 2024-01-01/2024-06-30 or 2024/.."


def parse_instant(text: str) -> int | None:
    """The microseconds since 1970 of an RFC 3339 time with a zone, or None if it is not one.

    What is finer than a microsecond is cut; a leap second is the first instant of the next minute.
    """
    match = _INSTANT.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    zone = match[8]
    try:
        moment = datetime(year, month, day, hour, minute, 59 if second == 60 else second, tzinfo=UTC)  # noqa: PLR2004 - the leap second
        offset = _offset(zone)
    except ValueError:
        return None
    micros = (moment - _EPOCH) // timedelta(microseconds=1) + int((match[7] or "").ljust(6, "0")[:6])
    micros += 1_000_000 * (second - moment.second)
    micros += (-1 if zone[0] == "+" else 1) * (offset // timedelta(microseconds=1))
    return micros if _EARLIEST <= micros <= _LATEST else None


def _offset(zone: str) -> timedelta:
    if zone in "Zz":
        return timedelta()
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 23 or minutes > 59:  # noqa: PLR2004 - of a clock
        raise ValueError(zone)
    return timedelta(hours=hours, minutes=minutes)


def parse_day(text: str) -> int | None:
    """The first microsecond of a date such as 2024-05-01, or None if it is not one."""
    if len(text) != len("2024-05-01"):
        return None
    found = _period(text)
    return None if found is None else found[0]


def _period(text: str) -> tuple[int, int] | None:
    """The first and the last microsecond of a year, a month or a day."""
    match = _PARTIAL.fullmatch(text)
    if match is None:
        return None
    year, month, day = int(match[1]), int(match[2] or 1), int(match[3] or 1)
    try:
        first = datetime(year, month, day, tzinfo=UTC)
    except ValueError:
        return None
    if match[3]:
        days = 1
    elif match[2]:
        days = monthrange(year, month)[1]
    else:
        days = (date(year, 12, 31) - date(year, 1, 1)).days + 1
    start = (first - _EPOCH) // timedelta(microseconds=1)
    return start, start + days * DAY - 1


def parse_interval(value: TimeLike | Sequence[TimeLike]) -> Interval:
    """The time range that a query means, both ends inclusive.

    Parameters
    ----------
    value
        ``2024-05-01T10:00:00Z``, ``A/B`` with ``..`` or nothing for an open end, a bare year, month or day (which stand
        for all of it, to its last microsecond), a :class:`~datetime.datetime` (UTC where it has no zone), or two such.

    Raises
    ------
    InvalidInput
        If it is not a time, is open at both ends, or ends before it starts.
    """
    if isinstance(value, str):
        parts: list[TimeLike] = list(value.strip().split("/", _ENDS))
    elif isinstance(value, Sequence):
        parts = list(value)
    else:
        parts = [value]
    if len(parts) == 1:
        start, end = _span(parts[0], value)
    elif len(parts) == _ENDS:
        start = None if _open(parts[0]) else _span(parts[0], value)[0]
        end = None if _open(parts[1]) else _span(parts[1], value)[1]
    else:
        raise _refused(value, "it has more than two ends")
    if start is None and end is None:
        raise _refused(value, "it is open at both ends")
    if start is not None and end is not None and start > end:
        raise _refused(value, "it ends before it starts")
    return start, end


def _open(part: TimeLike) -> bool:
    return part is None or (isinstance(part, str) and part.strip() in {"", ".."})


def _span(part: TimeLike, whole: object) -> tuple[int, int]:
    if isinstance(part, datetime):
        moment = part if part.tzinfo else part.replace(tzinfo=UTC)
        micros = (moment - _EPOCH) // timedelta(microseconds=1)
        return micros, micros
    text = part.isoformat() if isinstance(part, date) else part
    if isinstance(text, str):
        instant = parse_instant(text.strip())
        if instant is not None:
            return instant, instant
        period = _period(text.strip())
        if period is not None:
            return period
    raise _refused(whole, f"{brief(part)} is not a time")


def _refused(value: object, why: str) -> InvalidInput:
    return InvalidInput(f"datetime {brief(value)} cannot be used: {why}.", hint=_HINT)


def instant_text(micros: int) -> str:
    """RFC 3339 in UTC, with a fraction only where there is one."""
    return (_EPOCH + timedelta(microseconds=micros)).isoformat().replace("+00:00", "Z")


def interval_text(interval: Interval) -> str:
    """The one way to write a time range: an instant alone, else ``start/end`` with ``..`` for an open end."""
    start, end = interval
    if start is not None and start == end:
        return instant_text(start)
    return "/".join(".." if side is None else instant_text(side) for side in (start, end))
