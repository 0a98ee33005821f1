"""A pin straight from its catalog: no server, every item proven against the version's digest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders.elsewhere import Elsewhere
from loaders.remote import HttpReader
from loaders.source import Peek, PinFacts, peek_store
from versioning.catalog import Catalog
from versioning.dataset import Dataset
from versioning.digests import leaf_digest, sha256
from versioning.errors import Integrity, NotFound, StorageUnavailable
from versioning.events import Listener, silent
from versioning.links import refuse_links
from versioning.mirrored import MirroredStore, open_mirrored, primary_of
from versioning.rows import AssetRef, BBox, Row
from versioning.snapshots import Chunk
from versioning.store import Store
from versioning.verify import WORKERS, Sampling, VerifyReport, verify_version
from versioning.version import Version

if TYPE_CHECKING:
    from catalog.query import Query

__all__ = ["catalog_source"]

_BLOCK = 4 * 1024 * 1024


class CatalogSource:
    """A :class:`loaders.source.PinSource` over a catalog in any object store."""

    def __init__(self, catalog: Catalog, version: Version) -> None:
        self.catalog = catalog
        self.version = version
        self.facts = facts_of(version, catalog.record.id)
        self._elsewhere = Elsewhere(HttpReader(), files=catalog.store.local_root is not None)

    @property
    def url(self) -> str:
        path = self.catalog.store.local_root
        # The file system resolves "..", since behind a link it leads elsewhere than the text says.
        return str(path.resolve()) if path is not None and ".." in path.parts else self.catalog.url

    def rows(self, query: Query) -> Iterator[Row]:
        if not query.narrows:
            for chunk in self.version.chunks:
                yield from self._proven(chunk)
            return
        from catalog.search import iterate

        chunk: Chunk | None = None
        rows: dict[str, Row] = {}
        for item in iterate(self.version, query):
            if chunk is None or item["id"] > chunk.last_id:
                chunk = self.version.chunk_of(item["id"])
                rows = {row.id: row for row in self._proven(chunk)} if chunk is not None else {}
            yield rows[item["id"]]

    def proves(self, query: Query) -> bool:  # noqa: ARG002 - the protocol's; here every chunk is proven
        return True

    def asset_keys(self) -> Iterator[str]:
        return (asset.key for _, asset in self.version.assets())

    def collection(self) -> dict[str, Any]:
        from catalog.collections import collection_dict

        return collection_dict(self.version, _NoLinks())

    def href(self, href: str) -> str:
        if "://" in href:
            return href
        store = self.catalog.store
        if isinstance(store, MirroredStore):
            return store.where(href)
        return str(store.local_root / href) if store.local_root is not None else f"{self.url.rstrip('/')}/{href}"

    def read(self, asset: AssetRef) -> Iterator[memoryview]:
        if not asset.stored:
            return self._elsewhere.read(asset.href)
        store = self.catalog.store
        mirrored = isinstance(store, MirroredStore) and bool(store.mirrors)
        if store.local_root is not None and not mirrored:
            return _file_blocks(store.local_root, asset.href)
        return store.stream(asset.href)

    def peek(self, asset: AssetRef) -> Peek | None:
        return peek_store(self.catalog.store, asset.href) if asset.stored else self._elsewhere.peek(asset.href)

    def boxes(self, limit: int) -> list[BBox]:
        found: list[BBox] = []
        for chunk in self.version.chunks:
            boxes = self.version.table(chunk, columns=["bbox"]).column("bbox").slice(0, limit - len(found))
            found += [(box["xmin"], box["ymin"], box["xmax"], box["ymax"]) for box in boxes.to_pylist() if box]
            if len(found) >= limit:
                break
        return found

    def at(self, pin: str) -> CatalogSource:
        return CatalogSource(self.catalog, self.catalog.resolve(pin))

    def verify(self, *, on_event: Listener = silent) -> VerifyReport:
        return self.proof(on_event=on_event)

    def proof(
        self, *, sampling: Sampling | None = None, workers: int = WORKERS, on_event: Listener = silent
    ) -> VerifyReport:
        """Prove the version where it lies, without its mirrors; see :func:`versioning.verify.verify_version`."""
        catalog = self.catalog
        own = Dataset(primary_of(catalog.store), self.version.dataset, clock=catalog.dataset(self.version.dataset).now)
        return verify_version(own, self.version, sampling=sampling, workers=workers, on_event=on_event)

    def _proven(self, chunk: Chunk) -> Sequence[Row]:
        # The chunk's leaf digest is proven by the version's; the file that holds its rows is proven only by a name in
        # the record, so the rows are hashed again: 3 ms for a chunk of 1,024.
        rows = list(self.version.rows([chunk]))
        if leaf_digest(row.digest for row in rows) != chunk.digest or _altered(rows):
            raise Integrity(
                f"{self.facts.pin}: the items from {chunk.first_id!r} to {chunk.last_id!r} are altered.",
                hint=f"Run: stacpin verify {self.facts.pin}",
                kind="altered",
            )
        return rows


def _file_blocks(root: Path, href: str) -> Iterator[memoryview]:
    """A local object without the detour through obstore, which halves the files per second where they are small."""
    path = root / href
    refuse_links(root, href)
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield memoryview(block)
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist.", kind="no-such-object") from error
    except OSError as error:
        raise StorageUnavailable(f"{path} cannot be read: {error.strerror}.", hint="Check the disk.") from error


def _altered(rows: Sequence[Row]) -> bool:
    return any(sha256(row.item) != row.digest for row in rows)


def facts_of(version: Version, catalog_id: str) -> PinFacts:
    """A version's record as facts."""
    record = version.record
    return PinFacts(
        dataset=record.dataset,
        number=record.number,
        digest=record.digest,
        content_digest=record.content_digest,
        parent=record.parent,
        time=record.time,
        author=record.author,
        message=record.message,
        collection=record.collection,
        statistics=record.statistics,
        catalog_id=catalog_id,
        software=record.software,
    )


class _NoLinks:
    """The links of a collection that stands alone: none but those that were declared."""

    @staticmethod
    def _none(*_: str, **__: str) -> None:
        return None

    root = dataset = history = collection = items = item = _none


def catalog_source(url: str | Store, pin: str, *, mirrors: Sequence[str | Store] = ()) -> CatalogSource:
    """The source of a pin in a catalog.

    Parameters
    ----------
    url
        The catalog's path or URL, or its open store.
    pin
        The pin.
    mirrors
        Copies of the catalog, asked before those that STACPIN_MIRRORS and the catalog's settings name.

    Raises
    ------
    NotFound
        If there is no such catalog, dataset or version.
    """
    catalog = Catalog.open(open_mirrored(url, mirrors))
    return CatalogSource(catalog, catalog.resolve(pin))
