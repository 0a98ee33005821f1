"""Content digests remembered by byte digest: decoding pixels costs 15 to 25 times what hashing their file does.

A small SQLite file in the user's cache folder (``STACPIN_CACHE`` names another). It can be deleted at any time; what it
says is only ever about bytes that were hashed in the same run.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from platformdirs import user_cache_path

from versioning.digests import sha256
from versioning.objects import hash_file

__all__ = ["DigestCache", "fingerprint"]

# Counted up when the meaning of a content digest changes, so that nothing stale is believed.
_SCHEME = 1


def fingerprint(files: Sequence[Path], *parameters: str | None) -> str:
    """One digest over the bytes of all files that take part (a raster with its mask, a Shapefile) and parameters."""
    parts = [f"{file.suffix.lower()} {hash_file(file).hex()}" for file in files]
    return sha256("\n".join([str(_SCHEME), *parts, *(repr(each) for each in parameters)]).encode()).hex()


class DigestCache:
    """What was computed before. Without a writable place it remembers nothing, and says nothing about it."""

    def __init__(self, path: Path | None = None) -> None:
        folder = Path(os.environ["STACPIN_CACHE"]) if "STACPIN_CACHE" in os.environ else user_cache_path("stacpin")
        self._path = path or folder / "digests.sqlite"
        self._lock = Lock()
        self._connection = self._open()

    def get(self, key: str) -> str | None:
        """The content digest that a fingerprint stands for, if it is known."""
        if self._connection is None:
            return None
        try:
            with self._lock:
                row = self._connection.execute("select digest from digests where key = ?", (key,)).fetchone()
        except sqlite3.Error:
            return None
        return row[0] if row else None

    def put(self, key: str, digest: str) -> None:
        """Remember a content digest."""
        if self._connection is None:
            return
        try:
            with self._lock, self._connection:
                self._connection.execute("insert or ignore into digests values (?, ?)", (key, digest))
        except sqlite3.Error:
            return

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection | None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=5, check_same_thread=False)
            connection.execute("pragma journal_mode = wal")
            connection.execute("create table if not exists digests (key text primary key, digest text not null)")
        except (OSError, sqlite3.Error):
            return None
        return connection
