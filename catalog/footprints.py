"""Where a raster lies on Earth: footprints and boxes in EPSG:4326 as RFC 7946 wants them.

Valid polygons with closed rings, shells counterclockwise, split at the antimeridian (section 3.1.9); boxes whose west
is greater than their east where they cross it (section 5.2); coordinates rounded to 1e-7 degrees (1 cm), so that the
noise of another PROJ version stays out of items.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import shapely
from shapely.geometry.base import BaseGeometry

from versioning.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np
    from pyproj import Transformer

    from catalog.rasters import Raster

__all__ = ["BBox", "bbox_of", "from_geojson", "join_footprints", "raster_footprint", "rounded", "to_geojson"]

BBox = tuple[float, float, float, float]

DIGITS = 7
_GRID = 10.0**-DIGITS
# Of each edge this many parts are projected; 256 points take 1 ms. A power of two, so that halving ends at them.
_PARTS = 64
# An edge is bent where the projected one leaves its chord by more than this part of its length: for a Sentinel-2 tile
# of 10,980 pixels that is one pixel.
_BEND = 1e-4
# At 33 x 33 points the hull of a full disk loses 16 degrees at its rim, at 129 x 129 (30 ms) it loses 4.
_INNER = 129
_WORLD = shapely.box(-180.0, -90.0, 180.0, 90.0)
_FULL_TURN = 360.0
_HALF_TURN = 180.0
_POLE = 90.0


def raster_footprint(raster: Raster) -> BaseGeometry:
    """The outline of a raster's pixels in EPSG:4326.

    Edges are bent where the projection bends them (to within 1/10,000 of their length); a raster around a pole reaches
    to 90 degrees. Where an edge is not on Earth (the full disk of a geostationary satellite) it is the convex hull of
    the pixels that are. Rasters without a geotransform are placed by their control points or RPCs, at height 0.

    Raises
    ------
    InvalidInput
        If no part of the raster is on Earth.
    """
    import numpy as np

    height, width = raster.dataset.height, raster.dataset.width
    steps = np.arange(_PARTS) / _PARTS
    zero, one = np.zeros(_PARTS), np.ones(_PARTS)
    columns = np.concatenate([zero, steps, one, 1 - steps]) * width
    rows = np.concatenate([steps, one, 1 - steps, zero]) * height
    way = _definition(raster)
    lon, lat = _place(raster, way, columns, rows)
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        outline = _inner_hull(raster, way, lon, lat)
    elif _is_plain(lon, lat):
        corners = np.stack([lon[::_PARTS], lat[::_PARTS]], axis=-1)
        outline = shapely.make_valid(shapely.Polygon(corners), method="structure", keep_collapsed=False)
    else:
        outline = _outline(lon, lat, north=_pole_inside(raster, way))
    footprint = rounded(_wrapped(outline))
    if footprint.is_empty:
        raise InvalidInput(f"{raster.path} covers no area on Earth.", hint="Its geotransform or its CRS is wrong.")
    return footprint


def rounded(geometry: BaseGeometry) -> BaseGeometry:
    """The same place on the grid of 1e-7 degrees: valid, shells counterclockwise, rings begin at their least vertex.

    Parts of an area that are thinner than the grid vanish; an area that vanishes as a whole becomes a point.
    """
    snapped = shapely.set_precision(geometry, _GRID)
    if snapped.is_empty and not geometry.is_empty:
        snapped = geometry.representative_point()
    exact = shapely.transform(snapped, lambda xy: xy.round(DIGITS) + 0.0)
    # GEOS begins rings at their least vertex but runs shells clockwise.
    return shapely.orient_polygons(shapely.normalize(exact), exterior_cw=False)


def join_footprints(footprints: Sequence[BaseGeometry]) -> BaseGeometry | None:
    """One geometry for an item of several assets: that of the asset which covers all others, else their union.

    "Covers" allows for 1e-4 of the size, since bands of 10, 20 and 60 m end a pixel apart and a union of those would be
    all slivers. None where there is no footprint.
    """
    unique = sorted({shape.wkb: shape for shape in footprints}.values(), key=lambda shape: (-shape.area, shape.wkb))
    if not unique:
        return None
    largest = unique[0]
    west, south, east, north = largest.bounds
    reach = largest.buffer(1e-4 * max(east - west, north - south)) if len(unique) > 1 else largest
    outside = [shape for shape in unique[1:] if not shape.within(reach)]
    return rounded(shapely.union_all([largest, *outside])) if outside else largest


def bbox_of(geometry: BaseGeometry) -> BBox:
    """West, south, east, north of a geometry within ±180 degrees.

    West exceeds east if the geometry was cut at the antimeridian and lies within 180 degrees around it.
    """
    west, south, east, north = (float(value) for value in geometry.bounds)
    if west == -_HALF_TURN and east == _HALF_TURN:
        spans = sorted((part.bounds[0], part.bounds[2]) for part in shapely.get_parts(geometry))
        gaps, reached = [], spans[0][1]
        for start, end in spans[1:]:
            gaps.append((start - reached, reached, start))
            reached = max(reached, end)
        gap, end, start = max(gaps, default=(0.0, east, west))
        if gap >= _HALF_TURN:
            west, east = float(start), float(end)
    return (west, south, east, north)


def to_geojson(geometry: BaseGeometry) -> dict[str, Any]:
    """A GeoJSON geometry, as lists and numbers."""
    return json.loads(shapely.to_geojson(geometry))


def from_geojson(geometry: Mapping[str, Any]) -> BaseGeometry:
    """A footprint that another step made, checked and on the grid.

    Raises
    ------
    InvalidInput
        If it is no GeoJSON geometry, is invalid or leaves ±180, ±90 degrees.
    """
    text = f"The footprint {json.dumps(geometry)[:120]}"
    try:
        shape = shapely.from_geojson(json.dumps(geometry))
    except (shapely.errors.GEOSException, TypeError, ValueError) as error:
        raise InvalidInput(f"{text} is not a GeoJSON geometry: {error}.") from error
    if shape is None or shape.is_empty or not shape.is_valid:
        raise InvalidInput(f"{text} is empty or invalid.", hint="Rings must be closed and must not cross themselves.")
    if not _WORLD.covers(shape):
        raise InvalidInput(
            f"{text} leaves ±180, ±90 degrees.", hint="It must be in EPSG:4326, cut at the antimeridian."
        )
    return rounded(shape)


def _place(raster: Raster, way: str | None, columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Longitudes and latitudes of pixel corners; not finite where a point is not on Earth."""
    import numpy as np
    from rasterio.transform import GCPTransformer, RPCTransformer

    dataset, crs = raster.dataset, raster.crs
    points, _ = dataset.gcps
    if not dataset.transform.is_identity:
        a, b, c, d, e, f = tuple(dataset.transform)[:6]
        x, y = a * columns + b * rows + c, d * columns + e * rows + f
    else:
        # offset "ul" is the upper left corner of a pixel
        transformer = GCPTransformer(points) if points else RPCTransformer(dataset.rpcs)
        with transformer:
            placed = transformer.xy(rows.tolist(), columns.tolist(), offset="ul")
        x, y = np.asarray(placed[0]), np.asarray(placed[1])
    if crs is not None and crs.is_geographic:
        # grids whose pixel centres lie on the poles reach half a pixel beyond them
        quarter = math.pi / 2 / crs.units_factor[1]
        y = np.clip(y, -quarter, quarter)
    if way is not None:
        x, y = _transformer(way).transform(x, y)
    lon, lat = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    lost = ~(np.isfinite(lon) & np.isfinite(lat)) | (np.abs(lat) > _POLE + 1e-6) | (np.abs(lon) > 3 * _FULL_TURN)
    return np.where(lost, np.nan, lon), np.where(lost, np.nan, np.clip(lat, -_POLE, _POLE))


