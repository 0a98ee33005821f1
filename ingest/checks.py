"""What is checked of every run before its items may become a version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from versioning.errors import InvalidInput

if TYPE_CHECKING:
    from ingest.sources import SourceAsset
    from versioning.version import Version

__all__ = ["NAMES", "check_items", "check_label_properties", "passed_before"]

NAMES = frozenset({"not-empty", "stac-core-valid", "crs-declared"})

_SHOWN = 20
_CRS = {"proj:code", "proj:wkt2", "proj:projjson"}


def check_items(items: Iterable[Mapping[str, Any]], *, unchanged: int = 0, rasters: int = 0) -> list[dict[str, Any]]:
    """The results of all checks: name, whether it passed, and what was found.

    Parameters
    ----------
    items
        The items to check, each of which is looked at once.
    unchanged, rasters
        How many further items, and raster assets of theirs, are as the parent version has them, whose checks passed
        (see `passed_before`).
    """
    from catalog.validation import validate_item

    errors: list[str] = []
    undeclared: list[str] = []
    count, wrong = unchanged, 0
    for item in items:
        count += 1
        found = validate_item(item).errors
        wrong += len(found)
        errors += [f"{item['id']}: {error}" for error in found[: _SHOWN - len(errors)]]
        for key, asset in item["assets"].items():
            # A version may have been made by other hands, whose assets say nothing of their content.
            if str(asset.get("pin:digest", "")).startswith("r1:"):
                rasters += 1
                if not _CRS & asset.keys():
                    undeclared.append(f"{item['id']}/{key}")
    return [
        {"name": "not-empty", "passed": count > 0, "items": count},
        {"name": "stac-core-valid", "passed": wrong == 0, "items": count, "errors": errors},
        {"name": "crs-declared", "passed": not undeclared, "rasters": rasters, "missing": undeclared[:_SHOWN]},
    ]


def passed_before(parent: Version, software: Mapping[str, str]) -> bool:
    """Whether items that stay as the parent has them need no second check: the same stacpin found them good."""
    record = parent.record
    passed = {check.get("name") for check in record.checks if check.get("passed") is True}
    return passed >= NAMES and record.software.get("stacpin") == software.get("stacpin")


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
