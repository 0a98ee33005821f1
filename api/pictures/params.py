"""What requests for tiles and pictures may carry.

No ``from __future__ import annotations``: :mod:`api.params` says why.
"""

from typing import Annotated, Literal

import attr
from fastapi import Path, Query
from stac_fastapi.types.search import APIRequest

from api.params import CollectionId, Ids, ItemId, Version

__all__ = ["ItemTileUri", "OgcTileUri", "PictureUri", "ThumbnailUri", "TileJsonUri", "TileUri"]

Text = str | None

Zoom = Annotated[int, Path(description="Zoom level, 0 to 24.")]
Column = Annotated[int, Path(description="Column of the tile, eastwards.")]
TileRow = Annotated[int, Path(description="Row of the tile, southwards.")]
Asset = Annotated[Text, Query(description="The key of one raster asset; unless told, what shows the item best.")]
Bidx = Annotated[Text, Query(description="Numbers of 1 or 3 bands of the asset, from 1, with commas between them.")]
Bands = Annotated[
    Text, Query(description="Names or common names of 1 or 3 bands, of one asset or several, with commas between them.")
]
Rescale = Annotated[
    Text, Query(description="`min,max`, or as many pairs as bands: the values that become black and white.")
]
ColormapName = Annotated[Text, Query(description="A colour map of rio-tiler, such as `viridis`, for one band.")]


@attr.s(kw_only=True)
class TileJsonUri(APIRequest):
    """GET /collections/{collection_id}/tilejson.json."""

    collection_id: CollectionId = attr.ib()
    version: Version = attr.ib(default=None)
    ids: Ids = attr.ib(default=None)


@attr.s(kw_only=True)
class TileUri(TileJsonUri):
    """GET /collections/{collection_id}/tiles/{z}/{x}/{y}."""

    z: Zoom = attr.ib()
    x: Column = attr.ib()
    y: TileRow = attr.ib()


@attr.s(kw_only=True)
class OgcTileUri(TileJsonUri):
    """GET /collections/{collection_id}/tiles/WebMercatorQuad/{z}/{y}/{x}."""

    z: Zoom = attr.ib()
    y: TileRow = attr.ib()
    x: Column = attr.ib()


@attr.s(kw_only=True)
class ThumbnailUri(APIRequest):
    """GET /collections/{collection_id}/thumbnail."""

    collection_id: CollectionId = attr.ib()
    version: Version = attr.ib(default=None)


@attr.s(kw_only=True)
class _Drawn(APIRequest):
    collection_id: CollectionId = attr.ib()
    item_id: ItemId = attr.ib()
    version: Version = attr.ib(default=None)
    asset: Asset = attr.ib(default=None)
    bidx: Bidx = attr.ib(default=None)
    bands: Bands = attr.ib(default=None)
    rescale: Rescale = attr.ib(default=None)
    colormap_name: ColormapName = attr.ib(default=None)


@attr.s(kw_only=True)
class PictureUri(_Drawn):
    """GET /collections/{collection_id}/items/{item_id}/preview and …/thumbnail."""

    max_size: Annotated[
        int | None, Query(ge=1, le=2048, description="The longer side in pixels; a raster is never enlarged.")
    ] = attr.ib(default=None)
    f: Annotated[
        Literal["png", "jpeg", "webp"] | None, Query(description="The format; unless told, what Accept prefers.")
    ] = attr.ib(default=None)


@attr.s(kw_only=True)
class ItemTileUri(_Drawn):
    """GET /collections/{collection_id}/items/{item_id}/tiles/{z}/{x}/{y}.png."""

    z: Zoom = attr.ib()
    x: Column = attr.ib()
    y: TileRow = attr.ib()
