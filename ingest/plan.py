"""The plan of a run: which items change and what has to be made for them. It can be read before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ingest.bulk import many_objects
from ingest.cache import DigestCache
from ingest.checks import check_label_properties
from ingest.inspect import Inspection
from ingest.inspect_all import inspect_all
from ingest.parents import Parents
from ingest.planned import Plan, PlannedAsset, PlannedItem, Refusal, State
from ingest.processes import Processes
from ingest.recipe import Recipe
from ingest.sources import SourceAsset, SourceItem
from ingest.verdicts import Verdicts
from versioning.errors import InvalidInput, StacpinError
from versioning.events import Listener, silent
from versioning.version import Version

__all__ = ["check_settings", "compare_with", "make_plan"]


def check_settings(recipe: Recipe) -> None:
    """Refuse CRSs and COG profiles that cannot be, before they are blamed on the sources one by one.

    Raises
    ------
    InvalidInput
        It names the layer.
    """
    named: list[tuple[str, str]] = [] if recipe.crs is None else [("the recipe's crs", recipe.crs)]
    for name, layer in recipe.layers.items():
        said = (("crs", layer.crs), ("source_crs", layer.source_crs))
        named += [(f"the {key} of layer {name!r},", crs) for key, crs in said if crs is not None]
    if named:  # importing rasterio takes 0.4 s
        import rasterio

        from catalog.crs_identity import parse_crs

        # In an Env, what GDAL says of an unknown code goes to logging; outside, to stderr, beside our own error.
        with rasterio.Env():
            for what, crs in named:
                parse_crs(crs, what=what)
    for name, layer in recipe.layers.items():
        if layer.cog.model_fields_set:
            from ingest.cog import CogProfile

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
    processes: Processes,
    on_event: Listener = silent,
) -> Plan:
    """Inspect all sources and compare them with the parent version.

    Raises
    ------
    InvalidInput
        If a source is refused and the recipe does not say ``on_error: quarantine``, or if the sources' CRSs differ and
        the recipe names none.
    """
    assets = [(item, asset) for item in items for asset in item.assets.values()]
    sources = _Sources(items)
    with closing(inspect_all([asset for _, asset in assets], cache, processes=processes, on_event=on_event)) as found:
        for at, result in found:
            item, asset = assets[at]
            error = result if isinstance(result, StacpinError) else _wrong_bands(asset, result)
            if error is not None and recipe.on_error == "stop":
                raise error
            if error is not None:
                refusal = Refusal(item.id, str(asset.path), error.kind, error.message, error.hint)
                sources.refused[item.id] = refusal
            elif not isinstance(result, StacpinError):
                sources.inspected[item.id, asset.key] = result
    return _compared(recipe, sources, parent, cache)


def compare_with(recipe: Recipe, plan: Plan, parent: Version, *, cache: DigestCache) -> Plan:
    """The plan of the same sources against another version, such as the one that was just made of them.

    Nothing is inspected again; what turns out to be unchanged is remembered, so that the next plan knows it.
    """
    sources = _Sources([item.source for item in plan.items])
    for item in plan.items:
        sources.inspected.update({(item.source.id, key): asset.inspection for key, asset in item.assets.items()})
        if item.state == "unchanged":
            sources.planned[item.source.id] = item
    sources.refused.update({each.item: each for each in plan.refused})
    if _said_before(recipe, plan.parent) != _said_before(recipe, parent):
        sources.planned.clear()  # they were compared with what another recipe had said
    return _compared(recipe, sources, parent, cache)


@dataclass(slots=True)
class _Sources:
    """The items of a recipe, and what their files are, or why they are refused; which were found unchanged before."""

    items: list[SourceItem]
    # By item and asset, not by file: two layers may read one file in two ways.
    inspected: dict[tuple[str, str], Inspection] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    planned: dict[str, PlannedItem] = field(default_factory=dict)

    def whole(self) -> list[SourceItem]:
        return [item for item in self.items if item.id not in self.refused]

    def of(self, item: SourceItem) -> dict[str, Inspection]:
        return {key: self.inspected[item.id, key] for key in item.assets}


@dataclass(frozen=True, slots=True)
class _Basis:
    """What items are compared with: the parent's, and what its recipe said of each layer."""

    parents: Parents
    common: str | None
    told: dict[str, dict[str, Any]]


