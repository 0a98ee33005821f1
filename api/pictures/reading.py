"""Reads bands of opened rasters for a picture: from the overview that fits, all on one grid, missing pixels masked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from api.pictures.mercator import HIGHEST_LATITUDE, Tile
from api.pictures.plan import Plan
from versioning.errors import InvalidInput

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rio_tiler.models import ImageData

__all__ = ["TILE", "View", "has_palette", "read_bands", "read_sample"]

TILE = 256
"""Pixels of a tile's side."""

_SAMPLE = 512
# Of one file for one picture. A raster with overviews takes some four times the pixels that are drawn.
_MOST_DECODED = 256 * 1024 * 1024
_TURN = 360.0

Resampling = Literal["nearest", "average"]


@dataclass(frozen=True, slots=True)
class View:
    """What of a raster is drawn: all of it in at most ``max_size`` pixels a side, or a tile with a margin in pixels."""

    max_size: int = TILE
    tile: Tile | None = None
    margin: int = 0


def has_palette(dataset: DatasetReader) -> bool:
    """Whether the file has a colour table, so that its values are codes."""
    return "palette" in {meaning.name for meaning in dataset.colorinterp}


def read_bands(opened: Mapping[str, DatasetReader], plan: Plan, view: View) -> ImageData | None:
    """The bands of a plan as one image; None if the tile is beside a raster.

    Raises
    ------
    InvalidInput
        If the bands are on different grids, or a raster takes too much to read or cannot be placed.
    """
    if view.tile is None and len({_grid(dataset) for dataset in opened.values()}) > 1:
        raise InvalidInput("These bands are on different grids.", hint="Choose bands of one asset, or ask for tiles.")
    images: dict[str, ImageData] = {}
    for key, dataset in opened.items():
        # Of codes no mean may be taken.
        codes = bool(plan.classes) or has_palette(dataset)
        image = _read(dataset, _numbers(plan, key), view, "nearest" if codes else "average")
        if image is None:
            return None
        images[key] = image
    return next(iter(images.values())) if len(images) == 1 else _together(images, plan)


def read_sample(dataset: DatasetReader, number: int) -> ImageData:
    """A small view of one band, pixels as they are: for statistics."""
    image = _read(dataset, [number], View(_SAMPLE), "nearest")
    assert image is not None  # only tiles can be beside a raster
    return image


def _grid(dataset: DatasetReader) -> tuple[object, ...]:
    return dataset.width, dataset.height, tuple(dataset.transform), str(dataset.crs)


def _numbers(plan: Plan, key: str) -> list[int]:
    return [band.number for band in plan.bands if band.key == key]


def _read(dataset: DatasetReader, numbers: list[int], view: View, resampling: Resampling) -> ImageData | None:
    from rio_tiler.errors import TileOutsideBounds
    from rio_tiler.io import Reader

    _check(dataset, len(numbers), view)
    with Reader(input=None, dataset=dataset, options={}) as reader:
        if view.tile is None:
            image = reader.preview(indexes=numbers, max_size=view.max_size, resampling_method=resampling)
            if dataset.transform.e > 0 and not dataset.gcps[0]:  # its rows go northwards
                image.array = image.array[:, ::-1]
            return _masked(image)
        try:
            image = reader.tile(
                view.tile.x,
                view.tile.y,
                view.tile.z,
                tilesize=TILE,
                indexes=numbers,
                buffer=view.margin or None,
                reproject_method="nearest" if resampling == "nearest" else "bilinear",
            )
        except TileOutsideBounds:
            return None
    return _masked(image)


def _check(dataset: DatasetReader, bands: int, view: View) -> None:
    """Refuse what cannot be drawn, and what takes too much memory or time, before a pixel is read."""
    import numpy as np

    if any(kind.startswith("complex") for kind in dataset.dtypes):
        raise InvalidInput("Complex numbers are not drawn.", hint="Derive an amplitude.", kind="not-drawable")
    if view.tile is not None and not dataset.crs and not dataset.gcps[0]:
        raise InvalidInput("This raster has no CRS to draw tiles in.", hint="See its preview.", kind="not-drawable")
    columns, rows, share = _shown(dataset, view)
    factor = max((factor for factor in dataset.overviews(1) if factor <= share), default=1)
    together = dataset.interleaving is not None and dataset.interleaving.name == "pixel"
    size = max(np.dtype(kind).itemsize for kind in dataset.dtypes) * (dataset.count if together else bands)
    if columns / factor * rows / factor * size > _MOST_DECODED:
        raise InvalidInput(
            f"{columns:.0f} x {rows:.0f} pixels would have to be decoded: no overview is small enough.",
            hint="Store it as a COG with overviews, as stacpin ingest does.",
            kind="too-large",
        )


def _shown(dataset: DatasetReader, view: View) -> tuple[float, float, float]:
    """About how many columns and rows of a raster are shown, and how many of them go into a pixel of the picture."""
    from rasterio.warp import transform_bounds

    if view.tile is None:
        return dataset.width, dataset.height, max(dataset.width, dataset.height) / view.max_size
    if dataset.gcps[0]:  # its own bounds are those of its pixels
        return dataset.width, dataset.height, 1
    west, south, east, north = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
    east += _TURN if east < west else 0
    left, low, right, high = view.tile.area(0)
    across, along = max(east - west, 1e-12), max(_up(north) - _up(south), 1e-12)
    columns = dataset.width * min(1.0, (right - left) / across)
    rows = dataset.height * min(1.0, (_up(high) - _up(low)) / along)
    share = max(dataset.width / across * (right - left), dataset.height / along * (_up(high) - _up(low))) / TILE
    return columns, rows, share


def _up(latitude: float) -> float:
    """How far north of the equator a latitude is on the map, in radians of its scale."""
    inside = max(-HIGHEST_LATITUDE, min(HIGHEST_LATITUDE, latitude))
    return math.asinh(math.tan(math.radians(inside)))


def _masked(image: ImageData) -> ImageData:
    """The image with what is no number masked too, and nothing behind its mask that arithmetic would trip over."""
    import numpy as np

    data = image.array
    mask = np.ma.getmaskarray(data) if image.alpha_mask is None else image.alpha_mask[np.newaxis] == 0
    # A pixel is drawn whole or not at all.
    mask = np.broadcast_to((mask | ~np.isfinite(data.data)).any(axis=0), data.shape)
    seen = data.data[~mask]
    usual = np.median(seen) if seen.size else 0
    filled = np.where(mask, np.array(usual).astype(data.dtype), data.data)
    image.array = np.ma.MaskedArray(filled, mask)
    image.alpha_mask = None
    return image


def _together(images: Mapping[str, ImageData], plan: Plan) -> ImageData:
    """Bands of several rasters, in the order of the plan."""
    import numpy as np

    layers = [images[band.key].array[_numbers(plan, band.key).index(band.number)] for band in plan.bands]
    mask = np.logical_or.reduce([np.ma.getmaskarray(layer) for layer in layers])
    data = np.stack([layer.data for layer in layers])
    image = next(iter(images.values()))
    image.array = np.ma.MaskedArray(data, np.broadcast_to(mask, data.shape))
    return image
