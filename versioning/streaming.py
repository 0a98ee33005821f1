"""Streaming appends: a writer that collects STAC items and commits them every few seconds.

A crash loses what was not flushed yet, and nothing else: :meth:`Stream.flush` returns when its items are in a version
and on disk. Items are made rows as they are appended, so that one bad item is refused by itself and never stops a
batch, and are kept as their canonical JSON: what a caller does to its dict afterwards does not matter.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from versioning.appender import Appender
from versioning.canonical import parse
from versioning.commit import CommitResult
from versioning.dataset import Dataset
from versioning.errors import InvalidInput, StacpinError
from versioning.ids import check_item_id
from versioning.objects import ObjectRef, Objects
from versioning.patience import Patience
from versioning.rows import make_row
from versioning.version import Version

__all__ = ["Pending", "Stream", "StreamCounts"]

# Of batches: appending waits when so many are in memory, so that a slow store slows the producer instead of filling it.
_BATCHES = 4
_MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """What a stream has done so far.

    Attributes
    ----------
    appended, removed
        How often an item was appended, or its removal asked for.
    replaced
        How often what waited for an item gave way to something else: the last one wins.
    absent
        Removals of items that were not there.
    commits
        Versions that were made.
    retries
        How often the store did not answer and was asked again.
    """

    appended: int = 0
    removed: int = 0
    replaced: int = 0
    absent: int = 0
    commits: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Pending:
    """What is in no version yet: STAC items to write, ids to remove."""

    items: list[dict[str, Any]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


class Stream:
    """A writer that stays open. Use it as a context manager; every method may be called from any thread.

    Commits are made by a thread of the stream's own: a version appears ``every`` so often also while nothing more
    comes, and producers do not wait for the store. They wait when four batches are in memory.

    Parameters
    ----------
    dataset
        Where to commit.
    every
        How long an item waits for its commit at most; a number is seconds.
    items
        So many items are committed without waiting.
    author, message
        Who, and why: of every version.
    on_commit
        Hears of every version, from the thread that made it; it must not use the stream. What it raises stops the
        stream like an error of the store.
    patience
        How long a store that does not answer is asked again, with growing pauses. The items stay.

    Notes
    -----
    A commit is made from the version before it, so that nothing is read again that grows with the dataset. If somebody
    else changed other items meanwhile, both changes count; if they changed the same ones, the stream stops with the
    Conflict: every later call raises it, and :meth:`pending` has what is in no version. The same holds for any other
    error that another attempt does not mend.

    Raises
    ------
    InvalidInput
        If a limit makes no sense.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        author: str,
        message: str = "appended",
        every: timedelta | float = 5.0,
        items: int = 1000,
        on_commit: Callable[[CommitResult], None] | None = None,
        patience: timedelta = timedelta(minutes=10),
    ) -> None:
        self.dataset = dataset
        self._every = every.total_seconds() if isinstance(every, timedelta) else float(every)
        self._items = items
        if not self._every > 0 or items < 1:
            raise InvalidInput(
                f"A stream cannot commit every {self._every:g} s or every {items} items.", hint="Both are above 0."
            )
        self._on_commit = on_commit
        self._patiently = Patience(patience)
        self._objects = Objects(dataset.store)
        self._appender = Appender(dataset, author=author, message=message, patience=self._patiently)
        self._waiting: dict[str, bytes | None] = {}
        self._sending: dict[str, bytes | None] = {}
        self._oldest = 0.0
        self._bytes = 0
        self._counts = StreamCounts()
        self._error: Exception | None = None
        self._ending = self._closed = False
        self._changed = threading.Condition()
        self._committing = threading.RLock()
        # A daemon: whoever forgets to close the stream shall not wait for ever when the program ends.
        self._thread = threading.Thread(target=self._run, name=f"stream of {dataset.id}", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"Stream({self.dataset.id!r}, {len(self._waiting) + len(self._sending)} waiting)"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush, whatever happened: what was appended was meant."""
        try:
            self.close()
        except StacpinError as late:
            if error is None:
                raise
            if late is not error:
                error.add_note(f"The stream could not be flushed: {late}")

    @property
    def counts(self) -> StreamCounts:
        """What it has done so far."""
        with self._changed:
            return replace(self._counts, absent=self._appender.absent, retries=self._patiently.retries)

    @property
    def version(self) -> Version | None:
        """The version that it made or saw last."""
        return self._appender.base

    def append(self, item: Mapping[str, Any], *, files: Mapping[str, str | Path] | None = None) -> None:
        """Take an item into the next commit; one of the same id that still waits gives way to it.

        Parameters
        ----------
        item
            A STAC Item.
        files
            Files for some of its assets, by their keys: each is stored first, and the asset's ``href``,
            ``file:checksum`` and ``file:size`` are set. The other assets must be stored already.

        Raises
        ------
        InvalidInput
            If the format does not take the item, or if the stream is closed.
        StacpinError
            What stopped the stream, or what a file could not be stored for; then the item was not taken.
        """
        self._check()
        if files:
            item = {**item, "assets": self._stored(item, files)}
        row = make_row(item)
        self._take(row.id, row.item)

    def remove(self, item_id: str) -> None:
        """Take an item out with the next commit; one that is not there is counted as absent.

        Raises
        ------
        InvalidInput
            If it is no id, or if the stream is closed.
        StacpinError
            What stopped the stream.
        """
        self._take(check_item_id(item_id), None)

    def flush(self) -> CommitResult | None:
        """Commit what waits, and return when it is durable; None if nothing waited.

        Raises
        ------
        Conflict
            If somebody else changed the same items.
        StacpinError
            What stopped the stream.
        """
        return self._send()

    def close(self) -> None:
        """Flush and end. A closed stream takes nothing more.

        Raises
        ------
        StacpinError
            What stopped the stream; :meth:`pending` still has what is in no version.
        """
        with self._changed:
            self._ending = True
        try:
            self._send()
        finally:
            self._patiently.end()
            with self._changed:
                self._closed = True
                self._changed.notify_all()
            if threading.current_thread() is not self._thread:
                self._thread.join()

    def pending(self) -> Pending:
        """What is in no version yet, as far as the stream knows: a commit whose answer was lost may have counted."""
        with self._changed:
            everything = self._sending | self._waiting
        return Pending(
            [parse(data) for data in everything.values() if data is not None],
            [item_id for item_id, data in everything.items() if data is None],
        )

    # -- the producers' side

    def _stored(self, item: Mapping[str, Any], files: Mapping[str, str | Path]) -> dict[str, Any]:
        assets = dict(item.get("assets") or {})
        for key, file in files.items():
            ref = self._put(item, Path(file))
            said = dict(assets.get(key) or {})
            known = said.get("file:checksum")
            if known is not None and known != ref.checksum:
                raise InvalidInput(
                    f"item {item.get('id')}: {file} does not have the file:checksum that asset {key!r} says.",
                    hint="Correct the item, or write the file again.",
                )
            assets[key] = said | {"href": ref.href, "file:checksum": ref.checksum, "file:size": ref.size}
        return assets

    def _put(self, item: Mapping[str, Any], file: Path) -> ObjectRef:
        try:
            if not file.is_file():  # a pipe would be waited for
                raise InvalidInput(f"item {item.get('id')}: {file} is no file.", hint="Write it first, then the item.")
            return self._patiently(lambda: self._objects.put_file(file))
        except OSError as error:
            raise InvalidInput(f"item {item.get('id')}: {file} cannot be read: {error.strerror}.") from error

    def _take(self, item_id: str, data: bytes | None) -> None:
        with self._changed:
            self._check()
            while self._is_full() and item_id not in self._waiting:
                self._changed.wait()
                self._check()
            counts, before = self._counts, self._waiting.get(item_id)
            if item_id in self._waiting and before != data:
                counts = replace(counts, replaced=counts.replaced + 1)
            added = {"removed": counts.removed + 1} if data is None else {"appended": counts.appended + 1}
            self._counts = replace(counts, **added)
            if not self._waiting:
                self._oldest = time.monotonic()
            self._waiting[item_id] = data
            self._bytes += len(data or b"") - len(before or b"")
            self._changed.notify_all()

    def _is_full(self) -> bool:
        return len(self._waiting) + len(self._sending) >= _BATCHES * self._items or self._bytes >= _MOST_BYTES

    def _check_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _check(self) -> None:
        self._check_error()
        if self._ending:
            raise InvalidInput(f"The stream of {self.dataset.id} is closed.", hint="Open another.", kind="closed")

    # -- the committing side

    def _run(self) -> None:
        while self._is_due():
            # The producers hear of it: it is kept, and every later call raises it.
            with suppress(Exception):
                self._send()

    def _is_due(self) -> bool:
        """Wait until something is to be committed; False if the stream has ended."""
        with self._changed:
            while not self._closed and self._error is None:
                rest = self._oldest + self._every - time.monotonic() if self._waiting else None
                if rest is not None and (
                    rest <= 0 or len(self._waiting) >= self._items or 2 * self._bytes >= _MOST_BYTES
                ):
                    return True
                self._changed.wait(None if rest is None else min(rest, threading.TIMEOUT_MAX))
            return False

    def _send(self) -> CommitResult | None:
        """Commit everything that waits; if that fails, everything waits again."""
        with self._committing:
            try:
                with self._changed:
                    self._check_error()
                    self._sending, self._waiting = self._waiting, {}
                if not self._sending:
                    return None
                result = self._appender.commit(self._sending)
            except BaseException as error:
                with self._changed:
                    both = self._sending.keys() & self._waiting.keys()
                    self._waiting = self._sending | self._waiting
                    self._sending = {}
                    self._bytes = sum(len(data or b"") for data in self._waiting.values())
                    self._counts = replace(self._counts, replaced=self._counts.replaced + len(both))
                    if isinstance(error, Exception):
                        self._error = error
                    self._changed.notify_all()
                raise
            with self._changed:
                self._bytes -= sum(len(data or b"") for data in self._sending.values())
                self._sending = {}
                if result is not None and result.created:
                    self._counts = replace(self._counts, commits=self._counts.commits + 1)
                self._changed.notify_all()
            if result is not None and result.created and self._on_commit is not None:
                self._tell(self._on_commit, result)
            return result

    def _tell(self, listener: Callable[[CommitResult], None], result: CommitResult) -> None:
        try:
            listener(result)
        except Exception as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()
            raise
