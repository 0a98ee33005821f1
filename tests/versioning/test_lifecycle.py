"""Storage tiers: what would be tagged, on every kind of store; what is tagged, on a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from s3 import S3Server
from version_helpers import asset_of, item_of, save

from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.errors import Conflict, InvalidInput, StorageUnavailable
from versioning.lifecycle import LifecyclePlan, _tag, apply_lifecycle, plan_lifecycle
from versioning.lifecycle_journal import read_journal

LATER = datetime.now(UTC) + timedelta(days=30)


def commit_with(catalog: Catalog, data: bytes, dataset: str = "ds", item: str = "a") -> None:
    stored = catalog.objects.put_bytes(data, ".tif")
    made = item_of(item, data.decode(), assets={"data": asset_of(data)})
    assert made["assets"]["data"]["href"] == stored.href
    commit(catalog.dataset(dataset), items=[made], message="m", author="a")


def test_the_plan_is_the_same_everywhere_and_changes_nothing(any_catalog: Catalog):
    commit_with(any_catalog, b"needed")
    loose = any_catalog.objects.put_bytes(b"loose", ".tif")
    before = {entry.path for entry in any_catalog.store.list("")}
    young = plan_lifecycle(any_catalog)
    assert (young.classes["recent"], young.tag) == ({"objects": 1, "bytes": 5}, [])
    plan = plan_lifecycle(any_catalog, now=LATER, transition_days=7, storage_class="STANDARD_IA")
    assert plan.tag == [loose.href]
    assert plan.classes["unreferenced"] == {"objects": 1, "bytes": 5}
    assert plan.classes["live"]["objects"] == 3  # the object, a chunk, a snapshot
    assert plan.rules[0]["Transitions"] == [{"Days": 7, "StorageClass": "STANDARD_IA"}]
    assert plan.rules[1]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert {entry.path for entry in any_catalog.store.list("")} - {"staging/put-if-absent"} == before - {
        "staging/put-if-absent"
    }
    assert plan.to_dict()["tag"] == 1


def test_classes_that_cannot_be_read_at_once_are_pointed_out(catalog: Catalog):
    assert "restored" in " ".join(plan_lifecycle(catalog, storage_class="GLACIER").notes)
    assert "restored" not in " ".join(plan_lifecycle(catalog).notes)
    with pytest.raises(InvalidInput, match="'COLD' is no storage class") as caught:
        plan_lifecycle(catalog, storage_class="COLD")
    assert "GLACIER_IR" in (caught.value.hint or "")


def test_only_s3_can_apply_it(catalog: Catalog):
    with pytest.raises(InvalidInput, match="is not on S3"):
        apply_lifecycle(catalog, plan_lifecycle(catalog))


class Place:
    """A catalog on a bucket of its own, and the bucket seen by boto3."""

    def __init__(self, url: str) -> None:
        import boto3

        self.name = url.removeprefix("s3://")
        self.catalog = Catalog.create(f"{url}/cat")
        self.client = boto3.client("s3")

    def tags(self, href: str) -> dict[str, str]:
        found = self.client.get_object_tagging(Bucket=self.name, Key=f"cat/{href}")["TagSet"]
        return {tag["Key"]: tag["Value"] for tag in found}

    def rules(self) -> list[dict[str, Any]]:
        return self.client.get_bucket_lifecycle_configuration(Bucket=self.name)["Rules"]

    def plan(self) -> LifecyclePlan:
        """A plan without the rule of tiers, which SeaweedFS does not know."""
        plan = plan_lifecycle(Catalog.open(self.catalog.store), now=LATER)
        assert "Transitions" in plan.rules.pop(0)
        return plan


@pytest.fixture
def place(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    made = Place(s3_server.new_bucket())
    yield made
    made.client.close()


def test_tags_come_and_go_with_what_is_needed(place: Place):
    catalog = place.catalog
    commit_with(catalog, b"needed")
    needed, loose = asset_of(b"needed")["href"], catalog.objects.put_bytes(b"loose", ".tif").href
    mine = [{"Key": "team", "Value": "maps"}]
    place.client.put_object_tagging(Bucket=place.name, Key=f"cat/{loose}", Tagging={"TagSet": mine})
    theirs = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "other/"}, "Expiration": {"Days": 3}}
    place.client.put_bucket_lifecycle_configuration(Bucket=place.name, LifecycleConfiguration={"Rules": [theirs]})

    result = apply_lifecycle(catalog, place.plan())
    assert (result.tagged, result.untagged, result.kept) == (1, 0, 1)
    assert (place.tags(needed), place.tags(loose)) == ({}, {"team": "maps", "stacpin": "unreferenced"})
    assert sorted(rule["ID"].rsplit("-", 1)[-1] for rule in place.rules()) == ["theirs", "uploads"]

    again = place.plan()
    assert (again.tag, again.untag, again.tagged) == ([], [], 1)
    apply_lifecycle(catalog, again)
    assert len(place.rules()) == 2

    commit_with(catalog, b"loose", dataset="other")
    needed_again = place.plan()
    assert needed_again.untag == [loose]
    assert apply_lifecycle(catalog, needed_again).untagged == 1
    assert place.tags(loose) == {"team": "maps"}
    assert place.plan().to_dict() | {"policy": None} == needed_again.to_dict() | {
        "policy": None, "untag": 0, "tagged": 0, "classes": place.plan().classes,
    }  # fmt: skip


def test_a_bucket_that_keeps_old_versions_lets_them_go(place: Place):
    place.client.put_bucket_versioning(Bucket=place.name, VersioningConfiguration={"Status": "Enabled"})
    apply_lifecycle(place.catalog, place.plan())
    assert [rule["NoncurrentVersionExpiration"] for rule in place.rules() if rule["ID"].endswith("-noncurrent")] == [
        {"NoncurrentDays": 30}
    ]


def test_a_server_without_tiers_says_so_and_nothing_is_tagged(place: Place):
    loose = place.catalog.objects.put_bytes(b"loose", ".tif").href
    with pytest.raises(StorageUnavailable) as caught:
        apply_lifecycle(place.catalog, plan_lifecycle(place.catalog, now=LATER))
    assert (caught.value.kind, "stacpin gc" in (caught.value.hint or "")) == ("not-implemented", True)
    assert place.tags(loose) == {}


def test_a_run_that_died_is_made_good(place: Place, monkeypatch: pytest.MonkeyPatch):
    from versioning import lifecycle

    catalog = place.catalog
    loose = [catalog.objects.put_bytes(b"loose %d" % number, ".tif").href for number in range(3)]

    def dies(bucket, path: str) -> None:
        _tag(bucket, path)
        raise StorageUnavailable("the machine died")

    with monkeypatch.context() as patch:
        patch.setattr(lifecycle, "_tag", dies)
        patch.setattr(lifecycle, "_WORKERS", 1)
        with pytest.raises(StorageUnavailable, match="died"):
            apply_lifecycle(catalog, place.plan())
    commit_with(catalog, b"loose 0")
    plan = place.plan()
    assert (sorted(plan.tag), plan.untag) == (sorted(loose[1:]), [loose[0]])
    apply_lifecycle(catalog, plan)
    assert [place.tags(href).get("stacpin") for href in loose] == [None, "unreferenced", "unreferenced"]


def test_what_a_version_comes_to_need_meanwhile_loses_the_tag(place: Place, monkeypatch: pytest.MonkeyPatch):
    from versioning import lifecycle

    loose = place.catalog.objects.put_bytes(b"loose", ".tif").href

    def slow(bucket, path: str) -> None:
        _tag(bucket, path)
        commit_with(Catalog.open(place.catalog.store), b"loose")

    monkeypatch.setattr(lifecycle, "_tag", slow)
    assert apply_lifecycle(place.catalog, place.plan()).tagged == 0
    assert place.tags(loose) == {}


def test_two_at_once_do_not_mix(catalog: Catalog):
    first, second = read_journal(catalog.store), read_journal(catalog.store)
    save(catalog.dataset("ds"), {"a": 1})
    with first.batch("tag", ["objects/x"]):
        pass
    second.log.head = lambda: 0  # type: ignore[method-assign] - it looked before the first wrote
    with pytest.raises(Conflict, match="another stacpin lifecycle"), second.batch("tag", ["objects/y"]):
        pass
    assert read_journal(catalog.store).tagged.keys() == {"objects/x"}
