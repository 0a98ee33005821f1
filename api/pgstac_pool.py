"""Connections to the index: they only read, and what goes wrong is told in our words."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock, Thread
from typing import TypeVar

import orjson
import psycopg
from psycopg import errors
from psycopg.types.json import set_json_loads
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from catalog.pgstac.database import check_url, public_url
from versioning.errors import InvalidInput, StacpinError, StorageUnavailable

__all__ = ["IndexPool", "PoolSettings", "Presence", "StaleIndex"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
# What pin.placed in schema.sql raises.
_STALE = "PIN01"
# "Program limit exceeded": a statement that is too deep or too large, today and tomorrow.
_TOO_MUCH = "54"
_NO_ANSWER, _LATER = "The index does not answer.", "Try again in a few seconds."
# Connections that a server cut off lie in the pool until somebody looks; the third try is not of one of them.
_TRIES = 3
# For so many seconds nobody asks a database that has just not answered.
_REST = 1.0


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Limits of the connections to the database.

    Attributes
    ----------
    size
        At most so many searches at once. Two connections more are kept for short questions.
    seconds
        How long a statement may take.
    wait
        How long a request waits for a free connection before it is told to come back.
    """

    size: int = 8
    seconds: float = 20
    wait: float = 5


class StaleIndex(StorageUnavailable):
    """The index is not what it was: read again where versions stand in it, and ask once more."""

    kind = "stale-index"


class Presence:
    """Whether a database is there. While it is away one question at a time waits for it; others are refused at once.

    Without that, every thread of the server would soon wait for a database, also those that objects are read by.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._away = False
        self._tried = False
        self._again = 0.0

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Around a question: refuses it, or learns from how it ends: :class:`_Away`, or anything else."""
        with self._lock:
            if self._away and (self._tried or time.monotonic() < self._again):
                raise _Away(_NO_ANSWER, hint=_LATER)
            self._tried = self._away
        away = False
        try:
            yield
        except _Away:
            away = True
            raise
        finally:
            with self._lock:
                self._away, self._tried, self._again = away, False, time.monotonic() + _REST


class _Away(StorageUnavailable):
    """No connection could be made."""


class IndexPool:
    """Some connections, made with the first question.

    Parameters
    ----------
    url
        The database.
    limits
        How long statements and waiting may take.
    size
        At most so many connections.
    presence
        Shared by all who ask the same database.

    Raises
    ------
    InvalidInput
        If the URL cannot be read.
    """

    def __init__(self, url: str, limits: PoolSettings, *, size: int, presence: Presence) -> None:
        check_url(url)
        self._where = public_url(url)
        self._url = url
        self._limits = limits
        self._size = size
        self._presence = presence
        self._lock = Lock()
        self._pool: ConnectionPool[psycopg.Connection] | None = None
        self._busy = 0

    def close(self) -> None:
        """End the connections; the next question begins new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def ask(self, work: Callable[[psycopg.Connection], _T]) -> _T:
        """What some work gives; once more where its connection was broken, since all of it only reads.

        Raises
        ------
        StaleIndex
            If versions do not stand where the question takes them to be.
        StorageUnavailable
            If the database does not answer, has no index, or refuses the server's user.
        InvalidInput
            If it takes too long, or is more than the database can do.
        """
        for tries_left in range(_TRIES - 1, -1, -1):
            pool = self._opened()
            try:
                with self._presence.asked(), self._lent(pool) as connection:
                    return work(connection)
            except (psycopg.Error, OSError) as error:
                if _cut_off(error) and tries_left:
                    pool.check()  # puts new connections in the place of all that are broken
                    continue
                told = self._in_words(error, pool)
                if told is None:
                    raise
                raise told from error
        raise AssertionError  # the last try has given or raised something

    @contextmanager
    def _lent(self, pool: ConnectionPool[psycopg.Connection]) -> Iterator[psycopg.Connection]:
        try:
            connection = pool.getconn()
        except (PoolTimeout, PoolClosed, TooManyRequests) as error:
            if self._busy:
                raise StorageUnavailable("The index has more to do than it can.", hint=_LATER, kind="busy") from error
            self._forget(pool)
            raise self._away(error) from error
        with self._lock:
            self._busy += 1
        try:
            with connection:
                yield connection
        finally:
            with self._lock:
                self._busy -= 1
            pool.putconn(connection)

    def _forget(self, pool: ConnectionPool[psycopg.Connection]) -> None:
        """Begin anew with the next question: a pool that has lost all connections tries again ever more rarely."""
        with self._lock:
            if self._pool is pool:
                self._pool = None
        Thread(target=pool.close, daemon=True).start()  # waits for those of its threads that are connecting

    def _in_words(self, error: psycopg.Error | OSError, pool: ConnectionPool) -> StacpinError | None:  # noqa: PLR0911 - one answer for each kind of error
        state = error.sqlstate if isinstance(error, psycopg.Error) else None
        if state == _STALE:
            return StaleIndex("The index is not what it was.", hint="Ask again.")
        if isinstance(error, errors.QueryCanceled):
            return InvalidInput(
                f"the search takes longer than {self._limits.seconds:g} seconds.",
                hint="Narrow it by bbox, datetime or ids, or simplify its filter.",
                kind="too-slow",
            )
        if isinstance(error, errors.InsufficientPrivilege | errors.InvalidAuthorizationSpecification):
            pool.drain()  # what a user may see is remembered by each connection
            return StorageUnavailable(
                "The index refuses the server's database user.",
                hint="Give it the role pgstac_read.",
                kind="index-rights",
            )
        if isinstance(error, errors.UndefinedTable | errors.UndefinedFunction | errors.InvalidSchemaName):
            pool.drain()
            return StorageUnavailable("There is no index yet.", hint="Make it: stacpin index", kind="no-index")
        if isinstance(error, psycopg.DataError | errors.RaiseException) or (state or "").startswith(_TOO_MUCH):
            _log.warning("%s refuses a search: %s", self._where, error)
            return InvalidInput("The index cannot answer this search.", hint="Simplify it.", kind="invalid-search")
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | OSError):
            return self._away(error)
        return None

    def _away(self, error: Exception) -> StorageUnavailable:
        _log.warning("%s does not answer: %s", self._where, error)
        return _Away(_NO_ANSWER, hint=_LATER)

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
                    max_size=self._size,
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


def _cut_off(error: psycopg.Error | OSError) -> bool:
    """Whether the connection is gone, or its server is going."""
    return isinstance(error, psycopg.OperationalError) and (
        error.sqlstate is None or isinstance(error, errors.AdminShutdown | errors.CrashShutdown)
    )
