"""``kill -9`` at every step, then again: the old state or the new one, and what was done is not done again."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from kill_acts import NEW, OLD, prepare, prepare_garbage
from version_helpers import local_store, small_chunks, values_of

from versioning.catalog import Catalog
from versioning.errors import NotFound
from versioning.store import open_store
from versioning.verify import verify_chain, verify_version

HERE = Path(__file__).parent
EVERY_STEP = os.environ.get("STACPIN_LONG") == "1"
SAMPLE = 5


class Driver:
    """The process that forks those that are killed."""

    def __init__(self, cache: Path) -> None:
        environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
        self._process = subprocess.Popen([sys.executable, HERE / "kill_child.py"], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True, env=environment)  # fmt: skip
        self.kills: Counter[str] = Counter()

    def run(self, act: str, last: int | None, **where: str) -> dict[str, Any] | None:
        """Do an act, and kill it at its ``last`` step; what it said, or None if it was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"act": act, "last": last, "where": where}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if answer.get("killed") == signal.SIGKILL:
            self.kills[act] += 1
            return None
        assert "steps" in answer, answer
        return answer

    def end(self) -> None:
        self._process.communicate(timeout=60)
        report = os.environ.get("STACPIN_LONG_KILLS")
        if report and self.kills:
            with Path(report).open("a") as file:
                file.write(json.dumps({f"kills of {act}": number for act, number in self.kills.items()}) + "\n")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    driver = Driver(tmp_path_factory.mktemp("cache"))
    yield driver
    driver.end()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a kill takes nothing from the kernel, and a sync there takes no time."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="stacpin-") as folder:
        yield Path(folder)


def steps_of(total: int) -> list[int]:
    """Every step; in the short profile some of them, always with the last ones, where the record is written."""
    if EVERY_STEP:
        return list(range(1, total + 1))
    chance = random.Random(total)
    early = chance.sample(range(1, total - 5), min(SAMPLE, total - 6))
    return sorted(early) + list(range(total - 5, total + 1))


def check(url: str) -> dict[str, int]:
    """Every version is whole; returns what latest holds."""
    with small_chunks():
        dataset = Catalog.open(url).dataset("ds")
        if not dataset.head():
            return {}
        for number in range(1, dataset.head() + 1):
            report = verify_version(dataset, dataset.version(number))
            assert report.ok, report.problems
        return values_of(dataset.latest())


def files_of(url: str) -> set[str]:
    """What lies there, but for staging."""
    return {entry.path for entry in open_store(url).list("")}


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.slow)])
def places(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Iterator[str]]:
    """URLs of fresh catalogs, all alike: one version of some items."""
    if request.param == "local":
        first = folder / "first"
        with small_chunks():
            prepare(local_store(first))
        yield (str(shutil.copytree(first, folder / f"{number}")) for number in range(1, 10**6))
    else:
        for name, value in request.getfixturevalue("s3_server").environment.items():
            monkeypatch.setenv(name, value)
        yield s3_places(request.getfixturevalue("s3_bucket"))


def s3_places(bucket: str) -> Iterator[str]:
    while True:
        url = f"{bucket}/{os.urandom(8).hex()}"
        with small_chunks():
            prepare(open_store(url))
        yield url


def test_a_commit_that_is_killed_at_any_step(places: Iterator[str], tmp_path: Path):
    # Not the fixture's: the S3 server's address must be in the environment that it inherits.
    driver = Driver(tmp_path / "cache")
    try:
        url = next(places)
        before = files_of(url)
        whole = driver.run("commit", None, url=url)
        assert whole is not None
        new_files = files_of(url) - before
        for last in steps_of(whole["steps"]):
            url = next(places)
            assert driver.run("commit", last, url=url) is None
            found = check(url)
            assert found in (OLD, NEW)
            landed = found == NEW
            there = files_of(url)
            again = driver.run("commit", None, url=url)
            assert again is not None
            assert (again["said"]["digest"], again["said"]["version"]) == (whole["said"]["digest"], 2)
            assert again["said"]["created"] == (not landed)
            # What the killed process had written is found there, and written by nobody a second time.
            written = sum(again["done"].get(verb, 0) for verb in ("put_new True", "put_record True"))
            assert written == len(files_of(url) - there)
            assert files_of(url) == before | new_files
            assert check(url) == NEW
        assert driver.kills.total() >= 8
    finally:
        driver.end()


