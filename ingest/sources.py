"""From a recipe's layers to the items that its files make, before any file is opened."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ingest.bulk import many_objects
from ingest.listing import Listing, found_files
from ingest.patterns import PathPattern
from ingest.recipe import Layer, Recipe
from versioning.canonical import loads
from versioning.errors import InvalidInput
from versioning.ids import check_item_id

__all__ = ["SourceAsset", "SourceItem", "all_patterns", "find_items"]

_FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_TIMES = ("datetime", "start_datetime", "end_datetime")


@dataclass(frozen=True, slots=True)
class SourceAsset:
    """One file that becomes one asset.

    Attributes
    ----------
    fields
        What fills the templates of its layer.
    state
        The file and what lies beside it as the listing saw them, see `Listing.state`; empty where nobody looked.
    """

    key: str
    path: Path
    layer: str
    settings: Layer
    fields: dict[str, str]
    state: str = ""

    def fill(self, template: str) -> str:
        """A template of the layer, filled for this file."""
        return _fill(template, self.fields, self.path)


@dataclass(slots=True)
class SourceItem:
    """The files that become one item, and what is said of it. Times are RFC 3339 in UTC."""

    id: str
    layer: str
    properties: dict[str, Any]
    assets: dict[str, SourceAsset] = field(default_factory=dict)


def find_items(recipe: Recipe, folder: Path, *, listing: Listing | None = None) -> list[SourceItem]:
    """The items of a recipe, sorted by id.

    Parameters
    ----------
    recipe
        What to look for.
    folder
        Where the recipe lies; its globs start there.
    listing
        What lies there, if somebody has looked already; of the same folder and globs.

    Raises
    ------
    InvalidInput
        If a layer finds no file, a link leads where no file may come from, a pattern takes too long, a
        template cannot be filled, an item has no time, or two files want the same place.
    """
    with many_objects():
        return _items(recipe, folder, listing or Listing(folder, all_patterns(recipe)))


def _items(recipe: Recipe, folder: Path, listing: Listing) -> list[SourceItem]:
    items: dict[str, SourceItem] = {}
    for name, layer in recipe.layers.items():
        table = _metadata(folder / layer.metadata) if layer.metadata else {}
        files = [Path(each) for each in found_files(listing, layer.kind, layer.sources)]
        if not files and not layer.optional:
            raise InvalidInput(
                f"layer {name!r}: no file matches {', '.join(layer.sources)} in {folder}.",
                hint="Mend the pattern, or write 'optional: true' if the layer may be empty.",
            )
        stems = [path.stem for path in files]
        often = Counter(stems)
        pattern = PathPattern(layer.pattern, layer=name, files=len(files)) if layer.pattern is not None else None
        times: dict[tuple[Any, ...], dict[str, Any]] = {}
        described = False
        said = dict(layer.properties) | {
            each: getattr(layer, each) for each in _TIMES if getattr(layer, each) is not None
        }
        for path, stem in zip(files, stems, strict=True):
            fields = _fields(path, folder, {"stem": stem, "parent": "", "layer": name}, pattern)
            item_id = _item_id(stem if layer.item is None else _fill(layer.item, fields, path), path)
            key = _asset_key(layer, fields, path, shared=layer.item is None and often[stem] > 1)
            described = described or item_id in table
            properties = _properties(said, fields, path, table.get(item_id, {}), times)
            item = items.setdefault(item_id, SourceItem(item_id, name, properties))
            state = listing.state(str(path), alone=layer.kind == "file")
            _add(item, SourceAsset(key, path, name, layer, fields, state), properties)
        if table and files and not described:
            ids = f"{min(table)!r} against {min(items)!r}"
            raise InvalidInput(
                f"{folder / str(layer.metadata)}: none of its {len(table)} ids is an item of layer {name!r}: {ids}.",
                hint="Write the items' ids into it, or mend the layer's 'item'.",
            )
    return [items[item_id] for item_id in sorted(items)]


def all_patterns(recipe: Recipe) -> list[str]:
    """The globs of all layers: together they say where links may lead."""
    return [pattern for layer in recipe.layers.values() for pattern in layer.sources]


def _fields(path: Path, folder: Path, fields: dict[str, str], pattern: PathPattern | None) -> dict[str, str]:
    fields["parent"] = str(path).rpartition(os.sep)[0].rpartition(os.sep)[2]  # a tenth of what path.parent.name takes
    if pattern is None:
        return fields
    below = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()
    return fields | pattern.groups(below, path)


def _fill(template: str, fields: Mapping[str, str], path: Path) -> str:
    if "{" not in template:
        return template

    def value(match: re.Match[str]) -> str:
        if match[1] not in fields:
            raise InvalidInput(
                f"{path}: {template!r} asks for {match[1]!r}, which is not there; there is: {', '.join(fields)}.",
                hint="Name it as a group in the layer's pattern: (?P<name>…).",
            )
        return fields[match[1]]

    return _FIELD.sub(value, template)


def _item_id(name: str, path: Path) -> str:
    try:
        return check_item_id(name)
    except InvalidInput as error:
        raise InvalidInput(
            f"{path}: {error.message}",
            hint=f"{error.hint} Give its layer a pattern whose groups fit, and 'item: \"{{group}}\"', or rename it.",
            kind=error.kind,
        ) from error


def _asset_key(layer: Layer, fields: Mapping[str, str], path: Path, *, shared: bool) -> str:
    """By default the layer; the folder's name where files of one stem lie in several folders."""
    if layer.asset is None:
        return fields["asset"] if "asset" in fields else path.parent.name if shared else fields["layer"]
    key = _fill(layer.asset, fields, path)
    if not key.strip():
        raise InvalidInput(f"{path}: {layer.asset!r} gives no asset key.", hint="Mend 'asset' of its layer.")
    return key


