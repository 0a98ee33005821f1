"""Files into the store by several threads, each proven by reading it back before it counts as stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import Self

from versioning.catalog import Catalog
from versioning.digests import sha256
from versioning.errors import InvalidInput, NotFound
from versioning.objects import ObjectRef

__all__ = ["Storing", "prove", "prove_all"]

_THREADS = 8
# What files on their way may take of memory together: one up to 16 MiB is read whole, a larger one goes in parts.
_BUDGET = 64 * 1024 * 1024
_OF_PARTS = 40 * 1024 * 1024
_WHOLE = 16 * 1024 * 1024
_SMALL = 4 * 1024 * 1024


class Storing:
    """Stores files in the background. Leaving the ``with`` block waits for what has begun, and drops the rest."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="stacpin-store")
        self._budget = _Budget(_BUDGET)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def store(self, path: Path, extension: str | None, known: bytes | None, *, source: Path) -> Future[ObjectRef]:
        """Store a file and read it back.

        Parameters
        ----------
        path, extension
            The file, and what its object's name ends in; None for the file's own.
        known
            What its bytes must be, for a file that was hashed in an earlier step; None for one that nobody else knows,
            which is removed when it is stored.
        source
            The file to name in errors.

        Returns
        -------
        Future
            The object, whose bytes were read from the store and hash to its name. It raises InvalidInput if the file
            is not (any more) what ``known`` says, Integrity if the store gives other bytes than it was given.
        """
        return self._pool.submit(self._store, path, extension, known, source)

    def _store(self, path: Path, extension: str | None, known: bytes | None, source: Path) -> ObjectRef:
        try:
            size = path.stat().st_size
            with self._budget.take(size if size <= _WHOLE else _OF_PARTS):
                ref = self._catalog.objects.put_file(path, extension, known=known)
        except FileNotFoundError as error:
            raise NotFound(f"{source} does not exist any more.", hint="Run again.") from error
        if known is not None and ref.sha256 != known:
            raise InvalidInput(
                f"{source} changed while it was ingested.", hint="Run again when nothing writes to it.", kind="changed"
            )
        self._read_back(ref)
        if known is None:
            path.unlink(missing_ok=True)
        return ref

    def _read_back(self, ref: ObjectRef) -> None:
        if ref.size <= _SMALL:
            # Its size is known, so it may be taken in one piece: a stream took 1.1 ms of CPU for 150 KB, this 0.15.
            with self._budget.take(ref.size):
                data = self._catalog.store.get(ref.href)
                if len(data) == ref.size and sha256(data) == ref.sha256:
                    return
        prove(self._catalog, ref)  # it says what is wrong


def prove(catalog: Catalog, ref: ObjectRef) -> None:
    """Read an object back; NotFound or Integrity if it is not what was stored."""
    for _ in catalog.objects.read(ref.href, ref.sha256, ref.size):
        pass


def prove_all(catalog: Catalog, refs: Iterable[ObjectRef]) -> Iterator[ObjectRef]:
    """Read many objects back, several at a time; gives each when it is proven, in their order."""
    with ThreadPoolExecutor(_THREADS) as pool:
        pending = [(ref, pool.submit(prove, catalog, ref)) for ref in refs]
        try:
            for ref, future in pending:
                future.result()
                yield ref
        finally:
            for _, future in pending:
                future.cancel()


class _Budget:
    """So many bytes for all; who wants more waits until others have given theirs back."""

    def __init__(self, total: int) -> None:
        self._left = total
        self._changed = Condition()

    @contextmanager
    def take(self, amount: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._left >= amount)
            self._left -= amount
        try:
            yield
        finally:
            with self._changed:
                self._left += amount
                self._changed.notify_all()
