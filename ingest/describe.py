"""From made files to STAC: parts of items, items, and the dataset's declared metadata."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog.assets import AssetPart, labels_asset, opaque_asset, raster_part
from catalog.bands import said_of_bands, source_bands
from catalog.footprints import from_geojson
from catalog.items import build_item
from catalog.media_types import COG, PARQUET
from versioning.digests import parse_multihash
from versioning.objects import ObjectRef

if TYPE_CHECKING:
    from catalog.raster_facts import RasterFacts
    from ingest.planned import PlannedAsset, PlannedItem
    from ingest.recipe import Band, Layer, Recipe
    from ingest.sources import SourceAsset

__all__ = [
    "asset_bands",
    "asset_roles",
    "asset_title",
    "at",
    "bands_named",
    "collection_of",
    "declared",
    "item_of",
    "kept_part",
    "kinds_of",
    "parent_bands",
    "part_of",
    "raster_part_of",
    "software",
    "stored_ref",
]

# A part is described where the file is made; where its bytes are is known when they are stored.
_NOWHERE = ObjectRef("", bytes(32), 0)
_LABEL = "label:"
_BAND = ("name", "description", "unit")
# What `catalog.bands` says once, on the asset, where all bands share it.
_OF_ALL_BANDS = ("data_type", "nodata", "unit", "raster:scale", "raster:offset")
_ROLES = {"raster": ("data",), "labels": ("labels", "labels-vector"), "file": ("metadata",)}
_PACKAGES = ("stacpin", "rasterio", "rio-cogeo", "pyogrio", "pyproj", "shapely", "pyarrow")


def stored_ref(asset: Mapping[str, Any]) -> ObjectRef:
    """The object that a stored asset names."""
    return ObjectRef(asset["href"], parse_multihash(asset["file:checksum"]), asset["file:size"])


def part_of(asset: PlannedAsset, path: Path, digest: str, labels: Mapping[str, Any] | None = None) -> AssetPart:
    """The part of an item that a file is, whether it was just made or is the parent's; `at` says where it is stored.

    Parameters
    ----------
    asset
        What was planned.
    path
        The file.
    digest
        Its content digest.
    labels
        What was found while labels were made.
    """
    layer = asset.source.settings
    if layer.kind == "raster":
        from catalog.raster_facts import raster_facts
        from catalog.rasters import open_raster

        with open_raster(path) as raster:
            return raster_part_of(asset, raster_facts(raster), digest)
    if layer.kind == "labels" and labels is not None:
        properties = labels["properties"]
        wanted = layer.label.properties
        return labels_asset(
            path,
            _NOWHERE,
            digest=digest,
            source=asset.lineage,
            count=labels["count"],
            geometry_types=labels["geometry_types"],
            columns={name: each["kind"] for name, each in properties.items()},
            crs=labels["crs"],
            footprint=labels["footprint"],
            native_bbox=labels["native_bbox"],
            classes={
                name: properties[name]["values"] for name in wanted or () if properties.get(name, {}).get("values")
            },
            title=asset_title(asset),
            description=layer.label.description or None,
            tasks=layer.label.tasks,
            methods=layer.label.methods,
            extra=_extra(layer) | ({"roles": layer.roles} if layer.roles else {}),
        )
    return opaque_asset(
        path, _NOWHERE, digest=digest, roles=asset_roles(layer), title=asset_title(asset), extra=_extra(layer)
    )


def raster_part_of(
    asset: PlannedAsset, facts: RasterFacts, digest: str, *, source: RasterFacts | None = None
) -> AssetPart:
    """The part of an item that a raster is; ``source`` is what it was made of, where the facts of that are known."""
    layer = asset.source.settings
    return raster_part(
        facts,
        _NOWHERE,
        digest=digest,
        source=asset.lineage,
        roles=asset_roles(layer),
        title=asset_title(asset),
        extra=_extra(layer) | {"bands": asset_bands(asset, digest, source)},
    )


def at(part: AssetPart, ref: ObjectRef) -> AssetPart:
    """The same part, with the object that holds its bytes."""
    where = {"href": ref.href, "file:checksum": ref.checksum, "file:size": ref.size}
    return AssetPart(part.asset | where, part.footprint, part.properties)


def kept_part(parent: Mapping[str, Any], geometry: Mapping[str, Any] | None) -> AssetPart:
    """The part that an asset of an unchanged item was in the parent version."""
    place = from_geojson(geometry) if geometry is not None else None
    label = {name: value for name, value in parent.items() if name.startswith(_LABEL)}
    return AssetPart(dict(parent), place, label)


def item_of(item: PlannedItem, parts: Mapping[str, AssetPart]) -> dict[str, Any]:
    """The stored item."""
    return build_item(item.source.id, parts, properties=item.source.properties)


def asset_title(asset: PlannedAsset) -> str | None:
    """The title that the recipe gives an asset."""
    title = asset.source.settings.title
    return None if title is None else asset.source.fill(title)


def asset_roles(layer: Layer) -> tuple[str, ...]:
    """The roles of a layer's assets: the recipe's, else those of its kind."""
    return tuple(layer.roles or _ROLES[layer.kind])


def _extra(layer: Layer) -> dict[str, Any]:
    return {} if layer.description is None else {"description": layer.description}


def parent_bands(parent: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The bands of a stored asset, each with what is said once for all of them."""
    shared = {name: parent[name] for name in _OF_ALL_BANDS if name in parent}
    return [{**shared, **band} for band in parent.get("bands", ())]


