"""Verify a pulled folder against its lock file: what is missing, truncated, altered, or not of the pull at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loaders.folder import Folder, PullNotes, missing_folder
from loaders.former import FORMER, FormerFile
from loaders.layout import STATE, PulledFile
from loaders.lock import LOCK_NAME, read_lock
from loaders.proof import DigestBuilder
from loaders.pull import windowed
from versioning.errors import Integrity, InvalidInput, NotFound, StacpinError
from versioning.events import Listener, Progress, silent
from versioning.objects import hash_file
from versioning.verify import Problem

__all__ = ["FolderReport", "verify_folder"]

_WORKERS = 4


@dataclass(slots=True)
class FolderReport:
    """What a folder holds and what is wrong with it.

    ``problems`` are files of the pull that are missing, truncated or altered, and files of earlier pulls that are there
    and damaged. ``extra`` are all files that the last pull did not ask for: those of earlier pulls, and those that no
    pull has made. ``whole`` says whether every file of the version was asked for. ``proven`` says whether the items are
    proven against the version's digest: if all of them were pulled, here and now, without the catalog; otherwise when
    they were pulled, if that was from a catalog.
    """

    pin: str
    digest: str
    dest: str
    whole: bool
    proven: bool
    items: int = 0
    files: int = 0
    bytes: int = 0
    problems: list[Problem] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every file of the pull is there and right."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """The report for ``--json``."""
        return {
            "pin": self.pin,
            "digest": self.digest,
            "dest": self.dest,
            "ok": self.ok,
            "whole": self.whole,
            "proven": self.proven,
            "items": self.items,
            "files": self.files,
            "bytes": self.bytes,
            "problems": [{"path": each.path, "kind": each.kind, "detail": each.detail} for each in self.problems],
            "extra": self.extra,
        }


def verify_folder(dest: str | os.PathLike[str], *, on_event: Listener = silent) -> FolderReport:
    """Hash every file of a pulled folder, and compare it with what its lock file proves.

    Parameters
    ----------
    dest
        The folder.
    on_event
        Hears how far it is, in bytes.

    Raises
    ------
    NotFound
        If no pull has made the folder.
    Integrity
        If the folder's notes are so damaged that nothing can be compared.
    """
    folder = Folder(dest)
    notes = folder.notes()
    if notes is None:
        raise missing_folder(folder.root)
    report = FolderReport(notes.pin, notes.digest, str(folder.root), notes.whole and notes.asset is None, notes.proven)
    _lock(folder, notes, report)
    expected = {LOCK_NAME}
    for path, data in _documents(folder, notes, report):
        expected.add(path)
        problem = _document(folder.root / path, path, data)
        report.problems.extend([problem] if problem else [])
    _files(folder, notes, report, expected, on_event)
    report.extra = sorted(_there(folder.root) - expected)
    _left(folder, report)
    return report


def _lock(folder: Folder, notes: PullNotes, report: FolderReport) -> None:
    try:
        locked = {entry.pin: entry.digest for entry in read_lock(folder.root / LOCK_NAME)}
    except NotFound:
        report.problems.append(Problem(LOCK_NAME, "missing", "the pull was not finished: pull again"))
        return
    except (InvalidInput, StacpinError) as error:
        report.problems.append(Problem(LOCK_NAME, "altered", error.message))
        return
    if locked != {notes.pin: notes.digest}:
        listed = ", ".join(locked) or "nothing"
        report.problems.append(
            Problem(LOCK_NAME, "altered", f"it locks {listed}; the folder was pulled as {notes.pin}")
        )


def _documents(folder: Folder, notes: PullNotes, report: FolderReport) -> Iterator[tuple[str, bytes]]:
    """The folder's STAC documents; on the way, its list of items is proven."""
    builder = DigestBuilder()
    for placed in folder.placed(notes.asset):
        builder.add(placed.row.id, placed.row.digest)
        report.items += 1
    if notes.whole and builder.digest(notes.declared) != notes.digest:
        raise Integrity(
            f"{folder.root / STATE}: the list of items does not add up to {notes.pin}, {notes.digest}.",
            hint="Pull again.",
            kind="altered",
        )
    yield from folder.documents(notes)


def _document(target: Path, path: str, data: bytes) -> Problem | None:
    try:
        if target.stat().st_size == len(data) and target.read_bytes() == data:
            return None
    except OSError:
        return Problem(path, "missing", "it is not there")
    return Problem(path, "altered", "it is not what the pull wrote")


def _files(folder: Folder, notes: PullNotes, report: FolderReport, expected: set[str], on_event: Listener) -> None:
    wanted = (file for placed in folder.placed(notes.asset, checked=True) for file in placed.files)
    done = 0
    for file, problem in windowed(lambda each: (each, _file(folder.root / each.path, each)), wanted, _WORKERS):
        expected.add(file.path)
        report.files += 1
        done += file.asset.size
        if problem is None:
            report.bytes += file.asset.size
        else:
            report.problems.append(problem)
        on_event(Progress("verify", done, None, "bytes", file.path))


def _file(target: Path, file: PulledFile) -> Problem | None:
    asset = file.asset
    try:
        size = target.stat().st_size
        if size < asset.size:
            return Problem(file.path, "truncated", f"it has {size} of {asset.size} bytes")
        if size == asset.size and hash_file(target) == asset.sha256:
            return None
    except OSError:
        return Problem(file.path, "missing", f"a file of {asset.size} bytes is not there")
    return Problem(file.path, "altered", "its bytes are not those of its checksum")


def _left(folder: Folder, report: FolderReport) -> None:
    """Files of earlier pulls: the user may delete them, but what lies there under their names must be right."""
    try:
        former = folder.former()
    except Integrity as error:
        report.problems.append(Problem(f"{STATE}/{FORMER}", error.kind, "it is not what the pulls wrote"))
        return
    there = [path for path in report.extra if path in former]
    for path, right in windowed(lambda each: (each, _is(folder.root / each, former[each])), there, _WORKERS):
        if not right:
            detail = "an earlier pull brought it, with other bytes: pull it again, or delete it"
            report.problems.append(Problem(path, "altered", detail))


def _is(target: Path, file: FormerFile) -> bool:
    try:
        return target.stat().st_size == file.size and hash_file(target).hex() == file.sha256
    except OSError:
        return False


def _there(root: Path) -> set[str]:
    found: set[str] = set()
    for where, folders, files in os.walk(root):
        if Path(where) == root:
            folders[:] = [name for name in folders if name != STATE]
        found.update((Path(where) / name).relative_to(root).as_posix() for name in files)
    return found
