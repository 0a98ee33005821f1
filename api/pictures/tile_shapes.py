"""From geometries in EPSG:3857 to those of a vector tile: chosen by size, clipped, simplified, on the tile's grid.

The grid is that of the Mapbox Vector Tile specification 2.1: 4,096 steps a side, y downwards.
Source: https://github.com/mapbox/vector-tile-spec/tree/master/2.1
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api.pictures.mercator import WORLD, Tile

if TYPE_CHECKING:
    import numpy as np

    from api.pictures.label_files import LabelFile

__all__ = ["EXTENT", "MARGIN", "Chosen", "choose", "on_grid"]

EXTENT = 4096
_BUFFER = 64
MARGIN = _BUFFER / EXTENT
"""How far beyond its sides a tile has features, in sides: so much of a line's width and of a symbol is drawn there."""

_PIXEL = 8  # maps draw a vector tile 512 pixels wide
# A quarter of a pixel: what is moved by less cannot be seen.
_TOLERANCE = _PIXEL / 4
_POINTS, _LINES, _AREAS = frozenset({0, 4}), frozenset({1, 2, 5}), frozenset({3, 6})
_COLLECTION = 7
_SAFE_BITS = 53  # of an integer in JavaScript


@dataclass(frozen=True, slots=True)
class Chosen:
    """Features of one file that a tile shows; arrays of equal length.

    Attributes
    ----------
    rows
        Which features of the file.
    turns
        How far each is moved eastwards, in turns around the Earth: -1, 0 or 1.
    sizes
        The longer side of each, in steps of the tile's grid.
    ids
        A number for each that is the same in every tile and on every machine.
    """

    rows: np.ndarray
    turns: np.ndarray
    sizes: np.ndarray
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def pick(self, which: np.ndarray) -> Chosen:
        """Some of them."""
        return Chosen(self.rows[which], self.turns[which], self.sizes[which], self.ids[which])


def choose(file: LabelFile, tile: Tile, *, item: str, key: str) -> Chosen:
    """The features of a file whose boxes meet a tile.

    Of lines and areas that are smaller than a pixel, only the first in each pixel is kept. ``item`` and ``key`` name
    the file, so that features of others have other ids.
    """
    import numpy as np

    west, south, east, north = tile.bounds
    margin = MARGIN * tile.side
    step = tile.side / EXTENT
    rows: list[np.ndarray] = []
    turns: list[np.ndarray] = []
    for turn in (-1, 0, 1):
        boxes = file.boxes + np.array([turn * WORLD, 0, turn * WORLD, 0])
        # Boxes of what has no place are NaN and meet nothing.
        meets = (boxes[:, 0] <= east + margin) & (boxes[:, 2] >= west - margin)
        meets &= (boxes[:, 1] <= north + margin) & (boxes[:, 3] >= south - margin)
        found = np.flatnonzero(meets)
        rows.append(found)
        turns.append(np.full(len(found), turn))
    row, turn = np.concatenate(rows), np.concatenate(turns)
    boxes = file.boxes[row]
    sizes = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) / step
    chosen = Chosen(row, turn, sizes, _ids(row, item, key))
    return chosen.pick(_one_a_pixel(file, chosen, tile))


def _one_a_pixel(file: LabelFile, chosen: Chosen, tile: Tile) -> np.ndarray:
    """Which to keep: all that are not tiny, all points, and the first of the tiny ones in each pixel."""
    import numpy as np
    import shapely

    tiny = (chosen.sizes < _PIXEL) & ~np.isin(shapely.get_type_id(file.shapes[chosen.rows]), list(_POINTS))
    keep = np.flatnonzero(~tiny)
    small = np.flatnonzero(tiny)
    pixels = _middles(file, chosen.pick(small), tile) // _PIXEL
    _, first = np.unique(pixels, axis=0, return_index=True)
    return np.sort(np.concatenate([keep, small[first]]))


def _middles(file: LabelFile, chosen: Chosen, tile: Tile) -> np.ndarray:
    """The middle of each feature's box, in steps of the tile's grid."""
    import numpy as np

    boxes = file.boxes[chosen.rows]
    west, _, _, north = tile.bounds
    x = (boxes[:, 0] + boxes[:, 2]) / 2 + chosen.turns * WORLD - west
    y = north - (boxes[:, 1] + boxes[:, 3]) / 2
    return np.column_stack([x, y]) * (EXTENT / tile.side)


def _ids(rows: np.ndarray, item: str, key: str) -> np.ndarray:
    """53 bits of each row's place, mixed as by SplitMix64 (Steele, Lea, Flood 2014)."""
    import numpy as np

    begin = int.from_bytes(hashlib.sha256(f"{item}\0{key}".encode()).digest()[:8])
    mixed = np.uint64(begin) + rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))) >> np.uint64(64 - _SAFE_BITS)


