"""Who reads, and which datasets that person or program may see: ``read:landcover``, ``read:land*``, ``read:*``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from versioning.errors import InvalidInput

__all__ = ["ANONYMOUS", "Reader", "check_pattern", "check_scope", "patterns_of"]

ANONYMOUS = "anonymous"
_READ = "read:"
# A dataset's id, or its beginning with a star; no star elsewhere, so that a scope is read at a glance.
_PATTERN = re.compile(r"\*|[a-z0-9](?:[a-z0-9_]|-(?!-)){0,99}\*?")


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks. ``by`` is what proved it; ``patterns`` are the datasets that may be seen, public ones among them."""

    user: str
    by: Literal["token", "oidc"] | None
    patterns: tuple[str, ...]

    def may(self, dataset_id: str) -> bool:
        """Whether a dataset of that name could be seen, whether or not there is one."""
        return any(_fits(pattern, dataset_id) for pattern in self.patterns)


def check_pattern(text: str) -> str:
    """Return ``text`` if it names datasets.

    Raises
    ------
    InvalidInput
        If it is neither a dataset's id, nor the beginning of one with ``*`` after it, nor ``*``.
    """
    if not _PATTERN.fullmatch(text):
        raise InvalidInput(f"{text!r} names no datasets.", hint="Write landcover, land* or *.", kind="invalid-scope")
    return text


def check_scope(text: str) -> str:
    """Return ``text`` if it is a scope.

    Raises
    ------
    InvalidInput
        If it is not ``read:`` and datasets.
    """
    if not text.startswith(_READ):
        raise InvalidInput(
            f"{text!r} is not a scope.", hint="Write read:landcover, read:land* or read:*.", kind="invalid-scope"
        )
    check_pattern(text.removeprefix(_READ))
    return text


def patterns_of(scopes: Iterable[str]) -> tuple[str, ...]:
    """The datasets that scopes name. Other scopes are other services' business: a JWT has ``openid`` and the like."""
    found = (scope.removeprefix(_READ) for scope in scopes if scope.startswith(_READ))
    return tuple(pattern for pattern in found if _PATTERN.fullmatch(pattern))


def _fits(pattern: str, dataset_id: str) -> bool:
    return dataset_id.startswith(pattern[:-1]) if pattern.endswith("*") else dataset_id == pattern
