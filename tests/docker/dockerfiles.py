"""A strict reader of Dockerfiles: what it does not know is an error, and not passed over.

Of the reference (https://docs.docker.com/reference/dockerfile/) it knows what ours use.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field

KNOWN = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN", "USER", "WORKDIR",
}  # fmt: skip
_FLAG = re.compile(r"--([a-z-]+)=(\S+)\s*")
_FROM = re.compile(r"(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE)


@dataclass(frozen=True)
class Instruction:
    """One instruction: its name, its flags (``--from=x``), the rest of its text."""

    name: str
    text: str
    flags: dict[str, str] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """The JSON form; ValueError if it is written for a shell."""
        found = json.loads(self.text)
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise ValueError(f"{self.name} {self.text} is no list of words")
        return found


@dataclass(frozen=True)
class Stage:
    """One ``FROM`` and what follows it."""

    image: str
    name: str | None
    instructions: list[Instruction]

    def all(self, name: str) -> list[Instruction]:
        return [each for each in self.instructions if each.name == name]


def read(text: str) -> list[Stage]:
    """The stages of a Dockerfile; ValueError for whatever is not understood."""
    stages: list[Stage] = []
    for line in _logical(text):
        name, _, rest = line.partition(" ")
        if name not in KNOWN:
            raise ValueError(f"{name!r} is not an instruction that is known here, in capitals")
        rest = rest.strip()
        flags: dict[str, str] = {}
        while match := _FLAG.match(rest):
            if match[1] in flags:
                raise ValueError(f"{name} has --{match[1]} twice")
            flags[match[1]] = match[2]
            rest = rest[match.end() :]
        if not rest or rest.startswith("--"):
            raise ValueError(f"{line!r} cannot be read")
        if name == "FROM":
            found = _FROM.fullmatch(rest)
            if found is None or flags:
                raise ValueError(f"{line!r} cannot be read")
            stages.append(Stage(found[1], found[2], []))
        elif not stages:
            raise ValueError(f"{name} stands before the first FROM")
        else:
            stages[-1].instructions.append(Instruction(name, rest, flags))
    return stages


def pairs(instruction: Instruction) -> dict[str, str]:
    """``key=value`` pairs of ENV and LABEL."""
    found = [part.partition("=") for part in shlex.split(instruction.text)]
    if not all(equals for _, equals, _ in found):
        raise ValueError(f"{instruction.text!r} has a part without =")
    return {key: value for key, _, value in found}


def health_command(instruction: Instruction) -> list[str]:
    """The words of a HEALTHCHECK."""
    word, _, rest = instruction.text.partition(" ")
    if word != "CMD":
        raise ValueError(f"HEALTHCHECK {instruction.text!r} has no CMD")
    return Instruction("CMD", rest.strip()).words


def _logical(text: str) -> list[str]:
    lines: list[str] = []
    parts: list[str] = []
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.endswith("\\"):
            parts.append(line[:-1].strip())
        else:
            lines.append(" ".join([*parts, line]))
            parts = []
    if parts:
        raise ValueError("the last line is continued")
    return lines
