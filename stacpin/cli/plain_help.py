"""Help texts in the words of manual pages: ``PIN...``, not ``{PIN}...`` and ``<list[str]>``, which are Python's."""

from __future__ import annotations

from typing import Any

from typer.core import TyperArgument, TyperCommand

__all__ = ["PlainCommand"]


class PlainCommand(TyperCommand):
    """A command whose arguments are shown by their names alone."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for each in self.params:
            if isinstance(each, TyperArgument):
                each.__class__ = _PlainArgument


class _PlainArgument(TyperArgument):
    """What typer makes of an annotation cannot be given a class of one's own: it is changed afterwards."""

    def display_type_rich(self, ctx: Any) -> str | None:  # noqa: ARG002 - typer's signature
        return None

    def get_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.replace("{", "").replace("}", "") for piece in super().get_usage_pieces(ctx)]
