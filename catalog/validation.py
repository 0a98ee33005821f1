"""Validation of STAC documents against their JSON schemas, always offline.

The core schemas come with pystac and that of our own extension with this package; others are taken from a folder that
the caller names. A schema that is nowhere at hand is reported as not checked, and never fetched.

Where jsonschema-rs is installed it is asked first (35 µs an item against 2 ms). It only ever says that a document is
valid: what it does not accept, and every schema that refers to one that is not at hand, goes to jsonschema, which finds
the words. So a difference between the two costs time, not errors, unless jsonschema-rs accepts too much; tests hold
that against jsonschema.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog.extensions import STAC_VERSION
from versioning.errors import InvalidInput

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator
    from referencing import Registry

__all__ = ["Validation", "check_document", "validate_collection", "validate_item"]

_CORE = {
    kind: f"https://schemas.stacspec.org/v{STAC_VERSION}/{name}-spec/json-schema/{name}.json"
    for kind, name in (("Feature", "item"), ("Collection", "collection"))
}
# The references that could not be followed for the document at hand; validators are shared between threads.
_missing: ContextVar[set[str]] = ContextVar("missing")
_DRAFT7 = "http://json-schema.org/draft-07/schema"
_MAX_ERRORS = 20
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Validation:
    """What validation found.

    Attributes
    ----------
    errors
        One line for each violation, at most twenty for a schema: where, what, and the schema's id.
    unchecked
        Ids of schemas that the document needs and that are not at hand, sorted.
    """

    errors: tuple[str, ...]
    unchecked: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing that could be checked is violated."""
        return not self.errors


def validate_item(item: Mapping[str, Any], schema_dir: Path | None = None) -> Validation:
    """Validate a STAC Item, stored (without links) or served.

    Parameters
    ----------
    item
        The document.
    schema_dir
        A folder of ``*.json`` schemas, found by their ``$id``; without it only the core and our own are checked.
    """
    return _validate(item, "Feature", schema_dir)


def validate_collection(collection: Mapping[str, Any], schema_dir: Path | None = None) -> Validation:
    """Validate a STAC Collection; see `validate_item`."""
    return _validate(collection, "Collection", schema_dir)


def check_document(document: Mapping[str, Any], schema_dir: Path | None = None) -> Validation:
    """Validate an item or a collection, by its ``type``, and refuse it unless it is valid.

    Raises
    ------
    InvalidInput
        With the first violation and how many others there are.
    """
    kind = document.get("type")
    if kind not in _CORE:
        raise InvalidInput(f"The document's type is {str(kind)[:80]!r}.", hint="It must be Feature or Collection.")
    found = _validate(document, str(kind), schema_dir)
    if found.errors:
        what = "item" if kind == "Feature" else "collection"
        first, *others = found.errors
        more = f" (and {len(others)} more)" if others else ""
        raise InvalidInput(
            f"{what} {str(document.get('id'))[:200]} is not valid STAC: {first}{more}.",
            hint="Correct the value in the recipe's metadata or in the source.",
            kind="invalid-stac",
        )
    return found


def _validate(document: Mapping[str, Any], kind: str, schema_dir: Path | None) -> Validation:
    # jsonschema knows lists and dicts only; what is stored has no links, which the core asks for
    plain = {"links": [], **document}
    declared = document.get("stac_extensions")
    names = [name for name in declared if isinstance(name, str)] if isinstance(declared, list) else []
    unchecked: set[str] = set()
    token = _missing.set(unchecked)
    try:
        return _against([_CORE[kind], *names], plain, schema_dir, unchecked)
    finally:
        _missing.reset(token)


def _against(names: list[str], plain: dict[str, Any], schema_dir: Path | None, unchecked: set[str]) -> Validation:
    errors: list[str] = []
    for uri in dict.fromkeys(name.rstrip("#") for name in names):
        validator = _validator(uri, schema_dir)
        if validator is None:
            unchecked.add(uri)
            continue
        accepts = _fast_validator(uri, schema_dir)
        if accepts is not None and accepts(plain):
            continue
        errors += [f"{_explain(error)} ({uri})" for error in islice(validator.iter_errors(plain), _MAX_ERRORS)]
    return Validation(tuple(errors), tuple(sorted(unchecked)))


