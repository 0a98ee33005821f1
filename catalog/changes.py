"""A difference of two versions in the words of this field: which pixels, labels and properties changed.

Chunks tell which items differ; content digests tell whether it is their pixels and labels or only their encoding; and
labels are compared feature by feature.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from versioning.catalog import Catalog
from versioning.diff import ItemChange, VersionDiff, diff_versions
from versioning.digests import parse_multihash
from versioning.version import Version

__all__ = ["AssetChange", "DiffReport", "ItemReport", "explain_diff"]

What = Literal["content", "metadata", "bytes"]
_VECTORS = "v1:"
_SHOWN = 1000


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
        For labels: each of these features, at most a thousand.
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


def explain_diff(catalog: Catalog, old: Version, new: Version, *, features: bool = True) -> DiffReport:
    """Compare two versions and say what changed in each item.

    Parameters
    ----------
    catalog
        Where the labels' objects are.
    old, new
        The versions, of one dataset or of two.
    features
        Whether labels are read and compared feature by feature.

    Raises
    ------
    Integrity
        If a manifest or a label object that had to be read is damaged.
    """
    diff: VersionDiff = diff_versions(old, new)
    return DiffReport(
        old=old.pin,
        new=new.pin,
        added=[row.id for row in diff.added],
        removed=[row.id for row in diff.removed],
        changed=[_item(catalog, change, features=features) for change in diff.changed],
        collection=diff.collection,
    )


def _item(catalog: Catalog, change: ItemChange, *, features: bool) -> ItemReport:
    before, after = change.old.parse(), change.new.parse()
    assets: list[AssetChange] = []
    for key in sorted(before["assets"].keys() | after["assets"].keys()):
        old, new = before["assets"].get(key), after["assets"].get(key)
        if old != new:
            assets.append(_asset(catalog, key, old, new, features=features))
    return ItemReport(change.id, assets, change.properties())


def _asset(
    catalog: Catalog, key: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, *, features: bool
) -> AssetChange:
    one, other = _content(old), _content(new)
    if old is None or new is None:
        return AssetChange(key, "added" if old is None else "removed", "content", one, other)
    if one == other:
        what: What = "bytes" if old.get("file:checksum") != new.get("file:checksum") else "metadata"
        return AssetChange(key, "changed", what, one, other)
    if not features or not (one or "").startswith(_VECTORS) or not (other or "").startswith(_VECTORS):
        return AssetChange(key, "changed", "content", one, other)
    from catalog.feature_diff import diff_features

    with tempfile.TemporaryDirectory(prefix="stacpin-") as scratch:
        paths = [_fetch(catalog, asset, Path(scratch) / name) for asset, name in ((old, "old"), (new, "new"))]
        found = diff_features(*paths)
    edits = [
        {
            "kind": edit.kind,
            "feature": edit.handle,
            "properties": {name: {"old": first, "new": second} for name, (first, second) in edit.properties.items()},
            "distance": edit.hausdorff,
            "area_delta": edit.area_delta,
        }
        for edit in found.changes[:_SHOWN]
    ]
    counts: dict[str, int] = {"unchanged": found.unchanged} | dict(found.counts)
    return AssetChange(key, "changed", "content", one, other, counts, edits)


def _content(asset: Mapping[str, Any] | None) -> str | None:
    return None if asset is None else asset.get("pin:digest") or asset.get("file:checksum")


def _fetch(catalog: Catalog, asset: Mapping[str, Any], stem: Path) -> Path:
    target = stem.with_suffix(Path(asset["href"]).suffix)
    with target.open("wb") as file:
        digest = parse_multihash(asset["file:checksum"])
        for block in catalog.objects.read(asset["href"], digest, asset["file:size"]):
            file.write(block)
    return target
