"""Pull: bring a version's files into a folder, every byte proven while it streams.

A file becomes visible under its name only when it is whole and its sha256 is right. Whatever kills a pull, the next one
takes up what is there and right (it is hashed again) and brings the rest.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from loaders.bring import Bringer, Link, Outcome
from loaders.folder import Folder, Noted, PullNotes
from loaders.layout import COLLECTION, PlacedItem, PulledFile
from loaders.lock import LOCK_NAME, LockEntry, write_lock
from loaders.owned import Owned
from loaders.source import PinSource
from versioning.errors import Integrity, NotFound, StacpinError
from versioning.events import Listener, Progress, silent
from versioning.rows import AssetRef

if TYPE_CHECKING:
    from catalog.query import Query

__all__ = ["PullReport", "proven_blocks", "pull", "windowed"]

_SHOWN = 5
_BATCH = 32
_BATCH_BYTES = 4 * 1024 * 1024
In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True)
class PullReport:
    """What a pull did. ``proven`` says whether the items are proven against the version's digest, not only the files.

    ``fetched`` and ``fetched_bytes`` were brought by this pull, ``kept`` were there and right, ``replaced`` were there
    and wrong (they count as fetched too). Of those fetched, ``linked`` share their blocks with the catalog. ``whole``
    says whether every file of the version was asked for.
    """

    pin: str
    digest: str
    dest: str
    items: int
    files: int
    bytes: int
    fetched: int
    fetched_bytes: int
    kept: int
    replaced: int
    linked: int
    whole: bool
    proven: bool

    def to_dict(self) -> dict[str, Any]:
        """The report for ``--json``."""
        return asdict(self)


def pull(
    source: PinSource,
    dest: str | os.PathLike[str],
    query: Query,
    *,
    asset: Iterable[str] | None = None,
    workers: int = 8,
    link: Link = "auto",
    on_event: Listener = silent,
) -> PullReport:
    """Bring the files of a version, or of what a query finds of it, into a folder.

    Parameters
    ----------
    source
        The version.
    dest
        The folder. Files in it that no pull has made are never replaced and never deleted.
    query
        Which items.
    asset
        The keys of the assets that are wanted; None is all of them.
    workers
        How many files are brought at once.
    link
        How files come out of a catalog on a local disk: ``copy``; ``reflink`` (they share blocks until one is written
        to; not on every disk); ``hardlink`` (one file with two names, which is made read-only: who writes to it all
        the same damages the catalog); ``auto``, a reflink where the disk can, otherwise a copy. Every byte is proven.
    on_event
        Hears how far it is, in bytes.

    Raises
    ------
    InvalidInput
        If ``link`` asks for what the disk cannot do.
    Integrity
        If an object is missing or is not what its checksum says; it is named, the good files stay, and nothing wrong is
        left under a file's name.
    Conflict
        If the folder holds files of the user's where ours would go, or another pull is running.
    StorageUnavailable
        If the source stops answering; pull again to go on.
    """
    folder, facts = Folder(dest), source.facts
    keys = None if asset is None else sorted(set(asset))
    notes = PullNotes(
        pin=facts.pin,
        collection_id=facts.collection_id,
        digest=facts.digest,
        catalog=source.url,
        whole=not query.narrows,
        proven=source.proves(query),
        asset=keys,
        query=query.to_dict(),
        declared=dict(facts.collection),
        collection=source.collection(),
    )
    bringer = Bringer(source, folder, proven_blocks, link)
    with folder.locked():
        owned = Owned(folder)
        owned.root_files((COLLECTION, LOCK_NAME))
        noted = folder.note_items(source.rows(query), notes, owned)
        del owned
        counts, paths = _bring_all(bringer, folder, notes, noted, workers=workers, on_event=on_event)
        folder.write(COLLECTION, folder.collection(notes, paths))
        write_lock(folder.root / LOCK_NAME, [LockEntry(facts.pin, facts.digest, source.url)])
    return PullReport(
        facts.pin,
        facts.digest,
        str(folder.root),
        *noted,
        **asdict(counts),
        whole=notes.whole and notes.asset is None,
        proven=notes.proven,
    )


@dataclass(slots=True)
class _Counts:
    """What happened to the files, as the report has it."""

    fetched: int = 0
    fetched_bytes: int = 0
    kept: int = 0
    replaced: int = 0
    linked: int = 0

    def add(self, outcome: Outcome) -> None:
        if not outcome.fetched:
            self.kept += 1
            return
        self.fetched += 1
        self.fetched_bytes += outcome.file.asset.size
        self.replaced += outcome.replaced
        self.linked += outcome.linked


class _Item:
    """An item whose files are being brought: its document comes after the last of them, and only if all are right."""

    def __init__(self, placed: PlacedItem) -> None:
        self.placed = placed
        self._left = max(1, len(placed.files))
        self._right = True
        self._lock = Lock()

    def done(self, *, right: bool) -> bool:
        """Say that one file is done; True if its document may be written now."""
        with self._lock:
            self._left -= 1
            self._right = self._right and right
            return self._right and not self._left


_Task = tuple[_Item, PulledFile | None]


def _bring_all(
    bringer: Bringer, folder: Folder, notes: PullNotes, noted: Noted, *, workers: int, on_event: Listener
) -> tuple[_Counts, list[str]]:
    """Bring every file and document; what happened, and where the documents lie."""
    counts, done, paths = _Counts(), 0, []
    failed: list[StacpinError] = []
    on_event(Progress("pull", 0, noted.bytes, "bytes"))

    def work(batch: Sequence[_Task]) -> list[Outcome]:
        outcomes = []
        for item, file in batch:
            outcome = bringer.bring(file) if file is not None else None
            if outcome is not None:
                outcomes.append(outcome)
            if item.done(right=outcome is None or outcome.error is None):
                bringer.document(item.placed, notes.collection_id)
        return outcomes

    def wanted() -> Iterator[_Task]:
        for placed in folder.placed(notes.asset, checked=True):
            paths.append(placed.path)
            item = _Item(placed)
            yield from ((item, file) for file in placed.files or [None])

    for outcome in chain.from_iterable(windowed(work, _batches(wanted(), noted.files, workers), workers)):
        if outcome.error is not None:
            failed.append(outcome.error)
            if not isinstance(outcome.error, Integrity):
                raise outcome.error
        else:
            counts.add(outcome)
        done += outcome.file.asset.size
        on_event(Progress("pull", done, noted.bytes, "bytes", outcome.file.path))
    if failed:
        more = f" and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
        raise Integrity(
            f"{notes.pin}: {len(failed)} of the files could not be proven: "
            f"{'; '.join(error.message.rstrip('.') for error in failed[:_SHOWN])}{more}.",
            hint="The others are in place. Repair the catalog, then pull again.",
            kind=failed[0].kind,
        )
    return counts, paths


def _batches(wanted: Iterable[_Task], files: int, workers: int) -> Iterator[Sequence[_Task]]:
    """What each worker takes at a time: of small files several, if there are enough to keep all workers busy.

    To hand over every file by itself took 40 % of the time of 5,000 files of 150 KB.
    """
    most = min(_BATCH, files // (16 * max(1, workers)))
    batch: list[_Task] = []
    size = 0
    for task in wanted:
        batch.append(task)
        size += task[1].asset.size if task[1] is not None else 0
        if len(batch) >= most or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def proven_blocks(source: PinSource, asset: AssetRef, name: str) -> Iterator[memoryview]:
    """The bytes of an asset, proven when the iterator ends; what was yielded before an error must be thrown away.

    Raises
    ------
    Integrity
        If the bytes are missing, or are not those of the checksum.
    """
    state, seen = hashlib.sha256(), 0
    where = f"{asset.href} ({name})"
    hint = "Restore it from a mirror, or store the original again."
    try:
        for block in source.read(asset):
            state.update(block)
            seen += len(block)
            if seen > asset.size:
                raise Integrity(f"{where} is altered: it is longer than {asset.size} bytes.", hint=hint, kind="altered")
            yield block
    except NotFound as error:
        raise Integrity(f"{where} is missing.", hint=hint, kind="missing") from error
    if seen != asset.size:
        raise Integrity(f"{where} is truncated: it has {seen} of {asset.size} bytes.", hint=hint, kind="truncated")
    if state.digest() != asset.sha256:
        raise Integrity(f"{where} is altered: its bytes hash to {state.hexdigest()}.", hint=hint, kind="altered")


def windowed(work: Callable[[In], Out], things: Iterable[In], workers: int) -> Iterator[Out]:
    """The results of parallel work in order; only a few things wait at a time, so a million of them need no memory."""
    waiting: deque[Future[Out]] = deque()
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        for thing in things:
            waiting.append(pool.submit(work, thing))
            if len(waiting) >= 8 * max(1, workers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
