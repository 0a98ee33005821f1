"""What grows with a catalog, and what does not: commits, diffs, opens, asset sets and scans at up to 1,000,000 items.

    python -m benchmarks.store.growth [--items 10000,100000] [--steps commit,diff,…] [--scratch DIR] [--keep]

The catalogs are made once, by real commits, and kept; each step works on a copy of links to one. Every timed call
begins with a catalog that has just been opened, so that nothing is remembered but what the disk's cache has.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any, TypeVar

from benchmarks.store.counting import Counting
from benchmarks.store.report import machine
from benchmarks.store.synthetic import DATASET, added, changed, item, make_catalog, numbers
from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.diff import diff_versions
from versioning.store import open_store
from versioning.version import Version

RESULTS = Path(__file__).parents[1] / "RESULTS.md"
KIB, MIB = 1024, 1024 * 1024
_Opened = TypeVar("_Opened")


@dataclass
class Cost:
    """What some calls took: seconds of wall time and of CPU, and what they asked of the store."""

    wall: float = 0.0
    cpu: float = 0.0
    written: int = 0
    read: int = 0
    requests: int = 0
    paths: list[str] = field(default_factory=list)

    def text(self) -> str:
        return (
            f"{self.wall:.2f} s, CPU {self.cpu:.2f} s, {_size(self.written)} written, {_size(self.read)} read, "
            f"{self.requests} requests"
        )


class Bench:
    """A catalog of a size, and what is measured on it."""

    def __init__(self, scratch: Path, count: int) -> None:
        self.count = count
        self._base = make_catalog(scratch, count)
        self._work = scratch / "growth-work"

    @contextmanager
    def fresh(self) -> Iterator[Path]:
        """The catalog as it was made, to be changed: nothing in it is ever overwritten, so links will do."""
        shutil.rmtree(self._work, ignore_errors=True)
        shutil.copytree(self._base, self._work, copy_function=os.link)
        yield self._work
        shutil.rmtree(self._work)

    def commits(self) -> Iterator[tuple[str, str]]:
        """1,000 changes, side by side and scattered."""
        for clustered in (True, False):
            with self.fresh() as folder:
                cost = commit_to(folder, changed(numbers(self.count, 1000, clustered=clustered), 1))
            yield f"commit of 1,000 {'clustered' if clustered else 'scattered'} changes", cost.text()

    def many(self) -> Iterator[tuple[str, str]]:
        """200 scattered commits in a row."""
        with self.fresh() as folder:
            costs = []
            for state in range(1, 201):
                picked = sorted({(number * 31 + state * 977) % self.count for number in scattered(self.count)})
                costs.append(commit_to(folder, changed(picked, state)))
            size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
        written, cpu = [cost.written for cost in costs], [cost.cpu for cost in costs]
        each = f"{_size(sum(written) / 200)} written (median {_size(median(written))}, most {_size(max(written))})"
        time_of = f"CPU {sum(cpu) / 200:.2f} s (median {median(cpu):.2f}, most {max(cpu):.2f})"
        yield "200 commits of 1,000 scattered changes, each", f"{each}, {time_of}; manifests then {_size(size)}"

    def diffs(self) -> Iterator[tuple[str, str]]:
        """1 % scattered and 0.1 % clustered."""
        for name, share, clustered in (("1 % scattered", 100, False), ("0.1 % clustered", 1000, True)):
            with self.fresh() as folder:
                before = latest(folder).number
                commit_to(folder, changed(numbers(self.count, self.count // share, clustered=clustered), 1))

                def both(folder: Path = folder, before: int = before) -> tuple[Version, Version]:
                    dataset = Catalog.open(str(folder)).dataset(DATASET)
                    return dataset.version(before), dataset.version(before + 1)

                wall, cpu, found = best(both, lambda pair: len(diff_versions(*pair).changed))
            yield f"diff, {name}", f"{wall:.3f} s, CPU {cpu:.3f} s, {found:,} items"

    def opens(self) -> Iterator[tuple[str, str]]:
        """Open a pin and fetch one item: 200 times on the local disk; and what it asks of a remote store."""
        times, pin = [], latest(self._base).pin
        for index in range(200):
            wanted = item(index * 7919 % self.count)["id"]
            begin = time.perf_counter()
            found = Catalog.open(str(self._base)).resolve(pin).find(wanted)
            times.append(time.perf_counter() - begin)
            assert found is not None, wanted
        yield (
            "open a pin and fetch one item, local",
            f"p50 {1000 * median(times):.1f} ms, p95 {1000 * quantiles(times, n=20)[18]:.1f} ms",
        )
        store = Counting(open_store(str(self._base)), remote=True)
        found = Catalog.open(store).resolve(pin).find(item(self.count // 2)["id"])
        assert found is not None
        asked = [_short(path) for path in store.paths]
        yield "requests for a pin and one item", f"{len(asked)}, {_size(store.read)}: {'; '.join(asked)}"

    def assets(self) -> Iterator[tuple[str, str]]:
        """The asset set as Arrow and as Python objects."""

        def arrow(version: Version) -> int:
            return sum(version.table(chunk, columns=["id", "assets"]).num_rows for chunk in version.chunks)

        def objects(version: Version) -> int:
            return sum(1 for _ in version.assets())

        for name, run in (("Arrow", arrow), ("Python objects", objects)):
            wall, cpu, _ = best(partial(latest, self._base), run)
            yield f"asset set as {name}", f"{self.count / wall:,.0f} items/s ({wall:.2f} s, CPU {cpu:.2f} s)"

    def scans(self) -> Iterator[tuple[str, str]]:
        """Everything, all columns: without delta files, and after eight scattered commits."""

        def scan(version: Version) -> int:
            return sum(version.table(chunk).num_rows for chunk in version.chunks)

        def rows(version: Version) -> int:
            return sum(1 for _ in version.rows())

        plain = [best(partial(latest, self._base), each) for each in (scan, rows)]
        with self.fresh() as folder:
            for state in range(1, 9):
                picked = sorted({(number * 31 + state * 977) % self.count for number in scattered(self.count)})
                commit_to(folder, changed(picked, state))
            deltas = [best(partial(latest, folder), each) for each in (scan, rows)]
        for name, without, having in zip(("Arrow", "rows"), plain, deltas, strict=True):
            said = f"{without[0]:.2f} s, CPU {without[1]:.2f} s; then {having[0]:.2f} s, CPU {having[1]:.2f} s"
            yield (
                f"full scan as {name}, eight scattered commits later",
                f"{having[0] / without[0]:.2f} times as long ({said})",
            )

    def appends(self) -> Iterator[tuple[str, str]]:
        """A writer that stays open and adds 20 items every few seconds: 60 commits, and 60 after it has met all chunks.

        A chunk is read once, when the writer first adds to it: of a million items 851 are.
        """
        for place, turns in (("end", 60), ("spread", 240)):
            with self.fresh() as folder:
                store = Counting(open_store(str(folder)))
                dataset = Catalog.open(store).dataset(DATASET)
                costs = []
                for turn in range(turns):
                    items = [added(turn * 20 + index, place, self.count) for index in range(20)]
                    costs.append(measured(store, partial(commit_items, dataset, items)))
            # the first one opens the parent
            yield f"append of 20 items, {place}", _mean(costs[1:60])
            if turns > 60:
                yield f"append of 20 items, {place}, 180 commits later", _mean(costs[-60:])


STEPS: dict[str, Callable[[Bench], Iterable[tuple[str, str]]]] = {
    "commit": Bench.commits,
    "many": Bench.many,
    "diff": Bench.diffs,
    "open": Bench.opens,
    "assets": Bench.assets,
    "scan": Bench.scans,
    "append": Bench.appends,
}


TARGETS = {
    "commit of 1,000 clustered changes": "< 1.5 times the time at 100,000; ≤ 1.5 MB written",
    "commit of 1,000 scattered changes": "≤ 1 s CPU, ≤ 1 MB written",
    "200 commits of 1,000 scattered changes, each": "≤ 10 MB on average",
    "diff, 1 % scattered": "≤ 2.5 s",
    "diff, 0.1 % clustered": "≤ 50 ms",
    "open a pin and fetch one item, local": "p50 ≤ 15 ms, p95 ≤ 50 ms",
    "requests for a pin and one item": "two rounds after the record",
    "asset set as Arrow": "≥ 400,000 items/s",
    "asset set as Python objects": "≥ 120,000 items/s",
    "full scan as Arrow, eight scattered commits later": "≤ 1.3 times",
    "full scan as rows, eight scattered commits later": "≤ 1.3 times",
    "append of 20 items, end": "bytes and requests ≤ 1.2 times those at 1,000",
    "append of 20 items, spread, 180 commits later": "bytes and requests ≤ 1.2 times those at 1,000",
    "append of 20 items, spread": "bytes and requests ≤ 1.2 times those at 1,000",
}
"""What a catalog of 1,000,000 items shall reach."""


def latest(folder: Path) -> Version:
    version = Catalog.open(str(folder)).dataset(DATASET).latest()
    assert version is not None
    return version


def scattered(count: int) -> Iterator[int]:
    return numbers(count, min(1000, count // 2), clustered=False)


def best(opened: Callable[[], _Opened], run: Callable[[_Opened], int], repeat: int = 3) -> tuple[float, float, int]:
    """The shortest wall time and CPU time of some runs, each with the catalog newly opened; and what it gave."""
    times, found = [], 0
    for _ in range(repeat):
        versions = opened()
        gc.collect()
        begin, cpu = time.perf_counter(), time.process_time()
        found = run(versions)
        times.append((time.perf_counter() - begin, time.process_time() - cpu))
    return min(wall for wall, _ in times), min(cpu for _, cpu in times), found


def commit_to(folder: Path, items: list[dict[str, Any]]) -> Cost:
    """A commit by a process that has just begun."""
    store = Counting(open_store(str(folder)))
    return measured(store, lambda: commit_items(Catalog.open(store).dataset(DATASET), items))


def commit_items(dataset: Any, items: list[dict[str, Any]]) -> None:
    made = commit(dataset, items=items, message="bench", author="bench")
    assert made.created


def measured(store: Counting, run: Callable[[], None]) -> Cost:
    store.clear()
    gc.collect()
    begin, cpu = time.perf_counter(), time.process_time()
    run()
    return Cost(
        time.perf_counter() - begin,
        time.process_time() - cpu,
        store.written,
        store.read,
        sum(store.requests.values()),
        store.paths,
    )


def _mean(costs: list[Cost]) -> str:
    written, read, requests, cpu = (
        fmean(getattr(cost, what) for cost in costs) for what in ("written", "read", "requests", "cpu")
    )
    return f"{_size(written)} written, {_size(read)} read, {requests:.1f} requests, CPU {cpu:.3f} s a commit"


def _size(count: float) -> str:
    return f"{count / MIB:.2f} MiB" if count >= MIB else f"{count / KIB:.1f} KiB"


def _short(path: str) -> str:
    verb, _, rest = path.partition(" ")
    return f"{verb} {re.sub('[0-9a-f]{64}', '…', rest.removeprefix(f'datasets/{DATASET}/'))}"


def main() -> None:
    options = _options()
    options.scratch.mkdir(parents=True, exist_ok=True)
    sizes = [int(each) for each in options.items.split(",")]
    table: dict[str, dict[int, str]] = {}
    for size in sizes:
        bench = Bench(options.scratch, size)
        for name in options.steps.split(","):
            for line, said in STEPS[name](bench):
                print(f"{size:>9,}  {line}: {said}", flush=True)
                table.setdefault(line, {})[size] = said
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB
    lines = [
        f"## store/growth.py, {datetime.now(UTC):%Y-%m-%d}, {machine()}",
        "",
        f"Items of {len(_json(item(0))):,} bytes. Peak of the process: {peak:.0f} MiB.",
        "",
        "| | " + " | ".join(f"{size:,} items" for size in sizes) + " | target at 1,000,000 |",
        "|---" * (len(sizes) + 2) + "|",
        *(
            f"| {line} | " + " | ".join(found.get(size, "") for size in sizes) + f" | {TARGETS.get(line, '')} |"
            for line, found in table.items()
        ),
    ]
    report = "\n".join(lines) + "\n"
    print(report)
    if options.keep:
        with RESULTS.open("a") as out:
            out.write(f"\n{report}")


def _json(value: object) -> bytes:
    import orjson

    return orjson.dumps(value)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="the version store in catalogs of several sizes")
    parser.add_argument("--items", default="10000,100000", help="sizes (default 10000,100000; 1000000 needs 2 GB)")
    parser.add_argument("--steps", default=",".join(STEPS), help=f"some of {','.join(STEPS)}")
    scratch = Path(tempfile.gettempdir()) / "stacpin-bench"
    parser.add_argument("--scratch", type=Path, default=scratch, help=f"the catalogs stay here (default {scratch})")
    parser.add_argument("--keep", action="store_true", help=f"append the table to {RESULTS.name}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
