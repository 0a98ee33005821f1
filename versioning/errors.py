"""One tree of errors; the class says what the caller can do about it.

Every error carries ``kind`` (a stable string for programs), ``message`` (the value and the reason) and ``hint``
(the way out); ``data`` may hold a report for programs. ``exit_code`` and ``http_status`` are what the CLI and the API
answer with. ``of_store`` is set where a store's own words are in the message: its address, its keys, its credentials.
They are for whoever runs it, not for strangers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

__all__ = [
    "Conflict",
    "Expired",
    "Forbidden",
    "Immutable",
    "Integrity",
    "InvalidInput",
    "NotFound",
    "StacpinError",
    "StorageUnavailable",
]


class StacpinError(Exception):
    """The root of the tree. Catch it to catch everything that stacpin refuses or cannot do."""

    kind: str = "error"
    exit_code: ClassVar[int] = 11
    http_status: ClassVar[int] = 500
    of_store: bool = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        kind: str | None = None,
        data: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.data = data
        if kind is not None:
            self.kind = kind

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class NotFound(StacpinError):
    """What was named does not exist: name something else."""

    kind = "not-found"
    exit_code = 40
    http_status = 404


class Expired(NotFound):
    """The version was retired by policy: use another; its record still says what it was."""

    kind = "expired"
    http_status = 410


class InvalidInput(StacpinError):
    """Refused input: mend the file or the value that the message names."""

    kind = "invalid-input"
    exit_code = 50
    http_status = 400


class Conflict(StacpinError):
    """Somebody else changed the same thing first: read the new state and decide again."""

    kind = "conflict"
    exit_code = 20
    http_status = 409


class Immutable(StacpinError):
    """What was to be changed never changes: write something new instead."""

    kind = "immutable"
    exit_code = 20
    http_status = 409


class Integrity(StacpinError):
    """Stored bytes are not what their digest says: verify, and repair from another copy."""

    kind = "integrity"
    exit_code = 30
    http_status = 500


class StorageUnavailable(StacpinError):
    """The store or the network did not answer: try again later."""

    kind = "storage-unavailable"
    exit_code = 60
    http_status = 503


class Forbidden(StacpinError):
    """The credentials do not allow this: use others."""

    kind = "forbidden"
    exit_code = 60
    http_status = 403
