"""Two histories of one dataset, side by side: what one lacks, what only the other has, where they contradict.

The source is not trusted. A record counts only if it decodes, says the name of its path, and names the hash of the
record before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from versioning.canonical import is_canonical
from versioning.dataset import LATEST
from versioning.errors import Integrity
from versioning.record_names import Names, list_names, read_record
from versioning.records import ExpiryRecord, PointerRecord, TagRecord, VersionRecord, not_yet, record_digest
from versioning.store import Store
from versioning.sync_report import Divergence, KeptVersion

__all__ = ["Comparison", "Copy", "compare"]

_VERIFY = "Run stacpin verify on that side, or sync from another mirror."
_Record = TypeVar("_Record", VersionRecord, PointerRecord, TagRecord, ExpiryRecord)
_Linked = TypeVar("_Linked", VersionRecord, PointerRecord)


@dataclass(frozen=True, slots=True)
class Copy:
    """The stored bytes of one record that is to be copied, exactly, and where it lies."""

    path: str
    data: bytes


@dataclass(slots=True)
class Comparison:
    """What the destination lacks of a dataset, in the order in which it must be written.

    Attributes
    ----------
    versions, tags, moves, expired
        Records that the destination lacks, with what they say.
    shared
        The numbers of the versions that both sides have.
    retired
        The numbers of the versions that are expired on either side: nobody needs their bytes.
    kept
        Versions that the source has retired and a name means: their expiries are not to be written.
    extra
        Records that only the destination has: path to size.
    ahead
        By how many versions the destination is ahead.
    """

    dataset: str
    versions: dict[int, tuple[Copy, VersionRecord]] = field(default_factory=dict)
    tags: dict[str, tuple[Copy, TagRecord]] = field(default_factory=dict)
    moves: dict[str, list[tuple[Copy, PointerRecord]]] = field(default_factory=dict)
    expired: dict[int, Copy] = field(default_factory=dict)
    shared: set[int] = field(default_factory=set)
    retired: set[int] = field(default_factory=set)
    kept: dict[int, KeptVersion] = field(default_factory=dict)
    extra: dict[str, int] = field(default_factory=dict)
    ahead: int = 0
    diverged: list[Divergence] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def copies(self) -> Iterable[Copy]:
        """Every record that the destination lacks."""
        yield from (copy for copy, _ in self.versions.values())
        yield from (copy for copy, _ in self.tags.values())
        yield from (copy for moves in self.moves.values() for copy, _ in moves)
        yield from self.expired.values()


class _Side:
    """One side's records of a dataset, read once."""

    def __init__(self, store: Store, dataset: str, names: Names) -> None:
        self.store = store
        self.dataset = dataset
        self.names = names
        self._read: dict[str, bytes] = {}

    def get(self, path: str, size: int) -> bytes:
        if path not in self._read:
            self._read[path] = read_record(self.store, path, size)
        return self._read[path]

    def decode(self, kind: type[_Record], path: str, size: int) -> _Record:
        data = self.get(path, size)
        record = kind.decode(data, where=f"{self.store.url}/{path}")
        if not is_canonical(data):
            raise Integrity(f"{self.store.url}/{path} is not canonical JSON.", hint=_VERIFY, kind="altered")
        return record

    def decode_new(self, kind: type[_Record], path: str, size: int) -> _Record:
        """A record that the other side would get for ever: one whose time has not come is refused.

        By this machine's clock: asking a store for its own takes a write, and a dry run must not write.
        """
        record = self.decode(kind, path, size)
        fault = not_yet(record.time, datetime.now(UTC))
        if fault is not None:
            hint = "Set this machine's clock if it is behind, or wait; a plain copy of all its files is a catalog too."
            raise Integrity(f"{self.store.url}/{path}: {fault}.", hint=hint, kind="altered")
        return record

    def wrong(self, path: str, why: str) -> Integrity:
        return Integrity(f"{self.store.url}/{path} {why}.", hint=_VERIFY, kind="altered")


@dataclass(frozen=True, slots=True)
class _Log:
    """A numbered log on both sides: its folder, and the sizes of its entries."""

    folder: str
    source: Mapping[int, int]
    destination: Mapping[int, int]

    def path(self, number: int) -> str:
        return f"{self.folder}/{number:08d}.json"


