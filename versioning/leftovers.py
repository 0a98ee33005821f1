"""What died or finished work leaves behind: folders of finished runs, clock and probe files, temporary files."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from versioning.candidates import FINISHED, StagedFolder
from versioning.store import Store

__all__ = ["Leftovers", "find_leftovers", "remove_leftovers"]

_SCRATCH = re.compile(r"staging/(?:clock|probe)-[^/]+")
# Stores on a disk hide these from listings: files of writers that died before they gave them their names.
_TEMPORARY = re.compile(r".+#[0-9]+")
_FOLDERS = ("datasets", "gc", "objects", "quarantine", "settings", "staging")
# However young unreferenced files may be condemned: a writer may be at work on these.
_LEAST = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What there is to clear away. ``marks`` say that a run is finished: they go last.

    If they went first, and then the machine died, the run would seem to wait for a commit.
    """

    runs: tuple[str, ...]
    files: tuple[str, ...]
    marks: tuple[str, ...]
    temporary: tuple[Path, ...]
    bytes: int

    @property
    def count(self) -> int:
        """How many files."""
        return len(self.files) + len(self.marks) + len(self.temporary)


def find_leftovers(store: Store, runs: Iterable[StagedFolder], *, now: datetime, older_than: timedelta) -> Leftovers:
    """What is older than ``older_than`` and of no use to anybody; files of unknown writers are a day old at least."""
    limit, scratch = now - older_than, now - max(older_than, _LEAST)
    gone = [run for run in runs if run.finished and run.last <= limit]
    mine = {path for run in gone for path in run.paths}
    files, marks, size = [], [], 0
    for entry in store.list("staging"):
        if entry.path in mine:
            (marks if entry.path.rsplit("/", 1)[-1] in FINISHED else files).append(entry.path)
        elif _SCRATCH.fullmatch(entry.path) and entry.modified <= scratch:
            files.append(entry.path)
        else:
            continue
        size += entry.size
    temporary = list(_temporary(store.local_root, scratch)) if store.local_root is not None else []
    return Leftovers(
        runs=tuple(run.run for run in gone),
        files=tuple(sorted(files)),
        marks=tuple(sorted(marks)),
        temporary=tuple(path for path, _ in temporary),
        bytes=size + sum(each for _, each in temporary),
    )


def remove_leftovers(store: Store, found: Leftovers) -> None:
    """Clear them away."""
    for paths in (found.files, found.marks):
        if paths:
            store.delete(paths)
    for path in found.temporary:
        path.unlink(missing_ok=True)
    if store.local_root is not None:
        for run in found.runs:
            with suppress(OSError):  # somebody is at work in it
                (store.local_root / "staging" / run).rmdir()


def _temporary(root: Path, limit: datetime) -> Sequence[tuple[Path, int]]:
    found: list[tuple[Path, int]] = []
    for top in (root, *(root / name for name in _FOLDERS)):
        for folder, inner, names in os.walk(top):
            if top == root:
                inner.clear()  # what else lies in the folder of a catalog is not ours
            for name in names:
                if not _TEMPORARY.fullmatch(name):
                    continue
                path = Path(folder, name)
                try:
                    state = path.lstat()
                except FileNotFoundError:
                    continue  # its writer is alive
                if stat.S_ISREG(state.st_mode) and datetime.fromtimestamp(state.st_mtime, UTC) <= limit:
                    found.append((path, state.st_size))
    return found
