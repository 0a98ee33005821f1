"""Geometries in their normal form: the same bytes for the same shape, however it was drawn.

`encode_geometries` is the definition (see `catalog.vector_digest` for the bytes); `decode_geometries` makes shapely
geometries of it again, which is what normalised label files hold.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from versioning.errors import InvalidInput

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

__all__ = ["NONE", "Grid", "decode_geometries", "encode_geometries"]

NONE = b"N"
_COLLECTION = 7
_LARGEST = 2.0**53
_COUNT = struct.Struct(">I")


class Grid:
    """The precision grid: coordinates become whole numbers of steps.

    Parameters
    ----------
    step
        Step of x and y, in units of the CRS.
    z_step
        Step of z: that of x and y, or a millimetre where these are degrees.
    """

    def __init__(self, step: float, z_step: float) -> None:
        self.steps = np.array([step, step, z_step])

    def snap(self, coordinates: np.ndarray, where: str) -> np.ndarray:
        """Whole numbers of steps, half to even, of (N, 2) or (N, 3) finite coordinates."""
        scaled = np.rint(coordinates / self.steps[: coordinates.shape[1]])
        if scaled.size and np.abs(scaled).max() >= _LARGEST:
            raise InvalidInput(f"{where}: a coordinate is too large for the precision {self.steps[0]:g}.")
        return scaled.astype(np.int64)

    def unsnap(self, steps: np.ndarray) -> np.ndarray:
        """Coordinates of whole steps: the doubles nearest to the decimal numbers where a step is 1/n."""
        size = self.steps[: steps.shape[1]]
        inverse = np.rint(1 / size)
        exact = np.abs(inverse * size - 1) < 1e-12  # noqa: PLR2004 - a few units of the last place
        return np.where(exact, steps / np.where(exact, inverse, 1), steps * size)


def encode_geometries(geometries: np.ndarray, grid: Grid, where: str) -> list[bytes]:
    """The normal form of each geometry of an array; NONE for None."""
    import shapely

    encoded = [NONE] * len(geometries)
    kinds = shapely.get_type_id(geometries)
    z = shapely.has_z(geometries)
    for dimensions in (2, 3):
        at_dimension = z == (dimensions == 3)  # noqa: PLR2004 - x, y, z
        for letter, numbers in ((b"P", (0, 4)), (b"L", (1, 2, 5)), (b"A", (3, 6))):
            (chosen,) = np.nonzero(np.isin(kinds, numbers) & at_dimension)
            if len(chosen):
                parts, owner = shapely.get_parts(geometries[chosen], return_index=True)
                made = _encode_parts(letter, parts, dimensions, grid, where)
                _join(encoded, chosen, owner, made, letter + b"%d" % dimensions)
    for number in np.nonzero(kinds == _COLLECTION)[0]:
        members = shapely.get_parts(geometries[number])
        members = members[~shapely.is_empty(members)]
        made = sorted(encode_geometries(members, grid, where))
        encoded[number] = b"C" + _COUNT.pack(len(made)) + b"".join(made)
    return encoded


def _join(encoded: list[bytes], chosen: np.ndarray, owner: np.ndarray, made: list[bytes], head: bytes) -> None:
    """Put parts together: a count and the parts in the order of their bytes."""
    counts = np.bincount(owner, minlength=len(chosen)).tolist()
    one = head + _COUNT.pack(1)
    at = 0
    for number, count in zip(chosen.tolist(), counts, strict=True):
        if count == 1:
            encoded[number] = one + made[at]
        else:
            encoded[number] = head + _COUNT.pack(count) + b"".join(sorted(made[at : at + count]))
        at += count


def _encode_parts(letter: bytes, parts: np.ndarray, dimensions: int, grid: Grid, where: str) -> list[bytes]:
    import shapely

    include_z = dimensions == 3  # noqa: PLR2004 - x, y, z
    if letter == b"P":
        data = grid.snap(shapely.get_coordinates(parts, include_z=include_z), where).astype(">i8").tobytes()
        size = 8 * dimensions
        return [data[at : at + size] for at in range(0, len(data), size)]
    if letter == b"L":
        coordinates, owner = shapely.get_coordinates(parts, include_z=include_z, return_index=True)
        steps, counts = _without_repeats(grid.snap(coordinates, where), owner, len(parts))
        return _counted(steps, counts)
    rings, polygon = shapely.get_rings(parts, return_index=True)
    coordinates, owner = shapely.get_coordinates(rings, include_z=include_z, return_index=True)
    steps, counts = _without_repeats(grid.snap(coordinates, where), owner, len(rings), closed=True)
    made = _counted(_least_rotations(steps, counts), counts)
    ring_counts = np.bincount(polygon, minlength=len(parts)).tolist()
    one = _COUNT.pack(1)
    found, at = [], 0
    for count in ring_counts:
        if count == 1:
            found.append(one + made[at])
        else:
            found.append(_COUNT.pack(count) + made[at] + b"".join(sorted(made[at + 1 : at + count])))
        at += count
    return found


def _counted(steps: np.ndarray, counts: np.ndarray) -> list[bytes]:
    data = steps.astype(">i8").tobytes()
    ends = np.cumsum(counts * (8 * steps.shape[1])).tolist()
    found, start = [], 0
    for count, end in zip(counts.tolist(), ends, strict=True):
        found.append(_COUNT.pack(count) + data[start:end])
        start = end
    return found


def _without_repeats(
    steps: np.ndarray, owner: np.ndarray, number: int, *, closed: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Drop vertices equal to the one before them, and of rings the closing one; with the counts that remain."""
    keep = np.ones(len(steps), dtype=bool)
    keep[1:] = (steps[1:] != steps[:-1]).any(axis=1) | (owner[1:] != owner[:-1])
    steps, owner = steps[keep], owner[keep]
    if closed and len(steps):
        counts = np.bincount(owner, minlength=number)
        ends = np.cumsum(counts)
        last, first = ends - 1, ends - counts
        closing = last[(steps[last] == steps[first]).all(axis=1) & (counts > 1)]
        steps, owner = np.delete(steps, closing, axis=0), np.delete(owner, closing)
    return steps, np.bincount(owner, minlength=number)


