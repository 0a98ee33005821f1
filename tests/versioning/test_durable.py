"""Records on a local disk: whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from versioning import durable


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_created_once(tmp_path: Path):
    path = tmp_path / "a" / "b" / "1.json"
    assert durable.create_file(path, b"one")
    assert not durable.create_file(path, b"two")
    assert path.read_bytes() == b"one"
    assert names(path.parent) == ["1.json"]


def test_one_of_many_wins(tmp_path: Path):
    start = threading.Barrier(16)

    def write(number: int) -> bool:
        start.wait()
        return durable.create_file(tmp_path / "new" / "1.json", b"%d" % number)

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
    assert durable.create_file(path, b"one")
    assert not durable.create_file(path, b"two")
    assert path.read_bytes() == b"one"
    assert names(tmp_path) == ["1.json"]


@pytest.mark.usefixtures("no_links")
def test_without_either_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(durable, "_renameat2", lambda: None)
    with pytest.raises(OSError, match="no hard links"):
        durable.create_file(tmp_path / "1.json", b"one")
    assert names(tmp_path) == []


def test_a_disk_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "I/O error")

    (tmp_path / "d").mkdir()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="I/O error"):
        durable.create_file(tmp_path / "d" / "1.json", b"one")
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
    assert durable.create_file(tmp_path / "new" / "1.json", b"one")
    assert order == ["folder", "file", "link", "folder"]


def test_what_was_written_before_is_made_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: list[str] = []
    monkeypatch.setattr(os, "sync", lambda: synced.append("all"))
    monkeypatch.setattr(durable, "_syncfs", lambda: lambda _: 0)
    durable.sync_tree(tmp_path)
    assert synced == []
    monkeypatch.setattr(durable, "_syncfs", lambda: lambda _: -1)
    durable.sync_tree(tmp_path)
    monkeypatch.setattr(durable, "_syncfs", lambda: None)
    durable.sync_tree(tmp_path)
    assert synced == ["all", "all"]


def test_the_system_has_syncfs_where_it_is_linux(tmp_path: Path):
    durable.sync_tree(tmp_path)
    if os.uname().sysname == "Linux":
        assert durable._syncfs() is not None
