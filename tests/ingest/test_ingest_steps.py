"""The order of a run, what happens when it is cut off, and commits of what was staged."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ingest_samples import DAY, RASTERS, Project, pixels, write_cog, write_raster
from obstore.store import LocalStore

from catalog.query import Query
from catalog.search import iterate
from ingest.publish import commit_staged
from ingest.run import Run, Stage
from ingest.staging import find_staged, read_staged
from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.errors import Conflict, Integrity, InvalidInput, NotFound, StacpinError, StorageUnavailable
from versioning.store import ObstoreStore

STEPS = ("plan", "convert", "check", "staged", "verify")


@pytest.fixture
def scenes(project: Project) -> Project:
    for seed, name in enumerate("ab"):
        write_raster(project.folder / f"{name}.tif", pixels(seed))
    project.recipe()
    return project


def damage(catalog: Catalog, href: str) -> None:
    path = catalog.store.local_root / href
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("done", range(len(STEPS)))
def test_no_step_can_be_skipped_or_repeated(scenes: Project, done: int) -> None:
    run = scenes.run()
    for step in STEPS[:done]:
        getattr(run, step)()
    for number, step in enumerate(STEPS):
        if number == done:
            continue
        with pytest.raises(InvalidInput, match="cannot become") as caught:
            getattr(run, step)()
        assert caught.value.kind == "step-out-of-order"
        assert STEPS[done].rstrip("ed")[:4] in str(caught.value.hint)
    assert run.stage == Stage(done)
    getattr(run, STEPS[done])()


class Spoils(ObstoreStore):
    """A store that changes a byte of each object that it is given, or loses it."""

    def __init__(self, folder: str, how: str) -> None:
        super().__init__(folder, LocalStore(folder), local_root=Path(folder))
        self.how = how

    def put_new(self, path: str, data: bytes) -> bool:
        if not path.startswith("objects/"):
            return super().put_new(path, data)
        if self.how == "loses":
            return True
        spoiled = bytearray(data)
        spoiled[len(data) // 2] ^= 1
        return super().put_new(path, bytes(spoiled[:-1] if self.how == "cuts" else spoiled))


@pytest.mark.parametrize(("how", "error"), [("alters", Integrity), ("cuts", Integrity), ("loses", NotFound)])
@pytest.mark.parametrize("keeps", [True, False])
def test_what_the_store_spoils_is_found_before_the_commit(
    scenes: Project, how: str, error: type[StacpinError], keeps: bool
) -> None:
    first = scenes.must_ingest()
    (write_cog if keeps else write_raster)(scenes.folder / "a.tif", pixels(5))
    run = Run(Catalog.open(Spoils(scenes.catalog.url, how)), scenes.recipe(), scenes.folder)
    run.plan()
    with pytest.raises(error):
        run.convert()
    assert scenes.catalog.resolve("fields").number == first.number
    # nothing of it can be committed by hand either, and it says why it ended
    assert list(find_staged(scenes.catalog)) == []
    failed = json.loads(scenes.catalog.store.get(f"staging/{run.id}/failed.json"))
    assert failed["reason"]["kind"] in {"altered", "truncated", "no-such-object"}
    assert failed["objects"] == []  # none that could be trusted


def test_what_was_corrupted_while_it_waited_is_not_committed(scenes: Project) -> None:
    _, staged = scenes.stage()
    waiting = read_staged(scenes.catalog, staged.id)
    damage(scenes.catalog, staged.items[0]["assets"]["scenes"]["href"])
    with pytest.raises(Integrity):
        commit_staged(scenes.catalog, waiting, message="m", author="a")
    assert scenes.versions() == []


def test_a_missing_object_is_not_committed(scenes: Project) -> None:
    _, staged = scenes.stage()
    waiting = read_staged(scenes.catalog, staged.id)
    (scenes.catalog.store.local_root / staged.items[1]["assets"]["scenes"]["href"]).unlink()
    with pytest.raises(NotFound):
        commit_staged(scenes.catalog, waiting, message="m", author="a")
    assert scenes.versions() == []


def test_a_run_that_just_proved_its_objects_reads_them_once(scenes: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    _, staged = scenes.stage()
    monkeypatch.setattr(scenes.catalog.objects, "read", lambda *_: pytest.fail("it was read again"))
    assert commit_staged(scenes.catalog, staged, message="m", author="a").created


def test_staged_items_are_invisible_until_they_are_committed(scenes: Project) -> None:
    first = scenes.must_ingest()
    write_raster(scenes.folder / "c.tif", pixels(8))
    _, staged = scenes.stage()

    def seen() -> list[str]:
        return [item["id"] for item in iterate(Catalog.open(scenes.catalog.url).resolve("fields"), Query.parse())]

    assert seen() == ["a", "b"]
    assert [run.id for run in find_staged(scenes.catalog, "fields")] == [staged.id]
    done = commit_staged(scenes.catalog, read_staged(scenes.catalog, staged.id), message="later", author="a")
    assert (done.version.number, done.version.record.parent) == (2, first.number)
    assert seen() == ["a", "b", "c"]
    assert list(find_staged(scenes.catalog)) == []


def test_the_plan_lies_beside_what_is_staged(scenes: Project) -> None:
    scenes.must_ingest()
    write_raster(scenes.folder / "c.tif", pixels(8))
    run, staged = scenes.stage()
    plan = json.loads(scenes.catalog.store.get(f"staging/{staged.id}/plan.json"))
    whole = run._planned().to_dict()
    assert plan == whole | {"items": [item for item in whole["items"] if item["state"] != "unchanged"]}
    assert (plan["new"], plan["unchanged"], [item["id"] for item in plan["items"]]) == (1, 2, ["c"])


def test_a_second_commit_of_a_run_makes_no_version(scenes: Project) -> None:
    _, staged = scenes.stage()
    assert commit_staged(scenes.catalog, staged, message="m", author="a").created
    again = commit_staged(scenes.catalog, read_staged(scenes.catalog, staged.id), message="m", author="a")
    assert (again.created, again.version.number) == (False, 1)
    assert scenes.versions() == [1]


def test_a_commit_after_one_on_other_items_is_applied_on_top(scenes: Project) -> None:
    scenes.must_ingest()
    write_raster(scenes.folder / "a.tif", pixels(11))
    _, mine = scenes.stage()
    write_raster(scenes.folder / "a.tif", pixels(0))  # somebody else has the old a and another b
    write_raster(scenes.folder / "b.tif", pixels(12))
    theirs = scenes.must_ingest()
    done = commit_staged(scenes.catalog, mine, message="m", author="a")
    assert (done.version.number, done.version.record.parent) == (3, theirs.number)
    wanted = {item["id"]: item["assets"]["scenes"]["pin:digest"] for item in mine.items}
    assert done.version.item("a")["assets"]["scenes"]["pin:digest"] == wanted["a"]
    assert done.version.item("b") == theirs.item("b")


def test_a_commit_after_one_on_the_same_item_is_a_conflict(scenes: Project) -> None:
    scenes.must_ingest()
    write_raster(scenes.folder / "a.tif", pixels(11))
    _, mine = scenes.stage()
    write_raster(scenes.folder / "a.tif", pixels(12))
    scenes.must_ingest()
    with pytest.raises(Conflict, match="changed the same items: a"):
        commit_staged(scenes.catalog, mine, message="m", author="a")
    assert scenes.versions() == [1, 2]


def test_a_failed_check_keeps_latest_where_it_is(scenes: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes.must_ingest()
    write_raster(scenes.folder / "c.tif", pixels(8))
    run = scenes.run()
    run.plan()
    run.convert()
    run.check().append({"name": "by-hand", "passed": False})
    staged = run.staged()
    run.verify()
    assert not staged.passed
    done = commit_staged(scenes.catalog, staged, message="m", author="a")
    assert done.version.number == 2
    assert scenes.catalog.resolve("fields").number == 1
    assert scenes.catalog.resolve("fields@v2").record.checks[-1] == {"name": "by-hand", "passed": False}


KILLED = """
import os, signal, sys
from pathlib import Path
from ingest.recipe import load_recipe
from ingest.publish import commit_staged
from ingest.run import Run
from versioning.catalog import Catalog

