"""The main job on real data: three versions of imagery, three of labels, and the same digests wherever they lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from ingest_samples import RASTERS, Project, copied, features, pixels, write_geojson, write_gpkg, write_raster
from rasterio import Affine

from catalog.changes import explain_diff
from catalog.query import Query
from catalog.search import iterate
from loaders import open as open_pin
from loaders import verify_folder
from versioning.catalog import Catalog
from versioning.diff import diff_versions
from versioning.verify import verify_version

DEGREES = Affine(0.001, 0, 10.0, 0, -0.001, 50.0)
YEARS = ([1985, 1990, 1995, 2000], [2005, 2010, 2015], [2020])
PERU = {
    "landsat": {
        "kind": "raster",
        "sources": "imagery/*/*.tif",
        "pattern": r"landsat_(?P<year>\d{4})\.tif",
        "item": "pucallpa-{year}",
        "start_datetime": "{year}-01-01",
        "end_datetime": "{year}-12-31",
        "properties": {"constellation": "landsat", "year": "{year}"},
    }
}


def found(catalog: Catalog, pin: str, **query: Any) -> list[str]:
    return [item["id"] for item in iterate(catalog.resolve(pin), Query.parse(**query))]


def ids(years: list[int]) -> list[str]:
    return [f"pucallpa-{year}" for year in years]


@pytest.mark.slow
def test_pucallpa_as_three_versions(project: Project, shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "imagery" / "landsat-pucallpa-peru"
    project.recipe(PERU, title="Pucallpa")
    made = []
    for years in YEARS:
        for year in years:
            name = f"{year}/landsat_{year}.tif"
            copied(source / name, project.folder / "imagery" / name)
        made.append(project.must_ingest())
        # the same recipe again: no version, and it says so
        assert project.ingest() is None
    first, second, third = made
    present = [ids([year for years in YEARS[:count] for year in years]) for count in (1, 2, 3)]
    assert [[row.id for row in version.rows()] for version in made] == present

    steps = [diff_versions(None, first), diff_versions(first, second), diff_versions(second, third)]
    assert [[row.id for row in step.added] for step in steps] == [ids(years) for years in YEARS]
    assert not any(step.removed or step.changed or step.collection for step in steps[1:])
    report = explain_diff(project.catalog, first, third)
    assert report.to_dict()["summary"] == {"added": 4, "removed": 0, "changed": 0}

    # by time, at each pin
    for number, items in enumerate(present, start=1):
        pin = f"fields@v{number}"
        assert found(project.catalog, pin, datetime="1994-06-01/2016-06-01") == [
            each for each in items if 1994 <= int(each[-4:]) <= 2016
        ]
        assert found(project.catalog, pin, datetime="2020-06-01T00:00:00Z") == [e for e in items if e.endswith("2020")]
        assert found(project.catalog, pin, filter="year < 1995") == ids([1985, 1990])
        assert verify_version(project.catalog.dataset("fields"), project.catalog.resolve(pin)).ok

    # v1 after v3 is exactly v1's files
    opened = open_pin(str(tmp_path / "catalog"), "fields@v1")
    opened.pull(tmp_path / "pulled")
    assert verify_folder(tmp_path / "pulled").ok
    pulled = {hashlib.sha256(path.read_bytes()).digest() for path in (tmp_path / "pulled").rglob("*.tif")}
    assert pulled == {asset.sha256 for _, asset in first.assets()}
    assert len(pulled) == 4


LABELLED = {"buildings": {"kind": "labels", "sources": "buildings.geojson", "datetime": "2009-12-22"}}


def revise(truth: dict[str, Any]) -> dict[str, Any]:
    """Three named edits: the fourth feature's vertex moves, the eighth changes a property, the twelfth goes."""
    revised = deepcopy(truth)
    rows = revised["features"]
    rows[3]["geometry"]["coordinates"][0][1][0] += 2.5
    rows[7]["properties"]["building"] = "church"
    del rows[11]
    return revised


