"""Taking over what runs of the same recipe have finished before they died: nothing that was proven is done again."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson

from ingest.journal import decode, journal_key, read_batch
from ingest.staging import mark_discarded, staged_files
from versioning.catalog import Catalog
from versioning.errors import NotFound
from versioning.presence import missing
from versioning.store import Entry

__all__ = ["Interrupted", "Unfinished", "interrupted", "take_over"]

# More than any run writes: a batch is 1,024 entries of about 1 KB, and label assets of some 10 KB.
_MOST_BYTES = 64 * 1024 * 1024
_MOST_BEGIN = 64 * 1024
# Of a run on another machine nobody knows whether it lives; garbage collection has the same patience.
_SILENT = timedelta(days=7)


@dataclass(slots=True)
class Unfinished:
    """What other runs have left.

    Attributes
    ----------
    entries
        By task, the journal's line, of objects that were stored and proven.
    over
        Runs that have certainly ended, and whose entries all are here: nobody needs them once they are taken over.
    """

    entries: dict[str, bytes] = field(default_factory=dict)
    over: list[str] = field(default_factory=list)

    def present(self, catalog: Catalog, tasks: Iterable[str]) -> dict[str, bytes]:
        """The entries of some tasks, without those whose objects are gone or have another size."""
        found = {task: self.entries[task] for task in tasks if task in self.entries}
        refs = {task: decode(line)[1].ref for task, line in found.items()}
        absent = missing(catalog.store, {ref.href: ref.size for ref in refs.values()})
        lost = absent.missing | absent.wrong.keys()
        return {task: line for task, line in found.items() if refs[task].href not in lost}

    def supersede(self, catalog: Catalog, run_id: str) -> None:
        """Free what was taken over, after the run that did so has it in its own journal."""
        for other in self.over:
            mark_discarded(catalog, other, why=f"taken over by {run_id}")


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A run that ended before it was staged.

    Attributes
    ----------
    id, dataset, time
        The run, what it made, and when it began.
    reason
        Why it ended, where it could say so: ``kind`` and ``message``.
    files
        How many stored and proven files its journal names; the next run of the same recipe takes them over.
    objects
        What it says that it leaves behind: ``href`` and ``size``.
    """

    id: str
    dataset: str
    time: str
    reason: dict[str, str] | None
    files: int
    objects: list[dict[str, Any]]


def interrupted(catalog: Catalog, dataset: str | None = None) -> Iterator[Interrupted]:
    """The runs that have certainly ended without being staged, oldest first, with what is known of them."""
    for run_id, files in staged_files(catalog).items():
        begin = _begin(catalog, files)
        if "staged.json" in files or dataset not in {None, begin.get("dataset")} or not begin:
            continue
        if not _is_over(catalog, begin, files):
            continue
        note = _note(catalog, files.get("failed.json"))
        done = sum(
            catalog.store.get(entry.path).count(b"\n") for _, entry in _batches(files) if entry.size <= _MOST_BYTES
        )
        reason = note.get("reason") if isinstance(note.get("reason"), dict) else None
        objects = note.get("objects") if isinstance(note.get("objects"), list) else []
        yield Interrupted(run_id, str(begin.get("dataset")), str(begin.get("time", "")), reason, done, objects or [])


def take_over(catalog: Catalog, dataset: str, recipe: str) -> Unfinished:
    """What the unfinished runs of one recipe for one dataset have proven, as far as our own key vouches for it."""
    found = Unfinished()
    key = journal_key()
    for run_id, files in staged_files(catalog).items():
        begin = _begin(catalog, files)
        if begin.get("dataset") != dataset or begin.get("recipe") != recipe:
            continue
        believed = True
        for number, entry in _batches(files):
            lines = _read(catalog, entry, run_id, number, key)
            believed = believed and bool(lines)
            for line in lines:
                found.entries.setdefault(decode(line)[0], line)
        if believed and "staged.json" not in files and _is_over(catalog, begin, files):
            found.over.append(run_id)
    return found


def _begin(catalog: Catalog, files: dict[str, Entry]) -> dict[str, Any]:
    entry = files.get("begin.json")
    return {} if entry is None or entry.size > _MOST_BEGIN else _note(catalog, entry)


def _note(catalog: Catalog, entry: Entry | None) -> dict[str, Any]:
    """What a note in the staging area says; nothing where it is missing or no JSON object."""
    if entry is None or entry.size > _MOST_BYTES:
        return {}
    try:
        note = orjson.loads(catalog.store.get(entry.path))
    except (NotFound, orjson.JSONDecodeError):
        return {}
    return note if isinstance(note, dict) else {}


def _batches(files: dict[str, Entry]) -> list[tuple[int, Entry]]:
    found = []
    for name, entry in files.items():
        folder, _, file = name.partition("/")
        number, _, suffix = file.partition(".")
        if folder == "journal" and suffix == "ndjson" and number.isascii() and number.isdigit():
            found.append((int(number), entry))
    return sorted(found, key=lambda pair: pair[0])


def _read(catalog: Catalog, entry: Entry, run_id: str, number: int, key: bytes) -> list[bytes]:
    if entry.size > _MOST_BYTES:
        return []
    with suppress(NotFound):
        return read_batch(catalog.store.get(entry.path), run_id, number, key)
    return []


def _is_over(catalog: Catalog, begin: dict[str, Any], files: dict[str, Entry]) -> bool:
    if "failed.json" in files:
        return True
    process = begin.get("process")
    if begin.get("host") == platform.node() and isinstance(process, int) and process > 0:
        return not _runs(process)
    return catalog.store.now() - max(entry.modified for entry in files.values()) > _SILENT


def _runs(process: int) -> bool:
    """Whether a process of this machine runs; one that took over its number counts, and only keeps a few files."""
    if os.name == "nt":  # os.kill would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
