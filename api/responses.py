"""Answers with the right caching: what never changes says so, what follows a pointer names what it meant."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.pictures.drawing import can_draw

__all__ = ["ALIAS", "IMMUTABLE", "MOVING", "etag_of", "matches", "reply", "stamped", "unsized"]

IMMUTABLE = "public, max-age=31536000, immutable"
ALIAS = "no-cache"
# Documents of a version that carry links to what came after it: right for a minute, then asked for again by ETag.
MOVING = "public, max-age=60, must-revalidate"
# Goes into every ETag: raise it when documents get another form, so that caches fetch them again.
_FORM = "2"


def etag_of(*parts: str | bytes) -> str:
    """A strong ETag from whatever decides the bytes of an answer."""
    # Documents link to pictures where there are some.
    state = hashlib.sha256(f"{_FORM} {can_draw()}".encode())
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "big") + data)
    return f'"{state.hexdigest()}"'


def stamped(request: Request, etag: str) -> str:
    """The ETag of a document with asset hrefs: where those are signed, they are others in the next window."""
    signer = request.scope.get("stacpin.href")
    return etag if signer is None else etag_of(etag, signer.stamp)


def matches(request: Request, etag: str) -> bool:
    """Whether the client already has this (``If-None-Match``, weak comparison as RFC 9110 wants it there)."""
    asked = request.headers.get("if-none-match", "")
    return asked.strip() == "*" or etag in {part.strip().removeprefix("W/") for part in asked.split(",")}


def reply(
    request: Request,
    body: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
    *,
    media_type: str = "application/json",
    cache: str = ALIAS,
    etag: str | None = None,
    location: str | None = None,
) -> Response:
    """A JSON answer, or 304.

    Parameters
    ----------
    request
        What was asked.
    body
        The document, or what makes it: not called when the client already has it.
    media_type, cache
        The Content-Type and the Cache-Control.
    etag
        What identifies the bytes, but for the signatures of hrefs; None hashes the document.
    location
        The canonical address of what is answered, for Content-Location.
    """
    headers = {"Cache-Control": cache}
    if location is not None:
        headers["Content-Location"] = location
    if etag is not None:
        etag = stamped(request, etag)
        if matches(request, etag):
            return Response(status_code=304, headers={**headers, "ETag": etag})
    data = orjson.dumps(body() if callable(body) else body)
    if etag is None:
        etag = etag_of(data)
        if matches(request, etag):
            return Response(status_code=304, headers={**headers, "ETag": etag})
    return Response(data, media_type=media_type, headers={**headers, "ETag": etag})


def unsized(headers: Mapping[str, str], *, media_type: str | None = None) -> Response:
    """The answer to HEAD where GET streams what it does not know the length of: no body, and no length of 0."""
    return StreamingResponse(iter(()), headers=headers, media_type=media_type)
