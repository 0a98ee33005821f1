"""Which bands of an item a picture shows, by what the item says and what is asked: no file is opened for it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.pictures.drawing import load_libraries
from api.pictures.raster_files import is_raster
from versioning.errors import InvalidInput, NotFound

__all__ = ["Asked", "BandRef", "Plan", "has_picture", "make_plan"]

_RGB = ("red", "green", "blue")
_COLOURS = len(_RGB)
# Heights are drawn as relief. Words, since neither STAC nor a file says that numbers are heights.
_HEIGHTS = re.compile(r"(?:^|[^a-z])(?:elevation|dem|dsm|dtm|height|altitude|relief|topo)(?:[^a-z]|$)")
_GRID = ("proj:code", "proj:shape", "proj:transform")
_NUMBER = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_MOST_BANDS = 10_000
_NO_COLOURS = "A picture shows 1 band or 3."


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says of a picture; None where it says nothing."""

    asset: str | None = None
    bidx: str | None = None
    bands: str | None = None
    rescale: str | None = None
    colormap_name: str | None = None


@dataclass(frozen=True, slots=True)
class BandRef:
    """One band: the key of its asset and its number in it, from 1."""

    key: str
    number: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is drawn, and how.

    Attributes
    ----------
    bands
        One band, or red, green and blue.
    rescale
        For each band the values that become black and white; None takes them from the pixels.
    colormap_name
        A colour map of rio-tiler.
    relief
        Whether the one band is heights, to be drawn as shaded relief.
    classes
        Colours by value, as the classification extension gives them; empty if it does not.
    """

    bands: tuple[BandRef, ...]
    rescale: tuple[tuple[float, float], ...] | None = None
    colormap_name: str | None = None
    relief: bool = False
    classes: tuple[tuple[int, tuple[int, int, int, int]], ...] = ()


def has_picture(item: Mapping[str, Any]) -> bool:
    """Whether an item has anything that is drawn."""
    return any(is_raster(asset) for asset in item["assets"].values())


def make_plan(item: Mapping[str, Any], asked: Asked) -> Plan:
    """What the picture of an item shows.

    Unless told: an asset that is visual; the bands red, green and blue of one asset, or of several on the same grid;
    the first three of 3 or 4 bands of bytes; else the first band of the first raster.

    Raises
    ------
    NotFound
        If the item has no raster, or none of that key or band.
    InvalidInput
        If what is asked cannot be drawn.
    """
    rasters = {key: asset for key, asset in sorted(item["assets"].items()) if is_raster(asset)}
    if not rasters:
        raise NotFound(f"{item['id']} has no raster to draw.", hint="See its assets.", kind="no-picture")
    if asked.asset is not None:
        if asked.asset not in rasters:
            raise NotFound(
                f"{item['id']} has no raster {asked.asset[:100]!r}.",
                hint=f"It has: {', '.join(list(rasters)[:50])}.",
                kind="no-picture",
            )
        rasters = {asked.asset: rasters[asked.asset]}
    bands = _asked_bands(rasters, asked) or _best_bands(rasters)
    rescale = None if asked.rescale is None else _rescale(asked.rescale, len(bands))
    name = asked.colormap_name
    if name is not None:
        _check_colormap(name, len(bands))
    plain = len(bands) == 1 and rescale is None and name is None
    asset = rasters[bands[0].key]
    band = _bands(asset)[bands[0].number - 1]
    return Plan(
        bands,
        rescale,
        name,
        relief=plain and _is_height(bands[0].key, band),
        classes=_classes(asset, band) if plain else (),
    )


def _bands(asset: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What an asset says of its bands; one that says nothing has one of which nothing is known."""
    found = asset.get("bands")
    listed = [band if isinstance(band, Mapping) else {} for band in found] if isinstance(found, list) else []
    return listed or [{}]


def _names(band: Mapping[str, Any]) -> set[str]:
    return {str(band[key]).lower() for key in ("eo:common_name", "common_name", "name") if band.get(key)}


def _asked_bands(rasters: Mapping[str, Mapping[str, Any]], asked: Asked) -> tuple[BandRef, ...] | None:
    if asked.bidx is not None and asked.bands is not None:
        raise InvalidInput("bidx and bands cannot be used together.", hint="Give one of them.")
    if asked.bidx is not None:
        if len(rasters) > 1:
            raise InvalidInput("bidx does not say of which asset.", hint=f"Add asset: {', '.join(list(rasters)[:50])}.")
        ((key, asset),) = rasters.items()
        return _counted([_numbered(key, text, len(_bands(asset))) for text in asked.bidx.split(",")])
    if asked.bands is not None:
        return _counted([_named(rasters, name.strip()) for name in asked.bands.split(",", _COLOURS)])
    return None


def _counted(bands: list[BandRef]) -> tuple[BandRef, ...]:
    if len(bands) not in {1, _COLOURS}:
        raise InvalidInput(f"{len(bands)} bands cannot be drawn.", hint=_NO_COLOURS)
    return tuple(bands)


