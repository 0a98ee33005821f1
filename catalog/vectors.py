"""Safe reading of foreign vector files: GeoJSON, GeoPackage, Shapefile, GeoParquet and FlatGeobuf as `Features`.

What is refused, always as InvalidInput with the file, the feature and the reason: names that are no plain local file
(URLs, ``/vsi…``, connection strings, links, archives: unpack them first), other formats than their suffix says, several
layers where none is named, truncated files, broken rings, coordinates that are not finite or not within the CRS's
degrees, and a missing or unknown CRS. Polygons that cross themselves are read as they are: they can be compared and
pinned; repairing them is another step. M values are not read, curves are read as GDAL's linear approximation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog.vector_columns import Value, checked_rows, without_row_number
from catalog.vector_crs import WGS84, Crs, geojson_crs_name, parse_crs
from catalog.vector_geojson import find_crs_member, iter_geojson
from catalog.vector_shapes import geometries_of
from catalog.vector_tables import Table, check_container, open_ogr, open_parquet
from versioning.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    import numpy as np

__all__ = ["SUFFIXES", "Features", "VectorSource", "check_finite", "open_vectors", "read_features"]

SUFFIXES = {
    ".geojson": ".geojson",
    ".json": ".geojson",
    ".gpkg": ".gpkg",
    ".shp": ".shp",
    ".parquet": ".parquet",
    ".geoparquet": ".parquet",
    ".fgb": ".fgb",
}
"""The suffixes that are read, and the one that stands for their format."""

_BATCH = 1 << 14
_MAX_BYTES = 1 << 34
_MAX_FEATURES = 20_000_000
_ROW = re.compile(r"^-?[0-9]+$")
_DECLARE = "Declare it in its layer of the recipe, for example `source_crs: EPSG:32616`."


@dataclass(frozen=True, slots=True)
class Features:
    """Features in reading order.

    Attributes
    ----------
    geometries
        Array of shapely geometries, None where a feature has none (empty geometries count as none).
    columns
        Property name to as many values; None where a feature lacks it. A GeoJSON ``id`` that is text stands under
        ``id``, as GDAL reads it; whole numbers are row numbers (geopandas writes its index so): not kept.
    crs
        Coordinates are x, y (longitude, latitude).
    layer, source
        The layer's name, and the file's for messages.
    precision
        The precision that the file itself declares (only files of ours do), in units of the CRS.
    """

    geometries: np.ndarray
    columns: dict[str, list[Value]]
    crs: Crs
    layer: str
    source: str
    precision: float | None = None

    def __len__(self) -> int:
        return len(self.geometries)


@dataclass(frozen=True, slots=True)
class VectorSource:
    """An opened layer: its CRS is known, its features come as a stream of `Features`, once."""

    path: Path
    crs: Crs
    layer: str
    precision: float | None
    _batches: Iterator[Features] = field(repr=False)

    def batches(self) -> Iterator[Features]:
        """Features in pieces of some ten thousand, so that memory stays the same for any number."""
        return self._batches


def open_vectors(path: Path | str, *, crs: str | int | Crs | None = None, layer: str | None = None) -> VectorSource:
    """Open a vector file for one pass over its features.

    Parameters
    ----------
    path
        A plain local file with one of SUFFIXES.
    crs
        What the recipe declares for files that do not say it. It must agree with a file that does.
    layer
        Which layer, where the file has several.

    Raises
    ------
    NotFound, InvalidInput
        See the module's text.
    """
    path, suffix = _plain_file(path)
    declared = None if crs is None else parse_crs(crs, "the declared crs")
    if suffix == ".geojson":
        known = _geojson_crs(path, declared)
        batches = _geojson_batches(path, known or WGS84, guessed=known is None)
        return VectorSource(path, known or WGS84, path.stem, None, batches)
    check_container(path, suffix)
    table = open_parquet(path) if suffix == ".parquet" else open_ogr(path, suffix, layer)
    agreed = _agree(path, _table_crs(path, table, declared), declared)
    precision = table.stacpin.get("precision")
    if not isinstance(precision, float) or not precision > 0:
        precision = None
    return VectorSource(path, agreed, table.layer, precision, _table_batches(path, table, agreed, precision))


def read_features(path: Path | str, *, crs: str | int | Crs | None = None, layer: str | None = None) -> Features:
    """All features of a file at once; parameters and errors as in `open_vectors`."""
    import numpy as np

    source = open_vectors(path, crs=crs, layer=layer)
    pieces = list(source.batches())
    names = dict.fromkeys(name for piece in pieces for name in piece.columns)
    columns: dict[str, list[Value]] = {name: [] for name in names}
    for piece in pieces:
        for name, values in columns.items():
            values.extend(piece.columns.get(name) or [None] * len(piece))
    geometries = np.concatenate([piece.geometries for piece in pieces]) if pieces else np.empty(0, dtype=object)
    return Features(geometries, columns, source.crs, source.layer, str(source.path), source.precision)


def _plain_file(path: Path | str) -> tuple[Path, str]:
    name = str(path)
    if "://" in name or name.startswith("/vsi") or "!" in name or "\0" in name:
        raise InvalidInput(f"{name[:200]!r} is no plain local file.", hint="Copy it here first.", kind="unsafe-path")
    path = Path(path)
    suffix = SUFFIXES.get(path.suffix.lower())
    if suffix is None:
        known = " ".join(sorted(SUFFIXES))
        unpack = "Unpack archives first; " if path.suffix.lower() in {".zip", ".gz", ".shz", ".tar", ".7z"} else ""
        raise InvalidInput(f"{path}: not a vector format that is read.", hint=f"{unpack}these are: {known}.")
    if path.is_symlink():
        raise InvalidInput(f"{path}: a link.", hint="Name the file that it points to.", kind="unsafe-path")
    if not path.exists():
        raise NotFound(f"{path} does not exist.")
    if not path.is_file():
        raise InvalidInput(f"{path}: no plain file.", kind="unsafe-path")
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise InvalidInput(f"{path}: {size} bytes; at most {_MAX_BYTES} are read.", hint="Split it.", kind="too-large")
    return path, suffix


def _agree(path: Path, found: Crs, declared: Crs | None) -> Crs:
    if declared is not None and declared != found:
        message = f"{path}: its CRS is {found.name[:80]}, but {declared.name[:80]} is declared."
        raise InvalidInput(message, hint="Drop the declaration, or mend the file.", kind="crs-mismatch")
    return found


def _geojson_crs(path: Path, declared: Crs | None) -> Crs | None:
    """The CRS of a GeoJSON file; None where RFC 7946's degrees are to be assumed and checked."""
    present, member = find_crs_member(path)
    if not present:
        return declared
    found = geojson_crs_name(member, str(path))
    if found is not None:
        return _agree(path, found, declared)
    if declared is None:
        raise InvalidInput(f"{path}: its crs member is null: no CRS.", hint=_DECLARE, kind="missing-crs")
    return declared


