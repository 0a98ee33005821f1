"""Whether two geometries are one but for noise: vertex by vertex, whatever their rings' starts and directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

__all__ = ["margin_of", "same_within"]

_ROTATIONS = 16


def margin_of(step: float) -> float:
    """The precision and a little: stored coordinates are decimals, and a difference of decimals is not exact."""
    return step * (1 + 1e-6)


def same_within(one: BaseGeometry | None, other: BaseGeometry | None, margin: float) -> bool:
    """Whether each vertex of one lies within the margin, by axis, of its counterpart in the other.

    Ring starts, ring directions and the order of holes and parts may differ. Collections are never the same.
    """
    import shapely

    if one is None or other is None or one.has_z != other.has_z:
        return False
    if "GeometryCollection" in (one.geom_type, other.geom_type):
        return False
    return _pair_off(shapely.get_parts(one).tolist(), shapely.get_parts(other).tolist(), margin, _same_part)


def _pair_off(
    left: list[BaseGeometry],
    right: list[BaseGeometry],
    margin: float,
    same: Callable[[BaseGeometry, BaseGeometry, float], bool],
) -> bool:
    if len(left) != len(right):
        return False
    free = list(right)
    for item in left:
        match = next((number for number, found in enumerate(free) if same(item, found, margin)), None)
        if match is None:
            return False
        del free[match]
    return True


def _same_part(one: BaseGeometry, other: BaseGeometry, margin: float) -> bool:
    import shapely

    if one.geom_type != other.geom_type:
        return False
    if one.geom_type == "Polygon":
        mine, theirs = shapely.get_rings(one).tolist(), shapely.get_rings(other).tolist()
        return _same_ring(mine[0], theirs[0], margin) and _pair_off(mine[1:], theirs[1:], margin, _same_ring)
    left, right = _vertices(one), _vertices(other)
    return left.shape == right.shape and bool((np.abs(left - right) <= margin).all())


def _same_ring(one: BaseGeometry, other: BaseGeometry, margin: float) -> bool:
    left, right = _vertices(one)[:-1], _vertices(other)[:-1]
    if left.shape != right.shape or not len(left):
        return False
    places = np.arange(len(left))
    starts = np.nonzero((np.abs(right - left[0]) <= margin).all(axis=1))[0][:_ROTATIONS]
    return any(
        bool((np.abs(right[(start + direction * places) % len(right)] - left) <= margin).all())
        for start in starts
        for direction in (1, -1)
    )


def _vertices(geometry: BaseGeometry) -> np.ndarray:
    """Coordinates without equal successors."""
    import shapely

    found = shapely.get_coordinates(geometry, include_z=geometry.has_z)
    keep = np.ones(len(found), dtype=bool)
    keep[1:] = (found[1:] != found[:-1]).any(axis=1)
    return found[keep]
