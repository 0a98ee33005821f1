"""What many versions cost: the index's size, publishing, and searches at old versions."""

from __future__ import annotations

import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from search import items

from api.pgstac_backend import PgstacBackend
from benchmarks.api.sides import Cluster, indexed, load_stock
from catalog.pgstac.database import Database
from catalog.pgstac.follow import Follower
from catalog.query import Query
from versioning.catalog import Catalog
from versioning.commit import commit

__all__ = ["Table", "versions_tables"]

_SIZE = 5_000


@dataclass(frozen=True, slots=True)
class Table:
    """A table of RESULTS.md."""

    heads: list[str]
    rows: list[list[str]]

    def text(self) -> str:
        lines = [self.heads, ["---"] * len(self.heads), *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def versions_tables(cluster: Cluster, folder: Path, versions: int, grown: int) -> list[Table]:
    """All that is about versions."""
    return [*_churned(cluster, folder / "churn", versions), _published(cluster, folder / "grown", grown)]


def _changed(item: dict, value: int) -> dict:
    return {**item, "properties": {**item["properties"], "eo:cloud_cover": value}}


def _churned(cluster: Cluster, folder: Path, versions: int) -> list[Table]:
    """One dataset in many versions of 5 % churn."""
    draw = random.Random(1)
    catalog = Catalog.create(str(folder))
    dataset = catalog.dataset("churn")
    all_items = list(items(_SIZE))
    commit(dataset, items=all_items, message="bench", author="bench")
    for number in range(2, versions + 1):
        some = draw.sample(all_items, _SIZE // 20)
        commit(dataset, items=[_changed(item, number) for item in some], message="bench", author="bench")
    url, seconds = indexed(cluster, catalog)
    one, _ = load_stock(cluster, {"churn--v1": all_items})
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("vacuum analyze")
    mine, theirs = _bytes(url), _bytes(one)
    ratio = theirs * versions / mine
    size = [
        f"{versions} versions of {_SIZE:,} items at 5 % churn",
        f"{theirs * versions / 1e6:,.0f} MB ({theirs / 1e6:.1f} MB for one, times {versions})",
        f"{mine / 1e6:,.0f} MB", f"1/{ratio:.0f}", "≤ 1/12", "met" if ratio >= 12 else "**missed**",
    ]  # fmt: skip
    print(size, f"indexed in {seconds:.0f} s", flush=True)
    backend = PgstacBackend(catalog, url)
    numbers = [1, versions // 2, versions]
    taken: dict[int, list[float]] = {number: [] for number in numbers}
    for count in range(160):
        west, south = draw.uniform(-120, -70), draw.uniform(10, 50)
        query = Query.parse(bbox=[west, south, west + 6, south + 6], datetime="2024-02-01/2024-05-01")
        for number in numbers if count % 2 else numbers[::-1]:
            version = backend.resolve("churn", f"v{number}")
            begin = time.perf_counter()
            backend.search([version], query, limit=10, token=None)
            if count >= 10:
                taken[number].append(time.perf_counter() - begin)
    backend.close()
    medians = {number: median(taken[number]) * 1000 for number in numbers}
    spread = max(medians.values()) / min(medians.values())
    at = [
        "search by box and time, p50", *(f"{medians[number]:.1f} ms" for number in numbers),
        f"{spread:.2f}", "within 1.3", "met" if spread <= 1.3 else "**missed**",
    ]  # fmt: skip
    print(at, flush=True)
    return [
        Table(["size of the index", "one stock collection a version", "stacpin", "ratio", "target", ""], [size]),
        Table(["pinned at", *(f"v{number}" for number in numbers), "largest / smallest", "target", ""], [at]),
    ]


def _bytes(url: str) -> int:
    """Tables, indexes and toast of all items."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select sum(pg_total_relation_size(inhrelid))::bigint from pg_inherits"
            " where inhparent = 'pgstac.items'::regclass"
        ).fetchone()
    assert row is not None
    return row[0]


def _published(cluster: Cluster, folder: Path, grown: int) -> Table:
    """A version with 500 changes: into 10,000 items, and into as many as were asked for."""
    rows = []
    figures = []
    for size in (10_000, grown):
        catalog = Catalog.create(str(folder / str(size)))
        dataset = catalog.dataset("grown")
        made = items(size)
        first = [next(made) for _ in range(10_000)]
        commit(dataset, items=first, message="bench", author="bench")
        for _ in range(10_000, size, 50_000):
            commit(
                dataset,
                items=[item for _, item in zip(range(50_000), made, strict=False)],
                message="bench",
                author="bench",
            )
        url, _ = indexed(cluster, catalog)
        follower = Follower(catalog, Database(url))
        draw = random.Random(2)
        taken = []
        for number in range(7):
            some = [_changed(item, 1000 + number) for item in draw.sample(first, 500)]
            commit(dataset, items=some, message="bench", author="bench")
            begin = time.perf_counter()
            done = follower.step()
            taken.append(time.perf_counter() - begin)
            assert [each.added for each in done.versions] == [500]
        figures.append(median(taken[1:]))
        target, met = (
            ("≤ 0.3 s", figures[0] <= 0.3) if size == 10_000 else ("< 1.5 times", figures[1] < 1.5 * figures[0])
        )
        rows.append(
            [
                f"500 changes into {size:,} items",
                f"{figures[-1]:.2f} s",
                f"{figures[-1] / figures[0]:.2f}",
                target,
                "met" if met else "**missed**",
            ]
        )
        print(rows[-1], flush=True)
    return Table(["publish", "median of 6", "to 10,000", "target", ""], rows)
