"""From a plan to stored, proven files and the items that they make; what other runs have proven is not made again."""

from __future__ import annotations

import os
import tempfile
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from catalog.assets import AssetPart
from ingest.checks import check_label_properties
from ingest.convert import Made, Task
from ingest.describe import at, item_of, kept_part, stored_ref
from ingest.journal import Done, Journal, decode, task_key
from ingest.planned import Plan, Refusal
from ingest.processes import Processes
from ingest.recipe import Recipe
from ingest.storing import Storing
from ingest.unfinished import Unfinished, take_over
from ingest.whole import rows_by_id
from ingest.workers import run_tasks
from versioning.canonical import canonical
from versioning.catalog import Catalog
from versioning.errors import InvalidInput, StacpinError
from versioning.events import Listener, Progress
from versioning.objects import ObjectRef

__all__ = ["Converted", "convert_all"]

# How many files may wait to be stored: enough that no thread of the store is idle.
_WAITING = 64

_Waiting = tuple[Task, Made | StacpinError, "Future[ObjectRef] | None"]


@dataclass(slots=True)
class Converted:
    """What a run has made.

    Attributes
    ----------
    items
        The canonical JSON of each item that may differ from the parent's, by id.
    stored
        The objects that were stored for them: their paths, and their sizes in bytes.
    unread
        Those of them that other runs had proven when they stored them, and that nobody has read since.
    files, resumed, kept
        How many files were to be made; of these, how many other runs had proven; how many kept their own bytes.
    others
        The runs from which something was taken over.
    """

    items: dict[str, bytes] = field(default_factory=dict)
    stored: dict[str, int] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)
    files: int = 0
    resumed: int = 0
    kept: int = 0
    others: Unfinished = field(default_factory=Unfinished)


def convert_all(
    catalog: Catalog,
    recipe: Recipe,
    plan: Plan,
    journal: Journal,
    *,
    processes: Processes,
    executor: Executor | None,
    on_event: Listener,
) -> Converted:
    """Make what a plan wants made. What is refused leaves the plan's items for its refusals, if the recipe says so.

    Raises
    ------
    InvalidInput
        If a source is refused and the recipe says to stop then, or if every one is.
    Integrity
        If the store gives other bytes than it was given.
    """
    with tempfile.TemporaryDirectory(prefix="stacpin-") as scratch, Storing(catalog) as storing:
        work = _Work(catalog, recipe, plan, journal=journal, storing=storing, scratch=Path(scratch), on_event=on_event)
        try:
            work.run(executor, processes)
        except BaseException as error:
            with suppress(StacpinError):  # what stopped the run comes first
                journal.fail(error, work.made.stored)
            raise
        return work.made


