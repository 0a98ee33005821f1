"""What all commands share: their options, the catalog they are about, who the author is."""

from __future__ import annotations

import getpass
import os
import subprocess
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stacpin.cli.output import Output
from versioning.errors import InvalidInput

if TYPE_CHECKING:
    from ingest.recipe import Recipe
    from versioning.catalog import Catalog

__all__ = [
    "AuthorOption",
    "CatalogOption",
    "JsonOption",
    "PinArgument",
    "SourceOption",
    "author",
    "catalog_of",
    "catalog_url",
    "load",
    "output",
    "recipe_at",
    "refuse_api",
    "store_url",
]

RECIPE = "stacpin.yaml"

CatalogOption = Annotated[
    str | None,
    typer.Option(
        "--catalog",
        "-C",
        metavar="URL",
        help="The catalog: a path, or s3://…, gs://…, az://…. [env: STACPIN_CATALOG; else the recipe's]",
        show_default=False,
    ),
]
SourceOption = Annotated[
    str | None,
    typer.Option(
        "--catalog",
        "-C",
        metavar="URL",
        help="The catalog: a path, or s3://…, gs://…, az://…; or a stacpin API's URL, or a lock file. "
        "[env: STACPIN_CATALOG; else the recipe's]",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]
AuthorOption = Annotated[
    str | None,
    typer.Option("--author", metavar="NAME", help="Who. [env: STACPIN_AUTHOR; else git's user]", show_default=False),
]
PinArgument = Annotated[
    str, typer.Argument(metavar="PIN", help="A version: landcover@v3, landcover@stable, landcover (the latest).")
]


@dataclass(frozen=True, slots=True)
class Globals:
    """What was said before the command."""

    command: str = "stacpin"
    catalog: str | None = None
    json: bool = False
    quiet: bool = False


# What was said before the command of this call.
SAID: ContextVar[Globals] = ContextVar("SAID", default=Globals())  # noqa: B039 - frozen


def output(json: bool = False) -> Output:
    """The output of the command that runs now."""
    said = SAID.get()
    return Output(said.command, json=json or said.json, quiet=said.quiet)


def catalog_url(given: str | None, recipe: Path = Path(RECIPE)) -> str:
    """Which catalog is meant.

    Raises
    ------
    InvalidInput
        If nothing says so.
    """
    said = SAID.get()
    url = given or said.catalog or os.environ.get("STACPIN_CATALOG")
    if url:
        return url
    named = load(recipe).catalog if recipe.is_file() else None
    if named:
        return _beside(recipe, named)
    if Path("stacpin.json").is_file():
        return "."
    if recipe.is_file():
        raise InvalidInput(
            f"No catalog is named: {recipe} has no 'catalog:'.",
            hint="Use -C PATH_OR_URL, set STACPIN_CATALOG, or write 'catalog: PATH_OR_URL' into the recipe.",
            kind="no-catalog",
        )
    raise InvalidInput(
        f"No catalog is named, and here is no {RECIPE} that names one.",
        hint="Use -C PATH_OR_URL, set STACPIN_CATALOG, or go to the folder of a recipe or a catalog.",
        kind="no-catalog",
    )


def catalog_of(given: str | None, recipe: Path = Path(RECIPE)) -> Catalog:
    """The catalog that a command is about."""
    from versioning.catalog import Catalog

    return Catalog.open(store_url(given, recipe))


def store_url(given: str | None, recipe: Path = Path(RECIPE)) -> str:
    """Which catalog is meant, for a command that an API or a lock file cannot answer.

    Raises
    ------
    InvalidInput
        If nothing says so, or if it is no catalog.
    """
    url = catalog_url(given, recipe)
    refuse_api(url)
    return url


def refuse_api(url: str) -> None:
    """Raise InvalidInput for the URL of an API and for a lock file: only what reads pins can use them."""
    is_lock = "://" not in url and Path(url).expanduser().is_file()
    if url.lower().startswith(("http://", "https://")) or is_lock:
        what = "a file" if is_lock else "the address of an API"
        raise InvalidInput(
            f"stacpin {SAID.get().command} needs the catalog itself; {url} is {what}.",
            hint="Name the catalog's path or s3://…, gs://…, az://…. "
            "API addresses and lock files are for search, pull, verify and lock.",
            kind="not-a-catalog",
        )


def recipe_at(path: Path) -> tuple[Recipe, Path]:
    """A recipe and its folder; a folder stands for the ``stacpin.yaml`` in it."""
    file = path / RECIPE if path.is_dir() else path
    return load(file), file.resolve().parent


def load(path: Path) -> Recipe:
    """Read a recipe."""
    from ingest.recipe import load_recipe

    return load_recipe(path)


def author(given: str | None = None) -> str:
    """Who does it: ``--author``, STACPIN_AUTHOR, git's user, or the login name."""
    name = given or os.environ.get("STACPIN_AUTHOR")
    if name:
        return name
    try:
        found = [
            subprocess.run(["git", "config", f"user.{part}"], capture_output=True, text=True, timeout=5, check=False)
            for part in ("name", "email")
        ]
        who, mail = (each.stdout.strip() for each in found)
    except (OSError, subprocess.SubprocessError):
        who, mail = "", ""
    if who:
        return f"{who} <{mail}>" if mail else who
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _beside(recipe: Path, url: str) -> str:
    """A relative catalog path in a recipe starts where the recipe is."""
    if "://" in url or Path(url).is_absolute():
        return url
    return os.path.normpath(recipe.resolve().parent / url)
