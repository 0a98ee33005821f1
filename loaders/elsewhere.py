"""Assets that a version references in place: their bytes lie at any URL, and their checksums prove them."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from loaders.remote import HttpReader
from loaders.source import Peek, peek_store
from versioning.errors import InvalidInput, StacpinError
from versioning.store import Store, open_store

__all__ = ["Elsewhere"]


class Elsewhere:
    """Reads absolute hrefs: HTTP, and every object store that a catalog can be in.

    ``files`` says whether ``file://`` may be read: only where whoever wrote the href could read the same disk.
    """

    def __init__(self, http: HttpReader, *, files: bool) -> None:
        self._http = http
        self._files = files
        self._stores: dict[str, Store] = {}

    def read(self, href: str) -> Iterator[memoryview]:
        """The bytes, not proven; NotFound if there are none."""
        if _is_http(href):
            return self._http.read(href)
        store, path = self._place(href)
        return store.stream(path)

    def peek(self, href: str) -> Peek | None:
        """The size and the first bytes, or None if nothing is there."""
        return self._http.peek(href) if _is_http(href) else peek_store(*self._place(href))

    def _place(self, href: str) -> tuple[Store, str]:
        parts = urlsplit(href)
        if parts.scheme == "file" and not self._files:
            raise InvalidInput(f"{href}: data that is not on this computer cannot mean its files.")
        base = "/" if parts.scheme == "file" else f"{parts.scheme}://{parts.netloc}"
        if base not in self._stores:
            try:
                self._stores[base] = open_store(base)
            except StacpinError as error:
                raise InvalidInput(f"{href} cannot be read: {error.message}", hint=error.hint) from error
        return self._stores[base], unquote(parts.path).lstrip("/")


def _is_http(href: str) -> bool:
    return href.lower().startswith(("http://", "https://"))