def _compared(recipe: Recipe, sources: _Sources, parent: Version | None, cache: DigestCache) -> Plan:
    with many_objects():
        return _plan_of(recipe, sources, parent, cache)


def _plan_of(recipe: Recipe, sources: _Sources, parent: Version | None, cache: DigestCache) -> Plan:
    plan = Plan(recipe.dataset, parent)
    refused = sources.refused
    parents = Parents(parent)
    basis = _Basis(parents, _common_crs(recipe, sources), _said_before(recipe, parent))
    with Verdicts(cache.path.with_name("verdicts.sqlite"), recipe, (basis.common, basis.told), parents) as verdicts:
        for item in sources.whole():
            planned = sources.planned.get(item.id)
            if planned is not None and _same_parent(planned, parents) and verdicts.known(item.id):
                plan.items.append(planned)
                continue
            seen = sources.of(item)
            if verdicts.unchanged(item, seen):
                plan.items.append(_unchanged(item, seen, basis))
                continue
            planned = _plan_item(item, seen, basis)
            if planned.state == "unchanged":
                verdicts.add(item, seen, planned.parent or {})
                planned = _unchanged(item, seen, basis)  # the same, without the parent's item in memory
            plan.items.append(planned)
    labels = [asset for item in plan.items for asset in item.assets.values() if asset.source.settings.kind == "labels"]
    if not refused and all(asset.action == "reuse" for asset in labels):
        check_label_properties((asset.source, asset.parent or {}) for asset in labels)
    # What was refused this time is not what was taken away: the parent's item stays.
    plan.removed = sorted(parents.digests.keys() - {item.id for item in sources.items} - refused.keys())
    plan.refused = [refused[item_id] for item_id in sorted(refused)]
    if parent is not None:
        from ingest.compare import collection_changes

        # Which assets items may have is compared only where all items stay: then these are all that the parent has.
        left = (parents.item(item_id) for item_id in parents.digests.keys() & refused.keys())
        there = [*verdicts.kinds(), *(each for each in left if each is not None)]
        plan.metadata = collection_changes(recipe, parent.record.collection, there, whole=not plan.changes)
    return plan


def _same_parent(planned: PlannedItem, parents: Parents) -> bool:
    before, now = planned.parents, parents.digests.get(planned.source.id)
    return before is not None and now is not None and before.digests.get(planned.source.id) == now


def _unchanged(item: SourceItem, seen: Mapping[str, Inspection], basis: _Basis) -> PlannedItem:
    """What `_plan_item` would say, without looking at the parent's item."""
    assets = {}
    for key, asset in item.assets.items():
        target = asset.settings.crs or basis.common
        there = basis.parents.member(item.id, "assets", key)
        lineage, named = _lineage(asset, seen[key], target), _unnamed(item, asset, basis)
        assets[key] = PlannedAsset(asset, seen[key], target, lineage, there, "reuse", unnamed=named)
    return PlannedItem(item, assets, "unchanged", basis.parents, kept=True)


def _wrong_bands(asset: SourceAsset, inspection: Inspection) -> StacpinError | None:
    if not asset.settings.bands:
        return None
    from ingest.describe import bands_named

    try:
        named = bands_named(asset)
    except InvalidInput as error:  # a template that cannot be filled
        return error
    if len(named) == inspection.bands:
        return None
    return InvalidInput(
        f"{asset.path} has {inspection.bands} bands; its layer names {len(named)}.",
        hint=f"Name each of them under 'bands:' of layer {asset.layer!r}.",
    )


