"""The records of a catalog: what is written once as canonical JSON and read for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from versioning.canonical import canonical
from versioning.digests import digest_text, sha256
from versioning.errors import Integrity

__all__ = [
    "FORMAT",
    "CatalogRecord",
    "CondemnedRecord",
    "ExpiryRecord",
    "ListFile",
    "Moment",
    "PointerRecord",
    "SettingsRecord",
    "SnapshotFile",
    "Statistics",
    "SweepRecord",
    "SweptRecord",
    "TagRecord",
    "VersionRecord",
    "not_yet",
    "parse_time",
    "record_digest",
    "time_text",
]

FORMAT = 1
_DIGEST = r"^sha256:[0-9a-f]{64}$"
# By how much the clocks of honest machines may differ: those that were set to local time instead of UTC by half a day.
_CLOCKS_DIFFER = timedelta(days=1)


def time_text(moment: datetime) -> str:
    """A time in UTC with microseconds, so that texts of one kind sort as the times do."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _only_spelling(text: str) -> str:
    """A text that :func:`time_text` gives: later writers compute with it, whoever wrote it."""
    try:
        right = time_text(datetime.fromisoformat(text)) == text
    except (ValueError, OverflowError):
        right = False
    if not right:
        raise ValueError(f"{text[:40]!r} is not a time such as 2026-01-31T12:00:00.000000Z")
    return text


Moment = Annotated[str, AfterValidator(_only_spelling)]


class Record(BaseModel):
    """What all records share: they are frozen, and members of a later minor revision are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def encode(self) -> bytes:
        """The bytes that are stored: canonical JSON."""
        return canonical(self.model_dump(mode="json"), where=type(self).__name__)

    @classmethod
    def decode(cls, data: bytes, *, where: str) -> Self:
        """Parse stored bytes.

        Raises
        ------
        Integrity
            If they are not such a record.
        """
        try:
            return cls.model_validate(orjson.loads(data))
        except (ValidationError, orjson.JSONDecodeError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            reason = reason.removeprefix("Value error, ")
            raise Integrity(f"{where} is not a {cls.__name__}: {reason}.", hint="Restore it from a mirror.") from error


class CatalogRecord(Record):
    """``stacpin.json``: what makes a prefix a catalog."""

    format: int
    id: str
    created: Moment


class SettingsRecord(Record):
    """``settings/00000001.json``: what people may change about a catalog; the highest number counts."""

    type: Literal["settings"] = "settings"
    number: int = Field(ge=1)
    title: str = ""
    time: Moment
    nonce: str


class SnapshotFile(Record):
    """A snapshot file of a version: sha256 of its bytes (hex), its size, whether it is one of changes."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)
    changes: bool = False


class Statistics(Record):
    """What a version holds and what it changed. ``bytes`` counts every asset, shared ones as often as they are used."""

    items: int = Field(ge=0)
    assets: int = Field(ge=0)
    bytes: int = Field(ge=0)
    bbox: list[float] | None = None
    interval: list[str | None] | None = None
    added: int = 0
    changed: int = 0
    removed: int = 0


class VersionRecord(Record):
    """``versions/00000003.json``: writing it is the commit."""

    type: Literal["version"] = "version"
    format: Literal[1] = 1
    dataset: str
    number: int = Field(ge=1)
    parent: int | None
    previous: str | None = Field(pattern=_DIGEST)
    digest: str = Field(pattern=_DIGEST)
    content_digest: str = Field(pattern=_DIGEST)
    root: str = Field(pattern=_DIGEST)
    content_root: str = Field(pattern=_DIGEST)
    snapshot: list[SnapshotFile]
    collection: dict[str, Any]
    advance: bool = True
    author: str
    message: str
    time: Moment
    nonce: str
    statistics: Statistics
    summaries: dict[str, Any] = {}
    checks: list[dict[str, Any]] = []
    recipe: dict[str, Any] | None = None
    software: dict[str, str] = {}


class PointerRecord(Record):
    """``pointers/stable/00000007.json``: one move of a pointer. ``seen`` is the head at that time."""

    type: Literal["pointer"] = "pointer"
    pointer: str
    number: int = Field(ge=1)
    previous: str | None = Field(pattern=_DIGEST)
    target: int = Field(ge=1)
    seen: int = Field(ge=1)
    why: str
    author: str
    time: Moment
    nonce: str


class TagRecord(Record):
    """``tags/v2.1.4.json``: a name for a version, written once, never moved."""

    type: Literal["tag"] = "tag"
    tag: str
    target: int = Field(ge=1)
    digest: str = Field(pattern=_DIGEST)
    message: str
    author: str
    time: Moment
    nonce: str


class ExpiryRecord(Record):
    """``expired/00000002.json``: the version was retired; its record stays and its number is never used again."""

    type: Literal["expiry"] = "expiry"
    number: int = Field(ge=1)
    why: str
    author: str
    time: Moment
    nonce: str


class ListFile(Record):
    """A list of condemned files: sha256 of its bytes (hex) and its size."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class CondemnedRecord(Record):
    """``gc/00000004.json``: what nothing needed at that time. ``file`` is the list, ``gc/lists/<sha256>.parquet``."""

    type: Literal["condemned"] = "condemned"
    number: int = Field(ge=1)
    older_than_seconds: int = Field(ge=0)
    heads: dict[str, int]
    file: ListFile
    count: int = Field(ge=0)
    bytes: int = Field(ge=0)
    time: Moment
    nonce: str


class SweepRecord(Record):
    """``gc/00000005.json``: from now on what record ``of`` condemned is being deleted."""

    type: Literal["sweep"] = "sweep"
    number: int = Field(ge=1)
    of: int = Field(ge=1)
    time: Moment
    nonce: str


class SweptRecord(Record):
    """``gc/00000006.json``: the sweep that record ``sweep`` began is over. ``left`` files it had no time for."""

    type: Literal["swept"] = "swept"
    number: int = Field(ge=1)
    of: int = Field(ge=1)
    sweep: int = Field(ge=1)
    deleted: int = Field(ge=0)
    bytes: int = Field(ge=0)
    spared: int = Field(ge=0)
    left: int = Field(ge=0)
    time: Moment
    nonce: str


def record_digest(data: bytes) -> str:
    """What the next record names as ``previous``: the sha256 of a record's stored bytes."""
    return digest_text(sha256(data))


def parse_time(text: str) -> datetime:
    """The time of a record."""
    return datetime.fromisoformat(text)


def not_yet(text: str, now: datetime) -> str | None:
    """What is wrong with the time of a record, if no clock of an honest writer can have shown it yet; None if nothing.

    A record's time is never before its predecessor's, so one that claims the year 9999 would give that time to all that
    follow, and a pin by date would never mean any of them.
    """
    if parse_time(text) <= now + _CLOCKS_DIFFER:
        return None
    return f"it says that it was written at {text}, which has not come yet"
