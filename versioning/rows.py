"""Item rows: what the version store keeps of one STAC Item, and the digests that it goes by.

The stored item is the STAC Item without ``links`` and ``collection``, with asset hrefs relative to the catalog
(``objects/ab/…``), or absolute for assets that are referenced in place. It is kept as its exact canonical JSON; the
other columns of a row are drawn from it, for pruning and for reading asset sets without parsing JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from versioning.canonical import canonical, canonical_form, parse
from versioning.digests import multihash, parse_multihash, sha256
from versioning.errors import InvalidInput
from versioning.ids import check_item_id

if TYPE_CHECKING:
    import shapely

__all__ = [
    "AssetRef",
    "Row",
    "content_digest",
    "item_bbox",
    "item_interval",
    "make_row",
    "make_rows",
    "micros_text",
    "object_path",
    "parse_item",
    "reuse_hint",
]

BBox = tuple[float, float, float, float]

_OBJECT = re.compile(r"objects/(?P<shard>[0-9a-f]{2})/(?P<digest>[0-9a-f]{64})(?P<extension>(?:\.[a-z0-9]{1,12})?)")
_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*://[^\s]+", re.IGNORECASE)
_PIN_DIGEST = re.compile(r"[a-z][a-z0-9]*:[0-9a-f]{64}")
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,12}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_TIME_HINT = "Write it as RFC 3339 with a zone, e.g. 2024-05-01T10:30:00Z."
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Microseconds of 0001-01-01 and of the end of 9999: what RFC 3339 can write, in UTC.
_TIMES = (-62_135_596_800_000_000, 253_402_300_799_999_999)
_GEOMETRIES = frozenset(
    {"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection"}
)
# Sizes and their sums stay exact in JSON and in 64 bits; the largest object of any store has 190.7 TiB.
_LARGEST = 2**48
# How many geometries are read by one call.
_TOGETHER = 256
_BBOX_SIZES = {4: (0, 1, 2, 3), 6: (0, 1, 3, 4)}

# What does not decide a change: accidents of writing (times, encodings of the CRS that PROJ versions word
# differently) and what follows from the pixels anyway.
_NOT_CONTENT = frozenset({"created", "updated", "proj:wkt2", "proj:projjson", "statistics", "raster:histogram"})
_NOT_CONTENT_KEYS = tuple(f'"{name}":'.encode() for name in sorted(_NOT_CONTENT))
_BYTES_OF_ASSET = frozenset({"href", "file:checksum", "file:size"})


class AssetRef(NamedTuple):
    """One asset of an item: where its bytes are and what they must be.

    A tuple, since asset sets have millions: a frozen dataclass takes three times as long to make.
    """

    key: str
    href: str
    sha256: bytes
    size: int

    @property
    def stored(self) -> bool:
        """Whether the bytes are an object of the catalog (else they are referenced in place)."""
        return self.href.startswith("objects/")


@dataclass(frozen=True, slots=True)
class Row:
    """One item of a version: what a version stores of it, and what prunes it.

    Times are microseconds since 1970 in UTC; ``geometry`` is WKB in 2D; ``bbox`` covers the item's box and geometry.
    ``reuse`` has a hint for each asset (:func:`reuse_hint`), None where the file was written without.
    """

    id: str
    digest: bytes
    content_digest: bytes
    bbox: BBox | None
    geometry: bytes | None
    start: int | None
    end: int | None
    assets: tuple[AssetRef, ...]
    item: bytes
    reuse: tuple[int, ...] | None = field(default=None, compare=False)

    def parse(self) -> dict[str, Any]:
        """The item as a new dict."""
        return parse(self.item)


def make_row(item: Mapping[str, Any]) -> Row:
    """Turn a STAC Item (a mapping) into the row that a version stores of it.

    Raises
    ------
    InvalidInput
        If the id, the geometry, the box, the times or an asset is not what the format takes; it names item and value.
    """
    return next(make_rows([item]))


def make_rows(items: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    """The rows of many items, in order, as :func:`make_row` makes them; geometries are read some hundreds at a time.

    Raises
    ------
    InvalidInput
        Like :func:`make_row`; rows before the item at fault may not have been given yet.
    """
    drafts: list[_Draft] = []
    for item in items:
        drafts.append(_draft(item))
        if len(drafts) == _TOGETHER:
            yield from _finished(drafts)
            drafts = []
    yield from _finished(drafts)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A row but for its geometry, of which ``shape`` is the GeoJSON."""

    row: Row
    box: BBox | None
    shape: Any


