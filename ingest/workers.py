"""Where conversions run: here, in processes of our own, or on the caller's executor."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future

from ingest.convert import Made, Task, convert
from ingest.processes import Processes
from versioning.errors import StacpinError, StorageUnavailable

__all__ = ["run_tasks"]

# A pool of processes costs 1 to 2 s of imports before its first result, so it has to have more to do than that: by the
# bytes, or the number of files, or by how long the first ones took right here.
_MANY_BYTES = 64 * 1024 * 1024
_MANY_FILES = 1_000
_TRIED_FOR = 0.3
_WORTH = 2.0
# Sixteen tiles of 150 KB in one message: one by one, the sending took a third of the time.
_BATCH = 16
_BATCH_BYTES = 8 * 1024 * 1024
# How far ahead of what was fetched work is handed out, in batches: results wait in memory.
_AHEAD = 24

Outcome = tuple[Task, Made | StacpinError]


def run_tasks(executor: Executor | None, tasks: Sequence[Task], *, processes: Processes) -> Iterator[Outcome]:
    """What became of each task, in order: what was made, or why its source is refused.

    Parameters
    ----------
    executor
        The caller's; None begins here, and goes on in processes of our own where there is enough to do.
    tasks
        What to convert.
    processes
        Processes of our own.

    Raises
    ------
    StorageUnavailable
        If a worker process died.
    """
    if executor is not None:
        yield from _on(executor, tasks)
        return
    done, spent = 0, 0.0
    while done < len(tasks) and not _worth_processes(tasks, done, spent, processes):
        started = time.perf_counter()
        result = _attempt(tasks[done])
        spent += time.perf_counter() - started if done else 0.0  # the first one pays for imports
        yield tasks[done], result
        done += 1
    if done < len(tasks):
        yield from _on(processes.pool(), tasks[done:])


def _worth_processes(tasks: Sequence[Task], done: int, spent: float, processes: Processes) -> bool:
    left = len(tasks) - done
    if processes.most < 2 or left < 2:  # noqa: PLR2004 - one worker is no pool, one task is none for several
        return False
    if done == 0:
        heavy = [task.asset.inspection.size for task in tasks if task.layer.kind != "file"]
        return len(heavy) > 1 and (sum(heavy) > _MANY_BYTES or len(heavy) > _MANY_FILES)
    return done > 1 and spent > _TRIED_FOR and spent / (done - 1) * left > _WORTH


def _on(pool: Executor, tasks: Sequence[Task]) -> Iterator[Outcome]:
    pending: deque[tuple[list[Task], Future[list[Made | StacpinError]]]] = deque()
    batches = _batches(tasks)
    try:
        while True:
            while len(pending) < _AHEAD and (batch := next(batches, None)) is not None:
                pending.append((batch, pool.submit(_attempt_all, batch)))
            if not pending:
                return
            batch, future = pending[0]
            results = future.result()
            pending.popleft()
            yield from zip(batch, results, strict=True)
    except BrokenExecutor as error:
        raise StorageUnavailable(
            f"a worker that converts files died: {str(error).rstrip('.') or 'no reason is known'}.",
            hint="Most often it ran out of memory: use fewer --workers, and run again.",
            kind="worker-died",
        ) from error
    finally:
        for _, future in pending:
            future.cancel()


def _batches(tasks: Sequence[Task]) -> Iterator[list[Task]]:
    batch: list[Task] = []
    size = 0
    for task in tasks:
        if batch and (len(batch) == _BATCH or size + task.asset.inspection.size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(task)
        size += task.asset.inspection.size
    if batch:
        yield batch


def _attempt_all(tasks: list[Task]) -> list[Made | StacpinError]:
    return [_attempt(task) for task in tasks]


def _attempt(task: Task) -> Made | StacpinError:
    """Convert, and give a refusal back as a value: the others go on."""
    try:
        return convert(task)
    except StacpinError as error:
        return error
