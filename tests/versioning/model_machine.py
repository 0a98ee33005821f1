"""The state machine: random histories on a store that fails, compared with the model after every step."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from faults import KINDS, Disk, Fault, Faulty, nth_call
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from model_state import TALLY, Change, History, Move, Operation, Tagging, bytes_of, stored_item
from version_helpers import AUTHOR, small_chunks

from versioning.catalog import Catalog
from versioning.commit import CommitResult, commit
from versioning.dataset import Dataset
from versioning.errors import (
    Conflict,
    Expired,
    Forbidden,
    Immutable,
    Integrity,
    InvalidInput,
    StacpinError,
    StorageUnavailable,
)
from versioning.store import Store, open_store

__all__ = ["FILES", "StoreMachine"]

MANY = 300
IDS = [f"i{number:03d}" for number in range(MANY)]
NAMES = ["ds", "ds", "ds", "other"]
# The dataset that ingests make, see model_ingest.py.
FILES = "files"
# After these the caller hears an error, and what it wanted may have been done or not.
FAILING = {"before", "after", "cut", "denied", "late", "crash", "crash-after", "taken"}

some_values = st.dictionaries(st.sampled_from(IDS[:40]), st.integers(0, 6), max_size=10)
# What is rare otherwise, since it takes a rival or a write, is drawn more often.
kinds = st.sampled_from([*KINDS, "pause", "pause", "pause", "late", "after", "crash-after"])
strikes = st.one_of(
    st.builds(Fault, kinds, st.integers(1, 30)), st.builds(Fault, kinds, st.integers(1, 8), writes=st.just(True))
)
faults = st.none() | strikes
seeds = st.integers(0, 2**32 - 1)
names = st.sampled_from([*NAMES, FILES])
rivals = st.tuples(st.sampled_from(["commit", "commit", "rollback", "gc", "gc", "expire"]), seeds)


class ModelClock:
    """The clock of the machines that write; it can jump, also backwards."""

    def __init__(self) -> None:
        # So long ago that no waiting reaches today: records of the future are doubted, and rightly.
        self.moment = datetime.fromisoformat("2001-03-01T12:00:00+00:00")

    def __call__(self) -> datetime:
        self.moment += timedelta(seconds=1)
        return self.moment


class StoreMachine(RuleBasedStateMachine):
    """Two clients with memories of their own, and rivals without any, on one disk.

    ``make_store`` gives an empty store; subclasses choose where. ``torn_by_power`` says whether writes that were not
    made durable may be lost: on a local disk, not in an object store. ``thorough`` verifies every version at the end.
    """

    torn_by_power = True
    thorough = False

    def __init__(self) -> None:
        super().__init__()
        self.small = small_chunks()
        self.small.__enter__()
        self.clock = ModelClock()
        self.disk = Disk(self.make_store())
        Catalog.create(self.disk, clock=self.clock)
        self.models = {"ds": History(), "other": History()}
        self.known: dict[str, dict[str, Operation]] = {"ds": {}, "other": {}}
        self.count = 0
        self.ways = [Faulty(self.disk), Faulty(self.disk)]
        self.catalogs = [Catalog.open(way, clock=self.clock) for way in self.ways]
        TALLY["examples"] += 1

    def make_store(self) -> Store:
        return open_store("memory://")

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            self.small.__exit__(None, None, None)

    def finish(self) -> None:
        for way in self.ways:
            self.land(way)
        self.check_everything()

    # -- helpers

    def fresh(self, name: str) -> Dataset:
        """The dataset as a process sees it that has just started, without any fault."""
        return Catalog.open(self.disk, clock=self.clock).dataset(name)

    def next_id(self, kind: str) -> str:
        self.count += 1
        return f"{kind} {self.count}"

    def reopen(self, who: int) -> None:
        self.ways[who] = Faulty(self.disk)
        self.catalogs[who] = Catalog.open(self.ways[who], clock=self.clock)

    def land(self, way: Faulty) -> None:
        if way.waiting:
            way.land()
            self.absorb()

    def absorb(self) -> set[str]:
        news = set().union(*(model.absorb(self.fresh(name), self.known[name]) for name, model in self.models.items()))
        for name, model in self.models.items():
            targets = self.targets(name)
            if model.latest() in model.expired and targets:
                # Commits are refused until somebody moves latest: the way out.
                move = Move(self.next_id("way out"), "latest", targets[-1])
                self.known[name][move.id] = move
                self.fresh(name).move("latest", move.target, why=move.id, author=AUTHOR)
                model.absorb(self.fresh(name), self.known[name])
                TALLY["latest moved away from what expired"] += 1
        return news

    def check_everything(self) -> None:
        for name, model in self.models.items():
            dataset = self.fresh(name)
            model.check_names(dataset)
            model.check_whole(dataset)
            live = model.live()
            chance = random.Random(self.count)
            model.check_versions(dataset, live if self.thorough else chance.sample(live, min(len(live), 2)))

    def under(
        self,
        who: int,
        fault: Fault | None,
        rival: Callable[[], None] | None,
        act: Callable[[Catalog], Any],
        other: Faulty | None = None,
    ) -> tuple[Any, StacpinError | None, bool, set[str]]:
        """Do something under a fault: its result or error, whether the fault struck, what landed.

        ``other`` is another store that the act uses, with a schedule of its own.
        """
        way = self.ways[who]
        way.arm(nth_call(fault), rival)
        before = way.injected.copy()
        result, error = None, None
        try:
            result = act(self.catalogs[who])
        except StacpinError as caught:
            error = caught
        way.disarm()
        struck = way.injected != before
        for kind, verb in way.injected - before + (other.injected if other else Counter()):
            TALLY[f"fault {kind}"] += 1
            TALLY[f"fault in {verb}"] += 1
        if isinstance(error, StorageUnavailable | Forbidden):
            assert {kind for kind, _ in way.injected + (other.injected if other else Counter())} & FAILING, error
            TALLY["errors heard"] += 1
        if way.dead:
            TALLY["crashes"] += 1
            if self.torn_by_power and self.count % 2:
                torn = self.disk.power_cut(self.count)
                TALLY["files torn by power cuts"] += len(torn)
            self.reopen(who)
        news = self.absorb()
        if way.dead or struck:
            TALLY["landed in spite of an error"] += error is not None and bool(news)
            self.check_newest()
        return result, error, struck, news

    def check_newest(self) -> None:
        """After a fault: what is there now is whole."""
        for name, model in self.models.items():
            dataset = self.fresh(name)
            model.check_names(dataset)
            model.check_versions(dataset, model.live()[-1:])

    def repaired(self, error: StacpinError | None) -> bool:
        """Whether an error says what to do, and that is done.

        It may name a file that a power cut tore, which is removed then; or one that garbage collection took away
        between its storing and the commit, which is stored by trying again.
        """
        if not isinstance(error, Integrity):
            return False
        if "garbage collection took it away" in error.message:
            TALLY["commits told to store again"] += 1
            return True
        named = [path for path in self.disk.torn if path in error.message]
        assert named, error
        self.disk.delete(named)
        TALLY["torn files removed by hand"] += 1
        return True

    # -- commits

    def do_change(self, catalog: Catalog, name: str, change: Change, *, armed: bool = True) -> CommitResult:
        """Store what a change needs, then commit it; the faults may be kept from the objects."""
        dataset = catalog.dataset(name)
        objects = catalog.objects if armed else Catalog.open(self.disk).objects
        for data in sorted({bytes_of(key, value) for key, value in change.upserts.items()}):
            objects.put_bytes(data, ".bin")
        base = dataset.version(change.base) if change.base else None
        return commit(
            dataset, items=[stored_item(key, value) for key, value in change.upserts.items()], remove=change.removed,
            base=base, message=change.id, author=AUTHOR, advance=change.advance,
        )  # fmt: skip

    def change(self, who: int, name: str, change: Change, fault: Fault | None, rival: Any, *, armed: bool) -> None:
        """Commit under a fault, and judge what came of it."""
        model = self.models[name]
        self.known[name][change.id] = change
        # Where latest means nothing (no version has passed its checks), a change stays on what it was made from.
        old = model.latest() or change.base
        run = None
        if rival is not None:
            self.prepare_rival(rival)
            run = partial(self.run_rival, name, rival)
        result, error, struck, news = self.under(
            who, fault, run, lambda catalog: self.do_change(catalog, name, change, armed=armed)
        )
        TALLY["commits tried"] += 1
        if isinstance(error, StorageUnavailable | Forbidden) or self.repaired(error):
            # Whoever tries again gets there, whatever the first attempt has left.
            if self.count % 2:
                again = replace(change, id=self.next_id("again"), base=model.latest())
                again = replace(again, removed=change.removed & model.content(again.base).keys())
                self.change(who, name, again, None, None, armed=False)
            return
        latests = {old, model.latest() or change.base} if struck else {old}
        # What latest was between the rival's doing and ours.
        latests |= {model.versions[result.version.number - 1].parent or 0} if result and result.created else set()
        latests |= {model.latest(len(model.versions) - 1) or change.base} if struck and model.versions else set()
        if error is not None:
            assert isinstance(error, Conflict), error
            assert change.id not in news
            named = [model.conflicts(change, onto) for onto in latests]
            assert any(ids and min(ids) in error.message for ids in named), (error, named)
            TALLY["conflicts"] += 1
            return
        assert result.created == (change.id in news)
        if result.created:
            saved = model.versions[result.version.number - 1]
            assert (saved.digest, model.fits(change, saved)) == (result.version.digest, True)
            TALLY["commits landed"] += 1
        else:
            assert any(onto and model.applied(change, onto) == model.content(onto) for onto in latests)
            TALLY["nothing to commit"] += 1
        if not struck:
            assert not model.conflicts(change, old)
            assert result.created == (model.applied(change, old) != model.content(old) or not old)

    def prepare_rival(self, rival: tuple[str, int]) -> None:
        """What must be so before a rival may strike."""

    def run_rival(self, name: str, rival: tuple[str, int]) -> None:
        """Somebody else, who remembers nothing, does something just before a call of ours."""
        kind, seed = rival
        chance = random.Random(seed)
        catalog = Catalog.open(self.disk, clock=self.clock)
        model = self.models[name]
        TALLY[f"rival {kind}"] += 1
        if kind == "commit":
            change = self.scattered(name, chance, base=model.latest())
            self.known[name][change.id] = change
            self.do_change(catalog, name, change)
        elif kind == "rollback" and (targets := self.targets(name)):
            move = Move(self.next_id("rival's rollback"), "latest", chance.choice(targets))
            self.known[name][move.id] = move
            catalog.dataset(name).move("latest", move.target, why=move.id, author=AUTHOR)

    def targets(self, name: str) -> list[int]:
        """The versions that a pointer may be moved to."""
        model = self.models[name]
        return [number for number in model.live() if model.versions[number - 1].advance]

    def scattered(self, name: str, chance: random.Random, *, base: int, most: int = 8) -> Change:
        """A few changes far from each other: what delta files are for."""
        there = self.models[name].content(base)
        upserts = {chance.choice(IDS): chance.randrange(7) for _ in range(chance.randrange(1, most))}
        gone = sorted(there.keys() - upserts.keys())
        removed = frozenset(chance.sample(gone, min(len(gone), chance.choice([0, 0, 1, 3]))))
        return Change(self.next_id("scattered"), base, upserts, removed)

    @initialize(many=st.sampled_from([0, 5, 60, 60, MANY]), name=st.sampled_from(NAMES))
    def begin(self, many, name):
        change = Change(self.next_id("first"), 0, dict.fromkeys(IDS[:many], 0), frozenset())
        self.change(0, name, change, None, None, armed=False)

    @rule(data=st.data(), who=st.integers(0, 1), name=st.sampled_from(NAMES), upserts=some_values, fault=faults,
          rival=rivals, advance=st.sampled_from([True] * 5 + [False]),
          armed=st.sampled_from([False, False, True]))  # fmt: skip
    def commit(self, data, who, name, upserts, fault, rival, advance, armed):
        model = self.models[name]
        base = model.latest()
        there = sorted(model.content(base).keys() - upserts.keys())
        removed = data.draw(st.frozensets(st.sampled_from(there[:40]), max_size=6)) if there else frozenset()
        self.change(
            who, name, Change(self.next_id("commit"), base, upserts, removed, advance), fault, rival, armed=armed
        )

    @rule(data=st.data(), who=st.integers(0, 1), name=st.sampled_from(NAMES), upserts=some_values, fault=faults,
          rival=rivals)  # fmt: skip
    def commit_from_an_older_version(self, data, who, name, upserts, fault, rival):
        live = self.models[name].live()
        base = data.draw(st.sampled_from(live)) if live else 0
        self.change(who, name, Change(self.next_id("older"), base, upserts, frozenset()), fault, rival, armed=False)

    @rule(who=st.integers(0, 1), name=st.sampled_from(NAMES), seed=seeds, times=st.integers(3, 9))
    def many_scattered_commits(self, who, name, seed, times):
        chance = random.Random(seed)
        for _ in range(times):
            change = self.scattered(name, chance, base=self.models[name].latest())
            self.change(who, name, change, None, None, armed=False)

    @rule(who=st.integers(0, 1), name=st.sampled_from(NAMES), seed=seeds, times=st.integers(1, 4), fault=strikes,
          rival=rivals)  # fmt: skip
    def scattered_commits_that_fail(self, who, name, seed, times, fault, rival):
        chance = random.Random(seed)
        for _ in range(times):
            change = self.scattered(name, chance, base=self.models[name].latest())
            self.change(who, name, change, fault, rival, armed=False)

    # -- names

    @rule(data=st.data(), who=st.integers(0, 1), name=names, fault=faults, rival=rivals,
          pointer=st.sampled_from(["latest", "stable", "candidate"]))  # fmt: skip
    def move(self, data, who, name, fault, rival, pointer):
        """Promotion, and rollback where the pointer is ``latest``."""
        model = self.models[name]
        live = model.live()
        if not live:
            return
        move = Move(self.next_id("move"), pointer, data.draw(st.sampled_from(live)))
        self.known[name][move.id] = move
        _, error, _, news = self.under(
            who, fault, lambda: self.run_rival(name, rival),
            lambda catalog: catalog.dataset(name).move(pointer, move.target, why=move.id, author=AUTHOR),
        )  # fmt: skip
        TALLY["moves tried"] += 1
        if isinstance(error, StorageUnavailable | Forbidden):
            return
        if not model.versions[move.target - 1].advance:
            assert isinstance(error, InvalidInput), error
        elif move.target in model.expired:
            assert isinstance(error, Conflict | Expired), error
            TALLY["told of an expiry in the same moment"] += 1
            assert (move.id in news) == (error.kind == "named-meanwhile")
            return
        else:
            assert error is None, error
        assert (move.id in news) == (error is None)

    @rule(data=st.data(), who=st.integers(0, 1), name=names, fault=faults, rival=rivals,
          tag=st.sampled_from(["v1.0.0", "gold"]))  # fmt: skip
    def tag(self, data, who, name, fault, rival, tag):
        model = self.models[name]
        live = model.live()
        if not live:
            return
        tagging = Tagging(self.next_id("tag"), tag, data.draw(st.sampled_from(live)))
        self.known[name][tagging.id] = tagging
        there = model.tags.get(tag)
        _, error, _, news = self.under(
            who, fault, lambda: self.run_rival(name, rival),
            lambda catalog: catalog.dataset(name).tag(tag, tagging.target, author=AUTHOR, message=tagging.id),
        )  # fmt: skip
        TALLY["tags tried"] += 1
        if isinstance(error, StorageUnavailable | Forbidden):
            return
        if there is not None and there[0] != tagging.target:
            assert isinstance(error, Immutable), error
        elif there is None and tagging.target in model.expired:
            assert isinstance(error, Conflict | Expired), error
            TALLY["told of an expiry in the same moment"] += 1
            assert (tagging.id in news) == (error.kind == "named-meanwhile")
            return
        else:
            assert error is None, error
        assert (tagging.id in news) == (error is None and there is None)

    # -- what happens to processes and clocks

    @rule(who=st.integers(0, 1))
    def open_again(self, who):
        self.land(self.ways[who])
        self.reopen(who)

    @precondition(lambda self: any(way.waiting for way in self.ways))
    @rule()
    def late_writes_land(self):
        for way in self.ways:
            self.land(way)
        self.check_newest()

    @rule(hours=st.integers(-2000, 2000))
    def clock_jumps(self, hours):
        self.clock.moment += timedelta(hours=hours)

    # -- looking

    @rule(data=st.data(), name=names)
    def compare(self, data, name):
        live = self.models[name].live()
        if live:
            old, new = data.draw(st.sampled_from([0, *live])), data.draw(st.sampled_from(live))
            self.models[name].check_diff(self.catalogs[0].dataset(name), old, new)

    @rule(data=st.data(), name=names)
    def verify(self, data, name):
        live = self.models[name].live()
        if live:
            number = data.draw(st.sampled_from(live))
            self.models[name].check_versions(self.catalogs[1].dataset(name), [number])
            self.models[name].check_digest(self.fresh(name), number)

    @invariant()
    def names_mean_what_they_meant(self):
        TALLY["steps"] += 1
        for name, model in self.models.items():
            for catalog in self.catalogs:
                dataset = catalog.dataset(name)
                assert dataset.latest_number() == model.latest()
                assert dataset.pointers() == model.pointers()
