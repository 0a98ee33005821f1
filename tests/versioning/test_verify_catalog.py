"""A whole catalog is proven: every record, file and object once; what no version needs is named; samples are honest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from version_helpers import AUTHOR, Clock, Editable, asset_of, item_of, local_store, save, small_chunks

from versioning.canonical import canonical
from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.errors import InvalidInput, NotFound
from versioning.events import Progress
from versioning.fsck import verify_catalog
from versioning.records import ExpiryRecord, time_text
from versioning.store import Store, open_store
from versioning.verify import verify_chain, verify_version
from versioning.verify_objects import ObjectSet, Sampling
from versioning.verify_report import CatalogReport


def fill(catalog: Catalog, *, count: int = 12) -> Catalog:
    """Two datasets that share objects; three versions of one of them."""
    for number in range(count):
        catalog.objects.put_bytes(b"object %d" % number, ".tif")
    items = [item_of(f"i{number:02d}", assets={"a": asset_of(b"object %d" % number)}) for number in range(count)]
    dataset = catalog.dataset("ds")
    commit(dataset, items=items, message="all", author=AUTHOR)
    for value in (1, 2):
        changed = items[0] | {"properties": items[0]["properties"] | {"value": value}}
        commit(dataset, items=[changed], message="m", author=AUTHOR)
    dataset.tag("gold", 1, author=AUTHOR)
    dataset.move("stable", 2, why="w", author=AUTHOR)
    commit(catalog.dataset("other"), items=items[:2], message="some", author=AUTHOR)
    return catalog


@pytest.fixture
def store() -> Editable:
    return Editable(open_store("memory://"))


@pytest.fixture
def filled(store: Editable) -> Catalog:
    return fill(Catalog.create(store, clock=Clock()))


def told(report: CatalogReport) -> list[tuple[str, str]]:
    return [(problem.path, problem.kind) for problem in report.problems]


def test_a_sound_catalog(any_store: Store):
    with small_chunks():
        catalog = fill(Catalog.create(any_store, clock=Clock()))
        heard: list[Progress] = []
        report = verify_catalog(catalog, on_event=heard.append)
    assert report.ok, report.problems
    assert (report.datasets, report.versions, report.expired, report.objects) == (["ds", "other"], 4, 0, 12)
    assert report.bytes == sum(len(b"object %d" % number) for number in range(12))
    # 1 mark, 1 settings, 4 versions, 1 tag, 1 move.
    assert report.records == 8
    assert report.extra.unreferenced.files == report.extra.foreign.files == 0
    assert report.to_dict()["catalog"] == any_store.url
    assert "pin" not in report.to_dict()
    last = heard[-1]
    assert (last.step, last.done, last.total, last.unit) == ("verify", report.bytes, report.bytes, "bytes")
    with small_chunks():
        part = verify_catalog(catalog, "other")
    assert (part.ok, part.versions, part.objects, part.records) == (True, 1, 2, 1)


def test_what_versions_share_is_read_once(any_store: Store):
    reads: dict[str, int] = {}

    class Counting(Editable):
        def get(self, path: str) -> bytes:
            reads[path] = reads.get(path, 0) + 1
            return super().get(path)

    with small_chunks():
        catalog = fill(Catalog.create(Counting(any_store), clock=Clock()))
        reads.clear()
        report = verify_catalog(catalog)
    assert report.ok
    manifests = {path: count for path, count in reads.items() if "/manifests/" in path}
    assert set(manifests.values()) == {1}
    assert len(manifests) + len({path for path in reads if "/snapshots/" in path}) == report.manifests


@pytest.mark.parametrize("kind", ["missing", "truncated", "altered"])
def test_every_single_file_is_missed(store: Editable, filled: Catalog, kind: str):
    """Whatever file of a catalog is damaged, verification names it, tells how, and names nothing that is sound."""
    for entry in list(store.list("")):
        data = store.inner.get(entry.path)
        store.changed = {
            entry.path: {"missing": None, "truncated": data[:-1], "altered": data[:-2] + b"\x00" + data[-1:]}[kind]
        }
        report = verify_catalog(filled)
        newest = entry.path in {
            "datasets/ds/versions/00000003.json",
            "datasets/other/versions/00000001.json",
            "datasets/ds/pointers/stable/00000001.json",
            "datasets/ds/tags/gold.json",
            "settings/00000001.json",
        }
        if kind == "missing" and newest:
            continue  # a record that nothing names is not missed; see the next test
        expected = "altered" if entry.path.endswith(".json") and kind != "missing" else kind
        assert (entry.path, expected) in told(report), (entry.path, told(report))
        assert {path for path, _ in told(report)} == {entry.path}


def test_a_lost_newest_record_is_missed_where_something_names_it(store: Editable, filled: Catalog):
    filled.dataset("ds").tag("newest", 3, author=AUTHOR)
    path = "datasets/ds/versions/00000003.json"
    store.changed[path] = None
    assert told(verify_catalog(filled)) == [(path, "missing")]
    assert not verify_catalog(filled).extra.certain
    store.changed = {}
    store.put_new("datasets/ds/expired/00000009.json", expiry(9))
    assert told(verify_catalog(filled)) == [("datasets/ds/versions/00000009.json", "missing")]


def expiry(number: int) -> bytes:
    return ExpiryRecord(number=number, why="old", author=AUTHOR, time="2026-03-02T00:00:00.000000Z", nonce="n").encode()


def test_expired_versions_are_proven_by_their_records(store: Editable, filled: Catalog):
    record = filled.dataset("ds").record(1)
    store.put_new("datasets/ds/expired/00000001.json", expiry(1))
    snapshot = f"datasets/ds/snapshots/{record.snapshot[0].sha256}.parquet"
    report = verify_catalog(filled)
    assert (report.ok, report.versions, report.expired) == (True, 3, 1)
    assert snapshot in report.extra.unreferenced.names
    store.changed[snapshot] = None
    assert verify_catalog(filled).ok
    for damaged in (expiry(2), b"{}"):
        store.changed["datasets/ds/expired/00000001.json"] = damaged
        assert told(verify_catalog(filled)) == [("datasets/ds/expired/00000001.json", "altered")]


def test_what_no_version_needs_is_named(store: Editable, filled: Catalog):
    loose = filled.objects.put_bytes(b"nobody's", ".tif")
    digest = "ab" * 32
    extra = {
        f"datasets/ds/manifests/{digest}.parquet": "unreferenced",
        f"datasets/ds/snapshots/{digest}.parquet": "unreferenced",
        loose.href: "unreferenced",
        "objects/zz/readme.txt": "foreign",
        "objects/ab/" + "cd" * 32 + ".tif": "foreign",
        f"objects/ab/{digest}.TIFF": "foreign",
        "datasets/ds/versions/1.json": "foreign",
        "datasets/ds/versions/00000001.json.bak": "foreign",
        "datasets/ds/tags/latest.json": "foreign",
        "datasets/ds/tags/sub/x.json": "foreign",
        "datasets/ds/pointers/V1/00000001.json": "foreign",
        "datasets/UPPER/versions/00000001.json": "foreign",
        "README.md": "foreign",
        "settings/current.json": "foreign",
        "staging/run/items.ndjson": "",
        "quarantine/run/a.tif": "",
        "gc/00000001.json": "",
    }
    for path in extra:
        store.put_new(path, b"nobody's")
    report = verify_catalog(filled)
    assert report.ok  # nothing of it harms a version
    for kind in ("unreferenced", "foreign"):
        tally = getattr(report.extra, kind)
        assert sorted(tally.names) == sorted(path for path, told in extra.items() if told == kind)
        assert (tally.files, tally.bytes) == (len(tally.names), 8 * len(tally.names))
    # Objects are shared: of one dataset nobody can say that they are extra.
    assert sorted(verify_catalog(filled, "ds").extra.unreferenced.names) == sorted(
        path for path in extra if digest in path and path.startswith("datasets")
    )


def test_a_half_copied_catalog(filled: Catalog, tmp_path: Path):
    """Copied in the order of names until the disk was full: what is missing is named, and no more."""
    entries = sorted(entry.path for entry in filled.store.list(""))
    for cut in range(1, len(entries), 3):
        half = local_store(tmp_path / str(cut))
        for path in [*entries[:cut], "stacpin.json"]:
            half.put_new(path, filled.store.get(path))
        report = verify_catalog(Catalog.open(half))
        missing = set(entries[cut:])
        assert {problem.kind for problem in report.problems} <= {"missing"}
        assert {problem.path for problem in report.problems} <= missing
        if any("/snapshots/" in path or "/manifests/" in path for path in entries[:cut]):
            continue
    with pytest.raises(NotFound, match=r"not a stacpin catalog: it has no stacpin\.json"):
        Catalog.open(local_store(tmp_path / "none"))


def test_numbers_that_no_log_has(store: Editable, filled: Catalog):
    record = store.get("datasets/ds/versions/00000003.json")
    store.put_new("datasets/ds/versions/99999999.json", record)
    report = verify_catalog(filled)
    assert len(report.problems) == 22
    assert "any other up to 99999998.json" in report.problems[20].detail
    assert report.problems[21].detail == "it says it is ds@v3"


@pytest.mark.parametrize(
    ("moment", "says"),
    [
        ("garbage", "'garbage' is not a time such as 2026-01-31T12:00:00.000000Z"),
        ("2026-03-01T00:00:00.000000", "is not a time"),
        ("9999-12-31T23:59:59.999999Z", "written at 9999-12-31T23:59:59.999999Z, which has not come yet"),
    ],
)
@pytest.mark.parametrize(
    "path",
    ["versions/00000003.json", "tags/gold.json", "pointers/stable/00000001.json", "expired/00000001.json"],
)
def test_times_that_no_writer_writes(store: Editable, filled: Catalog, path: str, moment: str, says: str):
    """All that follows a record of the year 9999 would be as late, and a record without a time stops every commit."""
    path = f"datasets/ds/{path}"
    store.put_new("datasets/ds/expired/00000001.json", expiry(1))
    store.changed[path] = canonical(orjson.loads(store.inner.get(path)) | {"time": moment})
    (problem,) = verify_catalog(filled).problems
    assert (problem.path, problem.kind) == (path, "altered")
    assert says in problem.detail


def test_a_clock_that_is_a_little_ahead_is_no_damage(store: Editable, filled: Catalog):
    path = "datasets/ds/tags/gold.json"
    for hours, count in ((23, 0), (25, 1)):
        moment = time_text(datetime.now(UTC) + timedelta(hours=hours))
        store.changed[path] = canonical(orjson.loads(store.inner.get(path)) | {"time": moment})
        assert len(verify_catalog(filled).problems) == count
    assert filled.resolve("ds@gold").number == 1  # it can be read all the same


def test_records_that_are_too_long(store: Editable, filled: Catalog, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("versioning.verify_records.MAX_RECORD", 4096)
    long = b'{"' + b"x" * 5000 + b'":1}'
    for path in ("stacpin.json", "settings/00000002.json", "datasets/ds/tags/long.json"):
        store.put_new(path, b"1")
        store.inner.replace(path, long)
    report = verify_catalog(filled)
    assert [problem.detail for problem in report.problems] == ["it has more than 4096 bytes"] * 3


def test_there_is_no_such_dataset(filled: Catalog):
    with pytest.raises(NotFound, match="no dataset 'none'; datasets: ds, other"):
        verify_catalog(filled, "none")
    with pytest.raises(InvalidInput):
        verify_catalog(filled, "../ds")


# -- samples


@pytest.mark.parametrize(("text", "count"), [("3", 3), ("25%", 3), ("0.1%", 1), ("100%", 12), ("99", 12)])
def test_a_sample(filled: Catalog, text: str, count: int):
    report = verify_catalog(filled, sampling=Sampling.parse(text, 7))
    assert report.sample is not None
    assert (report.ok, report.objects, report.sample.objects, report.sample.of_objects) == (True, 12, count, 12)
    assert report.bytes == report.sample.bytes <= report.sample.of_bytes
    assert report.to_dict()["sample"]["seed"] == 7


def test_a_sample_proves_only_what_it_read(store: Editable, filled: Catalog):
    sampling = Sampling.parse("3", 7)
    objects = ObjectSet()
    dataset = filled.dataset("ds")
    for chunk in dataset.version(3).chunks:
        objects.add_all(dataset.version(3).table(chunk))
    chosen = {objects[index].path for index in sampling.choose(len(objects))}
    for entry in list(store.list("objects")):
        store.changed = {entry.path: b"OBJECT"[:1] + store.inner.get(entry.path)[1:]}
        report = verify_version(dataset, dataset.version(3), sampling=sampling)
        assert report.ok == (entry.path not in chosen)
        # But that it is there, in its full size, is seen of each.
        for harm, kind in ((None, "missing"), (b"obj", "truncated"), (b"x" * 99, "altered")):
            store.changed = {entry.path: harm}
            found = verify_version(dataset, dataset.version(3), sampling=sampling).problems
            assert [(problem.path, problem.kind) for problem in found] == [(entry.path, kind)]


def test_presence_by_one_listing(filled: Catalog, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("versioning.verify_objects._LISTED", 1)
    path = next(entry.path for entry in filled.store.list("objects"))
    size = len(filled.store.get(path))
    filled.store.replace(path, b"x")
    report = verify_catalog(
        filled, sampling=Sampling.parse("1", next(seed for seed in range(99) if not _hits(filled, seed, path)))
    )
    assert [(each.path, each.kind, each.size) for each in report.problems] == [(path, "truncated", size)]


def _hits(catalog: Catalog, seed: int, path: str) -> bool:
    paths = sorted(entry.path for entry in catalog.store.list("objects"))
    return path in {paths[index] for index in Sampling.parse("1", seed).choose(len(paths))}


def test_samples_are_repeatable_and_cover_all():
    assert Sampling.parse("10%", 3).choose(1000) == Sampling.parse("10%", 3).choose(1000)
    assert len({tuple(Sampling.parse("10", seed).choose(1000)) for seed in range(20)}) == 20
    assert {index for seed in range(200) for index in Sampling.parse("1", seed).choose(8)} == set(range(8))
    assert 0 <= Sampling.parse("5").seed < 2**32
    assert Sampling.parse("5", 1).choose(0) == []


@pytest.mark.parametrize("text", ["", "0", "0%", "101%", "-3", "3.5", "5 %", "all", "1e3", "٣", "5%\n5"])
def test_no_samples(text: str):
    with pytest.raises(InvalidInput, match="is not a sample"):
        Sampling.parse(text)


def test_a_large_set_of_objects_is_small():
    import pyarrow as pa

    from versioning.manifests import ROW_SCHEMA

    kind = ROW_SCHEMA.field("assets").type
    objects = ObjectSet()
    for start in range(0, 12_000, 2_000):
        assets = [
            {"key": "a", "href": f"objects/{n % 256:02x}/{n % 256:02x}{n:062x}.tif", "sha256": bytes(32), "size": n}
            for n in range(start // 2, start // 2 + 2_000)
        ]
        outside = {"key": "b", "href": "s3://x/y", "sha256": bytes(32), "size": 1}
        odd = {"key": "c", "href": "objects/../../etc/passwd", "sha256": bytes(32), "size": 1}
        table = pa.table({"assets": pa.array([assets, [outside, odd]], kind)})
        assert objects.add_all(table) == 1
    assert len(objects) == 7_000
    assert objects.bytes == sum(range(7_000))
    assert objects.has_path(f"objects/07/07{7:062x}.tif")
    assert not objects.has_path(f"objects/07/07{7:062x}.png")
    assert not objects.has_path("stacpin.json")
    assert objects[0].path.startswith("objects/00/")
    twice: Any = pa.table({"assets": pa.array([[assets[0] | {"size": 5}]], kind)})
    objects.add_all(twice)
    assert len(objects.positions(assets[0]["href"])) == 2


def test_the_chain_of_a_damaged_head(store: Editable, filled: Catalog):
    store.changed["datasets/ds/versions/00000003.json"] = b""
    report = verify_chain(Catalog.open(store).dataset("ds"))
    assert told(report) == [("datasets/ds/versions/00000003.json", "truncated")]  # type: ignore[arg-type]


def test_both_kinds_of_reports_are_plain_data(filled: Catalog):
    save(filled.dataset("ds"), {"z": 1})
    report = verify_catalog(filled, objects=False)
    assert (report.objects, report.bytes, report.ok) == (0, 0, True)
    assert set(report.to_dict()) == {
        "catalog", "datasets", "versions", "expired", "manifests", "extra", "ok", "records", "items", "objects",
        "bytes", "referenced", "problems",
    }  # fmt: skip
