"""One contract for every kind of store: memory, a local folder, and a real S3 server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from obstore import exceptions as backend

from versioning import store as module
from versioning.capabilities import PROBE
from versioning.errors import Forbidden, InvalidInput, NotFound, StorageUnavailable
from versioning.store import ObstoreStore, Store, open_store

BIG = os.urandom(1024) * 20 * 1024  # 20 MiB: three parts


def test_what_is_written_is_read(any_store: Store):
    assert any_store.put_new("a/b.bin", b"12345")
    assert any_store.get("a/b.bin") == b"12345"
    assert any_store.size("a/b.bin") == 5
    assert b"".join(any_store.stream("a/b.bin")) == b"12345"
    assert any_store.get_range("a/b.bin", 1, 3) == b"234"
    assert any_store.get_range("a/b.bin", 3, 99) == b"45"
    assert any_store.get_range("a/b.bin", 3, 0) == b""


@pytest.mark.parametrize("verb", ["put_new", "put_record"])
def test_nothing_is_ever_overwritten(any_store: Store, verb: str):
    put = getattr(any_store, verb)
    assert put("versions/1.json", b"first")
    assert not put("versions/1.json", b"other")
    assert not put("versions/1.json", b"first")
    assert any_store.get("versions/1.json") == b"first"


@pytest.mark.parametrize("verb", ["put_new", "put_record"])
def test_one_writer_wins(any_store: Store, verb: str):
    start = threading.Barrier(4)

    def write(number: int) -> bool:
        start.wait()
        return getattr(any_store, verb)("race", b"%d" % number)

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(write, range(4)))
    assert sum(won) == 1
    assert any_store.get("race") == b"%d" % won.index(True)


def test_nothing_there(any_store: Store):
    for call in (
        any_store.get,
        lambda path: list(any_store.stream(path)),
        lambda path: any_store.get_range(path, 0, 1),
    ):
        with pytest.raises(NotFound) as caught:
            call("no/such")
        assert (caught.value.kind, "no/such" in str(caught.value)) == ("no-such-object", True)
    assert any_store.size("no/such") is None
    assert list(any_store.list("no")) == []
    assert any_store.folders("no") == []


def test_an_empty_object(any_store: Store):
    any_store.put_new("empty", b"")
    assert (any_store.get("empty"), any_store.size("empty")) == (b"", 0)
    assert b"".join(any_store.stream("empty")) == b""


def test_a_folder_is_not_an_object(any_store: Store):
    any_store.put_new("a/b/c", b"1")
    assert any_store.size("a/b") is None
    with pytest.raises(NotFound):
        any_store.get("a/b")


def test_listings(any_store: Store):
    for path in ("a/1", "a/2/x", "a/2/y", "ab/3", "top", "t/v1.0.0+b,=.json"):
        any_store.put_new(path, b"123")
    assert sorted((entry.path, entry.size) for entry in any_store.list("a")) == [("a/1", 3), ("a/2/x", 3), ("a/2/y", 3)]
    assert {entry.path for entry in any_store.list("a/")} == {"a/1", "a/2/x", "a/2/y"}
    assert len([entry for entry in any_store.list("") if entry.path != PROBE]) == 6
    assert [name for name in any_store.folders("") if name != "staging"] == ["a", "ab", "t"]
    assert any_store.folders("a") == ["2"]
    assert any_store.get("t/v1.0.0+b,=.json") == b"123"
    assert [entry.path for entry in any_store.list("t")] == ["t/v1.0.0+b,=.json"]


def test_more_than_one_page_of_a_listing():
    store = open_store("memory://")
    for number in range(2100):
        store.put_new(f"a/{number:04d}", b"")
    assert len(list(store.list("a"))) == 2100


def test_large_objects_go_in_parts(any_store: Store):
    parts = [BIG[start : start + 3_000_000] for start in range(0, len(BIG), 3_000_000)]
    any_store.put_stream("objects/big", parts)
    assert any_store.size("objects/big") == len(BIG)
    blocks = [bytes(block) for block in any_store.stream("objects/big")]
    assert b"".join(blocks) == BIG
    assert len(blocks) > 1 or any_store.url == "memory://"
    any_store.put_stream("objects/big", parts)  # the same bytes again are harmless
    assert any_store.get("objects/big") == BIG


def test_a_large_object_that_fails_half_way_is_not_there(any_store: Store):
    def blocks():
        yield BIG[: 10 * 1024 * 1024]
        raise InvalidInput("the file changed")

    with pytest.raises(InvalidInput, match="the file changed"):
        any_store.put_stream("objects/big", blocks())
    assert any_store.size("objects/big") is None
    assert list(any_store.list("objects")) == []


@pytest.mark.parametrize("verb", ["put_new", "put_record"])
@pytest.mark.parametrize("path", ["../outside", "a/../../outside", "a//b", "a/./b"])
def test_paths_stay_inside(any_store: Store, path: str, verb: str):
    with pytest.raises(InvalidInput, match="not a path in a catalog"):
        getattr(any_store, verb)(path, b"x")


# -- opening


def test_local_folders(tmp_path: Path):
    with pytest.raises(NotFound, match="stacpin init"):
        open_store(str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
    store = open_store(str(tmp_path / "x" / "a b"), create=True)
    assert store.local_root == tmp_path / "x" / "a b"
    store.put_new("a", b"1")
    assert open_store((tmp_path / "x" / "a b").as_uri()).get("a") == b"1"
    assert "a b" in repr(store)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidInput, match="is a file"):
        open_store(str(tmp_path / "file"))
    with pytest.raises(Forbidden, match="cannot be made"):
        open_store(str(tmp_path / "file" / "below"), create=True)


def test_home_and_relative_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_store("~/cat", create=True).url == str(tmp_path / "cat")
    monkeypatch.chdir(tmp_path)
    assert open_store("cat").url == str(tmp_path / "cat")


@pytest.mark.parametrize("url", ["ftp://host/x", "https://host/x", "s4://x"])
def test_unknown_schemes(url: str):
    with pytest.raises(InvalidInput, match="does not know") as caught:
        open_store(url)
    assert "s3://" in caught.value.hint


@pytest.mark.parametrize("url", ["gs://bucket/catalog", "az://container/catalog"])
def test_other_clouds_are_opened_without_asking_them(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    assert open_store(f"{url}/").url == url


def test_malformed_urls():
    with pytest.raises(InvalidInput, match="cannot be opened"):
        open_store("s3://")


def test_a_windows_drive_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert open_store("C:/data", create=True).local_root == tmp_path / "C:/data"


def test_plain_http_only_for_an_endpoint_that_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example.org")
    assert module._s3_options() == {"endpoint": "https://s3.example.org"}
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    assert module._s3_options() == {"endpoint": "http://127.0.0.1:9", "client_options": {"allow_http": True}}
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    assert module._s3_options() == {}


def test_credentials_come_from_boto3_where_it_has_some(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_PROFILE",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
    ):
        monkeypatch.delenv(name, raising=False)
    credentials = tmp_path / "credentials"
    credentials.write_text("[default]\naws_access_key_id = k\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert module._s3_options()["credential_provider"]()["access_key_id"] == "k"
    credentials.write_text("")
    assert module._s3_options() == {}


# -- errors


def test_a_store_that_does_not_answer(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as probe:  # a port on which nobody listens
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    began = time.monotonic()
    with pytest.raises(StorageUnavailable) as caught:
        open_store("s3://bucket/catalog").get("stacpin.json")
    assert time.monotonic() - began < 30
    assert (caught.value.exit_code, caught.value.http_status) == (60, 503)
    assert "s3://bucket/catalog/stacpin.json" in str(caught.value)


def test_wrong_credentials(s3_server, s3_bucket, monkeypatch: pytest.MonkeyPatch):
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(Forbidden, match="access was denied"):
        open_store(f"{s3_bucket}/x").get("a")


def test_a_bucket_that_is_not_there(s3_server, monkeypatch: pytest.MonkeyPatch):
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NotFound):
        open_store("s3://no-such-bucket/x").get("a")


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (backend.PermissionDeniedError("x"), Forbidden),
        (backend.UnauthenticatedError("x"), Forbidden),
        (PermissionError("x"), Forbidden),
        (backend.NotFoundError("x"), NotFound),
        (FileNotFoundError("x"), NotFound),
        (backend.GenericError("line one\nline two"), StorageUnavailable),
        (OSError(28, "No space left on device"), StorageUnavailable),
        (OSError(30, "Read-only file system"), Forbidden),
        (backend.GenericError("Unable to create dir x: Permission denied (os error 13)"), Forbidden),
        (TimeoutError(), StorageUnavailable),
        (ValueError("x"), InvalidInput),
    ],
)
def test_errors_become_ours(raised: Exception, becomes: type[Exception]):
    store = ObstoreStore("s3://b/c", object())  # type: ignore[arg-type]
    with pytest.raises(becomes) as caught, store._translated("p"):
        raise raised
    assert "s3://b/c/p" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is raised


WRITE_ALL = """
import os, sys
from versioning.errors import Forbidden
from versioning.store import open_store

