"""Searches wait for each other outside of the threads that other routes need."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from api.service.lanes import SearchLane


async def nothing() -> dict:
    return {"type": "http.disconnect"}


def scope(path: str) -> dict:
    return {"type": "http", "path": path, "root_path": "", "headers": []}


def test_as_many_as_may_search_at_once_and_others_all_the_same():
    async def run() -> None:
        inside: list[str] = []
        go_on = asyncio.Event()

        async def app(scope, receive, send):
            inside.append(scope["path"])
            await go_on.wait()

        async def send(message):
            pass

        lane = SearchLane(app, at_once=2)
        paths = ["/search", "/collections/a--v1/items", "/search", "/collections", "/collections/a/items/b", "/search"]
        tasks = [asyncio.create_task(lane(scope(path), nothing, send)) for path in paths]
        await asyncio.sleep(0.05)
        assert inside == ["/search", "/collections/a--v1/items", "/collections", "/collections/a/items/b"]
        go_on.set()
        await asyncio.gather(*tasks)
        assert sorted(inside) == sorted(paths)

    asyncio.run(run())


def test_a_place_is_free_again_once_an_answer_begins_or_fails_or_is_given_up():
    async def run() -> None:
        begun = []

        async def app(scope, receive, send):
            begun.append(scope["path"])
            if scope["fails"]:
                raise ValueError
            await send({"type": "http.response.start"})
            await asyncio.sleep(30)

        async def slow(message):
            await asyncio.sleep(30)

        lane = SearchLane(app, at_once=1)
        reading = [asyncio.create_task(lane(scope("/search") | {"fails": False}, nothing, slow)) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert len(begun) == 3
        for _ in range(3):
            try:
                await lane(scope("/search") | {"fails": True}, nothing, slow)
            except ValueError:
                continue
        assert len(begun) == 6
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)

    asyncio.run(run())


def test_a_server_full_of_slow_searches_answers_all_else(client_of, site, monkeypatch):
    client = client_of(site)
    go_on = threading.Event()
    inside = threading.Semaphore(0)

    def slow(*_, **__):
        inside.release()
        assert go_on.wait(30)
        raise TimeoutError

    monkeypatch.setattr("api.backend.EmbeddedBackend.search", slow)
    with ThreadPoolExecutor(60) as pool:
        searches = [pool.submit(client.get, "/search") for _ in range(60)]
        for _ in range(16):
            assert inside.acquire(timeout=30)
        assert client.get("/collections/landcover--v1").status_code == 200
        assert not any(search.done() for search in searches)
        assert not inside.acquire(blocking=False)
        go_on.set()
        assert {search.result().status_code for search in searches} == {500}
