"""The addresses of everything that the API serves, absolute."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from starlette.requests import Request

__all__ = ["GEOJSON", "JSON", "Urls", "link"]

GEOJSON = "application/geo+json"
JSON = "application/json"


def link(rel: str, href: str, media_type: str = JSON, title: str | None = None) -> dict[str, str]:
    """A STAC link object."""
    made = {"rel": rel, "href": href, "type": media_type}
    if title is not None:
        made["title"] = title
    return made


@dataclass(frozen=True, slots=True)
class Urls:
    """Addresses below one base, which has no slash at its end; a :class:`catalog.collections.Links`.

    ``signed`` gives the parameters that prove an asset's path, where access is on.
    """

    base: str
    signed: Callable[[str], str] | None = None

    @classmethod
    def of(cls, request: Request) -> Urls:
        """The addresses as the client of a request sees them."""
        signer = request.scope.get("stacpin.href")
        return cls(str(request.base_url).rstrip("/"), None if signer is None else signer.query)

    def to(self, *parts: str, params: Iterable[tuple[str, str]] = ()) -> str:
        """An address below the base; the parts are quoted."""
        path = "/".join(quote(part, safe=":+=,@") for part in parts)
        return Urls(f"{self.base}/{path}").with_params(params)

    def with_params(self, params: Iterable[tuple[str, str]]) -> str:
        """The base itself with query parameters."""
        text = urlencode(list(params), safe=":/,")
        return f"{self.base}?{text}" if text else self.base

    def root(self) -> str:
        """The landing page."""
        return f"{self.base}/"

    def search(self) -> str:
        """The search."""
        return self.to("search")

    def dataset(self, dataset: str) -> str:
        """The collection that follows the dataset's ``latest``."""
        return self.to("collections", dataset)

    def history(self, dataset: str) -> str:
        """All versions of a dataset."""
        return self.to("collections", dataset, "versions")

    def collection(self, collection_id: str) -> str:
        """A version's collection."""
        return self.to("collections", collection_id)

    def items(self, collection_id: str) -> str:
        """A version's items."""
        return self.to("collections", collection_id, "items")

    def item(self, collection_id: str, item_id: str) -> str:
        """An item of a version."""
        return self.to("collections", collection_id, "items", item_id)

    def item_history(self, dataset: str, item_id: str) -> str:
        """All revisions of an item."""
        return self.to("collections", dataset, "items", item_id, "versions")

    def asset(self, href: str) -> str:
        """An asset's address: below the base for objects of the catalog, as it is for what is referenced in place."""
        if not href.startswith("objects/"):
            return href
        return f"{self.base}/{href}" if self.signed is None else f"{self.base}/{href}?{self.signed(href)}"
