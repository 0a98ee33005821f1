"""Commit, diff, concurrency and failure: one write makes a version, and nothing is ever lost."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from version_helpers import (
    AUTHOR,
    Clock,
    Dies,
    LosesReplies,
    Reads,
    Wrapped,
    again,
    asset_of,
    item_of,
    local_store,
    save,
    small_chunks,
    values_of,
)

from versioning.catalog import Catalog
from versioning.commit import Notes, commit
from versioning.diff import diff_versions
from versioning.errors import Conflict, Integrity, InvalidInput, NotFound, StorageUnavailable
from versioning.events import Progress
from versioning.store import Store, open_store
from versioning.verify import verify_chain, verify_version

# The digest of {"a": 1, "b": 2} with this collection, whatever the store and the machine.
SAME = {"licence": "CC-BY-4.0", "title": "Été"}


def paths(store: Store) -> set[str]:
    return {entry.path for entry in store.list("")}


def image(item_id: str, data: bytes, content: str, **more: Any) -> dict[str, Any]:
    return item_of(item_id, assets={"data": asset_of(data, **{"pin:digest": "r1:" + content * 64, **more})})


def test_one_digest_everywhere(any_catalog: Catalog):
    dataset = any_catalog.dataset("ds")
    save(dataset, {"b": 1}, collection=SAME)
    result = save(dataset, {"b": 2, "a": 1})
    assert (result.created, result.added, result.changed, result.removed) == (True, 1, 1, 0)
    assert result.version.digest == "sha256:fe33c746b6fe966152bdfb1667229a0ecee7492c1abb394737ef1a79a57d95d3"
    read = again(any_catalog).resolve("ds@v2")
    assert (values_of(read), read.record) == ({"a": 1, "b": 2}, result.version.record)
    # The assets of these items are not stored: verify says so, and finds everything else right.
    report = verify_version(any_catalog.dataset("ds"), read)
    assert [(problem.kind, problem.path[:8]) for problem in report.problems] == [("missing", "objects/")]
    assert verify_version(any_catalog.dataset("ds"), read, objects=False).ok


def test_a_whole_version_is_proven(any_catalog: Catalog):
    ref = any_catalog.objects.put_bytes(b"data", ".tif")
    version = save(any_catalog.dataset("ds"), {"a": 1, "b": 2}).version
    heard: list[Progress] = []
    report = verify_version(any_catalog.dataset("ds"), version, on_event=heard.append)
    assert report.ok
    assert report.to_dict() == {
        "pin": "ds@v1", "digest": version.digest, "ok": True, "records": 1, "items": 2, "objects": 1,
        "bytes": ref.size, "referenced": 0, "problems": [],
    }  # fmt: skip
    assert (heard[0].done, heard[-1].done, heard[-1].total, heard[-1].unit) == (0, 4, 4, "bytes")


def test_what_a_record_says(catalog: Catalog):
    notes = Notes(
        summaries={"gsd": [10]}, checks=[{"name": "crs", "ok": True}], recipe={"x": 1}, software={"gdal": "3"}
    )
    heard: list[str] = []
    result = commit(
        catalog.dataset("ds"), items=[item_of("a"), item_of("b", bbox=None, geometry=None)], message="first",
        author=AUTHOR, collection={"title": "t"}, notes=notes, on_event=lambda event: heard.append(event.step),
    )  # fmt: skip
    record = result.version.record
    assert (record.dataset, record.number, record.parent, record.previous) == ("ds", 1, None, None)
    assert (record.message, record.author, record.collection) == ("first", AUTHOR, {"title": "t"})
    assert (record.summaries, record.checks, record.recipe) == ({"gsd": [10]}, [{"name": "crs", "ok": True}], {"x": 1})
    assert record.software == {"gdal": "3"}
    statistics = record.statistics
    assert (statistics.items, statistics.assets, statistics.bytes, statistics.added) == (2, 2, 8, 2)
    assert statistics.interval == ["2024-05-01T00:00:00Z", "2024-05-01T00:00:00Z"]
    assert statistics.bbox == item_of("a")["bbox"]
    assert heard == ["rows", "rows", "commit"]
    summary = result.version.summary()
    assert (summary["pin"], summary["collection"], summary["version"]) == ("ds@v1", "ds--v1", 1)
    assert "ds@v1" in repr(result.version)


def test_reading_a_version(catalog: Catalog):
    with small_chunks():
        version = save(catalog.dataset("ds"), {f"i{n:02d}": n for n in range(40)}).version
        assert version.item("i07") == item_of("i07", 7)
        assert version.find("i99") is None
        assert version.find("a") is None
        assert version.find("i07x") is None
        assert version.chunk_of("i07").first_id <= "i07"
        assert [(item_id, asset.key) for item_id, asset in version.assets()] == [
            (f"i{n:02d}", "data") for n in range(40)
        ]
        with pytest.raises(NotFound, match="ds@v1 has no item 'zz'"):
            version.item("zz")


# -- nothing to commit, and reuse


def test_the_same_again_is_no_version(catalog: Catalog):
    dataset = catalog.dataset("ds")
    first = save(dataset, {"a": 1}, collection={"title": "t"}).version
    stored = paths(catalog.store)
    for more in ({}, {"whole": True}, {"collection": {"title": "t"}}):
        result = save(dataset, {"a": 1}, **more)
        assert (result.created, result.version.digest) == (False, first.digest)
    assert paths(catalog.store) == stored
    assert save(dataset, collection={"title": "u"}).version.number == 2


def test_another_encoding_is_no_change(catalog: Catalog):
    dataset = catalog.dataset("ds")
    first = commit(dataset, items=[image("a", b"deflate", "a")], message="m", author=AUTHOR).version
    result = commit(
        dataset, items=[image("a", b"lzw, longer", "a", created="2026-01-01T00:00:00Z")], message="m", author=AUTHOR
    )
    assert not result.created
    # A change beside it keeps the parent's bytes and lineage of the asset whose content is the same.
    item = image("a", b"lzw, longer", "a", title="Red", **{"pin:source": ["b1:" + "1" * 64]})
    second = commit(dataset, items=[item], message="m", author=AUTHOR).version
    asset = second.item("a")["assets"]["data"]
    old = first.item("a")["assets"]["data"]
    assert asset == old | {"title": "Red"}
    third = commit(dataset, items=[image("a", b"lzw, longer", "b", title="Red")], message="m", author=AUTHOR).version
    assert third.item("a")["assets"]["data"]["file:size"] == len(b"lzw, longer")
    (change,) = diff_versions(second, third).changed
    assert (change.assets(), change.properties(), change.bytes_only) == ({"data": "changed"}, {}, False)


def test_assets_without_content_digests_are_compared_by_bytes(catalog: Catalog):
    dataset = catalog.dataset("ds")
    save(dataset, {"a": 1})
    changed = item_of("a", 1, assets={"data": asset_of(b"other")})
    assert commit(dataset, items=[changed], message="m", author=AUTHOR).changed == 1


# -- refusals


def test_odd_changes_are_refused(catalog: Catalog):
    dataset = catalog.dataset("ds")
    save(dataset, {"a": 1})
    stored = paths(catalog.store)
    with pytest.raises(InvalidInput, match="occurs twice"):
        commit(dataset, items=[item_of("b"), item_of("b")], message="m", author=AUTHOR)
    with pytest.raises(InvalidInput, match="both to be written and to be removed"):
        save(dataset, {"b": 1}, remove=["b"])
    with pytest.raises(NotFound, match="ds@v1 has no item 'x' to remove") as caught:
        save(dataset, remove=["a", "x"])
    assert caught.value.kind == "no-such-item"
    with pytest.raises(NotFound, match="the empty dataset"):
        save(catalog.dataset("other"), remove=["x"])
    with pytest.raises(InvalidInput):
        commit(dataset, items=[item_of("c"), {"id": "d"}], message="m", author=AUTHOR)
    assert paths(catalog.store) == stored


def test_removing_and_replacing_everything(catalog: Catalog):
    dataset = catalog.dataset("ds")
    with small_chunks():
        save(dataset, {f"i{n:02d}": 0 for n in range(30)})
        result = save(dataset, {"i03": 1, "new": 1, "i05": 0}, whole=True)
        assert (result.added, result.changed, result.removed) == (1, 1, 28)
        assert values_of(result.version) == {"i03": 1, "i05": 0, "new": 1}
        assert save(dataset, whole=True).version.record.statistics.items == 0
        assert save(dataset, {"z": 1}).version.number == 4


# -- diff


def test_diff(catalog: Catalog):
    dataset = catalog.dataset("ds")
    with small_chunks():
        first = save(dataset, {f"i{n:03d}": 0 for n in range(200)}, collection={"title": "t", "a": 1}).version
        second = save(dataset, {"i050": 1, "i050x": 1}, remove=["i120"], collection={"title": "u", "b": 2}).version
        reads = Reads(catalog.store)
        there = Catalog.open(reads)
        diff = diff_versions(there.resolve("ds@v1"), there.resolve("ds@v2"))
        chunks = len(first.chunks) + len(second.chunks)
    assert [row.id for row in diff.added] == ["i050x"]
    assert [row.id for row in diff.removed] == ["i120"]
    assert [(entry.id, entry.properties()) for entry in diff.changed] == [("i050", {"value": (0, 1)})]
    assert diff.collection == {"a": (1, None), "b": (None, 2), "title": ("t", "u")}
    assert diff.ids() == {"i050", "i050x", "i120"}
    assert bool(diff)
    read = sum("/manifests/" in path for path in reads.paths)
    assert 0 < read < chunks / 4
    assert not diff_versions(first, first)
    assert not diff_versions(None, None)
    assert len(diff_versions(None, first).added) == len(diff_versions(first, None).removed) == 200


def test_assets_that_come_and_go(catalog: Catalog):
    dataset = catalog.dataset("ds")
    one, two = asset_of(b"1"), asset_of(b"2")
    first = commit(
        dataset, items=[item_of("a", assets={"x": one, "y": one, "z": one})], message="m", author=AUTHOR
    ).version
    second = commit(
        dataset, items=[item_of("a", assets={"w": one, "x": one, "y": two})], message="m", author=AUTHOR
    ).version
    assert diff_versions(first, second).changed[0].assets() == {"w": "added", "y": "changed", "z": "removed"}
    assert not first.same_content(second)
    assert first.same_content(again(catalog).resolve("ds@v1"))


# -- concurrency


def test_a_change_lands_on_top_of_anothers(catalog: Catalog):
    dataset = catalog.dataset("ds")
    base = save(dataset, {"a": 1, "b": 1, "c": 1}, collection={"title": "t"}).version
    save(dataset, {"a": 2, "d": 1}, remove=["c"])
    result = save(dataset, {"b": 2, "d": 1, "e": 1}, base=base, collection={"title": "t"})
    assert values_of(result.version) == {"a": 2, "b": 2, "d": 1, "e": 1}
    assert (result.version.record.parent, result.added, result.changed, result.removed) == (2, 1, 1, 0)
    # Both took c out: that is no conflict, and nothing is left to do.
    assert not save(dataset, remove=["c"], base=base).created


def test_what_both_changed_is_a_conflict(catalog: Catalog):
    dataset = catalog.dataset("ds")
    base = save(dataset, {f"i{n:02d}": 0 for n in range(30)}, collection={"title": "t"}).version
    save(dataset, {f"i{n:02d}": 1 for n in range(12)}, remove=["i20"], collection={"title": "u"})
    with pytest.raises(Conflict, match=r"ds@v2 changed the same items: i00, i01, .*i09 and 2 more\.") as caught:
        save(dataset, {f"i{n:02d}": 2 for n in range(12)}, base=base)
    assert caught.value.exit_code == 20
    with pytest.raises(Conflict, match=r"same items: i20\."):
        save(dataset, {"i20": 5}, base=base)
    with pytest.raises(Conflict, match=r"same items: i01\."):
        save(dataset, remove=["i01"], base=base)
    with pytest.raises(Conflict, match="metadata too: title"):
        save(dataset, {"x": 1}, base=base, collection={"title": "v"})
    assert dataset.head() == 2
    assert save(dataset, {"x": 1}, base=base, collection={"title": "u"}).version.record.collection == {"title": "u"}


def test_after_a_rollback_the_base_is_what_latest_is(catalog: Catalog):
    dataset = catalog.dataset("ds")
    save(dataset, {"a": 1})
    wrong = save(dataset, {"a": 2}).version
    dataset.move("latest", 1, why="wrong", author=AUTHOR)
    with pytest.raises(Conflict, match="same items: a"):
        save(dataset, {"a": 3}, base=wrong)
    assert values_of(save(dataset, {"b": 3}, base=wrong).version) == {"a": 1, "b": 3}


class Rival(Wrapped):
    """Lets somebody else commit just before a manifest is written, as often as it is told."""

    def __init__(self, inner: Store, times: int) -> None:
        super().__init__(inner)
        self.times = times

    def put_new(self, path: str, data: bytes) -> bool:
        if "/manifests/" in path and self.times:
            self.times -= 1
            save(Catalog.open(self.inner).dataset("ds"), {f"rival{self.times}": 1})
        return self.inner.put_new(path, data)


def test_a_version_that_appears_meanwhile_is_not_lost(catalog: Catalog):
    save(catalog.dataset("ds"), {"a": 1})
    result = save(Catalog.open(Rival(catalog.store, 2)).dataset("ds"), {"b": 1})
    assert (result.version.number, result.version.record.parent) == (4, 3)
    assert values_of(result.version) == {"a": 1, "b": 1, "rival0": 1, "rival1": 1}


def test_a_version_that_appears_between_head_and_latest_is_not_lost(catalog: Catalog, monkeypatch: pytest.MonkeyPatch):
    dataset = catalog.dataset("ds")
    save(dataset, {"a": 1})
    real, looks = dataset.latest, iter(range(100))

    def latest():
        found = real()
        if next(looks) == 1:  # the first look is for the base
            save(again(catalog).dataset("ds"), {"rival": 1})
        return found

    monkeypatch.setattr(dataset, "latest", latest)
    result = save(dataset, {"b": 1})
    assert (result.version.number, result.version.record.parent) == (3, 2)
    assert values_of(result.version) == {"a": 1, "b": 1, "rival": 1}


def test_the_first_version_too(catalog: Catalog):
    result = save(Catalog.open(Rival(catalog.store, 1)).dataset("ds"), {"b": 1}, collection=None)
    assert (result.version.number, values_of(result.version)) == (2, {"b": 1, "rival0": 1})


def test_rivals_without_end(catalog: Catalog):
    with pytest.raises(Conflict, match="other writers were faster 32 times"):
        save(Catalog.open(Rival(catalog.store, 1000)).dataset("ds"), {"b": 1})
    assert verify_chain(catalog.dataset("ds")).ok


def test_threads_that_change_different_items_all_land(any_catalog: Catalog):
    save(any_catalog.dataset("ds"), {"start": 0})
    start = threading.Barrier(6)

    def work(number: int) -> None:
        catalog = Catalog.open(any_catalog.store)
        start.wait()
        save(catalog.dataset("ds"), {f"t{number}": number})

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    version = again(any_catalog).resolve("ds")
    assert (version.number, values_of(version)) == (7, {"start": 0} | {f"t{n}": n for n in range(6)})
    assert verify_chain(again(any_catalog).dataset("ds")).ok
    assert [record.parent for record in any_catalog.dataset("ds").versions()] == [6, 5, 4, 3, 2, 1, None]


def test_threads_that_change_the_same_item_conflict(any_catalog: Catalog):
    base = save(any_catalog.dataset("ds"), {"a": 0}).version
    start = threading.Barrier(4)

    def work(number: int) -> str:
        catalog = Catalog.open(any_catalog.store)
        start.wait()
        try:
            save(catalog.dataset("ds"), {"a": number}, base=base)
        except Conflict as error:
            return str(error)
        return "landed"

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(work, range(1, 5)))
    assert answers.count("landed") == 1
    assert all("same items: a." in answer for answer in answers if answer != "landed")
    assert values_of(again(any_catalog).resolve("ds")) == {"a": answers.index("landed") + 1}


PROCESS = """
import sys
sys.path.insert(0, sys.argv[3])
from version_helpers import save
from versioning.catalog import Catalog

