"""What is checked of every run before its items may become a version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from versioning.errors import InvalidInput

if TYPE_CHECKING:
    from ingest.sources import SourceAsset

__all__ = ["check_items", "check_label_properties"]

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


def check_label_properties(assets: Iterable[tuple[SourceAsset, Mapping[str, Any]]]) -> None:
    """Refuse a layer that says of properties that they classify its features, and no file of it has them.

    One file may lack a property that others have, and a layer without any property may still get some.

    Parameters
    ----------
    assets
        All sources of a run, each with the asset that it became.

    Raises
    ------
    InvalidInput
        It names the layer and the properties that there are.
    """
    columns: dict[str, set[str]] = {}
    wanted: dict[str, list[str]] = {}
    for source, asset in assets:
        if source.settings.kind == "labels":
            wanted[source.layer] = source.settings.label.properties or []
            columns.setdefault(source.layer, set()).update(asset.get("label:properties") or ())
    for layer, there in columns.items():
        missing = [name for name in wanted[layer] if name not in there]
        if there and missing:
            raise InvalidInput(
                f"layer {layer!r}: no feature of it has the property {', '.join(map(repr, missing))}, "
                "which 'label: properties' names.",
                hint=f"There are: {', '.join(sorted(there))}.",
                kind="unknown-property",
            )