def _common_crs(recipe: Recipe, sources: _Sources) -> str | None:
    """The CRS of everything for which the recipe names none: the sources' own, if they agree."""
    if recipe.crs is not None:
        return recipe.crs
    found: dict[str, list[Path]] = {}
    for item in sources.whole():
        for asset in item.assets.values():
            crs = sources.inspected[item.id, asset.key].crs
            if asset.settings.crs is None and crs is not None:
                found.setdefault(crs, []).append(asset.path)
    text = next(iter(found), None)
    if len(found) > 1:  # several texts may name one CRS; what they mean is asked only then: it imports rasterio
        meant: dict[str, list[Path]] = {}
        for crs, paths in found.items():
            meant.setdefault(_crs_key(crs), []).extend(paths)
        found = meant
    if len(found) > 1:
        listed = "; ".join(
            f"{crs[:60]} ({len(paths)} files, e.g. {paths[0].name})" for crs, paths in sorted(found.items())
        )
        raise InvalidInput(
            f"the sources have {len(found)} different CRSs: {listed}.",
            hint="Say which one the dataset shall have: 'crs: EPSG:…' in the recipe, or in the layers.",
            kind="mixed-crs",
        )
    return text


def _said_before(recipe: Recipe, parent: Version | None) -> dict[str, dict[str, Any]]:
    """What the parent version's recipe said of each layer."""
    before = (parent.record.recipe or {}).get("content", {}) if parent else {}
    layers = before.get("layers", {})
    return {name: layers.get(name, {}) for name in recipe.layers}


def _plan_item(item: SourceItem, seen: Mapping[str, Inspection], basis: _Basis) -> PlannedItem:
    before = basis.parents.item(item.id)
    there = (before or {}).get("assets", {})
    assets = {
        key: _plan_asset(
            asset, seen[key], asset.settings.crs or basis.common, there.get(key), unnamed=_unnamed(item, asset, basis)
        )
        for key, asset in item.assets.items()
    }
    if before is None:
        return PlannedItem(item, assets, "new")
    from ingest.compare import asset_changes, property_changes

    # Asked of every asset, whether or not the layer reads as before: templates say other things of a renamed file, and
    # an item that was refused last time is still described as the recipe before that did.
    layer = basis.told.get(item.layer, {})
    found = {key: asset_changes(asset, layer) for key, asset in assets.items() if asset.action == "reuse"}
    described = {key: names for key, names in found.items() if names}
    kept = there.keys() == assets.keys() and all(asset.action == "reuse" for asset in assets.values()) and not described
    properties = property_changes(item, before, derived=kept)
    state: State = "unchanged" if kept and not properties else "changed"
    removed = tuple(sorted(there.keys() - assets.keys()))
    return PlannedItem(item, assets, state, basis.parents, kept, removed, properties, described)


def _unnamed(item: SourceItem, asset: SourceAsset, basis: _Basis) -> bool:
    return "bands" in basis.told.get(item.layer, {}) and not asset.settings.bands


def _plan_asset(
    source: SourceAsset, inspection: Inspection, target: str | None, parent: dict[str, Any] | None, *, unnamed: bool
) -> PlannedAsset:
    lineage = _lineage(source, inspection, target)
    if parent is None:
        same = False
    elif lineage is None:
        same = parent.get("pin:digest") == inspection.digest
    else:
        same = parent.get("pin:source") == lineage
    return PlannedAsset(source, inspection, target, lineage, parent, "reuse" if same else "convert", unnamed=unnamed)


def _lineage(source: SourceAsset, inspection: Inspection, target: str | None) -> dict[str, Any] | None:
    """``pin:source`` of what is derived: its inputs and the parameters of the step."""
    layer = source.settings
    resampled = layer.kind == "raster" and layer.resolution is not None
    if layer.kind != "file" and target is not None and (resampled or not _same_crs(inspection.crs, target)):
        parameters: dict[str, Any] = {"target_crs": _crs_key(target)}
        if layer.kind == "raster":
            parameters |= {"resampling": layer.resampling, "resolution": layer.resolution}
        else:
            parameters |= {"precision": layer.precision}
        step = "warp" if layer.kind == "raster" else "reproject"
        return {"inputs": [inspection.digest], "step": step, "parameters": parameters}
    return None


def _same_crs(one: str | None, other: str) -> bool:
    return one is not None and (one == other or _crs_key(one) == _crs_key(other))


@lru_cache(maxsize=256)
def _crs_key(text: str) -> str:
    """What a CRS is, whatever text a file or a recipe used for it."""
    from catalog.crs_identity import crs_name, parse_crs

    return crs_name(parse_crs(text))
