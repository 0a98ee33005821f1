"""What is known of the images survives: times, platform, cloud cover, view angle, confidence of annotations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ingest_samples import LABELS, Project, features, pixels, refusal, write_geojson, write_raster

from loaders import open as open_pin
from versioning.errors import InvalidInput

NAMED = {
    "kind": "raster",
    "sources": "scenes/*.tif",
    "pattern": r"(?P<platform>[a-z0-9-]+)_(?P<day>\d{8})T(?P<time>\d{6})_(?P<cloud>[\d.]+)_(?P<band>\w+)\.tif",
    "item": "{platform}-{day}",
    "asset": "{band}",
    "title": "Band {band}",
    "datetime": "{day}T{time}Z",
    "properties": {
        "platform": "{platform}",
        "instruments": ["oli", "{platform}-cam"],
        "eo:cloud_cover": "{cloud}",
        "mission": "no-template",
        "label": "{cloud} %",
    },
    "bands": [{"name": "{band}", "common_name": "{band}", "description": "As {platform} sees it"}],
}


@pytest.fixture
def scenes(project: Project) -> Project:
    for seed, band in enumerate(["red", "nir"]):
        write_raster(project.folder / "scenes" / f"landsat-8_20240501T103000_12.5_{band}.tif", pixels(seed))
    return project


def properties_of(project: Project) -> dict[str, Any]:
    return project.must_ingest().item("landsat-8-20240501")["properties"]


def test_templates_from_the_files_name(scenes: Project) -> None:
    scenes.recipe({"scenes": NAMED})
    version = scenes.must_ingest()
    item = version.item("landsat-8-20240501")
    assert item["properties"] | {"proj:code": 0} == {
        "datetime": "2024-05-01T10:30:00Z",
        "platform": "landsat-8",
        "instruments": ["oli", "landsat-8-cam"],
        "eo:cloud_cover": 12.5,
        "mission": "no-template",
        "label": "12.5 %",
        "proj:code": 0,
    }
    red = item["assets"]["red"]
    assert red["title"] == "Band red"
    (band,) = red["bands"]
    assert (band["name"], band["eo:common_name"]) == ("red", "red")
    assert "As landsat-8 sees it" in json.dumps(red)


CSV = "id,view:off_nadir,platform,quality,empty\nlandsat-8-20240501,7.25,landsat-9,good,\nanother,1,x,y,z\n"
TABLES = {
    "meta.csv": CSV,
    "bom.csv": "\ufeff" + CSV,
    "meta.json": json.dumps(
        {"landsat-8-20240501": {"view:off_nadir": 7.25, "platform": "landsat-9", "quality": "good"}}
    ),
    "list.json": json.dumps(
        [{"id": "landsat-8-20240501", "view:off_nadir": 7.25, "platform": "landsat-9", "quality": "good"}]
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_metadata(scenes: Project, name: str) -> None:
    (scenes.folder / name).write_text(TABLES[name], encoding="utf-8")
    scenes.recipe({"scenes": NAMED | {"metadata": name}})
    found = properties_of(scenes)
    assert {key: found[key] for key in ("view:off_nadir", "platform", "quality", "eo:cloud_cover")} == {
        "view:off_nadir": 7.25,
        "platform": "landsat-9",
        "quality": "good",
        "eo:cloud_cover": 12.5,
    }
    assert "empty" not in found


def test_a_changed_table_is_a_change_of_the_item_alone(scenes: Project) -> None:
    (scenes.folder / "meta.csv").write_text(CSV)
    scenes.recipe({"scenes": NAMED | {"metadata": "meta.csv"}})
    scenes.must_ingest()
    objects = scenes.objects()
    assert scenes.ingest() is None
    (scenes.folder / "meta.csv").write_text(CSV.replace("7.25", "8"))
    done = scenes.ingest()
    assert (done.created, done.changed) == (True, 1)
    assert done.version.item("landsat-8-20240501")["properties"]["view:off_nadir"] == 8
    assert scenes.objects() == objects


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.json", "{"),
        ("m.json", '{"a": 5}'),
        ("m.json", '[{"platform": "x"}]'),
        ("m.json", "5"),
        ("m.json", '{"a": {"x": 1}, "a": {"x": 2}}'),
        ("m.csv", "platform\nx\n"),
        ("m.csv", 'id,a\n"x' + "y" * 200_000 + '",1\n'),
        ("m.csv", "id,a\nx,1\nx,2\n"),
    ],
)
def test_tables_that_cannot_be_read(scenes: Project, name: str, content: str) -> None:
    (scenes.folder / name).write_text(content)
    scenes.recipe({"scenes": NAMED | {"metadata": name}})
    before = scenes.listing()
    with pytest.raises(InvalidInput) as caught:
        scenes.ingest()
    assert name in caught.value.message
    assert scenes.listing() == before


def test_a_table_that_describes_no_item_is_not_ignored(scenes: Project) -> None:
    (scenes.folder / "meta.csv").write_text(CSV.replace("landsat-8-20240501", "LANDSAT-8-20240501"))
    scenes.recipe({"scenes": NAMED | {"metadata": "meta.csv"}})
    error = refusal(scenes)
    assert "meta.csv" in error.message
    assert "'LANDSAT-8-20240501'" in error.message


def test_a_missing_table(scenes: Project) -> None:
    scenes.recipe({"scenes": NAMED | {"metadata": "nowhere.csv"}})
    error = refusal(scenes)
    assert error.message == f"{scenes.folder / 'nowhere.csv'}, the layer's metadata, does not exist."
    scenes.recipe({"scenes": NAMED | {"metadata": "scenes"}})
    assert "Errno" not in refusal(scenes).message


def test_a_missing_time_says_how_to_give_one(scenes: Project) -> None:
    scenes.recipe({"scenes": {name: value for name, value in NAMED.items() if name != "datetime"}})
    error = refusal(scenes)
    assert error.kind == "missing-datetime"
    assert "_nir.tif" in error.message
    assert "datetime:" in str(error.hint)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("2024-05-01", "2024-05-01T00:00:00Z"),
        ("2024-05-01T10:30:00", "2024-05-01T10:30:00Z"),
        ("2024-05-01T10:30:00+02:00", "2024-05-01T08:30:00Z"),
        ("2024-05-01T10:30:00.25Z", "2024-05-01T10:30:00.25Z"),
        ("20240501T103000Z", "2024-05-01T10:30:00Z"),
    ],
)
def test_times_are_written_in_utc(scenes: Project, given: str, written: str) -> None:
    scenes.recipe({"scenes": NAMED | {"datetime": given}})
    assert properties_of(scenes)["datetime"] == written


def test_an_interval_of_dates_ends_with_its_last_second(scenes: Project) -> None:
    layer = {name: value for name, value in NAMED.items() if name != "datetime"}
    scenes.recipe({"scenes": layer | {"start_datetime": "2024-05-01", "end_datetime": "2024-05-31"}})
    found = properties_of(scenes)
    assert found["datetime"] is None
    assert (found["start_datetime"], found["end_datetime"]) == ("2024-05-01T00:00:00Z", "2024-05-31T23:59:59Z")


@pytest.mark.parametrize("given", ["yesterday", "2024-13-01", "{day}"])
def test_what_is_no_time(scenes: Project, given: str) -> None:
    scenes.recipe({"scenes": NAMED | {"datetime": given, "pattern": NAMED["pattern"].replace(r"\d{8}", r"\w{8}")}})
    (scenes.folder / "scenes" / "landsat-8_20240501T103000_12.5_red.tif").rename(
        scenes.folder / "scenes" / "landsat-8_2024May1T103000_12.5_red.tif"
    )
    assert ".tif" in refusal(scenes).message


def test_an_end_before_its_start(scenes: Project) -> None:
    layer = {name: value for name, value in NAMED.items() if name != "datetime"}
    scenes.recipe({"scenes": layer | {"start_datetime": "2024-05-31", "end_datetime": "2024-05-01"}})
    before = scenes.listing()
    with pytest.raises(InvalidInput, match="landsat-8"):
        scenes.ingest()
    assert scenes.listing() == before


def test_all_of_it_is_in_a_pulled_folder(scenes: Project, tmp_path: Path) -> None:
    (scenes.folder / "meta.csv").write_text(CSV)
    write_geojson(scenes.folder / "labels.geojson")
    labels = LABELS | {"crs": "EPSG:4326", "label": {"tasks": ["segmentation"], "properties": ["class"]}}
    scenes.recipe({"scenes": NAMED | {"metadata": "meta.csv"}, "labels": labels})
    scenes.must_ingest()
    pin = open_pin(scenes.catalog.url, "fields@v1")
    items = {item.id: item for item in pin.items()}
    image = items["landsat-8-20240501"].properties
    assert {key: image[key] for key in ("platform", "eo:cloud_cover", "view:off_nadir")} == {
        "platform": "landsat-9",
        "eo:cloud_cover": 12.5,
        "view:off_nadir": 7.25,
    }
    assert items["labels"].properties["label:tasks"] == ["segmentation"]
    assert items["labels"].properties["label:classes"] == [{"name": "class", "classes": [0, 1, 2]}]
    pin.pull(tmp_path / "out")
    (table,) = (tmp_path / "out").rglob("labels*.parquet")
    confidence = sorted(pq.read_table(table).column("confidence").to_pylist())
    assert confidence == sorted(row["properties"]["confidence"] for row in features())
    documents = [path.read_text() for path in (tmp_path / "out").rglob("*.json")]
    assert any('"view:off_nadir"' in text and "7.25" in text for text in documents)


def test_a_label_layers_roles_and_description(project: Project) -> None:
    write_geojson(project.folder / "labels.geojson")
    project.recipe(
        {"labels": LABELS | {"roles": ["labels", "truth"], "title": "{stem} of {layer}", "description": "D"}}
    )
    asset = project.must_ingest().item("labels")["assets"]["labels"]
    assert (asset["title"], asset["description"]) == ("labels of labels", "D")
    assert asset["roles"] == ["labels", "truth"]


def test_a_property_that_no_label_has_is_refused_with_those_there_are(project: Project) -> None:
    write_geojson(project.folder / "labels.geojson", features())
    project.recipe({"fields": LABELS | {"label": {"properties": ["class", "nosuch"]}}})
    error = refusal(project, workers=1)
    assert error.kind == "unknown-property"
    assert "'nosuch'" in error.message
    assert "'class'" not in error.message
    assert error.hint == "There are: class, confidence, name."
    project.recipe({"fields": LABELS})
    project.must_ingest(workers=1)
    project.recipe({"fields": LABELS | {"label": {"properties": ["nosuch"]}}})
    with pytest.raises(InvalidInput, match="nosuch"):
        project.run().plan()


def test_one_file_of_several_may_lack_a_property(project: Project) -> None:
    write_geojson(project.folder / "labels.geojson", features())
    plain = [row | {"properties": {"name": "x"}} for row in features(2)]
    write_geojson(project.folder / "labels.b.geojson", plain)
    project.recipe({"fields": LABELS | {"label": {"properties": ["class"]}}})
    assert len(list(project.must_ingest(workers=1).rows())) == 2
