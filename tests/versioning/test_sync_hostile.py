"""A source that somebody else wrote: whatever it says, the destination keeps its history, its paths and its memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa
import pytest
from sync_helpers import DATASET, Counts, asset, history, objects_of, whole
from version_helpers import AUTHOR, Clock, Editable, Wrapped, memory_catalog, save

from versioning import snapshots
from versioning.canonical import canonical
from versioning.catalog import Catalog
from versioning.digests import digest_text, version_digest
from versioning.errors import Integrity
from versioning.manifests import encode_rows
from versioning.records import ExpiryRecord, SnapshotFile
from versioning.store import Entry, Store, open_store
from versioning.sync import sync
from versioning.verify import verify_version

NEW = "datasets/ds/versions/00000003.json"


def refused(source: Store, *, says: str, target: Store | None = None) -> str:
    """The sync is refused, names the source, and no version of it becomes visible."""
    target = open_store("memory://") if target is None else target
    before = Catalog.open(target).dataset(DATASET).head() if target.size("stacpin.json") else 0
    with pytest.raises(Integrity, match=says) as caught:
        sync(source, target, workers=2)
    heads = Catalog.open(target).dataset(DATASET).head() if target.size("stacpin.json") else 0
    assert heads == before
    return caught.value.message


class Listed(Wrapped):
    """Shows names that are not those of any record, and what they would be."""

    def __init__(self, inner: Store, names: list[str]) -> None:
        super().__init__(inner)
        self.names = names

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Entry]:
        yield from self.inner.list(prefix, after=after)
        yield from (Entry(name, 5, datetime.now(UTC)) for name in self.names if name.startswith(prefix))

    def folders(self, prefix: str) -> list[str]:
        return [*self.inner.folders(prefix), "..", "A B", "x--y", "ds/../../etc"]


def test_odd_names_are_left_out_and_told():
    source = history()
    odd = [
        "datasets/ds/versions/../../../../etc/passwd",
        "datasets/ds/versions/00000000.json",
        "datasets/ds/versions/4.json",
        "datasets/ds/versions/00000004.json.bak",
        "datasets/ds/versions/٠٠٠٠٠٠٠٤.json",
        "datasets/ds/versions/00000004.json\n",
        "datasets/ds/tags/..json",
        "datasets/ds/tags/a/b.json",
        "datasets/ds/tags/v3.json",
        "datasets/ds/tags/latest.json",
        "datasets/ds/pointers/v9/00000001.json",
        "datasets/ds/pointers/../00000001.json",
        "datasets/ds/pointers/x/y/00000001.json",
        "datasets/ds/expired/one.json",
    ]
    target = Counts(open_store("memory://"))
    report = sync(Listed(source.store, odd), target)
    assert whole(target, source) == 3
    assert {name for name in odd if any(name in note for note in report.notes)} == set(odd)
    assert [path for path in target.writes if ".." in path] == []
    assert len([note for note in report.notes if "is no dataset" in note]) == 4


@pytest.mark.parametrize(
    ("path", "data", "says"),
    [
        ("objects", b"other bytes", "altered|truncated|more than"),
        ("objects", b"", "truncated"),
        ("objects", None, "missing"),
        ("datasets/ds/manifests", b"x", "truncated"),
        ("datasets/ds/manifests", None, "missing"),
        ("datasets/ds/snapshots", b"x", "truncated"),
        ("datasets/ds/snapshots", None, "missing"),
    ],
)
def test_bytes_that_are_not_what_their_name_says(path: str, data: bytes | None, says: str):
    source = history()
    store = Editable(source.store)
    found = sorted(objects_of(source, 1)) if path == "objects" else [e.path for e in source.store.list(path)]
    store.changed |= dict.fromkeys(found, data)
    message = refused(store, says=says)
    assert any(name in message for name in found)
    assert message.startswith(source.url)


def test_an_object_of_the_right_size_and_other_bytes():
    source = history()
    path = min(objects_of(source, 1))
    store = Editable(source.store)
    store.changed[path] = b"x" * len(source.store.get(path))
    target = open_store("memory://")
    refused(store, says="altered", target=target)
    assert target.size(path) is None


def test_an_endless_object_is_cut_off():
    source = history()
    path = min(objects_of(source, 1))
    read = 0

    class Endless(Wrapped):
        def stream(self, where: str) -> Iterator[memoryview]:
            nonlocal read
            if where != path:
                yield from self.inner.stream(where)
                return
            while True:
                read += 1
                yield memoryview(bytes(1000))

    refused(Endless(source.store), says="more than the")
    assert read < 5


def edited(change: Callable[[dict[str, Any]], None], path: str = NEW) -> Editable:
    source = history()
    store = Editable(source.store)
    record = orjson.loads(source.store.get(path))
    change(record)
    store.changed[path] = canonical(record)
    return Listing(store)


class Listing(Editable):
    """Lists what was edited with its new size, and gives ranges of it."""

    def __init__(self, inner: Editable) -> None:
        super().__init__(inner.inner)
        self.changed = inner.changed

    def get_range(self, path: str, start: int, length: int) -> bytes:
        return self.get(path)[start : start + length]

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Entry]:
        for entry in super().list(prefix, after=after):
            data = self.changed.get(entry.path)
            yield entry if data is None else Entry(entry.path, len(data), entry.modified)


def put(**members: Any) -> Callable[[dict[str, Any]], None]:
    return lambda record: record.update(members)


ZERO = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("change", "path", "says"),
    [
        (put(dataset="other"), NEW, "is the record of other@v3"),
        (put(number=4), NEW, "is the record of ds@v4"),
        (put(previous=ZERO), NEW, "hash of the record before"),
        (put(previous=None), NEW, "hash of the record before"),
        (put(digest=ZERO), NEW, "does not add up"),
        (put(root=ZERO), NEW, "does not add up"),
        (put(collection={"title": "forged"}), NEW, "does not add up"),
        (put(format=2), NEW, "not a VersionRecord"),
        (put(time="garbage"), NEW, "00000003.json is not a VersionRecord: 'garbage' is not a time"),
        (put(time="2026-03-01T00:00:00.000000"), NEW, "is not a time"),
        (put(time="2026-03-01T00:00:00Z"), NEW, "is not a time"),
        (put(time="2026-03-01T01:00:00.000000+01:00"), NEW, "is not a time"),
        (put(time="2026-02-30T00:00:00.000000Z"), NEW, "is not a time"),
        (put(time="9999-12-31T23:59:59.999999Z"), NEW, "which has not come yet"),
        (put(time="garbage"), "datasets/ds/tags/v1.0.0.json", "is not a time"),
        (put(time="9999-12-31T23:59:59.999999Z"), "datasets/ds/tags/v1.0.0.json", "which has not come yet"),
        (put(time="garbage"), "datasets/ds/pointers/stable/00000001.json", "is not a time"),
        (put(time="9999-12-31T23:59:59.999999Z"), "datasets/ds/pointers/stable/00000001.json", "has not come yet"),
        (put(snapshot=[{"sha256": "../" * 21 + "x", "size": 1}]), NEW, "not a VersionRecord"),
        (put(snapshot=[{"sha256": "0" * 64, "size": 2**60}]), NEW, "which no such file has"),
        (put(snapshot=[{"sha256": "0" * 64, "size": 10}]), NEW, "missing"),
        (put(target=9), "datasets/ds/pointers/stable/00000001.json", "names v9"),
        (put(seen=9), "datasets/ds/pointers/stable/00000001.json", "names v9"),
        (put(pointer="latest"), "datasets/ds/pointers/stable/00000001.json", "is move 1 of 'latest'"),
        (put(previous=ZERO), "datasets/ds/pointers/stable/00000001.json", "hash of the record before"),
        (put(tag="v2.0.0"), "datasets/ds/tags/v1.0.0.json", "is the record of the tag 'v2.0.0'"),
        (put(target=2), "datasets/ds/tags/v1.0.0.json", "does not have the digest of v2"),
        (put(target=7), "datasets/ds/tags/v1.0.0.json", "does not have the digest of v7"),
    ],
)
def test_records_that_lie(change: Callable[[dict[str, Any]], None], path: str, says: str):
    refused(edited(change, path), says=says)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"type":"version"}', b" " * 70_000_000], ids=range(6))
def test_records_that_are_none(data: bytes):
    store = edited(put())
    store.changed[NEW] = data
    refused(store, says="VersionRecord|no record has")


def test_records_that_are_not_canonical():
    store = edited(put())
    store.changed[NEW] = (store.changed[NEW] or b"") + b"\n"
    refused(store, says="not canonical")


def test_a_listing_that_lies_about_sizes():
    source = history()

    class Lies(Wrapped):
        def list(self, prefix: str, *, after: str | None = None) -> Iterator[Entry]:
            return (Entry(e.path, e.size - 1, e.modified) for e in self.inner.list(prefix, after=after))

    refused(Lies(source.store), says="not as long as its listing says")


def test_a_lost_record_at_the_source():
    source = history()
    source.store.delete(["datasets/ds/versions/00000002.json"])
    refused(source.store, says="00000002.json is missing")


def test_another_history_behind_the_same_first_records():
    """The new record of the source does not follow the one that both have: its chain is broken."""
    source, target = history(), open_store("memory://")
    sync(source, target)
    save(source.dataset(DATASET), {"z": 5})
    path = "datasets/ds/versions/00000004.json"
    record = orjson.loads(source.store.get(path))
    source.store.replace(path, canonical(record | {"previous": ZERO}))
    refused(source.store, says="hash of the record before", target=target)


def hostile_catalog(href: str, data: bytes, size: int, *more: Any) -> Catalog:
    """A catalog of one version whose manifest says of its items' assets what no writer of ours lets it say."""
    source = memory_catalog()
    source.objects.put_bytes(b"data", ".tif")
    version = save(source.dataset(DATASET), {"a": 1, "b": 2}).version
    (chunk,) = version.chunks
    table = version.table(chunk)
    column = table.schema.get_field_index("assets")
    wrong = [
        {"key": "own", "href": href, "sha256": hashlib.sha256(data).digest(), "size": each} for each in (size, *more)
    ]
    assets = pa.array([wrong[:1], wrong[-1:]], table.schema.field(column).type)
    files = source.dataset(DATASET).files
    manifest = files.manifests.put(encode_rows(table.set_column(column, table.schema.field(column), assets)))
    (encoded,) = snapshots.encode_snapshots([chunk._replace(files=(manifest,))])
    snapshot = files.snapshots.put(encoded)
    entry = SnapshotFile(sha256=snapshot.sha256.hex(), size=snapshot.size)
    record = version.record.model_copy(update={"snapshot": [entry]})
    source.store.replace("datasets/ds/versions/00000001.json", record.encode())
    return source