phase, count, catalog, folder = sys.argv[1], int(sys.argv[2]), Catalog.open(sys.argv[3]), Path(sys.argv[4])

def die(event):
    if event.step == phase and event.done == count:
        os.kill(os.getpid(), signal.SIGKILL)

run = Run(catalog, load_recipe(folder / "stacpin.yaml"), folder, on_event=die)
run.plan()
run.convert()
run.check()
staged = run.staged()
if phase == "staged":
    os.kill(os.getpid(), signal.SIGKILL)
run.verify()
if phase == "before-commit":
    os.kill(os.getpid(), signal.SIGKILL)
commit_staged(catalog, staged, message="m", author="a", on_event=die)
"""
POINTS = [
    ("plan", 1),
    ("convert", 0),
    ("convert", 1),
    ("convert", 2),
    ("staged", 0),
    ("before-commit", 0),
    ("commit", 1),
]


@pytest.mark.slow
def test_a_killed_run_leaves_the_old_version_or_the_new_one(scenes: Project, tmp_path: Path) -> None:
    """Killed at each of these points and run again, it ends with what was never killed."""
    whole = Project(scenes.folder, Catalog.create("memory://"))
    wanted = whole.must_ingest().digest
    projects, processes = [], []
    for number, (phase, count) in enumerate(POINTS):
        project = Project(scenes.folder, Catalog.create(str(tmp_path / f"killed{number}")))
        words = [sys.executable, "-c", KILLED, phase, str(count), project.catalog.url, str(project.folder)]
        environment = os.environ | {"STACPIN_CACHE": str(tmp_path / f"cache{number}")}
        projects.append(project)
        processes.append(subprocess.Popen(words, env=environment, stderr=subprocess.PIPE))
        if len(processes) % 3 == 0:
            processes[-1].wait(60)
    ends = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]
    for (phase, _), project, (said, code) in zip(POINTS, projects, ends, strict=True):
        assert code == -signal.SIGKILL, said.decode()
        seen = project.versions()
        assert seen == ([1] if phase == "commit" else [])
        if seen:
            assert project.catalog.resolve("fields").digest == wanted
        done = project.ingest()
        assert (done is None) == (phase == "commit")
        assert project.versions() == [1]
        assert project.catalog.resolve("fields").digest == wanted
        assert project.objects() == whole.objects()


@pytest.mark.slow
def test_processes_threads_and_none_give_the_same_version(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.workers._MANY_FILES", 3)
    for seed in range(6):
        write_raster(project.folder / f"s{seed}.tif", pixels(seed))
    project.recipe({"scenes": RASTERS | {"datetime": DAY, "cog": {"compress": "zstd"}}})
    digests = set()
    for options in ({"workers": 1}, {"workers": 2}, {"executor": ThreadPoolExecutor(3)}):
        each = Project(project.folder, Catalog.create("memory://"))
        digests.add(each.must_ingest(**options).digest)
        executor: Any = options.get("executor")
        if executor is not None:
            executor.shutdown()
    assert len(digests) == 1


def test_a_refusal_in_a_pool_stops_the_run(project: Project) -> None:
    for seed in range(6):
        write_raster(project.folder / f"s{seed}.tif", pixels(seed))
    # fine to read, but no GeoTIFF can hold two nodata values: it is the conversion that refuses it
    write_two_nodatas(project.folder / "s9.vrt", project.folder / "s1.tif")
    project.recipe({"scenes": RASTERS | {"sources": ["*.tif", "*.vrt"], "item": "{parent}-{stem}"}})
    before = project.listing()
    with ThreadPoolExecutor(2) as pool, pytest.raises(InvalidInput, match=r"s9\.vrt"):
        project.ingest(executor=pool)
    assert project.listing() == before


def test_a_worker_that_dies_is_said_so(scenes: Project) -> None:
    before = scenes.listing()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        os.kill(pool.submit(os.getpid).result(), signal.SIGKILL)
        with pytest.raises(StorageUnavailable, match="worker") as caught:
            scenes.ingest(executor=pool)
    assert caught.value.kind == "worker-died"
    assert "--workers" in str(caught.value.hint)
    assert scenes.listing() == before


def write_two_nodatas(path: Path, source: Path) -> None:
    bands = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{at}"><NoDataValue>{at}</NoDataValue><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{source.name}</SourceFilename><SourceBand>1</SourceBand>'
        '<SrcRect xOff="0" yOff="0" xSize="80" ySize="60"/><DstRect xOff="0" yOff="0" xSize="80" ySize="60"/>'
        "</SimpleSource></VRTRasterBand>"
        for at in (1, 2)
    )
    path.write_text(
        '<VRTDataset rasterXSize="80" rasterYSize="60"><SRS>EPSG:32618</SRS>'
        f"<GeoTransform>500000, 10, 0, 4000000, 0, -10</GeoTransform>{bands}</VRTDataset>"
    )


def test_two_runs_of_one_dataset_do_not_share_a_staging_folder(scenes: Project) -> None:
    ids = {Run(scenes.catalog, scenes.recipe(), scenes.folder).id for _ in range(5)}
    assert len(ids) == 5


def test_other_changes_than_items_commit_concurrently(scenes: Project) -> None:
    """A hand-made commit in between, of an item that the recipe does not know, is taken out again by the next run."""
    first = scenes.must_ingest()
    item = first.item("a") | {"id": "foreign"}
    commit(scenes.catalog.dataset("fields"), items=[item], message="m", author="b")
    run = scenes.run()
    assert run.plan().removed == ["foreign"]
