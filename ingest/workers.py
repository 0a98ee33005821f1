"""Where conversions run: here, in processes of our own, or on the caller's executor."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager

from ingest.convert import Made, Task, convert
from ingest.plan import PlannedAsset
from versioning.errors import StacpinError, StorageUnavailable

__all__ = ["run_tasks", "worker_pool"]

# Starting a process pool costs about a second of imports in each worker; a handful of files is done sooner without.
_FEW = 4


@contextmanager
def worker_pool(executor: Executor | None, *, workers: int, files: int) -> Iterator[Executor | None]:
    """The caller's executor; else processes where there is enough to do; else None: right here."""
    if executor is not None or files <= _FEW or workers < 2:  # noqa: PLR2004 - one worker is no pool
        yield executor
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_interrupts) as pool:
        yield pool


def _leave_interrupts() -> None:
    """Ctrl-C goes to all processes of a terminal; the one that started the workers ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def run_tasks(
    pool: Executor | None, tasks: Sequence[tuple[Task, PlannedAsset]]
) -> Iterator[tuple[Task, PlannedAsset, Made | StacpinError]]:
    """What became of each task, in order: what was made, or why its source is refused.

    Raises
    ------
    StorageUnavailable
        If a worker process died.
    """
    if pool is None:
        for task, asset in tasks:
            yield task, asset, _attempt(task)
        return
    pending: list[tuple[Task, PlannedAsset, Future[Made | StacpinError]]] = []
    try:
        pending += [(task, asset, pool.submit(_attempt, task)) for task, asset in tasks]
        for task, asset, future in pending:
            yield task, asset, future.result()
    except BrokenExecutor as error:
        raise StorageUnavailable(
            f"a worker that converts files died: {str(error).rstrip('.') or 'no reason is known'}.",
            hint="Most often it ran out of memory: use fewer --workers, and run again.",
            kind="worker-died",
        ) from error
    finally:
        for _, _, future in pending:
            future.cancel()


def _attempt(task: Task) -> Made | StacpinError:
    """Convert, and give a refusal back as a value: the others go on."""
    try:
        return convert(task)
    except StacpinError as error:
        return error
