"""A catalog's store for reading alone, with what whoever asks may see; objects that were read are noted."""

# ruff: noqa: D102 - the verbs are documented once, at the protocol versioning.store.Store

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from api.access.asking import current
from versioning.errors import NotFound
from versioning.read_only import ReadOnly
from versioning.store import Entry, Store

__all__ = ["VisibleStore"]

# Everything else (runs, quarantine, what gc has condemned) tells of datasets too.
_OPEN = ("stacpin.json", "settings")
_OBJECT = re.compile(r"objects/[0-9a-f]{2}/([0-9a-f]{64})(?:\.[a-z0-9]{1,12})?")
_DATASETS = "datasets"


class VisibleStore(ReadOnly):
    """A part of another store. An object can be read by its name: who may name it is decided at the routes."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    @property
    def url(self) -> str:
        return self._inner.url

    @property
    def local_root(self) -> Path | None:
        return None  # whoever read files there would pass this by

    def get(self, path: str) -> bytes:
        self._check(path)
        return self._inner.get(path)

    def get_range(self, path: str, start: int, length: int) -> bytes:
        self._check(path)
        return self._inner.get_range(path, start, length)

    def stream(self, path: str) -> Iterator[memoryview]:
        self._check(path)
        return self._inner.stream(path)

    def size(self, path: str) -> int | None:
        self._check(path)
        return self._inner.size(path)

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Entry]:
        self._check(prefix, listed=True)
        return self._inner.list(prefix, after=after)

    def folders(self, prefix: str) -> list[str]:
        if prefix.strip("/") == _DATASETS:
            asking = current()
            return [name for name in self._inner.folders(prefix) if asking is not None and asking.reader.may(name)]
        self._check(prefix, listed=True)
        return self._inner.folders(prefix)

    def now(self) -> datetime:
        self._refuse()

    def _check(self, path: str, *, listed: bool = False) -> None:
        top, _, rest = path.partition("/")
        asking = current()
        if top in _OPEN:
            return
        if top == _DATASETS and asking is not None and asking.may(rest.partition("/")[0]):
            return
        match = _OBJECT.fullmatch(path)
        if match is None or listed:
            raise NotFound(f"There is no {path[:120]!r}.", kind="missing")
        if asking is not None:
            asking.objects.add(match[1])