def _definition(raster: Raster) -> str | None:
    """What pyproj makes the CRS of."""
    if raster.crs is None:
        return None
    return raster.identity if isinstance(raster.identity, str) else raster.crs.to_wkt(version="WKT2_2019")


@lru_cache(maxsize=64)
def _transformer(definition: str) -> Transformer:
    """From a CRS to longitude and latitude.

    By pyproj, which says inf where rasterio fails as a whole when one point is not on Earth.

    Raises
    ------
    InvalidInput
        If there is no way, as from the Moon.
    """
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    try:
        return Transformer.from_crs(definition, "EPSG:4326", always_xy=True)
    except ProjError as error:
        raise InvalidInput(f"The CRS {definition[:80]!r} has no way to EPSG:4326: {error}.") from error


def _pole_inside(raster: Raster, way: str | None) -> bool | None:
    """Whether the pixels hold the north pole (True) or the south pole (False); None for neither or both."""
    import numpy as np

    dataset, crs = raster.dataset, raster.crs
    if crs is None or way is None or crs.is_geographic or dataset.transform.is_identity:
        return None
    x, y = _poles(way)
    a, b, c, d, e, f = tuple(~dataset.transform)[:6]
    with np.errstate(invalid="ignore"):
        columns, rows = a * x + b * y + c, d * x + e * y + f
    inside = [0 < c < dataset.width and 0 < r < dataset.height for c, r in zip(columns, rows, strict=True)]
    return None if inside[0] == inside[1] else inside[0]


