"""Property values of vector files as plain Python values, the same whichever format held them.

A value is None, a bool, an int, a float, a str, bytes, or a list or dict of these (decoded JSON). Dates and times
become ISO 8601 text, NaN becomes None, and a 32-bit float the shortest decimal that names it (as in GeoJSON).
"""

from __future__ import annotations

import datetime as dt
import decimal
from typing import TYPE_CHECKING, Any

from versioning.errors import InvalidInput

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MAX_COLUMNS", "ROW_NUMBER", "Value", "checked_rows", "plain_values", "without_row_number"]

Value = None | bool | int | float | str | bytes | list[Any] | dict[str, Any]
"""A property's value; lists and dicts are decoded JSON."""

MAX_COLUMNS = 2_000
ROW_NUMBER = "fid"
"""Integers under this name, in any case, are row numbers of GeoPackage, QGIS and DBF files without attributes: a
re-export renumbers them, so they are not read."""


def plain_values(array: pa.ChunkedArray | pa.Array, name: str, where: str) -> list[Value]:
    """An Arrow column as plain values.

    Raises
    ------
    InvalidInput
        If the column's type has no counterpart (durations, maps with keys that are no text).
    """
    import pyarrow as pa

    kind = array.type
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        return [None if value is None else _shortest(value) for value in array.to_pylist()]
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        array = array.cast(pa.timestamp("us", tz=kind.tz), safe=False)
    try:
        values = array.to_pylist()
    except (pa.ArrowException, ValueError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{where}: the column {name!r} cannot be read ({error}).") from error
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_string(kind):
        return values
    return [_plain(value, name, where) for value in values]


def _shortest(value: float) -> Value:
    import numpy as np

    return None if value != value else float(str(np.float32(value)))  # noqa: PLR0124 - NaN is what differs from itself


def _plain(value: Any, name: str, where: str) -> Value:
    if value is None or isinstance(value, (bool, int, str, bytes)):
        return value
    if isinstance(value, float):
        return None if value != value else value  # noqa: PLR0124 - NaN is what differs from itself
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return _plain(float(value), name, where)
    if isinstance(value, list):
        return [_plain(item, name, where) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, name, where) for key, item in value.items()}
    raise InvalidInput(f"{where}: the column {name!r} holds values of type {type(value).__name__}, which no label has.")


def checked_rows(rows: list[dict[str, Value]], where: str) -> dict[str, list[Value]]:
    """Rows as columns, None where a row lacks a name; more than MAX_COLUMNS names would fill the memory: refused."""
    names: dict[str, None] = {}
    for row in rows:
        if not names.keys() >= row.keys():
            names.update(dict.fromkeys(row))
            if len(names) > MAX_COLUMNS:
                raise InvalidInput(f"{where}: more than {MAX_COLUMNS} different property names.")
    return {name: [row.get(name) for row in rows] for name in names}


def without_row_number(columns: dict[str, list[Value]]) -> dict[str, list[Value]]:
    """The columns without integers under the name of ROW_NUMBER, in any case."""
    kept: dict[str, list[Value]] = {}
    for name, values in columns.items():
        if name.lower() == ROW_NUMBER:
            others: list[Value] = [None if type(value) is int else value for value in values]
            if any(value is not None for value in others):
                kept[name] = others
        else:
            kept[name] = values
    return kept