def test_spacenet_labels_as_three_versions(project: Project, shared_data: Path) -> None:
    source = shared_data / "labels" / "spacenet4-atlanta-buildings-2"
    predicted, truth = (json.loads((source / f"{name}.geojson").read_text()) for name in ("pred", "gt"))
    project.recipe(LABELLED)
    target = project.folder / "buildings.geojson"
    made = []
    for content in (predicted, truth, revise(truth)):
        target.write_text(json.dumps(content))
        made.append(project.must_ingest())

    replaced = explain_diff(project.catalog, made[0], made[1])
    (asset,) = replaced.changed[0].assets
    assert (asset.key, asset.state, asset.what) == ("buildings", "changed", "content")
    counts = {kind: number for kind, number in asset.features.items() if number}
    assert counts == {"added": len(truth["features"]), "removed": len(predicted["features"])}
    assert counts == {"added": 28, "removed": 28}
    assert {edit["kind"] for edit in asset.edits} == {"added", "removed"}

    edited = explain_diff(project.catalog, made[1], made[2])
    (asset,) = edited.changed[0].assets
    assert {kind: number for kind, number in asset.features.items() if number} == {
        "unchanged": 25,
        "geometry": 1,
        "attribute": 1,
        "removed": 1,
    }
    by_kind = {edit["kind"]: edit for edit in asset.edits}
    assert len(asset.edits) == 3
    names = {kind: truth["features"][at]["properties"]["osm_id"] for kind, at in NAMED}
    assert {kind: edit["feature"] for kind, edit in by_kind.items()} == {
        kind: f"osm_id={name}" for kind, name in names.items()
    }
    assert by_kind["geometry"]["distance"] == pytest.approx(2.5, abs=1.5)
    assert by_kind["attribute"]["properties"] == {"building": {"old": "yes", "new": "church"}}
    assert not edited.added
    assert not edited.removed


NAMED = (("geometry", 3), ("attribute", 7), ("removed", 11))


@pytest.mark.slow
def test_equal_digests_on_every_store_in_any_order(
    shared_data: Path, tmp_path: Path, s3_catalog: Callable[[], Catalog]
) -> None:
    """Layers, files and recipe keys in other orders; on a local disk, in memory and on S3."""
    rasters = sorted((shared_data / "imagery" / "sentinel2-29N").glob("B0[1-3].tif"))
    assert len(rasters) == 3
    labels = shared_data / "labels" / "slovenia-lulc" / "svn_border.geojson"
    layers = {
        "scenes": {"kind": "raster", "sources": "*.tif", "datetime": "2020-01-01", "item": "a-{stem}"},
        "border": {"kind": "labels", "sources": "*.geojson", "datetime": "2020-01-01"},
        "notes": {"kind": "file", "sources": "*.txt", "datetime": "2020-01-01"},
    }
    places = [Catalog.create(str(tmp_path / "local")), Catalog.create("memory://"), s3_catalog()]
    digests = set()
    for number, place in enumerate(places):
        project = Project(tmp_path / f"p{number}", place)
        turn = -1 if number % 2 else 1
        for path in [*rasters, labels][::turn]:
            copied(path, project.folder / path.name)
        (project.folder / "notes.txt").write_text("the same bytes\n")
        project.recipe(dict(list(layers.items())[::turn]), crs="EPSG:32629")  # where the rasters are; the border is not
        version = project.must_ingest(workers=1 if number else 2)
        digests.add((version.digest, version.record.content_digest))
        assert verify_version(place.dataset("fields"), version).ok
        assert project.ingest() is None
    assert len(digests) == 1


def test_other_encodings_of_the_same_content_have_one_content_digest(tmp_path: Path) -> None:
    layers = {"scenes": RASTERS, "labels": {"kind": "labels", "sources": "labels.*", "datetime": "2024-01-01"}}
    versions = []
    for number in range(2):
        project = Project(tmp_path / f"p{number}", Catalog.create("memory://"))
        if number == 0:
            write_raster(project.folder / "a.tif", pixels(1), crs="EPSG:4326", transform=DEGREES)
            write_geojson(project.folder / "labels.geojson", features())
        else:
            write_gpkg(project.folder / "labels.gpkg", features()[::-1])
            write_raster(
                project.folder / "a.tif",
                pixels(1),
                crs="EPSG:4326",
                transform=DEGREES,
                compress="lzw",
                tiled=True,
                blockxsize=16,
                blockysize=16,
                after=lambda out: out.update_tags(SOFTWARE="another"),
            )
        project.recipe(layers)
        versions.append(project.must_ingest())
    assert versions[0].record.content_digest == versions[1].record.content_digest
