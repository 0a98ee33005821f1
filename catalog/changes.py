"""A difference of two versions in the words of this field: which pixels, labels and properties changed.

Chunks tell which items differ; content digests tell whether it is their pixels and labels or only their encoding; and
labels are compared feature by feature.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from versioning.catalog import Catalog
from versioning.diff import ItemChange, VersionDiff, diff_versions, with_items
from versioning.digests import parse_multihash
from versioning.errors import InvalidInput
from versioning.version import Version

if TYPE_CHECKING:
    from catalog.feature_diff import FeatureDiff
    from catalog.vectors import Features

__all__ = ["AssetChange", "DiffReport", "ItemReport", "explain_diff"]

What = Literal["content", "metadata", "bytes"]
_VECTORS = "v1:"
_SHOWN = 1000
_DEGREES = 6  # decimals of a place: 0.1 m


@dataclass(frozen=True, slots=True)
class AssetChange:
    """One asset of an item that differs.

    Attributes
    ----------
    state
        ``added``, ``removed`` or ``changed``.
    what
        ``content``: other pixels, labels or bytes; ``metadata``: only what is said of them; ``bytes``: only how they
        are written.
    features
        For labels: how many features were added, removed, moved (``geometry``), changed (``attribute``), ``both``, or
        differ by less than the precision.
    edits
        For labels: each of these features, at most a thousand. ``feature`` names it (``key=value``, or the start of its
        digest where there is no key), ``place`` says where it is: the centroid of what it is now, or was when it was
        removed, as [longitude, latitude] in degrees; None where it has no geometry.
    """

    key: str
    state: str
    what: What
    old: str | None
    new: str | None
    features: dict[str, int] | None = None
    edits: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ItemReport:
    """One item that both versions have: its assets and its properties that differ (name -> old, new)."""

    id: str
    assets: list[AssetChange]
    properties: dict[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class DiffReport:
    """The whole difference, ready to be printed or serialised."""

    old: str
    new: str
    added: list[str]
    removed: list[str]
    changed: list[ItemReport]
    collection: dict[str, tuple[Any, Any]]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.collection)

    def to_dict(self, *, stat: bool = False) -> dict[str, Any]:
        """The report for ``--json`` and the API; ``stat`` leaves out the single features."""
        return {
            "from": self.old,
            "to": self.new,
            "summary": {"added": len(self.added), "removed": len(self.removed), "changed": len(self.changed)},
            "added": self.added,
            "removed": self.removed,
            "changed": [
                {
                    "id": item.id,
                    "assets": [_asset_dict(asset, stat=stat) for asset in item.assets],
                    "properties": {name: {"old": old, "new": new} for name, (old, new) in item.properties.items()},
                }
                for item in self.changed
            ],
            "collection": {name: {"old": old, "new": new} for name, (old, new) in self.collection.items()},
        }


def _asset_dict(asset: AssetChange, *, stat: bool) -> dict[str, Any]:
    found = {name: getattr(asset, name) for name in ("key", "state", "what", "old", "new")}
    if asset.features is not None:
        found["features"] = asset.features
        if not stat:
            found["edits"] = asset.edits
    return found


def explain_diff(
    catalog: Catalog, old: Version, new: Version, *, features: bool = True, key: str | None = None
) -> DiffReport:
    """Compare two versions and say what changed in each item.

    Parameters
    ----------
    catalog
        Where the labels' objects are.
    old, new
        The versions, of one dataset or of two.
    features
        Whether labels are read and compared feature by feature.
    key
        The property that identifies a feature; label layers without it are compared as they are without a key. See
        `catalog.feature_diff.diff_features`.

    Raises
    ------
    Integrity
        If a manifest or a label object that had to be read is damaged.
    InvalidInput
        If no layer that changed has the key, or if one has it and it does not tell its features apart.
    """
    diff: VersionDiff = diff_versions(old, new)
    labels = _Labels(catalog, key) if features else None
    changed = [_item(change, labels) for change in with_items(diff.changed)]
    if labels is not None:
        labels.check_key()
    return DiffReport(
        old=old.pin,
        new=new.pin,
        added=[row.id for row in diff.added],
        removed=[row.id for row in diff.removed],
        changed=changed,
        collection=diff.collection,
    )


def _item(change: ItemChange, labels: _Labels | None) -> ItemReport:
    before, after = change.old.parse(), change.new.parse()
    assets: list[AssetChange] = []
    for key in sorted(before["assets"].keys() | after["assets"].keys()):
        old, new = before["assets"].get(key), after["assets"].get(key)
        if old != new:
            assets.append(_asset(f"{change.id}/{key}", key, old, new, labels))
    return ItemReport(change.id, assets, change.properties())


def _asset(
    name: str, key: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, labels: _Labels | None
) -> AssetChange:
    one, other = _content(old), _content(new)
    if old is None or new is None:
        return AssetChange(key, "added" if old is None else "removed", "content", one, other)
    if one == other:
        what: What = "bytes" if old.get("file:checksum") != new.get("file:checksum") else "metadata"
        return AssetChange(key, "changed", what, one, other)
    if labels is None or not (one or "").startswith(_VECTORS) or not (other or "").startswith(_VECTORS):
        return AssetChange(key, "changed", "content", one, other)
    return AssetChange(key, "changed", "content", one, other, *labels.compare(name, old, new))


class _Labels:
    """Compares the label layers of a difference."""

    def __init__(self, catalog: Catalog, key: str | None) -> None:
        self._catalog, self._key = catalog, key
        self._found = False
        self._columns: set[str] = set()

    def compare(
        self, name: str, old: Mapping[str, Any], new: Mapping[str, Any]
    ) -> tuple[dict[str, int], list[dict[str, Any]]]:
        """How many features differ and how, and which."""
        from catalog.feature_diff import diff_features

        before, after = (self._read(asset, f"{name} ({side})") for asset, side in ((old, "the old"), (new, "the new")))
        columns = before.columns.keys() | after.columns.keys()
        self._columns |= columns
        key = self._key if self._key in columns else None
        self._found |= key is not None
        found = diff_features(before, after, key=key)
        return {"unchanged": found.unchanged} | dict(found.counts), _edits(found, before, after)

    def check_key(self) -> None:
        """Refuse a key that no layer had: a misspelt one would otherwise change nothing, and nobody would see it."""
        if self._key is not None and self._columns and not self._found:
            raise InvalidInput(
                f"No label layer that changed has a property {self._key!r}; "
                f"properties: {', '.join(sorted(self._columns))}.",
                hint="Name a property that tells the features apart, or none.",
            )

    def _read(self, asset: Mapping[str, Any], name: str) -> Features:
        from catalog.vectors import read_features

        with tempfile.TemporaryDirectory(prefix="stacpin-") as scratch:
            return replace(read_features(_fetch(self._catalog, asset, Path(scratch) / "labels")), source=name)


def _edits(found: FeatureDiff, before: Features, after: Features) -> list[dict[str, Any]]:
    places = [_Places(before), _Places(after)]
    return [
        {
            "kind": edit.kind,
            "feature": edit.handle,
            "place": places[0].of(edit.old) if edit.new is None else places[1].of(edit.new),
            "properties": {name: {"old": first, "new": second} for name, (first, second) in edit.properties.items()},
            "distance": edit.hausdorff,
            "area_delta": edit.area_delta,
        }
        for edit in found.changes[:_SHOWN]
    ]


class _Places:
    """Where the features of one side are, in degrees."""

    def __init__(self, features: Features) -> None:
        from pyproj import Transformer
        from pyproj.exceptions import ProjError

        from catalog.vector_crs import to_pyproj

        self._geometries = features.geometries
        try:
            self._transformer = Transformer.from_crs(to_pyproj(features.crs), "EPSG:4326", always_xy=True)
        except ProjError:  # a site's own grid, another planet
            self._transformer = None

    def of(self, at: int | None) -> list[float] | None:
        """The centroid as [longitude, latitude]; None without a geometry, or where the CRS does not reach."""
        shape = None if at is None else self._geometries[at]
        if shape is None or self._transformer is None:
            return None
        centre = shape.centroid
        place = self._transformer.transform(centre.x, centre.y)
        return [round(value, _DEGREES) for value in place] if all(map(math.isfinite, place)) else None


def _content(asset: Mapping[str, Any] | None) -> str | None:
    return None if asset is None else asset.get("pin:digest") or asset.get("file:checksum")


def _fetch(catalog: Catalog, asset: Mapping[str, Any], stem: Path) -> Path:
    target = stem.with_suffix(Path(asset["href"]).suffix)
    with target.open("wb") as file:
        digest = parse_multihash(asset["file:checksum"])
        for block in catalog.objects.read(asset["href"], digest, asset["file:size"]):
            file.write(block)
    return target
