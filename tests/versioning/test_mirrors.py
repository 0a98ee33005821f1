"""Reading falls back to mirrors, proven; a mirror that lags or lies changes nothing that the catalog itself says."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from s3 import run_s3
from version_helpers import AUTHOR, Clock, Wrapped, local_store, save, values_of

from versioning.catalog import Catalog
from versioning.errors import Forbidden, Integrity, NotFound, StorageUnavailable
from versioning.mirrored import open_mirrored, primary_of
from versioning.mirrors import MIRRORS, Mirror, content_name, declared_mirrors
from versioning.records import SettingsRecord
from versioning.store import Store, open_store

DATA = b"data"


@pytest.fixture(autouse=True)
def _no_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MIRRORS, raising=False)


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What was said to the log about mirrors."""
    with caplog.at_level(logging.WARNING, "stacpin.mirrors"):
        yield _Messages(caplog)


class _Messages(list[str]):
    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        super().__init__()
        self._caplog = caplog

    def __iter__(self) -> Iterator[str]:
        return iter(self._caplog.messages)

    def __len__(self) -> int:
        return len(self._caplog.messages)


def fill(store: Store) -> Catalog:
    """Two versions with an object, a tag and a pointer."""
    catalog = Catalog.create(store, clock=Clock())
    catalog.objects.put_bytes(DATA, ".tif")
    dataset = catalog.dataset("ds")
    save(dataset, {"a": 1})
    save(dataset, {"a": 2, "b": 2})
    dataset.tag("gold", 1, author=AUTHOR)
    dataset.move("stable", 1, why="w", author=AUTHOR)
    return catalog


def copy(source: Store, target: Store) -> Store:
    for entry in source.list(""):
        target.put_new(entry.path, source.get(entry.path))
    return target


class Down(Wrapped):
    """A store that can be switched off."""

    down = False

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.asked = 0

    def _check(self) -> None:
        self.asked += 1
        if self.down:
            raise StorageUnavailable(f"{self.url} is down.")

    def get(self, path: str) -> bytes:
        self._check()
        return self.inner.get(path)

    def get_range(self, path: str, start: int, length: int) -> bytes:
        self._check()
        return self.inner.get_range(path, start, length)

    def stream(self, path: str) -> Iterator[memoryview]:
        self._check()
        return self.inner.stream(path)

    def size(self, path: str) -> int | None:
        self._check()
        return self.inner.size(path)

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Any]:
        self._check()
        return self.inner.list(prefix, after=after)

    def folders(self, prefix: str) -> list[str]:
        self._check()
        return self.inner.folders(prefix)


@pytest.fixture
def pair(any_store: Store) -> tuple[Store, Store]:
    """A filled store of any kind, and a copy of it in memory."""
    fill(any_store)
    return any_store, copy(any_store, open_store("memory://mirror"))


def reader(primary: Store, *mirrors: Store | str) -> Catalog:
    return Catalog.open(open_mirrored(primary, mirrors))


def named_by_content(store: Store) -> list[str]:
    return [entry.path for entry in store.list("") if content_name(entry.path) is not None]


def everything(catalog: Catalog) -> Any:
    version = catalog.resolve("ds@v2")
    blocks = [bytes(block) for _, ref in version.assets() for block in catalog.store.stream(ref.href)]
    return values_of(version), set(blocks)


@pytest.mark.parametrize("harm", ["missing", "truncated", "altered", "emptied"])
def test_what_is_damaged_is_read_from_the_mirror(pair: tuple[Store, Store], warned: list[str], harm: str):
    primary, mirror = pair
    right = everything(reader(primary))
    paths = named_by_content(primary)
    assert len(paths) == 5
    for path in paths:
        data = primary.get(path)
        if harm == "missing":
            primary.delete([path])
        else:
            bad = {"truncated": data[:-1], "altered": data[:-1] + b"?", "emptied": b""}[harm]
            primary.replace(path, bad)
    with pytest.raises((Integrity, NotFound)):
        everything(reader(primary))
    assert everything(reader(primary, mirror)) == right == ({"a": 2, "b": 2}, {DATA})
    (said,) = warned
    assert "are read from the mirror memory://mirror" in said
    # Reading has mended nothing.
    with pytest.raises((Integrity, NotFound)):
        everything(reader(primary))


