"""Sync: a mirror is equal to its source, gets only what it lacks, and contradicts nobody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sync_helpers import DATASET, Counts, asset, digests, history, item, objects_of, whole
from version_helpers import AUTHOR, Clock, local_store, memory_catalog, save, small_chunks

from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.errors import Conflict, Integrity, InvalidInput, NotFound
from versioning.events import Progress
from versioning.presence import missing
from versioning.records import ExpiryRecord
from versioning.store import Store, open_store
from versioning.sync import sync
from versioning.transfer import Pace


def records(store: Store) -> dict[str, bytes]:
    """Everything that the catalog says, without what runs leave behind."""
    return {entry.path: store.get(entry.path) for entry in store.list("") if not entry.path.startswith("staging/")}


def test_a_mirror_has_the_same_files(any_store: Store):
    source = history()
    report = sync(source, any_store)
    assert records(any_store) == records(source.store)
    assert report.copied.count == report.missing.count == len(records(source.store))
    assert report.copied.bytes == sum(map(len, records(source.store).values()))
    assert report.mirror
    assert not report.in_sync
    whole(any_store, source)
    again = sync(source, any_store)
    assert (again.copied.count, again.missing.count, again.in_sync) == (0, 0, True)


def test_nothing_is_written_when_nothing_is_missing():
    source, target = history(), open_store("memory://")
    sync(source, target)
    counts = Counts(target)
    report = sync(source, counts)
    assert report.in_sync
    assert counts.writes == []


def test_only_what_changed_is_moved():
    with small_chunks():
        source, target = history(items=60), open_store("memory://")
        sync(source, target)
        before = {entry.path for entry in source.store.list("")}
        data = b"changed"
        source.store.put_new(asset(data)["href"], data)
        _change(source, "i07", data)
        new = {entry.path for entry in source.store.list("")} - before
        counts = Counts(target)
        report = sync(source, counts)
        whole(target, source)
    moved = {path for path in counts.writes if not path.startswith("staging/")}
    assert moved == new
    assert report.copied.kinds["objects"] == 1
    assert report.copied.count == len(new)
    assert report.skipped.kinds["objects"] < 20


def _change(source: Catalog, item_id: str, data: bytes) -> None:
    commit(source.dataset(DATASET), items=[item(item_id, data)], message="m", author=AUTHOR)


def test_a_dry_run_says_the_same_and_writes_nothing(tmp_path: Path):
    source = history()
    target = tmp_path / "mirror"
    dry = sync(source, str(target), dry_run=True)
    assert not target.exists()
    assert dry.copied.count == 0
    wet = sync(source, str(target))
    assert wet.missing.to_dict() == dry.missing.to_dict() == wet.copied.to_dict()
    assert dry.destination == wet.destination == str(target)
    assert sync(source, str(target), dry_run=True).in_sync


def test_chosen_datasets():
    source, target = history(), open_store("memory://")
    save(source.dataset("other"), {"a": 1})
    sync(source, target, datasets=["other"])
    assert Catalog.open(target).dataset_ids() == ["other"]
    with pytest.raises(NotFound, match="no dataset 'nope'; datasets: ds, other"):
        sync(source, target, datasets=["nope"])
    with pytest.raises(InvalidInput):
        sync(source, target, datasets=["../x"])
    sync(source, target)
    assert Catalog.open(target).dataset_ids() == ["ds", "other"]


def test_into_a_catalog_of_another_id():
    source, other = history(), memory_catalog()
    save(other.dataset("own"), {"a": 1})
    report = sync(source, other)
    assert not report.mirror
    assert "another catalog" in report.notes[0]
    found = Catalog.open(other.store)
    assert found.record.id == other.record.id
    assert found.dataset_ids() == ["ds", "own"]
    whole(other.store, source)


# -- history


def test_names_come_along_and_go_on():
    source, target = history(), open_store("memory://")
    sync(source, target)
    there = Catalog.open(target).dataset(DATASET)
    here = source.dataset(DATASET)
    assert there.pointers() == here.pointers()
    assert [tag.tag for tag in there.tags()] == ["v1.0.0"]
    here.tag("v2.0.0", 3, author=AUTHOR)
    here.move("stable", 3, why="reviewed", author=AUTHOR)
    here.move("latest", 2, why="rolled back", author=AUTHOR)
    report = sync(source, target)
    assert dict(report.copied.kinds) == {"tags": 1, "moves": 2}
    assert Catalog.open(target).dataset(DATASET).pointers() == {"latest": 2, "stable": 3}


def test_the_mirror_goes_through_states_of_the_source():
    """A version that was rolled back at the source is never latest at the destination once its successor is there."""
    source = memory_catalog()
    source.objects.put_bytes(b"data", ".tif")
    dataset = source.dataset(DATASET)
    for value in range(3):
        save(dataset, {"a": value})
    dataset.move("latest", 1, why="two bad ones", author=AUTHOR)
    save(dataset, {"a": 9})
    seen: list[int] = []

    class Watched(Counts):
        def put_record(self, path: str, data: bytes) -> bool:
            done = super().put_record(path, data)
            if "/versions/" in path or "/pointers/" in path:
                seen.append(Catalog.open(self.inner).dataset(DATASET).latest_number())
            return done

    target = open_store("memory://")
    sync(source, target)
    fresh = Watched(open_store("memory://"))
    Catalog.create(fresh)
    sync(source, fresh)
    assert seen == [1, 2, 3, 1, 4]


def test_a_destination_that_is_ahead_is_no_conflict():
    source, target = history(), open_store("memory://")
    sync(source, target)
    ahead = Catalog.open(target, clock=Clock("2026-07-01T00:00:00+00:00")).dataset(DATASET)
    save(ahead, {"z": 1})
    ahead.tag("theirs", 4, author=AUTHOR)
    report = sync(source, target)
    assert report.ahead == {DATASET: 1}
    assert sorted(report.extra.names) == ["datasets/ds/tags/theirs.json", "datasets/ds/versions/00000004.json"]
    assert report.in_sync
    back = sync(target, source)
    assert back.copied.kinds["versions"] == 1
    assert digests(source) == digests(Catalog.open(target))


def diverged(source: Catalog, target: Store) -> Conflict:
    counts = Counts(target)
    with pytest.raises(Conflict) as caught:
        sync(source, counts)
    assert caught.value.kind == "diverged"
    assert counts.writes == []
    assert sync(source, target, dry_run=True).to_dict()["diverged"] == (caught.value.data or {})["diverged"]
    return caught.value


def test_diverged_versions():
    source, target = history(), open_store("memory://")
    sync(source, target)
    other = Catalog.open(target, clock=Clock("2026-11-22T00:00:00+00:00")).dataset(DATASET)
    for value in range(3):
        save(source.dataset(DATASET), {"z": value})
        save(other, {"z": value + 10})
    error = diverged(source, target)
    assert "ds@v4" in error.message  # the lowest number that differs
    assert source.dataset(DATASET).record(4).digest in error.message
    assert other.record(4).digest in error.message


def test_equal_content_is_no_equal_history():
    source, target = history(), open_store("memory://")
    sync(source, target)
    save(source.dataset(DATASET), {"z": 1})
    save(Catalog.open(target, clock=Clock("2026-11-22T00:00:00+00:00")).dataset(DATASET), {"z": 1})
    error = diverged(source, target)
    assert "ds@v4" in error.message
    assert error.message.count("sha256:") == 2


@pytest.mark.parametrize(("pointer", "what"), [("stable", "move 2 of ds@stable"), ("latest", "move 1 of ds@latest")])
def test_diverged_pointers(pointer: str, what: str):
    source, target = history(), open_store("memory://")
    sync(source, target)
    source.dataset(DATASET).move(pointer, 2, why="one", author=AUTHOR)
    Catalog.open(target, clock=Clock("2026-11-22T00:00:00+00:00")).dataset(DATASET).move(
        pointer, 3, why="other", author=AUTHOR
    )
    assert what in diverged(source, target).message


def test_diverged_tags():
    source, target = history(), open_store("memory://")
    sync(source, target)
    other = Catalog.open(target).dataset(DATASET)
    source.dataset(DATASET).tag("same", 2, author=AUTHOR)
    other.tag("same", 2, author="Bea")
    report = sync(source, target)
    assert "ds@same was given on both sides" in report.notes[0]
    source.dataset(DATASET).tag("v3.0", 2, author=AUTHOR)
    other.tag("v3.0", 3, author=AUTHOR)
    assert "ds@v3.0 is v2 (sha256:" in diverged(source, target).message


@pytest.mark.parametrize("here", [True, False])
def test_a_name_that_is_a_tag_here_and_a_pointer_there(here: bool):
    source, target = history(), open_store("memory://")
    sync(source, target)
    other = Catalog.open(target).dataset(DATASET)
    one, two = (source.dataset(DATASET), other) if here else (other, source.dataset(DATASET))
    one.tag("golden", 2, author=AUTHOR)
    two.move("golden", 3, why="w", author=AUTHOR)
    assert "ds@golden" in diverged(source, target).message


def test_one_diverged_dataset_stops_all_but_named_ones():
    source, target = history(), open_store("memory://")
    sync(source, target)
    save(source.dataset(DATASET), {"z": 1})
    save(Catalog.open(target, clock=Clock("2026-11-22T00:00:00+00:00")).dataset(DATASET), {"z": 2})
    save(source.dataset("good"), {"a": 1})
    diverged(source, target)
    assert sync(source, target, datasets=["good"]).copied.kinds["versions"] == 1


# -- expired versions


def expire(catalog: Catalog, number: int) -> None:
    record = ExpiryRecord(number=number, why="old", author=AUTHOR, time="2026-05-01T00:00:00.000000Z", nonce="n")
    catalog.store.put_record(f"datasets/{DATASET}/expired/{number:08d}.json", record.encode())


def test_an_expired_version_comes_without_its_bytes():
    source = history()
    only = objects_of(source, 2) - objects_of(source, 1) - objects_of(source, 3)
    assert only
    source.dataset(DATASET).move("stable", 3, why="newer", author=AUTHOR)
    expire(source, 2)
    source.store.delete(sorted(only))
    target = Counts(open_store("memory://"))
    report = sync(source, target)
    assert not any(target.size(path) for path in only)
    marks = [path for path in target.writes if path.endswith("00000002.json") and "/pointers/" not in path]
    assert marks == ["datasets/ds/expired/00000002.json", "datasets/ds/versions/00000002.json"]
    assert report.copied.kinds["expired"] == 1
    whole(target, source)
    save(source.dataset(DATASET), {"z": 4})
    source.dataset(DATASET).move("stable", 4, why="newer", author=AUTHOR)
    sync(source, target)
    expire(source, 3)
    assert dict(sync(source, target).copied.kinds) == {"expired": 1}
    whole(target, source)


def test_a_version_that_expires_during_a_sync():
    source = history()
    only = objects_of(source, 2) - objects_of(source, 1) - objects_of(source, 3)
    assert only
    source.dataset(DATASET).move("stable", 3, why="newer", author=AUTHOR)

    class Expires(Counts):
        def stream(self, path: str):
            if path in only:
                expire(source, 2)
                source.store.delete([path])
            return super().stream(path)

    target = open_store("memory://")
    with pytest.raises(Conflict) as caught:
        sync(Expires(source.store), target, workers=1)
    assert caught.value.kind == "expired-meanwhile"
    assert Catalog.open(target).dataset(DATASET).head() == 1
    sync(source, target)
    assert Catalog.open(target).dataset(DATASET).head() == 3


def test_what_expired_at_the_destination_stays_so():
    source, target = history(), open_store("memory://")
    sync(source, target)
    expire(Catalog.open(target), 1)
    report = sync(source, target)
    assert report.in_sync
    assert report.extra.names == ["datasets/ds/expired/00000001.json"]


def test_names_of_the_destination_keep_what_the_source_has_retired():
    """Retired there, a tag would mean nothing for ever, and a dataset whose latest has expired takes no commit."""
    source, target = memory_catalog(), open_store("memory://")
    source.objects.put_bytes(b"data", ".tif")
    for value in range(5):
        save(source.dataset(DATASET), {"a": value})
    sync(source, target)
    there = Catalog.open(target, clock=Clock("2026-06-01T00:00:00+00:00")).dataset(DATASET)
    there.tag("paper", 1, author=AUTHOR)
    there.move("stable", 2, why="ours", author=AUTHOR)
    there.move("latest", 3, why="v5 is bad here", author=AUTHOR)
    for number in (1, 2, 3, 4):
        expire(source, number)
    planned = sync(source, target, dry_run=True)
    report = sync(source, target, deep=True)
    wanted = [(1, ("paper",)), (2, ("stable",)), (3, ("latest",))]
    for each in (planned, report):
        assert [(kept.number, kept.names) for kept in each.kept] == wanted
    assert report.to_dict()["kept"][0] == {
        "dataset": DATASET,
        "version": 1,
        "path": "datasets/ds/expired/00000001.json",
        "names": ["paper"],
    }
    assert str(report.kept[0]) == "ds@v1, which the source has retired: paper means it"
    assert report.copied.names == ["datasets/ds/expired/00000004.json"]
    fresh = Catalog.open(target, clock=Clock("2026-07-01T00:00:00+00:00")).dataset(DATASET)
    assert [fresh.resolve(name).number for name in ("paper", "stable", "latest")] == [1, 2, 3]
    assert save(fresh, {"z": 1}).version.number == 6


def test_a_name_that_is_given_during_a_sync_keeps_its_version():
    source, target = memory_catalog(), open_store("memory://")
    source.objects.put_bytes(b"data", ".tif")
    for value in range(2):
        save(source.dataset(DATASET), {"a": value})
    sync(source, target)
    expire(source, 1)
    save(source.dataset(DATASET), {"a": 3})

    class Tags(Counts):
        def put_record(self, path: str, data: bytes) -> bool:
            if path.endswith("versions/00000003.json"):
                Catalog.open(self.inner).dataset(DATASET).tag("paper", 1, author=AUTHOR)
            return super().put_record(path, data)

    report = sync(source, Tags(target))
    assert [(kept.number, kept.names) for kept in report.kept] == [(1, ("paper",))]
    assert Catalog.open(target).resolve("ds@paper").number == 1


# -- damage


def test_deep_finds_and_mends_what_is_missing_at_the_destination():
    source, target = history(), open_store("memory://")
    sync(source, target)
    lost = [
        next(iter(sorted(objects_of(source, 1)))),
        *(entry.path for entry in target.list("datasets/ds/manifests")),
        next(entry.path for entry in target.list("datasets/ds/snapshots")),
    ]
    target.delete(lost)
    assert sync(source, target).in_sync  # what versions on both sides need is not looked at
    assert set(sync(source, target, deep=True, dry_run=True).missing.names) == set(lost)
    sync(source, target, deep=True)
    assert records(target) == records(source.store)


def test_a_damaged_object_at_the_destination_is_named_and_left_alone():
    source, target = history(), open_store("memory://")
    path = min(objects_of(source, 1))
    target.put_new(path, b"x")
    report = sync(source, target, dry_run=True)
    assert report.mismatched.names == [path]
    with pytest.raises(Integrity, match="damaged") as caught:
        sync(source, target)
    assert path in caught.value.message
    assert target.get(path) == b"x"
    assert Catalog.open(target).dataset_ids() == []


def test_a_lost_record_of_the_destination_comes_back():
    source, target = history(), open_store("memory://")
    sync(source, target)
    target.delete(["datasets/ds/versions/00000002.json"])
    assert sync(source, target).copied.names == ["datasets/ds/versions/00000002.json"]
    assert records(target) == records(source.store)


def test_an_altered_record_in_the_middle_is_damage_and_names_the_side():
    source, target = history(), open_store("memory://")
    sync(source, target)
    path = "datasets/ds/versions/00000001.json"
    target.replace(path, target.get(path).replace(b'"message":"m"', b'"message":"longer"'))
    with pytest.raises(Integrity, match=r"00000001.json is altered") as caught:
        sync(source, target)
    assert caught.value.message.startswith(target.url)
    target.replace(path, source.store.get(path).replace(b'"message":"m"', b'"message":"n"'))
    assert sync(source, target).in_sync  # of the same size: only deep reads it
    with pytest.raises(Integrity, match=r"00000001.json is altered"):
        sync(source, target, deep=True)


# -- the way


def test_the_same_place_twice(tmp_path: Path):
    source = Catalog.create(str(tmp_path / "a"))
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for other in (source, source.store, str(tmp_path / "a"), f"{tmp_path}/x/../a", str(tmp_path / "b")):
        with pytest.raises(InvalidInput, match="both"):
            sync(source, other)


@pytest.mark.parametrize("more", [{"workers": 0}, {"workers": 257}, {"bandwidth": 0}])
def test_numbers_that_make_no_sense(more: dict[str, int]):
    with pytest.raises(InvalidInput):
        sync(history(), open_store("memory://"), **more)


def test_no_catalog_at_the_source(tmp_path: Path):
    with pytest.raises(NotFound):
        sync(str(tmp_path / "none"), open_store("memory://"))
    with pytest.raises(NotFound, match="not a stacpin catalog"):
        sync(open_store("memory://"), open_store("memory://"))


def test_progress_is_told_in_bytes():
    events: list[Progress] = []
    source = history()
    report = sync(source, open_store("memory://"), on_event=events.append)
    copied = [event for event in events if event.step == "copy"]
    size = sum(source.store.size(path) or 0 for number in (1, 2, 3) for path in objects_of(source, number))
    assert {event.unit for event in copied} == {"bytes"}
    assert copied[-1].done == copied[-1].total
    assert 0 < (copied[-1].total or 0) <= size
    assert report.copied.bytes > (copied[-1].total or 0)


def test_a_large_object_goes_in_parts(any_store: Store):
    data = os.urandom(1024) * 17 * 1024
    source = history(extra=data)
    report = sync(source, any_store)
    assert report.copied.bytes > len(data)
    assert any_store.get(asset(data)["href"]) == data
    whole(any_store, source)


def test_the_bandwidth_is_shared_by_all():
    waits: list[float] = []

    class Stop:
        def wait(self, delay: float) -> bool:
            waits.append(delay)
            return False

        def is_set(self) -> bool:
            return False

    pace = Pace(1000)
    pace._stop = Stop()  # type: ignore[assignment]
    for _ in range(4):
        pace.take(500)
    assert [round(wait, 1) for wait in waits] == [0.5, 1.0, 1.5]


def test_the_run_is_announced_to_garbage_collection():
    source, target = history(), Counts(open_store("memory://"))
    sync(source, target)
    begin, *others = [path for path in target.writes if path.startswith("staging/")]
    assert begin.endswith("/begin.json")
    assert target.writes[0] == begin
    assert others == [begin.replace("begin", "committed")]
    assert target.writes[-1] == others[0]


def test_local_folders(tmp_path: Path):
    source = Catalog.create(local_store(tmp_path / "a"), clock=Clock())
    history(catalog=source)
    sync(str(tmp_path / "a"), str(tmp_path / "b"))
    assert records(local_store(tmp_path / "b")) == records(source.store)


def test_five_thousand_small_objects(tmp_path: Path):
    source = history(items=5000, catalog=Catalog.create(local_store(tmp_path / "a"), clock=Clock()))
    counts = Counts(local_store(tmp_path / "b"))
    report = sync(source, counts, workers=16)
    assert report.copied.kinds["objects"] == len({p for n in (1, 2, 3) for p in objects_of(source, n)}) > 5000
    assert len(counts.writes) == report.copied.count + 2
    assert counts.sizes < 1000  # not one question an object
    assert digests(Catalog.open(counts)) == digests(source)
    absent = missing(counts, dict.fromkeys(objects_of(source, 3), 1))
    assert not absent.missing
