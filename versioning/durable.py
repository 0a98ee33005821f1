"""Records on a local disk: a file that appears whole or not at all, and stays after a power cut.

obstore never fsyncs, so a power cut could leave an empty ``versions/N.json`` that blocks its number. Records are
written here instead: a temporary file, fsync, ``link`` (which fails if the name exists), fsync of the folder. What the
record names is made durable first, by one ``syncfs`` (1.5 s after 3 GB; fsync of each file takes many times that).
"""

from __future__ import annotations

import ctypes
import os
import secrets
import sys
from functools import cache
from pathlib import Path

__all__ = ["create_file", "sync_tree"]


def create_file(path: Path, data: bytes) -> bool:
    """Write ``data`` to ``path`` unless it exists; True if it was written, and then it is on disk.

    Raises
    ------
    OSError
        If the folder cannot be written to, or its file system has neither hard links nor exclusive renames.
    """
    _make_folders(path.parent)
    # obstore's listings hide names that end in '#' and digits, so nobody takes the temporary file for a record.
    temporary = path.with_name(f"{path.name}#{secrets.randbelow(10**12)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            _rename_exclusively(temporary, path)
        except FileExistsError:
            return False
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def sync_tree(root: Path) -> None:
    """Make everything written below ``root`` so far durable."""
    sync = _syncfs()
    descriptor = os.open(root, os.O_RDONLY)
    try:
        if sync is None or sync(descriptor) != 0:
            os.sync()
    finally:
        os.close(descriptor)


def _rename_exclusively(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        # No hard links here (exFAT, some network file systems): rename that refuses to replace, where there is one.
        rename = _renameat2()
        if rename is None:
            raise
        at_fdcwd, no_replace = -100, 1
        if rename(at_fdcwd, os.fsencode(source), at_fdcwd, os.fsencode(target), no_replace) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(target)) from None


def _make_folders(folder: Path) -> None:
    """Like ``mkdir -p``, with each new folder's entry on disk."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        _sync_folder(new.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@cache
def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


@cache
def _syncfs() -> ctypes._NamedFuncPointer | None:
    """Linux's syncfs; elsewhere None, and ``os.sync`` does it for every disk."""
    return getattr(_libc(), "syncfs", None)


@cache
def _renameat2() -> ctypes._NamedFuncPointer | None:
    return getattr(_libc(), "renameat2", None)
