"""GeoPackage, Shapefile, FlatGeobuf (by GDAL) and GeoParquet (by pyarrow) as batches of checked features.

A file's first bytes decide which reader sees it, and GDAL's answer about its driver must agree, so that no other of
GDAL's seventy drivers is ever tried on a stranger's file. Headers are compared with sizes first: GDAL reads truncated
Shapefiles and GeoPackages to where they end and only warns.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog.vector_columns import MAX_COLUMNS, Value, plain_values
from versioning.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from versioning.parquet_guard import ParquetSize

__all__ = ["Table", "check_container", "open_ogr", "open_parquet"]

BATCH = 1 << 15
_DRIVERS = {".gpkg": "GPKG", ".shp": "ESRI Shapefile", ".fgb": "FlatGeobuf"}
_MAGIC = {".gpkg": b"SQLite format 3\0", ".shp": b"\0\0\x27\x0a", ".fgb": b"fgb\x03", ".parquet": b"PAR1"}
_MAX_UNPACKED = 1 << 35
# A page is unpacked whole, and the values of a batch lie in memory together: of ours 32,768 rows take some megabytes.
_MAX_PAGE = 1 << 28
_MAX_BATCH = 1 << 28
_FOREIGN = (
    RuntimeError, ValueError, OSError, LookupError, TypeError, ArithmeticError, SystemError, NameError, MemoryError,
)  # fmt: skip


class Table:
    """A layer of a file: what its header says of its CRS, and its rows as (WKB array, columns) batches."""

    def __init__(self, layer: str, crs: str | dict[str, Any] | None, batches: Iterator[Rows]) -> None:
        self.layer = layer
        self.crs = crs
        self.batches = batches
        self.stacpin: dict[str, Any] = {}


Rows = tuple["np.ndarray", dict[str, list[Value]]]


def check_container(path: Path, suffix: str) -> None:
    """Refuse a file whose first bytes or whose sizes are not what its name says.

    Raises
    ------
    InvalidInput
        Also for a Shapefile without its ``.dbf`` or ``.shx``, and for companions that are links.
    """
    with path.open("rb") as stream:
        head = stream.read(100)
    if not head.startswith(_MAGIC[suffix]):
        raise InvalidInput(f"{path}: named {path.suffix} but its first bytes are {head[:8]!r}.", kind="wrong-format")
    size = path.stat().st_size
    if suffix == ".gpkg" and len(head) == 100:  # noqa: PLR2004 - SQLite's header
        page = struct.unpack(">H", head[16:18])[0]
        _complete(path, size, struct.unpack(">I", head[28:32])[0] * (65536 if page == 1 else page))
    elif suffix == ".shp":
        _check_shapefile(path, head, size)


def _complete(path: Path, size: int, declared: int) -> None:
    if size < declared:
        raise InvalidInput(
            f"{path}: truncated: {size} bytes of the {declared} that its header declares.", kind="truncated"
        )


def _check_shapefile(path: Path, head: bytes, size: int) -> None:
    if len(head) < 100:  # noqa: PLR2004 - the size of a Shapefile's header
        raise InvalidInput(f"{path}: truncated in its header.", kind="truncated")
    _complete(path, size, struct.unpack(">I", head[24:28])[0] * 2)
    beside = {found.suffix.lower(): found for found in path.parent.iterdir() if found.stem == path.stem}
    for suffix in (".dbf", ".shx"):
        if suffix not in beside:
            raise InvalidInput(f"{path}: no {suffix} file beside it.", hint="Copy all files of the Shapefile together.")
    for suffix in (".dbf", ".shx", ".prj", ".cpg"):
        if suffix in beside and (beside[suffix].is_symlink() or not beside[suffix].is_file()):
            raise InvalidInput(f"{beside[suffix]}: a link or no file; only plain files are read.", kind="unsafe-path")
    with beside[".dbf"].open("rb") as stream:
        dbf = stream.read(32)
    with beside[".shx"].open("rb") as stream:
        shx = stream.read(100)
    if len(dbf) < 32 or len(shx) < 100:  # noqa: PLR2004 - the sizes of their headers
        raise InvalidInput(f"{path}: its .dbf or .shx is truncated.", kind="truncated")
    rows, header, width = struct.unpack("<IHH", dbf[4:12])
    _complete(beside[".dbf"], beside[".dbf"].stat().st_size, header + rows * width)
    index = struct.unpack(">I", shx[24:28])[0] * 2
    _complete(beside[".shx"], beside[".shx"].stat().st_size, index)
    if (index - 100) // 8 != rows:
        raise InvalidInput(f"{path}: {(index - 100) // 8} shapes but {rows} rows in its .dbf.", kind="truncated")


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """GDAL's errors (pyogrio derives them from RuntimeError) and Arrow's as ours.

    pyarrow's derive from ValueError, OSError, LookupError, TypeError and RuntimeError; the others are slips of these
    libraries on damaged files, found by changing bytes at random. Warnings are silent: what matters is checked here.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except _FOREIGN as error:
        raise InvalidInput(f"{path}: cannot be read ({str(error)[:300]}).", kind="unreadable") from error


