"""The one way to open a raster that came from outside.

What GDAL would do by itself with a foreign file is narrowed down here:

- **One driver**, chosen by the file's first bytes, never by its name: GeoTIFF, VRT (see `catalog.vrt_guard`), Arc/Info
  ASCII grid, XYZ, GRIB, JPEG 2000, Erdas Imagine, ENVI, DTED, classic netCDF. HDF5, and with it netCDF-4, is refused:
  its datasets can lie in any file of the machine.
- **No network, no Python, no raw bands** inside VRTs; a block cache of 64 MiB.
- **Sizes** are checked before a pixel is read (`RasterLimits`).
- **Sidecars.** ``.aux.xml`` and world files are never read: a file beside the raster cannot move it, recolour it, or
  give it another CRS or nodata. ``.msk`` (the mask that GDAL writes beside a file) is data and is read; ``.ovr`` may
  lie there; both must be TIFF files, or the raster is refused. ENVI's ``.hdr`` and the ASCII grid's ``.prj`` are part
  of their formats. Every file that takes part is in ``Raster.files`` and lies in the raster's folder: whoever
  remembers a digest must go by the bytes of all of them.
- **A CRS is needed**: the file's own, that of its ground control points, or the declared one. RPCs imply WGS 84.
- **GDAL's errors** come out as `InvalidInput` that names the file.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog.crs_identity import crs_identity, is_engineering, parse_crs
from catalog.vrt_guard import SafeVrt, read_vrt
from versioning.errors import InvalidInput, NotFound, StacpinError, StorageUnavailable

if TYPE_CHECKING:
    from rasterio.crs import CRS
    from rasterio.io import DatasetReader

__all__ = ["GDAL_OPTIONS", "Raster", "RasterLimits", "check_claims", "open_raster", "raster_errors"]

MIB = 1024 * 1024

GDAL_OPTIONS: dict[str, Any] = {
    "GDAL_CACHEMAX": 64 * MIB,
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "GDAL_VRT_ENABLE_RAWRASTERBAND": "NO",
    "VRT_ALLOW_MEM_DRIVER": "NO",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".no-network",
    "CPL_CURL_ENABLE_VSIMEM": "NO",
    "GDAL_HTTP_MAX_RETRY": "0",
    "OGR_ENABLE_PARTIAL_REPROJECTION": "NO",
}

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"II*\0", "GTiff"),
    (b"MM\0*", "GTiff"),
    (b"II+\0", "GTiff"),
    (b"MM\0+", "GTiff"),
    (b"\0\0\0\x0cjP  ", "JP2OpenJPEG"),
    (b"\xff\x4f\xff\x51", "JP2OpenJPEG"),
    (b"EHFA_HEADER_TAG", "HFA"),
    (b"CDF\x01", "netCDF"),
    (b"CDF\x02", "netCDF"),
    (b"CDF\x05", "netCDF"),
    (b"GRIB", "GRIB"),
    (b"UHL1", "DTED"),
    (b"HDR1", "DTED"),
    (b"VOL1", "DTED"),
)
_HDF5 = b"\x89HDF\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ASCII_GRID = re.compile(
    rb"\A\s*(ncols|nrows|xllcorner|xllcenter|yllcorner|yllcenter|cellsize|dx|dy)\s+[-+0-9.]", re.IGNORECASE
)
_XYZ_NUMBER = rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
_XYZ = re.compile(
    rb'\A("?[xX]"?[\s,;]+"?[yY]"?[^\n]*\n)?\s*' + rb"[\s,;]+".join([_XYZ_NUMBER] * 2) + rb"[\s,;]+([-+.\d]|[nN]a)"
)
_FORMATS = "GeoTIFF, VRT, Arc/Info ASCII grid, XYZ, GRIB, JPEG 2000, Erdas Imagine, ENVI, DTED and classic netCDF"
_HEAD = 4096


@dataclass(frozen=True, slots=True)
class RasterLimits:
    """What a raster may claim to be.

    Attributes
    ----------
    max_side : int
        Pixels in a row or rows in a band.
    max_bands : int
        Bands.
    max_block_bytes : int
        Decoded bytes of one block (tile or strip), which GDAL must hold in memory at once.
    free_bytes : int
        Decoded bytes that any file may claim, whatever its size.
    max_expansion : int
        Above that, decoded bytes for each byte on disk. Deflate reaches 1,032 : 1, zstd about 10,000 : 1 on constant
        tiles; 100,000 x 100,000 sparse bytes are 16,400 : 1 of the bare tile index.
    """

    max_side: int = 1_000_000
    max_bands: int = 10_000
    max_block_bytes: int = 256 * MIB
    free_bytes: int = 1024 * MIB
    max_expansion: int = 10_000


@dataclass(frozen=True, slots=True)
class Raster:
    """An opened raster.

    Attributes
    ----------
    path : Path
        As it was named by the caller.
    dataset : rasterio.io.DatasetReader
        For reading; its own ``crs`` is None where the CRS was declared.
    crs : rasterio.crs.CRS or None
        The CRS of the geotransform or of the ground control points; None only for rasters placed by RPCs.
    identity : str, dict or None
        Its identity, see `catalog.crs_identity`.
    declared : bool
        Whether ``crs`` was declared by the caller because the file has none.
    files : tuple of Path
        Every file that takes part, the raster itself first.
    """

    path: Path
    dataset: DatasetReader
    crs: CRS | None
    identity: str | dict[str, Any] | None
    declared: bool
    files: tuple[Path, ...]


@contextmanager
def open_raster(path: Path, *, crs: str | None = None, limits: RasterLimits | None = None) -> Iterator[Raster]:
    """Open a foreign raster safely; errors of GDAL inside the ``with`` block are translated too.

    Parameters
    ----------
    path : Path
        A local file.
    crs : str, optional
        The CRS of a file that has none. Contradicting the file's own is an error.
    limits : RasterLimits, optional
        What the file may claim to be.

    Yields
    ------
    Raster
        The dataset, in read mode, with the CRS that holds for it. Not to be shared between threads.

    Raises
    ------
    NotFound
        If there is no such file.
    InvalidInput
        If the file is not a raster of a known format, is damaged, is too large, has no CRS or no georeferencing, or
        refers to what it must not.
    StorageUnavailable
        If the operating system cannot read the file.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    path = Path(path)
    limits = limits or RasterLimits()
    real, head = _peek(path)
    declared = parse_crs(crs, what=f"the declared CRS of {path.name},") if crs is not None else None
    try:
        driver = _driver(path, real, head)
        vrt = read_vrt(real) if driver == "VRT" else None
        options: dict[str, Any] = GDAL_OPTIONS | _sidecars(path, driver, (real, *(vrt.sources if vrt else ())))
    except OSError as error:
        raise StorageUnavailable(f"{path}: {error}.", hint="Check that its files can be read.") from error
    with rasterio.Env(**options), raster_errors(path, real):
        with warnings.catch_warnings():
            # refused below, with a hint
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = _open(real, driver, vrt)
        with dataset:
            files = _files(path, real, dataset, vrt)
            check_claims(path, dataset, sum(file.stat().st_size for file in files), limits)
            own = _checked_crs(path, dataset, declared)
            used = own or declared
            identity = None if used is None else crs_identity(used)
            yield Raster(path, dataset, used, identity, own is None and declared is not None, files)


