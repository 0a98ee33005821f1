"""Differences of versions in words: pixels, labels, metadata, or only how they are written."""

from __future__ import annotations

from typing import Any

import pytest
from ingest_samples import LABELS, RASTERS, Project, features, pixels, write_geojson, write_raster

from catalog.changes import DiffReport, explain_diff
from versioning.errors import Integrity

LAYERS: dict[str, Any] = {
    "scenes": RASTERS | {"properties": {"eo:cloud_cover": 5}, "asset": "image"},
    "labels": LABELS | {"crs": "EPSG:4326"},
}


@pytest.fixture
def mixed(project: Project) -> Project:
    write_raster(project.folder / "a.tif")
    write_geojson(project.folder / "labels.geojson")
    project.recipe(LAYERS)
    project.must_ingest()
    return project


def last_change(project: Project, **options: Any) -> DiffReport:
    new = project.must_ingest()
    return explain_diff(project.catalog, project.catalog.resolve(f"fields@v{new.number - 1}"), new, **options)


def test_pixels(mixed: Project) -> None:
    write_raster(mixed.folder / "a.tif", pixels(8))
    report = last_change(mixed)
    (item,) = report.changed
    (asset,) = item.assets
    assert (item.id, asset.key, asset.state, asset.what) == ("a", "image", "changed", "content")
    assert asset.old != asset.new
    assert item.properties == {}
    assert report


def test_what_is_said_of_an_asset(mixed: Project) -> None:
    mixed.recipe(LAYERS | {"scenes": LAYERS["scenes"] | {"title": "Image"}})
    (item,) = last_change(mixed).changed
    (asset,) = item.assets
    assert (asset.what, asset.old == asset.new) == ("metadata", True)


def test_properties_of_an_item(mixed: Project) -> None:
    mixed.recipe(LAYERS | {"scenes": LAYERS["scenes"] | {"properties": {"eo:cloud_cover": 7}}})
    (item,) = last_change(mixed).changed
    assert item.assets == []
    assert item.properties == {"eo:cloud_cover": (5, 7)}


def test_assets_that_come_and_go(mixed: Project) -> None:
    mixed.recipe(LAYERS | {"scenes": LAYERS["scenes"] | {"asset": "picture"}})
    report = last_change(mixed)
    (item,) = report.changed
    assert {asset.key: asset.state for asset in item.assets} == {"image": "removed", "picture": "added"}
    assert "item_assets" in report.collection


def test_labels_in_another_crs_are_all_replaced(mixed: Project) -> None:
    mixed.recipe(LAYERS | {"labels": LAYERS["labels"] | {"crs": "EPSG:32632"}})
    (item,) = last_change(mixed).changed
    counts = item.assets[0].features
    assert counts is not None
    assert (counts["removed"], counts["added"], counts["unchanged"]) == (5, 5, 0)


def test_single_features_can_be_left_out(mixed: Project) -> None:
    write_geojson(mixed.folder / "labels.geojson", features(4))
    report = last_change(mixed)
    (changed,) = report.to_dict()["changed"]
    assert [edit["kind"] for edit in changed["assets"][0]["edits"]] == ["removed"]
    assert "edits" not in report.to_dict(stat=True)["changed"][0]["assets"][0]
    plain = explain_diff(
        mixed.catalog, mixed.catalog.resolve("fields@v1"), mixed.catalog.resolve("fields@v2"), features=False
    )
    assert plain.changed[0].assets[0].features is None


def test_a_damaged_label_file_is_no_difference(mixed: Project) -> None:
    write_geojson(mixed.folder / "labels.geojson", features(4))
    new = mixed.must_ingest()
    path = mixed.catalog.store.local_root / new.item("labels")["assets"]["labels"]["href"]
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(Integrity):
        explain_diff(mixed.catalog, mixed.catalog.resolve("fields@v1"), new)


def test_a_version_does_not_differ_from_itself(mixed: Project) -> None:
    version = mixed.catalog.resolve("fields@v1")
    report = explain_diff(mixed.catalog, version, version)
    assert not report
    assert report.to_dict()["summary"] == {"added": 0, "removed": 0, "changed": 0}
