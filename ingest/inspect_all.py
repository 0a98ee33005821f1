"""Inspecting many sources: what is remembered is not opened; the rest in threads, or in processes if it is much."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from sys import intern
from typing import Any

from ingest.bulk import many_objects
from ingest.cache import SCHEME, DigestCache
from ingest.file_memory import FileMemory, Seen, trusted
from ingest.inspect import Inspection, inspect_labels, inspect_opaque, inspect_raster
from ingest.listing import Listing
from ingest.processes import Processes
from ingest.recipe import Layer
from ingest.sources import SourceAsset
from versioning.errors import StacpinError, StorageUnavailable
from versioning.events import Listener, Progress, silent

__all__ = ["inspect_all", "others_of"]

# rasterio holds the interpreter while it opens files, so threads hardly help: 2,000 tiles of 150 KB took 8.9 s in four
# threads and 8.4 s in one. Four processes take a second to start.
_MANY = 400
_BATCH = 16
_WRITTEN = 256  # results that are remembered in one transaction: one for each file took 0.3 ms


@dataclass(frozen=True, slots=True)
class _Job:
    path: Path
    state: str
    way: _Way


@dataclass(frozen=True, slots=True)
class _Way:
    """How the files of a layer are read; ``how`` is the same as text.

    ``profile`` is that of the COGs that rasters become, where files may be them already.
    """

    kind: str
    crs: str | None
    layer: str | None
    precision: float | None
    how: str
    profile: dict[str, Any] | None


_Result = tuple[Inspection | StacpinError, Seen | None]


def inspect_all(
    assets: Sequence[SourceAsset], cache: DigestCache, *, processes: Processes, on_event: Listener = silent
) -> Generator[tuple[int, Inspection | StacpinError], None, None]:
    """What each source is, or why it is refused, in the order in which it becomes known.

    Parameters
    ----------
    assets
        The sources.
    cache
        Content digests by bytes; what is remembered of files lies beside it.
    processes
        Where many files are inspected; few of them in as many threads.

    Yields
    ------
    tuple
        The position in ``assets``, and the inspection or the refusal.

    Raises
    ------
    StorageUnavailable
        If a worker process died.
    """
    on_event(Progress("plan", 0, len(assets), "files"))
    memory = FileMemory(cache.path.with_name("files.sqlite"))
    fresh: list[_Result] = []
    try:
        with many_objects():
            jobs = list(_jobs(assets))
            known = memory.recall((str(job.path), job.way.how, job.state) for job in jobs if job.state)
            recalled = [_recalled(job, known.pop((str(job.path), job.way.how), None)) for job in jobs]
        left = [at for at, inspection in enumerate(recalled) if inspection is None]
        done = len(jobs) - len(left)
        yield from ((at, inspection) for at, inspection in enumerate(recalled) if inspection is not None)
        on_event(Progress("plan", done, len(assets), "files"))
        for some, results in _batches(jobs, left, cache, processes):
            fresh += results
            if len(fresh) >= _WRITTEN:
                _keep(cache, memory, fresh)
                fresh.clear()
            for at, (result, _) in zip(some, results, strict=True):
                done += 1
                yield at, result
                on_event(Progress("plan", done, len(assets), "files", jobs[at].path.name))
        memory.forget()
    finally:  # also what was inspected before a source was refused
        _keep(cache, memory, fresh)
        memory.close()


def _jobs(assets: Iterable[SourceAsset]) -> Iterator[_Job]:
    ways: dict[int, _Way] = {}
    for asset in assets:
        way = ways.get(id(asset.settings))
        if way is None:
            way = ways[id(asset.settings)] = _way(asset.settings)
        yield _Job(asset.path, asset.state, way)


def _way(layer: Layer) -> _Way:
    name, precision = (layer.layer, layer.precision) if layer.kind == "labels" else (None, None)
    how = repr((SCHEME, layer.kind, layer.source_crs, name, precision))
    profile = layer.cog.model_dump() if layer.kind == "raster" and layer.resolution is None else None
    return _Way(layer.kind, layer.source_crs, name, precision, how, profile)


def _batches(
    jobs: Sequence[_Job], left: Sequence[int], cache: DigestCache, processes: Processes
) -> Iterator[tuple[list[int], list[_Result]]]:
    """The results, some at a time and in order; only a few batches wait, so memory does not grow with the files."""
    batches = [list(left[start : start + _BATCH]) for start in range(0, len(left), _BATCH)]
    if not batches:
        return
    many = len(left) >= _MANY and processes.most > 1
    batches = batches if many else [[at] for at in left]
    waiting: deque[tuple[list[int], Future[list[_Result]]]] = deque()
    with _pool(processes, many=many) as pool:
        try:
            for batch in batches:
                given = None if many else cache
                waiting.append((batch, pool.submit(_inspect, [jobs[at] for at in batch], cache.path, given)))
                if len(waiting) > processes.most * 4:
                    some, future = waiting.popleft()
                    yield some, future.result()
            while waiting:
                some, future = waiting.popleft()
                yield some, future.result()
        except BrokenExecutor as error:
            raise StorageUnavailable(
                f"a worker that inspects files died: {str(error).rstrip('.') or 'no reason is known'}.",
                hint="Most often it ran out of memory: use fewer --workers, and run again.",
                kind="worker-died",
            ) from error
        finally:
            for _, future in waiting:
                future.cancel()


@contextmanager
def _pool(processes: Processes, *, many: bool) -> Iterator[Executor]:
    if many:
        yield processes.pool()
        return
    with ThreadPoolExecutor(processes.most) as pool:
        yield pool


def _inspect(jobs: Sequence[_Job], path: Path, cache: DigestCache | None) -> list[_Result]:
    """Inspect some files, in a thread with the caller's cache, or in a process that opens it for itself."""
    own = cache or _cache_at(path)
    return [_inspected(job, own) for job in jobs]


