"""STAC documents as the API serves them: a version's collection, its items, and pages of items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

from api.fields import FieldSet
from api.pictures.links import item_links
from api.pins import Selection
from api.urls import GEOJSON, Urls, link
from catalog.collections import collection_dict, stac_item
from catalog.extensions import STAC_VERSION
from versioning.dataset import Dataset
from versioning.ids import split_collection_id
from versioning.version import Version

__all__ = ["Successors", "collection_document", "item_document", "page_document"]


class Successors:
    """For each version the versions that were made from it (RFC 5829). A record is read once: it never changes."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._seen: dict[str, int] = {}
        self._found: dict[str, dict[int, tuple[int, ...]]] = {}

    def of(self, dataset: Dataset, number: int) -> tuple[int, ...]:
        """The successors of one version, lowest first."""
        head = dataset.head()
        with self._lock:
            found = self._found.setdefault(dataset.id, {})
            for later in range(self._seen.get(dataset.id, 0) + 1, head + 1):
                parent = dataset.record(later).parent
                if parent is not None:
                    found[parent] = (*found.get(parent, ()), later)
                self._seen[dataset.id] = later
            return found.get(number, ())


def collection_document(version: Version, urls: Urls, successors: Sequence[int], latest: int) -> dict[str, Any]:
    """A version's collection.

    Its links are all that later versions change: they add ``successor-version``, and ``latest-version`` to the one that
    is the latest no more (the latest itself has none, or STAC Browser would call it outdated). ``latest`` is 0 if none.
    """
    document = collection_dict(version, urls, successors=successors)
    here = urls.to("collections", version.collection_id)
    if latest in {0, version.number}:
        document["links"] = [entry for entry in document["links"] if entry["rel"] != "latest-version"]
    for entry in document["links"]:
        title = _title(entry, version.dataset, latest)
        if title is not None:
            entry["title"] = title
    document["links"] += [
        link("permalink", here),
        link("http://www.opengis.net/def/rel/ogc/1.0/queryables", f"{here}/queryables", "application/schema+json"),
        link("assets", f"{here}/assets", "application/x-ndjson", "The exact asset set, one JSON object a line"),
        link("assets", f"{here}/assets?f=parquet", "application/vnd.apache.parquet", "The exact asset set as Parquet"),
    ]
    return document


def _title(entry: Mapping[str, Any], dataset: str, latest: int) -> str | None:
    """What a link to another version says: STAC Browser writes "Show" where a link has no title."""
    match entry["rel"]:
        case "predecessor-version" | "successor-version":
            _, number = split_collection_id(entry["href"].rpartition("/")[2])
            return f"{dataset}@v{number}"
        case "latest-version":
            return f"{dataset}@v{latest}"
        case "version-history":
            return f"All versions of {dataset}"
    return None


def item_document(item: Mapping[str, Any], collection_id: str, urls: Urls) -> dict[str, Any]:
    """An item of a version: immutable, so it links to nothing that is not."""
    document = stac_item(item, collection_id, urls, urls.asset)
    dataset, _ = split_collection_id(collection_id)
    document["links"] += [
        link("permalink", urls.item(collection_id, item["id"]), GEOJSON),
        link("version-history", urls.item_history(dataset, item["id"]), title=f"Revisions of {item['id']}"),
        *item_links(item, collection_id, urls),
    ]
    return document


def page_document(
    items: Sequence[Mapping[str, Any]],
    selection: Selection,
    urls: Urls,
    *,
    fields: FieldSet,
    matched: int,
    links: list[dict[str, Any]],
) -> dict[str, Any]:
    """A page of items. The foreign member ``pin:versions`` says which versions it was drawn from."""
    documents = [fields.of_item(item_document(item, item["collection"], urls)) for item in items]
    return {
        "type": "FeatureCollection",
        "stac_version": STAC_VERSION,
        "pin:versions": selection.pins,
        "features": documents,
        "links": [*links, link("root", urls.root())],
        "numberMatched": matched,
        "numberReturned": len(documents),
    }
