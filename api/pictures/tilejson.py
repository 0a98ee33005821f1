"""TileJSON 3.0 of a version's labels: where the tiles are, which layers they have, and what is left out of them.

Source: https://github.com/mapbox/tilejson-spec/tree/master/3.0.0
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from api.backend import Backend
from api.pictures.vector_tiles import LABELS, TileLimits, label_assets
from api.urls import Urls
from catalog.query import Query
from versioning.errors import NotFound
from versioning.version import Version

__all__ = ["labels_tilejson"]

# Labels look alike in all items of a dataset, so the first ones tell its layers.
_LOOKED_AT = 1_000
# There a step of the tile's grid is 4 cm; clients enlarge these tiles for what is deeper.
_DEEPEST = 18
_FIELDS = {"boolean": "Boolean", "integer": "Number", "number": "Number"}
_OURS = {"pin:item": "String", "pin:feature": "Number"}
_WHOLE_TURN = [-180.0, 180.0]


def labels_tilejson(
    backend: Backend, version: Version, urls: Urls, limits: TileLimits, ids: str | None = None
) -> dict[str, Any]:
    """The document. Its tiles are those of this very version, by whatever name it was asked for.

    Raises
    ------
    NotFound
        If the version has no vector labels, or the items have none.
    """
    query = Query.parse(ids=ids, filter=LABELS, sortby="+id")
    page = backend.search([version], query, limit=_LOOKED_AT, token=None)
    layers = _layers(page.items)
    if not layers:
        raise NotFound(
            f"{version.pin} has no vector labels{'' if ids is None else ' in these items'}.",
            hint=f"See {urls.items(version.collection_id)}",
            kind="no-labels",
        )
    every = page.matched == len(page.items)
    boxes = [item["bbox"] for item in page.items if item.get("bbox")] if every else [version.record.statistics.bbox]
    collection = version.record.collection
    document: dict[str, Any] = {
        "tilejson": "3.0.0",
        "name": f"{collection.get('title') or version.dataset} v{version.number}",
        "description": f"Labels of {version.pin}. {limits.told()}",
        "version": f"{version.number}.0.0",
        "scheme": "xyz",
        "tiles": [Urls(f"{urls.collection(version.collection_id)}/tiles/{{z}}/{{x}}/{{y}}").with_params(_params(ids))],
        "minzoom": 0,
        "maxzoom": _DEEPEST,
        "bounds": _bounds(boxes),
        "vector_layers": layers,
        "pin:version": version.pin,
        "pin:digest": version.digest,
    }
    attribution = _attribution(collection)
    return document | ({"attribution": attribution} if attribution else {})


def _params(ids: str | None) -> list[tuple[str, str]]:
    return [] if ids is None else [("ids", ids)]


def _layers(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    fields: dict[str, dict[str, str]] = {}
    titles: dict[str, str] = {}
    for item in items:
        for key, asset in label_assets(item):
            found = fields.setdefault(key, {})
            for column in asset.get("table:columns") or ():
                if column["name"] != asset.get("table:primary_geometry"):
                    found[column["name"]] = _FIELDS.get(str(column.get("type")), "String")
            if asset.get("title"):
                titles.setdefault(key, asset["title"])
    return [
        {
            "id": key,
            "fields": {**dict(sorted(fields[key].items())), **_OURS},
            "minzoom": 0,
            "maxzoom": _DEEPEST,
            **({"description": titles[key]} if key in titles else {}),
        }
        for key in sorted(fields)
    ]


def _bounds(boxes: Sequence[Sequence[float] | None]) -> list[float]:
    """West, south, east, north of all boxes; all of a turn where one crosses the antimeridian."""
    flat = [box if len(box) == 4 else (box[0], box[1], box[3], box[4]) for box in boxes if box]  # noqa: PLR2004 - without heights
    if not flat:
        return [-180.0, -90.0, 180.0, 90.0]
    wests, souths, easts, norths = zip(*flat, strict=True)
    across = any(west > east for west, east in zip(wests, easts, strict=True))
    west, east = _WHOLE_TURN if across else (min(wests), max(easts))
    return [west, min(souths), east, max(norths)]


def _attribution(collection: Mapping[str, Any]) -> str:
    """The providers' names. Maps show it as HTML."""
    providers = collection.get("providers")
    named = [each for each in providers if isinstance(each, Mapping)] if isinstance(providers, list | tuple) else []
    return ", ".join(escape(str(each["name"])) for each in named if each.get("name"))