@contextmanager
def raster_errors(path: Path, real: Path | None = None) -> Iterator[None]:
    """Translate what rasterio and GDAL raise while reading ``path``.

    Raises
    ------
    InvalidInput
        For what the file's content is to blame for.
    StorageUnavailable
        If the file has meanwhile gone or changed its size, or the operating system reports an error.
    """
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError

    real = real or path
    size = real.stat().st_size
    try:
        yield
    except StacpinError:
        raise
    except (RasterioError, CPLE_BaseError) as error:
        try:
            now: int | None = real.stat().st_size
        except OSError:
            now = None
        if now != size:
            raise StorageUnavailable(f"{path} changed while it was read.", hint="Try again.") from error
        reason = str(error.__cause__ or error).replace(str(real), path.name).strip().rstrip(".")
        raise InvalidInput(
            f"{path}: not readable: {reason[:300]}.", hint="The file is damaged or incomplete: fetch it again."
        ) from error
    except OSError as error:
        if error.filename is None or Path(error.filename) != real:
            raise  # another file's, from the caller's own block
        raise StorageUnavailable(f"{path}: {error.strerror or error}.", hint="Try again.") from error


def _peek(path: Path) -> tuple[Path, bytes]:
    try:
        real = path.resolve(strict=True)
        if real.is_dir():
            raise InvalidInput(f"{path} is a folder.", hint="Name a raster file.")
        if not real.is_file():
            raise InvalidInput(f"{path} is not a regular file.", hint="Name a raster file.")
        with real.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist.", hint="Check the path.") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise StorageUnavailable(f"{path}: {error}.", hint="Check that the file can be read.") from error
    if str(real).startswith("/vsi"):
        raise InvalidInput(f"{path} is a virtual path of GDAL.", hint="Name a local file.")
    return real, head


