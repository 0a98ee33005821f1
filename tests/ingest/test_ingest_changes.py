"""What is a change and what is none, and what of the catalog a change touches."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from ingest_samples import (
    LABELS,
    RASTERS,
    Project,
    features,
    pixels,
    write_cog,
    write_geojson,
    write_gpkg,
    write_raster,
)
from rasterio import Affine

from versioning.objects import hash_file

NAMES = ("a", "b", "c")


def name_bands(*names: str, **tags: str) -> Callable[[Any], None]:
    def after(out: Any) -> None:
        out.descriptions = names
        out.update_tags(**tags)

    return after


@pytest.fixture
def scenes(project: Project) -> Project:
    for seed, name in enumerate(NAMES):
        write_raster(project.folder / f"{name}.tif", pixels(seed), nodata=0)
    project.recipe()
    project.must_ingest()
    return project


@pytest.mark.parametrize(
    "profile",
    [
        {"compress": "lzw"},
        {"compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 32},
        {"BIGTIFF": "YES", "ENDIANNESS": "BIG"},
        {"after": lambda out: out.update_tags(SOFTWARE="other", TIFFTAG_DATETIME="2024:01:01 00:00:00")},
        {"after": lambda out: out.build_overviews([2, 4])},
    ],
    ids=["lzw", "tiled", "bigtiff-big-endian", "tags", "overviews"],
)
def test_another_encoding_of_a_raster_is_no_change(scenes: Project, profile: dict[str, Any]) -> None:
    before, objects = (scenes.folder / "a.tif").read_bytes(), scenes.objects()
    write_raster(scenes.folder / "a.tif", pixels(0), nodata=0, **profile)
    assert (scenes.folder / "a.tif").read_bytes() != before
    assert scenes.ingest() is None
    assert scenes.versions() == [1]
    assert scenes.objects() == objects


def test_a_cog_where_there_was_a_striped_file_is_no_change(scenes: Project) -> None:
    objects = scenes.objects()
    (scenes.folder / "a.tif").unlink()
    write_cog(scenes.folder / "a.tif", pixels(0), nodata=0)
    assert scenes.ingest() is None
    assert scenes.objects() == objects


def test_one_pixel_is_a_version_with_one_new_object(scenes: Project) -> None:
    objects = scenes.objects()
    values = pixels(0)
    values[0, 30, 40] += 1
    write_raster(scenes.folder / "a.tif", values, nodata=0)
    done = scenes.ingest()
    assert (done.created, done.added, done.changed, done.removed) == (True, 0, 1, 0)
    assert len(scenes.objects() - objects) == 1
    assert objects <= scenes.objects()
    before, after = (scenes.catalog.resolve(f"fields@v{number}") for number in (1, 2))
    assert [before.find(name).digest == after.find(name).digest for name in NAMES] == [False, True, True]


@pytest.mark.parametrize(
    "profile",
    [{"nodata": 1}, {"crs": "EPSG:32619"}, {"transform": Affine(10.0, 0.0, 500_005.0, 0.0, -10.0, 4_000_000.0)}],
    ids=["nodata", "crs", "half-a-pixel"],
)
def test_what_places_or_masks_pixels_is_a_change(project: Project, profile: dict[str, Any]) -> None:
    write_raster(project.folder / "a.tif", nodata=0)
    project.recipe()
    project.must_ingest()
    write_raster(project.folder / "a.tif", **({"nodata": 0} | profile))
    assert project.must_ingest().number == 2


def test_band_names_of_a_file_outlive_a_save_without_them(project: Project) -> None:
    values = pixels(shape=(2, 60, 80))
    write_raster(project.folder / "a.tif", values, after=name_bands("red", "nir"))
    project.recipe()
    named = [band["name"] for band in project.must_ingest().item("a")["assets"]["scenes"]["bands"]]
    assert named == ["red", "nir"]
    write_raster(project.folder / "a.tif", values)
    assert project.ingest() is None


def test_other_band_names_in_the_recipe_change_the_item_and_no_object(project: Project) -> None:
    write_raster(project.folder / "a.tif", pixels(shape=(2, 60, 80)))
    project.recipe({"scenes": RASTERS | {"bands": ["red", "nir"]}})
    first = project.must_ingest()
    objects = project.objects()
    project.recipe({"scenes": RASTERS | {"bands": ["red", "swir16"]}})
    second = project.must_ingest()
    assert [band["name"] for band in second.item("a")["assets"]["scenes"]["bands"]] == ["red", "swir16"]
    assert project.objects() == objects
    assert second.digest != first.digest


def test_a_title_of_the_dataset_changes_the_version_and_no_item(scenes: Project) -> None:
    objects = scenes.objects()
    scenes.recipe(title="Fields of Peru")
    done = scenes.ingest()
    assert (done.created, done.changed) == (True, 0)
    before, after = (scenes.catalog.resolve(f"fields@v{number}") for number in (1, 2))
    assert [row.digest for row in before.rows()] == [row.digest for row in after.rows()]
    assert before.record.root == after.record.root
    assert scenes.objects() == objects


def test_a_new_layer_leaves_the_items_of_the_others_alone(scenes: Project) -> None:
    write_geojson(scenes.folder / "labels.geojson", crs={"type": "name", "properties": {"name": "EPSG:4326"}})
    scenes.recipe({"scenes": RASTERS, "labels": LABELS | {"crs": "EPSG:4326"}})
    done = scenes.ingest()
    assert (done.added, done.changed) == (1, 0)
    before, after = (scenes.catalog.resolve(f"fields@v{number}") for number in (1, 2))
    assert [before.find(name).digest == after.find(name).digest for name in NAMES] == [True] * 3


def test_settings_that_decide_nothing_here_change_nothing(scenes: Project) -> None:
    """Another compression and a comment: the content is there already."""
    scenes.recipe({"scenes": RASTERS | {"cog": {"compress": "zstd"}, "resampling": "cubic"}})
    assert scenes.ingest() is None


def test_an_added_and_a_removed_file(scenes: Project) -> None:
    (scenes.folder / "b.tif").unlink()
    write_raster(scenes.folder / "d.tif", pixels(9))
    done = scenes.ingest()
    assert (done.added, done.changed, done.removed) == (1, 0, 1)
    assert [row.id for row in done.version.rows()] == ["a", "c", "d"]


def test_a_renamed_file_is_another_item_of_the_same_object(scenes: Project) -> None:
    objects = scenes.objects()
    (scenes.folder / "b.tif").rename(scenes.folder / "z.tif")
    done = scenes.ingest()
    assert (done.added, done.removed) == (1, 1)
    assert scenes.objects() == objects


def test_a_rename_that_no_template_uses_is_no_change(project: Project) -> None:
    write_raster(project.folder / "first.tif")
    project.recipe({"scenes": RASTERS | {"item": "only"}})
    project.must_ingest()
    (project.folder / "first.tif").rename(project.folder / "second.tif")
    assert project.ingest() is None


def test_a_wanted_cog_keeps_its_own_bytes(project: Project) -> None:
    source = write_cog(project.folder / "a.tif")
    write_raster(project.folder / "b.tif", pixels(3))
    project.recipe()
    run, staged = project.stage()
    assert run.kept == 1
    assert staged is not None
    by_id = {item["id"]: item["assets"]["scenes"]["file:checksum"] for item in staged.items}
    assert by_id["a"] == "1220" + hash_file(source).hex()
    assert by_id["b"] != "1220" + hash_file(project.folder / "b.tif").hex()


@pytest.fixture
def labels(project: Project) -> Project:
    write_geojson(project.folder / "labels.geojson")
    project.recipe({"labels": LABELS})
    project.must_ingest()
    return project


def test_other_forms_of_the_same_labels_are_no_change(labels: Project) -> None:
    objects = labels.objects()
    rows = features()
    for row in rows:
        ring = row["geometry"]["coordinates"][0]
        row["geometry"]["coordinates"][0] = [*ring[2:], *ring[1:3]][::-1]  # another start, the other direction
        row["properties"] = dict(reversed(row["properties"].items()))
    write_geojson(labels.folder / "labels.geojson", rows[::-1])
    assert labels.ingest() is None
    (labels.folder / "labels.geojson").unlink()
    write_gpkg(labels.folder / "labels.gpkg", rows)
    assert labels.ingest() is None
    assert labels.objects() == objects
    assert labels.versions() == [1]


def test_noise_below_the_precision_keeps_the_parents_coordinates(labels: Project) -> None:
    rows = features()
    for at, row in enumerate(rows):
        for vertex in row["geometry"]["coordinates"][0]:
            vertex[0] += (-1) ** at * 4e-8
            vertex[1] += 4e-8
    write_geojson(labels.folder / "labels.geojson", rows)
    assert labels.ingest() is None


def move(rows: list[dict[str, Any]]) -> None:
    rows[2]["geometry"]["coordinates"][0][1][1] += 1e-6


def relabel(rows: list[dict[str, Any]]) -> None:
    rows[2]["properties"]["class"] = 9


def repeat(rows: list[dict[str, Any]]) -> None:
    rows.append(deepcopy(rows[2]))


def drop(rows: list[dict[str, Any]]) -> None:
    del rows[2]


@pytest.mark.parametrize("edit", [move, relabel, repeat, drop])
def test_one_vertex_property_or_feature_is_a_version_with_one_new_object(
    labels: Project, edit: Callable[[list[dict[str, Any]]], None]
) -> None:
    objects = labels.objects()
    rows = features()
    edit(rows)
    write_geojson(labels.folder / "labels.geojson", rows)
    done = labels.ingest()
    assert (done.created, done.changed) == (True, 1)
    assert len(labels.objects() - objects) == 1


def test_layers_that_share_a_file_do_not_share_its_content(project: Project) -> None:
    """Two layers of one GeoPackage, and an edit in one of them."""
    file = project.folder / "map.gpkg"
    rows = features()
    write_gpkg(file, rows[:2], layer="roads")
    write_gpkg(file, rows[2:], layer="fields")
    layer = {"kind": "labels", "sources": "map.gpkg", "datetime": "2024-01-01"}
    project.recipe({name: layer | {"item": f"map-{name}", "layer": name} for name in ("roads", "fields")})
    version = project.must_ingest()
    counts = {name: version.item(f"map-{name}")["assets"][name]["table:row_count"] for name in ("roads", "fields")}
    assert counts == {"roads": 2, "fields": 3}
    run = project.run()
    assert run.plan().changes is False
    relabel(rows)
    write_gpkg(file, rows[2:], layer="fields")
    plan = project.run().plan()
    assert {item.source.id: item.state for item in plan.items} == {"map-roads": "unchanged", "map-fields": "changed"}
    assert project.ingest().changed == 1


def test_a_file_with_sidecars_is_read_with_them(project: Project) -> None:
    """Shapefiles whose names look like glob patterns are told apart by the bytes of all their parts."""
    import geopandas

    for number, name in enumerate(["roads[1]", "roads[2]"]):
        rows = features(2 + number)
        geopandas.GeoDataFrame.from_features(rows, crs="EPSG:4326").to_file(project.folder / f"{name}.shp")
    layer = {"kind": "labels", "sources": "*.shp", "datetime": "2024-01-01"}
    project.recipe({"roads": layer | {"pattern": r"roads\[(?P<at>\d)\]\.shp", "item": "roads-{at}"}})
    run = project.run()
    digests = [item.assets["roads"].inspection.digest for item in run.plan().items]
    assert len(set(digests)) == 2
    version = project.must_ingest()
    assert [version.item(f"roads-{at}")["assets"]["roads"]["table:row_count"] for at in (1, 2)] == [2, 3]


def test_opaque_files_are_kept_byte_for_byte(project: Project, tmp_path: Path) -> None:
    from loaders import open as open_pin

    content = {"cloud.laz": b"LASF\0\1", "empty.txt": b"", "notes.json": json.dumps({"a": 1}).encode()}
    for name, data in content.items():
        (project.folder / "files").mkdir(exist_ok=True)
        (project.folder / "files" / name).write_bytes(data)
    project.recipe({"extra": {"kind": "file", "sources": "files/*", "datetime": "2024-01-01"}})
    version = project.must_ingest()
    sizes = {item_id: asset.size for item_id, asset in version.assets()}
    assert sizes == {"cloud": 6, "empty": 0, "notes": 8}
    open_pin(project.catalog.url, "fields@v1").pull(tmp_path / "out")
    pulled = {
        path.suffix: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.suffix in {".laz", ".txt"}
    }
    assert pulled == {".laz": content["cloud.laz"], ".txt": b""}
    assert project.ingest() is None


def test_a_title_of_an_asset_is_changed_on_a_store_that_is_no_folder(tmp_path: Path) -> None:
    """The parent's objects have to be fetched there; two items may share one."""
    from versioning.catalog import Catalog

    project = Project(tmp_path / "p", Catalog.create("memory://"))
    for name in "ab":
        write_raster(project.folder / f"{name}.tif")
    project.recipe()
    project.must_ingest()
    objects = project.objects()
    project.recipe({"scenes": RASTERS | {"title": "Scene {stem}"}})
    version = project.must_ingest()
    assert [version.item(name)["assets"]["scenes"]["title"] for name in "ab"] == ["Scene a", "Scene b"]
    assert project.objects() == objects
    assert len(objects) == 1


def test_layers_may_each_name_a_crs_of_their_own(project: Project) -> None:
    """Each layer has the CRS that it names, and needs no common one."""
    write_raster(project.folder / "a.tif")
    write_raster(project.folder / "b.tif", pixels(2), crs="EPSG:32619")
    layers = {
        name: RASTERS | {"sources": f"{name}.tif", "crs": crs}
        for name, crs in (("a", "EPSG:32618"), ("b", "EPSG:32619"))
    }
    project.recipe(layers)
    version = project.must_ingest()
    codes = [version.item(name)["assets"][name]["proj:code"] for name in "ab"]
    assert codes == ["EPSG:32618", "EPSG:32619"]
    assert all("pin:source" not in version.item(name)["assets"][name] for name in "ab")
