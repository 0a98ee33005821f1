"""Repair: what is missing or damaged is fetched from other catalogs, and proven before it takes its place.

Objects, manifests and snapshots are proven by the sha256 in their names. A version or a move of a pointer is proven by
the next one, which names its hash. Nothing proves other records, nor the newest of a log: they are taken on trust, and
reported so, but only from a copy of this same catalog, and only if they are missing here or what is here is how they
begin. What was damaged is kept under ``quarantine/damaged-<time>/`` before it is replaced.
"""

from __future__ import annotations

import io
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Literal

import orjson

from versioning.canonical import is_canonical
from versioning.catalog import Catalog
from versioning.errors import Integrity, NotFound, StacpinError
from versioning.events import Listener, Progress, silent
from versioning.fsck import verify_catalog
from versioning.links import refuse_links
from versioning.mirrors import Mirror, content_name, read_proven_file
from versioning.records import (
    CatalogRecord,
    ExpiryRecord,
    PointerRecord,
    Record,
    SettingsRecord,
    TagRecord,
    VersionRecord,
    record_digest,
    time_text,
)
from versioning.store import Store
from versioning.verify import WORKERS, Sampling
from versioning.verify_records import read_record
from versioning.verify_report import CatalogReport, Problem

__all__ = ["Mended", "RepairReport", "repair_catalog"]

Proof = Literal["digest", "next record", "trust"]

_LARGE = 16 * 1024 * 1024
_BLOCK = 4 * 1024 * 1024
_LINKED = re.compile(r"(?P<folder>datasets/[a-z0-9_-]+/(?:versions|pointers/[a-z0-9_-]+))/(?P<number>[0-9]{8})\.json")
_KINDS: tuple[tuple[re.Pattern[str], type[Record]], ...] = (
    (re.compile(r"datasets/[a-z0-9_-]+/versions/[0-9]{8}\.json"), VersionRecord),
    (re.compile(r"datasets/[a-z0-9_-]+/pointers/[a-z0-9_-]+/[0-9]{8}\.json"), PointerRecord),
    (re.compile(r"datasets/[a-z0-9_-]+/tags/[A-Za-z0-9._+-]+\.json"), TagRecord),
    (re.compile(r"datasets/[a-z0-9_-]+/expired/[0-9]{8}\.json"), ExpiryRecord),
    (re.compile(r"settings/[0-9]{8}\.json"), SettingsRecord),
)


@dataclass(frozen=True, slots=True)
class Mended:
    """One file that was restored: from where, what proves it, where its damaged bytes are kept if there were any."""

    path: str
    was: str
    source: str
    proof: Proof
    kept: str | None

    def to_dict(self) -> dict[str, Any]:
        """The file for ``--json``."""
        return {"path": self.path, "was": self.was, "from": self.source, "proof": self.proof, "kept": self.kept}


