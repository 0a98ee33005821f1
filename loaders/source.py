"""Where a pin's data comes from: one Protocol, with the catalog itself or a STAC API behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from versioning.events import Listener, silent
from versioning.records import Statistics
from versioning.rows import AssetRef, BBox, Row
from versioning.store import Store
from versioning.verify import VerifyReport

if TYPE_CHECKING:
    from catalog.query import Query

__all__ = ["PEEKED", "Peek", "PinFacts", "PinSource", "peek_store"]


@dataclass(frozen=True, slots=True)
class PinFacts:
    """What a version says of itself; the same from every source.

    ``collection`` is the declared metadata, which the digest covers; ``catalog_id`` tells catalogs apart wherever they
    are moved to.
    """

    dataset: str
    number: int
    digest: str
    content_digest: str
    parent: int | None
    time: str
    author: str
    message: str
    collection: Mapping[str, Any]
    statistics: Statistics
    catalog_id: str
    software: Mapping[str, str] = field(default_factory=dict)

    @property
    def pin(self) -> str:
        """The canonical pin."""
        return f"{self.dataset}@v{self.number}"

    @property
    def collection_id(self) -> str:
        """The STAC collection id."""
        return f"{self.dataset}--v{self.number}"


class Peek(NamedTuple):
    """What can be known of an object without reading it: its size in bytes, and its first 16."""

    size: int
    start: bytes


PEEKED = 16


class PinSource(Protocol):
    """One version, wherever it is read from. Both sources pass the same tests."""

    @property
    def url(self) -> str:
        """The catalog's path or URL, or the API's URL: what a lock file names."""
        ...

    @property
    def facts(self) -> PinFacts:
        """What the version says of itself."""
        ...

    def rows(self, query: Query) -> Iterator[Row]:
        """The items that a query finds, in the order of their ids.

        A catalog proves each of them against the version's digest. An API's are proven if the query asks for the whole
        version, when the iterator ends; of a part only the bytes of the assets can be, by the checksums that it gives.
        """
        ...

    def proves(self, query: Query) -> bool:
        """Whether :meth:`rows` proves the items of a query against the version's digest."""
        ...

    def asset_keys(self) -> Iterator[str]:
        """The key of every asset of every item, as they come."""
        ...

    def collection(self) -> dict[str, Any]:
        """The STAC Collection of the version."""
        ...

    def href(self, href: str) -> str:
        """Where a stored href can be read: an absolute path or a URL."""
        ...

    def read(self, asset: AssetRef) -> Iterator[memoryview]:
        """The bytes of an asset, not proven; NotFound if they are missing."""
        ...

    def peek(self, asset: AssetRef) -> Peek | None:
        """The size of an asset where it lies, and how it begins; None if it is missing."""
        ...

    def boxes(self, limit: int) -> list[BBox]:
        """The boxes of some items, for a picture; only what is at hand."""
        ...

    def at(self, pin: str) -> PinSource:
        """Another version, of any dataset, from the same place."""
        ...

    def verify(self, *, on_event: Listener = silent) -> VerifyReport:
        """Prove every byte of the version where it lies."""
        ...


def peek_store(store: Store, path: str) -> Peek | None:
    """What a store tells of an object."""
    size = store.size(path)
    return None if size is None else Peek(size, store.get_range(path, 0, min(size, PEEKED)))
