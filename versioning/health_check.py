"""One thing that ``stacpin doctor`` looked at, and what it found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Check", "Status"]

Status = Literal["ok", "advice", "unknown", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Check:
    """What was found. ``advice``: could be better; ``unknown``: could not be found out; ``error``: things will break.

    ``exit_code`` is what an error ends the command with: 30 where data is damaged, otherwise 60.
    """

    name: str
    status: Status
    message: str
    hint: str | None = None
    exit_code: int = 60

    def to_dict(self) -> dict[str, Any]:
        """The check for ``--json``."""
        return {name: value for name, value in asdict(self).items() if name != "exit_code"}