@pytest.mark.parametrize(
    ("href", "size"),
    [
        ("objects/../../../etc/passwd", 4),
        ("objects/aa/../../stacpin.json", 4),
        (asset(b"evil")["href"] + "/../../x", 4),
        (asset(b"other")["href"], 4),
        (asset(b"evil")["href"].replace(".tif", ".TIF"), 4),
        (asset(b"evil")["href"].replace(".tif", ".tif\n"), 4),
        ("objects/00/" + hashlib.sha256(b"evil").hexdigest() + ".tif", 4),
        (asset(b"evil")["href"], -1),
        (asset(b"evil")["href"], 2**50),
    ],
)
def test_assets_that_point_elsewhere(href: str, size: int):
    source = hostile_catalog(href, b"evil", size)
    target = Counts(open_store("memory://"))
    refused(source.store, says="is not what its manifests say", target=target)
    assert not any(path.startswith("objects") for path in target.writes)


def test_assets_elsewhere_are_nobodys_to_copy():
    source = hostile_catalog("https://example.org/a.tif", b"evil", 4)
    target = Counts(open_store("memory://"))
    report = sync(source.store, target)
    assert "objects" not in report.copied.kinds
    assert Catalog.open(target).dataset(DATASET).head() == 1


def test_one_object_with_two_sizes():
    source = hostile_catalog(asset(b"evil")["href"], b"evil", 4, 5)
    source.store.put_new(asset(b"evil")["href"], b"evil")
    refused(source.store, says="is not what its manifests say")


