"""The schema of the index: pgstac's by its own migrations, and ours on top; checked before it is used."""

from __future__ import annotations

import hashlib
import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import Any, LiteralString

import psycopg
import pypgstac
from psycopg import sql
from pypgstac.db import PgstacDB
from pypgstac.migrate import Migrate

from catalog.pgstac.database import Database, public_url
from versioning.errors import Conflict, Forbidden, InvalidInput, StorageUnavailable

__all__ = ["FORM", "PGSTAC", "check_schema", "prepare"]

# Raise it when rows or tables get another form: an index of another form is built anew.
FORM = 1
PGSTAC: str = pypgstac.__version__
_EXTENSIONS = ("postgis", "btree_gist", "unaccent")
_BY_BYTES = frozenset({"C", "POSIX", "C.UTF-8", "C.utf8"})
_OWN = "Use a database of its own for each catalog."
_UPGRADE = "Upgrade stacpin."
_LOCK = 0x7374_6163  # of all who change the schema at once
_EMPTY = """
    do $$
    declare
        made text;
    begin
        for made in
            select format('table %s', oid::regclass) from pg_class
            where relnamespace = 'pin'::regnamespace and relkind = 'r'
            union all
            select format('function %s', oid::regprocedure) from pg_proc where pronamespace = 'pin'::regnamespace
        loop
            execute format('drop %s cascade', made);
        end loop;
        comment on schema pin is null;
    end
    $$
"""


def prepare(database: Database, catalog_id: str) -> int | None:
    """Bring the schema up to date for a catalog. An index of an older form is emptied: which form that was, else None.

    What is up to date is only looked at: that takes no right but to read.

    Raises
    ------
    InvalidInput
        If the database sorts texts otherwise than by bytes or lacks PostGIS, or its index or pgstac is newer.
    Conflict
        If it is the index of another catalog.
    Forbidden
        If something is to be made or changed, and the user may not.
    """
    with database.connect() as connection:
        _check_server(connection, database.url)
        connection.execute("select pg_advisory_lock(%s)", (_LOCK,))
        connection.commit()
        try:
            _migrate(connection, database.url)
            return _install(connection, catalog_id, database.url)
        except psycopg.errors.InsufficientPrivilege as error:
            user = sql.Identifier(connection.info.user).as_string()
            raise Forbidden(
                f"{public_url(database.url)}: {user} may not use the index, or not make it as this release needs it:"
                f" {error.diag.message_primary}.",
                hint=f"As a superuser run stacpin index once, then: grant pgstac_admin to {user};"
                " without one see docs/service.md, Rights.",
            ) from error
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
        raise InvalidInput(f"{public_url(url)} has pgstac {found}, this stacpin is made for {PGSTAC}.", hint=_UPGRADE)
    connection.commit()
    client = PgstacDB(dsn=url)
    try:
        Migrate(client).run_migration(PGSTAC)
    finally:
        client.close()
    if _pgstac_version(connection) != PGSTAC:
        raise StorageUnavailable(f"{public_url(url)} could not be migrated to pgstac {PGSTAC}.")


def _there(connection: psycopg.Connection, query: LiteralString) -> bool:
    row = connection.execute(query).fetchone()
    return row is not None and row[0]


def _pgstac_version(connection: psycopg.Connection) -> str | None:
    if not _there(connection, "select to_regprocedure('pgstac.get_version()') is not null"):
        return None
    row = connection.execute("select pgstac.get_version()").fetchone()
    return None if row is None else row[0]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _install(connection: psycopg.Connection, catalog_id: str, url: str) -> int | None:
    """Our part, in one transaction."""
    found, form = _state(connection)
    if found not in {None, catalog_id}:
        raise Conflict(
            f"{public_url(url)} is the index of the catalog {found}, not of {catalog_id}.",
            hint=_OWN,
            kind="other-catalog",
        )
    if form is not None and form > FORM:
        raise InvalidInput(
            f"{public_url(url)} has an index of form {form}, this stacpin is made for {FORM}.",
            hint=_UPGRADE,
            kind="newer-index",
        )
    older = form is not None and form < FORM
    if older:
        _clear(connection)
    if not _current(connection):
        # Even "if not exists" takes the right to make one.
        if not _there(connection, "select to_regnamespace('pin') is not null"):
            connection.execute("create schema pin authorization pgstac_admin")
        connection.execute(_sql().encode())
        text = sql.SQL("comment on schema pin is {}")
        connection.execute(text.format(sql.Literal(_fingerprint())))
    if found is None or older:
        connection.execute("insert into pin.state (catalog, form) values (%s, %s)", (catalog_id, FORM))
    connection.commit()
    return form if older else None


def _current(connection: psycopg.Connection) -> bool:
    """Whether schema.sql was run as it is here, on this pgstac, and nobody took its operators away."""
    row = connection.execute("select obj_description(to_regnamespace('pin'), 'pg_namespace')").fetchone()
    if row is None or row[0] != _fingerprint():
        return False
    return _operators() <= {name for (name,) in connection.execute("select op from pgstac.cql2_ops")}


def _fingerprint() -> str:
    return f"stacpin {hashlib.sha256(f'{PGSTAC} {_sql()}'.encode()).hexdigest()}"


def _state(connection: psycopg.Connection) -> tuple[str, int] | tuple[None, None]:
    """Which catalog's index is there, and its form."""
    if not _there(connection, "select to_regclass('pin.state') is not null"):
        return None, None
    row = connection.execute("select catalog, form from pin.state").fetchone()
    return (None, None) if row is None else (row[0], row[1])


def _clear(connection: psycopg.Connection) -> None:
    connection.execute("delete from pgstac.collections where id in (select id from pin.datasets)")
    # Not the schema itself: whoever may index need not be able to make one.
    connection.execute(_EMPTY)


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
        newer = form > FORM or _numbers(found) > _numbers(PGSTAC)
        raise StorageUnavailable(
            f"The index has form {form} on pgstac {found}; this stacpin reads form {FORM} on {PGSTAC}.",
            hint=_UPGRADE if newer else "Bring it up to date: stacpin index",
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
