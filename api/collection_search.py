"""GET /collections: searches among versions, after the STAC API's collection-search extension (1.0.0-rc.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.backend import Backend
from api.responses import reply
from api.searching import Wanted
from api.urls import Urls, link
from catalog.collection_search import Entry, Shared, search_collections
from versioning.errors import Expired, InvalidInput, NotFound
from versioning.together import together
from versioning.version import Version

__all__ = ["LIMIT", "MOST", "QUERYABLES", "CollectionSearch", "check_versions", "collection_queryables"]

LIMIT, MOST = 100, 1_000
QUERYABLES = "http://www.opengis.net/def/rel/ogc/1.0/queryables"
_SCHEMA = "application/schema+json"
_LATEST = "latest"


class CollectionSearch:
    """Finds versions over any backend. What is remembered of one never changes; which there are is asked each time."""

    def __init__(self, backend: Backend, *, seconds: float | None = None) -> None:
        self._backend = backend
        self._seconds = seconds
        self._shared: Shared = {}
        self._known: dict[str, dict[int, Entry]] = {}
        self._lock = Lock()

    def page(
        self,
        wanted: Wanted,
        document: Callable[[Version], dict[str, Any]],
        *,
        versions: str,
        version: str | None,
        href: str,
        itself: str,
        asked: Sequence[tuple[str, str]],
    ) -> dict[str, Any]:
        """One page as the body of an answer; documents are made only of what is on it.

        Parameters
        ----------
        wanted
            Which versions, which of their fields, which page.
        document
            Makes a version's collection.
        versions, version
            ``all``, or of each dataset the one that ``version`` means (``latest`` for None).
        href, itself
            The address of the collections, and the one that was asked for.
        asked
            The parameters that were given: all of them stay in links to other pages.

        Raises
        ------
        InvalidInput
            If the token is of another search, the filter takes too long, or ``version`` cannot be read.
        NotFound
            If no dataset has a version of that name.
        """
        entries = self._all() if versions == "all" else self._one_each(version or _LATEST)
        scope = "all" if versions == "all" else f"version {version or _LATEST}"
        found = search_collections(
            entries, wanted.query, limit=wanted.limit, token=wanted.token, scope=scope, seconds=self._seconds
        )
        documents = [
            wanted.fields.of_item(document(one))
            for entry in found.entries
            if (one := self._alive(entry.dataset, f"v{entry.number}")) is not None
        ]
        urls = Urls(href)
        kept = [(name, value) for name, value in asked if name != "token"]
        links = [
            link(rel, urls.with_params([*kept, ("token", token)]))
            for rel, token in (("next", found.next), ("prev", found.prev))
            if token is not None
        ]
        return {
            "collections": documents,
            "links": [link("self", itself), *links],
            "numberMatched": found.matched,
            "numberReturned": len(documents),
        }

    def _one_each(self, ref: str) -> list[Entry]:
        """Of each dataset the version that a reference means; those where it means none are left out."""
        ids = self._backend.dataset_ids()
        tasks = [partial(self._alive, dataset_id, ref) for dataset_id in ids]
        found = [version for version in together(self._backend.catalog.store, tasks) if version is not None]
        # At a date there may have been nothing yet; a name that nothing has is a mistake.
        if ids and not found and ref != _LATEST and not ref.startswith("{"):
            raise NotFound(
                f"No dataset has a version {ref[:100]!r}.",
                hint="See /collections/{dataset}/versions for what there is.",
                kind="no-such-version",
            )
        return [self._entry(version) for version in found]

    def _all(self) -> list[Entry]:
        """All versions that are not expired."""
        store = self._backend.catalog.store
        tasks = [partial(self._of_dataset, dataset_id) for dataset_id in self._backend.dataset_ids()]
        return [entry for entries in together(store, tasks) for entry in entries]

    def _of_dataset(self, dataset_id: str) -> list[Entry]:
        dataset = self._backend.dataset(dataset_id)
        known = self._known.setdefault(dataset_id, {})
        expired = dataset.expired()
        entries: list[Entry] = []
        for number in range(dataset.head(), 0, -1):
            entry = known.get(number)
            if entry is not None and number not in expired:
                entries.append(entry)
            elif entry is None and number not in expired:
                version = self._alive(dataset_id, f"v{number}")
                if version is not None:
                    entries.append(self._entry(version))
        return entries

    def _alive(self, dataset_id: str, ref: str) -> Version | None:
        """A version that can be seen: not expired, and in the backend's index if it has one."""
        try:
            return self._backend.resolve(dataset_id, ref)
        except (Expired, NotFound):
            return None

    def _entry(self, version: Version) -> Entry:
        known = self._known.setdefault(version.dataset, {})
        entry = known.get(version.number)
        if entry is None:
            with self._lock:
                entry = known.setdefault(version.number, Entry.of(version, self._shared))
        return entry


