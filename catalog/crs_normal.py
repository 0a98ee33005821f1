"""The normal form of a CRS: its parameters alone, from PROJJSON, without names, codes, axis order and spelling.

Two CRSs with equal normal forms are one CRS. The form is a JSON object whose numbers are strings, made by these rules:

``type``
    As PROJJSON has it. ``GeodeticCRS`` with an ellipsoidal coordinate system counts as ``GeographicCRS``.
``datum``
    ``{"name", "ellipsoid", "prime_meridian"}``, or ``{"name"}`` for heights. The name, without ESRI's leading ``D_``,
    in lower case and with only ``a-z0-9+`` (``CH1903`` and ``CH1903+`` are two datums), without a last ``ensemble``; it
    is empty where it then begins with ``unknown``, ``unnamed``, ``unspecified``, ``notspecified`` or ``undefined``. An
    ellipsoid is ``[a, 1/f]``, with ``0`` for a sphere. Anchors, epochs and the members of ensembles count as nothing.
``base``
    The normal form of the CRS that a projected or derived one is derived from, without its axes, and without its type
    if that is geographic or geodetic.
``conversion``
    ``{"method", "parameters"}``. Methods and parameters go by EPSG code, as ``EPSG:9807``: their own, or the one that
    the frozen table ``catalog/crs_names.txt`` has for their name, treated as a datum's; or else by that. Parameters are
    ``[name, value]``, sorted. Those at their default (0; for scale factors, EPSG 8805, 8815 and 8819, also 1) are left
    out, since some writers omit them. Names of grid files count as nothing. EPSG's superseded methods 9821, 9842 and
    9823 count as 1027, 1028 and 1029. Mercator variant B (EPSG:9805) without a standard parallel (EPSG:8823) is variant
    A (EPSG:9804); ESRI writes it so.
``axes``
    The sorted list of ``[direction, unit]``. Both axes of a polar projection point the same way (``north, north``);
    they count as ``east, north``.
``components``
    Of a compound CRS, their normal forms in their order.
``transformation``, ``target``
    Of a bound CRS (TOWGS84) the way to another CRS is not what it *is*: it counts as its source alone. Only where the
    source's datum is unknown does nothing else say where on Earth it is: the method and parameters, as above, and the
    normal form of the target CRS are then added to the source's, unless all parameters are at their defaults.

Values are in degrees, metres or 1 (parts per million are 1e-6), and units are their number of these; of other
quantities their number of SI units. They are written with 12 significant digits (C's ``%.12g``), those of a
transformation with 9, so that the noise of WKT, GeoKeys and PROJ strings is no difference. (Degrees and not radians,
because people choose round numbers of them, which lie far from where rounding changes.) Ids, scopes, areas, usages and
remarks count as nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import rfc8785

__all__ = ["normal_form", "normal_key", "plain_name"]

_NAMES = Path(__file__).with_name("crs_names.txt")
_DEGREE = math.pi / 180
_DIGITS = 12
_DIGITS_OF_TRANSFORMATIONS = 9  # GeoTIFF gives 6.7 ppm back as 6.69999999992
_NO_NAMES = ("unknown", "unnamed", "unspecified", "notspecified", "undefined")
_GEODETIC = {"GeographicCRS", "GeodeticCRS"}
_MERCATOR_A, _MERCATOR_B, _MERCATOR_PARALLEL = "EPSG:9804", "EPSG:9805", "EPSG:8823"
_SUPERSEDED = {"EPSG:9821": "EPSG:1027", "EPSG:9842": "EPSG:1028", "EPSG:9823": "EPSG:1029"}
_SCALES = {"EPSG:8805", "EPSG:8815", "EPSG:8819", "scalefactor"}


def normal_form(projjson: dict[str, Any]) -> dict[str, Any]:
    """The normal form of a CRS, as the module's docstring defines it.

    Parameters
    ----------
    projjson : dict
        PROJJSON of any schema version, as PROJ writes it.
    """
    if "source_crs" in projjson:
        return _bound(projjson)
    out: dict[str, Any] = {"type": _type(projjson)}
    for key in ("datum", "datum_ensemble"):
        if key in projjson:
            out["datum"] = _datum(projjson[key])
    if "conversion" in projjson:
        out["conversion"] = _operation(projjson["conversion"])
    if "base_crs" in projjson:
        base = normal_form({"type": "GeographicCRS"} | projjson["base_crs"])
        base.pop("axes", None)
        if base["type"] in _GEODETIC:
            del base["type"]
        out["base"] = base
    if "components" in projjson:
        out["components"] = [normal_form(component) for component in projjson["components"]]
    if "coordinate_system" in projjson:
        out["axes"] = _axes(projjson["coordinate_system"])
    if len(out) == 1:  # a kind of CRS that these rules do not know: its own text is better than a collision
        out["text"] = json.dumps(projjson, sort_keys=True)
    return out


def normal_key(normal: dict[str, Any]) -> str:
    """The first 16 hexadecimal digits of the sha256 of a normal form's canonical JSON (RFC 8785)."""
    return hashlib.sha256(rfc8785.dumps(normal)).hexdigest()[:16]


