"""The version store against a model of plain dictionaries, over random histories."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from version_helpers import AUTHOR, Clock, item_of, memory_catalog, save, small_chunks, values_of

from versioning.catalog import Catalog
from versioning.diff import diff_versions
from versioning.errors import Conflict, Immutable, InvalidInput
from versioning.rewrite import rewrite
from versioning.rows import make_row
from versioning.snapshots import roots_of
from versioning.verify import verify_chain, verify_version

IDS = [f"i{number:02d}" for number in range(40)]
changes = st.dictionaries(st.sampled_from(IDS), st.integers(0, 3), max_size=15)


class History(RuleBasedStateMachine):
    """``versions[n - 1]`` is (content, advances, digest) of version n."""

    def __init__(self) -> None:
        super().__init__()
        self.small = small_chunks()
        self.small.__enter__()
        self.catalog = memory_catalog()
        self.clock = Clock("2027-01-01T00:00:00+00:00")
        self.versions: list[tuple[dict[str, Any], bool, str]] = []
        self.target, self.seen = 0, 0
        self.pointers: dict[str, int] = {}
        self.tags: dict[str, int] = {}

    def teardown(self) -> None:
        dataset = self.dataset
        if self.versions:
            assert verify_chain(dataset).ok
            for number in range(1, len(self.versions) + 1):
                report = verify_version(dataset, dataset.version(number), objects=False)
                assert report.ok, report.problems
        self.small.__exit__(None, None, None)

    @property
    def dataset(self):
        return self.catalog.dataset("ds")

    @property
    def latest(self) -> int:
        above = [number for number in range(self.seen + 1, len(self.versions) + 1) if self.versions[number - 1][1]]
        return above[-1] if above else self.target

    def content(self, number: int) -> dict[str, Any]:
        return self.versions[number - 1][0] if number else {}

    @initialize(content=changes)
    def begin(self, content):
        self.commit_on(0, content, set(), advance=True)

    def commit_on(self, base: int, upserts: dict[str, Any], removed: set[str], *, advance: bool) -> None:
        mine = {key for key, value in upserts.items() if self.content(base).get(key) != value} | removed
        latest = self.latest
        theirs = {
            key
            for key in self.content(base).keys() | self.content(latest).keys()
            if self.content(base).get(key) != self.content(latest).get(key)
        }
        differ = {
            key for key in mine & theirs if (None if key in removed else upserts[key]) != self.content(latest).get(key)
        }
        more = {"base": self.dataset.version(base)} if base else {}
        if differ:
            with pytest.raises(Conflict) as caught:
                save(self.dataset, upserts, remove=removed, advance=advance, **more)
            assert min(differ) in str(caught.value)
            return
        expected = {key: value for key, value in self.content(latest).items() if key not in mine}
        expected |= {key: upserts[key] for key in mine - removed}
        result = save(self.dataset, upserts, remove=removed, advance=advance, **more)
        assert result.created == (expected != self.content(latest) or not latest)
        if result.created:
            assert result.version.record.parent == (latest or None)
            self.versions.append((expected, advance, result.version.digest))

    @rule(data=st.data(), upserts=changes, advance=st.sampled_from([True, True, True, False]))
    def commit(self, data, upserts, advance):
        base = self.latest
        there = sorted(self.content(base).keys() - upserts.keys())
        removed = data.draw(st.sets(st.sampled_from(there), max_size=8)) if there else set()
        self.commit_on(base, upserts, removed, advance=advance)

    @rule(data=st.data(), upserts=changes)
    def commit_from_an_older_version(self, data, upserts):
        base = data.draw(st.integers(1, len(self.versions)))
        self.commit_on(base, upserts, set(), advance=True)

    @rule(data=st.data())
    def roll_back(self, data):
        target = data.draw(st.integers(1, len(self.versions)))
        if not self.versions[target - 1][1]:
            with pytest.raises(InvalidInput, match="checks failed"):
                self.dataset.move("latest", target, why="w", author=AUTHOR)
            return
        self.dataset.move("latest", target, why="w", author=AUTHOR)
        self.target, self.seen = target, len(self.versions)

    @rule(data=st.data(), name=st.sampled_from(["stable", "candidate"]))
    def promote(self, data, name):
        target = data.draw(st.integers(1, len(self.versions)))
        if self.versions[target - 1][1]:
            self.dataset.move(name, target, why="w", author=AUTHOR)
            self.pointers[name] = target

    @rule(data=st.data(), name=st.sampled_from(["v1.0.0", "gold"]))
    def tag(self, data, name):
        target = data.draw(st.integers(1, len(self.versions)))
        if self.tags.get(name, target) != target:
            with pytest.raises(Immutable):
                self.dataset.tag(name, target, author=AUTHOR)
        else:
            self.dataset.tag(name, target, author=AUTHOR)
            self.tags[name] = target

    @rule()
    def open_again(self):
        self.catalog = Catalog.open(self.catalog.store, clock=self.clock)

    @precondition(lambda self: len(self.versions) > 1)
    @rule(data=st.data())
    def compare(self, data):
        old, new = (data.draw(st.integers(1, len(self.versions))) for _ in range(2))
        before, after = self.content(old), self.content(new)
        diff = diff_versions(self.dataset.version(old), self.dataset.version(new))
        assert {row.id for row in diff.added} == after.keys() - before.keys()
        assert {row.id for row in diff.removed} == before.keys() - after.keys()
        both = before.keys() & after.keys()
        assert {entry.id for entry in diff.changed} == {key for key in both if before[key] != after[key]}

    @invariant()
    def names_mean_what_they_meant(self):
        dataset = self.dataset
        assert dataset.head() == len(self.versions)
        assert dataset.latest_number() == self.latest
        assert {tag.tag: tag.target for tag in dataset.tags()} == self.tags
        expected = {"latest": self.latest, **self.pointers} if self.latest else self.pointers
        assert dataset.pointers() == expected

    @invariant()
    def versions_never_change(self):
        for number, (_, advances, digest) in enumerate(self.versions, start=1):
            record = self.dataset.record(number)
            assert (record.digest, record.advance) == (digest, advances)
        if self.versions:
            content = self.versions[-1][0]
            version = self.dataset.version(len(self.versions))
            assert values_of(version) == content
            rows = {key: make_row(item_of(key, value)) for key, value in content.items()}
            afresh = roots_of(rewrite(None, rows, set(), self.dataset.files.manifests))
            assert version.record.root == f"sha256:{afresh.digest.hex()}"


def test_histories():
    run_state_machine_as_test(History, settings=settings(max_examples=25, stateful_step_count=15, deadline=None))
