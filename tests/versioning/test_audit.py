"""The audit trail: all writes, in order, each with its record's hash; whatever was rewritten or taken away shows."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from version_helpers import AUTHOR, Clock, Editable, asset_of, item_of, save

from versioning.audit import AuditTrail, audit
from versioning.audit_head import AuditHead
from versioning.canonical import canonical
from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.digests import sha256
from versioning.errors import InvalidInput, NotFound, StorageUnavailable
from versioning.expire import expire
from versioning.fsck import verify_catalog
from versioning.gc import collect
from versioning.objects import Objects
from versioning.store import Entry, open_store

STABLE = "datasets/live/pointers/stable"


class Edited(Editable):
    """One whose listings and ranges tell of the damage too."""

    def get_range(self, path: str, start: int, length: int) -> bytes:
        return self.get(path)[start : start + length]

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Entry]:
        for entry in super().list(prefix, after=after):
            data = self.changed.get(entry.path)
            yield entry if data is None else replace(entry, size=len(data))


@pytest.fixture
def store() -> Edited:
    return Edited(open_store("memory://"))


@pytest.fixture
def catalog(store) -> Catalog:
    """Two datasets with everything that can be written."""
    catalog = Catalog.create(store, title="Tests", clock=Clock())
    Objects(store).put_bytes(b"data", ".tif")
    live, other = catalog.dataset("live"), catalog.dataset("other")
    save(live, {"a": 1}, message="first")
    save(other, {"x": 1})
    save(live, {"a": 2})
    live.move("stable", 1, why="reviewed", author="Bo")
    live.tag("v0.1.0", 1, author="Cy", message="for the paper")
    live.move("stable", 2, why="better", author="Bo")
    save(live, {"a": 3})
    live.move("latest", 2, why="v3 is wrong", author="Bo")
    expire(live, versions=[3], why="wrong", author="Di", apply=True)
    save(other, {"x": 2})
    return catalog


def kinds(trail: AuditTrail) -> list[str]:
    return [
        " ".join(str(each) for each in (entry.kind, entry.dataset, entry.name, entry.version) if each)
        for entry in trail.entries
        if entry.kind != "catalog"
    ]


def damaged(trail: AuditTrail) -> set[tuple[str, str]]:
    return {(problem.path, problem.kind) for problem in trail.problems}


def test_every_write_is_told_in_order(catalog, store):
    trail = audit(catalog)
    assert trail.problems == []
    assert kinds(trail) == [
        "settings",
        "version live 1",
        "version other 1",
        "version live 2",
        "move live stable 1",
        "tag live v0.1.0 1",
        "move live stable 2",
        "version live 3",
        "move live latest 2",
        "expiry live 3",
        "version other 2",
    ]
    assert [entry.kind for entry in trail.entries[:2]] == ["settings", "catalog"]
    assert [entry.time for entry in trail.entries] == sorted(entry.time for entry in trail.entries)
    for entry in trail.entries:
        assert sha256(store.get(entry.path)).hex() == entry.sha256
    tag = next(entry for entry in trail.entries if entry.kind == "tag")
    assert (tag.author, tag.why, tag.digest) == ("Cy", "for the paper", catalog.dataset("live").record(1).digest)
    version = next(entry for entry in trail.entries if entry.kind == "version")
    assert (version.author, version.why) == (AUTHOR, "first")
    assert version.digest == tag.digest


def test_of_one_dataset(catalog):
    trail = audit(catalog, "other")
    assert kinds(trail) == ["version other 1", "version other 2"]
    assert trail.head != audit(catalog).head
    with pytest.raises(NotFound, match="datasets: live, other"):
        audit(catalog, "nothing")


def test_garbage_collection_is_told(tmp_path):
    catalog = Catalog.create(str(tmp_path / "catalog"))
    Objects(catalog.store).put_bytes(b"data", ".tif")
    Objects(catalog.store).put_bytes(b"needless", ".tif")
    save(catalog.dataset("live"), {"a": 1})
    for file in tmp_path.rglob("*.tif"):
        os.utime(file, (1.7e9, 1.7e9))
    for _ in range(2):
        collect(catalog, older_than=timedelta(0), delay=timedelta(0), apply=True)
    trail = audit(catalog)
    assert trail.problems == []
    assert kinds(trail)[-3:] == ["condemned", "sweep", "swept"]
    assert trail.entries[-1].why == "1 files deleted, 8 bytes; 0 spared, 0 left"


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("datasets/live/versions/00000001.json", {"message": "other"}),
        ("datasets/live/versions/00000002.json", {"author": "Eve"}),
        ("datasets/live/versions/00000002.json", {"number": 7}),
        ("datasets/live/versions/00000002.json", {"dataset": "other"}),
        (f"{STABLE}/00000001.json", {"target": 2}),
        (f"{STABLE}/00000002.json", {"previous": None}),
        (f"{STABLE}/00000001.json", {"pointer": "latest"}),
        ("datasets/live/tags/v0.1.0.json", {"target": 2}),
        ("datasets/live/tags/v0.1.0.json", {"tag": "v0.2.0"}),
        ("datasets/live/expired/00000003.json", {"number": 2}),
        ("settings/00000001.json", {"number": 2}),
    ],
)
def test_what_is_rewritten_is_named(catalog, store, path, change):
    head = audit(catalog).head
    store.changed[path] = canonical(json.loads(store.get(path)) | change)
    trail = audit(Catalog.open(store))
    # verify blames the same records
    wanted = {(each.path, each.kind) for each in verify_catalog(Catalog.open(store), objects=False).problems}
    assert wanted
    assert damaged(trail) >= {each for each in wanted if "/manifests/" not in each[0]}
    assert trail.check(head)
    assert trail.check(head.digest)


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("datasets/live/versions/00000001.json", b'{"a": 1}'),
        ("datasets/live/versions/00000001.json", b"\xff\x00"),
        ("datasets/live/versions/00000001.json", b""),
        ("datasets/live/tags/v0.1.0.json", b"[]"),
        ("stacpin.json", b"nothing"),
        (f"{STABLE}/00000001.json", None),
        ("datasets/live/versions/00000002.json", None),
        ("datasets/live/versions/00000003.json", None),
        ("settings/00000001.json", b"[" * 100_000),
    ],
)
def test_damage_is_named_and_the_rest_is_told(catalog, store, path, data):
    before, head = len(audit(catalog).entries), audit(catalog).head
    store.changed[path] = data
    trail = audit(catalog)
    assert path in {problem.path for problem in trail.problems}
    assert len(trail.entries) == before - 1
    assert trail.check(head)


@pytest.mark.parametrize(
    "path",
    ["datasets/other/versions/00000002.json", f"{STABLE}/00000002.json", "datasets/live/tags/v0.1.0.json"],
)
def test_only_a_head_kept_elsewhere_shows_that_the_newest_was_taken_away(catalog, store, path):
    head = audit(catalog).head
    store.changed[path] = None
    trail = audit(Catalog.open(store))
    assert trail.problems == []
    assert [problem.path for problem in trail.check(head)] == [path]
    (problem,) = trail.check(head.digest)
    assert "no moment of this history" in problem.detail


def test_only_a_head_shows_that_the_newest_was_rewritten(catalog, store):
    head, path = audit(catalog).head, "datasets/other/versions/00000002.json"
    store.changed[path] = canonical(json.loads(store.get(path)) | {"message": "nothing to see"})
    trail = audit(Catalog.open(store))
    assert trail.problems == []
    assert [problem.path for problem in trail.check(head)] == ["datasets/other/versions"]
    assert trail.check(head.digest)


def test_a_head_is_a_prefix_of_what_follows(catalog):
    heads = [audit(catalog).head]
    live = catalog.dataset("live")
    for number, write in enumerate(
        [
            lambda: save(live, {"b": 1}),
            lambda: live.tag("v0.2.0", 2, author=AUTHOR),
            lambda: live.move("candidate", 2, why="new", author=AUTHOR),
            lambda: save(catalog.dataset("third"), {"b": 1}),
        ]
    ):
        write()
        trail = audit(catalog)
        assert trail.problems == []
        for head in heads:
            assert trail.check(head) == []
            assert trail.check(head.digest) == []
            assert trail.check(AuditHead.decode(head.encode(), where="head")) == []
        assert trail.head.digest not in {head.digest for head in heads}
        heads.append(trail.head)
        assert len(heads) == number + 2
    # What came later is no prefix of what was before.
    assert audit(catalog, "live").check(heads[-1])


def test_a_record_with_an_earlier_time_that_came_later(catalog, store):
    """As a sync brings it: the file proves the prefix all the same, the digest alone cannot."""
    head = audit(catalog).head
    early = Catalog.open(store, clock=Clock("2020-01-01T00:00:00+00:00"))
    save(early.dataset("synced"), {"a": 1})
    trail = audit(catalog)
    assert kinds(trail)[0] == "version synced 1"
    assert trail.check(head) == []
    assert trail.check(head.digest)
    assert trail.check(trail.head.digest) == []


def test_heads_of_other_catalogs_and_what_is_no_head(catalog):
    trail = audit(catalog)
    foreign = audit(Catalog.create("memory://")).head
    assert "the head is that of catalog" in trail.check(foreign)[0].detail
    assert trail.check("sha256:12")
    for data in (
        b"{}",
        b"[]",
        b"x",
        b'{"type":"stacpin/1/head"}',
        foreign.encode().replace(b"stacpin/1", b"stacpin/2"),
    ):
        with pytest.raises(InvalidInput):
            AuditHead.decode(data, where="head.json")


def test_a_stranger_s_listing_costs_little(catalog, store):
    store.inner.put_new("datasets/live/versions/99999999.json", b"{}")
    store.inner.put_new("datasets/NO--/versions/00000001.json", b"{}")
    store.inner.put_new("datasets/live/versions/00000002.json.bak", b"{}")
    trail = audit(catalog)
    assert len(trail.problems) == 22
    assert all("datasets/live/versions/" in problem.path for problem in trail.problems)


def test_a_store_that_does_not_answer_is_no_damage(catalog, store, monkeypatch):
    def away(*_: object) -> bytes:
        raise StorageUnavailable("away")

    monkeypatch.setattr(store, "get_range", away)
    with pytest.raises(StorageUnavailable):
        audit(catalog)


def test_on_every_store(any_catalog):
    commit(
        any_catalog.dataset("live"),
        items=[item_of("a", assets={"data": asset_of(b"data")})],
        message="m",
        author=AUTHOR,
    )
    trail = audit(any_catalog, workers=2)
    assert trail.problems == []
    assert kinds(trail) == ["settings", "version live 1"]
    assert trail.check(trail.head.digest) == []