def test_a_catalog_whose_making_is_killed_at_any_step(driver: Driver, folder: Path):
    whole = driver.run("first", None, url=str(folder / "whole"))
    assert whole is not None
    for last in steps_of(whole["steps"]):
        url = str(folder / f"{last}")
        assert driver.run("first", last, url=url) is None
        with suppress(NotFound):  # it was not as far as stacpin.json
            assert check(url) in ({}, OLD)
        again = driver.run("first", None, url=url)
        assert again is not None
        assert (again["said"]["digest"], check(url)) == (whole["said"]["digest"], OLD)


def test_names_whose_giving_is_killed_at_any_step(driver: Driver, folder: Path):
    with small_chunks():
        prepare(local_store(folder / "first"))
    whole = driver.run("names", None, url=str(shutil.copytree(folder / "first", folder / "whole")))
    assert whole is not None
    for last in steps_of(whole["steps"]):
        url = str(shutil.copytree(folder / "first", folder / f"{last}"))
        assert driver.run("names", last, url=url) is None
        dataset = Catalog.open(url).dataset("ds")
        assert verify_chain(dataset).ok
        assert dataset.pointers() in ({"latest": 1}, {"latest": 1, "stable": 1})
        assert dataset.tag_names() in ([], ["v1.0.0"])
        assert driver.run("names", None, url=url) is not None
        dataset = Catalog.open(url).dataset("ds")
        assert (dataset.pointers(), dataset.tag_names()) == ({"latest": 1, "stable": 1}, ["v1.0.0"])
        assert verify_chain(dataset).ok
        assert check(url) == OLD


def test_a_sync_that_is_killed_at_any_step(driver: Driver, folder: Path):
    source = str(folder / "source")
    with small_chunks():
        prepare(local_store(folder / "source"))
    assert driver.run("commit", None, url=source) is not None
    assert driver.run("names", None, url=source) is not None
    whole = driver.run("sync", None, source=source, url=str(folder / "whole"))
    assert whole is not None
    total = whole["said"]["copied"]
    for last in steps_of(whole["steps"]):
        url = str(folder / f"{last}")
        assert driver.run("sync", last, source=source, url=url) is None
        with suppress(NotFound):  # it was not as far as stacpin.json
            assert check(url) in ({}, OLD, NEW)
        there = arrived(url)
        again = driver.run("sync", None, source=source, url=url)
        assert again is not None
        # What has arrived is not moved again, and the report counts what was.
        assert again["said"]["copied"] == len(arrived(url) - there)
        assert len(arrived(url)) == total
        assert check(url) == NEW
        for path in arrived(url):
            assert open_store(url).get(path) == open_store(source).get(path)
        dataset = Catalog.open(url).dataset("ds")
        assert (dataset.pointers(), dataset.tag_names()) == ({"latest": 2, "stable": 1}, ["v1.0.0"])
    assert driver.kills["sync"] >= 8


def arrived(url: str) -> set[str]:
    return {path for path in files_of(url) if not path.startswith("staging/")} if Path(url).exists() else set()


def test_a_garbage_collection_that_is_killed_at_any_step(driver: Driver, folder: Path):
    first = folder / "first"
    with small_chunks():
        prepare_garbage(local_store(first))
    grow_old(first, days=30)
    # An expiry counts from when the store says that it was written, so the first version is past its grace.
    before = files_of(str(first))
    whole = driver.run("collect", None, url=str(shutil.copytree(first, folder / "whole")))
    assert whole is not None
    kept = {path for path in files_of(str(folder / "whole")) if not path.startswith("gc/")}
    assert whole["said"]["deleted"] == whole["said"]["condemned"] == len(before - kept) > 5
    for last in steps_of(whole["steps"]):
        url = str(shutil.copytree(first, folder / f"{last}"))
        assert driver.run("collect", last, url=url) is None
        assert check_live(url) == NEW
        assert kept <= files_of(url) <= before | {path for path in files_of(url) if path.startswith("gc/")}
        # A sweep that died is taken over after an hour.
        grow_old(Path(url) / "gc", hours=2)
        assert driver.run("collect", None, url=url) is not None
        assert {path for path in files_of(url) if not path.startswith("gc/")} == kept
        assert check_live(url) == NEW
        # And a commit that needs again what is gone stores it anew.
        if last % 4 == 0:
            assert driver.run("first", None, url=url) is not None
            assert check_live(url) == NEW | OLD
    assert driver.kills["collect"] >= 8


