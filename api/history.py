"""Histories as documents: versions of a dataset, revisions of an item, what changed between two versions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from api.backend import Backend
from api.urls import GEOJSON, Urls, link
from catalog.extensions import STAC_VERSION
from versioning.dataset import Dataset
from versioning.diff import ItemChange, diff_versions
from versioning.digests import digest_text
from versioning.errors import Expired, InvalidInput, NotFound
from versioning.ids import collection_id
from versioning.records import VersionRecord
from versioning.rows import Row
from versioning.version import Version

__all__ = ["dataset_history", "diff_document", "item_history", "predecessor"]

# A search for an item's predecessor gives up after so many versions without a change, rather than read them all.
_STEPS = 100
# What means something to CommonMark within a line.
_MARKUP = re.compile(r"[\\`*_\[\]<>&]")


def dataset_history(dataset: Dataset, urls: Urls, *, catalog_id: str, first: int, limit: int) -> dict[str, Any]:
    """The versions from number ``first`` downwards, as a STAC Catalog that links to them and tells their records.

    Pointers and tags are those of the whole dataset.
    """
    pointers = dataset.pointers()
    tags = {tag.tag: tag.target for tag in dataset.tags()}
    numbers = range(min(first, dataset.head()), max(0, first - limit), -1)
    entries = [_entry(dataset, dataset.record(number), pointers, tags) for number in numbers]
    last = numbers[-1] if numbers else 1
    links = [
        link("self", urls.history(dataset.id)),
        link("root", urls.root()),
        link("parent", urls.root()),
        *(
            link("child", urls.collection(entry["id"]), title=entry["title"])
            for entry in entries
            if not entry["expired"]
        ),
    ]
    if last > 1:
        links.append(link("next", urls.history(dataset.id) + f"?limit={limit}&token={last - 1}"))
    return {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": f"{dataset.id}-versions",
        "title": f"Versions of {dataset.id}",
        "description": f"Every version of the dataset {dataset.id}, newest first.\n\n{_listed(entries)}".rstrip(),
        "pin:catalog": catalog_id,
        "versions": entries,
        "pointers": pointers,
        "tags": tags,
        "links": links,
        "numberMatched": dataset.head(),
        "numberReturned": len(entries),
    }


def _listed(entries: list[dict[str, Any]]) -> str:
    """The versions as a CommonMark list: what STAC Browser shows of them, beside cards that all look alike."""
    lines: list[str] = []
    for entry in entries:
        names = ", ".join([entry["time"][:10], *entry["pointers"], *entry["tags"]])
        gone = " (expired)" if entry["expired"] else ""
        message = _MARKUP.sub(r"\\\g<0>", " ".join(entry["message"].split()))
        lines.append(f"- **v{entry['number']}** ({names}){gone}: {message}".rstrip(": "))
    return "\n".join(lines)


def _entry(dataset: Dataset, record: VersionRecord, pointers: dict[str, int], tags: dict[str, int]) -> dict[str, Any]:
    expiry = dataset.expiry(record.number)
    return {
        "version": str(record.number),
        "number": record.number,
        "id": collection_id(dataset.id, record.number),
        "pin": f"{dataset.id}@v{record.number}",
        "title": f"v{record.number}: {record.message}" if record.message else f"v{record.number}",
        "digest": record.digest,
        "content_digest": record.content_digest,
        "parent": record.parent,
        "time": record.time,
        "author": record.author,
        "message": record.message,
        "advance": record.advance,
        "statistics": record.statistics.model_dump(mode="json"),
        "collection": record.collection,
        "software": record.software,
        "pointers": sorted(name for name, target in pointers.items() if target == record.number),
        "tags": sorted(name for name, target in tags.items() if target == record.number),
        "expired": None if expiry is None else {"time": expiry.time, "why": expiry.why},
    }


def item_history(backend: Backend, dataset: Dataset, item_id: str, urls: Urls) -> dict[str, Any]:
    """The versions at which an item came, changed or went, newest first.

    Raises
    ------
    NotFound
        If no live version has the item.
    """
    entries: list[dict[str, Any]] = []
    before: Row | None = None
    for version, row in _revisions(backend, dataset, item_id):
        change = "removed" if row is None else "added" if before is None else "changed"
        before = row
        entries.append(_revision(version, row, change))
    if not any(entry["digest"] for entry in entries):
        raise NotFound(f"No version of {dataset.id} has an item {item_id[:200]!r}.", kind="no-such-item")
    entries.reverse()
    changes = ", ".join(f"v{entry['version']} {entry['change']}" for entry in entries)
    links = [
        link("self", urls.item_history(dataset.id, item_id)),
        link("root", urls.root()),
        link("parent", urls.dataset(dataset.id)),
        *(
            link("item", urls.item(entry["collection"], item_id), GEOJSON, f"v{entry['version']}: {entry['change']}")
            for entry in entries
            if entry["digest"]
        ),
    ]
    return {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": f"{dataset.id}-{item_id}-versions",
        "title": f"Revisions of {item_id}",
        "description": f"The versions of {dataset.id} in which it came, changed or went, newest first: {changes}.",
        "versions": entries,
        "links": links,
        "numberMatched": len(entries),
        "numberReturned": len(entries),
    }


def _revision(version: Version, row: Row | None, change: str) -> dict[str, Any]:
    return {
        "version": str(version.number),
        "collection": version.collection_id,
        "pin": version.pin,
        "change": change,
        "digest": digest_text(row.digest) if row else None,
        "content_digest": digest_text(row.content_digest) if row else None,
        "time": version.record.time,
        "message": version.record.message,
    }


def _revisions(backend: Backend, dataset: Dataset, item_id: str) -> Iterator[tuple[Version, Row | None]]:
    """Each live version whose item differs from that of the live version before it, oldest first."""
    chunk: bytes | None = None
    last: bytes | None = None
    for number in range(1, dataset.head() + 1):
        try:
            version = backend.resolve(dataset.id, f"v{number}")
        except Expired:
            continue
        found = version.chunk_of(item_id)
        digest = found.digest if found else None
        if digest == chunk:
            continue  # no chunk that could hold it, or the very same one: nothing to read
        chunk = digest
        row = backend.find(version, item_id) if found else None
        now = row.digest if row else None
        if now != last:
            last = now
            yield version, row


def predecessor(backend: Backend, version: Version, row: Row) -> str | None:
    """The collection id of the nearest ancestor in which an item was another one, None if it was always as it is.

    Follows parents, which never change; it stops at a version that is expired.
    """
    here = version
    for _ in range(_STEPS):
        if here.record.parent is None:
            return None
        try:
            here = backend.resolve(version.dataset, f"v{here.record.parent}")
        except (Expired, NotFound):
            return None
        before = backend.digest(here, row.id)
        if before != row.digest:
            return None if before is None else here.collection_id
    return None


def diff_document(old: Version, new: Version, urls: Urls, *, most: int) -> dict[str, Any]:
    """What changed between two versions of a dataset, item by item.

    Raises
    ------
    InvalidInput
        If more items than ``most`` would have to be compared.
    """
    shared = {chunk.digest for chunk in old.chunks} & {chunk.digest for chunk in new.chunks}
    rows = sum(chunk.rows for side in (old, new) for chunk in side.chunks if chunk.digest not in shared)
    if rows > most:
        raise InvalidInput(
            f"{old.pin} and {new.pin} differ too much: {rows:,} items would have to be compared, {most:,} are allowed.",
            hint=f"Use the command line: stacpin diff {old.pin} {new.pin}",
            kind="too-large",
        )
    found = diff_versions(old, new)
    return {
        "from": old.pin,
        "to": new.pin,
        "from_digest": old.digest,
        "to_digest": new.digest,
        "added": [row.id for row in found.added],
        "removed": [row.id for row in found.removed],
        "changed": [_changed(entry) for entry in found.changed],
        "collection": {name: {"from": a, "to": b} for name, (a, b) in found.collection.items()},
        "links": [
            link("self", urls.to("collections", old.dataset, "diff") + f"?from=v{old.number}&to=v{new.number}"),
            link("root", urls.root()),
            link("predecessor-version", urls.collection(old.collection_id), title="from"),
            link("successor-version", urls.collection(new.collection_id), title="to"),
        ],
    }


def _changed(entry: ItemChange) -> dict[str, Any]:
    return {
        "id": entry.id,
        "bytes_only": entry.bytes_only,
        "assets": entry.assets(),
        "properties": {name: {"from": a, "to": b} for name, (a, b) in entry.properties().items()},
    }
