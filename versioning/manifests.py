"""Chunk files and delta files: item rows as GeoParquet.

A chunk names one or more files. Its rows are, for each id within the chunk's range, the row of the *last* file that has
the id, unless that row is a tombstone (``deleted``). The first file is a base file, the others are delta files; a delta
file may serve many chunks. The leaf digest in the snapshot says what the merged rows must be.
"""

# pyarrow makes the functions of pyarrow.compute at run time, so a type checker cannot see them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from versioning.arrays import one
from versioning.errors import Integrity

__all__ = [
    "DELTA_SCHEMA",
    "DIGESTS",
    "LIGHT",
    "ROW_SCHEMA",
    "FileRef",
    "RowGroups",
    "decode_light",
    "decode_rows",
    "encode_delta",
    "encode_rows",
    "encode_table",
    "light_of",
]

_DIGEST = pa.binary(32)
_TIME = pa.timestamp("us", tz="UTC")
_BBOX = pa.struct([(side, pa.float64()) for side in ("xmin", "ymin", "xmax", "ymax")])
_ASSET = pa.struct([("key", pa.string()), ("href", pa.string()), ("sha256", _DIGEST), ("size", pa.int64())])

_REQUIRED = frozenset({"id", "digest", "content_digest", "start_datetime", "end_datetime", "assets", "item"})

_GEO = {
    "version": "1.1.0",
    "primary_column": "geometry",
    "columns": {
        "geometry": {
            "encoding": "WKB",
            "geometry_types": [],
            "covering": {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}},
        }
    },
}

ROW_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("digest", _DIGEST),
        pa.field("content_digest", _DIGEST),
        pa.field("bbox", _BBOX),
        pa.field("geometry", pa.binary()),
        pa.field("start_datetime", _TIME),
        pa.field("end_datetime", _TIME),
        pa.field("assets", pa.list_(_ASSET)),
        pa.field("item", pa.string()),
        pa.field("reuse", pa.list_(pa.int64())),
    ],
    metadata={"geo": json.dumps(_GEO, separators=(",", ":")), "stacpin": "rows/1"},
)
DELTA_SCHEMA = ROW_SCHEMA.append(pa.field("deleted", pa.bool_(), nullable=False))

# What a commit and a diff need of rows that they do not change: an eighth of a file. These columns lie at the end of a
# file, beside its footer, so that one read of its tail gets them all.
LIGHT = ("id", "digest", "content_digest", "bbox", "start_datetime", "end_datetime", "assets", "reuse")
# What a diff needs of them: half of that.
DIGESTS = ("id", "digest", "content_digest")
_LAYOUT = (
    "item", "geometry", "assets", "reuse", "bbox", "start_datetime", "end_datetime", "content_digest", "digest", "id",
    "deleted",
)  # fmt: skip
_LIGHT_ASSET = pa.struct([("size", pa.int64())])
_LIGHT_FIELDS = {"assets": pa.field("assets", pa.list_(_LIGHT_ASSET))}

_LEAST_LIGHT, _MOST_LIGHT = 128, 64 * 1024 * 1024

# A delta file serves many chunks, of which a reader may want one: so it has small row groups, and is not large.
_DELTA_GROUP = 256


class FileRef(NamedTuple):
    """A file that is named by the sha256 of its own bytes."""

    sha256: bytes
    size: int


def encode_rows(table: pa.Table) -> bytes:
    """A chunk file: GeoParquet 1.1, zstd level 3 (level 9 saves 4 % for 3.7 times the CPU), one row group."""
    return encode_table(_laid_out(table, ROW_SCHEMA))


def encode_delta(table: pa.Table) -> bytes:
    """A delta file: the same with the column ``deleted`` and with row groups of 256 rows."""
    return encode_table(_laid_out(table, DELTA_SCHEMA), group=_DELTA_GROUP)


def _laid_out(table: pa.Table, schema: pa.Schema) -> pa.Table:
    names = [name for name in _LAYOUT if name in schema.names]
    return table.select(names).cast(pa.schema([schema.field(name) for name in names], metadata=schema.metadata))


