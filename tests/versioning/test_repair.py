"""Whatever is damaged comes back from a mirror, proven; a mirror that lies changes nothing; nothing damaged is lost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from test_verify_catalog import expiry, fill
from version_helpers import AUTHOR, Clock, Wrapped, local_store, small_chunks

from versioning.catalog import Catalog
from versioning.errors import InvalidInput, NotFound, StorageUnavailable
from versioning.fsck import verify_catalog
from versioning.mirrors import content_name
from versioning.records import VersionRecord, record_digest
from versioning.repair import repair_catalog
from versioning.store import Store, open_store


def copy(source: Store, target: Store) -> Store:
    for entry in source.list(""):
        target.put_new(entry.path, source.get(entry.path))
    return target


def state(store: Store) -> dict[str, bytes]:
    """Everything of a catalog that is not set aside."""
    aside = ("quarantine/", "staging/")
    return {entry.path: store.get(entry.path) for entry in store.list("") if not entry.path.startswith(aside)}


def damage(store: Store, path: str, kind: str) -> bytes | None:
    data = store.get(path)
    if kind == "missing":
        store.delete([path])
        return None
    bad = {"truncated": data[: len(data) // 2], "altered": data[:-2] + b"\x00" + data[-1:], "emptied": b""}[kind]
    store.replace(path, bad)
    return bad


def filled_pair(store: Store) -> tuple[Catalog, Store]:
    with small_chunks():
        catalog = fill(Catalog.create(store, clock=Clock()))
    return catalog, copy(store, open_store("memory://mirror"))


@pytest.fixture
def any_pair(any_store: Store) -> tuple[Catalog, Store]:
    """A catalog on each kind of store, and a copy of it."""
    return filled_pair(any_store)


@pytest.fixture
def pair() -> tuple[Catalog, Store]:
    """The same in memory."""
    return filled_pair(open_store("memory://"))


def repair(catalog: Catalog, *mirrors: Store | str, **more: str):
    with small_chunks():
        return repair_catalog(catalog, mirrors, **more)


@pytest.mark.parametrize("kind", ["missing", "truncated", "altered", "emptied"])
def test_all_files_at_once(any_pair: tuple[Catalog, Store], kind: str):
    catalog, mirror = any_pair
    right = state(catalog.store)
    # Without the mark and the newest records, which are another matter.
    spared = {
        "stacpin.json",
        "settings/00000001.json",
        "datasets/ds/tags/gold.json",
        "datasets/ds/versions/00000003.json",
        "datasets/other/versions/00000001.json",
        "datasets/ds/pointers/stable/00000001.json",
    }
    harmed = {path: damage(catalog.store, path, kind) for path in right if path not in spared}
    report = repair(catalog, mirror)
    assert report.ok, report.after and report.after.problems
    assert state(catalog.store) == right
    assert {each.path for each in report.mended} == set(harmed)
    for each in report.mended:
        assert each.source == "memory://mirror"
        assert each.proof == ("digest" if content_name(each.path) else "next record")
        # Not a byte is lost, not even of what was wrong.
        assert (each.kept and catalog.store.get(each.kept)) == harmed[each.path]
        assert each.kept is None or each.kept == f"{each.kept.split('/datasets')[0].split('/objects')[0]}/{each.path}"
    assert report.after is not None
    assert report.after.bytes == sum(len(data) for path, data in right.items() if path.startswith("objects/"))
    with small_chunks():
        assert verify_catalog(catalog).ok
    again = repair(catalog, mirror)
    assert (again.ok, again.mended) == (True, [])


def test_one_file_at_random(pair: tuple[Catalog, Store]):
    catalog, mirror = pair
    right = state(catalog.store)
    rng = random.Random(5)
    for _ in range(12):
        path = rng.choice([path for path in right if content_name(path)])
        damage(catalog.store, path, rng.choice(["missing", "truncated", "altered"]))
        assert repair(catalog, mirror, dataset=path.split("/")[1] if path.startswith("datasets") else "ds").ok
        assert state(catalog.store) == right


def test_a_lying_mirror_changes_nothing(any_pair: tuple[Catalog, Store], caplog: pytest.LogCaptureFixture):
    catalog, mirror = any_pair
    paths = [path for path in state(catalog.store) if content_name(path)] + ["datasets/ds/versions/00000001.json"]
    liar = copy(mirror, open_store("memory://liar"))
    for path in paths:
        damage(catalog.store, path, "missing")
        liar.replace(path, liar.get(path).replace(b"m", b"n", 1) if path.endswith("json") else b"lies")
    before = state(catalog.store)
    report = repair(catalog, liar)
    assert (report.ok, report.mended, state(catalog.store)) == (False, [], before)
    assert "memory://liar" in caplog.text
    reasons = {each.path: each.detail for each in report.refused}
    assert reasons["datasets/ds/versions/00000001.json"].startswith("memory://liar has another one: the next record")
    assert "none of memory://liar has it whole" in reasons.values()
    # With an honest one beside it all is mended, and the liar is not asked for long.
    assert repair(catalog, liar, mirror).ok


def test_a_mirror_that_has_only_a_part(pair: tuple[Catalog, Store]):
    catalog, mirror = pair
    objects = [path for path in state(catalog.store) if path.startswith("objects/")]
    for path in objects[:3]:
        damage(catalog.store, path, "altered")
    damage(mirror, objects[0], "missing")
    report = repair(catalog, mirror)
    assert not report.ok
    assert {each.path for each in report.mended} == set(objects[1:3])
    assert report.after is not None
    assert [each.path for each in report.after.problems] == [each.path for each in report.refused] == [objects[0]]


# -- records that nothing proves


NEWEST = "datasets/ds/versions/00000003.json"


@pytest.mark.parametrize("kind", ["missing", "truncated", "emptied"])
def test_the_newest_record_is_taken_on_trust(pair: tuple[Catalog, Store], kind: str):
    catalog, mirror = pair
    catalog.dataset("ds").tag("newest", 3, author=AUTHOR)
    right = state(catalog.store)
    damage(catalog.store, NEWEST, kind)
    report = repair(catalog, mirror)
    assert report.ok
    assert [(each.path, each.proof) for each in report.mended] == [(NEWEST, "trust")]
    assert state(catalog.store) == right


def test_the_newest_record_is_not_replaced_by_another_story(pair: tuple[Catalog, Store]):
    catalog, mirror = pair
    damage(catalog.store, NEWEST, "altered")
    before = state(catalog.store)
    report = repair(catalog, mirror)
    assert not report.ok
    assert "nothing proves either" in report.refused[0].detail
    assert state(catalog.store) == before


def test_trust_has_limits(pair: tuple[Catalog, Store]):
    catalog, mirror = pair
    catalog.dataset("ds").tag("newest", 3, author=AUTHOR)
    record = VersionRecord.decode(mirror.get(NEWEST), where="")
    catalog.store.delete([NEWEST])
    forged = {
        "does not follow": record.model_copy(update={"previous": "sha256:" + "0" * 64}),
        "its digest is not that of": record.model_copy(update={"digest": "sha256:" + "0" * 64}),
        "it is of another path": record.model_copy(update={"number": 4}),
    }
    for why, story in forged.items():
        mirror.replace(NEWEST, story.encode())
        report = repair(catalog, mirror)
        assert (report.ok, report.mended) == (False, [])
        assert why in report.refused[0].detail
    mirror.replace(NEWEST, b'{"advance":true}')
    assert "is not a VersionRecord" in repair(catalog, mirror).refused[0].detail
    stranger = copy(mirror, open_store("memory://stranger"))
    stranger.replace(NEWEST, record.encode())
    stranger.replace("stacpin.json", stranger.get("stacpin.json").replace(catalog.record.id.encode(), b"someone"))
    assert "of another catalog (someone)" in repair(catalog, stranger).refused[0].detail


def test_all_versions_of_a_log(pair: tuple[Catalog, Store]):
    """From the newest back, each proven by the one that was restored before it."""
    catalog, mirror = pair
    right = state(catalog.store)
    for number in (1, 2, 3):
        damage(catalog.store, f"datasets/ds/versions/{number:08d}.json", "missing")
    report = repair(catalog, mirror)
    assert report.ok
    assert [(each.path[-6], each.proof) for each in report.mended] == [
        ("3", "trust"), ("2", "next record"), ("1", "next record"),
    ] or {each.proof for each in report.mended} == {"trust", "next record"}  # fmt: skip
    assert state(catalog.store) == right


def test_tags_and_other_single_records(pair: tuple[Catalog, Store]):
    catalog, mirror = pair
    for store in (catalog.store, mirror):
        store.put_new("datasets/other/expired/00000001.json", expiry(1))
    right = state(catalog.store)
    paths = ("datasets/ds/tags/gold.json", "datasets/other/expired/00000001.json", "settings/00000001.json",
             "datasets/ds/pointers/stable/00000001.json")  # fmt: skip
    for path in paths:
        damage(catalog.store, path, "truncated")
    report = repair(catalog, mirror)
    assert report.ok
    assert {(each.path, each.proof) for each in report.mended} == {(path, "trust") for path in paths}
    assert state(catalog.store) == right


def test_what_no_mirror_can_mend(pair: tuple[Catalog, Store]):
    """Items that are wrong under a right hash are wrong in every copy."""
    catalog, mirror = pair
    with small_chunks():
        report = verify_catalog(catalog)
    assert report.ok
    for store in (catalog.store, mirror):
        path = "datasets/ds/versions/00000001.json"
        store.replace(path, store.get(path).replace(b'"advance":true', b'"advance": true'))
        after = "datasets/ds/versions/00000002.json"
        second = VersionRecord.decode(store.get(after), where="")
        store.replace(after, second.model_copy(update={"previous": record_digest(store.get(path))}).encode())
        third = VersionRecord.decode(store.get(NEWEST), where="")
        store.replace(NEWEST, third.model_copy(update={"previous": record_digest(store.get(after))}).encode())
    report = repair(catalog, mirror)
    assert not report.ok
    assert "it is what the next record names, so a mirror has the same" in [each.detail for each in report.refused]


# -- what goes wrong on the way


def test_no_mirror_there(pair: tuple[Catalog, Store], tmp_path: Path):
    with pytest.raises(NotFound, match="does not exist"):
        repair(pair[0], str(tmp_path / "none"))
    with pytest.raises(NotFound, match="not a stacpin catalog"):
        repair(pair[0], str(local_store(tmp_path / "empty").url))


def test_a_repair_that_dies_is_taken_up(any_pair: tuple[Catalog, Store]):
    catalog, mirror = any_pair
    right = state(catalog.store)
    for path in right:
        if content_name(path):
            damage(catalog.store, path, "altered")

    class Dies(Wrapped):
        left = 0

        def replace(self, path: str, data: bytes) -> None:
            if self.left == 0:
                raise StorageUnavailable("the machine died")
            self.left -= 1
            super().replace(path, data)

    store = Dies(catalog.store)
    for left in (0, 3, 100):
        store.left = left
        repair(Catalog.open(store), mirror)
        found = state(catalog.store)
        assert found.keys() == right.keys()
    assert state(catalog.store) == right


def test_links_lead_nowhere(tmp_path: Path):
    catalog = fill(Catalog.create(local_store(tmp_path / "catalog"), clock=Clock()))
    mirror = copy(catalog.store, open_store("memory://mirror"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"precious")
    path = next(entry.path for entry in catalog.store.list("objects"))
    file = tmp_path / "catalog" / path
    file.unlink()
    file.symlink_to(outside / "precious")
    report = repair_catalog(catalog, [mirror])
    assert not report.ok
    assert "is a link" in report.refused[0].detail
    assert (outside / "precious").read_bytes() == b"precious"
    # A folder that is a link, too.
    file.unlink()
    shard = file.parent
    for each in shard.iterdir():
        each.unlink()
    shard.rmdir()
    shard.symlink_to(outside)
    report = repair_catalog(catalog, [mirror])
    assert not report.ok
    assert "is a link" in report.refused[0].detail
    assert [each.name for each in outside.iterdir()] == ["precious"]


def test_large_objects_in_parts(pair: tuple[Catalog, Store], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("versioning.repair._LARGE", 4)
    catalog, mirror = pair
    right = state(catalog.store)
    for path in right:
        if path.startswith("objects/"):
            damage(catalog.store, path, "truncated")
    assert repair(catalog, mirror).ok
    assert state(catalog.store) == right


def test_other_datasets_are_left_alone(pair: tuple[Catalog, Store]):
    catalog, mirror = pair
    paths = [path for path in state(catalog.store) if "/snapshots/" in path]
    for path in paths:
        damage(catalog.store, path, "missing")
    assert repair(catalog, mirror, dataset="ds").ok
    assert [path for path in paths if catalog.store.size(path) is None] == [
        path for path in paths if path.startswith("datasets/other")
    ]
    with pytest.raises((NotFound, InvalidInput)):
        repair(catalog, mirror, dataset="none")
