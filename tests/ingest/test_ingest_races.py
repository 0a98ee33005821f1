"""Two runs of one dataset at once: both changes, or a Conflict; and what follows from all items is that of all."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from ingest_samples import RASTERS, Project, pixels, write_raster

from catalog.summaries import dataset_summaries
from ingest.checks import check_items
from ingest.describe import collection_of
from ingest.publish import commit_staged
from ingest.staging import StagedRun
from versioning.catalog import Catalog
from versioning.errors import Conflict
from versioning.version import Version


@pytest.fixture
def places(project: Project, tmp_path: Path) -> list[Project]:
    """Several folders with the same recipe for the same dataset of the same catalog."""
    return [Project(tmp_path / f"place{number}", Catalog.open(project.catalog.url)) for number in range(4)]


def scenes(project: Project, names: str, *, seed: int = 0, **layer: Any) -> None:
    for path in project.folder.glob("*.tif"):
        path.unlink()
    for number, name in enumerate(names):
        write_raster(project.folder / f"{name}.tif", pixels(seed + number + ord(name)))
    properties = {"platform": "{parent}", "gsd": 10 + int(project.folder.name[-1])}
    project.recipe({"scenes": RASTERS | {"properties": properties} | layer})


def staged(project: Project) -> StagedRun:
    found = project.stage()[1]
    assert found is not None
    return found


def proper(version: Version, project: Project) -> None:
    """What the record says of all items is what all items say."""
    items = [row.parse() for row in version.rows()]
    assert version.record.summaries == dataset_summaries(items)
    recipe = project.run().recipe
    assert version.record.collection == collection_of(recipe, items)
    assert list(version.record.checks) == check_items(items)


def test_two_runs_that_leave_nothing_do_not_become_latest(places: list[Project]) -> None:
    """Each took out what the other kept: "not-empty" was said of what each had made, and of nothing that was left."""
    one, other, *_ = places
    scenes(one, "xy")
    one.must_ingest()
    scenes(one, "x")
    scenes(other, "y")
    for path, seed in ((one.folder / "x.tif", ord("x")), (other.folder / "y.tif", ord("y") + 1)):
        write_raster(path, pixels(seed))  # as in the first version
    other.recipe({"scenes": RASTERS | {"properties": {"platform": "place0", "gsd": 10}}})
    first, second = staged(one), staged(other)
    assert (first.remove, second.remove) == (["y"], ["x"])
    assert commit_staged(one.catalog, first, message="m", author="a").version.number == 2
    done = commit_staged(other.catalog, second, message="m", author="a")
    assert done.version.number == 3
    assert done.version.record.statistics.items == 0
    assert not done.version.record.advance
    assert {check["name"]: check["passed"] for check in done.version.record.checks}["not-empty"] is False
    assert done.version.record.summaries == {}
    assert one.catalog.resolve("fields").number == 2


def test_what_is_said_of_all_items_is_said_of_all(places: list[Project]) -> None:
    one, other, *_ = places
    scenes(one, "ab")
    scenes(other, "cd")
    first, second = staged(one), staged(other)
    commit_staged(one.catalog, first, message="m", author="a")
    done = commit_staged(other.catalog, second, message="m", author="a")
    assert [row.id for row in done.version.rows()] == ["a", "b", "c", "d"]
    assert done.version.record.parent == 1
    assert done.version.record.summaries["platform"] == ["place0", "place1"]
    assert done.version.record.summaries["gsd"] == [10, 11]
    proper(done.version, other)


def test_many_at_once_all_land(places: list[Project]) -> None:
    for project, names in zip(places, ("ab", "cd", "ef", "gh"), strict=True):
        scenes(project, names)
    runs = [staged(project) for project in places]
    barrier = Barrier(len(runs))

    def commit(at: int) -> Version:
        barrier.wait()
        return commit_staged(places[at].catalog, runs[at], message="m", author="a").version

    with ThreadPoolExecutor(len(runs)) as pool:
        versions = sorted(pool.map(commit, range(len(runs))), key=lambda version: version.number)
    assert [version.number for version in versions] == [1, 2, 3, 4]
    assert [version.record.statistics.items for version in versions] == [2, 4, 6, 8]
    for version in versions:
        proper(version, places[0])


def test_the_same_item_is_a_conflict_and_equal_changes_are_none(places: list[Project]) -> None:
    one, other, *_ = places
    scenes(one, "ab")
    scenes(other, "bc", properties={"platform": "place0", "gsd": 10})
    first, second = staged(one), staged(other)
    write_raster(other.folder / "b.tif", pixels(1 + ord("b")))  # as in the first folder
    write_raster(other.folder / "c.tif", pixels(7))
    third = staged(other)
    commit_staged(one.catalog, first, message="m", author="a")
    with pytest.raises(Conflict, match="fields@v1 changed the same items: b"):
        commit_staged(other.catalog, second, message="m", author="a")
    done = commit_staged(other.catalog, third, message="m", author="a")
    assert (done.version.number, done.added, done.changed) == (2, 1, 0)
    proper(done.version, one)


def test_what_one_took_out_the_other_cannot_change(places: list[Project]) -> None:
    one, other, *_ = places
    scenes(one, "ab")
    one.must_ingest()
    (one.folder / "a.tif").unlink()
    first = staged(one)
    scenes(other, "ab", seed=5, properties={"platform": "place0", "gsd": 10})
    second = staged(other)
    commit_staged(one.catalog, first, message="m", author="a")
    with pytest.raises(Conflict, match="changed the same items: a"):
        commit_staged(other.catalog, second, message="m", author="a")


@pytest.mark.parametrize("both", [False, True])
def test_metadata_of_one_side_is_kept_of_two_is_a_conflict(places: list[Project], both: bool) -> None:
    one, other, *_ = places
    scenes(one, "a")
    one.must_ingest()
    recipe = {"scenes": RASTERS | {"properties": {"platform": "place0", "gsd": 10}}}
    one.recipe(recipe, description="theirs", license="CC0-1.0")
    first = staged(one)
    write_raster(other.folder / "a.tif", pixels(ord("a")))
    write_raster(other.folder / "b.tif", pixels(3))
    other.recipe(recipe, **({"description": "mine"} if both else {"keywords": ["fields"]}))
    second = staged(other)
    commit_staged(one.catalog, first, message="m", author="a")
    if both:
        with pytest.raises(Conflict, match="metadata too: description"):
            commit_staged(other.catalog, second, message="m", author="a")
        return
    collection = commit_staged(other.catalog, second, message="m", author="a").version.record.collection
    said = (collection["keywords"], collection["description"], collection["license"])
    assert said == (["fields"], "theirs", "CC0-1.0")


def test_a_check_of_somebody_elses_stays(places: list[Project]) -> None:
    one, other, *_ = places
    scenes(one, "a")
    scenes(other, "b")
    first, second = staged(one), staged(other)
    second.checks.append({"name": "by-hand", "passed": False})
    commit_staged(one.catalog, first, message="m", author="a")
    done = commit_staged(other.catalog, second, message="m", author="a")
    assert done.version.record.checks[-1] == {"name": "by-hand", "passed": False}
    assert not done.version.record.advance


def test_what_one_version_says_follows_from_all_items_whatever_changed(project: Project) -> None:
    """The short way, which looks at changed items alone, says what the long one does."""
    table: dict[str, dict[str, Any]] = {}

    def ingest(names: str, **clouds: float) -> Version:
        for path in project.folder.glob("*.tif"):
            if path.stem not in names:
                path.unlink()
        for name in names:
            if not (project.folder / f"{name}.tif").exists():
                write_raster(project.folder / f"{name}.tif", pixels(ord(name)))
            table.setdefault(name, {"eo:cloud_cover": ord(name) % 10, "platform": name})
        for name, value in clouds.items():
            table[name]["eo:cloud_cover"] = value
        (project.folder / "more.json").write_text(json.dumps({name: table[name] for name in names}))
        project.recipe({"scenes": RASTERS | {"metadata": "more.json"}})
        version = project.must_ingest()
        proper(version, project)
        return version

    ingest("abcd")
    write_raster(project.folder / "b.tif", pixels(1234))
    assert ingest("abcd").record.statistics.changed == 1  # the same summaries
    ingest("abcd", a=99)  # a new greatest value
    ingest("abcd", a=50)  # which goes again
    ingest("abcde")
    ingest("bcde")
    ingest("bcde", b=3, c=2)  # values that changed places


def test_changed_pixels_alone_do_not_read_all_items(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        write_raster(project.folder / f"{name}.tif", pixels(ord(name)))
    project.recipe()
    project.must_ingest()
    write_raster(project.folder / "b.tif", pixels(5))
    monkeypatch.setattr("ingest.whole.items_after", lambda *_: pytest.fail("all items were read"))
    proper(project.must_ingest(), project)