def encode_table(table: pa.Table, *, group: int | None = None) -> bytes:
    """A table as a Parquet file with the metadata of its schema and nothing of Arrow's own; one row group by default.

    Its pages carry checksums, so that a part of a file that is read alone is safe from accidents.
    """
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="zstd",
        compression_level=3,
        use_dictionary=False,
        write_statistics=_searched(table.schema),  # pyright: ignore[reportArgumentType] - the stubs know only bool
        write_page_checksum=True,
        store_schema=False,
    ) as writer:
        writer.write_table(table, row_group_size=max(1, group or table.num_rows))
        # Without Arrow's schema pyarrow leaves out the schema's metadata too, and so what makes it GeoParquet.
        writer.add_key_value_metadata(dict(table.schema.metadata or {}))
    return sink.getvalue()


def _searched(schema: pa.Schema) -> list[str]:
    """The columns whose least and greatest values are worth keeping: of JSON, WKB and hashes they take 5 kB a file."""
    names: list[str] = []
    for field in schema:
        if pa.types.is_struct(field.type):
            names += [f"{field.name}.{child.name}" for child in field.type]
        elif field.name != "item" and not (pa.types.is_nested(field.type) or _is_binary(field.type)):
            names.append(field.name)
    return names


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind)


class RowGroups:
    """A proven file of which single row groups can be read: what one chunk wants of a delta file."""

    def __init__(self, data: bytes, *, where: str, file: pq.ParquetFile | None = None) -> None:
        self._data = data
        self._where = where
        with _of_format(where):
            self._metadata = (file or pq.ParquetFile(pa.BufferReader(data))).metadata
            self._ranges = [_id_range(self._metadata.row_group(each)) for each in range(self._metadata.num_row_groups)]

    @property
    def nbytes(self) -> int:
        """What it takes of memory."""
        return len(self._data)

    def overlapping(self, first_id: str, last_id: str) -> list[int]:
        """The row groups that may have rows of a range; those without statistics may have any."""
        return [
            index
            for index, found in enumerate(self._ranges)
            if found is None or (found[0] <= last_id and found[1] >= first_id)
        ]

    def read(self, group: int, columns: Sequence[str] | None = None) -> pa.Table:
        """One row group.

        Raises
        ------
        Integrity
            If it is not of this format.
        """
        with _of_format(self._where):
            file = pq.ParquetFile(pa.BufferReader(self._data), metadata=self._metadata)
            return _read(file, columns, group)


def _id_range(group: pq.RowGroupMetaData) -> tuple[str, str] | None:
    for index in range(group.num_columns):
        column = group.column(index)
        if column.path_in_schema == "id":
            found = column.statistics
            return (found.min, found.max) if found is not None and found.has_min_max else None
    return None


def decode_rows(
    data: bytes, *, where: str, columns: Sequence[str] | None = None, file: pq.ParquetFile | None = None
) -> pa.Table:
    """The table of a chunk file or a delta file; ``deleted`` is present only in the latter.

    Parameters
    ----------
    data
        The file's bytes, already proven by their sha256.
    where
        The file's path, for the text of an error.
    columns
        Which columns to read; ``id`` and ``deleted`` always come along.
    file
        The same bytes, if somebody has opened them.

    Raises
    ------
    Integrity
        If the bytes are not a file of this format.
    """
    with _of_format(where):
        return _read(file or pq.ParquetFile(pa.BufferReader(data)), columns, None)


def _read(file: pq.ParquetFile, columns: Sequence[str] | None, group: int | None) -> pa.Table:
    present = set(file.schema_arrow.names)
    schema = DELTA_SCHEMA if "deleted" in present else ROW_SCHEMA
    names = [name for name in schema.names if columns is None or name in columns or name in {"id", "deleted"}]
    there = [name for name in names if name in present or name != "reuse"]
    # One thread: a file is small, and starting others takes longer than they save.
    read = file.read if group is None else lambda **options: file.read_row_group(group, **options)
    table = read(columns=there, use_threads=False).select(there)
    if len(there) < len(names):
        table = table.append_column("reuse", pa.nulls(table.num_rows, pa.list_(pa.int64()))).select(names)
    table = _typed(table, pa.schema([schema.field(name) for name in names]))
    _refuse_nulls(table)
    return table


