"""The state machine, with ingests: files of a folder become versions, whatever dies; what was proven stays done."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from faults import KINDS, Fault
from hypothesis import strategies as st
from hypothesis.stateful import rule
from model_machine import FILES, IDS, rivals
from model_state import TALLY, Change, Content, History, bytes_of
from model_upkeep import UpkeepMachine
from version_helpers import AUTHOR

from ingest import journal, storing
from ingest.cache import DigestCache
from ingest.describe import software
from ingest.publish import commit_staged
from ingest.recipe import load_recipe
from ingest.run import Run
from ingest.staging import find_staged, mark_discarded, read_staged, staged_files
from versioning.candidates import staged_folders
from versioning.catalog import Catalog
from versioning.commit import CommitResult
from versioning.errors import Conflict, Expired, Forbidden, StacpinError, StorageUnavailable
from versioning.version import Version

__all__ = ["IngestMachine"]

RECIPE = """
dataset: files
layers:
  data: {kind: file, sources: "*.bin", datetime: 2024-05-01T00:00:00Z}
"""
# Few of them, so that runs meet what others have changed; their objects are those of the other datasets, too.
STEMS = IDS[:12]

# An ingest makes some 40 calls, a dozen of which write.
ingest_kinds = st.sampled_from([*KINDS, "crash", "crash-after", "late", "after"])
ingest_faults = st.none() | st.one_of(
    st.builds(Fault, ingest_kinds, st.integers(1, 45)),
    st.builds(Fault, ingest_kinds, st.integers(1, 18), writes=st.just(True)),
    st.builds(Fault, st.just("pause"), st.integers(1, 45)),
)
# Values whose bytes differ, see bytes_of.
some_files = st.dictionaries(st.sampled_from(STEMS), st.integers(0, 4), max_size=5)
gone_files = st.frozensets(st.sampled_from(STEMS), max_size=3)


@dataclass(slots=True)
class FileHistory(History):
    """A dataset that ingests make: a value stands for the bytes of the item's file."""

    items: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def check_content(self, version: Version, content: Content) -> None:
        found = {}
        for row in version.rows():
            item = row.parse()
            found[row.id] = item["assets"]["data"]["file:checksum"]
            # The same file makes the same item, whichever run it was and whatever became of it.
            assert self.items.setdefault((row.id, found[row.id]), item) == item
        assert found == {key: f"1220{digest_of(key, value)}" for key, value in content.items()}
        assert version.record.statistics.items == len(content)
        assert version.record.advance

    def items_of(self, content: Content) -> list[dict[str, Any]]:
        return [self.items[key, f"1220{digest_of(key, value)}"] for key, value in content.items()]


def digest_of(item_id: str, value: int) -> str:
    return hashlib.sha256(bytes_of(item_id, value)).hexdigest()


