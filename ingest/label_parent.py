"""Labels that were only exported again keep the coordinates of the version before.

Noise far below the precision still crosses an edge of the precision grid now and then, and would make a new version.
So a feature whose properties are the parent's and whose every vertex lies within the precision of the parent's
vertex, in x and in y, takes the parent's geometry.
"""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import shapely

from catalog.vector_digest import encode_features
from catalog.vector_near import margin_of, same_within
from catalog.vectors import Features

__all__ = ["keep_parent_geometries"]


def keep_parent_geometries(features: Features, parent: Features, step: float) -> tuple[Features, int]:
    """The features with the parent's geometry where only noise differs, and how many took it.

    Parameters
    ----------
    features, parent
        Both in one CRS; where they are not, nothing is kept.
    step
        The precision, in units of that CRS.
    """
    if features.crs != parent.crs:
        return features, 0
    new = list(zip(*encode_features(features, step), strict=True))
    old = list(zip(*encode_features(parent, step), strict=True))
    open_new, open_old = _unmatched(new, old)
    geometries = features.geometries.copy()
    shapes, parents = features.geometries.tolist(), parent.geometries.tolist()
    kept = 0
    groups: dict[bytes, list[int]] = defaultdict(list)
    for number in sorted(open_old, key=old.__getitem__):
        groups[_alike(old[number])].append(number)
    members: dict[bytes, list[int]] = defaultdict(list)
    for number in sorted(open_new, key=new.__getitem__):
        if _alike(new[number]) in groups:
            members[_alike(new[number])].append(number)
    for key, numbers in members.items():
        candidates = groups[key]
        tree = shapely.STRtree(parent.geometries[candidates])
        bounds = shapely.bounds(geometries[numbers])
        margin = margin_of(step)
        boxes = shapely.box(*(bounds + np.array([-margin, -margin, margin, margin])).T)
        used: set[int] = set()
        pairs = tree.query(boxes)
        for at, place in sorted(zip(pairs[0].tolist(), pairs[1].tolist(), strict=True)):
            number, other = numbers[at], candidates[place]
            if number not in open_new or other in used:
                continue
            if same_within(shapes[number], parents[other], margin):
                geometries[number] = parent.geometries[other]
                open_new.discard(number)
                used.add(other)
                kept += 1
    changed = Features(geometries, features.columns, features.crs, features.layer, features.source, features.precision)
    return changed, kept


def _unmatched(new: list[tuple[bytes, bytes]], old: list[tuple[bytes, bytes]]) -> tuple[set[int], set[int]]:
    """The numbers of what has no exact equal on the other side, each taken once."""
    left_old, left_new = Counter(old), Counter(new)
    both = left_old & left_new
    found = []
    for rows in (new, old):
        left = Counter(both)
        numbers = set()
        for number, row in enumerate(rows):
            if left[row] > 0:
                left[row] -= 1
            else:
                numbers.add(number)
        found.append(numbers)
    return found[0], found[1]


def _alike(row: tuple[bytes, bytes]) -> bytes:
    """What noise cannot change: kind, dimensions, number of parts, and the properties."""
    geometry, properties = row
    return geometry[:6] + properties
