"""A version as folders of files: which folder an asset is in, what its file is called, which version a hash names.

Nothing is copied: a path is another name for an object. The layout is ``{project}/{dataset}/{version_hash}/
{layer_type}/{item}.{key}.{extension}``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import orjson
from cachetools import LRUCache

from api.backend import Backend
from versioning.catalog import Catalog
from versioning.dataset import Dataset
from versioning.digests import parse_multihash
from versioning.errors import Expired, InvalidInput, NotFound
from versioning.ids import check_item_id
from versioning.version import Version

__all__ = ["LAYERS", "FileEntry", "Layer", "Layers", "Versions", "files_of", "find_file", "folder_of", "project_of"]

# By the scheme of an asset's pin:digest: what is neither a raster nor labels is pinned by its bytes alone.
_LAYER_OF = {"r1": "raster", "v1": "labels"}
_OTHER = "file"
LAYERS = (*_LAYER_OF.values(), _OTHER)

_FOLDER = re.compile(r"sha256-[0-9a-f]{64}")
_EXTENSION = re.compile(r"\.([a-z0-9]{1,12})\Z", re.IGNORECASE)
_NO_EXTENSION = "bin"
# What of an asset's key is written as it is; no dot is, so that the last two dots of a name part it.
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_LONGEST_SLUG = 60
_REMEMBERED = 512


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One asset as a file of a version. ``size`` in bytes, ``sha256`` in hex."""

    item: str
    key: str
    name: str
    layer: str
    href: str
    size: int
    sha256: str
    digest: str

    @property
    def stored(self) -> str | None:
        """The object's path in the catalog; None for what is referenced in place."""
        return self.href if self.href.startswith("objects/") else None


@dataclass(frozen=True, slots=True)
class Layer:
    """One kind of files of a version: how many there are, and their bytes."""

    name: str
    files: int
    size: int


def project_of(catalog: Catalog) -> str:
    """The folder of a catalog: its title in lower-case letters, digits and dashes, else its id's first 8 digits."""
    plain = unicodedata.normalize("NFKD", catalog.settings.title).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain)[:_LONGEST_SLUG].strip("-")
    return words or catalog.record.id[:8]


def folder_of(version: Version) -> str:
    """The folder of a version, ``sha256-ab12…`` with all 64 digits."""
    return version.digest.replace(":", "-")


def files_of(version: Version, layer: str) -> Iterator[FileEntry]:
    """Every asset of a layer, in the order of item ids and keys. Holds one chunk of items at a time."""
    for item in _items(version):
        for key, asset in sorted(item["assets"].items()):
            if _layer(asset) == layer:
                yield _entry(item["id"], key, asset)


def find_file(backend: Backend, version: Version, layer: str, name: str) -> FileEntry:
    """The file of a name.

    Raises
    ------
    NotFound
        If the version has none of that name in that layer.
    """
    item_id = name.rsplit(".", 2)[0]
    try:
        row = backend.find(version, check_item_id(item_id))
    except InvalidInput:
        row = None
    # Names are compared and not taken apart, so that each file has one name only.
    for key, asset in row.parse()["assets"].items() if row else ():
        entry = _entry(item_id, key, asset)
        if (entry.layer, entry.name) == (layer, name):
            return entry
    raise NotFound(
        f"{version.pin} has no file {layer[:50]}/{name[:200]!r}.", hint="List the folder.", kind="no-such-file"
    )


def _items(version: Version) -> Iterator[dict[str, Any]]:
    # Without the care that numbers of 2^53 and more need: no such number is read here, and it would double the time.
    for chunk in version.chunks:
        for data in version.table(chunk, columns=["item"]).column("item"):
            yield orjson.loads(data.as_py())


def _layer(asset: Mapping[str, Any]) -> str:
    return _LAYER_OF.get(asset.get("pin:digest", "").partition(":")[0], _OTHER)


def _entry(item_id: str, key: str, asset: Mapping[str, Any]) -> FileEntry:
    sha256 = parse_multihash(asset["file:checksum"]).hex()
    return FileEntry(
        item=item_id,
        key=key,
        name=f"{item_id}.{_escaped(key)}.{_extension(asset['href'])}",
        layer=_layer(asset),
        href=asset["href"],
        size=asset["file:size"],
        sha256=sha256,
        digest=asset.get("pin:digest") or f"b1:{sha256}",
    )


@lru_cache(maxsize=1024)
def _escaped(key: str) -> str:
    """A key without dots, slashes and what else a name may not have, as in quoted-printable: ``a.b`` is ``a=2Eb``."""
    return "".join(chr(byte) if byte in _PLAIN else f"={byte:02X}" for byte in key.encode())


def _extension(href: str) -> str:
    path = href if href.startswith("objects/") else urlsplit(href).path
    match = _EXTENSION.search(path)
    return match[1].lower() if match else _NO_EXTENSION


class Layers:
    """The layers of versions. Counting reads every item once (1.2 s for 100,000 with 3 assets each), and is kept."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._found: LRUCache[str, tuple[Layer, ...]] = LRUCache(_REMEMBERED)

    def of(self, version: Version) -> tuple[Layer, ...]:
        """The layers that a version has files in."""
        with self._lock:
            found = self._found.get(version.digest)
        if found is None:
            files, sizes = dict.fromkeys(LAYERS, 0), dict.fromkeys(LAYERS, 0)
            for item in _items(version):
                for asset in item["assets"].values():
                    layer = _layer(asset)
                    files[layer] += 1
                    sizes[layer] += asset["file:size"]
            found = tuple(Layer(name, files[name], sizes[name]) for name in LAYERS if files[name])
            with self._lock:
                self._found[version.digest] = found
        return found


class Versions:
    """From a folder's name to the version. Records never change, so each is read once."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = Lock()
        self._seen: dict[str, int] = {}
        self._numbers: dict[tuple[str, str], tuple[int, ...]] = {}

    def find(self, dataset: Dataset, folder: str) -> Version:
        """The version that a folder's name means: its own name, or one of the others that it has.

        A digest that came twice is served from the lowest number that is not expired: the bytes are the same.

        Raises
        ------
        NotFound
            If there is no such version.
        Expired
            If every version with this digest was retired.
        """
        if not _FOLDER.fullmatch(folder):
            ref = f"sha256:{folder[7:]}" if folder.startswith("sha256-") else folder
            try:
                return self._backend.resolve(dataset.id, ref)
            except InvalidInput as refused:
                raise NotFound(refused.message, hint=refused.hint, kind="no-such-version") from refused
        digest = folder.replace("-", ":", 1)
        error: NotFound = NotFound(f"{dataset.id} has no version with the digest {digest}.", kind="no-such-version")
        for again in (False, True):
            if again:
                self._read(dataset)
            for number in self._numbers.get((dataset.id, digest), ()):
                try:
                    return self._backend.resolve(dataset.id, f"v{number}")
                except Expired as expired:
                    error = expired
        raise error

    def _read(self, dataset: Dataset) -> None:
        with self._lock:
            for number in range(self._seen.get(dataset.id, 0) + 1, dataset.head() + 1):
                key = (dataset.id, dataset.record(number).digest)
                self._numbers[key] = (*self._numbers.get(key, ()), number)
                self._seen[dataset.id] = number
