"""Objects that only a dataset's metadata names, such as a thumbnail: everybody who keeps versions whole keeps them."""

from __future__ import annotations

from typing import Any

import pytest
from gc_helpers import Called, gc, opened, put, unneeded
from version_helpers import AUTHOR, asset_of, memory_catalog

from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.declared import declared_objects
from versioning.errors import Integrity
from versioning.fsck import verify_catalog
from versioning.repair import repair_catalog
from versioning.store import Store, open_store
from versioning.sync import sync
from versioning.verify import Sampling, verify_version

DATA = b"thumbnail"
PATH = asset_of(DATA, ".png")["href"]
SIZED = {"assets": {"thumbnail": {"href": PATH, "file:size": len(DATA)}}}
UNSIZED = {"title": "Land", "assets": {"thumbnail": {"href": PATH, "roles": ["thumbnail"]}}}

either = pytest.mark.parametrize("metadata", [SIZED, UNSIZED])


def shown(metadata: dict[str, Any]) -> Catalog:
    """A dataset whose second version has the metadata."""
    catalog = memory_catalog()
    dataset = catalog.dataset("land")
    put(dataset, catalog, {"a": b"1"})
    catalog.objects.put_bytes(DATA, ".png")
    commit(dataset, collection=metadata, message="m", author=AUTHOR)
    return catalog


def told(catalog: Catalog) -> list[tuple[str, str]]:
    return [(problem.path, problem.kind) for problem in verify_catalog(catalog).problems]


def test_what_names_an_object():
    other = asset_of(b"other")["href"]
    assert declared_objects({"a": [{"b": PATH}, [other]], "title": f"see {PATH}", PATH: "objects/ab/no"}) == {
        PATH: None, other: None
    }  # fmt: skip
    assert declared_objects(SIZED) == declared_objects({"x": PATH, "y": SIZED}) == {PATH: len(DATA)}
    for size in (-1, True, "9", 1 << 60, None):
        assert declared_objects({"href": PATH, "file:size": size}) == {PATH: None}
    assert not declared_objects({"href": "objects/00/" + PATH[11:]})


@either
def test_a_commit_spares_it(metadata: dict[str, Any]):
    catalog = memory_catalog()
    put(catalog.dataset("land"), catalog, {"a": b"1"})
    catalog.objects.put_bytes(DATA, ".png")
    assert gc(catalog.store).condemned.files == 1

    class SweptMeanwhile(Called):
        def put_record(self, path: str, data: bytes) -> bool:
            if "/versions/" in path:
                gc(catalog.store)
            return self.inner.put_record(path, data)

    writer = opened(SweptMeanwhile(catalog.store))
    commit(writer.dataset("land"), collection=metadata, message="m", author=AUTHOR)
    assert catalog.store.get(PATH) == DATA
    assert not told(catalog)


@either
def test_a_commit_that_finds_it_gone_fails(metadata: dict[str, Any]):
    catalog = memory_catalog()
    put(catalog.dataset("land"), catalog, {"a": b"1"})
    catalog.objects.put_bytes(DATA, ".png")
    gc(catalog.store)
    assert gc(catalog.store).deleted.files == 1
    with pytest.raises(Integrity, match=PATH):
        commit(catalog.dataset("land"), collection=metadata, message="m", author=AUTHOR)


@either
def test_sync_copies_it(metadata: dict[str, Any]):
    catalog, mirror = shown(metadata), open_store("memory://mirror")
    assert PATH not in sync(catalog, mirror, dry_run=True).copied.names
    report = sync(catalog, mirror)
    assert PATH in report.copied.names
    assert report.missing.bytes == report.copied.bytes
    assert mirror.get(PATH) == DATA
    assert not told(Catalog.open(mirror))
    # A copy of before it was copied is made whole by the next version, or by a deep sync.
    mirror.delete([PATH])
    put(catalog.dataset("land"), catalog, {"b": b"2"})
    sync(catalog, mirror)
    assert mirror.get(PATH) == DATA
    mirror.delete([PATH])
    sync(catalog, mirror, deep=True)
    assert mirror.get(PATH) == DATA
    assert not unneeded(mirror)


@either
@pytest.mark.parametrize("damage", [None, b"thumb", b"other nam", b"thumbnail and more"])
def test_sync_takes_nothing_else_for_it(metadata: dict[str, Any], damage: bytes | None):
    catalog, mirror = shown(metadata), open_store("memory://mirror")
    _damage(catalog.store, damage)
    with pytest.raises(Integrity, match=PATH):
        sync(catalog, mirror)
    assert mirror.size(PATH) is None
    assert mirror.size("datasets/land/versions/00000002.json") is None


@either
@pytest.mark.parametrize("damage", [None, b"thumb", b"other nam", b"thumbnail and more"])
@pytest.mark.parametrize("sampling", [None, Sampling.parse("1", 0)])
def test_verify_reads_it_and_repair_restores_it(
    metadata: dict[str, Any], damage: bytes | None, sampling: Sampling | None
):
    catalog = shown(metadata)
    dataset = catalog.dataset("land")
    report = verify_catalog(catalog)
    assert (report.ok, report.objects, report.bytes) == (True, 2, len(DATA) + 1)
    assert not report.extra.unreferenced.files
    mirror = open_store("memory://mirror")
    sync(catalog, mirror)
    _damage(catalog.store, damage)
    found = verify_version(dataset, dataset.version(2)).problems
    assert [problem.path for problem in found] == [PATH]
    assert (found[0].kind == "missing") == (damage is None)
    assert verify_version(dataset, dataset.version(1)).ok
    assert verify_version(dataset, dataset.version(2), objects=False).ok
    if metadata is UNSIZED:  # without a size there is no cheap look at it, so a sample never leaves it out
        assert not verify_version(dataset, dataset.version(2), sampling=sampling).ok
    after = repair_catalog(catalog, [mirror])
    assert after.ok, after.refused
    assert catalog.store.get(PATH) == DATA


def test_what_an_item_names_too_is_told_once():
    catalog = memory_catalog()
    dataset = catalog.dataset("land")
    put(dataset, catalog, {"a": DATA})
    path = asset_of(DATA)["href"]
    commit(dataset, collection={"assets": {"thumbnail": {"href": path}}}, message="m", author=AUTHOR)
    assert verify_catalog(catalog).objects == 1
    catalog.store.delete([path])
    assert told(catalog) == [(path, "missing")]


def _damage(store: Store, data: bytes | None) -> None:
    if data is None:
        store.delete([PATH])
    else:
        store.replace(PATH, data)
