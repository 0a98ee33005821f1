"""Objects on their way from one store to another: in parallel, within a bandwidth, proven on arrival.

An object is hashed while it streams and becomes visible only if its bytes hash to its name. What is interrupted is
sent again as a whole: half of a multipart upload is never visible, and is no start for the next one (if the process is
killed, S3 keeps its parts until a rule of the bucket ends incomplete uploads, and a local disk keeps a temporary file,
which gc sweeps).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from queue import Full, Queue
from threading import Event, Lock, Thread

from versioning.errors import Integrity, NotFound, StacpinError
from versioning.store import Store

__all__ = ["Pace", "Stopped", "Transfer", "read_proven", "run_all"]

# Below it an object is sent in one put-if-absent; above it in parts, see versioning/objects.py.
_LARGE = 16 * 1024 * 1024


class Stopped(StacpinError):
    """Another worker failed, or the user gave up: this one's work is left undone."""

    kind = "stopped"


class Pace:
    """A bandwidth that all workers share, in bytes a second; None is without limit."""

    def __init__(self, bandwidth: int | None = None) -> None:
        self._bandwidth = bandwidth
        self._free = 0.0
        self._lock = Lock()
        self._stop = Event()

    def take(self, size: int) -> None:
        """Wait until ``size`` more bytes may pass.

        Raises
        ------
        Stopped
            If :meth:`stop` was called.
        """
        delay = 0.0
        if self._bandwidth:
            with self._lock:
                now = time.monotonic()
                start = max(self._free, now)
                self._free = start + size / self._bandwidth
            delay = start - now
        if self._stop.wait(delay) if delay > 0 else self._stop.is_set():
            raise Stopped("The transfer was stopped.")

    def stop(self) -> None:
        """Let every worker that waits, and every one that comes, give up."""
        self._stop.set()


class Transfer:
    """Moves objects that are named by their sha256 from a source, which is not trusted, to a destination."""

    def __init__(self, source: Store, destination: Store, pace: Pace) -> None:
        self._source = source
        self._destination = destination
        self._pace = pace

    def move(self, path: str, digest: bytes, size: int) -> bool:
        """Copy one object unless it is there; True if this call wrote it.

        Raises
        ------
        Integrity
            If the source lacks it or has other bytes, or if the destination has it with another size.
        """
        if size > _LARGE:
            with _pumped(read_proven(self._source, path, digest, size, self._pace)) as blocks:
                self._destination.put_stream(path, blocks)
            written = True
        else:
            data = b"".join(read_proven(self._source, path, digest, size, self._pace))
            written = self._destination.put_new(path, data)
        if not written or size > _LARGE:
            found = self._destination.size(path)
            if found != size:
                raise Integrity(
                    f"{self._destination.url}/{path} has {found} bytes of {size}.",
                    hint="Remove the damaged object there, or repair it, and sync again.",
                    kind="missing" if found is None else "truncated" if found < size else "altered",
                )
        return written


def read_proven(store: Store, path: str, digest: bytes, size: int, pace: Pace) -> Iterator[memoryview]:
    """The bytes of an object of a store that is not trusted; never more than ``size`` of them.

    Raises
    ------
    Integrity
        If the object is missing or has other bytes; raised before the last block is given, so that nothing that is
        written from this becomes visible.
    """
    state, seen = hashlib.sha256(), 0
    where = f"{store.url}/{path}"
    hint = "The source is damaged or lies: run stacpin verify on it, or sync from another mirror."
    try:
        for block in store.stream(path):
            seen += len(block)
            if seen > size:
                raise Integrity(f"{where} has more than the {size} bytes that it must have.", hint=hint, kind="altered")
            state.update(block)
            pace.take(len(block))
            if seen == size and state.digest() != digest:
                break
            yield block
    except NotFound as error:
        raise Integrity(f"{where} is missing.", hint=hint, kind="missing") from error
    if seen < size:
        raise Integrity(f"{where} is truncated: it has {seen} bytes of {size}.", hint=hint, kind="truncated")
    if state.digest() != digest:
        raise Integrity(f"{where} is altered: it hashes to {state.hexdigest()}.", hint=hint, kind="altered")


@contextmanager
def _pumped(blocks: Iterator[memoryview]) -> Iterator[Iterator[bytes]]:
    """The same blocks, read in a thread of their own.

    obstore calls the iterator that it uploads inside its runtime, where no other call of obstore may run: reading the
    source there panics ("Cannot start a runtime from within a runtime").
    """
    queue: Queue[bytes | BaseException | None] = Queue(2)
    given_up = Event()

    def offer(what: bytes | BaseException | None) -> bool:
        while not given_up.is_set():
            with suppress(Full):
                queue.put(what, timeout=0.1)
                return True
        return False

    def fill() -> None:
        end: BaseException | None = None
        try:
            if not all(offer(bytes(block)) for block in blocks):
                return
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that uploads
            end = error
        offer(end)

    def drain() -> Iterator[bytes]:
        while (block := queue.get()) is not None:
            if isinstance(block, BaseException):
                raise block
            yield block

    thread = Thread(target=fill, daemon=True)
    thread.start()
    try:
        yield drain()
    finally:
        given_up.set()
        thread.join()


def run_all(tasks: Iterable[Callable[[], None]], *, workers: int, pace: Pace) -> None:
    """Run tasks in threads, a few ahead of those that run; the first error stops the others and is raised."""
    pending: set[Future[None]] = set()
    errors: list[BaseException] = []

    def settle(done: Iterable[Future[None]]) -> None:
        errors.extend(error for error in (each.exception() for each in done) if error is not None)

    with ThreadPoolExecutor(workers) as pool:
        try:
            for task in tasks:
                if len(pending) >= 4 * workers:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    settle(done)
                if errors:
                    break
                pending.add(pool.submit(task))
            while pending and not errors:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                settle(done)
        finally:
            if errors or pending:  # pending: this thread was interrupted
                pace.stop()
                pool.shutdown(wait=True, cancel_futures=True)
                settle(each for each in pending if not each.cancelled())
    if errors:
        raise next((error for error in errors if not isinstance(error, Stopped)), errors[0])
