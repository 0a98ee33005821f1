"""Delta files and files of changes: small commits write little, and readers never see a difference."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from version_helpers import (
    AUTHOR,
    Clock,
    Editable,
    Reads,
    again,
    asset_of,
    item_of,
    local_store,
    memory_catalog,
    save,
    small_chunks,
    values_of,
)

from versioning import deltas, files, manifests, rewrite
from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.dataset import Dataset
from versioning.errors import Integrity
from versioning.rows import make_row, reuse_hint
from versioning.snapshots import Chunk, apply_changes, changed_chunks
from versioning.store import open_store
from versioning.verify import verify_version
from versioning.version import Version

LONG = bool(os.environ.get("STACPIN_LONG"))

IDS = [f"a{number:05d}" for number in range(2000)]
GOLDEN = Path(__file__).parents[1] / "data" / "catalog-v1"


def written(dataset: Dataset, kind: str) -> dict[str, int]:
    return {entry.path: entry.size for entry in dataset.store.list(f"{dataset.folder}/{kind}")}


@pytest.fixture
def dataset() -> Dataset:
    return memory_catalog().dataset("ds")


def reread(dataset: Dataset, number: int | None = None) -> Version:
    fresh = Dataset(dataset.store, dataset.id, clock=Clock())
    return fresh.version(number or fresh.head())


def test_a_small_change_writes_one_small_file(dataset: Dataset):
    save(dataset, dict.fromkeys(IDS, 0))
    base = written(dataset, "manifests")
    result = save(dataset, {IDS[7]: 1, IDS[1500]: 1})
    new = {path: size for path, size in written(dataset, "manifests").items() if path not in base}
    assert len(new) == 1
    assert sum(new.values()) < min(base.values()) / 4
    assert sorted(len(chunk.files) for chunk in result.version.chunks)[-2:] == [2, 2]
    assert values_of(reread(dataset)) == dict.fromkeys(IDS, 0) | {IDS[7]: 1, IDS[1500]: 1}
    report = verify_version(dataset, reread(dataset), objects=False)
    assert report.ok, report.problems


def test_a_large_change_of_a_chunk_writes_it_anew(dataset: Dataset):
    with small_chunks():
        first = save(dataset, dict.fromkeys(IDS[:60], 0)).version
        chunk = max(first.chunks, key=lambda each: each.rows)
        ids = [row.id for row in first.rows([chunk])]
        second = save(dataset, dict.fromkeys(ids[1:], 1)).version
        (changed,) = [each for each in second.chunks if each not in first.chunks]
        assert len(changed.files) == 1


def test_many_small_commits_have_few_files_and_write_little(dataset: Dataset):
    rng = random.Random(7)
    save(dataset, dict.fromkeys(IDS, 0))
    whole_size = sum(written(dataset, "manifests").values())
    content = dict.fromkeys(IDS, 0)
    most = 0
    for number in range(1, 65):
        change = {rng.choice(IDS): number for _ in range(6)}
        content |= change
        version = save(dataset, change).version
        most = max(most, *(len(chunk.files) for chunk in version.chunks))
        assert len(version.record.snapshot) <= 1 + 8
    assert values_of(reread(dataset)) == content
    # log2(64) delta files over the base, and each row written so many times.
    assert 3 <= most <= 8
    # A file of six rows has 4 kB; each row is written again some times.
    assert sum(written(dataset, "manifests").values()) - whole_size < 64 * 4 * 4096


def test_removed_rows_are_tombstones_and_may_come_back(dataset: Dataset):
    save(dataset, dict.fromkeys(IDS[:1000], 0))
    second = save(dataset, remove=[IDS[10], IDS[999]]).version
    ref = second.chunks[0].files[-1]
    table = pq.ParquetFile(pa.BufferReader(dataset.files.manifests.get(ref))).read(columns=["id", "deleted", "item"])
    assert table.to_pylist() == [{"id": IDS[10], "deleted": True, "item": None},
                                 {"id": IDS[999], "deleted": True, "item": None}][: table.num_rows]  # fmt: skip
    assert set(values_of(reread(dataset))) == set(IDS[:999]) - {IDS[10]}
    assert (second.find(IDS[10]), second.find(IDS[999])) == (None, None)
    save(dataset, {IDS[10]: 5})
    assert reread(dataset).item(IDS[10])["properties"]["value"] == 5
    assert reread(dataset, 2).find(IDS[10]) is None


def test_a_row_that_a_wider_file_still_has_does_not_come_back(dataset: Dataset):
    """A chunk that grows into the range of another must not see what that range's old file has."""
    with small_chunks():
        for seed in range(25 if LONG else 6):
            rng = random.Random(seed)
            ids = IDS[:40]
            there = memory_catalog().dataset("ds")
            content = dict.fromkeys(rng.sample(ids, 30), 0)
            save(there, content)
            for step in range(1, 12):
                gone = set(rng.sample(sorted(content), min(len(content), rng.choice([1, 2, 5]))))
                change = dict.fromkeys(rng.sample(ids, rng.choice([1, 2])), step)
                save(there, change, remove=gone - change.keys())
                content = {key: value for key, value in content.items() if key not in gone} | change
                assert values_of(reread(there)) == content, (seed, step)


