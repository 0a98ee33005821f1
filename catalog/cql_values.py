"""Values in a CQL2 filter, read as pgstac reads them: as text or as a number, with None for SQL's NULL.

pgstac compares a property as a number where a number stands beside it, as a time beside ``datetime``, and as text
otherwise (``cql2_query`` of pgstac 0.10). Doing the same here lets both backends give the same answers.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from catalog.query_time import parse_day, parse_instant

__all__ = [
    "SortKey",
    "array_of",
    "like_escaped",
    "like_matcher",
    "member",
    "number_of",
    "path_of",
    "sort_key",
    "text_of",
    "time_of",
    "unaccented",
]

SortKey = tuple[int] | tuple[int, float] | tuple[int, str]

# Below it a double is one integer and no other.
_EXACT = 2**53
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*", re.ASCII)
_LONGEST_NUMBER = 400
# What stands at an item's root; every other name is a property (queryable_path_elements of pgstac 0.10).
_AT_ROOT = frozenset({"assets", "links", "bbox", "stac_version", "stac_extensions", "properties"})


def path_of(name: str) -> tuple[str, ...]:
    """Where the value of a property name is in an item: ``eo:cloud_cover``, ``properties.gsd``, ``proj.shape``."""
    steps = tuple(name.split("."))
    return steps if steps[0] in _AT_ROOT else ("properties", *steps)


def member(item: dict[str, Any], path: tuple[str, ...]) -> Any:
    """The value at a path, None where there is nothing."""
    value: Any = item
    for step in path:
        if type(value) is not dict:
            return None
        value = value.get(step)
    return value


def text_of(value: Any) -> str | None:
    """A JSON value as PostgreSQL writes it as text: 1, 0.0000001, true, ["a", "b"]."""
    if value is None or type(value) is str:
        return value
    return _json_text(value) if isinstance(value, list | dict) else _scalar_text(value)


def _scalar_text(value: bool | float) -> str:  # noqa: FBT001 - a JSON value, not a switch
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    # The shortest digits that say which number it is, as it stands in JSON: 1e23 and not 99999999999999991611392.
    return format(Decimal(repr(value)).normalize(), "f")


def _json_text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list):
        return "[" + ", ".join(_json_text(part) for part in value) + "]"
    if isinstance(value, dict):
        # jsonb keeps an object's keys by length, then by bytes.
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return "{" + ", ".join(f"{_quoted(key)}: {_json_text(value[key])}" for key in keys) + "}"
    return _scalar_text(value)


def _quoted(text: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(c) or (f"\\u{ord(c):04x}" if c < " " else c) for c in text) + '"'


def number_of(value: Any) -> float | None:
    """A JSON value as a number: also of a text that is one, and of the first member of an array."""
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        if len(value) > _LONGEST_NUMBER or not _NUMBER.fullmatch(value):
            return None
        return float(value)
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return None
    return None


def time_of(value: Any) -> int | None:
    """A JSON value as microseconds since 1970: an RFC 3339 time, or the first instant of a date."""
    if not isinstance(value, str):
        return None
    instant = parse_instant(value)
    return parse_day(value) if instant is None else instant


def array_of(value: Any) -> list[str | None] | None:
    """A JSON value as a list of texts; a single value is a list of one."""
    if value is None:
        return None
    return [text_of(part) for part in value] if isinstance(value, list) else [text_of(value)]


def sort_key(value: Any) -> SortKey:
    """What an answer is sorted by: numbers before texts, and nothing last, as NULL in PostgreSQL."""
    if value is None:
        return (2,)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (0, value)
    return (1, text_of(value) or "")


def unaccented(text: str) -> str:
    """The text without the marks of its letters: é becomes e."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def like_matcher(pattern: str) -> Callable[[str], bool]:
    """A test for SQL's LIKE: ``%`` is any text, ``_`` one character, a backslash takes the next one as it is.

    The pieces between ``%`` are looked for from left to right, each as early as it can be: that is enough, and takes
    time that grows with pattern times text, where a regular expression with many ``.*`` could take for ever.
    """
    pieces = [re.compile(piece, re.DOTALL) for piece in _pieces(pattern)]
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return lambda text: first.fullmatch(text) is not None
    between = pieces[1:-1]
    tail = _width(pattern)

    def test(text: str) -> bool:
        found = first.match(text)
        if found is None:
            return False
        place = found.end()
        for piece in between:
            found = piece.search(text, place)
            if found is None:
                return False
            place = found.end()
        return len(text) - tail >= place and last.fullmatch(text, len(text) - tail) is not None

    return test


def like_escaped(pattern: str) -> str:
    """A pattern of LIKE in one spelling: a backslash stands only before what needs one, and never alone at the end."""
    plain = {"%": "\\%", "_": "\\_", "\\": "\\\\"}
    return "".join(plain.get(c, c) if itself else c for c, itself in _tokens(pattern))


def _tokens(pattern: str) -> list[tuple[str, bool]]:
    """The characters of a pattern, each with whether it stands for itself."""
    tokens: list[tuple[str, bool]] = []
    escaped = False
    for character in pattern:
        if escaped or character != "\\":
            tokens.append((character, escaped or character not in "%_"))
            escaped = False
        else:
            escaped = True
    return tokens


def _pieces(pattern: str) -> list[str]:
    pieces = [""]
    for character, plain in _tokens(pattern):
        if plain:
            pieces[-1] += re.escape(character)
        elif character == "_":
            pieces[-1] += "."
        else:
            pieces.append("")
    return pieces


def _width(pattern: str) -> int:
    """How many characters the last piece of a pattern takes."""
    width = 0
    for character, plain in _tokens(pattern):
        width = 0 if character == "%" and not plain else width + 1
    return width
