"""Property values in their normal form, as bytes; `catalog.vector_digest` defines them."""

from __future__ import annotations

import datetime as dt
import re
import struct
from typing import Any

from catalog.vector_columns import Value
from catalog.vector_geojson import strict_json
from versioning.errors import InvalidInput

__all__ = ["encode_properties", "encode_value"]

_DATE = re.compile(
    r"^(\d{4})[-/](\d{2})[-/](\d{2})"
    r"(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?\s?(?:(Z)|([+-])(\d{2})(?::?(\d{2}))?)?)?$",
    re.ASCII,
)
_LEVELS = 32
_REMEMBERED = 1 << 16
_LENGTH = struct.Struct(">I")
_DOUBLE = struct.Struct(">d")


def encode_properties(columns: dict[str, list[Value]], count: int, where: str) -> list[bytes]:
    """The normal form of each row of columns, names in the order of their UTF-8 bytes."""
    try:
        named = sorted((name.encode(), values) for name, values in columns.items())
        coded = [_column(_LENGTH.pack(len(name)) + name, values) for name, values in named]
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{where}: a property holds half a surrogate pair, which no UTF-8 text can.") from error
    except RecursionError as error:
        raise InvalidInput(f"{where}: a property is nested too deeply.") from error
    return [b"".join(row) for row in zip(*coded, strict=True)] if coded else [b""] * count


def _column(head: bytes, values: list[Value]) -> list[bytes]:
    known: dict[Any, bytes] = {}
    found = []
    for value in values:
        if value is None:
            found.append(b"")
            continue
        if isinstance(value, (list, dict)):
            found.append(head + encode_value(value, top=True))
            continue
        # equal keys (1, 1.0, True) have equal encodings
        data = known.get(value)
        if data is None:
            data = encode_value(value, top=True)
            data = head + data if data else b""
            if len(known) < _REMEMBERED:
                known[value] = data
        found.append(data)
    return found


def encode_value(value: Value, *, top: bool) -> bytes:
    """The normal form of one value; empty for one that counts as missing. `top`: it is not inside a JSON value."""
    if isinstance(value, str):
        return _text(value) if top else _counted(b"s", value.encode())
    if isinstance(value, (bool, int, float)):
        return _number(value, top=top)
    if value is None:
        return b"" if top else b"0"
    if isinstance(value, bytes):
        return _counted(b"b", value)
    if isinstance(value, list):
        return b"l" + _LENGTH.pack(len(value)) + b"".join(encode_value(item, top=False) for item in value)
    members = sorted((key.encode(), item) for key, item in value.items())
    packed = (_LENGTH.pack(len(key)) + key + encode_value(item, top=False) for key, item in members)
    return b"o" + _LENGTH.pack(len(members)) + b"".join(packed)


def _counted(tag: bytes, data: bytes) -> bytes:
    return tag + _LENGTH.pack(len(data)) + data


def _number(value: float, *, top: bool) -> bytes:
    try:
        double = float(value)
    except OverflowError:
        double = float("inf")
    if double != double:  # noqa: PLR0124 - NaN is what differs from itself
        return b"" if top else b"0"
    if isinstance(value, int) and double != value:
        return _counted(b"i", b"%d" % value)
    return b"n" + _DOUBLE.pack(double + 0.0)


def _text(value: str) -> bytes:
    if not value:
        return b""
    if value[0] in "[{":
        try:
            decoded = strict_json(value)
        except (ValueError, RecursionError):
            decoded = None
        if isinstance(decoded, (list, dict)) and _levels(decoded) <= _LEVELS:
            return encode_value(decoded, top=True)
    elif value[0].isdigit():
        match = _DATE.match(value)
        if match:
            value = _date(match) or value
    return _counted(b"s", value.encode())


def _levels(value: Any) -> int:
    """How deep lists and dicts nest, without recursion."""
    depth, level = 0, [value]
    while level and depth <= _LEVELS:
        items = [item.values() if isinstance(item, dict) else item for item in level]
        level = [inner for item in items for inner in item if isinstance(inner, (list, dict))]
        depth += 1
    return depth


def _date(match: re.Match[str]) -> str | None:
    """A date or a time in its one spelling; None if the calendar has no such day or the clock no such time."""
    year, month, day, hour, minute, second, fraction, _, sign, hours, minutes = match.groups()
    try:
        moment = dt.datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))  # noqa: DTZ001 - UTC by the offset below
        if sign:
            offset = dt.timedelta(hours=int(hours), minutes=int(minutes or 0))
            moment += -offset if sign == "+" else offset
        # half-even on exact digits: nanoseconds to milliseconds
        moment += dt.timedelta(milliseconds=_milliseconds(fraction or ""))
    except (ValueError, OverflowError):
        return None
    if moment.time() == dt.time():
        return f"{moment:%Y-%m-%d}".rjust(10, "0")
    text = f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0")
    return f"{text}.{moment.microsecond // 1000:03d}Z" if moment.microsecond else f"{text}Z"


def _milliseconds(digits: str) -> int:
    whole, rest = divmod(int(digits.ljust(9, "0")), 1_000_000)
    return whole + (rest > 500_000 or (rest == 500_000 and whole % 2 == 1))  # noqa: PLR2004 - half a millisecond