if os.geteuid() == 0:
    os.setuid(65534)  # root is not bound by modes
store = open_store(sys.argv[1])
for write in (store.put_new, store.put_record):
    try:
        write("new/1.json", b"x")
    except Forbidden as error:
        print(error)
"""


def test_a_folder_that_may_not_be_written_to():
    # Not below pytest's own folder, which is closed to other users.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        ran = subprocess.run([sys.executable, "-c", WRITE_ALL, folder], capture_output=True, text=True, check=False)
        assert ran.stderr == ""
        assert [line.count("access was denied") for line in ran.stdout.splitlines()] == [1, 1]
        assert list(Path(folder).iterdir()) == []


def test_replacing_makes_whole_and_young_again(any_store: Store):
    any_store.put_new("a/old", b"damaged")
    before = next(any_store.list("a"))
    time.sleep(1.1)  # S3 tells whole seconds
    any_store.replace("a/old", b"whole")
    after = next(any_store.list("a"))
    assert (any_store.get("a/old"), after.size) == (b"whole", 5)
    assert after.modified > before.modified
    any_store.replace("a/new", b"1")
    assert any_store.get("a/new") == b"1"


def test_deleting(any_store: Store):
    for name in ("a/1", "a/2", "a/3", "a/4"):
        any_store.put_new(name, b"x")
    any_store.delete(["a/1", "a/none", "a/3"])
    any_store.delete([])
    assert sorted(entry.path for entry in any_store.list("a")) == ["a/2", "a/4"]


def test_the_clock_of_a_store(any_store: Store):
    early = any_store.now()
    any_store.put_new("a", b"x")
    written = next(entry.modified for entry in any_store.list("") if entry.path == "a")
    assert early <= written <= any_store.now()
    assert {entry.path for entry in any_store.list("")} - {PROBE} == {"a"}
