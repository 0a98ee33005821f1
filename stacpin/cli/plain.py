"""Typer's commands, as plain as ours are.

Their help is in the words of manual pages: ``PIN...``, not ``{PIN}...`` and ``<list[str]>``, which are Python's. And
what is a text already is taken as it is: typer asks pydantic to convert every value, and importing that takes 0.06 s,
a quarter of a ``stacpin status``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

__all__ = ["PlainCommand", "PlainGroup"]


class PlainCommand(TyperCommand):
    """A command whose arguments are shown by their names alone."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its arguments and options."""
        return _make_plain(super().get_params(ctx))


class PlainGroup(TyperGroup):
    """The command that has the others below it."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its arguments and options."""
        return _make_plain(super().get_params(ctx))


class _PlainOption(TyperOption):
    def process_value(self, ctx: Any, value: Any) -> Any:
        return _plain(self, ctx, value) if _is_plain(self, value) else super().process_value(ctx, value)


class _PlainArgument(TyperArgument):
    def process_value(self, ctx: Any, value: Any) -> Any:
        return _plain(self, ctx, value) if _is_plain(self, value) else super().process_value(ctx, value)

    def display_type_rich(self, ctx: Any) -> str | None:  # noqa: ARG002 - typer's signature
        return None

    def get_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.replace("{", "").replace("}", "") for piece in super().get_usage_pieces(ctx)]


def _make_plain(parameters: list[Any]) -> list[Any]:
    """What typer makes of an annotation cannot be given a class of one's own: it is changed afterwards."""
    for each in parameters:
        if isinstance(each, TyperArgument):
            each.__class__ = _PlainArgument
        elif isinstance(each, TyperOption):
            each.__class__ = _PlainOption
    return parameters


def _is_plain(parameter: TyperArgument | TyperOption, value: Any) -> bool:
    """Whether typer would hand on a value as it is; whatever is in doubt is left to it."""
    if parameter.multiple or parameter.nargs != 1:
        return False
    if value is None:
        return not parameter.required
    kind, told = parameter.type_descriptor.annotation, parameter.type_descriptor.parameter_info
    if told.parser is not None or told.path_type is not None or told.resolve_path:
        return False
    if kind is str:
        return type(value) is str and value.isascii()  # a name may hold bytes that are no text
    common = told.file_okay and told.dir_okay and told.readable and not (told.writable or told.allow_dash)
    return kind is Path and isinstance(value, Path) and common and os.access(value, os.R_OK)


def _plain(parameter: TyperArgument | TyperOption, context: Any, value: Any) -> Any:
    return value if parameter.callback is None else parameter.callback(context, parameter, value)
