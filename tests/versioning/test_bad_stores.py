"""Stores that misbehave: full or read-only disks, wrong credentials and clocks, lost replies, ignored preconditions."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bad_s3 import BadServer, run_bad_s3
from version_helpers import Clock, again, asset_of, item_of, save, values_of

from versioning.capabilities import PROBE, Race, one_winner
from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.errors import Forbidden, NotFound, StacpinError, StorageUnavailable
from versioning.store import Store, open_store
from versioning.verify import verify_version

# -- disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # a caught exception may keep a store alive


def _temporary_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if "#" in path.name]


def _fill(folder: Path, leave: int) -> Path:
    filler = folder / "filler"
    with filler.open("wb") as file:
        file.write(b"x" * (shutil.disk_usage(folder).free - leave))
    return filler


def _whole(catalog: Catalog) -> int:
    """The head, after it and the whole chain of records were proven."""
    dataset = again(catalog).dataset("ds")
    report = verify_version(dataset, dataset.version(dataset.head()), objects=False)
    assert report.ok, report.problems
    return dataset.head()


def test_a_full_disk_loses_nothing_wherever_it_fills_up(small_disk: Path):
    catalog = Catalog.create(str(small_disk / "cat"), clock=Clock())
    save(catalog.dataset("ds"), {"a": 1})
    refused = 0
    for pages in range(
        0, 14, 2
    ):  # each commit writes a few files of a few pages: it fails in another of them each time
        filler = _fill(small_disk, leave=pages * 4096)
        before = _whole(catalog)
        error = None
        try:
            save(again(catalog).dataset("ds"), {"a": 1, "b": pages})
        except StorageUnavailable as caught:
            error = caught
        if error is not None:
            refused += 1
            assert error.kind == "disk-full"
            assert str(small_disk / "cat") in error.message
            assert "Free space" in (error.hint or "")
            assert _whole(catalog) == before
        assert _temporary_files(small_disk) == []
        filler.unlink()
        save(again(catalog).dataset("ds"), {"a": 1, "b": pages, "c": 0})
        assert _whole(catalog) >= before + 1
    assert refused >= 2
    assert values_of(again(catalog).resolve("ds")) == {"a": 1, "b": 12, "c": 0}


def test_large_objects_on_a_full_disk(small_disk: Path, tmp_path: Path):
    catalog = Catalog.create(str(small_disk), clock=Clock())
    big = tmp_path / "big.tif"
    big.write_bytes(os.urandom(1024) * 17 * 1024)
    for verb in (lambda: catalog.objects.put_file(big), lambda: catalog.objects.put_bytes(b"x" * 2_000_000)):
        with pytest.raises(StorageUnavailable) as caught:
            verb()
        assert caught.value.kind == "disk-full"
        assert [path for path in (small_disk / "objects").rglob("*") if path.is_file()] == []
    catalog.objects.put_bytes(b"small")


def test_a_read_only_disk_serves_readers(small_disk: Path):
    catalog = Catalog.create(str(small_disk), clock=Clock())
    save(catalog.dataset("ds"), {"a": 1})
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    opened = Catalog.open(str(small_disk))
    assert values_of(opened.resolve("ds@v1")) == {"a": 1}
    dataset = opened.dataset("ds")
    assert verify_version(dataset, dataset.version(1), objects=False).ok
    store = opened.store
    for write in (
        lambda: save(dataset, {"a": 2}),
        lambda: store.put_record("staging/x", b"1"),
        lambda: store.put_stream("objects/x", [b"1"]),
        lambda: store.replace("objects/x", b"1"),
        lambda: store.delete(["stacpin.json"]),
        store.now,
        lambda: Catalog.create(str(small_disk / "new")),
    ):
        with pytest.raises(Forbidden) as caught:
            write()
        assert (caught.value.kind, caught.value.exit_code) == ("read-only", 60)
        assert "Reading works" in (caught.value.hint or "")


def test_a_quota_or_limit_of_file_sizes_is_a_full_disk(tmp_path: Path):
    code = """
