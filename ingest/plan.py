"""The plan of a run: which items change and what has to be made for them. It can be read before anything is done."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from ingest.cache import DigestCache
from ingest.checks import check_label_properties
from ingest.inspect import Inspection, inspect_labels, inspect_opaque, inspect_raster
from ingest.recipe import Recipe
from ingest.sources import SourceAsset, SourceItem
from versioning.errors import InvalidInput, StacpinError
from versioning.events import Listener, Progress, silent
from versioning.version import Version

__all__ = ["Plan", "PlannedAsset", "PlannedItem", "Refusal", "check_settings", "make_plan"]

Action = Literal["convert", "reuse"]
State = Literal["new", "changed", "unchanged"]
# By item and asset, not by file: two layers may read one file in two ways.
_Inspected = dict[tuple[str, str], Inspection]


@dataclass(frozen=True, slots=True)
class PlannedAsset:
    """One asset to be made.

    Attributes
    ----------
    target_crs
        The CRS it shall have.
    lineage
        ``pin:source`` of an asset that is derived (warped, reprojected), else None.
    parent
        The parent version's asset of that item and key, else None.
    action
        ``reuse`` where the parent's bytes serve as they are.
    unnamed
        Whether the parent's recipe named the bands and this one does not: then the file names them again.
    """

    source: SourceAsset
    inspection: Inspection
    target_crs: str | None
    lineage: dict[str, Any] | None
    parent: dict[str, Any] | None
    action: Action
    unnamed: bool = False


@dataclass(frozen=True, slots=True)
class PlannedItem:
    """One item to be made.

    Attributes
    ----------
    state
        ``unchanged`` means that a version would have it as the parent has it. ``changed`` may still turn out to be
        nothing where labels were exported again: whether they are the parent's but for noise is known when they are
        made.
    geometry
        The parent item's.
    kept
        Whether all its assets can stay as the parent describes them, unopened.
    removed
        The keys of assets that the parent item has and the sources have no more.
    properties
        The names of its properties that differ from the parent item's.
    described
        For assets whose content stays: the names of what the recipe says of them differently.
    """

    source: SourceItem
    assets: dict[str, PlannedAsset]
    state: State
    geometry: dict[str, Any] | None = None
    kept: bool = False
    removed: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()
    described: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A source that was refused, and why."""

    item: str
    path: str
    kind: str
    message: str
    hint: str | None = None


@dataclass(slots=True)
class Plan:
    """What a run will do. ``metadata`` names what differs in what the recipe declares of the whole dataset."""

    dataset: str
    parent: Version | None
    items: list[PlannedItem] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    metadata: tuple[str, ...] = ()

    def count(self, state: State) -> int:
        """How many items are in a state."""
        return sum(item.state == state for item in self.items)

    @property
    def changes(self) -> bool:
        """Whether anything is new, changed or gone."""
        return bool(self.removed or self.metadata) or any(item.state != "unchanged" for item in self.items)

    def to_dict(self) -> dict[str, Any]:
        """The plan for ``--json`` and for the staging area."""
        return {
            "dataset": self.dataset,
            "parent": self.parent.pin if self.parent else None,
            "new": self.count("new"),
            "changed": self.count("changed"),
            "unchanged": self.count("unchanged"),
            "removed": self.removed,
            "metadata": list(self.metadata),
            "refused": [refusal_dict(each) for each in self.refused],
            "items": [_item_dict(item) for item in self.items],
        }


def refusal_dict(refusal: Refusal) -> dict[str, Any]:
    """A refusal for ``--json``, the quarantine and the version's record."""
    return {name: getattr(refusal, name) for name in Refusal.__slots__}


def _item_dict(item: PlannedItem) -> dict[str, Any]:
    return {
        "id": item.source.id,
        "state": item.state,
        "assets": {
            key: {
                "source": str(asset.source.path),
                "digest": asset.inspection.digest,
                "crs": asset.inspection.crs,
                "target_crs": asset.target_crs,
                "action": asset.action,
                "described": list(item.described.get(key, ())),
            }
            for key, asset in item.assets.items()
        },
        "removed_assets": list(item.removed),
        "properties": list(item.properties),
    }


