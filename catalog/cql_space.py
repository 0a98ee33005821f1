"""The spatial operators of CQL2 (S_INTERSECTS, S_WITHIN, …) on an item's footprint, in the plane, as PostGIS does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import shapely

from catalog.cql_nodes import Test, Uses, getter, property_of, refused
from catalog.query_area import box_shape, geometry_shape, parse_bbox, parse_geometry

__all__ = ["SPATIAL", "spatial_operands", "spatial_test"]

_Predicate = Callable[..., Any]
_PAIR = 2

SPATIAL: dict[str, _Predicate] = {
    "s_intersects": shapely.intersects,
    "intersects": shapely.intersects,
    "s_equals": shapely.equals,
    "s_disjoint": shapely.disjoint,
    "s_touches": shapely.touches,
    "s_within": shapely.within,
    "s_overlaps": shapely.overlaps,
    "s_crosses": shapely.crosses,
    "s_contains": shapely.contains,
}


def spatial_test(op: str, args: list[Any], uses: Uses) -> Test:
    """The test of a spatial operator between the item's footprint and a geometry or a box, in either order."""
    other, first = spatial_operands(op, args)
    footprint = getter("geometry", uses)
    holds = SPATIAL[op]

    def test(record: Any) -> bool | None:
        shape = footprint(record)
        if shape is None:
            return None
        try:
            return bool(holds(shape, other) if first else holds(other, shape))
        except shapely.errors.GEOSException:
            # An item whose own geometry is broken has no relation that could be told.
            return None

    return test


def spatial_operands(op: str, args: list[Any]) -> tuple[shapely.Geometry, bool]:
    """What a spatial operator compares footprints with, and whether the footprint is its first operand.

    Raises
    ------
    InvalidInput
        If it does not compare the footprint with one geometry or box.
    """
    if len(args) != _PAIR:
        raise refused(f"{op} takes 2 arguments and was given {len(args)}")
    places = [index for index, arg in enumerate(args) if property_of(arg) is not None]
    if len(places) != 1 or property_of(args[places[0]]) != "geometry":
        raise refused(f"{op} compares the property 'geometry' with a geometry or a box")
    return _shape(args[1 - places[0]]), places[0] == 0


def _shape(node: Any) -> shapely.Geometry:
    box = node.get("bbox") if isinstance(node, dict) and "type" not in node else node
    if isinstance(box, list):
        return box_shape(parse_bbox(box))
    if not isinstance(node, dict):
        raise refused("a spatial operator wants a GeoJSON geometry or a box")
    return geometry_shape(parse_geometry(node, what="the filter's geometry"), what="the filter's geometry")
