"""A pin from a stacpin STAC API: nothing is taken on trust that the version's digest can prove."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from loaders.elsewhere import Elsewhere
from loaders.proof import proven
from loaders.pull import proven_blocks, windowed
from loaders.remote import HttpReader, http_error
from loaders.source import Peek, PinFacts, PinSource
from versioning.errors import Forbidden, Integrity, InvalidInput, StorageUnavailable
from versioning.events import Listener, Progress, silent
from versioning.pins import parse_pin
from versioning.records import Statistics
from versioning.rows import AssetRef, BBox, Row, make_row
from versioning.verify import Problem, VerifyReport, detail_of

if TYPE_CHECKING:
    from pystac_client import Client

    from catalog.query import Query

__all__ = ["api_source"]

_PAGE = 1000  # items of 3 kB: 3 MB an answer
_WORKERS = 8
_TOKEN = "STACPIN_TOKEN"  # noqa: S105 - where it is, not what it is
# What an API says of an href whose signature is not there or not good any more.
_UNSIGNED = "unsigned"


class ApiSource:
    """A :class:`loaders.source.PinSource` over the API.

    Every item that comes is turned back into the stored item and must be one that a catalog could hold. The items of a
    whole version must add up to its digest, with the declared metadata that the API tells in its history. ``served`` is
    the STAC Collection as the API gave it.
    """

    def __init__(self, base: str, facts: PinFacts, served: dict[str, Any], http: HttpReader) -> None:
        self.facts = facts
        self._base = base
        self._served = served
        self._http = http
        self._elsewhere = Elsewhere(http, files=False)
        # Of an API that signs hrefs: what came after the path of an object, which is good for a while.
        self._signed: dict[str, str] = {}

    @property
    def url(self) -> str:
        return self._base

    def rows(self, query: Query) -> Iterator[Row]:
        rows = self._rows(query)
        facts = self.facts
        if query.narrows:
            return rows
        return proven(rows, digest=facts.digest, collection=facts.collection, pin=facts.pin, source=self._base)

    def proves(self, query: Query) -> bool:
        return not query.narrows

    def asset_keys(self) -> Iterator[str]:
        from catalog.query import Query

        return (asset.key for row in self._rows(Query()) for asset in row.assets)

    def collection(self) -> dict[str, Any]:
        return dict(self._served)

    def href(self, href: str) -> str:
        return href if "://" in href else f"{self._base}/{href}{self._signed.get(href, '')}"

    def read(self, asset: AssetRef) -> Iterator[memoryview]:
        if not asset.stored:
            yield from self._elsewhere.read(asset.href)
            return
        try:
            yield from self._http.read(self.href(asset.href))
        except Forbidden as error:
            # It is said before the first byte, so nothing comes twice.
            if error.kind != _UNSIGNED:
                raise
            self._sign_anew()
            yield from self._http.read(self.href(asset.href))

    def peek(self, asset: AssetRef) -> Peek | None:
        if not asset.stored:
            return self._elsewhere.peek(asset.href)
        try:
            return self._http.peek(self.href(asset.href))
        except Forbidden as error:
            if error.kind != _UNSIGNED:
                raise
            self._sign_anew()
            return self._http.peek(self.href(asset.href))

    def _sign_anew(self) -> None:
        """Take all hrefs as the API signs them now."""
        for href in self._http.hrefs(f"{self._base}/collections/{self.facts.collection_id}/assets"):
            self._stored(href, f"{self._base}/")

    def _stored(self, href: str, root: str) -> str:
        """The href that a catalog has, of one that the API gave: below the root, maybe signed."""
        path, mark, query = href.removeprefix(root).partition("?")
        if not path.startswith("objects/"):
            return href
        if mark:
            self._signed[path] = f"?{query}"
        return path

    def boxes(self, limit: int) -> list[BBox]:  # noqa: ARG002 - the protocol's; a picture is not worth a request
        return []

    def at(self, pin: str) -> PinSource:
        return _opened(self._base, pin, self._http)

    def verify(self, *, on_event: Listener = silent) -> VerifyReport:
        from catalog.query import Query

        report = VerifyReport(self.facts.pin, self.facts.digest)
        wanted: dict[str, AssetRef] = {}
        try:
            for row in self.rows(Query()):
                report.items += 1
                report.referenced += sum(not asset.stored for asset in row.assets)
                wanted |= {asset.href: asset for asset in row.assets if asset.stored}
        except Integrity as error:
            report.problems.append(Problem(self.facts.pin, error.kind, error.message))
        total = sum(asset.size for asset in wanted.values())
        done = 0
        for asset, problem in windowed(self._checked, wanted.values(), _WORKERS):
            report.objects += 1
            done += asset.size
            if problem is None:
                report.bytes += asset.size
            else:
                report.problems.append(problem)
            on_event(Progress("verify", done, total, "bytes", asset.href))
        return report

    def _checked(self, asset: AssetRef) -> tuple[AssetRef, Problem | None]:
        try:
            for _ in proven_blocks(self, asset, self.facts.pin):
                pass
        except Integrity as error:
            return asset, Problem(asset.href, error.kind, detail_of(error, asset.href))
        return asset, None

    def _rows(self, query: Query) -> Iterator[Row]:
        asked = {key.replace("-", "_"): value for key, value in query.to_dict().items() if key != "sortby"}
        # pystac-client makes an exception of its own of whatever goes wrong on the way, page by page.
        with _translated(self._base):
            found = self._client.search(
                method="POST",
                collections=[self.facts.collection_id],
                limit=_PAGE,
                sortby=[{"field": "id", "direction": "asc"}],
                **asked,
            )
            for item in found.items_as_dicts():
                yield self._row(item)

    def _row(self, served: Mapping[str, Any]) -> Row:
        from catalog.collections import stored_item

        where = f"{self._base} gave an item that is not one of {self.facts.pin}"
        if served.get("collection") != self.facts.collection_id:
            raise Integrity(f"{where}: its collection is {served.get('collection')!r}.", kind="altered")
        try:
            root = next(link["href"] for link in served["links"] if link["rel"] == "root").rstrip("/") + "/"
            return make_row(stored_item(served, lambda href: self._stored(href, root)))
        except (KeyError, TypeError, AttributeError, StopIteration, InvalidInput) as error:
            raise Integrity(f"{where}: {served.get('id')!r} ({error}).", kind="altered") from error

    @cached_property
    def _client(self) -> Client:
        from pystac_client import Client
        from pystac_client.stac_api_io import StacApiIO

        with _translated(self._base):
            return Client.open(
                self._base, stac_io=StacApiIO(headers=self._http.authorization, timeout=60, max_retries=5)
            )


def api_source(url: str, pin: str) -> PinSource:
    """The source of a pin at a STAC API. The environment variable STACPIN_TOKEN holds the token, if it asks for one.

    Raises
    ------
    InvalidInput
        If the URL is not that of a stacpin STAC API, or the pin is malformed.
    NotFound
        If it has no such dataset or version.
    StorageUnavailable
        If it does not answer.
    """
    base = url.rstrip("/")
    return _opened(base, pin, HttpReader(base, os.environ.get(_TOKEN)))


def _opened(base: str, pin: str, http: HttpReader) -> ApiSource:
    ref = parse_pin(pin)
    # The pin is resolved by one request; everything after it names the version by its number.
    found = http.json(f"{base}/collections/{ref.dataset}", {"version": ref.text})
    number = found.get("pin:version") if isinstance(found, dict) else None
    if not isinstance(number, int) or found.get("id") != f"{ref.dataset}--v{number}":
        raise InvalidInput(
            f"{base} is not a stacpin STAC API: it does not say which version {ref} is.",
            hint="Give the address of its landing page, or the catalog itself.",
        )
    served = http.json(f"{base}/collections/{found['id']}")
    history = http.json(f"{base}/collections/{ref.dataset}/versions", {"token": str(number), "limit": "1"})
    try:
        entry = next(each for each in history["versions"] if each["number"] == number)
        facts = PinFacts(
            dataset=ref.dataset,
            number=number,
            digest=entry["digest"],
            content_digest=entry["content_digest"],
            parent=entry["parent"],
            time=entry["time"],
            author=entry["author"],
            message=entry["message"],
            collection=entry["collection"],
            statistics=Statistics.model_validate(entry["statistics"]),
            catalog_id=history["pin:catalog"],
            software=entry.get("software") or {},
        )
    except (KeyError, TypeError, StopIteration, ValueError) as error:
        raise InvalidInput(
            f"{base} does not tell {ref.dataset}@v{number} as this stacpin knows it ({error})."
        ) from error
    if facts.digest != served.get("pin:digest"):
        raise Integrity(f"{base} has two digests for {facts.pin}: {facts.digest} and {served.get('pin:digest')}.")
    asked = (ref.kind == "version" and ref.value != number) or (
        ref.kind == "digest" and not facts.digest.startswith(str(ref.value))
    )
    if asked:
        raise Integrity(f"{base} was asked for {ref} and answered with {facts.pin} ({facts.digest}).", kind="altered")
    return ApiSource(base, facts, served, http)


@contextmanager
def _translated(base: str) -> Iterator[None]:
    from pystac_client.exceptions import APIError

    try:
        yield
    except APIError as error:
        status = getattr(error, "status_code", None)  # pystac-client sets it only for answers
        if status is None:
            raise StorageUnavailable(f"{base} did not answer: {error}.", hint="Try again.") from error
        raise http_error(base, status, str(error)) from error
