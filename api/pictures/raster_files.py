"""Rasters of the catalog, opened for drawing: GeoTIFF objects and nothing else, on any store.

A file of the catalog is trusted no more than a foreign one: the driver is GeoTIFF's whatever the bytes are, what the
file claims to be is checked (`catalog.rasters`), no file beside it is looked for, and no address is opened. On a local
store GDAL reads the file; on any other it is given blocks of it, as many as one picture may take.
"""

from __future__ import annotations

import io
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from catalog.rasters import GDAL_OPTIONS, RasterLimits, check_claims
from versioning.errors import Integrity, InvalidInput, NotFound, StacpinError
from versioning.store import Store

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

__all__ = ["is_raster", "open_stored"]

MIB = 1024 * 1024
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_RASTERS = "r1:"
_BLOCK = 256 * 1024
_BLOCKS = 64
_MOST_FETCHED = 256 * MIB
_OPTIONS: dict[str, Any] = {
    **GDAL_OPTIONS,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_GEOREF_SOURCES": "INTERNAL",
}


def is_raster(asset: Mapping[str, Any]) -> bool:
    """Whether an asset is a raster that is an object of the catalog."""
    return str(asset.get("pin:digest", "")).startswith(_RASTERS) and str(asset.get("href", "")).startswith("objects/")


@contextmanager
def open_stored(
    store: Store, asset: Mapping[str, Any], *, limits: RasterLimits | None = None
) -> Iterator[DatasetReader]:
    """Open a raster asset that `is_raster`; errors of GDAL inside the ``with`` block are translated too.

    Parameters
    ----------
    store
        The catalog's store.
    asset
        A stored asset.
    limits
        What the file may claim to be; the defaults of `catalog.rasters` otherwise.

    Raises
    ------
    InvalidInput
        If it is no GeoTIFF, claims to be too large, is damaged, or needs more bytes than a picture may take.
    Integrity
        If the object is missing, or has another size than the asset says.
    StorageUnavailable
        If the store does not answer.
    """
    import rasterio
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    href, size = str(asset["href"]), int(asset["file:size"])
    name = href.rpartition("/")[2]
    source = _Source(store, href, size)
    if not source.block(0).startswith(_TIFF):
        raise InvalidInput(f"{name} is no GeoTIFF.", hint="Only GeoTIFFs are drawn.", kind="not-drawable")
    local = store.local_root
    given: Any = f"{uuid.uuid4().hex}/{name}" if local is None else local / href
    options: dict[str, Any] = {"opener": source.open} if local is None else {}
    try:
        with rasterio.Env(**_OPTIONS):
            # Rasters that are placed by control points are told of as if they had no place.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(given, driver="GTiff", sharing=False, **options) as dataset:
                check_claims(Path(name), dataset, size, limits or RasterLimits())
                yield dataset
    except (RasterioError, CPLE_BaseError) as error:
        if source.failure is not None:
            raise source.failure from error
        reason = str(error.__cause__ or error).replace(str(given), name).strip().rstrip(".")
        raise InvalidInput(
            f"{name} cannot be drawn: {reason[-300:]}.", hint="Check it: stacpin verify.", kind="not-drawable"
        ) from error


class _Source:
    """The blocks of one object, the last used in memory, with a limit on what is fetched."""

    def __init__(self, store: Store, href: str, size: int) -> None:
        self.store, self.href, self.size = store, href, size
        self.fetched = 0
        # GDAL keeps an error of its reads to itself and says only that it could not read.
        self.failure: StacpinError | None = None
        self._blocks: LRUCache[int, bytes] = LRUCache(_BLOCKS)
        found = store.size(href)
        if found is None:
            raise Integrity(f"{href} is missing.", hint="Run stacpin verify.", kind="missing")
        if found != size:
            raise Integrity(
                f"{href} has {found:,} bytes instead of {size:,}.", hint="Run stacpin verify.", kind="altered"
            )

    def block(self, number: int) -> bytes:
        """One block; shorter at the end."""
        found = self._blocks.get(number)
        if found is None:
            start = number * _BLOCK
            length = min(_BLOCK, self.size - start)
            self.fetched += length
            try:
                if self.fetched > _MOST_FETCHED:
                    raise InvalidInput(
                        f"{self.href.rpartition('/')[2]} takes more than {_MOST_FETCHED:,} bytes for one picture.",
                        hint="Store it as a COG with overviews.",
                        kind="too-large",
                    )
                found = self.store.get_range(self.href, start, length)
                if len(found) != length:
                    raise Integrity(f"{self.href} became shorter while it was read.", kind="truncated")
            except NotFound as error:
                self.failure = Integrity(f"{self.href} is missing.", hint="Run stacpin verify.", kind="missing")
                raise self.failure from error
            except StacpinError as error:
                self.failure = error
                raise
            self._blocks[number] = found
        return found

    def open(self, path: str, mode: str = "rb", **_: Any) -> _File:
        """What rasterio calls for a file: this one, or none, whatever GDAL looks for beside it."""
        if mode not in {"r", "rb"} or path.rpartition("/")[2] != self.href.rpartition("/")[2]:
            raise FileNotFoundError(path)
        return _File(self)


class _File(io.RawIOBase):
    """A file over the blocks, as rasterio's opener gives it to GDAL."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        self._at = max(0, begin + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._source.size if size < 0 else min(self._source.size, self._at + size)
        parts = []
        while self._at < end:
            number, within = divmod(self._at, _BLOCK)
            part = self._source.block(number)[within : within + end - self._at]
            parts.append(part)
            self._at += len(part)
        return b"".join(parts)
