"""The command that serves a catalog: STAC API, objects and STAC Browser at one address."""

from __future__ import annotations

import socket
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from stacpin.cli.context import CatalogOption, output, store_url
from stacpin.cli.output import StoppedAsMeant
from versioning.errors import StorageUnavailable

__all__ = ["free_port", "register"]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog="Example: stacpin serve -C data/catalog --port 8080\n\n"
        "Example: stacpin serve --host 0.0.0.0 --access access.toml"
    )(serve)


def serve(
    catalog: CatalogOption = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="0 takes a free one.")] = 8080,
    public_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The address that clients use, behind a proxy.", show_default=False),
    ] = None,
    proxy_headers: Annotated[
        bool, typer.Option("--proxy-headers", help="Believe X-Forwarded-*: only behind a proxy that always sets it.")
    ] = False,
    access: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Who may read: settings as TOML, see docs/access.md.", show_default=False),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Everybody who reaches it may read everything.")] = False,
) -> None:
    """Serve a catalog as a STAC API, with STAC Browser at /browser/. Read-only; stops with Ctrl-C.

    On another address than this machine's own it needs --access or --public.
    """
    out = output()
    for needed in ("uvicorn", "api.app"):  # before anything is said of an address
        import_module(needed)
    from api.access_settings import load_access
    from api.server import check_exposed
    from api.server import serve as run
    from api.settings import ApiSettings
    from versioning.catalog import Catalog

    url = store_url(catalog)
    title = Catalog.open(url).settings.title
    settings = ApiSettings(
        catalog=url,
        title=title,
        public_url=public_url,
        proxy_headers=proxy_headers,
        access=None if access is None else load_access(access),
    )
    check_exposed(settings, host, public=public)
    free = free_port(host, port)
    address = f"http://{f'[{host}]' if ':' in host else host}:{free}"
    out.note(f"STAC API  {address}/\nbrowser   {address}/browser/\nstop with Ctrl-C")
    run(settings, host=host, port=free, public=public, log_level="warning")
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