def _least_rotations(steps: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Each ring as the least of all its rotations in both directions, compared as sequences of whole numbers."""
    if not len(steps):
        return steps
    ends = np.cumsum(counts)
    starts = ends - counts
    owner = np.repeat(np.arange(len(counts)), counts)
    least = np.ones(len(steps), dtype=bool)
    for axis in range(steps.shape[1]):
        values = np.where(least, steps[:, axis], np.iinfo(np.int64).max)
        least &= values == np.minimum.reduceat(values, starts)[owner]
    (positions,) = np.nonzero(least)
    unique = np.add.reduceat(least, starts, dtype=np.int64) == 1
    origin = positions[np.searchsorted(positions, starts)] - starts
    after = steps[starts + (origin + 1) % counts]
    before = steps[starts + (origin - 1) % counts]
    order = _compare(after, before)
    direction = np.where(order > 0, -1, 1)
    within = np.arange(len(steps)) - starts[owner]
    result = steps[starts[owner] + (origin[owner] + direction[owner] * within) % counts[owner]]
    # Rings that touch themselves at their least vertex, or leave it the way they came, need the full comparison.
    for ring in np.nonzero((~unique | (order == 0)) & (counts > 2))[0]:  # noqa: PLR2004 - two vertices have one order
        vertices = [tuple(vertex) for vertex in steps[starts[ring] : ends[ring]].tolist()]
        result[starts[ring] : ends[ring]] = min(_rotate(vertices), _rotate(vertices[::-1]))
    return result


def _compare(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    order = np.zeros(len(left), dtype=np.int8)
    for axis in range(left.shape[1]):
        order = np.where(order == 0, np.sign(left[:, axis] - right[:, axis]), order)
    return order


def _rotate(values: list[Any]) -> list[Any]:
    """The least rotation in linear time (two candidates race; the loser skips what it has shown to be no better)."""
    size = len(values)
    one, two, same = 0, 1, 0
    while one < size and two < size and same < size:
        left, right = values[(one + same) % size], values[(two + same) % size]
        if left == right:
            same += 1
            continue
        if left > right:
            one += same + 1
        else:
            two += same + 1
        if one == two:
            two += 1
        same = 0
    start = min(one, two)
    return values[start:] + values[:start]


def decode_geometries(encoded: list[bytes], grid: Grid) -> np.ndarray:
    """Shapely geometries of normal forms: shells run counterclockwise, holes clockwise (RFC 7946, 3.1.6).

    Rings and lines that collapsed on the grid become as many equal or alternating vertices as shapely asks for.
    """
    import shapely

    made = np.empty(len(encoded), dtype=object)
    made[:] = [None if data == NONE else _decode(data, 0, grid)[0] for data in encoded]
    return shapely.orient_polygons(made)


def _decode(data: bytes, at: int, grid: Grid) -> tuple[BaseGeometry, int]:
    import shapely

    letter, count_at = data[at : at + 1], at + (1 if data[at : at + 1] == b"C" else 2)
    count = _COUNT.unpack_from(data, count_at)[0]
    here = count_at + 4
    parts: list[Any] = []
    if letter == b"C":
        for _ in range(count):
            part, here = _decode(data, here, grid)
            parts.append(part)
        return shapely.GeometryCollection(parts), here
    dimensions = int(data[at + 1 : at + 2])
    for _ in range(count):
        if letter == b"P":
            parts.append(shapely.Point(grid.unsnap(_steps(data, here, 1, dimensions))[0]))
            here += 8 * dimensions
        elif letter == b"L":
            vertices, here = _vertices(data, here, dimensions, grid)
            parts.append(shapely.LineString(vertices if len(vertices) > 1 else np.repeat(vertices, 2, axis=0)))
        else:
            rings = []
            number = _COUNT.unpack_from(data, here)[0]
            here += 4
            for _ in range(number):
                vertices, here = _vertices(data, here, dimensions, grid)
                ring = np.concatenate([vertices, vertices[:1]])
                rings.append(np.concatenate([ring, np.repeat(ring[-1:], max(0, 4 - len(ring)), axis=0)]))
            parts.append(shapely.Polygon(rings[0], rings[1:]))
    if count == 1:
        return parts[0], here
    multi = {b"P": shapely.MultiPoint, b"L": shapely.MultiLineString, b"A": shapely.MultiPolygon}[letter]
    return multi(parts), here


def _steps(data: bytes, at: int, count: int, dimensions: int) -> np.ndarray:
    return np.frombuffer(data, dtype=">i8", count=count * dimensions, offset=at).reshape(-1, dimensions)


def _vertices(data: bytes, at: int, dimensions: int, grid: Grid) -> tuple[np.ndarray, int]:
    count = _COUNT.unpack_from(data, at)[0]
    return grid.unsnap(_steps(data, at + 4, count, dimensions)), at + 4 + 8 * count * dimensions