@dataclass(slots=True)
class RepairReport:
    """What a repair did, and what verification finds after it."""

    mended: list[Mended] = field(default_factory=list)
    refused: list[Problem] = field(default_factory=list)
    after: CatalogReport | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong any more."""
        return self.after is not None and self.after.ok

    def to_dict(self) -> dict[str, Any]:
        """The repair for ``--json``; ``refused`` says why a file could not be restored."""
        return {
            "mended": [each.to_dict() for each in self.mended],
            "refused": [each.to_dict() for each in self.refused],
        }


def repair_catalog(
    catalog: Catalog,
    mirrors: Iterable[str | Store],
    dataset: str | None = None,
    *,
    objects: bool = True,
    sampling: Sampling | None = None,
    workers: int = WORKERS,
    on_event: Listener = silent,
) -> RepairReport:
    """Verify a catalog or one of its datasets, restore from other catalogs what is wrong, and verify again.

    Records and manifests are mended first, since they say which objects there must be. What was restored is read back.

    Parameters
    ----------
    catalog
        What to repair; its own store, without mirrors.
    mirrors
        The other catalogs, asked in this order.
    dataset
        The id of a dataset; None is everything.
    objects, sampling, workers, on_event
        As :func:`versioning.fsck.verify_catalog` has them.

    Raises
    ------
    StacpinError
        If a mirror cannot be opened, or the catalog cannot be written to.
    """
    bench = _Bench(catalog, [_opened(mirror) for mirror in mirrors])
    report = RepairReport()

    def verified(*, with_objects: bool) -> CatalogReport:
        options = {"sampling": sampling, "workers": workers, "on_event": on_event}
        return verify_catalog(catalog, dataset, objects=with_objects, **options)

    # What is mended shows what else is missing: records name snapshots, these manifests, these objects.
    found = verified(with_objects=False)
    while found.problems:
        before = len(report.mended)
        bench.mend(found.problems, report, on_event)
        if len(report.mended) == before:
            break
        found = verified(with_objects=False)
    if objects:
        found = verified(with_objects=True)
        damaged = [each for each in found.problems if each.path.startswith("objects/")]
        bench.mend(damaged, report, on_event)
        again = {each.path for each in report.mended}
        mended = [each for each in damaged if each.path in again]
        found.problems = [each for each in found.problems if each not in mended]
        # Mending has read each of them back.
        found.bytes += sum({each.path: each.size or 0 for each in mended}.values())
    report.after = found
    wrong = {each.path for each in found.problems}
    report.refused = [each for each in report.refused if each.path in wrong]
    return report


def _opened(place: str | Store) -> Mirror:
    mirror = Mirror(place)
    # Opening it as a catalog says at once that a path is wrong, and refuses one of a newer format.
    Catalog.open(mirror.store)
    return mirror


class _Bench:
    """Where the files of one catalog are mended."""

    def __init__(self, catalog: Catalog, mirrors: list[Mirror]) -> None:
        self._store = catalog.store
        self._id = catalog.record.id
        self._mirrors = mirrors
        moment = re.sub(r"[^0-9T]", "", time_text(catalog.store.now())[:19])
        self._aside = f"quarantine/damaged-{moment}-{secrets.token_hex(4)}"

    def mend(self, problems: list[Problem], report: RepairReport, on_event: Listener) -> None:
        """Restore what can be; the newest record of a log first, since it proves the one before it."""
        wanted = {each.path: each for each in problems}
        ordered = sorted(wanted)
        records = [path for path in ordered if content_name(path) is None][::-1]
        files = [path for path in ordered if content_name(path) is not None]
        # A record that is still damaged proves nothing.
        damaged = set(records)
        on_event(Progress("repair", 0, len(wanted), "files"))
        for count, path in enumerate([*records, *files], start=1):
            problem = wanted[path]
            try:
                mended = self._file(problem) if content_name(path) else self._record(problem, damaged)
            except StacpinError as error:
                mended = error.message
            if isinstance(mended, Mended):
                damaged.discard(path)
                report.mended.append(mended)
                report.refused = [each for each in report.refused if each.path != path]
            elif not any(each.path == path for each in report.refused):
                report.refused.append(Problem(path, problem.kind, mended))
            on_event(Progress("repair", count, len(wanted), "files", path))

    def _file(self, problem: Problem) -> Mended | str:
        digest = content_name(problem.path)
        for mirror in self._mirrors:
            file = mirror.fetch(problem.path, problem.size)
            if file is None:
                continue
            with file:
                kept = self._put(problem.path, file)
            again, found = read_proven_file(self._store, problem.path, problem.size)
            again.close()
            if found != digest:
                raise Integrity(f"{problem.path} is altered again: the store did not keep what was written to it.")
            return Mended(problem.path, problem.kind, mirror.url, "digest", kept)
        return f"none of {', '.join(mirror.url for mirror in self._mirrors)} has it whole"

    def _record(self, problem: Problem, damaged: set[str]) -> Mended | str:
        path = problem.path
        kind = next((kind for pattern, kind in _KINDS if pattern.fullmatch(path)), None)
        if kind is None:
            return "it is not a file that a mirror could have: its bytes are what their names say, and wrong"
        here = self._bytes(self._store, path)
        wanted = self._hash_by_next(path, damaged)
        if wanted is not None and here is not None and record_digest(here) == wanted:
            return "it is what the next record names, so a mirror has the same"
        why = "no mirror has it"
        for mirror in self._mirrors:
            data = self._bytes(mirror.store, path)
            if data is None:
                continue
            fault = "it is the same" if data == here else _unfit(data, kind, path)
            if fault is None and wanted is not None and record_digest(data) != wanted:
                fault = "the next record here names another hash"
            if fault is None and wanted is None:
                fault = self._untrusted(mirror, path, here, data, damaged)
            if fault is not None:
                why = f"{mirror.url} has another one: {fault}"
                continue
            kept = self._put(path, io.BytesIO(data))
            if self._bytes(self._store, path) != data:
                raise Integrity(f"{path} is altered again: the store did not keep what was written to it.")
            return Mended(path, problem.kind, mirror.url, "trust" if wanted is None else "next record", kept)
        return why

    def _hash_by_next(self, path: str, damaged: set[str]) -> str | None:
        """What the next record of the log says that this one's hash is, if there is a sound one."""
        match = _LINKED.fullmatch(path)
        if match is None:
            return None
        after = f"{match['folder']}/{int(match['number']) + 1:08d}.json"
        data = None if after in damaged else self._bytes(self._store, after)
        return None if data is None else _previous(data)

    def _untrusted(self, mirror: Mirror, path: str, here: bytes | None, data: bytes, damaged: set[str]) -> str | None:
        """Why a record that nothing proves is not taken from a mirror; None if it is, on trust."""
        if here is not None and not data.startswith(here):
            return "nothing proves either; if you trust the mirror, move the file out of the catalog, and repair again"
        mark = CatalogRecord.decode(read_record(mirror.store, "stacpin.json"), where="stacpin.json")
        if mark.id != self._id:
            return f"nothing proves it, and it is of another catalog ({mark.id})"
        match = _LINKED.fullmatch(path)
        if match is not None and int(match["number"]) > 1:
            before = f"{match['folder']}/{int(match['number']) - 1:08d}.json"
            known = None if before in damaged else self._bytes(self._store, before)
            if known is not None and _previous(data) != record_digest(known):
                return f"it does not follow {before}"
        return self._against_tags(path, data)

    def _against_tags(self, path: str, data: bytes) -> str | None:
        """A version that nothing else proves must have the digest that the tags here give it."""
        if "/versions/" not in path:
            return None
        version = VersionRecord.decode(data, where=path)
        for entry in self._store.list(f"datasets/{version.dataset}/tags"):
            try:
                tag = TagRecord.decode(read_record(self._store, entry.path, entry.size), where=entry.path)
            except (Integrity, NotFound):
                continue
            if tag.target == version.number and tag.digest != version.digest:
                return f"its digest is not that of {entry.path}"
        return None

    def _bytes(self, store: Store, path: str) -> bytes | None:
        """A record's bytes: None if it is not there, nothing if it is empty or too long."""
        try:
            return read_record(store, path)
        except NotFound:
            return None
        except Integrity as error:
            if error.kind == "truncated":
                return b""
            raise

    def _put(self, path: str, file: IO[bytes]) -> str | None:
        """Put proven bytes in their place; return where the damaged ones are kept, None if there were none."""
        if self._store.local_root is not None:
            refuse_links(self._store.local_root, path)
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        record = content_name(path) is None
        if self._store.size(path) is None:
            if size > _LARGE:
                self._store.put_stream(path, _blocks(file))
            elif not (self._store.put_record if record else self._store.put_new)(path, file.read()):
                raise Integrity(f"{path} has appeared meanwhile.", hint="Verify again.", kind="altered")
            return None
        kept = f"{self._aside}/{path}"
        damaged, _ = read_proven_file(self._store, path)
        with damaged:
            if not self._keep(kept, damaged):
                raise Integrity(f"{kept} is there already.", hint="Repair again.", kind="altered")
        if size > _LARGE:
            self._store.put_stream(path, _blocks(file))
        else:
            self._store.replace(path, file.read())
        return kept

    def _keep(self, path: str, file: IO[bytes]) -> bool:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        if size > _LARGE:
            self._store.put_stream(path, _blocks(file))
            return True
        return self._store.put_new(path, file.read())


def _unfit(data: bytes, kind: type[Record], path: str) -> str | None:
    """Why bytes cannot be the record of a path."""
    try:
        record = kind.decode(data, where=path)
    except Integrity as error:
        return error.message
    if not is_canonical(data):
        return "it is not canonical JSON"
    parts = path.split("/")
    stem = parts[-1].removesuffix(".json")
    if isinstance(record, TagRecord):
        fits = record.tag == stem
    elif isinstance(record, VersionRecord):
        fits = (record.dataset, record.number) == (parts[1], int(stem))
    elif isinstance(record, PointerRecord):
        fits = (record.pointer, record.number) == (parts[3], int(stem))
    else:
        fits = getattr(record, "number", None) == int(stem)
    return None if fits else "it is of another path"


def _previous(data: bytes) -> str | None:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    named = found.get("previous") if isinstance(found, dict) else None
    return named if isinstance(named, str) else None


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block