def test_a_healthy_catalog_asks_no_mirror(pair: tuple[Store, Store], warned: list[str]):
    primary, mirror = pair
    watched = Down(mirror)
    assert everything(reader(primary, watched))[1] == {DATA}
    assert (watched.asked, list(warned)) == (0, [])


def test_a_lying_mirror_is_named_and_not_used(pair: tuple[Store, Store], warned: list[str]):
    primary, mirror = pair
    paths = named_by_content(primary)
    primary.delete(paths)
    liar = open_store("memory://liar")
    for path in paths:
        liar.put_new(path, mirror.get(path)[:-1] + b"?")
    with pytest.raises(Integrity, match="is missing"):
        everything(reader(primary, liar))
    assert [text for text in warned if "has other bytes" in text and "memory://liar" in text]
    # The next one is asked.
    assert everything(reader(primary, liar, mirror)) == ({"a": 2, "b": 2}, {DATA})


def test_ranges_of_a_lost_object_are_proven(pair: tuple[Store, Store]):
    primary, mirror = pair
    (path,) = [path for path in named_by_content(primary) if path.startswith("objects/")]
    primary.delete([path])
    store = open_mirrored(primary, [mirror])
    assert (store.get_range(path, 1, 2), store.size(path), store.get_range(path, 0, 4)) == (b"at", 4, DATA)
    mirror.replace(path, b"lies")
    assert store.get_range(path, 0, 4) == DATA  # what was proven is held
    with pytest.raises(NotFound):
        open_mirrored(primary, [mirror]).get_range(path, 0, 4)


def test_a_mirror_that_lags_makes_nothing_older(pair: tuple[Store, Store], warned: list[str]):
    primary, mirror = pair
    newer = save(Catalog.open(primary).dataset("ds"), {"c": 3}).version
    mirrored = reader(primary, mirror)
    assert mirrored.resolve("ds").digest == newer.digest
    assert mirrored.dataset("ds").head() == 3
    # And one that is ahead makes nothing newer.
    ahead = copy(primary, open_store("memory://ahead"))
    save(Catalog.open(ahead).dataset("ds"), {"d": 4})
    assert reader(primary, ahead).resolve("ds").digest == newer.digest
    with pytest.raises(NotFound, match="ds@v4 does not exist"):
        reader(primary, ahead).resolve("ds@v4")
    assert list(warned) == []


class Dies(Down):
    """A store that answers so many calls, and then no more."""

    left = 10**6

    def _check(self) -> None:
        self.left -= 1
        self.down = self.left < 0
        super()._check()


@pytest.mark.parametrize("ref", ["latest", "{2026-03-02}", "stable"])
def test_a_catalog_that_dies_while_it_is_asked_becomes_no_older(pair: tuple[Store, Store], ref: str):
    """The log of the pointer was its own, and the versions that came after are not in the mirror."""
    inner, mirror = pair
    catalog = Catalog.open(inner, clock=Clock())
    for value in (3, 4, 5):
        save(catalog.dataset("ds"), {"c": value})
    catalog.dataset("ds").move("stable", 5, why="w", author=AUTHOR)
    refused = calls = 0
    for calls in range(1, 100):
        primary = Dies(inner)
        mirrored = reader(primary, mirror)
        primary.left = calls
        try:
            assert mirrored.dataset("ds").resolve(ref).number == 5
        except StorageUnavailable:
            refused += 1
        if primary.left >= 0:
            break
    assert 3 < refused < calls


def test_what_a_mirror_said_is_not_remembered(pair: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch):
    inner = pair[0]
    ahead = copy(inner, open_store("memory://ahead"))
    save(Catalog.open(ahead, clock=Clock()).dataset("ds"), {"d": 4}, message="of the mirror")
    newer = save(Catalog.open(inner, clock=Clock()).dataset("ds"), {"c": 3}).version
    monkeypatch.setattr("versioning.mirrored._ASK_AGAIN", 0.0)
    primary = Down(inner)
    mirrored = reader(primary, ahead)
    primary.down = True
    dataset = mirrored.dataset("ds")
    assert (dataset.head(), dataset.record(3).message) == (3, "of the mirror")  # unproven, and told
    primary.down = False
    assert (dataset.record(3).message, dataset.resolve("latest").digest) == ("m", newer.digest)


