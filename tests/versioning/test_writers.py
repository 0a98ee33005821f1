"""Several writers at once, in threads and in processes: every change lands once, or is a Conflict that names it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import pytest
from faults import Faulty, at_random
from model_state import bytes_of, stored_item
from version_helpers import AUTHOR, local_store, save, small_chunks, values_of
from writer_child import put

from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.dataset import Dataset
from versioning.errors import Conflict, StorageUnavailable
from versioning.store import Store, open_store
from versioning.verify import verify_chain, verify_version
from versioning.version import Version

LONG = bool(os.environ.get("STACPIN_LONG"))

HERE = Path(__file__).parent
WRITERS = 3
ROUNDS = 4
Opened = Callable[[], Catalog]


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where writers of several processes meet: the URL of an empty catalog with one version of some items."""
    if request.param == "local":
        url = str(tmp_path / "catalog")
    else:
        for name, value in request.getfixturevalue("s3_server").environment.items():
            monkeypatch.setenv(name, value)
        url = f"{request.getfixturevalue('s3_bucket')}/{os.urandom(8).hex()}/catalog"
    begin(open_store(url, create=True))
    return url


def begin(store: Store) -> None:
    catalog = Catalog.create(store)
    content = {f"i{number:02d}": 0 for number in range(30)}
    with small_chunks():
        for data in sorted({bytes_of(key, value) for key, value in content.items()}):
            catalog.objects.put_bytes(data, ".bin")
        items = [stored_item(key, value) for key, value in content.items()]
        commit(catalog.dataset("ds"), items=items, message="first", author=AUTHOR)