def test_every_file_is_read_by_row_groups_that_matter(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(manifests, "_DELTA_GROUP", 4)
    save(dataset, dict.fromkeys(IDS, 0))
    version = save(dataset, dict.fromkeys(IDS[::40], 1)).version
    (ref,) = {chunk.files[-1] for chunk in version.chunks if len(chunk.files) > 1}
    groups = manifests.RowGroups(dataset.files.manifests.get(ref), where="m")
    assert len(groups.overlapping("", "z")) == 13
    assert groups.overlapping(IDS[0], IDS[100]) == [0]
    assert groups.overlapping("b", "c") == []
    assert values_of(reread(dataset)) == dict.fromkeys(IDS, 0) | dict.fromkeys(IDS[::40], 1)


def test_large_deltas_are_several_files(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(deltas, "_MOST_ROWS", 20)
    with small_chunks():
        save(dataset, dict.fromkeys(IDS[:600], 0))
        version = save(dataset, dict.fromkeys(IDS[:600:5], 1)).version
        assert len({ref for chunk in version.chunks for ref in chunk.files[1:]}) > 2
        assert all(len(chunk.files) <= 2 for chunk in version.chunks)
        assert values_of(reread(dataset)) == dict.fromkeys(IDS[:600], 0) | dict.fromkeys(IDS[:600:5], 1)


def test_a_chunk_with_too_many_files_is_written_anew(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(deltas, "_taken", lambda pieces: [0] * len(pieces))  # nothing is ever taken up
    monkeypatch.setattr(rewrite, "_MOST_FILES", 4)
    save(dataset, dict.fromkeys(IDS[:400], 0))
    counts = [len(save(dataset, {IDS[3]: number}).version.chunks[0].files) for number in range(1, 8)]
    assert counts == [2, 3, 4, 1, 2, 3, 4]


# -- reading only the small columns


def test_small_columns_alone_are_read_by_commits_and_diffs(dataset: Dataset):
    save(dataset, dict.fromkeys(IDS, 0))
    reads = Reads(dataset.store)
    there = Dataset(reads, "ds", clock=Clock())
    save(there, {IDS[3]: 1})
    assert not [path for path in reads.paths if "/manifests/" in path]


def test_altered_small_columns_are_seen(tmp_path: Path):
    catalog = Catalog.create(local_store(tmp_path / "c"), clock=Clock())
    version = save(catalog.dataset("ds"), dict.fromkeys(IDS[:300], 0)).version
    (path,) = (tmp_path / "c" / "datasets/ds/manifests").iterdir()
    data = path.read_bytes()
    metadata = pq.ParquetFile(path).metadata.row_group(0)
    places = {metadata.column(index).path_in_schema: metadata.column(index) for index in range(metadata.num_columns)}
    for name in ("id", "digest", "content_digest", "bbox.xmin", "start_datetime"):
        place = places[name].data_page_offset + places[name].total_compressed_size - 5
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        fresh = again(catalog).dataset("ds")
        with pytest.raises(Integrity):
            save(fresh, {IDS[0]: 1})
        assert fresh.head() == 1
    path.write_bytes(data)
    assert save(again(catalog).dataset("ds"), {IDS[0]: 1}).created
    assert version.number == 1


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_truncated_files_are_seen(tmp_path: Path, keep: int):
    catalog = Catalog.create(local_store(tmp_path / "c"), clock=Clock())
    save(catalog.dataset("ds"), dict.fromkeys(IDS[:300], 0))
    (path,) = (tmp_path / "c" / "datasets/ds/manifests").iterdir()
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(Integrity) as caught:
        save(again(catalog).dataset("ds"), {IDS[0]: 1})
    assert caught.value.kind == "truncated"


def test_a_tail_that_is_too_short_is_read_again(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    save(dataset, dict.fromkeys(IDS, 0))
    for size in (0, 1, 4096):
        monkeypatch.setattr("versioning.files._TAIL", size)
        monkeypatch.setattr("versioning.files._TAIL_ROW", {manifests.LIGHT: 0, manifests.DIGESTS: 0})
        version = reread(dataset, 1)
        for read, names in ((version.digests, manifests.DIGESTS), (version.light, manifests.LIGHT)):
            assert [read(chunk).column_names for chunk in version.chunks] == [list(names)] * len(version.chunks)


def test_files_of_the_first_writer_carry_small_commits(tmp_path: Path):
    """They have no hints and another order of columns; the golden catalog is one."""
    shutil.copytree(GOLDEN, tmp_path / "c")
    catalog = Catalog.open(str(tmp_path / "c"), clock=Clock("2026-11-22T00:00:00+00:00"))
    name = catalog.dataset_ids()[0]
    dataset = catalog.dataset(name)
    latest = dataset.latest()
    assert latest is not None
    before = {row.id: row.digest for row in latest.rows()}
    first, second, *_ = sorted(before)
    item = latest.item(first)
    item["properties"]["note"] = "changed"
    commit(dataset, items=[item], remove=[second], message="m", author=AUTHOR)
    version = again(catalog).dataset(name).latest()
    assert version is not None
    after = {row.id: row.digest for row in version.rows()}
    assert after.keys() == before.keys() - {second}
    assert {key for key in after if after[key] != before[key]} == {first}
    assert verify_version(dataset, version, objects=False).ok


# -- what stays of an asset is known without its item


def test_hints_decide_whether_the_parents_item_is_read(dataset: Dataset):
    def item(pixels: bytes, encoding: bytes, **more):
        asset = asset_of(pixels + encoding, **{"pin:digest": f"r1:{pixels.hex():0>64}"})
        return item_of("i", assets={"data": asset}, **more)

    save_items = lambda *items: commit(dataset, items=items, message="m", author=AUTHOR).version  # noqa: E731
    first = save_items(item(b"1", b"a"), *(item_of(name) for name in IDS[:50]))
    reads = Reads(dataset.store)
    there = Dataset(reads, "ds", clock=Clock())
    # Other pixels: nothing can stay.
    commit(there, items=[item(b"2", b"a")], message="m", author=AUTHOR)
    assert not [path for path in reads.paths if "/manifests/" in path]
    # The same pixels in other bytes, and another property: the parent's bytes stay.
    changed = item(b"2", b"b", properties={"datetime": "2024-05-01T00:00:00Z", "value": 9})
    version = commit(there, items=[changed], message="m", author=AUTHOR).version
    assert version.item("i")["assets"]["data"]["href"] == asset_of(b"2a")["href"]
    assert version.item("i")["properties"]["value"] == 9
    assert first.item("i")["assets"]["data"]["href"] == asset_of(b"1a")["href"]


def test_a_hint_has_two_halves():
    asset = asset_of(b"x", **{"pin:digest": "r1:" + "0" * 64})
    other = asset_of(b"y", **{"pin:digest": "r1:" + "0" * 64})
    derived = asset | {"pin:source": {"inputs": ["r1:1"]}}
    one, two, three = (reuse_hint("a", each) for each in (asset, other, derived))
    assert one >> 32 == two >> 32 == three >> 32 != 0
    assert len({one, two, three}) == 3
    assert reuse_hint("b", asset) >> 32 != one >> 32
    assert reuse_hint("a", asset_of(b"x")) >> 32 == 0


# -- files of changes over lists of chunks


def chunk(first: str, last: str, rows: int = 1, mark: int = 0) -> Chunk:
    return Chunk(first, last, rows, bytes([mark]) * 32, bytes(32), None, 0, 0, 0, 0,
                 (manifests.FileRef(bytes([mark]) * 32, 1),))  # fmt: skip


def test_changes_take_the_place_of_what_they_meet():
    before = [chunk("a", "c"), chunk("d", "f"), chunk("g", "i"), chunk("k", "m")]
    cases = [
        before,
        [],
        [chunk("a", "c", mark=1), *before[1:]],
        [before[0], before[2], before[3]],
        [chunk("a", "b"), chunk("c", "e"), before[2], before[3]],
        [chunk("a", "i", mark=2), before[3]],
        [*before, chunk("n", "z")],
        [chunk("0", "1"), *before],
        [before[0], chunk("d", "d"), chunk("e", "f"), before[3]],
    ]
    for old in cases:
        for new in cases:
            changes = changed_chunks(old, new)
            assert apply_changes(old, changes) == new
            assert len(changes) <= len(old) + len(new)
            if old == new:
                assert changes == []


def test_lists_of_chunks_are_written_by_their_changes(dataset: Dataset):
    rng = random.Random(3)
    with small_chunks():
        save(dataset, dict.fromkeys(IDS[:800], 0))
        content = dict.fromkeys(IDS[:800], 0)
        full = max(written(dataset, "snapshots").values())
        seen = set(written(dataset, "snapshots"))
        sizes: list[int] = []
        for number in range(1, 41 if LONG else 17):
            change = {rng.choice(IDS[:800]): number for _ in range(2)}
            gone = {rng.choice(sorted(content))} - change.keys()
            content = {key: value for key, value in content.items() if key not in gone} | change
            save(dataset, change, remove=gone)
            new = {path: size for path, size in written(dataset, "snapshots").items() if path not in seen}
            seen |= new.keys()
            sizes.append(sum(new.values()))
            assert values_of(reread(dataset)) == content
        assert sorted(sizes)[len(sizes) // 2] < full / 2
        assert any(entry.changes for entry in reread(dataset).record.snapshot)


def test_changes_before_the_list_are_refused(dataset: Dataset):
    save(dataset, dict.fromkeys(IDS, 0))
    version = save(dataset, {IDS[0]: 1}).version
    record = version.record
    assert [entry.changes for entry in record.snapshot] == [False, True]
    forged = Version(record.model_copy(update={"snapshot": record.snapshot[::-1]}), reread(dataset)._files)
    with pytest.raises(Integrity, match="after changes"):
        _ = forged.chunks
    dropped = Version(record.model_copy(update={"snapshot": record.snapshot[:1]}), reread(dataset)._files)
    with pytest.raises(Integrity, match="does not add up"):
        _ = dropped.chunks


def test_a_commit_costs_the_same_number_of_requests_however_large_the_dataset(dataset: Dataset):
    class Counts(Editable):
        calls = 0

        def __getattribute__(self, name):
            if name in {"get", "get_range", "size", "put_new", "put_record", "list", "folders", "stream"}:
                type(self).calls += 1
            return super().__getattribute__(name)

    counts = []
    for size in (500, 2000):
        catalog = Catalog.create(Counts(open_store("memory://")), clock=Clock())
        there = catalog.dataset("ds")
        save(there, dict.fromkeys(IDS[:size], 0))
        save(there, {"b00000": 1})
        Counts.calls = 0
        save(there, {"b00001": 1})
        counts.append(Counts.calls)
    assert counts[0] == counts[1] < 20


def test_rows_know_their_hints():
    row = make_row(item_of("i", assets={"b": asset_of(b"1"), "a": asset_of(b"2", **{"pin:digest": "r1:" + "1" * 64})}))
    assert row.reuse is not None
    assert [hint >> 32 == 0 for hint in row.reuse] == [False, True]


class Ranges(Reads):
    """Remembers the reads of parts too."""

    def get_range(self, path: str, start: int, length: int) -> bytes:
        self.paths.append(path)
        return self.inner.get_range(path, start, length)


@pytest.mark.parametrize("seed", range(60 if LONG else 3))
def test_what_a_writer_remembers_of_its_commits_is_what_is_stored(seed: int):
    """A writer that stays open and one that begins anew each time write the same files, to the byte."""
    chance = random.Random(seed)
    kept, opened = memory_catalog().dataset("ds"), memory_catalog().dataset("ds")
    there: dict[str, int] = {}
    with small_chunks():
        for state in range(30):
            upserts = {chance.choice(IDS[:300]): state for _ in range(chance.choice([1, 2, 6, 40]))}
            gone = [each for each in sorted(there) if each not in upserts]
            removed = chance.sample(gone, min(len(gone), chance.choice([0, 0, 1, 5])))
            save(kept, upserts, remove=removed)
            save(Dataset(opened.store, "ds", clock=Clock()), upserts, remove=removed)
            there = {key: value for key, value in (there | upserts).items() if key not in removed}
            assert written(kept, "manifests") == written(opened, "manifests")
            assert written(kept, "snapshots") == written(opened, "snapshots")
        assert values_of(reread(kept)) == there


def test_a_writer_that_stays_open_reads_the_file_of_a_chunk_once(monkeypatch):
    """Also in a dataset whose chunks do not fit into the memory that is kept of their first files."""
    monkeypatch.setattr(files, "_BASES_REMEMBERED", 1)
    dataset = memory_catalog().dataset("ds")
    save(dataset, dict.fromkeys(IDS, 0))
    reads = Ranges(dataset.store)
    writer = Dataset(reads, "ds", clock=Clock())
    base = written(dataset, "manifests").keys()
    places = [IDS[0], IDS[700], IDS[1400]]  # in each chunk
    for state in range(1, 6):
        save(writer, {f"{each}-{state}": state for each in places} | {places[1]: state})
    assert values_of(reread(dataset)).keys() > set(IDS)
    assert max(reads.paths.count(path) for path in base) == 1
