"""JSON Web Tokens of an OpenID Connect provider: the signature, and what must stand in them (RFC 7519, RFC 8725)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from joserfc import jwt
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry

from api.access.key_sets import KeyRing
from api.access.refusals import Unauthorized
from api.access.scopes import Reader, patterns_of
from api.access.settings import OidcSettings

__all__ = ["JwtTokens"]

_log = logging.getLogger(__name__)
_LONGEST_USER = 200


class _Allowed(JWSRegistry):
    """The allowed algorithms only, without a warning at each use of those that have newer names (EdDSA, RFC 9864)."""

    max_header_length = 4096
    max_payload_length = 16 * 1024

    def get_alg(self, name: str) -> Any:
        """An allowed algorithm."""
        if not isinstance(name, str) or name not in (self.allowed or ()) or name not in self.algorithms:
            raise Unauthorized("an algorithm that is not allowed")
        return self.algorithms[name]


class JwtTokens:
    """Tells readers by JSON Web Tokens.

    Parameters
    ----------
    settings
        What must stand in a token.
    keys
        The issuer's.
    public
        Datasets that everybody may see.
    clock
        What gives the time in seconds since 1970; for tests.
    """

    def __init__(
        self,
        settings: OidcSettings,
        keys: KeyRing,
        *,
        public: tuple[str, ...] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._public = public
        # A header that is not known is ignored (RFC 7515, section 4), one that is critical and not known is refused.
        self._registry = _Allowed(algorithms=settings.algorithms, strict_check_header=False)
        self._claims = jwt.JWTClaimsRegistry(
            now=lambda: int(clock()),
            leeway=settings.leeway,
            iss={"essential": True, "value": settings.issuer},
            aud={"essential": True, "values": list(settings.audiences)},
            exp={"essential": True},
        )

    def reader(self, token: str) -> Reader:
        """Who a token speaks of. It may ask the issuer for its keys: not for the event loop.

        What the issuer has signed and is refused all the same is logged: mostly the settings are wrong then.

        Raises
        ------
        Unauthorized
            If the token is not valid, for whatever reason.
        StorageUnavailable
            If the issuer's keys cannot be had.
        """
        try:
            found = jwt.decode(token, self._key, registry=self._registry)
            self._claims.validate(found.claims)
        except ClaimError as error:
            # The claim's name is one of ours. Its value, and the library's words, are whoever made the token's.
            reason = f"not a valid JWT: {error.error} ({error.claim})"
            level = logging.INFO if isinstance(error, ExpiredTokenError) else logging.WARNING
            _log.log(level, "A token of the issuer is refused: %s", reason)
            raise Unauthorized(reason) from error
        except JoseError as error:
            raise Unauthorized(f"not a valid JWT: {error.error}") from error
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            raise Unauthorized("a malformed JWT") from error
        user = found.claims.get(self._settings.user_claim)
        if not isinstance(user, str) or not 0 < len(user) <= _LONGEST_USER:
            reason = f"a JWT without a usable claim {self._settings.user_claim!r}"
            _log.warning("A token of the issuer is refused: %s", reason)
            raise Unauthorized(reason)
        return Reader(user, "oidc", (*patterns_of(self._scopes(found.claims)), *self._public))

    def _key(self, signed: Any) -> Key:
        # Only the id and the algorithm are taken from the header: never a key (jwk, x5c) or an address (jku, x5u).
        header = signed.headers()
        kid, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._settings.algorithms:
            raise Unauthorized("an algorithm that is not allowed")
        if kid is not None and not isinstance(kid, str):
            raise Unauthorized("a malformed key id")
        key = self._keys.find(kid, algorithm)
        if key is None:
            raise Unauthorized("an unknown key")
        return key

    def _scopes(self, claims: dict[str, Any]) -> list[str]:
        names = self._settings.scope_claim
        value: Any = claims
        for name in (names,) if isinstance(names, str) else names:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, str):  # RFC 8693, section 4.2: with spaces between them
            return value.split(" ")
        return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
