"""File systems of their own for what is measured.

Linux's ext4 takes 400 to 750 µs of CPU instead of 15 for each new file or folder, up to five minutes after many others
were deleted anywhere on the same file system (it looks for inodes that were not deleted recently, one after the other).
So what one step or one round deletes taxes the next, and what else works on the machine taxes all. Where root runs the
benchmark, each round and each pull therefore gets an ext4 of its own, in an image file; elsewhere a folder must do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["can_mount", "empty"]

_TOOLS = ("mkfs.ext4", "losetup", "mount", "umount")


def can_mount() -> bool:
    """Whether file systems can be made here."""
    return sys.platform == "linux" and os.geteuid() == 0 and all(map(shutil.which, _TOOLS))


@contextmanager
def empty(folder: Path, size: int, *, own_disk: bool) -> Iterator[Path]:
    """An empty folder for ``size`` bytes, on a file system of its own if wanted; it is removed again."""
    image = folder.with_suffix(".img")
    if folder.is_mount():  # a run before was killed
        _run("umount", "--lazy", str(folder))
    shutil.rmtree(folder, ignore_errors=True)
    image.unlink(missing_ok=True)
    folder.mkdir(parents=True)
    if not own_disk:
        try:
            yield folder
        finally:
            shutil.rmtree(folder)
        return
    with image.open("wb") as file:
        file.truncate(size + size // 10 + 2**30)
    _run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
    # Without direct I/O the image's pages would be in memory a second time.
    device = _run("losetup", "--find", "--show", "--direct-io=on", str(image))
    try:
        _run("mount", "-o", "noatime", device, str(folder))
        try:
            yield folder
        finally:
            # Lazily: a step that failed may have left a process that ends a moment later.
            _run("umount", "--lazy", str(folder))
    finally:
        _run("losetup", "--detach", device)  # done by the kernel when nothing uses it any more
        image.unlink()
        folder.rmdir()


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
