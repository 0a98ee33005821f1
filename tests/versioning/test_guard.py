"""The guard: it goes back to what was good, once, and leaves alone what people decide."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from version_helpers import AUTHOR, Clock, Editable, save

from versioning import guard as module
from versioning.catalog import Catalog
from versioning.dataset import Dataset
from versioning.errors import Conflict, InvalidInput, NotFound, StorageUnavailable
from versioning.expire import expire
from versioning.guard import GuardReport, Metric, guard
from versioning.numbered import NumberedLog
from versioning.store import open_store
from versioning.verify import verify_chain

GOOD, BAD = Metric("val_iou", 0.8, least=0.75), Metric("val_iou", 0.71, least=0.75)
BOT = "ci"


@pytest.fixture
def store() -> Editable:
    return Editable(open_store("memory://"))


@pytest.fixture
def dataset(store) -> Dataset:
    """v1 to v5, all but v3 with sound checks; stable was v1, v2 and v4, and is v5."""
    dataset = Catalog.create(store, clock=Clock()).dataset("live")
    for number in range(1, 6):
        save(dataset, {"a": number}, advance=number != 3)
    for number in (1, 2, 4, 5):
        promote(dataset, number)
    return dataset


def promote(dataset: Dataset, number: int, why: str = "reviewed") -> None:
    dataset.move("stable", number, why=why, author=AUTHOR)


def run(dataset: Dataset, metric: Metric | None = BAD, **more) -> GuardReport:
    return guard(dataset, metric=metric, author=BOT, **more)


def stable(dataset: Dataset) -> int:
    return dataset.pointers()["stable"]


def test_a_good_value_moves_nothing(dataset):
    report = run(dataset, GOOD)
    assert (report.state, report.fault, report.target) == ("holds", None, 5)
    assert len(list(dataset.moves("stable"))) == 4


def test_a_bad_value_goes_back_and_the_log_says_why(dataset):
    report = run(dataset)
    assert (report.state, report.version, report.target) == ("reverted", 5, 4)
    assert stable(dataset) == 4
    entry = dataset.pointer("stable")
    assert entry is not None
    assert (entry.author, entry.why) == (BOT, "guard: val_iou = 0.71 is below 0.75 (back from v5)")
    assert verify_chain(dataset).ok
    assert report.to_dict() == {
        "dataset": "live",
        "pointer": "stable",
        "judged": "live@v5",
        "state": "reverted",
        "fault": "val_iou = 0.71 is below 0.75",
        "pin": "live@v4",
        "passed": [],
    }


@pytest.mark.parametrize("version", [None, 5])
def test_asking_again_does_nothing(dataset, version):
    run(dataset, version=version)
    for _ in range(3):
        report = run(dataset, version=version)
        assert (report.state, report.target) == ("left", 4)
        assert report.fault is not None
    assert stable(dataset) == 4
    assert run(dataset, GOOD).state == "holds"


def test_a_value_of_another_version_moves_nothing(dataset):
    report = run(dataset, version=2)
    assert (report.state, report.version, report.target) == ("left", 2, 5)
    assert run(dataset, GOOD, version=2).state == "left"
    assert stable(dataset) == 5


def test_one_after_the_other_when_each_is_measured(dataset):
    assert [run(dataset, version=number).target for number in (5, 4, 2)] == [4, 2, 1]
    with pytest.raises(Conflict, match="no version to go back to") as caught:
        run(dataset, version=1)
    assert caught.value.kind == "no-good-version"
    assert stable(dataset) == 1


def test_a_version_that_was_left_is_never_gone_back_to(dataset):
    run(dataset)
    promote(dataset, 5, "once more")
    save(dataset, {"a": 6})
    promote(dataset, 6)
    report = run(dataset)
    assert (report.target, report.passed) == (4, {5: "a guard left it before"})


def test_what_people_rolled_back_from_is_no_version_to_go_back_to(dataset):
    promote(dataset, 4, "v5 has shifted labels")
    assert run(dataset).target == 2


def test_after_a_promotion_it_guards_again(dataset):
    run(dataset)
    promote(dataset, 5)
    assert run(dataset).target == 4


def test_expired_versions_and_failed_checks_are_passed_over(dataset):
    expire(dataset, versions=[4, 2], why="old", author=AUTHOR, apply=True)
    log = NumberedLog(dataset.store, "datasets/live/pointers/stable")
    assert log.head() == 4
    report = run(dataset)
    assert (report.target, report.passed) == (1, {4: "it expired", 2: "it expired"})


def test_too_many_in_a_time(dataset):
    clock = Clock("2026-05-01T00:00:00+00:00")
    timed = Dataset(dataset.store, "live", clock=clock)
    assert run(timed, version=5, at_most=1).state == "reverted"
    with pytest.raises(Conflict, match="guards moved it 1 times") as caught:
        run(timed, version=4, at_most=1)
    assert caught.value.kind == "too-many-reverts"
    assert stable(dataset) == 4
    clock.moment += timedelta(days=2)
    assert run(timed, version=4, at_most=1).target == 2


def test_a_dry_run_changes_nothing(dataset):
    report = run(dataset, apply=False)
    assert (report.state, report.target) == ("would-revert", 4)
    assert stable(dataset) == 5


@pytest.mark.parametrize("person", [2, 5, 6])
def test_a_promotion_while_the_guard_works_stays(dataset, person, monkeypatch):
    """Also one to the version that the guard is about to leave: somebody looked at it, and decided."""
    save(dataset, {"a": 6})
    back = module._back

    def meanwhile(*arguments):
        promote(Dataset(dataset.store, "live", clock=dataset.now), person)
        return back(*arguments)

    monkeypatch.setattr(module, "_back", meanwhile)
    report = run(dataset)
    assert (report.state, report.target) == ("overtaken", person)
    assert stable(dataset) == person
    assert [move.author for move in dataset.moves("stable")] == [AUTHOR] * 5
    assert verify_chain(dataset).ok


def test_two_guards_at_once_move_once(dataset, monkeypatch):
    back, others = module._back, []

    def meanwhile(*arguments):
        monkeypatch.setattr(module, "_back", back)
        others.append(run(Dataset(dataset.store, "live", clock=dataset.now)))
        return back(*arguments)

    monkeypatch.setattr(module, "_back", meanwhile)
    assert run(dataset).state == "overtaken"
    assert [other.state for other in others] == ["reverted"]
    assert stable(dataset) == 4


def test_latest_goes_back_to_what_its_version_was_made_from(dataset):
    assert run(dataset, pointer="latest").target == 4
    assert dataset.latest_number() == 4
    assert run(dataset, pointer="latest", version=5).state == "left"
    # Committed on top of v4; not v5, which was left, and not v3, whose checks failed.
    save(dataset, {"a": 7})
    assert dataset.record(6).parent == 4
    assert run(dataset, pointer="latest", version=6).target == 4
    assert run(dataset, pointer="latest", version=4).target == 2


def test_a_commit_while_the_guard_works_is_latest(dataset, monkeypatch):
    back = module._back

    def meanwhile(*arguments):
        save(dataset, {"b": 1})
        return back(*arguments)

    monkeypatch.setattr(module, "_back", meanwhile)
    assert run(dataset, pointer="latest").target == 4
    assert dataset.latest_number() == 6


def test_a_corrupt_version_is_left_and_other_corrupt_ones_passed_over(dataset, store):
    assert run(dataset, None, verify=True).state == "holds"
    for number in (5, 4):
        (file,) = {ref.sha256.hex() for chunk in dataset.version(number).chunks for ref in chunk.files}
        store.changed[f"datasets/live/manifests/{file}.parquet"] = b"damaged" if number == 5 else None
    # The objects are there for all: the only damage is that of the manifests.
    report = run(dataset, None, verify=True)
    assert (report.state, report.target) == ("reverted", 2)
    assert report.fault is not None
    assert "/manifests/" in report.fault
    assert "missing" in report.passed[4]
    assert run(dataset, None, verify=True).state == "holds"


@pytest.fixture(autouse=True)
def _the_object(request):
    if "store" in request.fixturenames:
        from versioning.objects import Objects

        Objects(request.getfixturevalue("store")).put_bytes(b"data", ".tif")


def test_a_value_and_a_proof_together(dataset, store):
    assert run(dataset, GOOD, verify=True).state == "holds"
    assert run(dataset, BAD, verify=True).target == 4
    again = run(dataset, BAD, verify=True)
    assert (again.state, again.fault) == ("left", "val_iou = 0.71 is below 0.75")
    (file,) = {ref.sha256.hex() for chunk in dataset.version(4).chunks for ref in chunk.files}
    store.changed[f"datasets/live/manifests/{file}.parquet"] = None
    report = run(dataset, BAD, verify=True)
    assert (report.state, report.target) == ("reverted", 2)
    assert "v4 is damaged" in str(report.fault)


def test_a_lost_object_and_a_lost_record(dataset, store):
    path = dataset.log.path(5)
    store.changed[path] = b"{}"
    report = run(dataset, None, verify=True)
    assert (report.state, report.target) == ("reverted", 4)
    del store.changed[path]
    store.changed[next(asset.href for _, asset in dataset.version(4).assets())] = None
    with pytest.raises(Conflict, match="no version to go back to"):
        run(dataset, None, verify=True)
    assert stable(dataset) == 4


def test_damage_elsewhere_in_the_dataset_is_no_fault_of_the_version(dataset, store):
    dataset.tag("v0.1.0", 1, author=AUTHOR)
    store.changed["datasets/live/tags/v0.1.0.json"] = b"{}"
    store.changed[dataset.log.path(3)] = b"{}"
    assert run(dataset, None, verify=True).state == "holds"


def test_a_store_that_does_not_answer_is_no_fault(dataset, store, monkeypatch):
    def away(path: str) -> int:
        raise StorageUnavailable("away")

    monkeypatch.setattr(store, "stream", away)
    with pytest.raises(StorageUnavailable):
        run(dataset, None, verify=True)
    assert stable(dataset) == 5


@pytest.mark.parametrize(
    ("metric", "fault"),
    [
        (Metric("m", 1.0, least=1.0), None),
        (Metric("m", 1.0, most=1.0), None),
        (Metric("m", 0.5, least=0.0, most=1.0), None),
        (Metric("loss", 2.5, most=1.0), "loss = 2.5 is above 1"),
        (Metric("iou", 0.74999999, least=0.75), "iou = 0.74999999 is below 0.75"),
        (Metric("loss", 1234567.5, most=1234567.0), "loss = 1234567.5 is above 1234567.0"),
        (Metric("m", math.inf, most=1.0), "m = inf is above 1"),
        (Metric("m", -math.inf, least=1.0), "m = -inf is below 1"),
        (Metric("m", math.nan, least=1.0), "m is not a number"),
        (Metric("m", math.nan, most=1.0), "m is not a number"),
    ],
)
def test_metrics(metric, fault):
    assert metric.fault() == fault


@pytest.mark.parametrize("limits", [{}, {"least": 2.0, "most": 1.0}, {"least": math.nan}, {"most": math.nan}])
def test_limits_that_make_no_sense(dataset, limits):
    with pytest.raises(InvalidInput, match="make no sense"):
        run(dataset, Metric("m", 1.5, **limits))


def test_refusals(dataset):
    with pytest.raises(InvalidInput, match="something to judge by"):
        run(dataset, None)
    with pytest.raises(NotFound, match="no pointer 'candidate'"):
        run(dataset, pointer="candidate")
    with pytest.raises(InvalidInput, match="pointer"):
        run(dataset, pointer="../x")
    with pytest.raises(NotFound):
        run(Dataset(dataset.store, "nowhere", clock=dataset.now), pointer="latest")
