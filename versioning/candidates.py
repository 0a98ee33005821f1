"""What garbage collection looks at: the files that it may take away (no record is among them), and folders of runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from versioning.errors import InvalidInput
from versioning.ids import check_dataset_id
from versioning.store import Entry, Store

__all__ = ["FINISHED", "StagedFolder", "candidates", "digest_of", "is_candidate", "key_of", "staged_folders"]

_OBJECT = re.compile(r"objects/([0-9a-f]{2})/(\1[0-9a-f]{62})((?:\.[a-z0-9]{1,12})?)")
_TABLE = re.compile(r"datasets/([^/]+)/(?:manifests|snapshots)/([0-9a-f]{64})\.parquet")
# What says in a run's folder that nobody waits for it.
FINISHED = {"committed.json", "discarded.json"}


@dataclass(frozen=True, slots=True)
class StagedFolder:
    """One run's folder in the staging area: when its oldest and its newest file were written, by the store's clock."""

    run: str
    began: datetime
    last: datetime
    finished: bool
    paths: tuple[str, ...]


def is_candidate(path: str) -> bool:
    """Whether a path is one of those that garbage collection may take away: no record ever is."""
    match = _TABLE.fullmatch(path)
    if match is None:
        return _OBJECT.fullmatch(path) is not None
    try:
        check_dataset_id(match[1])
    except InvalidInput:
        return False
    return True


def candidates(store: Store) -> Iterator[Entry]:
    """All files that garbage collection may take away, if nothing needs them."""
    for entry in store.list("objects"):
        if is_candidate(entry.path):
            yield entry
    for name in store.folders("datasets"):
        for kind in ("manifests", "snapshots"):
            for entry in store.list(f"datasets/{name}/{kind}"):
                if is_candidate(entry.path):
                    yield entry


def staged_folders(store: Store) -> Iterator[StagedFolder]:
    """The folders of runs in the staging area, sorted."""
    found: dict[str, list[Entry]] = {}
    for entry in store.list("staging"):
        _, run, *rest = entry.path.split("/")
        if rest:  # what lies in the staging area itself is no run's
            found.setdefault(run, []).append(entry)
    for run, entries in sorted(found.items()):
        names = {entry.path.split("/", 2)[2] for entry in entries}
        yield StagedFolder(
            run,
            began=min(entry.modified for entry in entries),
            last=max(entry.modified for entry in entries),
            finished=not FINISHED.isdisjoint(names),
            paths=tuple(sorted(entry.path for entry in entries)),
        )


def key_of(path: str) -> bytes | str | None:
    """A path in few bytes: an object's digest and extension; the path itself for the few others."""
    match = _OBJECT.fullmatch(path)
    if match:
        return bytes.fromhex(match[2]) + match[3].encode()
    return path if path.startswith("datasets/") else None


def digest_of(path: str) -> bytes | None:
    """The sha256 that a candidate is named by, None for any other path."""
    match = _OBJECT.fullmatch(path) or _TABLE.fullmatch(path)
    return bytes.fromhex(match[2]) if match else None
