"""A store on any backend of obstore: what it does not do by itself on a local disk is done by ``durable.py``.

A remote store must prove that it honours put-if-absent before the first write (``capabilities.py``). Backend errors
become ours at this one place (``store_errors.py``).
"""

# ruff: noqa: D102 - the verbs are documented once, at the protocol versioning.store.Store

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import obstore
from obstore import exceptions as backend
from obstore.store import AzureStore, GCSStore, LocalStore, MemoryStore, S3Store

from versioning.capabilities import PROBE, honours_put_if_absent, no_put_if_absent
from versioning.durable import Disk
from versioning.errors import Integrity, InvalidInput, NotFound
from versioning.links import refuse_links
from versioning.store_errors import denied_without_reason, translate

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["Entry", "ObstoreStore"]

# Names of temporary files, which obstore refuses to read too.
_TEMPORARY = re.compile(r"#[0-9]+\Z")
# What is read whole: records, and manifests of at most some thousands of items.
_LONGEST_RECORD = 64 * 1024 * 1024
_LONGEST_FILE = 2 * 1024 * 1024 * 1024
_PART = 8 * 1024 * 1024
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored object: its path in the catalog, its size in bytes, when it was written by the store's own clock."""

    path: str
    size: int
    modified: datetime


class ObstoreStore:
    """A :class:`Store` over any obstore backend."""

    def __init__(self, url: str, inner: ObjectStore, *, local_root: Path | None = None) -> None:
        self._url = url
        self._inner = inner
        self._disk = None if local_root is None else Disk(local_root)
        self._local_root = local_root
        # Those who create atomically by themselves need no proof of it.
        self._safe = True if isinstance(inner, (LocalStore, MemoryStore)) else None

    def __repr__(self) -> str:
        return f"Store({self._url!r})"

    @property
    def url(self) -> str:
        return self._url

    @property
    def local_root(self) -> Path | None:
        return self._local_root

    def get(self, path: str) -> bytes:
        with self._reading(path):
            if self._local_root is not None:
                return self._read_local(path, 0, None)
            found = obstore.get(self._inner, path)
            _check_length(path, found.meta["size"])
            return bytes(found.bytes())

    def get_range(self, path: str, start: int, length: int) -> bytes:
        with self._reading(path):
            if self._local_root is not None:
                return self._read_local(path, start, length)
            return bytes(obstore.get_range(self._inner, path, start=start, length=length)) if length else b""

    def _read_local(self, path: str, start: int, length: int | None) -> bytes:
        with self._open_local(path) as file:
            if length is None:
                _check_length(path, os.fstat(file.fileno()).st_size)
            file.seek(start)
            return file.read(-1 if length is None else length)

    def _open_local(self, path: str) -> BinaryIO:
        """Without obstore, whose threads take 100 µs for each call: a commit reads hundreds of small ranges."""
        if self._local_root is None or _TEMPORARY.search(path):
            raise FileNotFoundError(path)
        try:
            return open(f"{self._local_root}{os.sep}{_inside(path)}", "rb")  # noqa: PTH123 - Path.open takes twice as long
        except (IsADirectoryError, NotADirectoryError) as error:
            raise FileNotFoundError(path) from error

    def stream(self, path: str) -> Iterator[memoryview]:
        with self._reading(path):
            if self._local_root is not None:
                with self._open_local(path) as file:
                    while block := file.read(_PART // 2):
                        yield memoryview(block)
                return
            for part in obstore.get(self._inner, path).stream(min_chunk_size=_PART // 2):
                yield memoryview(part)

    def size(self, path: str) -> int | None:
        try:
            with self._translated(path):
                try:
                    size = obstore.head(self._inner, path)["size"]
                except backend.BaseError as error:
                    if denied_without_reason(error):
                        obstore.get(self._inner, path, options={"range": (0, 1)})  # says why
                    raise
        except NotFound:
            return None
        if self._disk is not None:
            self._disk.touched()
        return size

    def put_new(self, path: str, data: bytes) -> bool:
        self._before_writing(path)
        with self._translated(path):
            if self._disk is None or self._local_root is None:
                return self._create(path, data)
            # Without obstore, which takes 1 ms of CPU for what takes 0.2: a snapshot writes thousands of files.
            try:
                return self._disk.write(f"{self._local_root}{os.sep}{_inside(path)}", data)
            finally:
                self._settle(path)

    def put_stream(self, path: str, chunks: Iterable[bytes]) -> None:
        self._before_writing(path)
        with self._translated(path):
            file = None if self._local_root is None else self._local_root / _inside(path)
            if self._disk is not None and file is not None and file.exists():
                # The good bytes that may be there stay until the new ones are on disk.
                self._disk.replace(file, chunks)
            else:
                obstore.put(self._inner, path, iter(chunks), use_multipart=True, chunk_size=_PART, max_concurrency=4)
            self._settle(path)

    def put_record(self, path: str, data: bytes) -> bool:
        if self._disk is None or self._local_root is None:
            return self.put_new(path, data)
        refuse_links(self._local_root, path)
        with self._translated(path):
            self._disk.sync()
            return self._disk.create(self._local_root / _inside(path), data)

    def replace(self, path: str, data: bytes) -> None:
        self._before_writing(path)
        with self._translated(path):
            if self._disk is None or self._local_root is None:
                obstore.put(self._inner, path, data, mode="overwrite", use_multipart=False)
            else:
                self._disk.replace(self._local_root / _inside(path), (data,))

    def delete(self, paths: Sequence[str]) -> None:
        for start in range(0, len(paths), _BATCH):
            batch = list(paths[start : start + _BATCH])
            with self._translated(batch[0]):
                try:
                    obstore.delete(self._inner, batch)
                except (FileNotFoundError, backend.NotFoundError):
                    # LocalStore stops at the first that is not there.
                    for path in batch:
                        with suppress(FileNotFoundError, backend.NotFoundError):
                            obstore.delete(self._inner, path)
        if self._disk is not None:
            with self._translated(""):
                self._disk.touched()
                self._disk.sync()

    def now(self) -> datetime:
        # No store tells its time: it shows in what it has just written.
        path = f"staging/clock-{secrets.token_hex(8)}"
        with self._translated(path):
            obstore.put(self._inner, path, b"", use_multipart=False)
            try:
                return obstore.head(self._inner, path)["last_modified"]
            finally:
                with suppress(backend.PermissionDeniedError):  # who may not delete can still ask for the time
                    obstore.delete(self._inner, path)

    @property
    def presigns(self) -> bool:
        """Whether the backend gives addresses that carry their own right to be read."""
        return isinstance(self._inner, (AzureStore, GCSStore, S3Store))

    def presigned(self, path: str, method: Literal["GET", "HEAD"], *, seconds: int) -> str:
        """An address by which anybody can read one object for some seconds, straight from the backend.

        Raises
        ------
        InvalidInput
            If the backend has no such addresses.
        """
        inner = self._inner
        if not isinstance(inner, (AzureStore, GCSStore, S3Store)):
            raise InvalidInput(f"{self._url} cannot sign addresses.", hint="S3, GCS and Azure can.")
        with self._translated(path):
            return obstore.sign(inner, method, path, timedelta(seconds=seconds))

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Entry]:
        with self._translated(prefix):
            for batch in obstore.list(self._inner, prefix.rstrip("/") or None, offset=after, chunk_size=1000):
                if self._disk is not None:
                    self._disk.touched()
                for meta in batch:
                    yield Entry(meta["path"], meta["size"], meta["last_modified"])

    def folders(self, prefix: str) -> list[str]:
        with self._translated(prefix):
            found = obstore.list_with_delimiter(self._inner, prefix.rstrip("/") or None)
        if self._disk is not None:
            self._disk.touched()
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found["common_prefixes"])

    def _create(self, path: str, data: bytes) -> bool:
        try:
            obstore.put(self._inner, path, data, mode="create", use_multipart=False)
        except backend.AlreadyExistsError:
            return False
        return True

    def _before_writing(self, path: str) -> None:
        """Refuse to write to a store that would overwrite what is there, and through a link to where it leads."""
        if self._local_root is not None:
            refuse_links(self._local_root, path)
        if self._safe is None:
            with self._translated(PROBE):
                self._safe = honours_put_if_absent(self._create)
        if not self._safe:
            raise no_put_if_absent(self._url)
        if self._disk is not None:
            with self._translated(""):
                self._disk.begin()

    def _settle(self, path: str) -> None:
        if self._disk is not None and self._local_root is not None:
            with suppress(FileNotFoundError):
                self._disk.settle(f"{self._local_root}{os.sep}{path}")

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        """A link in a catalog that somebody else wrote could name any file that its reader may read."""
        with self._translated(path):
            if self._disk is not None and self._local_root is not None:
                refuse_links(self._local_root, path)
            try:
                yield
            finally:
                # After, not before: what is found may be younger than a sync of another thread that came in between.
                if self._disk is not None:
                    self._disk.touched()

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        """The one place where the errors of backends become ours."""
        try:
            yield
        except (backend.BaseError, OSError, ValueError) as error:
            raise translate(f"{self._url.rstrip('/')}/{path}", error) from error


def _check_length(path: str, size: int) -> None:
    """Refuse to take into memory what no writer of this format makes."""
    most = _LONGEST_RECORD if path.endswith(".json") else _LONGEST_FILE
    if size > most:
        raise Integrity(
            f"{path} is altered: it has {size} bytes, and none of its kind has more than {most}.",
            hint="Restore it from a mirror.",
            kind="altered",
        )


def _inside(path: str) -> str:
    """A path that does not pass through obstore, which refuses those that lead elsewhere."""
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise ValueError("it has empty parts, or parts that point elsewhere")
    return path
