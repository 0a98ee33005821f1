"""Garbage collection against live commits: at every call of the store, in every order, killed anywhere, in threads.

All of it with ``older_than`` and ``delay`` of 0 and a clock that is ahead, so that nothing is too young: what holds
here holds by the checks alone. Two whole runs of gc between a commit's last look at the log and its record are the one
case that the checks cannot see; the delay of a day is for that.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta

import pytest
from gc_helpers import NOW, At, Called, Dead, DiesAt, check_all, gc, opened, put, retire, unneeded
from version_helpers import memory_catalog

from versioning.errors import Conflict, Integrity, NotFound, StacpinError
from versioning.gc import collect
from versioning.store import Store

LONG = bool(os.environ.get("STACPIN_LONG"))
OLD = {"a": b"old a", "b": b"old b"}


def condemned() -> Store:
    """Two datasets share an object; v1 of ``land`` is retired and what only it needed is condemned."""
    catalog = memory_catalog()
    land, other = catalog.dataset("land"), catalog.dataset("other")
    put(other, catalog, {"x": b"shared"})
    put(land, catalog, {**OLD, "c": b"shared", "d": b"stays"})
    put(land, catalog, {"a": b"new a", "b": b"new b"})
    retire(catalog, "land", 1)
    assert gc(catalog.store).condemned.files > 1
    return catalog.store


def bring_back(store: Store) -> bool:
    """Commit what was condemned, as a process that has just begun does; False if gc was faster, and says so."""
    catalog = opened(store)
    try:
        put(catalog.dataset("land"), catalog, OLD)
    except Integrity as error:
        return _only(error, "missing")
    return True


def _only(error: StacpinError, kind: str) -> bool:
    """False, for an error of this kind; every other is raised again."""
    if error.kind != kind:
        raise error
    return False


def settle(store: Store, nth: int = 0) -> None:
    """Whatever happened: all versions verify, again after gc has gone on, and nothing unneeded is left."""
    if nth % 4 and not LONG:
        return
    check_all(store)
    gc(store, ahead=timedelta(hours=2))
    gc(store, ahead=timedelta(hours=2))
    check_all(store)
    assert not unneeded(store)


def some(numbers: range) -> range:
    """All of them in a long run; else every third."""
    return numbers if LONG else numbers[::3]


def calls_of(action: Callable[[Store], object]) -> int:
    count = At(0, lambda: None)
    action(Called(condemned(), count))
    return count.calls


def run_gc(store: Store) -> None:
    collect(opened(store), older_than=NOW, delay=NOW, apply=True)


class Gate:
    """Stops a thread at its ``nth`` call of the store until somebody opens."""

    def __init__(self, nth: int) -> None:
        self.nth = nth
        self.calls = 0
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, _: str) -> None:
        self.calls += 1
        if self.calls == self.nth:
            self.reached.set()
            assert self.open.wait(30)


class WaitsForTheSweep(Exception):
    """The commit cannot end before gc goes on."""


def test_a_commit_at_every_call_of_gc(monkeypatch):
    """gc stops before each of its calls and a whole commit runs; where that waits for the sweep, gc goes on."""
    waited = 0
    for nth in some(range(1, calls_of(run_gc) + 1)):
        store = condemned()
        try:
            with monkeypatch.context() as patch:
                patch.setattr("versioning.condemned.time.sleep", _waits)
                run_gc(Called(store, At(nth, lambda: _done(bring_back(store)))))  # noqa: B023 - called at once
        except WaitsForTheSweep:
            waited += 1
            store = condemned()
            _commit_while_gc_stands_still(store, nth, monkeypatch)
        assert check_all(store) == 3
        settle(store, nth)
    assert waited > (3 if LONG else 0)


def _waits(_: float) -> None:
    raise WaitsForTheSweep


def _ran(_: object) -> None:
    """What a hook did is of no interest."""


def _done(done: bool) -> None:
    assert done


def _commit_while_gc_stands_still(store: Store, nth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """gc in a thread, stopped before a call; it goes on when the commit begins to wait for it, and ends first."""
    gate = Gate(nth)
    collector = threading.Thread(target=run_gc, args=(Called(store, gate),))
    collector.start()
    assert gate.reached.wait(30)

    def go_on(_: float) -> None:
        gate.open.set()
        collector.join(30)

    with monkeypatch.context() as patch:
        patch.setattr("versioning.condemned.time.sleep", go_on)
        assert bring_back(store)
    assert gate.open.is_set()
    assert not collector.is_alive()


def test_gc_at_every_call_of_a_commit():
    outcomes = []
    for nth in some(range(1, calls_of(bring_back) + 1)):
        store = condemned()
        outcomes.append(bring_back(Called(store, At(nth, lambda: _ran(gc(store))))))  # noqa: B023 - called at once
        settle(store)
        assert outcomes[-1] or bring_back(store)
        settle(store, nth)
    assert True in outcomes


def test_gc_at_every_two_calls_of_a_commit():
    """The second run may delete what the first condemned while the commit ran: its own new files, too."""
    calls = calls_of(bring_back)
    pairs = [(first, second) for first in range(1, calls + 1) for second in range(first + 1, calls + 8)]
    for first, second in pairs if LONG else pairs[::29]:
        store = condemned()
        seen = 0

        def hook(_: str, store: Store = store, when: tuple[int, int] = (first, second)) -> None:
            nonlocal seen
            seen += 1
            if seen in when:
                gc(store)

        bring_back(Called(store, hook))
        settle(store)


def test_a_first_commit_while_gc_runs_again_and_again():
    """Of a dataset without versions nothing is referenced: gc may take everything until the record is there."""
    for nth in range(1, 12):
        store = memory_catalog().store
        gc(store)

        def commit_all(wrapped: Store) -> None:
            catalog = opened(wrapped)
            put(catalog.dataset("new"), catalog, OLD)

        try:
            commit_all(Called(store, At(nth, lambda: _ran(gc(store)))))  # noqa: B023 - called at once
        except (Integrity, NotFound):
            commit_all(store)
        assert check_all(store) == 1
        settle(store)


@pytest.mark.parametrize("after", [False, True])
def test_gc_dies_at_every_call_and_is_run_again(after):
    calls = calls_of(run_gc)
    assert calls > 30
    for nth in some(range(1 + after, calls + 1)):
        store = condemned()
        with suppress(Dead):  # after the last call there is nothing left to die in
            run_gc(DiesAt(store, nth, after=after))
        check_all(store)
        if nth % 2:
            bring_back_slowly(store)
        try:
            gc(store)  # within the hour it may be told to wait
        except Conflict as error:
            _only(error, "gc-running")
        settle(store)


def bring_back_slowly(store: Store) -> None:
    """A commit that meets a dead sweep waits for all of its time; here that takes none."""
    real = time.sleep
    time.sleep = lambda _: None
    try:
        bring_back(store)
    finally:
        time.sleep = real


def test_a_version_that_appears_when_the_sweep_has_begun_is_marked(monkeypatch):
    """As of a commit that was frozen after its last look: it wrote nothing again, and only its record shows it."""
    monkeypatch.setattr("versioning.commit.spare", lambda *_: None)
    store = condemned()

    class Appears(Called):
        def put_record(self, path: str, data: bytes) -> bool:
            done = self.inner.put_record(path, data)
            if path == "gc/00000002.json":
                assert bring_back(store)
            return done

    run_gc(Appears(store))
    assert check_all(store) == 3
    settle(store)


def test_a_sweep_that_looked_before_the_file_was_written_again(monkeypatch):
    """The sweep began after the commit's first look at the log, looked at the file before the commit wrote it again,
    and deletes it after: only the commit's second look at the log shows it.
    """
    store = memory_catalog().store
    put(opened(store).dataset("land"), opened(store), {"a": b"1"})
    opened(store).objects.put_bytes(b"old a", ".tif")
    assert gc(store).condemned.files == 1
    about_to_delete, delete = threading.Event(), threading.Event()

    class Collector(Called):
        def delete(self, paths: Sequence[str]) -> None:
            if paths and paths[0].startswith("objects/"):
                about_to_delete.set()
                assert delete.wait(30)
            super().delete(paths)

    collector = threading.Thread(target=run_gc, args=(Collector(store),))

    class Writer(Called):
        def replace(self, path: str, data: bytes) -> None:
            if collector.ident is None:
                collector.start()
                assert about_to_delete.wait(30)
            super().replace(path, data)

    def go_on(_: float) -> None:
        delete.set()
        collector.join(30)

    writer = opened(Writer(store))
    with monkeypatch.context() as patch:
        patch.setattr("versioning.condemned.time.sleep", go_on)
        put(writer.dataset("land"), writer, {"b": b"old a"})
    delete.set()
    collector.join(30)
    assert check_all(store) == 2


def test_two_collectors_at_every_call():
    """The second ends with a Conflict, or does no harm; what both were to delete is gone, nothing else is."""
    conflicts = 0
    for nth in some(range(1, calls_of(run_gc) + 1)):
        store = condemned()

        def second(store: Store = store) -> None:
            nonlocal conflicts
            try:
                gc(store)
            except Conflict:
                conflicts += 1

        try:
            run_gc(Called(store, At(nth, second)))
        except Conflict:
            conflicts += 1
        settle(store)
    assert conflicts


def test_threads(any_store):
    """Writers bring content back and retire it, collectors collect without end: no version ever lacks a file."""
    catalog = opened_new(any_store)
    for name in ("one", "two"):
        put(catalog.dataset(name), catalog, {"a": b"0"})
    stop = threading.Event()
    failures: list[BaseException] = []
    commits = 0

    def collecting() -> None:
        while not stop.is_set():
            try:
                # Longer than a commit's last step; far shorter than anybody would choose.
                catalog = opened(Called(any_store, ahead=timedelta(0)))
                collect(catalog, older_than=NOW, delay=timedelta(seconds=2), apply=True)
            except Conflict:
                pass
            except BaseException as error:
                failures.append(error)
                raise

    def writing(name: str) -> None:
        nonlocal commits
        mine = opened(any_store)
        try:
            for step in range(1, 40 if LONG else 12):
                try:
                    done = put(mine.dataset(name), mine, {"a": b"%d" % (step % 4), "b": b"%d" % (step % 3)})
                except Integrity as error:
                    _only(error, "missing")
                    continue
                commits += done.created
                if done.created and done.version.number > 2:
                    retire(mine, name, done.version.number - 1)
        except BaseException as error:
            failures.append(error)
            raise

    writers = [threading.Thread(target=writing, args=(name,)) for name in ("one", "two")]
    collectors = [threading.Thread(target=collecting) for _ in range(2)]
    for thread in [*writers, *collectors]:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in collectors:
        thread.join()
    assert not failures
    assert commits > 10
    check_all(any_store)


def opened_new(store: Store):
    from versioning.catalog import Catalog

    return Catalog.create(store)