def _driver(path: Path, real: Path, head: bytes) -> str:
    for magic, driver in _MAGIC:
        if head.startswith(magic):
            return driver
    if _HDF5 in head:
        # tried with GDAL 3.10: a netCDF-4 file with an external dataset gave the bytes of a foreign file as its pixels
        raise InvalidInput(
            f"{path} is HDF5 (as netCDF-4 is), which may name any file of this machine as its pixels.",
            hint="Convert it to GeoTIFF, or to classic netCDF with `nccopy -k classic`.",
        )
    text = head.removeprefix(b"\xef\xbb\xbf")
    if re.match(rb"\s*(<\?xml[^>]*\?>\s*)?(<!--|<!DOCTYPE\s+VRTDataset|<VRTDataset)", text):
        return "VRT"
    if _ASCII_GRID.match(text):
        return "AAIGrid"
    for header in (real.with_suffix(".hdr"), real.with_name(f"{real.name}.hdr")):
        if header != real and header.is_file():
            with header.open("rb") as file:
                if file.read(4) == b"ENVI":
                    return "ENVI"
    if b"GRIB" in head[:1024]:
        return "GRIB"
    if _XYZ.match(text):
        return "XYZ"
    raise InvalidInput(
        f"{path} is not a raster: it is empty."
        if not head
        else f"{path} is not a raster: it begins with {head[:16]!r}.",
        hint=f"Readable formats: {_FORMATS}.",
    )


def _sidecars(path: Path, driver: str, rasters: tuple[Path, ...]) -> dict[str, str]:
    options: dict[str, str] = {}
    masked = False
    for raster in rasters:
        for suffix in (".msk", ".ovr", ".msk.ovr"):
            sidecar = raster.with_name(raster.name + suffix)
            if not sidecar.exists():
                continue
            # GDAL opens these with any driver, VRT and its URLs included
            with sidecar.open("rb") as file:
                if not file.read(4).startswith(_TIFF) or sidecar.resolve().parent != raster.parent:
                    raise InvalidInput(
                        f"{path}: its sidecar {sidecar.name} is not a TIFF file of the same folder.", hint="Remove it."
                    )
            masked = masked or suffix == ".msk"
    # Said either way: an option that is set around this one would hold within.
    looks_around = driver in {"ENVI", "AAIGrid"} or masked
    options["GDAL_DISABLE_READDIR_ON_OPEN"] = "FALSE" if looks_around else "EMPTY_DIR"
    if driver in {"GTiff", "VRT"}:
        options["GDAL_GEOREF_SOURCES"] = "INTERNAL"
    return options


def _open(real: Path, driver: str, vrt: SafeVrt | None) -> DatasetReader:
    import rasterio

    if vrt is not None:
        return rasterio.open(vrt.xml, driver="VRT", sharing=False)
    # GDAL would take a .idx beside a GRIB file at its word
    options = {"USE_IDX": "NO"} if driver == "GRIB" else {}
    return rasterio.open(real, driver=driver, sharing=False, **options)


