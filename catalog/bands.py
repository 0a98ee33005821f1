"""STAC 1.1 bands of a raster: what its file says of them and what is declared for them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from catalog.rasters import Raster, RasterLimits, open_raster
from versioning.errors import InvalidInput

__all__ = ["band_fields", "hoisted", "own_bands", "said_of_bands", "source_bands"]

_DATA_TYPES = {
    "complex_int16": "cint16",
    "complex_int32": "cint32",
    "complex64": "cfloat32",
    "complex128": "cfloat64",
}
# Enumerated by eo 2.0.0; https://github.com/stac-extensions/eo#common-band-names
_COMMON_NAMES = frozenset(
    [
        *("pan", "coastal", "blue", "green", "green05", "yellow", "red", "rededge", "rededge071", "rededge075"),
        *("rededge078", "nir", "nir08", "nir09", "cirrus", "swir16", "swir22", "lwir", "lwir11", "lwir12"),
    ]
)
_SHARED = ("data_type", "nodata", "unit", "raster:scale", "raster:offset")


def source_bands(path: Path, *, crs: str | None = None, limits: RasterLimits | None = None) -> list[dict[str, Any]]:
    """What a source raster says of its bands beyond their values: see `said_of_bands`."""
    with open_raster(path, crs=crs, limits=limits) as raster:
        return said_of_bands(own_bands(raster))


def own_bands(raster: Raster) -> list[dict[str, Any]]:
    """What an opened raster says of each band: description, data type, nodata, unit, scale, offset, as STAC names them.

    What the file does not say is missing.
    """
    texts = raster.dataset.descriptions
    described = [{"description": text} if text else {} for text in texts]
    return [_values(raster, index) | text for index, text in zip(raster.dataset.indexes, described, strict=True)]


def said_of_bands(own: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What of `own_bands` a COG that ingest wrote no longer has, for the ``extra["bands"]`` of `raster_asset`.

    For each band ``name`` (if all have one and no two the same, else ``description``) and ``unit``; empty where the
    file says nothing.
    """
    texts = [band.get("description", "") for band in own]
    key = "name" if all(texts) and len(set(texts)) == len(texts) else "description"
    found = [{key: text, "unit": band.get("unit")} for text, band in zip(texts, own, strict=True)]
    return [{name: value for name, value in band.items() if value} for band in found]


def band_fields(
    path: Path, own: Sequence[Mapping[str, Any]], names: Sequence[str] | None, extra: object
) -> list[dict[str, Any]]:
    """STAC's band objects of a raster: what it says of them (`own_bands`), their names, and what ``extra`` adds.

    Raises
    ------
    InvalidInput
        If names or ``extra`` are not as many as the bands.
    """
    declared = [{} for _ in own] if extra is None else extra
    for what, values in (("band names", names), ("bands", declared)):
        if values is not None and (not isinstance(values, Sequence) or len(values) != len(own)):
            found = len(values) if isinstance(values, Sequence) else f"{values!r} as"
            raise InvalidInput(
                f"{path} has {len(own)} bands, but {found} {what} are declared.",
                hint="Declare one for each band, in their order.",
            )
    texts = [band.get("description", "") for band in own]
    if not all(texts) or len(set(texts)) != len(texts):
        texts = [f"b{number}" for number in range(1, len(own) + 1)]
    bands = []
    for at, more in enumerate(declared):  # type: ignore[reportArgumentType]
        values = {key: value for key, value in own[at].items() if key != "description"}
        band = values | {"name": names[at] if names else texts[at]} | dict(more)
        if names:
            band["name"] = names[at]
        if str(band["name"]).lower() in _COMMON_NAMES:
            band.setdefault("eo:common_name", str(band["name"]).lower())
        bands.append(band)
    return bands


def _values(raster: Raster, index: int) -> dict[str, Any]:
    dataset = raster.dataset
    dtype = dataset.dtypes[index - 1]
    fields: dict[str, Any] = {"data_type": _DATA_TYPES.get(dtype, dtype)}
    nodata = _nodata(dataset.nodatavals[index - 1], dtype)
    if nodata is not None:
        fields["nodata"] = nodata
    if dataset.units[index - 1]:
        fields["unit"] = dataset.units[index - 1]
    if dataset.scales[index - 1] != 1:
        fields["raster:scale"] = float(dataset.scales[index - 1])
    if dataset.offsets[index - 1] != 0:
        fields["raster:offset"] = float(dataset.offsets[index - 1])
    return fields


def _nodata(value: float | None, dtype: str) -> int | float | str | None:
    """Nodata as JSON has it; none where no pixel can have the value, as in the content digest."""
    import numpy as np

    if value is None:
        return None
    kind = np.dtype("int16" if dtype == "complex_int16" else dtype)
    if kind.kind in "iu":
        bounds = np.iinfo(kind)
        if not math.isfinite(value) or value != int(value) or not int(bounds.min) <= int(value) <= int(bounds.max):
            return None
        return int(value)
    real = np.dtype(f"f{kind.itemsize // 2}") if kind.kind == "c" else kind
    with np.errstate(over="ignore"):
        rounded = float(real.type(value))
    if math.isinf(rounded) and not math.isinf(value):
        return None
    return rounded if math.isfinite(rounded) else str(rounded)


def hoisted(bands: list[dict[str, Any]]) -> dict[str, Any]:
    """The ``bands`` member, and beside it, said once, what all of them share (as STAC 1.1 advises).

    For 13 bands of one type that halves the size.
    """
    shared = {key: bands[0][key] for key in _SHARED if key in bands[0]}
    shared = {key: value for key, value in shared.items() if all(key in b and b[key] == value for b in bands)}
    return shared | {"bands": [{key: value for key, value in b.items() if key not in shared} for b in bands]}
