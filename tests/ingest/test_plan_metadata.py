"""The plan says what an ingest would do, metadata included: never "unchanged" where a version would be made."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ingest_samples import LABELS, RASTERS, Project, features, pixels, write_geojson, write_raster

from ingest.cache import DigestCache
from ingest.plan import compare_with
from ingest.publish import commit_staged
from versioning.catalog import Catalog
from versioning.errors import InvalidInput

SCENES: dict[str, Any] = RASTERS | {
    "sources": "scenes/*.tif",
    "pattern": r"(?P<scene>\w+)_(?P<band>\w+)\.tif",
    "item": "{scene}",
    "asset": "{band}",
    "title": "Band {band}",
    "description": "As it came",
    "bands": [{"name": "{band}", "description": "One band"}],
    "properties": {"platform": "landsat-8", "gone": 1},
    "metadata": "meta.csv",
}
FIELDS: dict[str, Any] = LABELS | {"label": {"tasks": ["segmentation"], "properties": ["class"]}}
NOTES: dict[str, Any] = {"kind": "file", "sources": "notes.txt", "datetime": "2024-05-01"}

Change = Callable[[dict[str, Any]], object]
# What is changed in the recipe, and what the plan then names.
CHANGES: dict[str, tuple[Change, str]] = {
    # In a fresh catalog the file names its bands too, and equal inputs have equal digests.
    "no-band-names": (lambda r: r["layers"]["scenes"].pop("bands"), "s1.red: bands"),
    "datetime": (lambda r: r["layers"]["scenes"].update(datetime="2024-06-01"), "s1: datetime"),
    "property": (lambda r: r["layers"]["scenes"]["properties"].update(platform="x"), "s1: platform"),
    "property-gone": (lambda r: r["layers"]["scenes"]["properties"].pop("gone"), "s1: gone"),
    "property-kind": (lambda r: r["layers"]["scenes"]["properties"].update(gone=True), "s1: gone"),
    "extension": (lambda r: r["layers"]["scenes"]["properties"].update({"view:azimuth": 1}), "s1: view:azimuth"),
    "proj-code": (lambda r: r["layers"]["scenes"]["properties"].update({"proj:code": "EPSG:4326"}), "s1: proj:code"),
    "title": (lambda r: r["layers"]["scenes"].update(title="{band}"), "s1.red: title"),
    "title-gone": (lambda r: r["layers"]["scenes"].pop("title"), "s1.red: title"),
    "description": (lambda r: r["layers"]["scenes"].update(description="other"), "s1.red: description"),
    "roles": (lambda r: r["layers"]["scenes"].update(roles=["visual"]), "s1.red: roles"),
    "band-name": (lambda r: r["layers"]["scenes"].update(bands=["x-{band}"]), "s1.red: bands"),
    "common-name": (
        lambda r: r["layers"]["scenes"]["bands"][0].update(common_name="rededge"),
        "s1.red: bands",
    ),
    "label-tasks": (lambda r: r["layers"]["fields"]["label"].update(tasks=[]), "labels.fields: label:tasks"),
    "label-methods": (lambda r: r["layers"]["fields"]["label"].update(methods=["m"]), "labels.fields: label:methods"),
    "label-said": (
        lambda r: r["layers"]["fields"]["label"].update(description="d"),
        "labels.fields: label:description",
    ),
    "label-classes": (
        lambda r: r["layers"]["fields"]["label"].update(properties=["name"]),
        "labels.fields: label:classes",
    ),
    "label-title": (lambda r: r["layers"]["fields"].update(title="Fields"), "labels.fields: title"),
    "file-title": (lambda r: r["layers"]["notes"].update(title="Notes"), "notes.notes: title"),
    "file-roles": (lambda r: r["layers"]["notes"].update(roles=["overview"]), "notes.notes: roles"),
    "license": (lambda r: r.update(license="CC-BY-4.0"), "dataset: license"),
    "dataset-title": (lambda r: r.update(title="Fields"), "dataset: title"),
    "keywords": (lambda r: r.update(keywords=["a"]), "dataset: keywords"),
    "crs": (lambda r: r.pop("crs"), "dataset: pin:crs"),
    "layers": (
        lambda r: r["layers"].update(more=NOTES | {"sources": "none/*", "optional": True}),
        "dataset: pin:layers",
    ),
    "item-assets": (
        lambda r: r["layers"].update(red=RASTERS | {"sources": "none/*", "optional": True, "title": "Red"}),
        "dataset: item_assets",
    ),
}
# What is written otherwise and says the same.
SAME: dict[str, Change] = {
    "globs": lambda r: r["layers"]["scenes"].update(sources=["scenes/s1*.tif", "scenes/*.tif"]),
    "cog": lambda r: r["layers"]["scenes"].update(cog={"compress": "zstd"}),
    "null": lambda r: r["layers"]["scenes"]["properties"].update(nothing=None),
    "float": lambda r: r["layers"]["scenes"]["properties"].update(gone=1.0),
    "renamed": lambda r: r["layers"]["scenes"].update(datetime="2024-05-01T12:30:00+02:00"),
    "label-twice": lambda r: r["layers"]["fields"]["label"].update(properties=["class", "class"]),
}


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of two bands, labels and a document, ingested once."""
    root = tmp_path_factory.mktemp("ingested")
    project = Project(root / "project", Catalog.create(str(root / "catalog")))
    for seed, name in enumerate(["s1_red", "s1_nir", "s2_red", "s2_nir"]):
        write_raster(project.folder / "scenes" / f"{name}.tif", pixels(seed))
    write_geojson(project.folder / "labels.geojson", features())
    (project.folder / "notes.txt").write_text("n")
    (project.folder / "meta.csv").write_text("id,eo:cloud_cover\ns1,5\n")
    layers = {"scenes": SCENES, "fields": FIELDS | {"crs": "EPSG:4326"}, "notes": NOTES}
    project.recipe(layers, crs="EPSG:32618")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STACPIN_CACHE", str(root / "cache"))
        project.must_ingest(workers=1)
    return root