def compare(source: Store, destination: Store, dataset: str, *, deep: bool = False, workers: int = 8) -> Comparison:
    """Put the two histories of a dataset side by side. Nothing is written.

    Of records that both sides have, the sizes are compared, and the bytes of the newest of each log: it names the hash
    of the one before it, and so on, so that equal newest records mean equal logs. ``deep`` compares every record's
    bytes.

    Raises
    ------
    Integrity
        If a record of the source is lost, or is not what its path and its log say.
    """
    here = _Side(source, dataset, list_names(source, dataset))
    there = _Side(destination, dataset, list_names(destination, dataset))
    found = Comparison(dataset)
    found.notes += [f"{source.url}/{path} is no record and was left out" for path in here.names.odd[:20]]
    folder = f"datasets/{dataset}"
    with ThreadPoolExecutor(workers) as pool:

        def fetch(side: _Side, wanted: Mapping[str, int]) -> None:
            list(pool.map(lambda path: side.get(path, wanted[path]), wanted))

        versions = _Log(f"{folder}/versions", here.names.versions, there.names.versions)
        _fetch_log(versions, here, there, fetch, deep=deep)
        divergence = _first_difference(versions, here, there, VersionRecord)
        if divergence:
            found.diverged.append(divergence)
            return found
        for number, record in _missing(versions, here, VersionRecord).items():
            if (record.dataset, record.number) != (dataset, number):
                raise here.wrong(versions.path(number), f"is the record of {record.dataset}@v{record.number}")
            found.versions[number] = (_copy(here, versions, number), record)
        found.shared = here.names.versions.keys() & there.names.versions.keys()
        head = max(here.names.versions, default=0)
        found.ahead = sum(number > head for number in there.names.versions)
        found.extra |= {versions.path(n): size for n, size in there.names.versions.items() if n > head}
        _compare_moves(found, here, there, fetch, deep=deep)
        _compare_tags(found, here, there, fetch)
        _compare_expired(found, here, there, fetch)
    return found


def _fetch_log(
    log: _Log, here: _Side, there: _Side, fetch: Callable[[_Side, Mapping[str, int]], None], *, deep: bool
) -> None:
    """Read what a comparison of a log needs: all that is missing, and of the rest the newest, or everything."""
    shared = log.source.keys() & log.destination.keys()
    both = shared if deep else ({max(shared)} if shared else set())
    fetch(here, {log.path(n): size for n, size in log.source.items() if n in both or n not in log.destination})
    fetch(there, {log.path(n): log.destination[n] for n in both})


def _first_difference(log: _Log, here: _Side, there: _Side, kind: type[_Linked]) -> Divergence | None:
    """The lowest number whose records differ, if the logs have diverged.

    Raises
    ------
    Integrity
        If single records differ although a later one is the same: the side that does not fit into the chain is damaged.
    """
    shared = sorted(log.source.keys() & log.destination.keys())

    def differs(number: int) -> bool:
        path, sizes = log.path(number), (log.source[number], log.destination[number])
        return sizes[0] != sizes[1] or here.get(path, sizes[0]) != there.get(path, sizes[1])

    if not shared:
        return None
    if not differs(shared[-1]):
        # With everything read (deep) all bytes are compared, else all sizes.
        for number in shared[-2::-1]:
            sizes = (log.source[number], log.destination[number])
            if sizes[0] != sizes[1] or (log.path(number) in there._read and differs(number)):  # noqa: SLF001 - its own
                raise _damaged(log, number, here, there, kind)
        return None
    low, high = 0, len(shared) - 1
    while low < high:
        middle = (low + high) // 2
        if differs(shared[middle]):
            high = middle
        else:
            low = middle + 1
    number = shared[low]
    path = log.path(number)
    one, other = here.get(path, log.source[number]), there.get(path, log.destination[number])
    first, second = record_digest(one), record_digest(other)
    if kind is VersionRecord:
        mine = here.decode(VersionRecord, path, log.source[number]).digest
        theirs = VersionRecord.decode(other, where=f"{there.store.url}/{path}").digest
        if mine != theirs:
            first, second = mine, theirs
        name = f"{here.dataset}@v{number}"
    else:
        name = f"move {number} of {here.dataset}@{log.folder.rsplit('/', 1)[-1]}"
    return Divergence(here.dataset, name, path, first, second)


