"""What a plan says: of each item and each asset what becomes of it, what is gone, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ingest.inspect import Inspection
from ingest.parents import Parents
from ingest.sources import SourceAsset, SourceItem
from versioning.version import Version

__all__ = ["Plan", "PlannedAsset", "PlannedItem", "Refusal", "State", "refusal_dict"]

Action = Literal["convert", "reuse"]
State = Literal["new", "changed", "unchanged"]


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
        The parent version's asset of that item and key, else None; of an item that was known to be unchanged it is read
        when somebody looks into it.
    action
        ``reuse`` where the parent's bytes serve as they are.
    unnamed
        Whether the parent's recipe named the bands and this one does not: then the file names them again.
    """

    source: SourceAsset
    inspection: Inspection
    target_crs: str | None
    lineage: dict[str, Any] | None
    parent: Mapping[str, Any] | None
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
    parents
        Where the parent's item is read from when somebody asks for it.
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
    parents: Parents | None = field(default=None, repr=False, compare=False)
    kept: bool = False
    removed: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()
    described: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def parent(self) -> dict[str, Any] | None:
        """The parent version's item, as it is stored."""
        return None if self.parents is None else self.parents.item(self.source.id)

    @property
    def geometry(self) -> dict[str, Any] | None:
        """The parent item's geometry."""
        return (self.parent or {}).get("geometry")


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
