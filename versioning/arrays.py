"""Arrow arrays from buffers.

``pa.array`` asks of whatever it is given whether it is one of pandas', and so imports pandas (a second) where it is
installed; a commit would take twice as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa

__all__ = [
    "Texts",
    "bools",
    "bytes_of",
    "digests",
    "doubles",
    "integers",
    "lists",
    "numbers",
    "one",
    "searched",
    "texts",
    "tuples",
]

_Tuple = TypeVar("_Tuple", bound=tuple)
# A look-up among a thousand texts takes 5 µs if each that is met is made first, and less than one in a list of them.
_ROWS_OF_A_LOOKUP = 64


class Texts(Sequence[str]):
    """A column of strings without nulls, of which few are read: a thousand take 80 µs, one less than one."""

    __slots__ = ("_data", "_offsets", "_size")

    def __init__(self, column: pa.ChunkedArray) -> None:
        values = one(column)
        self._size = len(values)
        if not self._size:
            return
        _, offsets, data = values.buffers()
        first = values.offset
        self._offsets = memoryview(offsets).cast("B").cast("i")[first : first + self._size + 1]
        self._data = memoryview(data) if data is not None else memoryview(b"")

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> str:  # pyright: ignore[reportIncompatibleMethodOverride] - no slices
        place = index + self._size if index < 0 else index
        if not 0 <= place < self._size:
            raise IndexError(index)
        return str(self._data[self._offsets[place] : self._offsets[place + 1]], "utf-8")


def searched(column: pa.ChunkedArray, lookups: int) -> Sequence[str]:
    """A column of strings in which so many are looked for by halves: as a list, where making one takes less."""
    return column.to_pylist() if lookups * _ROWS_OF_A_LOOKUP > len(column) else Texts(column)


def integers(values: Sequence[int | None] | np.ndarray, kind: pa.DataType | None = None) -> pa.Array:
    """64-bit integers, or times of 64 bits; None is null."""
    if isinstance(values, np.ndarray):
        data, valid = np.ascontiguousarray(values, np.int64), None
    else:
        data = np.fromiter((0 if value is None else value for value in values), np.int64, len(values))
        valid = _validity(values)
    return pa.Array.from_buffers(kind or pa.int64(), len(values), [valid, pa.py_buffer(data)])


def doubles(values: Sequence[float | None] | np.ndarray) -> pa.Array:
    """Doubles; None is null."""
    if isinstance(values, np.ndarray):
        data, valid = np.ascontiguousarray(values, np.float64), None
    else:
        data = np.fromiter((0.0 if value is None else value for value in values), np.float64, len(values))
        valid = _validity(values)
    return pa.Array.from_buffers(pa.float64(), len(values), [valid, pa.py_buffer(data)])


def bools(values: np.ndarray) -> pa.Array:
    """Booleans."""
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(np.packbits(values, bitorder="little"))])


def texts(values: Sequence[bytes | None], kind: pa.DataType) -> pa.Array:
    """Strings (as UTF-8) or binary values; None is null."""
    lengths = np.fromiter((0 if value is None else len(value) for value in values), np.int64, len(values))
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    data = b"".join(value for value in values if value is not None)
    return pa.Array.from_buffers(kind, len(values), [_validity(values), pa.py_buffer(offsets), pa.py_buffer(data)])


def digests(values: Sequence[bytes]) -> pa.Array:
    """Values of 32 bytes."""
    return pa.Array.from_buffers(pa.binary(32), len(values), [None, pa.py_buffer(b"".join(values))])


def lists(lengths: Sequence[int | None], values: pa.Array) -> pa.Array:
    """Lists of given lengths, cut from ``values``; None is null."""
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(np.fromiter((length or 0 for length in lengths), np.int64, len(lengths)), out=offsets[1:])
    return pa.Array.from_buffers(
        pa.list_(values.type), len(lengths), [_validity(lengths), pa.py_buffer(offsets)], children=[values]
    )


def numbers(values: pa.Array, kind: type[np.int64 | np.float64]) -> np.ndarray:
    """The values of 64 bits that are not null, without copying where none is."""
    if values.null_count:
        values = values.drop_null()
    if not len(values):
        return np.empty(0, kind)
    return np.frombuffer(values.buffers()[1], kind, len(values), values.offset * 8)


def bytes_of(values: pa.Array | pa.ChunkedArray) -> list[bytes]:
    """The values of a column of fixed size, without nulls: ``to_pylist`` takes five times as long.

    Raises
    ------
    ValueError
        If one is null.
    """
    if isinstance(values, pa.ChunkedArray):
        values = one(values)
    if values.null_count:
        raise ValueError("a digest is null")
    if not len(values):
        return []
    width = values.type.byte_width
    first, last = values.offset * width, (values.offset + len(values)) * width
    data = values.buffers()[1].to_pybytes()
    return [data[start : start + width] for start in range(first, last, width)]


def tuples(kind: type[_Tuple], columns: Sequence[Iterable[object]]) -> Iterator[_Tuple]:
    """Named tuples of columns: what ``_make`` does, without a frame of Python's for each."""
    return map(partial(tuple.__new__, kind), zip(*columns, strict=True))


def one(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array; a column of one chunk is not copied, as ``combine_chunks`` does (1 ms for 4 MB)."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _validity(values: Sequence[object]) -> pa.Buffer | None:
    valid = np.fromiter((value is not None for value in values), bool, len(values))
    return None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
