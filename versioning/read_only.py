"""Stores that are never written to: what was opened with mirrors, and a folder that is not there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

from versioning.errors import Forbidden, StorageUnavailable

__all__ = ["Gone", "ReadOnly", "from_mirrors", "pointers_unknown"]


class ReadOnly:
    """The writing verbs of a :class:`versioning.store.Store`: all of them Forbidden.

    ``from_mirrors`` counts what mirrors have answered in the place of a catalog that did not.
    """

    from_mirrors = 0

    @property
    def url(self) -> str:
        """Where it is."""
        raise NotImplementedError

    def _refuse(self) -> NoReturn:
        raise Forbidden(
            f"{self.url} was opened for reading only.",
            hint="Open the catalog itself, without mirrors, to write to it.",
            kind="read-only",
        )

    def put_new(self, path: str, data: bytes) -> bool:  # noqa: ARG002 - the protocol's
        """Forbidden."""
        self._refuse()

    def put_stream(self, path: str, chunks: Iterable[bytes]) -> None:  # noqa: ARG002 - the protocol's
        """Forbidden."""
        self._refuse()

    def put_record(self, path: str, data: bytes) -> bool:  # noqa: ARG002 - the protocol's
        """Forbidden."""
        self._refuse()

    def replace(self, path: str, data: bytes) -> None:  # noqa: ARG002 - the protocol's
        """Forbidden."""
        self._refuse()

    def delete(self, paths: Sequence[str]) -> None:  # noqa: ARG002 - the protocol's
        """Forbidden."""
        self._refuse()


def from_mirrors(store: object) -> int:
    """How often mirrors have answered for a store that did not: what was asked while this grew may be behind."""
    return store.from_mirrors if isinstance(store, ReadOnly) else 0


def pointers_unknown(url: str) -> StorageUnavailable:
    """The error for a name whose meaning only the catalog itself knows."""
    return StorageUnavailable(
        f"{url} does not answer, and its mirrors may be behind: what latest and pointers mean is unknown.",
        hint="Name a version: dataset@v3, a tag or a digest.",
        kind="pointers-unknown",
    )


class Gone:
    """The store of a local folder that is not there, as when a disk is not mounted: it does not answer."""

    local_root = None

    def __init__(self, url: str) -> None:
        self.url = url

    def _fail(self, *_: object, **__: object) -> NoReturn:
        error = StorageUnavailable(f"{self.url} does not exist.", hint="Mount it, or name another path.")
        error.of_store = True
        raise error

    get = get_range = stream = size = put_new = put_stream = put_record = replace = delete = now = list = folders = (
        _fail
    )
