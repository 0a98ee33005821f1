"""The fields extension: which parts of an item are answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from versioning.errors import InvalidInput

__all__ = ["FieldSet"]

Path = tuple[str, ...]

# An item without these would not say what it is, nor what version it is from.
_ALWAYS = frozenset({("type",), ("id",), ("collection",)})
_MOST = 100
_DEEPEST = 16


@dataclass(frozen=True, slots=True)
class FieldSet:
    """Dotted paths to keep and to drop. Of two that apply, the longer decides; at equal length, dropping does."""

    include: frozenset[Path] = frozenset()
    exclude: frozenset[Path] = frozenset()

    @classmethod
    def parse(cls, value: str | None) -> FieldSet:
        """Read ``id,properties.gsd,-assets``; ``+`` may stand before what is kept.

        Raises
        ------
        InvalidInput
            If a field is empty, or there are too many.
        """
        if value is None:
            return cls()
        # A plus sign that was not percent-encoded arrives as a space.
        parts = [part.strip() for part in value.split(",")]
        return cls.of(
            [part.removeprefix("+") for part in parts if not part.startswith("-")],
            [part[1:] for part in parts if part.startswith("-")],
        )

    @classmethod
    def of(cls, include: Iterable[str] | None, exclude: Iterable[str] | None) -> FieldSet:
        """Take two lists of dotted paths.

        Raises
        ------
        InvalidInput
            If a field is empty, or there are too many.
        """
        return cls(_paths(include or ()), _paths(exclude or ()) - _ALWAYS)

    def __bool__(self) -> bool:
        return bool(self.include or self.exclude)

    def of_item(self, item: dict[str, Any]) -> dict[str, Any]:
        """The wanted parts of an item."""
        if not self:
            return item
        keep = self.include | _ALWAYS if self.include else self.include
        return _pruned(item, (), keep, self.exclude, kept=not self.include)


def _paths(fields: Iterable[str]) -> frozenset[Path]:
    paths = {tuple(field.split(".")) for field in fields}
    if len(paths) > _MOST or any(len(path) > _DEEPEST for path in paths):
        raise InvalidInput(f"fields names more than {_MOST} paths, or goes deeper than {_DEEPEST}.", hint="Name fewer.")
    for path in paths:
        if "" in path:
            raise InvalidInput(
                f"fields has the path {'.'.join(path)[:100]!r}, which names nothing.",
                hint="Write fields=id,properties.gsd,-assets.",
            )
    return frozenset(paths)


def _pruned(
    node: Mapping[str, Any], at: Path, include: frozenset[Path], exclude: frozenset[Path], *, kept: bool
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.items():
        path = (*at, key)
        here = False if path in exclude else kept or path in include
        deeper = any(len(other) > len(path) and other[: len(path)] == path for other in include | exclude)
        if deeper and isinstance(value, dict):
            inner = _pruned(value, path, include, exclude, kept=here)
            if inner or here:
                found[key] = inner
        elif here:
            found[key] = value
    return found