def _table_crs(path: Path, table: Table, declared: Crs | None) -> Crs:
    if table.crs:
        try:
            return parse_crs(table.crs, str(path))
        except InvalidInput as error:
            if declared is None or error.kind != "missing-crs":
                raise
    if declared is None:
        raise InvalidInput(f"{path}: has no CRS.", hint=_DECLARE, kind="missing-crs")
    return declared


def _geojson_batches(path: Path, crs: Crs, *, guessed: bool) -> Iterator[Features]:
    rows: list[dict[str, Value]] = []
    shapes: list[tuple[int, Any, Any]] = []

    def piece() -> Features:
        columns = checked_rows(rows, str(path))
        return _batch(path, crs, geometries_of(shapes, path), columns, shapes[0][0], guessed=guessed)

    for number, (identity, properties, geometry) in enumerate(iter_geojson(path)):
        if isinstance(identity, str) and not _ROW.match(identity) and "id" not in properties:
            properties["id"] = identity
        rows.append(properties)
        shapes.append((number, identity, geometry))
        if len(rows) == _BATCH:
            yield piece()
            rows, shapes = [], []
    if rows:
        yield piece()


def _table_batches(path: Path, table: Table, crs: Crs, precision: float | None) -> Iterator[Features]:
    import shapely

    first = 0
    for wkb, columns in table.batches:
        try:
            shapes = shapely.from_wkb(wkb)
        except (shapely.errors.GEOSException, TypeError) as error:
            loose = shapely.from_wkb(wkb, on_invalid="ignore")
            bad = next((at for at, shape in enumerate(loose) if shape is None and wkb[at] is not None), 0)
            message = f"{path}: feature {first + bad}: {str(error).splitlines()[0][:200]}."
            raise InvalidInput(message, kind="broken-geometry") from error
        if shapely.has_m(shapes).any():
            shapes = [shape and shapely.transform(shape, lambda at: at, include_z=shape.has_z) for shape in shapes]
        yield _batch(path, crs, shapes, columns, first, layer=table.layer, precision=precision)
        first += len(shapes)


def _batch(
    path: Path,
    crs: Crs,
    shapes: Any,
    columns: dict[str, list[Value]],
    first: int,
    *,
    guessed: bool = False,
    layer: str | None = None,
    precision: float | None = None,
) -> Features:
    import numpy as np
    import shapely

    if first + len(shapes) > _MAX_FEATURES:
        raise InvalidInput(f"{path}: more than {_MAX_FEATURES} features.", hint="Split it.", kind="too-large")
    geometries = np.empty(len(shapes), dtype=object)
    geometries[:] = shapes
    geometries[shapely.is_empty(geometries)] = None
    check_finite(geometries, crs, str(path), first=first, guessed=guessed)
    return Features(geometries, without_row_number(columns), crs, layer or path.stem, str(path), precision)


def check_finite(geometries: np.ndarray, crs: Crs, source: str, *, first: int = 0, guessed: bool = False) -> None:
    """Refuse coordinates that are NaN or infinite, or that a CRS in degrees cannot have.

    Parameters
    ----------
    geometries
        Array of shapely geometries and None.
    source, first
        The file and the number of its first feature here, for messages.
    guessed
        The CRS is RFC 7946's default: longitudes must lie within 180 degrees, not merely within a second turn of 360.
    """
    import numpy as np
    import shapely

    z = bool(shapely.has_z(geometries).any())
    coordinates, owner = shapely.get_coordinates(geometries, include_z=z, return_index=True)
    bad = ~np.isfinite(coordinates[:, :2]).all(axis=1)
    if z:
        bad |= ~np.isfinite(coordinates[:, 2]) & shapely.has_z(geometries)[owner]
    if bad.any():
        at = int(owner[bad.argmax()])
        where = f"{source}: feature {first + at}"
        raise InvalidInput(f"{where}: a coordinate is NaN or infinite.", kind="broken-geometry")
    if not crs.degrees:
        return
    beyond = (np.abs(coordinates[:, 0]) > (180 if guessed else 360) + 1e-9) | (np.abs(coordinates[:, 1]) > 90 + 1e-9)
    if beyond.any():
        at = int(beyond.argmax())
        position = f"({coordinates[at, 0]:.10g}, {coordinates[at, 1]:.10g})"
        why = "and the file names no CRS" if guessed else f"which {crs.name[:60]} cannot have"
        message = f"{source}: feature {first + int(owner[at])}: the position {position} is not in degrees, {why}."
        raise InvalidInput(message, hint=_DECLARE, kind="missing-crs" if guessed else "crs-mismatch")
