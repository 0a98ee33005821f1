"""Pictures of rasters: what the default of each kind shows, pixel by pixel, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from picture_shelf import SIDE, Shelf, fill, pixels, ramp, write
from rasterio.control import GroundControlPoint

from api.pictures.routes import preferred
from ingest.cog import to_cog
from versioning.catalog import Catalog

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
