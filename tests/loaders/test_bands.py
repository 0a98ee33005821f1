"""What a name of a band means, over items with different assets."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from catalog.assets import opaque_asset, raster_asset
from catalog.items import build_item
from catalog.raster_digest import raster_digest
from loaders import open as open_pin
from loaders.bands import Loadable, choose
from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.errors import InvalidInput

# odc-geo and rasterio use what newer affine and shapely announce as deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning"),
]

NAIP = ("red", "green", "blue", "nir")


def rgbn(*bands: str) -> tuple[tuple[str, ...], ...]:
    return tuple((band,) for band in bands)


@pytest.fixture(scope="module")
def demo(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The demo's data, ingested by its recipe: label items, a DEM, and an item with three bands, in this order."""
    from stacpin.cli import main

    folder = tmp_path_factory.mktemp("demo")
    shutil.copytree(examples, folder / "work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STACPIN_CACHE", str(folder / "cache"))
        patch.setenv("STACPIN_AUTHOR", "Ana Ruiz")
        patch.delenv("STACPIN_CATALOG", raising=False)
        with pytest.raises(SystemExit) as end:
            main(["ingest", str(folder / "work"), "-C", str(folder / "catalog")])
    assert not end.value.code
    return str(folder / "catalog")


def write(path: Path, bands: Sequence[int], *, east: float = 500_000.0) -> Path:
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=16,
        height=16,
        count=len(bands),
        dtype="uint8",
        crs="EPSG:26914",
        transform=Affine(1, 0, east, 0, -1, 4_000_000.0),
    ) as out:
        for number, value in enumerate(bands, start=1):
            out.write(np.full((16, 16), value, dtype="uint8"), number)
    return path