@pytest.mark.parametrize("harm", [None, b"", b"half a rec"])
def test_a_lost_record_is_proven_by_the_next_one(pair: tuple[Store, Store], harm: bytes | None):
    primary, mirror = pair
    path = "datasets/ds/versions/00000001.json"
    right = primary.get(path)
    if harm is None:
        primary.delete([path])
    else:
        primary.replace(path, harm)
    store = open_mirrored(primary, [mirror])
    assert store.get(path) == right
    mirror.replace(path, right.replace(b'"message":"m"', b'"message":"x"'))
    if harm is None:
        with pytest.raises(NotFound):
            open_mirrored(primary, [mirror]).get(path)
    else:
        assert open_mirrored(primary, [mirror]).get(path) == harm
    # The newest has no next one that proves it.
    newest = "datasets/ds/versions/00000002.json"
    primary.delete([newest])
    with pytest.raises(NotFound):
        open_mirrored(primary, [mirror]).get(newest)


def test_while_the_catalog_is_down(pair: tuple[Store, Store], warned: list[str]):
    inner, mirror = pair
    primary = Down(inner)
    mirrored = reader(primary, mirror)
    primary.down = True
    for pin in ("ds@v2", "ds@v1", "ds@gold"):
        assert mirrored.resolve(pin).record.dataset == "ds"
    assert everything(mirrored)[0] == {"a": 2, "b": 2}
    digest = mirrored.resolve("ds@v2").digest
    assert mirrored.resolve(f"ds@{digest}").number == 2
    for pin in ("ds", "ds@latest", "ds@stable", "ds@{2026-03-01}"):
        with pytest.raises(StorageUnavailable, match="what latest and pointers mean is unknown") as caught:
            mirrored.resolve(pin)
        assert (caught.value.kind, caught.value.exit_code) == ("pointers-unknown", 60)
        assert "ds@v3" in str(caught.value) or "dataset@v3" in str(caught.value)
    # What the mirror lacks may be in the catalog: nobody says that it does not exist.
    for pin in ("ds@v3", "other@v1"):
        with pytest.raises(StorageUnavailable):
            mirrored.resolve(pin)
    assert len([text for text in warned if "unproven" in text]) == 1
    # It is not asked again at each step: each try would wait for its own retries.
    assert primary.asked < 60
    assert reader(primary, mirror).resolve("ds@v1").number == 1


def test_down_and_up_again(pair: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch):
    inner, mirror = pair
    primary = Down(inner)
    mirrored = reader(primary, mirror)
    primary.down = True
    assert mirrored.resolve("ds@v1").number == 1
    primary.down = False
    with pytest.raises(StorageUnavailable):
        mirrored.resolve("ds")  # asked a moment ago
    monkeypatch.setattr("versioning.mirrored._ASK_AGAIN", 0.0)
    fresh = reader(primary, mirror)
    primary.down = True
    assert fresh.resolve("ds@v1").number == 1
    primary.down = False
    assert fresh.resolve("ds").number == 2


def test_all_down(pair: tuple[Store, Store]):
    primary, mirror = Down(pair[0]), Down(pair[1])
    mirrored = reader(primary, mirror)
    primary.down = mirror.down = True
    for pin in ("ds@v1", "ds"):
        with pytest.raises(StorageUnavailable):
            mirrored.resolve(pin)
    with pytest.raises(StorageUnavailable):
        mirrored.dataset_ids()
    (path,) = [path for path in named_by_content(pair[0]) if path.startswith("objects/")]
    for call in (mirrored.store.get, mirrored.store.size, lambda path: list(mirrored.store.stream(path))):
        with pytest.raises(StorageUnavailable):
            call(path)


def test_a_disk_that_is_not_mounted(tmp_path: Path):
    fill(local_store(tmp_path / "catalog"))
    shutil.copytree(tmp_path / "catalog", tmp_path / "mirror")
    shutil.move(tmp_path / "catalog", tmp_path / "gone")
    catalog = reader(str(tmp_path / "catalog"), str(tmp_path / "mirror"))  # type: ignore[arg-type]
    assert everything(catalog) == ({"a": 2, "b": 2}, {DATA})
    with pytest.raises(StorageUnavailable):
        catalog.resolve("ds")
    with pytest.raises(NotFound, match="does not exist"):
        open_mirrored(str(tmp_path / "catalog"))
    assert not (tmp_path / "catalog").exists()


