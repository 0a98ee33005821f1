"""Pull: bring a version's files into a folder, every byte proven while it streams.

A file becomes visible under its name only when it is whole and its sha256 is right. Whatever kills a pull, the next one
takes up what is there and right (it is hashed again) and brings the rest.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from loaders.folder import Folder, Owned, PullNotes
from loaders.layout import COLLECTION, PulledFile
from loaders.lock import LOCK_NAME, LockEntry, write_lock
from loaders.source import PinSource
from versioning.errors import Integrity, NotFound, StacpinError, StorageUnavailable
from versioning.events import Listener, Progress, silent
from versioning.objects import hash_file
from versioning.rows import AssetRef

if TYPE_CHECKING:
    from catalog.query import Query

__all__ = ["PullReport", "proven_blocks", "pull", "windowed"]

_TRIES = 3
_SHOWN = 5
In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True)
class PullReport:
    """What a pull did. ``proven`` says whether the items are proven against the version's digest, not only the files.

    ``fetched`` and ``fetched_bytes`` were brought by this pull, ``kept`` were there and right, ``replaced`` were there
    and wrong (they count as fetched too). ``whole`` says whether every file of the version was asked for.
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
    whole: bool
    proven: bool

    def to_dict(self) -> dict[str, Any]:
        """The report for ``--json``."""
        return asdict(self)


@dataclass(slots=True)
class _Outcome:
    """What happened to one file."""

    file: PulledFile
    fetched: bool = False
    replaced: bool = False
    error: StacpinError | None = None


def pull(
    source: PinSource,
    dest: str | os.PathLike[str],
    query: Query,
    *,
    asset: Iterable[str] | None = None,
    workers: int = 8,
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
    on_event
        Hears how far it is, in bytes.

    Raises
    ------
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
    with folder.locked():
        owned = Owned(folder)
        owned.root_files(folder, (COLLECTION, LOCK_NAME))
        items, files, size = folder.note_items(source.rows(query), notes, owned)
        del owned
        counts = _bring_all(source, folder, notes, size, workers=workers, on_event=on_event)
        for path, data in folder.documents(notes):
            folder.write(path, data)
        write_lock(folder.root / LOCK_NAME, [LockEntry(facts.pin, facts.digest, source.url)])
    whole = notes.whole and notes.asset is None
    return PullReport(facts.pin, facts.digest, str(folder.root), items, files, size, *counts, whole, notes.proven)


def _bring_all(
    source: PinSource, folder: Folder, notes: PullNotes, size: int, *, workers: int, on_event: Listener
) -> tuple[int, int, int, int]:
    fetched = fetched_bytes = kept = replaced = done = 0
    failed: list[StacpinError] = []
    on_event(Progress("pull", 0, size, "bytes"))
    wanted = (file for placed in folder.placed(notes.asset, checked=True) for file in placed.files)
    for outcome in windowed(lambda file: _bring(source, folder, file), wanted, workers):
        asset = outcome.file.asset
        if outcome.error is not None:
            failed.append(outcome.error)
            if not isinstance(outcome.error, Integrity):
                raise outcome.error
        elif outcome.fetched:
            fetched, fetched_bytes, replaced = fetched + 1, fetched_bytes + asset.size, replaced + outcome.replaced
        else:
            kept += 1
        done += asset.size
        on_event(Progress("pull", done, size, "bytes", outcome.file.path))
    if failed:
        more = f" and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
        raise Integrity(
            f"{notes.pin}: {len(failed)} of the files could not be proven: "
            f"{'; '.join(error.message.rstrip('.') for error in failed[:_SHOWN])}{more}.",
            hint="The others are in place. Repair the catalog, then pull again.",
            kind=failed[0].kind,
        )
    return fetched, fetched_bytes, kept, replaced


def _bring(source: PinSource, folder: Folder, file: PulledFile) -> _Outcome:
    outcome = _Outcome(file)
    target = folder.root / file.path
    there = os.path.lexists(target)
    if there and _is_right(target, file.asset):
        return outcome
    try:
        for tries_left in reversed(range(_TRIES)):
            try:
                with folder.part() as (part, out):
                    for block in proven_blocks(source, file.asset, file.path):
                        out.write(block)
                    out.close()
                    folder.put(part, file.path)
                break
            except StorageUnavailable:
                if not tries_left:
                    raise
                time.sleep(0.5 * (_TRIES - tries_left))
    except StacpinError as error:
        outcome.error = error
        if there and isinstance(error, Integrity):
            target.unlink(missing_ok=True)  # it is ours and wrong: nothing wrong is left under a file's name
        return outcome
    outcome.fetched, outcome.replaced = True, there
    return outcome


def _is_right(target: Path, asset: AssetRef) -> bool:
    try:
        return target.stat().st_size == asset.size and hash_file(target) == asset.sha256
    except OSError:
        return False


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
