"""What the store takes as an item, and as the name of anything."""

from __future__ import annotations

import hashlib

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from version_helpers import asset_of, item_of

from versioning import ids
from versioning.canonical import canonical
from versioning.digests import multihash, parse_digest, parse_multihash
from versioning.errors import InvalidInput
from versioning.rows import content_digest, item_interval, make_row, micros_text, object_path, parse_item


def with_asset(**more):
    return item_of("a", assets={"data": {**asset_of(b"x"), **more}})


def test_links_and_collection_are_not_stored():
    plain = make_row(item_of("a"))
    assert make_row(item_of("a", links=[{"rel": "self", "href": "x"}], collection="ds--v1")) == plain
    assert set(plain.parse()) == {"type", "stac_version", "id", "geometry", "bbox", "properties", "assets"}
    assert plain.digest == hashlib.sha256(plain.item).digest()


def test_a_row_follows_from_its_json():
    row = make_row(item_of("a", 1.5))
    assert parse_item(row.item) == row
    assert shapely.from_wkb(row.geometry).geom_type == "Point"


@pytest.mark.parametrize(
    "nodata", [-(2**63), -9223372036854775808.0, 3.4028234663852886e38, 43169543595488410, 1e20, -0.0, float("nan")]
)
def test_real_nodata_values_can_be_stored(nodata):
    row = make_row(with_asset(**{"raster:bands": [{"nodata": nodata}]}))
    assert parse_item(row.item) == row
    read = row.parse()["assets"]["data"]["raster:bands"][0]["nodata"]
    assert read == "nan" or float(read) == float(nodata)


def test_nothing_of_the_item_is_lost():
    item = item_of(
        "a", geometry={"type": "Point", "coordinates": [1.5, 2, 300.25]}, bbox=[1.5, 2, 300.25, 1.5, 2, 300.25]
    )
    item |= {
        "foreign": {"é": [None, {"x": 1e-7}]},
        "properties": {
            "datetime": None,
            "start_datetime": "2024-01-01T00:00:00.123456789Z",
            "end_datetime": "2024-01-02T00:00:00Z",
            "id": "other",
        },
    }
    row = make_row(item)
    assert row.parse() == item
    assert row.bbox == (1.5, 2, 1.5, 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": "../a"}, "cannot be an item's id"),
        ({"id": 5}, "cannot be an item's id"),
        ({"type": "FeatureCollection"}, "not a STAC Item"),
        ({"properties": None}, "not a STAC Item"),
        ({"properties": {}}, "has no datetime"),
        ({"properties": {"datetime": None, "start_datetime": "2024-01-01T00:00:00Z"}}, "has no datetime"),
        ({"properties": {"datetime": "2024-01-01"}}, "RFC 3339"),
        ({"properties": {"datetime": 5}}, "RFC 3339"),
        ({"properties": {"datetime": "2024-02-30T00:00:00Z"}}, "day"),
        ({"properties": {"datetime": "2024-01-01T00:00:61Z"}}, "second"),
        ({"properties": {"datetime": "2024-01-01T24:00:00Z"}}, "hour"),
        ({"properties": {"datetime": "2024-01-01T00:00:00+24:00"}}, "hour"),
        ({"properties": {"datetime": "2024-01-01T00:00:00+05:60"}}, "minute"),
        ({"properties": {"datetime": "0001-01-01T00:00:00+01:00"}}, "years 1 to 9999"),
        ({"properties": {"datetime": "9999-12-31T23:59:60Z"}}, "years 1 to 9999"),
        ({"properties": {"datetime": "٢٠٢٤-01-01T00:00:00Z"}}, "RFC 3339"),
        (
            {"properties": {"start_datetime": "2024-01-02T00:00:00Z", "end_datetime": "2024-01-01T00:00:00Z"}},
            "before it starts",
        ),
        ({"bbox": None}, "no bbox"),
        ({"bbox": [1, 2, 3]}, "4 or 6"),
        ({"bbox": [1, 2, 3, True]}, "4 or 6"),
        ({"bbox": [1, 2, 3, "4"]}, "4 or 6"),
        ({"bbox": {"0": 1}}, "4 or 6"),
        ({"bbox": [1, 5, 3, 4]}, "south"),
        ({"geometry": {"type": "Polygon", "coordinates": []}}, "empty geometry"),
        ({"geometry": {"type": "Point", "coordinates": ["1", 2]}}, "cannot be read"),
        ({"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1]]]}}, "cannot be read"),
        ({"geometry": {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}}}, "seven types"),
        ({"geometry": [1, 2]}, "seven types"),
        ({"assets": None}, "no assets"),
        ({"assets": []}, "no assets"),
        ({"assets": {"data": 5}}, "not an object"),
        ({"properties": {"datetime": "2024-01-01T00:00:00Z", "x": float("nan")}}, "JSON cannot express"),
    ],
)
def test_odd_items_are_refused_and_named(change, reason):
    with pytest.raises(InvalidInput, match=reason) as caught:
        make_row(item_of("a") | change)
    assert str(caught.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"file:checksum": None}, "file:checksum"),
        ({"file:checksum": "1114" + "0" * 40}, "file:checksum"),
        ({"file:checksum": "1220" + "G" * 64}, "file:checksum"),
        ({"file:checksum": "1220" + hashlib.sha256(b"x").hexdigest().upper()}, "file:checksum"),
        ({"file:size": None}, "file:size"),
        ({"file:size": -1}, "file:size"),
        ({"file:size": True}, "file:size"),
        ({"file:size": 1.5}, "file:size"),
        ({"file:size": 2**63}, "file:size"),
        ({"pin:digest": "r1:short"}, "pin:digest"),
        ({"pin:digest": ["r1:" + "0" * 64]}, "pin:digest"),
        ({"href": None}, "no href"),
        ({"href": "objects/ab/" + "0" * 64}, "not where"),
        ({"href": "objects/2d/" + hashlib.sha256(b"y").hexdigest()}, "not where"),
        ({"href": "../secret.tif"}, "Store the file"),
        ({"href": "/etc/passwd"}, "Store the file"),
        ({"href": "s3://bucket/a b"}, "Store the file"),
    ],
)
def test_odd_assets_are_refused_and_named(change, reason):
    with pytest.raises(InvalidInput, match=reason) as caught:
        make_row(with_asset(**change))
    assert "item a" in str(caught.value)


