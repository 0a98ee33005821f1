"""The backend on an index that is away, built anew, busy or asked too much: no wrong answer, and a clear no."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from indexed import item, same

from api.pgstac_backend import _Places
from catalog.search import Query
from versioning.errors import InvalidInput, StorageUnavailable

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("others", [False, True])
def test_a_dataset_that_is_out_of_the_index_is_never_empty(place, backend_of, others):
    """Its partition is gone: PostgreSQL then looks at no condition of a search, so the proof must not be one."""
    place.put("ds", *map(item, range(30)))
    if others:
        place.put("other", *map(item, range(3)))
    place.follower.step()
    backend = backend_of(place)
    version = backend.resolve("ds", "v1")
    token = backend.search([version], Query(), limit=5, token=None).next
    (mark,) = place.query("select mark from pin.versions where dataset = 'ds'")[0]
    place.follower.drop("ds")
    asks = [
        lambda: backend.search([version], Query(), limit=5, token=None),
        lambda: backend.search([version], Query.parse(ids="t0001"), limit=5, token=None),
        lambda: backend.search([version], Query(), limit=5, token=token),
        lambda: backend.find(version, "t0001"),
        lambda: backend.digest(version, "t0001"),
    ]
    for ask in asks:
        # As if it had been dropped within this second.
        backend._places["ds"] = _Places([1], [1], [mark])
        backend._asked = time.monotonic()
        with pytest.raises(StorageUnavailable):
            ask()


def test_searches_while_the_index_is_built_anew_again_and_again(place, backend_of):
    place.put("ds", *map(item, range(30)))
    place.follower.step()
    backend = backend_of(place)
    version = backend.resolve("ds", "v1")
    stop = threading.Event()

    def rebuild():
        while not stop.is_set():
            place.follower.rebuild()

    thread = threading.Thread(target=rebuild)
    thread.start()
    found = away = 0
    try:
        end = time.monotonic() + 4
        while time.monotonic() < end:
            try:
                page = backend.search([version], Query.parse(filter="value = 0"), limit=3, token=None)
                row = backend.find(version, "t0001")
            except StorageUnavailable:
                away += 1
            else:
                assert (len(page.items), page.matched) == (3, 30)
                assert row is not None
                found += 1
    finally:
        stop.set()
        thread.join()
    assert found
    assert away


def test_while_the_database_is_away_only_one_waits_for_it(postgres, place, backend_of, caplog):
    place.put("ds", *map(item, range(20)))
    place.follower.step()
    backend = backend_of(place, wait=3)
    version = backend.resolve("ds", "latest")
    postgres.stop()
    try:
        with ThreadPoolExecutor(12) as pool:

            def ask(_: int) -> None:
                with pytest.raises(StorageUnavailable):
                    backend.search([version], Query(), limit=5, token=None)

            list(pool.map(ask, range(120)))
        # All threads at first, when nobody knew; each that waits says so.
        waited = [record for record in caplog.records if "couldn't get a connection" in record.getMessage()]
        assert 0 < len(waited) < 60
    finally:
        postgres.start()
    place.follower.step()  # a database that is killed may lose what came last
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with suppress(StorageUnavailable):
            same(backend, version)
            return
    raise AssertionError


def test_slow_searches_keep_nobody_from_short_questions(place, backend_of):
    place.put("ds", *map(item, range(2000)))
    place.follower.step()
    backend = backend_of(place, size=2)
    version = backend.resolve("ds", "latest")
    slow = " OR ".join(f"value + value * {number} = -1.5" for number in range(1, 200))
    query = Query.parse(filter=slow)
    threads = [threading.Thread(target=lambda: backend.search([version], query, limit=1, token=None)) for _ in range(2)]
    for thread in threads:
        thread.start()
    asked = 0
    while any(thread.is_alive() for thread in threads):
        assert backend.find(version, "t0001") is not None
        assert backend.dataset_ids() == ["ds"]
        asked += 1
    assert asked > 3


def test_who_may_not_read_the_index_may_after_a_grant(place, backend_of):
    place.put("ds", *map(item, range(3)))
    place.follower.step()
    parts = urlsplit(place.database.url)
    name = f"reader_{uuid.uuid4().hex[:8]}"
    place.database.run(lambda c: c.execute(f"create role {name} login password 'x'"))
    backend = backend_of(place, f"postgresql://{name}:x@127.0.0.1:{parts.port}{parts.path}")
    for _ in range(2):
        with pytest.raises(StorageUnavailable) as refused:
            backend.dataset_ids()
        assert refused.value.kind in {"index-rights", "no-index"}
    place.database.run(lambda c: c.execute(f"grant pgstac_read to {name}"))
    same(backend, backend.resolve("ds", "latest"))


def test_a_search_that_is_more_than_the_index_can_do_is_refused(place, backend_of):
    for number in range(60):
        place.put(f"d{number:02d}", item(1))
    place.follower.step()
    backend = backend_of(place)
    versions = [backend.resolve(name, "latest") for name in backend.dataset_ids()]
    node: dict = {"op": "like", "args": [{"property": "collection"}, "d1%--v1"]}
    page = backend.search(versions, Query.parse(filter=node), limit=20, token=None)
    assert sorted(found["collection"] for found in page.items) == [f"d1{number}--v1" for number in range(10)]
    # A filter that names the collection is written once, however many versions are searched.
    texts = {"op": "in", "args": [{"property": "p"}, ["z" * 1000 + str(number) for number in range(1000)]]}
    both = {"op": "and", "args": [node, texts]}
    assert backend.search(versions, Query.parse(filter=both), limit=20, token=None).matched == 0
    deep = {"op": "in", "args": [{"property": "p"}, [{"property": f"q{number}"} for number in range(9000)]]}
    with pytest.raises(InvalidInput, match="Simplify"):
        backend.search(versions, Query.parse(filter=deep), limit=20, token=None)
