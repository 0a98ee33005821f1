"""One object store: read, put if absent, list, make durable. Local, memory, S3, GCS and Azure by obstore.

Every write of the protocol is put-if-absent. The two verbs that are not, :meth:`Store.replace` and
:meth:`Store.delete`, are for garbage collection and repair alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from obstore import exceptions as backend
from obstore.store import LocalStore, MemoryStore, from_url

from versioning.durable import make_folders
from versioning.errors import Forbidden, InvalidInput, NotFound
from versioning.obstore_store import Entry, ObstoreStore
from versioning.store_errors import first_line, no_login, translate

__all__ = ["Entry", "ObstoreStore", "Store", "open_store"]

_SCHEMES = {"s3", "s3a", "gs", "az", "adl", "abfs", "abfss", "azure", "memory", "file"}
_WINDOWS_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


class Store(Protocol):
    """What the version store needs of a place; :func:`open_store` gives one for a URL."""

    @property
    def url(self) -> str:
        """Where it is, for people and for lock files."""
        ...

    @property
    def local_root(self) -> Path | None:
        """The folder of a local store, whose objects can be read as files; None for any other."""
        ...

    def get(self, path: str) -> bytes:
        """The bytes of an object; NotFound if there is none."""
        ...

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``; NotFound if there is no such object."""
        ...

    def stream(self, path: str) -> Iterator[memoryview]:
        """The bytes of an object, a few megabytes at a time."""
        ...

    def size(self, path: str) -> int | None:
        """The size of an object in bytes, or None if there is none."""
        ...

    def put_new(self, path: str, data: bytes) -> bool:
        """Write an object unless one is there; True if it was written."""
        ...

    def put_stream(self, path: str, chunks: Iterable[bytes]) -> None:
        """Write a large object whose name is its content; nothing is visible if ``chunks`` raises."""
        ...

    def put_record(self, path: str, data: bytes) -> bool:
        """Like :meth:`put_new`, and durable when it returns; everything written before is durable first."""
        ...

    def replace(self, path: str, data: bytes) -> None:
        """Write an object whether or not one is there: to make it young again for gc, or whole again after damage."""
        ...

    def delete(self, paths: Sequence[str]) -> None:
        """Remove objects, durably; those that are not there do not matter. Only gc and repair may ask for it."""
        ...

    def now(self) -> datetime:
        """The time by the clock that :attr:`Entry.modified` goes by."""
        ...

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Entry]:
        """Every object below a folder, or those whose paths sort after one, in no particular order."""
        ...

    def folders(self, prefix: str) -> list[str]:
        """The names of the folders directly below a folder, sorted."""
        ...


def open_store(url: str, *, create: bool = False) -> Store:
    """The store for a path or a URL (``s3://…``, ``gs://…``, ``az://…``, ``memory://``).

    Parameters
    ----------
    url
        Where the catalog is, or is to be.
    create
        Whether a missing local folder is made.

    Raises
    ------
    InvalidInput
        If the URL has a scheme that no backend serves.
    NotFound
        If a local folder is missing and ``create`` is False.
    """
    scheme = urlsplit(url).scheme.lower() if not _WINDOWS_DRIVE.match(url) else ""
    if scheme in {"", "file"}:
        return _local(Path(unquote(urlsplit(url).path) if scheme else url).expanduser(), create=create)
    if scheme not in _SCHEMES:
        raise InvalidInput(
            f"{url!r} names a store that stacpin does not know.",
            hint="Use a local path, or a URL that begins with s3://, gs://, az:// or memory://.",
        )
    if scheme == "memory":
        return ObstoreStore(url, MemoryStore())
    options: dict[str, Any] = {"retry_config": {"max_retries": 10, "retry_timeout": timedelta(seconds=60)}}
    if scheme in {"s3", "s3a"}:
        options |= _s3_options()
    try:
        return ObstoreStore(url.rstrip("/"), from_url(url, **options))
    except (backend.BaseError, ValueError) as error:
        raise InvalidInput(f"{url!r} cannot be opened as an object store: {first_line(error)}.") from error


def _local(folder: Path, *, create: bool) -> Store:
    folder = folder.absolute()
    try:
        if folder.exists() and not folder.is_dir():
            raise InvalidInput(f"{folder} is a file, not a folder.", hint="A catalog is a folder: name another path.")
        if not folder.exists():
            if not create:
                raise NotFound(f"{folder} does not exist.", hint=f"Make a catalog there: stacpin init {folder}")
            make_folders(folder)
        return ObstoreStore(str(folder), LocalStore(folder), local_root=folder)
    except (NotADirectoryError, FileNotFoundError) as error:
        raise Forbidden(f"{folder} cannot be made: {error.strerror}.", hint="Name another path.") from error
    except (backend.BaseError, OSError) as error:
        raise translate(str(folder), error) from error


def _s3_options() -> dict[str, Any]:
    """Plain HTTP only for an endpoint that says so; the AWS profile, SSO or role of the user where boto3 is there."""
    options: dict[str, Any] = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        options["endpoint"] = endpoint
    if endpoint and endpoint.startswith("http://"):
        options["client_options"] = {"allow_http": True}
    if "AWS_ACCESS_KEY_ID" not in os.environ:
        try:
            from botocore.exceptions import BotoCoreError
            from obstore.auth.boto3 import Boto3CredentialProvider
        except ImportError:
            return options  # object_store's own chain (container and instance roles) is left
        try:
            options["credential_provider"] = Boto3CredentialProvider()
        except ValueError:
            pass  # it found nothing: the same
        except BotoCoreError as error:  # an unknown profile, a broken configuration
            raise no_login("s3://", error) from error
    return options
