"""What a commit does about files that gc has condemned: they are made young again, or it says why not."""

from __future__ import annotations

import os

import pytest
from gc_helpers import Called, gc, object_of, paths_of, with_garbage
from version_helpers import Clock, Editable, local_store

from versioning.catalog import Catalog
from versioning.condemned import spare
from versioning.errors import Integrity
from versioning.gc_log import load_list, read_log
from versioning.records import SweepRecord


def test_what_was_written_again_is_spared(catalog):
    store = with_garbage(catalog).store
    count = gc(store).condemned.files
    one = object_of(b"one")
    spare(store, [one, object_of(b"never stored"), "https://example.org/a.tif"])
    report = gc(store)
    assert (report.deleted.files, report.spared) == (count - 1, 1)
    assert one in paths_of(store)
    # It was condemned again, with its new time.
    assert [entry.path for each in read_log(store, strict=True).open() for entry in load_list(store, each.record)] == [
        one
    ]
    assert gc(store).deleted.files == 1


def test_spare_costs_one_request_where_nothing_was_ever_condemned(catalog):
    calls: list[str] = []
    spare(Called(catalog.store, calls.append), [object_of(b"%d" % n) for n in range(1000)])
    assert calls == ["list"]


@pytest.mark.parametrize("lost", [{1}, {1, 2}, {1, 2, 3}])
def test_commits_spare_what_is_condemned_whichever_records_were_taken_away(catalog, lost):
    """As the hints of gc say where one is damaged: gc goes on after the highest that is left."""
    store = with_garbage(catalog).store
    one = object_of(b"one")
    gc(store)
    gc(store)
    store.delete([f"gc/{number:08d}.json" for number in lost])
    catalog.objects.put_bytes(b"one", ".tif")
    assert gc(store).condemned.files == 1
    spare(store, [one])
    assert gc(store).deleted.files == 0
    assert one in paths_of(store)


def test_a_number_that_is_used_again_is_another_record(catalog):
    store = with_garbage(catalog).store
    gc(store)
    (before,) = read_log(store, strict=True).lists
    store.delete(["gc/00000001.json"])
    again = catalog.objects.put_bytes(b"an orphan")
    gc(store)
    spare(store, [again.href])
    assert gc(store).spared == 1
    (after,) = (each for each in read_log(store, strict=True).lists if each.record.number == 1)
    assert after.record != before.record


def test_spare_names_what_is_gone_and_what_is_altered(catalog):
    store = with_garbage(catalog).store
    one = object_of(b"one")
    gc(store)
    damaged = Editable(store)
    damaged.changed[one] = b"eno"
    with pytest.raises(Integrity, match=one) as error:
        spare(damaged, [one])
    assert error.value.kind == "altered"
    gc(store)
    with pytest.raises(Integrity, match=one) as error:
        spare(store, [one])
    assert error.value.kind == "missing"


def test_large_objects_are_written_again_in_parts(tmp_path):
    catalog = Catalog.create(local_store(tmp_path / "catalog"), clock=Clock())
    data = os.urandom(1 << 20) * 17
    ref = catalog.objects.put_bytes(data)
    gc(catalog.store)
    before = next(entry for entry in catalog.store.list("objects"))
    calls: list[str] = []
    spare(Called(catalog.store, calls.append), [ref.href])
    assert "put_stream" in calls
    after = next(entry for entry in catalog.store.list("objects"))
    assert after.modified > before.modified
    assert catalog.store.get(ref.href) == data
    assert gc(catalog.store).deleted.files == 0


def test_a_dead_sweep_is_waited_for_so_long_and_no_longer(catalog):
    store = with_garbage(catalog).store
    gc(store)
    one = object_of(b"one")
    sweep = SweepRecord(number=2, of=1, time="2026-01-01T00:00:00.000000Z", nonce="n")
    store.put_record("gc/00000002.json", sweep.encode())
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            store.delete([one])  # the sweep had looked before

    spare(store, [one], wait=10, sleep=sleep)
    assert sum(slept) == 10
    assert store.get(one) == b"one"
