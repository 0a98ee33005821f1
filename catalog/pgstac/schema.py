"""The schema of the index: pgstac's by its own migrations, and ours on top; checked before it is used."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import Any

import psycopg
import pypgstac
from pypgstac.db import PgstacDB
from pypgstac.migrate import Migrate

from catalog.pgstac.database import Database, public_url
from versioning.errors import Conflict, InvalidInput, StorageUnavailable

__all__ = ["FORM", "PGSTAC", "check_schema", "prepare"]

# Raise it when rows or tables get another form: an index of another form is built anew.
FORM = 1
PGSTAC: str = pypgstac.__version__
_EXTENSIONS = ("postgis", "btree_gist", "unaccent")
_BY_BYTES = frozenset({"C", "POSIX", "C.UTF-8", "C.utf8"})
_OWN = "Use a database of its own for each catalog."
_LOCK = 0x7374_6163  # of all who change the schema at once


def prepare(database: Database, catalog_id: str) -> bool:
    """Bring the schema up to date for a catalog; True if the index was or became empty.

    Raises
    ------
    InvalidInput
        If the database sorts texts otherwise than by bytes, lacks PostGIS, or has a newer pgstac.
    Conflict
        If it is the index of another catalog.
    """
    with database.connect() as connection:
        _check_server(connection, database.url)
        connection.execute("select pg_advisory_lock(%s)", (_LOCK,))
        connection.commit()
        try:
            _migrate(connection, database.url)
            return _install(connection, catalog_id, database.url)
        finally:
            connection.rollback()
            connection.execute("select pg_advisory_unlock(%s)", (_LOCK,))


def _check_server(connection: psycopg.Connection, url: str) -> None:
    row = connection.execute(
        "select to_jsonb(d), pg_encoding_to_char(encoding), current_setting('server_version_num')::int,"
        " exists (select from pg_collation where collname = 'und-x-icu')"
        " from pg_database d where datname = current_database()"
    ).fetchone()
    assert row is not None
    about, encoding, version, has_icu = row
    where = public_url(url)
    hint = "Make another: createdb --template template0 --locale C --encoding UTF8 NAME"
    collation = about["datcollate"]
    if about.get("datlocprovider", "c") != "c":  # a column of PostgreSQL 15, and what it is about has had two names
        collation = about.get("datlocale") or about.get("daticulocale") or "another language"
    if collation not in _BY_BYTES:
        raise InvalidInput(f"{where} sorts texts by {collation}, not by bytes.", hint=hint, kind="collation")
    if encoding != "UTF8":
        raise InvalidInput(f"{where} has the encoding {encoding}, not UTF8.", hint=hint, kind="encoding")
    if version < 140000 or not has_icu:  # noqa: PLR2004 - PostgreSQL 14
        raise InvalidInput(f"{where} is not PostgreSQL 14 or newer with ICU.", hint="Use a newer server.")
    found = connection.execute("select name from pg_available_extensions where name = any(%s)", (list(_EXTENSIONS),))
    missing = sorted(set(_EXTENSIONS) - {name for (name,) in found})
    if missing:
        raise InvalidInput(
            f"{where} has no {', '.join(missing)}.",
            hint="Install PostGIS, e.g. apt-get install postgresql-15-postgis-3",
        )


def _migrate(connection: psycopg.Connection, url: str) -> None:
    """Install or upgrade pgstac to the version that its client here is made for."""
    found = _pgstac_version(connection)
    if found == PGSTAC:
        return
    if found is not None and _numbers(found) > _numbers(PGSTAC):
        raise InvalidInput(
            f"{public_url(url)} has pgstac {found}, this stacpin is made for {PGSTAC}.", hint="Upgrade stacpin."
        )
    connection.commit()
    client = PgstacDB(dsn=url)
    try:
        Migrate(client).run_migration(PGSTAC)
    finally:
        client.close()
    if _pgstac_version(connection) != PGSTAC:
        raise StorageUnavailable(f"{public_url(url)} could not be migrated to pgstac {PGSTAC}.")


def _pgstac_version(connection: psycopg.Connection) -> str | None:
    there = connection.execute("select to_regprocedure('pgstac.get_version()') is not null").fetchone()
    if there is None or not there[0]:
        return None
    row = connection.execute("select pgstac.get_version()").fetchone()
    return None if row is None else row[0]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _install(connection: psycopg.Connection, catalog_id: str, url: str) -> bool:
    """Our part, in one transaction."""
    if _form(connection) not in {None, FORM}:
        _clear(connection)
    connection.execute(_sql().encode())
    row = connection.execute("select catalog from pin.state").fetchone()
    if row is None:
        connection.execute("insert into pin.state (catalog, form) values (%s, %s)", (catalog_id, FORM))
    elif row[0] != catalog_id:
        raise Conflict(
            f"{public_url(url)} is the index of the catalog {row[0]}, not of {catalog_id}.",
            hint="Use a database of its own for each catalog.",
            kind="other-catalog",
        )
    empty = connection.execute("select not exists (select from pin.versions)").fetchone()
    connection.commit()
    return bool(empty and empty[0])


def _form(connection: psycopg.Connection) -> int | None:
    there = connection.execute("select to_regclass('pin.state')").fetchone()
    if there is None or there[0] is None:
        return None
    row = connection.execute("select form from pin.state").fetchone()
    return None if row is None else row[0]


def _clear(connection: psycopg.Connection) -> None:
    connection.execute("delete from pgstac.collections where id in (select id from pin.datasets)")
    connection.execute("drop schema pin cascade")


@cache
def _sql() -> str:
    text = resources.files("catalog.pgstac").joinpath("schema.sql").read_text(encoding="utf-8")
    return text.replace("@marks@", _marks())


def _marks() -> str:
    """The marks of letters (Unicode's combining characters) as a class of a regular expression."""
    codes = [code for code in range(sys.maxunicode + 1) if unicodedata.combining(chr(code))]
    parts: list[str] = []
    first = last = codes[0]
    for code in [*codes[1:], None]:
        if code is not None and code == last + 1:
            last = code
            continue
        parts.append(f"\\U{first:08X}-\\U{last:08X}")
        if code is not None:
            first = last = code
    return "".join(parts)


def check_schema(ask: Callable[[str], Sequence[Sequence[Any]]], catalog_id: str) -> None:
    """Whether what :func:`prepare` made is there and whole, for who only reads; ``ask`` gives the rows of a query.

    Raises
    ------
    StorageUnavailable
        If the index is missing, of another form or pgstac, or lacks operators.
    Conflict
        If it is another catalog's.
    """
    there = ask("select to_regclass('pin.state') is not null")[0][0]
    rows = ask("select catalog, form, pgstac.get_version() from pin.state") if there else []
    if not rows:
        raise StorageUnavailable("There is no index yet.", hint="Make it: stacpin index", kind="no-index")
    catalog, form, found = rows[0]
    if catalog != catalog_id:
        raise Conflict("The database is the index of another catalog.", hint=_OWN, kind="other-catalog")
    if form != FORM or found != PGSTAC:
        raise StorageUnavailable(
            f"The index has form {form} on pgstac {found}; this stacpin reads form {FORM} on {PGSTAC}.",
            hint="Bring it up to date: stacpin index",
            kind="no-index",
        )
    missing = _operators() - {name for (name,) in ask("select op from pgstac.cql2_ops")}
    if missing:
        raise StorageUnavailable(
            f"The index lacks operators: {', '.join(sorted(missing))}.",
            hint="Bring it up to date: stacpin index",
            kind="no-index",
        )


def _operators() -> set[str]:
    return set(re.findall(r"^    \('(pin_\w+)', '", _sql(), re.MULTILINE))
