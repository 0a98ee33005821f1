"""Shapely geometries of decoded GeoJSON geometry objects, each checked, with the reason where one is refused."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from versioning.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np
    from shapely import Polygon
    from shapely.geometry.base import BaseGeometry

__all__ = ["ValueRefused", "geometries_of", "geometry_of"]

_MAX_NESTING = 8
_MIN_RING = 4
_NUMBER = frozenset({int, float})
_TYPES = frozenset({"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"})


class ValueRefused(ValueError):
    """The reason that a geometry or a value is refused, before file and feature are known."""


def geometries_of(values: list[tuple[int, Any, Any]], path: Path) -> np.ndarray:
    """The geometries of (feature number, id, decoded geometry), as `geometry_of` makes them one by one.

    Polygons of one ring, what most labels are, are built together: 3 times as fast.
    """
    import numpy as np
    import shapely

    made = np.empty(len(values), dtype=object)
    places: list[int] = []
    rings: list[np.ndarray] = []
    for place, (number, identity, value) in enumerate(values):
        try:
            ring = _only_ring(value)
            if ring is None:
                made[place] = geometry_of(value)
            else:
                places.append(place)
                rings.append(ring)
        except ValueError as error:
            handle = f"feature {number}" if identity is None else f"feature {number} (id {identity!r:.60})"
            raise InvalidInput(f"{path}: {handle}: {error}.", kind="broken-geometry") from error
    if rings:
        indices = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
        made[places] = shapely.polygons(shapely.linearrings(np.concatenate(rings), indices=indices))
    return made


def _only_ring(value: Any) -> np.ndarray | None:
    """The ring of a 2D polygon without holes; None for any other geometry."""
    if not isinstance(value, dict) or value.get("type") != "Polygon":
        return None
    rings = value.get("coordinates")
    if not isinstance(rings, list) or len(rings) != 1 or not isinstance(rings[0], list):
        return None
    try:
        ring = _ring(0, rings[0])
    except (TypeError, OverflowError):
        return None  # the full path has the words for it
    return ring if ring.shape[1] == 2 else None  # noqa: PLR2004 - x and y


def geometry_of(value: Any, nesting: int = 0) -> BaseGeometry | None:
    """The shapely geometry of a GeoJSON geometry object; None for ``null`` and for empty coordinates.

    Raises ValueError with the reason: unknown types, broken rings, positions that are no finite numbers, 2D and 3D
    mixed in one geometry. What follows a position's third number is not read (RFC 7946, 3.1.1).
    """
    import shapely

    if value is None:
        return None
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "GeometryCollection":
        members = value.get("geometries")
        if not isinstance(members, list) or nesting >= _MAX_NESTING:
            raise ValueRefused("a GeometryCollection without a list of geometries, or nested too deeply")
        parts = [part for part in (geometry_of(member, nesting + 1) for member in members) if part is not None]
        return shapely.GeometryCollection(parts) if parts else None
    if kind not in _TYPES:
        raise ValueRefused(f"unknown geometry type {kind!r:.40}")
    coordinates = value.get("coordinates")
    if not isinstance(coordinates, list):
        raise ValueRefused(f"a {kind} without a list of coordinates")
    if not coordinates:
        return None
    try:
        return _build(kind, coordinates)
    except (TypeError, OverflowError) as error:
        raise ValueRefused(f"the coordinates of the {kind} are no nested lists of numbers") from error


def _positions(positions: Any) -> np.ndarray:
    import numpy as np

    sizes = {min(len(position), 3) for position in positions}
    if not sizes or not sizes <= {2, 3} or not all(isinstance(position, list) for position in positions):
        raise ValueRefused("a position needs two or three numbers")
    if len(sizes) > 1:
        raise ValueRefused("2D and 3D positions are mixed in one geometry")
    size = sizes.pop()
    if any(len(position) > size for position in positions):
        positions = [position[:size] for position in positions]
    flat = list(chain.from_iterable(positions))
    if not set(map(type, flat)) <= _NUMBER:
        raise ValueRefused("a coordinate is no number")
    return np.array(flat, dtype=np.float64).reshape(-1, size)


def _line(positions: Any) -> np.ndarray:
    array = _positions(positions)
    if len(array) < 2:  # noqa: PLR2004 - a line has two ends
        raise ValueRefused("a line needs two positions")
    return array


def _ring(number: int, positions: Any) -> np.ndarray:
    ring = _positions(positions)
    if len(ring) < _MIN_RING:
        raise ValueRefused(f"ring {number} has {len(ring)} positions; a closed ring needs four")
    if positions[0][: ring.shape[1]] != positions[-1][: ring.shape[1]]:
        raise ValueRefused(f"ring {number} is not closed")
    return ring


def _polygon(rings: Any) -> Polygon:
    import shapely

    arrays = [_ring(number, ring) for number, ring in enumerate(rings)]
    if not arrays:
        raise ValueRefused("a polygon without rings")
    if len({ring.shape[1] for ring in arrays}) > 1:
        raise ValueRefused("2D and 3D positions are mixed in one geometry")
    return shapely.Polygon(arrays[0], arrays[1:])


def _build(kind: str, coordinates: list[Any]) -> BaseGeometry:
    import shapely

    if kind == "Point":
        return shapely.Point(_positions([coordinates])[0])
    if kind == "MultiPoint":
        return shapely.MultiPoint(_positions(coordinates))
    if kind == "LineString":
        return shapely.LineString(_line(coordinates))
    if kind == "Polygon":
        return _polygon(coordinates)
    if kind == "MultiLineString":
        return shapely.MultiLineString([shapely.LineString(_line(part)) for part in coordinates])
    return shapely.MultiPolygon([_polygon(part) for part in coordinates])
