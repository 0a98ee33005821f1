"""Normalised labels as a GeoParquet 1.1 file: the same features give the same bytes, in whatever order they came.

Source of the format: https://geoparquet.org/releases/v1.1.0/ (WKB, PROJJSON, bbox covering).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from catalog.vector_columns import Value
from catalog.vector_crs import projjson
from catalog.vectors import Features
from versioning.errors import InvalidInput

__all__ = ["Column", "geometry_types", "infer_column", "write_geoparquet"]

_ROWS = 1 << 16
_TYPES = {"boolean": pa.bool_(), "integer": pa.int64(), "number": pa.float64(), "text": pa.string()}
_TYPES |= {"bytes": pa.binary(), "json": pa.string()}
_INT64 = 1 << 63


@dataclass(frozen=True, slots=True)
class Column:
    """A property's column: its kind (boolean, integer, number, text, bytes or json) and its values."""

    name: str
    kind: str
    values: list[Value]


def infer_column(name: str, values: list[Value]) -> Column | None:
    """The column of a property's values; None where no feature has it (null counts as missing).

    Values of several kinds, and lists and objects, become ``json``: each value as its JSON text.
    """
    types = {type(value) for value in values} - {type(None)}
    if not types:
        return None
    kind = "json"
    if types == {bool}:
        kind = "boolean"
    elif types == {str}:
        kind = "text"
    elif types == {bytes}:
        kind = "bytes"
    elif types == {int}:
        kind = "integer" if all(value is None or -_INT64 <= value < _INT64 for value in values) else "json"  # type: ignore[operator]  # ints only
    elif types <= {int, float} and all(value is None or _is_double(value) for value in values):
        kind = "number"
    return Column(name, kind, values)


def _is_double(value: Any) -> bool:
    try:
        return float(value) == value
    except OverflowError:
        return False


def _arrow(column: Column, source: str) -> pa.Array:
    values: list[Any] = column.values
    if column.kind == "json":
        try:
            values = [
                None
                if value is None
                else json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
                for value in values
            ]
        except (TypeError, ValueError) as error:
            message = f"{source}: the property {column.name!r} mixes values that JSON cannot hold ({error})."
            raise InvalidInput(message) from error
    return pa.array(values, type=_TYPES[column.kind])


def geometry_types(geometries: np.ndarray) -> list[str]:
    """GeoParquet's names of the kinds that occur, sorted; `` Z`` marks three dimensions."""
    return sorted({f"{shape.geom_type}{' Z' if shape.has_z else ''}" for shape in geometries if shape is not None})


def _free(name: str, taken: set[str]) -> str:
    number = 0
    while (found := f"{name}_{number}" if number else name) in taken:
        number += 1
    return found


def write_geoparquet(path: Path, features: Features, columns: list[Column], step: float) -> None:
    """Write features, already in their order, with columns in theirs.

    Parameters
    ----------
    path
        Written in place: give a temporary name and rename it.
    features
        Their geometries and CRS are written; their columns are not looked at.
    columns
        What is written as properties. Geometry and bbox move to other names where a property has theirs.
    step
        The precision that the file declares, in units of the CRS.
    """
    taken = {column.name for column in columns}
    geometry, box = _free("geometry", taken), _free("bbox", taken)
    arrays: dict[str, pa.Array] = {column.name: _arrow(column, features.source) for column in columns}
    bounds = shapely.bounds(features.geometries)
    missing = np.isnan(bounds[:, 0])
    edges = ["xmin", "ymin", "xmax", "ymax"]
    arrays[box] = pa.StructArray.from_arrays(
        [pa.array(bounds[:, at], mask=missing) for at in range(4)], names=edges, mask=pa.array(missing)
    )
    arrays[geometry] = pa.array(shapely.to_wkb(features.geometries, byte_order=1, flavor="iso"), type=pa.binary())
    described: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": geometry_types(features.geometries),
        "crs": projjson(features.crs),
        "orientation": "counterclockwise",
        "covering": {"bbox": {edge: [box, edge] for edge in edges}},
    }
    if not missing.all():
        described["bbox"] = [float(f(bounds[~missing, at])) for at, f in enumerate((np.min, np.min, np.max, np.max))]
    geo = {"version": "1.1.0", "primary_column": geometry, "columns": {geometry: described}}
    ours = {"json": [column.name for column in columns if column.kind == "json"], "precision": step}
    table = pa.table(arrays).replace_schema_metadata(
        {"geo": json.dumps(geo, sort_keys=True), "stacpin": json.dumps(ours, sort_keys=True)}
    )
    pq.write_table(
        table, path, compression="zstd", compression_level=3, row_group_size=_ROWS, version="2.6", use_dictionary=True
    )
