"""The parts of a CQL2 filter that all its operators share: records, property names, refusals, three-valued logic."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import shapely

from catalog.cql_values import member, path_of
from versioning.errors import InvalidInput

__all__ = ["COLUMNS", "Getter", "Record", "Test", "Uses", "both", "getter", "property_name", "property_of", "refused"]

_PREFIX = re.compile(r"(?:properties\.)+")
_LONGEST_NAME = 200
# Names that stand for a column of the row (queryable_column of pgstac 0.10): an item's time is where its range begins.
COLUMNS = {
    "id": "id",
    "collection": "collection",
    "geometry": "geometry",
    "datetime": "start",
    "start_datetime": "start",
    "end_datetime": "end",
}


class Record(Protocol):
    """One item as a filter sees it; ``item`` and ``shape`` are read only by filters that say so in :class:`Uses`."""

    @property
    def id(self) -> str:
        """The item's id."""
        ...

    @property
    def collection(self) -> str:
        """The collection id, ``landcover--v3``."""
        ...

    @property
    def start(self) -> int | None:
        """Where the item's time range begins, in microseconds since 1970."""
        ...

    @property
    def end(self) -> int | None:
        """Where it ends."""
        ...

    @property
    def shape(self) -> shapely.Geometry | None:
        """The item's footprint."""
        ...

    @property
    def item(self) -> dict[str, Any]:
        """The stored item."""
        ...


# True, False, or None for SQL's unknown.
Test = Callable[[Record], bool | None]
Getter = Callable[[Record], Any]


@dataclass(slots=True)
class Uses:
    """What a filter reads of an item beside the cheap columns."""

    item: bool = False
    geometry: bool = False
    names: set[str] = field(default_factory=set)


def refused(why: str, hint: str | None = None) -> InvalidInput:
    """The error of a filter that cannot be used."""
    return InvalidInput(f"filter cannot be used: {why}.", hint=hint, kind="invalid-filter")


def property_name(name: str) -> str:
    """A property's name without the prefix ``properties.``.

    Raises
    ------
    InvalidInput
        If nothing is left of it.
    """
    bare = _PREFIX.sub("", name, count=1) if name.startswith("properties.") else name
    if not bare.strip() or bare.strip() == "properties" or len(bare) > _LONGEST_NAME:
        raise InvalidInput(f"{name[:_LONGEST_NAME]!r} is not the name of a property.", hint="Write eo:cloud_cover.")
    return bare


def property_of(node: object) -> str | None:
    """The bare name if a node is a property."""
    name = node.get("property") if isinstance(node, dict) else None
    return property_name(name) if isinstance(name, str) else None


def getter(name: str, uses: Uses) -> Getter:
    """What reads a property of a record, as JSON (columns: as they are)."""
    uses.names.add(name)
    column = COLUMNS.get(name)
    if column is not None:
        uses.geometry |= column == "geometry"
        return _column(column)
    uses.item = True
    path = path_of(name)
    if len(path) == 2 and path[0] == "properties":  # noqa: PLR2004 - by far the most common, and worth its speed
        last = path[1]
        return lambda record: record.item["properties"].get(last)
    return lambda record: member(record.item, path)


def _column(column: str) -> Getter:
    readers: dict[str, Getter] = {
        "id": lambda record: record.id,
        "collection": lambda record: record.collection,
        "geometry": lambda record: record.shape,
        "start": lambda record: record.start,
        "end": lambda record: record.end,
    }
    return readers[column]


def both(tests: list[bool | None]) -> bool | None:
    """SQL's AND."""
    if False in tests:
        return False
    return None if None in tests else True
