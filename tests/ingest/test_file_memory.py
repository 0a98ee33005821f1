"""What was found in a file is believed while the file is provably the same, and never longer."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from ingest_samples import DAY, LABELS, RASTERS, Project, features, pixels, write_geojson, write_raster

from ingest.cache import DigestCache
from ingest.file_memory import FileMemory, Seen
from ingest.inspect import Inspection
from ingest.inspect_all import inspect_all
from ingest.processes import Processes
from ingest.sources import SourceAsset, find_items
from versioning.errors import StacpinError
from versioning.events import Listener, silent

GRAIN = 0.03  # seconds; what the kernel's clock really has is 4 to 10 ms


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds of waiting in every test prove nothing more than three hundredths do."""
    monkeypatch.setattr("ingest.file_memory.GRAIN", int(GRAIN * 1e9))


def settle() -> None:
    time.sleep(GRAIN * 2)


def assets(project: Project) -> list[SourceAsset]:
    from ingest.recipe import load_recipe

    recipe = load_recipe(project.folder / "stacpin.yaml")
    return [asset for item in find_items(recipe, project.folder) for asset in item.assets.values()]


def inspected(project: Project, *, workers: int = 1, on_event: Listener = silent) -> list[Inspection | StacpinError]:
    cache = DigestCache()
    with Processes(workers) as processes:
        found = dict(inspect_all(assets(project), cache, processes=processes, on_event=on_event))
    cache.close()
    return [found[at] for at in sorted(found)]


