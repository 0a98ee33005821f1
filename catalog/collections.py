"""Versions as STAC 1.1 Collections, stored items as served ones, and back.

A version's collection and items follow from its record and its rows alone, so they never change; the one member that
later versions add to is the ``successor-version`` links, which the caller may leave out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from catalog.extensions import STAC_VERSION, collection_extensions
from catalog.summaries import dataset_summaries, telling_summaries
from versioning.ids import collection_id
from versioning.version import Version

__all__ = ["Links", "collection_dict", "dataset_summaries", "object_of_href", "stac_item", "stored_item"]

_JSON, _GEOJSON = "application/json", "application/geo+json"
_WORLD = [-180.0, -90.0, 180.0, 90.0]
_OBJECT = re.compile(r"objects/[0-9a-f]{2}/[0-9a-f]{64}(?:\.[a-z0-9]{1,12})?\Z")
# Links that we make: what was declared under these relations would lead elsewhere.
_OWN_RELATIONS = frozenset(
    [
        *("self", "root", "parent", "child", "item", "items", "collection"),
        *("predecessor-version", "successor-version", "latest-version", "version-history"),
    ]
)


class Links(Protocol):
    """Where documents are, as seen from the one that is being written; None leaves a link out.

    An API answers with absolute URLs. A static export answers with relative paths, so it makes one of these for each
    document; what it does not contain is None. Only absolute hrefs become ``self`` links.
    """

    def root(self) -> str | None:
        """The landing page or the root catalog."""
        ...

    def dataset(self, dataset: str) -> str | None:
        """The collection that follows the dataset's ``latest``."""
        ...

    def history(self, dataset: str) -> str | None:
        """The list of the dataset's versions."""
        ...

    def collection(self, collection_id: str) -> str | None:
        """The collection of one version, by its canonical id."""
        ...

    def items(self, collection_id: str) -> str | None:
        """The items of one version."""
        ...

    def item(self, collection_id: str, item_id: str) -> str | None:
        """One item of one version."""
        ...


def collection_dict(version: Version, links: Links, *, successors: Iterable[int] = ()) -> dict[str, Any]:
    """A version as a STAC Collection.

    Parameters
    ----------
    version
        The version.
    links
        Where other documents are.
    successors
        Numbers of the versions whose parent this one is (RFC 5829). With them the document changes when they appear;
        without them it is as immutable as the version.

    Returns
    -------
    dict
        What was declared of the dataset, and above it what follows from the record: extent, summaries, the version
        extension's fields and our own. The title ends in the version's number. ``experimental`` says that a version's
        checks kept it from becoming ``latest``.
    """
    record = version.record
    declared = dict(record.collection)
    also = [name for name in declared.pop("stac_extensions", ()) if isinstance(name, str)]
    declared_links = declared.pop("links", ())
    title = declared.get("title") or version.dataset
    collection: dict[str, Any] = {
        "description": f"Version {version.number} of the dataset {version.dataset}.",
        "license": "other",
        **declared,
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "id": version.collection_id,
        "title": f"{title} v{version.number}",
        "extent": {
            "spatial": {"bbox": [record.statistics.bbox or _WORLD]},
            "temporal": {"interval": [record.statistics.interval or [None, None]]},
        },
        "version": str(version.number),
        "deprecated": False,
        "experimental": not record.advance,
        "pin:dataset": version.dataset,
        "pin:version": version.number,
        "pin:digest": version.digest,
        "pin:content_digest": record.content_digest,
        "pin:parent": record.parent,
        "pin:created": record.time,
        "pin:author": record.author,
        "pin:message": record.message,
        "pin:advance": record.advance,
        "pin:statistics": _counts(version),
    }
    if record.checks:
        collection["pin:checks"] = record.checks
    summaries = {**(declared.get("summaries") or {}), **telling_summaries(record.summaries)}
    if summaries:
        collection["summaries"] = summaries
    collection["links"] = [*_collection_links(version, links, successors), *_other_links(declared_links)]
    collection["stac_extensions"] = collection_extensions(collection, also)
    return collection


def stac_item(
    item: Mapping[str, Any], collection_id: str, links: Links, asset_href: Callable[[str], str]
) -> dict[str, Any]:
    """A stored item as it is served: with its collection, its links, and hrefs that can be fetched.

    Parameters
    ----------
    item
        As `Version.item` gives it; it is left as it is.
    collection_id
        The canonical id, ``landcover--v3``.
    links
        Where other documents are.
    asset_href
        Turns each asset's stored href into the one to serve: ``objects/ab/…`` for objects of the catalog, an absolute
        URL for assets that are referenced in place.
    """
    assets = {key: {**asset, "href": asset_href(asset["href"])} for key, asset in item["assets"].items()}
    targets = [
        ("self", _absolute(links.item(collection_id, item["id"])), _GEOJSON),
        ("root", links.root(), _JSON),
        ("parent", links.collection(collection_id), _JSON),
        ("collection", links.collection(collection_id), _JSON),
    ]
    return {**item, "collection": collection_id, "assets": assets, "links": _links(targets)}


def stored_item(served: Mapping[str, Any], href_to_relative: Callable[[str], str]) -> dict[str, Any]:
    """The stored item that a served one was made of, for proving its digest with `versioning.rows.make_row`.

    Parameters
    ----------
    served
        A whole item, as `stac_item` made it (one without some of its fields proves nothing).
    href_to_relative
        The inverse of what rewrote the hrefs; `object_of_href` for catalogs all of whose assets are objects.
    """
    stored = {key: value for key, value in served.items() if key not in {"links", "collection"}}
    stored["assets"] = {
        key: {**asset, "href": href_to_relative(asset["href"])} for key, asset in served["assets"].items()
    }
    return stored


def object_of_href(href: str) -> str:
    """The object's path in its catalog that a served href ends in, without a signature; any other href as it is."""
    match = _OBJECT.search(urlsplit(href).path)
    return match[0] if match else href


def _counts(version: Version) -> dict[str, int]:
    statistics = version.record.statistics
    return {name: getattr(statistics, name) for name in ("items", "assets", "bytes", "added", "changed", "removed")}


def _collection_links(version: Version, links: Links, successors: Iterable[int]) -> list[dict[str, str]]:
    dataset, own, parent = version.dataset, links.collection(version.collection_id), version.record.parent
    root = links.root()
    targets = [
        ("self", _absolute(own), _JSON),
        ("root", root, _JSON),
        ("parent", root, _JSON),
        ("items", links.items(version.collection_id), _GEOJSON),
        ("latest-version", links.dataset(dataset), _JSON),
        ("version-history", links.history(dataset), _JSON),
    ]
    if parent is not None:
        targets.append(("predecessor-version", links.collection(collection_id(dataset, parent)), _JSON))
    numbers = sorted(set(successors))
    targets += [("successor-version", links.collection(collection_id(dataset, n)), _JSON) for n in numbers]
    return _links(targets)


def _links(targets: Iterable[tuple[str, str | None, str]]) -> list[dict[str, str]]:
    return [{"rel": rel, "href": href, "type": kind} for rel, href, kind in targets if href is not None]


def _other_links(declared: object) -> list[dict[str, Any]]:
    """What was declared beside our own links: the licence's, say."""
    found = declared if isinstance(declared, list | tuple) else ()
    return [dict(link) for link in found if isinstance(link, Mapping) and link.get("rel") not in _OWN_RELATIONS]


def _absolute(href: str | None) -> str | None:
    return href if href is not None and "://" in href else None
