"""Content-defined chunks: one set of items has one list of chunks, however it came about."""

from __future__ import annotations

import os
import random
from itertools import pairwise
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from version_helpers import SMALL_CHUNKS, SMALL_PAGES, asset_of, item_of, memory_catalog, save, small_chunks, values_of

from versioning import chunking, snapshots
from versioning.chunking import CHUNKS, PAGES, Cut, chunk_hash, cut_rows, page_ends, page_hash
from versioning.commit import commit
from versioning.manifests import FileRef, encode_rows, light_of
from versioning.rewrite import rewrite
from versioning.row_tables import table_of
from versioning.rows import make_row
from versioning.snapshots import Chunk, decode_snapshot, describe, describe_replaced, encode_snapshots, roots_of

IDS = [f"a{number:06d}" for number in range(20_000)]
names = st.sets(st.integers(0, 400), max_size=120).map(lambda numbers: {f"i{number:03d}" for number in numbers})


def chunks_of(ids: list[str]) -> list[tuple[str, ...]]:
    ends = list(cut_rows(ids))
    starts = [0, *ends]
    return [tuple(ids[start:end]) for start, end in zip(starts, [*ends, len(ids)], strict=True) if start < end]


def bare(chunks):
    """Chunks without their files, which are free to differ."""
    return [chunk._replace(files=()) for chunk in chunks]


@given(st.data())
def test_a_chunk_with_rows_replaced_is_described_as_if_it_were_made(data: st.DataObject):
    """Whatever the rows have: boxes or none, other times, more assets or larger ones."""

    def row(name: str):
        number = data.draw(st.integers(0, 3))
        where: dict[str, Any] = {"geometry": None, "bbox": None} if data.draw(st.booleans()) else {}
        assets = {
            f"k{key}": asset_of(b"x" * data.draw(st.integers(0, 2))) for key in range(data.draw(st.integers(0, 2)))
        }
        item = item_of(name, number, **where, assets=assets)
        item["properties"]["datetime"] = f"202{data.draw(st.integers(0, 1))}-01-01T00:00:00Z"
        return make_row({key: value for key, value in item.items() if value is not None or key == "geometry"})

    names = [f"i{number:02d}" for number in range(data.draw(st.integers(1, 12)))]
    places = sorted(data.draw(st.sets(st.sampled_from(range(len(names))), min_size=1)))
    before, new = [row(name) for name in names], [row(names[place]) for place in places]
    after = list(before)
    for place, each in zip(places, new, strict=True):
        after[place] = each
    chunk = describe(table_of(before), (FileRef(bytes(32), 1),))
    found = describe_replaced(chunk, light_of(table_of(before)), places, light_of(table_of(new)))
    assert found == describe(table_of(after), chunk.files)


def test_the_constants_are_frozen():
    assert Cut(least=256, wanted=1024, most=4096, rare=4096, often=256) == CHUNKS
    assert Cut(least=64, wanted=256, most=1024, rare=1024, often=64) == PAGES


@pytest.mark.parametrize(
    ("count", "value", "ends"),
    [(255, 0, False), (256, 4096, True), (256, 256, False), (1023, 256, False), (1023, 4096, True), (1024, 256, True),
     (1024, 128, False), (4095, 1, False), (4096, 1, True)],
)  # fmt: skip
def test_the_edges_of_the_rule(count: int, value: int, ends: bool):
    assert CHUNKS.ends(count, value) is ends


def test_hashes_are_parts_of_one_sha256():
    # sha256("abc") = ba7816bf 8f01cfea 414140de 5dae2223 …
    assert chunk_hash("abc") == 0xBA7816BF8F01CFEA
    assert page_hash("abc") == 0x414140DE5DAE2223


def test_sizes_keep_to_the_rule():
    chunks = chunks_of(IDS)
    assert [item_id for chunk in chunks for item_id in chunk] == IDS
    assert len(chunks) > 10
    for chunk in chunks[:-1]:
        assert CHUNKS.least <= len(chunk) <= CHUNKS.most
        modulus = CHUNKS.rare if len(chunk) < CHUNKS.wanted else CHUNKS.often
        assert len(chunk) == CHUNKS.most or chunk_hash(chunk[-1]) % modulus == 0
    assert len(chunks[-1]) <= CHUNKS.most


def test_a_run_without_a_cut_ends_at_the_most():
    stubborn = [item_id for item_id in IDS if chunk_hash(item_id) % CHUNKS.often]
    assert next(cut_rows(stubborn)) == CHUNKS.most


def test_nothing_gives_no_chunks_and_no_pages():
    assert list(cut_rows([])) == []
    assert page_ends([]) == []


