"""Which of many objects are there: the same answer by listing and by asking, at the lesser price."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from version_helpers import Wrapped

from versioning import presence
from versioning.errors import StorageUnavailable
from versioning.presence import missing
from versioning.rows import object_path
from versioning.store import Entry, Store, open_store


def path_of(number: int) -> str:
    return object_path(hashlib.sha256(b"%d" % number).digest(), ".tif")


def in_one_folder(number: int) -> str:
    return f"datasets/ds/manifests/{number:064x}.parquet"


class Prices(Wrapped):
    """Counts questions, listings and what they listed."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.questions = self.listings = self.listed = 0

    def size(self, path: str) -> int | None:
        self.questions += 1
        return self.inner.size(path)

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Entry]:
        self.listings += 1
        for entry in self.inner.list(prefix, after=after):
            self.listed += 1
            yield entry


def filled(count: int, name=path_of) -> Prices:
    store = open_store("memory://")
    for number in range(count):
        store.put_new(name(number), b"12345")
    return Prices(store)


@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)), st.integers(0, 8))
def test_the_answer_is_right_whatever_the_way(there: set[int], wanted: set[int], wrong: set[int], few: int):
    store = open_store("memory://")
    for number in there:
        store.put_new(in_one_folder(number), b"1234" if number in wrong else b"12345")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presence, "_FEW", few)
        found = missing(store, {in_one_folder(number): 5 for number in wanted}, workers=2)
    assert found.missing == {in_one_folder(number) for number in wanted - there}
    assert found.wrong == {in_one_folder(number): 4 for number in wanted & there & wrong}


def test_on_every_store(any_store: Store):
    for number in range(200):
        any_store.put_new(path_of(number), b"12345")
    wanted = {path_of(number): 5 for number in range(100, 300)} | {path_of(150): 6}
    found = missing(any_store, wanted)
    assert found.missing == {path_of(number) for number in range(200, 300)}
    assert found.wrong == {path_of(150): 5}


def test_nothing_wanted_costs_nothing():
    store = filled(10)
    assert not missing(store, {}).missing
    assert (store.questions, store.listings) == (0, 0)


def test_few_of_many_are_asked_for():
    store = filled(2000, in_one_folder)
    missing(store, {in_one_folder(number): 5 for number in range(3)})
    assert (store.questions, store.listings) == (3, 0)


def test_most_of_many_are_listed():
    store = filled(2000)
    missing(store, {path_of(number): 5 for number in range(2000)})
    assert store.questions < 200
    assert store.listings <= 256


def test_a_listing_that_gets_too_dear_is_given_up():
    store = filled(5000, in_one_folder)
    wanted = {in_one_folder(number): 5 for number in range(4500, 4505)}
    assert not missing(store, wanted).missing
    assert (store.listings, store.listed) == (1, 1000)  # one page, which is there at once
    assert store.questions == 5


def test_a_listing_ends_when_all_are_found():
    store = filled(5000, in_one_folder)
    first = [entry.path for entry, _ in zip(store.inner.list("datasets/ds/manifests"), range(10), strict=False)]
    missing(store, dict.fromkeys(first, 5))
    assert (store.questions, store.listed) == (0, 10)


def test_a_store_that_fails_is_no_empty_store():
    class Fails(Wrapped):
        def size(self, path: str) -> int | None:
            raise StorageUnavailable("down")

    with pytest.raises(StorageUnavailable):
        missing(Fails(open_store("memory://")), {path_of(1): 5})
