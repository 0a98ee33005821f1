"""Coordinate reference systems of vector files: read from whatever text a file used, compared by their identity.

What a CRS is, is defined in `catalog.crs_identity`, for rasters and vectors alike. Vectors add one rule: EPSG:4979, WGS
84 with heights, is EPSG:4326. GeoJSON is WGS 84 by its standard, with and without heights (RFC 7946, section 4); GDAL
calls it EPSG:4979 as soon as one feature has a height, and writes that to the other formats. Each geometry says itself
whether it has heights, so the pair differs in nothing that x and y, or the count of dimensions, mean. No other
three-dimensional or compound CRS is flattened: no format writes them by itself, so who has one has meant it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from catalog.crs_identity import crs_name
from versioning.errors import InvalidInput

if TYPE_CHECKING:
    import pyproj

__all__ = ["WGS84", "Crs", "geojson_crs_name", "parse_crs", "projjson", "to_pyproj"]

_SAME = {"EPSG:4979": "EPSG:4326"}
_DESCRIBING = frozenset({"id", "ids", "usages", "scope", "area", "bbox", "remarks", "$schema", "vertical_extent"})
_OPERATION = ("method", "parameters")  # their ids define
_URN = re.compile(r"^(?:urn:(?:ogc|x-ogc):def:crs:)?([A-Za-z]+):(?:[0-9.]*:)?([A-Za-z0-9]+)$")
_LONGEST_DEFINITION = 100_000  # cut there, text that is longer is no CRS
_HINT = "Declare it in its layer of the recipe, for example `source_crs: EPSG:32616`."


@dataclass(frozen=True, slots=True)
class Crs:
    """A CRS; equal to another if their identities are equal.

    Attributes
    ----------
    identity
        Its identity as text, as `catalog.crs_identity.crs_name` gives it and the digest counts it.
    degrees
        Whether its horizontal units are degrees.
    name
        The same code, or PROJJSON where there is none: for people, other programs and PROJ.
    """

    identity: str
    degrees: bool = field(compare=False)
    name: str = field(compare=False)


WGS84 = Crs("EPSG:4326", degrees=True, name="EPSG:4326")


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
        crs = CRS.from_user_input(text[:_LONGEST_DEFINITION])
        definition = crs.to_json_dict()
    except (ProjError, ValueError, TypeError) as error:
        raise InvalidInput(f"{where}: unknown CRS {text[:80]!r}.", hint=_HINT, kind="unknown-crs") from error
    if crs.is_engineering or crs.name.lower().startswith(("undefined", "unknown engineering")):
        raise InvalidInput(f"{where}: no CRS (only the place holder {crs.name!r}).", hint=_HINT, kind="missing-crs")
    degrees = all("degree" in axis.unit_name.lower() for axis in crs.axis_info[:2])
    identity = crs_name(crs)
    identity = _SAME.get(identity, identity)
    has_code = not identity.startswith("{")
    name = identity if has_code else json.dumps(_defining(definition), sort_keys=True, separators=(",", ":"))
    return Crs(identity, degrees, name)


def _defining(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if key not in _DESCRIBING}
        return {key: item if key in _OPERATION else _defining(item) for key, item in kept.items()}
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
