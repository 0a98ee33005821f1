"""Files on a local disk that appear whole or not at all, and stay after a power cut.

obstore never fsyncs, so a power cut could leave an empty ``versions/N.json`` that blocks its number. Records are
written here instead: a temporary file, fsync, ``link`` (which fails if the name exists), fsync of the folder. What the
record names is made durable first, by one ``syncfs`` (1.5 s after 3 GB; fsync of each file takes many times that).

Where a system is not Linux: without ``syncfs`` each file is fsynced when it is written (:meth:`Disk.settle`); macOS
flushes a drive's own cache only for ``F_FULLFSYNC``; Windows has no fsync of folders, and its rename refuses to replace
by itself. Only Linux is tested.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import sys
import weakref
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from threading import Lock

__all__ = ["Disk", "LostWritesError", "has_syncfs", "make_folders"]

_SYNC_FILE_RANGE_WRITE = 2
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}


class LostWritesError(OSError):
    """The system could not bring to disk what it had taken: files may be damaged though they are there."""


class Disk:
    """Makes durable what is written below one folder, which must exist.

    Linux tells of pages that it could not write only to descriptors that were open by then, and once: so the folder is
    kept open from the first write on (:meth:`begin`), and after such an error every further :meth:`sync` fails.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._clean = False
        self._failed: LostWritesError | None = None
        self._proven: set[Path] = set()  # folders whose own names are on disk
        self._descriptor: int | None = None
        self._lock = Lock()
        self._syncing = Lock()

    def __reduce__(self) -> tuple[type[Disk], tuple[Path]]:
        return Disk, (self._root,)

    def begin(self) -> None:
        """Something is about to be written below the folder."""
        with self._lock:
            if self._descriptor is None and (opened := _open_folder(self._root)) is not None:
                self._descriptor = opened
                weakref.finalize(self, os.close, opened)

    def touched(self) -> None:
        """Something below the folder has just been read or written: what it is may not be on disk yet."""
        self._clean = False

    def sync(self) -> None:
        """Make everything that was written below the folder so far durable, by whichever process.

        Does nothing if this process has neither read nor written anything but records since the last time: a record is
        durable by itself. Many records in a row cost one ``syncfs``.

        Raises
        ------
        LostWritesError
            If the system could not write something. Then what was written since the start must not be believed.
        """
        # One at a time: another thread's syncfs that is still running may fail yet, and a record that did not wait for
        # it would be out already. What was written while one ran has made it unclean, and is synced by the next.
        with self._syncing:
            if self._failed is not None:
                raise LostWritesError(*self._failed.args)
            if self._clean:
                return
            self.begin()
            self._clean = True  # before, not after: what is written meanwhile makes it unclean again
            try:
                self._flush()
            except BaseException:
                self._clean = False
                raise

    def _flush(self) -> None:
        sync = _syncfs()
        if sync is None or self._descriptor is None:
            _sync_all()
        elif sync(self._descriptor) != 0:
            code = ctypes.get_errno()
            if code not in _UNSUPPORTED:
                self._failed = LostWritesError(code, os.strerror(code), str(self._root))
                raise self._failed
            _sync_all()

    def settle(self, place: str) -> None:
        """After a file was written or found: make it durable by itself where the system has no ``syncfs``."""
        self.touched()
        if _syncfs() is not None:
            return
        path = Path(place)
        # Windows flushes only what is open for writing.
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0) if os.name == "nt" else os.O_RDONLY)
        try:
            _fsync(descriptor)
        finally:
            os.close(descriptor)
        folder = path.parent
        while True:
            _sync_folder(folder)
            if folder in {self._root, folder.parent}:
                return
            folder = folder.parent

    def write(self, path: str, data: bytes) -> bool:
        """Write ``data`` to ``path`` unless it exists; True if it was written. It is on disk after the next `sync`.

        Raises
        ------
        OSError
            If the folder cannot be written to, or its file system has neither hard links nor exclusive renames.
        """
        self.begin()
        if os.path.lexists(path):
            return False
        temporary = _beside(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            descriptor = os.open(temporary, flags, 0o666)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - thousands of files: no Path
            descriptor = os.open(temporary, flags, 0o666)
        moved = False
        try:
            try:
                left = memoryview(data)
                while left:
                    left = left[os.write(descriptor, left) :]
                _start_writing(descriptor)
            finally:
                os.close(descriptor)
            # One call where a link and the removal of the first name are two.
            moved = _rename(temporary, path)
            if not moved:
                os.link(temporary, path)
        except FileExistsError:
            return False
        finally:
            if not moved:
                os.unlink(temporary)  # noqa: PTH108
        return True

    def create(self, path: Path, data: bytes) -> bool:
        """Write ``data`` to ``path`` unless it exists; True if it was written, and then it is on disk.

        Raises
        ------
        OSError
            If the folder cannot be written to, or its file system has neither hard links nor exclusive renames.
        """
        temporary = self._temporary(path, (data,))
        try:
            try:
                _link(os.fspath(temporary), os.fspath(path))
            except FileExistsError:
                self.touched()
                return False
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def replace(self, path: Path, blocks: Iterable[bytes]) -> None:
        """Write ``blocks`` to ``path``: after a power cut it has the old bytes or the new ones, never fewer."""
        temporary = self._temporary(path, blocks)
        try:
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)

    def _temporary(self, path: Path, blocks: Iterable[bytes]) -> Path:
        """A file beside ``path`` that holds ``blocks`` and is on disk; none if that fails."""
        self.begin()
        self._prove_folder(path.parent)
        temporary = Path(_beside(os.fspath(path)))
        try:
            with temporary.open("xb") as file:
                for block in blocks:
                    file.write(block)
                file.flush()
                _fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary

    def _prove_folder(self, folder: Path) -> None:
        """Make a folder and those above it; their names are on disk too, even if another process has just made them."""
        inside = [folder, *folder.parents]
        for each in reversed(inside[: inside.index(self._root)] if self._root in inside else inside[:1]):
            if each not in self._proven or not each.exists():
                each.mkdir(exist_ok=True)
                _sync_folder(each.parent)
                self._proven.add(each)