def _damaged(log: _Log, number: int, here: _Side, there: _Side, kind: type[_Linked]) -> Integrity:
    after = here.decode(kind, log.path(number + 1), log.source[number + 1])
    mine = record_digest(here.get(log.path(number), log.source[number]))
    blamed = there if mine == after.previous else here
    return blamed.wrong(log.path(number), "is altered: the record after it names another hash")


def _missing(log: _Log, here: _Side, kind: type[_Linked]) -> dict[int, _Linked]:
    """What the destination lacks of a log, proven by its chain from the record before to the one after."""
    gap = next((n for n in range(1, max(log.source, default=0)) if n not in log.source), None)
    if gap is not None:
        raise Integrity(f"{here.store.url}/{log.path(gap)} is missing.", hint=_VERIFY, kind="missing")
    new = [number for number in sorted(log.source) if number not in log.destination]
    found = {number: here.decode_new(kind, log.path(number), log.source[number]) for number in new}
    after = {n + 1 for n in found if n + 1 in log.source}
    for number in sorted(found.keys() | after):
        record = found.get(number) or here.decode(kind, log.path(number), log.source[number])
        before = here.get(log.path(number - 1), log.source[number - 1]) if number > 1 else None
        if record.previous != (record_digest(before) if before else None):
            raise here.wrong(log.path(number), f"does not name the hash of the record before it ({number - 1})")
    return found


def _copy(side: _Side, log: _Log, number: int) -> Copy:
    return Copy(log.path(number), side.get(log.path(number), log.source[number]))


def _compare_moves(
    found: Comparison, here: _Side, there: _Side, fetch: Callable[[_Side, Mapping[str, int]], None], *, deep: bool
) -> None:
    head = max(here.names.versions, default=0)
    for name in sorted(here.names.moves.keys() | there.names.moves.keys()):
        folder = f"datasets/{found.dataset}/pointers/{name}"
        log = _Log(folder, here.names.moves.get(name, {}), there.names.moves.get(name, {}))
        _fetch_log(log, here, there, fetch, deep=deep)
        divergence = _first_difference(log, here, there, PointerRecord)
        if divergence:
            found.diverged.append(divergence)
            continue
        missing = _missing(log, here, PointerRecord)
        for number, record in missing.items():
            if (record.pointer, record.number) != (name, number):
                raise here.wrong(log.path(number), f"is move {record.number} of {record.pointer!r}")
            if max(record.target, record.seen) > head:
                raise here.wrong(log.path(number), f"names v{max(record.target, record.seen)}, which is not there")
        if missing:
            found.moves[name] = [(_copy(here, log, number), record) for number, record in missing.items()]
            if name in there.names.tags:
                found.diverged.append(_taken(found, f"{folder}/{min(missing):08d}.json", name, "a pointer", "a tag"))
        ahead = {number for number in log.destination if number > max(log.source, default=0)}
        found.extra |= {log.path(number): log.destination[number] for number in ahead}


def _compare_tags(
    found: Comparison, here: _Side, there: _Side, fetch: Callable[[_Side, Mapping[str, int]], None]
) -> None:
    def path(name: str) -> str:
        return f"datasets/{found.dataset}/tags/{name}.json"

    mine, theirs = here.names.tags, there.names.tags
    fetch(here, {path(name): size for name, size in mine.items()})
    fetch(there, {path(name): theirs[name] for name in mine.keys() & theirs.keys()})
    for name in sorted(mine):
        record = (here.decode if name in theirs else here.decode_new)(TagRecord, path(name), mine[name])
        if record.tag != name:
            raise here.wrong(path(name), f"is the record of the tag {record.tag!r}")
        if name in theirs:
            _compare_tag(found, path(name), record, here.get(path(name), mine[name]), there)
            continue
        size = here.names.versions.get(record.target)
        version = f"datasets/{found.dataset}/versions/{record.target:08d}.json"
        if size is None or here.decode(VersionRecord, version, size).digest != record.digest:
            raise here.wrong(path(name), f"does not have the digest of v{record.target}, which it names")
        found.tags[name] = (Copy(path(name), here.get(path(name), mine[name])), record)
        if name in there.names.moves:
            found.diverged.append(_taken(found, path(name), name, "a tag", "a pointer"))
    found.extra |= {path(name): size for name, size in theirs.items() if name not in mine}