def _properties(
    said: Mapping[str, Any],
    fields: Mapping[str, str],
    path: Path,
    table: Mapping[str, Any],
    times: dict[tuple[Any, ...], dict[str, Any]],
) -> dict[str, Any]:
    filled = {name: _value(value, fields, path) for name, value in said.items()}
    filled |= table
    # Most files of a layer have the same times: reading one takes as long as all else that is done for a file here.
    told = tuple(filled.get(name) for name in _TIMES)
    if not all(isinstance(each, str | None) for each in told):
        return filled | _times(filled, path)
    if told not in times:
        times[told] = _times(filled, path)
    return filled | times[told]


def _value(value: Any, fields: Mapping[str, str], path: Path) -> Any:
    if isinstance(value, list):
        return [_value(each, fields, path) for each in value]
    if not isinstance(value, str):
        return value
    text = _fill(value, fields, path)
    # "{cloud}" alone stands for the number that the file's name gives, not for its digits.
    if _FIELD.fullmatch(value) and _NUMBER.fullmatch(text):
        return float(text) if set(text) & set(".eE") else int(text)
    return text


def _times(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    start, end, moment = (values.get(name) for name in ("start_datetime", "end_datetime", "datetime"))
    if start is None and end is None and moment is None:
        raise InvalidInput(
            f"{path} has no datetime.",
            hint="Give its layer 'datetime: 2024-05-01T10:30:00Z', or a pattern with groups and "
            "'datetime: \"{year}-{month}-{day}\"', or 'start_datetime' and 'end_datetime'.",
            kind="missing-datetime",
        )
    found: dict[str, Any] = {"datetime": None if moment is None else _time(moment, path, last=False)}
    if start is not None or end is not None:
        found["start_datetime"] = _time(start, path, last=False)
        found["end_datetime"] = _time(end, path, last=True)
        first, last = (datetime.fromisoformat(found[name]) for name in ("start_datetime", "end_datetime"))
        if first > last:
            raise InvalidInput(
                f"{path} ends ({found['end_datetime']}) before it starts ({found['start_datetime']}).",
                hint="Mend start_datetime and end_datetime of its layer, or in its metadata.",
            )
    return found


def _time(value: Any, path: Path, *, last: bool) -> str:
    """RFC 3339 in UTC. A date without a time is its midnight, or its last second where it ends an interval."""
    text = str(value)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(
            f"{path}: {text!r} is not a time: {error}.", hint="Write 2024-05-01 or 2024-05-01T10:30:00Z."
        ) from error
    whole_day = not re.search(r"[T :]", text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if whole_day and last:
        moment += timedelta(days=1, seconds=-1)
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _add(item: SourceItem, asset: SourceAsset, properties: Mapping[str, Any]) -> None:
    there = item.assets.get(asset.key)
    if there is not None:
        raise InvalidInput(
            f"{asset.path} and {there.path} both want to be asset {asset.key!r} of item {item.id!r}.",
            hint="Tell them apart with 'item' or 'asset' templates, e.g. item: \"{parent}-{stem}\".",
        )
    if item.layer != asset.layer:
        first = next(iter(item.assets.values())).path
        raise InvalidInput(
            f"{asset.path} (layer {asset.layer!r}) wants the id {item.id!r}, which {first} (layer {item.layer!r}) "
            "has taken.",
            hint=f'Give one of them a template, e.g. item: "{{stem}}-{asset.layer}".',
        )
    if item.properties != properties:
        names = [
            name for name in item.properties | dict(properties) if item.properties.get(name) != properties.get(name)
        ]
        raise InvalidInput(
            f"{asset.path}: the files of item {item.id!r} do not agree on {', '.join(names)}.",
            hint="Files of one item share its properties; name what differs in 'asset' instead.",
        )
    item.assets[asset.key] = asset


def _metadata(path: Path) -> dict[str, dict[str, Any]]:
    """Properties by item id, from JSON (an object by id, or a list of objects with ``id``) or CSV (a column ``id``)."""
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        missing = isinstance(error, FileNotFoundError)
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidInput(
            f"{path}, the layer's metadata, {'does not exist' if missing else f'cannot be read: {reason}'}.",
            hint="Mend 'metadata' of its layer: a JSON or CSV file, by its path from the recipe's folder.",
        ) from error
    rows = _csv_rows(path, text) if path.suffix.lower() == ".csv" else loads(text, where=str(path))
    if isinstance(rows, dict):
        rows = [value | {"id": key} if isinstance(value, dict) else None for key, value in rows.items()]
    table: dict[str, dict[str, Any]] = {}
    for row in rows if isinstance(rows, list) else [None]:
        if not isinstance(row, dict) or "id" not in row:
            raise InvalidInput(
                f"{path}: an entry has no 'id', or is no object.", hint="Give every row the id of its item."
            )
        item_id = str(row.pop("id"))
        if item_id in table:
            raise InvalidInput(f"{path}: {item_id!r} occurs twice.", hint="Give every item one row.")
        table[item_id] = row
    return table


def _csv_rows(path: Path, text: str) -> list[Any]:
    try:
        return [
            {name: value if name == "id" else _cell(value) for name, value in row.items() if name and value}
            for row in csv.DictReader(io.StringIO(text))
        ]
    except csv.Error as error:
        raise InvalidInput(
            f"{path} is not a CSV file: {error}.", hint="Write it as UTF-8 with a column 'id'."
        ) from error


def _cell(text: str) -> Any:
    return (float(text) if set(text) & set(".eE") else int(text)) if _NUMBER.fullmatch(text) else text
