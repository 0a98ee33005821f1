"""The routes of vector tiles: tiles by z/x/y, by the order of OGC API - Tiles, and their TileJSON."""

from __future__ import annotations

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
from api.pictures.tilejson import labels_tilejson
from api.pictures.vector_tiles import MVT, TileLimits, VectorTiles
from api.pins import resolve
from api.responses import ALIAS, IMMUTABLE, MOVING, etag_of, matches, reply
from api.urls import Urls
from versioning.version import Version

__all__ = ["TileRoutes"]


@attr.s
class TileRoutes(ApiExtension):
    """Vector tiles of the labels at a pin."""

    core: CoreClient = attr.ib(kw_only=True)
    drawing: Drawing = attr.ib(kw_only=True)
    conformance_classes: list[str] = attr.ib(factory=lambda: ["https://stacpin.github.io/pin/v1.0.0/api/tiles"])

    def register(self, app: FastAPI) -> None:
        """Add the routes to an application."""
        self.tiles = VectorTiles(self.core.backend, self.limits)
        router = APIRouter(tags=["Tiles"])
        below = "/collections/{collection_id}"
        # OGC API - Tiles (20-057, 7.4) has row before column: {tileMatrixSetId}/{tileMatrix}/{tileRow}/{tileCol}.
        routes: list[tuple[str, str, Any, Any]] = [
            ("Tiles of the Labels", "/tilejson.json", self.tilejson, params.TileJsonUri),
            ("Vector Tile", "/tiles/{z}/{x}/{y}", self.tile, params.TileUri),
            ("Vector Tile (OGC)", "/tiles/WebMercatorQuad/{z}/{y}/{x}", self.tile, params.OgcTileUri),
        ]
        for name, path, function, model in routes:
            endpoint = create_async_endpoint(function, model)
            router.add_api_route(below + path, endpoint, methods=["GET"], name=name, response_model=None)
        app.include_router(router)

    @property
    def limits(self) -> TileLimits:
        """What a tile may be drawn from and may hold."""
        settings = self.core.settings
        return TileLimits(settings.max_tile_items, settings.max_tile_features, settings.max_tile_bytes)

    def tilejson(
        self, *, request: Request, collection_id: str, version: str | None = None, ids: str | None = None
    ) -> Response:
        """GET /collections/{id}/tilejson.json."""
        found = resolve(self.core.backend, collection_id, version)
        urls = Urls.of(request)
        canonical = collection_id == found.collection_id
        return reply(
            request,
            labels_tilejson(self.core.backend, found, urls, self.limits, ids),
            # Not for ever: what it tells of limits is the server's.
            cache=MOVING if canonical else ALIAS,
            location=None if canonical else _at(urls, found, ids, "tilejson.json"),
        )

    async def tile(self, *, request: Request, z: int, x: int, y: int, **asked: Any) -> Response:
        """GET /collections/{id}/tiles/{z}/{x}/{y}."""
        tile = Tile.checked(z, x, y)
        return await self._tile(request, tile, **asked)

    async def _tile(
        self, request: Request, tile: Tile, *, collection_id: str, version: str | None, ids: str | None
    ) -> Response:
        found = await run_in_threadpool(resolve, self.core.backend, collection_id, version)
        place = (str(tile.z), str(tile.x), str(tile.y))
        # What a version holds decides the bytes, and so do the limits; where it is asked for does not.
        etag = etag_of("tile", found.digest, *place, repr(ids), repr(self.limits))
        headers = {"ETag": etag, "Cache-Control": IMMUTABLE, "X-Content-Type-Options": "nosniff"}
        if collection_id != found.collection_id:
            headers |= {
                "Cache-Control": ALIAS,
                "Content-Location": _at(Urls.of(request), found, ids, "tiles", *place),
            }
        if matches(request, etag):
            return Response(status_code=304, headers=headers)

        def draw() -> Response:
            made = self.tiles.draw(found, tile, ids)
            if made.items_left_out or made.features_left_out:
                left_out = f"items={made.items_left_out}, features={made.features_left_out}"
                headers["Pin-Left-Out"] = left_out
            # Some clients take an empty 200 for a failure, and all that were looked at understand 204.
            return Response(made.data, headers=headers, media_type=MVT) if made.data else Response(None, 204, headers)

        return await self.drawing.run(draw)


def _at(urls: Urls, version: Version, ids: str | None, *parts: str) -> str:
    params = [] if ids is None else [("ids", ids)]
    return urls.to("collections", version.collection_id, *parts, params=params)
