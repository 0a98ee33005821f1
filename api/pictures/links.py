"""The links by which clients find pictures: nothing is drawn, and nothing is looked up, to make them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.pictures.drawing import can_draw
from api.pictures.plan import has_picture
from api.pictures.vector_tiles import label_assets
from api.urls import Urls, link
from catalog.extensions import extension_id
from versioning.version import Version

__all__ = ["WEB_MAP_LINKS", "add_collection_links", "item_links"]

WEB_MAP_LINKS = extension_id("web-map-links", "1.2.0")


def item_links(item: Mapping[str, Any], collection_id: str, urls: Urls) -> list[dict[str, str]]:
    """The links to an item's thumbnail, if it has a raster, and to the tiles of its labels, if it has some.

    The tiles of its raster have no link: STAC Browser draws the raster itself, and would draw linked tiles in its
    place. The extension is not declared, since ``stac_extensions`` is part of what an item's digest proves.
    """
    if not can_draw():
        return []
    found = []
    if has_picture(item):
        href = urls.to("collections", collection_id, "items", item["id"], "thumbnail")
        found.append(link("preview", href, "image/png", f"Thumbnail of {item['id']}"))
    if any(True for _ in label_assets(item)):
        href = urls.to("collections", collection_id, "tilejson.json", params=[("ids", item["id"])])
        found.append(link("tilejson", href, title=f"Labels of {item['id']} as vector tiles"))
    return found


def add_collection_links(document: dict[str, Any], version: Version, urls: Urls) -> None:
    """Add the links to a version's thumbnail and to the tiles of its labels, by what its record sums up."""
    if not can_draw():
        return
    summaries = version.record.summaries
    here = urls.collection(version.collection_id)
    if summaries.get("bands"):
        document["links"].append(link("preview", f"{here}/thumbnail", "image/png", f"Thumbnail of {version.pin}"))
    if "vector" in (summaries.get("label:type") or ()):
        document["links"].append(
            link("tilejson", f"{here}/tilejson.json", title=f"Labels of {version.pin} as vector tiles")
        )
        document["stac_extensions"] = sorted({*document["stac_extensions"], WEB_MAP_LINKS})