def test_a_server_that_is_really_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warned: list[str]):
    (tmp_path / "server").mkdir()
    with run_s3(tmp_path / "server") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        url = f"{server.new_bucket()}/catalog"
        fill(open_store(url))
        mirror = copy(open_store(url), local_store(tmp_path / "mirror"))
        monkeypatch.setenv(MIRRORS, f"  {tmp_path / 'nowhere'}\n{tmp_path / 'mirror'} ")
        assert Catalog.open(open_mirrored(url)).resolve("ds").number == 2
        assert list(warned) == []
    catalog = Catalog.open(open_mirrored(url))
    assert everything(catalog) == ({"a": 2, "b": 2}, {DATA})
    with pytest.raises(StorageUnavailable, match=r"s3://.* does not answer"):
        catalog.resolve("ds@latest")
    assert [text for text in warned if str(tmp_path / "nowhere") in text]
    assert primary_of(catalog.store).url == url
    assert primary_of(mirror) is mirror


def test_nothing_is_written(pair: tuple[Store, Store]):
    catalog = reader(*pair)
    store = catalog.store
    for write in (
        lambda: store.put_new("objects/x", b""),
        lambda: store.put_record("x", b""),
        lambda: store.put_stream("x", []),
        lambda: store.replace("x", b""),
        lambda: store.delete(["x"]),
        lambda: save(catalog.dataset("ds"), {"z": 1}),
    ):
        with pytest.raises(Forbidden, match="for reading"):
            write()
    assert Catalog.open(pair[0]).dataset("ds").head() == Catalog.open(pair[1]).dataset("ds").head() == 2


def settings_with(mirrors: object) -> SettingsRecord:
    return SettingsRecord.model_validate(
        {"number": 2, "time": "2026-03-01T00:00:00.000000Z", "nonce": "n", "mirrors": mirrors}
    )


def test_what_settings_may_name(warned: list[str]):
    assert declared_mirrors(SettingsRecord(number=1, time="2026-03-01T00:00:00.000000Z", nonce="n")) == []
    named = ["s3://a/b", "/etc", "gs://c", "file:///etc", "memory://x", "http://host/", "../x", 7, "C:\\x", "AZ://d"]
    assert declared_mirrors(settings_with(named)) == ["s3://a/b", "gs://c"]
    assert len(warned) == 5
    assert len(declared_mirrors(settings_with([f"s3://b{number}" for number in range(99)]))) == 8
    for odd in (None, "s3://a", {"a": 1}, 3):
        assert declared_mirrors(settings_with(odd)) == []


def test_mirrors_in_the_settings_are_used(
    tmp_path: Path, s3_server: Any, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
):
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    store = local_store(tmp_path / "catalog")
    fill(store)
    url = f"{s3_bucket}/mirror-{tmp_path.name}"
    copy(store, open_store(url))
    store.put_new("settings/00000002.json", settings_with([url]).encode())
    right = everything(reader(store))
    store.delete(named_by_content(store))
    assert everything(reader(store)) == right
    assert [mirror.url for mirror in open_mirrored(store, [url]).mirrors] == [url]
    store.replace("settings/00000002.json", b"{}")
    with pytest.raises(Integrity):
        everything(reader(store))


def test_where_an_object_is(tmp_path: Path):
    store = local_store(tmp_path / "catalog")
    fill(store)
    shutil.copytree(tmp_path / "catalog", tmp_path / "mirror")
    (path,) = [path for path in named_by_content(store) if path.startswith("objects/")]
    mirrored = open_mirrored(store, [str(tmp_path / "nowhere"), str(tmp_path / "mirror")])
    assert mirrored.where(path) == str(tmp_path / "catalog" / path)
    store.delete([path])
    assert mirrored.where(path) == str(tmp_path / "mirror" / path)
    assert open_mirrored(store).where(path) == str(tmp_path / "catalog" / path)
    remote = copy(open_store(str(tmp_path / "mirror")), open_store("memory://m"))
    assert open_mirrored(store, [remote]).where(path) == f"memory://m/{path}"


def test_names_of_content():
    name = "ab" + "0" * 62
    assert content_name(f"objects/ab/{name}.tif") == bytes.fromhex(name)
    assert content_name(f"datasets/ds/manifests/{name}.parquet") == bytes.fromhex(name)
    for path in (
        f"objects/ac/{name}",
        f"objects/ab/{name}.TIF",
        f"objects/ab/../ab/{name}",
        f"datasets/../manifests/{name}.parquet",
        f"datasets/ds/versions/{name}.json",
        f"objects/ab/{name}\n",
    ):
        assert content_name(path) is None
    assert Mirror("memory://").fetch("stacpin.json") is None
