"""Objects: immutable bytes that are named by their sha256, stored once however often they are used."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from versioning.digests import multihash, sha256
from versioning.errors import Integrity, InvalidInput, NotFound, StorageUnavailable
from versioning.manifests import FileRef
from versioning.rows import object_path
from versioning.store import Store

__all__ = ["LARGEST_MANIFEST", "ManifestFiles", "ObjectRef", "Objects", "hash_file"]

# S3's create mode is one buffered PUT (600 MB took 1,082 MB of memory), so larger objects go by multipart; their name
# is their content, so they need no precondition.
_LARGE = 16 * 1024 * 1024
_BLOCK = 4 * 1024 * 1024
# A chunk has at most 4,096 rows, so this is 64 KB of packed JSON for each: a hundred times what items have.
LARGEST_MANIFEST = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """A stored object: its path in the catalog, the sha256 of its bytes, its size in bytes."""

    href: str
    sha256: bytes
    size: int

    @property
    def checksum(self) -> str:
        """The digest as the file extension's ``file:checksum``."""
        return multihash(self.sha256)


class Objects:
    """The objects of one catalog."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put_bytes(self, data: bytes, extension: str = "") -> ObjectRef:
        """Store bytes; a second time it finds them there.

        What is shorter was torn by a power cut, since nothing else ends early under its final name: it is replaced.

        Raises
        ------
        Integrity
            If an object of that name is there and longer: it is damaged, and is left alone.
        """
        digest = sha256(data)
        path = object_path(digest, extension)
        if not self._store.put_new(path, data):
            stored = self._store.size(path)
            # Garbage collection may have taken it in between: then it is written after all.
            if stored is None and not self._store.put_new(path, data):
                stored = self._store.size(path)
            if stored is not None and stored < len(data):
                self._store.replace(path, data)
            elif stored is not None and stored != len(data):
                raise _wrong_size(path, stored, len(data))
        return ObjectRef(path, digest, len(data))

    def put_file(self, source: Path, extension: str | None = None, *, known: bytes | None = None) -> ObjectRef:
        """Store a file, in bounded memory; see `put_bytes`.

        Parameters
        ----------
        source
            The file.
        extension
            Its extension with the dot; None takes the file's own, in lower case.
        known
            Its sha256 if the caller has just computed it; it is checked again while the bytes are sent.

        Raises
        ------
        InvalidInput
            If the file changes while it is being stored.
        Integrity
            If an object of that name is there and longer.
        """
        suffix = _extension(source) if extension is None else extension
        with source.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size <= _LARGE:
                return self.put_bytes(file.readall(), suffix)
        digest = known or hash_file(source)
        path = object_path(digest, suffix)
        stored = self._store.size(path)
        if stored is None or stored < size:
            self._store.put_stream(path, _proven(source, digest))
            stored = self._store.size(path)
        if stored != size:
            raise _wrong_size(path, stored, size)
        return ObjectRef(path, digest, size)

    def read(self, href: str, digest: bytes, size: int) -> Iterator[memoryview]:
        """The bytes of an object, proven when the iterator ends.

        Raises
        ------
        NotFound
            If the object is missing.
        Integrity
            If it has another size or other bytes; what was yielded until then must be thrown away.
        """
        state, seen = hashlib.sha256(), 0
        for block in self._store.stream(href):
            state.update(block)
            seen += len(block)
            if seen > size:
                raise _wrong_size(href, self._store.size(href), size)
            yield block
        if seen != size:
            raise _wrong_size(href, seen, size)
        if state.digest() != digest:
            raise Integrity(
                f"{href} is altered: its bytes hash to {state.hexdigest()}.",
                hint="Restore it from a mirror, or store the original again.",
                kind="altered",
            )


class ManifestFiles:
    """Chunk, delta and snapshot files: named by the sha256 of their bytes, checked each time they are read."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store = store
        self._folder = folder

    @property
    def store(self) -> Store:
        """The store of the catalog."""
        return self._store

    def path(self, ref: FileRef) -> str:
        """Where the file lies in the catalog."""
        return f"{self._folder}/{ref.sha256.hex()}.parquet"

    def put(self, data: bytes) -> FileRef:
        """Write a file unless it is there whole: one that a power cut has torn is replaced."""
        ref = FileRef(sha256(data), len(data))
        path = self.path(ref)
        if not self._store.put_new(path, data) and not self._is(path, data):
            self._store.replace(path, data)
        return ref

    def _is(self, path: str, data: bytes) -> bool:
        """Whether a file has these bytes. It is rarely asked: of a commit that is tried again, or gives rows back."""
        with suppress(NotFound):  # garbage collection has taken it just now
            return self._store.get(path) == data
        return False

    def tail(self, ref: FileRef, start: int) -> bytes:
        """The file's bytes from ``start`` on; only their number is proven, but for a ``start`` of 0: then all is.

        Raises
        ------
        Integrity
            If the file is missing or truncated, or altered where all of it is read.
        """
        path = self._sane(ref)
        try:
            data = self._store.get_range(path, start, ref.size - start)
        except NotFound as error:
            raise Integrity(f"{path} is missing.", hint="Restore it from a mirror.", kind="missing") from error
        except StorageUnavailable as error:
            # Stores say in many ways that a range begins after the end.
            stored = self._store.size(path)
            if stored is not None and stored != ref.size:
                raise _wrong_size(path, stored, ref.size) from error
            raise
        if len(data) != ref.size - start:
            raise _wrong_size(path, start + len(data), ref.size)
        if start == 0:
            _prove(path, data, ref)
        return data

    def _sane(self, ref: FileRef) -> str:
        """The path of a file that may be taken into memory: its size is the word of who wrote the snapshot.

        A sparse file of 3 GiB costs a stranger nothing, and took 6.2 GiB of who compared it with another.
        """
        path = self.path(ref)
        if not 0 <= ref.size <= LARGEST_MANIFEST:
            raise Integrity(
                f"{path} is altered: it is said to have {ref.size} bytes, and none of its kind has more than "
                f"{LARGEST_MANIFEST}.",
                hint="Restore it from a mirror.",
                kind="altered",
            )
        return path

    def get(self, ref: FileRef) -> bytes:
        """The file's bytes, proven.

        Raises
        ------
        Integrity
            If the file is missing, truncated or altered.
        """
        path = self._sane(ref)
        try:
            data = self._store.get(path)
        except NotFound as error:
            raise Integrity(f"{path} is missing.", hint="Restore it from a mirror.", kind="missing") from error
        if len(data) != ref.size:
            raise _wrong_size(path, len(data), ref.size)
        _prove(path, data, ref)
        return data


