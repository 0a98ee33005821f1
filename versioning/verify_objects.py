"""Objects are proven: all of them, or a random sample, in parallel and in bounded memory."""

# pyarrow makes the functions of pyarrow.compute at run time, so a type checker cannot see them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import math
import re
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from versioning.errors import Integrity, InvalidInput, NotFound
from versioning.events import Listener, Progress
from versioning.objects import Objects
from versioning.store import Store
from versioning.verify_report import Problem, Sample, VerifyReport, detail_of

__all__ = ["ObjectSet", "Sampling", "WantedObject", "in_order", "prove_objects"]

_OBJECT = re.compile(r"objects/(?P<shard>[0-9a-f]{2})/(?P<digest>[0-9a-f]{64})(?P<extension>(?:\.[a-z0-9]{1,12})?)")
# An object takes 53 bytes: its digest, its extension, its size. A million of them as Python objects took 500 MB.
_DIGEST, _NAME, _KEY = 32, 45, 53
_KEY_TYPE = np.dtype((np.void, _KEY))
_NAME_TYPE = np.dtype((np.void, _NAME))
_BUFFER = 262_144 * _KEY
_LISTED = 2_000
_SAMPLE = re.compile(r"(?P<number>[0-9]{1,12}(?:\.[0-9]{1,6})?)(?P<percent>%?)", re.ASCII)
_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True, slots=True)
class WantedObject:
    """An object that a version needs: its path, its sha256, its size in bytes."""

    path: str
    sha256: bytes
    size: int


