"""The recipe, ``stacpin.yaml``: what a dataset is made of. Checked by pydantic; unknown keys are refused."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from versioning.digests import digest_text, sha256
from versioning.errors import InvalidInput, NotFound
from versioning.ids import check_dataset_id

__all__ = ["CogSettings", "LabelSettings", "Layer", "Recipe", "load_recipe"]

_MAX_BYTES = 1_000_000
_LAYER_NAME = r"^[a-z0-9][a-z0-9_-]{0,49}$"
_TYPE_NAMES = r"str|int|float|bool|none|Band|list\[.*"
_TYPED = 4
_REASONS = {
    "string_type": "it must be text (in quotes, if it looks like a number)",
    "list_type": "it must be a list",
    "dict_type": "it must be a mapping of keys to values",
    "model_type": "it must be a mapping of keys to values",
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
    "int_type": "it must be a whole number",
    "int_parsing": "it must be a whole number",
    "int_from_float": "it must be a whole number",
    "float_type": "it must be a number",
    "float_parsing": "it must be a number",
    "finite_number": "it must be a finite number",
    "too_short": "it must not be empty",
    "literal_error": "it must be {expected}",
    "greater_than": "it must be above {gt:g}",
    # the only pattern is that of layers' names
    "string_pattern_mismatch": (
        "it must be lower-case letters, digits, - and _, at most 50, and begin with a letter or digit"
    ),
}
Scalar = str | int | float | bool | None
Resampling = Literal["nearest", "bilinear", "cubic", "cubic_spline", "lanczos", "average", "mode"]


class _Model(BaseModel):
    # Infinity and NaN are YAML, but no recipe means them, and JSON cannot write them.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CogSettings(_Model):
    """How the COGs of a layer are written; all choices are lossless."""

    compress: Literal["deflate", "zstd", "lzw"] = "deflate"
    level: int | None = None
    predictor: Literal["no", "standard", "floating_point"] = "no"
    blocksize: int = 512
    overview_resampling: Resampling = "nearest"


class LabelSettings(_Model):
    """What the label extension says of a layer of annotations."""

    type: Literal["vector"] = "vector"
    tasks: list[str] = []
    properties: list[str] | None = None
    methods: list[str] = []
    description: str = ""


class Band(_Model):
    """A band of a raster asset: its name and what it measures."""

    name: str
    common_name: str | None = None
    description: str | None = None


class Layer(_Model):
    """One kind of files of a dataset.

    Attributes
    ----------
    kind
        ``raster`` (made COGs), ``labels`` (made GeoParquet) or ``file`` (kept as they are).
    sources
        Glob patterns, relative to the recipe's folder.
    pattern
        A regular expression for the file's path below the recipe's folder (matched at its end). Its named groups can
        be used in ``item``, ``asset``, ``datetime`` and ``properties`` as ``{group}``; files whose groups give the same
        item are that item's assets.
    item, asset
        Templates of the item's id and of the asset's key. ``{stem}``, ``{parent}`` and ``{layer}`` are always there.
        By default an item is named by its file's stem, and an asset by its layer.
    datetime, start_datetime, end_datetime
        When it was, as RFC 3339 or a date; templates.
    properties
        STAC properties of the items; templates in strings.
    metadata
        A JSON or CSV file of more properties by item id.
    title, bands
        Of the assets: a title, and the names of the bands in the order of the file; templates.
    source_crs
        The CRS of sources that have none.
    optional
        Whether the layer may have no files yet.
    """

    kind: Literal["raster", "labels", "file"]
    sources: Annotated[list[str], Field(min_length=1)]
    pattern: str | None = None
    item: str | None = None
    asset: str | None = None
    title: str | None = None
    description: str | None = None
    roles: list[str] | None = None
    datetime: str | None = None
    start_datetime: str | None = None
    end_datetime: str | None = None
    properties: dict[str, Scalar | list[Scalar]] = {}
    metadata: str | None = None
    bands: list[Band | str] = []
    source_crs: str | None = None
    crs: str | None = None
    resolution: float | None = Field(default=None, gt=0)
    resampling: Resampling = "nearest"
    cog: CogSettings = CogSettings()
    layer: str | None = None
    precision: float | None = Field(default=None, gt=0)
    label: LabelSettings = LabelSettings()
    optional: bool = False

    @field_validator("sources", mode="before")
    @classmethod
    def _one_source(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("pattern")
    @classmethod
    def _regular(cls, value: str | None) -> str | None:
        try:
            re.compile(f"(?:{value or ''})$")  # as it is used: global flags are refused there
        except re.error as error:
            raise ValueError(f"it is not a regular expression: {error}") from error
        return value

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Layer:
        raster_only = {"bands", "cog", "resolution", "resampling"} & self.model_fields_set
        if self.kind != "raster" and raster_only:
            raise ValueError(f"{', '.join(sorted(raster_only))} are for layers of kind raster")
        labels_only = {"layer", "precision", "label"} & self.model_fields_set
        if self.kind != "labels" and labels_only:
            raise ValueError(f"{', '.join(sorted(labels_only))} are for layers of kind labels")
        if self.kind == "file" and {"crs", "source_crs"} & self.model_fields_set:
            raise ValueError("crs and source_crs are for layers of kind raster and labels")
        if (self.start_datetime is None) != (self.end_datetime is None):
            raise ValueError("start_datetime and end_datetime go together")
        return self


class Provider(_Model):
    """Who made, holds or serves the data, as STAC has it."""

    name: str
    description: str | None = None
    roles: list[Literal["licensor", "producer", "processor", "host"]] = []
    url: str | None = None


class Recipe(_Model):
    """What a dataset is made of."""

    dataset: str
    catalog: str | None = None
    title: str | None = None
    description: str | None = None
    license: str = "other"
    keywords: list[str] = []
    providers: list[Provider] = []
    crs: str | None = None
    on_error: Literal["stop", "quarantine"] = "stop"
    layers: Annotated[dict[Annotated[str, Field(pattern=_LAYER_NAME)], Layer], Field(min_length=1)]

    @field_validator("dataset")
    @classmethod
    def _an_id(cls, value: str) -> str:
        try:
            return check_dataset_id(value)
        except InvalidInput as error:
            raise ValueError(str(error)) from error

    def content(self) -> dict[str, Any]:
        """What the recipe says beyond the defaults, without where the catalog is: what a version's record keeps."""
        return self.model_dump(mode="json", exclude={"catalog"}, exclude_defaults=True)

    @property
    def digest(self) -> str:
        """What the recipe says, as a digest; comments, order and defaults that are written out do not matter."""
        from versioning.canonical import canonical

        return digest_text(sha256(canonical(self.model_dump(mode="json", exclude={"catalog"}), where="recipe")))


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises
    ------
    NotFound
        If there is no such file.
    InvalidInput
        If it is not YAML, or says something that a recipe cannot; the error names the key and, for a misspelt one, the
        nearest that exists.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(
            f"{path} does not exist.", hint="Write a recipe there; see docs/recipes.md.", kind="no-such-recipe"
        ) from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > _MAX_BYTES:
        raise InvalidInput(f"{path} has {len(data)} bytes; a recipe has at most {_MAX_BYTES}.")
    try:
        content = yaml.load(data, Loader=_Loader)  # noqa: S506 - a safe loader, below
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        text = " ".join(str(error).split())
        raise InvalidInput(f"{path} is not valid YAML: {text}.", kind="invalid-recipe") from error
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise _explained(path, error) from error


