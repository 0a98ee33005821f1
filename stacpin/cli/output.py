"""How the command line answers: data on stdout, progress and errors on stderr, one JSON envelope with ``--json``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from versioning.errors import StacpinError, StorageUnavailable
from versioning.events import Listener, Progress, silent

__all__ = ["Output", "OutputClosed", "StoppedAsMeant", "counted", "give_up_stdout", "human_bytes", "table"]

# Names and messages come from whoever wrote the catalog: none of them shall move the cursor or retitle the terminal.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


class OutputClosed(Exception):
    """The reader of a pipe has seen enough. No OSError: typer would end the process with 1 for it."""


class StoppedAsMeant(Exception):
    """Ctrl-C ended what runs until Ctrl-C: that is no interruption."""


@dataclass(slots=True)
class Output:
    """Where a command writes."""

    command: str
    json: bool = False
    quiet: bool = False
    _warnings: list[dict[str, Any]] = field(default_factory=list)

    def data(self, data: Any, text: str | None = None, *, ok: bool = True, lines: bool = False) -> None:
        """The command's answer: the envelope with ``--json``, else ``text``.

        ``lines`` writes the envelope in one line: it is the last of a stream.
        """
        if self.json:
            envelope = {"ok": ok, "command": self.command, "data": data, "errors": self._warnings}
            _write(_json(envelope, option=0 if lines else orjson.OPT_INDENT_2))
        elif text:
            _write(_text(text))

    def line(self, data: Any, text: str) -> None:
        """One line of a stream: JSON with ``--json``, else ``text``."""
        _write(_json(data) if self.json else _text(text))

    def note(self, text: str) -> None:
        """Something people want to know, on stderr."""
        if not self.json and not self.quiet:
            _say(text)

    def warn(self, error: Mapping[str, Any]) -> None:
        """A refusal that did not stop the command: it goes into the envelope's errors, or to stderr."""
        self._warnings.append(dict(error))
        if not self.json:
            hint = f" {error['hint']}" if error.get("hint") else ""
            _say(f"skipped: {error['message']}{hint}")

    def error(self, error: StacpinError) -> None:
        """Why the command failed: the envelope on stdout with ``--json``, in one line, else words on stderr."""
        if self.json:
            found = {"kind": error.kind, "message": error.message, "hint": error.hint}
            try:
                _write(_json({"ok": False, "command": self.command, "data": error.data, "errors": [found]}))
            except (OSError, OutputClosed, StacpinError):
                give_up_stdout()
            return
        _say(f"error: {error.message}")
        if error.hint:
            _say(f"hint: {error.hint}")

    @contextmanager
    def progress(self) -> Iterator[Listener]:
        """A listener that draws bars on stderr while a person looks at it, and is silent otherwise."""
        if self.json or self.quiet or sys.stderr is None or not sys.stderr.isatty():
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
    cells = [list(heads), *[[" ".join(str(cell).split()) for cell in row] for row in rows]]
    widths = [max(len(row[index]) for row in cells) for index in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number of things: ``1 item``, ``2 items``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def give_up_stdout() -> None:
    """Let nothing that still waits be written, not even when Python exits: it could only fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _json(data: Any, option: int = 0) -> bytes:
    try:
        return orjson.dumps(data, option=option)
    except TypeError:
        # Names of files need not be Unicode; JSON must be.
        return json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")


def _text(text: str) -> bytes:
    return text.translate(_CONTROL).encode(getattr(sys.stdout, "encoding", None) or "utf-8", "backslashreplace")


def _say(text: str) -> None:
    if sys.stderr is not None:  # it is None where the shell has closed it
        with suppress(BrokenPipeError):
            sys.stderr.write(f"{text.translate(_CONTROL)}\n")


def _write(data: bytes) -> None:
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data.rstrip(b"\n") + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError as error:
        raise OutputClosed from error
    except OSError as error:
        give_up_stdout()
        raise StorageUnavailable(
            f"The output cannot be written: {error.strerror}.",
            hint="Free space where it goes to, or send it elsewhere.",
        ) from error
