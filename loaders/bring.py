"""One file of a pull: read, copied, cloned or linked, proven, and then moved to its name.

A file of a catalog on a local disk can be brought without the bytes being written again: as a reflink (a clone whose
blocks are shared until one of the two is written to; XFS, Btrfs, bcachefs, by the ioctl FICLONE of Linux) or as a hard
link (one file with two names). Whatever the way, what is proven is the file that will be there.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from loaders.folder import Folder, document_bytes, remove
from loaders.layout import PlacedItem, PulledFile
from loaders.source import PinSource
from versioning.errors import Integrity, InvalidInput, StacpinError, StorageUnavailable
from versioning.objects import hash_file
from versioning.rows import AssetRef

__all__ = ["Bringer", "Link", "Outcome"]

Link = Literal["auto", "copy", "reflink", "hardlink"]
"""How a file comes out of a local catalog; ``auto`` is a reflink where the disk can, otherwise a copy."""

_TRIES = 3
_BLOCK = 1024 * 1024
_FICLONE = 0x40049409  # _IOW(0x94, 9, int), ioctl_ficlone(2)
# What disks say that cannot clone.
_CANNOT = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV, errno.ENOSYS, errno.EPERM}
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
Blocks = Callable[[PinSource, AssetRef, str], Iterator[memoryview]]


@dataclass(slots=True)
class Outcome:
    """What happened to one file; ``linked`` says that it shares its blocks with the catalog."""

    file: PulledFile
    fetched: bool = False
    replaced: bool = False
    linked: bool = False
    error: StacpinError | None = None


class Bringer:
    """Brings files of a source into a folder, from several threads.

    Parameters
    ----------
    source, folder
        From where, and where to.
    blocks
        The bytes of an asset as the source reads them, proven when they end.
    link
        How, where the source is on a local disk.
    """

    def __init__(self, source: PinSource, folder: Folder, blocks: Blocks, link: Link) -> None:
        self._source = source
        self._folder = folder
        self._blocks = blocks
        self._link: Link = link
        self._own = threading.local()

    def document(self, placed: PlacedItem, collection_id: str) -> None:
        """Write an item's STAC document."""
        self._folder.write(placed.path, document_bytes(placed.document(collection_id)))

    def bring(self, file: PulledFile) -> Outcome:
        """Bring one file, unless it is there and right. Errors of ours are in the outcome."""
        outcome = Outcome(file)
        target = self._folder.root / file.path
        there = os.path.lexists(target)
        if there and _is_right(target, file.asset):
            return outcome
        try:
            outcome.linked = self._fetch(file)
        except StacpinError as error:
            outcome.error = error
            if there and isinstance(error, Integrity):
                target.unlink(missing_ok=True)  # it is ours and wrong: nothing wrong is left under a file's name
            return outcome
        outcome.fetched, outcome.replaced = True, there
        return outcome

    def _fetch(self, file: PulledFile) -> bool:
        """Bring a file; whether it was linked."""
        path = self._path(file.asset)
        if path is None and self._link not in {"auto", "copy"}:
            raise _cannot(self._link, file.asset.href, "it is not in a catalog on a local disk")
        if path is not None:
            if self._link == "hardlink" and self._linked(path, file):
                return True
            cloned = self._copied(path, file) if self._link != "hardlink" else None
            if cloned is not None:
                return cloned
        # Also what could not be read or proven as a file: the source says by name what is wrong, or has it elsewhere.
        for tries_left in reversed(range(_TRIES)):
            try:
                with self._folder.part() as (part, out):
                    for block in self._blocks(self._source, file.asset, file.path):
                        out.write(block)
                    out.close()
                    self._folder.put(part, file.path)
                break
            except StorageUnavailable:
                if not tries_left:
                    raise
                time.sleep(0.5 * (_TRIES - tries_left))
        return False

    def _path(self, asset: AssetRef) -> str | None:
        """Where an asset lies as a file."""
        href = self._source.href(asset.href) if asset.stored else "://"
        return None if "://" in href else href

    def _copied(self, path: str, file: PulledFile) -> bool | None:
        """Copy or clone a file and prove it; whether it was cloned, None if it could not be read or proven."""
        with self._folder.part() as (part, out):
            try:
                source = _open(path)
            except OSError:
                return None
            with source:
                cloned = self._link != "copy" and self._clone(source, out, file)
                if cloned:
                    out.close()
                    right = self._hashes(part, file.asset)
                else:
                    right = self._writes(source, out, file.asset)
            if not right:
                return None
            out.close()
            self._folder.put(part, file.path)
            return cloned

    def _clone(self, source: IO[bytes], out: IO[bytes], file: PulledFile) -> bool:
        """Let ``out`` share the blocks of ``source``; False where the disk cannot, and then is not asked again."""
        try:
            import fcntl

            fcntl.ioctl(out.fileno(), _FICLONE, source.fileno())
        except (ImportError, OSError) as error:
            code = error.errno if isinstance(error, OSError) else errno.ENOSYS
            if self._link == "reflink":
                why = os.strerror(code or errno.EIO)
                raise _cannot(self._link, file.path, f"the disk does not do it ({why})") from error
            if code in _CANNOT:
                self._link = "copy"
            return False
        return True

    def _linked(self, path: str, file: PulledFile) -> bool:
        """Give an object a second name in the folder; False if it could not be proven.

        Both names are one file from now on: it is made read-only, so that who edits the folder in place is stopped.
        """
        part = self._folder.part_path()
        try:
            os.link(path, part)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno == errno.EMLINK:  # 65,000 names on ext4: the next one gets a copy
                return False
            raise _cannot(self._link, file.path, f"the disk does not do it ({error.strerror})") from error
        try:
            if not self._hashes(part, file.asset):
                return False
            _read_only(part)
            self._folder.put(part, file.path)
        except OSError as error:
            raise self._folder.not_written(error) from error
        finally:
            remove(part)
        return True

    def _writes(self, source: IO[bytes], out: IO[bytes], asset: AssetRef) -> bool:
        """Copy the bytes; whether they are the asset's."""
        state, seen, buffer = hashlib.sha256(), 0, self._buffer()
        while count := _read(source, buffer):
            block = buffer[:count]
            state.update(block)
            out.write(block)
            seen += count
            if seen > asset.size:
                return False
        return seen == asset.size and state.digest() == asset.sha256

    def _hashes(self, path: str, asset: AssetRef) -> bool:
        """Whether the bytes of a file are the asset's."""
        try:
            file = _open(path)
        except OSError:  # a link to elsewhere, among others
            return False
        state, buffer = hashlib.sha256(), self._buffer()
        with file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) or found.st_size != asset.size:
                return False
            while count := _read(file, buffer):
                state.update(buffer[:count])
        return state.digest() == asset.sha256

    def _buffer(self) -> memoryview:
        # One a thread: a new one of 4 MiB for each file cost more in page faults than to hash 150 KB.
        buffer = getattr(self._own, "buffer", None)
        if buffer is None:
            buffer = self._own.buffer = memoryview(bytearray(_BLOCK))
        return buffer


def _open(path: str) -> IO[bytes]:
    """A file for reading without a buffer; OSError if it is a link, which no catalog holds."""
    return os.fdopen(os.open(path, os.O_RDONLY | _NO_LINK), "rb", buffering=0)


def _read(file: IO[bytes], buffer: memoryview) -> int:
    try:
        return file.readinto(buffer)  # type: ignore[attr-defined] - a FileIO, which IO[bytes] does not say
    except OSError:  # what could not be read is not proven
        return 0


def _read_only(path: str) -> None:
    """Take the right to write from a file; its owner alone can, and others who may write to it must not link it."""
    mode = stat.S_IMODE(os.stat(path).st_mode)  # noqa: PTH116 - a Path for each file costs more than this
    if mode & 0o222:
        os.chmod(path, mode & ~0o222)  # noqa: PTH101 - as above


def _is_right(target: Path, asset: AssetRef) -> bool:
    try:
        return target.stat().st_size == asset.size and hash_file(target) == asset.sha256
    except OSError:
        return False


def _cannot(link: Link, what: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"{what} cannot be brought as a {link}: {why}.",
        hint="Use auto or copy, or a folder on the catalog's own disk.",
        kind="no-link",
    )
