"""Queryables: what a filter and a sort can name, as JSON Schema, drawn from what datasets sum up."""

from __future__ import annotations

from typing import Any

import attr
from fastapi import Request
from fastapi.responses import Response
from stac_fastapi.extensions.filter.client import BaseFiltersClient

from api.backend import Backend
from api.pins import resolve, select
from api.responses import reply
from api.urls import Urls
from catalog.query_time import parse_instant
from versioning.version import Version

__all__ = ["QueryablesClient"]

_SCHEMA = "application/schema+json"
# No $ref to a schema elsewhere: STAC Browser follows it, and many catalogs live without internet.
_ALWAYS: dict[str, Any] = {
    "id": {"title": "Item id", "type": "string"},
    "collection": {"title": "Collection id, with its version", "type": "string"},
    "geometry": {"title": "Geometry", "format": "geometry-any"},
    "datetime": {"title": "Time", "type": "string", "format": "date-time"},
}

# Lists in items, though a set of their members is what summaries have of them: of the instrument fields, SAR and label.
_LISTS = frozenset({"instruments", "sar:polarizations", "label:properties", "label:tasks", "label:methods"})
_MOST_VALUES = 32
# Of a JSON Schema what says its type; a $ref would lead clients elsewhere.
_KEYWORDS = ("type", "format", "items", "enum", "minimum", "maximum")


@attr.s
class QueryablesClient(BaseFiltersClient):
    """What the routes of stac-fastapi's filter extension call."""

    backend: Backend = attr.ib(kw_only=True)

    def get_queryables(self, collection_id: str | None = None, *, request: Request, **_: Any) -> Response:  # pyright: ignore[reportIncompatibleMethodOverride] - an answer with headers, not only a dict
        """GET /queryables and GET /collections/{collection_id}/queryables."""
        urls = Urls.of(request)
        if collection_id is None:
            versions, here, location = select(self.backend, None, None).versions, urls.to("queryables"), None
        else:
            version = resolve(self.backend, collection_id)
            versions = (version,)
            here = urls.to("collections", version.collection_id, "queryables")
            location = None if collection_id == version.collection_id else here
        return reply(request, _schema(here, versions), media_type=_SCHEMA, location=location)


def _schema(here: str, versions: tuple[Version, ...]) -> dict[str, Any]:
    properties = dict(_ALWAYS)
    for version in versions:
        declared = version.record.collection.get("summaries")
        found = {**(declared if isinstance(declared, dict) else {}), **version.record.summaries}
        for name, summary in sorted(found.items()):
            properties.setdefault(name, _property(name, summary))
    return {
        "$schema": "https://json-schema.org/draft/2019-09/schema",
        "$id": here,
        "type": "object",
        "title": "Queryables",
        "description": "What filters can name. Other properties of items can be named too; where one is missing, a "
        "comparison does not match.",
        "properties": properties,
        "additionalProperties": True,
    }


def _property(name: str, summary: Any) -> dict[str, Any]:
    """The type that a summary's values have: STAC's summaries are sets of values, ranges, or JSON Schemas.

    A set does not tell whether items have one of its values or a list of them: but for lists that STAC itself defines,
    what it says is the type of the values.
    """
    described = {"title": name}
    if name in _LISTS and isinstance(summary, list):
        return described | {"type": "array", "items": _type(summary)}
    return described | _type(summary)


def _type(summary: Any) -> dict[str, Any]:
    described: dict[str, Any] = {}
    if isinstance(summary, dict):
        bounds = [summary.get("minimum"), summary.get("maximum")]
        if all(_is_number(bound) for bound in bounds):
            described["type"] = "number"
        elif all(_is_time(bound) for bound in bounds):
            described |= {"type": "string", "format": "date-time"}
        elif isinstance(summary.get("type"), str | list):
            described |= {key: summary[key] for key in _KEYWORDS if key in summary}
    elif isinstance(summary, list) and summary:
        if all(_is_time(value) for value in summary):
            described |= {"type": "string", "format": "date-time"}
        elif all(isinstance(value, str) for value in summary):
            described |= {"type": "string"} | ({"enum": summary} if len(summary) <= _MOST_VALUES else {})
        elif all(isinstance(value, bool) for value in summary):
            described["type"] = "boolean"
        elif all(_is_number(value) for value in summary):
            described["type"] = "number"
        elif all(isinstance(value, list | dict) for value in summary):
            described["type"] = "array" if isinstance(summary[0], list) else "object"
    return described


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_time(value: object) -> bool:
    return isinstance(value, str) and parse_instant(value) is not None
