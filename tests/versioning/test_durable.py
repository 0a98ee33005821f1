"""Records on a local disk: whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import pickle
import re
import resource
import shutil
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from versioning import durable
from versioning.durable import Disk
from versioning.errors import StacpinError, StorageUnavailable
from versioning.store import open_store


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_created_once(tmp_path: Path):
    path, disk = tmp_path / "a" / "b" / "1.json", Disk(tmp_path)
    assert disk.create(path, b"one")
    assert not disk.create(path, b"two")
    assert path.read_bytes() == b"one"
    assert names(path.parent) == ["1.json"]


def test_one_of_many_wins(tmp_path: Path):
    start = threading.Barrier(16)

    def write(number: int) -> bool:
        start.wait()
        return Disk(tmp_path).create(tmp_path / "new" / "1.json", b"%d" % number)

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(write, range(16)))
    assert sum(won) == 1
    assert names(tmp_path / "new") == ["1.json"]
    assert (tmp_path / "new" / "1.json").read_bytes() == b"%d" % won.index(True)


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("no_links")
def test_without_hard_links_an_exclusive_rename(tmp_path: Path):
    if durable._renameat2() is None:
        pytest.skip("this system has no renameat2")
    path = tmp_path / "1.json"
    assert Disk(tmp_path).create(path, b"one")
    assert not Disk(tmp_path).create(path, b"two")
    assert path.read_bytes() == b"one"
    assert names(tmp_path) == ["1.json"]


@pytest.mark.usefixtures("no_links")
def test_without_either_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(durable, "_renameat2", lambda: None)
    with pytest.raises(OSError, match="no hard links"):
        Disk(tmp_path).create(tmp_path / "1.json", b"one")
    assert names(tmp_path) == []


def test_a_disk_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "I/O error")

    (tmp_path / "d").mkdir()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="I/O error"):
        Disk(tmp_path).create(tmp_path / "d" / "1.json", b"one")
    assert names(tmp_path / "d") == []


def test_the_content_is_on_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    order: list[str] = []
    real_fsync, real_link = os.fsync, os.link

    def fsync(descriptor: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        real_fsync(descriptor)

    def link(source: object, target: object) -> None:
        order.append("link")
        real_link(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    assert Disk(tmp_path).create(tmp_path / "new" / "1.json", b"one")
    assert order == ["folder", "file", "link", "folder"]


def test_what_was_written_before_is_made_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: list[str] = []
    monkeypatch.setattr(os, "sync", lambda: synced.append("all"))
    monkeypatch.setattr(durable, "_syncfs", lambda: lambda _: 0)
    Disk(tmp_path).sync()
    assert synced == []
    ctypes.set_errno(errno.ENOSYS)
    monkeypatch.setattr(durable, "_syncfs", lambda: lambda _: -1)
    Disk(tmp_path).sync()
    monkeypatch.setattr(durable, "_syncfs", lambda: None)
    Disk(tmp_path).sync()
    assert synced == ["all", "all"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])  # the latter on network file systems
def test_pages_that_could_not_be_written_stop_every_later_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
):
    def fails(_: int) -> int:
        ctypes.set_errno(code)
        return -1

    store = open_store(str(tmp_path))
    store.put_new("objects/1", b"x")
    monkeypatch.setattr(durable, "_syncfs", lambda: fails)
    for _ in range(2):
        with pytest.raises(StorageUnavailable) as caught:
            store.put_record("versions/1.json", b"x")
        assert (caught.value.kind, "stacpin verify" in (caught.value.hint or "")) == ("disk-error", True)
        monkeypatch.setattr(durable, "_syncfs", lambda: lambda _: 0)  # Linux tells of it only once
    assert store.size("versions/1.json") is None


def test_the_system_has_syncfs_where_it_is_linux(tmp_path: Path):
    Disk(tmp_path).sync()
    if os.uname().sysname == "Linux":
        assert durable._syncfs() is not None


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each syncfs."""
    seen: list[int] = []
    real = durable._syncfs()
    if real is None:
        pytest.skip("this system has no syncfs")

    def count(descriptor: int) -> int:
        seen.append(descriptor)
        return real(descriptor)

    monkeypatch.setattr(durable, "_syncfs", lambda: count)
    return seen