def _compare_tag(found: Comparison, path: str, record: TagRecord, data: bytes, there: _Side) -> None:
    """A tag that both sides gave to the same version is the same tag, whoever wrote it when."""
    other = there.get(path, there.names.tags[record.tag])
    if other == data:
        return
    theirs = TagRecord.decode(other, where=f"{there.store.url}/{path}")
    if (theirs.target, theirs.digest) != (record.target, record.digest):
        one, two = f"v{record.target} ({record.digest})", f"v{theirs.target} ({theirs.digest})"
        found.diverged.append(Divergence(found.dataset, f"{found.dataset}@{record.tag}", path, one, two))
    else:
        found.notes.append(f"{found.dataset}@{record.tag} was given on both sides, to the same version")


def _taken(found: Comparison, path: str, name: str, one: str, two: str) -> Divergence:
    return Divergence(found.dataset, f"{found.dataset}@{name}", path, one, two)


def _compare_expired(
    found: Comparison, here: _Side, there: _Side, fetch: Callable[[_Side, Mapping[str, int]], None]
) -> None:
    mine, theirs = here.names.expired, there.names.expired
    paths = {number: f"datasets/{found.dataset}/expired/{number:08d}.json" for number in mine.keys() | theirs.keys()}
    missing = [number for number in sorted(mine) if number not in theirs and number in here.names.versions]
    fetch(here, {paths[number]: mine[number] for number in missing})
    names = _meanings(found, here, there, fetch) if missing and not found.diverged else {}
    for number in missing:
        record = here.decode_new(ExpiryRecord, paths[number], mine[number])
        if record.number != number:
            raise here.wrong(paths[number], f"retires v{record.number}")
        if number in names:
            found.kept[number] = KeptVersion(found.dataset, number, paths[number], tuple(sorted(names[number])))
            continue
        found.expired[number] = Copy(paths[number], here.get(paths[number], mine[number]))
    found.retired = (set(mine) | set(theirs)) - found.kept.keys()
    found.extra |= {paths[number]: size for number, size in theirs.items() if number not in mine}


def _meanings(
    found: Comparison, here: _Side, there: _Side, fetch: Callable[[_Side, Mapping[str, int]], None]
) -> dict[int, set[str]]:
    """The versions that names mean: at the source, and at the destination as it will be after the sync.

    No catalog retires what a name of its own means, and a retirement is final: a source that says so is not followed,
    or it could make what the destination has named, up to its ``latest``, unreadable for ever.
    """
    tags = {f"datasets/{found.dataset}/tags/{name}.json": size for name, size in there.names.tags.items()}
    fetch(there, tags)
    meant: dict[int, set[str]] = {}
    every = [there.decode(TagRecord, path, size) for path, size in tags.items()]
    every += [record for _, record in found.tags.values()]
    for tag in every:
        meant.setdefault(tag.target, set()).add(tag.tag)
    gets = {name: moves[-1][1] for name, moves in found.moves.items()}
    versions = {number: record for number, (_, record) in found.versions.items()}
    for name, number in (*_pointers(here, {}, {}), *_pointers(there, gets, versions)):
        meant.setdefault(number, set()).add(name)
    return meant


def _pointers(
    side: _Side, gets: Mapping[str, PointerRecord], versions: Mapping[int, VersionRecord]
) -> Iterator[tuple[str, int]]:
    """What the pointers of a side mean once it has got some moves and versions more."""
    folder = f"datasets/{side.dataset}"
    last = dict(gets)
    for name, log in side.names.moves.items():
        if name not in last and log:
            last[name] = side.decode(PointerRecord, f"{folder}/pointers/{name}/{max(log):08d}.json", log[max(log)])
    yield from ((name, entry.target) for name, entry in last.items() if name != LATEST)
    entry = last.get(LATEST)
    seen = 0 if entry is None else entry.seen
    for number in sorted({*side.names.versions, *versions}, reverse=True):
        if number <= seen:
            break
        record = versions.get(number)
        if record is None:
            path = f"{folder}/versions/{number:08d}.json"
            record = side.decode(VersionRecord, path, side.names.versions[number])
        if record.advance:
            yield LATEST, number
            return
    if entry is not None:
        yield LATEST, entry.target
