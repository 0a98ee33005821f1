"""The staging area: what a run has made and not yet committed. No search and no loader ever looks here."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from ingest.plan import Refusal, refusal_dict
from versioning.canonical import canonical
from versioning.catalog import Catalog
from versioning.errors import Integrity, NotFound
from versioning.records import time_text

__all__ = [
    "StagedRun",
    "find_staged",
    "mark_discarded",
    "mark_done",
    "new_run_id",
    "quarantine",
    "read_staged",
    "write_staged",
]


@dataclass(frozen=True, slots=True)
class StagedRun:
    """A run that is ready to be committed.

    Attributes
    ----------
    base
        The version number it was made from, None for a new dataset.
    items, remove
        Items to write (stored form) and ids to take out.
    proven
        Paths of the objects that were read back in this process. It is never stored: what was whole when it was staged
        may be damaged when it is committed.
    """

    id: str
    dataset: str
    base: int | None
    time: str
    items: list[dict[str, Any]]
    remove: list[str]
    collection: dict[str, Any]
    summaries: dict[str, Any]
    checks: list[dict[str, Any]]
    recipe: dict[str, Any]
    software: dict[str, str]
    plan: dict[str, Any]
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
    lines = b"\n".join(canonical(item, where=f"item {item.get('id')}") for item in run.items)
    catalog.store.put_new(f"{folder}/items.ndjson", lines)
    catalog.store.put_new(f"{folder}/plan.json", canonical(run.plan))
    rest = {name: getattr(run, name) for name in StagedRun.__slots__ if name not in {"items", "plan", "proven"}}
    catalog.store.put_record(f"{folder}/staged.json", canonical(rest))


def read_staged(catalog: Catalog, run_id: str) -> StagedRun:
    """Read a run from the staging area.

    Raises
    ------
    NotFound
        If there is no such run, or it was not finished.
    Integrity
        If what is there cannot be read.
    """
    folder = f"staging/{run_id}"
    try:
        rest = orjson.loads(catalog.store.get(f"{folder}/staged.json"))
        lines = catalog.store.get(f"{folder}/items.ndjson").splitlines()
        plan = orjson.loads(catalog.store.get(f"{folder}/plan.json"))
        return StagedRun(**rest, items=[orjson.loads(line) for line in lines], plan=plan)
    except NotFound as error:
        raise NotFound(f"{catalog.url} has no staged run {run_id!r}.", hint="See: stacpin status") from error
    except (orjson.JSONDecodeError, TypeError) as error:
        raise Integrity(f"{folder} is damaged: {error}.", hint="Run the ingest again.") from error


def find_staged(catalog: Catalog, dataset: str | None = None) -> Iterator[StagedRun]:
    """The runs that wait for a commit, oldest first."""
    for run_id in catalog.store.folders("staging"):
        if any(catalog.store.size(f"staging/{run_id}/{end}.json") is not None for end in ("committed", "discarded")):
            continue
        try:
            run = read_staged(catalog, run_id)
        except NotFound:
            continue  # it did not get as far as staged.json
        if dataset is None or run.dataset == dataset:
            yield run


def mark_done(catalog: Catalog, run: StagedRun, version: str) -> None:
    """Note that a run was committed, so that it is not committed twice."""
    catalog.store.put_new(f"staging/{run.id}/committed.json", canonical({"version": version}))


def mark_discarded(catalog: Catalog, run: StagedRun) -> None:
    """Note that nobody wants a run any more; what only it needs is for garbage collection."""
    catalog.store.put_new(f"staging/{run.id}/discarded.json", canonical({"run": run.id}))


def quarantine(catalog: Catalog, run_id: str, refused: Sequence[Refusal], moment: datetime) -> None:
    """Keep a note of every refused source, with the reason."""
    for number, refusal in enumerate(refused, start=1):
        note = refusal_dict(refusal) | {"run": run_id, "time": time_text(moment)}
        catalog.store.put_new(f"quarantine/{run_id}/{number:06d}.json", canonical(note))
