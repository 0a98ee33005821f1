"""Reading a log of reads: every line is proven by the one after it, and the last by a head that was kept elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from api.access.read_log import START, line_hash, parts_of
from versioning.errors import InvalidInput, NotFound

__all__ = ["LogHead", "Proof", "Wanted", "read_log"]

_HEAD = re.compile(r"([0-9]{1,15}):([0-9a-f]{64})")
_LONGEST = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LogHead:
    """A line's number and hash: kept elsewhere, it shows later whether anything up to it was changed or cut off."""

    number: int
    digest: str

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> LogHead:
        """Read what :meth:`__str__` has written.

        Raises
        ------
        InvalidInput
            If it is something else.
        """
        match = _HEAD.fullmatch(text.strip())
        if match is None:
            raise InvalidInput(f"{text[:100]!r} is not a head.", hint="It is written 120:ab12…, with 64 digits.")
        return cls(int(match[1]), match[2])


@dataclass(slots=True)
class Proof:
    """What reading a log has shown; complete when all of its lines were read.

    ``first`` is above 1 if older files were taken away, as a retention policy does. ``recovered`` counts lines that a
    writer left cut off when it died.
    """

    lines: int = 0
    first: int = 0
    recovered: int = 0
    head: LogHead | None = None
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines are wanted; None is all."""

    user: str | None = None
    dataset: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def fits(self, entry: dict[str, Any]) -> bool:
        """Whether a line is one of them; one that names no time fits no span of time."""
        if self.user is not None and entry.get("user") != self.user:
            return False
        if self.dataset is not None and self.dataset not in entry.get("datasets", ()):
            return False
        if self.since is None and self.until is None:
            return True
        try:
            time = datetime.fromisoformat(str(entry.get("time")))
        except ValueError:
            return False
        return (self.since is None or time >= self.since) and (self.until is None or time < self.until)


def read_log(path: Path, proof: Proof, *, head: LogHead | None = None) -> Iterator[dict[str, Any]]:
    """Every line of a log, oldest first, from all its files; what does not hold is added to ``proof``.

    Parameters
    ----------
    path
        The file that is written to; those that were full lie beside it.
    proof
        Filled while lines are read.
    head
        What was kept of an earlier state: that line must be there, as it was.

    Raises
    ------
    NotFound
        If there is no such log.
    InvalidInput
        If it is a folder, or cannot be read.
    """
    parts = _parts(path)
    # The line that was cut off last, until the next one says that its writer had died.
    torn: str | None = None
    previous, number = START, 0
    for place, line, whole in _lines(parts):
        entry = _entry(line)
        number += 1
        if proof.lines == 0:
            number = proof.first = _number(entry) or 1
            previous = START if number == 1 else str(entry.get("previous")) if entry else START
        proof.lines += 1
        found = line_hash(line)
        if entry is None or not whole:
            torn = f"{place}: it is cut off, or no line of a log"
        else:
            recovered = entry.get("event") == "recovered"
            proof.recovered += recovered
            if torn is not None and not recovered:
                proof.problems.append(torn)
            torn = None
            if entry.get("previous") != previous:
                proof.problems.append(f"{place}: the line before it was changed or taken away")
            if _number(entry) != number:
                proof.problems.append(f"{place}: it is line {entry.get('n')}, where {number} should be")
                number = _number(entry) or number
        if head is not None and head.number == number and head.digest != found:
            proof.problems.append(f"{place}: it is not the line of the head that was kept")
        previous = found
        proof.head = LogHead(number, found)
        if entry is not None and entry.get("event") is None:
            yield entry
    if torn is not None:
        proof.problems.append(torn)
    if head is not None and not proof.first <= head.number <= number:
        proof.problems.append(f"line {head.number} of the head that was kept is not there")


def _parts(path: Path) -> list[Path]:
    hint = "Name the file of log.path in the access settings."
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder, not a log.", hint=hint)
    parts = parts_of(path)
    if not parts:
        raise NotFound(f"There is no log {path}.", hint=hint)
    return parts


def _lines(parts: list[Path]) -> Iterator[tuple[str, bytes, bool]]:
    for part in parts:
        try:
            file = part.open("rb")
        except OSError as error:
            hint = "Ask as the user that the server runs as."
            raise InvalidInput(f"{part} cannot be read: {error.strerror}.", hint=hint) from error
        with file:
            for index, line in enumerate(iter(partial(file.readline, _LONGEST), b""), 1):
                yield f"{part.name}, line {index}", line.removesuffix(b"\n"), line.endswith(b"\n")


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _number(entry: dict[str, Any] | None) -> int | None:
    number = entry.get("n") if entry else None
    return number if isinstance(number, int) and not isinstance(number, bool) else None
