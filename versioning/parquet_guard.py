"""Parquet files are measured before they are decoded: 2 kB can expand to gigabytes.

The footer is the writer's word, so nothing here believes its sizes. The header of every page is read instead, which is
what the decoder allocates by; dictionaries, whose one long value may be repeated a million times by a few bytes of
indices, are counted by their values. Source of the layout: https://parquet.apache.org/docs/file-format/ and
``PageHeader`` in https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

# pyarrow makes the functions of pyarrow.compute at run time, so a type checker cannot see them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import io
import mmap
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from versioning.errors import Integrity
from versioning.parquet_footer import Chunk, chunks_of
from versioning.thrift import BINARY, FALSE, INT64, Buffer, read_struct

__all__ = ["ColumnSize", "ParquetSize", "check_parquet", "expanded_bytes", "measure_parquet"]

# A chunk of 4,096 items of 3 kB takes 20 MB. What our writer makes of long items is larger, and so is its file.
_LEAST_ALLOWED = 1 << 30
_RATIO = 100
_FOOTER = 64 * 1024 * 1024
_DEPTH = 8
_DICTIONARY = frozenset({2, 8})  # PLAIN_DICTIONARY, RLE_DICTIONARY
_DELTA_BYTE_ARRAY = 7
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
_TEXTS = (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string, pa.types.is_large_binary)
_LEVELS = 4  # two levels of two bytes each, for every value


@dataclass(frozen=True, slots=True)
class ColumnSize:
    """One column, in bytes: ``pages`` is what its pages unpack to, ``decoded`` what its values take at most.

    ``dictionary`` says whether a part of ``decoded`` is only a bound, which :func:`expanded_bytes` can make exact;
    ``longest`` bounds the bytes of one row on average, in the page where that is most.
    """

    path: str
    pages: int
    largest_page: int
    decoded: int
    dictionary: bool
    longest: float


@dataclass(frozen=True, slots=True)
class ParquetSize:
    """What decoding a file takes, column by column."""

    columns: tuple[ColumnSize, ...]

    @property
    def decoded(self) -> int:
        """The bytes that all columns take at most."""
        return sum(column.decoded for column in self.columns)


def check_parquet(data: bytes, *, where: str, columns: Collection[str] | None = None) -> pq.ParquetFile:
    """Refuse the bytes of a manifest or snapshot that would take far more memory than their size lets expect.

    Allowed is 1 GiB, or 100 times the size of the file if that is more (zstd makes ours 6 times smaller).

    Parameters
    ----------
    data
        The bytes of a whole file.
    where
        Its path, for the text of an error.
    columns
        The columns that will be read, if not all.

    Returns
    -------
    pyarrow.parquet.ParquetFile
        The file, so that nobody has to read its footer again.

    Raises
    ------
    Integrity
        With kind ``too-large`` if they expand too far, ``altered`` if they are no Parquet.
    """
    allowed = max(_LEAST_ALLOWED, _RATIO * len(data))
    try:
        file = pq.ParquetFile(pa.BufferReader(_with_footer(data)))
        size = _measure(data, file, columns)
        total = size.decoded
        if total > allowed:
            total = _exactly(data, size, allowed)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Integrity(
            f"{where} is not a Parquet file that can be read: {str(error)[:200]}.",
            hint="Restore it from a mirror.",
            kind="altered",
        ) from error
    if total > allowed:
        raise Integrity(
            f"{where} is refused: its {len(data)} bytes expand to {total} or more, and {allowed} are allowed.",
            hint="No writer of catalogs makes such a file; do not trust where it comes from.",
            kind="too-large",
        )
    return file


def measure_parquet(source: bytes | Path) -> ParquetSize:
    """Read the footer and the header of every page of a Parquet file.

    Raises
    ------
    ValueError
        If they are damaged. Arrow's own errors pass through.
    """
    if isinstance(source, bytes):
        return _measured(source, io.BytesIO(source))
    with source.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _measured(data, source)


def _measured(data: Buffer, source: io.BytesIO | Path) -> ParquetSize:
    """What a file takes that anybody may have made, by its footer as we read it.

    Where types contradict each other, pyarrow's view of a part of a column lets an exception of C++ out, which ends the
    process. Manifests are named by their hashes; theirs are read by pyarrow, in a third of the time.
    """
    parts = chunks_of(_with_footer(data))
    with pq.ParquetFile(source) as file:
        schema = file.schema
        widths = [_width(schema.column(index)) for index in range(file.metadata.num_columns)]
        names = [schema.column(index).path for index in range(file.metadata.num_columns)]
    return ParquetSize(
        tuple(
            _column(data, chunk, name, width)
            for group in parts
            for chunk, name, width in zip(group, names, widths, strict=True)
        )
    )


def expanded_bytes(array: pa.Array | pa.ChunkedArray) -> int:
    """The bytes that the dictionaries within an array take when every value is written out."""
    if isinstance(array, pa.ChunkedArray):
        return sum(expanded_bytes(chunk) for chunk in array.chunks)
    kind = array.type
    if pa.types.is_dictionary(kind) and _has_length(kind.value_type):
        lengths = pc.binary_length(array.dictionary)
        return pc.sum(lengths.cast(pa.int64()).take(array.indices)).as_py() or 0
    return sum(expanded_bytes(child) for child in _children(array))


def _children(array: pa.Array) -> list[pa.Array]:
    kind = array.type
    if pa.types.is_struct(kind):
        return [array.field(index) for index in range(kind.num_fields)]
    if pa.types.is_map(kind):
        return [array.keys, array.items]
    return [array.flatten()] if pa.types.is_list(kind) or pa.types.is_large_list(kind) else []


def _has_length(kind: pa.DataType) -> bool:
    return any(check(kind) for check in _TEXTS)


def _with_footer(data: Buffer) -> Buffer:
    size = len(data)
    if size < 12 or data[size - 4 : size] != b"PAR1":  # noqa: PLR2004 - two magic words and a length
        raise ValueError("it does not end as Parquet does")
    footer = int.from_bytes(data[size - 8 : size - 4], "little")
    if footer > min(_FOOTER, size - 8):
        raise ValueError(f"its footer is said to have {footer} bytes")
    return data


def _measure(data: Buffer, file: pq.ParquetFile, names: Collection[str] | None = None) -> ParquetSize:
    metadata, schema = file.metadata, file.schema
    columns = [schema.column(index) for index in range(metadata.num_columns)]
    wanted = [
        (index, _width(column))
        for index, column in enumerate(columns)
        if names is None or column.path.partition(".")[0] in names
    ]
    found: list[ColumnSize] = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        found += [_column(data, group.column(index), columns[index].path, width) for index, width in wanted]
    return ParquetSize(tuple(found))


def _width(column: pq.ColumnSchema) -> int:
    """The bytes of each value, 0 where they differ."""
    kind = column.physical_type
    return max(1, column.length) if kind == "FIXED_LEN_BYTE_ARRAY" else _WIDTHS.get(kind, 0)


def _column(data: Buffer, chunk: pq.ColumnChunkMetaData | Chunk, name: str, width: int) -> ColumnSize:
    pages = largest = decoded = dictionary = 0
    longest, bounded = 0.0, False
    for page in _pages(data, chunk):
        pages += page.unpacked
        largest = max(largest, page.unpacked)
        if page.encoding is None:
            dictionary = page.unpacked
            continue
        if width:
            own = page.values * width
        elif page.encoding in _DICTIONARY:
            own, bounded = page.unpacked + page.values * dictionary, True
        elif page.encoding == _DELTA_BYTE_ARRAY:
            # Each value may repeat all of the one before it.
            own = page.values * page.unpacked
        else:
            own = page.unpacked
        if not (bounded and page.encoding in _DICTIONARY) and page.values:
            longest = max(longest, own / page.values)
        decoded += own + page.values * _LEVELS
    return ColumnSize(name, pages, largest, decoded + dictionary, bounded, longest)


@dataclass(frozen=True, slots=True)
class _Page:
    """A page: its bytes when unpacked, its values, and how they are encoded (None for a dictionary)."""

    unpacked: int
    values: int
    encoding: int | None


def _pages(data: Buffer, chunk: pq.ColumnChunkMetaData | Chunk) -> Iterator[_Page]:
    """The pages that a decoder reads of a column: until they have the values that the footer tells."""
    wanted = chunk.num_values
    start, dictionary = chunk.data_page_offset, chunk.dictionary_page_offset
    if dictionary is not None and 0 < dictionary < start:
        start = dictionary
    end = min(start + chunk.total_compressed_size, len(data))
    if start < 0 or wanted < 0:
        raise ValueError("a column begins before the file")
    position, seen = start, 0
    while seen < wanted and position < end:
        plain = _PLAIN_PAGE.match(data, position)
        begin = None if plain is None else _after_statistics(data, plain)
        if plain is not None and begin is not None:
            unpacked, packed, values, encoding = map(_unsigned, plain.groups()[:4])
            position = begin + packed
            seen += values
            yield _Page(unpacked, values, encoding)
            continue
        header, position = read_struct(data, position)
        unpacked, packed = header.get(2), header.get(3)
        if not isinstance(unpacked, int) or not isinstance(packed, int) or unpacked < 0 or packed < 0:
            raise ValueError(f"the page at {position} has no size")
        position += packed
        found = header.get(5) or header.get(8)
        if isinstance(found, dict):
            values, encoding = found.get(1, 0), found.get(2 if 5 in header else 4, 0)  # noqa: PLR2004 - field ids
            if not isinstance(values, int) or not isinstance(encoding, int) or values < 0:
                raise ValueError(f"the page at {position} has no count")
            seen += values
            yield _Page(unpacked, values, encoding)
        elif 7 in header:  # noqa: PLR2004 - a dictionary page
            yield _Page(unpacked, 0, None)


def _exactly(data: bytes, size: ParquetSize, allowed: int) -> int:
    """The decoded size with dictionaries counted by their values; only if everything else is within bounds."""
    paths = sorted({column.path for column in size.columns if column.dictionary})
    certain = sum(column.pages if column.dictionary else column.decoded for column in size.columns)
    if certain > allowed or not paths:
        return size.decoded
    total = certain
    file = pq.ParquetFile(io.BytesIO(data), read_dictionary=paths)
    for batch in file.iter_batches(1024, columns=paths, use_threads=False):
        total += sum(expanded_bytes(column) for column in batch.columns)
        if total > allowed:
            break
    return total


# The header of a data page (version 1) as Arrow writes it, up to its statistics: unpacked and packed size, a checksum
# or none, the number of values, their encoding, that of the levels. A number is a varint in zigzag: it is positive if
# its first byte is even. All other headers are read field by field, which takes twenty times as long.
_LAST, _MORE = re.escape(bytes(range(0, 128, 2))), re.escape(bytes(range(128, 256, 2)))
_NUMBER = rb"([" + _LAST + rb"]|[" + _MORE + rb"][\x80-\xff]{0,3}[\x00-\x7f])"
_SKIPPED = rb"\x15[\x80-\xff]{0,4}[\x00-\x7f]"
_PLAIN_PAGE = re.compile(
    rb"\x15\x00\x15" + _NUMBER + rb"\x15" + _NUMBER + rb"(?:" + _SKIPPED + rb"\x1c|\x2c)"
    rb"\x15" + _NUMBER + rb"\x15" + _NUMBER + _SKIPPED + _SKIPPED + rb"(\x1c|\x00\x00)",
    re.DOTALL,
)  # fmt: skip


def _after_statistics(data: Buffer, header: re.Match[bytes]) -> int | None:
    """Where the page begins, if its statistics are none or plain: short values, counts and booleans."""
    position = header.end()
    if header[5] == b"\x00\x00":
        return position
    # The last bytes of a file are its footer's length and the magic word: no header ends behind them.
    end = len(data) - 8
    while position < end:
        kind = data[position] & 15
        position += 1
        if kind in (BINARY, INT64):
            number = data[position]
            if number > 127:  # noqa: PLR2004 - more bytes follow
                return None
            position += 1 + (number if kind == BINARY else 0)
        elif kind == 0:
            # The statistics end, and with them the two structs around them.
            return position + 2 if data[position - 1 : position + 2] == b"\0\0\0" else None
        elif kind > FALSE:
            return None
    return None


def _unsigned(varint: bytes) -> int:
    """The number of a varint that is known to be whole, and positive in zigzag."""
    value = 0
    for byte in reversed(varint):
        value = value << 7 | byte & 127
    return value >> 1