dataset = Catalog.open(sys.argv[1]).dataset("ds")
print("ready", flush=True)
sys.stdin.readline()
for number in range(4):
    save(dataset, {f"p{sys.argv[2]}-{number}": number})
"""


def test_processes_on_one_folder_all_land(tmp_path: Path):
    folder = str(tmp_path / "catalog")
    catalog = Catalog.create(folder, clock=Clock())
    beside = str(Path(__file__).parent)
    running = [
        subprocess.Popen([sys.executable, "-c", PROCESS, folder, str(n), beside], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for n in range(3)
    ]  # fmt: skip
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in running:
        _, problems = process.communicate(timeout=60)
        assert (process.returncode, problems) == (0, "")
    version = catalog.resolve("ds")
    assert version.number == 12
    assert values_of(version) == {f"p{process}-{n}": n for process in range(3) for n in range(4)}
    assert verify_chain(catalog.dataset("ds")).ok


# -- failure


ENDLESS = """
import sys
sys.path.insert(0, sys.argv[2])
from version_helpers import save, small_chunks
from versioning.catalog import Catalog

dataset = Catalog.open(sys.argv[1]).dataset("ds")
with small_chunks():
    while True:
        number = dataset.head() + 1
        print(save(dataset, {f"i{n:02d}": number for n in range(0, 60, 1 + number % 7)}).version.number, flush=True)
