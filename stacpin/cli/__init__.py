"""The ``stacpin`` command: git's verbs for history, STAC's words for content."""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from threading import Event
from typing import Annotated, ClassVar, NoReturn

import typer
from typer.exceptions import TyperException

from stacpin import __version__
from stacpin.cli import access, consume, health, history, indexing, maintain, prepare, refs, serving, syncing, watching
from stacpin.cli.context import SAID, CatalogOption, Globals, JsonOption, output
from stacpin.cli.extras import missing_extra
from stacpin.cli.output import Output, OutputClosed, StoppedAsMeant, give_up_stdout
from stacpin.cli.plain import PlainCommand, PlainGroup
from stacpin.cli.service_command import ServiceCommand
from versioning.errors import InvalidInput, StacpinError, StorageUnavailable

__all__ = ["app", "main"]

_INTERRUPTED = 130
# What the system refuses, whoever asks: no defect of ours.
_SYSTEM = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
}

app = typer.Typer(
    name="stacpin",
    cls=PlainGroup,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Pin geospatial training data: immutable, verified dataset versions as STAC.",
    epilog="Exit codes: 0 fine, 1 differences (--exit-code), 2 usage, 11 unexpected, 20 conflict or immutable, "
    "30 integrity, 40 not found, 50 refused input, 60 storage or network, 130 interrupted.",
)
for module in (prepare, history, refs, consume, serving, indexing, access, syncing, maintain, watching, health):
    module.register(app)
for command in app.registered_commands:
    command.cls = command.cls if command.cls is ServiceCommand else PlainCommand


class UsageError(StacpinError):
    """The words of the command line do not fit."""

    kind = "usage"
    exit_code: ClassVar[int] = 2


@app.callback()
def _globals(
    context: typer.Context,
    catalog: CatalogOption = None,
    json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    SAID.set(Globals(context.invoked_subcommand or "stacpin", catalog, json, quiet))
    if version:
        output().data({"version": __version__}, f"stacpin {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        if not json:
            typer.echo(context.get_help(), err=True)
            raise typer.Exit(UsageError.exit_code)
        raise UsageError("No command is named.", hint="See: stacpin --help")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the documented code."""
    words = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        # Help texts and names may hold what a terminal of another encoding cannot show: it shows \u2026 then.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Arrow's own allocator keeps 25 MB more of what an ingest has freed; it is chosen when pyarrow is imported.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    # rasterio logs what GDAL says; what matters of it comes as an error of ours.
    logging.getLogger("rasterio").propagate = False
    logging.getLogger("rasterio").addHandler(logging.NullHandler())
    SAID.set(Globals())
    with _interrupts() as interrupted:
        code = _run(words, interrupted)
    sys.exit(code)


@contextmanager
def _interrupts() -> Iterator[Event]:
    """Notes that Ctrl-C was pressed: a library that is being imported turns it into an error of its own."""
    interrupted = Event()

    def note(*_: object) -> NoReturn:
        interrupted.set()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield interrupted
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _for(words: list[str]) -> typer.Typer:
    """The application; with no command but the one that is named first, if one is: to make all 24 takes 0.1 s."""
    named = [each for each in app.registered_commands if words and each.callback and each.callback.__name__ == words[0]]
    if not named:
        return app
    small = copy(app)
    small.registered_commands = named
    return small


def _run(words: list[str], interrupted: Event) -> int:
    try:
        code = _for(words)(words, prog_name="stacpin", standalone_mode=False)
    except (OutputClosed, StoppedAsMeant) as end:
        if isinstance(end, OutputClosed):
            give_up_stdout()
        return 0
    except (KeyboardInterrupt, typer.Abort):
        return _stopped(words)
    except Exception as error:
        if interrupted.is_set():
            return _stopped(words)
        if "STACPIN_DEBUG" in os.environ and not isinstance(error, (StacpinError, TyperException)):
            raise
        out = _failed(words)
        known = _explained(error, out.command)
        out.error(known)
        return known.exit_code
    if interrupted.is_set():  # typer has made an exit code of it
        return _stopped(words)
    return code if isinstance(code, int) else 0


def _stopped(words: list[str]) -> int:
    _failed(words).error(StacpinError("Interrupted.", kind="interrupted"))
    return _INTERRUPTED


def _failed(words: list[str]) -> Output:
    """Where to say that a command failed: its options may not have been understood."""
    options = words[: words.index("--")] if "--" in words else words
    return Output(SAID.get().command, json="--json" in options)


def _explained(error: Exception, command: str) -> StacpinError:
    """Any error as one of ours: the one place where that happens."""
    if isinstance(error, StacpinError):
        return error
    if isinstance(error, TyperException):
        of = "stacpin" if command == "stacpin" else f"stacpin {command}"
        return UsageError(error.format_message(), hint=f"See: {of} --help")
    if isinstance(error, ImportError) and (missing := missing_extra(error, command)) is not None:
        return missing
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        shown = error.object.encode("utf-8", "backslashreplace").decode()
        return InvalidInput(f"{shown} is not UTF-8 text.", hint="Rename the file, or set a UTF-8 locale.")
    if isinstance(error, OSError) and error.errno in _SYSTEM:
        where = f"{error.filename}: " if error.filename else ""
        return StorageUnavailable(f"{where}{error.strerror}.", hint="Free or allow what the system lacks here.")
    return StacpinError(
        f"{type(error).__name__}: {error}" if str(error) else type(error).__name__,
        hint="This is a defect of stacpin; set STACPIN_DEBUG=1 to see where it happened.",
        kind="unexpected",
    )
