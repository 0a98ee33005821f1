"""Searches through stac-fastapi-pgstac's own client, on a pool of connections that lives in a thread of its own.

The routes are synchronous and run in a pool of threads; the client is asynchronous and its connections belong to one
event loop. That loop runs here, whatever server, worker or test asks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from threading import Lock, Thread
from types import SimpleNamespace
from typing import Any, TypeVar

import asyncpg
import orjson
from stac_fastapi.pgstac.config import Settings
from stac_fastapi.pgstac.core import CoreCrudClient
from stac_fastapi.pgstac.db import con_init, get_connection
from starlette.requests import Request

from catalog.pgstac.database import public_url
from versioning.errors import Forbidden, InvalidInput, StacpinError, StorageUnavailable

__all__ = ["Features", "PgstacClient", "PoolSettings", "StaleIndex"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
# How much longer than a statement may take somebody waits for its answer.
_GRACE = 10
# What pin.placed in schema.sql raises.
_STALE = "PIN01"


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Limits of the connections to the database.

    Attributes
    ----------
    size
        At most so many connections, and so many searches at once.
    seconds
        How long a statement may take.
    wait
        How long a request waits for a free connection before it is told to come back.
    """

    size: int = 8
    seconds: float = 20
    wait: float = 10


# The server is not there, goes away, or has no room.
_GONE = (
    TimeoutError,
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InsufficientResourcesError,
)


class StaleIndex(StorageUnavailable):
    """The index is not what it was: read again where versions stand in it, and ask once more."""

    kind = "stale-index"


class _NoLinks:
    """Items get their links later, from whoever knows the address of the request: so none are made here."""

    include: frozenset[str] = frozenset()
    exclude = frozenset({"links"})


@dataclass(slots=True)
class _Search:
    """What the client reads of a search. It is checked before, so that pydantic need not check it again."""

    body: dict[str, Any]
    conf: dict[str, Any]
    fields: type[_NoLinks] = _NoLinks
    datetime: str | None = None

    def model_dump_json(self, **_: Any) -> str:
        """The body, as the client sends it to pgstac."""
        return orjson.dumps({**self.body, "conf": self.conf}).decode()


@dataclass(frozen=True, slots=True)
class Features:
    """One page as pgstac's client gives it, and whether there are pages after and before it."""

    items: list[dict[str, Any]]
    more: bool
    earlier: bool


class _LazyPool:
    """The pool as the client wants it, opened when somebody first needs a connection."""

    def __init__(self, opened: Callable[[], Coroutine[Any, Any, asyncpg.Pool]], seconds: float) -> None:
        self._opened = opened
        self._seconds = seconds

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        pool = await self._opened()
        async with pool.acquire(timeout=self._seconds) as connection:
            yield connection


def _settings() -> Settings:
    """The client's settings: items come as they are stored, and it tells nobody a title."""
    told = {f"stac_fastapi_{name}": "stacpin" for name in ("title", "description", "landing_id", "version")}
    # Nothing was left out of the items that hydration would have to mark.
    return Settings(_env_file=None, use_api_hydrate=True, exclude_hydrate_markers=False, **told)  # pyright: ignore[reportCallIssue]


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


