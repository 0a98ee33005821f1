"""Two servers over the same items in one PostgreSQL: stock stac-fastapi-pgstac at its best settings, and ours."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from postgres import PASSWORD, USER, Cluster, run_postgres

from catalog.pgstac.database import Database
from catalog.pgstac.follow import Follower
from versioning.catalog import Catalog

__all__ = ["Cluster", "Side", "indexed", "load_stock", "ours", "run_postgres", "stock"]

# What is best for both: 20 ms go into starting workers for 2 ms of work.
_PARAMETERS = ("max_parallel_workers_per_gather=0", "jit=off", "work_mem='32MB'", "random_page_cost=1.1")
_STOCK = """
import uvicorn
from stac_fastapi.pgstac.app import create_app
uvicorn.run(create_app(), host="127.0.0.1", port={port}, log_level="warning", access_log=False)
"""


@dataclass(frozen=True, slots=True)
class Side:
    """A server that answers."""

    name: str
    url: str

    def connect(self) -> HTTPConnection:
        """A connection that is kept."""
        parts = urlsplit(self.url)
        made = HTTPConnection(parts.hostname or "", parts.port, timeout=120)
        made.connect()
        assert made.sock is not None
        made.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made


def database_of(cluster: Cluster) -> str:
    """A new database with what is best for searches."""
    import psycopg

    url = cluster.new_database()
    name = urlsplit(url).path.lstrip("/")
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        for each in _PARAMETERS:
            connection.execute(f"alter database {name} set {each}")  # pyright: ignore[reportArgumentType]
    return url


def indexed(cluster: Cluster, catalog: Catalog) -> tuple[str, float]:
    """The URL of a database with the index of a catalog, and how many seconds it took."""
    url = database_of(cluster)
    follower = Follower(catalog, Database(url))
    follower.prepare()
    begin = time.perf_counter()
    done = follower.step()
    assert not done.failed, done.failed
    return url, time.perf_counter() - begin


def load_stock(cluster: Cluster, collections: dict[str, Iterable[dict]]) -> tuple[str, float]:
    """The URL of a database with the same items as stock collections, loaded by pypgstac's own loader."""
    from pypgstac.db import PgstacDB
    from pypgstac.load import Loader, Methods
    from pypgstac.migrate import Migrate

    url = database_of(cluster)
    client = PgstacDB(dsn=url)
    Migrate(client).run_migration()
    loader = Loader(client)
    begin = time.perf_counter()
    for name, items in collections.items():
        collection = {
            "type": "Collection", "stac_version": "1.1.0", "id": name, "description": name, "license": "other",
            "links": [],
            "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        }  # fmt: skip
        loader.load_collections(iter([collection]), Methods.insert)
        loader.load_items(({**item, "collection": name, "links": []} for item in items), Methods.insert)
    seconds = time.perf_counter() - begin
    client.close()
    return url, seconds


@contextmanager
def stock(url: str) -> Iterator[Side]:
    """stac-fastapi-pgstac as it is, at its best settings."""
    parts = urlsplit(url)
    port = _free_port()
    environ = {
        **os.environ, "PGUSER": USER, "PGPASSWORD": PASSWORD, "PGHOST": "127.0.0.1", "PGPORT": str(parts.port),
        "PGDATABASE": parts.path.lstrip("/"), "USE_API_HYDRATE": "TRUE",
        "DB_MIN_CONN_SIZE": "8", "DB_MAX_CONN_SIZE": "8",
        "SERVER_SETTINGS": '{"search_path": "pgstac,public", "application_name": "stock", "pgstac.readonly": "true"}',
        "STAC_FASTAPI_TITLE": "stock", "STAC_FASTAPI_DESCRIPTION": "stock", "STAC_FASTAPI_LANDING_ID": "stock",
        "STAC_FASTAPI_VERSION": "1", "ENABLE_RESPONSE_MODELS": "FALSE",
    }  # fmt: skip
    with _running([sys.executable, "-c", _STOCK.format(port=port)], environ, port):
        yield Side("stock", f"http://127.0.0.1:{port}")


@contextmanager
def ours(catalog: str, url: str) -> Iterator[Side]:
    """``stacpin serve`` on the index."""
    port = _free_port()
    command = [str(Path(sys.executable).with_name("stacpin")), "serve", "-C", catalog, "--port", str(port)]
    environ = {**os.environ, "STACPIN_DATABASE_URL": url}
    with _running(command, environ, port):
        yield Side("stacpin", f"http://127.0.0.1:{port}")


@contextmanager
def _running(command: list[str], environ: dict[str, str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{command[0]} does not answer")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
