"""Label files as normalised GeoParquet: one CRS, coordinates on the precision grid, one order of everything."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from catalog.vector_crs import WGS84, Crs, parse_crs, to_pyproj
from catalog.vector_digest import (
    digest_of_features,
    encode_features,
    feature_digest,
    grid_of,
    step_of,
    vector_digest,
)
from catalog.vector_normal import decode_geometries
from catalog.vectors import Features, check_finite, read_features
from ingest.label_parent import keep_parent_geometries
from ingest.label_table import Column, geometry_types, infer_column, write_geoparquet
from versioning.errors import Integrity, InvalidInput

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

__all__ = ["LabelsResult", "PropertySummary", "to_labels"]

_CLASSES = 50
_FOOTPRINT_DIGITS = 7
_HULL_SEGMENTS = 32


@dataclass(frozen=True, slots=True)
class PropertySummary:
    """A property's kind (boolean, integer, number, text, bytes, json) and its values, if it has at most fifty."""

    kind: str
    values: tuple[bool | int | str, ...] | None


@dataclass(frozen=True, slots=True)
class LabelsResult:
    """What `to_labels` wrote, and what an item wants to know about it.

    Attributes
    ----------
    digest, source_digest
        ``v1:`` digests of the file written and of the source as it came (in its own CRS).
    bbox, footprint
        West, south, east, north and a convex hull as GeoJSON, in EPSG:4326, rounded to 1e-7 degrees; None without
        any geometry.
    native_bbox
        The same box in units of `crs`.
    crs
        Authority code or PROJJSON text of the file written.
    precision
        The step of its coordinates, in units of `crs`.
    kept
        How many features took the parent's coordinates.
    lineage
        Parameters of the step that moved coordinates; empty where nothing was reprojected.
    """

    path: Path
    digest: str
    source_digest: str
    count: int
    geometry_types: tuple[str, ...]
    bbox: tuple[float, float, float, float] | None
    native_bbox: tuple[float, float, float, float] | None
    crs: str
    precision: float
    properties: dict[str, PropertySummary]
    footprint: dict[str, Any] | None
    kept: int
    lineage: dict[str, Any]


def to_labels(
    source: Path,
    target: Path,
    *,
    crs: str | int | None = None,
    target_crs: str | int | None = None,
    precision: float | None = None,
    layer: str | None = None,
    parent: Path | None = None,
) -> LabelsResult:
    """Write the features of a vector file as normalised GeoParquet.

    Coordinates are put on the precision grid; rings start at their least vertex, shells run counterclockwise; rows
    are in the order of their geometry's normal form, then of their properties'; columns in that of their names.
    Empty columns are dropped. The same features in any order give the same bytes with the same pyarrow.

    Parameters
    ----------
    source, target
        Any file that `catalog.vectors` reads, and the ``.parquet`` file to write; it appears whole or not at all.
    crs
        The CRS declared for a source that names none.
    target_crs
        The CRS to write; the source's own where it is not given.
    precision
        Step of the grid in units of the target CRS; 1e-7 for degrees and 0.001 otherwise by default.
    layer
        Which layer of a source with several.
    parent
        The version before, as this function wrote it: features that differ from it by noise keep its coordinates.

    Raises
    ------
    NotFound, InvalidInput
        For what cannot be read or transformed.
    Integrity
        If the file written does not read back with the digest that was computed.
    """
    if target.suffix != ".parquet":
        raise InvalidInput(f"{target}: labels are written as .parquet.")
    original = read_features(source, crs=crs, layer=layer)
    wanted = original.crs if target_crs is None else parse_crs(target_crs, "the target crs")
    moved = wanted != original.crs
    source_digest = vector_digest(original, precision=None if moved else precision)
    features = _reproject(original, wanted) if moved else original
    step = step_of(wanted, precision if precision is not None or moved else original.precision)
    kept = 0
    if parent is not None:
        features, kept = keep_parent_geometries(features, read_features(parent), step)
    features, columns, digest = _normalise(features, step)
    _write(target, features, columns, step, digest)
    footprint = _footprint(features)
    return LabelsResult(
        path=target,
        digest=digest,
        source_digest=source_digest,
        count=len(features),
        geometry_types=tuple(geometry_types(features.geometries)),
        bbox=None if footprint is None else _box(footprint.bounds),
        native_bbox=None if footprint is None else _box(shapely.total_bounds(features.geometries)),
        crs=wanted.name,
        precision=step,
        properties={column.name: _summary(column) for column in columns},
        footprint=None if footprint is None else shapely.geometry.mapping(footprint),
        kept=kept,
        lineage={"step": "reproject", "from": original.crs.identity, "to": wanted.identity, "precision": step}
        if moved
        else {},
    )


