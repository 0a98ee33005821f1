"""What requests may carry: one model for each route, and a guard that refuses everything else.

The models give values as they came; :mod:`catalog.query` and :mod:`api.pins` check them, so that GET, POST, the command
line and Python say the same about the same mistake. No ``from __future__ import annotations`` here: FastAPI reads the
annotations of attrs classes without their module, and could not resolve them as text.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import attr
from fastapi import Path, Query, Request
from fastapi.dependencies.models import Dependant
from pydantic import BaseModel, ConfigDict, Field
from stac_fastapi.types.search import APIRequest

from versioning.errors import InvalidInput

__all__ = [
    "AssetsUri",
    "CollectionUri",
    "CollectionsRequest",
    "DatasetUri",
    "DiffUri",
    "HistoryUri",
    "ItemHistoryUri",
    "ItemUri",
    "ItemVersionUri",
    "ItemsRequest",
    "SearchGetRequest",
    "SearchPostRequest",
    "VersionUri",
    "refuse_unknown",
    "takes_hint",
]

Text = str | None

_COLLECTION = "A dataset (`landcover`, which follows `latest`) or one of its versions (`landcover--v3`)."
_VERSION = "Which version of a dataset: `v3`, `stable`, `v2.1.4`, `sha256:…` or `{2026-01-31}`."
_DATASET = "A dataset's id, without a version."

CollectionId = Annotated[str, Path(description=_COLLECTION)]
DatasetId = Annotated[str, Path(description=_DATASET)]
ItemId = Annotated[str, Path(description="An item's id.")]
VersionName = Annotated[str, Path(description=_VERSION)]
Version = Annotated[Text, Query(description=_VERSION)]
Limit = Annotated[int | None, Query(ge=1, description="Items a page; 10 unless told, and at most 10,000.")]
Token = Annotated[Text, Query(description="The place in the results, as a `next` or `prev` link has it.")]
Ids = Annotated[Text, Query(description="Item ids with commas between them.")]
BBox = Annotated[Text, Query(description="west,south,east,north in degrees; west > east crosses the antimeridian.")]
Datetime = Annotated[Text, Query(description="An RFC 3339 time, or an interval `A/B` with `..` for an open end.")]
Filter = Annotated[Text, Query(alias="filter", description="A CQL2 filter, as text or JSON.")]
FilterLang = Annotated[Text, Query(alias="filter-lang", description="`cql2-text` or `cql2-json`.")]
FilterCrs = Annotated[Text, Query(alias="filter-crs", description="The CRS of the filter's geometries: CRS84 only.")]
FreeText = Annotated[
    Text, Query(description="Words or phrases with commas between them: any of them in title, description or keywords.")
]
SortBy = Annotated[Text, Query(description="`+field,-field`; unless told, the newest come first.")]
Fields = Annotated[Text, Query(description="`field,-field`: what of an item is answered.")]


@attr.s(kw_only=True)
class CollectionsRequest(APIRequest):
    """GET /collections."""

    versions: Annotated[
        Literal["latest", "all"] | None,
        Query(description="Each dataset's `latest` version (unless told), or `all` that are not expired."),
    ] = attr.ib(default=None)
    version: Annotated[
        Text, Query(description=f"{_VERSION} Each dataset's, instead of `latest`; datasets without it are left out.")
    ] = attr.ib(default=None)
    bbox: BBox = attr.ib(default=None)
    datetime: Datetime = attr.ib(default=None)
    filter: Filter = attr.ib(default=None)
    filter_lang: FilterLang = attr.ib(default=None)
    filter_crs: FilterCrs = attr.ib(default=None)
    q: FreeText = attr.ib(default=None)
    sortby: Annotated[
        Text, Query(description="`+field,-field`; unless told, by dataset and from its newest version to its oldest.")
    ] = attr.ib(default=None)
    fields: Annotated[Text, Query(description="`field,-field`: what of a collection is answered.")] = attr.ib(
        default=None
    )
    limit: Annotated[int | None, Query(ge=1, description="Collections a page; 100 unless told, and at most 1,000.")] = (
        attr.ib(default=None)
    )
    token: Token = attr.ib(default=None)


@attr.s
class CollectionUri(APIRequest):
    """GET /collections/{collection_id}."""

    collection_id: CollectionId = attr.ib()
    version: Version = attr.ib(default=None)


@attr.s
class ItemUri(APIRequest):
    """GET /collections/{collection_id}/items/{item_id}."""

    collection_id: CollectionId = attr.ib()
    item_id: ItemId = attr.ib()
    version: Version = attr.ib(default=None)


@attr.s(kw_only=True)
class _Selecting(APIRequest):
    version: Version = attr.ib(default=None)
    bbox: BBox = attr.ib(default=None)
    datetime: Datetime = attr.ib(default=None)
    filter: Filter = attr.ib(default=None)
    filter_lang: FilterLang = attr.ib(default=None)
    filter_crs: FilterCrs = attr.ib(default=None)
    q: FreeText = attr.ib(default=None)
    sortby: SortBy = attr.ib(default=None)
    fields: Fields = attr.ib(default=None)
    limit: Limit = attr.ib(default=None)
    token: Token = attr.ib(default=None)


@attr.s(kw_only=True)
class ItemsRequest(_Selecting):
    """GET /collections/{collection_id}/items."""

    collection_id: CollectionId = attr.ib()
    ids: Ids = attr.ib(default=None)
    collections: Annotated[Text, Query(description="The same collection again, as pystac-client sends it.")] = attr.ib(
        default=None
    )


@attr.s(kw_only=True)
class SearchGetRequest(_Selecting):
    """GET /search."""

    collections: Annotated[Text, Query(description=f"With commas between them. {_COLLECTION}")] = attr.ib(default=None)
    ids: Ids = attr.ib(default=None)
    intersects: Annotated[Text, Query(description="A GeoJSON geometry, instead of bbox.")] = attr.ib(default=None)


class SearchFields(BaseModel):
    """The fields extension's object."""

    model_config = ConfigDict(extra="forbid")

    include: list[str] | None = None
    exclude: list[str] | None = None


