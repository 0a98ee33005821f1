"""The command that serves a catalog: STAC API, objects and STAC Browser at one address."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stacpin.cli.context import CatalogOption, output, store_url
from stacpin.cli.indexing import DatabaseOption
from stacpin.cli.output import StoppedAsMeant
from stacpin.cli.service_command import ServiceCommand
from versioning.errors import InvalidInput

if TYPE_CHECKING:
    from api.settings import ApiSettings

__all__ = ["free_port", "register"]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        cls=ServiceCommand,
        epilog="Example: stacpin serve -C data/catalog --port 8080\n\n"
        "Example: stacpin serve -C s3://acme/catalog --workers 4 --metrics 9464 --log-format json --log-requests\n\n"
        "Example: stacpin serve --host 0.0.0.0 --access access.toml\n\n"
        "Every option is an environment variable too: --public-url is STACPIN_PUBLIC_URL, and STACPIN_PUBLIC_URL_FILE "
        "names a file that holds its value. Limits are for each worker.",
    )(serve)


def serve(
    catalog: CatalogOption = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="0 takes a free one.")] = 8080,
    database_url: DatabaseOption = None,
    title: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="What people read above the catalog. Unless told, its title.", show_default=False
        ),
    ] = None,
    public_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The address that clients use, behind a proxy.", show_default=False),
    ] = None,
    root_path: Annotated[
        str, typer.Option(metavar="PATH", help="A path in front of all routes, behind a proxy.", show_default=False)
    ] = "",
    proxy_headers: Annotated[
        bool,
        typer.Option(
            "--proxy-headers",
            help="Believe Forwarded, X-Forwarded-For, -Host, -Port and -Proto; "
            "only behind a proxy that always sets them.",
        ),
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=128, metavar="N", help="Processes that answer.")] = 1,
    max_connections: Annotated[int, typer.Option(min=1, max=100_000, metavar="N", help="Beyond them, 503.")] = 1_000,
    keep_alive_seconds: Annotated[
        int, typer.Option(min=1, max=3_600, metavar="S", help="How long a connection may wait for its next request.")
    ] = 65,
    client_seconds: Annotated[
        float, typer.Option(min=0.1, max=3_600, metavar="S", help="How long a request may take to arrive.")
    ] = 30,
    request_seconds: Annotated[
        float, typer.Option(min=0.1, max=3_600, metavar="S", help="When an answer must have begun; else 503.")
    ] = 60,
    max_search_seconds: Annotated[
        float, typer.Option(min=0.1, max=3_600, metavar="S", help="How long a search may evaluate; else 400.")
    ] = 20,
    max_limit: Annotated[int, typer.Option(min=1, max=10_000, metavar="N", help="The largest page.")] = 10_000,
    max_drawings: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="Tiles and pictures that are drawn at once.")
    ] = 2,
    shutdown_seconds: Annotated[
        int, typer.Option(min=1, max=3_600, metavar="S", help="How long running requests may finish at the end.")
    ] = 25,
    drain_seconds: Annotated[
        float, typer.Option(min=0, max=600, metavar="S", help="Before the end, how long to answer without readiness.")
    ] = 0,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN", help="Sites whose pages may ask; can be repeated. Unless told, all.", show_default=False
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS:]PORT|path",
            help="Prometheus metrics on a port of their own, or at /_mgmt/metrics.",
            show_default=False,
        ),
    ] = None,
    otel: Annotated[
        bool, typer.Option("--otel", help="Traces by OpenTelemetry; also when OTEL_EXPORTER_OTLP_ENDPOINT is set.")
    ] = False,
    log_format: Annotated[Literal["text", "json"], typer.Option(help="Lines for people, or JSON.")] = "text",
    log_requests: Annotated[bool, typer.Option("--log-requests", help="A line for each request.")] = False,
    access: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Who may read: settings as TOML, see docs/access.md.", show_default=False),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Everybody who reaches it may read everything.")] = False,
) -> None:
    """Serve a catalog as a STAC API, with STAC Browser at /browser/. Read-only; stops with Ctrl-C or SIGTERM.

    With a database it searches the index that stacpin index keeps there; without, the catalog's own manifests.

    On another address than this machine's own it needs --access or --public.
    """
    out = output()
    for needed in ("uvicorn", "api.app"):  # before anything is said of an address
        import_module(needed)
    from api.access.settings import load_access
    from api.server import check_exposed
    from api.server import serve as run
    from api.service.tracing import wanted
    from versioning.catalog import Catalog

    url = store_url(catalog)
    of_catalog = Catalog.open(url).settings.title
    settings = _settings(
        catalog=url,
        title=title or of_catalog,
        database_url=database_url,
        public_url=public_url,
        root_path=root_path,
        proxy_headers=proxy_headers,
        workers=workers,
        max_connections=max_connections,
        keep_alive_seconds=keep_alive_seconds,
        client_seconds=client_seconds,
        request_seconds=request_seconds,
        max_search_seconds=max_search_seconds,
        max_limit=max_limit,
        max_drawings=max_drawings,
        shutdown_seconds=shutdown_seconds,
        drain_seconds=drain_seconds,
        cors_origins=tuple(cors_origin or ("*",)),
        metrics=metrics,
        otel=otel or wanted(os.environ),
        log_format=log_format,
        log_requests=log_requests,
        access=None if access is None else load_access(access),
    )
    check_exposed(settings, host, public=public)
    said = out.note if log_format == "text" else lambda _: None  # what reads JSON lines reads nothing else
    lines = _lines(settings)
    run(settings, host=host, port=port, public=public, log_level="warning", ready=lambda at: said(lines(at)))
    said("stopped")
    raise StoppedAsMeant


def _lines(settings: ApiSettings) -> Callable[[str], str]:
    """What is said once an address is listened on."""
    from api.browser_files import is_built

    def told(address: str) -> str:
        lines = [f"STAC API  {address}/"]
        lines += [f"browser   {address}/browser/"] if is_built(settings.browser) else []
        lines += [f"public    {settings.public_url}/"] if settings.public_url else []
        return "\n".join([*lines, "stop with Ctrl-C"])

    return told


def _settings(**values: Any) -> ApiSettings:
    """The settings, or what is wrong with them in the words of the command line."""
    from pydantic import ValidationError

    from api.settings import ApiSettings

    try:
        return ApiSettings(**values)
    except ValidationError as error:
        told = "; ".join(str(each["msg"]).removeprefix("Value error, ") for each in error.errors())
        raise InvalidInput(f"{told}.", hint="See: stacpin serve --help", kind="invalid-setting") from error


def free_port(host: str, port: int) -> int:
    """The port, or a free one for 0; an error that says so if it is taken."""
    from api.service.listening import bound_socket

    with bound_socket(host, port) as probe:
        return probe.getsockname()[1]
