"""What a catalog wants of a local disk: links, syncfs, clones, case, room."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from versioning.durable import has_syncfs
from versioning.health_check import Check
from versioning.store_errors import translate

__all__ = ["local_checks"]

_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
_LITTLE, _NOTHING = 1_000_000_000, 10_000_000  # bytes
_VOLATILE = {"tmpfs", "ramfs"}
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.s3fs", "fuse.rclone"}


def local_checks(root: Path, *, writable: bool = True) -> Iterator[Check]:
    """Check the file system below a catalog's folder; if ``writable``, with files in ``staging/`` that it removes."""
    yield _room(root)
    yield _kind(root)
    if not writable:
        return
    # Listings hide such names, and what is left of a doctor that was killed is swept by gc as a temporary file.
    first, *others = (root / "staging" / f"probe-{secrets.token_hex(8)}#{number}" for number in range(3))
    try:
        first.parent.mkdir(exist_ok=True)
        first.write_bytes(b"x" * 4096)
        checks = [_links(first, others[0]), _case(first), _reflinks(first, others[1])]
    except OSError as error:
        raise translate(str(root), error) from error
    finally:
        for file in (first, *others):
            file.unlink(missing_ok=True)
    yield from checks
    if has_syncfs():
        yield Check("durability", "ok", "one syncfs makes everything durable before a record")
    else:
        yield Check("durability", "ok", "this system has no syncfs: each file is synced by itself, which is slower")


def _room(root: Path) -> Check:
    usage = shutil.disk_usage(root)
    said = f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB are free"
    if usage.free >= _LITTLE:
        return Check("free space", "ok", said)
    hint = "Free space, or expire old versions and collect what nothing needs: stacpin expire, stacpin gc"
    return Check("free space", "error" if usage.free < _NOTHING else "warning", said, hint)


def _kind(root: Path) -> Check:
    kind = _file_system(root)
    if kind in _VOLATILE:
        return Check("file system", "warning", f"{kind}: memory, which is gone after a restart", "Use a disk.")
    if kind in _NETWORK:
        hint = "An object store, or a disk of this computer, keeps its promises better."
        return Check("file system", "advice", f"{kind}: how durable a write is, is up to its server", hint)
    return Check("file system", "ok" if kind else "unknown", kind or "this system does not tell")


def _links(file: Path, other: Path) -> Check:
    try:
        os.link(file, other)
    except OSError as error:
        said = f"none here ({error.strerror}); records are renamed into place instead, where the system can"
        return Check("hard links", "advice", said, "Use a file system that has them (not FAT or exFAT).")
    return Check("hard links", "ok", "records appear whole, by a link; pull can link instead of copying")


def _case(file: Path) -> Check:
    if file.with_name(file.name.upper()).exists():
        said = "upper and lower case are one here: the tags 'V1' and 'v1' cannot both exist"
        return Check("names", "warning", said, "Use tags that differ in more than case, or another file system.")
    return Check("names", "ok", "upper and lower case are told apart")


def _reflinks(file: Path, other: Path) -> Check:
    if not sys.platform.startswith("linux"):
        return Check("clones", "unknown", "only looked at on Linux")
    import fcntl

    try:
        with file.open("rb") as source, other.open("wb") as target:
            fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
    except OSError as error:
        return Check("clones", "ok", f"none here ({error.strerror}): pull copies, or links where you allow it")
    return Check("clones", "ok", "pull to this disk costs no space: files are cloned")


def _file_system(folder: Path) -> str:
    """The type of the file system, as the system calls it; empty if it does not say."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    found, longest = "", -1
    for line in lines:
        _, where, kind, *_ = line.split(" ")
        where = where.encode("latin-1", "replace").decode("unicode_escape")  # a blank is \\040
        if len(where) >= longest and folder.resolve().is_relative_to(where):
            found, longest = kind, len(where)
    return found
