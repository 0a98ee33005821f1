"""Tokens that name a place among versions: not by a count, so that versions may come and go between two pages."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from versioning.errors import InvalidInput

__all__ = ["Keys", "Place"]

# What a version is sorted by, one key a field: (0, number), (1, text), (1, text, number) or (2,) for nothing.
Keys = tuple[tuple[Any, ...], ...]

_LONGEST = 12_000
# Of a text so much goes into a token: enough to find a place where the version itself is gone.
_LONGEST_TEXT = 100
_HINT = "Take it from a next or prev link of the same search, or start again without it."
_NUMBER, _TEXT, _NOTHING = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Place:
    """Before or after a version, given by its dataset and number and by what it was sorted by."""

    direction: Literal["next", "prev"]
    name: tuple[str, int]
    keys: Keys

    def encode(self, search: str) -> str:
        """The place as opaque text that belongs to one search."""
        keys = [[part[:_LONGEST_TEXT] if isinstance(part, str) else part for part in key] for key in self.keys]
        data = orjson.dumps([self.direction, self.name, keys, _short(search)])
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str, search: str, *, fields: int) -> Place:
        """Read a token; whoever made it, what it holds can be compared with the keys of versions.

        Raises
        ------
        InvalidInput
            If it is not a token, or belongs to another search.
        """
        parts: object = None
        if len(text) <= _LONGEST and text.isascii():
            try:
                parts = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
            except (binascii.Error, orjson.JSONDecodeError):
                parts = None
        match parts:
            case ["next" | "prev" as direction, [str(dataset), int(number)], [*keys], str(owner)]:
                if owner != _short(search):
                    raise InvalidInput("The paging token belongs to another search.", hint=_HINT, kind="invalid-token")
                if len(keys) == fields and all(_is_key(key) for key in keys):
                    return cls(direction, (dataset, number), tuple(tuple(key) for key in keys))
        # Without what was given: people take the parameter for that of their access token.
        raise InvalidInput("What was given as token is not a paging token.", hint=_HINT, kind="invalid-token")


def _short(search: str) -> str:
    return hashlib.sha256(search.encode()).hexdigest()[:16]


def _is_key(key: object) -> bool:
    match key:
        case [kind, int() | float()]:
            return kind == _NUMBER
        case [kind, str()] | [kind, str(), int()]:
            return kind == _TEXT
        case [kind]:
            return kind == _NOTHING
        case _:
            return False
