"""What a foreign raster may not do: each case is one clear refusal that names the file."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio import Affine

from catalog.raster_digest import raster_digest
from catalog.rasters import GDAL_OPTIONS, RasterLimits, open_raster
from versioning.errors import InvalidInput, NotFound, StacpinError


def refused(path: Path, **options) -> str:
    with pytest.raises(InvalidInput) as error:
        raster_digest(path, **options)
    assert path.name in error.value.message
    assert error.value.hint
    assert "Traceback" not in str(error.value)
    return str(error.value)


def sparse_tiff(path: Path, side: int, tile: int = 512, bits: int = 8) -> Path:
    """A TIFF of a few hundred bytes that claims side x side pixels; no tile is there."""
    tags = [
        (256, 4, side), (257, 4, side), (258, 3, bits), (259, 3, 1), (262, 3, 1), (277, 3, 1),
        (322, 4, tile), (323, 4, tile), (324, 4, 0), (325, 4, 0),
    ]  # fmt: skip
    scale, tie, keys = (33550, 12, 3, 300), (33922, 12, 6, 324), (34735, 3, 8, 372)
    entries = [struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags]
    entries += [struct.pack("<HHII", *entry) for entry in (scale, tie, keys)]
    ifd = struct.pack("<H", len(entries)) + b"".join(entries) + b"\0\0\0\0"
    data = (b"II*\0" + struct.pack("<I", 8) + ifd).ljust(300, b"\0")
    data += struct.pack("<9d", 10, 10, 0, 0, 0, 0, 500_000, 4_000_000, 0)
    data += struct.pack("<8H", 1, 1, 0, 1, 3072, 0, 1, 32618)
    path.write_bytes(data)
    return path


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(NotFound, match=r"no\.tif"):
        raster_digest(tmp_path / "no.tif")
    refused(tmp_path)


@pytest.mark.parametrize("text", [b"", b"hello, world\n", b"{}", b"II*", b"<html></html>", b"PK\x03\x04" + b"\0" * 99])
def test_what_is_no_raster(tmp_path, text):
    path = tmp_path / "text.tif"
    path.write_bytes(text)
    assert "is not a raster" in refused(path)


@pytest.mark.parametrize("layout", [{}, {"tiled": True, "blockxsize": 16, "blockysize": 16}, {"compress": "deflate"}])
def test_truncated_at_any_place(make, layout):
    path = make("cut.tif", **layout)
    whole = path.read_bytes()
    for share in (0.01, 0.05, 0.2, 0.5, 0.9, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        refused(path)


def test_damaged_in_the_middle(make):
    path = make("bad.tif", compress="deflate")
    with rasterio.open(path) as raster:
        start = int(raster.get_tag_item("BLOCK_OFFSET_0_1", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    data[start : start + 200] = b"\xff" * 200
    path.write_bytes(data)
    assert "not readable" in refused(path)


def test_huge_raster_in_a_few_bytes(tmp_path):
    path = sparse_tiff(tmp_path / "huge.tif", 100_000)
    assert path.stat().st_size < 500
    assert "100000 x 100000" in refused(path)
    assert "10000000 x 10000000" in refused(sparse_tiff(tmp_path / "huger.tif", 10_000_000))
    assert "decoded at once" in refused(sparse_tiff(tmp_path / "tile.tif", 20_000, tile=20_000))


def test_huge_text_grids_and_vrts(tmp_path):
    grid = tmp_path / "huge.asc"
    grid.write_text("ncols 100000\nnrows 100000\nxllcorner 5\nyllcorner 5\ncellsize 1\n1 2 3\n")
    refused(grid, crs="EPSG:4326")
    vrt = tmp_path / "huge.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="100000" rasterYSize="100000"><SRS>EPSG:4326</SRS>'
        "<GeoTransform>5, 1, 0, 5, 0, -1</GeoTransform>"
        '<VRTRasterBand dataType="Byte" band="1"/></VRTDataset>'
    )
    assert "100000 x 100000" in refused(vrt)


def test_sparse_but_honest(make, tmp_path):
    path = tmp_path / "sparse.tif"
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "crs": "EPSG:32618", "SPARSE_OK": "TRUE"}
    place = {"transform": Affine(10, 0, 5e5, 0, -10, 4e6), "tiled": True, "blockxsize": 512, "blockysize": 512}
    with rasterio.open(path, "w", width=20_000, height=20_000, **profile, **place) as out:
        out.write(np.ones((1, 512, 512), "uint8"), window=((0, 512), (0, 512)))
    with open_raster(path) as raster:
        assert raster.dataset.shape == (20_000, 20_000)
    with pytest.raises(InvalidInput), open_raster(path, limits=RasterLimits(free_bytes=0, max_expansion=100)):
        pass


def test_crs_missing_declared_contradicted(make):
    bare = make("bare.tif", crs=None)
    assert "`source_crs:" in refused(bare)
    with open_raster(bare, crs="EPSG:32618") as raster:
        assert raster.declared
        assert raster.crs.to_epsg() == 32618
    with open_raster(make("own.tif"), crs="EPSG:32618") as raster:
        assert not raster.declared
    assert "EPSG:32617 was declared" in refused(make("own.tif"), crs="EPSG:32617")
    assert "EPSG:999999" in refused(bare, crs="EPSG:999999")
    for nonsense in ("", "x" * 200_000, 'LOCAL_CS["here",UNIT["m",1]]', "https://example.org/crs", "/etc/passwd"):
        refused(bare, crs=nonsense)


def test_no_georeferencing(make):
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        path = make("nowhere.tif", crs=None, transform=None)
    assert "no georeferencing" in refused(path, crs="EPSG:32618")


def test_sidecars_change_nothing(make, tmp_path):
    path = make()
    digest = raster_digest(path)
    (tmp_path / "a.tif.aux.xml").write_text(
        "<PAMDataset><SRS>EPSG:32601</SRS><GeoTransform>1,1,0,1,0,-1</GeoTransform>"
        '<PAMRasterBand band="1"><NoDataValue>5</NoDataValue><Scale>2</Scale></PAMRasterBand></PAMDataset>'
    )
    (tmp_path / "a.tfw").write_text("1\n0\n0\n-1\n7\n7\n")
    (tmp_path / "a.prj").write_text("EPSG:32601")
    with rasterio.open(path) as plain:
        assert plain.nodata == 5  # plain GDAL believes it
    assert raster_digest(path) == digest
    with open_raster(path) as raster:
        assert [f.name for f in raster.files] == ["a.tif"]


@pytest.mark.parametrize("suffix", [".msk", ".ovr"])
def test_sidecars_must_be_tiffs(make, tmp_path, suffix):
    path = make()
    (tmp_path / f"a.tif{suffix}").write_text('<VRTDataset rasterXSize="90" rasterYSize="70"/>')
    assert f"a.tif{suffix}" in refused(path)


@pytest.mark.parametrize("name", ["we ird#?!&%20ü.tif", "a:b.tif", "zip!x.tif", "'q\".tif", "-rf.tif", "no-suffix"])
def test_odd_file_names(make, name):
    assert raster_digest(make().rename(make().with_name(name))) == raster_digest(make())


def vrt_of(source: str, *, relative: int = 1, band: str = "", extra: str = "", kind: str = "SimpleSource") -> str:
    return (
        '<VRTDataset rasterXSize="90" rasterYSize="70"><SRS>EPSG:32618</SRS>'
        f"<GeoTransform>500000, 10, 0, 4000000, 0, -10</GeoTransform>{extra}"
        f'<VRTRasterBand dataType="UInt16" band="1" {band}><{kind}>'
        f'<SourceFilename relativeToVRT="{relative}">{source}</SourceFilename><SourceBand>1</SourceBand>'
        f"</{kind}></VRTRasterBand></VRTDataset>"
    )


@pytest.fixture
def folder(tmp_path, make):
    inside = tmp_path / "inside"
    inside.mkdir()
    make("outside.tif")
    make("inside/good.tif")
    (inside / "link.tif").symlink_to(tmp_path / "outside.tif")
    (inside / "notes.txt").write_text("secret\n" * 999)
    (inside / "nested.vrt").write_text(vrt_of("good.tif"))
    return inside


def test_honest_vrt(folder):
    path = folder / "a.vrt"
    path.write_text(vrt_of("good.tif"))
    with open_raster(path) as raster:
        assert [f.name for f in raster.files] == ["a.vrt", "good.tif"]
        with rasterio.open(folder / "good.tif") as source:
            assert np.array_equal(raster.dataset.read(1), source.read(1))
    path.write_text(vrt_of(str(folder / "good.tif"), relative=0))
    raster_digest(path)


@pytest.mark.parametrize(
    "source",
    [
        *("../outside.tif", "link.tif", "nested.vrt", "notes.txt", "missing.tif", "", "."),
        *("/vsicurl/http://127.0.0.1:9/a.tif", "/vsizip/a.zip/a.tif", "http://127.0.0.1:9/a.tif", "s3://b/a.tif"),
        *(
            "GTIFF_DIR:1:../outside.tif",
            "NETCDF:x.nc:v",
            "vrt://good.tif?bands=1",
            "&lt;VRTDataset/&gt;",
            "good.tif\n/x",
        ),
    ],
)
def test_vrt_sources_stay_in_the_folder(folder, source):
    path = folder / "a.vrt"
    path.write_text(vrt_of(source))
    refused(path)
    path.write_text(vrt_of(source, relative=0))
    refused(path)


RAW = (
    '<VRTRasterBand dataType="Byte" band="2" subClass="VRTRawRasterBand">'
    "<SourceFilename>notes.txt</SourceFilename></VRTRasterBand>"
)
VRTS = {
    "raw band": vrt_of("good.tif", extra=RAW),
    "derived band": vrt_of("good.tif", band='subClass="VRTDerivedRasterBand"'),
    "pixel function": vrt_of("good.tif", extra="<PixelFunctionType>x</PixelFunctionType>"),
    "python": vrt_of("good.tif", extra="<PixelFunctionCode>import os</PixelFunctionCode>"),
    "warped": vrt_of("good.tif").replace("<VRTDataset ", '<VRTDataset subClass="VRTWarpedDataset" '),
    "processed": vrt_of("good.tif").replace("<VRTDataset ", '<VRTDataset subClass="VRTProcessedDataset" '),
    "open options": vrt_of("good.tif").replace("<SourceBand>", "<OpenOptions/><SourceBand>"),
    "other case": vrt_of("good.tif").replace("SourceFilename", "sourcefilename"),
    "two names": vrt_of("good.tif").replace("<SourceBand>", "<SourceFilename>/etc/passwd</SourceFilename><SourceBand>"),
    "doctype": "<!DOCTYPE VRTDataset>" + vrt_of("good.tif"),
    "entity": '<!DOCTYPE VRTDataset [<!ENTITY a "good.tif">]>' + vrt_of("&a;"),
    "external entity": '<!DOCTYPE VRTDataset [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + vrt_of("&a;"),
    "laughs": '<!DOCTYPE VRTDataset [<!ENTITY a "xx"><!ENTITY b "&a;&a;&a;">]>' + vrt_of("&b;"),
    "broken": vrt_of("good.tif")[:-20],
    "group": '<VRTDataset rasterXSize="1" rasterYSize="1"><Group name="/"/></VRTDataset>',
    "deep": '<VRTDataset rasterXSize="1" rasterYSize="1">' + "<MaskBand>" * 999 + "</MaskBand>" * 999 + "</VRTDataset>",
    "nonsense size": vrt_of("good.tif").replace('rasterXSize="90"', 'rasterXSize="-5"'),
}


@pytest.mark.parametrize("text", VRTS.values(), ids=VRTS)
def test_vrts_that_do_more_than_read(folder, text):
    path = folder / "a.vrt"
    path.write_text(text)
    refused(path)


def test_large_vrt_is_not_parsed(folder, monkeypatch):
    monkeypatch.setattr("catalog.vrt_guard.MAX_VRT_BYTES", 100)
    path = folder / "a.vrt"
    path.write_text(vrt_of("good.tif"))
    assert "bytes" in refused(path)


def test_options_of_others_do_not_hold(make):
    """Those of a caller, who may have opened the environment for files of his own."""
    masked = make(name="masked.tif")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(masked, "r+") as dataset:
        dataset.write_mask(np.arange(dataset.width * dataset.height).reshape(dataset.height, -1) % 3 > 0)
    assert masked.with_name("masked.tif.msk").is_file()
    alone = raster_digest(masked)
    theirs = {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_VRT_ENABLE_PYTHON": "YES",
        "GDAL_PAM_ENABLED": "YES",
    }
    with rasterio.Env(**theirs):
        assert raster_digest(masked) == alone
        with open_raster(masked):
            assert rasterio.env.getenv().items() >= GDAL_OPTIONS.items()


def test_gdal_has_no_network(make):
    with open_raster(make()):
        options = rasterio.env.getenv()
    assert {k: options[k] for k in GDAL_OPTIONS} == GDAL_OPTIONS
    with rasterio.Env(**GDAL_OPTIONS), pytest.raises(rasterio.errors.RasterioIOError):
        rasterio.open("/vsicurl/http://127.0.0.1:9/a.tif")


@pytest.mark.parametrize(
    ("name", "driver", "crs"),
    [
        ("dem/alexandria-va-xyz/dtm.xyz", "XYZ", "EPSG:26918"),
        ("dem/west-bijou-gully-asc/west_bijou_gully.asc", "AAIGrid", "EPSG:26913"),
        ("odd-formats/dted/n43.dt0", "DTED", None),
        ("odd-formats/grib/regular_ll_msl.grib", "GRIB", None),
        ("odd-formats/jpeg2000/T31TDH_20180101T105441_B01.jp2", "JP2OpenJPEG", None),
        ("odd-formats/hfa/utmsmall.img", "HFA", None),
        ("odd-formats/envi-raw-vrt/utmsmall.raw", "ENVI", None),
        ("odd-formats/gcps/cog_gcps.tif", "GTiff", None),
    ],
)
def test_real_formats(shared_data, name, driver, crs):
    with open_raster(shared_data / name, crs=crs) as raster:
        assert raster.dataset.driver == driver
        assert raster.crs is not None
        assert raster.dataset.read().any()


@pytest.mark.parametrize("offset", [0, 512])
def test_hdf5_may_name_any_file_and_is_refused(tmp_path, offset):
    path = tmp_path / "a.nc"
    path.write_bytes(b"\0" * offset + b"\x89HDF\r\n\x1a\n" + b"\0" * 2000)
    assert "HDF5" in refused(path)


def test_netcdf_with_many_variables_names_them(shared_data):
    assert "sst, anom, err, ice" in refused(shared_data / "odd-formats" / "netcdf" / "reduced_oisst.nc")


def test_errors_inside_the_block_pass_through(make):
    with pytest.raises(StacpinError, match="mine"), open_raster(make()):
        raise StacpinError("mine")
