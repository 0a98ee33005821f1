"""STAC assets of stored files: rasters, labels and everything else, each with checksum, size and content digest.

What an asset says follows from the file's content and from what the caller declares; statistics, times, machines and
software versions stay out, since they would make a new version of the same data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shapely.geometry.base import BaseGeometry

from catalog.bands import band_fields, hoisted
from catalog.footprints import BBox, bbox_of, from_geojson
from catalog.media_types import media_type_of
from catalog.raster_facts import RasterFacts, raster_facts
from catalog.rasters import RasterLimits, open_raster
from versioning.errors import InvalidInput
from versioning.objects import ObjectRef

__all__ = ["AssetPart", "labels_asset", "opaque_asset", "raster_asset", "raster_part"]


@dataclass(frozen=True, slots=True)
class AssetPart:
    """An asset on its way into an item.

    Attributes
    ----------
    asset
        The STAC asset.
    footprint
        Where it lies, in EPSG:4326 and on the grid of `catalog.footprints`; None if it has no place.
    properties
        What the item must say because of this asset (the label extension wants its fields there).
    """

    asset: dict[str, Any]
    footprint: BaseGeometry | None = None
    properties: dict[str, Any] = field(default_factory=dict)

    @property
    def bbox(self) -> BBox | None:
        """West, south, east, north; west exceeds east across the antimeridian."""
        return None if self.footprint is None else bbox_of(self.footprint)


def raster_asset(
    path: Path,
    ref: ObjectRef,
    *,
    digest: str,
    source: Mapping[str, Any] | None = None,
    roles: Sequence[str] = ("data",),
    title: str | None = None,
    band_names: Sequence[str] | None = None,
    extra: Mapping[str, Any] | None = None,
    crs: str | None = None,
    limits: RasterLimits | None = None,
) -> AssetPart:
    """The asset of a raster, with its bands and its place in its own CRS.

    Parameters
    ----------
    path, ref
        The file, and the object that holds its bytes.
    digest
        Its content digest, ``r1:…``.
    source
        What it was derived from, as ``pin:source``: ``inputs`` (content digests), ``step`` and its ``parameters``.
    roles, title
        As STAC has them.
    band_names
        One name a band; the file's own descriptions, else ``b1``, ``b2``, … where it is None. A name that is one of the
        eo extension's common names is declared as such.
    extra
        Further members of the asset. Its ``bands`` are a list of as many objects, which are merged into the bands.
    crs
        The CRS of a file that has none.
    limits
        What the file may claim to be; the defaults of `catalog.rasters` otherwise.

    Raises
    ------
    InvalidInput, NotFound, StorageUnavailable
        As `catalog.rasters.open_raster`; also if names or ``bands`` are not as many as the raster's bands.
    """
    with open_raster(path, crs=crs, limits=limits) as raster:
        return raster_part(
            raster_facts(raster),
            ref,
            digest=digest,
            source=source,
            roles=roles,
            title=title,
            band_names=band_names,
            extra=extra,
        )


def raster_part(
    facts: RasterFacts,
    ref: ObjectRef,
    *,
    digest: str,
    source: Mapping[str, Any] | None = None,
    roles: Sequence[str] = ("data",),
    title: str | None = None,
    band_names: Sequence[str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> AssetPart:
    """The asset of a raster whose facts are known: see `raster_asset`."""
    extra = dict(extra or {})
    bands = band_fields(facts.path, facts.bands, band_names, extra.pop("bands", None))
    asset = _asset(ref, facts.media_type, digest=digest, source=source, roles=roles, title=title)
    return AssetPart(asset | facts.projection | hoisted(bands) | extra, facts.footprint)


def labels_asset(
    path: Path,
    ref: ObjectRef,
    *,
    digest: str,
    count: int,
    geometry_types: Sequence[str],
    columns: Mapping[str, str],
    crs: str,
    footprint: Mapping[str, Any] | None,
    native_bbox: Sequence[float] | None = None,
    classes: Mapping[str, Sequence[str | float | bool]] | None = None,
    source: Mapping[str, Any] | None = None,
    title: str | None = None,
    description: str | None = None,
    tasks: Sequence[str] = (),
    methods: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> AssetPart:
    """The asset of vector labels, with the label and table extensions' fields.

    Parameters
    ----------
    path, ref, source, title, extra
        As for `raster_asset`.
    digest
        Its content digest, ``v1:…``.
    count, geometry_types
        Number of features, and the kinds of their geometries (``Polygon``, …).
    columns
        Each property's name and its type.
    crs
        The file's CRS: an authority code or PROJJSON text.
    footprint
        GeoJSON in EPSG:4326 that covers all features; None where there are none.
    native_bbox
        Their box in units of `crs`.
    classes
        For each property that classifies features, its values.
    description, tasks, methods
        As the label extension has them.

    Raises
    ------
    InvalidInput
        If the footprint or the CRS cannot be used.
    """
    place = from_geojson(footprint) if footprint is not None else None
    kinds = " and ".join(sorted(geometry_types)) or "no geometry"
    label: dict[str, Any] = {
        "label:type": "vector",
        "label:description": description or f"{count} features: {kinds}",
        "label:properties": sorted(columns) or None,
    }
    known = [{"name": name, "classes": _class_values(values)} for name, values in sorted((classes or {}).items())]
    for key, value in (("classes", known), ("tasks", sorted(tasks)), ("methods", sorted(methods))):
        if value:
            label[f"label:{key}"] = value
    table = [{"name": name, "type": kind} for name, kind in sorted({"geometry": "geometry", **columns}.items())]
    asset = _asset(
        ref, media_type_of(path), digest=digest, source=source, roles=("labels", "labels-vector"), title=title
    )
    asset |= _named_crs(crs)
    if native_bbox is not None:
        asset["proj:bbox"] = [float(value) for value in native_bbox]
    asset |= label | {"table:columns": table, "table:primary_geometry": "geometry", "table:row_count": count}
    return AssetPart(asset | dict(extra or {}), place, label)


def opaque_asset(
    path: Path,
    ref: ObjectRef,
    *,
    media_type: str | None = None,
    roles: Sequence[str] = ("metadata",),
    title: str | None = None,
    digest: str | None = None,
    source: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> AssetPart:
    """The asset of a file that is kept as it is: point clouds, metadata, thumbnails. Its content is its bytes.

    The media type follows from the file's suffix unless it is given; ``digest`` is ``b1:`` and the sha256 by default.
    """
    asset = _asset(
        ref,
        media_type or media_type_of(path),
        digest=digest or f"b1:{ref.sha256.hex()}",
        source=source,
        roles=roles,
        title=title,
    )
    return AssetPart(asset | dict(extra or {}))


def _asset(
    ref: ObjectRef,
    media_type: str,
    *,
    digest: str,
    source: Mapping[str, Any] | None,
    roles: Sequence[str],
    title: str | None,
) -> dict[str, Any]:
    asset: dict[str, Any] = {
        "href": ref.href,
        "type": media_type,
        "roles": list(roles),
        "file:checksum": ref.checksum,
        "file:size": ref.size,
        "pin:digest": digest,
    }
    optional = {"title": title, "pin:source": source}
    return asset | {key: value for key, value in optional.items() if value is not None}


def _named_crs(name: str) -> dict[str, Any]:
    if not name.lstrip().startswith("{"):
        return {"proj:code": name}
    try:
        return {"proj:code": None, "proj:projjson": json.loads(name)}
    except ValueError as error:
        raise InvalidInput(f"The CRS {name[:80]!r} is not PROJJSON: {error}.") from error


def _class_values(values: Sequence[str | float | bool]) -> list[Any]:
    """Class values as the label extension has them: all numbers, or else all texts."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
    return sorted(values) if numbers else sorted(texts)  # type: ignore[reportArgumentType]