def _prove(path: str, data: bytes, ref: FileRef) -> None:
    if sha256(data) != ref.sha256:
        raise Integrity(
            f"{path} is altered: its bytes do not hash to its name.",
            hint="Restore it from a mirror.",
            kind="altered",
        )


def hash_file(path: Path) -> bytes:
    """The sha256 of a file, 32 bytes, in bounded memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _proven(source: Path, digest: bytes) -> Iterator[bytes]:
    """The file's blocks; raises after the last one if they are not what was hashed, so that nothing becomes visible."""
    state = hashlib.sha256()
    with source.open("rb") as file:
        while block := file.read(_BLOCK):
            state.update(block)
            yield block
    if state.digest() != digest:
        raise InvalidInput(f"{source} changed while it was being stored.", hint="Run again when nothing writes to it.")


def _extension(source: Path) -> str:
    suffix = source.suffix.lower()
    return {".tiff": ".tif", ".jpeg": ".jpg"}.get(suffix, suffix)


def _wrong_size(path: str, found: int | None, wanted: int) -> Integrity:
    kind = "missing" if found is None else "truncated" if found < wanted else "altered"
    return Integrity(
        f"{path} is {kind}: it has {found if found is not None else 'no'} bytes of {wanted}.",
        hint="Restore it from a mirror, or remove the damaged object and store the original again.",
        kind=kind,
    )
