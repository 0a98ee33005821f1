"""Reading foreign vector files: what is refused, and how it is said."""

from __future__ import annotations

import json
import sqlite3

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from label_samples import SQUARE, feature, shifted, three

from catalog.vectors import read_features
from versioning.errors import InvalidInput, NotFound


def refused(path, match, **options):
    with pytest.raises(InvalidInput, match=match) as caught:
        read_features(path, **options)
    assert str(path) in str(caught.value)
    return caught.value


def collection(features="", members=""):
    return f'{{"type": "FeatureCollection"{members}, "features": [{features}]}}'


def geometry(text):
    return collection(f'{{"type": "Feature", "id": "a7", "properties": {{}}, "geometry": {text}}}')


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"type": "Polygon", "coordinates": [[[0,0],[1,0],[1,1],[0,1]]]}', "ring 0 is not closed"),
        ('{"type": "Polygon", "coordinates": [[[0,0],[1,0],[0,0]]]}', "needs four"),
        ('{"type": "Polygon", "coordinates": [[[0,0],[9,0],[9,9],[0,0]], [[1,1],[2,1],[2,2],[1,2]]]}', "ring 1 is not"),
        ('{"type": "Polygon", "coordinates": [[[0,0],[1,0,5],[1,1],[0,0]]]}', "2D and 3D"),
        ('{"type": "Polygon", "coordinates": [[[0],[1],[1],[0]]]}', "two or three numbers"),
        ('{"type": "Polygon", "coordinates": [["ab","cd","ef","ab"]]}', "numbers"),
        ('{"type": "Polygon", "coordinates": [5]}', "nested lists"),
        ('{"type": "Point", "coordinates": ["1", "2"]}', "no number"),
        ('{"type": "Point", "coordinates": [true, false]}', "no number"),
        ('{"type": "Point", "coordinates": [1e999, 2]}', "NaN or infinite"),
        ('{"type": "LineString", "coordinates": [[1, 2]]}', "two positions"),
        ('{"type": "Blob", "coordinates": [1, 2]}', "unknown geometry type 'Blob'"),
        ('"POINT(1 2)"', "unknown geometry type"),
    ],
)
def test_broken_geometry_names_the_feature(write, text, reason):
    error = refused(write(geometry(text)), reason)
    assert "feature 0" in error.message
    assert "a7" in error.message or "NaN" in error.message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "empty"),
        ("hello", "not GeoJSON"),
        ("[1, 2]", "not GeoJSON"),
        ('{"a": 1}', "no GeoJSON FeatureCollection"),
        ('{"type": "FeatureCollection"}', "no GeoJSON FeatureCollection"),
        ('{"type": "FeatureCollection", "features": {}}', "no list"),
        ('{"type": "Topology", "features": []}', "no GeoJSON FeatureCollection"),
        (collection() + " more", "after the end"),
        (collection("1"), "feature 0 is no GeoJSON Feature"),
        (collection('{"type": "Feature", "properties": [], "geometry": null}'), "properties are no object"),
        (collection('{"type": "Feature", "properties": {"a": NaN}, "geometry": null}'), "NaN is no JSON"),
        (collection('{"type": "Feature", "properties": {"a": 1, "a": 2}, "geometry": null}'), "'a' stands twice"),
        (collection('{"type": "Feature", "properties": {"a": 1e999}, "geometry": null}'), "too large"),
        (collection(members=', "type": "x"'), "'type' stands twice"),
        (geometry('{"type": "Point", "coordinates": [1, NaN]}'), "NaN is no JSON number"),
        ("\ufeff" + json.dumps({"type": "FeatureCollection"})[:-1], "truncated"),
        (collection('{"type": "Feature", "properties": ' + '{"a":' * 100_000), "nested too deeply|truncated"),
        (b'{"type": "FeatureCollection", "features": ["\xff\xfe"]}', "UTF-8"),
    ],
)
def test_what_is_no_geojson(write, content, reason):
    refused(write(content), reason)


def test_every_truncation_is_noticed(write):
    whole = json.dumps({"type": "FeatureCollection", "features": three()}).encode()
    for size in range(1, len(whole), 7):
        refused(write(whole[:size]), "truncated|not JSON")


def test_a_bom_and_features_before_the_type_are_read(write):
    path = write("\ufeff" + json.dumps({"features": three(), "type": "FeatureCollection"}))
    assert len(read_features(path)) == 3