def grow_old(where: Path, **age: int) -> None:
    """Let all files of a place be as old as this; a folder that is not there is no matter."""
    then = time.time() - timedelta(**age).total_seconds()
    for path in where.rglob("*"):
        os.utime(path, (then, then))


def check_live(url: str) -> dict[str, int]:
    with small_chunks():
        dataset = Catalog.open(url).dataset("ds")
        for number in range(1, dataset.head() + 1):
            if dataset.expiry(number) is None:
                report = verify_version(dataset, dataset.version(number))
                assert report.ok, report.problems
        return values_of(dataset.latest())


def test_a_pull_that_is_killed_at_any_step(driver: Driver, folder: Path):
    url = str(folder / "catalog")
    with small_chunks():
        prepare(local_store(folder / "catalog"))
    assert driver.run("commit", None, url=url) is not None
    whole = driver.run("pull", None, url=url, dest=str(folder / "whole"))
    assert whole is not None
    wanted = pulled(folder / "whole")
    assert len(wanted) == whole["said"]["files"] == whole["said"]["fetched"] > 10
    for last in steps_of(whole["steps"]):
        dest = folder / f"{last}"
        assert driver.run("pull", last, url=url, dest=str(dest)) is None
        there = pulled(dest)
        assert there.items() <= wanted.items()  # whole, or not there
        again = driver.run("pull", None, url=url, dest=str(dest))
        assert again is not None
        assert (again["said"]["kept"], again["said"]["fetched"]) == (len(there), len(wanted) - len(there))
        assert pulled(dest) == wanted
    assert driver.kills["pull"] >= 8


def pulled(dest: Path) -> dict[str, bytes]:
    """The files of the items: path -> bytes."""
    return {str(path.relative_to(dest)): path.read_bytes() for path in dest.rglob("*.bin")}


def test_an_ingest_that_is_killed_at_any_step(driver: Driver, folder: Path):
    sources = folder / "sources"
    sources.mkdir()
    for number in range(5):
        with rasterio.open(
            sources / f"t{number}.tif", "w", driver="GTiff", width=16, height=16, count=1, dtype="uint8",
            crs="EPSG:32633", transform=rasterio.Affine(10.0, 0.0, 500_000.0 + 160 * number, 0.0, -10.0, 4_000_000.0),
        ) as file:  # fmt: skip
            file.write(np.full((1, 16, 16), number, dtype="uint8"))
    (sources / "stacpin.yaml").write_text(
        "dataset: ds\nlayers:\n  tiles:\n    kind: raster\n    sources: '*.tif'\n    datetime: 2024-05-01T10:30:00Z\n"
    )
    whole = driver.run("ingest", None, url=str(folder / "whole"), folder=str(sources))
    assert whole is not None
    assert (whole["said"]["files"], whole["said"]["resumed"]) == (5, 0)
    resumed = []
    for last in steps_of(whole["steps"]):
        url = str(folder / f"{last}")
        answer = driver.run("ingest", last, url=url, folder=str(sources))
        if answer is not None:
            continue  # two threads write, so that the number of steps is not always the same
        assert ingested(url) in (0, 5)
        noted = entries_of(url)
        landed = noted and Catalog.open(url).dataset("ds").head()
        again = driver.run("ingest", None, url=url, folder=str(sources))
        assert again is not None
        assert again["said"]["created"] == (not landed)
        if not landed:
            # What the journal says is stored and proven is not made, stored or proven again; the report counts it.
            assert again["said"]["resumed"] == noted
            resumed.append(noted)
            assert again["said"]["digest"] == whole["said"]["digest"]
        assert ingested(url) == 5
    assert set(resumed) >= {0, 5} if EVERY_STEP else len(set(resumed)) > 1


def entries_of(url: str) -> int:
    """How many files the journals of all runs vouch for: each is a line below the head of its batch."""
    return sum(path.read_bytes().count(b"\n") for path in Path(url).glob("staging/*/journal/*.ndjson"))


def ingested(url: str) -> int:
    """How many items latest has, after proving them."""
    if not Path(url, "stacpin.json").exists():
        return 0
    dataset = Catalog.open(url).dataset("ds")
    if not dataset.head():
        return 0
    with small_chunks():
        report = verify_version(dataset, dataset.version(1))
    assert report.ok, report.problems
    assert dataset.head() == 1
    return report.items
