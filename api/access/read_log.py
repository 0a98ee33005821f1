"""The log of reads: JSON lines that are only ever appended, each with the sha256 of the one before.

Several threads and processes may write to one log: who writes holds a lock on the file (``flock``), and finds the end
of the chain under it. A line is on disk (``fdatasync``) before anything of the answer is sent, unless ``sync`` is off.
A full file is renamed, ``reads.jsonl.00000001`` and so on, and the next one goes on with the chain.

That writing fails is said once when it begins and once when it ends, not for each read.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import orjson

from versioning.errors import StorageUnavailable

__all__ = ["START", "ReadLog", "line_hash", "parts_of"]

_log = logging.getLogger(__name__)
# What the first line of a chain has in the place of the line before.
START = "0" * 64
_BLOCK = 64 * 1024
_PAGE = b"\0" * 4096
_NO_FOLDER_RIGHTS = {errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True, slots=True)
class _End:
    """The end of the chain: in which file, at which size, the last line's number and hash, whether it is whole."""

    inode: int
    size: int
    number: int
    digest: str
    whole: bool = True


def line_hash(line: bytes) -> str:
    """The hash of a line, without its line feed."""
    return hashlib.sha256(line).hexdigest()


def parts_of(path: Path) -> list[Path]:
    """The files of a log, oldest first: those that were full, then the one that is written to, if it is there."""
    name = re.compile(re.escape(path.name) + r"\.[0-9]{8}")
    full = sorted(part for part in path.parent.glob(f"{_plain(path.name)}.*") if name.fullmatch(part.name))
    return [*full, path] if path.exists() else full


