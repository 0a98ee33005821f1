"""The commit: a change becomes the next version, by one write, or nothing happens."""

from __future__ import annotations

import secrets
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from versioning.canonical import canonical
from versioning.condemned import spare
from versioning.dataset import Dataset
from versioning.declared import declared_objects
from versioning.diff import diff_versions
from versioning.digests import digest_text, version_digest
from versioning.errors import Conflict, InvalidInput, NotFound
from versioning.events import Listener, Progress, silent
from versioning.overlays import places_of
from versioning.records import SnapshotFile, Statistics, VersionRecord, parse_time, record_digest, time_text
from versioning.rewrite import rewrite
from versioning.rows import Row, make_row, make_rows, micros_text
from versioning.snapshots import Chunk, Layers, changed_chunks, encode_changes, encode_snapshots, roots_of
from versioning.version import Version

__all__ = ["CommitResult", "Notes", "commit"]

_TRIES = 32
_SHOWN = 10
# Files of changes over a list of chunks; whoever opens a version fetches them all at once.
_MOST_CHANGES = 8
# What stays as the parent has it when an asset's content is the same.
_OF_THE_BYTES = ("href", "file:checksum", "file:size", "pin:source")


def _new_nonce() -> str:
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class Notes:
    """What a record says beside the content: none of it enters a digest."""

    summaries: Mapping[str, Any] | None = None
    checks: Sequence[Mapping[str, Any]] = ()
    recipe: Mapping[str, Any] | None = None
    software: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What a commit did. ``created`` is False when there was nothing to commit; then ``version`` is the parent."""

    version: Version
    created: bool
    added: int = 0
    changed: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class _Change:
    """A change that is ready to be applied to the version it was made from, or to another that agrees with it."""

    upserts: dict[str, Row]
    removed: set[str]
    collection: dict[str, Any] | None
    added: set[str]


def commit(
    dataset: Dataset,
    *,
    items: Iterable[Mapping[str, Any]] = (),
    remove: Iterable[str] = (),
    whole: bool = False,
    collection: Mapping[str, Any] | None = None,
    message: str,
    author: str,
    base: Version | None = None,
    advance: bool = True,
    notes: Notes | None = None,
    rebase: bool = True,
    new_nonce: Callable[[], str] = _new_nonce,
    on_event: Listener = silent,
) -> CommitResult:
    """Make the next version of a dataset.

    An item whose content equals its parent's stays exactly as the parent has it, and so does every asset whose
    ``pin:digest`` does: another encoding of the same content is no change.

    Parameters
    ----------
    dataset
        Where to commit.
    items
        STAC Items to add or to replace; their assets must be stored already.
    remove
        Ids of items to take out.
    whole
        Whether ``items`` are the whole new set, so that every other item is taken out.
    collection
        The dataset's declared metadata; None keeps the parent's.
    message, author
        Why, and who.
    base
        The version that the change was made from; None is ``latest``. If ``latest`` has moved on meanwhile, the change
        is applied on top of it.
    advance
        Whether ``latest`` may mean the new version; False for one whose checks failed.
    notes
        What else the version's record shall say.
    rebase
        Whether the change may be applied on top of a ``latest`` that has moved on since ``base``. Whoever says in
        ``notes`` what follows from all items together says False, and decides again.
    new_nonce
        Makes the nonce of each record that is tried, unlike all others. Whoever keeps them knows its own version again
        if the answer was lost.
    on_event
        Hears how far it is.

    Raises
    ------
    InvalidInput
        If an item is not what the format takes, or occurs twice.
    NotFound
        If an item to remove is not there.
    Conflict
        If somebody else changed the same items, or the metadata, since ``base``; it names them. With the kind
        ``stale-base`` if ``latest`` has moved on and ``rebase`` is False.
    Integrity
        If a version's record was lost, so that its number would be used again.
    """
    parent = base or dataset.latest()
    change = _prepare(parent, items, set(remove), whole=whole, collection=collection, on_event=on_event)
    for _ in range(_TRIES):
        # The head comes first: a version that appears while this one is written then has the number that this one
        # tries, and is seen. Read after latest, it would be passed over, and its change lost.
        head = dataset.head()
        dataset.log.check_nothing_beyond(head)
        latest = dataset.latest()
        if latest is not None and (parent is None or latest.number != parent.number):
            if not rebase:
                raise Conflict(
                    f"{dataset.id}: latest is {latest.pin} now; the change was made from "
                    f"{parent.pin if parent else 'nothing'}.",
                    hint="Look at what changed, and make the change again on top of it.",
                    kind="stale-base",
                )
            change = _rebase(change, parent, latest)
            parent = latest
        done = _attempt(
            dataset,
            change,
            parent,
            head,
            message=message,
            author=author,
            advance=advance,
            notes=notes or Notes(),
            new_nonce=new_nonce,
        )
        if done is not None:
            on_event(Progress("commit", 1, 1))
            return done
    raise Conflict(f"{dataset.id}: other writers were faster {_TRIES} times.", hint="Try again.")


def _prepare(
    parent: Version | None,
    items: Iterable[Mapping[str, Any]],
    remove: set[str],
    *,
    whole: bool,
    collection: Mapping[str, Any] | None,
    on_event: Listener,
) -> _Change:
    rows: dict[str, Row] = {}
    for count, row in enumerate(make_rows(items), start=1):
        if row.id in rows:
            raise InvalidInput(f"item {row.id} occurs twice in one commit.", hint="Give every item an id of its own.")
        if row.id in remove:
            raise InvalidInput(f"item {row.id} is both to be written and to be removed.")
        rows[row.id] = row
        on_event(Progress("rows", count))
    kept: set[str] = set()
    present: set[str] = set()
    wanted = sorted(rows.keys() | remove)
    for chunk in parent.chunks if parent else ():
        first, last = bisect_left(wanted, chunk.first_id), bisect_right(wanted, chunk.last_id)
        if parent is None or (first == last and not whole):
            continue
        there = _There(parent, chunk)
        present.update(there.ids() if whole else there.having(remove.intersection(wanted[first:last])))
        for merged, old in there.merged([rows[item_id] for item_id in wanted[first:last] if item_id in rows]):
            if merged is None:
                kept.add(old)
                present.discard(old)
            else:
                rows[old] = merged
                present.add(old)
    missing = sorted(remove - present)
    if missing:
        raise NotFound(
            f"{parent.pin if parent else 'the empty dataset'} has no item {missing[0]!r} to remove.",
            kind="no-such-item",
        )
    upserts = {item_id: row for item_id, row in rows.items() if item_id not in kept}
    return _Change(
        upserts=upserts,
        removed={item_id for item_id in present if item_id not in upserts},
        collection=None if collection is None else dict(collection),
        added=upserts.keys() - present,
    )


class _There:
    """What the parent has of one chunk, by ids; its items are read only where an asset of theirs may have to stay."""

    def __init__(self, parent: Version, chunk: Chunk) -> None:
        self._parent = parent
        self._chunk = chunk
        self._table = parent.light(chunk)

    def ids(self) -> list[str]:
        """All ids."""
        return self._table.column("id").to_pylist()

    def having(self, ids: Collection[str]) -> Iterable[str]:
        """Those of some ids that it has."""
        return places_of(self._table, ids)

    def merged(self, rows: Sequence[Row]) -> Iterator[tuple[Row | None, str]]:
        """Each new row that the chunk has too with what stays of the parent's (None: the same content), and its id."""
        places = places_of(self._table, [row.id for row in rows])
        contents, hints = self._table.column("content_digest"), self._table.column("reuse")
        asked: list[Row] = []
        for row in rows:
            place = places.get(row.id)
            if place is None:
                continue
            if contents[place].as_py() == row.content_digest:
                yield None, row.id
            elif _may_keep(hints[place].as_py(), row.reuse):
                asked.append(row)
            else:
                yield row, row.id
        before = self._parent.find_in(self._chunk, [row.id for row in asked]) if asked else {}
        for row in asked:
            merged = _reuse(before[row.id], row)
            yield None if merged.content_digest == before[row.id].content_digest else merged, row.id