@lru_cache(maxsize=64)
def _poles(way: str) -> tuple[np.ndarray, np.ndarray]:
    """The north and the south pole in the CRS that a transformer comes from; not finite where it has none."""
    import numpy as np

    return _transformer(way).transform(np.zeros(2), np.asarray([_POLE, -_POLE]), direction="INVERSE")


def _outline(lon: np.ndarray, lat: np.ndarray, *, north: bool | None) -> BaseGeometry:
    """The polygon of a ring of projected points, in longitudes that may leave ±180 rather than jump."""
    import numpy as np

    at_pole = np.abs(lat) > _POLE - 1e-9
    alone = at_pole & ~np.roll(at_pole, 1) & ~np.roll(at_pole, -1)
    points: list[tuple[float, float]] = []
    corners: list[int] = []
    for index, (x, y) in enumerate(zip(lon.tolist(), lat.tolist(), strict=True)):
        if index % _PARTS == 0:
            corners.append(len(points))
        if alone[index]:  # here every longitude is right: go along the pole from the last one to the next
            around = [lon[(index + step) % len(lon)].item() for step in (-1, 1)]
            points += [(_near(around[0], points[-1][0] if points else around[0]), y)]
            points += [(_near(around[1], points[-1][0]), y)]
        else:
            points.append((_near(x, points[-1][0]) if points else x, y))
    closing = _near(points[0][0], points[-1][0])
    turned = closing - points[0][0]
    corners.append(len(points))
    points.append((closing, points[0][1]))
    ring = [p for a, b in pairwise(corners) for p in _bent(points, a, b)]
    if abs(turned) > _HALF_TURN:  # the ring goes around a pole
        upper = (sum(y for _, y in points) > 0) if north is None else north
        pole = _POLE if upper else -_POLE
        ring += [points[-1], (closing, pole), (points[0][0], pole)]
    return shapely.make_valid(shapely.Polygon(ring), method="structure", keep_collapsed=False)