def test_many_records_in_a_row_cost_one_sync(tmp_path: Path, syncs: list[int]):
    store = open_store(str(tmp_path))
    for number in range(1, 20):
        assert store.put_record(f"versions/{number}.json", b"x")
        assert store.size(f"versions/{number + 1}.json") is None
    assert len(syncs) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.put_new("objects/2", b"x"),
        lambda store: store.put_new("objects/1", b"found"),
        lambda store: store.put_stream("objects/3", [b"x"]),
        lambda store: store.get("objects/1"),
        lambda store: list(store.stream("objects/1")),
        lambda store: store.size("objects/1"),
        lambda store: list(store.list("objects")),
    ],
)
def test_whatever_a_record_may_rely_on_is_synced_before_it(tmp_path: Path, syncs: list[int], call):
    store = open_store(str(tmp_path))
    store.put_new("objects/1", b"x")
    store.put_record("versions/1.json", b"x")
    call(store)  # another process may have written what is found here
    store.put_record("versions/2.json", b"x")
    assert len(syncs) == 2


class Slow:
    """A syncfs that waits until it may go on, and answers what it is told to."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.began = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)
        self.calls = 0

    def __call__(self, _: int) -> int:
        self.calls += 1
        self.began.release()
        assert self.may_end.acquire(timeout=10)
        ctypes.set_errno(errno.EIO)
        return self.answers.pop(0)


@pytest.mark.parametrize("answer", [0, -1])
def test_a_record_waits_for_the_sync_of_another_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int):
    slow = Slow(answer)
    monkeypatch.setattr(durable, "_syncfs", lambda: slow)
    store = open_store(str(tmp_path))
    store.put_new("objects/a", b"x")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(store.put_record, "b/1.json", b"x")
        assert slow.began.acquire(timeout=10)
        second = pool.submit(store.put_record, "a/1.json", b"x")
        done, _ = wait([second], timeout=0.2)
        assert not done, "its data is not on disk yet"
        slow.may_end.release()
        if answer == 0:
            assert first.result()
            assert second.result()
        else:
            assert isinstance(first.exception(), StorageUnavailable)
            assert isinstance(second.exception(), StorageUnavailable)
    assert slow.calls == 1, "one that began after both had written"
    assert (tmp_path / "a" / "1.json").exists() == (answer == 0)


@pytest.mark.parametrize(
    "late",
    [
        lambda store: store.put_new("objects/2", b"x"),
        lambda store: store.get("objects/1"),
        lambda store: list(store.stream("objects/1")),
    ],
)
def test_what_comes_while_another_thread_syncs_has_a_sync_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late
):
    slow = Slow(0, -1)
    store = open_store(str(tmp_path))
    store.put_new("objects/1", b"x")
    monkeypatch.setattr(durable, "_syncfs", lambda: slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(store.put_record, "b/1.json", b"x")
        assert slow.began.acquire(timeout=10)
        late(store)
        second = pool.submit(store.put_record, "a/1.json", b"x")
        slow.may_end.release()
        assert first.result()
        assert slow.began.acquire(timeout=10)
        slow.may_end.release()
        assert isinstance(second.exception(), StorageUnavailable)
    assert not (tmp_path / "a" / "1.json").exists()


def test_a_sync_while_something_is_read_does_not_count_for_it(tmp_path: Path, syncs: list[int]):
    """Another process may write it between the two."""
    store = open_store(str(tmp_path))
    store.put_new("objects/1", b"x")
    parts = store.stream("objects/1")
    next(parts)
    store.put_record("versions/1.json", b"x")
    assert list(parts) == []
    store.put_record("versions/2.json", b"x")
    assert len(syncs) == 2


def test_without_syncfs_each_file_is_synced_with_its_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names_of: list[str] = []
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        names_of.append(os.path.relpath(Path(f"/proc/self/fd/{descriptor}").readlink(), tmp_path))
        real_fsync(descriptor)

    monkeypatch.setattr(durable, "_syncfs", lambda: None)
    monkeypatch.setattr(os, "fsync", fsync)
    store = open_store(str(tmp_path))
    store.put_new("objects/ab/1", b"x")
    assert names_of == ["objects/ab/1", "objects/ab", "objects", "."]
    names_of.clear()
    store.put_new("objects/ab/1", b"x")  # found: another process may not have synced it
    assert names_of == ["objects/ab/1", "objects/ab", "objects", "."]
    store.put_stream("objects/ab/2", [b"x"])
    assert "objects/ab/2" in names_of


def test_replacing_keeps_the_old_bytes_until_the_new_ones_are_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = open_store(str(tmp_path))
    store.put_new("objects/1", b"good")

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        for write in (store.replace, lambda path, data: store.put_stream(path, [data])):
            with pytest.raises(StorageUnavailable):
                write("objects/1", b"half")
            assert store.get("objects/1") == b"good"
    assert names(tmp_path / "objects") == ["1"]


def test_a_disk_can_be_sent_to_another_process(tmp_path: Path):
    Disk(tmp_path).sync()
    assert pickle.loads(pickle.dumps(Disk(tmp_path))).create(tmp_path / "1", b"x")


def test_objects_without_an_exclusive_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As on some network file systems: a hard link, and the first name is taken away."""
    monkeypatch.setattr(durable, "_renameat2", lambda: None)
    store = open_store(str(tmp_path))
    assert store.put_new("objects/aa/1", b"x")
    assert not store.put_new("objects/aa/1", b"y")
    assert store.get("objects/aa/1") == b"x"
    assert names(tmp_path / "objects" / "aa") == ["1"]