def _may_keep(old: Sequence[int] | None, new: Sequence[int] | None) -> bool:
    """Whether an asset of equal content has other bytes, by the hints of :func:`versioning.rows.reuse_hint`."""
    if new is None or old is None:
        return True
    before = {hint >> 32: hint for hint in old}
    return any(hint >> 32 and before.get(hint >> 32, hint) != hint for hint in new)


def _reuse(old: Row, new: Row) -> Row:
    """The new row with every asset of equal content as the parent has it, bytes, href and lineage included."""
    if old.digest == new.digest or old.content_digest == new.content_digest:
        return old
    before, after = old.parse(), new.parse()
    assets = dict(after["assets"])
    for key, asset in after["assets"].items():
        there = before["assets"].get(key)
        if there is not None and "pin:digest" in asset and asset["pin:digest"] == there.get("pin:digest"):
            plain = {name: value for name, value in asset.items() if name not in _OF_THE_BYTES}
            assets[key] = plain | {name: there[name] for name in _OF_THE_BYTES if name in there}
    return new if assets == after["assets"] else make_row(after | {"assets": assets})


def _rebase(change: _Change, parent: Version | None, latest: Version) -> _Change:
    """The same change on top of ``latest``, unless somebody else changed the same things."""
    theirs = diff_versions(parent, latest)
    new = {row.id: row.digest for row in theirs.added} | {entry.id: entry.new.digest for entry in theirs.changed}
    gone = {row.id for row in theirs.removed}
    mine = change.upserts.keys() | change.removed
    both = sorted(
        item_id
        for item_id in mine & (new.keys() | gone)
        if not (item_id in new and item_id in change.upserts and change.upserts[item_id].digest == new[item_id])
        and not (item_id in gone and item_id in change.removed)
    )
    if both:
        more = f" and {len(both) - _SHOWN} more" if len(both) > _SHOWN else ""
        raise Conflict(
            f"{latest.pin} changed the same items: {', '.join(both[:_SHOWN])}{more}.",
            hint=f"Look at it (stacpin show {latest.pin}), then decide again.",
        )
    collection = change.collection
    if collection is not None and parent is not None and _same(collection, parent.record.collection):
        collection = None
    if collection is not None and theirs.collection and not _same(collection, latest.record.collection):
        names = ", ".join(theirs.collection)
        raise Conflict(f"{latest.pin} changed the dataset's metadata too: {names}.", hint="Decide again on top of it.")
    same = {item_id for item_id in change.upserts if item_id in new}
    return replace(
        change,
        upserts={item_id: row for item_id, row in change.upserts.items() if item_id not in same},
        removed=change.removed - gone,
        collection=collection,
        added=change.added - same,
    )


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return canonical(one) == canonical(other)