def _choose(path: Path, layers: list[str], layer: str | None) -> str:
    listed = ", ".join(repr(name) for name in layers[:20])
    if not layers:
        raise InvalidInput(f"{path}: has no layer with geometries.")
    if layer is None and len(layers) > 1:
        raise InvalidInput(
            f"{path}: has several layers: {listed}.", hint="Name one with `layer:`.", kind="several-layers"
        )
    if layer is not None and layer not in layers:
        raise InvalidInput(f"{path}: has no layer {layer!r}; layers: {listed}.", kind="no-such-layer")
    return layers[0] if layer is None else layer


def _refuse_view(path: Path, layer: str) -> None:
    """A GeoPackage's layer may be an SQL view, which can run for ever: only tables are read."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as base:
            found = base.execute("select type from sqlite_master where lower(name) = lower(?)", (layer,)).fetchone()
    except sqlite3.Error as error:
        raise InvalidInput(f"{path}: not a readable GeoPackage ({error}).", kind="unreadable") from error
    if found != ("table",):
        raise InvalidInput(f"{path}: the layer {layer!r} is a view.", hint="Export it to a table of its own.")


def open_ogr(path: Path, suffix: str, layer: str | None) -> Table:
    """One layer of a GeoPackage, Shapefile or FlatGeobuf file, read by GDAL through Arrow."""
    import pyogrio

    name = str(path.absolute())  # an absolute path is neither a connection string nor an option
    with _translated(path):
        layers = [str(found) for found, kind in pyogrio.list_layers(name) if kind is not None]
    chosen = _choose(path, layers, layer)
    if suffix == ".gpkg":
        _refuse_view(path, chosen)
    with _translated(path):
        info = pyogrio.read_info(name, layer=chosen, force_feature_count=True)
    if info["driver"] != _DRIVERS[suffix]:
        raise InvalidInput(f"{path}: GDAL reads it as {info['driver']}, not {_DRIVERS[suffix]}.", kind="wrong-format")
    if len(info["fields"]) > MAX_COLUMNS:
        raise InvalidInput(f"{path}: {len(info['fields'])} columns; at most {MAX_COLUMNS} are read.")
    return Table(chosen, info["crs"], _ogr_batches(path, name, chosen, int(info["features"])))


def _ogr_batches(path: Path, name: str, layer: str, expected: int) -> Iterator[Rows]:
    from pyogrio.raw import open_arrow

    count = 0
    with contextlib.ExitStack() as stack:
        with _translated(path):
            options = {"use_pyarrow": True, "batch_size": BATCH, "datetime_as_string": True}
            meta, reader = stack.enter_context(open_arrow(name, layer=layer, **options))
        geometry = meta["geometry_name"] or "wkb_geometry"
        while True:
            with _translated(path):
                rows = next((_rows(batch, geometry, path, frozenset()) for batch in reader), None)
            if rows is None:
                break
            count += len(rows[0])
            yield rows
    if count != expected:
        raise InvalidInput(
            f"{path}: {count} of {expected} features could be read: the file is damaged.", kind="truncated"
        )


def _rows(batch: pa.RecordBatch, geometry: str, path: Path, skip: frozenset[str]) -> Rows:
    import numpy as np

    wkb = np.array(batch.column(geometry).to_pylist(), dtype=object)
    names = [name for name in batch.schema.names if name != geometry and name not in skip]
    return wkb, {name: plain_values(batch.column(name), name, str(path)) for name in names}


def open_parquet(path: Path) -> Table:
    """A GeoParquet file (1.0, 1.1) with WKB geometries; what we wrote carries its precision and JSON columns.

    Source: https://geoparquet.org/releases/v1.1.0/
    """
    import pyarrow.parquet as pq

    from versioning.parquet_guard import measure_parquet

    with _translated(path):
        with pq.ParquetFile(path) as file:
            metadata = file.metadata
            pairs = dict(metadata.metadata or {})
            names = file.schema_arrow.names
        size = measure_parquet(path)
        geo = json.loads(pairs.get(b"geo", b"null"))
        stacpin = json.loads(pairs.get(b"stacpin", b"{}"))
    if not isinstance(geo, dict) or not isinstance(stacpin, dict):
        raise InvalidInput(f"{path}: Parquet without the `geo` metadata of GeoParquet.", kind="wrong-format")
    unpacked = sum(column.pages for column in size.columns)
    page = max((column.largest_page for column in size.columns), default=0)
    if unpacked > _MAX_UNPACKED or page > _MAX_PAGE or len(names) > MAX_COLUMNS:
        raise InvalidInput(
            f"{path}: {unpacked} bytes unpacked, {page} of them in one page, in {len(names)} columns: too large.",
            hint=f"A page may unpack to {_MAX_PAGE} bytes. Write the file anew, with its writer's own settings.",
            kind="too-large",
        )
    primary = geo.get("primary_column")
    column = geo["columns"].get(str(primary)) if isinstance(geo.get("columns"), dict) else None
    if not isinstance(column, dict) or not isinstance(primary, str) or primary not in names:
        raise InvalidInput(f"{path}: its `geo` metadata names no geometry column of the file.", kind="wrong-format")
    if column.get("encoding") != "WKB":
        hint = "Write it with WKB geometries, GeoParquet's default."
        raise InvalidInput(f"{path}: geometries are encoded as {column.get('encoding')!r:.40}.", hint=hint)
    crs = column.get("crs", "OGC:CRS84")
    if crs is not None and not isinstance(crs, (str, dict)):
        raise InvalidInput(f"{path}: its crs is no PROJJSON.", kind="unknown-crs")
    covering = json.dumps(column.get("covering", {}))
    skip = frozenset(name for name in names if f'["{name}", "xmin"]' in covering)
    table = Table(path.stem, crs, _parquet_batches(path, primary, skip, stacpin, size))
    table.stacpin = stacpin
    return table


def _parquet_batches(
    path: Path, primary: str, skip: frozenset[str], stacpin: dict[str, Any], size: ParquetSize
) -> Iterator[Rows]:
    import pyarrow.parquet as pq

    listed = stacpin.get("json")
    coded = {name for name in listed if isinstance(name, str)} if isinstance(listed, list) else set()
    # Read as dictionaries, one long value that is repeated a million times takes its length once.
    repeated = sorted({column.path for column in size.columns if column.dictionary})
    longest = sum(column.longest for column in size.columns)
    rows_at_once = max(1, min(BATCH, int(_MAX_BATCH / max(longest, 1))))
    with contextlib.ExitStack() as stack:
        with _translated(path):
            file = stack.enter_context(pq.ParquetFile(path, read_dictionary=repeated))
            wanted = [name for name in file.schema_arrow.names if name not in skip]
            batches = file.iter_batches(rows_at_once, columns=wanted)
        while True:
            with _translated(path):
                batch = next(batches, None)
                if batch is None:
                    break
                _refuse_expanding(batch, path)
                rows = _rows(_written_out(batch), primary, path, skip)
                for name in coded & rows[1].keys():
                    values = rows[1][name]
                    rows[1][name] = [json.loads(value) if isinstance(value, str) else value for value in values]
            yield rows


def _refuse_expanding(batch: pa.RecordBatch, path: Path) -> None:
    from versioning.parquet_guard import expanded_bytes

    found = sum(expanded_bytes(column) for column in batch.columns)
    if found > 4 * _MAX_BATCH:
        raise InvalidInput(
            f"{path}: {batch.num_rows} of its rows repeat long values and take {found} bytes: too large.",
            hint="Shorten the values that repeat.",
            kind="too-large",
        )


def _written_out(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows without dictionaries."""
    import pyarrow as pa

    columns = [column.cast(_plain(column.type)) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _plain(kind: pa.DataType) -> pa.DataType:
    """A type with the values of its dictionaries in their place."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_map(kind):
        return pa.map_(_plain(kind.key_type), _plain(kind.item_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    return kind
