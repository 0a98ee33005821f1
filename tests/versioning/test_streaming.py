"""Streaming appends: nothing is lost while a store is away, nothing is committed twice, conflicts stop the stream."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from version_helpers import AUTHOR, Wrapped, again, asset_of, item_of, memory_catalog, save, values_of

from versioning import patience
from versioning.catalog import Catalog
from versioning.commit import CommitResult
from versioning.dataset import Dataset
from versioning.errors import Conflict, Forbidden, InvalidInput, StorageUnavailable
from versioning.expire import expire
from versioning.store import Store, open_store
from versioning.streaming import Stream
from versioning.verify import verify_version

NEVER = 3600.0


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(patience, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(patience, "_LONGEST_PAUSE", 0.02)


@pytest.fixture
def dataset() -> Dataset:
    return memory_catalog().dataset("live")


class Fails(Wrapped):
    """Fails at the records of versions (or elsewhere if told) while ``left`` is above 0; ``after``: once written."""

    def __init__(self, inner: Store, *, error: Callable[[], Exception], after: bool = False) -> None:
        super().__init__(inner)
        self.error, self.after, self.left, self.where = error, after, 0, "/versions/"

    def put_record(self, path: str, data: bytes) -> bool:
        return self._maybe(path, lambda: self.inner.put_record(path, data))

    def put_new(self, path: str, data: bytes) -> bool:
        return self._maybe(path, lambda: self.inner.put_new(path, data))

    def _maybe(self, path: str, write: Callable[[], bool]) -> bool:
        fails = self.left > 0 and self.where in path
        self.left -= fails
        if fails and not self.after:
            raise self.error()
        written = write()
        if fails:
            raise self.error()
        return written


def away() -> StorageUnavailable:
    return StorageUnavailable("the store did not answer.")


def failing(*, after: bool = False, error: Callable[[], Exception] = away) -> tuple[Fails, Dataset]:
    store = Fails(open_store("memory://"), error=error, after=after)
    return store, Catalog.create(store).dataset("live")


def on_disk(dataset: Dataset) -> dict[str, object]:
    """What another process reads."""
    return values_of(Catalog.open(dataset.store).dataset(dataset.id).latest())


def test_flush_returns_when_its_items_are_in_a_version(any_catalog):
    dataset = any_catalog.dataset("live")
    with Stream(dataset, author=AUTHOR, message="m", every=NEVER) as stream:
        assert stream.flush() is None
        stream.append(item_of("a", 1))
        stream.append(item_of("b", 1))
        first = stream.flush()
        assert first is not None
        assert (first.version.number, first.added) == (1, 2)
        assert values_of(again(any_catalog).dataset("live").latest()) == {"a": 1, "b": 1}
        stream.append(item_of("b", 2))
        stream.remove("a")
        second = stream.flush()
        assert second is not None
        assert (second.version.number, second.changed, second.removed) == (2, 1, 1)
        stream.append(item_of("b", 2))
        unchanged = stream.flush()
        assert unchanged is not None
        assert not unchanged.created
        stream.append(item_of("c", 3))
    latest = again(any_catalog).dataset("live").latest()
    assert values_of(latest) == {"b": 2, "c": 3}
    assert latest is not None
    assert (latest.number, latest.record.author, latest.record.message) == (3, AUTHOR, "m")
    assert (stream.counts.appended, stream.counts.removed, stream.counts.commits) == (5, 1, 3)


def test_it_commits_by_time_while_nothing_more_comes(dataset):
    made = threading.Event()
    with Stream(dataset, author=AUTHOR, every=0.05, on_commit=lambda _: made.set()) as stream:
        stream.append(item_of("a"))
        assert made.wait(10)
        assert on_disk(dataset) == {"a": 0}
    assert stream.counts.commits == 1


def test_it_commits_by_count(dataset):
    made: list[CommitResult] = []
    full = threading.Event()

    def listen(result: CommitResult) -> None:
        made.append(result)
        full.set()

    with Stream(dataset, author=AUTHOR, every=timedelta(hours=1), items=10, on_commit=listen) as stream:
        for number in range(9):
            stream.append(item_of(f"a{number}"))
        assert not full.wait(0.1)
        stream.append(item_of("a9"))
        assert full.wait(10)
    assert [result.added for result in made] == [10]


def test_producers_wait_when_four_batches_are_in_memory():
    store, dataset = failing()
    gate, asked = threading.Event(), threading.Event()

    class Slow(Wrapped):
        def put_record(self, path: str, data: bytes) -> bool:
            asked.set()
            assert gate.wait(20)
            return self.inner.put_record(path, data)

    dataset = Catalog.open(Slow(store)).dataset("live")
    with Stream(dataset, author=AUTHOR, every=NEVER, items=5) as stream:
        taken: list[int] = []

        def produce() -> None:
            for number in range(30):
                stream.append(item_of(f"a{number:02d}"))
                taken.append(number)

        producer = threading.Thread(target=produce)
        producer.start()
        assert asked.wait(10)
        producer.join(0.3)
        assert producer.is_alive()
        assert len(taken) == 20
        gate.set()
        producer.join(20)
        assert not producer.is_alive()
    assert len(on_disk(dataset)) == 30


def test_the_last_of_equal_ids_wins_and_is_counted(dataset):
    with Stream(dataset, author=AUTHOR, every=NEVER) as stream:
        stream.append(item_of("a", 1))
        stream.append(item_of("a", 1))
        assert stream.counts.replaced == 0
        stream.append(item_of("a", 2))
        stream.append(item_of("b", 1))
        stream.remove("b")
    assert stream.counts.replaced == 2
    assert on_disk(dataset) == {"a": 2}


def test_what_is_appended_is_not_what_the_caller_makes_of_it_later(dataset):
    item = item_of("a", 1)
    with Stream(dataset, author=AUTHOR, every=NEVER) as stream:
        stream.append(item)
        item["properties"]["value"] = 2
        item["id"] = "b"
    assert on_disk(dataset) == {"a": 1}


def test_a_bad_item_is_refused_alone(dataset):
    with Stream(dataset, author=AUTHOR, every=NEVER) as stream:
        stream.append(item_of("a"))
        with pytest.raises(InvalidInput, match="b/c"):
            stream.append(item_of("b/c"))
        with pytest.raises(InvalidInput):
            stream.remove("../b")
        stream.append(item_of("c"))
    assert on_disk(dataset) == {"a": 0, "c": 0}


def test_removing_what_is_not_there_is_counted(dataset):
    with Stream(dataset, author=AUTHOR, every=NEVER) as stream:
        stream.remove("nothing")
        assert stream.flush() is None
        stream.append(item_of("a"))
    assert stream.counts.absent == 1


def test_many_threads(dataset):
    with Stream(dataset, author=AUTHOR, every=0.02, items=7) as stream:
        threads = [
            threading.Thread(target=lambda first=first: [stream.append(item_of(f"t{first}-{n}", n)) for n in range(25)])
            for first in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(on_disk(dataset)) == 100
    assert sum(record.statistics.added for record in dataset.versions()) == 100
    assert stream.pending().items == []


@pytest.mark.parametrize("after", [False, True], ids=["nothing was written", "the answer was lost"])
@pytest.mark.parametrize("there", [False, True], ids=["first version", "later version"])
def test_an_outage_loses_nothing_and_doubles_nothing(after, there):
    store, dataset = failing(after=after)
    if there:
        save(dataset, {"old": 1, "gone": 1})
    made: list[CommitResult] = []
    with Stream(dataset, author=AUTHOR, every=NEVER, on_commit=made.append) as stream:
        store.left = 3
        stream.append(item_of("a", 1))
        if there:
            stream.remove("gone")
        result = stream.flush()
    assert result is not None
    assert on_disk(dataset) == ({"old": 1, "a": 1} if there else {"a": 1})
    assert dataset.head() == 1 + there
    # After a lost answer, the version is found, and told once.
    assert [(each.version.number, each.created, each.added) for each in made] == [(1 + there, True, 1)]
    assert stream.counts.retries == (1 if after else 3)
    assert verify_version(dataset, result.version, objects=False).ok


class Overtaken(Fails):
    """Answers are lost, and ``meanwhile`` happens before the stream tries again."""

    meanwhile: Callable[[], object]

    def put_record(self, path: str, data: bytes) -> bool:
        lost = self.left > 0 and self.where in path
        try:
            return super().put_record(path, data)
        finally:
            if lost:
                self.meanwhile()


def overtaken(*, after: bool) -> tuple[Overtaken, Dataset, Dataset]:
    """The store of a stream, its dataset, and the dataset as others see it."""
    inner = open_store("memory://")
    store = Overtaken(inner, error=away, after=after)
    dataset = Catalog.create(store).dataset("live")
    save(dataset, {"old": 1})
    return store, dataset, Catalog.open(inner).dataset("live")


def test_the_version_of_another_stream_is_not_taken_for_ones_own():
    """Both have the same author and message, and both append the same item in the same state."""
    store, dataset, others = overtaken(after=False)
    store.meanwhile = lambda: save(others, {"a": 1})
    with Stream(dataset, author=AUTHOR, message="m", every=NEVER) as stream:
        store.left = 1
        stream.append(item_of("a", 1))
        result = stream.flush()
    assert result is not None
    assert (result.version.number, result.created, stream.counts.commits) == (2, False, 0)


def test_a_lost_answer_is_found_below_the_versions_of_others():
    store, dataset, others = overtaken(after=True)
    store.meanwhile = lambda: [save(others, {"b": value}) for value in (1, 2)]
    stream = Stream(dataset, author=AUTHOR, message="m", every=NEVER)
    store.left = 1
    stream.append(item_of("a", 1))
    result = stream.flush()
    assert result is not None
    assert (result.version.number, result.created, stream.counts.commits) == (2, True, 1)
    # It has not seen what they did.
    stream.append(item_of("b", 9))
    with pytest.raises(Conflict, match="b"):
        stream.close()


def test_a_lost_answer_counts_also_where_its_version_was_retired_meanwhile():
    store, dataset, others = overtaken(after=True)

    def meanwhile() -> None:
        for value in (1, 2):
            save(others, {"b": value})
        expire(others, versions=[2, 3], why="w", author=AUTHOR, apply=True)

    store.meanwhile = meanwhile
    with Stream(dataset, author=AUTHOR, message="m", every=NEVER) as stream:
        store.left = 1
        stream.append(item_of("a", 1))
        result = stream.flush()
        assert result is not None
        assert (result.version.number, result.created) == (2, True)
        stream.append(item_of("c", 1))
    assert on_disk(dataset) == {"old": 1, "a": 1, "b": 2, "c": 1}


def test_patience_ends_and_the_items_are_still_there():
    store, dataset = failing()
    store.left = 10_000
    stream = Stream(dataset, author=AUTHOR, every=0.01, patience=timedelta(seconds=0.1))
    stream.append(item_of("a", 1))
    with pytest.raises(StorageUnavailable):
        stream.flush()
    with pytest.raises(StorageUnavailable):
        stream.append(item_of("b", 1))
    with pytest.raises(StorageUnavailable):
        stream.close()
    assert [item["id"] for item in stream.pending().items] == ["a"]
    assert on_disk(dataset) == {}


@pytest.mark.parametrize(
    "error",
    [lambda: Forbidden("expired.", kind="expired-credentials"), lambda: StorageUnavailable("", kind="disk-error")],
)
def test_what_another_attempt_does_not_mend_is_not_tried_again(error):
    store, dataset = failing(error=error)
    store.left = 1
    stream = Stream(dataset, author=AUTHOR, every=NEVER)
    stream.append(item_of("a", 1))
    stream.remove("b")
    with pytest.raises(type(error())):
        stream.close()
    assert stream.counts.retries == 0
    assert [item["id"] for item in stream.pending().items] == ["a"]
    # The way out: another stream takes them.
    with Stream(dataset, author=AUTHOR, every=NEVER) as other:
        for item in stream.pending().items:
            other.append(item)
    assert on_disk(dataset) == {"a": 1}


def test_others_who_change_other_items_are_no_conflict(dataset):
    save(dataset, {"a": 1, "b": 1})
    with Stream(dataset, author=AUTHOR, every=NEVER) as stream:
        stream.append(item_of("a", 2))
        save(dataset, {"b": 5, "c": 1})
        stream.flush()
        stream.append(item_of("b", 6))  # what it saw at its last commit
    assert on_disk(dataset) == {"a": 2, "b": 6, "c": 1}


def test_a_conflict_stops_the_stream_and_keeps_its_items(dataset):
    save(dataset, {"a": 1, "b": 1})
    stream = Stream(dataset, author=AUTHOR, every=0.02)
    save(dataset, {"a": 7})
    stream.append(item_of("a", 2))
    stream._thread.join(10)  # it ends by itself
    assert not stream._thread.is_alive()
    for call in (stream.flush, lambda: stream.append(item_of("c")), lambda: stream.remove("b"), stream.close):
        with pytest.raises(Conflict, match="a"):
            call()
    assert [item["properties"]["value"] for item in stream.pending().items] == [2]
    assert on_disk(dataset) == {"a": 7, "b": 1}


def test_removing_what_somebody_has_just_added_is_a_conflict(dataset):
    save(dataset, {"a": 1})
    stream = Stream(dataset, author=AUTHOR, every=NEVER)
    save(dataset, {"new": 1})
    stream.remove("new")
    with pytest.raises(Conflict, match="new"):
        stream.close()
    assert stream.pending().removed == ["new"]
    assert on_disk(dataset) == {"a": 1, "new": 1}


def test_an_item_that_comes_while_its_older_self_fails_wins():
    store, dataset = failing(error=lambda: Forbidden("no."))
    store.left = 1
    stream = Stream(dataset, author=AUTHOR, every=NEVER)
    stream.append(item_of("a", 1))
    inner = store.put_record

    def meanwhile(path: str, data: bytes) -> bool:
        stream.append(item_of("a", 2))
        return inner(path, data)

    store.put_record = meanwhile  # type: ignore[method-assign]
    with pytest.raises(Forbidden):
        stream.flush()
    assert [item["properties"]["value"] for item in stream.pending().items] == [2]
    assert stream.counts.replaced == 1


def test_files_are_stored_first(dataset, tmp_path):
    file = tmp_path / "scene.TIFF"
    file.write_bytes(b"pixels")
    item = item_of("a", assets={"data": {"type": "image/tiff", "href": "scene.TIFF"}})
    with Stream(dataset, author=AUTHOR, every=NEVER) as stream:
        stream.append(item, files={"data": file})
        result = stream.flush()
        assert result is not None
        wanted = asset_of(b"pixels", ".tif", type="image/tiff")
        assert result.version.item("a")["assets"] == {"data": wanted}
        assert dataset.store.get(wanted["href"]) == b"pixels"
        assert item["assets"]["data"]["href"] == "scene.TIFF"
        said = item_of("b", assets={"data": asset_of(b"other")})
        with pytest.raises(InvalidInput, match=r"scene\.TIFF does not have the file:checksum"):
            stream.append(said, files={"data": file})
        with pytest.raises(InvalidInput, match="no file"):
            stream.append(item, files={"data": tmp_path / "none.tif"})
        with pytest.raises(InvalidInput, match="no file"):
            stream.append(item, files={"data": tmp_path})
    assert verify_version(dataset, result.version).ok


def test_a_file_is_stored_after_an_outage(tmp_path):
    store, dataset = failing()
    file = tmp_path / "a.bin"
    file.write_bytes(b"bytes")
    with Stream(dataset, author=AUTHOR, every=NEVER) as stream:
        store.where, store.left = "objects/", 2
        stream.append(item_of("a", assets={"data": {"href": "a.bin"}}), files={"data": file})
    assert stream.counts.retries == 2
    assert on_disk(dataset) == {"a": 0}


def test_an_error_inside_the_block_still_flushes(dataset):
    def block() -> None:
        with Stream(dataset, author=AUTHOR, every=NEVER) as stream:
            stream.append(item_of("a", 1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block()
    assert on_disk(dataset) == {"a": 1}


def test_an_error_inside_the_block_is_not_hidden_by_a_late_one():
    store, dataset = failing(error=lambda: Forbidden("no."))

    def block() -> None:
        with Stream(dataset, author=AUTHOR, every=NEVER) as stream:
            stream.append(item_of("a", 1))
            store.left = 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        block()
    assert "could not be flushed: no." in caught.value.__notes__[0]


def test_what_a_listener_raises_stops_the_stream_after_the_commit(dataset):
    def listen(_: CommitResult) -> None:
        raise InvalidInput("enough")

    stream = Stream(dataset, author=AUTHOR, every=NEVER, on_commit=listen)
    stream.append(item_of("a", 1))
    with pytest.raises(InvalidInput, match="enough"):
        stream.flush()
    with pytest.raises(InvalidInput, match="enough"):
        stream.append(item_of("b", 1))
    assert on_disk(dataset) == {"a": 1}
    assert stream.pending().items == []


def test_a_closed_stream_takes_nothing(dataset):
    stream = Stream(dataset, author=AUTHOR)
    stream.close()
    stream.close()
    with pytest.raises(InvalidInput, match="closed"):
        stream.append(item_of("a"))
    assert stream.version is None
    assert "live" in repr(stream)


@pytest.mark.parametrize("limits", [{"every": 0}, {"every": -1}, {"every": float("nan")}, {"items": 0}])
def test_limits_that_make_no_sense(dataset, limits):
    with pytest.raises(InvalidInput, match="cannot commit every"):
        Stream(dataset, author=AUTHOR, **limits)
