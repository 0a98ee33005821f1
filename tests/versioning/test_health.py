"""What doctor finds in a catalog and its store: on real disks, on a real S3 server, on one that misbehaves."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bad_s3 import run_bad_s3
from s3 import S3Server
from version_helpers import Wrapped, save

from versioning import health_local
from versioning.catalog import Catalog
from versioning.errors import Forbidden
from versioning.health import _clock, examine
from versioning.health_check import Check
from versioning.health_s3 import reaches
from versioning.rows import object_path
from versioning.store import open_store


def found(url: str, **options: bool) -> dict[str, Check]:
    checks = list(examine(url, **options))
    assert len({check.name for check in checks}) == len(checks)
    assert all(check.hint for check in checks if check.status in {"error", "warning", "advice"}), checks
    return {check.name: check for check in checks}


def paths(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# -- local


def test_a_healthy_catalog(tmp_path: Path):
    catalog = Catalog.create(str(tmp_path), title="Fields")
    save(catalog.dataset("ds"), {"a": 1})
    before = paths(tmp_path)
    checks = found(str(tmp_path))
    assert {check.status for check in checks.values()} <= {"ok", "advice", "warning"}
    assert "'Fields' has format 1 and 1 dataset" in checks["catalog"].message
    names = {"catalog", "put-if-absent", "clock", "free space", "file system", "hard links", "names", "clones"}
    assert checks.keys() == names | {"durability"}
    assert paths(tmp_path) == before


class KeepsAll(Wrapped):
    """Its user may write, and not delete."""

    def delete(self, paths: Sequence[str]) -> None:
        raise Forbidden(f"{paths[0]} was not deleted: access was denied.", hint="Allow s3:DeleteObject.")


def test_who_may_write_and_not_delete_is_told_both(tmp_path: Path, monkeypatch):
    Catalog.create(str(tmp_path))
    monkeypatch.setattr("versioning.health.open_store", lambda url: KeepsAll(open_store(url)))
    checks = found(str(tmp_path))
    assert (checks["put-if-absent"].status, checks["deleting"].status) == ("ok", "warning")
    assert "cannot be deleted" in checks["deleting"].message
    assert "Allow s3:DeleteObject" in (checks["deleting"].hint or "")
    assert "writing" not in checks


def test_where_no_catalog_is_nothing_is_written(tmp_path: Path):
    checks = found(str(tmp_path))
    assert (checks["catalog"].status, checks["catalog"].exit_code) == ("error", 60)
    assert "stacpin init" in (checks["catalog"].hint or "")
    assert list(tmp_path.iterdir()) == []
    assert found(str(tmp_path / "none"))["store"].status == "error"


def test_a_damaged_mark_is_damage(tmp_path: Path):
    Catalog.create(str(tmp_path))
    (tmp_path / "stacpin.json").write_text("{}")
    check = found(str(tmp_path))["catalog"]
    assert (check.status, check.exit_code) == ("error", 30)


def test_a_newer_format(tmp_path: Path):
    Catalog.create(str(tmp_path))
    (tmp_path / "stacpin.json").write_text('{"format": 9}')
    assert "Upgrade" in (found(str(tmp_path))["catalog"].hint or "")


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_small_disk_in_memory_and_read_only(tmpfs: Path):
    Catalog.create(str(tmpfs))
    checks = found(str(tmpfs))
    assert (checks["free space"].status, checks["file system"].status) == ("error", "warning")
    assert checks["file system"].message.startswith("tmpfs")
    subprocess.run(["mount", "-o", "remount,ro", tmpfs], check=True)
    checks = found(str(tmpfs))
    assert (checks["writing"].status, checks["catalog"].status) == ("warning", "ok")
    assert checks.keys() == {"catalog", "writing", "free space", "file system"}


def test_other_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_links(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    folds = Path.exists
    monkeypatch.setattr(health_local.os, "link", no_links)
    monkeypatch.setattr(Path, "exists", lambda path: path.name.startswith("PROBE") or folds(path))
    monkeypatch.setattr(health_local, "_file_system", lambda _: "nfs4")
    monkeypatch.setattr(health_local, "has_syncfs", lambda: False)
    checks = {check.name: check for check in health_local.local_checks(tmp_path)}
    said = {name: checks[name].status for name in ("hard links", "names", "file system", "durability")}
    assert said == {"hard links": "advice", "names": "warning", "file system": "advice", "durability": "ok"}
    assert list((tmp_path / "staging").iterdir()) == []


def test_the_file_system_is_that_of_the_innermost_mount():
    assert health_local._file_system(Path("/proc/self")) == "proc"


@pytest.mark.parametrize(
    ("minutes", "status"), [(0, "ok"), (5, "warning"), (-5, "warning"), (60, "error"), (-60, "error")]
)
def test_a_clock_that_is_off(minutes: int, status: str):
    class Elsewhere:
        def now(self) -> datetime:
            return datetime.now(UTC) + timedelta(minutes=minutes)

    (check,) = _clock(Elsewhere())  # type: ignore[arg-type]
    assert check.status == status
    assert (
        status == "ok"
        or f"{abs(minutes) * 60} s apart" in check.message
        or f"{abs(minutes) * 60 - 1} s" in check.message
    )


# -- S3


@pytest.fixture
def client(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    import boto3

    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    made = boto3.client("s3")
    yield made
    made.close()


def test_a_bucket_as_it_is_made(s3_server: S3Server, client):
    url = f"{s3_server.new_bucket()}/cat"
    Catalog.create(url)
    checks = found(url)
    assert {name: check.status for name, check in checks.items()} == {
        "catalog": "ok",
        "put-if-absent": "ok",
        "clock": "ok",
        "lifecycle rules": "ok",
        "bucket versioning": "advice",
        "Object Lock": "advice",
        "unfinished uploads": "ok",
        "public access": "ok",
    }


def test_settings_that_protect_and_settings_that_delete(s3_server: S3Server, client):
    bucket = s3_server.new_bucket()
    name, url = bucket.removeprefix("s3://"), f"{bucket}/deep/cat"
    Catalog.create(url)
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    retention = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    lock = {"ObjectLockEnabled": "Enabled", "Rule": retention}
    client.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=lock)
    rule = {"ID": "tidy up", "Status": "Enabled", "Filter": {"Prefix": "deep/"}, "Expiration": {"Days": 30}}
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [rule]})
    checks = found(url)
    assert (checks["bucket versioning"].status, checks["Object Lock"].status) == ("ok", "ok")
    assert "1 days (governance)" in checks["Object Lock"].message
    assert checks["lifecycle rules"].status == "error"
    assert "'tidy up' will delete" in checks["lifecycle rules"].message
    rule["Filter"] = {"Prefix": "elsewhere/"}
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [rule]})
    assert found(url)["lifecycle rules"].status == "ok"


def test_objects_in_cold_storage_that_a_version_needs(s3_server: S3Server, client):
    bucket = s3_server.new_bucket()
    name, url = bucket.removeprefix("s3://"), f"{bucket}/cat"
    catalog = Catalog.create(url)
    save(catalog.dataset("ds"), {"a": 1})
    unneeded = catalog.objects.put_bytes(b"nothing needs this", ".tif").href
    client.put_object(Bucket=name, Key=f"cat/{unneeded}", Body=b"nothing needs this", StorageClass="DEEP_ARCHIVE")
    check = found(url, objects=True)["storage classes"]
    assert (check.status, "1 of " in check.message, "no version needs" in check.message) == ("ok", True, True)
    import hashlib

    needed = object_path(hashlib.sha256(b"data").digest(), ".tif")
    client.put_object(Bucket=name, Key=f"cat/{needed}", Body=b"data", StorageClass="GLACIER")
    check = found(url, objects=True)["storage classes"]
    assert (check.status, needed in check.message, "restore-object" in (check.hint or "")) == ("error", True, True)


def test_a_server_that_is_not_s3_to_the_end(monkeypatch: pytest.MonkeyPatch):
    with run_bad_s3() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        url = f"s3://bucket/{uuid.uuid4().hex}"
        Catalog.create(url)
        server.fail(
            r"GET bucket\?(?!.*list-type)", 501, "NotImplemented"
        )  # everything that is asked of the bucket itself
        checks = found(url)
        settings = ("lifecycle rules", "bucket versioning", "Object Lock", "unfinished uploads", "public access")
        assert {checks[name].status for name in settings} == {"unknown"}
        assert "get_bucket_versioning" in checks["bucket versioning"].message
        server.fail(r"GET bucket\?(?!.*list-type)", 403, "AccessDenied")
        assert {check.status for name, check in found(url).items() if name in settings} == {"unknown"}
        server.order(ignore=True)
        check = found(url)["put-if-absent"]
        assert (check.status, "If-None-Match" in check.message) == ("error", True)


def test_wrong_credentials_are_one_error(s3_server: S3Server, client, monkeypatch: pytest.MonkeyPatch):
    url = f"{s3_server.new_bucket()}/cat"
    Catalog.create(url)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    checks = found(url)
    assert checks.keys() == {"catalog"}
    assert "AWS_SECRET_ACCESS_KEY" in (checks["catalog"].hint or "")


@pytest.mark.parametrize(
    ("rule", "prefix", "applies"),
    [
        ({"Prefix": ""}, "cat/", True),
        ({"Filter": {}}, "cat/", True),
        ({"Filter": {"Prefix": "cat/"}}, "cat/", True),
        ({"Filter": {"Prefix": "cat/objects/ab"}}, "cat/", True),
        ({"Filter": {"Prefix": "ca"}}, "cat/", True),
        ({"Filter": {"Prefix": "dog/"}}, "cat/", False),
        ({"Filter": {"Prefix": "cat/staging/"}}, "cat/", False),
        ({"Filter": {"Prefix": "staging/old"}}, "", False),
        ({"Filter": {"Tag": {"Key": "team", "Value": "x"}}}, "cat/", False),
        ({"Filter": {"Tag": {"Key": "stacpin", "Value": "unreferenced"}}}, "cat/", True),
        ({"Filter": {"And": {"Prefix": "cat/", "Tags": [{"Key": "team", "Value": "x"}]}}}, "cat/", False),
        ({"Filter": {"And": {"Prefix": "cat/", "ObjectSizeGreaterThan": 5}}}, "cat/", True),
    ],
)
def test_which_rules_reach_a_catalog(rule: dict[str, object], prefix: str, applies: bool):
    assert reaches(rule, prefix) is applies


def test_memory_and_other_clouds(monkeypatch: pytest.MonkeyPatch):
    store = open_store("memory://")
    assert store.url == "memory://"
    assert found("memory://")["catalog"].status == "error"
