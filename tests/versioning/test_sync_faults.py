"""A sync that dies at any call, on either side, leaves the old catalog or a new one, and the next one finishes it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sync_helpers import DATASET, Counts, digests, history, whole
from version_helpers import AUTHOR, Clock, LosesReplies, Wrapped, again, local_store, save

from versioning.catalog import Catalog
from versioning.errors import Conflict, StorageUnavailable
from versioning.store import Entry, Store, open_store
from versioning.sync import sync

_Answer = TypeVar("_Answer")


class FailsAt(Wrapped):
    """The ``nth`` call fails, before or after it is done, and every later one too."""

    def __init__(self, inner: Store, nth: int, *, after: bool = False) -> None:
        super().__init__(inner)
        self.nth = nth
        self.after = after
        self.calls = 0
        self.lock = threading.Lock()

    def _call(self, call: Callable[[], _Answer]) -> _Answer:
        with self.lock:
            self.calls += 1
            turn = self.calls
        if turn < self.nth:
            return call()
        if turn == self.nth and self.after:
            call()
        raise StorageUnavailable("the machine died")

    def get(self, path: str) -> bytes:
        return self._call(lambda: self.inner.get(path))

    def get_range(self, path: str, start: int, length: int) -> bytes:
        return self._call(lambda: self.inner.get_range(path, start, length))

    def stream(self, path: str) -> Iterator[memoryview]:
        return self._call(lambda: self.inner.stream(path))

    def size(self, path: str) -> int | None:
        return self._call(lambda: self.inner.size(path))

    def put_new(self, path: str, data: bytes) -> bool:
        return self._call(lambda: self.inner.put_new(path, data))

    def put_stream(self, path: str, chunks: Iterable[bytes]) -> None:
        return self._call(lambda: self.inner.put_stream(path, chunks))

    def put_record(self, path: str, data: bytes) -> bool:
        return self._call(lambda: self.inner.put_record(path, data))

    def now(self) -> datetime:
        return self._call(self.inner.now)

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Entry]:
        return self._call(lambda: self.inner.list(prefix, after=after))

    def folders(self, prefix: str) -> list[str]:
        return self._call(lambda: self.inner.folders(prefix))


def calls_of(source: Store, target: Store) -> tuple[int, int]:
    one, two = FailsAt(source, 10**9), FailsAt(target, 10**9)
    sync(one, two, workers=1)
    return one.calls, two.calls


@pytest.mark.parametrize("side", ["source", "before", "after"])
def test_a_death_at_every_call(side: str):
    """From nothing, and from a mirror that has version 1 only."""
    source = history(items=2)
    steps = calls_of(source.store, open_store("memory://"))[side != "source"]
    assert steps > 20
    for nth in range(1, steps + 1, 1 if os.environ.get("STACPIN_LONG") else 3):
        target = open_store("memory://")
        one = FailsAt(source.store, nth) if side == "source" else source.store
        two = target if side == "source" else FailsAt(target, nth, after=side == "after")
        with pytest.raises(StorageUnavailable):
            sync(one, two, workers=1)
        heads = whole(target, source)
        there = {entry.path for entry in target.list("")}
        counts = Counts(target)
        report = sync(source.store, counts, workers=1)
        # What was there is neither written nor, where it is an object, read from the source again.
        assert not there & set(counts.writes)
        assert len(counts.writes) == len(set(counts.writes))
        assert report.copied.count + sum(path.startswith("staging/") for path in counts.writes) == len(counts.writes)
        assert whole(target, source) == 3 >= heads
        assert sync(source.store, target).in_sync


def test_lost_replies_are_no_conflict():
    source, target = history(), open_store("memory://")
    sync(source, LosesReplies(target))
    assert whole(target, source) == 3


def test_many_workers_and_a_source_that_dies_in_the_middle():
    source = history(items=300)
    target = open_store("memory://")
    with pytest.raises(StorageUnavailable, match="died"):
        sync(FailsAt(source.store, 150), target, workers=8)
    assert whole(target, source) == 0
    moved = Counts(source.store)
    kept = {entry.path for entry in target.list("objects")}
    assert kept
    sync(moved, target, workers=8)
    assert not kept & set(moved.streams)
    assert whole(target, source) == 3


def test_two_syncs_at_once():
    source = history(items=200)
    target = open_store("memory://")
    start = threading.Barrier(3)
    errors: list[BaseException] = []

    def run() -> None:
        start.wait()
        try:
            sync(again(source), target, workers=4)
        except BaseException as error:  # noqa: BLE001 - the test shows it
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert whole(target, source) == 3


def test_a_commit_at_the_destination_wins_its_number():
    """It appears after the histories were compared and before the record is written."""
    source, target = history(), open_store("memory://")
    sync(source, target)
    save(source.dataset(DATASET), {"z": 1})

    class Races(Wrapped):
        def put_record(self, path: str, data: bytes) -> bool:
            if path.endswith("versions/00000004.json"):
                save(Catalog.open(target, clock=Clock("2026-11-22T00:00:00+00:00")).dataset(DATASET), {"z": 2})
            return self.inner.put_record(path, data)

    with pytest.raises(Conflict, match="ds@v4") as caught:
        sync(source, Races(target))
    assert caught.value.kind == "diverged"
    assert Catalog.open(target).dataset(DATASET).record(4).author == AUTHOR
    with pytest.raises(Conflict, match="ds@v4"):
        sync(source, target)
    staged = [path for path in sorted(entry.path for entry in target.list("staging")) if "discarded" in path]
    assert len(staged) == 1


def test_a_source_that_goes_on_during_a_sync():
    source, target = history(), open_store("memory://")

    class GoesOn(Wrapped):
        once = False

        def put_record(self, path: str, data: bytes) -> bool:
            if not self.once:
                self.once = True
                dataset = source.dataset(DATASET)
                save(dataset, {"late": 1})
                dataset.tag("late", 4, author=AUTHOR)
            return self.inner.put_record(path, data)

    sync(again(source), GoesOn(target))
    assert whole(target, source) == 3
    sync(again(source), target)
    assert digests(Catalog.open(target)) == digests(source)


# -- real processes

_SYNC = "import sys; from versioning.sync import sync; sync(sys.argv[1], sys.argv[2], workers=4)"


@pytest.mark.slow
@pytest.mark.parametrize("place", ["local", "s3"])
def test_a_process_that_is_killed(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    source = history(items=150, catalog=Catalog.create(local_store(tmp_path / "a"), clock=Clock()))
    target = str(tmp_path / "b")
    if place == "s3":
        for name, value in request.getfixturevalue("s3_server").environment.items():
            monkeypatch.setenv(name, value)
        target = f"{request.getfixturevalue('s3_bucket')}/killed/{random.getrandbits(40):x}"
    else:
        (tmp_path / "b").mkdir()
    seed = int(os.environ.get("STACPIN_SEED", random.getrandbits(32)))
    sys.stdout.write(f"STACPIN_SEED={seed}\n")  # shown when the test fails
    chance = random.Random(seed)
    store = open_store(target, create=True)
    command = [sys.executable, "-c", _SYNC, str(tmp_path / "a"), target]
    killed = heads = objects = 0
    for _ in range(60 if os.environ.get("STACPIN_LONG") else 3):
        process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
        enough = chance.randint(objects, 154)
        _until(lambda enough=enough: _objects(store) >= enough, process)
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        heads = max(heads, whole(store, source))
        objects = _objects(store)
        if heads == 3:
            break
    assert killed
    moved = Counts(source.store)
    sync(moved, store)
    assert len([path for path in moved.streams if path.startswith("objects/")]) == _objects(store) - objects
    assert whole(store, source) == 3


def _objects(store: Store) -> int:
    return sum(1 for _ in store.list("objects"))


def _until(done: Callable[[], Any], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while process.poll() is None and not done() and time.monotonic() < deadline:
        time.sleep(0.01)
