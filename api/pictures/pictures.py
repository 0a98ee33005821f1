"""Draws a plan: bands are stretched, shaded or coloured, and encoded, by rio-tiler and titiler.

Missing pixels are transparent, in JPEG white. A stretch is taken from one small view of the whole raster, whatever part
is drawn, so that tiles fit together.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from cachetools import LRUCache

from api.pictures.drawing import load_libraries
from api.pictures.mercator import Tile
from api.pictures.plan import Plan
from api.pictures.raster_files import open_stored
from api.pictures.reading import TILE, View, has_palette, read_bands, read_sample
from versioning.errors import InvalidInput
from versioning.store import Store

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rio_tiler.models import ImageData

__all__ = ["Format", "Pictures"]

Format = Literal["png", "jpeg", "webp"]

_PERCENTILES = (2, 98)
_REMEMBERED = 4_096
_MARGIN = 3  # what titiler's hill shade cuts off
_DEGREE = 111_320.0  # metres, of latitude
_LEAST, _MOST_STEEP = 1e-6, 1e6
_WHITE = 255

Range = tuple[float, float]
Colours = dict[int, tuple[int, int, int, int]]


class Pictures:
    """Draws the rasters of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # By checksum and band: a file never changes.
        self._ranges: LRUCache[tuple[str, int], Range] = LRUCache(_REMEMBERED)
        self._lock = Lock()

    def preview(self, item: Mapping[str, Any], plan: Plan, *, max_size: int, form: Format) -> bytes:
        """All of an item's raster, in at most so many pixels a side and in the raster's own CRS.

        Raises
        ------
        InvalidInput, Integrity, StorageUnavailable
            As `api.pictures.raster_files.open_stored` and `api.pictures.reading.read_bands`.
        """
        return self._draw(item, plan, View(max_size), form)

    def tile(self, item: Mapping[str, Any], plan: Plan, tile: Tile) -> bytes:
        """One tile in EPSG:3857 as PNG, transparent where the raster is not; errors as in `preview`."""
        return self._draw(item, plan, View(tile=tile, margin=_MARGIN if plan.relief else 0), "png")

    def _draw(self, item: Mapping[str, Any], plan: Plan, view: View, form: Format) -> bytes:
        with ExitStack() as stack:
            stack.enter_context(_translated())
            opened: dict[str, DatasetReader] = {}
            for band in plan.bands:
                if band.key not in opened:
                    opened[band.key] = stack.enter_context(open_stored(self._store, item["assets"][band.key]))
            image = read_bands(opened, plan, view)
            if image is None:
                return _nothing()
            if plan.relief:
                return _encoded(_shaded(image, view), form)
            colours = _own_colours(opened[plan.bands[0].key], plan)
            if colours is None:
                image = _stretched(image, plan.rescale or self._ranges_of(item, opened, plan))
                colours = _named_colours(plan)
            return _encoded(image if colours is None else image.apply_colormap(colours), form)

    def _ranges_of(self, item: Mapping[str, Any], opened: Mapping[str, DatasetReader], plan: Plan) -> list[Range]:
        """The values that become black and white: three bands of bytes are colours as they are."""
        if len(plan.bands) > 1 and all(opened[band.key].dtypes[band.number - 1] == "uint8" for band in plan.bands):
            return [(0, _WHITE)] * len(plan.bands)
        found = []
        for band in plan.bands:
            name = (str(item["assets"][band.key]["file:checksum"]), band.number)
            with self._lock:
                known = self._ranges.get(name)
            if known is None:
                known = _range(read_sample(opened[band.key], band.number))
                with self._lock:
                    self._ranges[name] = known
            found.append(known)
        return found


def _range(image: ImageData) -> Range:
    """The values between which 96 % of the pixels lie."""
    import numpy as np

    values = image.array.compressed().astype("float64")
    if not values.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, _PERCENTILES))
    if low == high:  # nearly all of one value
        low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (low - 1, high + 1)


