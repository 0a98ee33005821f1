"""``status`` answers from its note only while a plan would answer the same."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from cli_helpers import Cli, Ran
from rasterio import Affine

from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.records import ExpiryRecord

GRAIN = 0.03  # seconds; what the kernel's clock really has is 4 to 10 ms
RECIPE = """dataset: tiles
catalog: ../catalog
layers:
  scenes:
    kind: raster
    sources: [tiles/*.tif, links/*.tif]
    datetime: 2024-05-01
    metadata: meta.csv
  more:
    kind: file
    sources: '**/*.txt'
    datetime: 2024-05-01
    optional: true
"""


def write_tile(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(1, 200, (1, 16, 16), dtype="uint8")
    place = {"crs": "EPSG:32618", "transform": Affine(10, 0, 500_000, 0, -10, 4_000_000)}
    with rasterio.open(path, "w", driver="GTiff", width=16, height=16, count=1, dtype="uint8", **place) as out:
        out.write(values)
    return path


def settle() -> None:
    time.sleep(GRAIN * 2)


@dataclass
class Place:
    """A recipe of three tiles, its catalog with one version, and a status that was asked once."""

    folder: Path
    cli: Cli
    patch: pytest.MonkeyPatch

    @property
    def catalog(self) -> Catalog:
        return Catalog.open(str(self.folder.parent / "catalog"))

    def status(self, *words: object) -> Ran:
        return self.cli("status", self.folder, *words)

    def quick(self, *words: object) -> bool:
        """Whether status answers without a plan."""
        planned: list[int] = []
        from ingest.run import Run

        real = Run.plan

        def plan(run: Run) -> Any:
            planned.append(1)
            return real(run)

        with self.patch.context() as patch:
            patch.setattr(Run, "plan", plan)
            ran = self.status(*words)
        assert ran.code == 0, ran.err
        return not planned


@pytest.fixture
def place(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("STACPIN_CACHE", str(tmp_path / "cache"))
    for name in ("file_memory", "quick"):
        monkeypatch.setattr(f"ingest.{name}.GRAIN", int(GRAIN * 1e9))
    folder = tmp_path / "work"
    for seed, name in enumerate(("a", "b")):
        write_tile(folder / "tiles" / f"{name}.tif", seed)
    write_tile(folder / "store" / "c.tif", 3)
    (folder / "links").mkdir()
    (folder / "links" / "l.tif").symlink_to(folder / "store" / "c.tif")
    (folder / "meta.csv").write_text("id,eo:cloud_cover\na,5\nb,5\n")
    (folder / "stacpin.yaml").write_text(RECIPE)
    settle()
    assert cli("ingest", folder, "-m", "m").code == 0
    return Place(folder, cli, monkeypatch)


def test_after_an_ingest_the_first_status_is_quick(place: Place) -> None:
    assert place.quick()
    assert place.quick()


def test_it_says_what_a_plan_says(place: Place, tmp_path: Path) -> None:
    quick = place.status().out, place.status("--json").json
    assert place.quick("--json"), "the plan was kept when it was asked for"
    quick = place.status().out, place.status("--json").json
    shutil.rmtree(tmp_path / "cache")
    assert quick == (place.status().out, place.status("--json").json)
    assert "0 new, 0 changed, 3 unchanged, 0 removed, 0 refused" in quick[0]


def _same_size_and_time(folder: Path) -> None:
    file = folder / "tiles" / "a.tif"
    before = file.stat()
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _relink(folder: Path) -> None:
    (folder / "links" / "l.tif").unlink()
    (folder / "links" / "l.tif").symlink_to(write_tile(folder / "store" / "d.tif", 9))


def _touch(folder: Path) -> None:
    os.utime(folder / "tiles" / "a.tif")


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "bytes": (_same_size_and_time, "1 changed, 2 unchanged"),
    "added": (lambda f: write_tile(f / "tiles" / "d.tif", 7), "1 new, 0 changed, 3 unchanged"),
    "removed": (lambda f: (f / "tiles" / "a.tif").unlink(), "2 unchanged, 1 removed"),
    "renamed": (
        lambda f: (f / "tiles" / "a.tif").rename(f / "tiles" / "z.tif"),
        "1 new, 0 changed, 2 unchanged, 1 rem",
    ),
    "exchanged": (
        lambda f: (f / "tiles" / "a.tif").replace(f / "tiles" / "b.tif"),
        "1 changed, 1 unchanged, 1 removed",
    ),
    "link": (_relink, "1 changed, 2 unchanged"),
    "links-target": (lambda f: write_tile(f / "store" / "c.tif", 8), "1 changed, 2 unchanged"),
    "mask": (lambda f: write_tile(f / "tiles" / "a.tif.msk", 7), " unchanged"),
    "touched": (_touch, "3 unchanged"),
    "metadata": (lambda f: (f / "meta.csv").write_text("id,eo:cloud_cover\na,6\nb,5\n"), "1 changed, 2 unchanged"),
    "recipe": (lambda f: (f / "stacpin.yaml").write_text(RECIPE.replace("05-01", "06-01")), "3 changed, 0 unchanged"),
    "comment": (lambda f: (f / "stacpin.yaml").write_text(f"# why\n{RECIPE}"), "3 unchanged"),
    "deep": (lambda f: (f / "store" / "n.txt").write_text("n"), "1 new, 0 changed, 3 unchanged"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_of_the_sources_is_seen(place: Place, name: str) -> None:
    change, counts = CHANGES[name]
    assert place.quick()
    change(place.folder)
    assert not place.quick()
    assert counts in place.status().out


def _commit(place: Place) -> None:
    dataset = place.catalog.dataset("tiles")
    commit(dataset, remove=["a"], message="m", author="a", base=dataset.latest())


def _failed(place: Place) -> None:
    dataset = place.catalog.dataset("tiles")
    commit(dataset, remove=["a"], message="m", author="a", base=dataset.latest(), advance=False)


def _rollback(place: Place) -> None:
    _commit(place)
    place.status()
    settle()
    place.catalog.dataset("tiles").move("latest", 1, why="w", author="a")


def _made_anew(place: Place) -> None:
    shutil.rmtree(place.folder.parent / "catalog")
    Catalog.create(str(place.folder.parent / "catalog"))


HISTORY: dict[str, tuple[Callable[[Place], None], str]] = {
    "commit": (_commit, "1 new, 0 changed, 2 unchanged"),
    "failed-checks": (_failed, "3 unchanged"),
    "rollback": (_rollback, "3 unchanged"),
    "another-catalog": (_made_anew, "3 new"),
}


@pytest.mark.parametrize("name", HISTORY)
def test_each_change_of_the_catalog_is_seen(place: Place, name: str) -> None:
    change, counts = HISTORY[name]
    assert place.quick()
    change(place)
    assert not place.quick()
    assert counts in place.status().out


def test_an_expired_version_is_no_answer(place: Place) -> None:
    assert place.quick()
    record = ExpiryRecord(number=1, why="old", author="a", time="2026-01-01T00:00:00.000000Z", nonce="0")
    place.catalog.store.put_record("datasets/tiles/expired/00000001.json", record.encode())
    ran = place.status()
    assert ran.code == 40
    assert "expired" in ran.err


def test_another_catalog_and_another_dataset_are_other_questions(place: Place, tmp_path: Path) -> None:
    Catalog.create(str(tmp_path / "other"))
    assert not place.quick("-C", tmp_path / "other")
    assert "3 new" in place.status("-C", tmp_path / "other").out
    assert not place.quick("-d", "others")
    assert not place.quick("-C", tmp_path / "catalog")
    assert place.quick("-C", tmp_path / "catalog")
    place.patch.chdir(tmp_path)
    assert place.quick("-C", "catalog")
    place.patch.setenv("STACPIN_CATALOG", str(tmp_path / "other"))
    assert not place.quick()


def test_the_caches_can_be_deleted(place: Place, tmp_path: Path) -> None:
    assert place.quick()
    shutil.rmtree(tmp_path / "cache")
    assert not place.quick()
    assert place.quick()


def test_a_clock_that_was_set_back(place: Place) -> None:
    now = time.time_ns()
    with place.patch.context() as patch:
        patch.setattr("ingest.quick.time.time_ns", lambda: now - 10**12)
        assert not place.quick()


def test_another_release(place: Place) -> None:
    with place.patch.context() as patch:
        patch.setattr("ingest.quick.RELEASE", "99")
        assert not place.quick()


def test_files_that_are_too_new_are_not_noted(place: Place) -> None:
    """They may be written again with the same state; with the real two seconds."""
    place.patch.setattr("ingest.quick.GRAIN", 2 * 10**9)
    os.utime(place.folder / "stacpin.yaml")
    assert not place.quick()
    assert not place.quick()
    place.patch.setattr("ingest.quick.GRAIN", int(GRAIN * 1e9))
    place.patch.setattr("ingest.file_memory.GRAIN", 2 * 10**9)
    _touch(place.folder)
    assert not place.quick()
    assert not place.quick()


@pytest.mark.parametrize("change", ["x'00'", "'[]'", "'{}'", "replace(answer, 'objects', '')", "null"])
def test_a_damaged_note_costs_only_time(place: Place, tmp_path: Path, change: str) -> None:
    with sqlite3.connect(tmp_path / "cache" / "status.sqlite") as connection:
        connection.execute(f"update or ignore answers set answer = {change}, plan = x'00'")
    connection.close()
    assert "3 unchanged" in place.status().out
    assert place.status("--json").json["data"]["unchanged"] == 3


def test_staged_runs_are_told_beside_it(place: Place) -> None:
    write_tile(place.folder / "tiles" / "d.tif", 7)
    settle()
    assert place.cli("ingest", place.folder, "--no-commit").code == 0
    (place.folder / "tiles" / "d.tif").unlink()
    assert place.quick(), "the files are again as they were when it was noted"
    assert "staged: run " in place.status().out
    assert len(place.status("--json").json["data"]["staged"]) == 1
    assert place.cli("commit", "--discard", "-C", place.folder.parent / "catalog").code == 0
    assert place.quick()
    assert "staged" not in place.status().out


def test_refused_sources_are_asked_again(place: Place) -> None:
    (place.folder / "stacpin.yaml").write_text(RECIPE + "on_error: quarantine\n")
    (place.folder / "tiles" / "d.tif").write_text("no raster")
    settle()
    assert not place.quick()
    assert not place.quick()
    assert "1 refused" in place.status().out