def check_settings(recipe: Recipe) -> None:
    """Refuse CRSs and COG profiles that cannot be, before they are blamed on the sources one by one.

    Raises
    ------
    InvalidInput
        It names the layer.
    """
    import rasterio

    from catalog.crs_identity import parse_crs
    from ingest.cog import CogProfile

    # In an Env, what GDAL says of an unknown code goes to logging; outside, it goes to stderr, beside our own error.
    with rasterio.Env():
        if recipe.crs is not None:
            parse_crs(recipe.crs, what="the recipe's crs")
        for name, layer in recipe.layers.items():
            for key in ("crs", "source_crs"):
                crs = getattr(layer, key)
                if crs is not None:
                    parse_crs(crs, what=f"the {key} of layer {name!r},")
    for name, layer in recipe.layers.items():
        try:
            CogProfile(**layer.cog.model_dump())
        except InvalidInput as error:
            raise InvalidInput(f"layer {name!r}: {error.message}", hint=error.hint, kind=error.kind) from error


def make_plan(
    recipe: Recipe,
    items: list[SourceItem],
    parent: Version | None,
    *,
    cache: DigestCache,
    workers: int = 2,
    on_event: Listener = silent,
) -> Plan:
    """Inspect all sources and compare them with the parent version.

    Raises
    ------
    InvalidInput
        If a source is refused and the recipe does not say ``on_error: quarantine``, or if the sources' CRSs differ and
        the recipe names none.
    """
    plan = Plan(recipe.dataset, parent)
    assets = [(item, asset) for item in items for asset in item.assets.values()]
    on_event(Progress("plan", 0, len(assets), "files"))
    inspected: _Inspected = {}
    refused: dict[str, Refusal] = {}
    with ThreadPoolExecutor(workers) as pool:
        pending = [(item, asset, pool.submit(_inspect, asset, cache)) for item, asset in assets]
        for done, (item, asset, future) in enumerate(pending, start=1):
            try:
                inspected[item.id, asset.key] = future.result()
            except StacpinError as error:
                if recipe.on_error == "stop":
                    pool.shutdown(cancel_futures=True)
                    raise
                refused[item.id] = Refusal(item.id, str(asset.path), error.kind, error.message, error.hint)
            on_event(Progress("plan", done, len(assets), "files", asset.path.name))
    whole = [item for item in items if item.id not in refused]
    common = _common_crs(recipe, whole, inspected)
    before = {row.id: row.parse() for row in parent.rows()} if parent else {}
    told = _said_before(recipe, parent)
    plan.items = [_plan_item(item, inspected, common, before.get(item.id), told) for item in whole]
    known = [asset for item in plan.items for asset in item.assets.values()]
    if not refused and all(asset.action == "reuse" for asset in known if asset.source.settings.kind == "labels"):
        check_label_properties((asset.source, asset.parent or {}) for asset in known)
    # What was refused this time is not what was taken away: the parent's item stays.
    plan.removed = sorted(before.keys() - {item.id for item in items})
    plan.refused = [refused[item_id] for item_id in sorted(refused)]
    if parent is not None:
        from ingest.compare import collection_changes

        plan.metadata = collection_changes(recipe, parent.record.collection, before.values(), whole=not plan.changes)
    return plan


def _inspect(asset: SourceAsset, cache: DigestCache) -> Inspection:
    layer = asset.settings
    if layer.kind == "raster":
        inspection = inspect_raster(asset.path, cache, crs=layer.source_crs)
        _check_bands(asset, inspection)
        return inspection
    if layer.kind == "labels":
        return inspect_labels(asset.path, cache, crs=layer.source_crs, layer=layer.layer, precision=layer.precision)
    return inspect_opaque(asset.path)


def _check_bands(asset: SourceAsset, inspection: Inspection) -> None:
    from ingest.describe import bands_named

    named = bands_named(asset)
    if named and len(named) != inspection.bands:
        raise InvalidInput(
            f"{asset.path} has {inspection.bands} bands; its layer names {len(named)}.",
            hint=f"Name each of them under 'bands:' of layer {asset.layer!r}.",
        )


