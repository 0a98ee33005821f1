"""Bad input: one clear error that names file and value and the way out; the catalog is as it was."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rasterio
from ingest_samples import (
    LABELS,
    NORTH_UP,
    RASTERS,
    Project,
    features,
    pixels,
    refusal,
    write_geojson,
    write_raster,
)
from test_ingest_steps import write_two_nodatas

from versioning.errors import InvalidInput, NotFound, StacpinError


def truncated(folder: Path) -> None:
    write_raster(folder / "bad.tif", pixels(3, (1, 300, 300)))
    data = (folder / "bad.tif").read_bytes()
    (folder / "bad.tif").write_bytes(data[: len(data) // 2])


def text(folder: Path) -> None:
    (folder / "bad.tif").write_text("It says TIFF, and is a letter.")


def empty(folder: Path) -> None:
    (folder / "bad.tif").write_bytes(b"")


def vast(folder: Path) -> None:
    """100,000 x 100,000 pixels in a few bytes."""
    place = {"crs": "EPSG:32618", "transform": NORTH_UP, "tiled": True, "blockxsize": 4096, "blockysize": 4096}
    size = {"width": 100_000, "height": 100_000, "count": 1, "dtype": "uint8"}
    with rasterio.open(folder / "bad.tif", "w", driver="GTiff", SPARSE_OK=True, **size, **place):
        pass
    assert (folder / "bad.tif").stat().st_size < 20_000


def vrt(source: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "bad.tif").write_text(
            '<VRTDataset rasterXSize="80" rasterYSize="60"><SRS>EPSG:32618</SRS>'
            "<GeoTransform>500000, 10, 0, 4000000, 0, -10</GeoTransform>"
            '<VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
            f'<SourceFilename relativeToVRT="1">{source}</SourceFilename><SourceBand>1</SourceBand>'
            "</SimpleSource></VRTRasterBand></VRTDataset>"
        )

    return write


RASTER_CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (truncated, "bad.tif"),
    "text": (text, "not a raster"),
    "empty": (empty, "it is empty"),
    "vast": (vast, "100000"),
    "vrt-outside": (vrt("../secret.tif"), "../secret.tif"),
    "vrt-net": (vrt("/vsicurl/http://127.0.0.1:1/a.tif"), "/vsicurl/"),
    "vrt-url": (vrt("http://127.0.0.1:1/a.tif"), "http://"),
    "no-crs": (lambda folder: write_raster(folder / "bad.tif", crs=None), "has no CRS"),
    "two-nodatas": (lambda folder: write_two_nodatas(folder / "bad.tif", folder / "good.tif"), "nodata"),
}


@pytest.fixture(params=RASTER_CASES)
def bad_raster(request: pytest.FixtureRequest, project: Project) -> tuple[Project, str]:
    """A project of one good file and one that is refused, and what the refusal must say."""
    write, said = RASTER_CASES[request.param]
    write_raster(project.folder / "good.tif")
    write_raster(project.folder.parent / "secret.tif")
    write(project.folder)
    return project, said


def test_a_bad_raster_stops_the_run(bad_raster: tuple[Project, str]) -> None:
    project, said = bad_raster
    project.recipe()
    tracemalloc.start()
    error = refusal(project)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(error, InvalidInput)
    assert "bad.tif" in error.message
    assert said in str(error)
    assert peak < 30_000_000


def test_a_bad_raster_is_quarantined_and_the_rest_goes_on(bad_raster: tuple[Project, str]) -> None:
    project, said = bad_raster
    project.recipe(on_error="quarantine")
    version = project.must_ingest()
    assert [row.id for row in version.rows()] == ["good"]
    (skipped,) = version.record.recipe["skipped"]
    assert skipped["item"] == "bad"
    assert said in f"{skipped['message']} {skipped['hint']}"
    (note,) = [entry.path for entry in project.catalog.store.list("quarantine")]
    kept = json.loads(project.catalog.store.get(note))
    assert {name: kept[name] for name in skipped} == skipped
    # it is noted once, not by each run until somebody mends the source
    assert project.ingest() is None
    assert [entry.path for entry in project.catalog.store.list("quarantine")] == [note]
    assert project.ingest() is None


def test_a_refused_source_keeps_the_parents_item(project: Project) -> None:
    for seed, name in enumerate("ab"):
        write_raster(project.folder / f"{name}.tif", pixels(seed))
    project.recipe(on_error="quarantine")
    first = project.must_ingest()
    (project.folder / "a.tif").write_text("broken")
    write_raster(project.folder / "c.tif", pixels(9))
    done = project.ingest()
    assert (done.added, done.changed, done.removed) == (1, 0, 0)
    assert done.version.find("a").digest == first.find("a").digest
    assert [each["item"] for each in done.version.record.recipe["skipped"]] == ["a"]
    # mended, it is taken again
    write_raster(project.folder / "a.tif", pixels(0))
    assert project.ingest() is None


def test_a_source_that_does_not_fit_its_layer_is_quarantined_too(project: Project) -> None:
    write_raster(project.folder / "a.tif")
    write_raster(project.folder / "two.tif", pixels(2, (2, 60, 80)))
    project.recipe({"scenes": RASTERS | {"bands": ["red"]}}, on_error="quarantine")
    version = project.must_ingest()
    assert [row.id for row in version.rows()] == ["a"]
    (skipped,) = version.record.recipe["skipped"]
    assert skipped["item"] == "two"
    assert "has 2 bands" in skipped["message"]
    project.recipe({"scenes": RASTERS | {"bands": ["red"]}})
    assert "two.tif" in refusal(project).message


def test_where_every_source_is_refused_there_is_no_version(project: Project) -> None:
    text(project.folder)
    project.recipe(on_error="quarantine")
    with pytest.raises(InvalidInput, match=r"bad\.tif") as caught:
        project.ingest()
    assert "the only item was refused" in str(caught.value)
    assert project.versions() == []


BAD_LABELS: dict[str, tuple[Any, str]] = {
    "nan": ({"type": "Point", "coordinates": [float("nan"), 1.0]}, "labels.geojson"),
    "open-ring": ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1]]]}, "labels.geojson"),
    "short-ring": ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [0, 0]]]}, "labels.geojson"),
    "no-numbers": ({"type": "Point", "coordinates": ["a", "b"]}, "labels.geojson"),
    "no-such-type": ({"type": "Blob", "coordinates": [0, 0]}, "Blob"),
    "metres": ({"type": "Point", "coordinates": [500_000, 4_000_000]}, "not in degrees"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_labels(project: Project, case: str) -> None:
    geometry, said = BAD_LABELS[case]
    row = features(1)[0] | {"geometry": geometry}
    write_geojson(project.folder / "labels.geojson", [*features(2), row])
    project.recipe({"labels": LABELS})
    with pytest.raises(StacpinError) as caught:
        project.ingest()
    assert "labels.geojson" in caught.value.message
    assert said in str(caught.value)
    assert project.versions() == []


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"type": "FeatureCollection"}', "\0" * 50, '{"a": ' * 5000]
)
def test_what_is_no_geojson(project: Project, content: str) -> None:
    (project.folder / "labels.geojson").write_text(content)
    project.recipe({"labels": LABELS})
    with pytest.raises(InvalidInput, match=r"labels\.geojson"):
        project.ingest()


def test_a_layer_without_files(project: Project) -> None:
    project.recipe()
    error = refusal(project)
    assert "*.tif" in error.message
    assert "optional: true" in str(error.hint)


def test_an_optional_layer_may_be_empty(project: Project) -> None:
    write_raster(project.folder / "a.tif")
    project.recipe({"scenes": RASTERS, "labels": LABELS | {"optional": True}})
    assert project.must_ingest().record.statistics.items == 1


def test_a_source_that_goes_away_meanwhile(project: Project) -> None:
    write_raster(project.folder / "a.tif")
    project.recipe()
    run = project.run()
    run.plan()
    (project.folder / "a.tif").unlink()
    with pytest.raises(NotFound, match=r"a\.tif"):
        run.convert()


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ({"cog": {"level": 99}}, "99"),
        ({"cog": {"blocksize": 100}}, "100"),
        ({"cog": {"compress": "lzw", "level": 3}}, "lzw"),
        ({"resolution": float("inf")}, "inf"),
        ({"properties": {"x": float("nan")}}, "x"),
        ({"source_crs": "EPSG:1"}, "EPSG:1"),
    ],
)
def test_settings_that_cannot_be(project: Project, layer: dict[str, Any], said: str) -> None:
    """They are the recipe's fault, and are not blamed on its sources."""
    write_raster(project.folder / "a.tif", crs=None if "source_crs" in layer else "EPSG:32618")
    before = project.listing()

    def ingest() -> None:
        project.recipe({"scenes": RASTERS | layer}, on_error="quarantine")
        project.ingest()

    with pytest.raises(InvalidInput) as caught:
        ingest()
    assert said in str(caught.value)
    assert "scenes" in str(caught.value)
    assert project.listing() == before
