"""What routes of bytes ask for when access is on: a signature for objects, a signature or a right for files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated

from fastapi import Depends, Query, Request

from api.access.admission import Desk
from api.access.asking import current
from api.access.settings import HrefSettings
from api.middleware import route_path
from api.objects import Passage
from versioning.errors import Forbidden, InvalidInput
from versioning.store import ObstoreStore, Store

__all__ = ["passage_of"]

# Long enough for a client to follow; GDAL asks us again for each file that it opens.
_PRESIGNED = 900

Expires = Annotated[str | None, Query(description="When the address expires, in seconds since 1970.", max_length=12)]
Signature = Annotated[str | None, Query(description="What proves that this API gave the address out.", max_length=64)]


def passage_of(desk: Desk, store: Store, settings: HrefSettings) -> Passage:
    """What routes of bytes ask for.

    Raises
    ------
    InvalidInput
        If the store shall give addresses of its own, and cannot.
    """
    presigner = None
    if settings.presign:
        while (inner := getattr(store, "wrapped", None)) is not None:  # observed, or with the records of an index
            store = inner
        sign = store.presigned if isinstance(store, ObstoreStore) and store.presigns else None
        if sign is None:
            raise InvalidInput(
                "hrefs.presign needs a store that signs addresses: S3, GCS or Azure.", hint="Leave hrefs.presign out."
            )
        presigner = partial(sign, seconds=_PRESIGNED)
    return Passage([Depends(_signed_object(desk))], [Depends(_signed_file(desk))], presigner)


def _signed_object(desk: Desk) -> Callable[..., Awaitable[None]]:
    """A dependency of routes that give objects: only by a valid signature, whoever asks."""

    async def check(request: Request, expires: Expires = None, signature: Signature = None) -> None:
        _check(desk, request, expires or "", signature or "")

    return check


def _signed_file(desk: Desk) -> Callable[..., Awaitable[None]]:
    """A dependency of routes that give files of a dataset, which stands in their path as ``dataset``.

    A file says whose it is, so a right to read the dataset is enough. A signature opens that dataset for this request.
    """

    async def check(request: Request, expires: Expires = None, signature: Signature = None) -> None:
        if expires is None and signature is None:
            return
        _check(desk, request, expires or "", signature or "")
        asking = current()
        assert asking is not None
        asking.granted = request.path_params["dataset"]

    return check


def _check(desk: Desk, request: Request, expires: str, signature: str) -> None:
    path = route_path(request.scope).removeprefix("/")
    until = desk.hrefs.valid_until(path, expires, signature, desk.clock())
    asking = current()
    if until is None or asking is None:
        if asking is not None:
            asking.reason = "not a valid signature"
        # Before anything is looked up: it says the same of objects that exist and of those that do not.
        raise Forbidden(
            "This address is not signed, or not any more.",
            hint="Take hrefs from items: they are signed.",
            kind="unsigned",
        )
    asking.fresh_until = until
