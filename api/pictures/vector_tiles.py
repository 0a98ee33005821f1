"""Vector tiles of the labels at a pin: which items they are drawn from, what is left out, and their bytes.

A layer is what one asset key holds. Features have their properties as they are, and beside them ``pin:item`` and
``pin:feature``, the item and the row of its file that they are from. The same version gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from api.backend import Backend
from api.pictures.label_files import LabelFile, LabelFiles
from api.pictures.mercator import Tile
from api.pictures.tile_shapes import EXTENT, MARGIN, Chosen, choose, on_grid
from catalog.query import Query
from versioning.version import Version

__all__ = ["LABELS", "MVT", "DrawnTile", "TileLimits", "VectorTiles", "label_assets"]

MVT = "application/vnd.mapbox-vector-tile"

LABELS: dict[str, Any] = {"op": "=", "args": [{"property": "label:type"}, "vector"]}
"""What items with vector labels say: the label extension wants it."""

_VECTORS = "v1:"
_INT64 = 1 << 63
# Decoded labels that one tile may be drawn from: they are in memory together.
_MOST_READ = 512 * 1024 * 1024
# How much of the features is kept on the way to the wanted bytes.
_CAUTION = 0.9


@dataclass(frozen=True, slots=True)
class TileLimits:
    """What one tile may be drawn from and may hold."""

    items: int
    features: int
    size: int

    def told(self) -> str:
        """What is left out, for people."""
        return (
            f"A tile is drawn from the first {self.items:,} items by id, and from at most {_MOST_READ >> 20} MiB of "
            f"decoded labels. It has at most {self.features:,} features and {self.size:,} bytes: the largest, where "
            "there are more. Of the lines and areas of a file that are smaller than a pixel there is one in each pixel."
        )


@dataclass(frozen=True, slots=True)
class DrawnTile:
    """A tile's bytes, empty if it shows nothing, and how many items and features were left out by the limits."""

    data: bytes
    items_left_out: int = 0
    features_left_out: int = 0


@dataclass(frozen=True, slots=True)
class _Source:
    """One label file on its way into a tile."""

    item: str
    key: str
    file: LabelFile = field(repr=False)
    chosen: Chosen = field(repr=False)


class VectorTiles:
    """Draws the tiles of a catalog's labels."""

    def __init__(self, backend: Backend, limits: TileLimits) -> None:
        self.backend = backend
        self.limits = limits
        self._files = LabelFiles(backend.catalog)

    def draw(self, version: Version, tile: Tile, ids: str | None = None) -> DrawnTile:
        """The tile of a version's labels, or of those of some items of it.

        Raises
        ------
        InvalidInput
            If a label file is too large, or ``ids`` cannot be used.
        Integrity
            If an object is missing or altered.
        """
        query = Query.parse(ids=ids, bbox=tile.area(2 * MARGIN), filter=LABELS, sortby="+id")
        page = self.backend.search([version], query, limit=self.limits.items, token=None)
        sources: list[_Source] = []
        left_out, read = page.matched - len(page.items), 0
        for place, item in enumerate(page.items):
            if read > _MOST_READ:
                left_out += len(page.items) - place
                break
            for key, asset in label_assets(item):
                file = self._files.of(asset)
                chosen = choose(file, tile, item=item["id"], key=key)
                if len(chosen):
                    sources.append(_Source(item["id"], key, file, chosen))
                    read += file.size
        found = sum(len(source.chosen) for source in sources)
        sources = _largest(sources, self.limits.features)
        features = _features(sources, tile)
        data, kept = _encoded(features, self.limits.size)
        drawn = sum(len(source.chosen) for source in sources)
        return DrawnTile(data, left_out, found - drawn + len(features) - kept)


def label_assets(item: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The vector labels of an item that are objects of the catalog, by key; nothing referenced in place is fetched."""
    for key, asset in sorted(item["assets"].items()):
        if str(asset.get("pin:digest", "")).startswith(_VECTORS) and asset["href"].startswith("objects/"):
            yield key, asset


def _largest(sources: list[_Source], most: int) -> list[_Source]:
    """The sources with only the largest features of all of them; of equal ones those with the lower ids."""
    import numpy as np

    if sum(len(source.chosen) for source in sources) <= most:
        return sources
    owner = np.concatenate([np.full(len(source.chosen), place) for place, source in enumerate(sources)])
    within = np.concatenate([np.arange(len(source.chosen)) for source in sources])
    sizes = np.concatenate([source.chosen.sizes for source in sources])
    ids = np.concatenate([source.chosen.ids for source in sources])
    best = np.lexsort((ids, -sizes))[:most]
    kept = []
    for place, source in enumerate(sources):
        which = np.sort(within[best[owner[best] == place]])
        if len(which):
            kept.append(_Source(source.item, source.key, source.file, source.chosen.pick(which)))
    return kept


@dataclass(frozen=True, slots=True)
class _Feature:
    layer: str
    size: float
    number: int
    geometry: Any
    properties: dict[str, Any]


def _features(sources: list[_Source], tile: Tile) -> list[_Feature]:
    """All features, the largest first: so small ones are drawn over large ones."""
    found = []
    for source in sources:
        chosen = source.chosen
        for place, shapes in enumerate(on_grid(source.file, chosen, tile)):
            if shapes:
                row = int(chosen.rows[place])
                properties = _properties(source, row)
                size, number = float(chosen.sizes[place]), int(chosen.ids[place])
                found += [_Feature(source.key, size, number, shape, properties) for shape in shapes]
    return sorted(found, key=lambda feature: (-feature.size, feature.number, feature.geometry.geom_type))


def _properties(source: _Source, row: int) -> dict[str, Any]:
    found = {}
    for name in sorted(source.file.columns):
        value = _value(source.file.columns[name][row])
        if value is not None:
            found[name] = value
    return {**found, "pin:item": source.item, "pin:feature": row}


def _value(value: Any) -> str | bool | int | float | None:
    """A property as a tile can hold it: nested values as their JSON text, bytes as hex digits."""
    if isinstance(value, list | dict):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str).decode()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int) and not isinstance(value, bool) and not -_INT64 <= value < _INT64:
        return str(value)
    return value


def _encoded(features: list[_Feature], most: int) -> tuple[bytes, int]:
    """The bytes of a tile, and how many of the features, from the first, are in it."""
    import mapbox_vector_tile

    count = len(features)
    while count:
        layers: dict[str, list[dict[str, Any]]] = {}
        for feature in features[:count]:
            layers.setdefault(feature.layer, []).append(
                {"geometry": feature.geometry, "properties": feature.properties, "id": feature.number}
            )
        data = mapbox_vector_tile.encode(
            [{"name": name, "features": layers[name]} for name in sorted(layers)],
            # The geometries are on the grid, valid and in the right order: to look again takes as long as the rest.
            default_options={"y_coord_down": True, "extents": EXTENT, "check_winding_order": False},
        )
        if len(data) <= most:
            return data, count
        count = min(count - 1, int(count * most / len(data) * _CAUTION))
    return b"", 0
