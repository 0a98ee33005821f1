"""What ingest costs: many small files, large ones, and runs that find nothing to do."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from ingest_samples import DAY, NORTH_UP, RASTERS, Project, pixels, write_raster

from ingest.sources import find_items
from versioning.catalog import Catalog


@pytest.mark.slow
def test_five_hundred_small_rasters(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(500):
        write_raster(project.folder / f"r{seed:03}.tif", pixels(seed, (1, 16, 16)))
    project.recipe()
    times = []
    for _ in range(2):
        start = time.perf_counter()
        project.ingest(workers=2)
        times.append(time.perf_counter() - start)
    with capsys.disabled():
        sys.stdout.write(f"\n500 GeoTIFFs of 16 x 16: {times[0]:.1f} s, again {times[1]:.1f} s\n")
    assert project.versions() == [1]
    assert len(project.objects()) == 500
    assert times[1] < times[0] / 2


def test_thirty_thousand_files_are_found_in_seconds(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting stems once for each file took 12 s, and the square of their number."""
    paths = [str(project.folder / f"tile-{number}.tif") for number in range(30_000)]
    monkeypatch.setattr("ingest.sources.found_files", lambda *_: iter(paths))
    recipe = project.recipe()
    start = time.perf_counter()
    assert len(find_items(recipe, project.folder)) == 30_000
    assert time.perf_counter() - start < 5


BIG = """
import sys
from pathlib import Path
from ingest.recipe import load_recipe
from ingest.publish import commit_staged
from ingest.run import Run
from versioning.catalog import Catalog

folder = Path(sys.argv[1])
catalog = Catalog.open(sys.argv[2])
run = Run(catalog, load_recipe(folder / "stacpin.yaml"), folder, workers=1)
def peak():
    # getrusage would also count what the process was before exec: the tests' own.
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
import ingest.cog, rio_cogeo.cogeo
before = peak()
run.plan(); run.convert(); run.check()
staged = run.staged()
run.verify()
commit_staged(catalog, staged, message="m", author="a")
print(before, peak())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_memory_does_not_grow_with_the_file(project: Project) -> None:
    """A raster of 288 MB, one that does not compress."""
    side = 12_000
    place = {"crs": "EPSG:32618", "transform": NORTH_UP, "tiled": True, "blockxsize": 512, "blockysize": 512}
    noise = np.random.default_rng(1).integers(0, 60_000, (1, 480, side), dtype="uint16")
    with rasterio.open(
        project.folder / "big.tif", "w", driver="GTiff", width=side, height=side, count=1, dtype="uint16", **place
    ) as out:
        for row in range(0, side, 480):
            out.write(noise, window=((row, row + 480), (0, side)))
    project.recipe({"scenes": RASTERS | {"cog": {"level": 1}}})
    words = [sys.executable, "-c", BIG, str(project.folder), project.catalog.url]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    before, after = map(int, done.stdout.split())
    assert (project.folder / "big.tif").stat().st_size > 280_000_000
    assert after - before < 260, f"{before} MB before, {after} MB after"


def test_an_unchanged_run_writes_nothing_at_all(project: Project) -> None:
    for seed in range(3):
        write_raster(project.folder / f"s{seed}.tif", pixels(seed))
    project.recipe()
    project.must_ingest()
    before = {entry.path for entry in project.catalog.store.list("")}
    assert project.ingest() is None
    assert {entry.path for entry in project.catalog.store.list("")} == before


@pytest.mark.slow
def test_the_command_draws_no_noise_of_gdal(project: Project, shared_data: Path, tmp_path: Path) -> None:
    """Workers are processes of their own: what GDAL warns of there must not end up between the lines of ours."""
    from ingest_samples import copied

    for path in (shared_data / "imagery" / "landsat-pucallpa-peru").glob("*/*.tif"):
        copied(path, project.folder / path.name)
    project.recipe({"scenes": RASTERS | {"datetime": DAY}}, catalog=str(tmp_path / "catalog"))
    words = [sys.executable, "-m", "stacpin", "ingest", str(project.folder), "-m", "m", "--workers", "2"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "CPLE" not in done.stderr
    assert "TIFFReadDirectory" not in done.stderr
    assert Catalog.open(str(tmp_path / "catalog")).resolve("fields").number == 1
