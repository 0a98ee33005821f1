"""What a sync found and did, as an object that can be printed, serialised and tested."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

__all__ = ["Divergence", "KeptVersion", "SyncReport", "Tally", "kind_of"]

_NAMES = 100
_KINDS = {
    "manifests": "manifests",
    "snapshots": "snapshots",
    "versions": "versions",
    "pointers": "moves",
    "tags": "tags",
    "expired": "expired",
}


def kind_of(path: str) -> str:
    """What a path of a catalog holds: objects, manifests, snapshots, versions, moves, tags, expired or settings."""
    parts = path.split("/")
    if parts[0] == "datasets" and len(parts) > 2:  # noqa: PLR2004 - datasets/<ds>/<kind>
        return _KINDS.get(parts[2], "other")
    return "objects" if parts[0] == "objects" else "settings"


@dataclass(slots=True)
class Tally:
    """How many files, how many bytes, of which kinds, and the names of the first hundred."""

    count: int = 0
    bytes: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    names: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    def add(self, path: str, size: int) -> None:
        """Count one file. Many threads may do so at once."""
        with self._lock:
            self.count += 1
            self.bytes += size
            self.kinds[kind_of(path)] += 1
            if len(self.names) < _NAMES:
                self.names.append(path)

    def to_dict(self) -> dict[str, Any]:
        """The tally for ``--json``; ``names`` are the first hundred in the order of their paths."""
        return {
            "count": self.count,
            "bytes": self.bytes,
            "kinds": dict(sorted(self.kinds.items())),
            "names": sorted(self.names),
        }


@dataclass(frozen=True, slots=True)
class Divergence:
    """One name of a dataset that means different things on the two sides; both digests as text."""

    dataset: str
    name: str
    path: str
    source: str
    destination: str

    def __str__(self) -> str:
        return f"{self.name} is {self.source} at the source and {self.destination} at the destination"


@dataclass(frozen=True, slots=True)
class KeptVersion:
    """A version that the source has retired and that names mean: it stays live at the destination."""

    dataset: str
    number: int
    path: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        mean = "means" if len(self.names) == 1 else "mean"
        return f"{self.dataset}@v{self.number}, which the source has retired: {', '.join(self.names)} {mean} it"


@dataclass(slots=True)
class SyncReport:
    """What two catalogs have of each other.

    Attributes
    ----------
    missing
        What the destination lacked when the sync began.
    copied
        What was written; nothing in a dry run.
    skipped
        What missing versions need and the destination had.
    extra
        Records that only the destination has.
    mismatched
        Files that the destination has with another size; they are damaged, and never overwritten.
    kept
        Versions that the source has retired and the destination keeps, since a name means them.
    diverged
        Names that mean different things on the two sides. Nothing of their datasets is written.
    ahead
        By how many versions the destination is ahead, for each dataset in which it is.
    mirror
        Whether the destination has, or gets, the identity of the source: the same catalog id.
    notes
        What else people should know.
    """

    source: str
    destination: str
    dry_run: bool
    mirror: bool = True
    datasets: list[str] = field(default_factory=list)
    missing: Tally = field(default_factory=Tally)
    copied: Tally = field(default_factory=Tally)
    skipped: Tally = field(default_factory=Tally)
    extra: Tally = field(default_factory=Tally)
    mismatched: Tally = field(default_factory=Tally)
    kept: list[KeptVersion] = field(default_factory=list)
    diverged: list[Divergence] = field(default_factory=list)
    ahead: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def in_sync(self) -> bool:
        """Whether the destination had everything that it takes, and no name means something else at the source."""
        return not (self.missing.count or self.mismatched.count or self.diverged)

    def to_dict(self) -> dict[str, Any]:
        """The report for ``--json``; of what was skipped, which may be everything, without names."""
        return {
            "source": self.source,
            "destination": self.destination,
            "dry_run": self.dry_run,
            "mirror": self.mirror,
            "in_sync": self.in_sync,
            "datasets": self.datasets,
            "missing": self.missing.to_dict(),
            "copied": self.copied.to_dict(),
            "skipped": {key: value for key, value in self.skipped.to_dict().items() if key != "names"},
            "extra": self.extra.to_dict(),
            "mismatched": self.mismatched.to_dict(),
            "kept": [
                {"dataset": each.dataset, "version": each.number, "path": each.path, "names": list(each.names)}
                for each in self.kept
            ],
            "diverged": [
                {
                    "dataset": each.dataset,
                    "name": each.name,
                    "path": each.path,
                    "source": each.source,
                    "destination": each.destination,
                }
                for each in self.diverged
            ],
            "ahead": self.ahead,
            "notes": self.notes,
        }
