"""Searches through stac-fastapi-pgstac's own client, on connections that wait in the thread that asks.

The routes are synchronous and run in a pool of threads. The client is written for asyncio, but all that it waits for is
its connection, which its hook ``get_connection`` lets us give: one of psycopg's, which waits in the same thread. So a
search is driven to its end at once, and no event loop is in between: to hand it to one and back took 0.6 of 6 ms.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from threading import Lock
from types import SimpleNamespace
from typing import Any, LiteralString, TypeVar, cast

import orjson
import psycopg
from psycopg import errors
from psycopg.types.json import set_json_loads
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout, TooManyRequests
from stac_fastapi.pgstac.config import Settings
from stac_fastapi.pgstac.core import CoreCrudClient
from starlette.requests import Request

from catalog.pgstac.database import public_url
from versioning.errors import Forbidden, InvalidInput, StacpinError, StorageUnavailable

__all__ = ["Features", "PgstacClient", "PoolSettings", "StaleIndex"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
# What pin.placed in schema.sql raises.
_STALE = "PIN01"
# The server is not there, goes away, or has no room.
_GONE = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, PoolClosed, TooManyRequests, OSError)


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


def _settings() -> Settings:
    """The client's settings: items come as they are stored, and it tells nobody a title."""
    told = {f"stac_fastapi_{name}": "stacpin" for name in ("title", "description", "landing_id", "version")}
    # Nothing was left out of the items that hydration would have to mark.
    return Settings(_env_file=None, use_api_hydrate=True, exclude_hydrate_markers=False, **told)  # pyright: ignore[reportCallIssue]


class _Connection:
    """A connection as the client wants one: ``fetchval`` with numbered parameters."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    async def fetchval(self, query: str, *args: object) -> Any:
        row = _ask(self._connection, query, args).fetchone()
        return None if row is None else row[0]


def _ask(connection: psycopg.Connection, query: str, args: Sequence[object]) -> psycopg.RawCursor[Any]:
    cursor: psycopg.RawCursor[Any] = psycopg.RawCursor(connection)  # takes $1, $2 as they are
    return cursor.execute(cast("LiteralString", query), args)


class PgstacClient:
    """What asks the index's database. Its connections are made with the first question.

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
        self._limits = pool
        self._lock = Lock()
        self._pool: ConnectionPool[psycopg.Connection] | None = None
        self._client = CoreCrudClient()
        state = SimpleNamespace(settings=_settings(), get_connection=self._lent, router_prefix="")
        # What the client reads of a request: the state of its application, and an address that no answer keeps.
        self._request = Request(
            {
                "type": "http", "method": "GET", "scheme": "http", "server": ("pgstac", 80), "root_path": "",
                "path": "/search", "query_string": b"", "headers": [], "app": SimpleNamespace(state=state),
            }
        )  # fmt: skip

    def close(self) -> None:
        """End the connections; the next question begins new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    # -- questions, from any thread

    def search(self, body: dict[str, Any]) -> Features:
        """A page of a search whose body :mod:`catalog.pgstac.searching` made."""

        def search() -> Any:
            asked: Any = _Search(body, dict(body["conf"]))
            return _driven(self._client._search_base(asked, request=self._request))  # noqa: SLF001 - the one funnel of all its searches

        found = self._told(search)
        rels = {link["rel"] for link in found["links"]}
        return Features(found["features"], "next" in rels, "previous" in rels or "prev" in rels)

    def rows(self, query: str, *args: object) -> list[Sequence[Any]]:
        """The rows of a query of ours."""

        def rows() -> list[Sequence[Any]]:
            with self._opened().connection() as connection:
                return _ask(connection, query, args).fetchall()

        return self._told(rows)

    @asynccontextmanager
    async def _lent(self, _: Request, __: str = "r") -> AsyncIterator[_Connection]:
        with self._opened().connection() as connection:
            yield _Connection(connection)

    def _told(self, work: Callable[[], _T]) -> _T:
        """What some work gives; once more where its connection was broken, and the errors in our words."""
        for tries_left in range(self._limits.size, -1, -1):
            try:
                return work()
            except errors.QueryCanceled as error:
                raise InvalidInput(
                    f"the search takes longer than {self._limits.seconds:g} seconds.",
                    hint="Narrow it by bbox, datetime or ids, or simplify its filter.",
                    kind="too-slow",
                ) from error
            except psycopg.Error as error:
                told = self._in_words(error)
                if told is None:
                    raise
                # A server that was started again has cut off every connection that waits: the next may be a new one.
                if not (_cut_off(error) and tries_left):
                    raise told from error
            except _GONE as error:
                raise self._unavailable(error) from error
        raise AssertionError  # the last try has given or raised something

    def _in_words(self, error: psycopg.Error) -> StacpinError | None:
        if error.sqlstate == _STALE:
            return StaleIndex("The index is not what it was.", hint="Ask again.")
        if isinstance(error, errors.InsufficientPrivilege | errors.InvalidAuthorizationSpecification):
            return Forbidden("The index refuses the server's user.", hint="Give it the role pgstac_read.")
        if isinstance(error, errors.UndefinedTable | errors.UndefinedFunction | errors.InvalidSchemaName):
            return StorageUnavailable("There is no index yet.", hint="Make it: stacpin index", kind="no-index")
        if isinstance(error, psycopg.DataError | errors.RaiseException):
            _log.warning("%s refuses a search: %s", self.where, error)
            return InvalidInput("The index cannot answer this search.", hint="Simplify it.", kind="invalid-search")
        return self._unavailable(error) if isinstance(error, _GONE) else None

    def _unavailable(self, error: Exception) -> StorageUnavailable:
        _log.warning("%s does not answer: %s", self.where, error)
        return StorageUnavailable("The index does not answer.", hint="Try again in a few seconds.")

    def _opened(self) -> ConnectionPool[psycopg.Connection]:
        with self._lock:
            if self._pool is None:
                settings = {
                    "search_path": "pgstac,public",
                    "timezone": "UTC",
                    "statement_timeout": str(int(self._limits.seconds * 1000)),
                    "idle_in_transaction_session_timeout": "60000",
                    "default_transaction_read_only": "on",
                    # Every search would write to pgstac's table of searches.
                    "pgstac.readonly": "true",
                    # 20 ms to start workers for 2 ms of work.
                    "max_parallel_workers_per_gather": "0",
                    "jit": "off",
                }
                self._pool = ConnectionPool(
                    self._url,
                    min_size=1,
                    max_size=self._limits.size,
                    timeout=self._limits.wait,
                    max_idle=300,
                    reconnect_timeout=self._limits.wait,
                    kwargs={
                        "autocommit": True,
                        "application_name": "stacpin",
                        "connect_timeout": max(2, int(self._limits.wait)),
                        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
                    },
                    configure=lambda connection: set_json_loads(orjson.loads, connection),
                    open=True,
                )
            return self._pool


def _cut_off(error: psycopg.Error) -> bool:
    """Whether the connection is gone, or its server is going: what was asked only reads, so it may be asked again."""
    return isinstance(error, psycopg.OperationalError) and (
        error.sqlstate is None or isinstance(error, errors.AdminShutdown | errors.CrashShutdown)
    )


def _driven(work: Coroutine[Any, Any, _T]) -> _T:
    """What a coroutine gives that waits for nobody."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    work.close()
    raise RuntimeError("stac-fastapi-pgstac's client waited for something else than its connection")
