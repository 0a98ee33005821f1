"""Sizes of chunks, and how far an edit reaches: the rule of format 1 against plain ``hash mod N``.

    python benchmarks/chunking.py [ITEMS] [EDITS]

An edit inserts or removes one item at a random place. "Rewritten" counts the chunks, and their rows, that the version
after the edit has and the one before it has not.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import platform
import random
import statistics
import sys
from collections.abc import Callable
from itertools import pairwise

from versioning.chunking import CHUNKS, chunk_hash

Rule = Callable[[int, int], bool]
PLAIN = 1024


def plain(_: int, value: int) -> bool:
    """A chunk ends after a row whose hash is 0 modulo 1,024: no least and no greatest size."""
    return value % PLAIN == 0


def sequential(count: int) -> list[str]:
    return [f"a{number:07d}" for number in range(count)]


def hashed(count: int) -> list[str]:
    return sorted(hashlib.sha256(b"%d" % number).hexdigest()[:16] for number in range(count))


def tiled(count: int) -> list[str]:
    return sorted(f"r{number % 997:04d}c{number % 31:03d}-2024{number // 30_907:06d}" for number in range(count))


def ends_of(hashes: list[int], rule: Rule, start: int = 0, stop_at: frozenset[int] = frozenset()) -> list[int]:
    """Ends of the chunks from ``start`` on; stops once it has met an end of ``stop_at``."""
    ends, count = [], 0
    for place in range(start, len(hashes)):
        count += 1
        if rule(count, hashes[place]):
            ends.append(place + 1)
            count = 0
            if place + 1 in stop_at:
                return ends
    return ends if not count else [*ends, len(hashes)]


def rewritten(hashes: list[int], ends: list[int], rule: Rule, rng: random.Random, edits: int) -> list[tuple[int, int]]:
    """Chunks and rows that each edit makes new."""
    starts = [0, *ends]
    found = []
    for _ in range(edits):
        place = rng.randrange(len(hashes))
        first = max(start for start in starts if start <= place)
        insert = rng.random() < 0.5
        after = hashes.copy()
        if insert:
            after.insert(place, rng.getrandbits(64))
        else:
            del after[place]
        shift = 1 if insert else -1
        old = frozenset(end + shift for end in ends if end > place)
        new = ends_of(after, rule, first, old)
        found.append((len(new), new[-1] - first if new else 0))
    return found


def percentile(values: list[int], share: float) -> int:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    edits = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    print(f"{count:,} items, {edits} edits; {platform.machine()}, Python {platform.python_version()}, ", end="")
    print(f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}; {CHUNKS}")
    print(
        "ids         rule          chunks   least    5 %  median   mean   95 %   most | rewritten: chunks  rows  (95 %)"
    )
    for name, make in (("sequential", sequential), ("hashed", hashed), ("tiles", tiled)):
        hashes = [chunk_hash(item_id) for item_id in make(count)]
        for label, rule in (("format 1", CHUNKS.ends), (f"mod {PLAIN}", plain)):
            ends = ends_of(hashes, rule)
            sizes = [end - start for start, end in pairwise([0, *ends])][:-1]
            found = rewritten(hashes, ends, rule, random.Random(1), edits)
            chunks, rows = [each[0] for each in found], [each[1] for each in found]
            print(
                f"{name:11} {label:11} {len(sizes):8,} {min(sizes):7,} {percentile(sizes, 0.05):6,}"
                f" {percentile(sizes, 0.5):7,} {statistics.mean(sizes):6,.0f}"
                f" {percentile(sizes, 0.95):6,} {max(sizes):6,}"
                f" | {statistics.mean(chunks):11.2f} {statistics.mean(rows):7,.0f} {percentile(rows, 0.95):6,}"
            )


if __name__ == "__main__":
    main()
