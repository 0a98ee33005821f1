"""Summaries of a dataset's items: sets of names, ranges of numbers, as STAC Collections have them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

from versioning.canonical import canonical

__all__ = ["Summing", "dataset_summaries"]

# A set of more values says nothing about a dataset.
_MOST_VALUES = 32
_REMEMBERED = 1_000
# Numbers of which people want the values rather than the range.
_SETS_OF_NUMBERS = frozenset({"gsd"})
# Times are the extent's; texts about single items sum up to nothing.
_LEFT_OUT = frozenset(
    [
        *("datetime", "start_datetime", "end_datetime", "created", "updated", "title", "description", "license"),
        *("processing:lineage", "processing:datetime", "label:description", "pin:original_id"),
    ]
)
_OF_ASSETS = ("proj:code", "gsd", "eo:cloud_cover")
_BAND_FIELDS = ("name", "description", "unit", "data_type", "nodata", "gsd")


@dataclass(slots=True)
class _Field:
    """The values of one field so far: a range while all are numbers, a set while there are few."""

    values: set[str | float | bool] = dataclass_field(default_factory=set)
    texts: bool = False
    numbers: bool = False
    many: bool = False
    low: float = math.inf
    high: float = -math.inf

    def add(self, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return
        if isinstance(value, str):
            self.texts = True
        elif math.isfinite(value):
            self.numbers = True
            self.low, self.high = min(self.low, value), max(self.high, value)
        else:
            return
        if not self.many:
            self.values.add(value)
        if len(self.values) > _MOST_VALUES:
            self.many = True
            self.values.clear()

    def summary(self, name: str) -> Any:
        if self.texts == self.numbers:  # nothing seen, or two kinds of values
            return None
        if self.texts or (name in _SETS_OF_NUMBERS and not self.many):
            return None if self.many else sorted(self.values)  # type: ignore[reportArgumentType]
        return {"minimum": self.low, "maximum": self.high}


def dataset_summaries(items: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum up items, in one pass and in memory that grows with the names of their properties only; in any order.

    Parameters
    ----------
    items
        STAC Items, stored or served.

    Returns
    -------
    dict
        For each property the set of its texts (none if there are more than 32) or the range of its numbers; lists
        such as ``instruments`` count by their members. ``proj:code``, ``gsd`` and ``eo:cloud_cover`` are collected
        from assets too. ``bands`` are the distinct bands, if they are at most 32.
    """
    summing = Summing()
    for item in items:
        summing.add(item)
    return summing.summaries()


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
            if name not in _LEFT_OUT:
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
    field = fields.setdefault(name, _Field())
    for member in value if isinstance(value, list | tuple) else (value,):
        field.add(member)