def _is_plain(lon: np.ndarray, lat: np.ndarray) -> bool:
    """Whether a ring of projected points is the polygon of its four corners.

    It meets no pole and no antimeridian, and every point is so close to the chord of its edge that `_bent` would take
    none of them, by far. Most tiles are, and this takes 0.1 ms where asking GEOS takes 0.5.
    """
    import numpy as np

    if np.abs(lat).max() > _POLE - 1e-9 or np.abs(np.diff(lon, append=lon[0])).max() >= _HALF_TURN:
        return False
    edges = np.stack([lon, lat], axis=-1).reshape(4, _PARTS, 2)
    starts = edges[:, :1]
    chords = np.roll(starts, -1, axis=0) - starts
    lengths = np.hypot(chords[..., 0], chords[..., 1])
    if not lengths.all():
        return False
    away = edges - starts
    along = (away * chords).sum(axis=-1)
    across = np.abs(away[..., 0] * chords[..., 1] - away[..., 1] * chords[..., 0])
    # What lies beside the chord is as far from it as from its line; a distance times the length is an area.
    beside = (along >= 0.0).all() and (along <= lengths * lengths).all()
    return bool(beside and (across <= 0.5 * np.maximum(_BEND * lengths, _GRID) * lengths).all())


def _near(lon: float, last: float) -> float:
    """The longitude, by whole turns, that is nearest to the last one."""
    return lon - _FULL_TURN * math.floor((lon - last) / _FULL_TURN + 0.5)


def _bent(points: list[tuple[float, float]], first: int, last: int) -> list[tuple[float, float]]:
    """An edge's first point and those at which it must be bent: halved until every point is close to its chord."""
    start, end = points[first], points[last]
    chord = shapely.LineString([start, end])
    tolerance = max(_BEND * chord.length, _GRID)
    between = points[first + 1 : last]
    # All points in one call: one by one they took 2.7 ms of the 3.3 ms that a footprint took.
    if between and (shapely.distance(chord, shapely.points(between)) > tolerance).any():
        middle = (first + last) // 2
        return _bent(points, first, middle) + _bent(points, middle, last)
    return [points[first]]


def _inner_hull(raster: Raster, way: str | None, edge_lon: np.ndarray, edge_lat: np.ndarray) -> BaseGeometry:
    """The convex hull of what of a raster is on Earth, from a grid of its pixels and from its edges."""
    import numpy as np

    steps = np.linspace(0.0, 1.0, _INNER)
    columns, rows = (part.ravel() for part in np.meshgrid(steps, steps))
    lon, lat = _place(raster, way, columns * raster.dataset.width, rows * raster.dataset.height)
    lon, lat = np.concatenate([lon, edge_lon]), np.concatenate([lat, edge_lat])
    known = np.isfinite(lon) & np.isfinite(lat)
    if not known.any():
        return shapely.Polygon()
    # the middle of the places that are on Earth, as a mean of directions: longitudes have no mean
    angles = np.radians(lon[known])
    middle = math.degrees(math.atan2(float(np.sin(angles).mean()), float(np.cos(angles).mean())))
    unwrapped = [_near(x, middle) for x in lon[known].tolist()]
    return shapely.MultiPoint(list(zip(unwrapped, lat[known].tolist(), strict=True))).convex_hull


def _wrapped(outline: BaseGeometry) -> BaseGeometry:
    """The same area within ±180 degrees: a polygon that crosses the antimeridian becomes two."""
    # on the grid first: 180.00000000001 must not leave a sliver on the other side
    snapped = shapely.set_precision(outline, _GRID)
    if outline.is_empty:
        return outline
    if snapped.is_empty:  # smaller than the grid
        snapped = outline.representative_point()
    west, _, east, _ = snapped.bounds
    if west >= -_HALF_TURN and east <= _HALF_TURN:
        return snapped
    turns = range(math.floor((west + _HALF_TURN) / _FULL_TURN), math.ceil((east - _HALF_TURN) / _FULL_TURN) + 1)
    copies = [shapely.transform(snapped, lambda xy, turn=turn: xy - [_FULL_TURN * turn, 0.0]) for turn in turns]
    pieces = [piece for copy in copies for piece in shapely.get_parts(copy.intersection(_WORLD))]
    kinds = {"Polygon", "MultiPolygon", snapped.geom_type}
    areas = [piece for piece in pieces if piece.geom_type in kinds]
    # the two halves of a raster that spans the world meet somewhere: no vertices along that line
    return shapely.union_all(areas).simplify(0.0)
