"""The digest cache helps where it can and is never needed."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from ingest_samples import features, pixels, write_geojson, write_raster

from ingest.cache import DigestCache, fingerprint
from ingest.inspect import content_digest, inspect_labels, inspect_raster
from versioning.errors import InvalidInput, NotFound, StorageUnavailable


def test_it_remembers(tmp_path: Path) -> None:
    first = DigestCache(tmp_path / "c.sqlite")
    assert first.get("k") is None
    first.put("k", "r1:aa")
    first.put("k", "r1:bb")
    first.close()
    assert DigestCache(tmp_path / "c.sqlite").get("k") == "r1:aa"


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_costs_only_time(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "c.sqlite"
    file.write_bytes(content)
    cache = DigestCache(file)
    cache.put("k", "r1:aa")
    assert cache.get("k") in {None, "r1:aa"}
    assert content_digest(write_raster(tmp_path / "a.tif"), cache).startswith("r1:")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = DigestCache(tmp_path / "file" / "c.sqlite")
    cache.put("k", "r1:aa")
    assert cache.get("k") is None
    cache.close()


def test_a_table_of_another_shape(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "c.sqlite") as connection:
        connection.execute("create table digests (something text)")
    connection.close()
    cache = DigestCache(tmp_path / "c.sqlite")
    cache.put("k", "r1:aa")
    assert cache.get("k") is None


def test_threads_and_processes_share_it(tmp_path: Path) -> None:
    caches = [DigestCache(tmp_path / "c.sqlite") for _ in range(3)]

    def fill(number: int) -> None:
        for at in range(30):
            caches[number % 3].put(f"k{at}", f"r1:{at}")

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [caches[0].get(f"k{at}") for at in range(30)] == [f"r1:{at}" for at in range(30)]


def test_the_fingerprint_goes_by_bytes_and_parameters(tmp_path: Path) -> None:
    one, other = tmp_path / "a.tif", tmp_path / "b.tif"
    one.write_bytes(b"x")
    other.write_bytes(b"x")
    assert fingerprint([one], "raster", None) == fingerprint([other], "raster", None)
    different = {
        fingerprint([one], "raster", None),
        fingerprint([one], "raster", "None"),
        fingerprint([one], "raster", "EPSG:4326"),
        fingerprint([one], "labels", None),
        fingerprint([one, other], "raster", None),
    }
    assert len(different) == 5


def test_a_digest_is_taken_from_memory_only_for_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DigestCache(tmp_path / "c.sqlite")
    file = write_raster(tmp_path / "a.tif", pixels(1))
    first = inspect_raster(file, cache)
    with monkeypatch.context() as patch:
        patch.setattr("catalog.raster_digest.raster_digest_of", lambda *_: pytest.fail("it was decoded again"))
        assert inspect_raster(file, cache) == first
    write_raster(file, pixels(2))
    assert inspect_raster(file, cache).digest != first.digest


@pytest.mark.parametrize("kind", ["raster", "labels"])
def test_a_file_that_is_written_to_meanwhile_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Otherwise the old bytes would stand for the new content in every later run."""
    cache = DigestCache(tmp_path / "c.sqlite")
    if kind == "raster":
        file, name = write_raster(tmp_path / "a.tif", pixels(1)), "catalog.raster_digest.raster_digest_of"
    else:
        file, name = write_geojson(tmp_path / "a.geojson"), "catalog.vector_digest.vector_digest"
    old = file.read_bytes()

    def interrupted(*_: object, **__: object) -> str:
        file.write_bytes(old + b" ")
        return "r1:of other bytes"

    with monkeypatch.context() as patch:
        patch.setattr(name, interrupted)
        with pytest.raises(StorageUnavailable, match="changed while it was read"):
            content_digest(file, cache)
    file.write_bytes(old)
    assert content_digest(file, cache) != "r1:of other bytes"


def test_the_mask_beside_a_raster_counts(tmp_path: Path) -> None:
    cache = DigestCache(tmp_path / "c.sqlite")
    file = write_raster(tmp_path / "a.tif")
    plain = inspect_raster(file, cache)
    import numpy as np
    import rasterio

    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="NO"), rasterio.open(file, "r+") as out:
        out.write_mask(np.zeros((60, 80), dtype=bool))
    assert file.with_name("a.tif.msk").exists()
    assert inspect_raster(file, cache).digest != plain.digest


def test_precision_and_layer_are_part_of_what_is_remembered(tmp_path: Path) -> None:
    cache = DigestCache(tmp_path / "c.sqlite")
    file = write_geojson(tmp_path / "l.geojson", features())
    assert inspect_labels(file, cache).digest != inspect_labels(file, cache, precision=0.1).digest


def test_any_file_has_a_content_digest(tmp_path: Path) -> None:
    cache = DigestCache(tmp_path / "c.sqlite")
    (tmp_path / "x.laz").write_bytes(b"abc")
    assert content_digest(tmp_path / "x.laz", cache).startswith("b1:")
    assert content_digest(write_geojson(tmp_path / "l.geojson"), cache).startswith("v1:")
    (tmp_path / "bad.tif").write_text("text")
    with pytest.raises(InvalidInput, match=r"bad\.tif"):
        content_digest(tmp_path / "bad.tif", cache)
    with pytest.raises(NotFound, match=r"none\.tif"):
        content_digest(tmp_path / "none.tif", cache)
    with pytest.raises(NotFound):
        content_digest(tmp_path, cache)