def _attempt(
    dataset: Dataset,
    change: _Change,
    parent: Version | None,
    head: int,
    *,
    message: str,
    author: str,
    advance: bool,
    notes: Notes,
    new_nonce: Callable[[], str],
) -> CommitResult | None:
    """Write the version after ``head``; None if another writer took the number."""
    chunks = rewrite(parent, change.upserts, change.removed, dataset.files.manifests)
    roots = roots_of(chunks)
    metadata = change.collection
    if metadata is None:
        metadata = dict(parent.record.collection) if parent else {}
    digest = version_digest(roots.digest, metadata)
    if parent is not None and digest == parent.digest:
        return CommitResult(parent, created=False)
    snapshot, layers = _snapshot(dataset, parent, chunks)
    previous = dataset.log.get(head) if head else None
    moment = dataset.now()
    if previous is not None:
        moment = max(moment, parse_time(dataset.record(head).time))
    counts = (len(change.added), len(change.upserts.keys() - change.added), len(change.removed))
    record = VersionRecord(
        dataset=dataset.id,
        number=head + 1,
        parent=parent.number if parent else None,
        previous=record_digest(previous) if previous else None,
        digest=digest,
        content_digest=version_digest(roots.content, metadata, family="content"),
        root=digest_text(roots.digest),
        content_root=digest_text(roots.content),
        snapshot=snapshot,
        collection=metadata,
        advance=advance,
        author=author,
        message=message,
        time=time_text(moment),
        nonce=new_nonce(),
        statistics=_statistics(chunks, counts),
        summaries=dict(notes.summaries or {}),
        checks=[dict(check) for check in notes.checks],
        recipe=None if notes.recipe is None else dict(notes.recipe),
        software=dict(notes.software or {}),
    )
    relied_on = _relied_on(dataset, change, parent, chunks, snapshot)
    if parent is None or metadata != parent.record.collection:
        relied_on |= declared_objects(metadata).keys()
    spare(dataset.store, relied_on)
    if not dataset.log.append(record.number, record.encode()):
        return None
    added, changed, removed = counts
    version = Version(record, dataset.files)
    version.remember(layers)
    return CommitResult(version, created=True, added=added, changed=changed, removed=removed)


