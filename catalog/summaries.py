"""Summaries of a dataset's items: sets of names, ranges of numbers, and JSON Schemas of the rest, as STAC has them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

from catalog.query_time import parse_instant
from versioning.canonical import canonical

__all__ = ["Summing", "dataset_summaries", "telling_summaries"]

# A set of more values says nothing about a dataset.
_MOST_VALUES = 32
_REMEMBERED = 1_000
# Numbers of which people want the values rather than the range.
_SETS_OF_NUMBERS = frozenset({"gsd"})
# The extent has times; bands are collected from assets.
_ELSEWHERE = frozenset({"datetime", "bands"})
# Times and texts about single items sum up to nothing: only their types are told.
_SINGLE = frozenset(
    [
        *("start_datetime", "end_datetime", "created", "updated", "title", "description", "license"),
        *("processing:lineage", "processing:datetime", "label:description", "pin:original_id"),
    ]
)
_JSON_TYPES = {str: "string", bool: "boolean", int: "number", float: "number", dict: "object", list: "array"}
_OF_ASSETS = ("proj:code", "gsd", "eo:cloud_cover")
_BAND_FIELDS = ("name", "description", "unit", "data_type", "nodata", "gsd")


@dataclass(slots=True)
class _Field:
    """The values of one field so far: a range while all are numbers, a set while there are few, and their types."""

    single: bool = False
    values: set[str | float | bool] = dataclass_field(default_factory=set)
    types: set[str] = dataclass_field(default_factory=set)
    times: bool = True
    lists: bool = False
    many: bool = False
    low: float = math.inf
    high: float = -math.inf

    def add(self, value: object) -> None:
        kind = _JSON_TYPES.get(type(value))
        if kind is None or (isinstance(value, float) and not math.isfinite(value)):
            return
        self.types.add(kind)
        if isinstance(value, str) and self.times:
            self.times = parse_instant(value) is not None
        if self.single or not isinstance(value, str | int | float):
            return
        if kind == "number":
            self.low, self.high = min(self.low, value), max(self.high, value)  # type: ignore[reportArgumentType]
        if not self.many:
            self.values.add(value)
        if len(self.values) > _MOST_VALUES:
            self.many = True
            self.values.clear()

    def summary(self, name: str) -> Any:
        if not self.types:
            return {"type": "array"} if self.lists else None
        listed = not self.many and not self.single
        if self.types == {"number"} and not self.lists and not self.single:
            as_set = name in _SETS_OF_NUMBERS and listed
            return sorted(self.values) if as_set else {"minimum": self.low, "maximum": self.high}
        if listed and self.types in ({"string"}, {"boolean"}):
            return sorted(self.values)
        schema: dict[str, Any] = {"type": min(self.types) if len(self.types) == 1 else sorted(self.types)}
        if self.types == {"string"} and self.times:
            schema["format"] = "date-time"
        return {"type": "array", "items": schema} if self.lists else schema


def dataset_summaries(items: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum up items, in one pass and in memory that grows with the names of their properties only; in any order.

    Parameters
    ----------
    items
        STAC Items, stored or served.

    Returns
    -------
    dict
        For each property the set of its texts or the range of its numbers; lists of texts such as ``instruments``
        count by their members. A JSON Schema of its type where there is neither: more than 32 texts, objects, lists of
        numbers, values of several types, and what is of single items only, such as ``created`` and ``title``.
        ``proj:code``, ``gsd`` and ``eo:cloud_cover`` are collected from assets too. ``bands`` are the distinct bands,
        if they are at most 32.
    """
    summing = Summing()
    for item in items:
        summing.add(item)
    return summing.summaries()


def telling_summaries(summaries: Mapping[str, Any]) -> dict[str, Any]:
    """What says something of a dataset as a whole: without the mere types of what single items have."""
    return {name: value for name, value in summaries.items() if name not in _SINGLE or not _is_schema(value)}


def _is_schema(summary: object) -> bool:
    return isinstance(summary, dict) and "type" in summary


class Summing:
    """What a set of items adds up to so far. Two sets that are equal here add the same to any third."""

    def __init__(self) -> None:
        self._fields: dict[str, _Field] = {}
        self._bands: dict[bytes, dict[str, Any]] = {}
        self._seen: set[bytes] = set()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Summing):
            return NotImplemented
        return self._fields == other._fields and self._bands.keys() == other._bands.keys()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def add(self, item: Mapping[str, Any]) -> None:
        """Take one more item in."""
        properties, assets = item.get("properties") or {}, item.get("assets") or {}
        for name, value in properties.items():
            if name not in _ELSEWHERE:
                _add(self._fields, name, value)
        for asset in assets.values():
            for name in _OF_ASSETS:
                _add(self._fields, name, asset.get(name))
            if len(self._bands) <= _MOST_VALUES:
                self._add_bands(asset)

    def summaries(self) -> dict[str, Any]:
        """The summaries, as `dataset_summaries` describes them."""
        found = {name: field.summary(name) for name, field in sorted(self._fields.items())}
        if 0 < len(self._bands) <= _MOST_VALUES:
            found["bands"] = [self._bands[key] for key in sorted(self._bands)]
        return {name: value for name, value in found.items() if value is not None}

    def _add_bands(self, asset: Mapping[str, Any]) -> None:
        shared = {key: asset[key] for key in _BAND_FIELDS if key in asset}
        # Most assets of a dataset have the same bands: looking at them took half of the time of all summaries.
        text = repr((shared, asset.get("bands"))).encode()
        if text in self._seen:
            return
        if len(self._seen) < _REMEMBERED:
            self._seen.add(text)
        for band in asset.get("bands") or ():
            whole = {
                key: value for key, value in {**shared, **band}.items() if key in _BAND_FIELDS or key.startswith("eo:")
            }
            self._bands[canonical(whole, where="band")] = whole


def _add(fields: dict[str, _Field], name: str, value: object) -> None:
    if value is None:
        return
    field = fields.get(name)
    if field is None:
        field = fields[name] = _Field(single=name in _SINGLE)
    if isinstance(value, list | tuple):
        field.lists = True
        for member in value:
            field.add(member)
    else:
        field.add(value)
