r"""The content digest of a raster, scheme ``r1:``: equal for equal content, however it is stored.

Definition
----------
``r1:`` + lower-case hex of ``sha256(b"stacpin raster 1\n" + J)``, where J is the canonical JSON (RFC 8785) of this
object. Every number that is not a small count is a string, so that no JSON library can change it.

``shape``
    ``[bands, rows, columns]``, integers.
``dtype``
    One name per band: ``uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 float32 float64 complex64
    complex128`` or ``complex_int16`` (GDAL's CInt16).
``nodata``
    Per band null or a string: for integer bands the decimal number, for the others ``nan``, ``inf``, ``-inf`` or the
    hexadecimal form that Python's ``float.hex`` prints, of the value rounded to the band's dtype (for complex bands
    that of the parts; float32 for complex_int16). A nodata value that no pixel of the band can have (out of range; a
    fraction or NaN in an integer band) is null. Zero is ``0`` or ``0x0.0p+0``, whatever its sign.
``scale``, ``offset``
    Per band, ``float.hex`` (``0x1.0000000000000p+0`` and ``0x0.0p+0`` where the file says nothing).
``colours``
    Per band null or a list of ``[red, green, blue, alpha]`` (0 to 255) from index 0 up. Alpha of the band's nodata
    index is 0 (a GeoTIFF has no other alpha, and GDAL puts it so); then trailing entries with red, green and blue 0
    are cut.
``alpha``
    The numbers (from 1) of the bands that are marked as alpha, ascending.
``mask``
    null, or the mask of the dataset, internal or in a ``.msk`` file: lower-case hex of the sha256 over one byte per
    pixel, 1 valid and 0 not, rows from the top, columns from the left. A mask in which every pixel is valid is null.
    Masks of single bands (rare: only VRT and ``.msk``): a list with one such value per band.
``gcps``
    null, or ``{"crs": identity or null, "points": [[row, column, x, y, z], …]}``, each number as ``float.hex``, in
    file order.
``rpcs``
    null, or a list of 92 ``float.hex`` strings: err_bias, err_rand (-1 if absent), line_off, samp_off, lat_off,
    long_off, height_off, line_scale, samp_scale, lat_scale, long_scale, height_scale, then the 20 coefficients each of
    line_num, line_den, samp_num, samp_den.
``crs``
    The identity that `catalog.crs_identity` defines (a string such as ``EPSG:32618``, or an object; the same as of
    vectors), of the file's CRS or else of the declared one; null if only GCPs or RPCs place the raster.
``transform``
    The geotransform as six ``float.hex`` strings, in GDAL's order: x origin, column's dx, row's dx, y origin, column's
    dy, row's dy. It is the one that GDAL gives, in which the origin is the outer corner of the first pixel also where
    a file says PixelIsPoint; -0.0 counts as 0.0.
``pixels``
    Lower-case hex of the sha256 over all pixels: rows from the top, in each row the bands in order, in each band the
    columns from the left; each value little-endian in its dtype, complex as real part then imaginary part
    (complex_int16 as two float32). Every NaN is the quiet one with no payload and no sign (``0x7e00``,
    ``0x7fc00000``, ``0x7ff8000000000000``), also in parts of complex values. -0.0 and 0.0 are different: both are bits
    that a lossless file keeps.

Not part of it: tags, band descriptions, units, category names, colour interpretation other than palette and alpha,
statistics, AREA_OR_POINT, NBITS, compression, predictor, tiling, interleaving, byte order, overviews, BigTIFF, layout,
file name.

Known limit: nodata of 64-bit integers is read as a double, as rasterio gives it, so beyond 2^53 it has a double's
precision.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rfc8785

from catalog.crs_identity import crs_identity
from catalog.rasters import MIB, Raster, open_raster, raster_errors

if TYPE_CHECKING:
    import numpy as np
    from rasterio.io import DatasetReader
    from rasterio.windows import Window

__all__ = ["RASTER_SCHEME", "canonical_pixels", "content_digest", "raster_content", "raster_digest", "raster_digest_of"]

RASTER_SCHEME = "r1:"
_PREFIX = b"stacpin raster 1\n"
# Below this much, strips end where blocks end, and every block is decoded once. Above (rows of blocks over 64 MiB)
# blocks are decoded again for every strip: slower, never larger.
_STRIP_BYTES = 64 * MIB
_READ_BYTES = 8 * MIB
_RPC_NUMBERS = [
    *("err_bias", "err_rand", "line_off", "samp_off", "lat_off", "long_off", "height_off"),
    *("line_scale", "samp_scale", "lat_scale", "long_scale", "height_scale"),
]
_RPC_COEFFICIENTS = ("line_num_coeff", "line_den_coeff", "samp_num_coeff", "samp_den_coeff")


def raster_digest(path: Path, *, crs: str | None = None) -> str:
    """The content digest of a raster file, streamed in strips.

    Memory does not grow with the file: at most 64 MiB of GDAL's block cache, 64 MiB of pixels and some 16 MiB beside
    them, unless single blocks of the file are larger (they are refused above `RasterLimits.max_block_bytes`).

    Parameters
    ----------
    path : Path
        A local raster file of any format that `catalog.rasters` reads.
    crs : str, optional
        The CRS of a file that has none.

    Returns
    -------
    str
        ``r1:`` and 64 hexadecimal digits.

    Raises
    ------
    NotFound, InvalidInput, StorageUnavailable
        As `catalog.rasters.open_raster`.
    """
    with open_raster(path, crs=crs) as raster:
        return raster_digest_of(raster)


def raster_digest_of(raster: Raster) -> str:
    """The content digest of an opened raster; see `raster_digest`."""
    return content_digest(raster_content(raster))


def content_digest(content: dict[str, Any]) -> str:
    """The digest of what `raster_content` gave."""
    return RASTER_SCHEME + hashlib.sha256(_PREFIX + rfc8785.dumps(content)).hexdigest()


def raster_content(raster: Raster) -> dict[str, Any]:
    """The object that the digest is taken of, as the module's docstring defines it.

    Two of these show *what* differs between two rasters. Reads every pixel.
    """
    dataset = raster.dataset
    with raster_errors(raster.path, raster.files[0]):
        points, _ = dataset.gcps
        placed = not dataset.transform.is_identity
        return {
            "shape": [dataset.count, dataset.height, dataset.width],
            "dtype": list(dataset.dtypes),
            "nodata": [_nodata(v, t) for v, t in zip(dataset.nodatavals, dataset.dtypes, strict=True)],
            "scale": [float(v).hex() for v in dataset.scales],
            "offset": [_hex(v) for v in dataset.offsets],
            "colours": [_colours(raster, band) for band in dataset.indexes],
            "alpha": _alpha_bands(raster),
            "mask": _mask(raster),
            "gcps": _gcps(raster),
            "rpcs": _rpcs(raster),
            "crs": raster.identity if raster.crs and (placed or not points) else None,
            "transform": [_hex(v) for v in dataset.transform.to_gdal()],
            "pixels": _pixels(raster),
        }


def _hex(value: float) -> str:
    return (float(value) + 0.0).hex()


def _nodata(value: float | None, dtype: str) -> str | None:
    import numpy as np

    if value is None:
        return None
    kind = np.dtype("int16" if dtype == "complex_int16" else dtype)
    if kind.kind in "iu":
        bounds = np.iinfo(kind)
        if not math.isfinite(value) or value != int(value) or not int(bounds.min) <= int(value) <= int(bounds.max):
            return None
        return str(int(value))
    if kind.kind == "c":
        kind = np.dtype(f"f{kind.itemsize // 2}")
    with np.errstate(over="ignore"):
        rounded = float(kind.type(value))
    if math.isinf(rounded) and not math.isinf(value):
        return None
    return _hex(rounded) if math.isfinite(rounded) else str(rounded)


def _colours(raster: Raster, band: int) -> list[list[int]] | None:
    try:
        table = raster.dataset.colormap(band)
    except ValueError:  # rasterio's word for "no colour table"
        return None
    entries = [list(table.get(index, (0, 0, 0, 255))) for index in range(max(table) + 1)] if table else []
    nodata = raster.dataset.nodatavals[band - 1]
    # A colour table is an index by whole numbers; GDAL gives one to float bands too, whose nodata may be anything.
    if nodata is not None and math.isfinite(nodata) and nodata.is_integer() and 0 <= nodata < len(entries):
        entries[int(nodata)][3] = 0
    while entries and entries[-1][:3] == [0, 0, 0]:
        entries.pop()
    return entries


def _alpha_bands(raster: Raster) -> list[int]:
    from rasterio.enums import ColorInterp

    pairs = zip(raster.dataset.indexes, raster.dataset.colorinterp, strict=True)
    return [band for band, meaning in pairs if meaning == ColorInterp.alpha]


def _gcps(raster: Raster) -> dict[str, Any] | None:
    points, crs = raster.dataset.gcps
    if not points:
        return None
    crs = crs or raster.crs
    return {
        "crs": crs_identity(crs) if crs else None,
        "points": [[_hex(v or 0.0) for v in (p.row, p.col, p.x, p.y, p.z)] for p in points],
    }


def _rpcs(raster: Raster) -> list[str] | None:
    rpcs = raster.dataset.rpcs
    if rpcs is None:
        return None
    values = [getattr(rpcs, name) for name in _RPC_NUMBERS]
    numbers = [-1.0 if value is None else value for value in values]
    return [_hex(v) for v in (*numbers, *(c for name in _RPC_COEFFICIENTS for c in getattr(rpcs, name)))]


def _windows(dataset: DatasetReader, row_bytes: int) -> Iterator[list[Window]]:
    """Strips in row order, each a list of windows side by side that are read one after the other."""
    from rasterio.windows import Window

    block_rows, block_columns = dataset.block_shapes[0]
    rows = min(max(1, _READ_BYTES // row_bytes), dataset.height)
    if rows > block_rows:
        rows -= rows % block_rows
    elif block_rows * row_bytes <= _STRIP_BYTES:
        rows = block_rows
    columns = max(1, _READ_BYTES * dataset.width // (rows * row_bytes))
    if columns > block_columns:
        columns -= columns % block_columns
    for row in range(0, dataset.height, rows):
        height = min(rows, dataset.height - row)
        starts = range(0, dataset.width, columns)
        # the stubs see an attrs class without types
        yield [Window(c, row, min(columns, dataset.width - c), height) for c in starts]  # type: ignore[reportCallIssue]


def canonical_pixels(values: np.ndarray, dtype: str) -> np.ndarray:
    """The values as the digest takes them: little-endian, contiguous, one NaN; complex ones as pairs of parts.

    Shares memory with ``values`` where nothing had to change.
    """
    import numpy as np

    kind = np.dtype("complex64" if dtype == "complex_int16" else dtype).newbyteorder("<")
    out = np.ascontiguousarray(values, dtype=kind)
    parts = out.view(f"<f{kind.itemsize // 2}") if kind.kind == "c" else out
    if parts.dtype.kind == "f":
        nans = np.isnan(parts)
        if nans.any():
            parts = parts.copy() if np.may_share_memory(parts, values) else parts
            # a literal NaN may carry a sign on some machines: its bits are set
            parts.view(f"<u{parts.itemsize}")[nans] = {2: 0x7E00, 4: 0x7FC00000, 8: 0x7FF8000000000000}[parts.itemsize]
    return parts


def _pixels(raster: Raster) -> str:
    import numpy as np

    dataset = raster.dataset
    digest = hashlib.sha256()
    kinds = [np.dtype("complex64" if t == "complex_int16" else t) for t in dataset.dtypes]
    for windows in _windows(dataset, dataset.width * sum(kind.itemsize for kind in kinds)):
        rows = int(windows[0].height)
        if len(set(kinds)) == 1:
            strip = np.empty((rows, dataset.count, dataset.width), dtype=kinds[0])
            for window in windows:
                columns = slice(window.col_off, window.col_off + window.width)
                strip[:, :, columns] = dataset.read(window=window).transpose(1, 0, 2)
            step = max(1, _READ_BYTES // strip[0].nbytes)
            for row in range(0, rows, step):
                digest.update(canonical_pixels(strip[row : row + step], dataset.dtypes[0]).data)
            continue
        bands = [np.empty((rows, dataset.width), dtype=kind) for kind in kinds]
        for window in windows:
            columns = slice(window.col_off, window.col_off + window.width)
            for index, band in enumerate(bands, start=1):
                band[:, columns] = dataset.read(index, window=window)
        for row in range(rows):
            for band, dtype in zip(bands, dataset.dtypes, strict=True):
                digest.update(canonical_pixels(band[row], dtype).data)
    return digest.hexdigest()


def _mask(raster: Raster) -> str | list[str | None] | None:
    from rasterio.enums import MaskFlags

    dataset = raster.dataset
    flags = [set(f) for f in dataset.mask_flag_enums]
    if all(f == {MaskFlags.per_dataset} for f in flags):
        return _mask_digest(raster, 1)
    if any(not f for f in flags):  # no flag at all is GDAL's way to say "a mask of this band alone"
        masks = [_mask_digest(raster, b) if not f else None for b, f in zip(dataset.indexes, flags, strict=True)]
        return masks if any(masks) else None
    return None


def _mask_digest(raster: Raster, band: int) -> str | None:
    import numpy as np

    digest = hashlib.sha256()
    everything = True
    dataset = raster.dataset
    for windows in _windows(dataset, dataset.width):
        strip = np.empty((int(windows[0].height), dataset.width), dtype=bool)
        for window in windows:
            columns = slice(window.col_off, window.col_off + window.width)
            strip[:, columns] = dataset.read_masks(band, window=window) != 0
        everything = everything and bool(strip.all())
        digest.update(strip.data)
    return None if everything else digest.hexdigest()
