"""A run of a recipe: plan, convert, check, stage, verify, commit; in this order and no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from typing import Any

import orjson

from ingest.cache import DigestCache
from ingest.checks import check_items, passed_before
from ingest.convert_all import Converted, convert_all
from ingest.describe import declared, software
from ingest.journal import Journal
from ingest.plan import check_settings, make_plan
from ingest.planned import Plan, refusal_dict
from ingest.processes import Processes
from ingest.recipe import Recipe
from ingest.sources import find_items
from ingest.staging import ItemLines, StagedRun, mark_discarded, new_run_id, quarantine, write_staged
from ingest.whole import rows_by_id, whole_after
from versioning.canonical import canonical
from versioning.catalog import Catalog
from versioning.dataset import Dataset
from versioning.errors import InvalidInput
from versioning.events import Listener, Progress, silent
from versioning.rows import content_digest

__all__ = ["Run", "Stage"]


class Stage(IntEnum):
    """How far a run is. Each step demands that the one before it is done."""

    NEW = 0
    PLANNED = 1
    CONVERTED = 2
    CHECKED = 3
    STAGED = 4
    VERIFIED = 5


class Run:
    """One run of a recipe against one catalog.

    Parameters
    ----------
    catalog
        Where the objects and the staging area are.
    recipe
        What to make.
    folder
        Where the recipe lies.
    workers
        How many processes inspect and convert, or threads where there is little to inspect.
    executor
        Where conversions run instead, e.g. a Dask cluster's; it must see the same files.
    on_event
        Hears how far it is.
    """

    def __init__(
        self,
        catalog: Catalog,
        recipe: Recipe,
        folder: Path,
        *,
        workers: int = 2,
        executor: Executor | None = None,
        cache: DigestCache | None = None,
        on_event: Listener = silent,
    ) -> None:
        self.catalog = catalog
        self.recipe = recipe
        self.dataset: Dataset = catalog.dataset(recipe.dataset)
        self.id = new_run_id(self.dataset.now())
        self.stage = Stage.NEW
        self._folder = folder
        self._processes = Processes(workers)
        self._executor = executor
        self._cache = cache or DigestCache()
        self.on_event = on_event
        self._work = Converted()
        self._checks: list[dict[str, Any]] = []
        self._software: dict[str, str] = {}
        self._plan: Plan | None = None
        self._journal: Journal | None = None
        self._staged: StagedRun | None = None

    def plan(self) -> Plan:
        """Inspect the sources and compare them with ``latest``. Nothing is written.

        Raises
        ------
        InvalidInput
            If a source is refused and the recipe says to stop then.
        """
        self._enter(Stage.PLANNED)
        check_settings(self.recipe)
        items = find_items(self.recipe, self._folder)
        self._plan = make_plan(
            self.recipe,
            items,
            self.dataset.latest(),
            cache=self._cache,
            processes=self._processes,
            on_event=self.on_event,
        )
        return self._plan

    def move_to(self, catalog: Catalog) -> None:
        """Go on in another catalog that has no version of the dataset either: one that was made after a plan was good.

        Raises
        ------
        InvalidInput
            If the run is further than its plan, or there are versions to compare with.
        """
        dataset = catalog.dataset(self.recipe.dataset)
        if self.stage != Stage.PLANNED or self._planned().parent is not None or dataset.head():
            raise InvalidInput(f"run {self.id} cannot move to {catalog.url}.", kind="step-out-of-order")
        self.catalog, self.dataset = catalog, dataset

    def convert(self) -> None:
        """Make, store and prove the files that are new or changed, and make the items that may be.

        What unfinished runs of the same recipe have proven is taken over.

        Raises
        ------
        InvalidInput
            If a source is refused and the recipe says to stop then.
        Integrity
            If the store gives other bytes than it was given.
        """
        self._enter(Stage.CONVERTED)
        plan = self._planned()
        self._journal = Journal(
            self.catalog,
            self.id,
            {
                "dataset": self.recipe.dataset,
                "recipe": self.recipe.digest,
                "base": plan.parent.number if plan.parent else None,
                "time": self.dataset.now().isoformat(),
            },
        )
        try:
            self._work = convert_all(
                self.catalog,
                self.recipe,
                plan,
                self._journal,
                processes=self._processes,
                executor=self._executor,
                on_event=self.on_event,
            )
            # Where files were read by other processes, this one need not import rasterio to say what it is: 25 MB.
            self._software = self._processes.ask(software)
        finally:
            self._journal.close()
            self._processes.close()

    def check(self) -> list[dict[str, Any]]:
        """Check what was made. A failed check does not stop the run, but keeps ``latest`` where it is.

        Items that stay as they are in a parent version whose checks passed are counted, and not looked at again.
        """
        self._enter(Stage.CHECKED)
        plan = self._planned()
        same = [item for item in plan.items if item.state == "unchanged"]
        items: Iterator[dict[str, Any]] = map(orjson.loads, self._work.items.values())
        if plan.parent is None or passed_before(plan.parent, self._software):
            rasters = sum(asset.settings.kind == "raster" for item in same for asset in item.source.assets.values())
            self._checks = check_items(items, unchanged=len(same), rasters=rasters)
        else:
            old = rows_by_id(plan.parent, [item.source.id for item in same])
            self._checks = check_items([*items, *(row.parse() for row in old.values())])
        return self._checks

    def staged(self) -> StagedRun | None:
        """Write the run to the staging area; None, and nothing written, if it changes nothing."""
        self._enter(Stage.STAGED)
        plan, made = self._planned(), self._work.items
        parent = plan.parent
        before = rows_by_id(parent, made) if parent else {}
        changed = {
            item_id: line
            for item_id, line in sorted(made.items())
            if item_id not in before or content_digest(orjson.loads(line)) != before[item_id].content_digest
        }
        whole = whole_after(parent, changed, plan.removed, self._software)
        collection = declared(self.recipe, whole.kinds)
        same = parent is not None and canonical(collection) == canonical(parent.record.collection)
        if plan.refused:
            quarantine(self.catalog, self.recipe.dataset, self.id, plan.refused, self.dataset.now())
        self._keep_journal(free=same and not changed and not plan.removed)
        if same and not changed and not plan.removed:
            return None
        run = self._staged = StagedRun(
            id=self.id,
            dataset=self.recipe.dataset,
            base=parent.number if parent else None,
            time=self.dataset.now().isoformat(),
            items=ItemLines(list(changed.values())),
            remove=plan.removed,
            collection=collection,
            summaries=whole.summaries,
            checks=self._checks,
            recipe={
                "digest": self.recipe.digest,
                "content": self.recipe.content(),
                "skipped": [refusal_dict(each) for each in plan.refused],
            },
            software=self._software,
            plan=_told(plan),
            proven=self._work.stored.keys() - self._work.unread,
        )
        write_staged(self.catalog, run)
        return run

    def verify(self) -> int:
        """Say how many bytes of new objects are proven: each was read back from the store right after it was stored.

        So nothing is read a second time: reading back takes place beside the conversions, and an object that is not
        what was stored ends the run there, before anything is staged. What was taken over from other runs is left to
        the commit, which reads it back: it may have been damaged since.
        """
        self._enter(Stage.VERIFIED)
        total = sum(size for href, size in self._work.stored.items() if href not in self._work.unread)
        self.on_event(Progress("verify", total, total, "bytes"))
        return total

    @property
    def kept(self) -> int:
        """How many sources already were what was wanted, and keep their own bytes."""
        return self._work.kept

    @property
    def resumed(self) -> int:
        """How many files earlier, unfinished runs had stored and proven, so that they were not made again."""
        return self._work.resumed

    def summary(self) -> dict[str, int]:
        """What the run did, for ``--json``: files that it had to make, how many were resumed, and bytes stored."""
        return {
            "files": self._work.files,
            "resumed": self._work.resumed,
            "kept": self._work.kept,
            "objects": len(self._work.stored),
            "bytes": sum(self._work.stored.values()),
        }

    def _keep_journal(self, *, free: bool) -> None:
        """Make the journal durable, and then free the runs that it took over from; ``free`` frees this one instead."""
        journal = self._journal
        if journal is None:
            return
        if not free:
            journal.flush()
        self._work.others.supersede(self.catalog, self.id)
        if free and journal.begun:
            mark_discarded(self.catalog, self.id, why="it changed nothing")

    def _enter(self, stage: Stage) -> None:
        if self.stage != stage - 1:
            raise InvalidInput(
                f"run {self.id} is {self.stage.name.lower()}; it cannot become {stage.name.lower()} now.",
                hint=f"The next step is {Stage(self.stage + 1).name.lower()}." if self.stage < Stage.VERIFIED else None,
                kind="step-out-of-order",
            )
        self.stage = stage

    def _planned(self) -> Plan:
        if self._plan is None:
            raise InvalidInput(f"run {self.id} has no plan yet.", kind="step-out-of-order")
        return self._plan


def _told(plan: Plan) -> bytes:
    """The plan as JSON for the staging area: of what stays as it is, the number alone.

    One item after the other: 20,000 of them as dicts take 60 MB. By json, not canonical(): nothing hashes it, and the
    paths in it may be no UTF-8.
    """
    counts = {state: plan.count(state) for state in ("new", "changed", "unchanged")}
    head = {**replace(plan, items=[]).to_dict(), **counts}
    del head["items"]
    items = (replace(plan, items=[item]).to_dict()["items"][0] for item in plan.items if item.state != "unchanged")
    told = b",\n".join(json.dumps(item).encode() for item in items)
    return json.dumps(head).encode()[:-1] + b', "items": [' + told + b"]}"
