"""Pictures of rasters: what the default of each kind shows, pixel by pixel, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from api.pictures.mercator import WORLD
from api.pictures.routes import preferred
from catalog.assets import opaque_asset, raster_asset
from catalog.items import build_item
from catalog.raster_digest import raster_digest
from catalog.summaries import dataset_summaries
from ingest.cog import to_cog
from versioning.catalog import Catalog
from versioning.commit import Notes, commit

WHEN = "2020-01-01T00:00:00Z"
DEGREE = WORLD / 360
SIDE = 64


def write(path: Path, data: np.ndarray, *, step: float = 1 / 64, palette: dict | None = None, **profile) -> Path:
    """A COG with its upper left corner at 10 degrees east, 1 degree north."""
    profile = {"crs": "EPSG:4326", "transform": from_origin(10, 1, step, step), **profile}
    count, height, width = data.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", count=count, height=height, width=width, dtype=data.dtype, **profile
        ) as target:
            target.write(data)
            if palette is not None:
                target.write_colormap(1, palette)
    return path


class Shelf:
    """A catalog of rasters, each as the only item of a dataset of its name."""

    def __init__(self, catalog: Catalog, scratch: Path) -> None:
        self.catalog, self.scratch = catalog, scratch

    def part(self, path: Path, **options):
        return raster_asset(path, self.catalog.objects.put_file(path), digest=raster_digest(path), **options)

    def put(self, name: str, data: np.ndarray, *, bands=None, extra=None, **profile) -> None:
        path = to_cog(write(self.scratch / f"{name}-raw.tif", data, **profile), self.scratch / f"{name}.tif").path
        self.publish(name, {"data": self.part(path, band_names=bands, extra=extra)})

    def publish(self, name: str, parts: dict) -> None:
        item = build_item(name, parts, datetime=WHEN)
        notes = Notes(summaries=dataset_summaries([item]))
        commit(self.catalog.dataset(name), items=[item], message="a raster", author="tester", notes=notes)


def ramp(dtype="uint8", low: float = 0, high: float = 252) -> np.ndarray:
    """Values that rise eastwards."""
    return np.linspace(low, high, SIDE).astype(dtype)[np.newaxis, np.newaxis, :].repeat(SIDE, axis=1)


def fill(shelf: Shelf) -> None:
    colours = np.concatenate([np.full((1, SIDE, SIDE), value, "uint8") for value in (10, 120, 240)])
    colours[:, :8, :8] = 0
    shelf.put("colours", colours, bands=["red", "green", "blue"], nodata=0)
    shelf.put("reversed", colours, bands=["blue", "green", "red"], nodata=0)
    shelf.put("plain", colours, nodata=0)
    deep = np.concatenate([ramp("uint16", 0, 3000), ramp("uint16", 0, 3000)[:, :, ::-1], ramp("uint16", 500, 900)])
    shelf.put("deep", deep, bands=["red", "green", "blue"])
    shelf.put("grey", ramp("int16", -500, 500), nodata=-500)
    real = ramp("float32", 0, 1)
    real[0, :, -4:] = np.nan
    real[0, :, -8:-4] = np.inf
    shelf.put("real", real)
    shelf.put("constant", np.full((1, SIDE, SIDE), 7, "uint8"))
    codes = np.repeat(np.array([1, 2, 3, 0], "uint8"), SIDE // 4)[np.newaxis, np.newaxis, :].repeat(SIDE, axis=1)
    palette = {1: (255, 0, 0, 255), 2: (0, 255, 0, 255), 3: (0, 0, 255, 255)}
    shelf.put("palette", codes, palette=palette, nodata=0)
    classes = [{"value": value, "color_hint": hint} for value, hint in ((1, "FF8800"), (2, "0088FF"), (3, "00ff00"))]
    shelf.put("classes", codes.astype("int16"), extra={"classification:classes": classes}, nodata=0)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    cone = (100 - np.hypot(rows - SIDE / 2, columns - SIDE / 2)) * 300
    shelf.put("cone", cone[np.newaxis].astype("float32"), bands=["elevation"], step=1 / 512)
    parts = {}
    for value, name in ((30, "blue"), (60, "green"), (90, "red")):
        path = write(shelf.scratch / f"{name}-one.tif", np.full((1, SIDE, SIDE), value, "uint8"))
        parts[name] = shelf.part(path, band_names=[name])
    path = write(shelf.scratch / "other.tif", ramp(), step=1 / 32)
    shelf.publish("apart", {**parts, "other": shelf.part(path, band_names=["other"])})
    note = shelf.scratch / "note.txt"
    note.write_text("No raster.\n")
    shelf.publish("note", {"note": opaque_asset(note, shelf.catalog.objects.put_file(note))})


@pytest.fixture(scope="module")
def shelf(tmp_path_factory) -> Shelf:
    folder = tmp_path_factory.mktemp("pictures")
    made = Shelf(Catalog.create(str(folder / "catalog")), folder)
    fill(made)
    return made


@pytest.fixture
def drawn(client_of, shelf):
    """Asks for a picture of a dataset's only item."""
    client = client_of(shelf.catalog)

    def ask(name: str, query: str = "", what: str = "preview", **options):
        return client.get(f"/collections/{name}--v1/items/{name}/{what}{query}", **options)

    return ask


