"""The head of an audit trail: one digest over all logs, kept elsewhere, that proves later that nothing was rewritten.

Records name the hash of the one before, so a change of an older one shows; the newest ones, tags and expiries are named
by nothing. A head names all of them. It is a document, and the sha256 of ``stacpin/1/head`` LF and its canonical JSON.
A log is in it with its highest number n and h(n), where h(0) is 32 zeros and h(k) is the sha256 of h of the entry
before, the number as 8 bytes, big-endian, and the sha256 of the record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from versioning.canonical import canonical, loads
from versioning.digests import digest_text, sha256
from versioning.errors import InvalidInput
from versioning.verify_report import Problem

__all__ = ["AuditHead", "Trace"]

_TYPE = "stacpin/1/head"
_NUMBERED = re.compile(
    r"(?P<folder>settings|gc|datasets/[^/]+/versions|datasets/[^/]+/pointers/[^/]+)/(?P<number>[0-9]{8})\.json"
)
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class AuditHead:
    """What a catalog's records were at one moment.

    Attributes
    ----------
    catalog
        The id of the catalog.
    dataset
        Of which dataset alone, None of all.
    logs
        Folders to the number of the newest entry and h of it, in hex.
    records
        Paths of all other records to their sha256 in hex.
    """

    catalog: str
    dataset: str | None
    logs: Mapping[str, tuple[int, str]]
    records: Mapping[str, str]

    def encode(self) -> bytes:
        """The document."""
        logs = {folder: list(entry) for folder, entry in self.logs.items()}
        document = {"type": _TYPE, "catalog": self.catalog, "dataset": self.dataset, "logs": logs}
        return canonical(document | {"records": dict(self.records)})

    @property
    def digest(self) -> str:
        """``sha256:…``, short enough to be written down."""
        return digest_text(sha256(f"{_TYPE}\n".encode(), self.encode()))

    @classmethod
    def decode(cls, data: bytes, *, where: str) -> AuditHead:
        """Read a document.

        Raises
        ------
        InvalidInput
            If it is none.
        """
        found = loads(data, where=where)
        try:
            logs = {str(folder): (int(number), _hex(run)) for folder, (number, run) in found["logs"].items()}
            records = {str(path): _hex(digest) for path, digest in found["records"].items()}
            if found["type"] == _TYPE:
                return cls(str(found["catalog"]), _text(found["dataset"]), logs, records)
        except (AttributeError, KeyError, TypeError, ValueError):
            pass
        raise InvalidInput(
            f"{where} is not the head of an audit trail.", hint="Write one: stacpin audit --save-head FILE"
        )


@dataclass(slots=True)
class Trace:
    """Records as they are read, a log's in the order of their numbers, and the head that they make."""

    _logs: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    _steps: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    _records: dict[str, str] = field(default_factory=dict)

    def add(self, path: str, digest: bytes) -> None:
        """Take a record: its path, the sha256 of its bytes."""
        match = _NUMBERED.fullmatch(path)
        if match is None:
            self._records[path] = digest.hex()
            return
        folder, number = match["folder"], int(match["number"])
        _, before = self._logs.get(folder, (0, bytes(32)))
        step = number, sha256(before, number.to_bytes(8, "big"), digest)
        self._logs[folder] = step
        self._steps.setdefault(folder, []).append(step)

    def head(self, catalog: str, dataset: str | None) -> AuditHead:
        """The head of what was taken."""
        logs = {folder: (number, run.hex()) for folder, (number, run) in self._logs.items()}
        return AuditHead(catalog, dataset, logs, dict(self._records))

    def since(self, before: AuditHead) -> Iterator[Problem]:
        """What of an earlier head is not so any more: nothing, if it was a prefix of this."""
        for path, digest in sorted(before.records.items()):
            now = self._records.get(path)
            if now is None:
                yield Problem(path, "missing", "it was there when the head was written")
            elif now != digest:
                yield Problem(path, "altered", "it had another hash when the head was written")
        for folder, (number, run) in sorted(before.logs.items()):
            steps = self._steps.get(folder, [])
            then = [step for step in steps if step[0] <= number]
            if not then or then[-1][0] != number:
                yield Problem(f"{folder}/{number:08d}.json", "missing", "it was there when the head was written")
            elif then[-1][1].hex() != run:
                detail = f"the entries up to {number:08d}.json are not those of when the head was written"
                yield Problem(folder, "altered", detail)


def _hex(text: Any) -> str:
    if not isinstance(text, str) or not _HEX.fullmatch(text):
        raise ValueError
    return text


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