class Inline(Executor):
    """Does at once what threads would do later, so that a seed gives the same calls in the same order."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def submit(self, act: Callable[..., Any], /, *args: Any, **more: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(act(*args, **more))
        except StacpinError as error:
            future.set_exception(error)
        return future


@dataclass(slots=True)
class Attempt:
    """What an ingest was and how far it came; filled in while it is under way."""

    change: Change
    run: Run | None = None
    result: CommitResult | None = None
    stored: list[str] = field(default_factory=list)


class IngestMachine(UpkeepMachine):
    """Adds the dataset ``files``, which ingests make of a folder."""

    def __init__(self) -> None:
        super().__init__()
        self.models[FILES] = FileHistory()
        self.known[FILES] = {}
        self.scratch = Path(tempfile.mkdtemp(prefix="stacpin-model-"))
        self.cache = DigestCache(self.scratch / "cache" / "digests.sqlite")
        self.folder_of_files = self.scratch / "files"
        self.content: Content = {}
        self.others_live = False
        self.waiting: dict[str, Change] = {}
        told = software()  # it reads the metadata of all packages, each time
        patches = [
            mock.patch.dict(os.environ, STACPIN_CACHE=str(self.scratch / "cache")),
            mock.patch("ingest.run.software", return_value=told),
            mock.patch.object(storing, "ThreadPoolExecutor", Inline),
            mock.patch.object(journal, "ThreadPoolExecutor", Inline),
            mock.patch.object(journal, "_EVERY", 2),
            # The process that began a run has died when the next one begins, but for one that a rival interrupts.
            mock.patch("ingest.unfinished._runs", self.is_alive),
        ]
        for patch in patches:
            patch.start()
        self.patches += patches

    def is_alive(self, _: int) -> bool:
        return self.others_live

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.cache.close()
            shutil.rmtree(self.scratch)

    def check_nothing_is_left(self) -> None:
        """Also nothing of runs, once somebody has said that nobody waits for them."""
        catalog = Catalog.open(self.disk, clock=self.clock)
        for run_id in staged_files(catalog):
            mark_discarded(catalog, run_id)
        super().check_nothing_is_left()
        assert not list(staged_folders(self.disk))

    # -- runs

    def write_files(self, folder: Path, content: Content) -> None:
        """The folder then holds these files and no others; what stays as it is is not written again."""
        folder.mkdir(exist_ok=True)
        (folder / "stacpin.yaml").write_text(RECIPE)
        for path in folder.glob("*.bin"):
            if path.stem not in content:
                path.unlink()
        for key, value in content.items():
            path, data = folder / f"{key}.bin", bytes_of(key, value)
            if not path.exists() or path.read_bytes() != data:
                path.write_bytes(data)

    def do_ingest(self, catalog: Catalog, folder: Path, attempt: Attempt) -> None:
        """A whole run; without a result if it changes nothing."""
        recipe = load_recipe(folder / "stacpin.yaml")
        run = attempt.run = Run(catalog, recipe, folder, workers=1, cache=self.cache)
        plan = run.plan()
        base = plan.parent.number if plan.parent else 0
        attempt.change = replace(attempt.change, base=base, removed=frozenset(plan.removed))
        self.known[FILES][attempt.change.id] = attempt.change
        try:
            run.convert()
        finally:
            calls = getattr(catalog.store, "calls", [])
            attempt.stored = [call.path for call in calls if call.verb == "put_new" and "objects/" in call.path]
        run.check()
        staged = run.staged()
        if staged is not None:
            run.verify()
            attempt.result = commit_staged(catalog, staged, message=attempt.change.id, author=AUTHOR)

    def run_rival(self, name: str, rival: tuple[str, int]) -> None:
        """The rival of an ingest is an ingest, from a folder of its own."""
        kind, seed = rival
        if kind != "commit" or name != FILES:
            super().run_rival(name, rival)
            return
        TALLY["rival ingest"] += 1
        chance = random.Random(seed)
        there = self.models[FILES].content(self.models[FILES].latest())
        content = {key: value for key, value in there.items() if chance.random() < 0.9}
        content |= {key: chance.randrange(5) for key in chance.sample(STEMS, chance.choice([1, 1, 2]))}
        folder = self.scratch / "rival"
        self.write_files(folder, content)
        self.others_live = True
        try:
            change = Change(self.next_id("rival ingest"), 0, content, frozenset())
            self.do_ingest(Catalog.open(self.disk, clock=self.clock), folder, Attempt(change))
        finally:
            self.others_live = False

    def noted(self, run_id: str) -> int:
        """How many files the journal of a run vouches for."""
        batches = [entry.path for entry in self.disk.list(f"staging/{run_id}/journal")]
        return sum(self.disk.get(path).count(b"\n") for path in batches)

    # -- rules

    @rule(who=st.integers(0, 1), put=some_files, gone=gone_files, fault=ingest_faults, rival=rivals,
          again=st.sampled_from([True, True, False]))  # fmt: skip
    def ingest(self, who, put, gone, fault, rival, again):
        """Files are added, changed and removed; then the folder is ingested."""
        self.content = {key: value for key, value in self.content.items() if key not in gone} | put
        self.content = self.content or {STEMS[0]: 0}
        self.write_files(self.folder_of_files, self.content)
        first = self.ingest_once(who, fault, rival)
        if not again:
            return
        # Whoever runs it again gets there, and does nothing twice that was stored and proven.
        noted = self.noted(first.run.id) if first.run else 0
        second = self.ingest_once(who, None, None)
        TALLY["ingests run again"] += 1
        if second.run is None or second.result is None:
            return
        told = second.run.summary()
        TALLY["files resumed"] += told["resumed"]
        assert len(second.stored) == told["files"] - told["resumed"]
        if second.change.base == first.change.base:
            assert told["resumed"] >= noted

    def ingest_once(self, who: int, fault: Fault | None, rival: tuple[str, int] | None) -> Attempt:
        """Ingest the folder under a fault, and judge what came of it."""
        model = self.models[FILES]
        attempt = Attempt(Change(self.next_id("ingest"), 0, self.content, frozenset()))
        old = model.latest()
        TALLY["ingests tried"] += 1

        def act(catalog: Catalog) -> None:
            self.do_ingest(catalog, self.folder_of_files, attempt)

        _, error, struck, news = self.under(who, fault, self.rival_of(rival), act)
        change, run = attempt.change, attempt.run
        latests = self.latests(old, change, struck=struck)
        if change.id in self.known[FILES]:
            assert change.base in latests
            assert change.removed == model.content(change.base).keys() - self.content.keys()
        self.judge(attempt, error, news, latests, struck=struck)
        if error is None:
            assert run is not None
            assert run.id not in staged_files(Catalog.open(self.disk)) or struck
        elif run is not None:
            self.waiting[run.id] = change
        if not struck:
            assert (change.id in news) == (error is None and self.content != model.content(old))
        return attempt

    @rule(data=st.data(), who=st.integers(0, 1), fault=ingest_faults, rival=rivals)
    def commit_what_is_staged(self, data, who, fault, rival):
        """What a run staged before it died is committed by somebody else, much later perhaps."""
        runs = [run.id for run in find_staged(Catalog.open(self.disk, clock=self.clock), FILES)]
        if not runs:
            return
        run_id = data.draw(st.sampled_from(runs))
        model = self.models[FILES]
        attempt = Attempt(replace(self.waiting[run_id], id=self.next_id("staged")))
        self.known[FILES][attempt.change.id] = attempt.change
        old = model.latest()
        TALLY["staged runs tried"] += 1

        def act(catalog: Catalog) -> None:
            run = read_staged(catalog, run_id)
            attempt.result = commit_staged(catalog, run, message=attempt.change.id, author=AUTHOR)

        _, error, struck, news = self.under(who, fault, self.rival_of(rival), act)
        self.judge(attempt, error, news, self.latests(old, attempt.change, struck=struck), struck=struck)
        if error is None:
            TALLY["staged runs committed"] += 1
        elif isinstance(error, Conflict | Expired):
            mark_discarded(Catalog.open(self.disk), run_id)

    def rival_of(self, rival: tuple[str, int] | None) -> Callable[[], None] | None:
        if rival is None:
            return None
        self.prepare_rival(rival)
        return partial(self.run_rival, FILES, rival)

    def latests(self, old: int, change: Change, *, struck: bool) -> set[int]:
        """What latest may have been while somebody wanted to commit."""
        model = self.models[FILES]
        if not struck:
            return {old}
        return {old, model.latest(), model.latest(max(0, len(model.versions) - 1))}

    def judge(
        self, attempt: Attempt, error: StacpinError | None, news: set[str], latests: set[int], *, struck: bool
    ) -> None:
        """Whether what a caller heard is what happened."""
        model, change, result = self.models[FILES], attempt.change, attempt.result
        if isinstance(error, StorageUnavailable | Forbidden):
            return
        if isinstance(error, Expired):
            assert model.expired & {*latests, change.base}, error
            return
        if error is not None and not isinstance(error, Conflict):
            assert struck, error
            assert self.repaired(error), error
            return
        if error is not None:
            assert change.id not in news
            named = [model.conflicts(change, onto) for onto in latests]
            assert any(ids and min(ids) in error.message for ids in named), (error, named)
            TALLY["ingests in conflict"] += 1
        elif result is not None and result.created:
            assert change.id in news
            saved = model.versions[result.version.number - 1]
            assert (saved.digest, model.fits(change, saved)) == (result.version.digest, True)
            TALLY["ingests landed"] += 1
        else:
            assert change.id not in news
            assert any(model.applied(change, onto) == model.content(onto) for onto in latests)
            TALLY["ingests of nothing new"] += 1
