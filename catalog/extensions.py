"""The STAC extensions that our documents declare, and which of them a document needs: exactly those it uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = [
    "PIN",
    "PREFIXES",
    "STAC_VERSION",
    "VERSION",
    "collection_extensions",
    "extension_id",
    "item_extensions",
]

STAC_VERSION = "1.1.0"


def extension_id(name: str, version: str) -> str:
    """The id under which an extension of the STAC organisation is declared."""
    return f"https://stac-extensions.github.io/{name}/v{version}/schema.json"


PIN = "https://stacpin.github.io/pin/v1.0.0/schema.json"
"""Our own extension; its schema is `catalog/schemas/pin.json`, its page `docs/pin-extension/README.md`."""

VERSION = extension_id("version", "1.2.0")
"""Its fields have no prefix: only collections declare it."""

PREFIXES: dict[str, str] = {
    "eo": extension_id("eo", "2.0.0"),
    "file": extension_id("file", "2.1.0"),
    "label": extension_id("label", "1.0.1"),
    "ml-aoi": extension_id("ml-aoi", "0.2.0"),
    "pin": PIN,
    "processing": extension_id("processing", "1.2.0"),
    "proj": extension_id("projection", "2.0.0"),
    "raster": extension_id("raster", "2.0.0"),
    "sar": extension_id("sar", "1.3.0"),
    "sat": extension_id("sat", "1.2.0"),
    "table": extension_id("table", "1.2.0"),
    "view": extension_id("view", "1.1.0"),
}
"""The prefixes of fields that we know, each with the newest version of its extension."""


def item_extensions(item: Mapping[str, Any], also: Iterable[str] = ()) -> list[str]:
    """The extensions whose fields an item uses in its properties, assets or bands, sorted.

    Parameters
    ----------
    item
        A STAC Item.
    also
        Others that whoever gave the properties declares, for prefixes that we do not know.
    """
    used = {*_prefixes(item.get("properties") or {})}
    for asset in (item.get("assets") or {}).values():
        used.update(_prefixes(asset))
    return sorted({PREFIXES[prefix] for prefix in used if prefix in PREFIXES} | set(also) | {PIN})


def collection_extensions(collection: Mapping[str, Any], also: Iterable[str] = ()) -> list[str]:
    """The extensions that a version's collection uses in itself, its assets, item assets, providers and summaries."""
    used = {*_prefixes(collection)}
    for group in ("assets", "item_assets"):
        for asset in (collection.get(group) or {}).values():
            used.update(_prefixes(asset))
    for provider in collection.get("providers") or ():
        used.update(_prefixes(provider))
    used.update(_prefixes(collection.get("summaries") or {}))
    return sorted({PREFIXES[prefix] for prefix in used if prefix in PREFIXES} | set(also) | {PIN, VERSION})


def _prefixes(fields: Mapping[str, Any]) -> Iterator[str]:
    for key in fields:
        yield key.partition(":")[0] if ":" in key else ""
    for band in fields.get("bands") or ():
        if isinstance(band, Mapping):
            for key in band:
                yield key.partition(":")[0] if ":" in key else ""
