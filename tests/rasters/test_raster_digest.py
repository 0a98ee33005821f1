"""The content digest: what makes no difference, what makes one, and how much memory it takes."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.shutil import copy

from catalog import raster_digest as module
from catalog.crs_identity import crs_identity, parse_crs
from catalog.raster_digest import raster_content, raster_digest
from catalog.rasters import open_raster

REPOSITORY = Path(__file__).resolve().parents[2]
NORTH_UP = Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 4_000_000.0)


def content(path, **options):
    with open_raster(path, **options) as raster:
        return raster_content(raster)


def tagged(out):
    out.update_tags(AREA_OR_POINT="Point", TIFFTAG_SOFTWARE="another", NOTE="x")
    out.update_tags(1, STATISTICS_MEAN="3")
    out.set_band_description(1, "red")
    out.units = ["m", "m"]


EQUAL = {
    "tags": {"after": tagged},
    "deflate": {"compress": "deflate"},
    "lzw and predictor": {"compress": "lzw", "predictor": 2},
    "zstd": {"compress": "zstd"},
    "lzma": {"compress": "lzma"},
    "tiled": {"tiled": True, "blockxsize": 32, "blockysize": 16},
    "tall strips": {"blockysize": 70},
    "one-row strips": {"blockysize": 1},
    "pixel-interleaved": {"interleave": "pixel"},
    "band-interleaved": {"interleave": "band"},
    "big-endian": {"ENDIANNESS": "BIG"},
    "BigTIFF": {"BIGTIFF": "YES"},
    "fewer bits": {"NBITS": 12},
    "photometric": {"photometric": "MINISBLACK"},
    "CRS by WKT without codes": {"crs": "+proj=utm +zone=18 +datum=WGS84"},
    "Erdas Imagine": {"driver": "HFA"},
    "no nodata that a pixel could have": {"driver": "HFA", "nodata": None},
}


@pytest.mark.parametrize("profile", EQUAL.values(), ids=EQUAL)
def test_storage_makes_no_difference(make, profile):
    assert content(make("b.tif", **profile)) == content(make("a.tif"))


def test_overviews_and_layout_make_no_difference(make, tmp_path):
    plain = make("a.tif")
    with rasterio.open(make("b.tif"), "r+") as out:
        out.build_overviews([2, 4])
    copy(plain, tmp_path / "c.tif", driver="COG", blocksize="128", compress="ZSTD")
    copy(plain, tmp_path / "d.vrt", driver="VRT")
    copy(plain, tmp_path / "e.bin", driver="ENVI", interleave="bil")
    assert len({raster_digest(p) for p in tmp_path.iterdir() if p.suffix in {".tif", ".vrt", ".bin"}}) == 1


def one_pixel(values):
    values[1, 69, 89] += 1
    return values


def ulp(index: int) -> Affine:
    numbers = list(NORTH_UP)[:6]
    numbers[index] = math.nextafter(numbers[index], math.inf)
    return Affine(*numbers)


DIFFERENT = {
    "CRS": {"crs": "EPSG:32617"},
    "half a pixel": {"transform": Affine.translation(505_000, 3) @ NORTH_UP},
    "half a pixel's shift": {"transform": Affine(10.0, 0.0, 500_005.0, 0.0, -10.0, 4_000_000.0)},
    "ulp of a": {"transform": ulp(0)},
    "ulp of x": {"transform": ulp(2)},
    "ulp of e": {"transform": ulp(4)},
    "ulp of y": {"transform": ulp(5)},
    "nodata": {"nodata": 0},
    "other nodata": {"nodata": 1},
    "scale": {"after": lambda out: setattr(out, "scales", (0.1, 0.1))},
    "offset": {"after": lambda out: setattr(out, "offsets", (1.0, 0.0))},
    "alpha": {"after": lambda out: setattr(out, "colorinterp", (ColorInterp.gray, ColorInterp.alpha))},
    "mask": {"after": lambda out: out.write_mask(np.eye(70, 90, dtype=bool))},
    "other mask": {"after": lambda out: out.write_mask(~np.eye(70, 90, dtype=bool))},
    "GCPs": {
        "transform": None,
        "gcps": [GroundControlPoint(r, c, 10.0 * c, -10.0 * r) for r, c in ((0, 0), (0, 90), (70, 0), (70, 90))],
    },
    "other GCPs": {
        "transform": None,
        "gcps": [GroundControlPoint(r, c, 10.0 * c, -9.0 * r) for r, c in ((0, 0), (0, 90), (70, 0), (70, 90))],
    },
}


def test_content_makes_a_difference(make, pixels):
    values = pixels()
    digests = {"plain": raster_digest(make())}
    for name, profile in DIFFERENT.items():
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            digests[name] = raster_digest(make("b.tif", **profile))
    others = {
        "pixel": one_pixel(pixels()),
        "dtype": values.astype("int16"),
        "wider dtype": values.astype("uint32"),
        "band order": values[::-1],
        "one band": values[:1],
        "shape": values.reshape(2, 90, 70),
        "bands as rows": values.reshape(1, 140, 90),
    }
    for name, other in others.items():
        digests[name] = raster_digest(make("b.tif", other))
    for (a, x), (b, y) in itertools.combinations(digests.items(), 2):
        assert x != y, (a, b)


def test_colour_table(make, pixels):
    values = pixels("uint8", (1, 70, 90))
    tables = [None, {0: (0, 0, 0, 255), 1: (255, 0, 0, 255)}, {0: (0, 0, 0, 255), 1: (255, 0, 1, 255)}]
    paths = [
        make(f"{i}.tif", values, after=lambda out, t=t: out.write_colormap(1, t) if t else None)
        for i, t in enumerate(tables)
    ]
    assert len({raster_digest(p) for p in paths}) == 3
    assert content(paths[1])["colours"] == [[[0, 0, 0, 255], [255, 0, 0, 255]]]


def test_masks(make):
    everything = np.ones((70, 90), bool)
    some = np.tri(70, 90, dtype=bool)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        full = make("full.tif", after=lambda out: out.write_mask(everything))
        inside = make("inside.tif", after=lambda out: out.write_mask(some))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False):
        beside = make("beside.tif", after=lambda out: out.write_mask(some))
    assert beside.with_name("beside.tif.msk").is_file()
    assert raster_digest(full) == raster_digest(make())
    assert raster_digest(inside) == raster_digest(beside) != raster_digest(full)
    assert content(inside)["mask"] == hashlib.sha256(some.astype("u1").tobytes()).hexdigest()
    with open_raster(beside) as raster:
        assert [f.name for f in raster.files] == ["beside.tif", "beside.tif.msk"]


@pytest.mark.parametrize(
    ("dtype", "nodata", "expected"),
    [
        ("uint16", 65535, "65535"),
        ("int8", -1, "-1"),
        ("float32", -9999, "-0x1.3878000000000p+13"),
        ("float32", float("nan"), "nan"),
        ("float32", np.finfo("float32").min, "-0x1.fffffe0000000p+127"),
        ("float64", 0.1, "0x1.999999999999ap-4"),
        ("float64", -0.0, "0x0.0p+0"),
    ],
)
def test_nodata_is_exact(make, pixels, dtype, nodata, expected):
    assert content(make("a.tif", pixels(dtype), nodata=nodata))["nodata"] == [expected] * 2


def test_nodata_that_no_pixel_can_have_counts_as_none():
    assert module._nodata(-9999.0, "uint8") is None
    assert module._nodata(0.5, "int16") is None
    assert module._nodata(float("nan"), "int16") is None
    assert module._nodata(1e300, "float32") is None
    assert module._nodata(-1.0, "complex_int16") == "-1"


INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]


@pytest.mark.parametrize("dtype", [*INTEGERS, "float32", "float64", "complex64", "complex128", "complex_int16"])
def test_as_a_second_implementation_would(make, pixels, dtype):
    stored = "complex64" if dtype == "complex_int16" else dtype
    values = pixels(stored)
    if dtype in {"int64", "uint64"}:
        values[0, 0, 0] = 2**62 + 1  # no double holds it
    if np.dtype(stored).kind == "f":
        values[0, 3, 4] = np.nan
    path = make("a.tif", values, dtype=dtype)
    little = values.transpose(1, 0, 2).astype(np.dtype(stored).newbyteorder("<")).tobytes()
    document = {
        "shape": [2, 70, 90],
        "dtype": [dtype, dtype],
        "nodata": [None, None],
        "scale": ["0x1.0000000000000p+0"] * 2,
        "offset": ["0x0.0p+0"] * 2,
        "colours": [None, None],
        "alpha": [],
        "mask": None,
        "gcps": None,
        "rpcs": None,
        "crs": "EPSG:32618",
        "transform": [float(v).hex() for v in (500000, 10, 0, 4000000, 0, -10)],
        "pixels": hashlib.sha256(little).hexdigest(),
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    assert raster_digest(path) == "r1:" + hashlib.sha256(b"stacpin raster 1\n" + text).hexdigest()


def test_frozen(make):
    """Format 1 never changes: if this fails, the scheme needs another name than ``r1:``."""
    values = np.arange(24, dtype="int16").reshape(2, 3, 4)
    path = make("a.tif", values, nodata=-1)
    assert raster_digest(path) == "r1:637a4279fce88b1354c913ad42e05e2a7d519a39e78ae9c6cf711e8e21505d80"


def test_nans_are_one_and_zeros_are_two(make):
    values = np.zeros((1, 4, 4), "float32")
    values[0, 0, 0] = np.nan
    other = values.copy()
    other.view("u4")[0, 0, 0] = 0xFFC00123
    negative = values.copy()
    negative[0, 1, 1] = -0.0
    plain, payload, signed = (raster_digest(make(f"{i}.tif", v)) for i, v in enumerate((values, other, negative)))
    assert plain == payload != signed


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_strips_make_no_difference(tmp_path_factory, data):
    dtype = data.draw(st.sampled_from(["uint8", "int16", "float32", "complex64"]))
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)))
    values = data.draw(hnp.arrays(dtype, shape, fill=st.nothing()))
    path = tmp_path_factory.getbasetemp() / "strips.tif"
    tiled = {"tiled": True, "blockxsize": 16, "blockysize": 16} if data.draw(st.booleans()) else {}
    profile = {"driver": "GTiff", "dtype": dtype, "crs": "EPSG:4326", "transform": Affine(0.1, 0, 5, 0, -0.1, 50)}
    bands, rows, columns = shape
    with rasterio.open(path, "w", count=bands, height=rows, width=columns, **profile, **tiled) as out:
        out.write(values)
    whole = raster_digest(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_READ_BYTES", data.draw(st.integers(1, 4000)))
        patch.setattr(module, "_STRIP_BYTES", data.draw(st.integers(1, 4000)))
        assert raster_digest(path) == whole


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("EPSG:4326", "OGC:CRS84"),
        ("EPSG:32618", "+proj=utm +zone=18 +datum=WGS84"),
        ("EPSG:5070", "+proj=aea +lat_1=29.5 +lat_2=45.5 +lat_0=23 +lon_0=-96 +datum=NAD83"),
        ("+proj=laea +lat_0=10 +lon_0=20 +datum=WGS84", "+proj=laea +lon_0=20 +lat_0=10.0 +ellps=WGS84 +datum=WGS84"),
    ],
)
def test_one_crs_in_two_spellings(a, b):
    assert crs_identity(parse_crs(a)) == crs_identity(parse_crs(b))


def test_crs_that_differ():
    texts = [
        *("EPSG:4326", "EPSG:4269", "EPSG:32618", "EPSG:32718", "ESRI:54009", "IAU_2015:49900"),
        *(f"+proj=laea +lat_0={lat} +lon_0=20 +datum=WGS84" for lat in (10, 10.0001)),
        "+proj=laea +lat_0=10 +lon_0=20 +ellps=GRS80",
        "+proj=laea +lat_0=10 +lon_0=20 +datum=NAD83",
        "+proj=laea +lat_0=10 +lon_0=20 +datum=WGS84 +units=us-ft",
        "+proj=longlat +R=6371229",
    ]
    identities = [json.dumps(crs_identity(parse_crs(t)), sort_keys=True) for t in texts]
    assert len(set(identities)) == len(texts)


def test_a_code_that_lies_is_not_believed():
    honest = parse_crs("EPSG:32618")
    lie = parse_crs(honest.to_wkt().replace('"central_meridian",-75', '"central_meridian",-70'))
    assert crs_identity(lie) != "EPSG:32618"


def test_declared_crs_counts_like_an_own_one(make):
    assert raster_digest(make("b.tif", crs=None), crs="EPSG:32618") == raster_digest(make("a.tif"))


MEASURE = """
import sys, resource
from pathlib import Path
import numpy, rasterio, rfc8785
from catalog.raster_digest import raster_digest
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
with rasterio.open(sys.argv[1]) as d: d.read(1, window=((0, 1), (0, 1)))
before = peak()
raster_digest(Path(sys.argv[1]))
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((2, 9000, 9000), {"tiled": True, "blockxsize": 512, "blockysize": 512}),
        ((1, 9000, 9000), {"blockysize": 9000}),
        ((1, 200, 900_000), {}),
    ],
    ids=["tiles", "one strip", "wide"],
)
def test_memory_is_bounded(tmp_path, shape, layout):
    path = tmp_path / "large.tif"
    bands, rows, columns = shape
    strip = np.random.default_rng(0).integers(0, 4000, (bands, 100, columns), dtype="uint16")
    profile = {"driver": "GTiff", "dtype": "uint16", "crs": "EPSG:32618", "transform": NORTH_UP}
    with rasterio.open(path, "w", count=bands, height=rows, width=columns, **profile, **layout) as out:
        for row in range(0, rows, 100):
            out.write(strip, window=rasterio.windows.Window(0, row, columns, 100))
    assert path.stat().st_size > 150_000_000
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    path.unlink()
    assert float(run.stdout) < 150


def test_real_formats_of_one_raster(shared_data):
    folder = shared_data / "odd-formats"
    paths = [
        folder / "envi-raw-vrt" / "utmsmall.tif",
        folder / "envi-raw-vrt" / "utmsmall.vrt",
        folder / "envi-raw-vrt" / "utmsmall.raw",
        folder / "hfa" / "utmsmall.img",
    ]
    assert len({raster_digest(p) for p in paths}) == 1


def test_real_scenes_differ(shared_data):
    paths = sorted((shared_data / "imagery").rglob("*.tif"))
    digests = {p: raster_digest(p) for p in paths}
    # three cloud masks of Slovenia are one mask: same place, no cloud
    clear = [p for p in paths if p.name == "cloudmask.tif" and not rasterio.open(p).read().any()]
    assert len(clear) == 4
    assert len({digests[p] for p in clear}) == 1
    assert len(set(digests.values())) == len(paths) - 3 > 20