class SearchPostRequest(BaseModel):
    """POST /search."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    collections: list[str] | None = Field(default=None, description=_COLLECTION)
    version: Text = Field(default=None, description=_VERSION)
    ids: list[str] | None = None
    bbox: list[Any] | None = Field(default=None, description="4 or 6 numbers: west, south, east, north.")
    intersects: dict[str, Any] | None = Field(default=None, description="A GeoJSON geometry, instead of bbox.")
    datetime: Text = Field(default=None, description="An RFC 3339 time or interval.")
    filter: dict[str, Any] | bool | str | None = Field(default=None, description="A CQL2 filter, as JSON or text.")
    filter_lang: Text = Field(default=None, alias="filter-lang")
    filter_crs: Text = Field(default=None, alias="filter-crs")
    q: list[str] | Text = Field(default=None, description="Terms: any of them in title, description or keywords.")
    sortby: list[dict[str, Any]] | None = Field(default=None, description='`[{"field": …, "direction": "asc"}]`')
    fields: SearchFields | None = None
    limit: int | None = Field(default=None, ge=1, strict=True)
    token: Text = None


@attr.s
class DatasetUri(APIRequest):
    """A route below a dataset."""

    collection_id: DatasetId = attr.ib()


@attr.s
class HistoryUri(DatasetUri):
    """GET /collections/{collection_id}/versions."""

    limit: Annotated[int | None, Query(ge=1, description="Versions a page; 100 unless told, at most 1,000.")] = attr.ib(
        default=None
    )
    token: Token = attr.ib(default=None)


@attr.s
class VersionUri(DatasetUri):
    """GET /collections/{collection_id}/versions/{version_id}."""

    version_id: VersionName = attr.ib()


@attr.s
class ItemHistoryUri(DatasetUri):
    """GET /collections/{collection_id}/items/{item_id}/versions."""

    item_id: ItemId = attr.ib()


@attr.s
class ItemVersionUri(DatasetUri):
    """GET /collections/{collection_id}/items/{item_id}/versions/{version_id}."""

    item_id: ItemId = attr.ib()
    version_id: VersionName = attr.ib()


@attr.s
class DiffUri(DatasetUri):
    """GET /collections/{collection_id}/diff."""

    old: Annotated[str, Query(alias="from", description="The older version.")] = attr.ib()
    new: Annotated[str, Query(alias="to", description="The newer version.")] = attr.ib(default="latest")


@attr.s
class AssetsUri(CollectionUri):
    """GET /collections/{collection_id}/assets."""

    f: Annotated[
        Literal["ndjson", "parquet"] | None, Query(description="The form; unless told, the one that `Accept` names.")
    ] = attr.ib(default=None)


async def refuse_unknown(request: Request) -> None:
    """Refuse parameters that the route does not have, and those that are given twice: nothing is ever ignored.

    Raises
    ------
    InvalidInput
        With the names that the route takes.
    """
    route = request.scope["route"]
    known = _query_names(route.dependant)
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            raise InvalidInput(
                f"{ascii(name)[1:-1][:100]} is not a parameter of this route.",
                hint=takes_hint([name], known),
                kind="unknown-parameter",
            )
        if name in seen:
            raise InvalidInput(f"{name} is given twice.", hint="Give it once.", kind="repeated-parameter")
        seen.add(name)


def takes_hint(unknown: Iterable[str], known: Iterable[str]) -> str:
    """What a route takes instead; the query extension's parameter, which clients still send, has a successor."""
    takes = sorted(known)
    instead = "Use filter (CQL2) instead of query. " if "query" in unknown and "filter" in takes else ""
    return f"{instead}It takes: {', '.join(takes) or 'none'}."


def _query_names(dependant: Dependant) -> set[str]:
    names = {field.alias for field in dependant.query_params}
    return names.union(*(_query_names(inner) for inner in dependant.dependencies))
