"""Any raster becomes a cloud-optimised GeoTIFF: the same content and profile always give the same bytes.

The way: the source is copied block by block into a plain staging GeoTIFF that holds only what the content digest covers
(so tags, band descriptions, units and colour interpretation other than palette and alpha stay behind: they belong into
the item), GDAL's COG driver makes the COG of that, rio-cogeo validates it, and its content digest must equal the
source's. One exception to "equal digests, equal bytes": a CRS without an authority code keeps the names it came with.

rio-cogeo's own ``cog_translate`` does not write the file: it passes every raster through a warper, in which (measured,
rio-cogeo 7.0.4) int64 values of 2^60 lose their last bits and all 210 ground control points of a Sentinel-1 scene are
dropped. Its profiles and its validation are used.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.shutil import copy as gdal_copy

from catalog.crs_identity import parse_crs
from catalog.raster_digest import content_digest, raster_content
from catalog.rasters import GDAL_OPTIONS, MIB, Raster, RasterLimits, open_raster
from ingest.cog_stage import ResamplingName, check_resampling, pixel_bytes, plan_warp, write_stage
from versioning.errors import Integrity, InvalidInput, StorageUnavailable

__all__ = ["CogProfile", "CogResult", "is_wanted", "to_cog"]

_LEVELS: dict[str, range | None] = {"deflate": range(1, 10), "zstd": range(1, 23), "lzw": None}
_REFUSED = {
    "lerc": "its bytes differ from run to run even for equal pixels",
    "lerc_deflate": "its bytes differ from run to run even for equal pixels",
    "lerc_zstd": "its bytes differ from run to run even for equal pixels",
    "jpeg": "it is lossy, and pixels must survive",
    "webp": "it is lossy unless told otherwise, and pixels must survive",
    "jxl": "it is lossy unless told otherwise, and pixels must survive",
}
# a pixel-interleaved tile holds all bands: 500 float32 bands at 512 x 512 would be 524 MB in one block
_MAX_TILE_BYTES = 64 * MIB
_PREDICTORS = {"no": "1", "standard": "2", "floating_point": "3"}
# what passed the limits once may come out as one constant, that is as very few bytes
_OWN_FILES = RasterLimits(free_bytes=2**62, max_block_bytes=2**40)


@dataclass(frozen=True, slots=True)
class CogProfile:
    """How a COG is written. Only lossless compressions whose bytes are the same in every run.

    Attributes
    ----------
    compress : {"deflate", "zstd", "lzw"}
        The compression.
    level : int, optional
        1 to 9 for deflate, 1 to 22 for zstd; GDAL's default otherwise.
    predictor : {"no", "standard", "floating_point"}
        The predictor; the standard one is for integers.
    blocksize : int
        Tile side in pixels, a multiple of 16 from 128 to 4096; halved where a tile of all bands would exceed 64 MiB.
    overview_resampling : str
        For the overviews, which halve the raster until both sides fit one tile. Rasters with a colour table always use
        ``nearest`` unless this is ``mode``: the average of two class codes is a third class.
    """

    compress: str = "deflate"
    level: int | None = None
    predictor: Literal["no", "standard", "floating_point"] = "no"
    blocksize: int = 512
    overview_resampling: ResamplingName = "nearest"

    def __post_init__(self) -> None:
        lossless = "Use deflate, zstd or lzw."
        if self.compress in _REFUSED:
            raise InvalidInput(f"compression {self.compress} is refused: {_REFUSED[self.compress]}.", hint=lossless)
        if self.compress not in _LEVELS:
            raise InvalidInput(f"unknown compression {self.compress!r}.", hint=lossless)
        levels = _LEVELS[self.compress]
        if self.level is not None and (levels is None or self.level not in levels):
            allowed = f"{levels.start} to {levels.stop - 1}" if levels else "none"
            raise InvalidInput(f"compression level {self.level} of {self.compress}.", hint=f"Allowed: {allowed}.")
        if self.predictor not in {"no", "standard", "floating_point"}:
            raise InvalidInput(f"unknown predictor {self.predictor!r}.", hint="Use no, standard or floating_point.")
        if self.blocksize % 16 or not 128 <= self.blocksize <= 4096:  # noqa: PLR2004 - stated in the docstring
            raise InvalidInput(f"block size {self.blocksize}.", hint="A multiple of 16 from 128 to 4096.")
        check_resampling(self.overview_resampling)

    def tile_side(self, dataset: DatasetReader) -> int:
        """The block size for this raster: as asked for, or smaller where its tiles would be too large to decode."""
        side = self.blocksize
        while side * side * pixel_bytes(dataset) > _MAX_TILE_BYTES and side % 32 == 0 and side > 128:  # noqa: PLR2004 - stated above
            side //= 2
        return side

    def creation_options(self, dataset: DatasetReader) -> dict[str, str]:
        """The options for GDAL's COG driver."""
        resampling = self.overview_resampling
        if resampling != "mode" and any(meaning.name == "palette" for meaning in dataset.colorinterp):
            resampling = "nearest"
        options = {
            "COMPRESS": self.compress.upper(),
            "PREDICTOR": self.predictor.upper(),
            "BLOCKSIZE": str(self.tile_side(dataset)),
            "OVERVIEWS": "IGNORE_EXISTING",
            "OVERVIEW_RESAMPLING": resampling.replace("_", "").upper(),
            "BIGTIFF": "IF_SAFER",
            "ADD_ALPHA": "NO",
        }
        return options if self.level is None else options | {"LEVEL": str(self.level)}