class ObjectSet:
    """The objects that versions name, each once, in the order of their digests."""

    def __init__(self) -> None:
        self._new = bytearray()
        self._known = np.empty(0, _KEY_TYPE)
        self._unsized: set[str] = set()

    def __len__(self) -> int:
        return len(self._settled())

    def __getitem__(self, index: int) -> WantedObject:
        return _wanted(self._settled()[index].tobytes())

    @property
    def bytes(self) -> int:
        """The sum of their sizes."""
        sizes = self._settled().view(np.uint8).reshape(-1, _KEY)[:, _NAME:]
        return int(np.ascontiguousarray(sizes).view(">u8").sum())

    def add_all(self, table: pa.Table) -> int:
        """Add what the rows of a table name; return how many assets lie outside the catalog."""
        flat = pc.list_flatten(table.column("assets").combine_chunks())
        hrefs, sizes = pc.struct_field(flat, "href").to_pylist(), pc.struct_field(flat, "size").to_pylist()
        outside = 0
        for href, size in zip(hrefs, sizes, strict=True):
            key = _key(href, size)
            # What is neither is no asset: the proof of its row says so.
            outside += key is None and "://" in href
            if key is not None:
                self._new += key
        if len(self._new) > max(_BUFFER, self._known.nbytes // 2):
            self._settled()
        return outside

    def add_declared(self, declared: Mapping[str, int | None]) -> None:
        """Add what a dataset's metadata names, with its size as far as it is known."""
        for path, size in declared.items():
            key = None if size is None else _key(path, size)
            if key is None:
                self._unsized.add(path)
            else:
                self._new += key

    def unsized(self) -> list[str]:
        """The objects of which nothing says the size."""
        return sorted(path for path in self._unsized if not self.positions(path))

    def has_path(self, path: str) -> bool:
        """Whether an object of that path is needed."""
        return path in self._unsized or bool(self.positions(path))

    def positions(self, path: str) -> range:
        """Where the objects of a path stand; there are two of them only where items disagree about its size."""
        low, high = _key(path, 0), _key(path, (1 << 63) - 1)
        if low is None or high is None:
            return range(0)
        known = self._settled()
        first = np.searchsorted(known, np.frombuffer(low, _KEY_TYPE), "left")[0]
        last = np.searchsorted(known, np.frombuffer(high, _KEY_TYPE), "right")[0]
        return range(int(first), int(last))

    def _settled(self) -> np.ndarray:
        if self._new:
            new = np.frombuffer(bytes(self._new), _KEY_TYPE)
            self._known = np.unique(np.concatenate([self._known, new]))
            self._new.clear()
        return self._known


def _key(href: str, size: int) -> bytes | None:
    match = _OBJECT.fullmatch(href)
    if match is None or match["shard"] != match["digest"][:2] or not 0 <= size < 1 << 63:
        return None
    return bytes.fromhex(match["digest"]) + match["extension"].encode().ljust(_NAME - _DIGEST, b"\0") + size.to_bytes(8)


def _wanted(key: bytes) -> WantedObject:
    digest, extension = key[:_DIGEST], key[_DIGEST:_NAME].rstrip(b"\0").decode()
    name = digest.hex()
    return WantedObject(f"objects/{name[:2]}/{name}{extension}", digest, int.from_bytes(key[_NAME:]))


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which part of the objects is read: a number or a percentage of them, chosen by a seed."""

    asked: str
    number: float
    percent: bool
    seed: int

    @classmethod
    def parse(cls, text: str, seed: int | None = None) -> Sampling:
        """Read ``200`` or ``5%``; without a seed one is drawn.

        Raises
        ------
        InvalidInput
            If the text is neither, or more than 100 %.
        """
        match = _SAMPLE.fullmatch(text.strip())
        number = float(match["number"]) if match else 0.0
        percent = bool(match and match["percent"])
        if match is None or not number or (percent and number > 100) or (not percent and "." in text):  # noqa: PLR2004
            raise InvalidInput(
                f"{text!r} is not a sample.", hint="Write a number of objects (200) or a part of them (5%)."
            )
        return cls(match[0], number, percent, secrets.randbelow(2**32) if seed is None else seed)

    def choose(self, count: int) -> list[int]:
        """The positions of the objects that are read, of ``count``; at least one, if there is any."""
        wanted = math.ceil(count * self.number / 100) if self.percent else int(self.number)
        return sorted(Random(self.seed).sample(range(count), min(count, wanted)))  # noqa: S311 - no secret


def prove_objects(
    store: Store,
    objects: ObjectSet,
    report: VerifyReport,
    *,
    sampling: Sampling | None = None,
    workers: int,
    on_event: Listener,
) -> None:
    """Read objects and compare them with their names; of those that a sample leaves out see that they are there.

    What only a dataset's metadata names, without a size, is read whole in any case: it is little.
    """
    count = len(objects)
    chosen = range(count) if sampling is None else sampling.choose(count)
    total = objects.bytes if sampling is None else sum(objects[index].size for index in chosen)
    reader = Objects(store)

    def prove(index: int) -> tuple[WantedObject, Problem | None]:
        wanted = objects[index]
        return wanted, _damage(reader, wanted)

    on_event(Progress("verify", 0, total, "bytes"))
    done = 0
    for wanted, problem in in_order(prove, chosen, workers):
        report.objects += 1
        done += wanted.size
        if problem is None:
            report.bytes += wanted.size
        else:
            report.problems.append(problem)
        on_event(Progress("verify", done, total, "bytes", wanted.path))
    for path in objects.unsized():
        report.objects += 1
        size = store.size(path)
        wanted = WantedObject(path, bytes.fromhex(path.rsplit("/", 1)[-1][: 2 * _DIGEST]), size or 0)
        problem = Problem(path, "missing", "it is missing") if size is None else _damage(reader, wanted)
        if problem is None:
            report.bytes += wanted.size
        else:
            # No repair may go by the size of what is damaged.
            report.problems.append(replace(problem, size=None))
    if sampling is not None:
        _see(store, objects, frozenset(chosen), report, workers)
        report.sample = Sample(sampling.asked, sampling.seed, len(chosen), count, total, objects.bytes)


def _damage(reader: Objects, wanted: WantedObject) -> Problem | None:
    path, size = wanted.path, wanted.size
    try:
        for _ in reader.read(path, wanted.sha256, size):
            pass
    except NotFound:
        return Problem(path, "missing", f"an object of {size} bytes is missing", size)
    except Integrity as error:
        return Problem(path, error.kind, detail_of(error, path), size)
    return None


def _see(store: Store, objects: ObjectSet, but: frozenset[int], report: VerifyReport, workers: int) -> None:
    """Presence and size of the objects that are not read: by one listing where they are many (1,000 an answer)."""
    count = len(objects)
    report.objects += count - len(but)
    if count - len(but) > _LISTED:
        found = np.full(count, -1, np.int64)
        for entry in store.list("objects"):
            for index in objects.positions(entry.path):
                found[index] = entry.size
        sizes = ((index, int(found[index])) for index in range(count) if index not in but)
    else:
        left = (index for index in range(count) if index not in but)
        sizes = in_order(lambda index: (index, _size(store, objects[index].path)), left, workers)
    for index, size in sizes:
        wanted = objects[index]
        if size != wanted.size:
            kind = "missing" if size < 0 else "truncated" if size < wanted.size else "altered"
            has = "no" if size < 0 else str(size)
            detail = f"it has {has} bytes of {wanted.size}"
            report.problems.append(Problem(wanted.path, kind, detail, wanted.size))


def _size(store: Store, path: str) -> int:
    size = store.size(path)
    return -1 if size is None else size


def in_order(work: Callable[[_In], _Out], things: Iterable[_In], workers: int) -> Iterator[_Out]:
    """The results of parallel work in order; only a few things wait at a time, so a million of them need no memory."""
    waiting: deque[Future[_Out]] = deque()
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        for thing in things:
            waiting.append(pool.submit(work, thing))
            if len(waiting) >= 4 * max(1, workers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
