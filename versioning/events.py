"""Progress as typed messages: the code that works emits them, and only the command line draws them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Listener", "Progress", "silent"]

Unit = Literal["items", "bytes", "files", "chunks"]


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of ``total`` units of ``step`` are finished; ``total`` is None while it is unknown."""

    step: str
    done: int
    total: int | None = None
    unit: Unit = "items"
    detail: str = ""


Listener = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """The listener that does nothing."""
