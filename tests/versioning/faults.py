"""Stores that fail as real ones do: any single call, before or after it is done, midway, late, or for good.

:class:`Disk` is the place itself: it keeps what survives a power cut apart from what does not, and can grow older.
:class:`Faulty` is the way to it: the network, the client and the process, which fail by a schedule.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Literal, TypeVar, get_args

from version_helpers import Wrapped

from versioning.errors import Forbidden, NotFound, StacpinError, StorageUnavailable
from versioning.store import Entry, Store

__all__ = ["KINDS", "Call", "Disk", "Fault", "Faulty", "Kind", "at_random", "nth_call"]

Kind = Literal["before", "after", "taken", "cut", "denied", "late", "delay", "pause", "crash", "crash-after"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_WRITES = {"put_new", "put_stream", "put_record", "replace", "delete"}
_CREATES = {"put_new", "put_record"}
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a store: its number from 1, the verb, the path or prefix (of ``delete`` the first one)."""

    number: int
    verb: str
    path: str


Schedule = Callable[[Call], "Kind | None"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to the ``nth`` call, or to the ``nth`` one that writes or deletes.

    ``before``: it fails and was not done (connection refused). ``after``: it was done, and its reply was lost.
    ``taken``: its reply was lost, the client tried again by itself and now hears the answer to the second attempt, so
    that put-if-absent finds its own write there; what overwrites or deletes is done twice. ``cut``: a download, a
    listing or an upload stops midway (a whole ``get`` is never short: HTTP clients compare the length, and files appear
    by rename; only a power cut leaves short files, see :meth:`Disk.power_cut`). ``denied``: the credentials expired.
    ``late``: the client gives up on a creation, which the server does all the same, later (:meth:`Faulty.land`).
    ``delay``: it takes a while, so that other threads are faster. ``pause``: somebody else does something just before
    it. ``crash``, ``crash-after``: from this call on (not done, done) nothing works until the catalog is opened again.
    """

    kind: Kind
    nth: int
    writes: bool = False


def nth_call(fault: Fault | None) -> Schedule:
    """The schedule of one fault: a new one each time, since it counts."""
    counted = 0

    def schedule(call: Call) -> Kind | None:
        nonlocal counted
        if fault is None:
            return None
        counted += call.verb in _WRITES or not fault.writes
        return fault.kind if counted == fault.nth and (call.verb in _WRITES or not fault.writes) else None

    return schedule


def at_random(seed: int, rate: float, kinds: Sequence[Kind]) -> Schedule:
    """Every call fails with probability ``rate``, in one of some ways; the same seed does the same again."""
    chance = random.Random(seed)
    return lambda call: chance.choice(kinds) if chance.random() < rate else None


class Faulty(Wrapped):
    """A store whose calls fail by a schedule. ``injected`` counts what did happen, by kind and verb."""

    def __init__(self, inner: Store, schedule: Schedule | None = None) -> None:
        super().__init__(inner)
        self.calls: list[Call] = []
        self.injected: Counter[tuple[Kind, str]] = Counter()
        self.rival: Callable[[], None] | None = None
        self.dead = False
        self._schedule = schedule or nth_call(None)
        self._late: list[Callable[[], Any]] = []
        self._lock = threading.Lock()

    def arm(self, schedule: Schedule, rival: Callable[[], None] | None = None) -> None:
        """Count calls from 1 again, and fail by this schedule from now on."""
        self.calls, self._schedule, self.rival = [], schedule, rival

    def disarm(self) -> None:
        """Let every call pass."""
        self.arm(nth_call(None))

    @property
    def waiting(self) -> int:
        """How many creations have been given up by the client and not been done by the server yet."""
        return len(self._late)

    def land(self) -> None:
        """The server does what it was late with."""
        late, self._late = self._late, []
        for act in late:
            act()

    def _fault(self, verb: str, path: str) -> Kind | None:
        with self._lock:
            if self.dead:
                raise StorageUnavailable(f"{path}: the process has died (injected).")
            call = Call(len(self.calls) + 1, verb, path)
            self.calls.append(call)
            kind = self._schedule(call)
            if kind == "late" and verb not in _CREATES:
                kind = "before"
            if kind == "cut" and verb not in {"stream", "put_stream", "list"}:
                kind = "before"
            if kind == "taken" and verb not in _WRITES:
                kind = "before"
            if kind is not None:
                self.injected[kind, verb] += 1
            if kind in {"crash", "crash-after"}:
                self.dead = True
        if kind == "pause":
            rival, self.rival = self.rival, None
            if rival is not None:
                rival()
        if kind == "delay":
            time.sleep(0.002)
        return kind

    def _do(self, verb: str, path: str, act: Callable[[], Result]) -> Result:
        kind = self._fault(verb, path)
        lost = StorageUnavailable(f"{verb} {path}: {kind} (injected).")
        if kind in {"before", "crash"}:
            raise lost
        if kind == "denied":
            raise Forbidden(f"{verb} {path}: the credentials have expired (injected).")
        if kind == "late":
            self._late.append(act)
            raise lost
        if kind in {"after", "crash-after"}:
            with suppress(StacpinError):  # also "there is no such object" is a reply that gets lost
                act()
            raise lost
        if kind == "taken":
            act()
        return act()

    def get(self, path: str) -> bytes:
        return self._do("get", path, lambda: self.inner.get(path))

    def get_range(self, path: str, start: int, length: int) -> bytes:
        return self._do("get_range", path, lambda: self.inner.get_range(path, start, length))

    def stream(self, path: str) -> Iterator[memoryview]:
        kind = self._fault("stream", path)
        yield from self._some(kind, "stream", path, self.inner.stream(path))

    def size(self, path: str) -> int | None:
        return self._do("size", path, lambda: self.inner.size(path))

    def put_new(self, path: str, data: bytes) -> bool:
        return self._do("put_new", path, lambda: self.inner.put_new(path, data))

    def put_stream(self, path: str, chunks: Iterable[bytes]) -> None:
        kind = self._fault("put_stream", path)
        lost = StorageUnavailable(f"put_stream {path}: {kind} (injected).")
        if kind in {"before", "crash", "denied"}:
            raise lost
        if kind == "cut":
            # The upload is given up after its first part: nothing becomes visible.
            with suppress(StorageUnavailable):
                self.inner.put_stream(path, _broken(chunks, lost))
            raise lost
        self.inner.put_stream(path, chunks)
        if kind in {"after", "crash-after"}:
            raise lost

    def put_record(self, path: str, data: bytes) -> bool:
        return self._do("put_record", path, lambda: self.inner.put_record(path, data))

    def replace(self, path: str, data: bytes) -> None:
        self._do("replace", path, lambda: self.inner.replace(path, data))

    def delete(self, paths: Sequence[str]) -> None:
        self._do("delete", paths[0] if paths else "", lambda: self.inner.delete(paths))

    def now(self) -> datetime:
        return self._do("now", "", self.inner.now)

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Entry]:
        kind = self._fault("list", prefix)
        yield from self._some(kind, "list", prefix, self.inner.list(prefix, after=after))

    def folders(self, prefix: str) -> list[str]:
        return self._do("folders", prefix, lambda: self.inner.folders(prefix))

    def _some(self, kind: Kind | None, verb: str, path: str, parts: Iterator[Result]) -> Iterator[Result]:
        """What comes in pages or parts: all of it, or none, or the first and then an error."""
        lost = StorageUnavailable(f"{verb} {path}: {kind} (injected).")
        if kind in {"before", "crash"}:
            raise lost
        if kind == "denied":
            raise Forbidden(f"{verb} {path}: the credentials have expired (injected).")
        if kind in {"cut", "after", "crash-after"}:
            yield from islice(parts, 1)
            raise lost
        yield from parts


def _broken(chunks: Iterable[bytes], error: Exception) -> Iterator[bytes]:
    yield from islice(chunks, 1)
    raise error


class Disk(Wrapped):
    """The place where the bytes are. It has a power switch, and time passes on it by :meth:`age`.

    Everything written since the last ``put_record`` or ``delete`` (which make everything before them durable) may be
    missing, empty or short after :meth:`power_cut`: an ext4 or XFS disk without fsync leaves such files. That is so on
    local disks only (also where a test plays one in memory); object stores have what they have answered for.
    """

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.aged = timedelta()
        self.torn: dict[str, str] = {}
        self._written: dict[str, timedelta] = {}
        self._unsynced: dict[str, None] = {}

    def age(self, by: timedelta) -> None:
        """Let time pass by the store's own clock."""
        self.aged += by

    def power_cut(self, seed: int, prefix: str = "") -> dict[str, str]:
        """Tear what was not durable; returns what became of it: path -> ``missing``, ``empty`` or ``short``.

        Only what lies below ``prefix``; everything else has had luck.
        """
        chance = random.Random(seed)
        torn: dict[str, str] = {}
        for path in self._unsynced:
            fate = chance.choice(["whole", "missing", "empty", "short"])
            if fate == "whole" or not path.startswith(prefix):
                continue
            with suppress(NotFound):
                data = self.inner.get(path)
                self.inner.delete([path])
                if fate != "missing":
                    self.inner.put_new(path, b"" if fate == "empty" else data[: len(data) // 2])
                torn[path] = fate
        self._unsynced = {}
        self.torn.update({path: fate for path, fate in torn.items() if fate != "missing"})
        return torn

    def _wrote(self, path: str) -> None:
        self._written[path] = self.aged
        self._unsynced[path] = None
        self.torn.pop(path, None)

    def put_new(self, path: str, data: bytes) -> bool:
        done = self.inner.put_new(path, data)
        if done:
            self._wrote(path)
        return done

    def put_stream(self, path: str, chunks: Iterable[bytes]) -> None:
        self.inner.put_stream(path, chunks)
        self._wrote(path)

    def put_record(self, path: str, data: bytes) -> bool:
        done = self.inner.put_record(path, data)
        if done:
            self._wrote(path)
        self._unsynced = {}
        return done

    def replace(self, path: str, data: bytes) -> None:
        self.inner.replace(path, data)
        self._wrote(path)

    def delete(self, paths: Sequence[str]) -> None:
        self.inner.delete(paths)
        self._unsynced = {}
        for path in paths:
            self.torn.pop(path, None)

    def now(self) -> datetime:
        return self.inner.now() + self.aged

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Entry]:
        for entry in self.inner.list(prefix, after=after):
            yield Entry(entry.path, entry.size, entry.modified + self._written.get(entry.path, timedelta()))
