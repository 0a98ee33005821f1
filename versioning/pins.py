"""Pins: ``ds@v3``, ``ds@stable``, ``ds@v2.1.4``, ``ds@sha256:ab12…``, ``ds@{2026-01-31}``, ``ds--v3``, bare ``ds``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from versioning.errors import InvalidInput
from versioning.ids import check_dataset_id, check_pointer_name, check_tag_name, split_collection_id

__all__ = ["PinRef", "parse_pin", "parse_ref"]

Kind = Literal["version", "digest", "date", "name"]

_NUMBER = re.compile(r"[vV]?([1-9][0-9]{0,7})")
_DIGEST = re.compile(r"sha256:[0-9a-f]{8,64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d(?P<time>T\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII)
_LONGEST = 200
_HINT = "Write dataset@v3, dataset@stable, dataset@v2.1.4, dataset@sha256:ab12…, dataset@{2026-01-31} or dataset."


@dataclass(frozen=True, slots=True)
class PinRef:
    """What a pin says, not yet resolved.

    ``value`` is the number of a version, a digest (maybe shortened, at least 8 digits), the name of a tag or pointer,
    or for a date the first instant that is no longer meant, in microsecond steps.
    """

    dataset: str
    kind: Kind
    value: int | str | datetime
    text: str

    def __str__(self) -> str:
        return f"{self.dataset}@{self.text}"


def parse_pin(text: str) -> PinRef:
    """Read a pin.

    Raises
    ------
    InvalidInput
        If it is none of the known forms; the error lists them.
    """
    dataset, at, ref = text.partition("@")
    if not at:
        dataset, number = split_collection_id(text)
        ref = f"v{number}" if number else "latest"
    try:
        check_dataset_id(dataset)
    except InvalidInput as error:
        raise InvalidInput(f"{text!r} is not a pin: {error.message}", hint=_HINT, kind="invalid-pin") from error
    return parse_ref(dataset, ref)


def parse_ref(dataset: str, ref: str) -> PinRef:
    """Read what stands after the ``@``.

    Raises
    ------
    InvalidInput
        If it is none of the known forms.
    """
    if len(ref) > _LONGEST:
        raise InvalidInput(f"{dataset}@{ref[:50]}… is not a pin.", hint=_HINT, kind="invalid-pin")
    if match := _NUMBER.fullmatch(ref):
        return PinRef(dataset, "version", int(match[1]), f"v{int(match[1])}")
    if ref.startswith("sha256:"):
        if not _DIGEST.fullmatch(ref):
            raise InvalidInput(
                f"{dataset}@{ref} is not a pin.", hint="A digest has 8 to 64 lower-case hex digits.", kind="invalid-pin"
            )
        return PinRef(dataset, "digest", ref, ref)
    if ref.startswith("{") and ref.endswith("}"):
        return PinRef(dataset, "date", _instant(ref[1:-1], dataset, ref), ref)
    try:
        check_pointer_name(ref)
    except InvalidInput:
        try:
            check_tag_name(ref)
        except InvalidInput as error:
            raise InvalidInput(f"{dataset}@{ref} is not a pin.", hint=_HINT, kind="invalid-pin") from error
    return PinRef(dataset, "name", ref, ref)


def _instant(text: str, dataset: str, ref: str) -> datetime:
    # fromisoformat alone takes more than RFC 3339: weeks, and any character between date and time.
    match = _TIME.fullmatch(text)
    try:
        moment = datetime.fromisoformat(text) if match else None
    except ValueError:
        moment = None
    if match is None or moment is None:
        raise InvalidInput(
            f"{dataset}@{ref}: {text!r} is not a date.",
            hint="Write {2026-01-31} or {2026-01-31T12:00:00Z}.",
            kind="invalid-pin",
        )
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC) + (timedelta(microseconds=1) if match["time"] else timedelta(days=1))
    except OverflowError as error:
        raise InvalidInput(f"{dataset}@{ref}: {text!r} is beyond every calendar.", kind="invalid-pin") from error
