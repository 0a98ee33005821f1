"""What is needed: every file that a version, a name or an unfinished run needs. Garbage collection marks with it.

A version needs its snapshot files, all manifest files of its chunks, the objects of its rows, and those that its record
names. Needed are all versions that are live, that were retired less than a grace period ago by the store's clock, or
that a tag or a pointer means. An unfinished run (a folder ``staging/<run>/`` without ``committed.json`` and
``discarded.json``) needs every file whose sha256 stands anywhere in one of its files, whatever the file is: too much is
kept rather than too little.

What of a live version cannot be read stops the marking with an Integrity error that names it: what a damaged manifest
needs is not known, so nothing may be deleted. What of a retired version is left is kept as far as it can be read.
Names are read before versions: one that means a version beyond the highest listed shows that a version was lost.
"""

# pyarrow makes the functions of pyarrow.compute at run time, so a type checker cannot see them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Literal

from versioning.candidates import StagedFolder, candidates, digest_of, key_of, staged_folders
from versioning.catalog import Catalog
from versioning.dataset import LATEST, Dataset
from versioning.errors import Forbidden, Integrity, InvalidInput, NotFound
from versioning.events import Listener, Progress, silent
from versioning.ids import check_dataset_id
from versioning.row_hrefs import RowHrefs
from versioning.snapshots import Chunk
from versioning.store import Entry, Store
from versioning.version import Version

__all__ = ["GRACE", "GRAIN", "Class", "Marks", "StagedFolder", "classify", "marked", "store_time"]

Class = Literal["live", "staged", "recent", "unreferenced"]

GRACE = timedelta(days=14)
# Clocks of stores are coarse (S3 tells whole seconds, FAT every second one, Linux a timer tick): only what is older
# than this has a modification time that no later write can have too.
GRAIN = timedelta(seconds=3)

_NUMBERED = re.compile(r"([0-9]{8})\.json")
# A digest, bare or as a multihash (1220 and 64 hex). A plain run of digits is found at 82 MB/s, one with conditions
# before and after it at 40.
_HEX = re.compile(rb"[0-9a-f]{64,}")
_OVERLAP = 256
_WORKERS = 8
_AT_ONCE = 64
_CHUNKS = 50_000
_NAMED = re.compile(rb"objects/[0-9a-f]{2}/[0-9a-f]{64}(?:\.[a-z0-9]{1,12})?")


