"""GET and HEAD /objects/ab/<sha256>.ext: immutable bytes with single ranges (RFC 9110, section 14).

Only objects have routes: records and manifests of a catalog are never served as files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from api.middleware import is_head
from api.responses import IMMUTABLE, matches
from versioning.errors import Integrity, NotFound
from versioning.store import Store

__all__ = ["OPEN", "Passage", "Presigner", "media_type_of", "object_router", "parse_range", "serve_object"]

Presigner = Callable[[str, Literal["GET", "HEAD"]], str]

_NAME = re.compile(r"[0-9a-f]{64}(?:\.[a-z0-9]{1,12})?")
_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.ASCII | re.IGNORECASE)
_BLOCK = 4 * 1024 * 1024

# Nothing that a browser would run: what is not listed is bytes.
_MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "fgb": "application/vnd.flatgeobuf",
    "geojson": "application/geo+json",
    "gpkg": "application/geopackage+sqlite3",
    "h5": "application/x-hdf5",
    "jp2": "image/jp2",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "json": "application/json",
    "laz": "application/vnd.laszip",
    "nc": "application/netcdf",
    "parquet": "application/vnd.apache.parquet",
    "pdf": "application/pdf",
    "png": "image/png",
    "tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    "tiff": "image/tiff; application=geotiff",
    "txt": "text/plain; charset=utf-8",
    "webp": "image/webp",
    "zip": "application/zip",
}


@dataclass(frozen=True, slots=True)
class Passage:
    """What routes of bytes ask for: dependencies of FastAPI, for objects and for files of a dataset.

    ``presigner`` gives the store's own address of an object for a method, to lead there instead of passing bytes on.
    """

    objects: list[Any] = field(default_factory=list)
    files: list[Any] = field(default_factory=list)
    presigner: Presigner | None = None


OPEN = Passage()


@dataclass(frozen=True, slots=True)
class _Span:
    """The bytes from ``start`` up to, not including, ``end``."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


def media_type_of(name: str) -> str:
    """The Content-Type of an object by its extension."""
    return _MEDIA_TYPES.get(name.rpartition(".")[2], "application/octet-stream")


def parse_range(text: str, size: int) -> _Span | None:
    """The part that a Range header asks for.

    None means the whole: there is no header, its unit or form is unknown, or it asks for several parts, all of which a
    server may answer with everything. A span of no bytes means that nothing of what is asked for exists (416).
    """
    match = _RANGE.fullmatch(text.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return _Span(max(0, size - int(match[2])), size) if int(match[2]) else _Span(0, 0)
    start = int(match[1])
    end = int(match[2]) + 1 if match[2] else size
    if end <= start:
        return None if match[2] and int(match[2]) < start else _Span(0, 0)
    return _Span(start, min(end, size)) if start < size else _Span(0, 0)


def object_router(store: Store, passage: Passage = OPEN) -> APIRouter:
    """The routes of a catalog's objects."""
    router = APIRouter(tags=["Objects"])

    def get_object(request: Request, shard: str, name: str) -> Response:
        """The bytes of an asset, whole or a range of them."""
        path = f"objects/{shard}/{name}"
        if not _NAME.fullmatch(name) or shard != name[:2]:
            raise _missing(path)
        return serve_object(request, store, path, passage.presigner)

    router.add_api_route(
        "/objects/{shard}/{name}", get_object, methods=["GET"], name="Get Object", dependencies=passage.objects
    )
    return router


def serve_object(request: Request, store: Store, path: str, presigner: Presigner | None = None) -> Response:
    """An object as the answer to a request: whole, a range, or its headers, under whatever name it was asked for.

    With a ``presigner`` it is asked for at its store, by an address that is good for the same method.

    Raises
    ------
    NotFound
        If there is no such object.
    """
    name = path.rpartition("/")[2]
    size = store.size(path)
    if size is None:
        raise _missing(path)
    if presigner is not None:
        there = presigner(path, "HEAD" if is_head(request.scope) else "GET")
        return RedirectResponse(there, status_code=307, headers={"Cache-Control": "no-store"})
    etag = f'"{name[:64]}"'
    headers = {
        "ETag": etag,
        "Cache-Control": IMMUTABLE,
        "Accept-Ranges": "bytes",
        "Content-Type": media_type_of(name),
        "X-Content-Type-Options": "nosniff",
    }
    if matches(request, etag):
        return Response(status_code=304, headers=headers)
    span = None
    # If-Range with another validator, or with a date (there are none here), asks for the whole.
    if request.headers.get("if-range", etag) == etag:
        span = parse_range(request.headers.get("range", ""), size)
    status = 200 if span is None else 206
    if span is None:
        span = _Span(0, size)
    elif span.length == 0:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    else:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{size}"
    headers["Content-Length"] = str(span.length)
    if is_head(request.scope):
        return Response(status_code=status, headers=headers)
    return StreamingResponse(_blocks(store, path, span), status_code=status, headers=headers)


def _blocks(store: Store, path: str, span: _Span) -> Iterator[bytes]:
    """The bytes of a span, a few megabytes at a time: memory does not grow with the object."""
    for start in range(span.start, span.end, _BLOCK):
        length = min(_BLOCK, span.end - start)
        data = store.get_range(path, start, length)
        if len(data) != length:
            # The status is sent already: breaking off is the only honest end.
            raise Integrity(f"{path} became shorter while it was read.", kind="truncated")
        yield data


def _missing(path: str) -> NotFound:
    return NotFound(f"There is no object {path[:120]!r}.", hint="Take hrefs from items.", kind="no-such-object")
