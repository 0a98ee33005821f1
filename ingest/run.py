"""A run of a recipe: plan, convert, check, stage, verify, commit; in this order and no other."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

from catalog.assets import AssetPart
from ingest.cache import DigestCache
from ingest.checks import check_items, check_label_properties
from ingest.convert import Made, Task, task_of
from ingest.describe import collection_of, item_of, kept_part, part_of, software, stored_ref
from ingest.plan import Plan, PlannedAsset, PlannedItem, Refusal, check_settings, make_plan, refusal_dict
from ingest.publish import prove
from ingest.recipe import Recipe
from ingest.sources import find_items
from ingest.staging import StagedRun, new_run_id, quarantine, write_staged
from ingest.workers import run_tasks, worker_pool
from versioning.canonical import canonical
from versioning.catalog import Catalog
from versioning.dataset import Dataset
from versioning.errors import InvalidInput, StacpinError
from versioning.events import Listener, Progress, silent
from versioning.objects import ObjectRef
from versioning.rows import make_row

__all__ = ["Run", "Stage"]


class Stage(IntEnum):
    """How far a run is. Each step demands that the one before it is done."""

    NEW = 0
    PLANNED = 1
    CONVERTED = 2
    CHECKED = 3
    STAGED = 4
    VERIFIED = 5


@dataclass(slots=True)
class _Work:
    """What a run has made so far."""

    items: list[dict[str, Any]] = field(default_factory=list)
    stored: dict[str, ObjectRef] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    kept: int = 0


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
        How many processes convert, and threads inspect.
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
        self._workers = workers
        self._executor = executor
        self._cache = cache or DigestCache()
        self.on_event = on_event
        self._work = _Work()
        self._plan: Plan | None = None
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
            workers=self._workers,
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
        """Make and store the files that are new or changed, and the items of all.

        Raises
        ------
        InvalidInput
            If a source is refused and the recipe says to stop then.
        """
        self._enter(Stage.CONVERTED)
        plan = self._planned()
        parts: dict[tuple[str, str], AssetPart] = {}
        refused: dict[str, Refusal] = {}
        with tempfile.TemporaryDirectory(prefix="stacpin-") as scratch, self._workers_for(plan) as pool:
            tasks = list(self._tasks(plan, Path(scratch)))
            self.on_event(Progress("convert", 0, len(tasks), "files"))
            for done, (task, asset, result) in enumerate(run_tasks(pool, tasks), start=1):
                error = self._attempt_store(parts, task, asset, result)
                if error is not None and self.recipe.on_error == "stop":
                    raise error
                if error is not None:
                    refused[task.item] = Refusal(task.item, str(task.source), error.kind, error.message, error.hint)
                self.on_event(Progress("convert", done, len(tasks), "files", task.source.name))
            plan.refused += [refused[item_id] for item_id in sorted(refused)]
            plan.items = [item for item in plan.items if item.source.id not in refused]
            _check_any_left(plan)
            for item in plan.items:
                for key, asset in item.assets.items():
                    if (item.source.id, key) not in parts:
                        parts[item.source.id, key] = self._reused(item, asset, Path(scratch))
        if not plan.refused:  # of what was refused nobody knows the columns
            made = [(asset, parts[item.source.id, key]) for item in plan.items for key, asset in item.assets.items()]
            check_label_properties((asset.source, part.asset) for asset, part in made)
        for item in plan.items:
            of_item = {key: parts[item.source.id, key] for key in item.assets}
            self._work.items.append(item_of(item, of_item))

    def check(self) -> list[dict[str, Any]]:
        """Check what was made. A failed check does not stop the run, but keeps ``latest`` where it is."""
        self._enter(Stage.CHECKED)
        self._work.checks = check_items(self._work.items)
        return self._work.checks

    def staged(self) -> StagedRun | None:
        """Write the run to the staging area; None, and nothing written, if it changes nothing."""
        self._enter(Stage.STAGED)
        plan = self._planned()
        parent = plan.parent
        before = {row.id: row for row in parent.rows()} if parent else {}
        changed = []
        for item in self._work.items:
            old = before.get(item["id"])
            if old is None or make_row(item).content_digest != old.content_digest:
                changed.append(item)
        untouched = [row.parse() for row in before.values() if row.id in {each.item for each in plan.refused}]
        collection = collection_of(self.recipe, [*self._work.items, *untouched])
        same = parent is not None and canonical(collection) == canonical(parent.record.collection)
        if plan.refused:
            quarantine(self.catalog, self.id, plan.refused, self.dataset.now())
        if same and not changed and not plan.removed:
            return None
        from catalog.collections import dataset_summaries

        run = self._staged = StagedRun(
            id=self.id,
            dataset=self.recipe.dataset,
            base=parent.number if parent else None,
            time=self.dataset.now().isoformat(),
            items=changed,
            remove=plan.removed,
            collection=collection,
            summaries=dataset_summaries([*self._work.items, *untouched]),
            checks=self._work.checks,
            recipe={
                "digest": self.recipe.digest,
                "content": self.recipe.content(),
                "skipped": [refusal_dict(each) for each in plan.refused],
            },
            software=software(),
            plan=plan.to_dict(),
        )
        write_staged(self.catalog, run)
        return run

    def verify(self) -> int:
        """Read back every object that the run stored, and prove it; returns the number of bytes.

        Raises
        ------
        Integrity
            If an object is not what was stored; then nothing is committed.
        """
        self._enter(Stage.VERIFIED)
        refs = list(self._work.stored.values())
        total, done = sum(ref.size for ref in refs), 0
        for ref in refs:
            prove(self.catalog, ref)
            done += ref.size
            if self._staged is not None:
                self._staged.proven.add(ref.href)
            self.on_event(Progress("verify", done, total, "bytes", ref.href))
        return total

    @property
    def kept(self) -> int:
        """How many sources already were what was wanted, and keep their own bytes."""
        return self._work.kept

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

    def _workers_for(self, plan: Plan) -> AbstractContextManager[Executor | None]:
        files = sum(asset.action == "convert" for item in plan.items for asset in item.assets.values())
        return worker_pool(self._executor, workers=self._workers, files=files)

    def _tasks(self, plan: Plan, scratch: Path) -> Iterator[tuple[Task, PlannedAsset]]:
        """Labels are made each time: it is cheap, and their items say what is in them."""
        number = 0
        for item in plan.items:
            for key, asset in item.assets.items():
                if asset.action == "reuse" and (asset.source.settings.kind != "labels" or item.kept):
                    continue
                number += 1
                folder = scratch / str(number)
                task = task_of(item.source.id, key, asset, folder)
                if asset.source.settings.kind == "labels" and asset.parent is not None:
                    there = self._fetch(stored_ref(asset.parent), scratch / f"{number}-parent.parquet")
                    # Another PROJ may move coordinates; the same sources and parameters keep the parent's.
                    task = task.of_parent(there) if asset.action == "reuse" else replace(task, parent=there)
                yield task, asset

    def _reused(self, item: PlannedItem, asset: PlannedAsset, scratch: Path) -> AssetPart:
        there = asset.parent or {}
        ref = stored_ref(there)
        if item.kept:
            return kept_part(there, item.geometry)
        local = self.catalog.store.local_root
        path = local / ref.href if local else self._fetch(ref, scratch / Path(ref.href).name)
        part = part_of(asset, path, ref, there["pin:digest"], None)
        if local is None:
            path.unlink()
        return part

    def _fetch(self, ref: ObjectRef, target: Path) -> Path:
        """An object as a file, proven."""
        with target.open("wb") as file:
            for block in self.catalog.objects.read(ref.href, ref.sha256, ref.size):
                file.write(block)
        return target

    def _attempt_store(
        self, parts: dict[tuple[str, str], AssetPart], task: Task, asset: PlannedAsset, result: Made | StacpinError
    ) -> StacpinError | None:
        """Store what was made, or say why not. What the store itself could not do is no fault of the source's."""
        if isinstance(result, StacpinError):
            return result
        try:
            parts[task.item, task.key] = self._store(asset, result)
        except InvalidInput as error:
            return error
        return None

    def _store(self, asset: PlannedAsset, made: Made) -> AssetPart:
        """Store a made file, unless the parent has the same content."""
        digest = made.digest
        parent = asset.parent
        if parent is not None and parent.get("pin:digest") == digest:
            ref = stored_ref(parent)
        else:
            ref = self.catalog.objects.put_file(made.path)
            self._work.stored[ref.href] = ref
        self._work.kept += made.kept
        part = part_of(asset, made.path, ref, digest, made)
        made.path.unlink(missing_ok=True)
        return part


def _check_any_left(plan: Plan) -> None:
    """Refuse to go on with nothing: a version without a single item is no version of the sources."""
    if plan.items or not plan.refused:
        return
    first, count = plan.refused[0], len(plan.refused)
    raise InvalidInput(
        f"{f'all {count} items were' if count > 1 else 'the only item was'} refused: {first.path}: {first.message}",
        hint=first.hint,
        kind=first.kind,
    )