def _typed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of a schema. Only those of another type are cast: a cast of all takes 0.2 ms for what is there."""
    columns = [table.column(field.name) for field in schema]
    return pa.Table.from_arrays(
        [
            column if column.type == field.type else column.cast(field.type)
            for column, field in zip(columns, schema, strict=True)
        ],
        schema=schema,
    )


class _of_format:  # noqa: N801 - it reads as a clause of a with statement
    """Turns what pyarrow says of foreign bytes into ours."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, pa.ArrowException | OSError | KeyError | ValueError):
            raise Integrity(
                f"{self._where} is not a manifest of format 1: {error}.", hint="Restore it from a mirror."
            ) from error


def _refuse_nulls(table: pa.Table) -> None:
    """Only a tombstone may leave columns empty; a foreign file may have the right hash and be wrong."""
    live = table.filter(pc.invert(table.column("deleted"))) if "deleted" in table.column_names else table
    for name in _REQUIRED.intersection(live.column_names):
        column = one(live.column(name))
        parts = [column]
        if name == "assets":
            flat = pc.list_flatten(column)
            parts += [flat, *(pc.struct_field(flat, field.name) for field in flat.type)]
        if any(part.null_count for part in parts):
            raise ValueError(f"the column {name} has nulls")


def light_of(table: pa.Table, names: Sequence[str] = LIGHT) -> pa.Table:
    """The columns :data:`LIGHT`, or fewer of them, (and ``deleted``) of a whole table; of assets only the sizes."""
    there = [*names, *(["deleted"] if "deleted" in table.column_names else [])]
    if "assets" not in names:
        return table.select(there)
    assets = one(table.column("assets"))
    if assets.type != _LIGHT_FIELDS["assets"].type:
        flat = pc.struct_field(assets.values, "size")
        sizes = pa.StructArray.from_arrays([flat], fields=list(_LIGHT_ASSET))
        bare = pa.ListArray.from_arrays(assets.offsets, sizes, mask=assets.is_null() if assets.null_count else None)
        table = table.set_column(table.column_names.index("assets"), _LIGHT_FIELDS["assets"], bare)
    return table.select(there)


def decode_light(tail: bytes, start: int, size: int, *, where: str, names: Sequence[str] = LIGHT) -> pa.Table | int:
    """The columns :data:`LIGHT`, or fewer, from the end of a chunk file, or from where on it has to be read instead.

    What is read alone is not proven by the file's name: its pages' checksums prove it against accidents, and who reads
    it compares the leaves of the two digests with the snapshot's.

    Parameters
    ----------
    tail
        The file's bytes from ``start`` on.
    start
        Where the tail begins.
    size
        The size of the whole file.
    where
        The file's path, for the text of an error.
    names
        Which columns.

    Raises
    ------
    Integrity
        If it is not a file of this format.
    """
    with _of_format(where):
        # pyarrow wants a whole file; the pages of zeros before the tail are never touched, so they take no memory.
        whole = np.zeros(size, np.uint8)
        whole[start:] = np.frombuffer(tail, np.uint8)
        length = int.from_bytes(tail[-8:-4], "little") if len(tail) >= 8 else size  # noqa: PLR2004 - length and magic
        if length + 8 > len(tail):
            return 0 if length + 8 > size or start == 0 else size - length - 8
        file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(whole)), page_checksum_verification=True)
        metadata = file.metadata
        paths, least = _light_paths(file.schema, names), size
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            columns = map(group.column, paths)
            least = min(
                (min(each.data_page_offset, each.dictionary_page_offset or size) for each in columns), default=0
            )
            if least < start:
                return least
        # The footer is its writer's word; who read the whole file has measured its pages.
        if metadata.num_rows * _LEAST_LIGHT > _MOST_LIGHT or "deleted" in file.schema_arrow.names:
            return 0
        table = file.read(columns=list(paths.values()), use_threads=False)
        if "reuse" in names and "reuse" not in table.column_names:
            table = table.append_column("reuse", pa.nulls(table.num_rows, pa.list_(pa.int64())))
        table = _typed(table, pa.schema([_LIGHT_FIELDS.get(name, ROW_SCHEMA.field(name)) for name in names]))
        _refuse_nulls(table)
        return table


def _light_paths(schema: pq.ParquetSchema, names: Sequence[str]) -> dict[int, str]:
    """The leaf columns that some of :data:`LIGHT` are read from: their numbers and paths."""
    found: dict[int, str] = {}
    for index, column in enumerate(schema):
        top, _, rest = column.path.partition(".")
        if top in names and (top != "assets" or rest.endswith("size")):
            found[index] = column.path
    return found