class ReadLog:
    """Appends to a log of reads.

    Parameters
    ----------
    path
        The file; it is made, readable by its owner alone.
    sync
        Whether a line is on disk when :meth:`write` returns.
    rotate_bytes
        The size from which on a file is full.
    """

    def __init__(self, path: Path, *, sync: bool = True, rotate_bytes: int = 256 * 1024 * 1024) -> None:
        self._path = path
        self._sync = sync
        self._rotate_bytes = rotate_bytes
        self._lock = Lock()
        self._file: int | None = None
        self._end: _End | None = None
        self._process = os.getpid()
        self._telling = Lock()
        self._failing = False

    @property
    def failing(self) -> bool:
        """Whether the last that was tried could not be written."""
        return self._failing

    def open(self) -> None:
        """See whether it can be written to, before anybody waits for an answer.

        Raises
        ------
        StorageUnavailable
            If it cannot.
        """
        try:
            with self._lock:
                fcntl.flock(self._locked(), fcntl.LOCK_UN)
        except OSError as error:
            raise _unavailable(error) from error

    def write(self, entry: Mapping[str, Any]) -> None:
        """Append a line: what was read, after its number ``n`` and ``previous``, the hash of the line before.

        Raises
        ------
        StorageUnavailable
            If it cannot be written; the log is then as it was.
        """
        try:
            with self._lock:
                file = self._locked()
                try:
                    self._append(file, entry)
                    # Waited for outside of the locks, so that many lines share one wait.
                    waiting = os.dup(file) if self._sync else None
                finally:
                    fcntl.flock(file, fcntl.LOCK_UN)
            if waiting is not None:
                try:
                    os.fdatasync(waiting)
                finally:
                    os.close(waiting)
        except OSError as error:
            self._became(error)
            raise _unavailable(error) from error
        self._became(None)

    def try_again(self) -> bool:
        """Whether it can be written to, without a line in it.

        It is opened and locked as for a line, and a page is written to a file without a name beside it: that finds a
        full disk, a quota and a broken disk. Where no files may be made in the folder, its free space is looked at.
        """
        try:
            self.open()
            self._try_disk()
        except StorageUnavailable:
            return False
        except OSError as error:
            self._became(error)
            return False
        self._became(None)
        return True

    def _try_disk(self) -> None:
        folder = self._path.parent
        try:
            with tempfile.TemporaryFile(dir=folder, buffering=0) as trial:
                trial.write(_PAGE)
                if self._sync:
                    os.fdatasync(trial.fileno())
        except OSError as error:
            if error.errno not in _NO_FOLDER_RIGHTS:
                raise
            found = os.statvfs(folder)
            if not found.f_bavail:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error

    def _became(self, error: OSError | None) -> None:
        """Say that it fails, or works again, if it did not before."""
        with self._telling:
            before, self._failing = self._failing, error is not None
        if error is not None and not before:
            _log.error("The log of reads cannot be written: %s: %s (errno %s)", self._path, error.strerror, error.errno)
        elif error is None and before:
            _log.warning("The log of reads can be written again: %s", self._path)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _locked(self) -> int:
        """The file under its name, locked: whoever has rotated it meanwhile has left us with the former one."""
        if self._process != os.getpid():  # a lock on a file that was inherited would be the parent's too
            self._close()
            self._process = os.getpid()
        while True:
            if self._file is None:
                flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self._file = os.open(self._path, flags, 0o600)
            file = self._file
            fcntl.flock(file, fcntl.LOCK_EX)
            there = os.fstat(file)
            with suppress(FileNotFoundError):
                named = self._path.stat()
                if (named.st_dev, named.st_ino) == (there.st_dev, there.st_ino):
                    if there.st_size < self._rotate_bytes:
                        return file
                    full = [part for part in parts_of(self._path) if part != self._path]
                    number = int(full[-1].suffix[1:]) + 1 if full else 1
                    self._path.rename(self._path.with_name(f"{self._path.name}.{number:08d}"))
                    self._sync_folder()
            self._close()  # which unlocks it

    def _append(self, file: int, entry: Mapping[str, Any]) -> None:
        there = os.fstat(file)
        if there.st_size == 0 and self._sync:
            self._sync_folder()
        end = self._end
        if end is None or (end.inode, end.size) != (there.st_ino, there.st_size):
            end = self._find_end(file, there)
        data = b""
        number, digest = end.number, end.digest
        if not end.whole:  # a writer died within a line: it stays as it is, and the chain says so
            number += 1
            noted = orjson.dumps({"n": number, "previous": digest, "event": "recovered"})
            data, digest = (b"\n" if there.st_size else b"") + noted + b"\n", line_hash(noted)
        number += 1
        line = orjson.dumps({"n": number, "previous": digest, **entry})
        data += line + b"\n"
        try:
            written = 0
            while written < len(data):
                written += os.write(file, data[written:])
        except OSError:
            with suppress(OSError):
                os.ftruncate(file, there.st_size)
            raise
        self._end = _End(there.st_ino, there.st_size + len(data), number, line_hash(line))

    def _find_end(self, file: int, there: os.stat_result) -> _End:
        if there.st_size:
            return _read_end(file, there)
        before = [part for part in parts_of(self._path) if part != self._path and part.stat().st_size]
        if not before:
            return _End(there.st_ino, 0, 0, START)
        former = os.open(before[-1], os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = _read_end(former, os.fstat(former))
        finally:
            os.close(former)
        return _End(there.st_ino, 0, found.number, found.digest, found.whole)

    def _sync_folder(self) -> None:
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _unavailable(error: OSError) -> StorageUnavailable:
    return StorageUnavailable(
        f"The log of reads cannot be written: {error.strerror}.",
        hint="Its disk is full, its folder is missing, or it is not this server's to write to.",
        kind="log-unavailable",
    )


def _read_end(file: int, there: os.stat_result) -> _End:
    """The end of a file that another has written. A line that is cut off counts, by the number after that before it."""
    data, start = b"", there.st_size
    # The last line, and of the one before as much as tells its number, should the last be cut off.
    while start > 0 and data[:-1].count(b"\n") < 2:  # noqa: PLR2004 - the feeds before the last two lines
        start = max(0, start - _BLOCK)
        data = os.pread(file, there.st_size - start, start)
    lines = data.split(b"\n")
    whole = lines[-1] == b""
    last = lines[-2] if whole else lines[-1]
    number = _number(last)
    if number is None:
        above = lines[-3] if whole and len(lines) > 2 else lines[-2] if not whole and len(lines) > 1 else b""  # noqa: PLR2004
        number = (_number(above) or 0) + 1
    return _End(there.st_ino, there.st_size, number, line_hash(last), whole)


def _number(line: bytes) -> int | None:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    number = found.get("n") if isinstance(found, dict) else None
    return number if isinstance(number, int) else None


def _plain(name: str) -> str:
    """A name without what means something to ``glob``."""
    return re.sub(r"([*?\[])", r"[\1]", name)
