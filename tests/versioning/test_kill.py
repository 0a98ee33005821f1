"""``kill -9`` at every step, then again: the old state or the new one, and what was done is not done again."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kill_acts import NEW, OLD, prepare
from version_helpers import local_store, small_chunks, values_of

from versioning.catalog import Catalog
from versioning.errors import NotFound
from versioning.store import open_store
from versioning.verify import verify_chain, verify_version

HERE = Path(__file__).parent
EVERY_STEP = os.environ.get("STACPIN_LONG") == "1"
SAMPLE = 10


class Driver:
    """The process that forks those that are killed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, HERE / "kill_child.py"], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)  # fmt: skip
        self.kills = 0

    def run(self, act: str, last: int | None, **where: str) -> dict[str, Any] | None:
        """Do an act, and kill it at its ``last`` step; what it said, or None if it was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"act": act, "last": last, "where": where}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "killed" in answer:
            self.kills += 1
            return None
        assert "error" not in answer, answer["error"]
        return answer

    def end(self) -> None:
        self._process.communicate(timeout=60)


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    driver = Driver()
    yield driver
    driver.end()


def steps_of(total: int) -> list[int]:
    """Every step; in the short profile some of them, always with the last ones, where the record is written."""
    if EVERY_STEP:
        return list(range(1, total + 1))
    chance = random.Random(total)
    early = chance.sample(range(1, total - 8), min(SAMPLE, total - 9))
    return sorted(early) + list(range(total - 8, total + 1))


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
def places(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Iterator[str]]:
    """URLs of fresh catalogs, all alike: one version of some items."""
    if request.param == "local":
        first = tmp_path / "first"
        with small_chunks():
            prepare(local_store(first))
        yield (str(shutil.copytree(first, tmp_path / f"{number}")) for number in range(1, 10**6))
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


def test_a_commit_that_is_killed_at_any_step(places: Iterator[str], request: pytest.FixtureRequest):
    # The S3 server's address is in the environment that the driver inherits.
    driver = Driver()
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
        assert driver.kills >= 15
    finally:
        driver.end()


def test_a_catalog_whose_making_is_killed_at_any_step(driver: Driver, tmp_path: Path):
    whole = driver.run("first", None, url=str(tmp_path / "whole"))
    assert whole is not None
    for last in steps_of(whole["steps"]):
        url = str(tmp_path / f"{last}")
        assert driver.run("first", last, url=url) is None
        with suppress(NotFound):  # it was not as far as stacpin.json
            assert check(url) in ({}, OLD)
        again = driver.run("first", None, url=url)
        assert again is not None
        assert (again["said"]["digest"], check(url)) == (whole["said"]["digest"], OLD)


def test_names_whose_giving_is_killed_at_any_step(driver: Driver, tmp_path: Path):
    with small_chunks():
        prepare(local_store(tmp_path / "first"))
    whole = driver.run("names", None, url=str(shutil.copytree(tmp_path / "first", tmp_path / "whole")))
    assert whole is not None
    for last in steps_of(whole["steps"]):
        url = str(shutil.copytree(tmp_path / "first", tmp_path / f"{last}"))
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
