"""What a verification found: what was proven, what was not looked at, what is wrong and what is left over."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from versioning.errors import Integrity, StacpinError

__all__ = ["CatalogReport", "Extras", "Problem", "Sample", "Tally", "VerifyReport", "detail_of", "problem_of"]

_NAMED = 100


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it must be: what, where, how.

    ``kind`` is ``missing``, ``truncated`` or ``altered``; ``size`` is how many bytes the file must have, where that is
    known.
    """

    path: str
    kind: str
    detail: str
    size: int | None = field(default=None, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The problem for ``--json``."""
        return {"path": self.path, "kind": self.kind, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Sample:
    """Which objects a sampled verification read: the same seed and the same catalog give the same ones.

    ``objects`` and ``bytes`` were read whole; of all ``of_objects`` with ``of_bytes`` the presence and size were seen.
    """

    asked: str
    seed: int
    objects: int
    of_objects: int
    bytes: int
    of_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """The sample for ``--json``."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class VerifyReport:
    """What was proven, and what could not be.

    ``objects`` counts the objects that were looked at, ``bytes`` those that were read and are right; ``referenced``
    counts assets outside the catalog, which are never read.
    """

    pin: str
    digest: str
    records: int = 0
    items: int = 0
    objects: int = 0
    bytes: int = 0
    referenced: int = 0
    problems: list[Problem] = field(default_factory=list)
    sample: Sample | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with what was looked at."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """The report for ``--json``."""
        found = {
            "pin": self.pin,
            "digest": self.digest,
            "ok": self.ok,
            "records": self.records,
            "items": self.items,
            "objects": self.objects,
            "bytes": self.bytes,
            "referenced": self.referenced,
            "problems": [problem.to_dict() for problem in self.problems],
        }
        return found if self.sample is None else found | {"sample": self.sample.to_dict()}


@dataclass(slots=True)
class Tally:
    """How many files of one kind there are, their bytes, and the names of the first hundred."""

    files: int = 0
    bytes: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, path: str, size: int) -> None:
        """Count a file."""
        self.files += 1
        self.bytes += size
        if len(self.names) < _NAMED:
            self.names.append(path)

    def to_dict(self) -> dict[str, Any]:
        """The tally for ``--json``."""
        return {"files": self.files, "bytes": self.bytes, "names": self.names}


@dataclass(slots=True)
class Extras:
    """Files that no version needs. None of them is wrong, and none of them is ever read.

    ``unreferenced`` are objects, manifests and snapshots that only expired versions, running commits or nobody names:
    garbage collection frees them. ``foreign`` lie where no catalog has files. While records, snapshots or manifests are
    damaged, which may name it, what is unreferenced is not ``certain``.
    """

    certain: bool = True
    unreferenced: Tally = field(default_factory=Tally)
    foreign: Tally = field(default_factory=Tally)

    def to_dict(self) -> dict[str, Any]:
        """The extras for ``--json``."""
        return {
            "certain": self.certain,
            "unreferenced": self.unreferenced.to_dict(),
            "foreign": self.foreign.to_dict(),
        }


@dataclass(slots=True)
class CatalogReport(VerifyReport):
    """What was proven of a dataset or of a whole catalog; ``pin`` is the dataset's id, or empty.

    ``items`` counts revisions: an item that several versions share is proven once, and so are manifests and objects.
    ``expired`` versions are proven by their records alone.
    """

    catalog: str = ""
    datasets: list[str] = field(default_factory=list)
    versions: int = 0
    expired: int = 0
    manifests: int = 0
    extra: Extras = field(default_factory=Extras)

    def to_dict(self) -> dict[str, Any]:
        """The report for ``--json``."""
        # No super(): a dataclass with slots is another class than the one that is defined here.
        found = VerifyReport.to_dict(self)
        del found["pin"], found["digest"]
        more = {
            "catalog": self.catalog,
            "datasets": self.datasets,
            "versions": self.versions,
            "expired": self.expired,
            "manifests": self.manifests,
            "extra": self.extra.to_dict(),
        }
        return more | found


def problem_of(error: Integrity) -> Problem:
    """The problem that an error tells, whose message begins with the path."""
    path = error.message.split(" ", 1)[0].rstrip(":")
    return Problem(path, error.kind, detail_of(error, path))


def detail_of(error: StacpinError, path: str) -> str:
    """What an error says beyond the path and the kind of a problem, which are told beside it.

    ``objects/79/a.tif is altered: its bytes hash to 12…`` at that path is ``its bytes hash to 12…``.
    """
    text = error.message.strip().rstrip(".")
    rest = text.removeprefix(path)
    if rest == text or not rest.startswith((" ", ":")):
        return text
    rest = re.sub(rf"\A[: ]*(\([^()]*\) )?(is {re.escape(error.kind)}\b[: ]*)?", "", rest)
    return rest or f"it is {error.kind}"
