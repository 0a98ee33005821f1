"""Objects that a dataset's own metadata shows: a thumbnail, a legend.

Every string of a version's ``collection`` that is the path of an object names one, wherever it stands. A version needs
them like those of its items: commits spare them, sync copies them, ``verify`` reads them, and gc keeps them. Metadata
need not say a size; where ``file:size`` stands beside the path, it is the object's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from versioning.candidates import is_candidate

__all__ = ["declared_objects"]

_LARGEST = 2**48


def declared_objects(collection: Mapping[str, Any]) -> dict[str, int | None]:
    """The objects that the metadata of a version names, with their sizes as far as it says them."""
    found: dict[str, int | None] = {}
    left: list[object] = [collection]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            size = value.get("file:size")
            known = isinstance(size, int) and not isinstance(size, bool) and 0 <= size < _LARGEST
            for each in value.values():
                if _is_object(each) and found.get(each) is None:
                    found[each] = size if known else None
            left += [each for each in value.values() if isinstance(each, Mapping | list)]
        elif isinstance(value, list):
            found |= {each: found.get(each) for each in value if _is_object(each)}
            left += [each for each in value if isinstance(each, Mapping | list)]
    return found


def _is_object(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value.startswith("objects/") and is_candidate(value)
