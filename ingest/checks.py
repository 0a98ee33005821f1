"""What is checked of every run before its items may become a version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["check_items"]

_SHOWN = 20
_CRS = {"proj:code", "proj:wkt2", "proj:projjson"}


def check_items(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The results of all checks: name, whether it passed, and what was found."""
    from catalog.validation import validate_item

    errors = [f"{item['id']}: {error}" for item in items for error in validate_item(item).errors]
    rasters = [
        (f"{item['id']}/{key}", asset)
        for item in items
        for key, asset in item["assets"].items()
        if asset["pin:digest"].startswith("r1:")
    ]
    undeclared = [where for where, asset in rasters if not _CRS & asset.keys()]
    return [
        {"name": "not-empty", "passed": bool(items), "items": len(items)},
        {"name": "stac-core-valid", "passed": not errors, "items": len(items), "errors": errors[:_SHOWN]},
        {"name": "crs-declared", "passed": not undeclared, "rasters": len(rasters), "missing": undeclared[:_SHOWN]},
    ]
