"""Garbage collection at the destination while a sync writes to it."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta

import pytest
from sync_helpers import history, whole
from test_sync_faults import FailsAt

from versioning.catalog import Catalog
from versioning.errors import StacpinError
from versioning.gc import collect
from versioning.store import Store, open_store
from versioning.sync import sync

NOW = timedelta(0)
# Every call in `make test-long`, every fourth in `make test`.
STEP = 1 if os.environ.get("STACPIN_LONG") else 4


def swept(store: Store, times: int = 1) -> None:
    for _ in range(times):
        collect(Catalog.open(store), older_than=NOW, delay=NOW, apply=True)


class Interrupted(FailsAt):
    """Something happens just before the ``nth`` call."""

    def __init__(self, inner: Store, nth: int, happens: Callable[[], None]) -> None:
        super().__init__(inner, nth, after=False)
        self.happens = happens

    def _call(self, call):
        with self.lock:
            self.calls += 1
            if self.calls == self.nth:
                self.happens()
        return call()


def leftover(source: Catalog, *, condemned: bool) -> Store:
    """A destination with everything that a sync left behind when it died, which gc has or has not condemned."""
    target = open_store("memory://")
    Catalog.create(target)
    for entry in source.store.list(""):
        if entry.path.startswith("objects/") or "/manifests/" in entry.path or "/snapshots/" in entry.path:
            target.put_new(entry.path, source.store.get(entry.path))
    if condemned:
        swept(target)
    return target


@pytest.mark.parametrize("condemned", [False, True])
def test_a_collection_between_any_two_calls(condemned: bool):
    """With no grace at all. What a sync had found there may be gone: then it fails, and the next one ends it."""
    source = history(items=2)
    counted = Interrupted(leftover(source, condemned=condemned), 10**9, lambda: None)
    sync(source.store, counted, workers=1)
    failed, kinds = 0, set[str]()
    for nth in range(1, counted.calls + 1, STEP):
        target = leftover(source, condemned=condemned)
        try:
            sync(source.store, Interrupted(target, nth, lambda target=target: swept(target)), workers=1)
        except StacpinError as error:
            failed += 1
            kinds.add(error.kind)
        whole(target, source)
        sync(source.store, target, workers=1)
        assert whole(target, source) == 3
        swept(target, times=3)
        assert whole(target, source) == 3
    assert failed < counted.calls / STEP / 2
    assert kinds <= {"missing"}


def test_two_collections_while_a_sync_is_under_way_delete_nothing_of_it():
    """The announced run holds gc back from what was condemned after the run began."""
    source = history(items=2)
    counted = Interrupted(open_store("memory://"), 10**9, lambda: None)
    sync(source.store, counted, workers=1)
    begun = 0
    for nth in range(1, counted.calls + 1, STEP):
        target = open_store("memory://")
        Catalog.create(target)

        def twice(target: Store = target) -> None:
            nonlocal begun
            begun += any(entry.path.endswith("begin.json") for entry in target.list("staging"))
            before = {entry.path for entry in target.list("") if entry.path.startswith(("objects/", "datasets/"))}
            swept(target, times=2)
            after = {entry.path for entry in target.list("")}
            assert before <= after

        sync(source.store, Interrupted(target, nth, twice), workers=1)
        assert whole(target, source) == 3
    assert begun > 5
