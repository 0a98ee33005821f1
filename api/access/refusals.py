"""Refusals before a request is looked at: who asks is not known, or asks too often (RFC 6750, RFC 6585)."""

from __future__ import annotations

from typing import ClassVar

from versioning.errors import StacpinError

__all__ = ["OtherScheme", "Refusal", "TooMany", "Unauthorized", "Unreadable"]

_REALM = 'Bearer realm="stacpin"'
# One text for all: which part of a token failed would help only whoever forges one. The log of reads says it.
_INVALID = "The access token is expired, revoked, malformed or not valid here."


class Refusal(StacpinError):
    """A request is not let in. ``reason`` is for the log, never for the answer; ``headers`` are the answer's."""

    def __init__(self, message: str, *, hint: str, reason: str, headers: dict[str, str]) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.headers = headers


class Unauthorized(Refusal):
    """The token is not accepted: get another, or leave it out."""

    kind = "invalid-token"
    http_status: ClassVar[int] = 401
    challenge: ClassVar[str] = f'{_REALM}, error="invalid_token", error_description="{_INVALID}"'

    def __init__(self, reason: str) -> None:
        super().__init__(
            _INVALID,
            hint="Get a new token; without one, public datasets can be read.",
            reason=reason,
            headers={"WWW-Authenticate": self.challenge},
        )


class OtherScheme(Unauthorized):
    """Another way to authenticate, which is not here: the challenge has no error then (RFC 6750, section 3.1)."""

    challenge = _REALM


class Unreadable(Refusal):
    """The request names its token in a way that cannot be meant (RFC 6750: ``invalid_request``)."""

    kind = "invalid-request"
    http_status: ClassVar[int] = 400

    def __init__(self, message: str, *, hint: str) -> None:
        challenge = f'{_REALM}, error="invalid_request", error_description="{message}"'
        super().__init__(message, hint=hint, reason=message, headers={"WWW-Authenticate": challenge})


class TooMany(Refusal):
    """Too many requests (RFC 6585, section 4): wait."""

    kind = "too-many-requests"
    http_status: ClassVar[int] = 429

    def __init__(self, seconds: int) -> None:
        super().__init__(
            "Too many requests.",
            hint=f"Try again in {seconds} s.",
            reason="too many requests",
            headers={"Retry-After": str(seconds)},
        )
