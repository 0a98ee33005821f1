"""What versions that are to be copied need: manifest and snapshot files, the objects of their items and metadata.

The files are read from the source, which is not trusted, and those that the destination lacks go on to it as they are
read: each is fetched once, and never more of it than the record or the snapshot says.
"""

# pyarrow makes the functions of pyarrow.compute at run time, so a type checker cannot see them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock

import pyarrow as pa
import pyarrow.compute as pc

from versioning.declared import declared_objects
from versioning.digests import leaf_digest
from versioning.errors import Integrity, InvalidInput
from versioning.events import Listener, Progress, silent
from versioning.files import Files
from versioning.manifests import FileRef
from versioning.objects import LARGEST_MANIFEST, ManifestFiles
from versioning.presence import missing
from versioning.records import VersionRecord
from versioning.rows import object_path
from versioning.snapshots import Chunk
from versioning.store import Store
from versioning.sync_report import SyncReport
from versioning.transfer import Pace, read_proven
from versioning.version import Version

__all__ = ["Needs", "Reader", "object_digest", "paths_of", "version_files"]

_LARGEST_OBJECT = 2**48
_SHARD = len("objects/ab/")
_STEM = _SHARD + 64


@dataclass(slots=True)
class Needs:
    """What one version needs beyond the versions before it: the paths of its files and of its objects."""

    version: VersionRecord
    files: list[str] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)


class _Relay(ManifestFiles):
    """The source's files of one folder; those that the destination lacks are stored there when they are read."""

    def __init__(self, source: Store, destination: Store, folder: str, pace: Pace, report: SyncReport) -> None:
        super().__init__(source, folder)
        self._source = source
        self._destination = destination
        self._pace = pace
        self._report = report
        self._absent: set[str] = set()
        self._asked: set[str] = set()
        self._lock = Lock()

    def expect(self, refs: Iterable[FileRef], *, workers: int) -> dict[str, int]:
        """Ask the destination for files before they are read; their paths and sizes."""
        wanted = {self.path(ref): ref.size for ref in refs}
        large = next((path for path, size in wanted.items() if not 0 < size <= LARGEST_MANIFEST), None)
        if large is not None:
            raise Integrity(
                f"{self._source.url}: {large} is said to have {wanted[large]} bytes, which no such file has.",
                kind="altered",
            )
        new = {path: size for path, size in wanted.items() if path not in self._asked}
        self._asked.update(new)
        found = missing(self._destination, new, workers=workers)
        for path, size in found.wrong.items():
            self._report.mismatched.add(path, size)
        for path in sorted(new.keys() - found.wrong.keys()):
            (self._report.missing if path in found.missing else self._report.skipped).add(path, new[path])
        self._absent |= found.missing
        return wanted

    def get(self, ref: FileRef) -> bytes:
        path = self.path(ref)
        data = b"".join(read_proven(self._source, path, ref.sha256, ref.size, self._pace))
        with self._lock:
            absent = path in self._absent and not self._report.dry_run
            self._absent.discard(path)
        if absent and self._destination.put_new(path, data):
            self._report.copied.add(path, ref.size)
        return data

    def tail(self, ref: FileRef, start: int) -> bytes:
        # Of a source that is not trusted a part proves nothing.
        return self.get(ref)[start:]

    def finish(self, refs: Iterable[FileRef]) -> None:
        """Copy those that nobody needed to read."""
        for ref in refs:
            with self._lock:
                absent = self.path(ref) in self._absent
            if absent:
                self.get(ref)