def test_an_object_that_is_shorter_than_it_is_said_to_be():
    source = hostile_catalog(asset(b"evil")["href"], b"evil", 5)
    source.store.put_new(asset(b"evil")["href"], b"evil")
    refused(source.store, says="truncated")


def test_rows_that_do_not_have_the_digest_of_their_chunk():
    source = memory_catalog()
    source.objects.put_bytes(b"data", ".tif")
    version = save(source.dataset(DATASET), {"a": 1}).version
    (chunk,) = version.chunks
    wrong = chunk._replace(digest=bytes(32))
    (encoded,) = snapshots.encode_snapshots([wrong])
    snapshot = source.dataset(DATASET).files.snapshots.put(encoded)
    root = snapshots.roots_of([wrong]).digest
    changed = {
        "snapshot": [SnapshotFile(sha256=snapshot.sha256.hex(), size=snapshot.size)],
        "root": digest_text(root),
        "digest": version_digest(root, version.record.collection),
    }
    record = version.record.model_copy(update=changed)
    source.store.replace("datasets/ds/versions/00000001.json", record.encode())
    refused(source.store, says="do not have its digest|do not give its rows")


def test_what_the_destination_has_is_its_own():
    """A hostile source cannot change, by any record of its own, what the destination says."""
    source, target = history(), open_store("memory://")
    sync(source, target)
    before = {entry.path: target.get(entry.path) for entry in target.list("datasets")}
    forged = history()
    save(forged.dataset(DATASET), {"evil": 1})
    forged.dataset(DATASET).tag("evil", 4, author=AUTHOR)
    with pytest.raises(Exception, match="diverged"):
        sync(forged.store, target)
    assert {entry.path: target.get(entry.path) for entry in target.list("datasets")} == before


