"""How a pulled folder is laid out: a static STAC catalog, one folder an item, one file an asset.

    DEST/stacpin.lock                   which version, and its digest
    DEST/collection.json                a STAC Collection with relative links
    DEST/<item>/item.json               the STAC Item, with the assets that were pulled
    DEST/<item>/<asset key>.<ext>       their bytes
    DEST/.stacpin/                      what ``verify`` and the next ``pull`` go by

Ids and keys are hostile: they may hold ``../``, a NUL or the name of a device. What is not a plain file name on every
system becomes one, with some digits of its hash, so that two keys never share a file.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from loaders.lock import LOCK_NAME
from versioning.digests import sha256
from versioning.rows import AssetRef, Row

__all__ = ["COLLECTION", "ITEM", "STATE", "Layout", "PlacedItem", "PulledFile", "collection_document", "safe_name"]

COLLECTION = "collection.json"
ITEM = "item.json"
STATE = ".stacpin"

# Links that lead about in a catalog or an API, and nowhere in a folder.
_OURS = frozenset(
    [
        *("self", "root", "parent", "child", "item", "items", "collection", "assets", "permalink", "queryables"),
        *("predecessor-version", "successor-version", "latest-version", "version-history"),
        "enclosure",
        "http://www.opengis.net/def/rel/ogc/1.0/queryables",
    ]
)
_LONGEST = 200  # file systems allow 255 bytes; the extension and our suffix come on top
_FOREIGN = re.compile(r"[^A-Za-z0-9._+=,-]")
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,12}\Z")


@dataclass(frozen=True, slots=True)
class PulledFile:
    """One asset in the folder: ``path`` is relative to it, with ``/``."""

    path: str
    item: str
    asset: AssetRef


@dataclass(frozen=True, slots=True)
class PlacedItem:
    """One item in the folder, with the files of the assets that are pulled."""

    row: Row
    folder: str
    files: tuple[PulledFile, ...]

    @property
    def path(self) -> str:
        """Where its ``item.json`` lies."""
        return f"{self.folder}/{ITEM}"

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path that the item has in the folder."""
        return (self.path, *(file.path for file in self.files))

    def document(self, collection_id: str) -> dict[str, Any]:
        """The STAC Item as it is written into the folder; assets that are not pulled are left out."""
        item = self.row.parse()
        names = {file.asset.key: file.path.rpartition("/")[2] for file in self.files}
        item["assets"] = {key: item["assets"][key] | {"href": f"./{name}"} for key, name in names.items()}
        item["collection"] = collection_id
        item["links"] = [
            {"rel": rel, "href": f"../{COLLECTION}", "type": "application/json"}
            for rel in ("root", "collection", "parent")
        ]
        return item


class Layout:
    """Gives every item of a pull its folder. Give it the items in one order, and it gives the same folders."""

    def __init__(self, keys: Collection[str] | None) -> None:
        self._keys = keys
        self._taken = {COLLECTION, LOCK_NAME, STATE}

    def place(self, row: Row) -> PlacedItem:
        """The folder of the next item and its files."""
        folder = _free(row.id, "", self._taken)
        return PlacedItem(row, folder, tuple(self._files(row, folder)))

    def _files(self, row: Row, folder: str) -> Iterator[PulledFile]:
        # Names are given to all assets, so that a file's name does not depend on what else was asked for.
        names = _names(tuple((asset.key, _extension(asset.href)) for asset in row.assets))
        for asset, name in zip(row.assets, names, strict=True):
            if self._keys is None or asset.key in self._keys:
                yield PulledFile(f"{folder}/{name}", row.id, asset)


@lru_cache(maxsize=1024)
def _names(assets: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """The file names of an item's assets, given as key and extension: mostly the same for all items of a dataset."""
    taken = {ITEM}
    return tuple(_free(key, extension, taken) for key, extension in assets)


def collection_document(collection: dict[str, Any], item_paths: Iterator[str]) -> dict[str, Any]:
    """The STAC Collection of a pulled folder: the version's, with links to the items that are there."""
    root = {"rel": "root", "href": f"./{COLLECTION}", "type": "application/json"}
    kept = [link for link in collection.get("links", []) if link.get("rel") not in _OURS]
    items = [{"rel": "item", "href": f"./{path}", "type": "application/geo+json"} for path in item_paths]
    return collection | {"links": [root, *kept, *items]}


def safe_name(text: str, extension: str = "") -> str:
    """A plain file name for any text: letters, digits and ``. _ + = , -`` stay; anything else is marked by a hash."""
    name = _FOREIGN.sub("_", text)[:_LONGEST]
    stem = name[: -len(extension)] if extension and name.lower().endswith(extension.lower()) else name
    if name != text or not stem or stem[0] in ".-" or stem[-1] == "." or _DEVICE.fullmatch(name):
        plain = stem.strip("._-") or "asset"
        return _marked(f"_{plain}" if _DEVICE.fullmatch(plain) else plain, text, extension)
    return stem + extension


def _free(text: str, extension: str, taken: set[str]) -> str:
    """A safe name that is still free where upper and lower case are one (macOS, Windows)."""
    name, salt = safe_name(text, extension), ""
    while name.casefold() in taken:
        name = _marked(safe_name(text).removesuffix(extension), text + salt, extension)
        salt += "\0"  # a key can be made to look like another's marked name
    taken.add(name.casefold())
    return name


def _marked(stem: str, text: str, extension: str) -> str:
    return f"{stem}-{sha256(text.encode('utf-8', 'surrogatepass')).hex()[:12]}{extension}"


def _extension(href: str) -> str:
    path = urlsplit(href).path if "://" in href else href
    match = _EXTENSION.search(path.rpartition("/")[2])
    return match[0] if match else ""
