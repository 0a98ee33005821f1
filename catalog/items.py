"""Stored STAC 1.1 Items, ready for `versioning.rows.make_row`: without links and collection, the same on every machine.

``created`` and ``updated`` are not written: an item is as old as its version, and times of writing would make a version
of nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from catalog.assets import AssetPart
from catalog.extensions import STAC_VERSION, item_extensions
from catalog.footprints import bbox_of, join_footprints, to_geojson
from versioning.errors import InvalidInput
from versioning.ids import check_item_id

__all__ = ["build_item", "utc_text"]

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,12}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_NO_TIME = (
    "Give it one in the recipe: `datetime` (a fixed time, or where it stands in the file's name or metadata), or both "
    "`start_datetime` and `end_datetime`."
)
_UNWRITTEN = ("created", "updated")
_TIMES = ("datetime", "start_datetime", "end_datetime")
_LISTS = ("label:properties", "label:tasks", "label:methods", "label:classes")


def build_item(
    item_id: str,
    parts: Mapping[str, AssetPart],
    *,
    datetime: str | datetime | None = None,
    start: str | datetime | None = None,
    end: str | datetime | None = None,
    properties: Mapping[str, Any] | None = None,
    extensions: Iterable[str] = (),
) -> dict[str, Any]:
    """Build a stored item from its assets.

    Parameters
    ----------
    item_id
        Its id, as `versioning.ids.check_item_id` takes it.
    parts
        The assets by their keys.
    datetime, start, end
        Its time, or its range, or both; what ``properties`` says counts where they are None. Times need a zone and are
        written in UTC.
    properties
        Everything else that is known of it: platform, instruments, ``eo:cloud_cover``, ``view:off_nadir``,
        ``processing:lineage``, … Nulls count as missing; ``created`` and ``updated`` are left out.
    extensions
        Ids of extensions for properties whose prefix `catalog.extensions` does not know.

    Returns
    -------
    dict
        The item. Its geometry covers its assets' footprints; ``proj:code`` stands in its properties too where all
        assets that have a CRS agree; ``stac_extensions`` are exactly those in use, sorted.

    Raises
    ------
    InvalidInput
        If the id cannot be one, if there is no time, or if a time cannot be read or has no zone.
    """
    check_item_id(item_id)
    given = {key: value for key, value in (properties or {}).items() if value is not None and key not in _UNWRITTEN}
    times = {key: value if value is not None else given.pop(key, None) for key, value in _named(datetime, start, end)}
    assets = {key: dict(parts[key].asset) for key in sorted(parts)}
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "id": item_id,
        "geometry": None,
        "properties": _times(item_id, times) | _from_parts(parts) | _shared_crs(assets) | given,
        "assets": assets,
    }
    geometry = join_footprints([part.footprint for part in parts.values() if part.footprint is not None])
    if geometry is not None:
        item |= {"geometry": to_geojson(geometry), "bbox": list(bbox_of(geometry))}
    item["stac_extensions"] = item_extensions(item, extensions)
    return item


def utc_text(time: str | datetime, *, where: str = "the item") -> str:
    """A time as RFC 3339 in UTC, without trailing zeros: ``2024-05-01T10:30:00Z``. Twelve decimals are kept.

    Raises
    ------
    InvalidInput
        If it cannot be read or has no zone.
    """
    text = time.isoformat() if isinstance(time, datetime) else time
    match = _TIME.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise InvalidInput(
            f"{where} has the time {str(text)[:80]!r}.",
            hint="Write it with its zone, as in 2024-05-01T10:30:00Z or 2024-05-01T12:30:00+02:00.",
        )
    day, clock, fraction, zone = match.groups()
    seconds = f"{day}T{clock}"
    if zone not in "Zz":
        try:
            seconds = datetime.fromisoformat(f"{seconds}{zone}").astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        except (ValueError, OverflowError) as error:
            raise InvalidInput(f"{where} has the time {text!r}: {error}.") from error
    decimals = (fraction or "").rstrip("0")
    return f"{seconds}{'.' if decimals else ''}{decimals}Z"


def _named(
    datetime: str | datetime | None, start: str | datetime | None, end: str | datetime | None
) -> Iterable[tuple[str, str | datetime | None]]:
    return zip(_TIMES, (datetime, start, end), strict=True)


def _times(item_id: str, times: Mapping[str, str | datetime | None]) -> dict[str, Any]:
    where = f"item {item_id}"
    found = {key: None if value is None else utc_text(value, where=where) for key, value in times.items()}
    start, end = found["start_datetime"], found["end_datetime"]
    if (start is None) != (end is None):
        raise InvalidInput(f"{where} has a {'start' if end is None else 'end'}_datetime alone.", hint="Give both.")
    if start is None:
        if found["datetime"] is None:
            raise InvalidInput(f"{where} has no datetime.", hint=_NO_TIME, kind="missing-datetime")
        return {"datetime": found["datetime"]}
    return found


def _from_parts(parts: Mapping[str, AssetPart]) -> dict[str, Any]:
    """What the assets ask the item to say; of several label assets, everything that any of them says."""
    merged: dict[str, Any] = {}
    for key in sorted(parts):
        for name, value in parts[key].properties.items():
            if name in _LISTS:
                old = merged.get(name) or []
                merged[name] = old + [entry for entry in value or [] if entry not in old] or None
            elif name == "label:description" and name in merged:
                merged[name] = f"{merged[name]}; {value}"
            else:
                merged.setdefault(name, value)
    return merged


def _shared_crs(assets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    codes = {asset["proj:code"] for asset in assets.values() if "proj:code" in asset}
    return {"proj:code": codes.pop()} if len(codes) == 1 and None not in codes else {}