@pytest.fixture
def full(ingested: Path, tmp_path: Path) -> Project:
    """A copy of what was ingested."""
    shutil.copytree(ingested, tmp_path / "copy")
    return Project(tmp_path / "copy" / "project", Catalog.open(str(tmp_path / "copy" / "catalog")))


def rewrite(project: Project, change: Change) -> None:
    file = project.folder / "stacpin.yaml"
    content = yaml.safe_load(file.read_text())
    change(content)
    file.write_text(yaml.safe_dump(content))


def named(project: Project) -> tuple[bool, list[str]]:
    """Whether the plan has changes, and which, one a line. It must convert nothing for them."""
    run = project.run()
    plan = run.plan()
    found = [f"dataset: {name}" for name in plan.metadata]
    for item in plan.items:
        found += [f"{item.source.id}: {name}" for name in item.properties]
        found += [f"{item.source.id}.{key}: {name}" for key, names in item.described.items() for name in names]
        found += [f"{item.source.id}.{key}: gone" for key in item.removed]
        found += [f"{item.source.id}.{key}: made" for key, each in item.assets.items() if each.action == "convert"]
    assert plan.changes == bool(found)
    states = {entry["id"]: entry["state"] for entry in plan.to_dict()["items"]}
    assert {line.partition(":")[0].partition(".")[0] for line in found} - {"dataset"} == {
        item_id for item_id, state in states.items() if state == "changed"
    }
    return plan.changes, found


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_of_the_recipe_is_in_the_plan(full: Project, name: str) -> None:
    change, expected = CHANGES[name]
    assert named(full) == (False, [])  # which is remembered from here on, item by item
    rewrite(full, change)
    objects = full.objects()
    changes, found = named(full)
    assert changes
    assert expected in found
    assert not [line for line in found if line.endswith("made")]
    assert full.ingest(workers=1) is not None
    assert full.objects() == objects
    assert named(full) == (False, [])
    assert full.ingest(workers=1) is None


