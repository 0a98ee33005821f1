"""Garbage collection in processes of its own, on a real disk: against writers in others, and killed at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest
from gc_helpers import NOW, check_all, gc, opened, put, retire, unneeded
from version_helpers import Clock, local_store

from versioning.catalog import Catalog
from versioning.errors import Conflict, Integrity
from versioning.gc import collect

LONG = bool(os.environ.get("STACPIN_LONG"))
SPAWN = multiprocessing.get_context("spawn")


def _collect(folder: str, seconds: float, delay: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            collect(opened(local_store(Path(folder))), older_than=NOW, delay=timedelta(seconds=delay), apply=True)
        except Conflict:
            continue


def _write(folder: str, name: str, seconds: float) -> None:
    catalog = opened(local_store(Path(folder)))
    until, step = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        step += 1
        try:
            done = put(catalog.dataset(name), catalog, {"a": b"%d" % (step % 5), "b": b"%d" % (step % 3)})
        except Integrity as error:
            if error.kind != "missing":
                raise
            continue  # gc was faster, and says so
        if done.created and done.version.number > 2:
            retire(catalog, name, done.version.number - 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    catalog = Catalog.create(local_store(tmp_path / "catalog"), clock=Clock())
    for name in ("one", "two"):
        put(catalog.dataset(name), catalog, {"a": b"0"})
    return tmp_path / "catalog"


def test_writers_and_collectors_in_processes(folder):
    # A commit is to take less than the delay from its last look at what is condemned to its record, syncfs included: on
    # a machine with twice the work that it can do, one of some thousands took more than a second.
    seconds, delay = (60.0, 8.0) if LONG else (6.0, 2.0)
    works = [
        SPAWN.Process(target=_write, args=(str(folder), "one", seconds)),
        SPAWN.Process(target=_write, args=(str(folder), "two", seconds)),
        # Nothing is older than some seconds here.
        SPAWN.Process(target=_collect, args=(str(folder), seconds, delay)),
    ]
    for work in works:
        work.start()
    for work in works:
        work.join(seconds + 60)
    assert [work.exitcode for work in works] == [0, 0, 0]
    store = local_store(folder)
    assert opened(store).dataset("one").head() > 3
    assert any(entry.path.startswith("gc/") for entry in store.list("gc"))
    check_all(store)


def test_killed_without_a_warning(folder):
    """kill -9 in the midst of a sweep: everything that is live stays, and a later run ends what it began."""
    store = local_store(folder)
    catalog = opened(store)
    for number in range(1500):
        catalog.objects.put_bytes(b"orphan %d" % number)
    gc(store)
    assert len(unneeded(store)) == 1500
    work = SPAWN.Process(target=_collect, args=(str(folder), 60.0, 0.0))
    work.start()
    until = time.monotonic() + 60
    while store.size("gc/00000002.json") is None and time.monotonic() < until:
        time.sleep(0.001)
    assert work.pid is not None
    os.kill(work.pid, signal.SIGKILL)
    work.join(30)
    check_all(store)
    gc(store, ahead=timedelta(hours=2))
    gc(store, ahead=timedelta(hours=2))
    assert not unneeded(store)
    check_all(store)