def test_text_across_the_window(write):
    """Features are found whole wherever the window on the file ends."""
    rows = [feature(shifted(number / 1e4), {"n": number, "text": "é" * (number % 50)}) for number in range(20_000)]
    found = read_features(write(rows))
    assert found.columns["n"] == list(range(20_000))


class TestCrs:
    def test_metres_without_a_crs(self, write):
        error = refused(write([feature(shifted(736687, 3722455))]), "not in degrees.*crs: EPSG:32616")
        assert error.kind == "missing-crs"
        assert read_features(write([feature(shifted(736687, 3722455))]), crs=32616).crs.name == "EPSG:32616"

    @pytest.mark.parametrize("name", ["urn:ogc:def:crs:EPSG::32616", "EPSG:32616", "urn:ogc:def:crs:EPSG:9.1:32616"])
    @pytest.mark.parametrize("last", [True, False])
    def test_the_crs_member(self, write, name, last):
        member = {"crs": {"type": "name", "properties": {"name": name}}}
        body = {"type": "FeatureCollection", "features": [feature(shifted(736687, 3722455))]}
        path = write(json.dumps(body | member if last else member | body))
        assert read_features(path).crs.name == "EPSG:32616"

    def test_refused_members(self, write):
        assert refused(write([], crs=None), "null").kind == "missing-crs"
        link = {"type": "link", "properties": {"href": "http://example.com/crs"}}
        refused(write([], crs=link), "no named authority code")
        unknown = {"type": "name", "properties": {"name": "EPSG:999999"}}
        refused(write([], crs=unknown), "unknown CRS")
        named = {"type": "name", "properties": {"name": "EPSG:32616"}}
        assert refused(write([], crs=named), "is declared", crs=4326).kind == "crs-mismatch"

    @pytest.mark.parametrize("suffix", ["gpkg", "shp", "parquet", "fgb"])
    def test_other_formats_without_one(self, write, tmp_path, suffix):
        frame = geopandas.read_file(write([feature(properties={"a": 1})])).set_crs(None, allow_override=True)
        path = tmp_path / f"bare.{suffix}"
        with pytest.warns(UserWarning, match="crs") if suffix != "parquet" else _nothing():
            frame.to_parquet(path) if suffix == "parquet" else frame.to_file(path)
        refused(path, "CRS.*crs: EPSG:32616")
        assert read_features(path, crs=4326).crs.name == "EPSG:4326"

    def test_degrees_beyond_the_pole(self, write, tmp_path):
        geopandas.read_file(write([feature(shifted(0, 95))]), engine="pyogrio").to_file(tmp_path / "far.gpkg")
        refused(tmp_path / "far.gpkg", "not in degrees")


def _nothing():
    import contextlib

    return contextlib.nullcontext()