def on_grid(file: LabelFile, chosen: Chosen, tile: Tile) -> list[list[Any]]:
    """The geometries of chosen features on the tile's grid: for each as many as it has kinds, none if nothing is left.

    Points, lines and areas of a collection are apart, since a tile has no collections. Areas are valid and run
    clockwise on the screen. A geometry that cannot be mended is left out.
    """
    import numpy as np
    import shapely

    west, _, _, north = tile.bounds
    scale = EXTENT / tile.side
    shapes = file.shapes[chosen.rows]
    at, owner = shapely.get_coordinates(shapes, return_index=True)
    moved = np.column_stack([(at[:, 0] + chosen.turns[owner] * WORLD - west) * scale, (north - at[:, 1]) * scale])
    shapes = shapely.set_coordinates(shapes.copy(), moved)
    kinds = shapely.get_type_id(shapes)
    tiny = (chosen.sizes < _PIXEL) & ~np.isin(kinds, [*_POINTS, _COLLECTION])
    large = np.flatnonzero(~tiny)
    made: list[list[Any]] = [[] for _ in shapes]
    for place in np.flatnonzero(tiny):
        made[place] = _pixel(shapes[place])
    for place, shape in zip(large, _each(_drawn, shapes[large]), strict=True):
        made[place] = _by_kind(shape, int(kinds[place]))
    return made


def _drawn(shapes: np.ndarray) -> np.ndarray:
    import numpy as np
    import shapely

    low, high = -_BUFFER, EXTENT + _BUFFER
    box = shapely.box(low, low, high, high)
    bounds = shapely.bounds(shapes)
    inside = (bounds[:, :2] >= low).all(axis=1) & (bounds[:, 2:] <= high).all(axis=1)
    made = shapes.copy()
    # Not what lies inside: to mend takes longer than all else.
    broken = ~shapely.is_valid(made)
    made[broken] = shapely.make_valid(made[broken])
    made[~inside] = shapely.intersection(made[~inside], box)
    # Points are not simplified away, and nothing else is by a quarter of a pixel.
    made = shapely.simplify(made, _TOLERANCE, preserve_topology=True)
    made = shapely.set_precision(made, 1)
    return np.asarray(shapely.orient_polygons(made))


def _each(function: Callable[[np.ndarray], np.ndarray], shapes: np.ndarray) -> list[Any]:
    """What a function makes of many geometries; where one of them fails, of each by itself."""
    import shapely

    try:
        return list(function(shapes))
    except shapely.errors.GEOSException:
        if len(shapes) == 1:
            return [None]
        half = len(shapes) // 2
        return [*_each(function, shapes[:half]), *_each(function, shapes[half:])]


def _pixel(shape: Any) -> list[Any]:
    """The pixel that a tiny line or area is drawn as; nothing where that is beyond the tile's margin."""
    import shapely

    west, north, east, south = shape.bounds
    x = int((west + east) / 2 // _PIXEL * _PIXEL)
    y = int((north + south) / 2 // _PIXEL * _PIXEL)
    if shapely.get_type_id(shape) in _LINES:
        return [shapely.LineString([(x, y), (x + _PIXEL, y)])]
    return [shapely.orient_polygons(shapely.box(x, y, x + _PIXEL, y + _PIXEL))]


def _by_kind(shape: Any, kind: int) -> list[Any]:
    """The points, lines and areas in a geometry, of the kind that it had, or of every kind for a collection."""
    import shapely

    if shape is None or shape.is_empty:
        return []
    now = int(shapely.get_type_id(shape))
    if any(kind in kinds and now in kinds for kinds, _ in _kinds()):
        return [shape]
    parts = list(shapely.get_parts(_flat([shape])))
    found = []
    for kinds, many in _kinds():
        own = [part for part in parts if int(shapely.get_type_id(part)) in kinds]
        if own and (kind in kinds or kind == _COLLECTION):
            found.append(own[0] if len(own) == 1 else many(own))
    return found


def _kinds() -> tuple[tuple[frozenset[int], Callable[[list[Any]], Any]], ...]:
    import shapely

    return (
        (_POINTS, shapely.multipoints),
        (_LINES, shapely.multilinestrings),
        (_AREAS, shapely.multipolygons),
    )


def _flat(shapes: list[Any]) -> Any:
    """Geometries without collections around them."""
    import shapely

    while any(shapely.get_type_id(shape) == _COLLECTION for shape in shapes):
        shapes = list(shapely.get_parts(shapes))
    return shapes
