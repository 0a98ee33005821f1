"""The routes of pictures: previews and thumbnails of items, raster tiles of one item, a thumbnail of a version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attr
from fastapi import APIRouter, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from stac_fastapi.api.routes import create_async_endpoint
from stac_fastapi.types.extension import ApiExtension

from api.core import CoreClient
from api.pictures import params
from api.pictures.drawing import Drawing
from api.pictures.mercator import Tile
from api.pictures.pictures import Format, Pictures
from api.pictures.plan import Asked, has_picture, make_plan
from api.pins import resolve
from api.responses import ALIAS, IMMUTABLE, etag_of, matches
from api.urls import Urls
from catalog.query import Query
from versioning.errors import NotFound
from versioning.version import Version

__all__ = ["THUMBNAIL", "PictureRoutes", "preferred"]

THUMBNAIL = 512
"""Pixels of a thumbnail's longer side."""

_PREVIEW = 1024
_LOOKED_AT = 1_000
_MEDIA: dict[Format, str] = {"png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg"}


@attr.s
class PictureRoutes(ApiExtension):
    """Pictures of the rasters at a pin."""

    core: CoreClient = attr.ib(kw_only=True)
    drawing: Drawing = attr.ib(kw_only=True)
    conformance_classes: list[str] = attr.ib(factory=lambda: ["https://stacpin.github.io/pin/v1.0.0/api/pictures"])

    def register(self, app: FastAPI) -> None:
        """Add the routes to an application."""
        self.pictures = Pictures(self.core.backend.catalog.store)
        router = APIRouter(tags=["Pictures"])
        below, item = "/collections/{collection_id}", "/collections/{collection_id}/items/{item_id}"
        routes: list[tuple[str, str, Any, Any]] = [
            ("Preview of an Item", f"{item}/preview", self.preview, params.PictureUri),
            ("Thumbnail of an Item", f"{item}/thumbnail", self.thumbnail, params.PictureUri),
            ("Raster Tile of an Item", f"{item}/tiles/{{z}}/{{x}}/{{y}}.png", self.tile, params.ItemTileUri),
            ("Thumbnail of a Version", f"{below}/thumbnail", self.version_thumbnail, params.ThumbnailUri),
        ]
        for name, path, function, model in routes:
            endpoint = create_async_endpoint(function, model)
            router.add_api_route(path, endpoint, methods=["GET"], name=name, response_model=None)
        app.include_router(router)

    async def preview(self, *, request: Request, max_size: int | None, f: Format | None, **asked: Any) -> Response:
        """GET /collections/{id}/items/{item}/preview."""
        return await self._picture(request, "preview", max_size or _PREVIEW, f, **asked)

    async def thumbnail(self, *, request: Request, max_size: int | None, f: Format | None, **asked: Any) -> Response:
        """GET /collections/{id}/items/{item}/thumbnail."""
        return await self._picture(request, "thumbnail", max_size or THUMBNAIL, f, **asked)

    async def _picture(self, request: Request, name: str, size: int, f: Format | None, **asked: Any) -> Response:
        form = f or preferred(request.headers.get("accept", ""))

        def draw(item: dict[str, Any], parts: Asked) -> bytes:
            return self.pictures.preview(item, make_plan(item, parts), max_size=size, form=form)

        return await self._answer(request, [name], [name, str(size), form], form, draw, varies=f is None, **asked)

    async def tile(self, *, request: Request, z: int, x: int, y: int, **asked: Any) -> Response:
        """GET /collections/{id}/items/{item}/tiles/{z}/{x}/{y}.png."""
        tile = Tile.checked(z, x, y)

        def draw(item: dict[str, Any], parts: Asked) -> bytes:
            return self.pictures.tile(item, make_plan(item, parts), tile)

        place = ["tiles", str(z), str(x), f"{y}.png"]
        return await self._answer(request, place, place, "png", draw, **asked)

    async def version_thumbnail(self, *, request: Request, collection_id: str, version: str | None) -> Response:
        """GET /collections/{id}/thumbnail: of its first item, by id, that has a raster."""

        def prepare() -> Response | Callable[[], Response]:
            found = resolve(self.core.backend, collection_id, version)
            headers = _headers(request, found, collection_id, ["thumbnail"], etag_of("thumbnail", found.digest))
            if matches(request, headers["ETag"]):
                return Response(status_code=304, headers=headers)
            page = self.core.backend.search([found], Query.parse(sortby="+id"), limit=_LOOKED_AT, token=None)
            item = next((item for item in page.items if has_picture(item)), None)
            if item is None:
                raise NotFound(
                    f"None of the first {len(page.items):,} items of {found.pin} has a raster to draw.",
                    hint="Ask for the thumbnail of an item.",
                    kind="no-picture",
                )
            plan = make_plan(item, Asked())
            return lambda: Response(
                self.pictures.preview(item, plan, max_size=THUMBNAIL, form="png"),
                headers=headers,
                media_type=_MEDIA["png"],
            )

        return await self._drawn(prepare)

    async def _answer(
        self,
        request: Request,
        path: Sequence[str],
        state: Sequence[str],
        form: Format,
        draw: Callable[[dict[str, Any], Asked], bytes],
        *,
        collection_id: str,
        item_id: str,
        version: str | None,
        varies: bool = False,
        **parts: str | None,
    ) -> Response:
        """A picture of an item, or 304; ``path`` are its parts below the item, ``state`` is what decides its bytes."""
        asked = Asked(**parts)

        def prepare() -> Response | Callable[[], Response]:
            found = resolve(self.core.backend, collection_id, version)
            row = self.core.row(found, item_id, Urls.of(request))
            # The item decides what is drawn of which files; they are part of it by their checksums.
            etag = etag_of("picture", row.digest, *state, repr(asked))
            headers = _headers(request, found, collection_id, ["items", item_id, *path], etag)
            if varies:
                headers["Vary"] = "Accept"
            item = row.parse()
            make_plan(item, asked)  # what cannot be drawn is refused before a 304
            if matches(request, etag):
                return Response(status_code=304, headers=headers)
            return lambda: Response(draw(item, asked), headers=headers, media_type=_MEDIA[form])

        return await self._drawn(prepare)

    async def _drawn(self, prepare: Callable[[], Response | Callable[[], Response]]) -> Response:
        prepared = await run_in_threadpool(prepare)
        return prepared if isinstance(prepared, Response) else await self.drawing.run(prepared)


def _headers(request: Request, version: Version, asked: str, path: Sequence[str], etag: str) -> dict[str, str]:
    headers = {"ETag": etag, "Cache-Control": IMMUTABLE, "X-Content-Type-Options": "nosniff"}
    if asked != version.collection_id:
        params = [(name, value) for name, value in request.query_params.multi_items() if name != "version"]
        location = Urls.of(request).to("collections", version.collection_id, *path, params=params)
        headers |= {"Cache-Control": ALIAS, "Content-Location": location}
    return headers


def preferred(accept: str) -> Format:
    """The format that an Accept header prefers; PNG where it prefers none, and where it takes none of them."""
    weights: dict[str, float] = {}
    for part in accept.lower().split(",")[:50]:
        media, *options = (piece.strip() for piece in part.split(";"))
        weight = next((option[2:] for option in options if option.startswith("q=")), "1")
        try:
            weights[media] = float(weight)
        except ValueError:
            weights[media] = 0.0

    def liked(form: Format) -> float:
        return weights.get(_MEDIA[form], weights.get("image/*", weights.get("*/*", 0.0)))

    return max(_MEDIA, key=liked)