"""


def test_a_process_that_is_killed_leaves_whole_versions(tmp_path: Path):
    folder = str(tmp_path / "catalog")
    Catalog.create(folder, clock=Clock())
    for milliseconds in (7, 19):
        process = subprocess.Popen([sys.executable, "-c", ENDLESS, folder, str(Path(__file__).parent)],
                                   stdout=subprocess.PIPE, text=True)  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(milliseconds / 1000)
        process.kill()
        said, _ = process.communicate()
        dataset = Catalog.open(folder).dataset("ds")
        done = [int(line) for line in said.split() if said.endswith("\n") or line != said.split()[-1]]
        assert dataset.head() >= max(done, default=1)
        with small_chunks():
            for number in range(max(1, dataset.head() - 2), dataset.head() + 1):
                assert verify_version(dataset, dataset.version(number), objects=False).problems == []
        assert verify_chain(dataset).problems == []


def test_lost_replies_make_one_version(catalog: Catalog):
    shaky = Catalog.open(LosesReplies(catalog.store), clock=Clock())
    for value in range(1, 4):
        result = save(shaky.dataset("ds"), {"a": value})
        assert (result.version.number, result.created) == (value, True)
    assert again(catalog).dataset("ds").head() == 3


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", ["memory", "local"])
def test_a_commit_that_dies_leaves_the_old_version_or_the_new(kind: str, after: bool, tmp_path: Path):
    with small_chunks():
        nth = 0
        while True:
            nth += 1
            store = open_store("memory://") if kind == "memory" else local_store(tmp_path / f"{nth}")
            catalog = Catalog.create(store, clock=Clock())
            old = {f"i{n:02d}": 0 for n in range(20)}
            save(catalog.dataset("ds"), old)
            new = old | {"i03": 1, "i15": 1, "x": 1}
            dying = Dies(store, nth, after=after)
            try:
                save(Catalog.open(dying).dataset("ds"), new)
            except StorageUnavailable:
                died = True
            else:
                died = False
            seen = again(catalog)
            version = seen.resolve("ds")
            landed = after and dying.writes == nth and version.number == 2
            assert values_of(version) == (new if landed or not died else old)
            assert verify_version(seen.dataset("ds"), version, objects=False).ok
            assert verify_chain(seen.dataset("ds")).ok
            # Whoever tries again gets there.
            assert values_of(save(seen.dataset("ds"), new).version) == new
            assert seen.dataset("ds").head() == 2
            if not died:
                break
    assert nth >= 5  # two or more manifests, the snapshot, the record


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("act", ["move", "tag", "create"])
def test_other_writes_that_die(act: str, after: bool):
    inner = open_store("memory://")
    if act == "create":
        for nth in (1, 2):
            with pytest.raises(StorageUnavailable):
                Catalog.create(Dies(inner, nth, after=after), clock=Clock())
        assert Catalog.create(inner, title="t", clock=Clock()).settings.number == 1
        return
    dataset = Catalog.create(inner, clock=Clock()).dataset("ds")
    save(dataset, {"a": 1})
    dying = Catalog.open(Dies(inner, 1, after=after), clock=Clock()).dataset("ds")
    with pytest.raises(StorageUnavailable):
        dying.move("stable", 1, why="w", author=AUTHOR) if act == "move" else dying.tag("v1.0", 1, author=AUTHOR)
    fresh = Catalog.open(inner, clock=Clock()).dataset("ds")
    assert (fresh.pointer("stable") is not None, fresh.find_tag("v1.0") is not None) == (
        after and act == "move",
        after and act == "tag",
    )
    fresh.move("stable", 1, why="w", author=AUTHOR)
    fresh.tag("v1.0", 1, author=AUTHOR)


def test_what_crashes_leave_on_a_disk_is_never_seen(tmp_path: Path):
    catalog = Catalog.create(local_store(tmp_path / "c"), clock=Clock())
    dataset = catalog.dataset("ds")
    version = save(dataset, {"a": 1}).version
    dataset.tag("v1.0.0", 1, author=AUTHOR)
    root = tmp_path / "c"
    for path in ("versions/00000002.json#123", "manifests/" + "0" * 64 + ".parquet#1", "tags/v2.0.0.json#99",
                 "pointers/stable/00000001.json#5", "expired/00000001.json#7"):  # fmt: skip
        (root / "datasets" / "ds" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "datasets" / "ds" / path).write_bytes(b"half")
    (root / "stacpin.json#4").write_bytes(b"half")
    seen = again(catalog)
    assert (seen.dataset("ds").head(), seen.resolve("ds").digest) == (1, version.digest)
    assert [tag.tag for tag in seen.dataset("ds").tags()] == ["v1.0.0"]
    assert verify_version(seen.dataset("ds"), version, objects=False).ok
    assert verify_chain(seen.dataset("ds")).ok
    assert save(seen.dataset("ds"), {"b": 1}).version.number == 2


def test_a_listing_is_never_needed_to_read(catalog: Catalog):
    save(catalog.dataset("ds"), {"a": 1})

    class NoList(Wrapped):
        def list(self, prefix, *, after=None):
            raise AssertionError(prefix)

        def folders(self, prefix):
            raise AssertionError(prefix)

    blind = Catalog.open(NoList(catalog.store), clock=Clock())
    assert values_of(blind.resolve("ds@v1")) == {"a": 1}


@pytest.mark.parametrize("lost", [1, 3])
def test_a_number_whose_record_was_lost_is_not_used_again(catalog: Catalog, lost: int):
    dataset = catalog.dataset("ds")
    for value in (1, 2, 3, 4):
        save(dataset, {"a": value})
    gone = dataset.log.path(lost)

    class Lossy(Wrapped):
        def get(self, path):
            if path == gone:
                raise NotFound(path)
            return super().get(path)

        def size(self, path):
            return None if path == gone else super().size(path)

        def put_record(self, path, data):
            raise AssertionError(path)

    damaged = Catalog.open(Lossy(catalog.store), clock=Clock())
    with pytest.raises(Integrity, match=f"{lost:08d}.json is missing") as caught:
        save(damaged.dataset("ds"), {"a": 5})
    assert caught.value.kind == "missing"
    assert damaged.dataset_ids() == ["ds"]


def test_a_tag_that_names_another_version_than_its_digest_is_damaged(catalog: Catalog):
    dataset = catalog.dataset("ds")
    for value in (1, 2):
        save(dataset, {"a": value})
    dataset.tag("v1.0.0", 1, author="a")
    path = "datasets/ds/tags/v1.0.0.json"
    changed = catalog.store.get(path).replace(b'"target":1', b'"target":2')

    class Tampered(Wrapped):
        def get(self, asked):
            return changed if asked == path else super().get(asked)

    damaged = Catalog.open(Tampered(catalog.store), clock=Clock())
    with pytest.raises(Integrity, match=r"v1\.0\.0"):
        damaged.resolve("ds@v1.0.0")
    report = verify_version(damaged.dataset("ds"), damaged.resolve("ds@v1"), objects=False)
    assert [problem.path for problem in report.problems] == [path]