def _relied_on(
    dataset: Dataset, change: _Change, parent: Version | None, chunks: Sequence[Chunk], snapshot: Sequence[SnapshotFile]
) -> set[str]:
    """The paths of all that the version's items need beyond its parent's."""
    old = {ref for chunk in parent.chunks for ref in chunk.files} if parent else set()
    new = {ref for chunk in chunks for ref in chunk.files} - old
    paths = {dataset.files.manifests.path(ref) for ref in new}
    paths |= {f"{dataset.folder}/snapshots/{entry.sha256}.parquet" for entry in snapshot}
    return paths | {asset.href for row in change.upserts.values() for asset in row.assets if asset.stored}


def _snapshot(dataset: Dataset, parent: Version | None, chunks: Sequence[Chunk]) -> tuple[list[SnapshotFile], Layers]:
    """Write the list of chunks: what differs from the parent's, or all of it once that has come to half of it.

    Files of changes are taken up like delta files: whenever the new one would have as many chunks as the one before.
    """
    store = dataset.files.snapshots
    if parent is not None and parent.record.snapshot:
        layers, entries = parent.layers, parent.record.snapshot
        changes, taken = changed_chunks(layers.chunks, chunks), 0
        while taken < len(layers.changes) and (
            len(layers.changes[-1 - taken]) <= len(changes) or len(layers.changes) - taken >= _MOST_CHANGES
        ):
            taken += 1
            changes = changed_chunks(layers.before(taken), chunks)
        kept = layers.changes[: len(layers.changes) - taken]
        if 2 * (sum(map(len, kept)) + len(changes)) <= len(chunks):
            ref = store.put(encode_changes(changes))
            last = SnapshotFile(sha256=ref.sha256.hex(), size=ref.size, changes=True)
            return (
                [*entries[: len(entries) - taken], last],
                Layers(layers.base, (*kept, tuple(changes)), tuple(chunks)),
            )
    refs = [store.put(data) for data in encode_snapshots(chunks)]
    files = [SnapshotFile(sha256=ref.sha256.hex(), size=ref.size) for ref in refs]
    return files, Layers(tuple(chunks), (), tuple(chunks))


def _statistics(chunks: Sequence[Chunk], counts: tuple[int, int, int]) -> Statistics:
    boxes = [chunk.bbox for chunk in chunks if chunk.bbox is not None]
    starts = [chunk.start for chunk in chunks if chunk.start is not None]
    ends = [chunk.end for chunk in chunks if chunk.end is not None]
    return Statistics(
        items=sum(chunk.rows for chunk in chunks),
        assets=sum(chunk.assets for chunk in chunks),
        bytes=sum(chunk.bytes for chunk in chunks),
        bbox=[
            min(box[0] for box in boxes),
            min(box[1] for box in boxes),
            max(box[2] for box in boxes),
            max(box[3] for box in boxes),
        ]
        if boxes
        else None,
        interval=[micros_text(min(starts)), micros_text(max(ends))] if starts and ends else None,
        added=counts[0],
        changed=counts[1],
        removed=counts[2],
    )