@pytest.fixture(scope="module")
def naip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of four bands, one of a single band beside it, and an item with notes only, far away and years later."""
    folder = tmp_path_factory.mktemp("naip")
    catalog = Catalog.create(str(folder / "catalog"))

    def raster(name: str, values: Sequence[int], bands: Sequence[str] | None, east: float = 500_000.0):
        path = write(folder / f"{name}.tif", values, east=east)
        return raster_asset(path, catalog.objects.put_file(path), digest=raster_digest(path), band_names=bands)

    notes = folder / "notes.txt"
    notes.write_text("notes\n")
    note = opaque_asset(notes, catalog.objects.put_file(notes), media_type="text/plain")
    far = build_item("a-notes", {"imagery": note}, datetime="2001-01-01T00:00:00Z")
    far |= {"geometry": {"type": "Point", "coordinates": [0.0, 0.0]}, "bbox": [0.0, 0.0, 0.0, 0.0]}
    image = build_item("m-image", {"naip": raster("naip", [1, 2, 3, 4], NAIP)}, datetime="2020-01-01T00:00:00Z")
    height = build_item("z-height", {"dsm": raster("dsm", [9], ["height"])}, datetime="2020-01-01T00:00:00Z")
    commit(catalog.dataset("naip"), items=[far, image, height], message="m", author="a")
    return str(folder / "catalog")


class TestTheDemo:
    def test_a_band_of_one_item_among_many(self, demo, examples):
        found = open_pin(demo, "rocky-mountain").to_xarray(["red"])
        assert list(found.data_vars) == ["red"]
        with rasterio.open(examples / "imagery" / "red.tif") as raster:
            np.testing.assert_array_equal(found.red.values[0], raster.read(1))

    def test_as_its_users_write_it(self, demo):
        found = open_pin(demo, "rocky-mountain").to_xarray(bands=["red"], resolution=0.001, chunks={})
        assert found.sizes["time"] == 1
        assert found.red.chunks is not None

    def test_all_rasters_of_all_items(self, demo):
        pin = open_pin(demo, "rocky-mountain")
        found = pin.to_xarray(resolution=0.01)
        assert sorted(found.data_vars) == ["blue", "dem", "green", "red"]
        assert found.sizes["time"] == 1
        assert (found.dem.dtype, found.red.dtype) == (np.uint16, np.uint8)

    def test_the_extent_is_that_of_what_was_asked_for(self, demo, examples):
        found = open_pin(demo, "rocky-mountain").to_xarray("elevation")
        (path,) = (examples / "dem").glob("*.tif")
        with rasterio.open(path) as raster:
            wanted = raster.read(1)
        np.testing.assert_array_equal(found.elevation.values[0], wanted)

    def test_what_can_be_loaded_is_listed(self, demo):
        with pytest.raises(InvalidInput, match="'boundary'") as caught:
            open_pin(demo, "rocky-mountain").to_xarray(["boundary"])
        assert "dem, elevation, blue, green, red" in (caught.value.hint or "")

    def test_labels_alone_are_no_array(self, demo):
        with pytest.raises(InvalidInput, match="None of the 1 items has a raster"):
            open_pin(demo, "rocky-mountain").to_xarray(ids=["rmnp-boundary"])


class TestBandsOfOneAsset:
    def values(self, found) -> dict[str, int]:
        return {str(name): int(found[name].max()) for name in found.data_vars}

    @pytest.mark.parametrize(
        ("asked", "wanted"),
        [
            (["red", "nir"], {"red": 1, "nir": 4}),
            (["naip"], {"red": 1, "green": 2, "blue": 3, "nir": 4}),
            ("naip.3", {"naip.3": 3}),
            (["naip.blue", "blue"], {"naip.blue": 3, "blue": 3}),
            (["nir", "dsm"], {"nir": 4, "dsm": 9}),
            (None, {"red": 1, "green": 2, "blue": 3, "nir": 4, "dsm": 9}),
        ],
    )
    def test_names(self, naip, asked, wanted):
        found = open_pin(naip, "naip").to_xarray(asked)
        assert self.values(found) == wanted
        assert found.sizes["time"] == 1
        assert (found.sizes["y"], found.sizes["x"]) == (16, 16)  # the notes far away add nothing

    def test_resampling_goes_by_the_same_names(self, naip):
        found = open_pin(naip, "naip").to_xarray(["nir"], resampling={"nir": "bilinear"}, resolution=2, chunks={})
        assert int(found.nir.max()) == 4

    def test_an_unknown_name_lists_the_bands(self, naip):
        with pytest.raises(InvalidInput, match="'swir'") as caught:
            open_pin(naip, "naip").to_xarray(["swir"])
        assert "naip, red, green, blue, nir, dsm, height" in (caught.value.hint or "")

    def test_a_band_that_the_asset_has_not(self, naip):
        with pytest.raises(InvalidInput, match=r"'naip\.5'"):
            open_pin(naip, "naip").to_xarray(["naip.5"])

    def test_a_driver_of_the_user_s_own(self, naip):
        found = open_pin(naip, "naip").to_xarray(["naip.4"], ids=["m-image"], driver="rio")
        assert int(found["naip.4"].max()) == 4


class TestChoosing:
    def test_an_asset_s_key_goes_before_a_band_s_name(self):
        one = Loadable("i", {"red": (("B4",),), "all": rgbn("red", "nir")})
        assert choose([one], ["red", "nir", "B4"]) == {"red": ("red", 1), "nir": ("all", 2), "B4": ("red", 1)}

    def test_the_asset_with_fewer_bands_is_meant(self):
        one = Loadable("i", {"a": rgbn("x", "nir", "y"), "b": rgbn("nir", "x")})
        assert choose([one], ["nir"]) == {"nir": ("b", 1)}

    def test_names_that_two_assets_share_get_the_asset_s(self):
        one = Loadable("i", {"a": rgbn("red", "nir"), "b": rgbn("red", "nir", "swir")})
        assert choose([one], None) == {
            "red": ("a", 1),
            "nir": ("a", 2),
            "b.1": ("b", 1),
            "b.2": ("b", 2),
            "swir": ("b", 3),
        }

    def test_bands_without_names_get_numbers(self):
        assert choose([Loadable("i", {"a": ((), ())})], ["a"]) == {"a.1": ("a", 1), "a.2": ("a", 2)}

    @pytest.mark.parametrize(
        ("one", "other", "asked"),
        [
            ({"naip": rgbn("red", "nir")}, {"naip": rgbn("nir", "red")}, "red"),
            ({"naip": rgbn("red", "nir")}, {"other": rgbn("red")}, "red"),
            ({"naip": rgbn("red", "nir")}, {"naip": ((), ())}, "red"),
            ({"naip": rgbn("red", "nir", "x")}, {"naip": rgbn("red", "nir")}, "naip.3"),
            ({"naip": rgbn("red", "nir", "x")}, {"naip": rgbn("red", "nir")}, "naip"),
        ],
    )
    def test_a_name_that_means_two_things_is_refused(self, one, other, asked):
        with pytest.raises(InvalidInput, match=asked) as caught:
            choose([Loadable("i", one), Loadable("j", other)], [asked])
        assert "apart" in (caught.value.hint or "")

    def test_bands_in_another_order_keep_their_numbers(self):
        two = [Loadable("i", {"a": rgbn("red", "nir")}), Loadable("j", {"a": rgbn("nir", "red")})]
        assert choose(two, ["a"]) == {"a.1": ("a", 1), "a.2": ("a", 2)}