def check_versions(versions: str | None, version: str | None) -> None:
    """Refuse what cannot be meant together.

    Raises
    ------
    InvalidInput
        If both are given, or ``version`` is empty.
    """
    if version == "":
        raise InvalidInput("version is empty.", hint="Name one, such as stable or {2026-01-31}, or leave it out.")
    if version is not None and versions is not None:
        raise InvalidInput(
            f"versions={versions} and version={version[:100]} cannot be used together.",
            hint="version names one version of each dataset, versions=all is all of them.",
            kind="pinned-twice",
        )


def collection_queryables() -> APIRouter:
    """The route that says what filters of collections can name.

    The extension leaves its address open but for ``/queryables``; a dataset could be called ``queryables``, so it is
    not below ``/collections`` either.
    """
    router = APIRouter(tags=["Collection Search"])

    @router.get("/collection-queryables", name="Queryables of Collections", response_model=None)
    def queryables(request: Request) -> Response:
        """What a filter of /collections can name, as JSON Schema."""
        here = Urls.of(request).to("collection-queryables")
        return reply(request, {**_QUERYABLES, "$id": here}, media_type=_SCHEMA)

    return router


_TEXT: dict[str, Any] = {"type": "string"}
_TIME: dict[str, Any] = {"type": "string", "format": "date-time"}
_PROPERTIES: dict[str, dict[str, Any]] = {
    "id": {"title": "Collection id, with its version", **_TEXT},
    "geometry": {"title": "The box of the spatial extent", "format": "geometry-any"},
    "datetime": {"title": "Where the temporal extent begins", **_TIME},
    "end_datetime": {"title": "Where the temporal extent ends", **_TIME},
    "title": {"title": "Title, with the version's number", **_TEXT},
    "description": {"title": "Description", **_TEXT},
    "keywords": {"title": "Keywords", "type": "array", "items": _TEXT},
    "license": {"title": "Licence", **_TEXT},
    "version": {"title": "Number of the version, as text", **_TEXT},
    "experimental": {"title": "Whether its checks kept it from becoming latest", "type": "boolean"},
    "pin:dataset": {"title": "Dataset", **_TEXT},
    "pin:version": {"title": "Number of the version", "type": "integer", "minimum": 1},
    "pin:digest": {"title": "Digest of the version", **_TEXT},
    "pin:content_digest": {"title": "Digest of its content", **_TEXT},
    "pin:parent": {"title": "Number of the version that it was made from", "type": "integer", "minimum": 1},
    "pin:created": {"title": "When it was committed", **_TIME},
    "pin:author": {"title": "Who committed it", **_TEXT},
    "pin:message": {"title": "Why it was committed", **_TEXT},
    "pin:statistics.items": {"title": "How many items it has", "type": "integer", "minimum": 0},
    "pin:statistics.assets": {"title": "How many assets they have", "type": "integer", "minimum": 0},
    "pin:statistics.bytes": {"title": "Bytes of the assets", "type": "integer", "minimum": 0},
}
_QUERYABLES: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2019-09/schema",
    "type": "object",
    "title": "Queryables of collections",
    "description": "What filters of /collections can name. Every other member of a collection can be named too, such "
    "as summaries.platform; where one is missing, a comparison does not match.",
    "properties": _PROPERTIES,
    "additionalProperties": True,
}
