"""Proof that a stream of items is a whole version: its digest is computed again, from nothing but the items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from versioning.chunking import CHUNKS, chunk_hash, page_ends
from versioning.digests import leaf_digest, tree, version_digest
from versioning.errors import Integrity
from versioning.rows import Row

__all__ = ["DigestBuilder", "proven"]


class DigestBuilder:
    """Computes a version's digest while its rows go by, in the order of their ids; it holds one chunk of digests.

    The rules are those of catalog format 1 (``docs/format.md``): rows are cut into chunks by their ids, chunks into
    pages.
    """

    def __init__(self) -> None:
        self._open: list[bytes] = []
        self._leaves: list[bytes] = []
        self._lasts: list[str] = []
        self._last = ""

    def add(self, item_id: str, digest: bytes) -> None:
        """Take the next row.

        Raises
        ------
        Integrity
            If its id is not above the one before: something is served twice, or out of order.
        """
        if item_id <= self._last:
            raise Integrity(f"The item {item_id!r} came after {self._last!r}: items must come once, in order.")
        self._last = item_id
        self._open.append(digest)
        count = len(self._open)
        if count >= CHUNKS.least and CHUNKS.ends(count, chunk_hash(item_id)):
            self._close()

    def digest(self, collection: Mapping[str, Any]) -> str:
        """The digest of a version with these rows and this declared metadata, as ``sha256:…``."""
        if self._open:
            self._close()
        return version_digest(tree(self._leaves, page_ends(self._lasts)), dict(collection))

    def _close(self) -> None:
        self._leaves.append(leaf_digest(self._open))
        self._lasts.append(self._last)
        self._open = []


def proven(rows: Iterable[Row], *, digest: str, collection: Mapping[str, Any], pin: str, source: str) -> Iterator[Row]:
    """Pass the rows of a whole version on, and prove them when the last has gone by.

    Raises
    ------
    Integrity
        At the end, if they do not add up to ``digest``; what was yielded until then must be thrown away.
    """
    builder = DigestBuilder()
    for row in rows:
        builder.add(row.id, row.digest)
        yield row
    found = builder.digest(collection)
    if found != digest:
        raise Integrity(
            f"{pin} from {source} is altered: its items add up to {found}, not to {digest}.",
            hint="Verify the catalog that it comes from: stacpin verify.",
            kind="altered",
        )