@pytest.mark.parametrize("name", ["datetime", "title", "license", "crs", "label-classes", "no-band-names"])
def test_a_plan_against_what_was_just_made_is_a_fresh_plan(full: Project, name: str, tmp_path: Path) -> None:
    rewrite(full, CHANGES[name][0])
    write_raster(full.folder / "scenes" / "s1_red.tif", pixels(9))
    (full.folder / "notes.txt").write_text("other")
    run = full.run(workers=1)
    plan = run.plan()
    run.convert()
    run.check()
    staged = run.staged()
    assert staged is not None
    run.verify()
    version = commit_staged(full.catalog, staged, message="m", author="a").version
    again = compare_with(run.recipe, plan, version, cache=DigestCache())
    assert not again.changes
    shutil.rmtree(tmp_path / "cache")
    assert again.to_dict() == full.run().plan().to_dict()


def test_what_a_plan_knows_of_the_parent_is_read_when_somebody_looks(full: Project) -> None:
    full.run().plan()
    (item,) = (each for each in full.run().plan().items if each.source.id == "s1")
    there = item.assets["red"].parent
    stored = full.catalog.resolve("fields").item("s1")
    assert there == stored["assets"]["red"]
    assert pickle.loads(pickle.dumps(there)) == stored["assets"]["red"]
    assert (item.parent, item.geometry) == (stored, stored["geometry"])


@pytest.mark.parametrize("name", SAME)
def test_what_says_the_same_is_in_no_plan(full: Project, name: str) -> None:
    rewrite(full, SAME[name])
    assert named(full) == (False, [])
    assert full.ingest(workers=1) is None


def test_an_assets_description_stays_its_own(full: Project) -> None:
    """It was once copied into every band by the first run after a change of the recipe."""
    rewrite(full, lambda r: r["layers"]["scenes"].update(title="T"))
    version = full.must_ingest(workers=1)
    rewrite(full, lambda r: r["layers"]["scenes"].update(sources="scenes/s*.tif"))
    assert full.ingest(workers=1) is None
    rewrite(full, lambda r: r["layers"]["scenes"].update(title="U"))
    (band,) = full.must_ingest(workers=1).item("s1")["assets"]["red"]["bands"]
    assert band == version.item("s1")["assets"]["red"]["bands"][0]
    assert band["description"] == "One band"


def test_the_metadata_table(full: Project) -> None:
    (full.folder / "meta.csv").write_text("id,eo:cloud_cover\ns1,6\n")
    assert named(full) == (True, ["s1: eo:cloud_cover"])
    assert full.ingest(workers=1) is not None


def test_assets_come_and_go(full: Project) -> None:
    scenes = full.folder / "scenes"
    (scenes / "s1_nir.tif").unlink()
    write_raster(scenes / "s2_blue.tif", pixels(9))
    assert named(full) == (True, ["s1.nir: gone", "s2.blue: made"])
    version = full.must_ingest(workers=1)
    assert sorted(version.item("s1")["assets"]) == ["red"]


@pytest.mark.parametrize("mode", ["stop", "quarantine"])
def test_the_number_of_bands_is_known_to_the_plan(project: Project, mode: str) -> None:
    write_raster(project.folder / "a.tif", pixels(shape=(2, 60, 80)))
    write_raster(project.folder / "b.tif")
    project.recipe({"scenes": RASTERS | {"bands": ["x", "y"]}}, on_error=mode)
    run = project.run()
    if mode == "quarantine":
        assert [each.item for each in run.plan().refused] == ["b"]
        return
    with pytest.raises(InvalidInput, match=r"b\.tif has 1 bands; its layer names 2") as caught:
        run.plan()
    assert "'scenes'" in str(caught.value.hint)


def test_a_band_template_that_cannot_be_filled_is_known_to_the_plan(project: Project, tmp_path: Path) -> None:
    write_raster(project.folder / "a.tif")
    project.recipe({"scenes": RASTERS | {"bands": ["{nosuch}"]}})
    with pytest.raises(InvalidInput, match="nosuch"):
        project.run().plan()
