"""The schema: made, upgraded, and refused where it cannot be trusted."""

from __future__ import annotations

import psycopg
import pytest
from indexed import item
from pypgstac.db import PgstacDB
from pypgstac.migrate import Migrate

from catalog.pgstac.database import Database, check_url, public_url
from catalog.pgstac.follow import Follower
from catalog.pgstac.schema import PGSTAC, check_schema, prepare
from versioning.errors import Conflict, Forbidden, InvalidInput, StorageUnavailable

pytestmark = pytest.mark.slow


def asking(url):
    def ask(query):
        with psycopg.connect(url) as connection:
            return connection.execute(query).fetchall()

    return ask


def test_it_can_be_made_again_and_again(place):
    place.put("ds", item(1))
    place.follower.step()
    assert prepare(place.database, place.catalog.record.id) is None
    check_schema(asking(place.database.url), place.catalog.record.id)
    assert place.query("select count(*) from pgstac.items") == [(1,)]


def test_an_older_pgstac_is_upgraded(postgres):
    database = Database(postgres.new_database())
    client = PgstacDB(dsn=database.url)
    Migrate(client).run_migration("0.9.9")
    client.close()
    with pytest.raises(StorageUnavailable, match="no index"):
        check_schema(asking(database.url), "one")
    prepare(database, "one")
    assert asking(database.url)("select pgstac.get_version()") == [(PGSTAC,)]
    check_schema(asking(database.url), "one")


def test_a_newer_pgstac_is_refused(place):
    with psycopg.connect(place.database.url) as connection:
        connection.execute("select pgstac.set_version('99.0.0')")
    with pytest.raises(InvalidInput, match=r"pgstac 99\.0\.0"):
        place.follower.prepare()
    with pytest.raises(StorageUnavailable, match=r"pgstac 99\.0\.0.*Upgrade stacpin"):
        check_schema(asking(place.database.url), place.catalog.record.id)


def test_another_catalogs_index_is_refused(place):
    with pytest.raises(Conflict, match="not of another"):
        prepare(place.database, "another")
    with pytest.raises(Conflict):
        check_schema(asking(place.database.url), "another")


def test_missing_operators_are_told_and_come_back(place):
    """A migration of pgstac may throw them away."""
    with psycopg.connect(place.database.url) as connection:
        connection.execute("delete from pgstac.cql2_ops where op = 'pin_at'")
    with pytest.raises(StorageUnavailable, match="pin_at"):
        check_schema(asking(place.database.url), place.catalog.record.id)
    place.follower.prepare()
    check_schema(asking(place.database.url), place.catalog.record.id)


def test_a_newer_form_is_refused(place):
    """It belongs to a newer release, which may be running."""
    place.put("ds", item(1))
    place.follower.step()
    with psycopg.connect(place.database.url) as connection:
        connection.execute("update pin.state set form = 99")
    with pytest.raises(InvalidInput, match=r"form 99.*Upgrade stacpin") as refused:
        place.follower.prepare()
    assert refused.value.kind == "newer-index"
    with pytest.raises(StorageUnavailable, match=r"form 99.*Upgrade stacpin"):
        check_schema(asking(place.database.url), place.catalog.record.id)
    assert place.query("select count(*) from pin.versions") == [(1,)]


def test_an_older_form_is_built_anew(place):
    place.put("ds", item(1))
    place.follower.step()
    with psycopg.connect(place.database.url) as connection:
        connection.execute("update pin.state set form = 0")
    with pytest.raises(StorageUnavailable, match="form 0"):
        check_schema(asking(place.database.url), place.catalog.record.id)
    with pytest.raises(Conflict):  # before anything of it is gone
        prepare(place.database, "another")
    assert prepare(place.database, place.catalog.record.id) == 0
    assert [each.pin for each in place.follower.step().versions] == ["ds@v1"]


def test_a_database_that_sorts_by_a_language_is_refused(postgres):
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(
            "create database german template template0 locale_provider icu icu_locale 'de' locale 'C' encoding UTF8"
        )
    with pytest.raises(InvalidInput, match="sorts texts"):
        prepare(Database(postgres.url("german")), "one")


def test_a_database_without_an_encoding_is_refused(postgres):
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute("create database bytes template template0 encoding SQL_ASCII")
    with pytest.raises(InvalidInput, match="has the encoding SQL_ASCII, not UTF8"):
        prepare(Database(postgres.url("bytes")), "one")


def test_errors_name_the_database_and_never_its_password(postgres, place):
    wrong = place.database.url.replace("stacpin-secret", "hunter2")
    with pytest.raises(Forbidden) as refused:
        Follower(place.catalog, Database(wrong)).prepare()
    assert "127.0.0.1" in str(refused.value)
    for url in (
        wrong,
        "postgresql://u:hunter2@127.0.0.1:1/x",
        postgres.url("nowhere").replace("stacpin-secret", "hunter2"),
    ):
        with pytest.raises((Forbidden, StorageUnavailable)) as told:
            Follower(place.catalog, Database(url, patience=0)).prepare()
        assert "hunter2" not in str(told.value)
    with pytest.raises(InvalidInput):
        Follower(place.catalog, Database("no url at all", patience=0)).prepare()
    assert public_url("postgresql://u:p@[::1]:5/x?sslmode=require") == "postgresql://[::1]:5/x"
    assert public_url("host=db password=hunter2 dbname=x") == "the database host=db dbname=x"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:hunter2@h/x",
        "postgres:/u:hunter2@h/x",
        "hunter2",
        "postgresql://u:hunter2%x@h/x",
        "postgresql://u:hunter2/2@h/x",
        "postgresql://u:2/hunter2@h/x",
        "postgresql://u:2@hunter2@h/x",
        "postgresql://h:hunter2/x",
    ],
)
def test_a_malformed_url_is_refused_and_not_repeated(url):
    with pytest.raises(InvalidInput, match="postgresql://user:password@host:port/name") as refused:
        Database(url)
    assert refused.value.kind == "database-url"
    assert "hunter2" not in f"{refused.value} {refused.value.__context__} {public_url('mysql://u:hunter2@h/x')}"


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("postgres://u:p%40w@h/x", "postgresql://h/x"),
        ("postgresql://u@a:1,b:2/x", "postgresql://a:1,b:2/x"),
        ("postgresql:///x?host=/run&port=5&user=u&password=p@w", "postgresql://%2Frun:5/x"),
        ("dbname=x password='a host=hunter2' host=db", "the database host=db dbname=x"),
        ("service=stac", "the database"),
    ],
)
def test_every_form_of_libpq_is_taken(url, public):
    check_url(url)
    assert public_url(url) == public


def test_who_only_reads_needs_only_pgstac_read(postgres, place, backend_of):
    place.put("ds", *map(item, range(5)))
    place.follower.step()
    with psycopg.connect(place.database.url, autocommit=True) as connection:
        connection.execute("create role looker login password 'looks' in role pgstac_read")
    url = place.database.url.replace("stacpin:stacpin-secret", "looker:looks")
    place.holds(backend_of(place, url))
    with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("delete from pgstac.items")


def test_what_is_up_to_date_is_not_made_again(place):
    """No DDL: it would wait for searches, and take rights that a follower need not have."""
    before = place.query("select oid, xmin::text from pg_proc where pronamespace = 'pin'::regnamespace order by 1")
    place.follower.prepare()
    again = place.query("select oid, xmin::text from pg_proc where pronamespace = 'pin'::regnamespace order by 1")
    assert before == again != []