_caches: dict[Path, DigestCache] = {}


def _cache_at(path: Path) -> DigestCache:
    if path not in _caches:
        _caches[path] = DigestCache(path, writes=False)
    return _caches[path]


def _inspected(job: _Job, cache: DigestCache) -> _Result:
    started = time.time_ns()
    way = job.way
    try:
        if way.kind == "raster":
            result = inspect_raster(job.path, cache, crs=way.crs, profile=way.profile)
        elif way.kind == "labels":
            result = inspect_labels(job.path, cache, crs=way.crs, layer=way.layer, precision=way.precision)
        else:
            result = inspect_opaque(job.path)
    except StacpinError as error:
        return error, None
    seen = _seen(job, result, started)
    return replace(result, settled=seen is not None), seen


def _seen(job: _Job, result: Inspection, started: int) -> Seen | None:
    """What may be remembered of a reading."""
    path = str(job.path)
    if not job.state or not trusted(job.state, path, started):
        return None
    try:
        others = others_of(job.path, job.state, result.others)
    except StacpinError:
        return None
    if not all(state and trusted(state, other, started) for other, state in others.items()):
        return None
    digest = None if result.bytes_digest is None else result.bytes_digest.hex()
    beside = [str(file) for file in result.others]
    found = [result.fingerprint, result.digest, result.crs, result.size, result.bands, digest, beside]
    return Seen(path, job.way.how, job.state, started, found, others)


def others_of(path: Path, state: str, files: Collection[Path]) -> dict[str, str]:
    """The states of files that take part in a source and that its own state does not speak of."""
    if not files:
        return {}
    folder = os.path.realpath(path.parent)
    names = (record.partition("\0")[0] for record in state.split("\0\0"))
    own = {os.path.join(folder, name) for name in names}  # noqa: PTH118 - texts, as the state has them
    further = [str(file) for file in files if str(file) not in own]
    listing = Listing(path.parent, ())
    return {file: listing.state(file) for file in further}


def _recalled(job: _Job, found: Any) -> Inspection | None:
    try:
        fingerprint, digest, crs, size, bands, hexed, others = found
        hashed = None if hexed is None else bytes.fromhex(hexed)
        beside = tuple(map(Path, others))
        crs = None if crs is None else intern(crs)  # one text for all files, not one for each
        return Inspection(job.path, fingerprint, digest, crs, size, bands, hashed, beside, settled=True)
    except (TypeError, ValueError):
        return None  # nothing is known, or the entry is damaged


def _keep(cache: DigestCache, memory: FileMemory, results: Iterable[_Result]) -> None:
    fresh = [result for result, _ in results if isinstance(result, Inspection)]
    cache.put_many({each.fingerprint: each.digest for each in fresh if not each.digest.startswith("b1:")})
    memory.remember(seen for _, seen in results if seen is not None)
