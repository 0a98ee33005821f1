"""Commands that name versions: tag, promote, rollback, resolve."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from stacpin.cli.context import AuthorOption, CatalogOption, JsonOption, PinArgument, author, catalog_of, output
from versioning.errors import InvalidInput, NotFound
from versioning.ids import check_dataset_id, check_pointer_name

__all__ = ["register"]

MessageOption = Annotated[str, typer.Option("--message", "-m", metavar="TEXT", help="Why; it stays in the log.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(epilog="Example: stacpin tag landcover@v3 v2.1.4")(tag)
    app.command(epilog="Example: stacpin promote landcover@v3\n\nExample: stacpin promote landcover@v3 candidate")(
        promote
    )
    app.command(epilog="Example: stacpin rollback landcover --to v2 -m 'v3 has shifted labels'")(rollback)
    app.command(epilog="Example: stacpin resolve landcover@stable")(resolve)


def tag(
    pin: PinArgument,
    name: Annotated[str, typer.Argument(metavar="TAG", help="A semantic version such as v2.1.4, or a name.")],
    message: MessageOption = "",
    author_: AuthorOption = None,
    catalog: CatalogOption = None,
    json: JsonOption = False,
) -> None:
    """Give a version a name for ever. Tags never move."""
    out = output(json)
    place = catalog_of(catalog)
    version = place.resolve(pin)
    record = place.dataset(version.dataset).tag(name, version.number, author=author(author_), message=message)
    data = {"tag": record.tag, "pin": version.pin, "digest": version.digest}
    out.data(data, f"{version.dataset}@{record.tag} is {version.pin} for ever")


def promote(
    pin: PinArgument,
    pointer: Annotated[str, typer.Argument(metavar="POINTER", help="The pointer, made if it is new.")] = "stable",
    message: MessageOption = "promoted",
    author_: AuthorOption = None,
    catalog: CatalogOption = None,
    json: JsonOption = False,
) -> None:
    """Let a pointer mean this version from now on. Every move stays in the log."""
    out = output(json)
    place = catalog_of(catalog)
    version = place.resolve(pin)
    history = place.dataset(version.dataset)
    data: dict[str, Any] = {"pointer": pointer, "pin": version.pin, "digest": version.digest, "moved": True}
    if history.pointers().get(pointer) == version.number:
        out.data(data | {"moved": False}, f"{version.dataset}@{pointer} already is {version.pin}")
        return
    history.move(pointer, version.number, why=message, author=author(author_))
    out.data(data, f"{version.dataset}@{pointer} is {version.pin}")


def rollback(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="The dataset.")],
    to: Annotated[str, typer.Option("--to", metavar="VERSION", help="The version to go back to, e.g. v2.")],
    message: MessageOption,
    pointer: Annotated[str, typer.Option(metavar="NAME", help="Which pointer goes back.")] = "latest",
    author_: AuthorOption = None,
    catalog: CatalogOption = None,
    json: JsonOption = False,
) -> None:
    """Let `latest` mean an older version again. No data moves, and no version is lost."""
    out = output(json)
    place = catalog_of(catalog)
    check_dataset_id(dataset)  # "landcover@v3" is a version, not the dataset
    version = place.resolve(f"{dataset}@{to}")
    history = place.dataset(version.dataset)
    known = history.pointers()
    before = known.get(check_pointer_name(pointer))
    if before is None:
        raise NotFound(
            f"{dataset} has no pointer {pointer!r}; pointers: {', '.join(known)}.",
            hint=f"Make it: stacpin promote {version.pin} {pointer}",
            kind="no-such-pointer",
        )
    if before == version.number:
        raise InvalidInput(
            f"{dataset}@{pointer} already is v{version.number}.", hint=f"See: stacpin log {dataset} --moves {pointer}"
        )
    history.move(pointer, version.number, why=message, author=author(author_))
    data = {"pointer": pointer, "pin": version.pin, "from": f"v{before}", "digest": version.digest}
    out.data(data, f"{version.dataset}@{pointer} is {version.pin} again (it was v{before}): {message}")


def resolve(
    pins: Annotated[
        list[str],
        typer.Argument(metavar="PIN", help="Pins: dataset@stable, dataset@{2026-01-31} (quote it), dataset."),
    ],
    catalog: CatalogOption = None,
    json: JsonOption = False,
) -> None:
    """Say which version each pin means. Prints its canonical pin and its digest."""
    out = output(json)
    place = catalog_of(catalog)
    found = [(pin, place.resolve(pin)) for pin in pins]
    data = [{"given": pin, "pin": version.pin, "digest": version.digest} for pin, version in found]
    out.data(data, "\n".join(f"{version.pin}  {version.digest}" for _, version in found))
