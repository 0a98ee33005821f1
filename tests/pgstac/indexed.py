"""A small catalog to publish into, and what its index must then say."""

from __future__ import annotations

import psycopg

from api.pgstac_backend import PgstacBackend
from catalog.pgstac.database import Database
from catalog.pgstac.follow import Follower
from catalog.search import Query, search
from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.version import Version


def item(number: int, value: int = 0) -> dict:
    """A small item; ``value`` makes it another one."""
    west = number % 300 / 2 - 100
    ring = [[west, 0], [west + 0.4, 0], [west + 0.4, 0.4], [west, 0.4], [west, 0]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": f"t{number:04d}",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, 0, west + 0.4, 0.4],
        "properties": {"datetime": f"20{number % 30:02d}-01-01T00:00:00Z", "value": value},
        "assets": {},
    }


class Place:
    """A catalog, its index, and who follows."""

    def __init__(self, catalog: Catalog, database: Database) -> None:
        self.catalog = catalog
        self.database = database
        self.follower = Follower(catalog, database)
        self.follower.prepare()

    def put(self, dataset: str, *items: dict, remove: tuple[str, ...] = ()) -> Version:
        made = commit(self.catalog.dataset(dataset), items=items, remove=remove, message="test", author="test")
        return made.version

    def query(self, text: str, *args: object) -> list[tuple]:
        with psycopg.connect(self.database.url) as connection:
            return connection.execute(text, args).fetchall()  # type: ignore[arg-type]

    def holds(self, backend: PgstacBackend) -> None:
        """Every live version of the catalog, as the index has it, is what its manifests say."""
        for dataset_id in self.catalog.dataset_ids():
            dataset = self.catalog.dataset(dataset_id)
            gone = dataset.expired()
            for number in range(1, dataset.head() + 1):
                if number not in gone:
                    same(backend, dataset.version(number))


def same(backend: PgstacBackend, version: Version, query: Query | None = None) -> None:
    """One version, page by page."""
    query = Query() if query is None else query
    token = None
    while True:
        wanted = search([version], query, limit=400, token=token)
        got = backend.search([version], query, limit=400, token=token)
        assert got == wanted, version.pin
        token = wanted.next
        if token is None:
            return
