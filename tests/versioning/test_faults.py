"""The stores that fail, themselves proven; and every call of every operation failing in every way, one at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest
from faults import KINDS, Disk, Fault, Faulty, Kind, at_random, nth_call
from model_state import bytes_of, stored_item
from version_helpers import AUTHOR, Clock, again, local_store, save, small_chunks, values_of

from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.dataset import Dataset
from versioning.digests import sha256
from versioning.errors import Forbidden, StacpinError, StorageUnavailable
from versioning.store import open_store
from versioning.verify import verify_chain, verify_version

# -- the instruments


def test_what_each_fault_does_to_a_creation():
    outcomes = {}
    for kind in KINDS:
        inner = open_store("memory://")
        way = Faulty(inner, nth_call(Fault(kind, 1)))
        try:
            said: object = way.put_new("a", b"1")
        except StacpinError as error:
            said = type(error)
        there = inner.size("a") is not None
        way.land()
        outcomes[kind] = (said, there, inner.size("a") is not None, way.dead)
    lost = StorageUnavailable
    assert outcomes == {
        "before": (lost, False, False, False),
        "after": (lost, True, True, False),
        "taken": (False, True, True, False),
        "cut": (lost, False, False, False),
        "denied": (Forbidden, False, False, False),
        "late": (lost, False, True, False),
        "delay": (True, True, True, False),
        "pause": (True, True, True, False),
        "crash": (lost, False, False, True),
        "crash-after": (lost, True, True, True),
    }


def test_what_comes_in_parts_stops_midway(tmp_path: Path):
    inner = local_store(tmp_path / "c")
    for name in ("a", "b", "c"):
        inner.put_new(f"x/{name}", name.encode() * 9_000_000)
    way = Faulty(inner, lambda call: "cut")
    for parts, whole in ((way.stream("x/a"), 9_000_000), (way.list("x"), 3)):
        seen = []
        with pytest.raises(StorageUnavailable):
            seen.extend(parts)
        assert 0 < sum(len(part) if isinstance(part, memoryview) else 1 for part in seen) < whole
    with pytest.raises(StorageUnavailable):
        way.put_stream("y", [b"1" * 6_000_000] * 3)
    assert inner.size("y") is None
    assert way.injected == {("cut", "stream"): 1, ("cut", "list"): 1, ("cut", "put_stream"): 1}


def test_the_dead_do_nothing_and_the_same_seed_does_the_same():
    way = Faulty(open_store("memory://"), nth_call(Fault("crash", 2)))
    assert way.put_new("a", b"1")
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            way.get("a")
    kinds: list[Kind] = ["before", "after"]

    def told(seed: int) -> Iterator[str]:
        shaky = Faulty(open_store("memory://"), at_random(seed, 0.3, kinds))
        for number in range(40):
            try:
                shaky.put_new(f"{number}", b"")
            except StorageUnavailable as error:
                yield str(error)

    assert list(told(1)) == list(told(1)) != list(told(2))


def test_a_power_cut_takes_what_was_not_durable():
    disk = Disk(open_store("memory://"))
    disk.put_new("first", b"12345678")
    disk.put_record("record", b"r")
    for number in range(40):
        disk.put_new(f"later/{number}", b"12345678")
    torn = disk.power_cut(3)
    assert set(torn.values()) == {"missing", "empty", "short"}
    assert 5 < len(torn) < 38
    assert (disk.get("first"), disk.get("record")) == (b"12345678", b"r")
    sizes = {"missing": None, "empty": 0, "short": 4}
    assert {path: disk.size(path) for path in torn} == {path: sizes[fate] for path, fate in torn.items()}
    assert disk.power_cut(3) == {}


def test_time_passes_on_a_disk():
    disk = Disk(open_store("memory://"))
    disk.put_new("old", b"")
    disk.age(timedelta(days=20))
    disk.put_new("new", b"")
    written = {entry.path: entry.modified for entry in disk.list("")}
    assert written["new"] - written["old"] >= timedelta(days=20) > disk.now() - written["new"]


# -- every call of an operation, failing in every way

# Ids that end in 0 share their objects, so that the calls are those of the protocol.
OLD = {f"i{number:02d}0": 0 for number in range(16)}
NEW = OLD | {"i030": 1, "i110": 1, "x0": 1}


def change(catalog: Catalog) -> None:
    for data in sorted({bytes_of(key, value) for key, value in NEW.items()}):
        catalog.objects.put_bytes(data, ".bin")
    items = [stored_item(key, value) for key, value in NEW.items()]
    commit(catalog.dataset("ds"), items=items, message="m", author=AUTHOR)


def give_tag(catalog: Catalog) -> None:
    catalog.dataset("ds").tag("v1.0.0", 1, author=AUTHOR)


def roll_back(catalog: Catalog) -> None:
    catalog.dataset("ds").move("latest", 1, why="w", author=AUTHOR)


ACTS: dict[str, tuple[Callable[[Catalog], None], Callable[[Dataset], object]]] = {
    "commit": (change, lambda dataset: (values_of(dataset.latest()), dataset.head())),
    "tag": (give_tag, lambda dataset: dataset.tag_names()),
    "move": (roll_back, lambda dataset: dataset.latest_number()),
}


@cache
def old_files() -> dict[str, bytes]:
    """A catalog with two versions, all of whose objects are there; in small chunks, wherever it is made first."""
    store = open_store("memory://")
    catalog = Catalog.create(store, clock=Clock())
    for content in ({"gone": 3}, OLD):
        for data in sorted({bytes_of(key, value) for key, value in content.items()}):
            catalog.objects.put_bytes(data, ".bin")
        items = [stored_item(key, value) for key, value in content.items()]
        commit(catalog.dataset("ds"), items=items, whole=True, message="m", author=AUTHOR)
    return {entry.path: store.get(entry.path) for entry in store.list("")}


def begun() -> Disk:
    """A disk with that catalog."""
    disk = Disk(open_store("memory://"))
    for path, data in old_files().items():
        disk.put_record(path, data)
    return disk


def unheard(way: Faulty) -> bool:
    """Whether what was injected is nothing that a caller hears of."""
    quiet = {("taken", verb) for verb in ("put_new", "put_record")}
    return all(kind in {"delay", "pause"} or (kind, verb) in quiet for kind, verb in way.injected)


# In the short profile without those that differ in the error only, or need a rival to matter.
LONG = os.environ.get("STACPIN_LONG") == "1"
TRIED = KINDS if LONG else ("before", "after", "taken", "cut", "late", "crash-after")


@pytest.mark.parametrize("kind", TRIED)
@pytest.mark.parametrize("name", ACTS)
def test_every_call_fails_in_every_way(name: str, kind: Kind):
    """After each fault: the old state or the new one, whole. Then the same again works, and is done once."""
    act, look = ACTS[name]
    with small_chunks():
        disk = begun()
        old = look(again(Catalog.open(disk)).dataset("ds"))
        act(Catalog.open(disk))
        new = look(again(Catalog.open(disk)).dataset("ds"))
        nth = 0
        while nth < 99:
            nth += 1
            disk = begun()
            way = Faulty(disk)
            catalog = Catalog.open(way, clock=Clock())
            way.arm(nth_call(Fault(kind, nth)))
            failed = False
            try:
                act(catalog)
            except (StorageUnavailable, Forbidden):
                failed = True
            assert failed == (not unheard(way)), way.injected
            struck = bool(way.injected)
            found = [look(Catalog.open(disk).dataset("ds"))]
            way.land()
            found.append(look(Catalog.open(disk).dataset("ds")))
            assert found[0] in ((old, new) if failed else (new,))
            assert found[1] in ((found[0], new) if kind == "late" else (found[0],))
            # With the memory of the failed attempt, and without any.
            way.disarm()
            if not way.dead:
                act(catalog)
            act(Catalog.open(disk, clock=Clock("2026-03-02T12:00:00+00:00")))
            dataset = Catalog.open(disk).dataset("ds")
            assert look(dataset) == new
            assert verify_chain(dataset).ok
            report = verify_version(dataset, dataset.version(dataset.head()))
            assert report.ok, report.problems
            if not struck:
                break
        assert 3 < nth < 99


def test_a_write_that_lands_when_its_number_is_taken_changes_nothing():
    with small_chunks():
        disk = begun()
        way = Faulty(disk, lambda call: "late" if call.verb == "put_record" else None)
        with pytest.raises(StorageUnavailable):
            save(Catalog.open(way).dataset("ds"), {"mine": 1})
        save(Catalog.open(disk).dataset("ds"), {"theirs": 1})
        before = {entry.path: disk.get(entry.path) for entry in disk.list("")}
        assert way.waiting == 1
        way.land()
        assert {entry.path: disk.get(entry.path) for entry in disk.list("")} == before
        assert verify_chain(Catalog.open(disk).dataset("ds")).ok


def test_what_a_power_cut_tears_is_written_again():
    """The same commit, tried again after a power cut that left files of it empty or short, makes a whole version."""
    torn = 0
    with small_chunks():
        for nth in range(1, 6):
            for seed in range(6):
                disk = begun()
                way = Faulty(disk, nth_call(Fault("crash-after", nth, writes=True)))
                with suppress(StorageUnavailable):  # there are fewer writes than the last of these
                    save(Catalog.open(way).dataset("ds"), {"i030": 1, "i110": 1, "x0": 1})
                disk.power_cut(seed)
                files = [entry.path for entry in disk.list("datasets") if entry.path.endswith(".parquet")]
                torn += any(sha256(disk.get(path)).hex() not in path for path in files)
                result = save(Catalog.open(disk).dataset("ds"), {"i030": 1, "i110": 1, "x0": 1})
                report = verify_version(Catalog.open(disk).dataset("ds"), result.version, objects=False)
                assert report.ok, report.problems
    assert torn > 3


def test_many_faults_at_once_make_no_version_twice():
    """A tenth of all calls fail, and the caller tries until it works: every change is there, once, in order."""
    with small_chunks():
        for seed in range(6 if LONG else 3):
            disk = Disk(open_store("memory://"))
            Catalog.create(disk, clock=Clock())
            way = Faulty(disk, at_random(seed, 0.1, ["before", "after", "taken", "cut", "late"]))
            for number in range(12):
                for _ in range(200):
                    try:
                        dataset = Catalog.open(way, clock=Clock()).dataset("ds")
                        save(dataset, {f"i{number * 7 % 40:02d}": number, f"j{number:02d}": 0})
                    except StorageUnavailable:
                        continue
                    break
                else:
                    pytest.fail("200 tries were not enough")
            way.land()
            dataset = Catalog.open(disk).dataset("ds")
            assert dataset.head() == 12
            wanted = {f"i{number * 7 % 40:02d}": number for number in range(12)} | {f"j{n:02d}": 0 for n in range(12)}
            assert values_of(dataset.latest()) == wanted
            assert verify_chain(dataset).ok
            assert sum(way.injected.values()) > 20
