"""What the tests of pictures share: a catalog of small rasters of each kind, and the pixels of an answer."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from api.pictures.mercator import WORLD
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
