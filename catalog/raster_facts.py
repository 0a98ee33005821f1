"""What items say of a raster beside its pixels, read in one opening: its bands, its place, its media type.

Whoever has a raster open to read its pixels can read these too, and hand them on: to open a tile of 150 KB takes 1 ms,
to read this of it 0.5 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import shapely
from shapely.geometry.base import BaseGeometry

from catalog.bands import own_bands
from catalog.footprints import raster_footprint
from catalog.media_types import COG, GEOTIFF, media_type_of

if TYPE_CHECKING:
    from catalog.rasters import Raster

__all__ = ["RasterFacts", "raster_facts"]


@dataclass(frozen=True, slots=True)
class RasterFacts:
    """What a raster says of itself.

    Attributes
    ----------
    path
        The file, for errors.
    media_type
        Of the file, validated where it says that it is a COG.
    bands
        What the file says of each band, see `catalog.bands.own_bands`.
    projection
        The projection extension's fields.
    footprint
        Where it lies, in EPSG:4326 and on the grid of `catalog.footprints`.
    """

    path: Path
    media_type: str
    bands: list[dict[str, Any]]
    projection: dict[str, Any]
    footprint: BaseGeometry

    def to_json(self) -> bytes:
        """As bytes, which take a fifth of the memory, and less time on the way between processes."""
        footprint = shapely.to_wkb(self.footprint, hex=True)
        return orjson.dumps([self.media_type, self.bands, self.projection, footprint])

    @classmethod
    def from_json(cls, path: Path, data: bytes) -> RasterFacts:
        """What `to_json` gave of a file."""
        media_type, bands, projection, footprint = orjson.loads(data)
        return cls(path, media_type, bands, projection, shapely.from_wkb(footprint))


def raster_facts(raster: Raster, *, cog: bool = False) -> RasterFacts:
    """Read the facts of an opened raster.

    ``cog`` says that the caller has just validated it as a COG, which is another opening otherwise.

    Raises
    ------
    InvalidInput
        If no part of the raster is on Earth.
    """
    media_type = COG if cog else _media_type(raster)
    return RasterFacts(raster.path, media_type, own_bands(raster), _projection(raster), raster_footprint(raster))


def _media_type(raster: Raster) -> str:
    if raster.dataset.driver != "GTiff":
        return media_type_of(raster.path)
    from rio_cogeo.cogeo import cog_validate

    # rio-stac's get_media_type says GeoTIFF of every COG
    valid, _, _ = cog_validate(raster.files[0], quiet=True)
    return COG if valid else GEOTIFF


def _projection(raster: Raster) -> dict[str, Any]:
    """Projection 2.0, the CRS by its verified code.

    Not by rio-stac: it gives WKT 1 as ``wkt2``, believes EPSG codes unchecked, and imports pystac, 0.15 s.
    """
    dataset = raster.dataset
    fields = _crs_fields(raster) | {"proj:shape": [dataset.height, dataset.width]}
    transform = dataset.transform
    if not transform.is_identity:
        fields["proj:transform"] = [float(value) for value in tuple(transform)[:6]]
        fields["proj:bbox"] = [float(value) for value in dataset.bounds]
    return fields


def _crs_fields(raster: Raster) -> dict[str, Any]:
    if raster.crs is None:  # placed by RPCs alone
        return {"proj:code": None}
    if isinstance(raster.identity, str):
        return {"proj:code": raster.identity}
    return {"proj:code": None, "proj:wkt2": raster.crs.to_wkt(version="WKT2_2019")}
