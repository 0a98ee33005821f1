"""Values of options that more than one command takes: ages, moments, numbers of versions."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from versioning.errors import InvalidInput

__all__ = ["age", "moment", "version_number"]

_AGE = re.compile(r"([0-9]{1,6})([smhdw])|0")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
# What is older than this cannot be counted back from today: the calendar of Python begins with the year 1.
_OLDEST = timedelta(days=365_000)
_VERSION = re.compile(r"v?([1-9][0-9]{0,7})")
# fromisoformat alone takes more than RFC 3339: weeks, and any character between date and time.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII)


def age(option: str, text: str) -> timedelta:
    """An age such as ``14d``.

    Raises
    ------
    InvalidInput
        If it is none, or more than a thousand years.
    """
    match = _AGE.fullmatch(text)
    found = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match and match[2] else timedelta(0)
    if match is None or found > _OLDEST:
        raise InvalidInput(
            f"{option} {text}: not an age.", hint="Write a number and s, m, h, d or w: 14d, 24h.", kind="invalid-age"
        )
    return found


def moment(option: str, text: str, now: datetime) -> datetime:
    """A moment: a date (its first instant, UTC), a full time, or an age before ``now``.

    Raises
    ------
    InvalidInput
        If it is none of these.
    """
    if _AGE.fullmatch(text):
        return now - age(option, text)
    try:
        found = datetime.fromisoformat(text) if _MOMENT.fullmatch(text) else None
        if found is not None:
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidInput(
        f"{option} {text}: neither a date nor an age.",
        hint="Write 2026-01-31, 2026-01-31T12:00:00Z or 7d.",
        kind="invalid-time",
    )


def version_number(option: str, text: str) -> int:
    """The number of a version that is written ``v2`` or ``2``.

    Raises
    ------
    InvalidInput
        If it is none.
    """
    match = _VERSION.fullmatch(text)
    if match is None:
        raise InvalidInput(f"{option} {text}: not a version.", hint="Write its number: v2.", kind="invalid-pin")
    return int(match[1])