def _files(path: Path, real: Path, dataset: DatasetReader, vrt: SafeVrt | None) -> tuple[Path, ...]:
    files = dict.fromkeys((real, *(vrt.sources if vrt else ())))
    for name in dataset.files:
        if name == str(real):
            continue
        file = Path(name).resolve()
        if not file.is_relative_to(real.parent):
            raise InvalidInput(f"{path} reads {name}, outside its folder.", hint="Rewrite it as one GeoTIFF.")
        files[file] = None
    return tuple(files)


def check_claims(path: Path, dataset: DatasetReader, on_disk: int, limits: RasterLimits) -> None:
    """Refuse a raster for what it claims to be, before a pixel is read; ``on_disk`` are the bytes of all its files.

    Raises
    ------
    InvalidInput
        If it has no bands, or more of anything than the limits.
    """
    import numpy as np

    if dataset.count == 0:
        names = ", ".join(name.rsplit(":", 1)[-1] for name in dataset.subdatasets[:10])
        raise InvalidInput(
            f"{path} holds several rasters and none by itself: {names or 'no bands'}.",
            hint="Extract the variable as a file of its own, e.g. with gdal_translate.",
        )
    shape = f"{dataset.count} x {dataset.height} x {dataset.width}"
    if max(dataset.width, dataset.height) > limits.max_side or dataset.count > limits.max_bands:
        raise InvalidInput(
            f"{path} claims to be {shape} (bands, rows, columns).",
            hint=f"At most {limits.max_bands} bands and {limits.max_side} rows or columns are read: cut it into tiles.",
        )
    items = [4 if t == "complex_int16" else np.dtype(t).itemsize for t in dataset.dtypes]
    decoded = dataset.width * dataset.height * sum(items)
    if decoded > max(limits.free_bytes, limits.max_expansion * on_disk):
        raise InvalidInput(
            f"{path} claims to be {shape}, {decoded} bytes of pixels in {on_disk} bytes on disk.",
            hint="A mostly empty raster can be cut to its data or into tiles.",
        )
    pixel_interleaved = dataset.count > 1 and dataset.interleaving is not None and dataset.interleaving.name == "pixel"
    block = max(prod(b) * i for b, i in zip(dataset.block_shapes, items, strict=True))
    block *= dataset.count if pixel_interleaved else 1
    if block > limits.max_block_bytes:
        raise InvalidInput(
            f"{path} is stored in blocks of {block} bytes, which must be decoded at once.",
            hint=f"At most {limits.max_block_bytes}: re-save it with tiles (gdal_translate -co TILED=YES).",
        )


def _checked_crs(path: Path, dataset: DatasetReader, declared: CRS | None) -> CRS | None:
    """The file's own CRS, if it has one; refuses what cannot be placed on Earth."""
    points, points_crs = dataset.gcps
    own = dataset.crs or (points_crs if points else None)
    if own and is_engineering(own):
        own = None
    if dataset.transform.is_identity and not points and not dataset.rpcs:
        raise InvalidInput(
            f"{path} has no georeferencing: no geotransform, ground control points or RPCs of its own.",
            hint="World files and .aux.xml are not read: write it into the file, e.g. with gdal_translate.",
        )
    if own and declared and crs_identity(own) != crs_identity(declared):
        raise InvalidInput(
            f"{path} is in {_name(own)}, but {_name(declared)} was declared for it.",
            hint="A declared CRS is for files without one: leave it out, or ask for reprojection.",
        )
    if not own and not declared and not dataset.rpcs:
        raise InvalidInput(
            f"{path} has no CRS.",
            hint="If you know it, say so: `source_crs: EPSG:32618` in its layer of the recipe, or --crs EPSG:32618.",
        )
    return own


def _name(crs: CRS) -> str:
    identity = crs_identity(crs)
    return (
        identity if isinstance(identity, str) else str(crs.to_dict(projjson=True).get("name", "a CRS without a code"))
    )