import resource, sys
from versioning.errors import StorageUnavailable
from versioning.store import open_store
store = open_store(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for number, write in enumerate((store.put_new, store.put_record, store.replace, lambda p, d: store.put_stream(p, [d]))):
    try:
        write(f"a/{number}", b"x" * 10_000)
    except StorageUnavailable as error:
        print(error.kind)
"""
    assert resource.RLIMIT_FSIZE is not None
    ran = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert (ran.stdout.split(), ran.stderr) == (["disk-full"] * 4, "")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# -- a real S3 server


@pytest.fixture
def real(s3_server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_bucket


def _every_call(store: Store) -> dict[str, StacpinError]:
    """What each verb of a store says."""
    calls = {
        "get": lambda: store.get("a"),
        "get_range": lambda: store.get_range("a", 0, 1),
        "stream": lambda: list(store.stream("a")),
        "size": lambda: store.size("a"),
        "put_new": lambda: store.put_new("a", b"1"),
        "put_record": lambda: store.put_record("a", b"1"),
        "put_stream": lambda: store.put_stream("a", [b"1"]),
        "replace": lambda: store.replace("a", b"1"),
        "delete": lambda: store.delete(["a"]),
        "now": store.now,
        "list": lambda: list(store.list("a")),
        "folders": lambda: store.folders("a"),
    }
    said: dict[str, StacpinError] = {}
    for name, call in calls.items():
        with pytest.raises(StacpinError) as caught:
            call()
        said[name] = caught.value
        assert store.url in caught.value.message
        assert caught.value.hint
    return said


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_wrong_credentials(real: str, monkeypatch: pytest.MonkeyPatch, name: str):
    open_store(f"{real}/wrong").put_new("a", b"1")
    monkeypatch.setenv(name, "wrong")
    said = _every_call(open_store(f"{real}/wrong"))
    assert {(type(error), error.kind) for error in said.values()} == {(Forbidden, "wrong-credentials")}
    assert "AWS_SECRET_ACCESS_KEY" in (said["get"].hint or "")


def test_a_clock_an_hour_off(real: str):
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed")
    code = """
import sys
from versioning.errors import StacpinError
from versioning.store import open_store
store = open_store(sys.argv[1])
for call in (store.get, store.size, lambda p: store.put_new(p, b"1"), lambda p: list(store.list(p))):
    try:
        call("a")
    except StacpinError as error:
        print(type(error).__name__, error.kind, "clock" in error.message, "Set the clock" in error.hint)
"""
    for shift in ("-1h", "+1h"):
        ran = subprocess.run(
            ["faketime", "-f", shift, sys.executable, "-c", code, f"{real}/skew"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.stdout.splitlines(), ran.stderr) == (["StorageUnavailable clock-skew True True"] * 4, "")


def test_a_bucket_that_is_not_there(real: str):
    with pytest.raises(NotFound) as caught:
        open_store("s3://no-such-bucket-of-ours/x").get("a")
    assert caught.value.kind == "no-such-bucket"


def test_an_honest_server_is_asked_once_and_has_one_winner(real: str):
    store = open_store(f"{real}/honest")
    assert list(store.list("")) == []
    assert store.put_new("a", b"1")
    assert {entry.path for entry in store.list("")} == {"a", PROBE}
    assert not store.put_new("a", b"2")
    assert one_winner(store) == Race(one_won=True, left=None)
    assert {entry.path for entry in store.list("")} == {"a", PROBE}


# -- a server that misbehaves


@pytest.fixture(scope="module")
def server() -> Iterator[BadServer]:
    with run_bad_s3() as running:
        yield running


@pytest.fixture
def bad(server: BadServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The URL of a place of its own on it."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.order()
    return f"s3://bucket/{abs(hash(request.node.name))}"


def test_the_probe_costs_two_requests_once_and_one_for_each_process(server: BadServer, bad: str):
    first = open_store(bad)
    first.put_new("a", b"1")
    first.put_record("b", b"1")
    assert [each.rpartition("/")[2] for each in server.order()] == ["put-if-absent", "put-if-absent", "a", "b"]
    second = open_store(bad)
    second.put_new("c", b"1")
    second.put_new("d", b"1")
    assert [each.rpartition("/")[2] for each in server.order()] == ["put-if-absent", "c", "d"]
    open_store(bad).get("a")
    assert [each.split()[0] for each in server.order()] == ["GET"]


def test_a_server_that_ignores_preconditions_is_not_written_to(server: BadServer, bad: str):
    catalog = Catalog.create(bad, clock=Clock())
    save(catalog.dataset("ds"), {"a": 1})
    head = _whole(catalog)
    server.order(ignore=True)
    opened = Catalog.open(bad)
    for write in (
        lambda: save(opened.dataset("ds"), {"a": 2}),
        lambda: opened.store.put_record("versions/1", b"x"),
        lambda: opened.store.put_stream("objects/x", [b"x"]),
        lambda: opened.store.replace("objects/x", b"x"),
        lambda: opened.objects.put_bytes(b"x"),
        lambda: Catalog.create(f"{bad}-new"),
    ):
        with pytest.raises(Forbidden, match="If-None-Match") as caught:
            write()
        assert caught.value.kind == "no-put-if-absent"
    written = {each for each in server.order(ignore=True) if each.startswith("PUT")}
    assert all(each.endswith(PROBE) for each in written), written
    assert values_of(again(opened).resolve("ds")) == {"a": 1}
    server.order()
    assert _whole(catalog) == head
    save(again(Catalog.open(bad)).dataset("ds"), {"a": 3})  # an honest server again: nothing is remembered


@pytest.mark.parametrize(
    ("status", "code", "error", "kind", "way_out"),
    [
        (400, "ExpiredToken", Forbidden, "expired-credentials", "Log in again"),
        (400, "InvalidToken", Forbidden, "wrong-credentials", "AWS_PROFILE"),
        (403, "InvalidAccessKeyId", Forbidden, "wrong-credentials", "AWS_PROFILE"),
        (403, "AccessDenied", Forbidden, "forbidden", "permissions"),
        (401, "Whatever", Forbidden, "forbidden", "permissions"),
        (403, "RequestTimeTooSkewed", StorageUnavailable, "clock-skew", "Set the clock"),
        (403, "InvalidObjectState", StorageUnavailable, "cold-storage", "restore-object"),
        (403, "QuotaExceeded", StorageUnavailable, "disk-full", "quota"),
        (418, "Teapot", StorageUnavailable, "storage-unavailable", "try again"),
    ],
)
def test_what_a_server_says(server: BadServer, bad: str, status, code, error, kind, way_out):
    store = open_store(bad)
    store.put_new("a", b"1")
    server.fail("GET|PUT", status, code, "It is so.", more="<ServerTime>2026-01-01T00:00:00Z</ServerTime>")
    for call in (lambda: store.get("a"), lambda: open_store(bad).put_new("b", b"1"), lambda: list(store.list(""))):
        with pytest.raises(error) as caught:
            call()
        assert caught.value.kind == kind
        assert way_out in (caught.value.hint or "")
        assert f"{code}: It is so; the store's time is 2026-01-01T00:00:00Z" in caught.value.message
        assert "<" not in caught.value.message
    assert bad + "/a" in str(_refusal(lambda: store.get("a")))


@pytest.mark.parametrize(("status", "code"), [(403, "RequestTimeTooSkewed"), (400, "ExpiredToken")])
def test_the_reason_of_a_refused_head_is_asked_for(server: BadServer, bad: str, status: int, code: str):
    server.fail(".", status, code)
    assert code in str(_refusal(lambda: open_store(bad).size("a")))


def test_an_expired_login_in_the_middle_of_a_commit_loses_nothing(server: BadServer, bad: str):
    catalog = Catalog.create(bad, clock=Clock())
    save(catalog.dataset("ds"), {"a": 1})
    server.fail("PUT .*/versions/", 400, "ExpiredToken")
    with pytest.raises(Forbidden, match="expired"):
        save(again(catalog).dataset("ds"), {"a": 2})
    server.order()
    assert values_of(again(catalog).resolve("ds")) == {"a": 1}
    save(again(catalog).dataset("ds"), {"a": 2})
    assert values_of(again(catalog).resolve("ds")) == {"a": 2}


def test_object_lock_wants_checksums(server: BadServer, bad: str, monkeypatch: pytest.MonkeyPatch):
    message = (
        "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters"
    )
    server.fail("PUT", 400, "InvalidRequest", message)
    refused = _refusal(lambda: open_store(bad).put_new("a", b"1"), Forbidden)
    assert (refused.kind, "AWS_CHECKSUM_ALGORITHM=SHA256" in (refused.hint or "")) == ("needs-checksum", True)


def test_verify_names_what_lies_in_cold_storage(server: BadServer, bad: str):
    catalog = Catalog.create(bad, clock=Clock())
    stored = catalog.objects.put_bytes(b"data", ".tif")
    save(catalog.dataset("ds"), {"a": 1})
    dataset = again(catalog).dataset("ds")
    server.fail("GET .*/objects/", 403, "InvalidObjectState")
    refused = _refusal(lambda: verify_version(dataset, dataset.version(1)), StorageUnavailable)
    assert (refused.kind, stored.href in refused.message) == ("cold-storage", True)
    server.order()
    assert verify_version(dataset, dataset.version(1)).ok


def test_a_lost_reply_is_asked_for_again_and_the_write_counts_once(server: BadServer, bad: str):
    catalog = Catalog.create(bad, clock=Clock())
    server.order(lose={"match": "PUT .*/(versions|objects|manifests)/", "times": 3})
    stored = catalog.objects.put_bytes(b"data", ".tif")
    result = commit(catalog.dataset("ds"), items=[item_of("a", 1)], message="m", author="a")
    assert (stored.href, result.version.number) == (asset_of(b"data")["href"], 1)
    assert _whole(catalog) == 1
    again_asked = [each for each in server.order() if each.startswith("PUT")]
    assert len(again_asked) == len(set(again_asked)) + 3


@pytest.mark.parametrize("times", [1, 1000])
def test_a_cut_connection(server: BadServer, bad: str, times: int):
    store = open_store(bad)
    big = os.urandom(1 << 20) * 12
    store.put_new("big", big)
    server.order(cut={"match": "GET .*/big", "times": times})
    if times == 1:
        assert store.get("big") == b"".join(store.stream("big")) == big
    else:
        assert "big" in str(_refusal(lambda: list(store.stream("big")), StorageUnavailable))


def test_a_busy_server_is_asked_again(server: BadServer, bad: str):
    store = open_store(bad)
    store.put_new("a", b"1")
    server.fail("GET .*/a", 503, "SlowDown", times=2)
    assert store.get("a") == b"1"


def test_a_server_that_goes_away(monkeypatch: pytest.MonkeyPatch):
    with run_bad_s3() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        catalog = Catalog.create("s3://bucket/cat", clock=Clock())
        save(catalog.dataset("ds"), {"a": 1})
        running.process.kill()
        running.process.wait()
        refused = _refusal(lambda: save(again(catalog).dataset("ds"), {"a": 2}), StorageUnavailable)
        assert "s3://bucket/cat" in str(refused)
        assert refused.kind == "storage-unavailable"


def test_an_unknown_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    refused = _refusal(lambda: open_store("s3://bucket/x"), Forbidden)
    assert "nobody" in refused.message
    assert "AWS_PROFILE" in (refused.hint or "")


def test_a_single_sign_on_that_has_expired(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    program = tmp_path / "login"
    program.write_text("#!/bin/sh\necho 'the SSO session has expired: log in' >&2\nexit 1\n")
    program.chmod(0o755)
    config = tmp_path / "config"
    config.write_text(f"[default]\nregion = us-east-1\ncredential_process = {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    refused = _refusal(lambda: open_store("s3://bucket/x").get("a"), Forbidden)
    assert refused.kind == "expired-credentials"


def _refusal(call, error: type[StacpinError] = StacpinError) -> StacpinError:
    with pytest.raises(error) as caught:
        call()
    return caught.value


def test_errors_are_short_enough_for_people(server: BadServer, bad: str):
    server.fail(".", 403, "AccessDenied", "x" * 5000)
    assert len(json.dumps(str(_refusal(lambda: open_store(bad).get("a"))))) < 1000
