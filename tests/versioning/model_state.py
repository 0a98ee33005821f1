"""What a catalog ought to be, as plain dictionaries: the model that the state machine compares the store with.

Every operation carries an id that the store keeps (a commit's message, a move's reason, a tag's message), so that what
is found in the store after a fault can be told to be one operation's doing, done once, or not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from version_helpers import AUTHOR, asset_of, item_of, memory_catalog

from versioning.commit import commit
from versioning.dataset import Dataset
from versioning.diff import diff_versions
from versioning.objects import Objects
from versioning.rows import AssetRef
from versioning.verify import verify_version
from versioning.version import Version

__all__ = [
    "TALLY",
    "Change",
    "Content",
    "Expiry",
    "History",
    "Move",
    "Operation",
    "Saved",
    "Tagging",
    "bytes_of",
    "stored_item",
]

Content = dict[str, int]
# What the machine has done so far in this process, for the report of a long run.
TALLY: Counter[str] = Counter()


def bytes_of(item_id: str, value: int) -> bytes:
    """The object of an item: some items share theirs, also across datasets, and an old value brings it back.

    From 100 on each value has its own.
    """
    return f"object {item_id[-1]} {value if value >= 100 else value % 5}".encode() * 3


def stored_item(item_id: str, value: int) -> dict[str, Any]:
    """The item of an id and a value."""
    return item_of(item_id, value, assets={"data": asset_of(bytes_of(item_id, value), ".bin")})


@dataclass(frozen=True, slots=True)
class Change:
    """A commit: from version ``base`` (0 for none), these values put in and these ids taken out."""

    id: str
    base: int
    upserts: Content
    removed: frozenset[str]
    advance: bool = True


@dataclass(frozen=True, slots=True)
class Move:
    """A pointer is moved: a promotion or a rollback."""

    id: str
    name: str
    target: int


@dataclass(frozen=True, slots=True)
class Tagging:
    """A tag is given."""

    id: str
    name: str
    target: int


@dataclass(frozen=True, slots=True)
class Expiry:
    """Versions are retired."""

    id: str
    numbers: frozenset[int]


Operation = Change | Move | Tagging | Expiry


@dataclass(frozen=True, slots=True)
class Saved:
    """A version as the model has it; ``record`` is the bytes that the store held when it was first seen."""

    content: Content
    advance: bool
    parent: int | None
    digest: str
    record: bytes


@dataclass(slots=True)
class History:
    """One dataset. ``moves`` holds (target, seen, id of the operation) of every pointer, in order."""

    versions: list[Saved] = field(default_factory=list)
    moves: dict[str, list[tuple[int, int, str]]] = field(default_factory=dict)
    tags: dict[str, tuple[int, str]] = field(default_factory=dict)
    expired: set[int] = field(default_factory=set)
    landed: set[str] = field(default_factory=set)

    def content(self, number: int) -> Content:
        """What a version holds; version 0 is the empty dataset."""
        return self.versions[number - 1].content if number else {}

    def latest(self, head: int | None = None, moves: int | None = None) -> int:
        """What ``latest`` means, or meant when there were so many versions and so many moves of it."""
        log = self.moves.get("latest", [])[:moves]
        target, seen = log[-1][:2] if log else (0, 0)
        last = len(self.versions) if head is None else head
        above = [number for number in range(seen + 1, last + 1) if self.versions[number - 1].advance]
        return above[-1] if above else target

    def pointers(self) -> dict[str, int]:
        """What every pointer means."""
        found = {"latest": self.latest()} | {name: log[-1][0] for name, log in self.moves.items() if name != "latest"}
        return {name: target for name, target in found.items() if target}

    def named(self) -> set[int]:
        """The versions that a name means; none of them may expire."""
        return set(self.pointers().values()) | {target for target, _ in self.tags.values()}

    def live(self) -> list[int]:
        """The versions that have not expired."""
        return [number for number in range(1, len(self.versions) + 1) if number not in self.expired]

    def mine(self, change: Change) -> set[str]:
        """The ids that a change does change."""
        base = self.content(change.base)
        return {key for key, value in change.upserts.items() if base.get(key) != value} | change.removed

    def conflicts(self, change: Change, onto: int) -> set[str]:
        """The ids that both the change and the way from its base to ``onto`` changed, to different values."""
        before, after = self.content(change.base), self.content(onto)
        theirs = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        wanted = dict(change.upserts) | dict.fromkeys(change.removed, None)
        return {key for key in self.mine(change) & theirs if wanted[key] != after.get(key)}

    def applied(self, change: Change, onto: int) -> Content:
        """The content of ``onto`` with the change on top."""
        mine = self.mine(change)
        content = {key: value for key, value in self.content(onto).items() if key not in mine}
        return content | {key: change.upserts[key] for key in mine - change.removed}

    def fits(self, change: Change, saved: Saved) -> bool:
        """Whether a version is what a change makes of its parent."""
        return saved.content == self.applied(change, saved.parent or 0) and saved.advance == change.advance

    def items_of(self, content: Content) -> list[dict[str, Any]]:
        """The items of a content, as they are committed."""
        return [stored_item(key, value) for key, value in content.items()]

    # -- what the store holds

    def absorb(self, dataset: Dataset, known: dict[str, Operation]) -> set[str]:
        """Take over what is new in the store, proving that each piece is what one operation may have left there.

        Returns the ids of the operations that have landed. ``known`` are all operations ever tried on this dataset.
        """
        news: set[str] = set()
        named = self.named()
        before = len(self.moves.get("latest", []))
        self._absorb_moves(dataset, known, news)
        for number in range(len(self.versions) + 1, dataset.head() + 1):
            record = dataset.record(number)
            change = known[record.message]
            assert isinstance(change, Change)
            # A rollback beside it may or may not have been seen; versions before it always are.
            moves = range(before, len(self.moves.get("latest", [])) + 1)
            parents = {self.latest(number - 1, count) or change.base for count in moves}
            onto = record.parent or 0
            assert onto in parents, f"v{number} was made on v{onto}, latest was {parents}: a lost update"
            # Whoever names no base means what is latest when the commit begins, a rival's first version perhaps.
            overwritten = self.conflicts(change, onto) if change.base else set()
            assert not overwritten, f"v{number} overwrote {overwritten}"
            assert record.advance == change.advance
            content = self.applied(change, onto)
            data = dataset.store.get(dataset.log.path(number))
            self.versions.append(Saved(content, record.advance, record.parent, record.digest, data))
            self.check_content(dataset.version(number), content)
            self._lands(record.message, news)
        for tag in dataset.tags():
            if tag.tag not in self.tags:
                tagging = known[tag.message]
                assert isinstance(tagging, Tagging)
                assert (tagging.name, tagging.target) == (tag.tag, tag.target)
                self.tags[tag.tag] = (tag.target, tag.message)
                self._lands(tag.message, news)
        for number in range(1, len(self.versions) + 1):
            expiry = dataset.expiry(number) if number not in self.expired else None
            if expiry is not None:
                wanted = known[expiry.why]
                assert isinstance(wanted, Expiry)
                # A name that was given in the same moment cannot be prevented; whoever gave it is told.
                assert number in wanted.numbers - (named & self.named()), f"v{number} expired although it is needed"
                self.expired.add(number)
                news.add(expiry.why)
        return news

    def check_content(self, version: Version, content: Content) -> None:
        """A version holds exactly these items."""
        found = {row.id: row.parse() for row in version.rows()}
        assert {key: item["properties"]["value"] for key, item in found.items()} == content
        assert version.record.statistics.items == len(content)

    def _absorb_moves(self, dataset: Dataset, known: dict[str, Operation], news: set[str]) -> None:
        for name in dataset.pointer_names():
            log = self.moves.setdefault(name, [])
            for entry in sorted(dataset.moves(name), key=lambda entry: entry.number)[len(log) :]:
                move = known[entry.why]
                assert isinstance(move, Move)
                assert (move.name, move.target) == (name, entry.target)
                assert entry.number == len(log) + 1
                assert entry.seen <= dataset.head()
                log.append((entry.target, entry.seen, entry.why))
                self._lands(entry.why, news)

    def _lands(self, operation: str, news: set[str]) -> None:
        assert operation not in self.landed, f"{operation} landed twice"
        self.landed.add(operation)
        news.add(operation)

    def check_names(self, dataset: Dataset) -> None:
        """Every name means what the model says, and no record has changed by a byte."""
        assert dataset.head() == len(self.versions)
        assert dataset.latest_number() == self.latest()
        assert dataset.pointers() == self.pointers()
        assert {tag.tag: tag.target for tag in dataset.tags()} == {name: at for name, (at, _) in self.tags.items()}
        times = []
        for number, saved in enumerate(self.versions, start=1):
            record = dataset.record(number)
            times.append(record.time)
            assert (record.number, record.digest, record.parent) == (number, saved.digest, saved.parent)
            assert dataset.store.get(dataset.log.path(number)) == saved.record
            assert (dataset.expiry(number) is not None) == (number in self.expired)
        assert times == sorted(times)

    def check_whole(self, dataset: Dataset) -> None:
        """Every live version has its manifests and its objects, each proven by its hash; a shared one is read once."""
        needed: dict[str, AssetRef] = {}
        for number in self.live():
            version = dataset.version(number)
            assert version.digest == self.versions[number - 1].digest
            ids = set()
            for item_id, asset in version.assets():
                ids.add(item_id)
                needed[asset.href] = asset
            assert ids == self.content(number).keys()
            TALLY["versions proven"] += 1
        objects = Objects(dataset.store)
        for asset in needed.values():
            for _ in objects.read(asset.href, asset.sha256, asset.size):
                pass

    def check_versions(self, dataset: Dataset, numbers: Iterable[int]) -> None:
        """Verify these versions, with every row against its JSON and all records."""
        for number in numbers:
            report = verify_version(dataset, dataset.version(number))
            assert report.ok, (report.pin, report.problems)
            assert report.items == len(self.content(number))
            TALLY["versions verified"] += 1

    def check_digest(self, dataset: Dataset, number: int) -> None:
        """The same items, committed at once, have the same root."""
        items = self.items_of(self.content(number))
        afresh = commit(memory_catalog().dataset("ds"), items=items, message="m", author=AUTHOR).version.record
        assert dataset.record(number).root == afresh.root

    def check_diff(self, dataset: Dataset, old: int, new: int) -> None:
        """The diff of two versions is the diff of two dictionaries."""
        before, after = self.content(old), self.content(new)
        diff = diff_versions(dataset.version(old) if old else None, dataset.version(new))
        assert {row.id for row in diff.added} == after.keys() - before.keys()
        assert {row.id for row in diff.removed} == before.keys() - after.keys()
        assert {entry.id for entry in diff.changed} == {
            key for key in before.keys() & after.keys() if before[key] != after[key]
        }
