"""What changed between two versions that may come from different places."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from loaders.catalog_source import CatalogSource
from loaders.source import PinSource
from versioning.diff import DiffRow, ItemChange, VersionDiff, diff_versions
from versioning.rows import Row

__all__ = ["diff_sources"]


def diff_sources(old: PinSource, new: PinSource) -> VersionDiff:
    """Compare two versions, item by item.

    Two versions of catalogs are compared by their chunks, of which only those that differ are read. From an API both
    are read whole, and so both are proven.
    """
    if isinstance(old, CatalogSource) and isinstance(new, CatalogSource):
        return diff_versions(old.version, new.version)
    result = VersionDiff(collection=_collection(old, new))
    if old.facts.digest == new.facts.digest:
        return result
    from catalog.query import Query

    before, after = old.rows(Query()), new.rows(Query())
    left, right = next(before, None), next(after, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left.id < right.id):
            left = _kept(result.removed, left, before)
        elif left is None or right.id < left.id:
            right = _kept(result.added, right, after)
        else:
            if left.digest != right.digest:
                result.changed.append(ItemChange(left.id, left, right))
            left, right = next(before, None), next(after, None)
    return result


def _kept(group: list[DiffRow], row: Row | None, rows: Iterator[Row]) -> Row | None:
    if row is not None:
        group.append(row)
    return next(rows, None)


def _collection(old: PinSource, new: PinSource) -> dict[str, tuple[Any, Any]]:
    before, after = old.facts.collection, new.facts.collection
    names = sorted(before.keys() | after.keys())
    return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}