def test_an_asset_may_lie_elsewhere():
    row = make_row(with_asset(href="https://example.org/a.tif"))
    assert (row.assets[0].stored, make_row(with_asset()).assets[0].stored) == (False, True)


def test_assets_are_sorted_by_key():
    row = make_row(item_of("a", assets={"b": asset_of(b"1"), "a": asset_of(b"2", ""), "é": asset_of(b"3")}))
    assert [asset.key for asset in row.assets] == ["a", "b", "é"]


# -- times


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:01.5z", 1_500_000),
        ("1970-01-01 02:30:00+02:30", 0),
        ("1969-12-31T23:00:00-01:00", 0),
        ("2016-12-31T23:59:60Z", 1483228800_000000),
        ("1970-01-01T00:00:00.000001Z", 1),
    ],
)
def test_times(text, micros):
    assert item_interval({"properties": {"datetime": text}}) == (micros, micros)


def test_an_interval_is_rounded_outwards():
    text = "1970-01-01T00:00:00.0000019Z"
    assert item_interval({"properties": {"datetime": text}}) == (1, 2)


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_times_come_back(micros):
    assert item_interval({"properties": {"datetime": micros_text(micros)}}) == (micros, micros)


# -- content


@pytest.mark.parametrize(
    "change",
    [
        {"href": "https://example.org/a.tif"},
        {"file:checksum": "1220" + "0" * 64},
        {"file:size": 99},
        {"created": "2026-01-01T00:00:00Z"},
        {"proj:wkt2": "PROJCRS[…]"},
        {"bands": [{"name": "red", "statistics": {"mean": 4}}]},
    ],
)
def test_the_encoding_is_not_content(change):
    base = {"pin:digest": "r1:" + "a" * 64, "bands": [{"name": "red"}]}
    assert content_digest(
        with_asset(**base, **{k: v for k, v in change.items() if k not in base})
        if "bands" not in change
        else with_asset(**base | change)
    ) == content_digest(with_asset(**base))


