"""A search at a pin as a value: what is asked for, checked once, and written in one way."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import orjson

from catalog import cql, free_text, query_area, query_time
from catalog.cql_values import path_of
from catalog.quoting import brief
from versioning.errors import InvalidInput

__all__ = ["Direction", "Query", "SortField"]

Direction = Literal["asc", "desc"]
SortField = tuple[str, Direction]

_DIRECTIONS: dict[str, Direction] = {"asc": "asc", "ascending": "asc", "desc": "desc", "descending": "desc"}
_MOST_IDS = 10_000
_MOST_FIELDS = 16
_LONGEST_NAME = 200
_NOT_SORTABLE = frozenset({"", "properties", "geometry", "bbox", "links", "assets"})


@dataclass(frozen=True)
class Query:
    """What a search asks for. Make one with :meth:`parse`; every part that is None asks for nothing.

    ``bbox`` is west, south, east, north; ``datetime`` an RFC 3339 instant or interval; ``filter`` CQL2 JSON; ``sortby``
    field names with ``asc`` or ``desc``.
    """

    ids: tuple[str, ...] | None = None
    bbox: query_area.Box | None = None
    intersects: dict[str, Any] | None = None
    datetime: str | None = None
    filter: dict[str, Any] | bool | None = None
    sortby: tuple[SortField, ...] = ()

    @classmethod
    def parse(
        cls,
        *,
        ids: str | Sequence[str] | None = None,
        bbox: str | Sequence[object] | None = None,
        intersects: str | Mapping[str, Any] | None = None,
        datetime: query_time.TimeLike | Sequence[query_time.TimeLike] = None,
        filter: str | bool | Mapping[str, Any] | None = None,  # noqa: A002 - STAC's own name for it
        filter_lang: str | None = None,
        q: str | Sequence[str] | None = None,
        sortby: str | Sequence[str | Mapping[str, Any] | Sequence[str]] | None = None,
    ) -> Query:
        """Check what an API, a command line or a program asks for.

        Parameters
        ----------
        ids
            Item ids, or one text with commas between them. Ids that do not exist are simply not found.
        bbox
            4 or 6 numbers in degrees, or one text with commas; west > east crosses the antimeridian.
        intersects
            A GeoJSON geometry, or its text.
        datetime
            See :func:`catalog.query_time.parse_interval`.
        filter
            CQL2 as text or as JSON.
        filter_lang
            ``cql2-text`` or ``cql2-json``; None tells them apart by themselves.
        q
            Free text, see :func:`catalog.free_text.free_text_filter`; it becomes a part of ``filter``.
        sortby
            ``+field,-field``, a list of such fields, of ``{"field": …, "direction": …}``, or of pairs.

        Raises
        ------
        InvalidInput
            If any of it cannot be used; the text names the value, the reason and the way out.
        """
        if bbox is not None and intersects is not None:
            raise InvalidInput("bbox and intersects cannot be used together.", hint="Give one of them.")
        interval = None if datetime is None else query_time.parse_interval(datetime)
        return cls(
            ids=None if ids is None else _ids(ids),
            bbox=None if bbox is None else query_area.parse_bbox(bbox),
            intersects=None if intersects is None else query_area.parse_geometry(intersects),
            datetime=None if interval is None else query_time.interval_text(interval),
            filter=free_text.both_filters(
                None if filter is None else cql.parse_filter(filter, lang=filter_lang),
                None if q is None else free_text.free_text_filter(q),
            ),
            sortby=() if sortby is None else _sortby(sortby),
        )

    @cached_property
    def interval(self) -> query_time.Interval | None:
        """``datetime`` in microseconds since 1970, both ends inclusive."""
        return None if self.datetime is None else query_time.parse_interval(self.datetime)

    @cached_property
    def narrows(self) -> bool:
        """Whether anything but the order is asked for."""
        return any(part is not None for part in (self.ids, self.bbox, self.intersects, self.datetime, self.filter))

    def to_dict(self) -> dict[str, Any]:
        """The query as JSON, as a STAC API's POST search takes it; without what is not asked for."""
        plain: dict[str, Any] = {
            "ids": None if self.ids is None else list(self.ids),
            "bbox": None if self.bbox is None else list(self.bbox),
            "intersects": self.intersects,
            "datetime": self.datetime,
            "filter": self.filter,
            "filter-lang": None if self.filter is None else "cql2-json",
            "sortby": [{"field": field, "direction": direction} for field, direction in self.sortby] or None,
        }
        return {key: value for key, value in plain.items() if value is not None}

    @cached_property
    def digest(self) -> str:
        """Hex digits that differ between queries; for tokens and caches, not part of any format."""
        return hashlib.sha256(orjson.dumps(self.to_dict(), option=orjson.OPT_SORT_KEYS)).hexdigest()


def _ids(value: str | Sequence[str]) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else list(value)
    if not all(isinstance(part, str) and part.strip() for part in parts):
        raise InvalidInput(f"ids {brief(value)} cannot be used: an id is empty or not a text.", hint="Give item ids.")
    if len(parts) > _MOST_IDS:
        raise InvalidInput(f"{len(parts):,} ids are too many.", hint=f"Ask for at most {_MOST_IDS:,} at a time.")
    return tuple(sorted({_text(part.strip(), "ids") for part in parts}))


def _text(text: str, what: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{what} {text[:100]!a} is not Unicode text.") from error
    return text


def _sortby(value: str | Sequence[str | Mapping[str, Any] | Sequence[str]]) -> tuple[SortField, ...]:
    if isinstance(value, str):
        parts: list[object] = list(value.split(","))
    else:
        parts = [value] if isinstance(value, Mapping) else list(value)
    if len(parts) > _MOST_FIELDS:
        raise InvalidInput(f"sortby has {len(parts)} fields.", hint=f"Give at most {_MOST_FIELDS}.")
    return tuple(_sort_field(part) for part in parts)


def _sort_field(part: object) -> SortField:
    hint = "Write +field or -field, or {'field': …, 'direction': 'asc' or 'desc'}."
    if isinstance(part, str):
        text = part.strip()
        name, word = text.lstrip("+-"), "desc" if text.startswith("-") else "asc"
        if len(text) - len(name) > 1:
            raise InvalidInput(f"sortby {part[:_LONGEST_NAME]!r} cannot be used.", hint=hint)
    elif isinstance(part, Mapping):
        name, word = part.get("field"), part.get("direction", "asc")
        unknown = sorted(str(key) for key in part if key not in {"field", "direction"})
        if unknown:
            raise InvalidInput(f"sortby has the unknown key {unknown[0][:_LONGEST_NAME]!r}.", hint=hint)
    elif isinstance(part, Sequence) and len(part) == 2:  # noqa: PLR2004 - a pair
        name, word = part
    else:
        raise InvalidInput(f"sortby {brief(part)} cannot be used.", hint=hint)
    direction = _DIRECTIONS.get(word.strip().lower()) if isinstance(word, str) else None
    if not isinstance(name, str) or direction is None:
        raise InvalidInput(f"sortby {brief(part)} cannot be used.", hint=hint)
    field = cql.property_name(_text(name, "sortby"))
    if field in _NOT_SORTABLE or "" in path_of(field):
        raise InvalidInput(f"Items cannot be sorted by {name[:_LONGEST_NAME]!r}.", hint="Name a property.")
    return field, direction
