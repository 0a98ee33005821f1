"""Our pinned searches against stock stac-fastapi-pgstac's unpinned ones on the same items, request by request in turn.

Run: ``make bench-api`` (ITEMS=100000 ROUNDS=150 KEEP=1), or ``python -m benchmarks.api.against_stock``.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import quote

import orjson

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from search import DATES, items

from benchmarks.api.sides import Side, indexed, load_stock, ours, run_postgres, stock
from benchmarks.api.versions import Table, versions_tables
from benchmarks.store.report import machine
from versioning.catalog import Catalog
from versioning.commit import commit

RESULTS = Path(__file__).resolve().parents[1] / "RESULTS.md"
DATASETS, CLIENTS, SECONDS = 20, 16, 15.0
BIG = 10_000


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of request: the path for a collection id, drawn anew each time, and how slow ours may be.

    With ``latest`` ours is asked for the dataset and finds its latest version; else for the version.
    """

    name: str
    path: Callable[[random.Random, Callable[[int], str]], str]
    most: float
    target: str
    latest: bool = False


def cases(ids: Sequence[Sequence[str]]) -> list[Case]:
    """The requests; ``ids`` are the item ids of each dataset."""

    def search(rest: Callable[[random.Random], str], count: int = 1) -> Callable:
        def path(draw: random.Random, name: Callable[[int], str]) -> str:
            chosen = draw.sample(range(DATASETS), count)
            return f"/search?collections={','.join(map(name, chosen))}&{rest(draw)}"

        return path

    def few(draw: random.Random, name: Callable[[int], str]) -> str:
        number = draw.randrange(DATASETS)
        return f"/search?collections={name(number)}&ids={','.join(draw.sample(ids[number], 5))}&limit=10"

    def one(draw: random.Random, name: Callable[[int], str]) -> str:
        number = draw.randrange(DATASETS)
        return f"/collections/{name(number)}/items/{draw.choice(ids[number])}"

    def two(draw: random.Random) -> str:
        text = f"eo:cloud_cover < {draw.randint(5, 30)} AND platform = 'sentinel-2{draw.choice('ab')}'"
        return f"filter={quote(text)}&filter-lang=cql2-text&limit=10"

    return [
        Case("box and time, limit 10", search(lambda draw: f"{_box(draw)}&limit=10"), 1.2, "≤ 1.2"),
        Case("box and time, limit 100", search(lambda draw: f"{_box(draw, 20)}&limit=100"), 1.1, "≤ 1.1"),
        Case("box and time, nothing found", search(lambda draw: f"{_nowhere(draw)}&limit=10"), 1.2, "≤ 1.2"),
        Case("everything, limit 1,000", search(lambda _: "limit=1000"), 1.1, "≤ 1.1"),
        Case("CQL2 on two properties", search(two), 1.1, "≤ 1.1"),
        Case("five ids", few, 1.2, "≤ 1.2"),
        Case("one item", one, 1.2, "≤ 1.2"),
        Case("five datasets at latest", search(lambda draw: f"{_box(draw)}&limit=10", 5), 1.1, "≤ 1.1", latest=True),
    ]


def _box(draw: random.Random, size: float = 6) -> str:
    return _searched(draw, draw.uniform(-120, -60 - size), draw.uniform(10, 60 - size), size)


def _nowhere(draw: random.Random) -> str:
    return _searched(draw, draw.uniform(0, 100), draw.uniform(-80, -10), 6)


