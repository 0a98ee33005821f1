"""Searches: one request, from GET or POST, made into a query at pinned versions, and its page with pinned links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from api.backend import Backend
from api.documents import page_document
from api.fields import FieldSet
from api.pins import Selection
from api.urls import GEOJSON, Urls, link
from catalog.query import Query
from versioning.errors import InvalidInput

__all__ = ["Address", "Wanted", "search_page"]

_LIMIT = 10
_CRS84 = frozenset(
    {
        "http://www.opengis.net/def/crs/OGC/1.3/CRS84",
        "https://www.opengis.net/def/crs/OGC/1.3/CRS84",
        "urn:ogc:def:crs:OGC:1.3:CRS84",
        "urn:ogc:def:crs:OGC::CRS84",
    }
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a search asks for, checked: which items, which of their fields, which page."""

    query: Query
    fields: FieldSet
    limit: int
    token: str | None

    @classmethod
    def parse(
        cls,
        *,
        fields: FieldSet,
        limit: int | None,
        token: str | None,
        most: int,
        unless_told: int = _LIMIT,
        filter_lang: str | None = None,
        filter_crs: str | None = None,
        **parts: Any,
    ) -> Wanted:
        """Check the parameters that GET and POST share.

        Parameters
        ----------
        fields
            Which parts of items are wanted.
        limit, token
            Which page; ``limit`` is cut to ``most``, as OGC API Features (7.15.2) wants it.
        most, unless_told
            How many answers a page has at most, and if ``limit`` is None.
        filter_lang, filter_crs
            How the filter is written; of no meaning without one.
        **parts
            ``ids``, ``bbox``, ``intersects``, ``datetime``, ``filter``, ``q`` and ``sortby``, for
            :meth:`catalog.query.Query.parse`.

        Raises
        ------
        InvalidInput
            If any of it cannot be used.
        """
        if parts.get("filter") is None and (filter_lang is not None or filter_crs is not None):
            raise InvalidInput("filter-lang and filter-crs are of no use without filter.", hint="Add a filter.")
        if filter_crs is not None and filter_crs not in _CRS84:
            raise InvalidInput(
                f"filter-crs {filter_crs[:200]!r} is not known.",
                hint="Only http://www.opengis.net/def/crs/OGC/1.3/CRS84 is: degrees of longitude and latitude.",
            )
        if token == "":
            raise InvalidInput("token is empty.", hint="Take it from a next link, or leave it out.")
        query = Query.parse(filter_lang=filter_lang, **parts)
        return cls(query, fields, min(unless_told if limit is None else limit, most), token)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a search was asked, and how to ask the same of the versions that it was answered from.

    ``asked`` are its parameters (GET) or its body (POST), with the versions written canonically.
    """

    method: Literal["GET", "POST"]
    href: str
    asked: dict[str, Any]

    @classmethod
    def get(cls, href: str, params: Sequence[tuple[str, str]], selection: Selection, *, route: bool) -> Address:
        """Of a GET; ``route`` says that the path names the version already."""
        kept = {key: value for key, value in params if key not in {"collections", "version"}}
        return cls("GET", href, kept if route else {"collections": ",".join(selection.collections), **kept})

    @classmethod
    def post(cls, href: str, body: dict[str, Any], selection: Selection) -> Address:
        """Of a POST."""
        kept = {key: value for key, value in body.items() if key not in {"collections", "version"}}
        return cls("POST", href, {"collections": selection.collections, **kept})

    def check(self) -> None:
        """Refuse what no link could say again: numbers of more than 64 bits, wherever they stand.

        Raises
        ------
        InvalidInput
            If there is one.
        """
        try:
            orjson.dumps(self.asked)
        except TypeError as error:
            raise InvalidInput(f"The body cannot be used: {error}.", hint="Write numbers of 64 bits.") from error

    @property
    def url(self) -> str:
        """The whole address of a GET."""
        return Urls(self.href).with_params(self.asked.items())

    def link(self, rel: str, token: str | None) -> dict[str, Any]:
        """A link to the same search, with another token."""
        asked = {key: value for key, value in self.asked.items() if key != "token"}
        if token is not None:
            asked["token"] = token
        if self.method == "GET":
            return {**link(rel, Address("GET", self.href, asked).url, GEOJSON), "method": "GET"}
        return {**link(rel, self.href, GEOJSON), "method": "POST", "body": asked, "merge": False}


def search_page(
    backend: Backend, selection: Selection, wanted: Wanted, address: Address, urls: Urls, *, itself: str
) -> dict[str, Any]:
    """One page of a search: every link of it leads to the same versions, whatever is published meanwhile."""
    page = backend.search(selection.versions, wanted.query, limit=wanted.limit, token=wanted.token)
    links: list[dict[str, Any]] = [
        {**link("self", itself, GEOJSON), "method": address.method},
        address.link("permalink", wanted.token),
        address.link("canonical", wanted.token),
    ]
    if page.next is not None:
        links.append(address.link("next", page.next))
    if page.prev is not None:
        # The first page has no token of its own in some backends.
        links.append(address.link("prev", page.prev or None))
    return page_document(page.items, selection, urls, fields=wanted.fields, matched=page.matched, links=links)
