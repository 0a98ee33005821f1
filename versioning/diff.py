"""What changed between two versions, item by item. Chunks that both versions share are never read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from versioning.rows import Row
from versioning.snapshots import Chunk
from versioning.version import Version

__all__ = ["ItemChange", "VersionDiff", "diff_versions"]

_SHOWN = 8


@dataclass(frozen=True, slots=True, repr=False)
class ItemChange:
    """One item that both versions have, with different content."""

    id: str
    old: Row
    new: Row

    def __repr__(self) -> str:
        assets = ", ".join(f"{key} {how}" for key, how in self.assets().items())
        return f"ItemChange({self.id!r}: {assets or 'no asset'}{', bytes only' if self.bytes_only else ''})"

    @property
    def bytes_only(self) -> bool:
        """Whether the content is the same and only its encoding differs."""
        return self.old.content_digest == self.new.content_digest

    def assets(self) -> dict[str, str]:
        """The assets that differ: key -> ``added``, ``removed`` or ``changed``."""
        before = {asset.key: asset for asset in self.old.assets}
        after = {asset.key: asset for asset in self.new.assets}
        found: dict[str, str] = {}
        for key in sorted(before.keys() | after.keys()):
            if key not in before:
                found[key] = "added"
            elif key not in after:
                found[key] = "removed"
            elif before[key].sha256 != after[key].sha256:
                found[key] = "changed"
        return found

    def properties(self) -> dict[str, tuple[Any, Any]]:
        """The properties, and the geometry, that differ: name -> old value, new value (None where it is absent)."""
        before, after = self.old.parse(), self.new.parse()
        old = before["properties"] | {"geometry": before.get("geometry")}
        new = after["properties"] | {"geometry": after.get("geometry")}
        names = sorted(old.keys() | new.keys())
        return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


@dataclass(frozen=True, slots=True, repr=False)
class VersionDiff:
    """The difference between two versions; ids are sorted.

    ``added`` and ``removed`` hold the items themselves, ``changed`` an :class:`ItemChange` for each item that both
    versions have, ``collection`` the declared metadata that differs: name -> old value, new value. It is false if
    nothing differs.
    """

    added: list[Row] = field(default_factory=list)
    removed: list[Row] = field(default_factory=list)
    changed: list[ItemChange] = field(default_factory=list)
    collection: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.collection)

    def __repr__(self) -> str:
        # An item is kilobytes: the dataclass's own repr of a small diff was 29 kB.
        return f"VersionDiff({self.summary()})"

    def summary(self) -> str:
        """The counts in a few words: ``3 added, 1 changed (red 1), 0 removed; collection: title``.

        The keys after ``changed`` are the assets that differ, with the number of items in which they do.
        """
        assets = Counter(key for change in self.changed for key in change.assets())
        shown = [f"{key} {count}" for key, count in sorted(assets.items())[:_SHOWN]]
        more = ["…"] if len(assets) > _SHOWN else []
        which = f" ({', '.join(shown + more)})" if shown else ""
        declared = f"; collection: {', '.join(self.collection)}" if self.collection else ""
        return f"{len(self.added)} added, {len(self.changed)} changed{which}, {len(self.removed)} removed{declared}"

    def ids(self) -> set[str]:
        """Every item that differs."""
        return {entry.id for group in (self.added, self.removed, self.changed) for entry in group}


def diff_versions(old: Version | None, new: Version | None) -> VersionDiff:
    """Compare two versions; None stands for a dataset without items.

    Raises
    ------
    Integrity
        If a manifest that had to be read is damaged.
    """
    before, after = _only(old, new), _only(new, old)
    result = VersionDiff(collection=_collection(old, new))
    left = _next(before)
    right = _next(after)
    while left is not None or right is not None:
        if right is None or (left is not None and left.id < right.id):
            result.removed.append(left)  # pyright: ignore[reportArgumentType] - one of the two is there
            left = _next(before)
        elif left is None or right.id < left.id:
            result.added.append(right)
            right = _next(after)
        else:
            if left.digest != right.digest:
                result.changed.append(ItemChange(left.id, left, right))
            left, right = _next(before), _next(after)
    return result


def _only(version: Version | None, other: Version | None) -> Iterator[Row]:
    """The rows of the chunks that the other version has not."""
    if version is None:
        return iter(())
    shared = {_key(chunk) for chunk in other.chunks} if other is not None else set()
    chunks: Sequence[Chunk] = [chunk for chunk in version.chunks if _key(chunk) not in shared]
    return version.rows(chunks)


def _key(chunk: Chunk) -> tuple[str, str, bytes]:
    return (chunk.first_id, chunk.last_id, chunk.digest)


def _next(rows: Iterator[Row]) -> Row | None:
    return next(rows, None)


def _collection(old: Version | None, new: Version | None) -> dict[str, tuple[Any, Any]]:
    before = old.record.collection if old else {}
    after = new.record.collection if new else {}
    names = sorted(before.keys() | after.keys())
    return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}
