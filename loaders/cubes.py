"""A pin as an xarray Dataset, through odc-stac, with GDAL settings that suit COGs in object stores."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
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
    source: PinSource,
    rows: Sequence[Row],
    items: Sequence[pystac.Item],
    *,
    bands: str | Sequence[str] | None,
    options: Mapping[str, Any],
) -> xarray.Dataset:
    """Load items with ``odc.stac.load`` under our GDAL settings; the lazy arrays keep them.

    odc-stac is given only the items that have a raster among those asked for, and of these only the rasters: any other
    would add its time step and its extent.

    Parameters
    ----------
    source
        Where they come from.
    rows, items
        What was found, one item a row.
    bands
        Names as :func:`loaders.bands.choose` takes them.
    options
        The arguments of ``odc.stac.load``.

    Raises
    ------
    InvalidInput
        If there is nothing to load, odc-stac is not installed, or it cannot use the arguments.
    Integrity
        If an object is missing or has another size.
    """
    if not items:
        raise InvalidInput("There are no items to load.", hint="Widen the bbox or the time, or look at pin.items().")
    if source.url.startswith("memory:"):
        raise InvalidInput("GDAL cannot read a catalog in memory.", hint="Pull it into a folder, or copy the catalog.")
    try:
        from odc.stac import load as load_items

        from loaders.gdal_reader import ChosenBands, SettledDriver
    except ImportError as error:
        raise InvalidInput(
            f"to_xarray needs odc-stac and rasterio ({error}).", hint="Install them: pip install 'stacpin[xarray]'"
        ) from error
    config = dict(options.get("stac_cfg") or {})
    if options.get("with_properties") is not None:
        config["with_properties"] = options["with_properties"]
    asked = [bands] if isinstance(bands, str) else bands
    try:
        chosen = ChosenBands(items, asked, config)
        check_objects(source, rows, chosen.assets)
        wanted = [item for item in items if not chosen.assets.isdisjoint(item.assets)]
        if not wanted:
            raise InvalidInput(
                f"None of the {len(items)} items has a raster.",
                hint="Labels are no arrays: read them with pin.assets().",
            )
        for item in wanted:
            item.assets = {key: asset for key, asset in item.assets.items() if key in chosen.assets}
        if options.get("driver") is not None:  # a driver of the user's reads the items in its own way
            return load_items(wanted, bands=bands, **options)
        return load_items(
            wanted, bands=chosen.names, **{**options, "driver": SettledDriver(gdal_settings(source.url), chosen)}
        )
    except ValueError as error:
        raise InvalidInput(
            f"The items cannot be loaded: {error}.", hint="See the arguments of odc.stac.load."
        ) from error


def check_objects(source: PinSource, rows: Sequence[Row], keys: Collection[str]) -> None:
    """Prove of each object of some assets that it is there in its full size, and no text.

    A windowed read cannot prove more: ``verify`` and ``pull`` prove every byte.

    Raises
    ------
    Integrity
        If one is missing or has another size; it is named.
    InvalidInput
        If one is XML or JSON, whatever its name: to GDAL those are a VRT or a service, which may lead to any file of
        this computer and to any address.
    """
    wanted: dict[str, AssetRef] = {}
    for row in rows:
        rasters = {key for key, asset in row.parse()["assets"].items() if _may_be_raster(asset)}
        found = (asset for asset in row.assets if asset.key in rasters and asset.key in keys)
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


def _may_be_raster(asset: Mapping[str, Any]) -> bool:
    """Whether odc-stac may hand an asset to GDAL: it goes by the media type, without one by role or name."""
    kind = str(asset.get("type") or "image/").lower()
    return kind.startswith("image/") or any(word in kind for word in ("hdf", "netcdf", "zarr"))
