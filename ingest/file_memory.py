"""What was found in a file, remembered by what the file system says of it: an unchanged file is not even opened.

A SQLite file in the user's cache folder, which can be deleted at any time. When an entry is believed:

- The file's state (`ingest.listing.Listing.state`) is what it was: size, time of writing, time of change, inode and
  device of the file and of everything of its stem beside it, so a mask that appears or a header that changes counts.
  The time of change cannot be set back by those who set the time of writing, such as rsync and tar.
- The state was the same before and after the file was read.
- The newest of its times was more than two seconds past when the reading began (git's rule for "racily clean"
  entries): a file that is written twice within the clock's grain has one state and two contents. Kernels stamp in steps
  of up to 10 ms, HFS+ of 1 s, FAT of 2 s.
- The reading did not begin in the future: where the clock was set back, times that were seen come again.

So a clock that is wrong makes files count as too new, and costs time. What no state shows is a program that goes on
writing through a memory map: the system stamps such a file now and then only. Git does not see it either.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ingest.cache_file import CacheFile
from ingest.listing import Listing, newest, restate
from versioning.errors import StacpinError

__all__ = ["GRAIN", "FileMemory", "Seen", "trusted"]

GRAIN = 2_000_000_000  # nanoseconds
_TABLE = """create table if not exists files (
    folder blob, name blob, how text, state blob not null, started integer not null, found blob not null,
    primary key (folder, name, how)) without rowid"""


def trusted(state: str, path: str, started: int) -> bool:
    """Whether what was read from a file since ``started`` (`time.time_ns`) may stand for its state."""
    return newest(state) + GRAIN < started and restate(path, state) == state


@dataclass(frozen=True, slots=True)
class Seen:
    """One reading of a file.

    Attributes
    ----------
    path, how
        The file, and the parameters with which it was read.
    state
        Its state from before to after the reading.
    started
        When that began, in nanoseconds since 1970.
    found
        What was found, as JSON has it.
    others
        States of further files that took part: what a VRT names.
    """

    path: str
    how: str
    state: str
    started: int
    found: list[Any]
    others: dict[str, str]


class FileMemory:
    """What was found in files, by their states."""

    def __init__(self, path: Path) -> None:
        self._file = CacheFile(path, _TABLE)
        self._unasked: list[tuple[str, str]] = []

    def recall(self, files: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str], list[Any]]:
        """What is known of files that are still as they were.

        Parameters
        ----------
        files
            Path, parameters and present state of each.

        Returns
        -------
        dict
            What was found, by path and parameters. One query a folder: of 20,000 files in one folder, 0.1 s.
        """
        wanted: dict[str, dict[tuple[str, str], str]] = {}
        for path, how, state in files:
            folder, name = os.path.split(path)
            wanted.setdefault(folder, {})[name, how] = state
        beside, now = Listing(Path(), ()), time.time_ns()
        found: dict[tuple[str, str], list[Any]] = {}
        for folder, states in wanted.items():
            asked = {name for name, _ in states}
            query = "select name, how, state, started, found from files where folder = ?"
            for name, how, state, started, data in self._file.read(query, (os.fsencode(folder),)):
                key = os.fsdecode(name), how
                if states.get(key) != os.fsdecode(state) or started > now:
                    if key[0] not in asked:
                        self._unasked.append((folder, key[0]))
                    continue
                try:
                    what, others = orjson.loads(data)
                    same = all(other and beside.state(path) == other for path, other in others.items())
                except (ValueError, TypeError, AttributeError, StacpinError):
                    continue  # an entry that was damaged, or whose folder cannot be read any more
                if same:
                    found[f"{folder}{os.sep}{key[0]}", how] = what
        return found

    def remember(self, seen: Iterable[Seen]) -> None:
        """Remember readings; what is known of files that are gone from their folders is forgotten."""
        rows = []
        for each in seen:
            folder, name = os.path.split(each.path)
            try:
                data = orjson.dumps([each.found, each.others])
            except TypeError:
                continue  # a name that is not UTF-8, in a VRT
            rows.append((os.fsencode(folder), os.fsencode(name), each.how, os.fsencode(each.state), each.started, data))
        self._file.write(("insert or replace into files values (?, ?, ?, ?, ?, ?)", rows))

    def forget(self) -> None:
        """Forget files that are gone from the folders that were asked about."""
        gone = {(folder, name) for folder, name in self._unasked if not os.path.lexists(f"{folder}{os.sep}{name}")}
        if gone:
            rows = [(os.fsencode(folder), os.fsencode(name)) for folder, name in gone]
            self._file.write(("delete from files where folder = ? and name = ?", rows))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