@lru_cache(maxsize=256)
def _validator(uri: str, schema_dir: Path | None) -> Validator | None:
    from jsonschema import Draft7Validator
    from jsonschema.validators import validator_for

    schemas = _schemas(schema_dir)
    if uri not in schemas:
        return None
    schema = schemas[uri]
    return validator_for(schema, default=Draft7Validator)(schema, registry=_registry(schema_dir))


@lru_cache(maxsize=256)
def _fast_validator(uri: str, schema_dir: Path | None) -> Callable[[dict[str, Any]], bool] | None:
    """Whether a document satisfies a schema, by jsonschema-rs; None where it cannot say."""
    try:
        import jsonschema_rs
    except ImportError:
        return None
    schemas = _schemas(schema_dir)
    if schemas[uri].get("$schema", _DRAFT7).rstrip("#") != _DRAFT7:
        return None

    def at_hand(reference: str) -> Any:
        # What is missing allows everything, and is to be noted for each document: jsonschema does that.
        return schemas[reference.rstrip("#")]

    try:
        # Like jsonschema, which takes formats for annotations unless it is told otherwise.
        validator = jsonschema_rs.Draft7Validator(schemas[uri], retriever=at_hand, validate_formats=False)
    except (ValueError, jsonschema_rs.ReferencingError):
        return None

    def accepts(document: dict[str, Any]) -> bool:
        try:
            return validator.is_valid(document)
        except ValueError:  # what is no JSON: NaN, tuples, integers beyond 64 bits
            return False

    return accepts


@lru_cache(maxsize=16)
def _registry(schema_dir: Path | None) -> Registry[Any]:
    from jsonschema_specifications import REGISTRY
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT7

    def unknown(reference: str) -> Resource[Any]:
        """What a schema refers to and nobody has allows everything, and is noted for the document at hand."""
        _missing.get().add(reference.rstrip("#"))
        return Resource(contents=True, specification=DRAFT7)

    known = [(uri, DRAFT7.create_resource(schema)) for uri, schema in _schemas(schema_dir).items()]
    specifications = [(uri, Resource(REGISTRY.contents(uri), DRAFT7)) for uri in REGISTRY]
    return Registry(retrieve=unknown).with_resources([*specifications, *known])  # type: ignore[reportCallIssue]


@lru_cache(maxsize=16)
def _schemas(schema_dir: Path | None) -> dict[str, Any]:
    from pystac.validation.local_validator import get_local_schema_cache

    own = json.loads(files("catalog").joinpath("schemas", "pin.json").read_text("utf-8"))
    return {**_folder(schema_dir), **get_local_schema_cache(), own["$id"]: own}


def _folder(schema_dir: Path | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(schema_dir.glob("*.json")) if schema_dir else ():
        try:
            schema = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise InvalidInput(f"{path} is not a JSON schema: {error}.") from error
        if isinstance(schema, dict) and isinstance(schema.get("$id"), str):
            found[schema["$id"].rstrip("#")] = schema
    return found


def _explain(error: ValidationError) -> str:
    """One line that names the member and what is wrong with it.

    Of alternatives, those for another type of document are set aside, and the one with the fewest errors is explained.
    """
    while error.context:
        branches: dict[Any, list[ValidationError]] = {}
        for part in error.context:
            branches.setdefault(part.schema_path[0], []).append(part)
        fitting = [branch for branch in branches.values() if not any(map(_other_type, branch))]
        chosen = min(fitting or list(branches.values()), key=len)
        error = max(chosen, key=lambda part: len(part.absolute_path))
    path = "".join(_step(part) for part in error.absolute_path).removeprefix(".")
    message = error.message if len(error.message) <= _LONGEST else f"{error.message[:_LONGEST]}…"
    return f"{path or 'the document'}: {message}"


def _other_type(error: ValidationError) -> bool:
    return any(list(part.absolute_path) == ["type"] for part in _leaves(error))


def _leaves(error: ValidationError) -> Iterator[ValidationError]:
    if not error.context:
        yield error
    for part in error.context or ():
        yield from _leaves(part)


def _step(part: str | int) -> str:
    return f"[{part}]" if isinstance(part, int) else f".{part}"
