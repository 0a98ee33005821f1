"""What a CRS is, told apart from how it is written: an authority code, or else normalised PROJJSON.

Identity, as the raster digest (scheme ``r1:``) hashes it:

1. If the CRS carries an authority code at its root, or PROJ finds one, *and* the CRS of that code has the same
   parameters (PROJ's own comparison), the identity is the string ``AUTHORITY:CODE``, as in ``EPSG:32618``. A code whose
   parameters differ is a lie and is not used.
2. Data axes of a raster are always x, y, so a CRS that differs from an EPSG one by axis order only takes the latter's
   code: ``OGC:CRS84`` is ``EPSG:4326``, ``OGC:CRS83`` is ``EPSG:4269``, ``OGC:CRS27`` is ``EPSG:4267``.
3. Otherwise it is a JSON object made from PROJJSON by these rules, recursively:

   - names, ids, scopes, areas, bounding boxes, usages, remarks, ``$schema`` and accuracies are dropped, but datums keep
     their name in lower case with only ``a-z0-9`` and without a last ``ensemble`` (empty where it begins with
     ``unknown``, ``unnamed`` or ``notspecified``); methods and parameters keep their EPSG
     code as ``EPSG:9807`` or, without one, their name treated in the same way;
   - an ellipsoid becomes ``[a, 1/f]`` (0 for a sphere);
   - a coordinate system becomes the sorted list of its axes' ``[direction, unit factor]``;
   - parameters become a list of ``[name, value]`` sorted by name, values in SI units (radians, metres, 1);
   - every number becomes a string with 12 significant digits (C's ``%.12g``), so that noise in the last digits of a
     parameter that went through WKT, GeoKeys or PROJ strings is not a difference.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from versioning.errors import InvalidInput

if TYPE_CHECKING:
    from rasterio.crs import CRS

__all__ = ["crs_identity", "parse_crs"]

_SAME_BUT_AXIS_ORDER = {"OGC:CRS84": "EPSG:4326", "OGC:CRS83": "EPSG:4269", "OGC:CRS27": "EPSG:4267"}
_UNITS = {"metre": 1.0, "degree": math.pi / 180, "unity": 1.0, "radian": 1.0}
_CRS_KEYS = ("base_crs", "source_crs", "target_crs")
_NO_NAMES = ("unknown", "unnamed", "notspecified")
_LONGEST_DEFINITION = 100_000


def parse_crs(text: str, *, what: str = "the CRS") -> CRS:
    """A CRS from what a person wrote: ``EPSG:32618``, WKT, PROJJSON or a PROJ string.

    Parameters
    ----------
    text : str
        The definition.
    what : str
        Where it was written, for the error's text.

    Raises
    ------
    InvalidInput
        If PROJ does not know it, or if it is no place on Earth (an engineering CRS).
    """
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    hint = "Give an authority code such as EPSG:32618, or WKT2."
    if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST_DEFINITION:
        raise InvalidInput(f"{what} {str(text)[:80]!r} is not a CRS.", hint=hint)
    try:
        crs = CRS.from_user_input(text)
        kind = crs.to_dict(projjson=True).get("type")
    except (CRSError, ValueError, TypeError) as error:
        raise InvalidInput(f"{what} {text[:80]!r} is unknown.", hint=hint) from error
    if kind in {None, "EngineeringCRS"}:
        raise InvalidInput(f"{what} {text[:80]!r} names no place on Earth.", hint=hint)
    return crs


def crs_identity(crs: CRS) -> str | dict[str, Any]:
    """The identity of a CRS as this module's docstring defines it.

    Parameters
    ----------
    crs : rasterio.crs.CRS
        Any CRS that is not empty.

    Returns
    -------
    str or dict
        ``AUTHORITY:CODE``, or the normalised PROJJSON object.
    """
    projjson = crs.to_dict(projjson=True)
    code = _verified_code(crs, projjson)
    return _SAME_BUT_AXIS_ORDER.get(code, code) if code else _normalised(projjson)


def _verified_code(crs: CRS, projjson: dict[str, Any]) -> str | None:
    from rasterio.errors import CRSError

    identifier = projjson.get("id") or {}
    # 70 is what PROJ gives for equal parameters under another name, e.g. "+proj=utm +zone=18 +datum=WGS84"; a GeoTIFF
    # made from that carries EPSG:32618, so both must get the code.
    authority = identifier.get("authority")
    if authority == "IAU" and "version" in identifier:
        authority = f"IAU_{identifier['version']}"  # as PROJ's own look-up calls it
    found = (authority, identifier.get("code")), crs.to_authority(confidence_threshold=70)
    for authority, code in (pair for pair in found if pair and pair[0] and pair[1] is not None):
        try:
            if type(crs).from_authority(authority, str(code)) == crs:
                return f"{authority}:{code}"
        except CRSError:
            continue
    return None


def _number(value: float) -> str:
    return format(value + 0.0, ".12g")


def _plain(name: str) -> str:
    plain = "".join(c for c in name.lower() if c.isascii() and c.isalnum())
    return plain.removesuffix("ensemble")


def _factor(unit: Any) -> float:
    if isinstance(unit, dict):
        return float(unit["conversion_factor"])
    return _UNITS[unit]


def _measure(value: Any, unit: Any = None) -> float:
    if isinstance(value, dict):
        return float(value["value"]) * _factor(value.get("unit", "unity"))
    return float(value) * (_factor(unit) if unit is not None else 1.0)


def _named(thing: dict[str, Any]) -> str:
    identifier = thing.get("id")
    return f"{identifier['authority']}:{identifier['code']}" if identifier else _plain(thing["name"])


def _ellipsoid(ellipsoid: dict[str, Any]) -> list[str]:
    if "radius" in ellipsoid:
        return [_number(_measure(ellipsoid["radius"])), "0"]
    a = _measure(ellipsoid["semi_major_axis"])
    if "inverse_flattening" in ellipsoid:
        return [_number(a), _number(_measure(ellipsoid["inverse_flattening"]))]
    b = _measure(ellipsoid["semi_minor_axis"])
    return [_number(a), _number(a / (a - b)) if a != b else "0"]


def _datum(datum: dict[str, Any]) -> dict[str, Any]:
    name = _plain(datum["name"])
    out: dict[str, Any] = {"name": "" if name.startswith(_NO_NAMES) else name}
    if "ellipsoid" in datum:
        out["ellipsoid"] = _ellipsoid(datum["ellipsoid"])
    meridian = datum.get("prime_meridian", {}).get("longitude", 0)
    out["prime_meridian"] = _number(_measure(meridian, None if isinstance(meridian, dict) else "degree"))
    return out


def _operation(operation: dict[str, Any]) -> dict[str, Any]:
    parameters = operation.get("parameters", [])
    values = [[_named(p), _number(_measure(p["value"], p.get("unit")))] for p in parameters if not _is_text(p["value"])]
    return {"method": _named(operation["method"]), "parameters": sorted(values)}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)  # names of grid files: a matter of the transformation, not of the CRS


def _normalised(node: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"type": node["type"]}
    for key in ("datum", "datum_ensemble"):
        if key in node:
            out["datum"] = _datum(node[key])
    for key in ("conversion", "transformation"):
        if key in node:
            out[key] = _operation(node[key])
    for key in _CRS_KEYS:
        if key in node:
            out[key] = _normalised(node[key])
    if "components" in node:
        out["components"] = [_normalised(component) for component in node["components"]]
    if "coordinate_system" in node:
        system = node["coordinate_system"]
        axes = [[a["direction"], _number(_factor(a.get("unit", "unity")))] for a in system["axis"]]
        out["axes"] = sorted(axes)
    if set(out) == {"type"}:  # a kind of CRS that these rules do not know: its own text is better than a collision
        out["text"] = json.dumps(node, sort_keys=True)
    return out