def _draft(item: Mapping[str, Any]) -> _Draft:
    item_id = check_item_id(item.get("id"))
    where = f"item {item_id}"
    if item.get("type") != "Feature" or not isinstance(item.get("properties"), Mapping):
        raise InvalidInput(f"{where} is not a STAC Item.", hint="type must be 'Feature' and properties an object.")
    stored = {key: value for key, value in item.items() if key not in {"links", "collection"}}
    data, simple = canonical_form(stored, where=where)
    plain = parse(data)
    assets = _assets(plain, where)
    start, end = item_interval(plain)
    row = Row(
        id=item_id,
        digest=sha256(data),
        content_digest=_content_digest(plain, data if simple else None),
        bbox=None,
        geometry=None,
        start=start,
        end=end,
        assets=assets,
        item=data,
        reuse=tuple(reuse_hint(key, plain["assets"][key]) for key in sorted(plain["assets"])),
    )
    geometry = plain.get("geometry")
    if geometry is not None and (not isinstance(geometry, Mapping) or geometry.get("type") not in _GEOMETRIES):
        raise InvalidInput(f"{where} has a geometry that is not one of GeoJSON's seven types.")
    return _Draft(row, item_bbox(plain), geometry)


def _finished(drafts: Sequence[_Draft]) -> Iterator[Row]:
    """Rows with their geometries. One call for many: shapely takes 60 µs for each call, and 5 for a box in it."""
    import shapely  # whoever only reads rows need not wait for it: 0.05 s

    texts = [None if draft.shape is None else orjson.dumps(draft.shape) for draft in drafts]
    try:
        shapes = shapely.from_geojson(texts)
    except (shapely.errors.GEOSException, TypeError, ValueError):
        shapes = [_shape(text, draft.row.id) for draft, text in zip(drafts, texts, strict=True)]
    empty = shapely.is_empty(shapes)
    # Two dimensions, little-endian: the column prunes, the JSON keeps heights. GeoParquet wants ISO WKB, which differs
    # from shapely's default as soon as there is a Z; a position without height among others with one became NaN.
    binaries = shapely.to_wkb(shapes, output_dimension=2, byte_order=1)
    for draft, binary, bounds, nothing in zip(drafts, binaries, shapely.bounds(shapes).tolist(), empty, strict=True):
        if draft.shape is None:
            yield replace(draft.row, bbox=draft.box)
            continue
        if nothing:
            raise InvalidInput(
                f"item {draft.row.id} has an empty geometry.", hint="Use null where an item has no place."
            )
        yield replace(draft.row, geometry=binary, bbox=_cover(draft.box, bounds))


def parse_item(data: bytes) -> Row:
    """The row of an item's canonical JSON, as :func:`make_row` makes it; for verification."""
    return make_row(parse(data))


def content_digest(item: Mapping[str, Any]) -> bytes:
    """What counts as a change of an item, as 32 bytes.

    The sha256 of the canonical JSON of the same item with each asset's checksum, size and href replaced by its
    ``pin:digest`` (``b1:`` and the checksum's digits where it has none), and without ``created``, ``updated``, WKT and
    PROJJSON texts and statistics, at any depth.
    """
    return _content_digest(item, None)


def _content_digest(item: Mapping[str, Any], data: bytes | None) -> bytes:
    """``data`` is the canonical JSON that the item was parsed from, if orjson writes it as RFC 8785 does."""
    # What is not content is rare but for items from outside, and looking for it member by member took as long as all
    # other work on a row. A key stands in canonical JSON just so; in a string its quotes would be escaped.
    plain = data is not None and not any(name in data for name in _NOT_CONTENT_KEYS)
    content_of = _itself if plain else _content
    content = content_of({key: value for key, value in item.items() if key not in {"links", "collection", "assets"}})
    assets = item.get("assets") or {}
    content["assets"] = {key: _asset_content(asset, content_of) for key, asset in assets.items()}
    if data is not None:
        return sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS))
    return sha256(canonical(content, where=f"item {item.get('id')}"))


def _itself(value: dict[str, Any]) -> dict[str, Any]:
    return value