def _common_crs(recipe: Recipe, items: Iterable[SourceItem], inspected: _Inspected) -> str | None:
    """The CRS of everything for which the recipe names none: the sources' own, if they agree."""
    if recipe.crs is not None:
        return recipe.crs
    found: dict[str, list[Path]] = {}
    text: dict[str, str] = {}
    for item in items:
        for asset in item.assets.values():
            crs = inspected[item.id, asset.key].crs
            if asset.settings.crs is None and crs is not None:
                name = _crs_key(crs)
                text.setdefault(name, crs)
                found.setdefault(name, []).append(asset.path)
    if len(found) > 1:
        listed = "; ".join(
            f"{crs[:60]} ({len(paths)} files, e.g. {paths[0].name})" for crs, paths in sorted(found.items())
        )
        raise InvalidInput(
            f"the sources have {len(found)} different CRSs: {listed}.",
            hint="Say which one the dataset shall have: 'crs: EPSG:…' in the recipe, or in the layers.",
            kind="mixed-crs",
        )
    return next(iter(text.values()), None)


def _said_before(recipe: Recipe, parent: Version | None) -> dict[str, dict[str, Any]]:
    """What the parent version's recipe said of each layer."""
    before = (parent.record.recipe or {}).get("content", {}) if parent else {}
    layers = before.get("layers", {})
    return {name: layers.get(name, {}) for name in recipe.layers}


def _plan_item(
    item: SourceItem,
    inspected: _Inspected,
    common: str | None,
    before: dict[str, Any] | None,
    told: dict[str, dict[str, Any]],
) -> PlannedItem:
    there = (before or {}).get("assets", {})
    assets = {
        key: _plan_asset(
            asset,
            inspected[item.id, key],
            asset.settings.crs or common,
            there.get(key),
            unnamed="bands" in told.get(item.layer, {}) and not asset.settings.bands,
        )
        for key, asset in item.assets.items()
    }
    if before is None:
        return PlannedItem(item, assets, "new")
    from ingest.compare import asset_changes, property_changes

    # Asked of every asset, whether or not the layer reads as before: templates say other things of a renamed file, and
    # an item that was refused last time is still described as the recipe before that did.
    layer = told.get(item.layer, {})
    found = {key: asset_changes(asset, layer) for key, asset in assets.items() if asset.action == "reuse"}
    described = {key: names for key, names in found.items() if names}
    kept = there.keys() == assets.keys() and all(asset.action == "reuse" for asset in assets.values()) and not described
    properties = property_changes(item, before, derived=kept)
    state: State = "unchanged" if kept and not properties else "changed"
    removed = tuple(sorted(there.keys() - assets.keys()))
    return PlannedItem(item, assets, state, before.get("geometry"), kept, removed, properties, described)


def _plan_asset(
    source: SourceAsset, inspection: Inspection, target: str | None, parent: dict[str, Any] | None, *, unnamed: bool
) -> PlannedAsset:
    layer = source.settings
    lineage: dict[str, Any] | None = None
    resampled = layer.kind == "raster" and layer.resolution is not None
    if layer.kind != "file" and target is not None and (resampled or not _same_crs(inspection.crs, target)):
        parameters: dict[str, Any] = {"target_crs": _crs_key(target)}
        if layer.kind == "raster":
            parameters |= {"resampling": layer.resampling, "resolution": layer.resolution}
        else:
            parameters |= {"precision": layer.precision}
        step = "warp" if layer.kind == "raster" else "reproject"
        lineage = {"inputs": [inspection.digest], "step": step, "parameters": parameters}
    if parent is None:
        same = False
    elif lineage is None:
        same = parent.get("pin:digest") == inspection.digest
    else:
        same = parent.get("pin:source") == lineage
    return PlannedAsset(source, inspection, target, lineage, parent, "reuse" if same else "convert", unnamed=unnamed)


def _same_crs(one: str | None, other: str) -> bool:
    return one is not None and _crs_key(one) == _crs_key(other)


@lru_cache(maxsize=256)
def _crs_key(text: str) -> str:
    """What a CRS is, whatever text a file or a recipe used for it."""
    from catalog.crs_identity import crs_name, parse_crs

    return crs_name(parse_crs(text))
