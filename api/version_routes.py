"""The routes beside the STAC API's own: histories, differences, and the exact asset set of a version."""

from __future__ import annotations

from itertools import chain, islice

import attr
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from pyarrow import __version__ as pyarrow_version
from stac_fastapi.api.routes import create_async_endpoint
from stac_fastapi.types.extension import ApiExtension

from api import params
from api.asset_sets import MEDIA_TYPES, AssetForm, asset_blocks, form_of, gzipped, takes_gzip
from api.backend import Backend
from api.conformance import VERSIONS
from api.core import CoreClient
from api.history import dataset_history, diff_document, item_history
from api.middleware import UNCOMPRESSED, is_head
from api.pins import dataset_name, resolve
from api.responses import ALIAS, IMMUTABLE, etag_of, matches, reply, stamped, unsized
from api.urls import Urls
from versioning.errors import InvalidInput
from versioning.version import Version

__all__ = ["VersionRoutes"]

_LIMIT, _MOST = 100, 1_000


@attr.s
class VersionRoutes(ApiExtension):
    """Versions of collections and of items, after the STAC API's version extension, and our own routes."""

    core: CoreClient = attr.ib(kw_only=True)
    conformance_classes: list[str] = attr.ib(factory=lambda: list(VERSIONS))

    @property
    def backend(self) -> Backend:
        """What answers come from."""
        return self.core.backend

    def register(self, app: FastAPI) -> None:
        """Add the routes to an application."""
        router = APIRouter(tags=["Versions"])
        below = "/collections/{collection_id}"
        routes = [
            ("Versions of a Dataset", "/versions", self.versions, params.HistoryUri),
            ("One Version", "/versions/{version_id}", self.version, params.VersionUri),
            ("Revisions of an Item", "/items/{item_id}/versions", self.item_versions, params.ItemHistoryUri),
            ("One Revision", "/items/{item_id}/versions/{version_id}", self.item_version, params.ItemVersionUri),
            ("Difference of Versions", "/diff", self.diff, params.DiffUri),
            ("Exact Asset Set", "/assets", self.assets, params.AssetsUri),
        ]
        for name, path, function, model in routes:
            endpoint = create_async_endpoint(function, model)
            router.add_api_route(below + path, endpoint, methods=["GET"], name=name, response_model=None)
        app.include_router(router)

    def versions(
        self, *, request: Request, collection_id: str, limit: int | None = None, token: str | None = None
    ) -> Response:
        """GET /collections/{ds}/versions."""
        dataset = self.backend.dataset(dataset_name(collection_id))
        first = dataset.head()
        if token is not None:
            if not (token.isascii() and token.isdigit() and len(token) < 10 and int(token) > 0):  # noqa: PLR2004 - the digits of the highest number
                raise InvalidInput("What was given as token is not of this route.", hint="Take it from a next link.")
            first = int(token)
        size = min(limit or _LIMIT, _MOST)
        catalog_id = self.backend.catalog.record.id
        urls = Urls.of(request)
        return reply(request, dataset_history(dataset, urls, catalog_id=catalog_id, first=first, limit=size))

    def version(self, *, request: Request, collection_id: str, version_id: str) -> Response:
        """GET /collections/{ds}/versions/{v}."""
        return self.core.collection_reply(request, self._named(collection_id, version_id), None)

    def item_versions(self, *, request: Request, collection_id: str, item_id: str) -> Response:
        """GET /collections/{ds}/items/{id}/versions."""
        dataset = self.backend.dataset(dataset_name(collection_id))
        return reply(request, item_history(self.backend, dataset, item_id, Urls.of(request)))

    def item_version(self, *, request: Request, collection_id: str, item_id: str, version_id: str) -> Response:
        """GET /collections/{ds}/items/{id}/versions/{v}."""
        return self.core.item_reply(request, self._named(collection_id, version_id), item_id, None)

    def diff(self, *, request: Request, collection_id: str, old: str, new: str) -> Response:
        """GET /collections/{ds}/diff."""
        before, after = self._named(collection_id, old), self._named(collection_id, new)
        urls = Urls.of(request)
        pinned = old == f"v{before.number}" and new == f"v{after.number}"
        return reply(
            request,
            lambda: diff_document(before, after, urls, most=self.core.settings.max_diff_items),
            cache=IMMUTABLE if pinned else ALIAS,
            etag=etag_of("diff", before.pin, before.digest, after.pin, after.digest, urls.base),
            location=None
            if pinned
            else urls.to(
                "collections",
                before.dataset,
                "diff",
                params=[("from", f"v{before.number}"), ("to", f"v{after.number}")],
            ),
        )

    def assets(
        self, *, request: Request, collection_id: str, version: str | None = None, f: AssetForm | None = None
    ) -> Response:
        """GET /collections/{id}/assets."""
        found = resolve(self.backend, collection_id, version)
        urls = Urls.of(request)
        form = form_of(f, request.headers.get("accept", ""))
        media_type = MEDIA_TYPES[form]
        pinned = collection_id == found.collection_id
        # The bytes of Parquet are those of the pyarrow that writes it.
        written = [f"pyarrow {pyarrow_version}"] if form == "parquet" else []
        etag = stamped(request, etag_of("assets", form, found.pin, found.digest, urls.base, *written))
        headers = {"ETag": etag, "Cache-Control": IMMUTABLE if pinned else ALIAS}
        varies = ["Accept"] if f is None else []
        zipped = form == "ndjson" and takes_gzip(request.headers.get("accept-encoding", ""))
        headers["Content-Encoding"] = "gzip" if zipped else UNCOMPRESSED
        if form == "ndjson":
            varies.append("Accept-Encoding")
        if varies:
            headers["Vary"] = ", ".join(varies)
        if not pinned:
            asked = () if f is None else [("f", f)]
            headers["Content-Location"] = urls.to("collections", found.collection_id, "assets", params=asked)
        if matches(request, etag):
            return Response(status_code=304, headers=headers)
        if is_head(request.scope):
            return unsized(headers, media_type=media_type)
        blocks = asset_blocks(found, urls, form)
        if zipped:
            blocks = gzipped(blocks)
        # The first block is made before the status is sent: damage that shows at once is an error, not a broken stream.
        first = list(islice(blocks, 1))
        return StreamingResponse(chain(first, blocks), media_type=media_type, headers=headers)

    def _named(self, collection_id: str, version_id: str) -> Version:
        return resolve(self.backend, dataset_name(collection_id), version_id)
