"""Rights: the users of docs/service.md, as it says, can do what they are for and no more."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from indexed import Place, item
from postgres import Cluster, run_postgres

from catalog.pgstac import schema
from catalog.pgstac.database import Database
from catalog.pgstac.follow import Follower
from catalog.pgstac.schema import prepare
from versioning.catalog import Catalog
from versioning.errors import Forbidden
from versioning.expire import expire
from versioning.store import open_store

pytestmark = pytest.mark.slow
_DOCS = Path(__file__).parents[2] / "docs" / "service.md"


@pytest.fixture
def untouched() -> Iterator[Cluster]:
    """A cluster that has none of pgstac's roles yet."""
    with run_postgres() as cluster:
        yield cluster


def documented() -> list[list[str]]:
    """The statements of docs/service.md about rights: with a superuser, and without."""
    section = _DOCS.read_text(encoding="utf-8").partition("\n### Rights\n")[2].partition("\n## ")[0]
    return [found.strip().splitlines() for found in re.findall(r"```sql\n(.*?)```", section, re.DOTALL)]


def told(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type]


def as_user(url: str, name: str) -> str:
    return url.replace("stacpin:stacpin-secret", f"{name}:secret")


def everything(place: Place) -> None:
    """All that a follower does."""
    place.follower.prepare()
    place.put("ds", *map(item, range(20)))
    place.follower.step()
    place.put("ds", item(1, 1) | {"properties": item(1)["properties"] | {"cloud": 3.5}}, item(30), remove=("t0004",))
    place.put("ds", item(2, 2))
    place.put("other", *map(item, range(5)))
    dataset = place.catalog.dataset("ds")
    dataset.move("stable", 2, why="test", author="test")
    dataset.tag("v1.0.0", 3, author="test")
    assert not place.follower.step().failed
    expire(dataset, versions=[1], why="test", author="test", apply=True)
    assert place.follower.step().pruned
    place.follower.drop("other")
    assert [each.pin for each in place.follower.step().versions] == ["other@v1"]
    assert not place.follower.rebuild().failed
    stop = threading.Event()
    place.put("another", item(1))
    for done in place.follower.watch(0.1, stop):
        assert [each.pin for each in done.versions] == ["another@v1"]
        stop.set()


def test_rights_as_documented(untouched, backend_of, monkeypatch):
    """A superuser once; then a user who only indexes, and one who only reads."""
    url = untouched.new_database()
    place = Place(Catalog.create(open_store("memory://")), Database(url))
    place.put("first", *map(item, range(3)))
    place.follower.step()
    told(url, *documented()[0], *(f"alter role {name} password 'secret'" for name in ("indexer", "reader")))
    own = Place(place.catalog, Database(as_user(url, "indexer"), patience=0))
    everything(own)
    own.holds(backend_of(own, as_user(url, "reader")))
    with pytest.raises(Forbidden, match="grant pgstac_admin"):
        Follower(place.catalog, Database(as_user(url, "reader"), patience=0)).step()

    # Another release of our own part, and an older form of it: the one who indexes may bring both up to date.
    changed = schema._sql() + "create or replace function pin.newer() returns int language sql as 'select 1';\n"
    monkeypatch.setattr(schema, "_sql", lambda: changed)
    with pytest.raises(Forbidden, match='grant pgstac_admin to "reader"'):
        prepare(Database(as_user(url, "reader")), place.catalog.record.id)
    own.follower.prepare()
    assert own.query("select pin.newer()") == [(1,)]
    told(url, "update pin.state set form = 0", "create table pin.older (a int)")
    own.follower.prepare()
    assert own.query("select to_regclass('pin.older')") == [(None,)]
    own.follower.step()
    own.holds(backend_of(own, as_user(url, "reader")))


def test_rights_of_a_managed_database(untouched, backend_of):
    """No superuser: an owner who may make roles, where PostGIS is there."""
    with psycopg.connect(untouched.url("postgres"), autocommit=True) as connection:
        connection.execute("create role boss login createrole password 'secret'")
        connection.execute("create database managed owner boss template template0")
    told(untouched.url("managed"), "create extension postgis")
    database = Database(as_user(untouched.url("managed"), "boss"))
    catalog = Catalog.create(open_store("memory://"))
    with pytest.raises(Forbidden, match=r"set role .*docs/service\.md, Rights"):
        prepare(database, catalog.record.id)
    told(database.url, *documented()[1])
    place = Place(catalog, database)
    told(database.url, *documented()[0], *(f"alter role {name} password 'secret'" for name in ("indexer", "reader")))
    own = Place(catalog, Database(as_user(untouched.url("managed"), "indexer")))
    everything(own)
    place.holds(backend_of(place, as_user(untouched.url("managed"), "reader")))


def test_another_pgstac_is_for_who_may(untouched):
    """Its migrations make roles: the user who only indexes is told to whom to turn."""
    url = untouched.new_database()
    prepare(Database(url), "one")
    told(url, *documented()[0], "alter role indexer password 'secret'", "select pgstac.set_version('0.9.9')")
    with pytest.raises(Forbidden, match="As a superuser run stacpin index once"):
        prepare(Database(as_user(url, "indexer")), "one")


def test_an_index_of_another_owner_is_handed_over(place):
    """As releases before made it: all of it belonged to whoever ran stacpin index."""
    told(
        place.database.url,
        "alter table pin.state owner to stacpin",
        "alter function pin.at owner to stacpin",
        "alter function pgstac.pin_order owner to stacpin",
        "alter schema pin owner to stacpin",
        "comment on schema pin is null",
    )
    place.follower.prepare()
    owners = place.query(
        "select nspowner::regrole::text from pg_namespace where nspname = 'pin'"
        " union select relowner::regrole::text from pg_class where relnamespace = 'pin'::regnamespace"
        " union select proowner::regrole::text from pg_proc"
        " where pronamespace = 'pin'::regnamespace or proname = 'pin_order'"
    )
    assert owners == [("pgstac_admin",)]