class _Work:
    """One pass over a plan."""

    def __init__(
        self,
        catalog: Catalog,
        recipe: Recipe,
        plan: Plan,
        *,
        journal: Journal,
        storing: Storing,
        scratch: Path,
        on_event: Listener,
    ) -> None:
        self.catalog = catalog
        self.recipe = recipe
        self.plan = plan
        self.journal = journal
        self.storing = storing
        self.scratch = scratch
        self.on_event = on_event
        self.made = Converted()
        self._planned = {item.source.id: item for item in plan.items}
        self._recipe = recipe.digest  # 90 µs each time
        self._left: Counter[str] = Counter()
        self._parts: dict[str, dict[str, AssetPart]] = {}
        self._refused: dict[str, Refusal] = {}
        self._labels: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._own = f"{scratch}{os.sep}"
        self._done = 0

    def run(self, executor: Executor | None, processes: Processes) -> None:
        """Take over, convert, store; make each item as soon as all its parts are there."""
        tasks = list(self._tasks())
        self._left.update(task.item for task in tasks)
        self.made.files = len(tasks)
        self.on_event(Progress("convert", 0, len(tasks), "files"))
        for item in self.plan.items:
            if item.state != "unchanged" and not self._left[item.source.id]:
                self._finish(item.source.id)
        left = self._resume(tasks)
        waiting: deque[_Waiting] = deque()
        for task, result in run_tasks(executor, left, processes=processes):
            waiting.append((task, result, self._store(task, result)))
            while waiting and (len(waiting) > _WAITING or _is_ready(waiting[0])):
                self._take(*waiting.popleft())
        while waiting:
            self._take(*waiting.popleft())
        plan, refused = self.plan, self._refused
        plan.refused += [refused[item_id] for item_id in sorted(refused)]
        plan.items = [item for item in plan.items if item.source.id not in refused]
        _check_any_left(plan)
        if not plan.refused:  # of what was refused nobody knows the columns
            self._check_labels()

    def _tasks(self) -> Iterator[Task]:
        """Labels are made each time that their item may change: it is cheap, and their items say what is in them."""
        number = 0
        for item in self.plan.items:
            if item.kept:
                continue
            for key, planned in item.assets.items():
                number += 1
                # A plain dict: what the plan has reads the parent version when it is looked at, here and not elsewhere.
                asset = planned if planned.parent is None else replace(planned, parent=dict(planned.parent))
                task = Task(item.source.id, key, asset, self.scratch, number)
                if asset.parent is not None and (asset.action == "reuse" or task.layer.kind == "labels"):
                    # Another PROJ may move coordinates; the same sources and parameters keep the parent's.
                    task = replace(task, parent=self._parent_file(task, number), again=asset.action == "reuse")
                yield task

    def _parent_file(self, task: Task, number: int) -> Path:
        """The parent version's file, proven where its content is used and not only described."""
        ref = stored_ref(task.asset.parent or {})
        local = self.catalog.store.local_root
        if task.layer.kind == "file":
            return Path(ref.href)  # its name says all
        if task.layer.kind == "raster" and local is not None:
            return local / ref.href
        target = self.scratch / f"{number}-parent{Path(ref.href).suffix}"
        with target.open("wb") as file:
            for block in self.catalog.objects.read(ref.href, ref.sha256, ref.size):
                file.write(block)
        return target

    def _resume(self, tasks: list[Task]) -> list[Task]:
        """Take over what other runs have proven; gives the tasks that are left."""
        worth = [task for task in tasks if not task.again]
        if not worth:
            return tasks
        others = self.made.others = take_over(self.catalog, self.recipe.dataset, self._recipe)
        if not others.entries:
            return tasks
        there = others.present(self.catalog, (task_key(task, self._recipe) for task in worth))
        others.entries.clear()
        left = []
        for task in tasks:
            line = None if task.again else there.get(task_key(task, self._recipe))
            if line is None:
                left.append(task)
                continue
            self.made.resumed += 1
            done = decode(line)[1]
            self.made.unread.add(done.ref.href)
            self._note(task, done)
        return left

    def _store(self, task: Task, result: Made | StacpinError) -> Future[ObjectRef] | None:
        """Begin to store what was made, unless it was refused or the parent has the same content."""
        if isinstance(result, StacpinError) or _same_as_parent(task, result):
            return None
        self.journal.begin()
        return self.storing.store(result.path, result.extension, result.sha256, source=task.source)

    def _take(self, task: Task, result: Made | StacpinError, future: Future[ObjectRef] | None) -> None:
        """Take in what became of a task. What the store could not do is no fault of the source's, and is raised."""
        if isinstance(result, Made):
            try:
                ref = stored_ref(task.asset.parent or {}) if future is None else future.result()
            except InvalidInput as error:
                result = error
            else:
                done = Done(ref, result.digest, at(result.part, ref), result.kept, ours=future is not None)
                if done.ours:
                    self.made.unread.discard(done.ref.href)  # storing it has read what was there
                self._note(task, done)
                self._drop(result.path)
                return
        self._refuse(task, result)

    def _refuse(self, task: Task, error: StacpinError) -> None:
        if self.recipe.on_error == "stop":
            raise error
        self._refused[task.item] = Refusal(task.item, str(task.source), error.kind, error.message, error.hint)
        self._parts.pop(task.item, None)
        self._advance(task)

    def _note(self, task: Task, done: Done) -> None:
        if not task.again:
            self.journal.add(task_key(task, self._recipe), done)
        if done.ours:
            self.made.stored[done.ref.href] = done.ref.size
        self.made.kept += done.kept
        if task.layer.kind == "labels":
            self._labels[task.item, task.key] = {"label:properties": done.part.asset.get("label:properties")}
        self._parts.setdefault(task.item, {})[task.key] = done.part
        self._left[task.item] -= 1
        if not self._left[task.item] and task.item not in self._refused:
            self._finish(task.item)
        self._advance(task)

    def _advance(self, task: Task) -> None:
        self._done += 1
        self.on_event(Progress("convert", self._done, self.made.files, "files", task.source.name))

    def _finish(self, item_id: str) -> None:
        item = self._planned[item_id]
        parts = self._parts.pop(item_id, {})
        if item.kept:
            parts = {key: kept_part(asset.parent or {}, item.geometry) for key, asset in item.assets.items()}
        self.made.items[item_id] = canonical(item_of(item, parts), where=f"item {item_id}")

    def _drop(self, path: Path) -> None:
        """Remove a file of ours; never a source, and never an object of a local store."""
        if str(path).startswith(self._own):
            path.unlink(missing_ok=True)

    def _check_labels(self) -> None:
        """Whether each layer of labels has the properties that the recipe names, in any of its files."""
        if not any(layer.kind == "labels" and layer.label.properties for layer in self.recipe.layers.values()):
            return
        said = dict(self._labels)
        kept = [item for item in self.plan.items if item.kept]
        unknown = [item.source.id for item in kept if any(asset.parent is None for asset in item.assets.values())]
        rows = rows_by_id(self.plan.parent, unknown) if self.plan.parent and unknown else {}
        for item in kept:
            before = rows[item.source.id].parse()["assets"] if item.source.id in rows else {}
            said |= {(item.source.id, key): asset.parent or before.get(key, {}) for key, asset in item.assets.items()}
        sources = [(item, key, source) for item in self.plan.items for key, source in item.source.assets.items()]
        check_label_properties((source, said.get((item.source.id, key), {})) for item, key, source in sources)


def _same_as_parent(task: Task, made: Made) -> bool:
    parent = task.asset.parent
    return parent is not None and parent.get("pin:digest") == made.digest


def _is_ready(waiting: _Waiting) -> bool:
    return waiting[2] is None or waiting[2].done()


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
