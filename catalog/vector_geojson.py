"""GeoJSON (RFC 7946, and the ``crs`` member of its 2008 predecessor) as a stream of checked features.

The text is decoded feature by feature, so memory does not grow with the file. GDAL's reader is not used: it closes open
rings, drops what it does not understand and guesses types, where labels want an error that names the feature.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from catalog.vector_shapes import ValueRefused
from versioning.errors import InvalidInput

__all__ = ["find_crs_member", "iter_geojson", "strict_json"]

_CHUNK = 1 << 20
_MAX_FEATURE = 1 << 28
_SPACE = re.compile(r"[ \t\n\r]*")
_INFINITE = float("inf")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueRefused(f"the key {twice[:60]!r} stands twice in one object")
    return found


def _constant(text: str) -> Any:
    raise ValueRefused(f"{text} is no JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant)


def strict_json(text: str) -> Any:
    """Decode JSON without NaN, infinities or duplicate keys; raises ValueError or RecursionError."""
    return _DECODER.decode(text)


class _Text:
    """A window on the file's text that grows only as far as one value needs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stream = path.open("rb")
        self.decode = codecs.getincrementaldecoder("utf-8-sig")()
        self.buffer = ""
        self.at = 0
        self.ended = False

    def more(self) -> bool:
        if self.ended:
            return False
        # doubling keeps the repeated attempts at one long value linear in its length
        raw = self.stream.read(max(_CHUNK, len(self.buffer) - self.at))
        self.ended = not raw
        try:
            self.buffer = self.buffer[self.at :] + self.decode.decode(raw, final=self.ended)
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{self.path}: not UTF-8 text ({error.reason}).", kind="not-geojson") from error
        self.at = 0
        return not self.ended

    def peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            self.at = _SPACE.match(self.buffer, self.at).end()  # type: ignore[union-attr]  # it always matches
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if not self.more():
                return ""

    def take(self, expected: str, what: str) -> str:
        found = self.peek()
        if not found:
            raise InvalidInput(f"{self.path}: ends before {what}: the file is truncated.", kind="truncated")
        if found not in expected:
            raise InvalidInput(f"{self.path}: {found!r} where {what} should stand: not GeoJSON.", kind="not-geojson")
        self.at += 1
        return found

    def value(self, what: str) -> Any:
        self.peek()
        while True:
            # near the end of the window a number could be cut in two and still decode
            start = self.at
            try:
                value, end = _DECODER.raw_decode(self.buffer, start)
                if end < len(self.buffer) or not self.more():
                    self.at = end - (start - self.at)
                    return value
            except ValueRefused as error:
                raise InvalidInput(f"{self.path}: {what}: {error}.") from error
            except RecursionError as error:
                raise InvalidInput(f"{self.path}: {what}: nested too deeply.") from error
            except ValueError as error:
                if len(self.buffer) - self.at > _MAX_FEATURE:
                    limit = f"{_MAX_FEATURE >> 20} Mi characters"
                    raise InvalidInput(f"{self.path}: {what}: one value is longer than {limit}.") from error
                if not self.more():
                    at = getattr(error, "pos", len(self.buffer))
                    if at >= len(self.buffer) - 1 or "Unterminated" in str(error):
                        raise InvalidInput(f"{self.path}: truncated in {what}.", kind="truncated") from error
                    message = f"{self.path}: {what}: not JSON ({getattr(error, 'msg', error)})."
                    raise InvalidInput(message, kind="not-geojson") from error


def _walk(path: Path, *, skip_features: bool) -> Iterator[tuple[str, Any]]:
    """The members of the top object, ``features`` one by one as ("feature", value)."""
    text = _Text(path)
    with text.stream:
        text.take("{", "the opening brace of a GeoJSON object")
        seen: set[str] = set()
        while text.peek() != "}" or seen:
            key = text.value("the next key")
            if not isinstance(key, str):
                raise InvalidInput(f"{path}: {key!r:.40} where a key should stand: not GeoJSON.", kind="not-geojson")
            if key in seen:
                raise InvalidInput(f"{path}: the key {key[:60]!r} stands twice in one object.")
            seen.add(key)
            text.take(":", f"the value of {key[:60]!r}")
            if key == "features" and text.peek() == "[":
                text.take("[", "the features")
                number = 0
                while text.peek() != "]" or number:
                    feature = text.value(f"feature {number}")
                    number += 1
                    if not skip_features:
                        yield "feature", feature
                    if text.take(",]", f"the end of feature {number - 1}") == "]":
                        break
                else:
                    text.take("]", "the end of the features")
                yield "features", None
            else:
                yield key, text.value(f"the member {key[:60]!r}")
            if text.take(",}", "the end of the object") == "}":
                break
        else:
            text.take("}", "the end of the object")
        if text.peek():
            raise InvalidInput(f"{path}: text after the end of the JSON object.", kind="not-geojson")


def find_crs_member(path: Path) -> tuple[bool, Any]:
    """Whether the file has a ``crs`` member at its top, and its value; wherever it stands."""
    if not _may_contain(path, (b'"crs"', b"\\u00")):  # a key may be spelt with escapes
        return False, None
    for key, value in _walk(path, skip_features=True):
        if key == "crs":
            return True, value
    return False, None


def _may_contain(path: Path, words: tuple[bytes, ...]) -> bool:
    """A look at the bytes costs a hundredth of decoding them, and most files have no such member."""
    kept = max(map(len, words))
    end = b""
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            window = end + chunk
            if any(word in window for word in words):
                return True
            end = window[-kept:]
    if not end:
        raise InvalidInput(f"{path}: the file is empty.", kind="truncated")
    return False


def iter_geojson(path: Path) -> Iterator[tuple[Any, dict[str, Any], Any]]:
    """Yield ``(id, properties, geometry as decoded JSON)`` of each feature of a FeatureCollection or a Feature.

    Foreign members are not read. Raises InvalidInput for anything that is not GeoJSON, at the latest at its end.
    """
    top: dict[str, Any] = {}
    listed = False
    number = 0
    for key, value in _walk(path, skip_features=False):
        if key == "feature":
            yield _feature(path, number, value)
            number += 1
        elif key == "features":
            listed = True
            if value is not None:
                raise InvalidInput(f"{path}: its features are no list: not GeoJSON.", kind="not-geojson")
        else:
            top[key] = value
    kind = top.get("type")
    if kind == "Feature" and not listed:
        yield _feature(path, 0, top)
    elif kind != "FeatureCollection" or not listed:
        message = f"{path}: JSON, but no GeoJSON FeatureCollection (its type is {kind!r:.40})."
        raise InvalidInput(message, hint="Write labels as a FeatureCollection (RFC 7946).", kind="not-geojson")


def _feature(path: Path, number: int, value: Any) -> tuple[Any, dict[str, Any], Any]:
    if not isinstance(value, dict) or value.get("type") != "Feature":
        raise InvalidInput(f"{path}: feature {number} is no GeoJSON Feature.", kind="not-geojson")
    properties = value.get("properties")
    identity = value.get("id")
    if properties is not None and not isinstance(properties, dict):
        raise InvalidInput(f"{path}: feature {number}: its properties are no object.")
    if properties and (_INFINITE in properties.values() or -_INFINITE in properties.values()):
        raise InvalidInput(f"{path}: feature {number}: a property's number is too large.")
    if isinstance(identity, (bool, dict, list)):
        raise InvalidInput(f"{path}: feature {number}: its id is neither text nor number.")
    return identity, properties or {}, value.get("geometry")
