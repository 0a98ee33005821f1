"""The exact asset set of a version as NDJSON or Parquet, made of Arrow columns without an object of Python's a row."""

# pyarrow makes the functions of pyarrow.compute at run time, so a type checker cannot see them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from api.urls import Urls
from versioning.arrays import one
from versioning.digests import multihash
from versioning.version import Version

__all__ = ["ASSET_SCHEMA", "MEDIA_TYPES", "AssetForm", "asset_blocks", "form_of", "gzipped", "takes_gzip"]

AssetForm = Literal["ndjson", "parquet"]
MEDIA_TYPES: dict[AssetForm, str] = {"ndjson": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}

# Digests are texts, as NDJSON has them and sha256sum takes them: what pandas, DuckDB and GDAL make of 32 bytes differs.
ASSET_SCHEMA = pa.schema(
    [
        pa.field("item", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("href", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("file_checksum", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
    ]
)
_GROUP = 65_536
_HEX = 64
# What every multihash of a sha256 begins with.
_PREFIX = multihash(bytes(32))[:4]
_OBJECTS = "objects/"
_TO_ESCAPE = r'["\\\x00-\x1f]'


def form_of(asked: AssetForm | None, accept: str) -> AssetForm:
    """The form of an answer: the one that is asked for, else the one that an ``Accept`` header likes best.

    NDJSON where both are liked alike, or neither: RFC 9110 (12.5.1) lets a server answer with what it has.
    """
    if asked is not None:
        return asked
    return "parquet" if _liking(MEDIA_TYPES["parquet"], accept) > _liking(MEDIA_TYPES["ndjson"], accept) else "ndjson"


def takes_gzip(accept_encoding: str) -> bool:
    """Whether a client takes gzip, by its ``Accept-Encoding``."""
    parts = ([each.strip().lower() for each in part.split(";")] for part in accept_encoding.split(","))
    return any(name == "gzip" and _weight(parameters) > 0 for name, *parameters in parts)


def gzipped(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Blocks as one gzip stream of level 1: half of the text is digests, of which a higher level makes nothing less.

    Level 1 takes a seventh of the time of level 9, which the middleware for short answers has, for 10 % more bytes.
    """
    state = zlib.compressobj(1, wbits=31)
    for block in blocks:
        yield state.compress(block) + state.flush(zlib.Z_SYNC_FLUSH)
    yield state.flush()


def _liking(media_type: str, accept: str) -> float:
    """The weight that the most specific range of an ``Accept`` header gives a type, 0 if none does."""
    found: dict[int, float] = {}
    for part in accept.split(","):
        name, *parameters = (each.strip().lower() for each in part.split(";"))
        ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
        if name in ranges:
            found[ranges.index(name)] = _weight(parameters)
    return found[min(found)] if found else 0.0


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0


def asset_blocks(version: Version, urls: Urls, form: AssetForm) -> Iterator[bytes]:
    """The asset set in the order of item ids, in pieces: of NDJSON a chunk of items each, of Parquet a row group."""
    tables = (_flat(version.table(chunk, ("id", "assets")), urls) for chunk in version.chunks)
    return map(_lines, tables) if form == "ndjson" else _parquet(tables)


def _flat(table: pa.Table, urls: Urls) -> pa.Table:
    """One row an asset, in the columns of :data:`ASSET_SCHEMA`."""
    lists = one(table.column("assets"))
    assets = pc.list_flatten(lists)
    key, href, digest, size = (pc.struct_field(assets, name) for name in ("key", "href", "sha256", "size"))
    # What is referenced in place has an address of its own.
    stored = pc.starts_with(href, pattern=_OBJECTS)
    if urls.signed is None:
        href = pc.binary_join_element_wise(pc.if_else(stored, f"{urls.base}/", ""), href, "")
    else:
        href = pa.array([urls.asset(each) for each in href.to_pylist()], pa.string())
    sha256 = _hex(digest)
    columns = [
        one(table.column("id")).take(pc.list_parent_indices(lists)),
        key,
        href,
        sha256,
        pc.binary_join_element_wise(_PREFIX, sha256, ""),
        size,
    ]
    return pa.Table.from_arrays(columns, schema=ASSET_SCHEMA)


def _hex(digests: pa.Array) -> pa.Array:
    """Values of 32 bytes as hex digits."""
    count, width = len(digests), _HEX // 2
    if not count:
        return pa.array([], pa.string())
    data = memoryview(digests.buffers()[1])[digests.offset * width : (digests.offset + count) * width]
    offsets = np.arange(0, (count + 1) * _HEX, _HEX, dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(data.hex().encode()))


def _lines(table: pa.Table) -> bytes:
    """A JSON object a line; of the array of lines the bytes lie one after the other already."""
    item, key, href, sha256, checksum, size = (one(column) for column in table.columns)
    lines = pc.binary_join_element_wise(
        '{"item":"', item, '","key":"', _escaped(key), '","href":"', _escaped(href), '","sha256":"', sha256,
        '","file:checksum":"', checksum, '","file:size":', size.cast(pa.string()), "}\n", "",
    )  # fmt: skip
    if not len(lines):
        return b""
    _, offsets, data = lines.buffers()
    first, *_, last = np.frombuffer(offsets, np.int32, len(lines) + 1, lines.offset * 4)[[0, -1]]
    return data.slice(int(first), int(last - first)).to_pybytes()


def _escaped(texts: pa.Array) -> pa.Array:
    """Texts as JSON has them between quotes. Hardly any needs it, and ids cannot."""
    if not pc.any(pc.match_substring_regex(texts, pattern=_TO_ESCAPE)).as_py():
        return texts
    return pa.array([orjson.dumps(text)[1:-1].decode() for text in texts.to_pylist()], pa.string())


def _parquet(tables: Iterator[pa.Table]) -> Iterator[bytes]:
    sink = _Written()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), ASSET_SCHEMA, compression="zstd") as writer:
        waiting: list[pa.Table] = []
        rows = 0
        for table in tables:
            waiting.append(table)
            rows += table.num_rows
            if rows >= _GROUP:
                writer.write_table(pa.concat_tables(waiting).combine_chunks(), row_group_size=rows)
                yield sink.taken()
                waiting, rows = [], 0
        if rows:
            writer.write_table(pa.concat_tables(waiting).combine_chunks(), row_group_size=rows)
    yield sink.taken()


class _Written(io.RawIOBase):
    """A file that is written and never read: what was written so far can be taken away."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride] - what pyarrow gives
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def tell(self) -> int:
        return self._size

    def taken(self) -> bytes:
        found, self._parts = b"".join(self._parts), []
        return found
