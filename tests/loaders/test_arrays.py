from __future__ import annotations

import os

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.windows import Window

from loaders import open as open_pin
from loaders.cubes import CACHE_MB, gdal_settings
from versioning.commit import commit
from versioning.errors import Integrity, InvalidInput
from versioning.store import open_store

PIXEL, SIDE = 10.0, 512  # as conftest makes them

# odc-geo and rasterio use what newer affine and shapely announce as deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning"),
]


def full(fields, item: str, key: str) -> np.ndarray:
    with rasterio.open(fields.files[item, key]) as raster:
        return raster.read(1)


class TestPixels:
    def test_one_item_equals_rasterio(self, place, fields_template):
        found = open_pin(place, "fields").to_xarray(["red"], ids=["r0c0"])
        assert dict(found.sizes) == {"y": SIDE, "x": SIDE, "time": 1}
        assert found.red.dtype == np.uint16
        np.testing.assert_array_equal(found.red.values[0], full(fields_template, "r0c0", "red"))

    def test_a_mosaic_of_three_items(self, fields_template):
        found = open_pin(fields_template.url, "fields").to_xarray("nir", groupby="id")
        assert dict(found.sizes) == {"time": 3, "y": 2 * SIDE, "x": 2 * SIDE}
        np.testing.assert_array_equal(found.nir.values[0][:SIDE, :SIDE], full(fields_template, "r0c0", "nir"))
        np.testing.assert_array_equal(found.nir.values[2][SIDE:, SIDE:], full(fields_template, "r1c1", "nir"))
        assert not found.nir.values[0][SIDE:].any()

    # Overviews are at 20, 40 and 80 m; both sides of each.
    @pytest.mark.parametrize("factor", [1, 2, 4])
    def test_resolutions_of_the_overviews(self, place, fields_template, factor):
        found = open_pin(place, "fields").to_xarray(["red"], ids=["r0c0"], resolution=PIXEL * factor, crs="EPSG:32718")
        with rasterio.open(fields_template.files["r0c0", "red"]) as raster:
            wanted = raster.read(1, out_shape=(SIDE // factor, SIDE // factor), resampling=Resampling.nearest)
        np.testing.assert_array_equal(found.red.values[0], wanted)

    @pytest.mark.parametrize("window", [Window(0, 0, 64, 64), Window(100, 37, 130, 200), Window(448, 448, 64, 64)])
    def test_windows(self, fields_template, window):
        from odc.geo.geobox import GeoBox

        with rasterio.open(fields_template.files["r0c0", "red"]) as raster:
            wanted = raster.read(1, window=window)
            box = GeoBox((window.height, window.width), raster.window_transform(window), raster.crs)
        found = open_pin(fields_template.url, "fields").to_xarray(["red"], ids=["r0c0"], geobox=box)
        np.testing.assert_array_equal(found.red.values[0], wanted)

    def test_a_box_cuts_items_and_pixels(self, fields_template):
        pin = open_pin(fields_template.url, "fields")
        west, south, east, north = pin.item("r1c1").bbox
        middle = ((west + east) / 2, (south + north) / 2)
        found = pin.to_xarray(["red"], bbox=[middle[0], middle[1], middle[0] + 0.005, middle[1] + 0.005])
        assert dict(found.sizes)["time"] == 1
        assert 40 < found.sizes["x"] < 70
        assert found.red.values.all()

    def test_lazy_arrays_read_when_they_are_computed(self, fields_template):
        found = open_pin(fields_template.url, "fields").to_xarray(["red"], ids=["r0c0"], chunks={"x": 128, "y": 128})
        assert found.red.chunks is not None
        with rasterio.Env() as env:
            before = env.options
            np.testing.assert_array_equal(found.red.compute().values[0], full(fields_template, "r0c0", "red"))
            assert env.options == before

    def test_without_georeferenced_bands_it_says_so(self, place):
        with pytest.raises(InvalidInput, match="purple"):
            open_pin(place, "fields").to_xarray(["purple"])

    def test_nothing_there(self, place):
        with pytest.raises(InvalidInput, match="no items"):
            open_pin(place, "fields").to_xarray(["red"], datetime="1999")


class TestWhatAReadProves:
    @pytest.mark.parametrize("how", ["missing", "truncated"])
    def test_a_damaged_object_is_named_before_anything_is_read(self, fields, own_place, how):
        broken = fields.object_of("r0c1", "red")
        broken.unlink()
        if how == "truncated":
            broken.write_bytes(b"II*\0")
        pin = open_pin(own_place, "fields")
        with pytest.raises(Integrity, match=broken.stem) as caught:
            pin.to_xarray(["red"], chunks={})
        assert caught.value.kind == how
        assert pin.to_xarray(["nir"], chunks={}).sizes["time"] == 3

    @pytest.mark.parametrize("named", [True, False])
    @pytest.mark.parametrize(
        "text", ['<VRTDataset rasterXSize="1"/>', "\ufeff  <GDAL_WMS/>", '{"type": "FeatureCollection"}']
    )
    def test_a_text_that_says_it_is_a_raster_is_refused(self, fields, own_place, text, named):
        """A VRT among the objects, which GDAL would follow to any file and any address."""
        catalog = fields.catalog
        item = catalog.resolve("fields").item("r0c0")
        ref = catalog.objects.put_bytes(text.encode(), ".tif")
        item["assets"]["red"] |= {"href": ref.href, "file:checksum": ref.checksum, "file:size": ref.size}
        item["assets"]["red"]["pin:digest"] = f"r1:{ref.sha256.hex()}"
        commit(catalog.dataset("fields"), items=[item], message="m", author="a")
        with pytest.raises(InvalidInput, match="could lead GDAL anywhere"):
            open_pin(own_place, "fields").to_xarray(["red"] if named else None, ids=["r0c0"], groupby="id")

    def test_labels_beside_rasters_are_left_alone(self, fields):
        catalog = fields.catalog
        item = catalog.resolve("fields").item("r0c0")
        ref = catalog.objects.put_bytes(b'{"type": "FeatureCollection", "features": []}', ".geojson")
        item["assets"]["notes"] |= {"href": ref.href, "file:checksum": ref.checksum, "file:size": ref.size}
        item["assets"]["notes"] |= {"pin:digest": f"b1:{ref.sha256.hex()}", "type": "application/geo+json"}
        commit(catalog.dataset("fields"), items=[item], message="m", author="a")
        assert set(open_pin(fields.url, "fields").to_xarray(ids=["r0c0"], chunks={}).data_vars) == {"red", "nir"}


class TestOnS3:
    def test_open_pull_and_read(self, fields_template, s3_server, monkeypatch, tmp_path):
        import obstore

        for key, value in s3_server.environment.items():
            monkeypatch.setenv(key, value)
        url = f"{s3_server.new_bucket()}/catalog"
        remote = open_store(url)
        for path in fields_template.root.rglob("*.*"):
            if path.is_file():
                obstore.put(remote._inner, path.relative_to(fields_template.root).as_posix(), path.read_bytes())
        pin = open_pin(url, "fields@v2")
        assert pin.digest == open_pin(fields_template.url, "fields@v2").digest
        assert pin.item("r0c0").assets["red"].href.startswith(f"{url}/objects/")
        pin.pull(tmp_path / "out")
        assert pin.verify(tmp_path / "out").ok
        found = pin.to_xarray(["red"], ids=["r0c0"], chunks={})
        np.testing.assert_array_equal(found.red.compute().values[0], full(fields_template, "r0c0", "red"))


class TestSettings:
    def test_the_cache_is_bounded(self):
        assert gdal_settings("/x")["GDAL_CACHEMAX"] == CACHE_MB

    def test_the_user_s_own_settings_count_more(self, monkeypatch):
        monkeypatch.setenv("GDAL_CACHEMAX", "64")
        assert "GDAL_CACHEMAX" not in gdal_settings("/x")

    @pytest.mark.parametrize(
        ("endpoint", "https"), [("http://127.0.0.1:9000", "NO"), ("https://s3.example.org/", "YES")]
    )
    def test_an_endpoint_reaches_gdal(self, monkeypatch, endpoint, https):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        settings = gdal_settings("s3://bucket/x")
        assert settings["AWS_S3_ENDPOINT"] in endpoint
        assert (settings["AWS_HTTPS"], settings["AWS_VIRTUAL_HOSTING"]) == (https, "FALSE")
        assert "AWS_S3_ENDPOINT" not in gdal_settings("/local")

    def test_nothing_is_left_in_the_environment(self, fields_template):
        before = dict(os.environ)
        open_pin(fields_template.url, "fields").to_xarray(["red"], ids=["r0c0"], chunks={})
        assert dict(os.environ) == before


def test_real_data_from_end_to_end(shared_data, tmp_path):
    """Landsat of Pucallpa: ingested as it is, opened, pulled, read; the pixels are those of the files."""
    from catalog.assets import raster_asset
    from catalog.items import build_item
    from catalog.raster_digest import raster_digest
    from versioning.catalog import Catalog

    folder = shared_data / "imagery" / "landsat-pucallpa-peru"
    catalog = Catalog.create(str(tmp_path / "catalog"))
    items, sources = [], {}
    for year in (1985, 2000, 2020):
        for number, path in enumerate(sorted((folder / str(year)).glob("*.tif"))[:2]):
            ref = catalog.objects.put_file(path)
            part = raster_asset(path, ref, digest=raster_digest(path))
            item = build_item(f"pucallpa-{year}-{number}", {"image": part}, datetime=f"{year}-07-01T00:00:00Z")
            sources[item["id"]] = path
            items.append(item)
    assert items
    commit(catalog.dataset("pucallpa"), items=items, message="Landsat", author="Ada")
    pin = open_pin(tmp_path / "catalog", "pucallpa")
    assert [item.id for item in pin.items(datetime="2000")] == [name for name in sorted(sources) if "2000" in name]
    pin.pull(tmp_path / "out")
    assert pin.verify(tmp_path / "out").ok
    for name, source in sources.items():
        assert (tmp_path / "out" / name / f"image{source.suffix}").read_bytes() == source.read_bytes()
    name, source = next(iter(sorted(sources.items())))
    with rasterio.open(source) as raster:
        found = pin.to_xarray(ids=[name])
        bands = list(found.data_vars)
        assert len(bands) == raster.count
        wanted = raster.read(1)
        np.testing.assert_array_equal(np.nan_to_num(found[bands[0]].values[0]), np.nan_to_num(wanted))