@dataclass(slots=True)
class Marks:
    """What is needed, in some 120 bytes an object. Get one from :func:`marked`; :meth:`refresh` adds what is new.

    Attributes
    ----------
    heads
        The highest version of each dataset that was marked.
    runs
        The folders of the staging area.
    """

    catalog: Catalog
    grace: timedelta
    now: datetime
    on_event: Listener = silent
    heads: dict[str, int] = field(default_factory=dict)
    runs: list[StagedFolder] = field(default_factory=list)
    versions: int = 0
    _live: set[bytes | str] = field(default_factory=set)
    _staged: set[bytes] = field(default_factory=set)

    def needs(self, path: str) -> Literal["live", "staged"] | None:
        """Who needs a file: a version, an unfinished run, or nobody."""
        if key_of(path) in self._live:
            return "live"
        return "staged" if digest_of(path) in self._staged else None

    def refresh(self) -> bool:
        """Mark what has appeared since; True if a version has.

        Runs come before heads: a run that is finished when it is looked at has its version already, which the heads
        then show.
        """
        self._mark_runs()
        appeared = False
        for name in self.catalog.store.folders("datasets"):
            try:
                check_dataset_id(name)
            except InvalidInput:
                continue  # nothing in it is ours
            # A new Dataset remembers nothing: what is marked is what the store holds now.
            dataset = Dataset(self.catalog.store, name, clock=lambda: self.now)
            head = self._mark_versions(dataset, self.heads.get(name, 0))
            appeared |= head > self.heads.get(name, 0)
            if head:
                self.heads[name] = head
        return appeared

    def _mark_versions(self, dataset: Dataset, known: int) -> int:
        """Mark the versions above ``known``; the head. A listing shows a gap, at which probing would stop."""
        means, known_to_names = _names(dataset)
        numbers = _numbers(dataset.store, f"{dataset.folder}/versions")
        head = max(numbers, default=0)
        missing = next((number for number in range(1, head + 1) if number not in numbers), None)
        if missing is not None or head < known:
            raise Integrity(
                f"{dataset.log.path(missing or known)} is missing, and {dataset.log.path(head)} is there.",
                hint="Restore it from a mirror: what it needs is not known, so nothing is deleted.",
                kind="missing",
            )
        if known_to_names > head:
            raise Integrity(
                f"{dataset.folder}: a tag or a pointer knows v{known_to_names}, and "
                f"{dataset.log.path(head + 1)} is missing.",
                hint="Restore it from a mirror: what it needs is not known, so nothing is deleted.",
                kind="missing",
            )
        if head > known:
            expired = _numbers(dataset.store, f"{dataset.folder}/expired")
            retired = self._retired(dataset, expired, means)
            fresh = [number for number in range(known + 1, head + 1) if number not in retired]
            rows = RowHrefs(dataset)
            seen: set[bytes] = set()
            self._mark_strictly(dataset, [number for number in fresh if number not in expired], rows, seen)
            self._mark_loosely(dataset, [number for number in fresh if number in expired], rows, seen)
        return head

    def _mark_strictly(self, dataset: Dataset, numbers: Sequence[int], rows: RowHrefs, seen: set[bytes]) -> None:
        """Mark live versions; anything that is damaged ends it."""
        chunks: list[tuple[str, Chunk]] = []
        for done, number in enumerate(numbers, start=1):
            version = Version(dataset.record(number), dataset.files)
            chunks += [(version.pin, chunk) for chunk in self._mark_version(dataset, number, version, seen)]
            if len(chunks) > _CHUNKS or done == len(numbers):
                # Chunks of one place share files, whatever their versions: each file is read once.
                chunks.sort(key=lambda pair: pair[1].first_id)
                for start in range(0, len(chunks), _AT_ONCE):
                    self._mark_rows(rows, chunks[start : start + _AT_ONCE])
                chunks = []
            self.versions += 1
            self.on_event(Progress("mark", done, len(numbers), detail=version.pin))

    def _mark_loosely(self, dataset: Dataset, numbers: Sequence[int], rows: RowHrefs, seen: set[bytes]) -> None:
        """Mark what is left of retired versions: collected with a shorter grace period before, they lack files."""
        for number in numbers:
            version = Version(dataset.record(number), dataset.files)
            self.versions += 1
            try:
                chunks = list(self._mark_version(dataset, number, version, seen))
            except Integrity:
                continue
            for chunk in chunks:
                with suppress(Integrity):
                    self._mark_rows(rows, [(version.pin, chunk)])

    def _retired(self, dataset: Dataset, entries: Mapping[int, Entry], names: set[int]) -> set[int]:
        """The versions that nobody can want back: retired before the grace period, and no name means them."""
        if not entries:
            return set()
        with ThreadPoolExecutor(_WORKERS) as pool:
            # What is not the record of its own number retires nothing.
            for number, record in zip(entries, pool.map(dataset.expiry, entries), strict=True):
                if record is None or record.number != number:
                    raise Integrity(
                        f"{dataset.folder}/expired/{number:08d}.json is not the record of v{number}.",
                        hint="Restore it from a mirror.",
                        kind="altered",
                    )
        old = {number for number, entry in entries.items() if entry.modified <= self.now - self.grace}
        return old - names - {dataset.latest_number()} if old else old

    def _mark_version(self, dataset: Dataset, number: int, version: Version, seen: set[bytes]) -> Iterator[Chunk]:
        """Mark a version's own files; what of its chunks was not seen before."""
        folder = dataset.folder
        self._live.update(f"{folder}/snapshots/{entry.sha256}.parquet" for entry in version.record.snapshot)
        # A dataset's metadata may show an object, too: a thumbnail.
        self._live.update(key_of(path) or path for path in _named(dataset.log.get(number)))
        for chunk in version.chunks:
            key = blake2b(
                b"\n".join([chunk.first_id.encode(), chunk.last_id.encode(), *(ref.sha256 for ref in chunk.files)]),
                digest_size=16,
            ).digest()
            if key not in seen:
                seen.add(key)
                self._live.update(f"{folder}/manifests/{ref.sha256.hex()}.parquet" for ref in chunk.files)
                yield chunk

    def _mark_rows(self, rows: RowHrefs, chunks: Sequence[tuple[str, Chunk]]) -> None:
        rows.load({ref for _, chunk in chunks for ref in chunk.files})
        for pin, chunk in chunks:
            for href in rows.hrefs(pin, chunk):
                key = key_of(href)
                if key is not None:  # else it is referenced in place
                    self._live.add(key)

    def _mark_runs(self) -> None:
        self.runs = list(staged_folders(self.catalog.store))
        for run in self.runs:
            if not run.finished:
                for path in run.paths:
                    self._scan(path)

    def _scan(self, path: str) -> None:
        """Every sha256 in a file of a run, whatever the file is. What ran into the next block is found there."""
        rest = b""
        try:
            for block in self.catalog.store.stream(path):
                data = rest + bytes(block)
                for run in _HEX.findall(data):
                    self._staged |= {bytes.fromhex(run[:64].decode()), bytes.fromhex(run[-64:].decode())}
                rest = data[-_OVERLAP:]
        except NotFound:
            return  # the run was finished and swept meanwhile; its version is among the heads, which are read later