def test_a_source_that_retires_everything_retires_nothing_that_has_a_name():
    """The versions that a hostile source retires are not lost at the destination, nor is what they need collected."""
    source, target = history(), open_store("memory://")
    sync(source, target)
    # v4 is new, and comes with its expiry.
    save(source.dataset(DATASET), {"z": 5})
    for number in (1, 2, 3, 4):
        record = ExpiryRecord(number=number, why="evil", author="m", time="2026-03-01T00:00:00.000000Z", nonce="0")
        source.store.put_record(f"datasets/ds/expired/{number:08d}.json", record.encode())
    report = sync(source, target)
    kept = [(each.number, each.names) for each in report.kept]
    assert kept == [(1, ("v1.0.0",)), (2, ("stable",)), (4, ("latest",))]
    dataset = Catalog.open(target, clock=Clock("2026-07-01T00:00:00+00:00")).dataset(DATASET)
    assert [dataset.resolve(name).number for name in ("v1.0.0", "stable", "latest")] == [1, 2, 4]
    assert verify_version(dataset, dataset.version(4)).ok
    assert save(dataset, {"z": 6}).version.number == 5


LARGE = bytes(17 * 1024 * 1024)


@pytest.mark.parametrize(
    "wrong", [LARGE[:-1] + b"x", LARGE + b"x", LARGE[:-1], None], ids=["altered", "+", "-", "none"]
)
def test_a_large_object_that_is_wrong_never_becomes_visible(any_store: Store, wrong: bytes | None):
    """It goes in parts, and its hash is known only at its end."""
    source = history(items=1, extra=LARGE)
    store = Editable(source.store)
    path = asset(LARGE)["href"]
    store.changed[path] = wrong
    with pytest.raises(Integrity) as caught:
        sync(store, any_store)
    assert path in caught.value.message
    assert any_store.size(path) is None
    assert Catalog.open(any_store).dataset(DATASET).head() == 2  # the versions before it are whole
    sync(source, any_store)
    assert whole(any_store, source) == 3


def test_a_manifest_that_is_damaged_at_the_destination():
    source, target = history(), open_store("memory://")
    path = next(entry.path for entry in source.store.list("datasets/ds/manifests"))
    target.put_new(path, b"x")
    with pytest.raises(Integrity, match="damaged") as caught:
        sync(source, target)
    assert path in caught.value.message
    assert target.get(path) == b"x"
    assert Catalog.open(target).dataset(DATASET).head() == 0


def test_a_base_that_is_damaged_at_the_destination_is_told_and_not_relied_on():
    source, target = history(), open_store("memory://")
    sync(source, target)
    (snapshot,) = source.dataset(DATASET).record(3).snapshot
    lost = [f"datasets/ds/snapshots/{snapshot.sha256}.parquet", min(objects_of(source, 3))]
    save(source.dataset(DATASET), {"z": 1})
    target.delete(lost)
    report = sync(source, target)
    assert any("ds@v3 is damaged" in note for note in report.notes)
    assert lost[1] in report.copied.names  # v4 needs it too


def test_a_destination_that_damages_what_it_is_given():
    source = history()
    path = min(objects_of(source, 1))

    class Cuts(Wrapped):
        def put_new(self, where: str, data: bytes) -> bool:
            if where != path:
                return self.inner.put_new(where, data)
            self.inner.put_new(where, data[:-1])
            return False  # as if another writer had been there

    target = Cuts(open_store("memory://"))
    with pytest.raises(Integrity, match=path) as caught:
        sync(source, target)
    assert caught.value.kind == "truncated"
    assert Catalog.open(target).dataset(DATASET).head() == 0
