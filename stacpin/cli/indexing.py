"""The command index: the catalog's index in PostgreSQL, which a team's server searches."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stacpin.cli.context import CatalogOption, JsonOption, catalog_of, output
from stacpin.cli.output import Output, StoppedAsMeant, counted
from stacpin.cli.service_command import ServiceCommand
from versioning.errors import InvalidInput

if TYPE_CHECKING:
    from catalog.pgstac.follow import Follower, Pass
    from catalog.pgstac.publish import Published

__all__ = ["DatabaseOption", "register"]

DatabaseOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The index in PostgreSQL: postgresql://user@host/name; a password is better in PGPASSFILE.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        cls=ServiceCommand,
        epilog="Example: stacpin index -C s3://acme/catalog --database-url postgresql://stacpin@db/stac\n\n"
        "Example: stacpin index --watch --every 5\n\n"
        "Exit codes: 0 the index has every version, 20 the database is another catalog's index, 30 a version is "
        "damaged, 40 the index lacks what --drop names, 50 the database or its URL cannot be used, 60 the database is "
        "not there, does not answer, or refuses the user.\n\n"
        "Every option is an environment variable too: --database-url is STACPIN_DATABASE_URL, and "
        "STACPIN_DATABASE_URL_FILE names a file that holds its value.",
    )(index)


def index(
    database_url: DatabaseOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until stopped: index what is published.")] = False,
    every: Annotated[
        float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="How often --watch looks at the catalog.")
    ] = 5,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Drop the whole index first.")] = False,
    drop: Annotated[
        str | None,
        typer.Option(metavar="DS", help="Only take a dataset out of the index.", show_default=False),
    ] = None,
    catalog: CatalogOption = None,
    json: JsonOption = False,
) -> None:
    """Bring the catalog's index in PostgreSQL up to date: pgstac, with every item revision once.

    The catalog stays the truth, and the index can be dropped at any time. Several may run at once. The database must
    sort by bytes: createdb --template template0 --locale C --encoding UTF8 NAME
    """
    out = output(json)
    from catalog.pgstac.database import Database
    from catalog.pgstac.follow import Follower

    if sum([watch, rebuild, drop is not None]) > 1 and not (watch and rebuild):
        raise InvalidInput("--drop does one thing only.", hint="Leave --watch and --rebuild away.")
    place = catalog_of(catalog)
    if not database_url:
        raise InvalidInput(
            "No database is named.",
            hint="Use --database-url postgresql://user@host/name, or set STACPIN_DATABASE_URL.",
            kind="no-database",
        )
    with out.progress() as listen:
        follower = Follower(place, Database(database_url, tell=out.note), listener=listen)
        cleared = follower.prepare()
        if cleared is not None:
            _tell_cleared(out, cleared)
        if drop is not None:
            follower.drop(drop)
            out.data({"dropped": drop}, f"{drop} is out of the index; the next run of stacpin index takes it in anew")
            return
        done = follower.rebuild() if rebuild else None
        if watch:
            _watch(out, follower, every, done)
        done = follower.step() if done is None else done
    _tell(out, done)
    data = {
        "versions": [_plain(each) for each in done.versions],
        "names": done.names,
        "pruned": done.pruned,
        "cleared_form": cleared,
    }
    if done.failed:
        dataset, error = next(iter(done.failed.items()))
        others = f" ({counted(len(done.failed), 'dataset')} failed)" if len(done.failed) > 1 else ""
        raise type(error)(f"{dataset}: {error.message}{others}", hint=error.hint, kind=error.kind, data=data)
    out.data(data, lines=True)
    if not done:
        out.note("the index has everything already")


def _watch(out: Output, follower: Follower, every: float, first: Pass | None) -> None:
    """Follow until Ctrl-C or SIGTERM, after the version that is being indexed."""
    if first is not None:
        _tell(out, first)
    out.note("following the catalog; stop with Ctrl-C")
    with _stopping() as stop:
        failed: set[str] = set()
        for done in follower.watch(every, stop):
            _tell(out, done)
            news = {f"{dataset}: {error}" if dataset else str(error) for dataset, error in done.failed.items()}
            for text in sorted(news - failed):  # what goes on failing is told once
                out.line({"failed": text}, f"failed: {text}")
            failed = news
    out.note("stopped")
    raise StoppedAsMeant


@contextmanager
def _stopping() -> Iterator[Event]:
    stop = Event()

    def end(*_: Any) -> None:
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell_cleared(out: Output, form: int) -> None:
    if out.json:
        out.line({"cleared_form": form}, "")
    out.note(f"the index had form {form}, of an older stacpin: it is built anew")


def _tell(out: Output, done: Pass) -> None:
    for each in done.versions:
        text = "expired, nothing to index" if each.expired else f"{each.added} in, {each.closed} out"
        out.line(_plain(each), f"{each.pin}: {text}")
    if done.names:
        out.note(f"{counted(done.names, 'pointer move, tag or expiry', 'pointer moves, tags and expiries')}")
    if done.pruned:
        out.note(f"{counted(done.pruned, 'revision')} of expired versions gone")


def _plain(each: Published) -> dict[str, Any]:
    return {"pin": each.pin, "begun": each.added, "ended": each.closed, "expired": each.expired}
