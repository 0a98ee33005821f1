"""The ``stacpin`` command: git's verbs for history, STAC's words for content."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated, ClassVar

import typer
from typer.exceptions import TyperException

from stacpin import __version__
from stacpin.cli import consume, history, prepare, refs, serving
from stacpin.cli.context import SAID, CatalogOption, Globals, JsonOption
from stacpin.cli.output import Output
from versioning.errors import StacpinError

__all__ = ["app", "main"]

app = typer.Typer(
    name="stacpin",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Pin geospatial training data: immutable, verified dataset versions as STAC.",
    epilog="Exit codes: 0 fine, 1 differences (--exit-code), 2 usage, 11 unexpected, 20 conflict or immutable, "
    "30 integrity, 40 not found, 50 refused input, 60 storage or network.",
)
for module in (prepare, history, refs, consume, serving):
    module.register(app)


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
        typer.echo(f"stacpin {__version__}")
        raise typer.Exit


class UsageError(StacpinError):
    """The words of the command line do not fit."""

    kind = "usage"
    exit_code: ClassVar[int] = 2


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the documented code."""
    words = sys.argv[1:] if arguments is None else arguments
    # rasterio logs what GDAL says; what matters of it comes as an error of ours.
    logging.getLogger("rasterio").propagate = False
    logging.getLogger("rasterio").addHandler(logging.NullHandler())
    command = next((word for word in words if not word.startswith("-")), "stacpin")
    output = Output(command, json="--json" in words)
    sys.exit(_run(words, output))


def _run(words: list[str], output: Output) -> int:
    try:
        code = app(words, prog_name="stacpin", standalone_mode=False)
    except TyperException as error:
        known = output.command in {getattr(command.callback, "__name__", None) for command in app.registered_commands}
        help_of = f"stacpin {output.command}" if known else "stacpin"
        output.error(UsageError(error.format_message(), hint=f"See: {help_of} --help"))
        return 2
    except StacpinError as error:
        output.error(error)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("stopped\n")
        return 130
    except BrokenPipeError:
        # The reader of a pipe has seen enough; nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if "STACPIN_DEBUG" in os.environ:
            raise
        output.error(error)
        if not output.json:
            sys.stderr.write("hint: this is a defect of stacpin; set STACPIN_DEBUG=1 to see where it happened.\n")
        return 11
    return code if isinstance(code, int) else 0