def marked(
    catalog: Catalog, *, grace: timedelta = GRACE, now: datetime | None = None, on_event: Listener = silent
) -> Marks:
    """Mark everything that is needed.

    Parameters
    ----------
    catalog
        What to look at. Its caches are not used.
    grace
        How long after it was retired a version still needs its files.
    now
        The time by the store's clock; None asks for it.
    on_event
        Hears how far it is, in versions of a dataset.

    Raises
    ------
    Integrity
        If a record, a snapshot or a manifest that it has to read is missing or damaged.
    """
    marks = Marks(catalog, grace, now or store_time(catalog.store), on_event)
    marks.refresh()
    return marks


def classify(
    catalog: Catalog, *, marks: Marks | None = None, older_than: timedelta = GRACE
) -> Iterator[tuple[Entry, Class]]:
    """Every object, manifest file and snapshot file of a catalog, and whether anything needs it.

    ``live``: a version does. ``staged``: an unfinished run does. ``recent``: nothing does, but it is younger than
    ``older_than``, so that a commit may be about to. ``unreferenced``: nothing does. Other files are passed over.

    Raises
    ------
    Integrity
        If something that marking has to read is missing or damaged.
    """
    known = marks or marked(catalog, grace=older_than)
    young = known.now - max(older_than, GRAIN)
    for entry in candidates(catalog.store):
        need = known.needs(entry.path)
        yield entry, need or ("recent" if entry.modified > young else "unreferenced")


def store_time(store: Store, *, writable: bool = True) -> datetime:
    """The time by the store's clock; by this machine's if ``writable`` is False and the store may not be written to.

    Raises
    ------
    Forbidden
        If ``writable`` and the store may not be written to.
    """
    try:
        return store.now()
    except Forbidden:
        if writable:
            raise
        return datetime.now(UTC)


def _names(dataset: Dataset) -> tuple[set[int], int]:
    """The versions that tags and pointers mean, and the highest version that one of them knows of."""
    means = {tag.target for tag in dataset.tags()}
    seen = max(means, default=0)
    for name in dataset.pointer_names():
        entry = dataset.pointer(name)
        if entry is not None:
            seen = max(seen, entry.seen, entry.target)
            means |= {entry.target} if name != LATEST else set()  # what latest means is computed
    return means, seen


def _named(record: bytes) -> Iterator[str]:
    return (path.decode() for path in _NAMED.findall(record))


def _numbers(store: Store, folder: str) -> dict[int, Entry]:
    """The entries of a numbered folder, as a listing shows them."""
    found: dict[int, Entry] = {}
    for entry in store.list(folder):
        match = _NUMBERED.fullmatch(entry.path.removeprefix(f"{folder}/"))
        if match:
            found[int(match[1])] = entry
    return found