def _numbered(key: str, text: str, count: int) -> BandRef:
    text = text.strip()
    if not _NUMBER.fullmatch(text) or int(text) > min(count, _MOST_BANDS):
        raise InvalidInput(f"bidx {text[:50]!r} is no band of {key}.", hint=f"It has 1 to {count}.")
    return BandRef(key, int(text))


def _named(rasters: Mapping[str, Mapping[str, Any]], name: str) -> BandRef:
    for key, asset in rasters.items():
        for place, band in enumerate(_bands(asset)):
            if name and (band.get("name") == name or name.lower() in _names(band)):
                return BandRef(key, place + 1)
    known = sorted({str(band["name"]) for asset in rasters.values() for band in _bands(asset) if band.get("name")})
    raise InvalidInput(
        f"There is no band {name[:100]!r}.", hint=f"There are: {', '.join(known[:50]) or 'none by name'}."
    )


def _best_bands(rasters: Mapping[str, Mapping[str, Any]]) -> tuple[BandRef, ...]:
    for key, asset in rasters.items():
        if (key == "visual" or "visual" in (asset.get("roles") or ())) and len(_bands(asset)) >= _COLOURS:
            return tuple(BandRef(key, number) for number in (1, 2, 3))
    for key, asset in rasters.items():
        found = _colours({key: asset})
        if found is not None:
            return found
    found = _colours(rasters)
    if found is not None and len({repr([rasters[band.key].get(name) for name in _GRID]) for band in found}) == 1:
        return found
    for key, asset in rasters.items():
        if len(_bands(asset)) in {_COLOURS, _COLOURS + 1} and _is_bytes(asset):
            return tuple(BandRef(key, number) for number in (1, 2, 3))
    return (BandRef(next(iter(rasters)), 1),)


def _colours(rasters: Mapping[str, Mapping[str, Any]]) -> tuple[BandRef, ...] | None:
    found: dict[str, BandRef] = {}
    for key, asset in rasters.items():
        for place, band in enumerate(_bands(asset)):
            for name in _names(band) & set(_RGB):
                found.setdefault(name, BandRef(key, place + 1))
    return tuple(found[name] for name in _RGB) if len(found) == _COLOURS else None


def _is_bytes(asset: Mapping[str, Any]) -> bool:
    return all(band.get("data_type", asset.get("data_type")) == "uint8" for band in _bands(asset))


def _is_height(key: str, band: Mapping[str, Any]) -> bool:
    words = " ".join([key, *(str(band.get(name) or "") for name in ("name", "description"))])
    return _HEIGHTS.search(words.lower()) is not None


def _classes(asset: Mapping[str, Any], band: Mapping[str, Any]) -> tuple[tuple[int, tuple[int, int, int, int]], ...]:
    """The colours that the classification extension's ``color_hint`` gives; none unless every class has one."""
    listed = band.get("classification:classes", asset.get("classification:classes"))
    if not isinstance(listed, list) or not listed:
        return ()
    found = []
    for each in listed:
        value, hint = (each.get("value"), each.get("color_hint")) if isinstance(each, Mapping) else (None, None)
        if isinstance(value, bool) or not isinstance(value, int) or not isinstance(hint, str):
            return ()
        if not re.fullmatch(r"[0-9A-Fa-f]{6}", hint, re.ASCII):
            return ()
        red, green, blue = bytes.fromhex(hint)
        found.append((value, (red, green, blue, 255)))
    return tuple(found)


def _rescale(text: str, count: int) -> tuple[tuple[float, float], ...]:
    hint = "Write rescale=0,3000, or as many pairs as bands: rescale=0,3000,0,2500,0,2000."
    try:
        values = [float(part) for part in text.split(",", 2 * _COLOURS)]
    except ValueError as error:
        raise InvalidInput(f"rescale {text[:100]!r} is no list of numbers.", hint=hint) from error
    if len(values) not in {2, 2 * count} or not all(math.isfinite(value) for value in values):
        raise InvalidInput(f"rescale {text[:100]!r} cannot be used for {count} bands.", hint=hint)
    pairs = list(zip(values[::2], values[1::2], strict=True))
    if any(low >= high for low, high in pairs):
        raise InvalidInput(f"rescale {text[:100]!r} has a pair that does not rise.", hint=hint)
    return tuple(pairs * count if len(pairs) == 1 else pairs)


def _check_colormap(name: str, bands: int) -> None:
    load_libraries()
    from rio_tiler.colormap import cmap

    if bands != 1:
        raise InvalidInput("colormap_name is for one band.", hint="Choose it with asset, bidx or bands.")
    known: Sequence[str] = cmap.list()
    if name not in known:
        raise InvalidInput(f"There is no colour map {name[:50]!r}.", hint="Take one of matplotlib's, such as viridis.")