def make_folders(folder: Path) -> None:
    """Like ``mkdir -p``, with each new folder's name on disk."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        _sync_folder(new.parent)


def has_syncfs() -> bool:
    """Whether one call makes all files of a disk durable here."""
    return _syncfs() is not None


def _beside(path: str) -> str:
    """A temporary name. obstore's listings hide names that end in '#' and digits, so nobody takes it for a file."""
    return f"{path}#{secrets.randbelow(10**12)}"


def _link(source: str, target: str) -> None:
    """Give a file a name unless that is taken; it may keep the old one."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        # No hard links here (exFAT, some network file systems).
        if not _rename(source, target):
            raise


def _rename(source: str, target: str) -> bool:
    """Give a file another name unless that is taken, by a rename that refuses to replace; False if there is none."""
    if os.name == "nt":
        os.rename(source, target)  # noqa: PTH104 - a string
        return True
    rename = _renameat2()
    if rename is None:
        return False
    at_fdcwd, no_replace = -100, 1
    if rename(at_fdcwd, os.fsencode(source), at_fdcwd, os.fsencode(target), no_replace) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), target)


def _open_folder(folder: Path) -> int | None:
    return None if os.name == "nt" else os.open(folder, os.O_RDONLY)


def _sync_folder(folder: Path) -> None:
    descriptor = _open_folder(folder)
    if descriptor is None:
        return
    try:
        _fsync(descriptor)
    finally:
        os.close(descriptor)


def _fsync(descriptor: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError:  # folders and network file systems may refuse it
            os.fsync(descriptor)
    else:
        os.fsync(descriptor)


def _sync_all() -> None:
    if hasattr(os, "sync"):
        os.sync()


@cache
def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


@cache
def _syncfs() -> ctypes._NamedFuncPointer | None:
    """Linux's syncfs; elsewhere None, and each file is made durable by itself."""
    return getattr(_libc(), "syncfs", None)


def _start_writing(descriptor: int) -> None:
    """Have the disk begin with a file now: a snapshot of 750 MB waited 1.5 s at its end for what it could have done."""
    start = _sync_file_range()
    if start is not None:
        start(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)  # only a hint: what goes wrong is told by the next sync


@cache
def _sync_file_range() -> ctypes._NamedFuncPointer | None:
    function = getattr(_libc(), "sync_file_range", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return function


@cache
def _renameat2() -> ctypes._NamedFuncPointer | None:
    return getattr(_libc(), "renameat2", None)
