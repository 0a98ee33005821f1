"""What changed between two revisions of one layer, feature by feature.

Features are matched, each at most once, by what is surest first: equal content; a key that is unique on both sides;
equal geometry; equal properties where the geometries overlap or nearly touch. What is left was added or removed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from catalog.feature_match import Match, find_key
from catalog.vector_columns import Value
from catalog.vector_digest import feature_digest, step_of
from catalog.vector_near import margin_of, same_within
from catalog.vector_values import encode_value
from catalog.vectors import Features, read_features

__all__ = ["ChangeClass", "ChangeKind", "FeatureChange", "FeatureDiff", "diff_features"]

ChangeKind = Literal["added", "removed", "geometry", "attribute", "both", "precision-only"]
"""`geometry`: it moved, its properties are equal; `precision-only`: by no more than the precision."""

ChangeClass = Literal["geometry", "attribute", "precision-only"]


@dataclass(frozen=True, slots=True)
class FeatureChange:
    """One feature that differs.

    Attributes
    ----------
    handle
        `key=value` where the features have a key, otherwise the first 16 hex digits of its digest (the old one's).
    old, new
        Its number in reading order on either side.
    properties
        Name to (old, new) value of each property that differs; of a feature added or removed, none.
    hausdorff
        Largest distance of one geometry from the other, in units of the CRS; None unless the geometry changed.
    area_delta
        New area less old, in squared units of the CRS; None unless the geometry changed.
    """

    kind: ChangeKind
    handle: str
    old: int | None
    new: int | None
    properties: dict[str, tuple[Value, Value]]
    hausdorff: float | None = None
    area_delta: float | None = None


@dataclass(frozen=True, slots=True)
class FeatureDiff:
    """The changes, in the old file's order, then additions in the new one's.

    Attributes
    ----------
    unchanged
        How many features are equal on both sides.
    old_crs, new_crs
        Where they differ nothing is compared: all is removed and added.
    precision
        The step of the grid on which geometries were compared, in units of the CRS.
    """

    changes: tuple[FeatureChange, ...]
    unchanged: int
    old_crs: str
    new_crs: str
    precision: float

    @property
    def counts(self) -> dict[ChangeKind, int]:
        """How many changes of each kind; kinds that do not occur are 0."""
        found = Counter(change.kind for change in self.changes)
        kinds: tuple[ChangeKind, ...] = ("added", "removed", "geometry", "attribute", "both", "precision-only")
        return {kind: found[kind] for kind in kinds}

    @property
    def classes(self) -> frozenset[ChangeClass]:
        """What the changes amount to; features that came or went count as geometry."""
        classes: dict[ChangeKind, tuple[ChangeClass, ...]] = {
            "attribute": ("attribute",),
            "both": ("geometry", "attribute"),
            "precision-only": ("precision-only",),
        }
        return frozenset(name for change in self.changes for name in classes.get(change.kind, ("geometry",)))


def diff_features(
    old: Path | str | Features,
    new: Path | str | Features,
    *,
    crs: str | int | None = None,
    precision: float | None = None,
    layer: str | None = None,
    key: str | None = None,
) -> FeatureDiff:
    """Compare two revisions of a layer.

    Parameters
    ----------
    old, new
        Files that `catalog.vectors` reads, or features.
    crs, layer
        As for `catalog.vectors.open_vectors`, for both files.
    precision
        Step of the grid in units of the CRS; otherwise the coarser of what the files declare, or the default.
    key
        The property that identifies a feature; by default the first of the usual names (`id`, `uuid`, `osm_id` …,
        then any in `_id`) that every feature of both sides has and none shares.

    Raises
    ------
    InvalidInput
        If a named key is missing or shared; otherwise as `open_vectors` does.
    """
    before = old if isinstance(old, Features) else read_features(old, crs=crs, layer=layer)
    after = new if isinstance(new, Features) else read_features(new, crs=crs, layer=layer)
    declared = [value for value in (before.precision, after.precision) if value is not None]
    step = step_of(after.crs, precision if precision is not None else max(declared, default=None))
    key = find_key(before, after, key)
    match = Match(before, after, step, key)

    def handle(side: Features, at: int) -> str:
        if key is not None:
            return f"{key}={side.columns[key][at]}"
        return feature_digest(*(match.old if side is before else match.new)[at]).hex()[:16]

    changes = [_change(before, after, match, pair, handle(before, pair[0])) for pair in match.changed]
    changes += [FeatureChange("removed", handle(before, at), at, None, {}) for at in match.removed]
    changes.sort(key=lambda change: change.old if change.old is not None else -1)
    changes += [FeatureChange("added", handle(after, at), None, at, {}) for at in match.added]
    return FeatureDiff(tuple(changes), len(match.equal), before.crs.name, after.crs.name, step)


def _change(before: Features, after: Features, match: Match, pair: tuple[int, int], handle: str) -> FeatureChange:
    one, other = pair
    properties: dict[str, tuple[Value, Value]] = {}
    if match.old[one][1] != match.new[other][1]:
        for name in sorted(before.columns.keys() | after.columns.keys()):
            was = before.columns[name][one] if name in before.columns else None
            now = after.columns[name][other] if name in after.columns else None
            if encode_value(was, top=True) != encode_value(now, top=True):
                properties[name] = (was, now)
    if match.old[one][0] == match.new[other][0]:
        return FeatureChange("attribute", handle, one, other, properties)
    shape, moved = before.geometries[one], after.geometries[other]
    kind: ChangeKind = "both" if properties else "geometry"
    if shape is None or moved is None:
        return FeatureChange(kind, handle, one, other, properties)
    if same_within(shape, moved, margin_of(match.step)):
        kind = "attribute" if properties else "precision-only"
    delta = moved.area - shape.area
    return FeatureChange(kind, handle, one, other, properties, float(shape.hausdorff_distance(moved)), delta)