@dataclass(frozen=True, slots=True)
class CogResult:
    """What `to_cog` made.

    Attributes
    ----------
    path : Path
        The COG: always the target.
    kept : bool
        Whether the source already was the wanted COG, so that the target has the source's own bytes.
    source_digest, digest : str
        Content digests (``r1:``) of source and COG; equal unless warped.
    warped : bool
        Whether pixels were resampled.
    lineage : dict
        Empty unless warped. ``step`` is ``warp``; ``parameters`` is what was asked for (``target_crs``, ``resolution``,
        ``resampling``, ``tolerance``), the part to compute ``pin:source`` from, since it does not depend on the
        version of PROJ; ``grid`` is what came out of it (``transform`` in GDAL's order, ``shape`` as rows, columns).
    """

    path: Path
    kept: bool
    source_digest: str
    digest: str
    warped: bool
    lineage: dict[str, Any] = field(default_factory=dict)


def to_cog(
    source: Path,
    target: Path,
    *,
    profile: CogProfile | None = None,
    crs: str | None = None,
    target_crs: str | None = None,
    resolution: float | tuple[float, float] | None = None,
    resampling: ResamplingName = "nearest",
) -> CogResult:
    """Write a raster as a COG, in the wanted CRS.

    Parameters
    ----------
    source : Path
        A raster that `catalog.rasters` reads.
    target : Path
        The file to write; it appears whole or not at all, and replaces what was there.
    profile : CogProfile, optional
        How to write it.
    crs : str, optional
        The CRS of a source that has none.
    target_crs : str, optional
        The CRS wanted; pixels are resampled only if it differs from the source's.
    resolution : float or (float, float), optional
        Pixel size wanted, in units of the target CRS; if given, a resampled grid is aligned to multiples of it.
    resampling : str
        The warp's resampling.

    Returns
    -------
    CogResult
        Paths, digests and lineage.

    Raises
    ------
    InvalidInput
        If the source is refused (`catalog.rasters.open_raster`) or cannot be stored in a GeoTIFF without loss.
    StorageUnavailable
        If the target cannot be written.
    Integrity
        If what was written is not what was to be written.
    """
    profile = profile or CogProfile()
    check_resampling(resampling)
    wanted = parse_crs(target_crs, what="the target CRS") if target_crs is not None else None
    source, target = Path(source), Path(target)
    with open_raster(source, crs=crs) as raster, _workspace(target) as folder:
        before = _state(raster)
        content = raster_content(raster)
        source_digest = digest = content_digest(content)
        warp = plan_warp(raster, content, wanted, resolution, resampling)
        final = folder / "cog.tif"
        kept = warp is None and is_wanted(raster, profile)
        if kept:
            shutil.copyfile(raster.files[0], final)
        else:
            stage = folder / "stage.tif"
            expected = write_stage(raster, content, stage, warp)
            digest = _write_cog(source, stage, final, profile, expected)
        if _state(raster) != before:
            raise StorageUnavailable(f"{source} changed while it was read.", hint="Try again.")
        final.replace(target)
    return CogResult(target, kept, source_digest, digest, warp is not None, warp.lineage if warp else {})