def _stretched(image: ImageData, ranges: Sequence[Range]) -> ImageData:
    import numpy as np

    data = image.array
    made = np.empty(data.shape, dtype="uint8")
    for place, (low, high) in enumerate(ranges):
        share = (data.data[place].astype("float64") - low) / (high - low)
        made[place] = np.rint(share.clip(0, 1) * _WHITE)
    image.array = np.ma.MaskedArray(made, np.ma.getmaskarray(data))
    return image


def _shaded(image: ImageData, view: View) -> ImageData:
    """Heights as relief with light from the north-west, as maps have it, whatever the size of pixels."""
    import numpy as np
    from titiler.core.algorithm.dem import HillShade

    mask = np.ma.getmaskarray(image.array)
    steepness = min(max(1 / _metres(image, view), _LEAST), _MOST_STEEP)
    heights = image.array.data.astype("float64")
    if view.margin:
        mask = mask[:, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    else:
        heights = np.pad(heights, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)), mode="edge")
    image.array = np.ma.MaskedArray(heights)
    shade = HillShade(azimuth=45, angle_altitude=45.0, z_exaggeration=steepness, buffer=_MARGIN)
    shaded = shade(image)
    # titiler puts what lies in the shade at 128 and level ground at 217, which is pale: here they are at 0 and 180.
    light = (shaded.array.data.astype("int16") * 2 - _WHITE).clip(0, _WHITE).astype("uint8")
    shaded.array = np.ma.MaskedArray(light, mask)
    return shaded


def _metres(image: ImageData, view: View) -> float:
    """The side of a pixel of the picture in metres."""
    if view.tile is not None:
        _, south, _, north = view.tile.area(0)
        return view.tile.side / TILE * math.cos(math.radians((south + north) / 2))
    assert image.bounds is not None
    _, south, _, north = image.bounds
    side = abs(north - south) / image.height
    if not image.crs:
        return side or 1
    if image.crs.is_geographic:
        return side * _DEGREE
    _, metres = image.crs.linear_units_factor
    return side * metres or 1


def _own_colours(dataset: DatasetReader, plan: Plan) -> Colours | None:
    """Colours by value: of the item's classes, else of the file's own table; None for numbers that are measured."""
    if plan.classes:
        return dict(plan.classes)
    band, *others = plan.bands
    if others or plan.rescale or plan.colormap_name or not has_palette(dataset):
        return None
    try:
        return dataset.colormap(band.number)
    except ValueError:  # another band of the file has the table
        return None


def _named_colours(plan: Plan) -> Any:
    if plan.colormap_name is None:
        return None
    from rio_tiler.colormap import cmap

    return cmap.get(plan.colormap_name)


def _encoded(image: ImageData, form: Format) -> bytes:
    import numpy as np

    if form == "jpeg":
        mask = np.ma.getmaskarray(image.array)
        image.array = np.ma.MaskedArray(np.where(mask, _WHITE, image.array.data).astype("uint8"), mask)
    return image.render(img_format=form.upper())


def _nothing() -> bytes:
    """A transparent tile: for rasters no other answer for "empty" is understood by all maps."""
    import numpy as np
    from rio_tiler.utils import render

    empty = np.zeros((1, TILE, TILE), dtype="uint8")
    return render(empty, mask=empty[0], img_format="PNG")


@contextmanager
def _translated() -> Iterator[None]:
    """rio-tiler's errors as ours, without what it and rasterio say of rasters that were accepted."""
    load_libraries()
    from rasterio.errors import NotGeoreferencedWarning
    from rio_tiler.errors import NoOverviewWarning, RioTilerError

    # Not by `catch_warnings`, which undoes what other threads set. Setting the same again changes nothing.
    for category in (NotGeoreferencedWarning, NoOverviewWarning):
        warnings.simplefilter("ignore", category)
    try:
        yield
    except RioTilerError as error:
        raise InvalidInput(f"This cannot be drawn: {str(error)[:200]}.", kind="not-drawable") from error
