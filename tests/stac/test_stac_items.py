"""Stored items: valid, complete, and the same wherever and whenever they are made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pystac
import pytest
import rasterio
from stac_documents import part_of, ref_of

from catalog.assets import labels_asset, opaque_asset, raster_part
from catalog.bands import source_bands
from catalog.footprints import to_geojson
from catalog.items import build_item, utc_text
from catalog.media_types import COG, PARQUET
from catalog.raster_facts import RasterFacts, raster_facts
from catalog.rasters import open_raster
from catalog.validation import validate_item
from versioning.canonical import canonical
from versioning.errors import InvalidInput
from versioning.rows import make_row

HERE = Path(__file__).resolve().parent
WHEN = "2024-05-01T10:30:00Z"
SQUARE = {"type": "Polygon", "coordinates": [[[10, 50], [11, 50], [11, 51], [10, 51], [10, 50]]]}
KNOWN = {
    "platform": "landsat-8",
    "instruments": ["oli", "tirs"],
    "constellation": "landsat",
    "gsd": 30,
    "eo:cloud_cover": 12.5,
    "view:off_nadir": 0.7,
    "view:sun_azimuth": 151.2,
    "processing:level": "L2",
    "processing:lineage": "reprojected to EPSG:32618",
    "annotation:confidence": 0.83,
}


def labels_part(tmp_path, **options):
    path = tmp_path / "labels.parquet"
    path.write_bytes(b"PAR1")
    given = {
        "count": 3,
        "geometry_types": ["Polygon"],
        "columns": {"class": "text", "height": "number"},
        "crs": "EPSG:4326",
        "footprint": SQUARE,
        "native_bbox": (10, 50, 11, 51),
        "classes": {"class": ["road", "building"]},
        "tasks": ["segmentation"],
    }
    return labels_asset(path, ref_of(path), digest="v1:" + "0" * 64, **{**given, **options})


def test_real_rasters_become_valid_items(shared_data, schemas):
    folder = shared_data / "imagery" / "sentinel2-29N"
    parts = {path.stem: part_of(path) for path in sorted(folder.glob("*.tif"))}
    item = build_item("s2", parts, datetime=WHEN, properties=KNOWN)
    found = validate_item(item, schemas)
    assert found.errors == ()
    assert found.unchecked == ()
    assert item["properties"]["proj:code"] == "EPSG:32629"
    assert list(item["assets"]) == ["B01", "B02", "B03", "B04", "B05"]
    for asset in item["assets"].values():
        assert {"proj:code", "proj:shape", "proj:transform", "proj:bbox", "file:checksum", "file:size"} <= set(asset)
        assert asset["type"] == COG
        assert (asset["data_type"], asset["nodata"]) == ("uint16", 0)
    row = make_row(item)
    assert row.bbox == pytest.approx((-11.979, 24.296, -10.875, 25.305), abs=1e-3)
    assert len(row.assets) == 5
    read = pystac.Item.from_dict({**item, "links": []})
    assert read.ext.proj.code == "EPSG:32629"
    assert read.assets["B01"].ext.proj.shape == [549, 549]


def test_shapes_transforms_and_boxes_are_rio_stacs(shared_data):
    from rio_stac.stac import get_projection_info

    paths = [path for path in sorted(shared_data.rglob("*.tif")) if path.stat().st_size < 8_000_000]
    compared = 0
    for path in paths:
        with rasterio.open(path) as dataset:
            wanted, placed = get_projection_info(dataset), not dataset.transform.is_identity and dataset.crs is not None
        if not placed:
            continue
        asset = part_of(path).asset
        assert asset["proj:shape"] == wanted["shape"]
        assert asset["proj:transform"] == wanted["transform"][:6]
        assert asset["proj:bbox"] == wanted["bbox"]
        compared += 1
    assert compared > 10


def test_facts_survive_their_way_between_processes(shared_data):
    path = next(path for path in sorted(shared_data.rglob("*.tif")) if path.stat().st_size < 8_000_000)
    with open_raster(path) as raster:
        facts = raster_facts(raster)
    again = RasterFacts.from_json(path, facts.to_json())
    assert (again.media_type, again.bands, again.projection) == (facts.media_type, facts.bands, facts.projection)
    assert again.footprint.equals_exact(facts.footprint, 0.0)
    ref = ref_of(path)
    assert raster_part(again, ref, digest="r1:" + "0" * 64) == raster_part(facts, ref, digest="r1:" + "0" * 64)


def test_metadata_survives(make_raster, schemas):
    part = part_of(make_raster("EPSG:32618", 3e5, 4e6, 30, 30))
    given = {**KNOWN, "created": WHEN, "updated": WHEN, "x": None}
    times = {"start": "2024-01-01T00:00:00Z", "end": "2024-02-01T00:00:00+01:00"}
    item = build_item("a", {"data": part}, **times, properties=given)
    properties = item["properties"]
    assert properties.items() >= KNOWN.items()
    assert not {"created", "updated", "x"} & set(properties)
    assert properties["datetime"] is None
    assert properties["end_datetime"] == "2024-01-31T23:00:00Z"
    assert validate_item(item, schemas).errors == ()
    names = [uri.split("/")[3] for uri in item["stac_extensions"]]
    assert names == ["eo", "file", "processing", "projection", "view", "pin"]
    make_row(item)


def test_building_twice_gives_the_same_bytes_on_another_machine_too(make_raster, tmp_path):
    path = make_raster("EPSG:32660", 700000, 1000000, 20000, 20000, count=3)
    code = f"""if True:
        import sys; sys.path[:0] = {[str(HERE), str(HERE.parents[1])]!r}
        from pathlib import Path
        from catalog.items import build_item
        from stac_documents import part_of
        from versioning.canonical import canonical
        path = Path({str(path)!r})
        item = build_item("a", {{"b": part_of(path), "a": part_of(path)}}, datetime={WHEN!r})
        sys.stdout.buffer.write(canonical(item))
    """
    parts = {"a": part_of(path), "b": part_of(path)}
    first = canonical(build_item("a", parts, datetime=WHEN))
    assert first == canonical(build_item("a", dict(reversed(parts.items())), datetime="2024-05-01T12:30:00.000+02:00"))
    elsewhere = {**os.environ, "TZ": "Pacific/Auckland", "LANG": "C", "PYTHONHASHSEED": "7"}
    again = subprocess.run([sys.executable, "-c", code], env=elsewhere, capture_output=True, check=True)
    assert again.stdout == first
    assert str(tmp_path).encode() not in first


def test_bands_carry_names_units_scales_and_common_names(make_raster, schemas):
    def describe(dataset):
        dataset.descriptions = ("red", "NIR", "qa")
        dataset.units = ("reflectance", "reflectance", "")
        dataset.scales = (0.0001, 0.0001, 1)
        dataset.offsets = (-0.1, -0.1, 0)

    path = make_raster("EPSG:32618", 3e5, 4e6, 30, 30, count=3, dtype="int16", nodata=-9999, describe=describe)
    asset = part_of(path).asset
    assert asset["data_type"] == "int16"
    assert asset["nodata"] == -9999
    assert asset["bands"] == [
        {"name": "red", "unit": "reflectance", "raster:scale": 0.0001, "raster:offset": -0.1, "eo:common_name": "red"},
        {"name": "NIR", "unit": "reflectance", "raster:scale": 0.0001, "raster:offset": -0.1, "eo:common_name": "nir"},
        {"name": "qa"},
    ]
    assert source_bands(path)[0] == {"name": "red", "unit": "reflectance"}
    named = part_of(path, band_names=["B4", "B5", "QA"], extra={"bands": [{"eo:center_wavelength": 0.655}, {}, {}]})
    assert [band["name"] for band in named.asset["bands"]] == ["B4", "B5", "QA"]
    item = build_item("a", {"data": named}, datetime=WHEN)
    assert validate_item(item, schemas).errors == ()
    assert any("/raster/v2" in uri for uri in item["stac_extensions"])


def test_what_is_declared_for_bands_must_fit_them(make_raster):
    path = make_raster("EPSG:32618", 3e5, 4e6, 30, 30, count=2)
    for options in ({"band_names": ["a"]}, {"extra": {"bands": [{}]}}, {"extra": {"bands": 3}}):
        with pytest.raises(InvalidInput, match="has 2 bands"):
            part_of(path, **options)


@pytest.mark.parametrize(
    ("dtype", "nodata", "written"),
    [("float32", float("nan"), "nan"), ("float32", 0.1, 0.10000000149011612), ("float64", float("-inf"), "-inf")],
)
def test_nodata_is_written_as_json_can(make_raster, schemas, dtype, nodata, written):
    part = part_of(make_raster("EPSG:32618", 3e5, 4e6, 30, 30, dtype=dtype, nodata=nodata))
    assert part.asset["nodata"] == written
    assert validate_item(build_item("a", {"data": part}, datetime=WHEN), schemas).errors == ()


def test_complex_data_types_have_stac_names(make_raster, schemas):
    part = part_of(make_raster("EPSG:32618", 3e5, 4e6, 30, 30, dtype="complex64"))
    assert part.asset["data_type"] == "cfloat32"
    assert validate_item(build_item("a", {"data": part}, datetime=WHEN), schemas).errors == ()


def test_a_crs_without_a_code_is_written_as_wkt2(make_raster, schemas):
    part = part_of(make_raster("+proj=laea +lat_0=40 +lon_0=-105 +ellps=GRS80 +units=m", 0, 0, 30, 30))
    assert part.asset["proj:code"] is None
    assert part.asset["proj:wkt2"].startswith("PROJCRS[")
    item = build_item("a", {"data": part}, datetime=WHEN)
    assert "proj:code" not in item["properties"]
    assert validate_item(item, schemas).errors == ()


def test_assets_that_disagree_on_the_crs_leave_it_to_themselves(make_raster):
    one = part_of(make_raster("EPSG:32618", 3e5, 4e6, 30, 30))
    two = part_of(make_raster("EPSG:4326", 10, 20, 0.1, 0.1, name="two.tif"))
    assert "proj:code" not in build_item("a", {"one": one, "two": two}, datetime=WHEN)["properties"]


def test_labels_are_valid_label_and_table_items(tmp_path, schemas):
    item = build_item("l", {"labels": labels_part(tmp_path)}, datetime=WHEN)
    found = validate_item(item, schemas)
    assert (found.errors, found.unchecked) == ((), ())
    asset, properties = item["assets"]["labels"], item["properties"]
    assert asset["type"] == PARQUET
    assert asset["roles"] == ["labels", "labels-vector"]
    assert asset["table:row_count"] == 3
    assert properties["label:type"] == "vector"
    assert properties["label:properties"] == ["class", "height"]
    assert properties["label:classes"] == [{"name": "class", "classes": ["building", "road"]}]
    assert item["bbox"] == [10, 50, 11, 51]


def test_several_label_assets_are_summed_up_in_the_item(tmp_path, schemas):
    parts = {
        "buildings": labels_part(tmp_path, description="buildings"),
        "lakes": labels_part(tmp_path, description="lakes", columns={"depth": "number"}, classes={}),
    }
    item = build_item("l", parts, datetime=WHEN)
    assert item["properties"]["label:description"] == "buildings; lakes"
    assert item["properties"]["label:properties"] == ["class", "height", "depth"]
    assert validate_item(item, schemas).errors == ()


def test_labels_without_features_have_no_place(tmp_path, schemas):
    part = labels_part(tmp_path, count=0, footprint=None, native_bbox=None, geometry_types=[], columns={}, classes={})
    item = build_item("l", {"labels": part}, datetime=WHEN)
    assert item["geometry"] is None
    assert "bbox" not in item
    assert validate_item(item, schemas).errors == ()
    assert make_row(item).bbox is None


def test_projjson_of_labels_is_kept_and_reported_as_unchecked(tmp_path, schemas):
    crs = json.dumps({"type": "GeographicCRS", "name": "mine"})
    item = build_item("l", {"labels": labels_part(tmp_path, crs=crs)}, datetime=WHEN)
    for _ in range(2):
        found = validate_item(item, schemas)
        assert found.errors == ()
        assert found.unchecked == ("https://proj.org/schemas/v0.7/projjson.schema.json",)
    assert validate_item(build_item("l", {"labels": labels_part(tmp_path)}, datetime=WHEN), schemas).unchecked == ()


def test_opaque_assets_are_their_bytes(tmp_path, schemas):
    path = tmp_path / "cloud.laz"
    path.write_bytes(b"LASF")
    part = opaque_asset(path, ref_of(path))
    assert part.asset["pin:digest"] == f"b1:{ref_of(path).sha256.hex()}"
    assert part.asset["type"] == "application/vnd.laszip"
    assert part.bbox is None
    assert validate_item(build_item("o", {"cloud": part}, datetime=WHEN), schemas).errors == ()


def test_an_item_across_the_antimeridian(make_raster, schemas):
    part = part_of(make_raster("EPSG:32701", 100000, 8000000, 10000, 10000))
    item = build_item("fiji", {"data": part}, datetime=WHEN)
    assert item["geometry"]["type"] == "MultiPolygon"
    assert item["bbox"][0] > item["bbox"][2]
    assert item["geometry"] == to_geojson(part.footprint)
    assert validate_item(item, schemas).errors == ()
    assert make_row(item).bbox == tuple(item["bbox"])


@pytest.mark.parametrize(
    ("times", "text"),
    [
        ({}, "has no datetime"),
        ({"start": WHEN}, "start_datetime alone"),
        ({"end": WHEN}, "end_datetime alone"),
        ({"datetime": "2024-05-01"}, "'2024-05-01'"),
        ({"datetime": "2024-05-01T10:30:00"}, "has the time"),
        ({"datetime": datetime(2024, 5, 1, 10, 30)}, "has the time"),  # noqa: DTZ001 - what is refused
        ({"datetime": "yesterday"}, "yesterday"),
        ({"datetime": "2024-13-01T00:00:00+01:00"}, "month"),
    ],
)
def test_times_that_say_too_little_are_refused(times, text):
    with pytest.raises(InvalidInput, match=text) as caught:
        build_item("a", {}, **times)
    assert caught.value.hint or "month" in text
    assert "item a" in caught.value.message


def test_the_hint_says_how_to_give_a_datetime():
    with pytest.raises(InvalidInput) as caught:
        build_item("a", {}, properties={"datetime": None})
    assert caught.value.kind == "missing-datetime"
    assert "recipe" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("2024-05-01T10:30:00z", "2024-05-01T10:30:00Z"),
        ("2024-05-01 10:30:00.1234567890+00:00", "2024-05-01T10:30:00.123456789Z"),
        ("2024-01-01T00:30:00+05:30", "2023-12-31T19:00:00Z"),
        (datetime(2024, 5, 1, 12, 30, tzinfo=timezone(timedelta(hours=2))), "2024-05-01T10:30:00Z"),
        (datetime(2024, 5, 1, 10, 30, 0, 500000, tzinfo=UTC), "2024-05-01T10:30:00.5Z"),
    ],
)
def test_times_are_written_in_utc(given, written):
    assert utc_text(given) == written


def test_ids_are_checked_first():
    with pytest.raises(InvalidInput, match="cannot be an item's id"):
        build_item("../x", {}, datetime=WHEN)


def test_what_an_asset_was_derived_from_is_checked(make_raster, schemas):
    path = make_raster("EPSG:32618", 3e5, 4e6, 30, 30)
    source = {"inputs": ["r1:" + "0" * 64], "step": "warp", "parameters": {"crs": "EPSG:32618"}}
    item = build_item("a", {"data": part_of(path, source=source)}, datetime=WHEN)
    assert item["assets"]["data"]["pin:source"] == source
    assert validate_item(item, schemas).errors == ()
    item["assets"]["data"]["pin:source"] = {**source, "inputs": ["scene.tif"]}
    assert "pin:source.inputs[0]: 'scene.tif' does not match" in validate_item(item, schemas).errors[0]