def opened(project: Project, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that an inspection opens."""
    from ingest import inspect_all as module

    names: list[str] = []
    real = module._inspected

    def noted(job: Any, cache: DigestCache) -> Any:
        names.append(job.path.name)
        return real(job, cache)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_inspected", noted)
        inspected(project)
    return sorted(names)


def rewrite(path: Path, data: bytes) -> None:
    """Other bytes, with the old time of writing, as rsync and tar set it."""
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def two(project: Project, settled: None) -> Project:
    """Two rasters, inspected once."""
    for seed, name in enumerate("ab"):
        write_raster(project.folder / f"{name}.tif", pixels(seed))
    project.recipe()
    settle()
    inspected(project)
    return project


def test_an_unchanged_file_is_not_opened(two: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    first = inspected(two)
    assert opened(two, monkeypatch) == []
    for each in first:
        assert isinstance(each, Inspection)
        assert each.settled
        assert each.bytes_digest == hashlib.sha256(each.path.read_bytes()).digest()


def test_what_is_remembered_is_what_was_found(two: Project, tmp_path: Path) -> None:
    again = inspected(two)
    (tmp_path / "cache" / "files.sqlite").unlink()
    fresh = inspected(two)
    assert again == fresh


def test_other_bytes_of_the_same_size_and_time_are_seen(two: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    file = two.folder / "a.tif"
    data = file.read_bytes()
    rewrite(file, data[:-1] + bytes([data[-1] ^ 1]))
    assert opened(two, monkeypatch) == ["a.tif"]


def test_an_exchanged_file_is_seen(two: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    os.replace(two.folder / "b.tif", two.folder / "a.tif")  # noqa: PTH105 - as mv does
    assert opened(two, monkeypatch) == ["a.tif"]


@pytest.mark.parametrize("name", ["a.tif.msk", "a.hdr", "A.TIF.OVR", "a.tif.aux.xml"])
def test_a_file_that_appears_beside_it_is_seen(two: Project, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write_raster(two.folder / name, pixels(3))
    assert opened(two, monkeypatch) == ["a.tif"]


def test_the_source_of_a_vrt_is_seen(project: Project, settled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from rasterio.shutil import copy as gdal_copy

    write_raster(project.folder / "in" / "real.tif", pixels(1))
    gdal_copy(project.folder / "in" / "real.tif", project.folder / "in" / "x.vrt", driver="VRT")
    project.recipe({"scenes": RASTERS | {"sources": "in/*.vrt"}})
    settle()
    (first,) = inspected(project)
    assert isinstance(first, Inspection)
    assert [path.name for path in first.others] == ["real.tif"]
    assert opened(project, monkeypatch) == []
    write_raster(project.folder / "in" / "real.tif", pixels(2))
    settle()
    (second,) = inspected(project)
    assert isinstance(second, Inspection)
    assert second.digest != first.digest
    assert opened(project, monkeypatch) == []
    write_raster(project.folder / "in" / "real.tif.msk", pixels(2))
    assert opened(project, monkeypatch) == ["x.vrt"]


def test_the_target_of_a_link_is_seen(project: Project, settled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    real = write_raster(project.folder / "real" / "r.tif", pixels(1))
    (project.folder / "a.tif").symlink_to(real)
    project.recipe()
    settle()
    inspected(project)
    assert opened(project, monkeypatch) == []
    rewrite(real, write_raster(project.folder / "other" / "o.tif", pixels(2)).read_bytes())
    assert opened(project, monkeypatch) == ["a.tif"]


def test_a_file_that_is_too_new_is_not_believed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the grain of the clock it can be written twice with one state. Here with the real two seconds."""
    write_raster(project.folder / "a.tif")
    project.recipe()
    (first,) = inspected(project)
    assert isinstance(first, Inspection)
    assert not first.settled
    assert opened(project, monkeypatch) == ["a.tif"]


def test_a_file_from_the_future_is_not_believed(two: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a clock that was an hour ahead: it costs time, until that time has come."""
    later = time.time_ns() + 3_600 * 10**9
    os.utime(two.folder / "a.tif", ns=(later, later))
    settle()
    inspected(two)
    assert opened(two, monkeypatch) == ["a.tif"]


def test_nothing_is_believed_that_was_read_in_the_future(two: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock was set back: the times that files had then will come again."""
    now = time.time_ns()
    with monkeypatch.context() as patch:
        patch.setattr("ingest.file_memory.time.time_ns", lambda: now - 3_600 * 10**9)
        assert opened(two, patch) == ["a.tif", "b.tif"]


def test_a_file_that_is_written_to_meanwhile_is_not_remembered(two: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from ingest import inspect_all as module

    file = two.folder / "a.tif"
    write_raster(file, pixels(5))
    settle()
    real = module.inspect_raster

    def interrupted(path: Path, *more: Any, **options: Any) -> Inspection:
        result = real(path, *more, **options)
        rewrite(file, file.read_bytes()[:-1] + b"!")
        return result

    with monkeypatch.context() as patch:
        patch.setattr(module, "inspect_raster", interrupted)
        inspected(two)
    settle()
    assert opened(two, monkeypatch) == ["a.tif"]


def test_each_way_of_reading_is_remembered_by_itself(
    project: Project, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_geojson(project.folder / "labels.geojson", features())
    digests = set()
    settle()
    for layer in ({}, {"precision": 0.1}, {"kind": "file"}):
        project.recipe({"labels": LABELS | layer})
        (found,) = inspected(project)
        assert isinstance(found, Inspection)
        digests.add(found.digest)
        assert opened(project, monkeypatch) == []
    assert len(digests) == 3


@pytest.mark.parametrize("statement", ["update files set found = x'00'", "update files set found = '[[1], 2]'"])
def test_a_damaged_entry_costs_only_time(
    two: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    with sqlite3.connect(tmp_path / "cache" / "files.sqlite") as connection:
        connection.execute(statement)
    connection.close()
    assert opened(two, monkeypatch) == ["a.tif", "b.tif"]
    assert opened(two, monkeypatch) == []


def test_what_is_gone_is_forgotten(two: Project, tmp_path: Path) -> None:
    (two.folder / "a.tif").unlink()
    write_raster(two.folder / "c.tif")
    inspected(two)
    with sqlite3.connect(tmp_path / "cache" / "files.sqlite") as connection:
        names = [row[0] for row in connection.execute("select name from files")]
    connection.close()
    assert b"a.tif" not in names  # c.tif is remembered if it was looked at long enough after it was written
    assert b"b.tif" in names


def test_names_that_are_not_text(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(str(tmp_path)) + b"/\xff.tif")
    memory = FileMemory(tmp_path / "f.sqlite")
    memory.remember([Seen(path, "how", "s\udcff", 1, ["found"], {})])
    assert memory.recall([(path, "how", "s\udcff")]) == {(path, "how"): ["found"]}
    assert memory.recall([(path, "how", "other"), (path, "other", "s\udcff")]) == {}
    memory.close()


@pytest.mark.parametrize("mode", ["threads", "processes"])
def test_processes_find_what_threads_find(project: Project, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr("ingest.inspect_all._MANY", 2 if mode == "processes" else 100)
    monkeypatch.setattr("ingest.inspect_all._BATCH", 3)
    for seed in range(8):
        write_raster(project.folder / f"s{seed}.tif", pixels(seed))
    (project.folder / "s3.tif").write_text("no raster")
    project.recipe()
    found = inspected(project, workers=2)
    assert [isinstance(each, StacpinError) for each in found] == [at == 3 for at in range(8)]
    for each in found:
        if isinstance(each, StacpinError):
            assert "s3.tif" in each.message
            assert each.hint
        else:
            assert each.bytes_digest == hashlib.sha256(each.path.read_bytes()).digest()
            assert each.digest.startswith("r1:")
    known = DigestCache()
    assert all(known.get(each.fingerprint) == each.digest for each in found if isinstance(each, Inspection))
    known.close()


def test_progress_counts_every_file_once(two: Project) -> None:
    write_raster(two.folder / "c.tif")
    heard: list[tuple[int, int | None]] = []
    inspected(two, on_event=lambda event: heard.append((event.done, event.total)))
    assert heard[0] == (0, 3)
    assert heard[-1] == (3, 3)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)


def test_opaque_files_are_hashed_once(project: Project, settled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.folder / "notes.txt").write_text("n")
    project.recipe({"notes": {"kind": "file", "sources": "*.txt", "datetime": DAY}})
    settle()
    (found,) = inspected(project)
    assert isinstance(found, Inspection)
    assert found.digest == f"b1:{hashlib.sha256(b'n').hexdigest()}"
    assert opened(project, monkeypatch) == []