@pytest.mark.parametrize("change", [{"pin:digest": "r1:" + "b" * 64}, {"title": "t"}, {"bands": [{"name": "blue"}]}])
def test_everything_else_is_content(change):
    base = {"pin:digest": "r1:" + "a" * 64, "bands": [{"name": "red"}]}
    assert content_digest(with_asset(**base | change)) != content_digest(with_asset(**base))


def test_an_asset_without_a_content_digest_is_its_bytes():
    plain = with_asset()
    said = with_asset(**{"pin:digest": "b1:" + hashlib.sha256(b"x").hexdigest()})
    assert content_digest(plain) == content_digest(said)
    expected = {k: v for k, v in plain.items() if k != "assets"}
    expected["assets"] = {"data": {"pin:digest": "b1:" + hashlib.sha256(b"x").hexdigest()}}
    assert content_digest(plain) == hashlib.sha256(canonical(expected)).digest()


# -- names

GOOD = {
    ids.check_dataset_id: ["a", "0", "land-cover_2", "a" * 100, "a_", "v1", "a_-b"],
    ids.check_item_id: ["a", "Z9", "a.b_c:d+e=f,g-h", "a" * 200, "a.."],
    ids.check_tag_name: ["v2.1.4", "2.1.4", "v1.0.0-rc.1+build", "gold", "Release_2", "a" * 100, "1.0"],
    ids.check_pointer_name: ["stable", "latest", "candidate-2", "a" * 100, "v3x"],
}
BAD = {
    ids.check_dataset_id: ["", "A", "a--b", "a-", "-a", "a.b", "a/b", "a" * 101, "é", "a\n", ".."],
    ids.check_item_id: ["", ".a", "-a", "a/b", "a b", "a" * 201, "é", "a\n", None, 5, "a!b", "a%b"],
    ids.check_tag_name: [
        "",
        "v3",
        "3",
        "V12",
        "latest",
        "stable",
        "sha256-x",
        "SHA256",
        "a/b",
        "a..b",
        "-a",
        "a" * 101,
        "v1\n",
    ],
    ids.check_pointer_name: ["", "v3", "3", "Stable", "sha256x", "a.b", "-a", "a" * 101, "a\n"],
}


@pytest.mark.parametrize(("check", "name"), [(check, name) for check, names in GOOD.items() for name in names])
def test_good_names(check, name):
    assert check(name) == name


@pytest.mark.parametrize(("check", "name"), [(check, name) for check, names in BAD.items() for name in names])
def test_bad_names(check, name):
    with pytest.raises(InvalidInput, match="cannot be") as caught:
        check(name)
    assert (caught.value.kind, caught.value.exit_code) == ("invalid-id", 50)


def test_collection_ids():
    assert ids.collection_id("land-cover", 3) == "land-cover--v3"
    assert ids.split_collection_id("land-cover--v3") == ("land-cover", 3)
    assert ids.split_collection_id("land-cover") == ("land-cover", None)
    assert ids.split_collection_id("land-cover--v0") == ("land-cover--v0", None)


def test_texts_of_digests():
    raw = hashlib.sha256(b"x").digest()
    assert parse_digest(f"sha256:{raw.hex()}") == parse_multihash(multihash(raw)) == raw
    for text in (
        "sha256:",
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "md5:" + "0" * 64,
        "sha256:" + "A" * 64,
        "sha256:" + " 0" * 32,
        None,
    ):
        with pytest.raises(InvalidInput, match="is not a digest"):
            parse_digest(text)
    with pytest.raises(InvalidInput, match="multihash"):
        parse_multihash("1220" + "zz" * 32)


@pytest.mark.parametrize("extension", ["tif", ".", ".TIF", ".a/b", "..tif", ".é", ".abcdefghijklm"])
def test_extensions_of_objects(extension):
    with pytest.raises(InvalidInput, match="extension"):
        object_path(b"\0" * 32, extension)
