"""Places in a query: boxes and GeoJSON geometries, checked, and footprints that cross the antimeridian."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np
import orjson
import shapely
from shapely import affinity

from catalog.quoting import brief
from versioning.errors import InvalidInput

__all__ = ["Box", "box_shape", "boxes_of", "footprint", "geometry_shape", "parse_bbox", "parse_geometry", "wrapped"]

Box = tuple[float, float, float, float]

_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?\s*", re.ASCII)
_CORNERS = {4: (0, 1, 2, 3), 6: (0, 1, 3, 4)}
_LEVELS = {"Point": 0, "MultiPoint": 1, "LineString": 1, "MultiLineString": 2, "Polygon": 2, "MultiPolygon": 3}
_DEEPEST = 8  # GeometryCollections within each other
_MOST_POSITIONS = 50_000
# Whether a geometry is valid is decided for each two of its rings: 2,000 take a third of a second, and 10,000 twelve.
_MOST_LINES = 2_000
_LONGEST = 4_000_000  # characters of a geometry as text
_HALF, _FULL = 180.0, 360.0
_ROUNDING = 1e-6  # degrees by which a box and its geometry may differ


def parse_bbox(value: str | Sequence[object]) -> Box:
    """A box as west, south, east, north in degrees; heights are checked and dropped, since search is in the plane.

    West is greater than east where the box crosses the antimeridian (RFC 7946, section 5.2).

    Raises
    ------
    InvalidInput
        If it is not four or six finite numbers in order, within -180 to 180 and -90 to 90 degrees.
    """
    parts: list[object] = list(value.split(",", 6)) if isinstance(value, str) else list(value[:7])
    try:
        numbers = [float(part) for part in parts if _is_number(part)]  # pyright: ignore[reportArgumentType]
    except (ValueError, OverflowError):
        numbers = []
    if len(numbers) != len(parts) or len(numbers) not in _CORNERS or not all(isfinite(number) for number in numbers):
        raise _refused_box(value, "it must be 4 or 6 finite numbers")
    west, south, east, north = (numbers[index] for index in _CORNERS[len(numbers)])
    if not (-_HALF <= west <= _HALF and -_HALF <= east <= _HALF and -90 <= south <= 90 and -90 <= north <= 90):  # noqa: PLR2004 - the poles
        raise _refused_box(value, "longitudes lie within -180 to 180 degrees and latitudes within -90 to 90")
    if south > north:
        raise _refused_box(value, f"its south {south:g} is above its north {north:g}")
    if len(numbers) == 6 and numbers[2] > numbers[5]:  # noqa: PLR2004 - a box with heights
        raise _refused_box(value, f"its lowest height {numbers[2]:g} is above its highest {numbers[5]:g}")
    return (west, south, east, north)


def _is_number(part: object) -> bool:
    # float() alone takes more than anybody means: 1_0, and the digits of every script.
    if isinstance(part, str):
        return _NUMBER.fullmatch(part) is not None
    return isinstance(part, int | float) and not isinstance(part, bool)


def _refused_box(value: object, why: str) -> InvalidInput:
    text = value[:200] if isinstance(value, str) else brief(value)
    return InvalidInput(
        f"bbox {text} cannot be used: {why}.",
        hint="Give west,south,east,north in degrees of longitude and latitude.",
    )


def box_shape(box: Box) -> shapely.Geometry:
    """A box as a geometry: two parts where it crosses the antimeridian, a line or a point where it has no area."""
    west, south, east, north = box
    if west > east:
        parts = [box_shape((west, south, _HALF, north)), box_shape((-_HALF, south, east, north))]
        return shapely.union_all(parts)
    if west == east and south == north:
        return shapely.Point(west, south)
    if west == east or south == north:
        return shapely.LineString([(west, south), (east, north)])
    return shapely.box(west, south, east, north)


def parse_geometry(value: str | Mapping[str, Any], *, what: str = "intersects") -> dict[str, Any]:
    """A GeoJSON geometry, as a plain dict of known shape and bounded size.

    Raises
    ------
    InvalidInput
        If it is not a valid, finite geometry of RFC 7946 in degrees.
    """
    if isinstance(value, str):
        if len(value) > _LONGEST:
            raise _refused(what, f"it is longer than {_LONGEST:,} characters")
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise _refused(what, f"it is not JSON ({error})") from error
    seen = _Seen()
    geometry = _checked(value, what, seen, depth=1)
    outside = next((place for place in seen.positions if abs(place[0]) > _HALF or abs(place[1]) > _HALF / 2), None)
    if outside:
        raise _refused(
            what,
            f"the position {outside[0]:g}, {outside[1]:g} is not a longitude and a latitude",
            "Give degrees (EPSG:4326), and cut a geometry at the antimeridian into two parts.",
        )
    shape = _shape(geometry, what)
    # The function and not the property: it lets other threads run meanwhile.
    if not shapely.is_valid(shape):
        raise _refused(what, f"it is not valid ({shapely.is_valid_reason(shape)})", "Mend it, e.g. with make_valid.")
    return geometry


def geometry_shape(geometry: Mapping[str, Any], *, what: str = "intersects") -> shapely.Geometry:
    """A geometry of :func:`parse_geometry` as a shape, not prepared: what GEOS prepares, threads must not share."""
    return shapely.force_2d(_shape(geometry, what))


def _shape(geometry: Mapping[str, Any], what: str) -> shapely.Geometry:
    try:
        shape = shapely.from_geojson(orjson.dumps(geometry))
    except (shapely.errors.GEOSException, TypeError, ValueError) as error:
        raise _refused(what, str(error)) from error
    if shape is None or shape.is_empty:
        raise _refused(what, "it is empty")
    return shape


@dataclass(slots=True)
class _Seen:
    """What a geometry has so far."""

    positions: list[tuple[float, float]] = field(default_factory=list)
    lines: int = 0


def _checked(value: object, what: str, seen: _Seen, depth: int) -> dict[str, Any]:
    kind = value.get("type") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(kind, str):
        raise _refused(what, "it is not an object with a type")
    if kind == "GeometryCollection":
        members = value.get("geometries")
        if depth > _DEEPEST or not isinstance(members, list | tuple) or not members:
            raise _refused(what, f"a GeometryCollection has geometries, at most {_DEEPEST} deep")
        return {"type": kind, "geometries": [_checked(member, what, seen, depth + 1) for member in members]}
    if kind not in _LEVELS:
        hint = "Give the Feature's geometry." if kind.startswith("Feature") else None
        raise _refused(what, f"{kind[:50]!r} is not a GeoJSON geometry type", hint)
    return {"type": kind, "coordinates": _coordinates(value.get("coordinates"), _LEVELS[kind], what, seen)}


def _coordinates(value: object, level: int, what: str, seen: _Seen) -> list[Any]:
    if not isinstance(value, list | tuple) or not value:
        raise _refused(what, "its coordinates are missing or not nested as its type wants")
    if level:
        seen.lines += level == 1
        if seen.lines > _MOST_LINES:
            raise _refused(what, f"it has more than {_MOST_LINES:,} rings or lines", "Simplify it.")
        return [_coordinates(member, level - 1, what, seen) for member in value]
    numbers = [float(x) for x in value if isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < 1e300]  # noqa: PLR2004 - any finite number that makes sense, also as an int
    if len(numbers) != len(value) or not 2 <= len(numbers) <= 4 or not all(isfinite(number) for number in numbers):  # noqa: PLR2004 - x, y, z, m
        raise _refused(what, f"{brief(value)} is not a position of finite numbers")
    seen.positions.append((numbers[0], numbers[1]))
    if len(seen.positions) > _MOST_POSITIONS:
        raise _refused(what, f"it has more than {_MOST_POSITIONS:,} positions", "Simplify it.")
    return numbers


def _refused(what: str, why: str, hint: str | None = None) -> InvalidInput:
    return InvalidInput(f"{what} cannot be used: {why}.", hint=hint or "Give a GeoJSON geometry (RFC 7946).")


def wrapped(west: float, east: float) -> list[tuple[float, float]]:
    """The longitudes from west to east as one or two ranges within -180 to 180, whichever way they are written."""
    if west > east:
        return [(west, _HALF), (-_HALF, east)]
    if east - west >= _FULL:
        return [(-_HALF, _HALF)]
    if east > _HALF:
        return [(-_HALF, east - _FULL)] if west > _HALF else [(west, _HALF), (-_HALF, east - _FULL)]
    if west < -_HALF:
        return [(west + _FULL, _HALF)] if east < -_HALF else [(west + _FULL, _HALF), (-_HALF, east)]
    return [(west, east)]


def boxes_of(box: Box) -> list[Box]:
    """A box as one or two boxes with west ≤ east within -180 to 180."""
    west, south, east, north = box
    return [(left, south, right, north) for left, right in wrapped(west, east)]


def footprint(geometry: shapely.Geometry, box: Box | None) -> shapely.Geometry:
    """An item's geometry with its parts within -180 to 180 degrees, cut at the antimeridian where it crosses it.

    RFC 7946 (section 3.1.9) wants such geometries cut, and then this changes nothing; but many providers write one
    polygon from 179 to -179, which in the plane goes the wrong way round the Earth (the box then says west > east), or
    from 179 to 181.
    """
    west, _, east, _ = shapely.bounds(geometry)
    crosses = box is not None and box[0] > box[2] and _goes_round(geometry, box)
    if not crosses and west >= -_HALF and east <= _HALF:
        return geometry
    if crosses:
        geometry = shapely.transform(geometry, _eastwards)
    parts = []
    for turn in (-1, 0, 1):
        window = shapely.box(turn * _FULL - _HALF, -_HALF, turn * _FULL + _HALF, _HALF)
        part = shapely.intersection(shapely.make_valid(geometry), window)
        if not part.is_empty:
            parts.append(affinity.translate(part, xoff=-turn * _FULL))
    return shapely.union_all(parts) if parts else geometry


def _goes_round(geometry: shapely.Geometry, box: Box) -> bool:
    """Whether a part spans the longitudes that a box with west > east leaves out, and more than half the Earth."""
    west, east = box[0] - _ROUNDING, box[2] + _ROUNDING
    bounds = shapely.bounds(shapely.get_parts(geometry))
    return any(right - left > _HALF and left < west and right > east for left, _, right, _ in bounds)


def _eastwards(positions: np.ndarray) -> np.ndarray:
    moved = positions.copy()
    moved[:, 0] += _FULL * (moved[:, 0] < 0)
    return moved