class Readers:
    """Threads that read while others write; everything they see must be a whole version."""

    def __init__(self, opened: Opened, count: int = 2) -> None:
        self._opened = opened
        self._stop = threading.Event()
        self.seen: Counter[int] = Counter()
        self._pool = ThreadPoolExecutor(count)
        self._reading = [self._pool.submit(self._read) for _ in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        try:
            for each in self._reading:
                each.result(60)
        finally:
            self._pool.shutdown()

    def _read(self) -> None:
        kept = self._opened()  # one with a memory, beside those that open it anew
        while not self._stop.is_set():
            last = 0
            for catalog in (kept, self._opened()):
                version = catalog.resolve("ds")
                assert version.number >= last
                last = version.number
                check_pairs(version)
                again = self._opened().resolve(version.pin)
                assert (again.digest, again.record) == (version.digest, version.record)
                report = verify_version(catalog.dataset("ds"), version)
                assert report.ok, report.problems
                self.seen[version.number] += 1


def check_pairs(version: Version) -> dict[str, int]:
    """A version holds both items of a change or none, and one change more than the version before it."""
    values = values_of(version)
    pairs = Counter(match[1] for key in values if (match := re.fullmatch(r"(w\d+-\d+)-[ab]", key)))
    assert set(pairs.values()) <= {2}
    assert len(pairs) == version.number - 1
    return values


def check_all_landed(dataset: Dataset, changes: int) -> dict[str, int]:
    """Every change has one version; the versions are one line, and each is whole."""
    assert dataset.head() == 1 + changes
    assert verify_chain(dataset).ok
    assert [record.parent for record in dataset.versions()] == [*range(changes, 0, -1), None]
    for number in range(1, changes + 2):
        check_pairs(dataset.version(number))
    report = verify_version(dataset, dataset.version(dataset.head()))
    assert report.ok, report.problems
    return values_of(dataset.latest())


def run_writers(url: str, shared: str = "") -> list[list[dict[str, Any]]]:
    """Let processes write, all starting at the same moment; returns what each said."""
    running = [
        subprocess.Popen([sys.executable, HERE / "writer_child.py", url, str(who), str(ROUNDS), shared],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for who in range(WRITERS)
    ]  # fmt: skip
    try:
        for process in running:
            assert process.stdout is not None
            assert "ready" in process.stdout.readline(), process.communicate()[1]
        for process in running:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        said = []
        for process in running:
            out, problems = process.communicate(timeout=120)
            assert (process.returncode, problems) == (0, "")
            said.append([json.loads(line) for line in out.splitlines()])
    finally:
        for process in running:
            process.kill()
            process.wait()
    return said


@pytest.mark.slow
def test_processes_that_change_different_items_all_land_while_others_read(place: str):
    with small_chunks(), Readers(lambda: Catalog.open(place)) as readers:
        said = run_writers(place)
    with small_chunks():
        values = check_all_landed(Catalog.open(place).dataset("ds"), WRITERS * ROUNDS)
    landed = sorted(line["landed"] for lines in said for line in lines)
    assert landed == list(range(2, WRITERS * ROUNDS + 2))
    assert len(values) == 30 + 2 * WRITERS * ROUNDS
    assert readers.seen


@pytest.mark.slow
def test_processes_that_change_the_same_item_conflict_and_lose_nothing_else(place: str):
    said = run_writers(place, "shared")
    with small_chunks():
        values = check_all_landed(Catalog.open(place).dataset("ds"), WRITERS * ROUNDS)
    for number in range(ROUNDS):
        of_round = [[line for line in lines if line["round"] == number] for lines in said]
        lost = [who for who, lines in enumerate(of_round) if any("conflict" in line for line in lines)]
        (winner,) = set(range(WRITERS)) - set(lost)
        assert values[f"shared{number}"] == winner + 1
    for line in (line for lines in said for line in lines if "conflict" in line):
        assert re.fullmatch(rf"ds@v\d+ changed the same items: shared{line['round']}\.", str(line["conflict"]))


def test_threads_on_a_store_that_fails(tmp_path: Path):
    """Delays and lost replies that the client itself tries again: each change lands once, while others read."""
    begin(local_store(tmp_path / "c"))
    each = 6 if LONG else 3

    def opened() -> Catalog:
        return Catalog.open(str(tmp_path / "c"))

    def write(who: int) -> None:
        way = Faulty(local_store(tmp_path / "c"), at_random(who, 0.2, ["delay", "delay", "taken"]))
        for number in range(each):
            while True:
                try:
                    put(Catalog.open(way), {f"w{who}-{number}-{side}": number for side in "ab"})
                except StorageUnavailable:  # a read that failed
                    continue
                break

    with small_chunks(), Readers(opened), ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with small_chunks():
        check_all_landed(opened().dataset("ds"), 4 * each)


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_threads_that_share_one_catalog(kind: str, tmp_path: Path):
    """One Catalog, with its caches, used by all: what a web server does."""
    store = open_store("memory://") if kind == "memory" else local_store(tmp_path / "c")
    begin(store)
    catalog = Catalog.open(store)
    with small_chunks(), Readers(lambda: catalog), ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda who: [put(catalog, {f"w{who}-{n}-a": n, f"w{who}-{n}-b": n}) for n in range(2)], range(6)))
    with small_chunks():
        check_all_landed(Catalog.open(store).dataset("ds"), 12)


def test_threads_that_overlap_in_part():
    """Writer n changes items n to n + 3 from one base: those whose neighbours have landed fail, and name it."""
    store = open_store("memory://")
    begin(store)
    start = threading.Barrier(8)

    def write(who: int) -> str | None:
        dataset = Catalog.open(store).dataset("ds")
        base = dataset.version(1)
        start.wait()
        try:
            save(dataset, {f"i{number:02d}": who + 1 for number in range(3 * who, 3 * who + 4)}, base=base)
        except Conflict as error:
            return error.message
        return None

    with small_chunks(), ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(write, range(8)))
    landed = [who for who, answer in enumerate(answers) if answer is None]
    assert all(other - one > 1 for one, other in pairwise(landed))
    for who, answer in enumerate(answers):
        # Neighbours share the last item of one, which is the first of the other.
        overlap = [f"i{3 * other + (3 if other < who else 0):02d}" for other in (who - 1, who + 1) if other in landed]
        if answer is not None:
            named = answer.split(": ")[1].rstrip(".").split(", ")
            assert named
            assert set(named) <= set(overlap)
    dataset = Catalog.open(store).dataset("ds")
    assert dataset.head() == 1 + len(landed)
    with small_chunks():
        values = values_of(dataset.latest())
        assert verify_chain(dataset).ok
    for who in landed:
        assert {values[f"i{number:02d}"] for number in range(3 * who, 3 * who + 4)} == {who + 1}