class _Loader(yaml.SafeLoader):
    """YAML without what makes it dangerous: no aliases (a few bytes can stand for gigabytes), no duplicate keys.

    Dates stay the texts that they are: templates and RFC 3339 want them so.
    """

    yaml_implicit_resolvers: ClassVar = {  # pyright: ignore[reportIncompatibleVariableOverride]  # PyYAML's own way
        first: [(tag, expression) for tag, expression in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()
            raise yaml.YAMLError(f"aliases are not allowed in a recipe (line {event.start_mark.line + 1})")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's own
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.YAMLError(f"the key {key!r} is not text (line {key_node.start_mark.line + 1})")
            if key in seen:
                raise yaml.YAMLError(f"the key {key!r} occurs twice (line {key_node.start_mark.line + 1})")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _explained(path: Path, error: ValidationError) -> InvalidInput:
    # A misspelt key is often the reason why another one is missing: it is named first.
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    place = _place(first["loc"])
    where = ".".join(place) or "the recipe"
    hint = "See docs/recipes.md for what a recipe may say."
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(place[-1], _keys_near(first["loc"]), n=1)
        text = f"{path}: unknown key {where!r}."
        hint = f"Did you mean {near[0]!r}?" if near else hint
    elif first["type"] == "missing":
        text = f"{path}: {where!r} is missing."
    else:
        value = first.get("input")
        if place and place[-1] in {"crs", "source_crs"} and type(value) is int:
            hint = f"Did you mean 'EPSG:{value}'?"
        text = f"{path}: {where!r} is {value!r:.80}: {_reason(place, dict(first))}."
    return InvalidInput(text, hint=hint, kind="invalid-recipe")


def _place(loc: tuple[int | str, ...]) -> list[str]:
    """Where it is, without the names of types that pydantic adds where a value may have several."""
    # layers, a layer's name, a key, a number or a name: types come after these, any of which may have a type's name.
    typed = [re.fullmatch(_TYPE_NAMES, str(part)) for part in loc]
    return [str(part) for at, part in enumerate(loc) if part != "[key]" and not (at >= _TYPED and typed[at])]


def _reason(place: list[str], entry: dict[str, Any]) -> str:
    """What is wrong with a value, in our words; pydantic's speak of its own types."""
    kind, context = entry["type"], entry.get("ctx", {})
    if kind == "value_error":
        return str(context["error"]).rstrip(".")
    if "bands" in place[-2:-1] and kind in {"model_type", "string_type"}:
        return "it must be a band's name, or a mapping with its 'name'"
    if "properties" in place[2:3] and kind != "dict_type":
        return "it must be text, a number, true, false or null, or a list of these"
    if kind in _REASONS:
        return _REASONS[kind].format(**context)
    text = str(entry["msg"]).rstrip(".")
    return f"{text[:1].lower()}{text[1:]}"


def _keys_near(place: tuple[int | str, ...]) -> list[str]:
    """The keys that a recipe may have where an unknown one stands."""
    model: type[BaseModel] = Recipe
    for part in place[:-1]:
        inner = model.model_fields.get(str(part))
        models = list(_models(inner.annotation)) if inner else []
        model = models[0] if models else model
    return list(model.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]
