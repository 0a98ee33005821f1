"""The state machine, with what deletes and what copies: garbage collection, expiry, a mirror, and time that passes."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from unittest import mock

from faults import Disk, Fault, Faulty, nth_call
from hypothesis import strategies as st
from hypothesis.stateful import rule
from model_machine import IDS, NAMES, StoreMachine, faults, names, rivals, seeds
from model_state import TALLY, Change, Expiry, bytes_of

from versioning import condemned, sweep
from versioning.catalog import Catalog
from versioning.errors import Conflict, Expired, Forbidden, StacpinError, StorageUnavailable
from versioning.expire import expire
from versioning.gc import collect
from versioning.objects import Objects
from versioning.reachability import GRACE
from versioning.store import Store, open_store
from versioning.sync import sync
from versioning.version import Version

__all__ = ["UpkeepMachine"]

NEVER = timedelta(0)
ages = st.sampled_from([NEVER, timedelta(days=14)])
delays = st.sampled_from([NEVER, timedelta(hours=24)])


class UpkeepMachine(StoreMachine):
    """Adds what keeps a catalog in order. Nothing that a live version needs may ever go; everything else goes."""

    def __init__(self) -> None:
        super().__init__()
        self.mirror = Disk(self.make_mirror())
        self.slept = 0.0
        # Whoever waits lets time pass for all: for the garbage collection that it waits for, and on the disk.
        clock = SimpleNamespace(
            monotonic=lambda: time.monotonic() + self.slept, time=lambda: time.time() + self.slept, sleep=self.sleep
        )
        self.patches = [
            mock.patch.object(sweep, "time", clock),
            mock.patch.object(condemned, "time", clock),
        ]
        for patch in self.patches:
            patch.start()

    def make_mirror(self) -> Store:
        return open_store("memory://")

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.disk.age(timedelta(seconds=seconds))

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            for patch in self.patches:
                patch.stop()

    def finish(self) -> None:
        super().finish()
        if self.thorough:
            self.check_nothing_is_left()

    def land_all(self) -> None:
        """No request is under way for days: what is late is done before time passes."""
        for way in self.ways:
            self.land(way)

    def check_nothing_is_left(self) -> None:
        """After two collections, everything that is there is needed by a version, and all that is needed is there."""
        for _ in range(2):
            self.disk.age(timedelta(days=30))
            collect(Catalog.open(self.disk, clock=self.clock), apply=True)
        self.check_everything()
        needed: set[str] = set()
        for name, model in self.models.items():
            dataset = self.fresh(name)
            # A move or a tag that lands late may name a version that has expired meanwhile: that keeps its bytes.
            for number in sorted({*model.live(), *model.named()}):
                version = Version(dataset.record(number), dataset.files)
                needed.update(asset.href for _, asset in version.assets())
                needed.update(f"{dataset.folder}/snapshots/{each.sha256}.parquet" for each in version.record.snapshot)
                for chunk in version.chunks:
                    needed.update(dataset.files.manifests.path(ref) for ref in chunk.files)
        folders = (
            "objects",
            *(f"datasets/{name}/{kind}" for name in self.models for kind in ("manifests", "snapshots")),
        )
        there = {entry.path for folder in folders for entry in self.disk.list(folder)}
        assert there == needed
        TALLY["collected to the last file"] += 1

    # -- what somebody else does meanwhile

    def prepare_rival(self, rival: tuple[str, int]) -> None:
        if rival[0] == "gc":
            self.land_all()

    def run_rival(self, name: str, rival: tuple[str, int]) -> None:
        kind, seed = rival
        chance = random.Random(seed)
        catalog = Catalog.open(self.disk, clock=self.clock)
        if kind == "gc":
            TALLY["rival gc"] += 1
            with suppress(Conflict):  # one of ours is running, or died
                collect(catalog, older_than=chance.choice([NEVER, GRACE]), delay=timedelta(hours=24), apply=True)
        elif kind == "expire":
            TALLY["rival expire"] += 1
            self.retire(catalog, name, chance.randrange(1, 4))
        else:
            super().run_rival(name, rival)

    def retire(self, catalog: Catalog, name: str, keep: int) -> None:
        model = self.models[name]
        dataset = catalog.dataset(name)
        head = dataset.head()
        if head:
            expiry = Expiry(self.next_id("expiry"), frozenset(range(1, head + 1)))
            self.known[name][expiry.id] = expiry
            report = expire(dataset, keep_last=keep, why=expiry.id, author="a", apply=True)
            assert not {record.number for record in report.expired} & model.named()

    # -- rules

    @rule(hours=st.sampled_from([1, 30, 200, 400]))
    def wait(self, hours):
        self.time_passes(hours)

    def time_passes(self, hours: int) -> None:
        """By every clock: what is young grows old. No request is under way for so long."""
        self.land_all()
        self.disk.age(timedelta(hours=hours))
        self.clock.moment += timedelta(hours=hours)

    @rule(values=st.dictionaries(st.sampled_from(IDS[:40]), st.integers(0, 6), min_size=1, max_size=5))
    def store_what_is_never_committed(self, values):
        """Or only later: a commit then finds it there, condemned perhaps."""
        for data in sorted({bytes_of(key, value) for key, value in values.items()}):
            Catalog.open(self.disk).objects.put_bytes(data, ".bin")

    @rule(who=st.integers(0, 1), older_than=ages, delay=delays, fault=faults, rival=rivals,
          name=names,
          hours=st.lists(st.sampled_from([0, 2, 25, 400]), min_size=1, max_size=3))  # fmt: skip
    def collect_garbage(self, who, older_than, delay, fault, rival, name, hours):
        """Several runs, with time between them; the fault and the rival strike in each."""
        for each in hours:
            self.time_passes(each)
            report, error, struck, _ = self.under(
                who, fault, partial(self.run_rival, name, rival),
                lambda catalog: collect(catalog, older_than=older_than, delay=delay, apply=True),
            )  # fmt: skip
            TALLY["collections"] += 1
            if error is None:
                TALLY["files condemned"] += report.condemned.files
                TALLY["files deleted"] += report.deleted.files
                TALLY["files spared"] += report.spared
            elif isinstance(error, Conflict):
                assert error.kind == "gc-running"
                TALLY["collections refused"] += 1
            else:
                assert isinstance(error, StorageUnavailable | Forbidden), error
                assert struck
            self.check_whole()

    @rule(who=st.integers(0, 1), name=st.sampled_from(NAMES), nth=st.integers(1, 25), writes=st.booleans(),
          seed=seeds, rival=st.sampled_from(["gc", "gc", "commit"]))  # fmt: skip
    def commit_what_is_condemned(self, who, name, nth, writes, seed, rival):
        """The most dangerous moment: what a commit finds in the store is about to be swept, at any of its calls."""
        chance = random.Random(seed)
        model = self.models[name]
        values = dict.fromkeys(chance.sample(IDS, 3), 100 + self.count)
        for data in sorted({bytes_of(key, value) for key, value in values.items()}):
            Catalog.open(self.disk).objects.put_bytes(data, ".bin")
        self.time_passes(400)
        with suppress(Conflict):
            report = collect(Catalog.open(self.disk, clock=self.clock), apply=True)
            TALLY["files condemned"] += report.condemned.files
        self.time_passes(25)
        change = Change(self.next_id("condemned"), model.latest(), values, frozenset())
        self.change(who, name, change, Fault("pause", nth, writes), (rival, seed), armed=True)
        TALLY["commits of what is condemned"] += 1
        self.check_whole()

    @rule(who=st.integers(0, 1), name=names, keep=st.integers(1, 6), fault=faults)
    def expire(self, who, name, keep, fault):
        model = self.models[name]
        live, named = model.live(), model.named()
        if not live:
            return
        expiry = Expiry(self.next_id("expiry"), frozenset(live))
        self.known[name][expiry.id] = expiry
        _, error, struck, news = self.under(
            who, fault, None,
            lambda catalog: expire(catalog.dataset(name), keep_last=keep, why=expiry.id, author="a", apply=True),
        )  # fmt: skip
        TALLY["expiries"] += 1
        wanted = set(live[:-keep]) - named
        if error is None:
            assert model.expired >= wanted
        else:
            assert isinstance(error, StorageUnavailable | Forbidden), error
            assert struck
        assert not set(live) & model.expired - wanted
        assert news <= {expiry.id}
        for number in list(model.expired)[:2]:
            try:
                self.fresh(name).version(number)
            except Expired:
                continue
            raise AssertionError(f"v{number} has expired and answers")

    @rule(who=st.integers(0, 1), fault=faults, far=st.booleans(), rival=rivals, name=names)
    def copy_to_the_mirror(self, who, fault, far, rival, name):
        """The fault is at the source, or at the mirror if ``far``."""
        if rival[0] == "gc":
            self.land_all()
        before = {each: len(model.versions) for each, model in self.models.items()}
        mirror = Faulty(self.mirror)
        if far:
            mirror.arm(
                nth_call(fault if fault is None or fault.kind != "late" else None), lambda: self.run_rival(name, rival)
            )
        report, error, struck, _ = self.under(
            who, None if far else fault, lambda: self.run_rival(name, rival),
            lambda catalog: sync(catalog.store, mirror, workers=1), other=mirror,
        )  # fmt: skip
        TALLY["syncs"] += 1
        struck = struck or bool(mirror.injected)
        if error is None:
            TALLY["files copied"] += report.copied.count
        elif not isinstance(error, StorageUnavailable | Forbidden):
            raise error
        self.check_mirror(before if error is None else None, exact=error is None and not struck)

    def check_mirror(self, least: dict[str, int] | None, *, exact: bool) -> None:
        """The mirror has whole versions, byte for byte those of the source; all of them if the sync came to its end."""
        try:
            catalog = Catalog.open(self.mirror, clock=self.clock)
        except StacpinError:
            assert least is None
            return
        objects = Objects(self.mirror)
        for name, model in self.models.items():
            dataset = catalog.dataset(name)
            head = dataset.head()
            assert (least or {}).get(name, 0) <= head <= len(model.versions)
            for number in range(1, head + 1):
                assert self.mirror.get(dataset.log.path(number)) == model.versions[number - 1].record
                if dataset.expiry(number) is None:
                    for _, asset in dataset.version(number).assets():
                        for _ in objects.read(asset.href, asset.sha256, asset.size):
                            pass
                else:
                    assert number in model.expired
            for tag in dataset.tags():
                assert model.tags[tag.tag][0] == tag.target <= head
            for pointer in dataset.pointer_names():
                log = [(entry.target, entry.seen, entry.why) for entry in dataset.moves(pointer)][::-1]
                assert log == model.moves[pointer][: len(log)]
            if exact:
                model.check_names(dataset)

    def check_whole(self) -> None:
        for name, model in self.models.items():
            model.check_whole(self.fresh(name))
