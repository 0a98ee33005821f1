"""What a commit does about garbage collection: files that it relies on and that gc has condemned become young again.

gc deletes a file only if (1) a condemned list that is at least ``delay`` old has it, (2) no version needs it, counted
after the ``sweep`` record was written, and (3) its modification time is still the one that the list gives. So a commit,
just before it creates its record, writes each condemned file that it relies on once more, which ends (3), and then
looks at the log again. If there is no sweep, any later one finds the new time. If one is running, it may have looked at
the file before: the commit waits until the sweep is over, or so long that gc would look again (:data:`WAIT`), and
writes the file back from the bytes that it kept if it is gone.

What holds. The version's files are there if its record is created less than ``delay`` (24 hours, unless somebody chose
less) after :func:`spare` began: nothing that was condemned later can be swept before. With ``delay`` 0 this takes that
no *two* runs of gc, one that condemns and one that sweeps, fit between the end of :func:`spare` and the creation of the
record. A process that is frozen for longer right there, and wakes up and wins its number, is the case that no
put-if-absent protocol without leases can rule out; ``stacpin verify`` finds it.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from versioning.errors import Conflict, Integrity, NotFound
from versioning.gc_log import GcLog, load_list, read_log
from versioning.store import Entry, Store

__all__ = ["WAIT", "spare"]

# How long a sweep that is running is waited for, in seconds: gc looks at a file at most 60 s before it asks for its
# deletion, and a request is retried for at most 60 s and may take 30 s (see versioning.store and versioning.gc).
WAIT = 180.0
_POLL = 0.5
_ROUNDS = 32
_LARGE = 16 * 1024 * 1024
_BATCH = 64 * 1024 * 1024
_BLOCK = 4 * 1024 * 1024


def spare(
    store: Store, paths: Collection[str], *, wait: float = WAIT, sleep: Callable[[float], None] | None = None
) -> None:
    """Make sure that garbage collection leaves alone what a new version relies on. Call it just before its record.

    Parameters
    ----------
    store
        Where the catalog is.
    paths
        Objects, manifest files and snapshot files that the version relies on: at least all that its parent does not.
        Files outside the catalog do not matter.
    wait
        How many seconds a running sweep is waited for.
    sleep
        What waits instead of ``time.sleep``; for tests.

    Notes
    -----
    One request, a listing of gc's log, where gc never condemned anything. To ask for the first record would not do: one
    that is damaged may be taken away. Otherwise new records, and what is condemned among ``paths``, are read (proven by
    its name) and written again.

    Raises
    ------
    Integrity
        If a file was condemned and is gone (kind ``missing``), or is not what its name says.
    Conflict
        If gc runs all the time.
    """
    if not paths:
        return
    # path -> the head of the log just before the file was written again: no list up to there has its new time.
    young: dict[str, int] = {}
    for _ in range(_ROUNDS):
        log = read_log(store, strict=False)
        pending = _pending(store, log, paths, young)
        if not pending:
            return
        for batch in _batches(pending):
            _renew(store, batch, log, wait=wait, sleep=sleep or time.sleep)
            young |= dict.fromkeys((entry.path for entry in batch), log.head)
    raise Conflict("Garbage collection runs over and over.", hint="Let it come to an end, then commit again.")


def _pending(store: Store, log: GcLog, paths: Collection[str], young: dict[str, int]) -> list[Entry]:
    """What an open list has, unless it was written again since. What a closed list has must still be there."""
    pending: dict[str, Entry] = {}
    passed: set[str] = set()
    for each in log.lists:
        try:
            hits = load_list(store, each.record, among=paths)
        except Integrity:
            continue  # gc cannot read it either, and deletes nothing that it names
        if each.closed:
            passed.update(entry.path for entry in hits)
        else:
            pending |= {entry.path: entry for entry in hits if young.get(entry.path, 0) < each.record.number}
    for path in sorted(passed - pending.keys() - young.keys()):
        if store.size(path) is None:
            raise _gone(path)
    return [pending[path] for path in sorted(pending)]


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """What is kept at once, by bytes: until it is certain that no sweep has passed over it."""
    batch: list[Entry] = []
    total = 0
    for entry in entries:
        if batch and total + entry.size > _BATCH:
            yield batch
            batch, total = [], 0
        batch.append(entry)
        total += entry.size
    if batch:
        yield batch


def _renew(store: Store, batch: list[Entry], before: GcLog, *, wait: float, sleep: Callable[[float], None]) -> None:
    paths = {entry.path for entry in batch}
    with ExitStack() as stack:
        kept: dict[str, bytes | Path] = {}
        for entry in batch:
            kept[entry.path] = _keep(store, entry, stack)
            _write(store, entry.path, kept[entry.path])
        head = before.head
        died: set[int] = set()
        if not _running(store, before, paths):
            log = read_log(store, strict=False)
            if log.head == head:
                return
        for _ in range(_ROUNDS):
            log = _wait(store, paths, died, wait=wait, sleep=sleep)
            gone = [path for path in sorted(paths) if store.size(path) is None]
            for path in gone:
                _write(store, path, kept[path])
            # Only what happened since the last look can have taken away what was there then.
            if not gone and log.head == head:
                return
            head = log.head
    raise Conflict("Garbage collection runs over and over.", hint="Let it come to an end, then commit again.")


def _wait(
    store: Store, paths: Collection[str], died: set[int], *, wait: float, sleep: Callable[[float], None]
) -> GcLog:
    """The log when no sweep runs over ``paths``, or when one that does has had its time and is taken for dead."""
    until = time.monotonic() + wait
    waited = 0.0
    while True:
        log = read_log(store, strict=False)
        running = _running(store, log, paths) - died
        if not running:
            return log
        # Both clocks: what is slept may be an imitation, and a machine may be suspended.
        if waited >= wait or time.monotonic() >= until:
            died |= running
            return log
        sleep(_POLL)
        waited += _POLL


def _running(store: Store, log: GcLog, paths: Collection[str]) -> set[int]:
    """The numbers of the sweeps that run over lists that have one of the files."""
    found: set[int] = set()
    for each in log.lists:
        if each.running and each.sweep is not None:
            try:
                if load_list(store, each.record, among=paths):
                    found.add(each.sweep.record.number)
            except Integrity:
                continue
    return found


def _keep(store: Store, entry: Entry, stack: ExitStack) -> bytes | Path:
    """The file's bytes, proven by its name; large ones in a temporary file."""
    state = hashlib.sha256()
    try:
        if entry.size <= _LARGE:
            data = store.get(entry.path)
            state.update(data)
            found: bytes | Path = data
        else:
            found = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stacpin-"))) / "object"
            with found.open("wb") as file:
                for block in store.stream(entry.path):
                    state.update(block)
                    file.write(block)
    except NotFound as error:
        raise _gone(entry.path) from error
    if state.hexdigest() != entry.path.rsplit("/", 1)[-1][:64]:
        raise Integrity(
            f"{entry.path} is altered: its bytes hash to {state.hexdigest()}.",
            hint="Restore it from a mirror, or store the original again.",
            kind="altered",
        )
    return found


def _write(store: Store, path: str, data: bytes | Path) -> None:
    if isinstance(data, bytes):
        store.replace(path, data)
    else:
        store.put_stream(path, _blocks(data))


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _gone(path: str) -> Integrity:
    return Integrity(
        f"{path} is missing: garbage collection took it away before this commit could say that it needs it.",
        hint="Do it again: what is missing is stored anew.",
        kind="missing",
    )
