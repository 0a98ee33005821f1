"""One commit after another, each made from the one before: nothing that grows with the dataset is read again."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from versioning.canonical import parse
from versioning.commit import CommitResult, commit
from versioning.dataset import Dataset
from versioning.errors import Conflict
from versioning.patience import Patience
from versioning.version import Version

__all__ = ["Appender"]

_SHOWN = 10


class Appender:
    """Commits batches of items; one thread at a time may use it.

    Attributes
    ----------
    base
        The version that the next commit is made from: what ``latest`` was at first, then what was committed last.
    absent
        How many removals were of items that are not there.
    """

    def __init__(self, dataset: Dataset, *, author: str, message: str, patience: Patience) -> None:
        self._dataset = dataset
        self._author = author
        self._message = message
        self._patience = patience
        self._nonces: set[str] = set()  # of the records that were tried since the last commit that came to an end
        self.base: Version | None = dataset.latest()
        self.absent = 0

    def commit(self, batch: Mapping[str, bytes | None]) -> CommitResult | None:
        """Commit a batch: ids to the canonical JSON of items, or to None where one is to be removed.

        Returns None if nothing is left to do. It may be called again with what failed: the same items in the same state
        are no conflict.

        Raises
        ------
        Conflict
            If somebody else changed the same items since ``base``.
        StacpinError
            What :func:`versioning.commit.commit` raises.
        """
        items = [parse(data) for data in batch.values() if data is not None]
        gone = self._present([item_id for item_id, data in batch.items() if data is None])
        if not items and not gone:
            return None
        first = self.base.number if self.base else 0
        result = self._patience(lambda: self._attempt(items, gone))
        landed = self._landed(result, first) if self._nonces and not result.created else None
        # What somebody else has retired since was a version all the same, but nothing can be made from it any more.
        retired = landed is not None and self._patience(lambda: self._dataset.expiry(landed.version.number)) is not None
        self.base = result.version if landed is None or retired else landed.version
        self._nonces.clear()
        return landed or result

    def _attempt(self, items: list[dict[str, Any]], gone: list[str]) -> CommitResult:
        return commit(
            self._dataset,
            items=items,
            remove=gone,
            message=self._message,
            author=self._author,
            base=self.base,
            new_nonce=self._nonce,
        )

    def _nonce(self) -> str:
        nonce = secrets.token_hex(8)
        self._nonces.add(nonce)
        return nonce

    def _landed(self, result: CommitResult, first: int) -> CommitResult | None:
        """The version of an earlier attempt of which the answer was lost, so that another had nothing to do.

        Its nonce tells it from those of other streams, which may have the same author and message.
        """
        for number in range(result.version.number, first, -1):
            record = self._patience(lambda number=number: self._dataset.record(number))
            if record.nonce in self._nonces:
                made = record.statistics
                counts = {"added": made.added, "changed": made.changed, "removed": made.removed}
                return CommitResult(Version(record, self._dataset.files), created=True, **counts)
        return None

    def _present(self, removals: list[str]) -> list[str]:
        """Of the items to be removed, those that are there."""
        gone = [item_id for item_id in removals if _has(self.base, item_id)]
        lacking = set(removals).difference(gone)
        if not lacking:
            return gone
        latest = self._patience(self._dataset.latest)
        if latest is not None and (self.base is None or latest.number != self.base.number):
            new = sorted(item_id for item_id in lacking if _has(latest, item_id))
            if new:
                raise Conflict(
                    f"{latest.pin} added items that are to be removed: {', '.join(new[:_SHOWN])}.",
                    hint=f"Look at it (stacpin show {latest.pin}), then decide again.",
                )
        self.absent += len(lacking)
        return gone


def _has(version: Version | None, item_id: str) -> bool:
    chunk = version.chunk_of(item_id) if version is not None else None
    if version is None or chunk is None:
        return False
    return version.light(chunk).column("id").index(item_id).as_py() >= 0
