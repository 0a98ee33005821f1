"""The staging area: what a run has made and not yet committed. No search and no loader ever looks here."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, overload

import orjson

from ingest.planned import Refusal, refusal_dict
from versioning.canonical import canonical
from versioning.catalog import Catalog
from versioning.digests import sha256
from versioning.errors import Integrity, NotFound
from versioning.records import time_text
from versioning.store import Entry

__all__ = [
    "ItemLines",
    "StagedRun",
    "find_staged",
    "mark_discarded",
    "mark_done",
    "new_run_id",
    "quarantine",
    "read_staged",
    "staged_files",
    "write_staged",
]

_WHOLE = 8 * 1024 * 1024
_LINES = 1_000
_NOT_WRITTEN = frozenset({"items", "plan", "proven"})
_ENDS = frozenset({"committed.json", "discarded.json"})


class ItemLines(Sequence[dict[str, Any]]):
    """Items as their canonical JSON, each parsed when it is asked for: 20,000 of them take 30 MB instead of 160.

    Parameters
    ----------
    lines
        The items' JSON, or what reads it.
    count
        How many there are, where they are not read yet.
    """

    def __init__(self, lines: list[bytes] | Callable[[], list[bytes]], count: int | None = None) -> None:
        self._lines = lines
        self._count = count

    @property
    def lines(self) -> list[bytes]:
        """The JSON of each."""
        if callable(self._lines):
            self._lines = self._lines()
        return self._lines

    def __len__(self) -> int:
        return len(self.lines) if self._count is None else self._count

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [orjson.loads(line) for line in self.lines[index]]
        return orjson.loads(self.lines[index])


@dataclass(frozen=True, slots=True)
class StagedRun:
    """A run that is ready to be committed.

    Attributes
    ----------
    base
        The version number it was made from, None for a new dataset.
    items, remove
        Items to write (stored form) and ids to take out.
    plan
        What was planned, as JSON for people and programs; not read back.
    proven
        Paths of the objects that this run has proven. It is never stored: what was whole when it was staged may be
        damaged when it is committed.
    """

    id: str
    dataset: str
    base: int | None
    time: str
    items: Sequence[dict[str, Any]]
    remove: list[str]
    collection: dict[str, Any]
    summaries: dict[str, Any]
    checks: list[dict[str, Any]]
    recipe: dict[str, Any]
    software: dict[str, str]
    plan: bytes = field(default=b"{}", compare=False)
    proven: set[str] = field(default_factory=set, compare=False)

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return all(check["passed"] for check in self.checks)


def new_run_id(moment: datetime) -> str:
    """A name for a run that sorts by time."""
    return f"{moment:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def write_staged(catalog: Catalog, run: StagedRun) -> None:
    """Write a run to the staging area; ``staged.json`` comes last, so what has it is complete."""
    folder = f"staging/{run.id}"
    lines = run.items.lines if isinstance(run.items, ItemLines) else [canonical(item) for item in run.items]
    if sum(map(len, lines)) <= _WHOLE:
        catalog.store.put_new(f"{folder}/items.ndjson", b"\n".join(lines))
    else:  # nobody else writes there, and 20,000 items in one piece are 30 MB twice
        catalog.store.put_stream(f"{folder}/items.ndjson", _blocks(lines))
    catalog.store.put_new(f"{folder}/plan.json", run.plan)
    rest = {name: getattr(run, name) for name in StagedRun.__slots__ if name not in _NOT_WRITTEN}
    catalog.store.put_record(f"{folder}/staged.json", canonical({**rest, "count": len(lines)}))


def _blocks(lines: list[bytes]) -> Iterator[bytes]:
    for start in range(0, len(lines), _LINES):
        yield b"".join(line + b"\n" for line in lines[start : start + _LINES])


def read_staged(catalog: Catalog, run_id: str) -> StagedRun:
    """Read a run from the staging area; its items are read when they are asked for.

    Raises
    ------
    NotFound
        If there is no such run, or it was not finished.
    Integrity
        If what is there cannot be read.
    """
    folder = f"staging/{run_id}"

    def lines() -> list[bytes]:
        try:
            found = catalog.store.get(f"{folder}/items.ndjson").splitlines()
        except NotFound as error:
            raise Integrity(f"{folder}/items.ndjson is missing.", hint="Run the ingest again.") from error
        if len(found) != count:
            raise Integrity(f"{folder} is damaged: {len(found)} items of {count}.", hint="Run the ingest again.")
        return found

    try:
        rest = orjson.loads(catalog.store.get(f"{folder}/staged.json"))
        count = int(rest.pop("count"))
        return StagedRun(**rest, items=ItemLines(lines, count))
    except NotFound as error:
        raise NotFound(f"{catalog.url} has no staged run {run_id!r}.", hint="See: stacpin status") from error
    except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError, ValueError) as error:
        raise Integrity(f"{folder} is damaged: {error}.", hint="Run the ingest again.") from error


def staged_files(catalog: Catalog) -> dict[str, dict[str, Entry]]:
    """The files of each run that is neither committed nor discarded, by their names below its folder: one listing."""
    runs: dict[str, dict[str, Entry]] = {}
    for entry in catalog.store.list("staging"):
        _, _, rest = entry.path.partition("/")
        run_id, slash, name = rest.partition("/")
        if slash:
            runs.setdefault(run_id, {})[name] = entry
    return {run_id: runs[run_id] for run_id in sorted(runs) if not _ENDS & runs[run_id].keys()}


def find_staged(catalog: Catalog, dataset: str | None = None) -> Iterator[StagedRun]:
    """The runs that wait for a commit, oldest first."""
    for run_id, files in staged_files(catalog).items():
        if "staged.json" not in files:
            continue  # it did not get that far
        run = read_staged(catalog, run_id)
        if dataset is None or run.dataset == dataset:
            yield run


def mark_done(catalog: Catalog, run: StagedRun, version: str) -> None:
    """Note that a run was committed, so that it is not committed twice."""
    catalog.store.put_new(f"staging/{run.id}/committed.json", canonical({"version": version}))


def mark_discarded(catalog: Catalog, run: StagedRun | str, *, why: str = "") -> None:
    """Note that nobody wants a run any more; what only it needs is for garbage collection."""
    run_id = run if isinstance(run, str) else run.id
    catalog.store.put_new(f"staging/{run_id}/discarded.json", canonical({"run": run_id, "why": why}))


def quarantine(catalog: Catalog, dataset: str, run_id: str, refused: Sequence[Refusal], moment: datetime) -> list[str]:
    """Keep a note of every refused source, with the reason; gives the paths of the notes.

    The folder is named by the dataset and by what was refused, so the same refusals are noted once, by the run that
    first had them, and not again by each run until somebody mends the sources.
    """
    notes = [refusal_dict(refusal) for refusal in refused]
    folder = f"quarantine/{dataset}-{sha256(json.dumps(notes).encode()).hex()[:16]}"
    paths = []
    for number, note in enumerate(notes, start=1):
        path = f"{folder}/{number:06}.json"
        paths.append(path)
        if catalog.store.size(path) is None:
            catalog.store.put_new(path, canonical(note | {"run": run_id, "time": time_text(moment)}))
    return paths
