"""Mirrors: other catalogs with the same files, which are read where the catalog itself misses one, or is down.

Objects, manifests and snapshots from a mirror are proven by the sha256 in their names, a record by the one that comes
after it. A mirror may lag, and may lie: so while the catalog answers, it alone says what versions, tags and pointers
there are. When it does not answer, versions can be read by number, tag and digest (their records are unproven then, as
the log says), and what ``latest`` and other pointers mean is refused.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import IO
from urllib.parse import urlsplit

from versioning.errors import Integrity, NotFound, StacpinError
from versioning.records import SettingsRecord
from versioning.store import Store, open_store

__all__ = ["MIRRORS", "Mirror", "content_name", "declared_mirrors", "mirrors_of_user", "opened", "read_proven_file"]

# Where a user names mirrors, separated by white space.
MIRRORS = "STACPIN_MIRRORS"
# A stranger's catalog may send its readers to other stores, not to their own disks.
_REMOTE = frozenset({"s3", "s3a", "gs", "az", "adl", "abfs", "abfss", "azure"})
_MOST = 8
_IN_MEMORY = 16 * 1024 * 1024
_NAMED = re.compile(
    r"objects/(?P<shard>[0-9a-f]{2})/(?P<object>(?P=shard)[0-9a-f]{62})(?:\.[a-z0-9]{1,12})?"
    r"|datasets/[a-z0-9_-]{1,100}/(?:manifests|snapshots)/(?P<file>[0-9a-f]{64})\.parquet"
)
_log = logging.getLogger("stacpin.mirrors")


def content_name(path: str) -> bytes | None:
    """The sha256 that a path names its bytes by: of objects, manifests and snapshots; None for everything else."""
    match = _NAMED.fullmatch(path)
    return None if match is None else bytes.fromhex(match["object"] or match["file"])


def mirrors_of_user() -> list[str]:
    """The mirrors in the environment variable STACPIN_MIRRORS; any path or URL, since the user wrote them."""
    return os.environ.get(MIRRORS, "").split()


def declared_mirrors(settings: SettingsRecord) -> list[str]:
    """The mirrors that a catalog's settings name, as far as they are believed: remote stores, at most eight."""
    named = (settings.model_extra or {}).get("mirrors", getattr(settings, "mirrors", None))
    if not isinstance(named, list):
        return []
    texts = [each for each in named[:_MOST] if isinstance(each, str)]
    believed = [each for each in texts if urlsplit(each).scheme.lower() in _REMOTE]
    for each in texts:
        if each not in believed:
            _log.warning(
                "the catalog's settings name the mirror %r, which is no remote store: name it in %s", each, MIRRORS
            )
    return believed


class Mirror:
    """Another catalog that may have the same files; nothing that it gives is believed before it is proven."""

    def __init__(self, place: str | Store) -> None:
        self.url = place if isinstance(place, str) else place.url
        self._store = None if isinstance(place, str) else place
        self._lock = Lock()
        self._told: set[str] = set()

    def __repr__(self) -> str:
        return f"Mirror({self.url!r})"

    @property
    def store(self) -> Store:
        """The mirror's store, opened when it is first needed.

        Raises
        ------
        StacpinError
            If there is none.
        """
        with self._lock:
            if self._store is None:
                self._store = open_store(self.url)
            return self._store

    def fetch(self, path: str, size: int | None = None) -> IO[bytes] | None:
        """A file that is named by its sha256, proven and rewound; None if the mirror has no right one.

        Up to 16 MiB it is held in memory, above that in a temporary file. A mirror with other bytes is named in the
        log.
        """
        digest = content_name(path)
        if digest is None:
            return None
        try:
            file, found = read_proven_file(self.store, path, size)
        except NotFound:
            return None
        except StacpinError as error:
            self.say("failed", "the mirror %s does not give %s: %s", self.url, path, error.message)
            return None
        if found != digest:
            file.close()
            self.say("lies", "the mirror %s has other bytes for %s: they are not used", self.url, path)
            return None
        return file

    def say(self, what: str, text: str, *values: object) -> None:
        """Log a warning, once for each kind of thing that is to say of this mirror."""
        with self._lock:
            if what in self._told:
                return
            self._told.add(what)
        _log.warning(text, *values)


def read_proven_file(store: Store, path: str, size: int | None = None) -> tuple[IO[bytes], bytes]:
    """The bytes of an object in a temporary file, rewound, and their sha256; at most ``size`` bytes are taken.

    Raises
    ------
    Integrity
        If there are more than ``size``.
    """
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - the caller reads and closes it
    try:
        state = hashlib.sha256()
        for block in _bounded(store, path, size):
            state.update(block)
            file.write(block)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file, state.digest()


def _bounded(store: Store, path: str, size: int | None) -> Iterator[memoryview]:
    seen = 0
    for block in store.stream(path):
        seen += len(block)
        if size is not None and seen > size:
            raise Integrity(f"{path} is altered: it is longer than {size} bytes.", kind="altered")
        yield block


def opened(places: Sequence[str | Store]) -> list[Mirror]:
    """Mirrors for paths, URLs or stores, each once, in their order."""
    found: dict[str, Mirror] = {}
    for place in places:
        mirror = Mirror(place)
        found.setdefault(mirror.url, mirror)
    return list(found.values())
