"""The follower: the index says what the catalog says, never more, whoever dies and however many follow."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from indexed import item, same

from catalog.pgstac.database import Database
from catalog.pgstac.follow import Follower
from catalog.pgstac.publish import publish
from catalog.search import Query
from versioning.errors import Expired, Integrity, NotFound, StorageUnavailable
from versioning.expire import expire
from versioning.gc import collect

pytestmark = pytest.mark.slow


def test_versions_come_in_order_and_once(place, backend_of):
    place.put("ds", *map(item, range(50)))
    place.put("ds", item(3, 1), item(60), remove=("t0007",))
    done = place.follower.step()
    assert [(each.pin, each.added, each.closed) for each in done.versions] == [("ds@v1", 50, 0), ("ds@v2", 2, 2)]
    assert not place.follower.step()
    place.holds(backend_of(place))


def test_what_is_not_indexed_does_not_exist(place, backend_of):
    place.put("ds", *map(item, range(5)))
    place.follower.step()
    backend = backend_of(place)
    dataset = place.catalog.dataset("ds")
    second = place.put("ds", item(1, 1))
    place.put("other", item(1))
    dataset.move("stable", 2, why="test", author="test")
    dataset.tag("v1.0.0", 2, author="test")
    assert backend.resolve("ds", "latest").number == 1
    assert backend.dataset_ids() == ["ds"]
    for ref in ("v2", "stable", "v1.0.0", second.digest):
        with pytest.raises(NotFound):
            backend.resolve("ds", ref)
    place.follower.step()
    for ref in ("latest", "v2", "stable", "v1.0.0", second.digest):
        assert backend.resolve("ds", ref).number == 2, ref
    assert backend.dataset_ids() == ["ds", "other"]


def test_a_name_waits_for_its_version(place, backend_of):
    """Between two looks of a follower a version and its promotion may come: the promotion waits."""
    place.put("ds", item(1))
    place.follower.step()
    place.put("ds", item(2))
    dataset = place.catalog.dataset("ds")
    dataset.move("stable", 2, why="test", author="test")
    from catalog.pgstac.follow import _copy_names

    assert place.database.run(lambda connection: _copy_names(connection, dataset=dataset)) == (0, 0)
    backend = backend_of(place)
    with pytest.raises(NotFound):
        backend.resolve("ds", "stable")
    place.follower.step()
    assert backend.resolve("ds", "stable").number == 2


def test_rollback_and_another_branch(place, backend_of):
    place.put("ds", *map(item, range(6)))
    place.put("ds", item(1, 1), remove=("t0002",))
    dataset = place.catalog.dataset("ds")
    dataset.move("latest", 1, why="bad", author="test")
    place.put("ds", item(3, 3))  # made from v1: the index had v2 before it
    place.follower.step()
    assert dataset.record(3).parent == 1
    backend = backend_of(place)
    place.holds(backend)
    assert backend.resolve("ds", "latest").number == 3
    assert place.query("select count(*) from pgstac.items where (private->'u')::int4 = 2147483647") == [(6,)]


def test_an_expired_version_is_gone_and_takes_its_revisions(place, backend_of):
    place.put("ds", *map(item, range(20)))
    place.put("ds", *[item(number, 1) for number in range(10)])
    place.put("ds", *[item(number, 2) for number in range(10)])
    place.follower.step()
    backend = backend_of(place)
    assert place.query("select count(*) from pgstac.items") == [(40,)]
    expire(place.catalog.dataset("ds"), versions=[2], why="test", author="test", apply=True)
    done = place.follower.step()
    assert done.pruned == 10
    time.sleep(1.1)  # how long a server may go by what it has read
    with pytest.raises(Expired):
        backend.resolve("ds", "v2")
    place.holds(backend)


def test_a_version_after_one_that_nobody_can_read_any_more(place, backend_of):
    """What was indexed last is expired and collected: the next one is compared with the index itself."""
    place.put("ds", *map(item, range(30)))
    place.put("ds", *[item(number, 1) for number in range(8)], remove=("t0029",))
    place.follower.step()
    place.put("ds", *[item(number, 2) for number in range(4)], item(40))
    expire(place.catalog.dataset("ds"), versions=[2], why="test", author="test", apply=True)
    for _ in range(2):
        collect(place.catalog, apply=True, older_than=timedelta(0))
    done = place.follower.step()
    assert [(each.pin, each.added, each.closed) for each in done.versions] == [("ds@v3", 5, 4)]
    place.holds(backend_of(place))


def test_a_version_that_expired_before_it_was_seen(place, backend_of):
    place.put("ds", *map(item, range(5)))
    place.put("ds", item(1, 1))
    place.put("ds", item(2, 2))
    expire(place.catalog.dataset("ds"), versions=[1, 2], why="test", author="test", apply=True)
    done = place.follower.step()
    assert [(each.pin, each.expired) for each in done.versions] == [("ds@v1", True), ("ds@v2", True), ("ds@v3", False)]
    backend = backend_of(place)
    place.holds(backend)
    with pytest.raises(Expired):
        backend.resolve("ds", "v1")


def test_many_followers_at_once(place, backend_of):
    for dataset in ("a", "b", "c"):
        for value in range(5):
            place.put(dataset, *[item(number, value) for number in range(value, 40)])
    followers = [Follower(place.catalog, Database(place.database.url)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda follower: follower.step(), followers))
    assert not any(each.failed for each in done)
    told = sorted(one.pin for each in done for one in each.versions)
    assert told == sorted(f"{dataset}@v{number}" for dataset in "abc" for number in range(1, 6))
    place.holds(backend_of(place))


def test_the_follower_dies_in_the_middle_of_a_version(place, backend_of):
    place.put("ds", *map(item, range(2000)))
    place.follower.step()
    place.put("ds", *[item(number, 1) for number in range(1500)])

    class Died(Exception):
        pass

    def die(event):
        if event.done >= 1000:
            raise Died

    backend = backend_of(place)
    with pytest.raises(Died):
        Follower(place.catalog, place.database, listener=die).step()
    assert backend.resolve("ds", "latest").number == 1
    assert place.query("select count(*) from pgstac.items") == [(2000,)]
    same(backend, place.catalog.dataset("ds").version(1))
    assert [each.pin for each in place.follower.step().versions] == ["ds@v2"]
    place.holds(backend)


def test_connections_that_break_are_made_anew(place, backend_of):
    for value in range(6):
        place.put("ds", *[item(number, value) for number in range(300)])
    stop = threading.Event()
    cut = 0

    def cutter():
        nonlocal cut
        with psycopg.connect(place.database.url, autocommit=True) as connection:
            while not stop.wait(0.05):
                rows = connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
                    " and pid <> pg_backend_pid()"
                ).fetchall()
                cut += len(rows)
                if cut > 12:
                    return

    thread = threading.Thread(target=cutter)
    thread.start()
    try:
        done = place.follower.step()
    finally:
        stop.set()
        thread.join()
    assert not done.failed
    assert cut > 2
    place.holds(backend_of(place))


def test_a_server_that_restarts(postgres, place, backend_of):
    place.put("ds", *map(item, range(20)))
    place.follower.step()
    backend = backend_of(place, wait=3)
    version = backend.resolve("ds", "latest")
    same(backend, version)
    postgres.stop()
    try:
        with pytest.raises(StorageUnavailable):
            backend.search([version], Query(), limit=5, token=None)
        with pytest.raises(StorageUnavailable):
            Follower(place.catalog, Database(place.database.url, patience=0.5)).step()
    finally:
        postgres.start()
    place.put("ds", item(1, 1))
    place.follower.step()
    place.holds(backend)


def test_drop_and_rebuild(place, backend_of):
    place.put("a", *map(item, range(10)))
    place.put("b", *map(item, range(10)))
    place.follower.step()
    backend = backend_of(place)
    place.holds(backend)
    place.follower.drop("a")
    assert backend.dataset_ids() == ["b"]
    with pytest.raises(NotFound):
        backend.resolve("a", "v1")
    assert place.query("select count(*) from pgstac.items where collection = 'a'") == [(0,)]
    with pytest.raises(NotFound, match="no dataset"):
        place.follower.drop("a")
    place.put("b", item(1, 1))
    done = place.follower.rebuild()
    assert [each.pin for each in done.versions] == ["a@v1", "b@v1", "b@v2"]
    place.holds(backend)


def test_nobody_finds_nothing_while_the_index_is_built_anew(place, backend_of):
    """Places in the sequence that a server has read mean nothing afterwards: it must notice, not answer emptily."""
    place.put("ds", *map(item, range(30)))
    place.put("ds", item(1, 1))
    place.follower.step()
    backend = backend_of(place)
    versions = [backend.resolve("ds", "v1"), backend.resolve("ds", "v2")]
    for _ in range(3):
        place.follower.rebuild()
        for version in versions:
            same(backend, version, Query.parse(filter="value = 0"))
            found = backend.find(version, "t0001")
            assert found is not None
            assert found.digest == backend.digest(version, "t0001") == version.find("t0001").digest


def test_searches_while_versions_are_published(place, backend_of):
    """Every answer is of one version, whole; pinned ones never change."""
    place.put("ds", *[item(number, 1) for number in range(100)])
    place.follower.step()
    stop = threading.Event()
    wrong: list[str] = []

    def reader():
        backend = backend_of(place)
        while not stop.is_set():
            version = backend.resolve("ds", "latest")
            page = backend.search([version], Query(), limit=200, token=None)
            values = {found["properties"]["value"] for found in page.items}
            if values != {version.number} or len(page.items) != 100 or page.matched != 100:
                wrong.append(f"{version.pin}: {len(page.items)} items of {values}")
            first = backend.search([backend.resolve("ds", "v1")], Query(), limit=200, token=None)
            if {found["properties"]["value"] for found in first.items} != {1}:
                wrong.append("v1 changed")

    threads = [threading.Thread(target=reader) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for value in range(2, 12):
            place.put("ds", *[item(number, value) for number in range(100)])
            place.follower.step()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_an_index_that_somebody_changed_is_told(place):
    place.put("ds", *map(item, range(10)))
    place.follower.step()
    place.put("ds", item(3, 1))
    with psycopg.connect(place.database.url) as connection:
        connection.execute("delete from pgstac.items where id like 't0003!%%'")
    done = place.follower.step()
    assert isinstance(done.failed["ds"], Integrity)
    assert "--rebuild" in str(done.failed["ds"])
    assert place.query("select indexed from pin.datasets") == [(1,)]
    assert not place.follower.rebuild().failed


def test_a_damaged_dataset_does_not_hold_up_the_others(place, backend_of):
    version = place.put("bad", *map(item, range(10)))
    place.put("good", *map(item, range(10)))
    path = f"datasets/bad/manifests/{version.chunks[0].files[0].sha256.hex()}.parquet"
    place.catalog.store.replace(path, b"not parquet")
    done = place.follower.step()
    assert set(done.failed) == {"bad"}
    assert [each.pin for each in done.versions] == ["good@v1"]
    assert backend_of(place).dataset_ids() == ["good"]


def test_the_index_says_when_it_was_looked_at(place):
    before = datetime.now(UTC) - timedelta(seconds=5)
    place.put("ds", item(1))
    place.follower.step()
    assert place.query("select checked from pin.state")[0][0] > before
    assert place.query("select id, indexed, head from pin.datasets") == [("ds", 1, 1)]


def test_the_lag_is_told_by_what_a_follower_saw(place, backend_of):
    """Nobody looks, nothing is known to be missing: but the time since the last look grows."""
    place.put("ds", item(1))
    place.follower.step()
    backend = backend_of(place)
    place.put("ds", item(2))
    assert backend.lag().versions == 0
    with psycopg.connect(place.database.url) as connection:
        connection.execute("update pin.state set checked = now() - interval '1 hour'")
    lag = backend.lag()
    assert (lag.versions, lag.seconds > 3599) == (0, True)
    place.catalog.store.replace(place.catalog.dataset("ds").log.path(2), b"damaged")
    assert place.follower.step().failed
    lag = backend.lag()
    assert (lag.versions, lag.seconds < 60) == (1, True)


def lose(place, seq: int) -> None:
    """Take back what was indexed from a place in the sequence on, as a crash or a failover may."""
    with psycopg.connect(place.database.url) as connection:

        def run(query: str, *args: object):
            return connection.execute(query, args)

        run("delete from pgstac.items where (private->'f')::int4 >= %s", seq)
        reopened = json.dumps({"u": 2**31 - 1})
        run("update pgstac.items set private = private || %s::jsonb where (private->'u')::int4 >= %s", reopened, seq)
        lost = run("delete from pin.versions where seq >= %s returning dataset, number", seq).fetchall()
        for dataset, number in lost:
            run("delete from pin.records where path = %s", f"datasets/{dataset}/versions/{number:08d}.json")
            run("update pin.datasets set indexed = least(indexed, %s) where id = %s", number - 1, dataset)
        run("delete from pgstac.collections where id not in (select dataset from pin.versions)")
        run("update pin.state set seq = %s, state = (select max(state) from pin.records)", seq - 1)


def test_a_database_that_lost_its_last_transactions(place, backend_of):
    place.put("ds", *map(item, range(10)))
    place.follower.step()
    place.put("ds", *[item(number, 2) for number in range(10)])
    place.follower.step()
    backend = backend_of(place)
    first, second = backend.resolve("ds", "v1"), backend.resolve("ds", "v2")
    place.holds(backend)
    lose(place, 2)
    with pytest.raises(StorageUnavailable):
        backend.search([second], Query(), limit=5, token=None)
    with pytest.raises(StorageUnavailable):
        backend.find(second, "t0001")
    same(backend, first)
    assert backend.resolve("ds", "latest").number == 1
    place.follower.step()
    place.holds(backend)
    assert backend.resolve("ds", "latest").number == 2


def test_what_was_lost_comes_back_in_another_order(place, backend_of):
    """The same place in the sequence then means another version: nothing that a server remembers may be trusted."""
    place.put("b", *map(item, range(5)))
    place.follower.step()
    place.put("a", *map(item, range(5)))
    place.follower.step()
    place.put("b", *[item(number, 2) for number in range(5)])
    place.follower.step()
    backend = backend_of(place)
    old = [backend.resolve("b", "v1"), backend.resolve("b", "v2"), backend.resolve("a", "v1")]
    place.holds(backend)
    lose(place, 2)
    # Now b@v2 is indexed where a@v1 was.

    for name, number in (("b", 2), ("a", 1)):
        dataset = place.catalog.dataset(name)
        place.database.run(
            lambda c, dataset=dataset, number=number: publish(c, dataset, number, listener=lambda _: None)
        )
    page = backend.search([old[1], old[2]], Query.parse(sortby="id"), limit=20, token=None)
    assert {(found["collection"], found["properties"]["value"]) for found in page.items} == {("a--v1", 0), ("b--v2", 2)}
    both = backend.search([old[0], old[2]], Query.parse(sortby="id"), limit=20, token=None)
    assert {(found["collection"], found["properties"]["value"]) for found in both.items} == {("a--v1", 0), ("b--v1", 0)}
    place.holds(backend)
