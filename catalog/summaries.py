"""Summaries of a dataset's items: sets of names, ranges of numbers, as STAC Collections have them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from versioning.canonical import canonical

__all__ = ["dataset_summaries"]

# A set of more values says nothing about a dataset.
_MOST_VALUES = 32
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


class _Field:
    """The values of one field so far: a range while all are numbers, a set while there are few."""

    def __init__(self) -> None:
        self.values: set[str | float | bool] = set()
        self.texts = self.numbers = False
        self.many = False
        self.low, self.high = math.inf, -math.inf

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
    fields: dict[str, _Field] = {}
    bands: dict[bytes, dict[str, Any]] = {}
    for item in items:
        properties, assets = item.get("properties") or {}, item.get("assets") or {}
        for name, value in properties.items():
            if name not in _LEFT_OUT:
                _add(fields, name, value)
        for asset in assets.values():
            for name in _OF_ASSETS:
                _add(fields, name, asset.get(name))
            if len(bands) <= _MOST_VALUES:
                bands.update(_bands(asset))
    found = {name: field.summary(name) for name, field in sorted(fields.items())}
    if 0 < len(bands) <= _MOST_VALUES:
        found["bands"] = [bands[key] for key in sorted(bands)]
    return {name: value for name, value in found.items() if value is not None}


def _add(fields: dict[str, _Field], name: str, value: object) -> None:
    if value is None:
        return
    field = fields.setdefault(name, _Field())
    for member in value if isinstance(value, list | tuple) else (value,):
        field.add(member)


def _bands(asset: Mapping[str, Any]) -> dict[bytes, dict[str, Any]]:
    found = {}
    for band in asset.get("bands") or ():
        shared = {key: asset[key] for key in _BAND_FIELDS if key in asset}
        whole = {
            key: value for key, value in {**shared, **band}.items() if key in _BAND_FIELDS or key.startswith("eo:")
        }
        found[canonical(whole, where="band")] = whole
    return found