@pytest.mark.usefixtures("no_links")
def test_objects_without_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(durable, "_renameat2", lambda: None)
    with pytest.raises(StacpinError, match="objects/1"):
        open_store(str(tmp_path)).put_new("objects/1", b"x")
    assert names(tmp_path / "objects") == []


def test_one_of_many_writes_an_object(tmp_path: Path):
    """All have looked whether it is there before the first names its own."""
    start = threading.Barrier(8)
    store = open_store(str(tmp_path))
    real = os.path.lexists

    def lexists(path: str) -> bool:
        found = real(path)
        start.wait()
        return found

    with ThreadPoolExecutor(8) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os.path, "lexists", lexists)
        won = list(pool.map(lambda number: store.put_new("objects/1", b"%d" % number), range(8)))
    assert sum(won) == 1
    assert store.get("objects/1") == b"%d" % won.index(True)
    assert names(tmp_path / "objects") == ["1"]


def test_an_object_that_does_not_fit_leaves_nothing(tmp_path: Path):
    store = open_store(str(tmp_path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(StacpinError, match="objects/1 was not written: there is no room") as error:
            store.put_new("objects/1", b"x" * 101)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert error.value.kind == "disk-full"
    assert names(tmp_path / "objects") == []


# -- the order of system calls, seen from outside

COMMIT = """
import sys
sys.path[:0] = sys.argv[2:]
from versioning.catalog import Catalog
from version_helpers import item_of
from versioning.commit import commit
catalog = Catalog.create(sys.argv[1])
catalog.store.put_stream("objects/aa/large", [b"x" * 9_000_000])
stored = catalog.objects.put_bytes(b"data", ".tif")
commit(catalog.dataset("ds"), items=[item_of("a", 1)], message="m", author="a")
"""
_CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += ([^-].*)$")


def test_everything_is_on_disk_before_the_record_has_its_name(tmp_path: Path):
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    trace, here = tmp_path / "trace", Path(__file__)
    calls = "openat,link,linkat,rename,renameat,renameat2,fsync,syncfs,mkdir"
    ran = subprocess.run(
        ["strace", "-f", "-y", "-s", "300", "-e", f"trace={calls}", "-o", trace, sys.executable, "-c", COMMIT,
         tmp_path / "cat", here.parents[2], here.parent],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "PTRACE" in ran.stderr:
        pytest.skip("this machine lets nobody trace")
    assert ran.returncode == 0, ran.stderr
    lines = [found.groups() for line in trace.read_text().splitlines() if (found := _CALL.match(line))]
    lines = [(name, words) for name, words, _ in lines if str(tmp_path / "cat") in words]
    record = next(at for at, (name, words) in enumerate(lines) if name.startswith("link") and words.count("/versions/"))
    sync = max(at for at, (name, _) in enumerate(lines[:record]) if name == "syncfs")
    named = {
        kind: max(
            at for at, (name, words) in enumerate(lines) if name.startswith(("link", "rename")) and f"/{kind}/" in words
        )
        for kind in ("objects", "manifests", "snapshots")
    }
    assert max(named.values()) < sync < record, (named, sync, record)
    after_sync = [name for name, words in lines[sync + 1 : record] if "/versions" in words and name == "fsync"]
    assert after_sync, "the record's own bytes"
    assert any(name == "fsync" and words.endswith("/versions>") for name, words in lines[record + 1 :]), "its folder"
    # The folders of the chain are on disk too.
    for folder in ("datasets", "datasets/ds"):
        assert any(name == "fsync" and words.endswith(f"/cat/{folder}>") for name, words in lines)