@given(st.lists(st.integers(0, 10**6).map(str), unique=True, max_size=200))
def test_page_ends_cover_all_chunks(last_ids):
    with small_chunks():
        ends = page_ends(sorted(last_ids))
    sizes = [end - start for start, end in pairwise([0, *ends])]
    assert sum(sizes) == len(last_ids)
    assert all(SMALL_PAGES.least <= size <= SMALL_PAGES.most for size in sizes[:-1])


def test_an_edit_touches_few_chunks():
    rng = random.Random(7)
    before = {(chunk[0], chunk[-1], len(chunk)) for chunk in chunks_of(IDS)}
    changed = []
    for _ in range(60):
        ids = IDS.copy()
        if rng.random() < 0.5:
            ids.insert(rng.randrange(len(ids)), "x")
            place = rng.choice(IDS) + "x"
            ids.remove("x")
            ids = sorted([*ids, place])
        else:
            ids.remove(rng.choice(ids))
        changed.append(len({(chunk[0], chunk[-1], len(chunk)) for chunk in chunks_of(ids)} - before))
    assert max(changed) <= 8
    assert sum(changed) / len(changed) < 2.5


@settings(max_examples=100 if os.environ.get("STACPIN_LONG") else 35)
@given(
    st.lists(st.tuples(st.dictionaries(st.sampled_from(IDS[:150]), st.integers(0, 2), max_size=40), names), max_size=9)
)
def test_rewriting_gives_what_chunking_afresh_gives(history):
    catalog = memory_catalog()
    dataset = catalog.dataset("ds")
    content: dict[str, int] = {}
    with small_chunks():
        for number, (upserts, numbers) in enumerate(history):
            chosen = {f"a{int(name[1:]):06d}" for name in numbers} & content.keys() - upserts.keys()
            save(dataset, upserts, remove=chosen, collection={"n": number})
            content = {key: value for key, value in content.items() if key not in chosen} | upserts
            version = dataset.version(dataset.head())
            afresh = rewrite(None, {key: make_row(item_of(key, value)) for key, value in content.items()}, set(),
                             dataset.files.manifests)  # fmt: skip
            assert bare(version.chunks) == bare(afresh)
            assert values_of(version) == content
            assert values_of(version) == content
            assert [chunk.rows for chunk in afresh] == [len(chunk) for chunk in chunks_of(sorted(content))]


@given(st.dictionaries(st.sampled_from(IDS[:200]), st.integers(0, 3), min_size=1, max_size=60), st.randoms())
def test_the_order_of_arrival_does_not_matter(content, rng):
    digests = set()
    with small_chunks():
        for _ in range(2):
            dataset = memory_catalog().dataset("ds")
            ids = list(content)
            rng.shuffle(ids)
            middle = rng.randrange(len(ids))
            for part in (ids[:middle], ids[middle:]):
                save(dataset, {item_id: content[item_id] for item_id in part}, collection={"licence": "x"})
            digests.add((dataset.version(dataset.head()).digest, dataset.version(dataset.head()).record.content_digest))
    assert len(digests) == 1


def test_chunks_that_did_not_change_are_shared_and_not_written_again():
    dataset = memory_catalog().dataset("ds")
    with small_chunks():
        first = save(dataset, dict.fromkeys(IDS[:100], 0)).version
        files = {entry.path for entry in dataset.store.list("datasets/ds/manifests")}
        second = save(dataset, {IDS[50]: 1}).version
        assert len(first.chunks) > 10
        assert len(set(second.chunks) - set(first.chunks)) == 1
        assert len({entry.path for entry in dataset.store.list("datasets/ds/manifests")} - files) == 1
        # Back to the first content: the digest comes back, and what is written is one row and one chunk.
        files = {entry.path for entry in dataset.store.list("datasets/ds")}
        third = save(dataset, {IDS[50]: 0}).version
        assert (third.digest, third.number) == (first.digest, 3)
        new = {entry.path.split("/")[2] for entry in dataset.store.list("datasets/ds") if entry.path not in files}
        assert new == {"manifests", "snapshots", "versions"}


def test_taking_out_what_is_not_there_changes_nothing():
    dataset = memory_catalog().dataset("ds")
    with small_chunks():
        version = save(dataset, dict.fromkeys(IDS[:40], 0)).version
        absent = {"a", "a000000x", "a000039x", "zz"}
        assert rewrite(version, {}, absent, dataset.files.manifests) == list(version.chunks)
        assert rewrite(None, {}, absent, dataset.files.manifests) == []


