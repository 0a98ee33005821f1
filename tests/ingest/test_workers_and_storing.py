"""Where conversions run, how files get into the store, and what happens when a file changes on the way."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ingest_samples import LABELS, RASTERS, Project, pixels, write_cog, write_geojson, write_raster

from catalog.rasters import open_raster
from ingest import storing, workers
from ingest.processes import Processes
from ingest.publish import commit_staged
from ingest.staging import read_staged
from ingest.storing import Storing, _Budget
from versioning.catalog import Catalog
from versioning.errors import InvalidInput, NotFound
from versioning.gc import collect
from versioning.objects import hash_file

DEFLATE = RASTERS | {"cog": {"compress": "deflate"}}


@pytest.fixture
def six(project: Project) -> Project:
    for seed in range(6):
        (write_cog if seed % 2 else write_raster)(project.folder / f"s{seed}.tif", pixels(seed))
    project.recipe({"scenes": DEFLATE})
    return project


class Notes(ThreadPoolExecutor):
    """An executor that notes what it was given, and when."""

    def __init__(self) -> None:
        super().__init__(2)
        self.batches: list[int] = []

    def submit(self, call: Any, /, *args: Any, **options: Any) -> Future[Any]:
        self.batches.append(len(args[0]))
        return super().submit(call, *args, **options)


def test_a_few_small_files_start_no_processes(six: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Processes, "pool", lambda _: pytest.fail("processes were started"))
    monkeypatch.setattr(workers, "_WORTH", 600.0)  # on a machine that is busy
    assert six.must_ingest(workers=4).record.statistics.items == 6


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value"), [("_MANY_BYTES", 3_000), ("_TRIED_FOR", 0.0)])
def test_much_to_do_goes_to_processes_of_our_own(
    six: Project, name: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = Project(six.folder, Catalog.create("memory://")).must_ingest(workers=1).digest
    monkeypatch.setattr(workers, name, value)
    monkeypatch.setattr(workers, "_WORTH", 0.0)
    own = Processes.pool
    started: list[int] = []
    monkeypatch.setattr(Processes, "pool", lambda self: (started.append(self.most), own(self))[1])
    assert six.must_ingest(workers=2).digest == wanted
    assert started == [2]


def test_the_first_file_pays_for_imports_and_is_not_counted(six: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Processes, "pool", lambda _: pytest.fail("processes were started"))
    convert, seen, now = workers.convert, [], [0.0]

    def slow(task: Any) -> Any:
        seen.append(task)
        now[0] += 100.0 if len(seen) == 1 else 0.01
        return convert(task)

    monkeypatch.setattr(workers, "convert", slow)
    monkeypatch.setattr(workers.time, "perf_counter", lambda: now[0])
    six.must_ingest(workers=4)
    assert len(seen) == 6


def test_batches_are_bounded_by_files_and_by_bytes(six: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with Notes() as pool:
        six.must_ingest(executor=pool)
    assert pool.batches == [6]
    monkeypatch.setattr(workers, "_BATCH", 4)
    with Notes() as pool:
        Project(six.folder, Catalog.create("memory://")).must_ingest(executor=pool)
    assert pool.batches == [4, 2]
    monkeypatch.setattr(workers, "_BATCH_BYTES", 1)
    with Notes() as pool:
        Project(six.folder, Catalog.create("memory://")).must_ingest(executor=pool)
    assert pool.batches == [1] * 6


def test_work_is_not_handed_out_endlessly_ahead(six: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results wait in memory until they are fetched: a thousand files must not be done before the first is stored."""
    monkeypatch.setattr(workers, "_BATCH", 1)
    monkeypatch.setattr(workers, "_AHEAD", 2)
    run = six.run()
    plan = run.plan()
    tasks = [
        workers.Task(item.source.id, key, asset, six.folder / "scratch", number)
        for number, item in enumerate(plan.items)
        for key, asset in item.assets.items()
    ]
    with Notes() as pool:
        results = workers.run_tasks(pool, tasks, processes=Processes(2))
        next(results)
        assert len(pool.batches) == 2
        assert len(list(results)) == 5


@pytest.mark.parametrize(("remembered", "times"), [(False, 0), (True, 1)])
def test_a_tile_that_is_kept_is_read_once_and_not_copied(
    six: Project, monkeypatch: pytest.MonkeyPatch, remembered: bool, times: int
) -> None:
    """What was opened to be inspected is not opened again; a source that was inspected by an earlier plan is, once."""
    run = six.run(workers=1)
    plan = run.plan()
    if remembered:
        for item in plan.items:
            for key, asset in item.assets.items():
                item.assets[key] = replace(asset, inspection=replace(asset.inspection, facts=None))
    opened: list[str] = []

    def noted(path: Path, **options: Any) -> Any:
        opened.append(Path(path).name)
        return open_raster(path, **options)

    monkeypatch.setattr("catalog.rasters.open_raster", noted)
    monkeypatch.setattr("catalog.bands.open_raster", noted)
    monkeypatch.setattr("catalog.assets.open_raster", noted)
    monkeypatch.setattr("ingest.cog.shutil.copyfile", lambda *_: pytest.fail("it was copied"))
    run.convert()
    assert [opened.count(f"s{seed}.tif") for seed in (1, 3, 5)] == [times] * 3
    assert run.kept == 3
    assert run.summary()["objects"] == 6


