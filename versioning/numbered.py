"""Numbered entries: 1, 2, 3, … in one folder, each created with put-if-absent and never changed.

Versions, pointer moves and settings are all such logs. Numbers are dense, so the head is found by probing upwards from
the last number known, not by listing.
"""

from __future__ import annotations

import re
from threading import Lock

from cachetools import LRUCache

from versioning.errors import Integrity, NotFound
from versioning.read_only import from_mirrors
from versioning.store import Store

__all__ = ["NumberedLog"]

_ENTRY = re.compile(r"[0-9]{8}\.json")


class NumberedLog:
    """The entries of one folder."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store = store
        self._folder = folder
        self._known = 0
        self._entries: LRUCache[int, bytes] = LRUCache(maxsize=1024)
        self._lock = Lock()

    def path(self, number: int) -> str:
        """Where an entry lies: eight digits, so that a listing sorts."""
        return f"{self._folder}/{number:08d}.json"

    def head(self) -> int:
        """The highest number that exists, 0 if none does. Probes 1, 2, 4, … beyond the last known, then halves."""
        low = self._known
        step = 1
        before = from_mirrors(self._store)
        while self._exists(low + step):
            low += step
            step *= 2
        high = low + step
        while high - low > 1:
            middle = (low + high) // 2
            if self._exists(middle):
                low = middle
            else:
                high = middle
        if from_mirrors(self._store) == before:
            self._known = max(self._known, low)
        return low

    def get(self, number: int) -> bytes:
        """The bytes of an entry; they never change, so they are remembered, unless a mirror's word is all there is.

        Raises
        ------
        NotFound
            If there is no such entry.
        """
        with self._lock:
            data = self._entries.get(number)
        if data is None:
            before = from_mirrors(self._store)
            data = self._store.get(self.path(number))
            if not data:
                raise Integrity(f"{self.path(number)} is empty.", hint="Restore it from a mirror.", kind="truncated")
            if from_mirrors(self._store) == before:
                with self._lock:
                    self._entries[number] = data
        return data

    def find(self, number: int) -> bytes | None:
        """The bytes of an entry, or None if there is no such entry."""
        try:
            return self.get(number)
        except NotFound:
            return None

    def check_nothing_beyond(self, head: int) -> None:
        """Prove by one listing that no entry lies beyond the head: one that was lost would be written anew.

        Raises
        ------
        Integrity
            If there are later entries and the next one is missing.
        """
        first = self.path(head + 1)
        listed = (entry.path for entry in self._store.list(self._folder, after=first))
        # Not every server that speaks S3 begins where it is told to.
        later = [path for path in listed if path > first and _ENTRY.fullmatch(path.rsplit("/", 1)[-1])]
        # Another writer may have gone on since the head was found; then the next entry is there.
        if later and self._store.size(self.path(head + 1)) is None:
            raise Integrity(
                f"{self.path(head + 1)} is missing, and {min(later)} is there.",
                hint="Restore it from a mirror. Nothing is written meanwhile: its number must not be used again.",
                kind="missing",
            )

    def append(self, number: int, data: bytes) -> bool:
        """Create an entry; False if another writer has that number.

        A lost reply makes a retry see its own write as a stranger's: the bytes (which carry a nonce) are read back.
        """
        if not self._store.put_record(self.path(number), data) and self._store.get(self.path(number)) != data:
            return False
        self._known = max(self._known, number)
        return True

    def _exists(self, number: int) -> bool:
        with self._lock:
            if number in self._entries:
                return True
        return self._store.size(self.path(number)) is not None
