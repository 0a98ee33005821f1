"""Which objects carry our tag: a numbered log, since asking S3 costs one request an object.

What is about to be tagged is written down before, and that it was done after. So an object that the log does not name
has no tag of ours, and one whose batch was never finished may have one.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from versioning.errors import Conflict
from versioning.numbered import NumberedLog
from versioning.records import Moment, Record, time_text
from versioning.store import Store

__all__ = ["Journal", "TagsRecord", "read_journal"]

_FOLDER = "lifecycle"


class TagsRecord(Record):
    """``lifecycle/00000004.json``: objects are about to be tagged or untagged, or (``of``) that was done."""

    type: Literal["tags"] = "tags"
    number: int = Field(ge=1)
    action: Literal["tag", "untag", "done"]
    of: int | None = None
    paths: list[str] = Field(default_factory=list)
    time: Moment
    nonce: str


@dataclass(slots=True)
class Journal:
    """What the log says: when objects were tagged for certain, and which may be tagged."""

    log: NumberedLog
    tagged: dict[str, datetime] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)

    @contextmanager
    def batch(self, action: Literal["tag", "untag"], paths: Sequence[str]) -> Iterator[None]:
        """Write down what is about to be done, and afterwards that it was."""
        number = self._append(action, paths=list(paths))
        yield
        self._append("done", of=number)

    def _append(self, action: Literal["tag", "untag", "done"], **more: object) -> int:
        number = self.log.head() + 1
        record = TagsRecord.model_validate(
            {
                "number": number,
                "action": action,
                "time": time_text(datetime.now(UTC)),
                "nonce": secrets.token_hex(8),
                **more,
            }
        )
        if not self.log.append(number, record.encode()):
            raise Conflict(
                f"{self.log.path(number)} was just written by another stacpin lifecycle.",
                hint="Run it again when the other has finished.",
            )
        return number


def read_journal(store: Store) -> Journal:
    """Read the whole log: some 80 bytes for each object that was ever tagged."""
    journal = Journal(NumberedLog(store, _FOLDER))
    begun: dict[int, TagsRecord] = {}
    for number in range(1, journal.log.head() + 1):
        path = journal.log.path(number)
        record = TagsRecord.decode(journal.log.get(number), where=path)
        if record.action != "done":
            begun[number] = record
            journal.doubtful.update(record.paths)
            continue
        first = begun.pop(record.of or 0, None)
        if first is None:
            continue
        journal.doubtful.difference_update(first.paths)
        for each in first.paths:
            if first.action == "tag":
                journal.tagged[each] = datetime.fromisoformat(first.time)
            else:
                journal.tagged.pop(each, None)
    for left in begun.values():
        for each in left.paths:
            journal.tagged.pop(each, None)
    return journal