@pytest.mark.parametrize("kind", ["raster", "file"])
def test_a_file_that_changed_after_the_plan_is_not_stored_as_what_was_planned(project: Project, kind: str) -> None:
    path = write_cog(project.folder / "a.tif", pixels(1))
    layer = {"kind": kind, "sources": "*.tif", "datetime": "2024-05-01"}
    project.recipe({"scenes": layer})
    run = project.run()
    run.plan()
    write_cog(path, pixels(2))
    with pytest.raises(InvalidInput, match=r"a\.tif changed") as caught:
        run.convert()
    assert caught.value.kind == "changed"
    assert caught.value.hint
    assert project.versions() == []
    assert project.must_ingest().number == 1


def test_a_kept_file_keeps_its_bytes_and_is_left_alone(project: Project) -> None:
    path = write_cog(project.folder / "UPPER.TIFF", pixels(1))
    before = path.read_bytes()
    project.recipe({"scenes": DEFLATE | {"sources": "*.TIFF"}})
    asset = project.must_ingest().item("UPPER")["assets"]["scenes"]
    assert asset["href"].endswith(".tif")
    assert project.catalog.store.get(asset["href"]) == before == path.read_bytes()
    # described as it always was: by the file itself
    assert asset["type"].endswith("profile=cloud-optimized")


def test_a_description_that_changes_touches_no_source_and_no_object(project: Project) -> None:
    write_raster(project.folder / "a.tif", pixels(1))
    write_geojson(project.folder / "labels.geojson")
    layers = {"scenes": RASTERS, "labels": LABELS | {"crs": "EPSG:4326"}}
    project.recipe(layers)
    first = project.must_ingest()
    before = {path: project.catalog.store.get(path) for path in project.objects()}
    project.recipe({"scenes": RASTERS | {"title": "A scene"}, "labels": layers["labels"]})
    second = project.must_ingest()
    assert second.item("a")["assets"]["scenes"]["title"] == "A scene"
    assert second.item("a")["assets"]["scenes"]["href"] == first.item("a")["assets"]["scenes"]["href"]
    assert {path: project.catalog.store.get(path) for path in project.objects()} == before


def test_garbage_collection_leaves_a_run_alone_until_another_took_over(six: Project) -> None:
    first = six.run()
    first.plan()
    stop = RuntimeError("stop")

    def listen(event: Any) -> None:
        if event.step == "convert" and event.done == 4:
            raise stop

    first.on_event = listen
    with pytest.raises(RuntimeError):
        first.convert()

    def gc() -> None:
        for _ in range(2):
            collect(six.catalog, older_than=timedelta(0), delay=timedelta(0), apply=True)

    there = six.objects()
    assert len(there) >= 4
    time.sleep(3.1)  # what was written in the last 3 s is never condemned: a clock's grain
    gc()
    noted = {path for path in there if path.encode() in b"".join(_journal(six))}
    assert len(noted) == 4
    assert noted <= six.objects()
    run = six.run()
    run.plan()
    run.convert()
    assert run.resumed == 4
    run.check()
    staged = run.staged()
    run.verify()
    version = commit_staged(six.catalog, staged, message="m", author="a").version
    time.sleep(3.1)
    gc()
    assert six.objects() == {asset.href for _, asset in version.assets()}
    assert [entry.path for entry in six.catalog.store.list("staging")] == []


def _journal(project: Project) -> list[bytes]:
    entries = project.catalog.store.list("staging")
    return [project.catalog.store.get(entry.path) for entry in entries if "/journal/" in entry.path]


def test_files_on_their_way_share_a_budget_of_memory() -> None:
    budget, most, now = _Budget(10), 0, 0
    lock = threading.Lock()

    def use(amount: int) -> None:
        nonlocal most, now
        with budget.take(amount):
            with lock:
                now += amount
                most = max(most, now)
            time.sleep(0.002)
            with lock:
                now -= amount

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, [3, 4, 10, 1, 2, 6] * 8))
    assert most == 10
    assert now == 0


def test_many_items_are_staged_in_blocks(six: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = six.stage()[1]
    monkeypatch.setattr("ingest.staging._WHOLE", 100)
    monkeypatch.setattr("ingest.staging._LINES", 4)
    run = six.stage()[1]
    assert run.items.lines == read_staged(six.catalog, run.id).items.lines == wanted.items.lines


def test_no_file_asks_for_more_than_there_is() -> None:
    assert max(storing._WHOLE, storing._OF_PARTS) <= storing._BUDGET


@pytest.mark.parametrize("size", [0, 5, storing._WHOLE, storing._WHOLE + 1])
def test_small_and_large_files_are_stored_and_proven(tmp_path: Path, size: int) -> None:
    catalog = Catalog.create(str(tmp_path / "catalog"))
    path = tmp_path / "file.bin"
    path.write_bytes(os.urandom(size))
    with Storing(catalog) as store:
        ref = store.store(path, None, hash_file(path), source=path).result()
        assert path.exists()  # a source
        again = store.store(path, None, None, source=path).result()
        assert not path.exists()  # ours
        gone = store.store(path, None, None, source=path)
        with pytest.raises(NotFound, match=r"file\.bin"):
            gone.result()
    assert (ref.size, again) == (size, ref)


def test_an_executor_that_is_given_is_used_and_left_open(six: Project) -> None:
    pool: Executor = ThreadPoolExecutor(1)
    six.must_ingest(executor=pool)
    assert pool.submit(lambda: 1).result() == 1
    pool.shutdown()
