"""Objects and manifest files: named by their bytes, and proven when they are read."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from version_helpers import Dies, Editable, Wrapped

from versioning import objects as module
from versioning.digests import sha256
from versioning.errors import Integrity, InvalidInput, NotFound, StorageUnavailable
from versioning.manifests import FileRef
from versioning.objects import ManifestFiles, Objects, hash_file
from versioning.rows import object_path
from versioning.store import Store, open_store

BIG = os.urandom(1024) * (17 * 1024)  # 17 MiB


@pytest.fixture
def big_file(tmp_path: Path) -> Path:
    path = tmp_path / "Big.TIFF"
    path.write_bytes(BIG)
    return path


def test_small_objects(any_store: Store, tmp_path: Path):
    (tmp_path / "a.TIF").write_bytes(b"pixels")
    objects = Objects(any_store)
    ref = objects.put_file(tmp_path / "a.TIF")
    digest = hashlib.sha256(b"pixels")
    assert ref.href == f"objects/{digest.hexdigest()[:2]}/{digest.hexdigest()}.tif"
    assert (ref.size, ref.checksum) == (6, "1220" + digest.hexdigest())
    assert objects.put_bytes(b"pixels", ".tif") == ref
    assert b"".join(objects.read(ref.href, ref.sha256, ref.size)) == b"pixels"
    assert objects.put_bytes(b"").size == 0
    assert len(list(any_store.list("objects"))) == 2


def test_large_objects(any_store: Store, big_file: Path):
    objects = Objects(any_store)
    ref = objects.put_file(big_file)
    assert ref.href.endswith(".tif")
    assert (ref.size, ref.sha256) == (len(BIG), hashlib.sha256(BIG).digest())
    assert b"".join(objects.read(ref.href, ref.sha256, ref.size)) == BIG
    assert objects.put_file(big_file, known=hash_file(big_file)) == ref


def test_a_large_object_that_is_there_is_not_sent_again(big_file: Path):
    class NoStream(Wrapped):
        def put_stream(self, path, chunks):
            raise AssertionError("sent again")

    store = open_store("memory://")
    Objects(store).put_file(big_file)
    assert Objects(NoStream(store)).put_file(big_file).size == len(BIG)


def test_a_file_that_changes_while_it_is_stored(any_store: Store, big_file: Path):
    with pytest.raises(InvalidInput, match="changed while it was being stored"):
        Objects(any_store).put_file(big_file, known=hashlib.sha256(b"what it was").digest())
    assert list(any_store.list("objects")) == []


def test_a_file_that_grows_between_looking_and_sending(big_file: Path, monkeypatch: pytest.MonkeyPatch):
    real = module.hash_file

    def grow(path: Path) -> bytes:
        digest = real(path)
        with path.open("ab") as file:
            file.write(b"more")
        return digest

    monkeypatch.setattr(module, "hash_file", grow)
    store = open_store("memory://")
    with pytest.raises(InvalidInput, match="changed"):
        Objects(store).put_file(big_file)
    assert list(store.list("objects")) == []


@pytest.mark.parametrize("there", [b"", b"pix"])
def test_what_a_power_cut_has_torn_is_written_again(tmp_path: Path, there: bytes):
    for url in ("memory://", str(tmp_path)):
        store = open_store(url)
        path = object_path(hashlib.sha256(b"pixels").digest(), ".tif")
        store.put_new(path, there)
        assert Objects(store).put_bytes(b"pixels", ".tif").href == path
        assert store.get(path) == b"pixels"


def test_a_large_object_that_is_torn_is_written_again(tmp_path: Path, big_file: Path):
    for url in ("memory://", str(tmp_path)):
        store = open_store(url)
        path = object_path(hashlib.sha256(BIG).digest(), ".tif")
        store.put_new(path, BIG[:-1])
        assert Objects(store).put_file(big_file).href == path
        assert store.get(path) == BIG


def test_a_longer_object_of_that_name_is_left_alone(big_file: Path):
    """No interrupted write leaves more than it was given: somebody else's bytes are kept for who looks into it."""
    for data, put in ((b"pixels", None), (BIG, big_file)):
        store = open_store("memory://")
        path = object_path(hashlib.sha256(data).digest(), ".tif")
        store.put_new(path, data + b"!")
        with pytest.raises(Integrity, match=path) as caught:
            Objects(store).put_bytes(data, ".tif") if put is None else Objects(store).put_file(put)
        assert caught.value.kind == "altered"
        assert store.get(path) == data + b"!"


def test_a_manifest_of_that_name_with_other_bytes_is_replaced():
    store = open_store("memory://")
    files = ManifestFiles(store, "datasets/ds/manifests")
    for wrong in (b"", b"row", b"r0ws", b"rows and more"):
        ref = FileRef(sha256(b"rows"), 4)
        store.replace(files.path(ref), wrong)
        assert files.put(b"rows") == ref
        assert files.get(ref) == b"rows"


@pytest.mark.parametrize(("stored", "kind"), [(b"pix", "truncated"), (b"pixels!", "altered"), (b"pixelz", "altered")])
def test_reading_proves_the_bytes(stored: bytes, kind: str):
    store = Editable(open_store("memory://"))
    ref = Objects(store).put_bytes(b"pixels", ".tif")
    store.changed[ref.href] = stored
    with pytest.raises(Integrity, match=ref.href) as caught:
        list(Objects(store).read(ref.href, ref.sha256, ref.size))
    assert caught.value.kind == kind
    assert caught.value.hint


def test_reading_what_is_not_there():
    with pytest.raises(NotFound):
        list(Objects(open_store("memory://")).read("objects/00/" + "0" * 64, bytes(32), 1))


def test_a_store_that_dies_leaves_no_object(big_file: Path):
    inner = open_store("memory://")
    with pytest.raises(StorageUnavailable):
        Objects(Dies(inner, 1, after=False)).put_file(big_file)
    assert list(inner.list("")) == []


def test_manifest_files():
    store = Editable(open_store("memory://"))
    files = ManifestFiles(store, "datasets/ds/manifests")
    ref = files.put(b"rows")
    assert files.put(b"rows") == ref == FileRef(hashlib.sha256(b"rows").digest(), 4)
    path = f"datasets/ds/manifests/{hashlib.sha256(b'rows').hexdigest()}.parquet"
    assert [entry.path for entry in store.list("")] == [path]
    assert files.get(ref) == b"rows"
    for data, kind in ((b"row", "truncated"), (b"rows!", "altered"), (b"r0ws", "altered"), (None, "missing")):
        store.changed[path] = data
        with pytest.raises(Integrity, match=path) as caught:
            files.get(ref)
        assert (caught.value.kind, caught.value.exit_code) == (kind, 30)


STORE_AND_READ = """
import sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from versioning.objects import Objects
from versioning.store import open_store
objects, source = Objects(open_store(sys.argv[1], create=True)), Path(sys.argv[2])
ref = objects.put_file(source)
assert sum(len(block) for block in objects.read(ref.href, ref.sha256, ref.size)) == ref.size
status = Path("/proc/self/status").read_text()  # getrusage also counts what the process was before exec
print(int(status.split("VmHWM:")[1].split()[0]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
def test_a_large_file_takes_little_memory(tmp_path: Path):
    """In a process of its own: the peak is of its whole life."""
    source = tmp_path / "large.tif"
    with source.open("wb") as file:
        file.truncate(600_000_000)
    ran = subprocess.run(
        [sys.executable, "-c", STORE_AND_READ, tmp_path / "catalog", source, Path(__file__).parents[2]],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < 200
