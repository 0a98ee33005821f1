"""A pin as an xarray Dataset, through odc-stac, with GDAL settings that suit COGs in object stores."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loaders.pull import windowed
from loaders.source import PinSource
from versioning.errors import Integrity, InvalidInput
from versioning.rows import AssetRef, Row

if TYPE_CHECKING:
    import pystac
    import xarray

__all__ = ["GDAL_SETTINGS", "check_objects", "gdal_settings", "load"]

# Each megabyte of cache is held by every process that reads; GDAL's own default is 5 % of the machine's memory.
CACHE_MB = 256
_PEEKERS = 16
_TEXTS = frozenset([b"<", b"{", b"["])
_BOM = b"\xef\xbb\xbf"

GDAL_SETTINGS: Mapping[str, Any] = {
    "GDAL_CACHEMAX": CACHE_MB,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_INGESTED_BYTES_AT_OPEN": 32768,
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_VERSION": "2",
    "GDAL_HTTP_MAX_RETRY": 5,
    "GDAL_HTTP_RETRY_DELAY": 0.5,
    "VSI_CACHE": True,
}


def gdal_settings(url: str) -> dict[str, Any]:
    """The settings for reading from a catalog: what is in the environment already counts more."""
    settings = {key: value for key, value in GDAL_SETTINGS.items() if key not in os.environ}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if url.startswith(("s3://", "s3a://")) and endpoint:
        # GDAL has its own names for what other S3 clients read from AWS_ENDPOINT_URL.
        scheme, _, host = endpoint.rstrip("/").rpartition("://")
        settings |= {"AWS_S3_ENDPOINT": host, "AWS_HTTPS": "NO" if scheme == "http" else "YES"}
        settings |= {"AWS_VIRTUAL_HOSTING": "FALSE"}
    return settings


def load(
    items: Sequence[pystac.Item],
    *,
    url: str,
    bands: str | Sequence[str] | None,
    options: Mapping[str, Any],
) -> xarray.Dataset:
    """Load items with ``odc.stac.load`` under our GDAL settings; the lazy arrays keep them.

    Raises
    ------
    InvalidInput
        If the pin has no items there, odc-stac is not installed, or it cannot use the arguments.
    """
    if not items:
        raise InvalidInput("There are no items to load.", hint="Widen the bbox or the time, or look at pin.items().")
    if url.startswith("memory:"):
        raise InvalidInput("GDAL cannot read a catalog in memory.", hint="Pull it into a folder, or copy the catalog.")
    try:
        from odc.stac import load as load_items

        from loaders.gdal_reader import SettledDriver
    except ImportError as error:
        raise InvalidInput(
            f"to_xarray needs odc-stac and rasterio ({error}).", hint="Install them: pip install 'stacpin[xarray]'"
        ) from error
    try:
        return load_items(items, bands=bands, **{"driver": SettledDriver(gdal_settings(url)), **options})
    except ValueError as error:
        known = ", ".join(sorted({key for item in items[:100] for key in item.assets}))
        raise InvalidInput(f"The items cannot be loaded: {error}.", hint=f"Assets of these items: {known}.") from error


def check_objects(source: PinSource, rows: Sequence[Row], bands: str | Sequence[str] | None) -> None:
    """Prove of each object that may be about to be read that it is there in its full size, and no text.

    A windowed read cannot prove more: ``verify`` and ``pull`` prove every byte.

    Raises
    ------
    Integrity
        If one is missing or has another size; it is named.
    InvalidInput
        If one is XML or JSON, whatever its name: to GDAL those are a VRT or a service, which may lead to any file of
        this computer and to any address.
    """
    keys = _keys_of(rows, bands)
    wanted: dict[str, AssetRef] = {}
    for row in rows:
        rasters = {key for key, asset in row.parse()["assets"].items() if _may_be_raster(asset)}
        found = (asset for asset in row.assets if asset.key in rasters and (keys is None or asset.key in keys))
        wanted.update((asset.href, asset) for asset in found)
    for asset, peek in windowed(lambda each: (each, source.peek(each)), wanted.values(), _PEEKERS):
        size = peek.size if peek is not None else None
        if peek is not None and peek.start.removeprefix(_BOM).lstrip()[:1] in _TEXTS:
            raise InvalidInput(
                f"{asset.href} ({asset.key}) is a text that could lead GDAL anywhere, not a raster.",
                hint="Name the bands that are rasters.",
            )
        if size != asset.size:
            kind = "missing" if size is None else "truncated" if size < asset.size else "altered"
            raise Integrity(
                f"{asset.href} is {kind}: it has {size if size is not None else 'no'} bytes of {asset.size}.",
                hint=f"Run: stacpin verify {source.facts.pin}",
                kind=kind,
            )


def _keys_of(rows: Iterable[Row], bands: str | Sequence[str] | None) -> frozenset[str] | None:
    """The keys of the assets that some bands may be read from; None for all, also if a band is not an asset's key."""
    if bands is None:
        return None
    wanted = frozenset([bands] if isinstance(bands, str) else bands)
    known = {asset.key for row in rows for asset in row.assets}
    # odc-stac also takes names of bands within an asset ("asset.band", a common name): then every asset is checked.
    return wanted if wanted <= known else None


def _may_be_raster(asset: Mapping[str, Any]) -> bool:
    """Whether odc-stac may hand an asset to GDAL: it goes by the media type, without one by role or name."""
    kind = str(asset.get("type") or "image/").lower()
    return kind.startswith("image/") or any(word in kind for word in ("hdf", "netcdf", "zarr"))