def _reproject(features: Features, crs: Crs) -> Features:
    geometries = _transform(features.geometries, features.crs, crs, features.source)
    check_finite(geometries, crs, f"{features.source} in {crs.name[:60]}")
    return Features(geometries, features.columns, crs, features.layer, features.source)


def _transform(geometries: np.ndarray, source: Crs, target: Crs, where: str) -> np.ndarray:
    """Vertices one by one, x and y; heights stay as they are."""
    import pyproj
    from pyproj.exceptions import ProjError
    from pyproj.network import set_network_enabled  # pyright: ignore[reportPrivateImportUsage]  # documented here

    set_network_enabled(active=False)  # a grid fetched on one machine only would move its labels
    try:
        transformer = pyproj.Transformer.from_crs(to_pyproj(source), to_pyproj(target), always_xy=True)

        def move(coordinates: np.ndarray) -> np.ndarray:
            moved = coordinates.copy()
            moved[:, 0], moved[:, 1] = transformer.transform(coordinates[:, 0], coordinates[:, 1])
            return moved

        result = np.empty(len(geometries), dtype=object)
        high = shapely.has_z(geometries)
        for chosen, include_z in ((high, True), (~high, False)):
            result[chosen] = shapely.transform(geometries[chosen], move, include_z=include_z)
    except (ProjError, shapely.errors.GEOSException) as error:
        message = f"{where}: cannot be transformed from {source.name[:60]} to {target.name[:60]} ({error})."
        raise InvalidInput(message) from error
    return result


def _normalise(features: Features, step: float) -> tuple[Features, list[Column], str]:
    """Features in their normal form and order, their columns, and their digest."""
    geometries, properties = encode_features(features, step)
    digests = [feature_digest(*row) for row in zip(geometries, properties, strict=True)]
    rows = list(zip(*features.columns.values(), strict=True)) if features.columns else [()] * len(features)
    names = sorted(range(len(features.columns)), key=list(features.columns).__getitem__)
    order = sorted(range(len(features)), key=lambda at: (geometries[at], properties[at]))
    # what counts as equal may still be written differently ("" and null): then its text decides, not its place
    for first, last in _runs([digests[at] for at in order]):
        order[first:last] = sorted(order[first:last], key=lambda at: repr([rows[at][name] for name in names]))
    ordered = Features(
        decode_geometries([geometries[at] for at in order], grid_of(features.crs, step)),
        {name: [features.columns[name][at] for at in order] for name in sorted(features.columns)},
        features.crs,
        features.layer,
        features.source,
        step,
    )
    columns = [infer_column(name, values) for name, values in ordered.columns.items()]
    return ordered, [column for column in columns if column], digest_of_features(b"".join(digests), features.crs, step)


def _runs(values: list[bytes]) -> list[tuple[int, int]]:
    """Where at least two equal values follow each other, as (first, beyond the last)."""
    found, start = [], 0
    for at in range(1, len(values) + 1):
        if at == len(values) or values[at] != values[start]:
            if at - start > 1:
                found.append((start, at))
            start = at
    return found


def _write(target: Path, features: Features, columns: list[Column], step: float, digest: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(8)}.parquet")
    try:
        write_geoparquet(temporary, features, columns, step)
        found = vector_digest(temporary)
        if found != digest:
            raise Integrity(f"{features.source}: written as {digest}, read back as {found}.", kind="label-round-trip")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _footprint(features: Features) -> BaseGeometry | None:
    """The convex hull of all vertices in EPSG:4326: a polygon, or a line or a point where they are no more."""
    coordinates = np.unique(shapely.get_coordinates(features.geometries), axis=0)
    if not len(coordinates):
        return None
    hulls = np.array([shapely.MultiPoint(coordinates).convex_hull], dtype=object)
    if features.crs != WGS84:
        west, south, east, north = shapely.total_bounds(hulls)
        size = max(east - west, north - south)
        # straight edges of a projected CRS are curves in degrees
        fine = shapely.segmentize(hulls, size / _HULL_SEGMENTS) if size else hulls
        hulls = _transform(fine, features.crs, WGS84, features.source)
    hulls = shapely.transform(hulls, lambda at: np.round(at, _FOOTPRINT_DIGITS))
    return shapely.orient_polygons(shapely.normalize(hulls))[0]


def _box(bounds: Any) -> tuple[float, float, float, float]:
    west, south, east, north = (float(edge) for edge in bounds)
    return west, south, east, north


def _summary(column: Column) -> PropertySummary:
    if column.kind not in {"boolean", "integer", "text"}:
        return PropertySummary(column.kind, None)
    distinct: set[Any] = set()
    for value in column.values:
        distinct.add(value)
        if len(distinct) > _CLASSES + 1:
            return PropertySummary(column.kind, None)
    distinct -= {None, ""}
    return PropertySummary(column.kind, tuple(sorted(distinct)) if len(distinct) <= _CLASSES else None)
