"""Coordinate reference systems of vector files: one name for each, whatever text a file used for it.

A CRS is named by its authority code (``EPSG:32616``), or, where PROJ's database knows none, by its PROJJSON without
the members that describe and do not define (ids, usages, remarks), as JSON with sorted keys. ``OGC:CRS84`` and
``EPSG:4326`` are one CRS here, since coordinates are x, y (longitude, latitude) in every format that is read, and so is
``EPSG:4979``, its form with heights.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from versioning.errors import InvalidInput

if TYPE_CHECKING:
    import pyproj

__all__ = ["WGS84", "Crs", "geojson_crs_name", "parse_crs", "projjson", "to_pyproj"]

_SAME = {
    "OGC:CRS84": "EPSG:4326",
    "OGC:CRS83": "EPSG:4269",
    "OGC:CRS27": "EPSG:4267",
    # GDAL calls GeoJSON with heights EPSG:4979; RFC 7946 has one CRS for both, and z says itself whether it is there
    "OGC:CRS84h": "EPSG:4326",
    "OGC:CRS84H": "EPSG:4326",
    "EPSG:4979": "EPSG:4326",
}
_DESCRIBING = frozenset({"id", "ids", "usages", "scope", "area", "bbox", "remarks", "$schema", "vertical_extent"})
_URN = re.compile(r"^(?:urn:(?:ogc|x-ogc):def:crs:)?([A-Za-z]+):(?:[0-9.]*:)?([A-Za-z0-9]+)$")
_HINT = "Declare it in the recipe, for example `crs: EPSG:32616`."


@dataclass(frozen=True, slots=True)
class Crs:
    """A CRS by its name (an authority code or normalised PROJJSON) and whether its units are degrees."""

    name: str
    degrees: bool


WGS84 = Crs("EPSG:4326", degrees=True)


def parse_crs(value: str | int | dict[str, Any] | Crs, where: str) -> Crs:
    """The CRS that a code, WKT, PROJJSON or URN names.

    Parameters
    ----------
    value
        What the file or the recipe says.
    where
        Who says so, for the error's text.

    Raises
    ------
    InvalidInput
        If PROJ does not know it, or it is a place holder such as GeoPackage's "undefined" systems.
    """
    if isinstance(value, Crs):
        return value
    if isinstance(value, dict):
        return _parse(json.dumps(value, sort_keys=True), where)
    text = f"EPSG:{value}" if isinstance(value, int) else value.strip()
    if "+init" in text.lower():  # it names a file on the reader's disk
        raise InvalidInput(f"{where}: the CRS {text[:80]!r} uses +init, which is not read.", hint=_HINT)
    urn = _URN.match(text)
    return _parse(f"{urn[1].upper()}:{urn[2]}" if urn else text, where)


@lru_cache(maxsize=256)
def _parse(text: str, where: str) -> Crs:
    from pyproj import CRS
    from pyproj.exceptions import ProjError

    if text in {"OGC:CRS84", "EPSG:4326"}:
        return WGS84
    try:
        crs = CRS.from_user_input(text)
        authority = crs.to_authority(min_confidence=90)
        definition = crs.to_json_dict()
    except (ProjError, ValueError, TypeError) as error:
        raise InvalidInput(f"{where}: unknown CRS {text[:80]!r}.", hint=_HINT, kind="unknown-crs") from error
    if crs.is_engineering or crs.name.lower().startswith(("undefined", "unknown engineering")):
        raise InvalidInput(f"{where}: no CRS (only the place holder {crs.name!r}).", hint=_HINT, kind="missing-crs")
    degrees = all("degree" in axis.unit_name.lower() for axis in crs.axis_info[:2])
    name = (
        ":".join(authority) if authority else json.dumps(_defining(definition), sort_keys=True, separators=(",", ":"))
    )
    return Crs(_SAME.get(name, name), degrees=degrees)


def _defining(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _defining(item) for key, item in value.items() if key not in _DESCRIBING}
    return [_defining(item) for item in value] if isinstance(value, list) else value


def geojson_crs_name(member: Any, where: str) -> Crs | None:
    """The CRS of GeoJSON 2008's ``crs`` member; None where it says that there is none (``null``).

    Raises
    ------
    InvalidInput
        For linked CRSs (nothing is fetched) and names that are no authority code.
    """
    if member is None:
        return None
    kind = member.get("type") if isinstance(member, dict) else None
    properties = member.get("properties") if isinstance(member, dict) else None
    value = None
    if isinstance(properties, dict):
        if kind == "name":
            value = properties.get("name")
        elif kind == "EPSG" and isinstance(properties.get("code"), int):
            value = f"EPSG:{properties['code']}"
    if not isinstance(value, str) or not _URN.match(value.strip()):
        said = json.dumps(member)[:120]
        raise InvalidInput(
            f"{where}: its crs member {said} is no named authority code.", hint=_HINT, kind="unknown-crs"
        )
    return parse_crs(value, where)


def to_pyproj(crs: Crs) -> pyproj.CRS:
    """The CRS as pyproj knows it."""
    from pyproj import CRS

    return CRS.from_user_input(crs.name)


def projjson(crs: Crs) -> dict[str, Any]:
    """PROJJSON for GeoParquet: of OGC:CRS84 for EPSG:4326, without areas of use (they move between PROJ databases)."""
    from pyproj import CRS

    document = CRS.from_authority("OGC", "CRS84").to_json_dict() if crs == WGS84 else to_pyproj(crs).to_json_dict()
    return {key: value for key, value in document.items() if key not in {"usages", "scope", "area", "bbox", "remarks"}}
