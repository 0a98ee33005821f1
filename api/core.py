"""The core of the STAC API: landing page, collections, items and search, over any backend.

The methods are synchronous: stac-fastapi runs them in its thread pool, so that reading the store never holds up the
event loop.
"""

# stac-fastapi takes whole Responses, and parameters as the request models name them; its types do not say so.
# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

from typing import Any

import attr
from fastapi import Request
from fastapi.responses import Response
from stac_fastapi.types.core import BaseCoreClient

from api.backend import Backend
from api.collection_search import LIMIT, MOST, QUERYABLES, CollectionSearch, check_versions
from api.documents import Successors, collection_document, item_document
from api.fields import FieldSet
from api.files import files_link
from api.history import predecessor
from api.params import SearchPostRequest
from api.pictures.links import add_collection_links
from api.pins import Selection, resolve, select
from api.responses import ALIAS, IMMUTABLE, MOVING, etag_of, reply
from api.searching import Address, Wanted, search_page
from api.settings import ApiSettings
from api.urls import GEOJSON, JSON, Urls, link
from versioning.errors import InvalidInput, NotFound
from versioning.ids import split_collection_id
from versioning.rows import Row
from versioning.version import Version

__all__ = ["CoreClient"]


@attr.s
class CoreClient(BaseCoreClient):
    """What the routes of stac-fastapi call."""

    backend: Backend = attr.ib(kw_only=True)
    settings: ApiSettings = attr.ib(kw_only=True)
    successors: Successors = attr.ib(factory=Successors, init=False)
    versions: CollectionSearch = attr.ib(init=False)

    def __attrs_post_init__(self) -> None:
        """Make what remembers versions."""
        self.versions = CollectionSearch(self.backend, seconds=self.settings.max_search_seconds)

    # -- the catalog

    def landing_page(self, *, request: Request, **_: Any) -> Response:
        """GET /."""
        urls = Urls.of(request)
        page: dict[str, Any] = dict(super().landing_page(request=request))
        page["pin:catalog"] = self.backend.catalog.record.id
        page["links"] = [
            *page["links"],
            link("alternate", urls.to("browser") + "/", "text/html", "STAC Browser"),
            files_link(self.backend.catalog, urls),
        ]
        return reply(request, page)

    def conformance(self, *, request: Request, **_: Any) -> Response:
        """GET /conformance."""
        return reply(request, {"conformsTo": self.conformance_classes()})

    # -- collections

    def all_collections(
        self,
        *,
        request: Request,
        versions: str | None = None,
        version: str | None = None,
        fields: str | None = None,
        limit: int | None = None,
        token: str | None = None,
        **parts: Any,
    ) -> Response:
        """GET /collections."""
        check_versions(versions, version)
        wanted = Wanted.parse(
            fields=FieldSet.parse(fields), limit=limit, token=token, most=MOST, unless_told=LIMIT, **parts
        )
        urls = Urls.of(request)
        here = urls.to("collections")
        asked = request.query_params.multi_items()
        body = self.versions.page(
            wanted,
            lambda found: self._collection(found, urls, self.backend.dataset(found.dataset).latest_number()),
            versions=versions or "latest",
            version=version,
            href=here,
            itself=str(request.url),
            asked=asked,
        )
        body["links"] += [
            link("root", urls.root()),
            link(QUERYABLES, urls.to("collection-queryables"), "application/schema+json"),
        ]
        if versions != "all" and version is None:
            kept = [(name, value) for name, value in asked if name not in {"token", "versions"}]
            every = Urls(here).with_params([*kept, ("versions", "all")])
            body["links"].append(link("alternate", every, JSON, "All versions"))
        return reply(request, body)

    def get_collection(self, *, request: Request, collection_id: str, version: str | None = None, **_: Any) -> Response:
        """GET /collections/{collection_id}."""
        return self.collection_reply(request, resolve(self.backend, collection_id, version), collection_id)

    def collection_reply(self, request: Request, version: Version, asked: str | None) -> Response:
        """A version's collection, asked for by its own id or by another name."""
        urls = Urls.of(request)
        dataset = self.backend.dataset(version.dataset)
        canonical = asked == version.collection_id
        return reply(
            request,
            self._collection(version, urls, dataset.latest_number()),
            cache=MOVING if canonical else ALIAS,
            location=None if canonical else urls.collection(version.collection_id),
        )

    def _collection(self, version: Version, urls: Urls, latest: int) -> dict[str, Any]:
        successors = self.successors.of(self.backend.dataset(version.dataset), version.number)
        document = collection_document(version, urls, successors, latest)
        document["links"].append(files_link(self.backend.catalog, urls, version))
        add_collection_links(document, version, urls)
        return document

    # -- items

    def get_item(
        self, *, request: Request, collection_id: str, item_id: str, version: str | None = None, **_: Any
    ) -> Response:
        """GET /collections/{collection_id}/items/{item_id}."""
        return self.item_reply(request, resolve(self.backend, collection_id, version), item_id, collection_id)

    def item_reply(self, request: Request, version: Version, item_id: str, asked: str | None) -> Response:
        """An item of a version; ``asked`` is the collection id that named the version, if one did."""
        urls = Urls.of(request)
        row = self.row(version, item_id, urls)
        canonical = asked == version.collection_id

        def document() -> dict[str, Any]:
            made = item_document(row.parse(), version.collection_id, urls)
            before = predecessor(self.backend, version, row)
            if before is not None:
                name, number = split_collection_id(before)
                made["links"].append(
                    link("predecessor-version", urls.item(before, item_id), GEOJSON, f"{item_id} in {name}@v{number}")
                )
            return made

        return reply(
            request,
            document,
            media_type=GEOJSON,
            cache=IMMUTABLE if canonical else ALIAS,
            etag=etag_of(row.digest, version.collection_id, urls.base),
            location=None if canonical else urls.item(version.collection_id, item_id),
        )

    def row(self, version: Version, item_id: str, urls: Urls) -> Row:
        """An item of a version; NotFound if there is none."""
        row = self.backend.find(version, item_id)
        if row is None:
            raise NotFound(
                f"{version.pin} has no item {item_id[:200]!r}.",
                hint=f"See {urls.items(version.collection_id)}",
                kind="no-such-item",
            )
        return row

    def item_collection(
        self,
        *,
        request: Request,
        collection_id: str,
        version: str | None = None,
        fields: str | None = None,
        limit: int | None = None,
        token: str | None = None,
        collections: str | None = None,
        **parts: Any,
    ) -> Response:
        """GET /collections/{collection_id}/items."""
        wanted = self._wanted(FieldSet.parse(fields), limit, token, parts)
        found = resolve(self.backend, collection_id, version)
        if collections is not None and collections not in {collection_id, found.collection_id}:
            raise InvalidInput(
                f"collections={collections[:200]} is not the collection of this route, {found.collection_id}.",
                hint="Leave it out, or use /search.",
            )
        selection = Selection((found,), pinned=collection_id == found.collection_id)
        urls = Urls.of(request)
        params = request.query_params.multi_items()
        address = Address.get(urls.items(found.collection_id), params, selection, route=True)
        return self._get_page(request, selection, wanted, address)

    # -- search

    def get_search(
        self,
        *,
        request: Request,
        collections: str | None = None,
        version: str | None = None,
        fields: str | None = None,
        limit: int | None = None,
        token: str | None = None,
        **parts: Any,
    ) -> Response:
        """GET /search."""
        wanted = self._wanted(FieldSet.parse(fields), limit, token, parts)
        names = None if collections is None else [name.strip() for name in collections.split(",")]
        selection = select(self.backend, names, version)
        params = request.query_params.multi_items()
        address = Address.get(Urls.of(request).search(), params, selection, route=False)
        return self._get_page(request, selection, wanted, address)

    def post_search(self, search_request: SearchPostRequest, *, request: Request, **_: Any) -> Response:
        """POST /search."""
        asked = search_request
        fields = FieldSet.of(asked.fields.include, asked.fields.exclude) if asked.fields else FieldSet()
        parts = {
            name: getattr(asked, name) for name in ("ids", "bbox", "intersects", "datetime", "filter", "q", "sortby")
        }
        parts |= {"filter_lang": asked.filter_lang, "filter_crs": asked.filter_crs}
        wanted = self._wanted(fields, asked.limit, asked.token, parts)
        selection = select(self.backend, asked.collections, asked.version)
        urls = Urls.of(request)
        body = asked.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
        address = Address.post(urls.search(), body, selection)
        address.check()
        page = search_page(self.backend, selection, wanted, address, urls, itself=urls.search())
        return reply(request, page, media_type=GEOJSON)

    def _wanted(self, fields: FieldSet, limit: int | None, token: str | None, parts: dict[str, Any]) -> Wanted:
        return Wanted.parse(fields=fields, limit=limit, token=token, most=self.settings.max_limit, **parts)

    def _get_page(self, request: Request, selection: Selection, wanted: Wanted, address: Address) -> Response:
        urls = Urls.of(request)
        itself = str(request.url)
        return reply(
            request,
            lambda: search_page(self.backend, selection, wanted, address, urls, itself=itself),
            media_type=GEOJSON,
            cache=IMMUTABLE if selection.pinned else ALIAS,
            etag=etag_of(itself, urls.base, *(version.digest for version in selection.versions), *selection.pins),
            location=None if selection.pinned else address.url,
        )