def _searched(draw: random.Random, west: float, south: float, size: float) -> str:
    month = draw.randint(1, 6)
    return (
        f"bbox={west:.3f},{south:.3f},{west + size:.3f},{south + size:.3f}"
        f"&datetime=2024-{month:02d}-01T00:00:00Z/2024-{month + 2:02d}-28T00:00:00Z"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--versions", type=int, default=200)
    parser.add_argument(
        "--grown", type=int, default=100_000, help="items of the largest dataset that is published into"
    )
    parser.add_argument("--keep", action="store_true", help="write the tables into RESULTS.md")
    asked = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stacpin-bench-api-")))
        cluster = stack.enter_context(run_postgres())
        catalog, ids = build(folder / "catalog", asked.items)
        index_url, index_seconds = indexed(cluster, catalog)
        print(f"indexed in {index_seconds:.0f} s", flush=True)
        stock_url, stock_seconds = load_stock(cluster, stored(catalog))
        print(f"loaded into stock in {stock_seconds:.0f} s", flush=True)
        for url in (index_url, stock_url):
            vacuum(url)
        text = [
            f"{asked.items:,} items of 3 kB in {DATASETS} datasets, {asked.rounds} requests a side in turn, one worker."
        ]
        speeds = [f"{asked.items / seconds:,.0f}" for seconds in (index_seconds, stock_seconds)]
        text.append(f"Indexed at {speeds[0]} items/s, loaded into stock at {speeds[1]}.")
        with stock(stock_url) as theirs, ours(str(folder / "catalog"), index_url) as mine:
            tables = [compare(cases(ids), theirs, mine, asked.rounds), at_once(theirs, mine), assets(theirs, mine)]
        tables += versions_tables(cluster, folder, asked.versions, asked.grown)
    section = [f"## api/against_stock.py, {time.strftime('%Y-%m-%d')}, {machine()}", "", " ".join(text), ""]
    for table in tables:
        section += [table.text(), ""]
    print("\n".join(section))
    if asked.keep:
        RESULTS.write_text(RESULTS.read_text().rstrip() + "\n\n" + "\n".join(section).rstrip() + "\n")


def build(folder: Path, count: int) -> tuple[Catalog, list[list[str]]]:
    """A catalog of datasets, the last with 10,000 items of its own, and the ids of each.

    Tile by tile in turn: each dataset covers the whole area, so that a search finds items wherever it looks.
    """
    catalog = Catalog.create(str(folder))
    datasets: list[list[dict]] = [[] for _ in range(DATASETS)]
    for number, item in enumerate(items(count)):
        datasets[number // DATES % DATASETS].append(item)
    for number, some in enumerate(datasets):
        commit(catalog.dataset(f"d{number:02d}"), items=some, message="bench", author="bench")
    found = [[item["id"] for item in some] for some in datasets]
    commit(catalog.dataset("big"), items=items(BIG), message="bench", author="bench")
    return catalog, found


def stored(catalog: Catalog) -> dict[str, Iterator[dict]]:
    """The items of each version, by the id of its collection."""

    def of(dataset: str) -> Iterator[dict]:
        return (row.parse() for row in catalog.dataset(dataset).version(1).rows())

    return {f"{dataset}--v1": of(dataset) for dataset in catalog.dataset_ids()}


def vacuum(url: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("vacuum analyze")


def ask(connection, path: str) -> tuple[float, bytes]:
    begin = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    data = answer.read()
    seconds = time.perf_counter() - begin
    if answer.status != 200:
        raise RuntimeError(f"{answer.status} {path}: {data[:300]!r}")
    return seconds, data


def compare(asked: list[Case], theirs: Side, mine: Side, rounds: int) -> Table:
    """Each request at both sides, one after the other, the first of the two in turn; the same items or it stops."""
    rows = []
    sides = {"stock": theirs.connect(), "stacpin": mine.connect()}
    for case in asked:
        names = {"stock": lambda number: f"d{number:02d}--v1", "stacpin": lambda number: f"d{number:02d}--v1"}
        if case.latest:
            names["stacpin"] = lambda number: f"d{number:02d}"
        taken: dict[str, list[float]] = {"stock": [], "stacpin": []}
        counts: list[int] = []
        draw = random.Random(case.name)
        for count in range(rounds + 10):
            state = draw.getstate()
            answers = {}
            for side in ("stock", "stacpin") if count % 2 else ("stacpin", "stock"):
                draw.setstate(state)
                seconds, data = ask(sides[side], case.path(draw, names[side]))
                answers[side] = data
                if count >= 10:
                    taken[side].append(seconds)
            if count % 50 == 0:
                assert _ids(answers["stock"]) == _ids(answers["stacpin"]), case.name
            counts.append(len(_ids(answers["stock"])))
        a, b = median(taken["stock"]) * 1000, median(taken["stacpin"]) * 1000
        tails = [quantiles(taken[side], n=20)[-1] * 1000 for side in ("stock", "stacpin")]
        rows.append(
            [
                case.name,
                f"{median(counts):.0f}",
                f"{a:.1f} ({tails[0]:.1f})",
                f"{b:.1f} ({tails[1]:.1f})",
                f"{b / a:.2f}",
                case.target,
                _met(b / a <= case.most),
            ]
        )
        print(rows[-1], flush=True)
    heads = ["p50 (p95) in ms", "items found", "stock, unpinned", "stacpin, pinned", "ours / stock", "target", ""]
    return Table(heads, rows)


def _ids(data: bytes) -> list[str]:
    body = orjson.loads(data)
    return [item["id"] for item in body["features"]] if "features" in body else [body["id"]]


def at_once(theirs: Side, mine: Side) -> Table:
    """16 clients on each side, one side after the other, twice."""
    figures: dict[str, list[float]] = {"stock": [], "stacpin": []}
    for _ in range(2):
        for side in (theirs, mine):
            figures[side.name].append(_many(side))
    a, b = (max(figures[name]) for name in ("stock", "stacpin"))
    row = [
        f"searches/s, {CLIENTS} clients, box and time, limit 10",
        f"{a:.0f}",
        f"{b:.0f}",
        f"{b / a:.2f}",
        "≥ 1",
        _met(b >= a),
    ]
    print(row, flush=True)
    return Table(["throughput", "stock", "stacpin", "ours / stock", "target", ""], [row])


def _many(side: Side) -> float:
    counts = [0] * CLIENTS
    stop = time.monotonic() + SECONDS

    def client(number: int) -> None:
        draw = random.Random(number)
        connection = side.connect()
        while time.monotonic() < stop:
            ask(connection, f"/search?collections=d{draw.randrange(DATASETS):02d}--v1&{_box(draw)}&limit=10")
            counts[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / SECONDS


def assets(theirs: Side, mine: Side) -> Table:
    """The whole asset set of a version of 10,000 items: as one stream, and by paging stock."""
    connection = theirs.connect()
    begin = time.perf_counter()
    path, count = "/search?collections=big--v1&limit=1000", 0
    while path:
        _, data = ask(connection, path)
        body = orjson.loads(data)
        count += len(body["features"])
        following = [link["href"] for link in body["links"] if link["rel"] == "next"]
        path = following[0].partition(theirs.url)[2] if following else ""
    paged = time.perf_counter() - begin
    assert count == BIG
    rows = []
    for form in ("ndjson", "parquet"):
        best = min(ask(mine.connect(), f"/collections/big--v1/assets?f={form}")[0] for _ in range(5))
        rows.append(
            [
                f"asset set of {BIG:,} items as {form}",
                f"{paged:.2f} s",
                f"{best:.3f} s",
                f"{paged / best:.0f}",
                "≥ 50",
                _met(paged >= 50 * best),
            ]
        )
        print(rows[-1], flush=True)
    return Table(["asset set", "stock, pages of 1,000", "stacpin", "stock / ours", "target", ""], rows)


def _met(met: bool) -> str:  # noqa: FBT001 - what it says
    return "met" if met else "**missed**"


if __name__ == "__main__":
    main()