def _asset_content(asset: Mapping[str, Any], content_of: Callable[[Any], Any]) -> dict[str, Any]:
    kept = content_of({key: value for key, value in asset.items() if key not in _BYTES_OF_ASSET})
    if "pin:digest" not in kept:
        kept["pin:digest"] = f"b1:{parse_multihash(asset.get('file:checksum')).hex()}"
    return kept


def _content(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is float or kind is int:
        return value
    if kind is dict or (kind is not list and isinstance(value, Mapping)):
        return {key: _content(member) for key, member in value.items() if key not in _NOT_CONTENT}
    if isinstance(value, list | tuple):
        return [_content(member) for member in value]
    return value


def reuse_hint(key: str, asset: Mapping[str, Any]) -> int:
    """Two hashes of an asset in a signed 64-bit integer: of its content, and of what stays if the content does.

    The upper 32 bits are of sha256(key, ``pin:digest``), 0 without one; the lower of sha256(href, checksum, size,
    ``pin:source``). So a commit knows, without parsing the parent's item, that nothing of an asset has to be kept: no
    asset of the parent's has these upper bits with other lower ones.
    """
    content = asset.get("pin:digest")
    upper = sha256(f"{key}\n{content}".encode())[:4] if content is not None else bytes(4)
    source = asset.get("pin:source")
    lineage = b"" if source is None else canonical(source)
    kept = f"{asset.get('href')}\n{asset.get('file:checksum')}\n{asset.get('file:size')}\n".encode()
    return int.from_bytes(upper + sha256(kept, lineage)[:4], "big", signed=True)


def item_bbox(item: Mapping[str, Any]) -> BBox | None:
    """An item's box as west, south, east, north (heights are dropped), or None if it has none.

    Raises
    ------
    InvalidInput
        If it is not four or six finite numbers in order; west of 180° may exceed east across the antimeridian.
    """
    bbox = item.get("bbox")
    if bbox is None:
        if item.get("geometry") is not None:
            raise InvalidInput(f"item {item.get('id')} has a geometry but no bbox.", hint="STAC requires both.")
        return None
    numbers = isinstance(bbox, list | tuple) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) for value in bbox
    )
    if not numbers or len(bbox) not in _BBOX_SIZES:
        raise InvalidInput(f"item {item.get('id')} has the bbox {bbox!r}.", hint="It must be 4 or 6 finite numbers.")
    west, south, east, north = (float(bbox[index]) for index in _BBOX_SIZES[len(bbox)])
    if south > north:
        raise InvalidInput(f"item {item.get('id')} has a bbox whose south {south} is above its north {north}.")
    return (west, south, east, north)


