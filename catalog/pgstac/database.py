"""Connections to the index's database: with pgstac's search path, errors in our words, retried where that is safe."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from versioning.errors import Forbidden, Integrity, InvalidInput, StacpinError, StorageUnavailable

__all__ = ["Database", "check_url", "public_url"]

_T = TypeVar("_T")
# What passes by itself: another transaction was in the way, or the server went away, restarts, or is full for a moment.
_IN_THE_WAY = (errors.DeadlockDetected, errors.SerializationFailure, errors.LockNotAvailable)
_PASSING = (
    *_IN_THE_WAY,
    errors.CannotConnectNow,
    errors.TooManyConnections,
    errors.AdminShutdown,
    errors.CrashShutdown,
)
_OPTIONS: dict[str, Any] = {
    "connect_timeout": 10,
    "application_name": "stacpin",
    "client_encoding": "UTF8",  # of a database without an encoding texts would come as bytes
    "options": "-c search_path=pgstac,public -c timezone=UTC",
}
_REFUSAL = re.compile(r"authentication failed|no password supplied|pg_hba\.conf|does not exist|not permitted to log in")


class Database:
    """The database of an index, by its URL. Each use is a connection of its own, closed afterwards.

    Parameters
    ----------
    url
        ``postgresql://user:password@host:port/database``, with libpq's parameters; or libpq's own form.
    patience
        For how many seconds what passes by itself is tried again; 0 for not at all.
    tell
        What is told when the server does not answer, and when it does again.

    Raises
    ------
    InvalidInput
        If the URL is none of a database.
    """

    def __init__(self, url: str, *, patience: float = 60, tell: Callable[[str], object] = lambda _: None) -> None:
        check_url(url)
        self.url = url
        self.patience = patience
        self._tell = tell
        self._away = False
        self._keeps = False
        self._kept: psycopg.Connection | None = None

    @contextmanager
    def connect(self) -> Iterator[psycopg.Connection]:
        """A connection whose block is one transaction.

        Raises
        ------
        StorageUnavailable
            If the server does not answer, or the connection breaks.
        Forbidden
            If it refuses the user.
        """
        with _translated(self.url), psycopg.connect(self.url, **_OPTIONS) as connection:
            yield connection

    def run(self, work: Callable[[psycopg.Connection], _T]) -> _T:
        """Do some work in one transaction; all of it again where it failed for what passes by itself.

        Raises
        ------
        StacpinError
            What the work raises, and what a database raises in our words.
        """
        with _translated(self.url):
            for attempt in Retrying(
                stop=stop_after_delay(self.patience),
                wait=wait_random_exponential(multiplier=0.05, max=5),
                retry=retry_if_exception(_passes),
                before_sleep=self._waits,
                reraise=True,
            ):
                with attempt:
                    done = self._once(work)
                    if self._away:
                        self._away = False
                        self._tell(f"{public_url(self.url)} answers again")
                    return done
        raise AssertionError  # tenacity raises what was raised last

    @contextmanager
    def keep(self) -> Iterator[None]:
        """Within the block :meth:`run` uses one connection, as long as it holds: to make one takes 10 ms."""
        self._keeps = True
        try:
            yield
        finally:
            self._keeps = False
            self._let_go()

    def _once(self, work: Callable[[psycopg.Connection], _T]) -> _T:
        if not self._keeps:
            with self.connect() as connection:
                return work(connection)
        if self._kept is None:
            self._kept = psycopg.connect(self.url, autocommit=True, **_OPTIONS)
        try:
            with self._kept.transaction():
                return work(self._kept)
        except psycopg.Error:
            self._let_go()
            raise

    def _waits(self, state: RetryCallState) -> None:
        error = None if state.outcome is None else state.outcome.exception()
        if not self._away and not isinstance(_cause(error), _IN_THE_WAY):
            self._away = True
            self._tell(f"{public_url(self.url)} does not answer, and is tried again")

    def _let_go(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()


def _cause(error: BaseException | None) -> BaseException | None:
    return error.__cause__ if isinstance(error, StacpinError) else error


def _passes(error: BaseException) -> bool:
    cause = _cause(error)
    # A connection that broke, or was never made, has no state of its own to tell.
    broken = isinstance(cause, psycopg.OperationalError) and cause.sqlstate is None
    return (broken and not _refused(cause)) or isinstance(cause, _PASSING)


def _refused(error: BaseException | None) -> bool:
    """Whether a server refused a connection for what does not pass: libpq has only words for that."""
    return _REFUSAL.search(str(error)) is not None


@contextmanager
def _translated(url: str) -> Iterator[None]:
    where = public_url(url)
    try:
        yield
    except (errors.InvalidPassword, errors.InvalidAuthorizationSpecification, errors.InsufficientPrivilege) as error:
        raise Forbidden(
            f"{where} refuses this user: {_told(error)}.",
            hint="As a superuser: grant pgstac_admin to USER, or pgstac_read to who only reads; see docs/service.md.",
        ) from error
    except (*_PASSING, psycopg.OperationalError, psycopg.InterfaceError) as error:
        if re.search(r'database "[^"]*" does not exist', str(error)):
            hint = "Make it: createdb --template template0 --locale C --encoding UTF8 NAME"
            raise StorageUnavailable(f"{where} does not exist.", hint=hint) from error
        if error.sqlstate is None and _refused(error):
            raise Forbidden(f"{where} refuses this user.", hint="Check user, password and pg_hba.conf.") from error
        raise StorageUnavailable(
            f"{where} does not answer: {_told(error)}.", hint="Check the server and the address."
        ) from error
    except (errors.UndefinedTable, errors.UndefinedFunction, errors.InvalidSchemaName) as error:
        raise StorageUnavailable(
            f"{where} has no index: {_told(error)}.", hint="Make it: stacpin index", kind="no-index"
        ) from error
    except psycopg.ProgrammingError as error:
        raise InvalidInput(f"{where} cannot be used: {_told(error)}.") from error
    except psycopg.DataError as error:
        raise Integrity(
            f"{where} took not what was indexed: {_told(error)}.", hint="stacpin index --rebuild"
        ) from error


def _told(error: psycopg.Error) -> str:
    text = error.diag.message_primary or str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
    return text.rstrip(".")[:300]


def check_url(url: str) -> None:
    """Whether a text can be the URL of a database.

    Raises
    ------
    InvalidInput
        If not. It never repeats the text: what is wrong with it may well be its password.
    """
    try:
        found = conninfo_to_dict(url)
    except psycopg.Error:
        found = None
    # libpq takes what follows an unescaped @ or / of a password for the host, the port or the name.
    if (
        found is None
        or ("://" in url and url.count("@") > bool({"user", "password"} & found.keys()))
        or not all(port.isdecimal() for port in str(found.get("port", "")).split(",") if port)
    ):
        raise InvalidInput(
            "The database's URL is not of the form postgresql://user:password@host:port/name.",
            hint="Write signs such as @, / and % in a password as %40, %2F and %25; it is better in PGPASSFILE.",
            kind="database-url",
        )


def public_url(url: str) -> str:
    """A database's address without its user's password: ``postgresql://host:5432/stac``."""
    try:
        found = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except psycopg.Error:
        return "the database"
    if "://" not in url:
        kept = [f"{name}={found[name]}" for name in ("host", "hostaddr", "port", "dbname") if name in found]
        return " ".join(["the database", *kept])
    hosts, ports = found.get("host", "").split(","), found.get("port", "").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    where = ",".join(_address(host, port) for host, port in zip(hosts, ports, strict=False))
    return f"postgresql://{where}/{found.get('dbname', '')}"


def _address(host: str, port: str) -> str:
    name = f"[{host}]" if ":" in host else quote(host, safe="")  # the folder of a socket has slashes
    return f"{name}:{port}" if port else name
