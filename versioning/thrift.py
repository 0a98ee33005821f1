"""Thrift's compact protocol, as far as Parquet's headers and footers need it.

Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

import mmap
from typing import Any

__all__ = ["BINARY", "FALSE", "INT64", "Buffer", "read_struct"]

Buffer = bytes | mmap.mmap
FALSE, INT64, BINARY = 2, 6, 8
_TRUE, _BYTE, _DOUBLE, _LIST, _SET, _STRUCT = 1, 3, 7, 9, 10, 12
_DEPTH = 12
# A footer of 100 columns in 1,000 row groups has some 600,000 structs, which take 150 MB.
_MOST_STRUCTS = 1_000_000
_MOST_VALUES = 10_000_000
_LONG_LIST = 15


def read_struct(data: Buffer, position: int, *, lists: bool = False) -> tuple[dict[int, Any], int]:
    """A struct by its field numbers, and where it ends.

    Parameters
    ----------
    data
        The bytes.
    position
        Where it begins.
    lists
        Whether there may be lists, of which structs alone are given; no page header has any.

    Returns
    -------
    tuple
        Integers are given as they are, structs as dicts, lists of structs as lists, everything else as None.

    Raises
    ------
    ValueError
        If the bytes are cut off, nested too deeply, or hold what a header never does.
    """
    return _Reader(data, lists=lists).struct(position, 0)


class _Reader:
    def __init__(self, data: Buffer, *, lists: bool) -> None:
        self._data = data
        self._lists = lists
        self._structs = _MOST_STRUCTS
        self._values = _MOST_VALUES

    def struct(self, position: int, depth: int) -> tuple[dict[int, Any], int]:
        self._structs -= 1
        if depth > _DEPTH or self._structs < 0:
            raise ValueError(f"the header at {position} is nested too deeply, or has too many parts")
        fields: dict[int, Any] = {}
        number = 0
        while True:
            head = _byte(self._data, position)
            position += 1
            if head == 0:
                return fields, position
            kind, delta = head & 15, head >> 4
            if delta:
                number += delta
            else:
                number, position = _zigzag(self._data, position)
            fields[number], position = self._value(position, kind, depth)

    def _value(self, position: int, kind: int, depth: int) -> tuple[Any, int]:
        self._values -= 1
        if self._values < 0:
            raise ValueError(f"the header at {position} has too many values")
        if kind in (_TRUE, FALSE):
            return kind, position
        if kind == _STRUCT:
            return self.struct(position, depth + 1)
        if kind in (_LIST, _SET) and self._lists:
            return self._list(position, depth + 1)
        return self._scalar(position, kind)

    def _scalar(self, position: int, kind: int) -> tuple[int | None, int]:
        if kind == _BYTE:
            return _byte(self._data, position), position + 1
        if kind < _DOUBLE:
            return _zigzag(self._data, position)
        if kind == _DOUBLE:
            return None, position + 8
        if kind == BINARY:
            length, position = _varint(self._data, position)
            return None, position + length
        raise ValueError(f"the header at {position} has a value of kind {kind}")

    def _list(self, position: int, depth: int) -> tuple[list[Any] | None, int]:
        head = _byte(self._data, position)
        position += 1
        count, kind = head >> 4, head & 15
        if count == _LONG_LIST:
            count, position = _varint(self._data, position)
        # Each value takes a byte at least.
        if depth > _DEPTH or count > len(self._data) - position:
            raise ValueError(f"the list at {position} is nested too deeply, or said to have {count} values")
        if kind in (_TRUE, FALSE, _BYTE):
            return None, position + count
        found: list[Any] = []
        for _ in range(count):
            value, position = self._value(position, kind, depth)
            if kind == _STRUCT:
                found.append(value)
        return (found if kind == _STRUCT else None), position


def _byte(data: Buffer, position: int) -> int:
    if position >= len(data):
        raise ValueError("a page header is cut off")
    return data[position]


def _varint(data: Buffer, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = _byte(data, position)
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:  # noqa: PLR2004 - the bit that says that more follows
            return value, position
        shift += 7
        if shift > 63:  # noqa: PLR2004 - the bits of the largest number
            raise ValueError(f"the page header at {position} has an endless number")


def _zigzag(data: Buffer, position: int) -> tuple[int, int]:
    value, position = _varint(data, position)
    return (value >> 1) ^ -(value & 1), position
