"""Tiles of the web Mercator square: which there are, where they lie in EPSG:3857, and which degrees they show.

Source: OGC 17-083r4, Annex D.1, WebMercatorQuad. Tile 0/0/0 is the whole square; x counts eastwards, y southwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from versioning.errors import NotFound

__all__ = ["DEEPEST", "HIGHEST_LATITUDE", "WORLD", "Tile"]

DEEPEST = 24
"""The deepest zoom level: a tile of 2.4 m."""

_RADIUS = 6_378_137.0
WORLD = 2 * math.pi * _RADIUS
"""The side of the square, in metres of EPSG:3857."""

HIGHEST_LATITUDE = math.degrees(math.atan(math.sinh(math.pi)))
"""85.0511…: where the square ends in the north and, negative, in the south."""

_HALF_TURN, _TURN = 180.0, 360.0

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile. Make one with :meth:`checked`."""

    z: int
    x: int
    y: int

    @classmethod
    def checked(cls, z: int, x: int, y: int) -> Tile:
        """The tile of these numbers.

        Raises
        ------
        NotFound
            If there is none.
        """
        if not 0 <= z <= DEEPEST:
            raise NotFound(
                f"There is no zoom level {str(z)[:20]}.", hint=f"There are 0 to {DEEPEST}.", kind="no-such-tile"
            )
        last = 2**z - 1
        if not (0 <= x <= last and 0 <= y <= last):
            raise NotFound(
                f"There is no tile x={str(x)[:20]}, y={str(y)[:20]} at zoom level {z}.",
                hint=f"Both are 0 to {last}.",
                kind="no-such-tile",
            )
        return cls(z, x, y)

    @property
    def side(self) -> float:
        """Its side in metres of EPSG:3857."""
        return WORLD / 2**self.z

    @property
    def bounds(self) -> Box:
        """West, south, east, north in EPSG:3857."""
        west, north = self.x * self.side - WORLD / 2, WORLD / 2 - self.y * self.side
        return west, north - self.side, west + self.side, north

    def area(self, margin: float) -> Box:
        """West, south, east, north in degrees, with a margin in sides of the tile.

        West is greater than east where that is across the antimeridian.
        """
        more = margin * self.side
        west, south, east, north = self.bounds
        low, high = (_latitude(y) for y in (south - more, north + more))
        left, right = ((x / WORLD) * _TURN for x in (west - more, east + more))
        if right - left >= _TURN:
            left, right = -_HALF_TURN, _HALF_TURN
        return _wrapped(left), low, _wrapped(right), high


def _latitude(y: float) -> float:
    degrees = math.degrees(math.atan(math.sinh(y / _RADIUS)))
    return max(-HIGHEST_LATITUDE, min(HIGHEST_LATITUDE, degrees))


def _wrapped(longitude: float) -> float:
    if longitude < -_HALF_TURN:
        return longitude + _TURN
    return longitude - _TURN if longitude > _HALF_TURN else longitude
