"""Content-defined chunking: the same set of items always has the same chunks, however it came about.

Rows are sorted by item id. Where a chunk ends depends only on how many rows it has and on the hash of its last id,
so an insert makes one or two new chunks and leaves all others alone. Normalised as in FastCDC (Xia et al., USENIX ATC
2016): rarely before the wanted size, often after it. ``benchmarks/chunking.py`` measures what the constants give.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["CHUNKS", "PAGES", "Cut", "chunk_hash", "cut_rows", "page_ends", "page_hash"]


@dataclass(frozen=True, slots=True)
class Cut:
    """The rule of one level: sizes are in rows (or chunks), masks are compared with the hash modulo them."""

    least: int
    wanted: int
    most: int
    rare: int
    often: int

    def ends(self, count: int, value: int) -> bool:
        """Whether a group of ``count`` members ends after the member whose hash is ``value``."""
        if count < self.least:
            return False
        return count >= self.most or value % (self.rare if count < self.wanted else self.often) == 0


CHUNKS = Cut(least=256, wanted=1024, most=4096, rare=4096, often=256)
PAGES = Cut(least=64, wanted=256, most=1024, rare=1024, often=64)


def chunk_hash(item_id: str) -> int:
    """The first 8 bytes of sha256(id), big-endian: what decides where chunks end."""
    return int.from_bytes(hashlib.sha256(item_id.encode("ascii")).digest()[:8], "big")


def page_hash(item_id: str) -> int:
    """Bytes 8 to 16 of sha256(id), big-endian: what decides where pages end."""
    return int.from_bytes(hashlib.sha256(item_id.encode("ascii")).digest()[8:16], "big")


def cut_rows(ids: Iterable[str]) -> Iterator[int]:
    """Yield the exclusive end of each finished chunk of sorted ids; the rest, if any, is the last chunk's."""
    count = 0
    for position, item_id in enumerate(ids, start=1):
        count += 1
        # Below the least size no hash is needed: a quarter of the rows.
        if count >= CHUNKS.least and CHUNKS.ends(count, chunk_hash(item_id)):
            yield position
            count = 0


def page_ends(last_ids: Sequence[str]) -> list[int]:
    """The exclusive ends of the pages of a list of chunks, each given by its last item's id."""
    ends: list[int] = []
    start = 0
    for position, item_id in enumerate(last_ids, start=1):
        count = position - start
        if count >= PAGES.least and PAGES.ends(count, page_hash(item_id)):
            ends.append(position)
            start = position
    if start < len(last_ids):
        ends.append(len(last_ids))
    return ends
