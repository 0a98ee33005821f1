"""One CRS, one identity: through every format, in every spelling; and two where there are two."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.crs
import shapely
from rasterio import Affine

import catalog.crs_identity as module
from catalog.crs_identity import crs_identity, crs_name, parse_crs
from catalog.crs_normal import normal_form, normal_key
from catalog.raster_digest import raster_digest
from catalog.rasters import open_raster
from catalog.vector_crs import parse_crs as parse_vector_crs
from catalog.vector_digest import vector_digest
from catalog.vectors import open_vectors

REPOSITORY = Path(__file__).parents[2]
LAEA = "+proj=laea +lat_0=10 +lon_0=20 +datum=WGS84"
AEA = "+proj=aea +lat_1=-5 +lat_2=-42 +lat_0=-32 +lon_0=-60 +x_0=1000 +ellps=aust_SA"
POLAR = "+proj=stere +lat_0=-90 +lat_ts=-70 +lon_0=12.5 +datum=WGS84"
FEET = "+proj=lcc +lat_1=33.1 +lat_2=34.9 +lat_0=32 +lon_0=-81 +x_0=609600 +datum=NAD83 +units=us-ft"
MODIS = "+proj=sinu +R=6371007.181 +units=m"
TOWGS84 = "+proj=tmerc +lon_0=9 +k=1 +x_0=3500000 +ellps=bessel +towgs84=598.1,73.7,418.2,0.202,0.045,-2.455,6.7"
OLD_DHDN = pyproj.CRS("EPSG:5677").to_wkt("WKT1_GDAL").replace('AUTHORITY["EPSG","7004"]]', "@TO", 1)
OLD_DHDN = OLD_DHDN.replace("@TO", 'AUTHORITY["EPSG","7004"]],TOWGS84[598.1,73.7,418.2,0.202,0.045,-2.455,6.7]')
# as ArcGIS writes it, in one line and without any code
ESRI_WEB_MERCATOR = (
    'PROJCS["WGS_1984_Web_Mercator_Auxiliary_Sphere",GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",SPHEROID["WGS_1984",'
    '6378137.0,298.257223563]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],PROJECTION['
    '"Mercator_Auxiliary_Sphere"],PARAMETER["False_Easting",0.0],PARAMETER["False_Northing",0.0],PARAMETER['
    '"Central_Meridian",0.0],PARAMETER["Standard_Parallel_1",0.0],PARAMETER["Auxiliary_Sphere_Type",0.0],UNIT['
    '"Meter",1.0]]'
)


def tif(folder: Path, crs: pyproj.CRS, **options: str) -> Path:
    path = folder / "a.tif"
    profile = {"driver": "GTiff", "count": 1, "height": 2, "width": 2, "dtype": "uint8"}
    with rasterio.open(
        path,
        "w",
        **profile,
        crs=rasterio.crs.CRS.from_wkt(crs.to_wkt()),
        transform=Affine(1, 0, 0, 0, -1, 2),
        **options,
    ) as out:
        out.write(np.ones((1, 2, 2), "uint8"))
    return path


def table(folder: Path, crs: pyproj.CRS, suffix: str) -> Path:
    path = folder / f"a.{suffix}"
    frame = geopandas.GeoDataFrame({"a": [1]}, geometry=[shapely.Point(1, 2)], crs=crs)
    frame.to_parquet(path) if suffix == "parquet" else frame.to_file(path)
    return path


def prj(folder: Path, text: str) -> Path:
    path = table(folder, pyproj.CRS("EPSG:4326"), "shp")
    path.with_suffix(".prj").write_text(text)
    path.with_suffix(".cpg").unlink(missing_ok=True)
    return path


def geojson(folder: Path, name: str) -> Path:
    path = folder / "a.geojson"
    feature = {"type": "Feature", "properties": {"a": 1}, "geometry": {"type": "Point", "coordinates": [1, 2]}}
    crs = {"type": "name", "properties": {"name": name}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))
    return path


def raster_name(path: Path) -> str:
    with open_raster(path) as raster:
        assert raster.crs is not None
        return crs_name(raster.crs)


def vector_name(path: Path) -> str:
    return open_vectors(path).crs.identity


def everywhere(folder: Path, crs: pyproj.CRS, *, shapefile: bool = True) -> set[str]:
    """The identities that a CRS has after it went through each format."""
    found = {crs_name(crs), raster_name(tif(folder, crs))}
    found |= {vector_name(table(folder, crs, suffix)) for suffix in ("gpkg", "fgb", "parquet")}
    if shapefile:
        found.add(raster_name(tif(folder, crs, GEOTIFF_KEYS_FLAVOR="ESRI_PE")))
        found |= {vector_name(table(folder, crs, "shp")), vector_name(prj(folder, crs.to_wkt("WKT1_ESRI")))}
    return found


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        *((code, code) for code in ("EPSG:4326", "EPSG:32616", "EPSG:3857", "EPSG:2154", "EPSG:26918", "EPSG:5070")),
        *((code, code) for code in ("EPSG:3035", "EPSG:31467", "EPSG:2193", "EPSG:2263", "EPSG:4807", "EPSG:7844")),
        *((code, code) for code in ("EPSG:3031", "EPSG:32761", "EPSG:3395", "ESRI:102003", "ESRI:54009")),
        ("OGC:CRS84", "EPSG:4326"),
        ("ESRI:102100", "EPSG:3857"),
        ("EPSG:3044", "EPSG:25832"),
        ("EPSG:5677", "EPSG:31467"),
        ("EPSG:7084", "EPSG:4171"),
        (OLD_DHDN, "EPSG:31467"),
    ],
)
def test_a_known_crs_is_its_code_in_every_format(tmp_path, text, identity):
    assert everywhere(tmp_path, pyproj.CRS(text)) == {identity}


@pytest.mark.parametrize("text", [LAEA, AEA, POLAR, FEET, MODIS], ids=["laea", "aea", "polar", "feet", "modis"])
def test_a_crs_without_a_code_is_one_in_every_format(tmp_path, text):
    (name,) = everywhere(tmp_path, pyproj.CRS(text))
    assert name.startswith('{"axes"')
    versions = [pyproj.CRS(pyproj.CRS(text).to_wkt(v)) for v in ("WKT1_GDAL", "WKT2_2015", "WKT2_2019")]
    assert {crs_name(crs) for crs in versions} == {name}


@pytest.mark.parametrize("code", ["EPSG:4326", "EPSG:32616", "EPSG:3857", "EPSG:2154", "EPSG:26918", "EPSG:5070"])
def test_geojson_says_the_same(tmp_path, code):
    number = code.removeprefix("EPSG:")
    names = [code, f"urn:ogc:def:crs:EPSG::{number}", f"urn:ogc:def:crs:EPSG:9.9:{number}"]
    assert {vector_name(geojson(tmp_path, name)) for name in names} == {code}


@pytest.mark.parametrize("text", [LAEA, AEA, POLAR, TOWGS84])
def test_ids_of_methods_and_parameters_may_be_missing(text):
    def bare(value):
        if isinstance(value, dict):
            return {key: bare(item) for key, item in value.items() if key != "id"}
        return [bare(item) for item in value] if isinstance(value, list) else value

    crs = pyproj.CRS(text)
    assert crs_name(pyproj.CRS(bare(crs.to_json_dict()))) == crs_name(crs)
    # what labels say to other programs is the same CRS again
    named = parse_vector_crs(text, "test").name
    assert crs_name(pyproj.CRS(named)) == crs_name(parse_crs(named)) == crs_name(crs)


def test_geojson_by_default_and_as_crs84_is_4326(tmp_path):
    assert vector_name(geojson(tmp_path, "urn:ogc:def:crs:OGC:1.3:CRS84")) == "EPSG:4326"


def test_web_mercator_as_arcgis_writes_it(tmp_path):
    assert vector_name(prj(tmp_path, ESRI_WEB_MERCATOR)) == "EPSG:3857"
    assert crs_name(pyproj.CRS(ESRI_WEB_MERCATOR)) == "EPSG:3857"


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("EPSG:32616+5773", '{"components":["EPSG:32616","EPSG:5773"],"type":"CompoundCRS"}'),
        ("EPSG:3857+3855", "EPSG:6871"),
        ("EPSG:4269+5703", "EPSG:5498"),
    ],
)
def test_a_compound_crs_keeps_its_heights(tmp_path, text, identity):
    crs = pyproj.CRS(text)
    assert everywhere(tmp_path, crs, shapefile=False) == {identity}
    if not identity.endswith("5498"):  # GDAL writes no .prj for heights on degrees
        assert vector_name(table(tmp_path, crs, "shp")) == identity


def test_towgs84_counts_only_where_the_datum_is_unknown(tmp_path):
    bound = pyproj.CRS(TOWGS84)
    (name,) = everywhere(tmp_path, bound, shapefile=False)
    other = crs_name(pyproj.CRS(TOWGS84.replace("598.1", "598.2")))
    without = crs_name(pyproj.CRS(TOWGS84[: TOWGS84.index(" +towgs84")]))
    null = crs_name(pyproj.CRS(TOWGS84[: TOWGS84.index("598.1")] + "0,0,0,0,0,0,0"))
    assert len({name, other, without}) == 3
    assert null == without
    # a .prj has no place for it, so what a Shapefile says is another CRS indeed
    assert vector_name(table(tmp_path, bound, "shp")) == without


def test_the_odd_crs_of_olinda(tmp_path, shared_data):
    with open_raster(shared_data / "dem" / "olinda-srtm" / "olinda_dem_utm25s.tif") as raster:
        assert raster.crs is not None
        name = crs_name(raster.crs)
        again = pyproj.CRS(raster.crs.to_wkt())
    assert again.is_bound
    assert everywhere(tmp_path, again) == {name}
    assert '"name":""' in name
    with open_raster(shared_data / "imagery" / "landsat7-olinda" / "L7_ETMs.tif") as raster:
        assert raster.crs is not None
        assert crs_identity(raster.crs) == "EPSG:31985"


def test_a_rotated_pole_and_mars():
    rotated = pyproj.CRS("+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18 +R=6371229")
    assert crs_name(rasterio.crs.CRS.from_wkt(rotated.to_wkt())) == crs_name(rotated)
    mars = pyproj.CRS("IAU_2015:49900")
    assert {crs_name(pyproj.CRS(mars.to_wkt(v))) for v in ("WKT1_GDAL", "WKT1_ESRI", "WKT2_2019")} == {"IAU_2015:49900"}


class TestClaims:
    def test_a_code_whose_parameters_differ_is_not_believed(self, tmp_path):
        honest = pyproj.CRS("EPSG:32618").to_json_dict()
        for meridian in (-70, -74.999999):
            lie = json.loads(json.dumps(honest).replace("-75", str(meridian)))
            assert lie["id"] == {"authority": "EPSG", "code": 32618}
            crs = pyproj.CRS(lie)
            assert crs_name(crs).startswith("{")
            assert vector_name(table(tmp_path, crs, "parquet")) == crs_name(crs)

    def test_a_lie_has_the_code_that_its_parameters_have(self):
        lie = json.loads(json.dumps(pyproj.CRS("EPSG:32618").to_json_dict()).replace("-75", "-81"))
        assert crs_identity(pyproj.CRS(lie)) == "EPSG:32617"

    def test_another_datum_on_the_same_ellipsoid_is_a_lie(self):
        text = pyproj.CRS("EPSG:23032").to_wkt("WKT1_GDAL")  # ED50, International 1924
        lie = text.replace("European_Datum_1950", "Rome_1940").replace(
            'AUTHORITY["EPSG","6230"]', 'AUTHORITY["EPSG","6265"]'
        )
        assert crs_identity(pyproj.CRS(text)) == "EPSG:23032"
        assert crs_identity(pyproj.CRS(lie)) != "EPSG:23032"

    def test_an_unknown_datum_is_no_known_one(self):
        assert crs_name(pyproj.CRS("+proj=utm +zone=32 +ellps=intl")).startswith("{")  # PROJ offers ED50

    def test_a_name_that_proj_does_not_know_contradicts_no_code(self):
        for code in ("EPSG:6068", "EPSG:5942"):  # projected; compound
            text = json.dumps(pyproj.CRS(code).to_json_dict())
            renamed = text.replace("Greenland 1996", "GR96 (2031)")
            renamed = renamed.replace("European Terrestrial Reference System 1989", "ETRS89 of Norway")
            assert renamed != text
            assert crs_identity(pyproj.CRS(renamed)) == code
        renamed = json.dumps(pyproj.CRS("EPSG:6068").to_json_dict()).replace("Greenland 1996", "GR96 (2031)")
        moved = renamed.replace("298.257222101", "298.257223563")
        assert moved != renamed
        assert crs_name(pyproj.CRS(moved)).startswith("{")

    @pytest.mark.parametrize("code", ["EPSG:6068", "EPSG:5110", "EPSG:3067", "EPSG:2154", "EPSG:25832", "EPSG:4258"])
    def test_rasterio_and_pyproj_agree_though_their_proj_libraries_differ(self, code):
        assert crs_name(rasterio.crs.CRS.from_string(code)) == crs_name(pyproj.CRS(code))

    def test_a_code_newer_than_the_table_is_checked_and_believed(self, monkeypatch):
        utm = pyproj.CRS("EPSG:32616")
        key = normal_key(normal_form(utm.to_json_dict()))
        older = {k: code for k, code in module._table().items() if k != key}
        monkeypatch.setattr(module, "_table", lambda: older)
        monkeypatch.setattr(module, "_order", lambda: {code: place for place, code in enumerate(older.values())})
        assert module._identity(utm) == "EPSG:32616"
        # nothing that PROJ learns later gives a name to what had none
        assert module._identity(pyproj.CRS("+proj=utm +zone=16 +datum=WGS84")) == normal_form(utm.to_json_dict())


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("EPSG:4149", "EPSG:4150"),  # CH1903 and CH1903+: same ellipsoid, 1 to 2 m apart
        ("EPSG:4326", "EPSG:4979"),
        ("EPSG:4326", "EPSG:4978"),
        ("EPSG:4326", "EPSG:9057"),  # the ensemble and one realisation
        ("EPSG:2053", "EPSG:2054"),
        ("EPSG:2263", "EPSG:32118"),  # feet and metres
        ("EPSG:32616", "EPSG:32616+5773"),
        ("EPSG:5773", "EPSG:3855"),
        ("EPSG:3857", "EPSG:3395"),
        ("EPSG:3857", "EPSG:3785"),
        ("+proj=laea +lat_0=10 +lon_0=20 +ellps=GRS80", "+proj=laea +lat_0=10 +lon_0=20 +datum=NAD83"),
        (LAEA, LAEA + " +x_0=0.001"),
        (LAEA, LAEA + " +axis=wsu"),
    ],
)
def test_two_crss(a, b):
    assert crs_name(pyproj.CRS(a)) != crs_name(pyproj.CRS(b))


def test_wgs84_with_heights_is_itself_for_rasters_and_plain_for_labels(tmp_path):
    high = pyproj.CRS("EPSG:4979")
    assert raster_name(tif(tmp_path, high)) == "EPSG:4979"
    assert {vector_name(table(tmp_path, high, suffix)) for suffix in ("gpkg", "parquet")} == {"EPSG:4326"}
    assert vector_name(table(tmp_path, pyproj.CRS("EPSG:4937"), "gpkg")) == "EPSG:4937"


def test_digests_follow(tmp_path):
    a, b = pyproj.CRS(LAEA), pyproj.CRS(pyproj.CRS(LAEA).to_wkt("WKT1_ESRI"))
    assert a.to_wkt() != b.to_wkt()
    assert raster_digest(tif(tmp_path, a)) == raster_digest(tif(tmp_path, b))
    digests = {vector_digest(table(tmp_path, crs, suffix)) for crs in (a, b) for suffix in ("gpkg", "shp", "parquet")}
    assert len(digests) == 1
    assert digests != {vector_digest(table(tmp_path, pyproj.CRS(LAEA + " +x_0=1"), "gpkg"))}


class TestFormat:
    """What is frozen with the digest schemes."""

    def test_the_table(self):
        found = hashlib.sha256(module._CODES.read_bytes()).hexdigest()
        assert found == "f2fb7d946fea34f39f20a2af4cf836e78cc5c3db2f34326eaa91c114222454f7"
        table = module._table()
        assert len(table) == len(set(table.values())) == 11468

    def test_normal_forms(self):
        assert crs_name(pyproj.CRS(LAEA + " +x_0=500000")) == (
            '{"axes":[["east","1"],["north","1"]],"base":{"datum":{"ellipsoid":["6378137","298.257223563"],"name":'
            '"worldgeodeticsystem1984","prime_meridian":"0"}},"conversion":{"method":"EPSG:9820","parameters":'
            '[["EPSG:8801","10"],["EPSG:8802","20"],["EPSG:8806","500000"]]},"type":"ProjectedCRS"}'
        )
        form = normal_form(pyproj.CRS("EPSG:4326").to_json_dict())
        assert normal_key(form) == "eb11b17215379d79"
        assert module._table()["eb11b17215379d79"] == "EPSG:4326"

    def test_the_names(self):
        found = hashlib.sha256((module._CODES.parent / "crs_names.txt").read_bytes()).hexdigest()
        assert found == "a3d0e8fb0c744c333de28348d6231e4486ab76a9ed9bb15888e73c55c065a1f3"

    def test_every_hundredth_code_of_the_table_names_itself(self):
        codes = list(module._table().values())[::100]
        assert {code for code in codes if crs_name(pyproj.CRS(code)) != code} == set()


def test_labels_are_read_without_rasterio(tmp_path):
    path = table(tmp_path, pyproj.CRS(LAEA), "gpkg")
    script = f"import sys; from catalog.vectors import read_features; read_features({str(path)!r}); "
    script += "sys.exit('rasterio' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=REPOSITORY)