def item_interval(item: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """An item's time range in microseconds since 1970: of ``start_datetime`` and ``end_datetime``, else ``datetime``.

    The start is rounded down and the end up where an item is finer than a microsecond.

    Raises
    ------
    InvalidInput
        If an item has no time, or one that is not RFC 3339, or an end before its start.
    """
    properties = item["properties"]
    where = f"item {item.get('id')}"
    start, end = properties.get("start_datetime"), properties.get("end_datetime")
    if start is None or end is None:
        start = end = properties.get("datetime")
    if start is None or end is None:
        raise InvalidInput(
            f"{where} has no datetime.", hint="Give it datetime, or both start_datetime and end_datetime."
        )
    first, last = _micros(start, where, up=False), _micros(end, where, up=True)
    if first > last:
        raise InvalidInput(f"{where} ends ({end}) before it starts ({start}).")
    return first, last


def micros_text(micros: int) -> str:
    """RFC 3339 in UTC of microseconds since 1970, with a fraction only where there is one."""
    moment = _EPOCH + timedelta(microseconds=micros)
    return moment.isoformat().replace("+00:00", "Z")


def _micros(text: object, where: str, *, up: bool) -> int:
    if not isinstance(text, str):
        raise InvalidInput(f"{where} has the time {text!r}.", hint=_TIME_HINT)
    try:
        # Items of one day or scene have few times; a text that is refused is not remembered.
        return _micros_of(text, up)
    except InvalidInput as error:
        raise InvalidInput(f"{where} {error.message}", hint=error.hint) from error.__cause__


@lru_cache(4096)
def _micros_of(text: str, up: bool) -> int:  # noqa: FBT001 - positional, for the cache
    match = _TIME.fullmatch(text)
    if match is None:
        raise InvalidInput(f"has the time {text!r}.", hint=_TIME_HINT)
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction = (match[7] or "").ljust(12, "0")
    zone = match[8]
    # A leap second (60) counts as the first second of the next minute; nothing else exceeds 59.
    leap = 1 if second == 60 else 0  # noqa: PLR2004 - RFC 3339, section 5.7
    try:
        moment = datetime(year, month, day, hour, minute, second - leap, tzinfo=UTC)
        micros = (moment - _EPOCH) // timedelta(microseconds=1) + int(fraction[:6]) + 1_000_000 * leap
        if zone not in "Zz":
            offset = time(int(zone[1:3]), int(zone[4:6]))
            micros -= (1 if zone[0] == "+" else -1) * (60 * offset.hour + offset.minute) * 60_000_000
    except ValueError as error:
        raise InvalidInput(f"has the time {text!r}: {error}.") from error
    if up and fraction[6:].strip("0"):
        micros += 1
    if not _TIMES[0] <= micros <= _TIMES[1]:
        raise InvalidInput(f"has the time {text!r}, which is outside the years 1 to 9999 in UTC.")
    return micros


def _shape(text: bytes | None, item_id: str) -> shapely.Geometry | None:
    import shapely

    try:
        return shapely.from_geojson(text)
    except (shapely.errors.GEOSException, TypeError, ValueError) as error:
        raise InvalidInput(f"item {item_id} has a geometry that cannot be read: {error}.") from error


def _cover(box: BBox | None, bounds: Sequence[float]) -> BBox | None:
    """The box that prunes: the item's, widened to its geometry.

    Searches go by geometries, and those of real items stick out of their boxes (USGS's Landsat scenes in Greenland by
    up to 0.06 degrees). A box with west > east keeps its longitudes: readers look at the geometry of such rows anyway.
    """
    if box is None:
        return box
    west, south, east, north = box
    left, bottom, right, top = bounds
    if west <= east:
        west, east = min(west, left), max(east, right)
    return (west, min(south, bottom), east, max(north, top))


def _assets(item: Mapping[str, Any], where: str) -> tuple[AssetRef, ...]:
    assets = item.get("assets")
    if not isinstance(assets, Mapping):
        raise InvalidInput(f"{where} has no assets.", hint="A STAC Item's assets are an object, which may be empty.")
    return tuple(_asset(key, assets[key], f"asset {key!r} of {where}") for key in sorted(assets))


def _asset(key: str, asset: object, where: str) -> AssetRef:
    if not isinstance(asset, Mapping):
        raise InvalidInput(f"{where} is not an object.")
    size, href = asset.get("file:size"), asset.get("href")
    try:
        digest = parse_multihash(asset.get("file:checksum"))
    except InvalidInput as error:
        raise InvalidInput(f"{where} has no usable file:checksum: {error.message}", hint=error.hint) from error
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < _LARGEST:
        raise InvalidInput(f"{where} has the file:size {size!r}.", hint="It must be the number of bytes.")
    if "pin:digest" in asset and not _PIN_DIGEST.fullmatch(str(asset["pin:digest"])):
        raise InvalidInput(f"{where} has the pin:digest {asset['pin:digest']!r}.", hint="It is a scheme, ':' and hex.")
    if not isinstance(href, str):
        raise InvalidInput(f"{where} has no href.")
    match = _OBJECT.fullmatch(href)
    if match is not None:
        if match["digest"] != digest.hex() or match["shard"] != match["digest"][:2]:
            raise InvalidInput(f"{where} has the href {href}, which is not where {multihash(digest)} lies.")
    elif not _ABSOLUTE.fullmatch(href):
        raise InvalidInput(
            f"{where} has the href {href!r}.", hint="Store the file as an object first, or give an absolute URL."
        )
    return AssetRef(key=key, href=href, sha256=digest, size=size)


def object_path(digest: bytes, extension: str = "") -> str:
    """Where an object lies in a catalog: ``objects/ab/abcdef….tif``. The extension has its dot, or is empty."""
    path = f"objects/{digest[:1].hex()}/{digest.hex()}{extension}"
    if not _OBJECT.fullmatch(path):
        raise InvalidInput(f"{extension!r} cannot be an object's extension.", hint="Use a dot and letters or digits.")
    return path
