"""From the staging area to a version: prove what was stored, then commit it."""

from __future__ import annotations

from ingest.describe import stored_ref
from ingest.staging import StagedRun, mark_done
from versioning.catalog import Catalog
from versioning.commit import CommitResult, Notes, commit
from versioning.events import Listener, silent
from versioning.objects import ObjectRef

__all__ = ["commit_staged", "prove"]


def prove(catalog: Catalog, ref: ObjectRef) -> None:
    """Read an object back; NotFound or Integrity if it is not what was stored."""
    for _ in catalog.objects.read(ref.href, ref.sha256, ref.size):
        pass


def commit_staged(
    catalog: Catalog, run: StagedRun, *, message: str, author: str, on_event: Listener = silent
) -> CommitResult:
    """Commit a run from the staging area, after proving each object of it that this process has not yet proven.

    Raises
    ------
    NotFound, Integrity
        If an object that the run stored is missing, or is not what was stored; then nothing is committed.
    Conflict
        If somebody else changed the same items meanwhile.
    """
    dataset = catalog.dataset(run.dataset)
    base = None if run.base is None else dataset.version(run.base)
    old = {asset.href for _, asset in base.assets()} if base else set()
    new = {asset["href"]: asset for item in run.items for asset in item["assets"].values()}
    for href in sorted(new.keys() - old - run.proven):
        prove(catalog, stored_ref(new[href]))
    result = commit(
        dataset,
        items=run.items,
        remove=run.remove,
        collection=run.collection,
        message=message,
        author=author,
        base=base,
        advance=run.passed,
        notes=Notes(summaries=run.summaries, checks=run.checks, recipe=run.recipe, software=run.software),
        on_event=on_event,
    )
    mark_done(catalog, run, result.version.pin)
    return result
