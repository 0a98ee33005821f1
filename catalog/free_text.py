"""Free text (``q``) as a CQL2 filter, so that whatever evaluates filters answers it alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from catalog.quoting import brief
from versioning.errors import InvalidInput

__all__ = ["TEXT_FIELDS", "both_filters", "free_text_filter"]

TEXT_FIELDS = ("title", "description", "keywords")

# Each term is three comparisons of three operators, and a filter has at most 1,000.
_MOST_TERMS = 50
_LONGEST_TERM = 200
_HINT = "Write words or phrases with commas between them, such as: land cover,forest."


def free_text_filter(q: str | Sequence[str]) -> dict[str, Any]:
    """The filter that a free-text search means: any of its terms in a title, a description or the keywords.

    The STAC API's free-text extension (1.0.0-rc.1): case does not matter, commas in a text (or the members of a list)
    separate terms of which one is enough, and a blank is a character like any other, so ``land cover`` is one phrase.

    Parameters
    ----------
    q
        One text with commas between the terms, or a list of terms, in which a comma stands for itself.

    Raises
    ------
    InvalidInput
        If a term has no letter and no digit, or there are too many, or too long ones.
    """
    terms = _terms(q)
    if len(terms) > _MOST_TERMS:
        raise InvalidInput(f"q has {len(terms):,} terms.", hint=f"Give at most {_MOST_TERMS}.")
    return {"op": "or", "args": [_has(field, term) for term in terms for field in TEXT_FIELDS]}


def both_filters(
    one: Mapping[str, Any] | bool | None,  # noqa: FBT001 - TRUE and FALSE are filters
    other: Mapping[str, Any] | None,
) -> Any:
    """A filter that wants both; None asks for nothing."""
    if one is None or other is None:
        return other if one is None else one
    return {"op": "and", "args": [one, other]}


def _terms(q: str | Sequence[str]) -> list[str]:
    parts: list[object] = list(q.split(",")) if isinstance(q, str) else list(q)
    terms: list[str] = []
    for part in parts:
        if not isinstance(part, str) or not any(character.isalnum() for character in part):
            raise InvalidInput(f"q {brief(q)} has a term without a letter or a digit.", hint=_HINT)
        if len(part) > _LONGEST_TERM:
            raise InvalidInput(f"q has a term of {len(part):,} characters.", hint=f"Use at most {_LONGEST_TERM}.")
        terms.append(part.strip())
    if not terms:
        raise InvalidInput("q has no term.", hint=_HINT)
    return list(dict.fromkeys(terms))


def _has(field: str, term: str) -> dict[str, Any]:
    # A list of keywords is compared as the JSON that PostgreSQL writes of it, so what JSON escapes is escaped here.
    text = orjson.dumps(_unicode(term)).decode()[1:-1] if field == "keywords" else term
    pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    return {"op": "like", "args": [{"op": "casei", "args": [{"property": field}]}, {"op": "casei", "args": [pattern]}]}


def _unicode(term: str) -> str:
    try:
        term.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"q {term[:100]!a} is not Unicode text.", hint=_HINT) from error
    return term
