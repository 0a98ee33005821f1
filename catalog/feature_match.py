"""Which feature of one revision became which of the other, each at most once, the surest pairs first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from catalog.vector_digest import encode_features
from catalog.vector_near import margin_of, same_within
from catalog.vector_values import encode_value
from catalog.vectors import Features
from versioning.errors import InvalidInput

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

__all__ = ["Match", "find_key"]

_KEYS = frozenset({"id", "uuid", "guid", "gid", "osm_id", "objectid", "feature_id", "featureid"})
_OVERLAP = 0.1
_NEAR_STEPS = 1_000
_NO_MATCH = 3
T = TypeVar("T")


def find_key(before: Features, after: Features, named: str | None) -> str | None:
    """The property that identifies features on both sides: the one named, or the first such name that does.

    Raises InvalidInput if a named one is missing in a feature or shared by two.
    """
    if named is not None:
        for side in (before, after):
            if not _identifies(side, named):
                message = f"{side.source}: the key {named!r} is missing in a feature, or two features share it."
                raise InvalidInput(message, hint="Name a property that is unique, or none.")
        return named
    usual = sorted(name for name in before.columns if name.lower() in _KEYS)
    likely = sorted(name for name in before.columns if name.lower().endswith("_id") and name not in usual)
    candidates = [*usual, *likely]
    return next((name for name in candidates if _identifies(before, name) and _identifies(after, name)), None)


def _identifies(side: Features, name: str) -> bool:
    coded = [encode_value(value, top=True) for value in side.columns.get(name, [])]
    return len(coded) == len(side) and all(coded) and len(set(coded)) == len(coded)


class Match:
    """Pairs of (number before, number after), and what stays alone on either side.

    Attributes
    ----------
    equal, changed
        Pairs of equal content, and of the others.
    removed, added
        Numbers without a counterpart, in reading order.
    old, new
        The normal forms (geometry, properties) of both sides.
    step
        The step of the grid on which they were made.
    """

    def __init__(self, before: Features, after: Features, step: float, key: str | None) -> None:
        self._before, self._after, self.step = before, after, step
        self.old = list(zip(*encode_features(before, step), strict=True))
        self.new = list(zip(*encode_features(after, step), strict=True))
        self._left_old = dict.fromkeys(range(len(before)))
        self._left_new = dict.fromkeys(range(len(after)))
        self.equal: list[tuple[int, int]] = []
        self.changed: list[tuple[int, int]] = []
        if before.crs == after.crs:
            self.equal = self._same(self.old, self.new)
            if key is not None:
                sides = (before.columns[key], after.columns[key])
                self.changed += self._same(*([encode_value(value, top=True) for value in side] for side in sides))
            self.changed += self._same([geometry for geometry, _ in self.old], [geometry for geometry, _ in self.new])
            self.changed += self._near()
        self.removed, self.added = list(self._left_old), list(self._left_new)

    def _take(self, pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        taken = []
        for one, other in pairs:
            if one in self._left_old and other in self._left_new:
                del self._left_old[one], self._left_new[other]
                taken.append((one, other))
        return taken

    def _same(self, old: Sequence[T], new: Sequence[T]) -> list[tuple[int, int]]:
        """Pair what is still alone and has equal values; of several equal ones the first with the first."""
        places: dict[T, list[int]] = defaultdict(list)
        for at in reversed(self._left_new):
            places[new[at]].append(at)
        return self._take([(at, places[old[at]].pop()) for at in self._left_old if places.get(old[at])])

    def _near(self) -> list[tuple[int, int]]:
        """Pair features of equal properties: noise first, then by overlap, then by distance; the closest first."""
        import shapely

        here = self._by_properties(self._left_old, self.old, self._before)
        there = self._by_properties(self._left_new, self.new, self._after)
        near = self.step * _NEAR_STEPS
        shapes, others = self._before.geometries.tolist(), self._after.geometries.tolist()
        ranked: list[tuple[int, float, int, int]] = []
        for properties in here.keys() & there.keys():
            old, new = here[properties], there[properties]
            bounds = shapely.bounds(self._before.geometries[old]) + np.array([-near, -near, near, near])
            pairs = shapely.STRtree(self._after.geometries[new]).query(shapely.box(*bounds.T)).T.tolist()
            for at, place in pairs:
                one, other = old[at], new[place]
                ranked.append((*self._rank(shapes[one], others[other]), one, other))
        return self._take((one, other) for rank, _, one, other in sorted(ranked) if rank < _NO_MATCH)

    @staticmethod
    def _by_properties(left: Iterable[int], rows: list[tuple[bytes, bytes]], side: Features) -> dict[bytes, list[int]]:
        groups: dict[bytes, list[int]] = defaultdict(list)
        for at in left:
            if side.geometries[at] is not None:
                groups[rows[at][1]].append(at)
        return groups

    def _rank(self, shape: BaseGeometry, other: BaseGeometry) -> tuple[int, float]:
        """How sure it is that one geometry became the other: 0 noise, 1 overlap, 2 nearness, 3 not at all."""
        from shapely.errors import GEOSException

        if same_within(shape, other, margin_of(self.step)):
            return 0, 0.0
        if shape.area and other.area:
            try:
                overlap = shape.intersection(other).area / shape.union(other).area
            except GEOSException:
                overlap = 0.0  # polygons that cross themselves have no overlay; their distance still counts
            if overlap >= _OVERLAP:
                return 1, 1 - overlap
        distance = float(shape.hausdorff_distance(other))
        return (2 if distance <= max(self.step * _NEAR_STEPS, shape.length / 4) else _NO_MATCH), distance
