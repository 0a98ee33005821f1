"""The command that serves a catalog: STAC API, objects and STAC Browser at one address."""

from __future__ import annotations

import os
import socket
from importlib import import_module
from typing import Annotated

import typer

from stacpin.cli.context import CatalogOption, output, store_url
from stacpin.cli.indexing import DatabaseOption
from stacpin.cli.output import StoppedAsMeant
from versioning.errors import StorageUnavailable

__all__ = ["free_port", "register"]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: stacpin serve -C data/catalog --port 8080")(serve)


def serve(
    catalog: CatalogOption = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="0 takes a free one.")] = 8080,
    database_url: DatabaseOption = None,
    public_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The address that clients use, behind a proxy.", show_default=False),
    ] = None,
) -> None:
    """Serve a catalog as a STAC API, with STAC Browser at /browser/. Read-only; stops with Ctrl-C.

    With a database it searches the index that stacpin index keeps there; without, the catalog's own manifests.
    """
    out = output()
    for needed in ("uvicorn", "api.app"):  # before anything is said of an address
        import_module(needed)
    from pydantic import SecretStr

    from api.server import serve as run
    from api.settings import ApiSettings
    from versioning.catalog import Catalog

    url = store_url(catalog)
    title = Catalog.open(url).settings.title
    index = database_url or os.environ.get("STACPIN_DATABASE_URL")
    settings = ApiSettings(
        catalog=url,
        title=title,
        database_url=None if index is None else SecretStr(index),
        public_url=public_url,
    )
    free = free_port(host, port)
    address = f"http://{f'[{host}]' if ':' in host else host}:{free}"
    out.note(f"STAC API  {address}/\nbrowser   {address}/browser/\nstop with Ctrl-C")
    run(settings, host=host, port=free, log_level="warning")
    out.note("stopped")
    raise StoppedAsMeant


def free_port(host: str, port: int) -> int:
    """The port, or a free one for 0; an error that says so if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StorageUnavailable(
                f"{host}:{port} cannot be listened on: {error.strerror}.", hint="Choose another --port, or --port 0."
            ) from error
        return probe.getsockname()[1]
