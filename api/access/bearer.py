"""From an Authorization header to who asks (RFC 6750): static tokens by their hash, and JSON Web Tokens."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from api.access.key_sets import KeyRing
from api.access.refusals import OtherScheme, Unauthorized, Unreadable
from api.access.scopes import ANONYMOUS, Reader, patterns_of
from api.access.settings import AccessSettings, TokenSettings
from versioning.errors import InvalidInput

__all__ = ["Bearer", "hash_of", "new_token"]

PREFIX = "stacpin_"
_LONGEST = 8 * 1024
_TOKEN = re.compile(rb"[A-Za-z0-9\-._~+/]+=*")
_HEX = re.compile(r"[0-9a-f]{64}")
_FILE_SECONDS = 60.0


def new_token() -> str:
    """A new static token: 256 random bits, behind a prefix by which scanners for leaked secrets find it."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(token: str | bytes) -> str:
    """What the settings keep of a static token. A plain hash is enough, since nobody can guess 256 random bits."""
    return hashlib.sha256(token.encode() if isinstance(token, str) else token).hexdigest()


class Bearer:
    """Tells who asks by the Authorization header alone: never by the query, which ends up in logs and histories.

    Parameters
    ----------
    settings
        Which tokens there are.
    clock
        What gives the time in seconds since 1970; for tests.

    Raises
    ------
    InvalidInput
        If a token's hash is not where the settings say, or two are the same.
    """

    def __init__(self, settings: AccessSettings, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._public = settings.public
        self._anonymous = Reader(ANONYMOUS, None, settings.public)
        # Looked up by its hash: how long that takes tells of the hash, which nobody can steer, and not of the token.
        self._tokens = {_digest(entry, settings): entry for entry in settings.tokens}
        if len(self._tokens) < len(settings.tokens):
            raise InvalidInput(
                "Two tokens of the access settings have the same sha256: they are one.",
                hint="Make one for each reader: stacpin token",
            )
        self._jwt = None
        if settings.oidc is not None:
            from api.access.jwt_tokens import JwtTokens

            oidc = settings.oidc
            if oidc.jwks_file is not None:
                keys = KeyRing.of_file(
                    _there(settings.folder / oidc.jwks_file), seconds=min(oidc.jwks_seconds, _FILE_SECONDS)
                )
            else:
                assert oidc.jwks_url is not None
                keys = KeyRing.of_url(oidc.jwks_url, seconds=oidc.jwks_seconds)
            self._jwt = JwtTokens(oidc, keys, public=settings.public, clock=clock)

    def reader(self, headers: Sequence[tuple[bytes, bytes]]) -> Reader:
        """Who asks. It may wait for an issuer's keys: not for the event loop.

        Raises
        ------
        Unauthorized
            If the token is not accepted.
        Unreadable
            If there are two.
        StorageUnavailable
            If an issuer's keys cannot be had.
        """
        given = [value for name, value in headers if name == b"authorization"]
        if not given:
            return self._anonymous
        if len(given) > 1:
            raise Unreadable("There are two Authorization headers.", hint="Send one.")
        scheme, _, rest = given[0].partition(b" ")
        token = rest.strip(b" ")
        if scheme.lower() != b"bearer":
            raise OtherScheme("another scheme than Bearer")
        if len(token) > _LONGEST:
            raise Unauthorized("an oversized token")
        if not _TOKEN.fullmatch(token):
            raise Unauthorized("a malformed token")
        entry = self._tokens.get(hash_of(token))
        if entry is not None:
            if entry.expires is not None and entry.expires.timestamp() <= self._clock():
                raise Unauthorized(f"the token of {entry.name} is expired")
            return Reader(entry.name, "token", (*patterns_of(entry.scopes), *self._public))
        if self._jwt is None:
            raise Unauthorized("an unknown token")
        return self._jwt.reader(token.decode("ascii"))


def _there(path: Path) -> Path:
    """The file of an issuer's keys, seen to be one that can be read."""
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise InvalidInput(
            f"oidc.jwks_file: {path} cannot be read: {error.strerror}.", hint="Name the file with the issuer's keys."
        ) from error


def _digest(entry: TokenSettings, settings: AccessSettings) -> str:
    if isinstance(entry.sha256, str):
        return entry.sha256
    found = entry.sha256.read(settings.folder)
    if not _HEX.fullmatch(found):
        raise InvalidInput(
            f"What the token {entry.name!r} names is not a sha256 in hex.", hint="Make both anew: stacpin token"
        )
    return found
