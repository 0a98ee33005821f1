"""What the tests of tokens share: keys, signed tokens, and what a refusal looks like."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable

import pytest
from access_site import Asked
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from api.access.jwt_tokens import JwtTokens
from api.access.key_sets import KeyRing
from api.access.settings import OidcSettings

ISSUER, AUDIENCE = "https://sso.example/realms/geo", "stacpin"
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
OTHER_RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
OKP = OKPKey.generate_key("Ed25519", {"kid": "okp"})
SHARED = OctKey.generate_key(256, {"kid": "shared"})
ALLOWED = {"RS256": RSA, "PS256": RSA, "ES256": EC, "EdDSA": OKP, "Ed25519": OKP}
INVALID = 'Bearer realm="stacpin", error="invalid_token", error_description='


def key_set(*keys, **more) -> bytes:
    return json.dumps({"keys": [{**key.as_dict(private=False), **more} for key in keys]}).encode()


def claims(**more) -> dict:
    now = int(time.time())
    more = {name: value(now) if callable(value) else value for name, value in more.items()}
    made = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u-1", "exp": now + 300, "iat": now, "scope": "openid read:roads"}
    return {name: value for name, value in (made | more).items() if value is not None}


def signed(algorithm: str = "RS256", key=None, header=None, registry=None, **more) -> str:
    key = key or ALLOWED[algorithm]
    head = {"alg": algorithm, "kid": key.kid, **(header or {})}
    head = {name: value for name, value in head.items() if value is not None}
    registry = registry or jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    registry.max_header_length = 100_000
    with pytest.MonkeyPatch.context() as patch:
        # To sign with what is deprecated is right here, and silence is what is tested elsewhere.
        patch.setattr("warnings.warn", lambda *_, **__: None)
        # As bytes with escapes, so that a claim may be text that UTF-8 cannot say.
        return jws.serialize_compact(
            {"typ": "JWT", **head}, json.dumps(claims(**more)).encode(), key, registry=registry
        )


def part(data: dict | bytes) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def jwt_reader(read: Callable[[], bytes] = lambda: key_set(RSA), clock=time.time, **more) -> JwtTokens:
    settings = OidcSettings(issuer=ISSUER, audience=AUDIENCE, jwks_url="https://x", **more)
    return JwtTokens(settings, KeyRing(read, seconds=60), clock=clock)


def get(asked: Asked, value: str | bytes | None, path: str = "/collections/roads"):
    return asked("GET", path, headers={} if value is None else {"Authorization": value})[0]


def refused(answer) -> None:
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith(INVALID)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "code": "invalid-token",
        "description": "The access token is expired, revoked, malformed or not valid here.",
        "hint": "Get a new token; without one, public datasets can be read.",
    }
