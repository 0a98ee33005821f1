"""Searches through stac-fastapi-pgstac's own client, on connections that wait in the thread that asks.

The routes are synchronous and run in a pool of threads. The client is written for asyncio, but all that it waits for is
its connection, which its hook ``get_connection`` lets us give: one of psycopg's, which waits in the same thread. So a
search is driven to its end at once, and no event loop is in between: to hand it to one and back took 0.6 of 6 ms.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, LiteralString, TypeVar, cast

import orjson
import psycopg
from stac_fastapi.pgstac.config import Settings
from stac_fastapi.pgstac.core import CoreCrudClient
from starlette.requests import Request

from api.pgstac_pool import IndexPool, PoolSettings, Presence
from versioning.errors import InvalidInput

__all__ = ["Features", "PgstacClient"]

_T = TypeVar("_T")
# Connections for questions that take a millisecond, so that they do not wait for those that take seconds.
_SHORT = 2
# Of a search as it is sent: a filter grows by what it is translated to, and PostgreSQL needs a hundred times as much.
_LONGEST = 8_000_000
_SEARCH = "select pin.search($1::text::jsonb, $2::text::jsonb)"
_MATCHED = "select pin.matched($1::text::jsonb, $2::text::jsonb)"
# What the client asks, in its own words.
_CLIENTS = "SELECT * FROM search($1::text::jsonb)"


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
        return _text({**self.body, "conf": self.conf})


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
    """A connection as the client wants one: ``fetchval`` with numbered parameters. Its search is one that is proven."""

    def __init__(self, connection: psycopg.Connection, places: str) -> None:
        self._connection = connection
        self._places = places

    async def fetchval(self, query: str, *args: object) -> Any:
        if query.strip().rstrip(";") != _CLIENTS or len(args) != 1:
            raise RuntimeError("stac-fastapi-pgstac's client asked for something else than a search")
        return _ask(self._connection, _SEARCH, (*args, self._places)).fetchall()[0][0]


def _ask(connection: psycopg.Connection, query: str, args: Sequence[object]) -> psycopg.RawCursor[Any]:
    cursor: psycopg.RawCursor[Any] = psycopg.RawCursor(connection)  # takes $1, $2 as they are
    return cursor.execute(cast("LiteralString", query), args)


class PgstacClient:
    """What asks the index's database. Its connections are made with the first question.

    Parameters
    ----------
    url
        The database.
    limits
        Of the connections.

    Raises
    ------
    StacpinError
        From every question, as :meth:`api.pgstac_pool.IndexPool.ask` says.
    """

    def __init__(self, url: str, limits: PoolSettings) -> None:
        presence = Presence()
        self._searches = IndexPool(url, limits, size=limits.size, presence=presence)
        self._short = IndexPool(url, limits, size=_SHORT, presence=presence)
        self._client = CoreCrudClient()
        self._settings = _settings()

    def close(self) -> None:
        """End the connections; the next question begins new ones."""
        self._searches.close()
        self._short.close()

    def search(self, body: dict[str, Any], places: str) -> Features:
        """A page of a search.

        Parameters
        ----------
        body, places
            As :mod:`catalog.pgstac.searching` makes them.
        """

        def search(connection: psycopg.Connection) -> Any:
            asked: Any = _Search(body, dict(body["conf"]))
            request = self._request(_Connection(connection, places))
            return _driven(self._client._search_base(asked, request=request))  # noqa: SLF001 - the one funnel of all its searches

        found = self._searches.ask(search)
        rels = {link["rel"] for link in found["links"]}
        return Features(found["features"], "next" in rels, "previous" in rels or "prev" in rels)

    def matched(self, body: dict[str, Any], places: str) -> int:
        """How many items a search matches, page or no page."""
        text = _text(body)
        return self._searches.ask(lambda connection: _ask(connection, _MATCHED, (text, places)).fetchall()[0][0])

    def rows(self, query: str, *args: object) -> list[Sequence[Any]]:
        """The rows of a short query of ours."""
        return self._short.ask(lambda connection: _ask(connection, query, args).fetchall())

    def _request(self, connection: _Connection) -> Request:
        """What the client reads of a request: the state of its application, and an address that no answer keeps."""

        @asynccontextmanager
        async def lend(_: Request, __: str = "r") -> AsyncIterator[_Connection]:
            yield connection

        state = SimpleNamespace(settings=self._settings, get_connection=lend, router_prefix="")
        return Request(
            {
                "type": "http", "method": "GET", "scheme": "http", "server": ("pgstac", 80), "root_path": "",
                "path": "/search", "query_string": b"", "headers": [], "app": SimpleNamespace(state=state),
            }
        )  # fmt: skip


def _text(body: dict[str, Any]) -> str:
    text = orjson.dumps(body)
    if len(text) > _LONGEST:
        raise InvalidInput("The search is too large for the index.", hint="Simplify it.", kind="invalid-search")
    return text.decode()


def _driven(work: Coroutine[Any, Any, _T]) -> _T:
    """What a coroutine gives that waits for nobody."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    work.close()
    raise RuntimeError("stac-fastapi-pgstac's client waited for something else than its connection")
