"""The plain GeoTIFF that a COG is made of: what the content digest covers and nothing else, resampled if asked for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader, DatasetWriter
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.warp import aligned_target, calculate_default_transform
from rasterio.windows import Window

from catalog.crs_identity import crs_identity
from catalog.raster_digest import canonical_pixels
from catalog.rasters import MIB, Raster, raster_errors
from versioning.errors import InvalidInput, StorageUnavailable

__all__ = ["ResamplingName", "Warp", "check_resampling", "pixel_bytes", "plan_warp", "write_stage"]

ResamplingName = Literal["nearest", "bilinear", "cubic", "cubic_spline", "lanczos", "average", "mode", "rms"]

_TILE = 512
_PIECE_BYTES = 16 * MIB
_WARP_MEGABYTES = 64
# In pixels. GDAL's default of 0.125 makes pixels depend on the windows that are read; 0 fails in rasterio 1.4.4
# ("pfnTransformer is NULL"); this costs 250 ns a pixel, 9 times the default.
_TOLERANCE = 1e-6


def check_resampling(name: str) -> None:
    """Refuse what is no `ResamplingName`."""
    if name not in get_args(ResamplingName):
        raise InvalidInput(f"unknown resampling {name!r}.", hint=f"Use one of {', '.join(get_args(ResamplingName))}.")


def pixel_bytes(dataset: DatasetReader) -> int:
    """Bytes of one pixel over all bands."""
    return sum(8 if t == "complex_int16" else np.dtype(t).itemsize for t in dataset.dtypes)


@dataclass(frozen=True, slots=True)
class Warp:
    """A planned resampling: where to, how, and what of it is lineage."""

    crs: CRS
    transform: Affine
    width: int
    height: int
    resampling: str
    lineage: dict[str, Any]


def plan_warp(
    raster: Raster,
    content: dict[str, Any],
    wanted: CRS | None,
    resolution: float | tuple[float, float] | None,
    resampling: str,
) -> Warp | None:
    """The resampling that is needed, or None if the raster already lies in the wanted CRS and resolution.

    Raises
    ------
    InvalidInput
        For a resolution that is no pixel size, for 64-bit integers (the warper computes in doubles), and for a raster
        that does not reach the target CRS.
    """
    dataset = raster.dataset
    sizes = _sizes(raster.path, resolution)
    own = raster.crs or (CRS.from_epsg(4326) if dataset.rpcs else None)
    if own is None:
        return None
    target = wanted or own
    # ground control points and RPCs become a geotransform only where a CRS or a resolution asks for one
    placed = content["gcps"] is None and content["rpcs"] is None
    same_crs = wanted is None or (placed and crs_identity(wanted) == crs_identity(own))
    if same_crs and (sizes is None or (placed and sizes == _native(dataset))):
        return None
    if any(dtype in {"int64", "uint64"} for dtype in dataset.dtypes):
        raise InvalidInput(
            f"{raster.path}: 64-bit integers cannot be resampled exactly.",
            hint="Convert them to int32 or float64 first, or keep the raster's own CRS and resolution.",
        )
    if raster.declared and not placed:
        raise InvalidInput(f"{raster.path}: only the file's own CRS can place GCPs or RPCs.", hint="Leave `crs` out.")
    try:
        transform, width, height = _grid(dataset, own, target, sizes)
    except (RasterioError, CPLE_BaseError, ValueError) as error:
        raise InvalidInput(
            f"{raster.path} does not reach the target CRS: {error}.", hint="Choose another one."
        ) from error
    if not (0 < width <= 1_000_000 and 0 < height <= 1_000_000):  # noqa: PLR2004 - as RasterLimits.max_side
        raise InvalidInput(f"{raster.path} would become {height} x {width} pixels.", hint="Choose another resolution.")
    parameters = {
        "target_crs": crs_identity(target),
        "resolution": list(sizes) if sizes else None,
        "resampling": resampling,
        "tolerance": _TOLERANCE,
    }
    grid = {"transform": list(transform.to_gdal()), "shape": [height, width]}
    return Warp(target, transform, width, height, resampling, {"step": "warp", "parameters": parameters, "grid": grid})


def _sizes(path: Path, resolution: float | tuple[float, float] | None) -> tuple[float, float] | None:
    if resolution is None:
        return None
    x, y = resolution if isinstance(resolution, tuple) else (resolution, resolution)
    if not (np.isfinite(x) and np.isfinite(y) and x > 0 and y > 0):
        raise InvalidInput(f"{path}: the resolution {resolution} is no pixel size.", hint="Give a positive number.")
    return float(x), float(y)


def _native(dataset: DatasetReader) -> tuple[float, float] | None:
    transform = dataset.transform
    upright = transform.b == 0 and transform.d == 0 and transform.a > 0 and transform.e < 0
    return (transform.a, -transform.e) if upright else None


def _grid(dataset: DatasetReader, own: CRS, target: CRS, sizes: tuple[float, float] | None) -> tuple[Affine, int, int]:
    points, _ = dataset.gcps
    place: dict[str, Any] = {"gcps": points} if points else {"rpcs": dataset.rpcs} if dataset.rpcs else {}
    if not place:
        t = dataset.transform
        ends = [(column, row) for column in (0, dataset.width) for row in (0, dataset.height)]
        corners = [(t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f) for x, y in ends]
        xs, ys = zip(*corners, strict=True)
        place = dict(zip(("left", "bottom", "right", "top"), (min(xs), min(ys), max(xs), max(ys)), strict=True))
    size = (dataset.width, dataset.height)
    with warnings.catch_warnings():
        # rasterio 1.4.4 multiplies with `*`, which affine 3 announces to retire
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        transform, width, height = calculate_default_transform(own, target, *size, **place, resolution=sizes)
    if sizes:
        transform, width, height = aligned_target(transform, width, height, sizes)
    return transform, int(width or 0), int(height or 0)


def write_stage(raster: Raster, content: dict[str, Any], stage: Path, warp: Warp | None) -> dict[str, Any] | None:
    """Write the stage; give the content that it must have, or None where resampling decides that.

    Raises
    ------
    InvalidInput
        If a GeoTIFF cannot hold the raster: bands of several dtypes, several nodata values, masks of single bands, a
        colour table on another band than the only one.
    StorageUnavailable
        If the stage cannot be written.
    """
    _check_storable(raster, content)
    if warp is None:
        _copy(raster, content, stage, raster.dataset)
        return content
    if content["mask"] is not None and (content["nodata"][0] is not None or content["alpha"]):
        # the warper heeds one of them only
        raise InvalidInput(
            f"{raster.path} has a mask beside nodata or alpha, and cannot be resampled with both.",
            hint="Keep one of them: write nodata where the mask says so, or drop the nodata value.",
        )
    with raster_errors(raster.path, raster.files[0]):
        vrt = WarpedVRT(
            raster.dataset,
            src_crs=raster.crs,
            crs=warp.crs,
            transform=warp.transform,
            width=warp.width,
            height=warp.height,
            resampling=Resampling[warp.resampling],
            tolerance=_TOLERANCE,
            warp_mem_limit=_WARP_MEGABYTES,
            add_alpha=_masked(content, warp),
        )
    with vrt:
        _copy(raster, content | {"gcps": None, "rpcs": None}, stage, vrt, warp)
    return None


def _check_storable(raster: Raster, content: dict[str, Any]) -> None:
    reasons = {
        "its bands have different dtypes": len(set(content["dtype"])) > 1,
        "its bands have different nodata values": len(set(content["nodata"])) > 1,
        "single bands of it have masks of their own": isinstance(content["mask"], list),
        "it has several bands and a colour table": len(content["colours"]) > 1 and any(content["colours"]),
    }
    for reason, holds in reasons.items():
        if holds:
            raise InvalidInput(f"{raster.path} fits no GeoTIFF: {reason}.", hint="Split its bands into files.")


def _copy(
    raster: Raster, content: dict[str, Any], stage: Path, source: DatasetReader | WarpedVRT, warp: Warp | None = None
) -> None:
    masked = _masked(content, warp)
    with _written(stage), rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"), _create(raster, content, stage, warp) as out:
        for window in _pieces(out):
            with raster_errors(raster.path, raster.files[0]):
                values = source.read(indexes=list(raster.dataset.indexes), window=window)
                mask = _read_mask(source, window, warp) if masked else None
            shape, dtype = values.shape, values.dtype
            out.write(canonical_pixels(values, out.dtypes[0]).view(dtype).reshape(shape), window=window)
            if mask is not None:
                out.write_mask(mask != 0, window=window)


def _masked(content: dict[str, Any], warp: Warp | None) -> bool:
    """Whether the stage gets a mask: pixels outside the source need a mark where no nodata or alpha gives one."""
    if warp is None:
        return content["mask"] is not None
    return content["nodata"][0] is None and not content["alpha"]


def _read_mask(source: DatasetReader | WarpedVRT, window: Window, warp: Warp | None) -> np.ndarray:
    # GDAL takes an alpha band for the others' mask only in rasters of two or four bands, so it is read by number
    return source.read_masks(1, window=window) if warp is None else source.read(source.count, window=window)


def _create(raster: Raster, content: dict[str, Any], stage: Path, warp: Warp | None) -> DatasetWriter:
    bands, height, width = content["shape"]
    dtype = content["dtype"][0]
    place = {"crs": warp.crs, "transform": warp.transform} if warp else _place(raster, content)
    with warnings.catch_warnings():
        # GCPs and RPCs place a raster too
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        out = rasterio.open(
            stage,
            "w",
            **place,
            driver="GTiff",
            count=bands,
            height=warp.height if warp else height,
            width=warp.width if warp else width,
            dtype=dtype,
            nodata=_nodata(content["nodata"][0], dtype),
            tiled=True,
            blockxsize=_TILE,
            blockysize=_TILE,
            interleave="band",
            bigtiff="YES",
            # GDAL takes three bytes a pixel for RGB and four for RGBA if it is not told
            photometric="MINISBLACK",
            alpha="NO",
        )
    if content["colours"][0] is not None:
        out.write_colormap(1, dict(enumerate(map(tuple, content["colours"][0]))) or {0: (0, 0, 0, 255)})
    elif content["alpha"]:
        meanings = [ColorInterp.gray] + [ColorInterp.undefined] * (bands - 1)
        for band in content["alpha"]:
            meanings[band - 1] = ColorInterp.alpha
        out.colorinterp = meanings
    # left unset where they say nothing, or GDAL writes them all the same
    if set(raster.dataset.scales) != {1.0} or set(raster.dataset.offsets) != {0.0}:
        out.scales, out.offsets = raster.dataset.scales, raster.dataset.offsets
    return out


def _place(raster: Raster, content: dict[str, Any]) -> dict[str, Any]:
    if content["gcps"] is not None:
        return {"gcps": raster.dataset.gcps[0], "crs": _by_code(content["gcps"]["crs"], raster.crs)}
    place: dict[str, Any] = {"crs": _by_code(content["crs"], raster.crs)} if raster.crs else {}
    if not raster.dataset.transform.is_identity:
        place["transform"] = raster.dataset.transform
    return place | ({} if content["rpcs"] is None else {"rpcs": raster.dataset.rpcs})


def _by_code(identity: str | dict[str, Any] | None, crs: CRS | None) -> CRS | None:
    # by its code, so that another spelling of the same CRS gives the same bytes
    return CRS.from_user_input(identity) if isinstance(identity, str) else crs


def _nodata(text: str | None, dtype: str) -> float | None:
    if text is None:
        return None
    if np.dtype("complex64" if dtype == "complex_int16" else dtype).kind in "iu":
        return int(text)
    return float(text) if text in {"nan", "inf", "-inf"} else float.fromhex(text)


def _pieces(out: DatasetWriter) -> Iterator[Window]:
    """Windows of whole tiles, of some 16 MiB over all bands where a tile allows it."""
    columns = max(1, _PIECE_BYTES // (_TILE * _TILE * pixel_bytes(out))) * _TILE
    for row in range(0, out.height, _TILE):
        for column in range(0, out.width, columns):
            size = (min(columns, out.width - column), min(_TILE, out.height - row))
            yield Window(column, row, *size)  # type: ignore[reportCallIssue]  # an attrs class without types


@contextmanager
def _written(stage: Path) -> Iterator[None]:
    try:
        yield
    except (RasterioError, CPLE_BaseError, OSError) as error:
        raise StorageUnavailable(f"{stage.parent.parent}: cannot write there: {error}.", hint="Disk full?") from error