def _type(node: dict[str, Any]) -> str:
    ellipsoidal = node.get("coordinate_system", {}).get("subtype") == "ellipsoidal"
    return "GeographicCRS" if node["type"] == "GeodeticCRS" and ellipsoidal else node["type"]


def _bound(node: dict[str, Any]) -> dict[str, Any]:
    source = normal_form(node["source_crs"])
    if source.get("base", source).get("datum", {}).get("name") != "":
        return source
    transformation = _operation(node["transformation"], _DIGITS_OF_TRANSFORMATIONS)
    if not transformation["parameters"]:
        return source
    return source | {"transformation": transformation, "target": normal_form(node["target_crs"])}


def _number(value: float, digits: int = _DIGITS) -> str:
    return format(value + 0.0, f".{digits}g")


def plain_name(name: str) -> str:
    """A name as normal forms have it: what the module's docstring says of datums."""
    plain = "".join(c for c in name.removeprefix("D_").lower() if c.isascii() and (c.isalnum() or c == "+"))
    plain = plain.removesuffix("ensemble")
    return "" if plain.startswith(_NO_NAMES) else plain


def _factor(unit: Any) -> float:
    if not isinstance(unit, dict):  # metre, degree or unity
        return 1.0
    factor = float(unit["conversion_factor"])
    return factor / _DEGREE if unit["type"] == "AngularUnit" else factor


def _measure(value: Any, unit: Any = None) -> float:
    if isinstance(value, dict):
        value, unit = value["value"], value.get("unit")
    return float(value) * _factor(unit)


def _named(thing: dict[str, Any]) -> str:
    identifier = thing.get("id", {})
    if identifier.get("authority") == "EPSG":
        code = f"EPSG:{identifier['code']}"
        return _SUPERSEDED.get(code, code)
    name = plain_name(thing["name"])
    return _names().get(name, name)


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    return dict(line.split() for line in _NAMES.read_text("ascii").splitlines())


def _ellipsoid(ellipsoid: dict[str, Any]) -> list[str]:
    if "radius" in ellipsoid:
        return [_number(_measure(ellipsoid["radius"])), "0"]
    a = _measure(ellipsoid["semi_major_axis"])
    if "inverse_flattening" in ellipsoid:
        return [_number(a), _number(_measure(ellipsoid["inverse_flattening"]))]
    b = _measure(ellipsoid["semi_minor_axis"])
    return [_number(a), _number(a / (a - b)) if a != b else "0"]


def _datum(datum: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"name": plain_name(datum["name"])}
    if "ellipsoid" in datum:
        out["ellipsoid"] = _ellipsoid(datum["ellipsoid"])
        meridian = datum.get("prime_meridian", {}).get("longitude", 0)
        out["prime_meridian"] = _number(_measure(meridian))
    return out


def _operation(operation: dict[str, Any], digits: int = _DIGITS) -> dict[str, Any]:
    parameters: list[list[str]] = []
    for each in operation.get("parameters", []):
        name, value = _named(each), each["value"]
        if isinstance(value, str):  # a grid file
            continue
        number = _number(_measure(value, each.get("unit")), digits)
        if number != "0" and not (number == "1" and name in _SCALES):
            parameters.append([name, number])
    method = _named(operation["method"])
    if method == _MERCATOR_B and all(name != _MERCATOR_PARALLEL for name, _ in parameters):
        method = _MERCATOR_A
    return {"method": method, "parameters": sorted(parameters)}


def _axes(system: dict[str, Any]) -> list[list[str]]:
    axes = [[axis["direction"], _number(_factor(axis.get("unit", "unity")))] for axis in system["axis"]]
    if len(axes) > 1 and system.get("subtype") == "Cartesian" and axes[0][0] == axes[1][0]:
        axes[0][0], axes[1][0] = "east", "north"
    return sorted(axes)
