"""Garbage collection, one run at a time: what it keeps, what it takes, when it refuses."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from gc_helpers import NOW, Called, check_all, gc, object_of, opened, paths_of, put, retire, unneeded, with_garbage
from version_helpers import AUTHOR, Clock, Editable, local_store, memory_catalog, small_chunks

from versioning.canonical import canonical
from versioning.catalog import Catalog
from versioning.condemned import spare
from versioning.digests import sha256
from versioning.errors import Conflict, Integrity, InvalidInput, StorageUnavailable
from versioning.expire import expire
from versioning.gc import collect
from versioning.gc_log import append_record, publish_list, read_log
from versioning.reachability import classify, marked
from versioning.records import CondemnedRecord, SweepRecord
from versioning.store import Entry, Store

HOUR = timedelta(hours=1)


def test_a_dry_run_writes_nothing_and_says_what_would_happen(any_catalog):
    store = with_garbage(any_catalog).store
    before = {entry.path for entry in store.list("")}
    report = gc(store, apply=False)
    assert {entry.path for entry in store.list("")} == before
    assert (report.applied, report.record, report.deleted.files) == (False, None, 0)
    assert report.condemned.files == len(unneeded(store)) > 1  # an object, a snapshot
    assert report.unreferenced == report.condemned
    assert report.condemned.bytes == sum(entry.size for entry in store.list("") if entry.path in unneeded(store))


def test_what_one_run_condemns_the_next_deletes(any_catalog):
    store = with_garbage(any_catalog).store
    doomed, all_paths = unneeded(store), paths_of(store)
    assert object_of(b"one") in doomed
    first = gc(store)
    assert (first.condemned.files, first.deleted.files, first.record) == (len(doomed), 0, 1)
    assert paths_of(store) == all_paths
    second = gc(store)
    assert (second.condemned.files, second.deleted.files) == (0, len(doomed))
    assert second.deleted.bytes == first.condemned.bytes
    assert paths_of(store) == all_paths - doomed
    assert check_all(store) == 1
    third = gc(store)
    assert (third.condemned.files, third.deleted.files, third.waiting) == (0, 0, [])


def test_a_dry_run_counts_what_is_condemned_already(catalog):
    store = with_garbage(catalog).store
    count = gc(store).condemned.files
    report = gc(store, apply=False)
    assert (report.deleted.files, report.condemned.files, report.unreferenced.files) == (count, 0, 0)
    waits = collect(opened(Called(store)), older_than=NOW)
    assert [(each.record, each.files) for each in waits.waiting] == [(1, count)]
    assert waits.waiting[0].ready - waits.waiting[0].condemned == timedelta(hours=24)


def test_nothing_is_deleted_before_the_delay(catalog):
    store = with_garbage(catalog).store
    count = gc(store).condemned.files
    before = paths_of(store)
    assert collect(opened(Called(store, ahead=timedelta(hours=23))), older_than=NOW, apply=True).deleted.files == 0
    assert paths_of(store) == before
    assert collect(opened(Called(store, ahead=timedelta(hours=25))), older_than=NOW, apply=True).deleted.files == count


def test_what_is_young_stays(catalog):
    store = with_garbage(catalog).store
    count = len(unneeded(store))
    report = collect(opened(Called(store, ahead=timedelta(days=13))), apply=True)
    assert (report.condemned.files, report.recent.files) == (0, 0)  # v1 was retired less than 14 days ago
    catalog.objects.put_bytes(b"an orphan")
    report = collect(opened(Called(store, ahead=timedelta(days=13))), apply=True)
    assert (report.condemned.files, report.recent.files) == (0, 1)
    report = collect(opened(Called(store, ahead=timedelta(days=15))), apply=True)
    assert (report.condemned.files, report.recent.files) == (count + 1, 0)


def test_a_second_is_too_little_for_the_clocks_of_stores(catalog):
    catalog.objects.put_bytes(b"an orphan")
    real = collect(catalog, older_than=NOW, delay=NOW, apply=True)
    assert (real.recent.files, real.condemned.files) == (1, 0)


def test_ages_cannot_be_negative(catalog):
    with pytest.raises(InvalidInput):
        collect(catalog, older_than=timedelta(seconds=-1))


def test_objects_are_shared_by_datasets_and_by_extensions(catalog):
    put(catalog.dataset("one"), catalog, {"a": b"shared", "b": b"only one"})
    put(catalog.dataset("two"), catalog, {"a": b"shared"})
    put(catalog.dataset("one"), catalog, {"a": b"new", "b": b"newer"})
    catalog.objects.put_bytes(b"shared", ".bin")
    retire(catalog, "one", 1)
    gc(catalog.store)
    gc(catalog.store)
    objects = {path for path in paths_of(catalog.store) if path.startswith("objects/")}
    assert objects == {object_of(data) for data in (b"shared", b"new", b"newer")}
    assert check_all(catalog.store) == 2


def test_names_keep_even_what_was_retired_in_the_same_moment(catalog):
    with_garbage(catalog)
    dataset = catalog.dataset("land")
    put(dataset, catalog, {"a": b"four"})  # of live versions none has three
    # What a race leaves behind: a record of retirement, and a name.
    dataset.move("stable", 2, why="w", author=AUTHOR)
    record = dataset.expiry(1)
    assert record is not None
    catalog.store.put_record("datasets/land/expired/00000002.json", record.model_copy(update={"number": 2}).encode())
    gc(catalog.store)
    gc(catalog.store)
    assert object_of(b"three") in paths_of(catalog.store)
    assert object_of(b"one") not in paths_of(catalog.store)


def test_many_chunks_and_deltas_are_marked_exactly(catalog):
    with small_chunks():
        dataset = catalog.dataset("land")
        put(dataset, catalog, {f"i{n:03}": b"%d" % n for n in range(60)})
        for step in range(1, 7):
            content = {f"i{n:03}": b"%d of %d" % (n, step) for n in range(step, 50, 13)}
            put(dataset, catalog, content, remove=[f"i{59 - step:03}"])
        retire(catalog, "land", 1, 3, 4)
        expected = {asset.href for number in (2, 5, 6, 7) for _, asset in dataset.version(number).assets()}
        gc(catalog.store)
        gc(catalog.store)
        assert {path for path in paths_of(catalog.store) if path.startswith("objects/")} == expected
        assert check_all(catalog.store) == 4


@pytest.mark.parametrize("name", ["items.ndjson", "journal/0001.log", "anything"])
@pytest.mark.parametrize("text", ["{path}", '"1220{digest}"', "sha256:{digest},", '{{"x":"objects\\/ab\\/{digest}"}}'])
def test_an_unfinished_run_keeps_what_it_names(catalog, name, text):
    digest = sha256(b"staged")
    ref = catalog.objects.put_bytes(b"staged", ".tif")
    catalog.objects.put_bytes(b"not staged", ".tif")
    said = text.format(path=ref.href, digest=digest.hex()).encode()
    catalog.store.put_new(f"staging/20260101T000000-aa/{name}", b"\xff{broken " + said)
    gc(catalog.store)
    assert gc(catalog.store, ahead=timedelta(days=8)).unfinished == ["20260101T000000-aa"]
    assert paths_of(catalog.store) == {ref.href}
    catalog.store.put_new("staging/20260101T000000-aa/discarded.json", canonical({}))
    gc(catalog.store)
    gc(catalog.store)
    assert paths_of(catalog.store) == set()


def test_a_digest_that_two_blocks_of_a_run_share_is_found(tmp_path):
    catalog = Catalog.create(local_store(tmp_path / "catalog"), clock=Clock())
    ref = catalog.objects.put_bytes(b"staged", ".tif")
    data = bytearray(b" " * (12 << 20))
    for middle in (4 << 20, 8 << 20):  # the sizes of what a store gives at once
        data[middle - 40 : middle - 40 + len(ref.href)] = ref.href.encode()
    catalog.store.put_new("staging/r/items.ndjson", bytes(data))
    gc(catalog.store)
    gc(catalog.store)
    assert paths_of(catalog.store) == {ref.href}


def test_a_longer_grace_period_after_a_shorter_one(catalog):
    """What is gone of a retired version is no damage; what is left of it is kept again."""
    dataset = catalog.dataset("land")
    with small_chunks():
        put(dataset, catalog, {f"i{n:03}": b"%d" % n for n in range(40)})
        put(dataset, catalog, {f"i{n:03}": b"new %d" % n for n in range(40)})
        retire(catalog, "land", 1)
        gone = next(asset.href for _, asset in dataset.version(2).assets())
        gc(catalog.store)
        gc(catalog.store)
        left = paths_of(catalog.store)
        assert gone in left
        report = collect(opened(Called(catalog.store)), delay=NOW, apply=True)
        assert (report.condemned.files, report.deleted.files, report.versions) == (0, 0, 2)
        assert paths_of(catalog.store) == left


def test_what_is_left_of_a_retired_version_is_kept(catalog):
    with_garbage(catalog)
    snapshots = {entry.path for entry in catalog.store.list("datasets/land/snapshots")}
    before = unneeded(catalog.store)
    catalog.store.delete(sorted(before & snapshots))  # as a sweep that died leaves it
    report = collect(opened(Called(catalog.store)), delay=NOW, apply=True)
    assert report.recent.files == len(before - snapshots)


def test_a_run_that_began_before_stops_a_sweep_for_seven_days(catalog):
    store = with_garbage(catalog).store
    store.put_new("staging/20260101T000000-aa/begin.json", b"{}")
    count = gc(store).condemned.files
    before = paths_of(store)
    report = gc(store, ahead=timedelta(days=6))
    assert report.deleted.files == 0
    assert [each.runs for each in report.waiting] == [("20260101T000000-aa",)]
    assert paths_of(store) == before
    # One that began later has seen what it needs since, and says so.
    store.put_new("staging/20260101T000000-aa/committed.json", b"{}")
    store.put_new("staging/20260202T000000-bb/begin.json", b"{}")
    assert gc(store).deleted.files == count


def test_a_run_that_died_stops_no_sweep_for_ever(catalog):
    store = with_garbage(catalog).store
    store.put_new("staging/20260101T000000-aa/begin.json", b"{}")
    count = gc(store).condemned.files
    assert gc(store, ahead=timedelta(days=8)).deleted.files == count


@pytest.mark.parametrize("damage", [None, b"", b"altered"])
@pytest.mark.parametrize(
    "what", ["manifests/", "snapshots/", "versions/00000002", "versions/00000001", "expired/", "tags/"]
)
def test_damage_stops_everything(what, damage):
    catalog = with_garbage(memory_catalog())
    catalog.dataset("land").tag("v9.9.9", 2, author=AUTHOR)
    gc(catalog.store)
    live = {path for path in paths_of(catalog.store) if path not in unneeded(catalog.store)}
    store = Editable(catalog.store)
    entries = [entry.path for entry in catalog.store.list("datasets/land") if f"/{what}" in entry.path]
    path = next(each for each in entries if each in live or each.endswith(".json"))
    store.changed[path] = damage
    if damage is None and what in {"expired/", "tags/"}:
        return  # without its record a version is live; a tag that is gone cannot be told from one that never was
    if damage is not None and what == "versions/00000001":
        return  # nothing of a retired version is read
    before = {entry.path for entry in catalog.store.list("")}
    with pytest.raises(Integrity) as error:
        gc(store)
    assert path.rsplit("/", 1)[-1].split(".")[0] in str(error.value)
    assert {entry.path for entry in catalog.store.list("")} == before


def test_versions_that_were_lost_at_the_end_stop_everything(catalog):
    store = with_garbage(catalog).store
    gc(store)
    store.delete(["datasets/land/versions/00000002.json"])
    with pytest.raises(Integrity, match=r"gc/00000001\.json saw it"):
        gc(store)


def test_versions_that_names_know_of_must_be_there(catalog):
    dataset = catalog.dataset("land")
    put(dataset, catalog, {"a": b"one"})
    put(dataset, catalog, {"a": b"two"})
    dataset.move("stable", 1, why="w", author=AUTHOR)
    catalog.store.delete(["datasets/land/versions/00000002.json"])
    with pytest.raises(Integrity, match=r"00000002\.json is missing"):
        gc(catalog.store, apply=False)


def test_a_damaged_list_or_record_stops_gc_and_no_commit(catalog):
    store = with_garbage(catalog).store
    gc(store)
    one = object_of(b"one")
    (listed,) = [entry.path for entry in store.list("gc/lists")]
    for path in (listed, "gc/00000001.json"):
        damaged = Editable(store)
        damaged.changed[path] = b"{}"
        with pytest.raises(Integrity, match=path.rsplit("/", maxsplit=1)[-1]):
            gc(damaged)
        spare(damaged, [one])
    assert one in paths_of(store)


def test_two_at_once(catalog):
    store = with_garbage(catalog).store
    count = gc(store).condemned.files
    sweep = SweepRecord(number=2, of=1, time="2026-01-01T00:00:00.000000Z", nonce="n")
    store.put_record("gc/00000002.json", sweep.encode())
    before = {entry.path for entry in store.list("")}
    with pytest.raises(Conflict, match="Another garbage collection") as error:
        gc(store, ahead=timedelta(minutes=59))
    assert error.value.kind == "gc-running"
    assert {entry.path for entry in store.list("")} == before
    assert gc(store, ahead=timedelta(minutes=61)).deleted.files == count
    assert not list(read_log(store, strict=True).open())


def test_lists_swept_long_ago_are_not_read(catalog):
    store = with_garbage(catalog).store
    gc(store)
    gc(store)

    class Aged(Called):
        def list(self, prefix: str, *, after: str | None = None):
            for entry in super().list(prefix, after=after):
                yield Entry(entry.path, entry.size, entry.modified - timedelta(days=31 if "gc/" in entry.path else 0))

    catalog.objects.put_bytes(b"an orphan")
    old = read_log(store, strict=True)
    assert [each.closed for each in old.lists] == [True]
    gc(store)
    young = {f"gc/{number:08d}.json" for number in (4,)}

    class Later(Called):
        def list(self, prefix: str, *, after: str | None = None):
            for entry in super().list(prefix, after=after):
                later = timedelta(days=31 if entry.path in young else 0)
                yield Entry(entry.path, entry.size, entry.modified + later)

    assert [each.record.number for each in read_log(Later(store), strict=True).lists] == [4]


def test_a_restored_version_keeps_what_it_names_again(catalog):
    """Expire v1, condemn its object, then bring the content back: the new version must hold."""
    store = with_garbage(catalog).store
    gc(store)
    put(opened(store).dataset("land"), opened(store), {"a": b"one"})
    gc(store)
    gc(store)
    assert object_of(b"one") in paths_of(store)
    assert check_all(store) == 2


def test_leftovers(tmp_path):
    root = tmp_path / "catalog"
    store = local_store(root)
    catalog = with_garbage(Catalog.create(store, clock=Clock()))
    day_old = [root / "objects/ab/x.tif#1", root / "datasets/land/versions/00000009.json#123456", root / "a#7"]
    others = [root / "objects/ab/y.tif#", root / "mine/z#1", root / "objects/ab/young#2"]
    for path in [*day_old, *others]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    for run, end in (("r1", "committed"), ("r2", "discarded")):
        for name in ("items.ndjson", "staged.json", f"{end}.json"):
            store.put_new(f"staging/{run}/{name}", b"{}")
    store.put_new("staging/r3/items.ndjson", b"{}")
    store.put_new("staging/clock-0123", b"")
    store.put_new("quarantine/r2/000001.json", b"{}")
    for path in root.rglob("*"):
        if path.is_file() and path.name != "young#2":
            os.utime(path, (1_600_000_000, 1_600_000_000))
    link = root / "objects/ab/link#3"
    link.symlink_to(day_old[0])
    report = collect(catalog, apply=False)
    assert (report.cleared.files, report.cleared_runs) == (3 + 6 + 1, ["r1", "r2"])
    assert all(path.exists() for path in day_old)
    report = collect(catalog, apply=True)
    assert report.cleared.files == 10
    assert not any(path.exists() for path in day_old)
    assert all(path.exists() for path in others)
    assert link.is_symlink()
    left = {entry.path for entry in store.list("staging")} | {entry.path for entry in store.list("quarantine")}
    assert left == {"staging/r3/items.ndjson", "quarantine/r2/000001.json"}


def test_a_finished_run_that_is_half_cleared_never_waits_for_a_commit_again(catalog):
    for name in ("items.ndjson", "staged.json", "committed.json"):
        catalog.store.put_new(f"staging/r1/{name}", b"{}")

    class Half(Called):
        def delete(self, paths):
            super().delete(paths[:1])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gc(Half(catalog.store))
    assert catalog.store.size("staging/r1/committed.json") is not None


def test_marks_are_those_of_a_new_marking_after_a_refresh(catalog):
    with_garbage(catalog)
    marks = marked(catalog)
    put(catalog.dataset("land"), catalog, {"z": b"later"})
    put(catalog.dataset("other"), catalog, {"z": b"elsewhere"})
    assert marks.needs(object_of(b"later")) is None
    assert marks.refresh()
    assert marks.needs(object_of(b"later")) == marks.needs(object_of(b"elsewhere")) == "live"
    assert not marks.refresh()
    assert marks.heads == {"land": 3, "other": 1}


def test_classes(catalog):
    with_garbage(catalog)
    ref = catalog.objects.put_bytes(b"staged")
    catalog.store.put_new("staging/r/items.ndjson", ref.href.encode())
    old = {entry.path: need for entry, need in classify(opened(Called(catalog.store)), older_than=NOW)}
    young = {entry.path: need for entry, need in classify(catalog)}
    assert (old[ref.href], young[ref.href]) == ("staged", "staged")
    assert (old[object_of(b"one")], young[object_of(b"one")]) == ("unreferenced", "live")
    assert old[object_of(b"two")] == "live"


def test_foreign_paths_are_left_alone(catalog):
    names = [
        "objects/ab/readme.txt",
        "objects/zz/" + "0" * 64,
        "objects/00/" + "1" * 64,
        "datasets/Bad Name/manifests/" + "0" * 64 + ".parquet",
        "datasets/land/manifests/x.parquet",
        "datasets/land/other/" + "0" * 64 + ".parquet",
        "something/else",
    ]
    for name in names:
        catalog.store.put_new(name, b"x")
    gc(catalog.store)
    gc(catalog.store)
    assert {entry.path for entry in catalog.store.list("")} >= set(names)


def test_expired_versions_keep_their_files_until_the_grace_period_ends(any_catalog):
    store: Store = with_garbage(any_catalog).store
    collect(opened(Called(store, ahead=timedelta(days=13))), delay=NOW, apply=True)
    collect(opened(Called(store, ahead=timedelta(days=13))), delay=NOW, apply=True)
    assert object_of(b"one") in paths_of(store)
    collect(opened(Called(store, ahead=timedelta(days=15))), delay=NOW, apply=True)
    collect(opened(Called(store, ahead=timedelta(days=15))), delay=NOW, apply=True)
    assert object_of(b"one") not in paths_of(store)
    assert check_all(store) == 1


def test_reports_can_be_written_as_json(catalog):
    with_garbage(catalog)
    canonical(gc(catalog.store).to_dict())
    canonical(expire(catalog.dataset("land"), keep_last=1, why="w", author=AUTHOR).to_dict())


def test_a_read_only_store_can_be_looked_at(tmp_path: Path, catalog):
    from versioning.errors import Forbidden

    class ReadOnly(Called):
        def now(self):
            raise Forbidden("read-only")

    with_garbage(catalog)
    assert collect(opened(ReadOnly(catalog.store))).live.files > 0
    with pytest.raises(Forbidden):
        collect(opened(ReadOnly(catalog.store)), apply=True)


class SlowWatch:
    """Says for each watch of a sweep how long it ran: nothing at its first look, then ``late`` seconds."""

    looks = 1
    late = 31 * 60.0

    def __init__(self) -> None:
        self.left = self.looks

    def elapsed(self) -> float:
        self.left -= 1
        return 0.0 if self.left >= 0 else self.late


def test_a_sweep_that_takes_long_ends_and_begins_anew(catalog, monkeypatch):
    for number in range(5):
        catalog.objects.put_bytes(b"orphan %d" % number)
    gc(catalog.store)
    monkeypatch.setattr("versioning.sweep._Watch", SlowWatch)
    monkeypatch.setattr("versioning.sweep._BATCH", 1)
    report = gc(catalog.store)
    assert (report.deleted.files, report.spared) == (5, 0)
    sweeps = [entry.path for entry in catalog.store.list("gc") if entry.path.endswith(".json")]
    assert len(sweeps) == 1 + 2 * 5
    assert not list(read_log(catalog.store, strict=True).open())


def test_a_sweep_that_was_held_up_deletes_nothing_more(catalog, monkeypatch):
    catalog.objects.put_bytes(b"an orphan")
    gc(catalog.store)

    class Held(SlowWatch):
        looks = 0
        late = 46 * 60.0

    monkeypatch.setattr("versioning.sweep._Watch", Held)
    with pytest.raises(StorageUnavailable, match="held up"):
        gc(catalog.store)
    assert len(paths_of(catalog.store)) == 1
    monkeypatch.undo()
    assert gc(catalog.store, ahead=timedelta(minutes=61)).deleted.files == 1


@pytest.mark.parametrize("minutes", [31, 44, 46])
@pytest.mark.parametrize("when", ["before the record", "after the record"])
def test_a_sweep_counts_its_time_from_before_its_record(catalog, monkeypatch, when, minutes):
    """Others take it for dead an hour after the record, however long it took to find out again what is needed."""
    for number in range(3):
        catalog.objects.put_bytes(b"orphan %d" % number)
    gc(catalog.store)
    now = 0.0

    class Watch:
        def __init__(self) -> None:
            self.began = now

        def elapsed(self) -> float:
            return now - self.began

    class Slow(Called):
        def put_record(self, path: str, data: bytes) -> bool:
            nonlocal now
            if when == "before the record" and path == "gc/00000002.json":
                now += minutes * 60
            return super().put_record(path, data)

        def folders(self, prefix: str) -> list[str]:
            nonlocal now
            if when == "after the record" and now == 0 and self.inner.size("gc/00000002.json") is not None:
                now += minutes * 60
            return super().folders(prefix)

    monkeypatch.setattr("versioning.sweep._Watch", Watch)
    collector = opened(Slow(catalog.store))
    if minutes < 45:
        assert collect(collector, older_than=NOW, delay=NOW, apply=True).deleted.files == 3
    else:
        with pytest.raises(StorageUnavailable, match="held up"):
            collect(collector, older_than=NOW, delay=NOW, apply=True)
        assert len(paths_of(catalog.store)) == 3
    assert now


def test_what_was_looked_at_too_long_ago_is_spared(catalog, monkeypatch):
    catalog.objects.put_bytes(b"an orphan")
    gc(catalog.store)
    monkeypatch.setattr("versioning.sweep._FRESH", -1.0)
    report = gc(catalog.store)
    assert (report.deleted.files, report.spared, len(paths_of(catalog.store))) == (0, 1, 1)


@pytest.mark.parametrize("path", ["datasets/land/versions/00000002.json", "stacpin.json", "../outside", "objects/a"])
def test_a_foreign_list_can_take_away_no_record(catalog, path):
    store = with_garbage(catalog).store
    entry = next((each for each in store.list("") if each.path == path), Entry(path, 1, catalog.store.now()))
    file = publish_list(store, [entry])
    record = CondemnedRecord(
        number=1,
        older_than_seconds=0,
        heads={},
        file=file,
        count=1,
        bytes=1,
        time="2026-01-01T00:00:00.000000Z",
        nonce="n",
    )
    assert append_record(store, 1, record)
    before = {each.path for each in store.list("")}
    with pytest.raises(Integrity, match="never takes away"):
        gc(store)
    assert {each.path for each in store.list("")} == before
