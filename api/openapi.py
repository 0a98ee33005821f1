"""The API's own description as OpenAPI 3.0, which OGC API Features (``oas30``) and the STAC API ask for.

FastAPI writes OpenAPI 3.1, whose schemas are JSON Schema 2020-12; what 3.0 has no words for is said in its older ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from api.pictures.drawing import can_draw

__all__ = ["describe"]

_PROBLEM = {
    "type": "object",
    "required": ["code", "description"],
    "properties": {
        "code": {"type": "string", "description": "A stable name of the kind of error."},
        "description": {"type": "string", "description": "What is wrong, with the value."},
        "hint": {"type": "string", "description": "The way out."},
    },
}
_ERRORS = {"4XX": "Refused: mend the request.", "5XX": "The server or its store failed."}
_NOT_CHANGED = "It is what If-None-Match names."
_TEXT: dict[str, Any] = {"type": "string"}
_BYTES: dict[str, Any] = {"type": "string", "format": "binary"}
_OBJECT: dict[str, Any] = {"type": "object"}
_FOLDER = {"text/html": _TEXT, "application/json": _OBJECT}
# What routes answer with that FastAPI cannot see: they make their answers themselves.
_FORMS: dict[str, dict[str, dict[str, Any]]] = {
    "/collection-queryables": {"application/schema+json": _OBJECT},
    "/collections/{collection_id}/assets": {"application/x-ndjson": _TEXT, "application/vnd.apache.parquet": _BYTES},
    "/collections/{collection_id}/items/{item_id}/versions/{version_id}": {"application/geo+json": _OBJECT},
    "/objects/{shard}/{name}": {"*/*": _BYTES},
    "/files/": _FOLDER,
    "/files/{project}/": _FOLDER,
    "/files/{project}/{dataset}/": _FOLDER,
    "/files/{project}/{dataset}/{version}/": _FOLDER,
    "/files/{project}/{dataset}/{version}/{layer}/": _FOLDER,
    "/files/{project}/{dataset}/{version}/{layer}/{name}": {"*/*": _BYTES},
}
_PICTURE = {"image/png": _BYTES, "image/webp": _BYTES, "image/jpeg": _BYTES}
_TILE = {"application/vnd.mapbox-vector-tile": _BYTES}
# The same of routes that are there where pictures can be drawn.
_DRAWN: dict[str, dict[str, dict[str, Any]]] = {
    "/collections/{collection_id}/tiles/{z}/{x}/{y}": _TILE,
    "/collections/{collection_id}/tiles/WebMercatorQuad/{z}/{y}/{x}": _TILE,
    "/collections/{collection_id}/thumbnail": {"image/png": _BYTES},
    "/collections/{collection_id}/items/{item_id}/preview": _PICTURE,
    "/collections/{collection_id}/items/{item_id}/thumbnail": _PICTURE,
    "/collections/{collection_id}/items/{item_id}/tiles/{z}/{x}/{y}.png": {"image/png": _BYTES},
}
_NAMES = frozenset({"properties", "schemas"})


def describe(app: FastAPI) -> None:
    """Make an application describe itself in OpenAPI 3.0, with the errors as they are."""
    original: Callable[[], dict[str, Any]] = app.openapi
    made: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not made:
            document = _older(original())
            document["openapi"] = "3.0.3"
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = _PROBLEM
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            for path in document["paths"].values():
                for operation in path.values():
                    _answer(operation)
            for name, forms in (_FORMS | (_DRAWN if can_draw() else {})).items():
                _answer_in(document["paths"][name]["get"]["responses"], forms)
            made.update(document)
        return made

    app.openapi = openapi


def _answer(operation: dict[str, Any]) -> None:
    if operation.get("description") == "Endpoint.":  # what stac-fastapi's wrapper says of every route
        del operation["description"]
    operation["responses"].pop("422", None)
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status, text in _ERRORS.items():
        operation["responses"][status] = {"description": text, "content": content}


def _answer_in(responses: dict[str, Any], forms: dict[str, dict[str, Any]]) -> None:
    content = {media_type: {"schema": schema} for media_type, schema in forms.items()}
    responses["200"]["content"] = content
    if "*/*" in forms:
        responses["206"] = {"description": "The range that was asked for.", "content": content}
    if forms is _TILE:
        responses["204"] = {"description": "There is nothing in this tile."}
    responses["304"] = {"description": _NOT_CHANGED}
    responses["307"] = {"description": "It has another address."}


def _older(node: Any, *, names: bool = False) -> Any:
    """A part of the document in the words of 3.0; ``names`` says that the keys are names and not keywords."""
    if isinstance(node, list):
        return [_older(part) for part in node]
    if not isinstance(node, dict):
        return node
    if names:
        return {key: _older(value) for key, value in node.items()}
    found = {key: _older(value, names=key in _NAMES) for key, value in node.items()}
    options = found.get("anyOf")
    if isinstance(options, list) and {"type": "null"} in options:
        found["nullable"] = True
        rest = [option for option in options if option != {"type": "null"}]
        found["anyOf"] = rest
        if len(rest) == 1 and "$ref" not in rest[0]:
            del found["anyOf"]
            found = {**rest[0], **found}
    if "const" in found:
        found["enum"] = [found.pop("const")]
    if "prefixItems" in found:
        found["items"] = {"anyOf": found.pop("prefixItems")}
    for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(found.get(bound), int | float) and not isinstance(found[bound], bool):
            found[limit] = found[bound]
            found[bound] = True
    return found
