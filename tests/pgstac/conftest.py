"""A catalog with an empty index, and backends that are closed afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from indexed import Place
from postgres import Cluster, postgres  # noqa: F401 - a fixture of this folder

from api.pgstac_backend import PgstacBackend
from api.pgstac_pool import PoolSettings
from catalog.pgstac.database import Database
from versioning.catalog import Catalog
from versioning.store import open_store


@pytest.fixture
def place(postgres: Cluster) -> Place:  # noqa: F811
    """A new catalog and an empty index."""
    catalog = Catalog.create(open_store("memory://"))
    return Place(catalog, Database(postgres.new_database()))


@pytest.fixture
def backend_of() -> Iterator[Callable[..., PgstacBackend]]:
    """Backends that are closed afterwards."""
    with ExitStack() as stack:

        def make(place: Place, url: str | None = None, **pool: float) -> PgstacBackend:
            backend = PgstacBackend(place.catalog, url or place.database.url, pool=PoolSettings(**pool))  # type: ignore[arg-type]
            stack.callback(backend.close)
            return backend

        yield make
