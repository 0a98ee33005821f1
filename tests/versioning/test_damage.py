"""Whatever is damaged is named and told apart, by verify and by reading; deltas are proven like everything else."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from version_helpers import AUTHOR, Clock, Editable, asset_of, item_of, save, small_chunks, values_of

from versioning.canonical import canonical
from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.dataset import Dataset
from versioning.digests import digest_text, version_digest
from versioning.errors import Integrity, NotFound
from versioning.manifests import DELTA_SCHEMA, ROW_SCHEMA, FileRef, decode_rows, encode_rows, encode_table
from versioning.records import SnapshotFile, VersionRecord, record_digest
from versioning.row_tables import table_of
from versioning.rows import Row, make_row
from versioning.snapshots import Chunk, decode_snapshot, describe, encode_snapshots, roots_of
from versioning.store import open_store
from versioning.verify import VerifyReport, verify_chain, verify_version
from versioning.version import Files, Version


@pytest.fixture
def store() -> Editable:
    return Editable(open_store("memory://"))


@pytest.fixture
def dataset(store: Editable) -> Dataset:
    """Three versions with a stored object, a tag and two moves of a pointer."""
    catalog = Catalog.create(store, clock=Clock())
    catalog.objects.put_bytes(b"data", ".tif")
    dataset = catalog.dataset("ds")
    for value in range(3):
        save(dataset, {"a": value, "b": 0})
    dataset.tag("gold", 1, author=AUTHOR)
    dataset.move("stable", 1, why="w", author=AUTHOR)
    dataset.move("stable", 2, why="w", author=AUTHOR)
    return dataset


def fresh(store: Editable) -> Dataset:
    return Catalog.open(store).dataset("ds")


def problems(report: VerifyReport) -> list[tuple[str, str]]:
    return [(problem.path, problem.kind) for problem in report.problems]


def only(store: Editable, folder: str) -> str:
    return max(entry.path for entry in store.list(folder))


def flip(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


HARM: dict[str, Callable[[bytes], bytes | None]] = {
    "altered": flip,
    "truncated": lambda data: data[:-1],
    "missing": lambda data: None,
}


@pytest.mark.parametrize("kind", list(HARM))
@pytest.mark.parametrize("folder", ["manifests", "snapshots"])
def test_damaged_files_of_a_version(store: Editable, dataset: Dataset, folder: str, kind: str):
    version = dataset.version(3)
    file = version.chunks[0].files[0].sha256.hex() if folder == "manifests" else version.record.snapshot[0].sha256
    path = f"datasets/ds/{folder}/{file}.parquet"
    assert verify_version(dataset, version).ok
    store.changed[path] = HARM[kind](store.get(path))
    report = verify_version(dataset, version)
    assert problems(report) == [(path, kind)]
    assert not report.ok
    assert report.to_dict()["problems"][0]["kind"] == kind
    with pytest.raises(Integrity, match=path) as caught:
        values_of(fresh(store).version(3))
    assert (caught.value.kind, caught.value.exit_code) == (kind, 30)
    assert values_of(fresh(store).version(1)) == {"a": 0, "b": 0}  # the others are as they were


@pytest.mark.parametrize("kind", [*HARM, "longer"])
def test_damaged_objects(store: Editable, dataset: Dataset, kind: str):
    path = only(store, "objects")
    store.changed[path] = store.get(path) + b"more" if kind == "longer" else HARM[kind](store.get(path))
    report = verify_version(dataset, dataset.version(3))
    assert problems(report) == [(path, "altered" if kind == "longer" else kind)]
    assert (report.objects, report.bytes, report.items) == (1, 0, 2)
    assert verify_version(dataset, dataset.version(3), objects=False).ok


def test_assets_that_lie_elsewhere_are_counted(store: Editable, dataset: Dataset):
    item = item_of("c", assets={"far": asset_of(b"far") | {"href": "https://example.org/a.tif"}})
    version = commit(dataset, items=[item], message="m", author=AUTHOR).version
    report = verify_version(dataset, version)
    assert (report.ok, report.referenced, report.objects) == (True, 1, 1)


# -- records


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"half", b"\xff\xfe"])
@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("versions/00000002.json", lambda dataset: dataset.version(2)),
        ("tags/gold.json", lambda dataset: dataset.resolve("gold")),
        ("pointers/stable/00000002.json", lambda dataset: dataset.resolve("stable")),
        ("expired/00000002.json", lambda dataset: dataset.version(2)),
    ],
)
def test_damaged_records(store: Editable, dataset: Dataset, path: str, read: Callable[[Dataset], Any], data: bytes):
    store.put_new(f"datasets/ds/{path}", b"x")
    store.changed[f"datasets/ds/{path}"] = data
    with pytest.raises(Integrity, match=path) as caught:
        read(fresh(store))
    assert caught.value.hint


def edit(store: Editable, path: str, **change: Any) -> None:
    record = VersionRecord.decode(store.get(path), where=path)
    store.changed[path] = record.model_copy(update=change).encode()


def test_an_edited_record_breaks_the_chain(store: Editable, dataset: Dataset):
    path = "datasets/ds/versions/00000002.json"
    version = dataset.version(2)
    edit(store, path, message="another story")
    assert problems(verify_chain(fresh(store))) == [(path, "altered")]
    assert (path, "altered") in problems(verify_version(fresh(store), fresh(store).version(3)))
    # Opened before it was edited: what is stored is no longer that.
    assert problems(verify_version(dataset, version)) == [(path, "altered"), (path, "altered")]


def test_the_newest_record_is_proven_by_its_digests(store: Editable, dataset: Dataset):
    path = "datasets/ds/versions/00000003.json"
    for member in ("digest", "content_digest", "root", "content_root"):
        edit(store, path, **{member: "sha256:" + "0" * 64})
        with pytest.raises(Integrity, match="ds@v3 does not add up"):
            values_of(fresh(store).version(3))
        report = verify_version(fresh(store), fresh(store).version(3))
        assert problems(report) == [("ds@v3", "altered")]
        del store.changed[path]
    edit(store, path, collection={"title": "forged"})
    with pytest.raises(Integrity, match="does not add up"):
        values_of(fresh(store).version(3))


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_lost_record_is_missed(store: Editable, dataset: Dataset, lost: int):
    path = f"datasets/ds/versions/{lost:08d}.json"
    version = dataset.version(1 if lost != 1 else 2)
    save(dataset, {"a": 9})
    store.changed[path] = None
    found = problems(verify_version(dataset, version, objects=False))
    assert (path, "missing") in found
    with pytest.raises((NotFound, Integrity)):
        fresh(store).record(lost)


def test_records_in_the_wrong_place(store: Editable, dataset: Dataset):
    store.changed["datasets/ds/versions/00000001.json"] = store.get("datasets/ds/versions/00000002.json")
    found = verify_chain(fresh(store)).problems
    assert "it says it is ds@v2" in [problem.detail for problem in found]
    assert {problem.path for problem in found} >= {"datasets/ds/versions/00000001.json"}
    with pytest.raises(Integrity, match=r"00000001\.json is the record of ds@v2"):
        fresh(store).version(1)
    store.changed["datasets/ds/tags/silver.json"] = store.get("datasets/ds/tags/gold.json")
    store.put_new("datasets/ds/tags/silver.json", b"x")
    with pytest.raises(Integrity, match="is the record of the tag 'gold'"):
        fresh(store).resolve("silver")
    assert ("datasets/ds/tags/silver.json", "altered") in problems(verify_chain(fresh(store)))


def test_a_damaged_head_is_reported(store: Editable, dataset: Dataset):
    path = "datasets/ds/versions/00000003.json"
    store.changed[path] = b"{}"
    report = verify_chain(fresh(store))
    assert (problems(report), report.digest, report.pin) == ([(path, "altered")], "", "ds@v3")
    with pytest.raises(NotFound, match="none has no versions"):
        verify_chain(Catalog.open(store).dataset("none"))


def test_a_tag_that_vanishes_while_it_is_proven(store: Editable, dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Dataset, "tag_names", lambda _: ["gone"])
    assert verify_chain(fresh(store)).ok


def test_a_record_that_is_spelt_otherwise(store: Editable, dataset: Dataset):
    path = "datasets/ds/versions/00000003.json"
    store.changed[path] = store.get(path).replace(b'{"advance"', b'{ "advance"')
    report = verify_chain(fresh(store))
    assert [(problem.path, problem.detail) for problem in report.problems] == [(path, "it is not canonical JSON")]


def test_records_of_a_later_revision_are_sound(store: Editable, dataset: Dataset):
    head = store.get("datasets/ds/versions/00000003.json")
    record = dataset.record(3).model_dump(mode="json") | {"number": 4, "previous": record_digest(head), "later": [1]}
    for optional in ("summaries", "checks", "recipe", "software", "advance"):
        del record[optional]
    store.put_new("datasets/ds/versions/00000004.json", canonical(record))
    assert verify_chain(fresh(store)).ok
    assert values_of(fresh(store).version(4)) == {"a": 2, "b": 0}


def test_pointers_and_tags_are_proven_too(store: Editable, dataset: Dataset):
    assert verify_chain(fresh(store)).records == 6
    first, second = (f"datasets/ds/pointers/stable/{number:08d}.json" for number in (1, 2))
    cases = [
        (first, store.get(first).replace(b'"target":1', b'"target":3'), first, "names another hash"),
        # Either the move or what it names is lost: the record is what people miss.
        (second, store.get(second).replace(b'"target":2', b'"target":9'),
         "datasets/ds/versions/00000009.json", f"{second} names it"),
        (second, store.get(second).replace(b'"pointer":"stable"', b'"pointer":"other"'), second, "it says it is move"),
        ("datasets/ds/tags/gold.json", store.get("datasets/ds/tags/gold.json").replace(b'"target":1', b'"target":2'),
         "datasets/ds/tags/gold.json", "v2 is not the version that it names"),
        ("datasets/ds/tags/gold.json", store.get("datasets/ds/tags/gold.json").replace(b'"target":1', b'"target":7'),
         "datasets/ds/versions/00000007.json", "datasets/ds/tags/gold.json names it"),
    ]  # fmt: skip
    for path, data, blamed, reason in cases:
        store.changed = {path: data}
        (problem,) = verify_chain(fresh(store)).problems
        assert (problem.path, problem.kind) == (blamed, "missing" if "versions" in blamed else "altered")
        assert reason in problem.detail


# -- what only verify can see: files whose hashes are right and whose rows are not


def forge(dataset: Dataset, chunks: list[Chunk], **more: Any) -> Version:
    """Append a version over hand-made chunks, with every hash right."""
    roots = roots_of(chunks)
    refs = [dataset.files.snapshots.put(data) for data in encode_snapshots(chunks)]
    head = dataset.head()
    last = dataset.record(head)
    record = last.model_copy(
        update={
            "number": head + 1,
            "previous": record_digest(dataset.log.get(head)),
            "digest": version_digest(roots.digest, last.collection),
            "content_digest": version_digest(roots.content, last.collection, family="content"),
            "root": digest_text(roots.digest),
            "content_root": digest_text(roots.content),
            "snapshot": [SnapshotFile(sha256=ref.sha256.hex(), size=ref.size) for ref in refs],
            **more,
        }
    )
    assert dataset.log.append(head + 1, record.encode())
    return dataset.version(head + 1)


def rows_for(*names: str, value: object = 0) -> list[Row]:
    return [make_row(item_of(name, value)) for name in names]


def chunk_for(dataset: Dataset, rows: list[Row], /, **change: Any) -> Chunk:
    table = table_of(rows)
    return describe(table, (dataset.files.manifests.put(encode_rows(table)),))._replace(**change)


def details(dataset: Dataset, version: Version) -> list[str]:
    return [problem.detail for problem in verify_version(dataset, version, objects=False).problems]


def test_a_forged_version_that_is_right_passes(dataset: Dataset):
    version = forge(dataset, [chunk_for(dataset, rows_for("a", "b"))])
    assert details(dataset, version) == []
    assert values_of(version) == {"a": 0, "b": 0}


@pytest.mark.parametrize(
    "change",
    [{"bbox": (0.0, 0.0, 1.0, 1.0)}, {"bbox": None}, {"start": 0}, {"end": 0}, {"assets": 7}, {"bytes": 7},
     {"digest": bytes(32)}, {"content_digest": bytes(32)}, {"first_id": "A"}, {"last_id": "c"}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_what_search_prunes_by_is_proven(dataset: Dataset, change: dict[str, Any]):
    version = forge(dataset, [chunk_for(dataset, rows_for("a", "b"), **change)])
    assert details(dataset, version) == [f"the snapshot says otherwise than its rows: {next(iter(change))}"]


def test_a_wrong_count_is_seen_when_reading(dataset: Dataset):
    version = forge(dataset, [chunk_for(dataset, rows_for("a", "b"), rows=3)])
    with pytest.raises(Integrity, match="do not give its rows"):
        values_of(version)
    assert problems(verify_version(dataset, version, objects=False)) == [("ds@v4 chunk a", "altered")]


def test_rows_out_of_order_or_twice(dataset: Dataset):
    for names in (("a", "c", "b", "d"), ("a", "b", "b", "d")):
        version = forge(dataset, [chunk_for(dataset, rows_for(*names))])
        assert details(dataset, version) == ["its rows are not in the order of their ids"]


def test_rows_cut_elsewhere(dataset: Dataset):
    chunks = [chunk_for(dataset, rows_for("a", "b")), chunk_for(dataset, rows_for("c", "d"))]
    assert details(dataset, forge(dataset, chunks)) == ["its rows are not cut where the format cuts them"]
    with small_chunks():
        names = [f"i{number:02d}" for number in range(40)]
        version = forge(dataset, [chunk_for(dataset, rows_for(*names))])
        assert details(dataset, version) == ["its rows are not cut where the format cuts them"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"start": 1}, "columns do not follow from its JSON: start"),
        ({"bbox": (0.0, 0.0, 1.0, 1.0)}, "columns do not follow from its JSON: bbox"),
        ({"geometry": None}, "columns do not follow from its JSON: geometry"),
        ({"assets": ()}, "columns do not follow from its JSON: assets"),
        ({"digest": bytes(32)}, "columns do not follow from its JSON: digest"),
        ({"content_digest": bytes(32)}, "columns do not follow from its JSON: content_digest"),
        ({"item": b"{}"}, "it is not an item"),
        ({"item": b"not json"}, "it is not an item"),
        ({"item": b'{ "id":"a"}'}, "it is not an item"),
    ],
)
def test_columns_follow_from_the_json(dataset: Dataset, change: dict[str, Any], reason: str):
    (row,) = rows_for("a")
    version = forge(dataset, [chunk_for(dataset, [replace(row, **change)])])
    (found,) = details(dataset, version)
    assert reason in found


def test_json_that_is_not_canonical(dataset: Dataset):
    (row,) = rows_for("a")
    version = forge(dataset, [chunk_for(dataset, [replace(row, item=row.item.replace(b'{"assets"', b'{ "assets"'))])])
    (found,) = details(dataset, version)
    assert "item" in found


# -- files of other making


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def test_extra_columns_and_other_encodings_are_fine():
    table = table_of(rows_for("a", "b"))
    data = parquet(table.append_column("later", pa.array([1, 2])))
    assert decode_rows(data, where="m").equals(table)
    assert decode_rows(data, where="m", columns=["item"]).column_names == ["id", "item"]
    chunk = describe(table, (FileRef(bytes(32), 1),))
    snapshot = pq.read_table(io.BytesIO(encode_snapshots([chunk])[0]))
    assert decode_snapshot(parquet(snapshot.append_column("later", pa.array([1]))), where="s") == [chunk]


@pytest.mark.parametrize("name", [name for name in ROW_SCHEMA.names if name not in {"bbox", "geometry", "reuse"}])
def test_manifests_with_nulls_or_without_columns(name: str):
    table = table_of(rows_for("a", "b"))
    place = table.column_names.index(name)
    kind = table.schema.field(name).type
    empty = table.set_column(place, pa.field(name, kind), pa.array([None, None], kind))
    for broken in (empty, table.drop_columns([name])):
        with pytest.raises(Integrity, match="m is not a manifest of format 1"):
            decode_rows(parquet(broken), where="m")


@pytest.mark.parametrize("member", [None, "key", "href", "sha256", "size"])
def test_assets_with_nulls(member: str | None):
    table = table_of(rows_for("a"))
    asset = None if member is None else {**table.column("assets")[0].as_py()[0], member: None}
    column = pa.array([[asset]], table.schema.field("assets").type)
    with pytest.raises(Integrity, match="column assets has nulls"):
        decode_rows(parquet(table.set_column(table.column_names.index("assets"), "assets", column)), where="m")


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not parquet", parquet(pa.table({"x": [1]}))])
def test_what_is_no_parquet_of_ours(data: bytes):
    with pytest.raises(Integrity, match="m is not a manifest"):
        decode_rows(data, where="m")
    with pytest.raises(Integrity, match="s is not a snapshot"):
        decode_snapshot(data, where="s")


def test_snapshots_that_make_no_sense(dataset: Dataset):
    one, two = chunk_for(dataset, rows_for("a", "b")), chunk_for(dataset, rows_for("c", "d"))
    cases = [
        ([two, one], "out of order at 'a'"),
        ([one, one], "out of order"),
        ([one._replace(files=())], "without files"),
    ]
    for chunks, reason in cases:
        with pytest.raises(Integrity, match=reason):
            decode_snapshot(encode_snapshots(chunks)[0], where="s")
    table = pq.read_table(io.BytesIO(encode_snapshots([one])[0]))
    kind = table.schema.field("files").type
    for files in ([[None]], [[{"sha256": None, "size": 1}]], [None]):
        with pytest.raises(Integrity):
            decode_snapshot(parquet(table.set_column(13, "files", pa.array(files, kind))), where="s")
    with pytest.raises(Integrity):
        decode_snapshot(parquet(table.set_column(3, "digest", pa.array([None], pa.binary(32)))), where="s")


def test_a_manifest_that_expands(dataset: Dataset):
    """Its hash is right, and decoding it would take the memory of the machine."""
    value = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array(["x" * 100_000]))
    ref = dataset.files.manifests.put(parquet(pa.table({"item": value})))
    assert ref.size < 8_000
    version = forge(dataset, [chunk_for(dataset, rows_for("a", "b"))._replace(files=(ref,))])
    (problem,) = verify_version(dataset, version, objects=False).problems
    assert (problem.path, problem.kind) == (dataset.files.manifests.path(ref), "altered")
    assert "is refused: its" in problem.detail or "expand to" in problem.detail


# -- deltas


def delta_file(dataset: Dataset, upserts: list[Row], tombstones: list[str]) -> FileRef:
    """A delta file: whole rows, and rows of which only the id is there."""
    gone = pa.Table.from_pylist([{"id": name, "deleted": True} for name in tombstones], schema=DELTA_SCHEMA)
    live = table_of(upserts).append_column(DELTA_SCHEMA.field("deleted"), pa.array([False] * len(upserts), pa.bool_()))
    return dataset.files.manifests.put(encode_table(pa.concat_tables([live, gone]).sort_by("id").cast(DELTA_SCHEMA)))


def layered(dataset: Dataset, merged: list[Row], files: list[FileRef]) -> Version:
    return forge(dataset, [describe(table_of(merged), ())._replace(files=tuple(files))])


def test_deltas_override_and_remove(dataset: Dataset):
    base = dataset.files.manifests.put(encode_rows(table_of(rows_for("a", "b", "c", "e"))))
    first = delta_file(dataset, rows_for("b", "d", value=1), ["c"])
    second = delta_file(dataset, rows_for("c", "d", value=2), ["e"])
    merged = [*rows_for("a"), *rows_for("b", value=1), *rows_for("c", "d", value=2)]
    version = layered(dataset, merged, [base, first, second])
    assert values_of(version) == {"a": 0, "b": 1, "c": 2, "d": 2}
    assert details(dataset, version) == []
    assert version.find("e") is None
    assert version.item("d") == item_of("d", 2)
    assert [item_id for item_id, _ in version.assets()] == ["a", "b", "c", "d"]
    # The order of the files counts: the other way round other rows come out, and that is noticed.
    wrong = layered(dataset, merged, [base, second, first])
    for read in (lambda: values_of(wrong), lambda: list(wrong.assets())):
        with pytest.raises(Integrity, match="do not give its rows"):
            read()


def test_as_many_rows_are_not_enough(dataset: Dataset):
    base = dataset.files.manifests.put(encode_rows(table_of(rows_for("a", "b"))))
    one, two = (delta_file(dataset, rows_for("b", value=value), []) for value in (1, 2))
    merged = [*rows_for("a"), *rows_for("b", value=2)]
    assert values_of(layered(dataset, merged, [base, one, two])) == {"a": 0, "b": 2}
    wrong = layered(dataset, merged, [base, two, one])
    for read in (lambda: values_of(wrong), lambda: list(wrong.assets()), lambda: wrong.find("a")):
        with pytest.raises(Integrity, match="do not give its rows"):
            read()


def test_a_tombstone_that_is_lifted_and_one_of_nothing(dataset: Dataset):
    base = dataset.files.manifests.put(encode_rows(table_of(rows_for("a", "b"))))
    files = [base, delta_file(dataset, [], ["a", "zz"]), delta_file(dataset, rows_for("a", value=5), [])]
    version = layered(dataset, [*rows_for("a", value=5), *rows_for("b")], files)
    assert values_of(version) == {"a": 5, "b": 0}


def test_one_delta_serves_many_chunks_and_bases_may_be_wider(dataset: Dataset):
    with small_chunks():
        names = [f"i{number:02d}" for number in range(40)]
        changed = {"i03": 1, "i21": 1, "i39": 1}
        content = [make_row(item_of(name, changed.get(name, 0))) for name in names if name != "i10"]
        one = dataset.files.manifests.put(encode_rows(table_of(rows_for(*names[:25]))))
        two = dataset.files.manifests.put(encode_rows(table_of(rows_for(*names[15:]))))
        delta = delta_file(dataset, [row for row in content if row.id in changed], ["i10"])
        afresh = commit(dataset, items=[row.parse() for row in content], whole=True, message="m", author=AUTHOR).version
        chunks = [chunk._replace(files=(one, two, delta)) for chunk in afresh.chunks]
        version = forge(dataset, chunks)
        assert version.digest == afresh.digest
        assert values_of(version) == values_of(afresh)
        assert details(dataset, version) == []
        # A commit on top reads them as anything else.
        after = save(dataset, {"i00": 9}, base=version).version
        assert values_of(after) == values_of(afresh) | {"i00": 9}


def test_a_wider_base_alone(dataset: Dataset):
    base = dataset.files.manifests.put(encode_rows(table_of(rows_for("a", "b", "c", "d"))))
    version = layered(dataset, rows_for("b", "c"), [base])
    assert values_of(version) == {"b": 0, "c": 0}
    assert details(dataset, version) == []


def test_only_tombstones_may_leave_columns_empty():
    table = pa.Table.from_pylist([{"id": "a", "deleted": False}], schema=DELTA_SCHEMA)
    with pytest.raises(Integrity, match="has nulls"):
        decode_rows(encode_table(table), where="m")


def test_a_damaged_delta_is_named(store: Editable, dataset: Dataset):
    base = dataset.files.manifests.put(encode_rows(table_of(rows_for("a", "b"))))
    delta = delta_file(dataset, [], ["b"])
    version = layered(dataset, rows_for("a"), [base, delta])
    path = f"datasets/ds/manifests/{delta.sha256.hex()}.parquet"
    store.changed[path] = flip(store.get(path))
    assert problems(verify_version(dataset, version, objects=False)) == [(path, "altered")]


def test_tables_too_large_to_remember_are_read_all_the_same(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("versioning.files._REMEMBERED", 10)
    files = Files(dataset.files.manifests, dataset.files.snapshots)
    version = Version(dataset.record(3), files)
    assert values_of(version) == values_of(version) == {"a": 2, "b": 0}


def test_a_table_is_remembered(store: Editable, dataset: Dataset):
    version = fresh(store).version(3)
    assert values_of(version) == {"a": 2, "b": 0}
    path = f"datasets/ds/manifests/{version.chunks[0].files[0].sha256.hex()}.parquet"
    store.changed[path] = None
    assert values_of(version) == {"a": 2, "b": 0}
    # verify does not believe what is remembered.
    assert problems(verify_version(dataset, version, objects=False)) == [(path, "missing")]