class PgstacClient:
    """What asks the index's database. Its thread and its connections start with the first question.

    Parameters
    ----------
    url
        The database.
    pool
        Its limits.

    Raises
    ------
    StorageUnavailable
        From every question, if the database does not answer.
    """

    def __init__(self, url: str, pool: PoolSettings) -> None:
        self.where = public_url(url)
        self._url = url
        self._pool_settings = pool
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = Lock()
        self._client = CoreCrudClient()
        self._pool: asyncpg.Pool | None = None
        self._opening: asyncio.Lock | None = None
        self._readpool = _LazyPool(self._opened, pool.wait)
        state = SimpleNamespace(
            settings=_settings(),
            get_connection=get_connection,
            router_prefix="",
            readpool=self._readpool,
        )
        # What the client reads of a request: the state of its application, and an address that no answer keeps.
        self._request = Request(
            {
                "type": "http", "method": "GET", "scheme": "http", "server": ("pgstac", 80), "root_path": "",
                "path": "/search", "query_string": b"", "headers": [], "app": SimpleNamespace(state=state),
            }
        )  # fmt: skip

    def close(self) -> None:
        """End the connections and the thread; the next question begins new ones."""
        with self._lock:
            loop, self._loop = self._loop, None
            pool, self._pool, self._opening = self._pool, None, None
        if loop is None:
            return
        if pool is not None:
            asyncio.run_coroutine_threadsafe(pool.close(), loop).result(_GRACE)
        loop.call_soon_threadsafe(loop.stop)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                Thread(target=_run, args=(self._loop,), name="pgstac", daemon=True).start()
            return self._loop

    # -- questions, from any thread

    def search(self, body: dict[str, Any]) -> Features:
        """A page of a search whose body :mod:`catalog.pgstac.searching` made."""
        return self._wait(self._search(body))

    def rows(self, query: str, *args: object) -> list[Sequence[Any]]:
        """The rows of a query of ours."""
        return self._wait(self._rows(query, args))

    async def _search(self, body: dict[str, Any]) -> Features:
        asked: Any = _Search(body, dict(body["conf"]))
        found: dict[str, Any] = await self._client._search_base(asked, request=self._request)  # noqa: SLF001 - the one funnel of all its searches  # pyright: ignore[reportAssignmentType]
        rels = {link["rel"] for link in found["links"]}
        return Features(found["features"], "next" in rels, "previous" in rels or "prev" in rels)

    async def _rows(self, query: str, args: tuple[object, ...]) -> list[Sequence[Any]]:
        async with self._readpool.acquire() as connection:
            return await connection.fetch(query, *args)

    def _wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        future = asyncio.run_coroutine_threadsafe(work, self._running())
        try:
            return future.result(self._pool_settings.seconds + self._pool_settings.wait + _GRACE)
        except StacpinError:
            raise
        except Exception as error:
            future.cancel()
            raise self._told(error) from error

    def _told(self, error: Exception) -> StacpinError:
        """A database's error in our words; what is no such thing stays as it is."""
        if isinstance(error, _GONE):
            _log.warning("%s does not answer: %s", self.where, error)
            return StorageUnavailable("The index does not answer.", hint="Try again in a few seconds.")
        told: StacpinError | None = None
        match error:
            case asyncpg.PostgresError() if getattr(error, "sqlstate", None) == _STALE:
                told = StaleIndex("The index was built anew meanwhile.", hint="Ask again.")
            case asyncpg.QueryCanceledError():
                told = InvalidInput(
                    f"the search takes longer than {self._pool_settings.seconds:g} seconds.",
                    hint="Narrow it by bbox, datetime or ids, or simplify its filter.",
                    kind="too-slow",
                )
            case asyncpg.DataError() | asyncpg.RaiseError():
                _log.warning("%s refuses a search: %s", self.where, error)
                told = InvalidInput("The index cannot answer this search.", hint="Simplify it.", kind="invalid-search")
            case asyncpg.InvalidPasswordError() | asyncpg.InsufficientPrivilegeError():
                told = Forbidden("The index refuses the server's user.", hint="Give it the role pgstac_read.")
            case asyncpg.UndefinedTableError() | asyncpg.UndefinedFunctionError() | asyncpg.InvalidSchemaNameError():
                told = StorageUnavailable("There is no index yet.", hint="Make it: stacpin index", kind="no-index")
        if told is None:
            raise error
        return told

    async def _opened(self) -> asyncpg.Pool:
        """The pool, opened when it is first needed, and again where that failed."""
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=1,
                    max_size=self._pool_settings.size,
                    max_inactive_connection_lifetime=300,
                    init=con_init,
                    timeout=self._pool_settings.wait,
                    server_settings={
                        "search_path": "pgstac,public",
                        "application_name": "stacpin",
                        "timezone": "UTC",
                        "statement_timeout": str(int(self._pool_settings.seconds * 1000)),
                        "idle_in_transaction_session_timeout": "60000",
                        "default_transaction_read_only": "on",
                        # Every search would write to pgstac's table of searches.
                        "pgstac.readonly": "true",
                        # 20 ms to start workers for 2 ms of work.
                        "max_parallel_workers_per_gather": "0",
                        "jit": "off",
                    },
                )
            return self._pool
