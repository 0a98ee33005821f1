"""Many clients, while versions are published and the database restarts: no answer is wrong, mixed, or a 500.

STACPIN_LOAD_SECONDS sets how long: 8 in `make test`, 60 for the figures of benchmarks/RESULTS.md.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from statistics import quantiles

import httpx
import pytest
from served import served

from catalog.pgstac.database import Database
from catalog.pgstac.follow import Follower
from versioning.catalog import Catalog
from versioning.commit import commit

pytestmark = pytest.mark.slow

CLIENTS, ITEMS = 16, 200
SECONDS = float(os.environ.get("STACPIN_LOAD_SECONDS", "8"))


def items(value: int) -> list[dict]:
    """All items of one version: each says which it is of."""
    return [
        {
            "type": "Feature",
            "stac_version": "1.1.0",
            "id": f"t{number:03d}",
            "geometry": {"type": "Point", "coordinates": [number % 90, number % 45]},
            "bbox": [number % 90, number % 45, number % 90, number % 45],
            "properties": {"datetime": f"2024-01-{number % 28 + 1:02d}T00:00:00Z", "value": value},
            "assets": {},
        }
        for number in range(ITEMS)
    ]


@dataclass
class Seen:
    """What the clients saw."""

    wrong: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)


def client(url: str, number: int, stop: threading.Event, seen: Seen) -> None:
    draw = random.Random(number)
    with httpx.Client(base_url=url, timeout=60) as connection:
        newest = 1
        while not stop.is_set():
            kind = draw.choice(["latest", "pinned", "item", "pages"])
            begin = time.perf_counter()
            answer = connection.get(
                {
                    "latest": "/search?collections=ds&limit=200",
                    "pinned": f"/search?collections=ds--v{draw.randint(1, newest)}&limit=50&sortby=id",
                    "item": f"/collections/ds--v{draw.randint(1, newest)}/items/t{draw.randrange(ITEMS):03d}",
                    "pages": "/search?collections=ds&limit=150",
                }[kind]
            )
            seen.statuses[answer.status_code] += 1
            if answer.status_code == 503:
                seen.refused.append(time.monotonic())
                if "retry-after" not in answer.headers:
                    seen.wrong.append(f"503 without Retry-After: {answer.text}")
                time.sleep(0.2)
                continue
            if answer.status_code != 200:
                seen.wrong.append(f"{answer.status_code} {answer.url}: {answer.text[:200]}")
                continue
            seen.seconds.append(time.perf_counter() - begin)
            body = answer.json()
            newest = max(newest, check(body, kind, seen))
            if kind == "pages":
                following = next(link["href"] for link in body["links"] if link["rel"] == "next")
                more = connection.get(following)
                seen.statuses[more.status_code] += 1
                if more.status_code == 200:
                    rest = more.json()
                    check(rest, kind, seen)
                    ids = [each["id"] for page in (body, rest) for each in page["features"]]
                    if rest["pin:versions"] != body["pin:versions"] or len(set(ids)) != ITEMS:
                        seen.wrong.append(
                            f"pages of {body['pin:versions']} and {rest['pin:versions']}: {len(set(ids))} items"
                        )


def check(body: dict, kind: str, seen: Seen) -> int:
    """The version that an answer is of; every item in it must be of that one."""
    features = body.get("features", [body])
    of = {(each["collection"], each["properties"]["value"]) for each in features}
    if len(of) != 1:
        seen.wrong.append(f"{kind}: items of {of}")
        return 1
    collection, value = of.pop()
    if collection != f"ds--v{value}" or (kind == "latest" and len(features) != ITEMS):
        seen.wrong.append(f"{kind}: {len(features)} items of {collection} with {value}")
    if "features" in body and body["numberMatched"] != ITEMS:
        seen.wrong.append(f"{kind}: {body['numberMatched']} matched")
    return value


def test_clients_while_versions_come_and_the_database_restarts(postgres, tmp_path, record_property):
    catalog = Catalog.create(str(tmp_path / "catalog"))
    dataset = catalog.dataset("ds")
    commit(dataset, items=items(1), message="test", author="test")
    database = Database(postgres.new_database())
    follower = Follower(catalog, database)
    follower.prepare()
    follower.step()
    seen, stop = Seen(), threading.Event()
    with served(tmp_path, catalog.url, environment={"STACPIN_DATABASE_URL": database.url}) as server:
        server.wait_for("/search?collections=ds", 200)
        threads = [threading.Thread(target=client, args=(server.url, n, stop, seen)) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        begin = time.monotonic()
        down = (0.0, 0.0)
        value = 1
        while (passed := time.monotonic() - begin) < SECONDS:
            if passed > SECONDS / 2 and not down[0]:
                down = (time.monotonic(), 0.0)
                postgres.stop()
                postgres.start()
                down = (down[0], time.monotonic())
            value += 1
            commit(dataset, items=items(value), message="test", author="test")
            follower.step()
            time.sleep(SECONDS / 40)
        stop.set()
        for thread in threads:
            thread.join()
    assert seen.wrong == []
    assert set(seen.statuses) <= {200, 503}
    assert seen.statuses[200] > 10 * CLIENTS
    assert down[1], "it was not restarted"
    # Whoever asks meanwhile mostly waits for a new connection; what is refused is so only then.
    assert all(down[0] - 1 <= moment <= down[1] + 5 for moment in seen.refused)
    tail = quantiles(seen.seconds, n=20)[-1]
    text = (
        f"{seen.statuses[200]} answers in {SECONDS:g} s, {seen.statuses[503]} refused during a restart of "
        f"{down[1] - down[0]:.1f} s, {value} versions, p95 {tail * 1000:.0f} ms"
    )
    record_property("load", text)
    print(text)  # noqa: T201 - a figure, for pytest -rP
