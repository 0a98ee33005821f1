"""The written format: its test vectors, the golden catalog that is read for ever, and a second reader of both."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import rfc8785
import second_reader as second
from version_helpers import Clock, values_of

from versioning import chunking, digests
from versioning.canonical import canonical, loads
from versioning.catalog import Catalog
from versioning.errors import Expired, StacpinError
from versioning.rows import content_digest, make_row
from versioning.store import Store
from versioning.verify import verify_chain, verify_version
from versioning.version import Version

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY / "tests" / "data"
GOLDEN = DATA / "catalog-v1"
SPECIFICATION = (REPOSITORY / "docs" / "format.md").read_text(encoding="utf-8")
VECTORS: dict[str, Any] = json.loads((DATA / "vectors.json").read_text(encoding="utf-8"))
EXPECTED: dict[str, Any] = json.loads((DATA / "catalog-v1.expected.json").read_text(encoding="utf-8"))
IDS = [f"a{number:06d}" for number in range(20_000)]


# -- vectors


@pytest.mark.parametrize(("text", "expected"), VECTORS["canonical"])
def test_vectors_of_canonical_json(text: str, expected: str):
    assert canonical(loads(text)).decode() == expected


def test_vectors_of_chunks_and_pages():
    assert [*chunking.cut_rows(IDS), len(IDS)] == second.chunk_ends(IDS) == [*VECTORS["chunk_ends"], len(IDS)]
    assert chunking.page_ends(IDS[:3000]) == second.page_ends(IDS[:3000]) == VECTORS["page_ends"]
    hashes = VECTORS["hashes"]
    assert str(chunking.chunk_hash(hashes["id"])) == hashes["chunk"]
    assert str(chunking.page_hash(hashes["id"])) == hashes["page"]


def test_vectors_of_trees():
    leaves = [digests.sha256(name.encode()) for name in IDS[:3000]]
    ends = VECTORS["page_ends"]
    assert digests.tree(leaves, ends).hex() == second.root_over(leaves, ends, "digest").hex()
    assert digests.tree(leaves, ends).hex() == VECTORS["tree_of_3000_leaves"]
    empty = VECTORS["empty"]
    for family, prefix in (("digest", ""), ("content", "content_")):
        root = digests.tree([], [], family=family)
        assert root == second.root_over([], [], family)
        assert root.hex() == empty[f"{prefix}root"]
        version = digests.version_digest(root, {}, family=family)
        assert version == second.version_over(root, {}, family) == empty[f"{prefix}version"]


def test_vectors_of_items():
    rows = [make_row(item) for item in VECTORS["items"]]
    assert [row.item.decode() for row in rows] == VECTORS["stored"]
    expected = VECTORS["row_of_first"]
    first = rows[0]
    assert (first.digest.hex(), first.content_digest.hex()) == (expected["digest"], expected["content_digest"])
    assert (list(first.bbox or ()), (first.geometry or b"").hex()) == (expected["bbox"], expected["geometry"])
    assert (first.start, first.end) == (expected["start_datetime"], expected["end_datetime"])
    assert first.start == second.micros(VECTORS["items"][0]["properties"]["datetime"])
    assert [[each.key, each.href, each.sha256.hex(), each.size] for each in first.assets] == expected["assets"]
    content = second.content_of(second.read_json(first.item))
    assert content.decode() == VECTORS["content_of_first"]
    assert second.sha(content) == first.content_digest == content_digest(VECTORS["items"][0])


@pytest.mark.parametrize("family", ["digest", "content"])
def test_vectors_from_items_to_a_version(family: Any):
    rows = [make_row(item) for item in VECTORS["items"]]
    hashed = [row.digest if family == "digest" else row.content_digest for row in rows]
    expected = VECTORS[family]
    leaf = digests.leaf_digest(hashed, family=family)
    page = digests.page_digest([leaf], family=family)
    root = digests.root_digest([page], family=family)
    version = digests.version_digest(root, VECTORS["collection"], family=family)
    assert {"leaf": leaf.hex(), "page": page.hex(), "root": root.hex(), "version": version} == expected
    assert second.leaf_over(hashed, family) == leaf
    assert second.root_over([leaf], [1], family) == root
    assert second.version_over(root, VECTORS["collection"], family) == version


def test_the_specification_says_the_same():
    said = set(re.findall(r"[0-9a-f]{64}", SPECIFICATION.split("## Test vectors", 1)[1]))
    known = set(re.findall(r"[0-9a-f]{64}", json.dumps(VECTORS)))
    assert len(said) > 10
    assert said <= known
    for name in ("chunk_ends", "page_ends"):
        assert ", ".join(f"{end:,}" if end > 999 else str(end) for end in VECTORS[name]).replace(",", "") in (
            SPECIFICATION.replace("\n", " ").replace(",", "")
        )
    for level in ("leaf", "page", "root", "version"):
        for family in ("digest", "content"):
            assert f"stacpin/1/{family}/{level}" in SPECIFICATION
    cuts = ((chunking.CHUNKS, "chunk"), (chunking.PAGES, "page"))
    for rule, name in cuts:
        row = f"| {name} | {rule.least} | {rule.wanted:,} | {rule.most:,} | {rule.rare:,} | {rule.often} |"
        assert row in SPECIFICATION


# -- the golden catalog


@pytest.fixture
def golden() -> Catalog:
    return Catalog.open(str(GOLDEN), clock=Clock("2026-11-22T00:00:00+00:00"))


def versions(catalog: Catalog) -> Iterator[Version]:
    """All versions, those that have expired too."""
    for name in EXPECTED:
        dataset = catalog.dataset(name)
        for number in range(1, dataset.head() + 1):
            yield Version(dataset.record(number), dataset.files)


def test_the_golden_catalog_is_what_it_was(golden: Catalog):
    assert golden.dataset_ids() == sorted(EXPECTED)
    assert (golden.record.format, golden.settings.title) == (1, "Golden")
    for version in versions(golden):
        expected = EXPECTED[version.dataset]["versions"][str(version.number)]
        record = version.record.model_dump()
        assert {name: record[name] for name in expected if name != "items"} | {
            "items": sum(1 for _ in version.rows())
        } == expected
        assert verify_version(golden.dataset(version.dataset), version).problems == []
    for name, expected in EXPECTED.items():
        dataset = golden.dataset(name)
        assert verify_chain(dataset).problems == []
        assert dataset.pointers() == expected["pointers"]
        assert {tag.tag: tag.target for tag in dataset.tags()} == expected["tags"]
        assert dataset.head() == len(expected["versions"])


def test_the_golden_names(golden: Catalog):
    tiles = golden.dataset("tiles")
    found = {"tiles": 5, "tiles@v2": 2, "tiles--v3": 3, "tiles@stable": 2, "tiles@v1.0.0": 2, "tiles@gold": 5,
             f"tiles@{tiles.record(4).digest}": 4, "tiles@{2026-01-01}": 5,
             f"tiles@{{{tiles.record(4).time}}}": 4, f"tiles@{{{tiles.record(3).time}}}": 2}  # fmt: skip
    assert {pin: golden.resolve(pin).number for pin in found} == found
    (rollback,) = tiles.moves("latest")
    assert f"{rollback.why} {rollback.target} {rollback.seen}" == "version 4 was wrong 2 4"
    assert golden.resolve(f"tiles@{{{rollback.time}}}").number == 2
    assert [tiles.record(number).parent for number in range(1, 6)] == [None, 1, 2, 2, 2]
    with pytest.raises(Expired, match="keep the last four"):
        golden.resolve("tiles@v1")


def test_the_golden_changes():
    """Delta files and files of changes as the first release wrote them, by both readers."""
    root = DATA / "catalog-v1-changes"
    dataset = Catalog.open(str(root), clock=Clock("2026-11-22T00:00:00+00:00")).dataset("stream")
    expected = json.loads((DATA / "catalog-v1-changes.expected.json").read_bytes())
    assert [dataset.record(number).digest for number in range(1, dataset.head() + 1)] == expected["digests"]
    last = dataset.version(dataset.head())
    assert any(entry.changes for entry in last.record.snapshot)
    assert max(len(chunk.files) for chunk in last.chunks) > 2
    for number, count in enumerate(expected["items"], start=1):
        version = dataset.version(number)
        assert verify_version(dataset, version).problems == []
        found = second.SecondReader(root, "stream").items(number)
        assert {row.id: row.parse() for row in version.rows()} == found
        assert len(found) == count


def test_the_golden_deltas(golden: Catalog):
    deltas = golden.dataset("deltas")
    content = [values_of(deltas.version(number)) for number in range(1, 6)]
    changed = [
        {key: after.get(key) for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        for before, after in pairwise(content)
    ]
    assert changed == [
        {"t-007": 2, "t-200": 2, "t-260": 2},
        {"t-257": None, "t-260": None},
        {"t-008": 4, "t-258": None, "t-260": 4, "t-270x": 4},
        {"t-299": 5},
    ]
    assert [[len(chunk.files) for chunk in deltas.version(n).chunks] for n in range(1, 6)] == [
        [1, 1], [2, 2], [2, 3], [5, 5], [5, 1],
    ]  # fmt: skip


@pytest.mark.parametrize("dataset", sorted(EXPECTED))
def test_a_second_reader_agrees(golden: Catalog, dataset: str):
    reader = second.SecondReader(GOLDEN, dataset)
    for version in versions(golden):
        if version.dataset == dataset:
            assert reader.items(version.number) == {row.id: row.parse() for row in version.rows()}
    assert reader.latest() == golden.dataset(dataset).latest_number()


def test_every_file_is_named_by_its_bytes():
    files = [path for path in GOLDEN.rglob("*") if path.suffix in {".parquet", ".tif"}]
    assert len(files) > 20
    for path in files:
        assert second.sha(path.read_bytes()).hex() == path.stem
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()) < 300_000


def test_the_columns_of_golden_files_are_those_of_the_specification():
    section = SPECIFICATION.split("### Columns of a chunk file", 1)[1]
    rows, rest = section.split("### Columns of a snapshot file", 1)
    for text, pattern in ((rows, "*/manifests/*.parquet"), (rest.split("\n## ", 1)[0], "*/snapshots/*.parquet")):
        said = re.findall(r"^\| `([a-z_]+)` \| `?([A-Za-z0-9_()]+)", text, re.MULTILINE)
        for path in (GOLDEN / "datasets").glob(pattern):
            schema = pq.ParquetFile(path).schema_arrow
            assert [name for name, _ in said if name in schema.names] == schema.names
            physical = {column.path.split(".")[0]: column.physical_type for column in pq.ParquetFile(path).schema}
            for name, kind in said:
                if name in physical and kind in {"BYTE_ARRAY", "INT64", "DOUBLE", "BOOLEAN", "FIXED_LEN_BYTE_ARRAY"}:
                    assert physical[name] == kind


def test_the_catalog_can_be_moved(any_store: Store):
    for path in sorted(GOLDEN.rglob("*")):
        if path.is_file():
            assert any_store.put_new(path.relative_to(GOLDEN).as_posix(), path.read_bytes())
    moved = Catalog.open(any_store, clock=Clock("2026-11-22T00:00:00+00:00"))
    for name, expected in EXPECTED.items():
        dataset = moved.dataset(name)
        latest = dataset.latest()
        assert latest is not None
        assert latest.digest == expected["versions"][str(expected["pointers"]["latest"])]["digest"]
        assert verify_version(dataset, latest).problems == []
        assert verify_chain(dataset).ok


def test_made_again_it_has_the_same_digests(tmp_path: Path):
    specification = importlib.util.spec_from_file_location("make_golden", DATA / "make_golden.py")
    assert specification is not None
    assert specification.loader is not None
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    assert script.expectations(script.build(tmp_path / "catalog")) == EXPECTED


def test_records_are_canonical_json():
    for path in GOLDEN.rglob("*.json"):
        data = path.read_bytes()
        assert rfc8785.dumps(json.loads(data)) == data


def test_nothing_is_written_by_reading(golden: Catalog):
    before = {path: path.stat().st_mtime_ns for path in GOLDEN.rglob("*")}
    for pin in ("tiles", "deltas", "tiles@v9", "tiles@v1"):
        try:
            values_of(golden.resolve(pin))
        except StacpinError:
            continue
    assert {path: path.stat().st_mtime_ns for path in GOLDEN.rglob("*")} == before
