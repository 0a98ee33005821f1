"""Retiring versions: what a policy keeps, what names keep, what everybody hears afterwards, and the one race."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from gc_helpers import check_all, gc, opened, paths_of, put, retire, unneeded
from hypothesis import given
from hypothesis import strategies as st
from version_helpers import AUTHOR, Wrapped, memory_catalog, save, small_chunks, values_of

from versioning.catalog import Catalog
from versioning.dataset import Dataset
from versioning.errors import Conflict, Expired, InvalidInput, NotFound, StacpinError
from versioning.expire import expire

WHO: dict[str, Any] = {"why": "retention: 90 days", "author": AUTHOR}


def history(catalog: Catalog, count: int = 6) -> Dataset:
    catalog.objects.put_bytes(b"data", ".tif")  # what all items have
    dataset = catalog.dataset("land")
    for number in range(count):
        save(dataset, {"a": number, "b": 0})
    return dataset


def live(dataset: Dataset) -> list[int]:
    return [number for number in range(1, dataset.head() + 1) if dataset.expiry(number) is None]


def test_a_dry_run_says_what_would_happen(any_catalog):
    dataset = history(any_catalog, 4)
    before = {entry.path for entry in any_catalog.store.list("datasets")}
    report = expire(dataset, keep_last=2, **WHO)
    assert [record.number for record in report.expired] == [1, 2]
    assert (report.applied, report.live, report.kept) == (False, 2, [])
    assert {entry.path for entry in any_catalog.store.list("datasets")} == before
    assert expire(dataset, keep_last=2, apply=True, **WHO).to_dict() == report.to_dict() | {"applied": True}
    assert live(dataset) == [3, 4]


def test_a_retired_version_says_so_for_ever(catalog):
    dataset = history(catalog)
    digest = dataset.version(2).digest
    expire(dataset, versions=[2], apply=True, **WHO)
    for pin in ("land@v2", f"land@{digest[:20]}"):
        with pytest.raises(Expired, match=r"land@v2 expired on 20.*retention: 90 days"):
            catalog.resolve(pin)
    assert dataset.record(2).number == 2
    assert values_of(dataset.version(3)) == {"a": 2, "b": 0}
    assert save(dataset, {"a": 9}).version.number == 7


def test_names_keep_their_versions(catalog):
    dataset = history(catalog)
    dataset.move("stable", 2, why="w", author=AUTHOR)
    dataset.tag("v1.0.0", 1, author=AUTHOR)
    dataset.move("latest", 3, why="w", author=AUTHOR)
    report = expire(dataset, keep_last=1, apply=True, **WHO)
    assert [record.number for record in report.expired] == [4, 5]
    assert {each.number: each.names for each in report.kept} == {1: ("v1.0.0",), 2: ("stable",), 3: ("latest",)}
    assert live(dataset) == [1, 2, 3, 6]
    again = expire(dataset, keep_last=1, apply=True, **WHO)
    assert (again.expired, again.live) == ([], 4)


@pytest.mark.parametrize("name", ["latest", "stable", "v1.0.0"])
def test_a_named_version_is_refused_by_its_name(catalog, name):
    dataset = history(catalog, 3)
    dataset.move("stable", 1, why="w", author=AUTHOR)
    dataset.tag("v1.0.0", 2, author=AUTHOR)
    number = {"latest": 3, "stable": 1, "v1.0.0": 2}[name]
    with pytest.raises(Conflict, match=f"land@v{number} cannot expire: '?{name}'? means it") as error:
        expire(dataset, versions=[number], apply=True, **WHO)
    assert error.value.kind == "version-in-use"
    assert live(dataset) == [1, 2, 3]


def test_by_age():
    times: list[datetime] = []
    catalog = Catalog.create("memory://", clock=lambda: times.pop(0) if times else datetime.now(UTC))
    dataset = catalog.dataset("land")
    for number, days in enumerate([100, 91, 89, 80, 1]):
        times[:] = [datetime.now(UTC) - timedelta(days=days)]
        save(dataset, {"a": number})
    assert [r.number for r in expire(dataset, older_than=timedelta(days=90), **WHO).expired] == [1, 2]
    assert [r.number for r in expire(dataset, older_than=timedelta(days=90), keep_last=4, **WHO).expired] == [1]
    assert [r.number for r in expire(dataset, older_than=timedelta(days=90), keep_last=2, **WHO).expired] == [1, 2]
    assert [r.number for r in expire(dataset, older_than=timedelta(0), **WHO).expired] == [1, 2, 3, 4]


def test_what_was_retired_before_counts_for_nothing(catalog):
    dataset = history(catalog)
    retire(catalog, "land", 4, 5)
    report = expire(dataset, keep_last=2, apply=True, **WHO)
    assert [record.number for record in report.expired] == [1, 2]
    report = expire(dataset, versions=[1, 3, 4], apply=True, **WHO)
    assert ([record.number for record in report.expired], report.already, report.live) == ([3], 2, 1)


@pytest.mark.parametrize(
    ("criteria", "kind"),
    [
        ({}, InvalidInput),
        ({"versions": []}, InvalidInput),
        ({"keep_last": 0}, InvalidInput),
        ({"older_than": timedelta(days=-1)}, InvalidInput),
        ({"keep_last": 1, "versions": [1]}, InvalidInput),
        ({"keep_last": 1, "why": " "}, InvalidInput),
        ({"versions": [9]}, NotFound),
        ({"versions": [0]}, NotFound),
    ],
)
def test_what_makes_no_sense_is_refused(catalog, criteria, kind):
    dataset = history(catalog, 2)
    with pytest.raises(kind):
        expire(dataset, **{**WHO, **criteria}, apply=True)
    assert live(dataset) == [1, 2]


def test_a_dataset_without_versions(catalog):
    with pytest.raises(NotFound):
        expire(catalog.dataset("none"), keep_last=1, **WHO)


@pytest.mark.parametrize("what", ["tag", "candidate", "latest"])
def test_who_names_what_expires_in_the_same_moment_is_told(catalog, what):
    """The version is retired just before the record that names it, after the look whether it lives."""
    history(catalog)

    class Late(Wrapped):
        raced = False

        def put_record(self, path: str, data: bytes) -> bool:
            if ("/tags/" in path or "/pointers/" in path) and not self.raced:
                self.raced = True
                report = expire(opened(self.inner).dataset("land"), versions=[2], apply=True, **WHO)
                assert [record.number for record in report.expired] == [2]
            return self.inner.put_record(path, data)

    racing = opened(Late(catalog.store)).dataset("land")
    name = partial(racing.tag, "v1.0.0") if what == "tag" else partial(racing.move, what, why="w")
    with pytest.raises(Conflict, match="means v2 now, which expired in the same moment") as error:
        name(target=2, author=AUTHOR)
    assert error.value.kind == "named-meanwhile"
    with pytest.raises(Expired, match="land@v2 expired"):
        catalog.resolve(f"land@{'v1.0.0' if what == 'tag' else what}")


@pytest.mark.parametrize("what", ["stable", "tag", "latest"])
def test_a_name_given_in_the_same_moment_is_told(catalog, what):
    dataset = history(catalog)

    class Late(Wrapped):
        """The name is written just before the record of retirement, after the names were read."""

        raced = False

        def put_record(self, path: str, data: bytes) -> bool:
            if "/expired/" in path and not self.raced:
                self.raced = True
                if what == "tag":
                    dataset.tag("v1.0.0", 2, author=AUTHOR)
                else:
                    dataset.move(what, 2, why="w", author=AUTHOR)
            return self.inner.put_record(path, data)

    racing = opened(Late(catalog.store)).dataset("land")
    with pytest.raises(Conflict, match="means v2, which expired in the same moment") as error:
        expire(racing, versions=[2], apply=True, **WHO)
    assert error.value.kind == "named-meanwhile"
    name = "v1.0.0" if what == "tag" else what
    with pytest.raises(Expired, match="land@v2 expired"):
        catalog.resolve(f"land@{name}")
    with pytest.raises(Expired):  # after it, nobody can name it
        dataset.move("other", 2, why="w", author=AUTHOR)
    # Nothing that it needs goes, however old.
    before = paths_of(catalog.store)
    gc(catalog.store, ahead=timedelta(days=1000))
    gc(catalog.store, ahead=timedelta(days=1001))
    assert paths_of(catalog.store) == before
    if what == "tag":
        return
    # The way out.
    dataset.move(what, 6, why="w", author=AUTHOR)
    assert catalog.resolve(f"land@{name}").number == 6
    gc(catalog.store, ahead=timedelta(days=1000))
    gc(catalog.store, ahead=timedelta(days=1001))
    assert paths_of(catalog.store) < before
    assert check_all(catalog.store) == 5


def test_two_at_once_retire_the_same_once(catalog):
    dataset = history(catalog)
    other = opened(catalog.store).dataset("land")

    class Second(Wrapped):
        def put_record(self, path: str, data: bytes) -> bool:
            expire(other, keep_last=2, apply=True, why="the other", author=AUTHOR)
            return self.inner.put_record(path, data)

    expire(opened(Second(catalog.store)).dataset("land"), keep_last=2, apply=True, **WHO)
    assert live(dataset) == [5, 6]
    found = {number: dataset.expiry(number) for number in range(1, 5)}
    assert {expiry.why for expiry in found.values() if expiry} == {"the other"}


# -- random histories

_OBJECTS = st.binary(min_size=1, max_size=1)
_ITEMS = st.dictionaries(st.sampled_from("abcdefgh"), _OBJECTS, min_size=1, max_size=5)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.sampled_from(["one", "two"]), _ITEMS, st.booleans()),
        st.tuples(st.just("keep"), st.sampled_from(["one", "two"]), st.integers(1, 3)),
        st.tuples(st.just("name"), st.sampled_from(["one", "two"]), st.sampled_from(["stable", "latest", "tag"])),
        st.tuples(st.just("gc")),
        st.tuples(st.just("stage"), _OBJECTS),
    ),
    max_size=14,
)


@given(_STEPS, st.randoms(use_true_random=False))
def test_after_expire_and_gc_everything_live_verifies_and_nothing_else_is_there(steps, random):
    with small_chunks():
        catalog = memory_catalog()
        store = catalog.store
        staged: set[str] = set()
        for count, step in enumerate(steps):
            if step[0] == "commit":
                mine = opened(store) if step[3] else catalog
                put(mine.dataset(step[1]), mine, step[2])
            elif step[0] == "gc":
                gc(store)
            elif step[0] == "stage":
                ref = catalog.objects.put_bytes(step[1], ".tif")
                staged.add(ref.href)
                store.put_new(f"staging/run{count}/items.ndjson", ref.href.encode())
            else:
                dataset = catalog.dataset(step[1])
                if not live(dataset):
                    continue
                if step[0] == "keep":
                    expire(dataset, keep_last=step[2], apply=True, **WHO)
                else:
                    _name(dataset, step[2], random.choice(live(dataset)), count)
        # Runs that began before a list was condemned hold up its sweep for seven days.
        gc(store, ahead=timedelta(days=8))
        gc(store, ahead=timedelta(days=8))
        check_all(store)
        needed = staged | {
            asset.href
            for name in ("one", "two")
            for number in live(catalog.dataset(name))
            for _, asset in opened(store).dataset(name).version(number).assets()
        }
        assert {path for path in paths_of(store) if path.startswith("objects/")} == needed
        assert not unneeded(store)


def _name(dataset: Dataset, what: str, number: int, count: int) -> None:
    try:
        if what == "tag":
            dataset.tag(f"v1.0.{count}", number, author=AUTHOR)
        else:
            dataset.move(what, number, why="w", author=AUTHOR)
    except StacpinError:
        pass
