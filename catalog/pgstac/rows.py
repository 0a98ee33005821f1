"""Item revisions as rows of pgstac's table of items, and back: what comes back is exactly what was stored.

pgstac keeps an item's geometry in a column of PostGIS and the rest as jsonb. Most items survive that; those that would
not (no geometry, heights, a NUL in a text, pgstac's own marks) carry their exact JSON along.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import shapely

from catalog.query_area import footprint
from catalog.query_time import instant_text
from versioning.canonical import may_hold_long, parse
from versioning.rows import Row

__all__ = ["OPEN", "IndexedRow", "indexed_rows", "restored", "revision_id", "without_nul"]

# The end of a revision that is still valid.
OPEN = 2**31 - 1
_SRID = 4326
_EXACT = "pin:exact"
# The item's id once more: a search of several datasets that sorts by id cannot go by the ids of revisions.
_ID = "pin:id"
_PLAIN_KEYS = ({"type", "coordinates"}, {"type", "geometries"})
# Columns of pgstac's table, and a key that it takes for its own.
_NOT_CONTENT = ("id", "collection", "geometry", "type")
_FOREIGN = ("pgstac:base_item", _EXACT, _ID)
# What jsonb cannot hold.
_NUL = rb"\u0000"
# pgstac has ST_AsGeoJSON write twenty decimals: of a smaller number not all seventeen digits.
_FINEST, _LARGEST = 1e-3, 1e9
_TOGETHER = 512


@dataclass(frozen=True, slots=True)
class IndexedRow:
    """One revision as a row: ``geometry`` is EWKB in hex digits, ``numbers`` names where it has some."""

    id: str
    digest: bytes
    geometry: str
    start: str
    end: str
    content: str
    numbers: frozenset[str]


def revision_id(item_id: str, begins: int) -> str:
    """``t01!7``: ``!`` sorts below every character of an item id, so revisions sort as their items do."""
    return f"{item_id}!{begins}"


def indexed_rows(rows: Iterable[Row]) -> Iterator[IndexedRow]:
    """Rows of a version as rows of the index, in order; geometries are worked on some hundreds at a time."""
    waiting: list[Row] = []
    for row in rows:
        waiting.append(row)
        if len(waiting) == _TOGETHER:
            yield from _some(waiting)
            waiting = []
    yield from _some(waiting)


def _some(rows: list[Row]) -> Iterator[IndexedRow]:
    if not rows:
        return
    shapes = shapely.from_wkb(np.array([row.geometry for row in rows], dtype=object))
    written = shapely.to_geojson(shapes)
    west, _, east, _ = shapely.bounds(shapes).T
    odd = (west < -180) | (east > 180)  # noqa: PLR2004 - the antimeridian
    for place, row in enumerate(rows):
        crosses = odd[place] or (row.bbox is not None and row.bbox[0] > row.bbox[2])
        if crosses and shapes[place] is not None:
            shapes[place] = footprint(shapes[place], row.bbox)
            written[place] = None
        elif shapes[place] is None:
            shapes[place] = shapely.GeometryCollection()
    hexed = shapely.to_wkb(shapely.set_srid(shapes, _SRID), hex=True, include_srid=True, output_dimension=2)
    for row, geometry, text in zip(rows, hexed, written, strict=True):
        yield _indexed(row, geometry, text)


def _indexed(row: Row, geometry: str, written: str | None) -> IndexedRow:
    item = parse(row.item)
    plain = (
        written is not None
        and _survives(item["geometry"], orjson.loads(written))
        and _NUL not in row.item
        # A number of 2^53 and more is a float to the store (RFC 8785), and an integer to whoever reads jsonb.
        and not may_hold_long(row.item)
        and not any(key in item for key in _FOREIGN)
    )
    content = {key: value for key, value in item.items() if key not in _NOT_CONTENT and key not in _FOREIGN}
    if not plain:
        content = without_nul(content)
        content[_EXACT] = row.item.decode()
    content[_ID] = row.id
    assert row.start is not None and row.end is not None  # noqa: PT018 - an item without a time is refused
    return IndexedRow(
        id=row.id,
        digest=row.digest,
        geometry=geometry,
        start=instant_text(row.start),
        end=instant_text(row.end),
        content=orjson.dumps(content).decode(),
        numbers=frozenset((*_numbers(item["properties"]), *(f"assets.{name}" for name in _numbers(item["assets"])))),
    )


def _survives(geometry: dict[str, Any], written: dict[str, Any]) -> bool:
    """Whether PostGIS gives a geometry back as it is: in two dimensions, nothing beside it, of usual size."""
    return geometry.keys() in _PLAIN_KEYS and geometry == written and _usual(geometry)


def _usual(value: Any) -> bool:
    if isinstance(value, dict):
        return value.keys() in _PLAIN_KEYS and all(_usual(part) for part in value.values())
    if isinstance(value, list):
        return all(_usual(part) for part in value)
    return not isinstance(value, int | float) or value == 0 or _FINEST <= abs(value) <= _LARGEST


def _numbers(value: dict[str, Any]) -> Iterator[str]:
    """The names, with dots between them, under which there are numbers."""
    for name, member in value.items():
        kind = type(member)
        if kind is int or kind is float:
            yield name
        elif kind is dict:
            yield from (f"{name}.{inner}" for inner in _numbers(member))


def without_nul(value: Any) -> Any:
    """JSON with U+FFFF, which no text should have, for each NUL, which PostgreSQL has not; for items and filters."""
    if isinstance(value, str):
        return value.replace("\0", "\uffff")
    if isinstance(value, dict):
        return {without_nul(key): without_nul(member) for key, member in value.items()}
    return [without_nul(member) for member in value] if isinstance(value, list) else value


def restored(feature: dict[str, Any], collection: str) -> dict[str, Any]:
    """The stored item of a feature as pgstac's client gives it, with the id of its version's collection."""
    exact = feature.get(_EXACT)
    if exact is not None:
        item = parse(exact.encode())
    else:
        feature["id"] = feature.pop(_ID)
        for name in ("links", "collection"):
            feature.pop(name, None)
        # jsonb has an order of its own. In that of the store the answers of all backends are the same, byte for byte.
        item = orjson.loads(orjson.dumps(feature, option=orjson.OPT_SORT_KEYS))
    item["collection"] = collection
    return item