class TestFiles:
    @pytest.mark.parametrize("name", ["/vsicurl/http://x/a.geojson", "https://x/a.geojson", "zip://a.zip!a.shp"])
    def test_names_that_are_no_files(self, name):
        refused(name, "no plain local file")

    def test_suffixes_links_and_absence(self, write, tmp_path):
        path = write(three())
        refused(tmp_path / "a.zip", "Unpack")
        refused(tmp_path / "a.csv", "not a vector format")
        link = tmp_path / "link.geojson"
        link.symlink_to(path)
        refused(link, "a link")
        with pytest.raises(NotFound):
            read_features(tmp_path / "none.geojson")
        (tmp_path / "folder.geojson").mkdir()
        refused(tmp_path / "folder.geojson", "no plain file")

    @pytest.mark.parametrize("suffix", ["gpkg", "shp", "parquet", "fgb"])
    def test_text_under_another_name(self, tmp_path, suffix):
        path = tmp_path / f"a.{suffix}"
        path.write_text("hello")
        refused(path, "first bytes")

    @pytest.mark.parametrize("suffix", ["gpkg", "shp", "parquet", "fgb"])
    @pytest.mark.parametrize("part", [0.02, 0.5, 0.97])
    def test_truncated(self, write, tmp_path, suffix, part):
        rows = [feature(shifted(number / 1000), {"n": number}) for number in range(500)]
        frame = geopandas.read_file(write(rows))
        path = tmp_path / f"cut.{suffix}"
        frame.to_parquet(path) if suffix == "parquet" else frame.to_file(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * part)])
        refused(path, "truncated|cannot be read|damaged|no layer")

    def test_shapefile_companions(self, write, tmp_path):
        frame = geopandas.read_file(write([feature(properties={"a": 1})]))
        for suffix in (".dbf", ".shx"):
            frame.to_file(tmp_path / "parts.shp")
            (tmp_path / "parts").with_suffix(suffix).unlink()
            refused(tmp_path / "parts.shp", f"no {suffix}")
        frame.to_file(tmp_path / "parts.shp")
        (tmp_path / "parts.prj").unlink()
        (tmp_path / "parts.prj").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(InvalidInput, match="a link"):
            read_features(tmp_path / "parts.shp")

    def test_damaged_bytes_are_refused_or_read(self, write, tmp_path):
        """Damaged projections made pyogrio fail with UnboundLocalError, damaged Parquet pyarrow with OverflowError."""
        random = np.random.default_rng(5)
        frame = geopandas.read_file(write([feature(properties={"a": 1, "b": "x"})]))
        frame.to_file(tmp_path / "a.shp")
        frame.to_file(tmp_path / "a.fgb")
        frame.to_parquet(tmp_path / "a.parquet")
        refusals = 0
        for damaged, read in {"prj": "shp", "shp": "shp", "dbf": "shp", "fgb": "fgb", "parquet": "parquet"}.items():
            path = tmp_path / f"a.{damaged}"
            whole = path.read_bytes()
            for _ in range(60):
                content = bytearray(whole)
                for place in random.integers(0, min(len(whole), 400), 4):
                    content[place] = random.integers(256)
                path.write_bytes(content)
                try:
                    read_features(tmp_path / f"a.{read}")
                except InvalidInput:
                    refusals += 1
            path.write_bytes(whole)
        assert refusals > 50

    def test_layers(self, write, tmp_path):
        frame = geopandas.read_file(write(three()[:1]))
        path = tmp_path / "two.gpkg"
        frame.to_file(path, layer="roofs")
        frame.to_file(path, layer="trees")
        refused(path, "'roofs', 'trees'")
        refused(path, "no layer 'x'", layer="x")
        assert read_features(path, layer="trees").layer == "trees"

    def test_a_view_is_not_run(self, write, tmp_path):
        path = tmp_path / "view.gpkg"
        geopandas.read_file(write(three()[:1])).to_file(path, layer="roofs")
        with sqlite3.connect(path) as base:
            base.execute("create view endless as select * from roofs")
            columns = "(table_name, data_type, identifier, srs_id)"
            base.execute(f"insert into gpkg_contents {columns} values ('endless', 'features', 'e', 4326)")
            base.execute("insert into gpkg_geometry_columns values ('endless', 'geom', 'POLYGON', 4326, 0, 0)")
        base.close()
        refused(path, "is a view", layer="endless")

    def test_parquet_without_geometry(self, tmp_path):
        path = tmp_path / "plain.parquet"
        pq.write_table(pa.table({"a": [1]}), path)
        refused(path, "without the `geo` metadata")

    @pytest.mark.parametrize("geo", ["{", "[]", '{"columns": 5}', '{"primary_column": "g", "columns": {"g": {}}}'])
    def test_parquet_with_broken_metadata(self, tmp_path, geo):
        path = tmp_path / "odd.parquet"
        pq.write_table(pa.table({"g": [b"xyz"]}).replace_schema_metadata({"geo": geo}), path)
        refused(path, "geo|cannot be read|encoded as")

    def test_broken_wkb_names_the_feature(self, tmp_path, write):
        path = tmp_path / "wkb.parquet"
        geopandas.read_file(write(three())).to_parquet(path)
        table = pq.read_table(path)
        wkb = table.column("geometry").to_pylist()
        wkb[2] = wkb[2][:40]
        at = table.schema.get_field_index("geometry")
        pq.write_table(table.set_column(at, table.schema.field(at), pa.array(wkb, pa.binary())), path)
        refused(path, "feature 2")

    def test_too_many_columns(self, write):
        rows = [feature(properties={f"c{number}": 1}) for number in range(2_500)]
        refused(write(rows), "property names")


def test_a_bow_tie_is_read_as_it_is(write):
    tie = [SQUARE[0], SQUARE[2], SQUARE[1], SQUARE[3]]
    assert not read_features(write([feature(tie)])).geometries[0].is_valid


def test_half_a_surrogate_pair(write):
    from catalog.vector_digest import vector_digest

    path = write(collection('{"type": "Feature", "properties": {"a": "\\ud800"}, "geometry": null}'))
    with pytest.raises(InvalidInput, match="surrogate"):
        vector_digest(path)