class Reader:
    """Finds out what the versions of one dataset need, in the order of their numbers.

    ``objects`` collects every object that was needed so far, of all datasets, with its size: some 300 bytes of memory
    each.
    """

    def __init__(
        self,
        source: Store,
        destination: Store,
        dataset: str,
        *,
        report: SyncReport,
        pace: Pace,
        workers: int,
        objects: dict[str, int],
    ) -> None:
        folder = f"datasets/{dataset}"
        self._manifests = _Relay(source, destination, f"{folder}/manifests", pace, report)
        self._snapshots = _Relay(source, destination, f"{folder}/snapshots", pace, report)
        self._files = Files(self._manifests, self._snapshots)
        self._there = version_files(destination, dataset)
        self._source = source
        self._report = report
        self._pace = pace
        self._workers = workers
        self._objects = objects
        self._known: set[Chunk] = set()

    def know(self, record: VersionRecord) -> None:
        """A version that the destination has whole: what its chunks need is there."""
        try:
            self._known.update(Version(record, self._there).chunks)
        except Integrity as error:
            self._report.notes.append(
                f"the destination's {record.dataset}@v{record.number} is damaged: {error.message}"
            )

    def read(self, record: VersionRecord, on_event: Listener = silent) -> Needs:
        """What a version needs that no version before it needed.

        Raises
        ------
        Integrity
            If a file of it is missing or altered at the source, or if they do not add up to the version's digest.
        """
        needs = Needs(record)
        refs = [FileRef(bytes.fromhex(entry.sha256), entry.size) for entry in record.snapshot]
        needs.files += self._snapshots.expect(refs, workers=self._workers)
        version = Version(record, self._files)
        new = [chunk for chunk in version.chunks if chunk not in self._known]
        self._snapshots.finish(refs)
        files = list(dict.fromkeys(ref for chunk in new for ref in chunk.files))
        needs.files += self._manifests.expect(files, workers=self._workers)
        self._gather(version, needs, self._declared(record))
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                for count, found in enumerate(pool.map(lambda chunk: self._of_chunk(version, chunk), new), start=1):
                    self._gather(version, needs, found)
                    on_event(Progress("read", count, len(new), "chunks", version.pin))
            except BaseException:
                self._pace.stop()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        if not self._report.dry_run:
            self._manifests.finish(files)
        self._known.update(new)
        return needs

    def _gather(self, version: Version, needs: Needs, found: dict[str, int]) -> None:
        for path, size in found.items():
            if path not in self._objects:
                needs.objects.append(path)
            known = self._objects.setdefault(path, size)
            if known != size:
                raise self._lies(version, f"{path} is said to have {known} bytes and {size}")

    def _declared(self, record: VersionRecord) -> dict[str, int]:
        """The objects that the metadata names. A copy of before they were copied lacks them, so each version tells."""
        found: dict[str, int] = {}
        for path, said in declared_objects(record.collection).items():
            known = self._objects.get(path) if said is None else said
            size = self._source.size(path) if known is None else known
            if size is None:
                pin = f"{record.dataset}@v{record.number}"
                raise Integrity(
                    f"{self._source.url}/{path} is missing, which the metadata of {pin} names.",
                    hint="The source is damaged or lies: run stacpin verify on it, or sync from another mirror.",
                    kind="missing",
                )
            found[path] = size
        return found

    def _of_chunk(self, version: Version, chunk: Chunk) -> dict[str, int]:
        """The objects of a chunk: path to size. Absolute hrefs lie elsewhere, and nobody copies them."""
        table = version.table(chunk, ["id", "digest", "assets"])
        if leaf_digest(table.column("digest").to_pylist()) != chunk.digest:
            raise self._lies(version, f"the rows of the chunk at {chunk.first_id!r} do not have its digest")
        flat = pc.list_flatten(_whole(table.column("assets")))
        columns = (pc.struct_field(flat, name).to_pylist() for name in ("href", "sha256", "size"))
        found: dict[str, int] = {}
        for href, digest, size in zip(*columns, strict=True):
            if not href.startswith("objects/"):
                continue
            path = None
            with suppress(InvalidInput):
                path = object_path(digest, href[_STEM:])
            if path != href or not 0 <= size < _LARGEST_OBJECT or found.get(href, size) != size:
                raise self._lies(version, f"an asset has the href {href!r}, {size} bytes and sha256 {digest.hex()}")
            found[href] = size
        return found

    def _lies(self, version: Version, what: str) -> Integrity:
        return Integrity(
            f"{self._source.url}: {version.pin} is not what its manifests say: {what}.",
            hint="The source is damaged or lies: run stacpin verify on it, or sync from another mirror.",
            kind="altered",
        )


def version_files(store: Store, dataset: str) -> Files:
    """The manifest and snapshot files of a dataset in a store, with nothing remembered."""
    folder = f"datasets/{dataset}"
    return Files(ManifestFiles(store, f"{folder}/manifests"), ManifestFiles(store, f"{folder}/snapshots"))


def object_digest(path: str) -> bytes:
    """The sha256 that an object's path names."""
    return bytes.fromhex(path[_SHARD:_STEM])


def paths_of(needs: Needs) -> Collection[str]:
    """Everything that a version relies on and that is not known to be needed by another."""
    return [*needs.files, *needs.objects]


def _whole(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found
