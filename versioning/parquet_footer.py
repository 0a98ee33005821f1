"""Where the columns of a Parquet file lie, by its footer, without asking pyarrow.

Source of the layout: ``FileMetaData`` in
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from versioning.thrift import Buffer, read_struct

__all__ = ["Chunk", "chunks_of"]

_ROW_GROUPS, _COLUMNS, _METADATA = 4, 1, 3
_NUM_VALUES, _PACKED, _DATA_PAGE, _DICTIONARY_PAGE = 5, 7, 9, 11


class Chunk(NamedTuple):
    """One column of one row group; the names are those of `pyarrow.parquet.ColumnChunkMetaData`."""

    num_values: int
    total_compressed_size: int
    data_page_offset: int
    dictionary_page_offset: int | None


def chunks_of(data: Buffer) -> list[list[Chunk]]:
    """The columns of each row group, in the order of the schema.

    Parameters
    ----------
    data
        A file that ends as Parquet does.

    Raises
    ------
    ValueError
        If the footer is damaged.
    """
    size = int.from_bytes(data[len(data) - 8 : len(data) - 4], "little")
    footer, _ = read_struct(bytes(data[len(data) - 8 - size : len(data) - 8]), 0, lists=True)
    return [[_chunk(column) for column in _list(group, _COLUMNS)] for group in _list(footer, _ROW_GROUPS)]


def _chunk(column: dict[int, Any]) -> Chunk:
    told = column.get(_METADATA)
    if not isinstance(told, dict):
        raise ValueError("its footer does not say where a column lies")  # noqa: TRY004 - it is no type of ours
    needed = [told.get(number) for number in (_NUM_VALUES, _PACKED, _DATA_PAGE)]
    dictionary = told.get(_DICTIONARY_PAGE)
    if not all(isinstance(each, int) for each in needed) or not isinstance(dictionary, int | None):
        raise ValueError("its footer does not say where a column lies")
    return Chunk(*needed, dictionary)  # type: ignore[arg-type]


def _list(struct: dict[int, Any], number: int) -> list[dict[int, Any]]:
    found = struct.get(number) or []
    if not isinstance(found, list):
        raise ValueError("its footer has no lists of columns")  # noqa: TRY004
    return found
