"""What a CRS is, told apart from how it is written: a code, or else its normal form. For rasters and vectors alike.

The identity of a CRS is a string such as ``EPSG:32618``, or a JSON object. It is what the raster digest (scheme
``r1:``) and the vector digest (scheme ``v1:``, as text: `crs_name`) hash, and what ``proj:code`` says. The CRS is read
by PROJ as pyproj has it, whatever it was written in (WKT 1 of GDAL or ESRI, WKT 2, PROJJSON, GeoKeys, a PROJ string, a
URN); then the first of these that applies is its identity:

1. **The table.** The code that ``catalog/crs_codes.txt`` has for the key of its normal form (`catalog.crs_normal`). A
   key is the first 16 hexadecimal digits of the sha256 of the form's canonical JSON (RFC 8785). The table is part of
   the format and frozen. It was made from the EPSG, OGC, ESRI and IAU_2015 codes of PROJ 9.5.1 (EPSG 11.022), with one
   code for each form: EPSG before OGC, ESRI and IAU_2015, valid before deprecated, then the highest number of projected
   CRSs of EPSG and the lowest of all others. So codes that differ by axis order, name or area of use only are one:
   OGC:CRS84 is EPSG:4326, EPSG:3044 is EPSG:25832, ESRI:102100 is EPSG:3857. What a file claims does not count here,
   and a code whose parameters differ from the file's is not believed.
2. **A claim that holds.** The code at the CRS's root, or at its source's if it is bound (TOWGS84), of those four
   authorities, if PROJ knows it and the CRS of that code has an equal normal form, or is equivalent in PROJ's own
   comparison but for axis order (it knows other names of datums), or has a form that differs only by a datum's name
   that PROJ does not know (such a name contradicts nothing: EPSG renames datums, and the writer may have a newer PROJ).
   If the table has a code for that CRS's form, it is that one. This serves codes that are newer than the table.
3. **What PROJ recognises.** Of the codes in the table that PROJ names as candidates for a CRS with a known datum (for
   ESRI's spellings of names), the first in the order of rule 1 that is equivalent in the same sense.
4. **The normal form** itself. In that of a compound CRS, each component is replaced by its own identity.

Data axes are x, y (east or longitude first) in every format that is read, so axis order is no part of a CRS. A third
axis is: EPSG:4979 is not EPSG:4326, since it says what the heights of a DEM mean; `catalog.vector_crs` has a rule of
its own for labels. A compound CRS is not its horizontal part. A bound CRS is its source, unless that has an unknown
datum.

What depends on PROJ's version: how text is read (names of datums above all), and rules 2 and 3, which serve what the
table has not. A CRS that the table has, in its usual spellings, keeps its identity whatever PROJ learns. rasterio and
pyogrio bring PROJ libraries of their own; what they read is handed to pyproj's, as PROJJSON or WKT, so that one
decides.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

import orjson
import rfc8785
from cachetools import LRUCache, cached

from catalog.crs_normal import normal_form, normal_key
from versioning.errors import InvalidInput

if TYPE_CHECKING:
    import pyproj
    from rasterio.crs import CRS

__all__ = ["crs_identity", "crs_name", "is_engineering", "parse_crs"]

_AUTHORITIES = ("EPSG", "OGC", "ESRI", "IAU_2015")
_CODES = Path(__file__).with_name("crs_codes.txt")
_LEAST_CONFIDENCE = 50  # PROJ's word for "same but for the datum's name" is 60; each candidate is compared anyway
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


def crs_identity(crs: CRS | pyproj.CRS) -> str | dict[str, Any]:
    """The identity of a CRS as this module's docstring defines it.

    Parameters
    ----------
    crs : rasterio.crs.CRS or pyproj.CRS
        Any CRS that is not empty.

    Returns
    -------
    str or dict
        ``AUTHORITY:CODE``, or the normal form.

    Raises
    ------
    InvalidInput
        If pyproj cannot read what rasterio has read.
    """
    name = crs_name(crs)
    return json.loads(name) if name.startswith("{") else name


def crs_name(crs: CRS | pyproj.CRS) -> str:
    """The identity as text: ``AUTHORITY:CODE``, or the canonical JSON (RFC 8785) of the normal form.

    Parameters
    ----------
    crs : rasterio.crs.CRS or pyproj.CRS
        Any CRS that is not empty.

    Raises
    ------
    InvalidInput
        As `crs_identity`.
    """
    if hasattr(crs, "to_json"):  # pyproj's; rasterio's has to_dict, and is not imported for the question
        return _name(cast("pyproj.CRS", crs).to_json(), "")
    theirs = cast("CRS", crs)
    return _name_of(theirs, theirs.to_wkt(version="WKT2_2019"))


# The files of a layer have one CRS, and its PROJJSON takes 0.15 ms for each of them.
@cached(LRUCache(256), key=lambda _, text: text, lock=Lock())
def _name_of(crs: CRS, text: str) -> str:
    return _name(orjson.dumps(crs.to_dict(projjson=True)).decode(), text)


def is_engineering(crs: CRS) -> bool:
    """Whether a CRS is that of a building or a plan, and no place on Earth."""
    return crs.to_wkt(version="WKT2_2019").startswith(("ENGCRS[", "ENGINEERINGCRS["))


@lru_cache(maxsize=256)
def _name(projjson: str, otherwise: str) -> str:
    identity = _identity(_read(projjson, otherwise))
    return identity if isinstance(identity, str) else rfc8785.dumps(identity).decode()


def _read(*definitions: str) -> pyproj.CRS:
    """The CRS by pyproj, from the first definition that its PROJ (often older than rasterio's) understands."""
    from pyproj import CRS
    from pyproj.exceptions import ProjError

    for definition in definitions:
        try:
            return CRS.from_user_input(definition)
        except (ProjError, ValueError, TypeError):
            continue
    raise InvalidInput(f"PROJ cannot read the CRS {definitions[-1][:200]!r}.", kind="unknown-crs")


def _identity(crs: pyproj.CRS) -> str | dict[str, Any]:
    while crs.is_bound and crs.source_crs is not None and _datum_is_known(crs):
        crs = crs.source_crs
    projjson = crs.to_json_dict()
    normal = normal_form(projjson)
    code = _table().get(normal_key(normal)) or _claim(crs, projjson, normal) or _recognised(crs, normal)
    if code is None and "components" in normal:
        return normal | {"components": [_identity(component) for component in crs.sub_crs_list]}
    return code or normal


@lru_cache(maxsize=1)
def _table() -> dict[str, str]:
    lines = _CODES.read_text("ascii").splitlines()
    return {line[:16]: line[17:] for line in lines if not line.startswith("#")}


@lru_cache(maxsize=1)
def _order() -> dict[str, int]:
    return {code: place for place, code in enumerate(_table().values())}


def _datum_is_known(crs: pyproj.CRS) -> bool:
    normal = normal_form(crs.to_json_dict())
    return normal.get("base", normal).get("datum", {}).get("name") != ""


def _claim(crs: pyproj.CRS, projjson: dict[str, Any], normal: dict[str, Any]) -> str | None:
    identifier = projjson.get("id") or {}
    authority, code = identifier.get("authority"), identifier.get("code")
    if authority == "IAU" and "version" in identifier:
        authority = f"IAU_{identifier['version']}"  # as PROJ's own look-up calls it
    return _checked(crs, normal, str(authority), str(code), claimed=True)


def _checked(
    crs: pyproj.CRS, normal: dict[str, Any], authority: str, code: str, *, claimed: bool = False
) -> str | None:
    """The table's code for the CRS of a code, or that code, if it is the same CRS; None if it is not."""
    from pyproj import CRS
    from pyproj.exceptions import ProjError

    if authority not in _AUTHORITIES:
        return None
    try:
        named = CRS.from_authority(authority, code)
    except ProjError:
        return None
    form = normal_form(named.to_json_dict())
    same = form == normal or crs.equals(named, ignore_axis_order=True)
    if not same and not (claimed and _only_renamed(crs, normal, form)):
        return None
    return _table().get(normal_key(form), f"{authority}:{code}")


def _only_renamed(crs: pyproj.CRS, normal: dict[str, Any], form: dict[str, Any]) -> bool:
    """Whether a CRS differs from a form by nothing but names of datums that PROJ does not know.

    Files have such names from newer PROJ libraries: rasterio's 9.7.1 gives EPSG:6050 to 6068 (Greenland), 5105 to 5130
    (Norway) and others names that pyproj's 9.5.1 has never heard of.
    """
    from pyproj.crs import Datum  # pyright: ignore[reportPrivateImportUsage]  # documented here
    from pyproj.exceptions import ProjError

    if "components" in normal and len(normal["components"]) == len(form.get("components", ())):
        parts = zip(crs.sub_crs_list, normal["components"], form["components"], strict=True)
        return all(one == other or _only_renamed(part, one, other) for part, one, other in parts)
    if crs.datum is None or _nameless(normal) != _nameless(form):
        return False
    try:
        Datum.from_name(crs.datum.name)
    except ProjError:
        return True
    return False


def _nameless(normal: dict[str, Any]) -> dict[str, Any]:
    if "base" in normal:
        return normal | {"base": _nameless(normal["base"])}
    return normal | {"datum": normal["datum"] | {"name": ""}} if "datum" in normal else normal


def _recognised(crs: pyproj.CRS, normal: dict[str, Any]) -> str | None:
    if not _datum_is_known(crs):
        return None
    found = {_checked(crs, normal, each.auth_name, each.code) for each in crs.list_authority(None, _LEAST_CONFIDENCE)}
    order = _order()
    return min((code for code in found if code in order), key=order.__getitem__, default=None)  # type: ignore[arg-type]
