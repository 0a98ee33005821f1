"""What a garbage collection found, did, or would do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from versioning.records import time_text

__all__ = ["Amount", "GcReport", "Waiting"]


@dataclass(slots=True)
class Amount:
    """A number of files and their bytes."""

    files: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """Count one file."""
        self.files += 1
        self.bytes += size


@dataclass(frozen=True, slots=True)
class Waiting:
    """A condemned list that is not deleted yet: before ``ready``, or while ``runs`` that began before it go on."""

    record: int
    files: int
    bytes: int
    condemned: datetime
    ready: datetime
    runs: tuple[str, ...] = ()


@dataclass(slots=True)
class GcReport:
    """What a run of garbage collection did, or, if ``applied`` is False, would do now.

    Attributes
    ----------
    versions
        How many versions were marked.
    live, staged, recent, unreferenced
        The files that are there after it, by who needs them (:func:`versioning.reachability.classify`).
    condemned, record
        What it condemned, and the number of the record that says so.
    deleted
        What an earlier run condemned and this one deleted.
    spared
        How many condemned files were needed again, written again, or gone.
    waiting
        What is condemned and may be deleted later.
    cleared, cleared_runs
        What finished and died work left behind, and the finished runs whose folders went.
    unfinished
        The runs that keep what they name: commit or discard them.
    """

    applied: bool
    older_than_seconds: int
    delay_seconds: int
    versions: int = 0
    live: Amount = field(default_factory=Amount)
    staged: Amount = field(default_factory=Amount)
    recent: Amount = field(default_factory=Amount)
    unreferenced: Amount = field(default_factory=Amount)
    condemned: Amount = field(default_factory=Amount)
    record: int | None = None
    deleted: Amount = field(default_factory=Amount)
    spared: int = 0
    waiting: list[Waiting] = field(default_factory=list)
    cleared: Amount = field(default_factory=Amount)
    cleared_runs: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The report for ``--json``."""
        found = asdict(self)
        for each in found["waiting"]:
            each |= {"condemned": time_text(each["condemned"]), "ready": time_text(each["ready"])}
        return found