def many(count: int) -> list[Chunk]:
    digest = bytes(range(32))
    return [
        Chunk(f"i{n:06d}a", f"i{n:06d}b", 2, digest, digest, (0, 1, 2, 3) if n % 2 else None, 5, 6, 2, 10,
              (FileRef(digest, 7),))
        for n in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize(("count", "files"), [(0, 0), (1, 1), (8192, 1), (8193, None)])
def test_a_snapshot_is_one_file_up_to_8192_chunks_then_one_a_page(count, files):
    chunks = many(count)
    encoded = encode_snapshots(chunks)
    assert len(encoded) == (len(page_ends([chunk.last_id for chunk in chunks])) if files is None else files)
    assert [chunk for data in encoded for chunk in decode_snapshot(data, where="s")] == chunks


def test_a_version_whose_snapshot_is_one_file_a_page(monkeypatch):
    monkeypatch.setattr(snapshots, "_ONE_FILE", 2)
    dataset = memory_catalog().dataset("ds")
    with small_chunks():
        save(dataset, dict.fromkeys(IDS[:100], 0))
        written = save(dataset, {IDS[99]: 1}).version
        record = dataset.version(2).record
        pages = dataset.record(1).snapshot
        assert len(pages) == len(page_ends([chunk.last_id for chunk in written.chunks])) > 3
        assert [entry.changes for entry in record.snapshot] == [False] * len(pages) + [True]
        assert values_of(dataset.version(2)) == dict.fromkeys(IDS[:99], 0) | {IDS[99]: 1}
        third = save(dataset, dict.fromkeys(IDS[50:100], 2)).version
        assert not any(entry.changes for entry in third.record.snapshot)
        assert set(third.record.snapshot) & set(pages)


def test_roots_of_nothing_are_stated():
    roots = roots_of([])
    assert roots.digest != roots.content
    dataset = memory_catalog().dataset("ds")
    version = commit(dataset, message="m", author="a").version
    assert (version.record.root, version.record.content_root) == (
        f"sha256:{roots.digest.hex()}",
        f"sha256:{roots.content.hex()}",
    )
    assert (list(version.rows()), version.chunks, version.record.snapshot) == ([], (), [])
    assert (version.record.statistics.bbox, version.record.statistics.interval) == (None, None)


def test_what_prunes_a_chunk():
    def box(item_id, bbox, start="2024-01-01T00:00:00Z", end="2024-01-01T00:00:00Z"):
        geometry = None if bbox is None else {"type": "Point", "coordinates": bbox[:2]}
        properties = {"datetime": None, "start_datetime": start, "end_datetime": end}
        return make_row(item_of(item_id, bbox=bbox, geometry=geometry, properties=properties))

    plain = [
        box("a", [1, 2, 3, 4]),
        box("b", None, "2020-01-01T00:00:00Z"),
        box("c", [0, 3, 2, 9], end="2025-01-01T00:00:00Z"),
    ]
    chunk = describe(table_of(plain), ())
    assert (chunk.bbox, chunk.assets, chunk.bytes) == ((0, 2, 3, 9), 3, 12)
    assert (chunk.start, chunk.end) == (1577836800000000, 1735689600000000)
    assert describe(table_of([*plain, box("d", [170, -5, -170, 5])]), ()).bbox == (-180, -5, 180, 9)
    assert describe(table_of([box("b", None)]), ()).bbox is None


def test_the_box_that_prunes_covers_the_geometry():
    line = {"type": "LineString", "coordinates": [[0.5, 2], [3.5, 4.25]]}
    assert make_row(item_of("a", geometry=line, bbox=[1, 2, 3, 4])).bbox == (0.5, 2, 3.5, 4.25)
    assert make_row(item_of("a", geometry=line, bbox=[170, 3, -170, 4])).bbox == (170, 2, -170, 4.25)


def test_chunk_files_are_geoparquet(tmp_path):
    row = make_row(item_of("a", geometry={"type": "LineString", "coordinates": [[1, 2, 3], [3, 4]]}, bbox=[1, 2, 3, 4]))
    (tmp_path / "a.parquet").write_bytes(encode_rows(table_of([row])))
    import geopandas

    frame = geopandas.read_parquet(tmp_path / "a.parquet")
    assert (str(frame.crs.to_authority()), frame.geometry.iloc[0].wkt) == ("('OGC', 'CRS84')", "LINESTRING (1 2, 3 4)")
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert file.metadata.num_row_groups == 1
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_small_chunks_are_a_rule_of_the_same_kind():
    assert SMALL_CHUNKS.least < SMALL_CHUNKS.wanted < SMALL_CHUNKS.most
    with small_chunks():
        assert chunking.CHUNKS is SMALL_CHUNKS
    assert chunking.CHUNKS is CHUNKS