def asset_bands(asset: PlannedAsset, digest: str | None, source: RasterFacts | None = None) -> list[dict[str, Any]]:
    """What is known of the bands beside their values: the recipe's word counts, then the parent's, then the source's.

    The file's own names and units are tags: of a file with the parent's content they are not asked again, so that
    re-saving it without them changes nothing. The plan has proven that the layer names as many bands as there are.

    Parameters
    ----------
    asset
        What was planned.
    digest
        The content digest of what was made; None if the parent's asset serves.
    source
        The facts of the source, if they are known.
    """
    layer, parent = asset.source.settings, asset.parent
    same = parent is not None and digest in {None, parent.get("pin:digest")}
    if parent is not None and same and not asset.unnamed:
        found = [{name: band[name] for name in _BAND if name in band} for band in parent_bands(parent)]
    elif source is not None:
        found = said_of_bands(source.bands)
    else:
        found = source_bands(asset.source.path, crs=layer.source_crs)
    if not layer.bands:
        return found
    return [own | named for own, named in zip(found, bands_named(asset.source), strict=True)]


def bands_named(source: SourceAsset) -> list[dict[str, Any]]:
    """What the recipe says of the bands of a file, one by one."""
    return [_band(band, source) for band in source.settings.bands]


def _band(band: Band | str, source: SourceAsset) -> dict[str, Any]:
    if isinstance(band, str):
        return {"name": source.fill(band)}
    named = {"name": band.name, "eo:common_name": band.common_name, "description": band.description}
    return {name: source.fill(value) for name, value in named.items() if value is not None}


def kinds_of(item: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """The keys and media types of an item's assets: what it adds to the dataset's ``item_assets``."""
    return ((key, asset.get("type", "")) for key, asset in item["assets"].items())


def collection_of(recipe: Recipe, items: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The dataset's declared metadata: what the recipe says, and which assets its items may have."""
    return declared(recipe, {kind for item in items for kind in kinds_of(item)})


def declared(recipe: Recipe, kinds: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The same, from the kinds of all items' assets."""
    by_layer = recipe.layers
    found: dict[str, Any] = {
        "title": recipe.title or recipe.dataset,
        "description": recipe.description or f"{recipe.title or recipe.dataset}, pinned by stacpin.",
        "license": recipe.license,
        "keywords": recipe.keywords,
        "providers": [provider.model_dump(exclude_none=True) for provider in recipe.providers],
        "pin:layers": {name: layer.kind for name, layer in sorted(by_layer.items())},
        "item_assets": {key: _item_asset(key, kind, by_layer) for key, kind in sorted(kinds)},
    }
    if recipe.crs is not None:
        found["pin:crs"] = recipe.crs
    return {name: value for name, value in found.items() if value not in ([], {})}


def _item_asset(key: str, media_type: str, layers: Mapping[str, Layer]) -> dict[str, Any]:
    layer = layers.get(key)
    roles = {COG: ["data"], PARQUET: ["labels", "labels-vector"]}.get(media_type, ["metadata"])
    found: dict[str, Any] = {"type": media_type, "roles": (layer.roles if layer else None) or roles}
    if layer is not None and layer.title:
        found["title"] = layer.title
    return found


def software() -> dict[str, str]:
    """What made the files: it belongs to the version's record, never to an item."""
    return dict(_software())


@cache
def _software() -> dict[str, str]:
    """Read once: it takes 13 ms, and a run asks three times."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    import pyproj
    import rasterio

    return found | {"gdal": rasterio.__gdal_version__, "proj": pyproj.proj_version_str}
