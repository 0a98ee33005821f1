"""How the command line answers: data on stdout, progress and errors on stderr, one JSON envelope with ``--json``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from versioning.errors import StacpinError
from versioning.events import Listener, Progress, silent

__all__ = ["Output", "human_bytes"]


@dataclass(slots=True)
class Output:
    """Where a command writes."""

    command: str
    json: bool = False
    quiet: bool = False
    _warnings: list[dict[str, Any]] = field(default_factory=list)

    def data(self, data: Any, text: str | None = None) -> None:
        """The command's answer: the envelope with ``--json``, else ``text``."""
        if self.json:
            envelope = {"ok": True, "command": self.command, "data": data, "errors": self._warnings}
            _write(orjson.dumps(envelope, option=orjson.OPT_INDENT_2))
        elif text:
            _write(text.encode())

    def line(self, data: Any, text: str) -> None:
        """One line of a stream: JSON with ``--json``, else ``text``."""
        _write(orjson.dumps(data) if self.json else text.encode())

    def note(self, text: str) -> None:
        """Something people want to know, on stderr."""
        if not self.json and not self.quiet:
            sys.stderr.write(f"{text}\n")

    def warn(self, error: Mapping[str, Any]) -> None:
        """A refusal that did not stop the command: it goes into the envelope's errors, or to stderr."""
        self._warnings.append(dict(error))
        if not self.json:
            hint = f" {error['hint']}" if error.get("hint") else ""
            sys.stderr.write(f"skipped: {error['message']}{hint}\n")

    def error(self, error: BaseException, *, kind: str | None = None) -> None:
        """Why the command failed."""
        known = isinstance(error, StacpinError)
        found = {
            "kind": kind or (error.kind if known else "unexpected"),
            "message": error.message if known else str(error) or type(error).__name__,
            "hint": error.hint if known else None,
        }
        if self.json:
            data = error.data if known else None
            _write(orjson.dumps({"ok": False, "command": self.command, "data": data, "errors": [found]}))
            return
        sys.stderr.write(f"error: {found['message']}\n")
        if found["hint"]:
            sys.stderr.write(f"hint: {found['hint']}\n")

    @contextmanager
    def progress(self) -> Iterator[Listener]:
        """A listener that draws bars on stderr while a person looks at it, and is silent otherwise."""
        if self.json or self.quiet or not sys.stderr.isatty():
            yield silent
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bars
        from rich.text import Text

        class Amount(ProgressColumn):
            """Bytes as bytes, everything else as numbers."""

            _bytes, _count = DownloadColumn(), MofNCompleteColumn()

            def render(self, task: Task) -> Text:
                return (self._bytes if task.fields.get("unit") == "bytes" else self._count).render(task)

        console = Console(stderr=True)
        columns = (TextColumn("{task.description:>8}"), BarColumn(), Amount(), TimeRemainingColumn())
        with Bars(*columns, console=console, transient=True) as bars:
            tasks: dict[str, Any] = {}

            def listen(event: Progress) -> None:
                if event.step not in tasks:
                    tasks[event.step] = bars.add_task(event.step, total=event.total, unit=event.unit)
                bars.update(tasks[event.step], completed=event.done, total=event.total)

            yield listen


def human_bytes(size: float) -> str:
    """A size for people: ``1.4 MB``. Thousands, as disks are sold."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":  # noqa: PLR2004 - the step between units
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError


def table(rows: Sequence[Sequence[object]], heads: Sequence[str]) -> str:
    """Rows under their heads, in columns as wide as they need; plain text, so that grep and cut can read it."""
    cells = [list(heads), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[index]) for row in cells) for index in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data.rstrip(b"\n") + b"\n")
    sys.stdout.buffer.flush()