def pixels(answer) -> np.ndarray:
    """Red, green, blue and alpha of a picture, rows first."""
    assert answer.status_code == 200, answer.text
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with MemoryFile(answer.content) as file, file.open() as picture:
            data = picture.read()
            alpha = data[-1:] if picture.colorinterp[-1] == ColorInterp.alpha else np.full_like(data[:1], 255)
            colours = data[:-1] if picture.colorinterp[-1] == ColorInterp.alpha else data
    return np.moveaxis(np.concatenate([colours if len(colours) == 3 else colours[[0, 0, 0]], alpha]), 0, -1)


# -- what each kind shows


def test_colours_by_their_common_names(drawn):
    for name, colour in (("colours", (10, 120, 240)), ("reversed", (240, 120, 10)), ("plain", (10, 120, 240))):
        picture = pixels(drawn(name))
        assert picture.shape == (SIDE, SIDE, 4)
        assert tuple(picture[40, 40]) == (*colour, 255)
        assert picture[2, 2, 3] == 0
        assert (picture[..., 3] == 0).sum() == 64


def test_sixteen_bits_are_stretched_band_by_band(drawn):
    picture = pixels(drawn("deep")).astype(int)
    assert tuple(picture[10, 0, :3]) == (0, 255, 0)
    assert tuple(picture[10, -1, :3]) == (255, 0, 255)
    assert (np.diff(picture[10, :, 0]) >= 0).all()
    assert abs(picture[10, SIDE // 2, 0] - 128) < 6


def test_one_band_is_grey_from_dark_to_bright(drawn):
    picture = pixels(drawn("grey")).astype(int)
    assert (picture[:, 0, 3] == 0).all()
    assert (picture[:, 1:, 3] == 255).all()
    assert tuple(picture[5, -1]) == (255, 255, 255, 255)
    assert picture[5, 1, 0] == 0
    assert (np.diff(picture[5, 1:, 0]) >= 0).all()


def test_what_is_no_number_is_transparent(drawn):
    picture = pixels(drawn("real"))
    assert (picture[:, -8:, 3] == 0).all()
    assert (picture[:, :-8, 3] == 255).all()


def test_one_value_is_grey(drawn):
    assert (pixels(drawn("constant"))[..., :3] == 128).all()


def test_codes_have_the_colours_of_their_table(drawn):
    row = pixels(drawn("palette"))[20]
    quarter = SIDE // 4
    for place, colour in enumerate([(255, 0, 0, 255), (0, 255, 0, 255), (0, 0, 255, 255)]):
        assert (row[place * quarter : (place + 1) * quarter] == colour).all()
    assert (row[3 * quarter :, 3] == 0).all()


def test_codes_have_the_colours_of_their_classes(drawn):
    row = pixels(drawn("classes"))[20]
    assert [tuple(row[at]) for at in (4, 20, 36)] == [(255, 136, 0, 255), (0, 136, 255, 255), (0, 255, 0, 255)]
    assert row[60, 3] == 0


def test_heights_are_lit_from_the_north_west(drawn):
    picture = pixels(drawn("cone")).astype(int)[..., 0]
    quarter = SIDE // 4
    north_west, south_east = picture[quarter, quarter], picture[3 * quarter, 3 * quarter]
    assert north_west > 200 > 120 > south_east
    flat = pixels(drawn("cone", "?rescale=0,30000")).astype(int)[..., 0]
    assert abs(flat[quarter, quarter] - flat[3 * quarter, 3 * quarter]) < 12


def test_colours_of_several_assets(drawn):
    assert tuple(pixels(drawn("apart"))[3, 3]) == (90, 60, 30, 255)
    assert tuple(pixels(drawn("apart", "?bands=blue,green,red"))[3, 3]) == (30, 60, 90, 255)


@pytest.mark.parametrize("store", ["memory", "s3"])
def test_every_store_gives_the_same_pictures(client_of, drawn, tmp_path, store, request, monkeypatch):
    url = "memory://"
    if store == "s3":
        server = request.getfixturevalue("s3_server")
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        url = server.new_bucket() + "/catalog"
    other = Shelf(Catalog.create(url), tmp_path)
    fill(other)
    client = client_of(other.catalog)
    for name in ("colours", "deep", "grey", "palette", "cone", "apart"):
        answer = client.get(f"/collections/{name}--v1/items/{name}/preview")
        here = drawn(name)
        assert answer.content == here.content
        assert answer.headers["etag"] == here.headers["etag"]


def test_the_examples(client_of, examples, tmp_path):
    shelf = Shelf(Catalog.create("memory://"), tmp_path)
    parts = {}
    for name in ("red", "green", "blue"):
        path = to_cog(examples / f"imagery/{name}.tif", tmp_path / f"{name}.tif").path
        parts[name] = shelf.part(path, band_names=[name])
    shelf.publish("landsat", parts)
    path = to_cog(examples / "dem/rmnp-dem.tif", tmp_path / "dem.tif").path
    shelf.publish("dem", {"dem": shelf.part(path, band_names=["elevation"])})
    client = client_of(shelf.catalog)
    picture = pixels(client.get("/collections/landsat--v1/items/landsat/preview"))
    with rasterio.open(examples / "imagery/red.tif") as red, rasterio.open(examples / "imagery/blue.tif") as blue:
        seen = red.read_masks(1) > 0
        assert (picture[..., 3] > 0).mean() > 0.9
        shown = (picture[..., 3] > 0) & seen
        assert (picture[..., 0][shown] == red.read(1)[shown]).all()
        assert (picture[..., 2][shown] == blue.read(1)[shown]).all()
    relief = pixels(client.get("/collections/dem--v1/items/dem/preview"))
    assert relief[..., 0][relief[..., 3] > 0].std() > 15


# -- size, format, bands


def test_sizes(drawn, shelf, client_of):
    assert pixels(drawn("colours", "?max_size=16")).shape[:2] == (16, 16)
    assert pixels(drawn("colours", "?max_size=2048")).shape[:2] == (SIDE, SIDE)
    wide = np.zeros((1, 100, 1500), "uint8")
    wide[0, :, 750:] = 200
    other = Shelf(Catalog.create("memory://"), shelf.scratch)
    other.put("wide", wide, step=1 / 1000)
    client = client_of(other.catalog)
    here = "/collections/wide--v1/items/wide"
    assert pixels(client.get(f"{here}/preview")).shape[1] == 1024
    assert pixels(client.get(f"{here}/thumbnail")).shape[1] == 512


@pytest.mark.parametrize(
    ("query", "accept", "media"),
    [
        ("", "*/*", "image/png"),
        ("?f=jpeg", "image/png", "image/jpeg"),
        ("?f=webp", "*/*", "image/webp"),
        ("", "image/webp", "image/webp"),
        ("", "image/jpeg,*/*;q=0.1", "image/jpeg"),
        ("", "image/avif,image/webp,image/apng,image/*,*/*;q=0.8", "image/png"),
        ("", "text/html", "image/png"),
        ("", "image/webp;q=abc,image/jpeg;q=0.2", "image/jpeg"),
    ],
)
def test_formats(drawn, query, accept, media):
    answer = drawn("plain", query, headers={"Accept": accept})
    assert answer.headers["content-type"] == media
    assert ("Accept" in answer.headers.get("vary", "").split(", ")) is (query == "")
    picture = pixels(answer).astype(int)
    assert np.abs(picture[40, 40, :3] - (10, 120, 240)).max() < 12
    if media == "image/jpeg":  # which has no transparency
        assert (picture[1, 1, :3] > 230).all()
    else:
        assert picture[1, 1, 3] == 0


def test_accept_of_any_length():
    assert preferred("image/webp," + "a/b," * 100_000) == "webp"
    assert preferred("," * 100_000) == "png"


def test_bands_and_ranges(drawn):
    assert tuple(pixels(drawn("colours", "?bidx=3,2,1"))[40, 40]) == (240, 120, 10, 255)
    assert tuple(pixels(drawn("colours", "?asset=data&bidx=1&rescale=0,20"))[40, 40, :3]) == (128, 128, 128)
    assert tuple(pixels(drawn("colours", "?rescale=0,20,0,240,0,480"))[40, 40, :3]) == (128, 128, 128)
    from rio_tiler.colormap import cmap

    shown = pixels(drawn("colours", "?bands=green&rescale=0,255&colormap_name=viridis"))[40, 40]
    assert tuple(shown) == tuple(cmap.get("viridis")[120])


# -- tiles


def test_raster_tiles_lie_where_the_raster_lies(drawn):
    picture = pixels(drawn("colours", what="tiles/9/270/254.png"))
    assert picture.shape == (256, 256, 4)
    side = 360 / 2**9
    west = 270 * side - 180
    columns = np.flatnonzero((picture[..., 3] > 0).any(axis=0))
    assert west + columns[0] / 256 * side == pytest.approx(10, abs=0.01)
    assert tuple(picture[(picture[..., 3] > 0)][5000]) == (10, 120, 240, 255)
    assert (pixels(drawn("colours", what="tiles/9/0/0.png"))[..., 3] == 0).all()


def test_tiles_of_one_raster_fit_together(drawn):
    whole = pixels(drawn("grey", what="tiles/8/135/127.png")).astype(int)
    west, east = (pixels(drawn("grey", what=f"tiles/9/{x}/254.png")).astype(int) for x in (270, 271))
    both = np.concatenate([west, east], axis=1)[::2, ::2]
    seen = (both[..., 3] > 0) & (whole[:128, :, 3] > 0)
    assert seen.sum() > 100
    assert np.abs(both[..., 0] - whole[:128, :, 0])[seen].mean() < 6
    # Relief needs the neighbours of each pixel, also of those at the edge.
    west, east = (pixels(drawn("cone", what=f"tiles/11/{x}/1018.png")).astype(int) for x in (1080, 1081))
    seen = (west[:, -1, 3] > 0) & (east[:, 0, 3] > 0)
    assert seen.sum() > 100
    assert np.abs(west[:, -1, 0] - east[:, 0, 0])[seen].max() < 8


def test_control_points_place_a_raster(shelf, client_of, tmp_path):
    points = [
        GroundControlPoint(row, column, 20 + column / SIDE, 1 - row / SIDE) for row in (0, SIDE) for column in (0, SIDE)
    ]
    path = write(tmp_path / "points.tif", ramp(), transform=None, crs="EPSG:4326", gcps=points)
    other = Shelf(Catalog.create("memory://"), tmp_path)
    other.publish("points", {"data": other.part(path)})
    client = client_of(other.catalog)
    assert pixels(client.get("/collections/points--v1/items/points/preview")).shape[1] >= SIDE
    tile = pixels(client.get("/collections/points--v1/items/points/tiles/8/142/127.png"))
    assert 0.3 < (tile[..., 3] > 0).mean() < 0.9


# -- refusals


@pytest.mark.parametrize(
    ("name", "query", "status", "code"),
    [
        ("colours", "?asset=nothing", 404, "no-picture"),
        ("note", "", 404, "no-picture"),
        ("note", "?asset=note", 404, "no-picture"),
        ("colours", "?max_size=0", 400, "invalid-input"),
        ("colours", "?max_size=2049", 400, "invalid-input"),
        ("colours", "?max_size=1e3", 400, "invalid-input"),
        ("colours", "?f=gif", 400, "invalid-input"),
        ("colours", "?bidx=4", 400, "invalid-input"),
        ("colours", "?bidx=0", 400, "invalid-input"),
        ("colours", "?bidx=1,2", 400, "invalid-input"),
        ("colours", "?bidx=1;2", 400, "invalid-input"),
        ("colours", "?bidx=" + "1," * 5000 + "1", 400, "invalid-input"),
        ("colours", "?bands=", 400, "invalid-input"),
        ("colours", "?bands=red,green,blue,nir", 400, "invalid-input"),
        ("colours", "?bands=red&bidx=1", 400, "invalid-input"),
        ("apart", "?bidx=1", 400, "invalid-input"),
        ("apart", "?bands=red,green,other", 400, "invalid-input"),
        ("colours", "?rescale=1", 400, "invalid-input"),
        ("colours", "?rescale=1,1", 400, "invalid-input"),
        ("colours", "?rescale=nan,1", 400, "invalid-input"),
        ("colours", "?rescale=-inf,inf", 400, "invalid-input"),
        ("colours", "?rescale=0,1,0,1", 400, "invalid-input"),
        ("colours", "?rescale=" + "0,1," * 5000, 400, "invalid-input"),
        ("colours", "?colormap_name=viridis", 400, "invalid-input"),
        ("grey", "?colormap_name=../../etc/passwd", 400, "invalid-input"),
        ("grey", "?expression=b1", 400, "unknown-parameter"),
        ("grey", "?url=http://example.org/a.tif", 400, "unknown-parameter"),
        ("grey", "?f=png&f=png", 400, "repeated-parameter"),
        ("grey", "?version=v1", 400, "pinned-twice"),
    ],
)
def test_what_is_refused(drawn, name, query, status, code):
    answer = drawn(name, query)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json().get("hint") or query.startswith(("?max_size", "?f="))
    assert len(answer.content) < 1_500


@pytest.mark.parametrize("what", ["tiles/25/0/0.png", "tiles/1/2/0.png", "tiles/1/0/0.jpg", "tiles/1/0/0"])
def test_tiles_that_do_not_exist(drawn, what):
    assert drawn("grey", what=what).status_code == 404


def test_items_that_do_not_exist(drawn, client):
    assert client.get("/collections/landcover--v1/items/nobody/preview").json()["code"] == "no-such-item"
    assert client.get("/collections/nothing/items/a/preview").json()["code"] == "no-such-dataset"


VRT = b"""<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename>/etc/passwd</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"""


@pytest.mark.parametrize("store", ["local", "memory"])
def test_only_geotiffs_of_the_catalog_are_opened(client_of, tmp_path, store):
    """Whatever an item claims of its assets."""
    url = "memory://" if store == "memory" else str(tmp_path / "catalog")
    shelf = Shelf(Catalog.create(url), tmp_path)
    good = write(tmp_path / "good.tif", ramp())
    part = shelf.part(good)
    data = good.read_bytes()
    forged = {
        "vrt": VRT,
        "png": b"\x89PNG\r\n\x1a\n" + data,
        "cut": data[: len(data) // 3],
        "noise": data[:8] + bytes(range(256)) * 20,
        "empty": b"",
    }
    for name, content in forged.items():
        ref = shelf.catalog.objects.put_bytes(content, ".tif")
        asset = {**part.asset, "href": ref.href, "file:checksum": ref.checksum, "file:size": ref.size}
        shelf.publish(name, {"data": type(part)(asset, part.footprint)})
    away = {**part.asset, "href": f"file://{good}"}
    shelf.publish("away", {"data": type(part)(away, part.footprint)})
    client = client_of(shelf.catalog)
    for name in forged:
        for what in ("preview", "tiles/8/135/127.png"):
            answer = client.get(f"/collections/{name}--v1/items/{name}/{what}")
            assert answer.status_code == 400, (name, answer.text)
            assert answer.json()["code"] == "not-drawable"
            assert str(tmp_path) not in answer.text
            assert "vsi" not in answer.text
    assert client.get("/collections/away--v1/items/away/preview").json()["code"] == "no-picture"


def test_what_is_huge_and_has_no_overviews_is_refused(client_of, tmp_path):
    path = tmp_path / "huge.tif"
    profile = {"driver": "GTiff", "count": 1, "width": 30_000, "height": 30_000, "dtype": "uint8", "crs": "EPSG:4326"}
    layout = {"tiled": True, "compress": "deflate", "sparse_ok": True, "transform": from_origin(0, 30, 1e-3, 1e-3)}
    with rasterio.open(path, "w", **profile, **layout):
        pass
    shelf = Shelf(Catalog.create("memory://"), tmp_path)
    ref = shelf.catalog.objects.put_file(path)
    shelf.publish("huge", {"data": raster_asset(path, ref, digest="r1:" + "0" * 64)})
    client = client_of(shelf.catalog)
    answer = client.get("/collections/huge--v1/items/huge/preview")
    assert (answer.status_code, answer.json()["code"]) == (400, "too-large")
    assert "overviews" in answer.json()["hint"]
    assert client.get("/collections/huge--v1/items/huge/tiles/2/2/1.png").json()["code"] == "too-large"
    near = "/collections/huge--v1/items/huge/tiles/12/2050/2000.png"
    assert client.get(near).json()["code"] == "too-large"  # to find its range of values
    assert pixels(client.get(f"{near}?rescale=0,255")).shape == (256, 256, 4)


def test_complex_numbers_are_refused(client_of, tmp_path):
    shelf = Shelf(Catalog.create("memory://"), tmp_path)
    path = write(tmp_path / "radar.tif", ramp("complex64"))
    shelf.publish("radar", {"data": shelf.part(path)})
    answer = client_of(shelf.catalog).get("/collections/radar--v1/items/radar/preview")
    assert (answer.status_code, answer.json()["code"]) == (400, "not-drawable")


def test_a_missing_object(client_of, tmp_path):
    shelf = Shelf(Catalog.create(str(tmp_path / "catalog")), tmp_path)
    shelf.put("gone", ramp())
    client = client_of(shelf.catalog)
    href = client.get("/collections/gone--v1/items/gone").json()["assets"]["data"]["href"]
    (tmp_path / "catalog" / href.removeprefix("http://api.test/")).unlink()
    answer = client.get("/collections/gone--v1/items/gone/preview")
    assert (answer.status_code, answer.json()["code"]) == (500, "missing")


# -- HTTP and links


def test_caching(client_of, shelf):
    client = client_of(shelf.catalog)
    pinned = client.get("/collections/grey--v1/items/grey/preview?max_size=32")
    assert pinned.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "content-encoding" not in pinned.headers
    other = client.get("/collections/grey/items/grey/preview?max_size=32&version=v1")
    assert other.headers["cache-control"] == "no-cache"
    assert other.headers["content-location"].endswith("/collections/grey--v1/items/grey/preview?max_size=32")
    assert client.get(other.headers["content-location"]).content == other.content == pinned.content
    etag = pinned.headers["etag"]
    again = client.get(pinned.url, headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/collections/grey--v1/items/grey/preview?max_size=33").headers["etag"] != etag
    assert client.get("/collections/grey--v1/items/grey/preview?max_size=32&f=webp").headers["etag"] != etag


def test_items_and_versions_link_to_their_thumbnails(client_of, shelf):
    client = client_of(shelf.catalog)
    item = client.get("/collections/grey--v1/items/grey").json()
    (link,) = [link for link in item["links"] if link["rel"] == "preview"]
    assert (link["type"], client.get(link["href"]).headers["content-type"]) == ("image/png", "image/png")
    found = client.get("/search?collections=grey").json()["features"][0]
    assert link in found["links"]
    collection = client.get("/collections/grey--v1").json()
    (preview,) = [link for link in collection["links"] if link["rel"] == "preview"]
    assert client.get(preview["href"]).content == client.get(link["href"]).content
    assert client.get("/collections/grey/thumbnail").headers["cache-control"] == "no-cache"
    for address in ("/collections/note--v1/items/note", "/collections/note--v1"):
        assert not [link for link in client.get(address).json()["links"] if link["rel"] == "preview"]
    assert client.get("/collections/note--v1/thumbnail").json()["code"] == "no-picture"


def test_nothing_is_drawn_for_a_list(client_of, shelf, monkeypatch):
    monkeypatch.setattr("api.pictures.pictures.Pictures._draw", lambda *_: 1 / 0)
    monkeypatch.setattr("api.pictures.raster_files.open_stored", lambda *_: 1 / 0)
    client = client_of(shelf.catalog)
    for address in ("/collections", "/search", "/collections/grey/items"):
        assert client.get(address).status_code == 200


def test_without_the_libraries_there_are_no_pictures(client_of, shelf, monkeypatch):
    with_pictures = client_of(shelf.catalog).get("/collections/grey--v1/items/grey")
    for module in ("pictures.drawing", "app", "pictures.links", "responses"):
        monkeypatch.setattr(f"api.{module}.can_draw", lambda: False)
    client = client_of(shelf.catalog)
    item = client.get("/collections/grey--v1/items/grey")
    assert item.status_code == 200
    assert item.headers["etag"] != with_pictures.headers["etag"]
    assert not [link for link in item.json()["links"] if link["rel"] == "preview"]
    assert not [link for link in client.get("/collections/grey--v1").json()["links"] if link["rel"] == "preview"]
    assert client.get("/collections/grey--v1/items/grey/preview").json()["code"] == "not-found"
    assert client.get("/collections/grey--v1/tiles/0/0/0").status_code == 404
    declared = client.get("/conformance").json()["conformsTo"]
    assert not [name for name in declared if name.endswith(("tiles", "pictures"))]


START = """
import sys, threading
from api.app import create_app
from api.settings import ApiSettings
from fastapi.testclient import TestClient
client = TestClient(create_app(ApiSettings(catalog=sys.argv[1], max_drawings=4)), raise_server_exceptions=False)
together = threading.Barrier(4)
found = []
def ask(query):
    together.wait()
    found.append(client.get(f"/collections/grey--v1/items/grey/preview{query}").status_code)
queries = ["", "?max_size=9", "?colormap_name=viridis", "?colormap_name=magma"]
threads = [threading.Thread(target=ask, args=(query,)) for query in queries]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(found)
"""


def test_a_server_may_begin_with_many_pictures_at_once(shelf):
    """In a process in which nothing is imported yet."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-W", "ignore", "-c", START, shelf.catalog.url]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[200, 200, 200, 200]", done.stderr


def test_so_many_are_drawn_at_once_and_the_rest_come_again(client_of, shelf, monkeypatch):
    client = client_of(shelf.catalog, max_drawings=1, max_drawings_waiting=1)
    begun, go_on = threading.Event(), threading.Event()

    def slow(*_):
        begun.set()
        assert go_on.wait(20)
        return b"drawn"

    monkeypatch.setattr("api.pictures.pictures.Pictures._draw", slow)
    address = "/collections/grey--v1/items/grey/preview"
    answers = []
    asking = [threading.Thread(target=lambda: answers.append(client.get(address))) for _ in range(6)]
    for thread in asking:
        thread.start()
    assert begun.wait(20)
    # All but the one that is drawn and the one that waits are answered at once.
    for thread in asking:
        thread.join(2)
        if len(answers) == 4:
            break
    assert client.get("/collections/grey--v1/items/grey").status_code == 200
    refused = client.get(address)
    go_on.set()
    for thread in asking:
        thread.join(20)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503, 503, 503]
    assert (refused.status_code, refused.json()["code"]) == (503, "busy")
    assert int(refused.headers["retry-after"]) > 0
    assert client.get(address).content == b"drawn"
