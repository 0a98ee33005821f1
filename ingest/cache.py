"""Content digests remembered by byte digest: decoding pixels costs 15 to 25 times what hashing their file does.

A small SQLite file in the user's cache folder (``STACPIN_CACHE`` names another). It can be deleted at any time; what it
says is only ever about bytes that were hashed in the same run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ingest.cache_file import CacheFile, cache_folder
from versioning.digests import sha256
from versioning.objects import hash_file

__all__ = ["SCHEME", "DigestCache", "fingerprint", "fingerprint_of"]

# Counted up when the meaning of a content digest changes, so that nothing stale is believed.
SCHEME = 1


def fingerprint(files: Sequence[Path], *parameters: str | None) -> str:
    """One digest over the bytes of all files that take part (a raster with its mask, a Shapefile) and parameters."""
    return fingerprint_of({file: hash_file(file) for file in files}, *parameters)


def fingerprint_of(hashes: Mapping[Path, bytes], *parameters: str | None) -> str:
    """The same from the sha256 of each file."""
    parts = [f"{file.suffix.lower()} {digest.hex()}" for file, digest in hashes.items()]
    return sha256("\n".join([str(SCHEME), *parts, *(repr(each) for each in parameters)]).encode()).hex()


class DigestCache:
    """What was computed before.

    Parameters
    ----------
    path
        Another place than the user's cache folder.
    writes
        False in worker processes: the process that started them writes for all, many at a time.
    """

    def __init__(self, path: Path | None = None, *, writes: bool = True) -> None:
        self._writes = writes
        table = "create table if not exists digests (key text primary key, digest text not null)"
        self._file = CacheFile(path or cache_folder() / "digests.sqlite", table)

    @property
    def path(self) -> Path:
        """Where it lies; other caches of the same user lie beside it."""
        return self._file.path

    def get(self, key: str) -> str | None:
        """The content digest that a fingerprint stands for, if it is known."""
        rows = self._file.read("select digest from digests where key = ?", (key,))
        return rows[0][0] if rows else None

    def put(self, key: str, digest: str) -> None:
        """Remember a content digest."""
        if self._writes:
            self.put_many({key: digest})

    def put_many(self, digests: Mapping[str, str]) -> None:
        """Remember content digests, in one transaction."""
        self._file.write(("insert or ignore into digests values (?, ?)", list(digests.items())))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
