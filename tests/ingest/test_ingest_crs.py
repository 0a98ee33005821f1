"""One CRS for a dataset: reprojection with its provenance, reuse of what was reprojected, mixed and missing CRSs."""

from __future__ import annotations

from pathlib import Path

import pytest
from ingest_samples import LABELS, RASTERS, Project, copied, features, pixels, refusal, write_geojson, write_raster
from rasterio import Affine

from versioning.errors import InvalidInput

DEGREES = Affine(0.001, 0, 10.0, 0, -0.001, 50.0)
UTM = "EPSG:32632"


@pytest.fixture
def degrees(project: Project) -> Project:
    write_raster(project.folder / "a.tif", crs="EPSG:4326", transform=DEGREES, nodata=0)
    write_geojson(project.folder / "labels.geojson")
    project.recipe({"scenes": RASTERS, "labels": LABELS}, crs=UTM)
    return project


def test_everything_is_brought_to_the_crs_of_the_recipe_and_says_so(degrees: Project) -> None:
    version = degrees.must_ingest()
    scene, labels = (version.item(name)["assets"][key] for name, key in (("a", "scenes"), ("labels", "labels")))
    assert scene["proj:code"] == labels["proj:code"] == UTM
    assert version.record.collection["pin:crs"] == UTM
    inputs = {
        item.source.id: asset.inspection.digest
        for item in degrees.run().plan().items
        for asset in [next(iter(item.assets.values()))]
    }
    assert scene["pin:source"]["inputs"] == [inputs["a"]]
    assert scene["pin:source"]["step"] == "warp"
    assert scene["pin:source"]["parameters"]["target_crs"] == UTM
    assert labels["pin:source"]["inputs"] == [inputs["labels"]]
    assert labels["pin:source"]["step"] == "reproject"
    west, south, east, north = version.item("labels")["bbox"]
    assert (west, south, east, north) == pytest.approx((10, 50, 10.41, 50.01), abs=1e-3)


def test_what_was_reprojected_is_reused_without_doing_it_again(
    degrees: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    degrees.must_ingest()
    assert degrees.ingest() is None
    plan = degrees.run().plan()
    assert {asset.action for item in plan.items for asset in item.assets.values()} == {"reuse"}

    def not_again(*_: object, **__: object) -> None:
        raise AssertionError("it was converted again")

    monkeypatch.setattr("ingest.workers._attempt", not_again)
    assert degrees.ingest() is None


def test_other_parameters_are_another_derivation(degrees: Project) -> None:
    degrees.must_ingest()
    degrees.recipe({"scenes": RASTERS | {"resampling": "bilinear"}, "labels": LABELS}, crs=UTM)
    done = degrees.ingest()
    assert (done.created, done.changed) == (True, 1)


def test_a_resolution_alone_is_a_derivation_too(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    write_raster(project.folder / "a.tif", nodata=0)
    project.recipe({"scenes": RASTERS | {"resolution": 20, "resampling": "average"}})
    asset = project.must_ingest().item("a")["assets"]["scenes"]
    assert asset["proj:shape"] == [30, 40]
    assert asset["pin:source"]["parameters"] == {"target_crs": "EPSG:32618", "resampling": "average", "resolution": 20}
    monkeypatch.setattr("ingest.workers._attempt", lambda *_: pytest.fail("it was converted again"))
    assert project.ingest() is None


def test_a_raster_on_control_points_stays_as_it_is_unless_asked(project: Project, shared_data: Path) -> None:
    copied(shared_data / "odd-formats" / "gcps" / "cog_gcps.tif", project.folder / "a.tif")
    project.recipe()
    run = project.run()
    planned = run.plan().items[0].assets["scenes"]
    assert planned.lineage is None
    asset = project.must_ingest().item("a")["assets"]["scenes"]
    assert asset["pin:digest"] == planned.inspection.digest
    assert project.ingest() is None


def test_mixed_crss_are_listed(project: Project) -> None:
    write_raster(project.folder / "a.tif")
    write_raster(project.folder / "b.tif", pixels(2), crs="EPSG:32619")
    write_raster(project.folder / "c.tif", pixels(3), crs="EPSG:32619")
    project.recipe()
    error = refusal(project)
    assert error.kind == "mixed-crs"
    assert "EPSG:32618 (1 files" in error.message
    assert "EPSG:32619 (2 files" in error.message
    assert "crs: EPSG" in str(error.hint)


def test_two_spellings_of_one_crs_are_no_mixture(project: Project) -> None:
    wkt = "+proj=laea +lat_0=10 +lon_0=-81 +ellps=WGS84 +units=m +no_defs"
    place = Affine(10.0, 0.0, 1_000.0, 0.0, -10.0, 4_000.0)
    write_raster(project.folder / "a.tif", crs=wkt, transform=place)
    rows = [{"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [1_000, 2_000]}}]
    write_geojson(project.folder / "labels.geojson", rows)
    project.recipe({"scenes": RASTERS, "labels": LABELS | {"source_crs": wkt}})
    version = project.must_ingest()
    assert version.item("labels")["assets"]["labels"].get("pin:source") is None
    assert project.ingest() is None


def test_a_missing_crs(project: Project) -> None:
    write_raster(project.folder / "a.tif", crs=None)
    project.recipe()
    error = refusal(project)
    assert isinstance(error, InvalidInput)
    assert "a.tif has no CRS" in error.message
    project.recipe({"scenes": RASTERS | {"source_crs": "EPSG:32618"}})
    assert project.must_ingest().item("a")["assets"]["scenes"]["proj:code"] == "EPSG:32618"


@pytest.mark.parametrize("name", ["EPSG:99999", "nonsense", "EPSG:4326+EPSG:99999"])
def test_an_unknown_crs_is_named(project: Project, name: str) -> None:
    write_raster(project.folder / "a.tif")
    project.recipe(crs=name)
    assert name in refusal(project).message


def test_a_source_crs_that_contradicts_the_file(project: Project) -> None:
    write_raster(project.folder / "a.tif")
    project.recipe({"scenes": RASTERS | {"source_crs": "EPSG:32619"}})
    error = refusal(project)
    assert "a.tif" in error.message
    assert "EPSG:32619" in error.message


def test_labels_in_metres_without_a_crs(project: Project) -> None:
    rows = features(1)
    rows[0]["geometry"]["coordinates"][0] = [[500_000, 10], [500_010, 10], [500_010, 20], [500_000, 10]]
    write_geojson(project.folder / "labels.geojson", rows)
    project.recipe({"labels": LABELS})
    assert "not in degrees" in refusal(project).message


def test_an_unknown_code_is_one_error_and_no_noise(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    write_raster(project.folder / "a.tif")
    project.recipe({"scenes": RASTERS | {"crs": "EPSG:999999"}})
    assert "EPSG:999999" in refusal(project).message
    assert capfd.readouterr().err == ""