def _state(raster: Raster) -> list[tuple[int, int]]:
    return [(status.st_size, status.st_mtime_ns) for status in (file.stat() for file in raster.files)]


@contextmanager
def _workspace(target: Path) -> Iterator[Path]:
    """A folder beside the target, so that the last step is a rename; gone afterwards, whatever happens."""
    try:
        with tempfile.TemporaryDirectory(prefix=".stacpin-", dir=target.absolute().parent) as folder:
            yield Path(folder)
    except OSError as error:
        raise StorageUnavailable(
            f"{target} cannot be written: {error.strerror or error}.", hint="Try again."
        ) from error


def is_wanted(raster: Raster, profile: CogProfile) -> bool:
    """Whether a raster already is the COG that the profile would make, as far as its structure shows.

    Such a file is kept as it is, unless it has to be resampled.
    """
    dataset = raster.dataset
    if dataset.driver != "GTiff" or raster.declared or raster.files[1:]:
        return False
    structure = dataset.tags(ns="IMAGE_STRUCTURE")
    blocksize = profile.tile_side(dataset)
    if structure.get("COMPRESSION", "NONE").lower() != profile.compress:
        return False
    if structure.get("PREDICTOR", "1") != _PREDICTORS[profile.predictor]:
        return False
    if {tuple(shape) for shape in dataset.block_shapes} != {(blocksize, blocksize)}:
        return False
    if structure.get("LAYOUT") == "COG" and max(dataset.shape) <= blocksize:
        # A single tile without overviews, of which GDAL says that its COG driver laid it out so and that nothing has
        # changed it since: nothing is left that could be out of order. To validate it takes another opening, 1.4 ms.
        return not dataset.overviews(1)
    valid, _, _ = _validate(raster.files[0], strict=True)
    return valid


def _validate(path: Path, *, strict: bool) -> tuple[bool, list[str], list[str]]:
    """What rio-cogeo says of a file; importing it takes 0.2 s, which tiles as GDAL writes them do not need."""
    from rio_cogeo.cogeo import cog_validate

    return cog_validate(path, strict=strict, quiet=True, config=GDAL_OPTIONS)


def _write_cog(source: Path, stage: Path, final: Path, profile: CogProfile, expected: dict[str, Any] | None) -> str:
    """Make the COG of a stage, prove it, and give its content digest."""
    with open_raster(stage, limits=_OWN_FILES) as staged:
        options = profile.creation_options(staged.dataset)
        try:
            gdal_copy(staged.dataset, str(final), driver="COG", **options)
        except (RasterioError, CPLE_BaseError) as error:
            raise StorageUnavailable(
                f"the COG of {source} could not be written: {error}.", hint="Disk full?"
            ) from error
        expected = expected or raster_content(staged)
    stage.unlink()
    valid, errors, _ = _validate(final, strict=False)
    if not valid:
        raise Integrity(f"the COG of {source} is not valid: {'; '.join(errors)}.", hint="Please report this.")
    with open_raster(final, limits=_OWN_FILES) as written:
        content = raster_content(written)
    differs = [key for key in expected if content[key] != expected[key]]
    if differs == ["pixels"] or "shape" in differs:
        raise Integrity(f"the COG of {source} has other {', '.join(differs)} than it.", hint="Please report this.")
    if differs:
        raise InvalidInput(
            f"{source} cannot be stored as a GeoTIFF without loss: {', '.join(differs)} would differ.",
            hint="Give it values that GeoTIFF has, e.g. with gdal_translate, or another CRS by `target_crs`.",
        )
    return content_digest(content)
