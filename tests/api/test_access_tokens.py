"""Who asks: static tokens and JSON Web Tokens, and everything that is not accepted as one."""

from __future__ import annotations

import hmac
import json
import time
from pathlib import Path

import pytest
from access_site import Asked, access, bearer, token, told, with_roads
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import RSAKey
from joserfc.registry import HeaderParameter
from jwts import (
    ALLOWED,
    AUDIENCE,
    EC,
    ISSUER,
    OKP,
    OTHER_RSA,
    RSA,
    SHARED,
    claims,
    get,
    jwt_reader,
    key_set,
    part,
    refused,
    signed,
)

from api.access.bearer import Bearer, hash_of, new_token
from api.access.jwt_tokens import JwtTokens
from api.access.key_sets import KeyRing
from api.access.refusals import Unauthorized
from api.access.scopes import Reader
from api.access.settings import OidcSettings
from versioning.errors import InvalidInput


@pytest.fixture(scope="module")
def hidden(site, tmp_path_factory):
    return with_roads(site, tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def asked(hidden, tmp_path_factory) -> Asked:
    folder = tmp_path_factory.mktemp("keys")
    (folder / "jwks.json").write_bytes(key_set(RSA, EC, OKP))
    oidc = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": "jwks.json"}
    return Asked(str(hidden.folder), access(folder, oidc=oidc))


# -- static tokens


def test_static_tokens(asked):
    assert get(asked, f"Bearer {token('ann')}").status_code == 200
    assert get(asked, f"bearer {token('ann')}").status_code == 200
    assert get(asked, f"Bearer {token('bob')}").status_code == 404
    assert get(asked, None).status_code == 404


def test_a_token_in_the_query_is_a_parameter_that_is_not_there(asked):
    for path in ("/collections/roads", "/search", "/objects/00/" + "0" * 64):
        for name in ("access_token", "token_", "authorization"):
            answer = get(asked, None, f"{path}?{name}={token('ann')}")
            assert (answer.status_code, answer.json()["code"]) == (400, "unknown-parameter")


def test_an_expired_token(hidden):
    entries = [
        {"name": "late", "sha256": hash_of(token("late")), "scopes": ["read:*"], "expires": "2020-01-01T00:00:00Z"},
        {"name": "soon", "sha256": hash_of(token("soon")), "scopes": ["read:*"], "expires": "2099-01-01T00:00:00Z"},
    ]
    asked = Asked(str(hidden.folder), access(hidden.folder, token=entries))
    assert get(asked, f"Bearer {token('late')}").status_code == 401
    assert get(asked, f"Bearer {token('soon')}").status_code == 200


def test_one_token_has_one_name(hidden):
    entries = [{"name": name, "sha256": hash_of("x"), "scopes": ["read:*"]} for name in ("a", "b")]
    with pytest.raises(InvalidInput, match="same sha256"):
        Asked(str(hidden.folder), access(hidden.folder, token=entries))


def test_tokens_are_made_of_chance():
    made = {new_token() for _ in range(100)}
    assert len(made) == 100
    assert all(each.startswith("stacpin_") and len(each) == 51 for each in made)


# -- what is not accepted

_BODY = part(claims())
BAD: dict[str, str | bytes] = {
    "nothing": "Bearer",
    "empty": "Bearer ",
    "unknown": f"Bearer {new_token()}",
    "two words": "Bearer a b",
    "not a token": 'Bearer "quoted"',
    "not ascii": "Bearer tökén".encode(),
    "bytes": b"Bearer \xff\xfe",
    "oversized": "Bearer " + "a" * 9000,
    "dots": "Bearer ..",
    "two parts": "Bearer a.b",
    "five parts": "Bearer a.b.c.d.e",
    "not base64": "Bearer a.b.c",
    "header no JSON": f"Bearer {part(b'x')}.{_BODY}.{part(b'x')}",
    "header a list": f"Bearer {part(b'[]')}.{_BODY}.{part(b'x')}",
    "header deep": f"Bearer {part(b'[' * 3000)}.{_BODY}.{part(b'x')}",
    "no algorithm": f"Bearer {part({'kid': 'rsa'})}.{_BODY}.{part(b'x')}",
    "algorithm a number": f"Bearer {part({'alg': 1, 'kid': 'rsa'})}.{_BODY}.{part(b'x')}",
    "algorithm a list": f"Bearer {part({'alg': ['RS256'], 'kid': 'rsa'})}.{_BODY}.{part(b'x')}",
    "key id a list": f"Bearer {part({'alg': 'RS256', 'kid': ['rsa']})}.{_BODY}.{part(b'x')}",
    **{
        f"none as {name!r}": f"Bearer {part({'alg': name, 'kid': 'rsa'})}.{_BODY}." + (part(b"x") if tail else "")
        for name in ("none", "None", "NONE", "nOnE", "")
        for tail in (False, True)
    },
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tokens(asked, name):
    refused(get(asked, BAD[name]))


def test_every_bad_token_is_refused_with_the_same_bytes(asked):
    now = int(time.time())
    bad = [
        *BAD.values(),
        f"Bearer {signed(exp=now - 31)}",
        f"Bearer {signed(key=OTHER_RSA)}",
        f"Bearer {signed(iss='https://other')}",
        f"Bearer {signed(aud=None)}",
        f"Bearer {signed(sub=None)}",
    ]
    # Also where the route or the dataset is not there: who asks is looked at first.
    paths = ("/collections/roads", "/collections/none", "/nothing", "/objects/00/x", "/", "/search")
    answers = [told(get(asked, value, path)) for value in bad for path in paths]
    assert {answer[0] for answer in answers} == {401}
    assert len({str(answer) for answer in answers}) == 1


def test_bad_tokens_read_nothing(asked):
    for value in BAD.values():
        _, calls = asked("GET", "/collections/roads", headers={"Authorization": value})
        assert calls == []


def test_another_scheme_is_told_which_there_is(asked):
    for value in ("Basic dXNlcjpwYXNz", "Digest x", "", "stacpin_token", token("ann")):
        answer = get(asked, value)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="stacpin"'


def test_two_tokens_are_one_too_many(asked):
    headers = [("Authorization", f"Bearer {token('ann')}"), ("Authorization", f"Bearer {token('bob')}")]
    answer = asked.client.get("/collections/roads", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")
    assert 'error="invalid_request"' in answer.headers["www-authenticate"]


@given(st.binary(max_size=200))
def test_no_header_opens_anything(value):
    reader = Bearer(_settings())
    try:
        found = reader.reader([(b"authorization", value)])
    except Unauthorized:
        return
    raise AssertionError(found)


@given(st.integers(0, 50), st.integers(1, 255))
def test_a_changed_token_is_not_the_token(place, change):
    made = token("ann").encode()
    place %= len(made)
    other = made[:place] + bytes([(made[place] + change) % 256]) + made[place + 1 :]
    assert Bearer(_settings()).reader([(b"authorization", b"Bearer " + made)]).user == "ann"
    with pytest.raises(Unauthorized):
        Bearer(_settings()).reader([(b"authorization", b"Bearer " + other)])


def _settings():
    return access(Path())


# -- JSON Web Tokens


@pytest.mark.parametrize("algorithm", ALLOWED)
def test_algorithms(asked, algorithm):
    assert get(asked, f"Bearer {signed(algorithm)}").status_code == 200


@pytest.mark.parametrize(
    "more",
    [
        {"scope": "read:roads"},
        {"scope": ["openid", "read:roads"]},
        {"scope": "read:*"},
        {"scope": "read:ro* email"},
        {"aud": ["other", AUDIENCE]},
        {"nbf": lambda now: now - 5},
        {"exp": lambda now: now - 10},  # within the leeway
    ],
)
def test_good_claims(asked, more):
    assert get(asked, f"Bearer {signed(**more)}").status_code == 200


@pytest.mark.parametrize(
    "more",
    [
        {"scope": "openid"},
        {"scope": None},
        {"scope": 7},
        {"scope": {"read:roads": True}},
        {"scope": [["read:roads"]]},
        {"scope": "write:roads"},
        {"scope": "read:road"},
        {"scope": "READ:roads"},
        {"scope": "read:roads,read:dem"},
        {"scope": "read:"},
        {"scope": "read:r*s"},
        {"scope": "read:**"},
    ],
)
def test_claims_that_give_no_right(asked, more):
    assert get(asked, f"Bearer {signed(**more)}").status_code == 404


@pytest.mark.parametrize(
    "more",
    [
        {"exp": lambda now: now - 3600},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": [1]},
        {"exp": True},
        {"nbf": lambda now: now + 3600},
        {"nbf": "never"},
        {"iat": lambda now: now + 3600},
        {"iss": "https://other.example"},
        {"iss": None},
        {"iss": [ISSUER]},
        {"iss": ISSUER + "/"},
        {"aud": "other"},
        {"aud": None},
        {"aud": []},
        {"aud": {"stacpin": 1}},
        {"aud": "STACPIN"},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 1000},
    ],
)
def test_bad_claims(asked, more):
    refused(get(asked, f"Bearer {signed(**more)}"))


def test_forgeries(asked):
    head, body, signature = signed().split(".")
    attacker = RSAKey.generate_key(2048, {"kid": "mine"})
    public = RSA.as_pem(private=False)
    shared = f"{part({'alg': 'HS256', 'kid': 'rsa'})}.{body}"
    # What is critical and not known here is refused (RFC 7515, section 4.1.11).
    known = {"policy": HeaderParameter("Of another service.", "int")}
    policy = jws.JWSRegistry(known, algorithms=["RS256"], strict_check_header=False)
    forged = [
        signed(key=OTHER_RSA),  # the right key id, another key
        signed(header={"kid": "unknown"}),
        signed(header={"kid": None}, key=OTHER_RSA),
        signed(header={"kid": "ec"}),  # a key of another kind
        signed("ES256", header={"kid": "rsa"}),
        f"{shared}.{part(hmac.digest(public, shared.encode(), 'sha256'))}",  # the public key as a shared secret
        signed("HS256", key=SHARED),
        signed(key=attacker, header={"jwk": attacker.as_dict(private=False)}),
        signed(key=attacker, header={"jku": "https://attacker.example/jwks"}),
        f"{head}.{part(claims(sub='root', scope='read:*'))}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}.{signature[:-4]}",
        f"{part({'alg': 'PS256', 'kid': 'rsa'})}.{body}.{signature}",
        f"{part({'alg': 'RS256', 'kid': 'rsa', 'crit': ['x'], 'x': 1})}.{body}.{signature}",
        signed(header={"crit": ["policy"], "policy": 1}, registry=policy),
    ]
    for value in forged:
        refused(get(asked, f"Bearer {value}"))


@given(st.integers(0, 10_000), st.integers(1, 63))
def test_a_changed_jwt_is_refused(place, change):
    """Every letter of it matters, but for the last of each part, whose lowest bits may be padding."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    value = _KEPT
    places = [
        index for index in range(len(value)) if value[index] != "." and value[index + 1 : index + 2] not in {"", "."}
    ]
    at = places[place % len(places)]
    other = value[:at] + alphabet[(alphabet.index(value[at]) + change) % 64] + value[at + 1 :]
    reader = jwt_reader()
    assert reader.reader(value).user == "u-1"
    with pytest.raises(Unauthorized):
        reader.reader(other)


@given(st.text(max_size=300) | st.binary(max_size=300).map(part))
def test_no_text_is_ajwt_reader(text):
    with pytest.raises(Unauthorized):
        jwt_reader().reader(f"{part({'alg': 'RS256', 'kid': 'rsa'})}.{text}")


_KEPT = signed()


def test_which_claims_name_user_and_scopes():
    tokens = jwt_reader(user_claim="preferred_username", scope_claim=("realm_access", "roles"))
    value = signed(preferred_username="ana", realm_access={"roles": ["offline", "read:land*"]})
    assert tokens.reader(value) == Reader("ana", "oidc", ("land*",))
    assert tokens.reader(signed(preferred_username="ana", realm_access=["read:*"])).patterns == ()


def test_time_runs_out():
    now = time.time()
    tokens = jwt_reader(clock=lambda: now)
    value = signed(exp=int(now) + 10, nbf=int(now))
    tokens.reader(value)
    for moment, fine in ((now + 39, True), (now + 41, False), (now - 29, True), (now - 32, False)):
        later = jwt_reader(clock=lambda moment=moment: moment)
        if fine:
            later.reader(value)
        else:
            with pytest.raises(Unauthorized):
                later.reader(value)


def test_only_the_allowed_algorithms():
    with pytest.raises(Unauthorized, match="expired"):
        jwt_reader(algorithms=("ES256",)).reader(signed("RS256"))
    shared = OidcSettings(issuer=ISSUER, audience=AUDIENCE, jwks_file="x", algorithms=("HS256",))
    ring = KeyRing(lambda: json.dumps({"keys": [SHARED.as_dict(private=True)]}).encode(), seconds=60)
    assert JwtTokens(shared, ring).reader(signed("HS256", key=SHARED)).user == "u-1"


@pytest.mark.parametrize(
    "more",
    [
        {"algorithms": ("none",)},
        {"algorithms": ("RS256", "none")},
        {"algorithms": ("HS256",)},
        {"algorithms": ()},
        {"audience": ""},
        {"audience": ()},
        {"issuer": ""},
        {"jwks_url": "http://sso.example/keys"},
        {"jwks_url": "file:///etc/passwd"},
        {"jwks_file": "both"},
        {"jwks_url": None},
        {"leeway": 100_000},
        {"nonsense": 1},
    ],
)
def test_settings_that_are_refused(more):
    given_ = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": "https://sso.example/keys"} | more
    with pytest.raises(ValueError):
        OidcSettings(**given_)


def test_who_is_told_apart(asked):
    """The same request by three readers and by none, one after the other and again."""
    path = "/search?limit=100"
    for _ in range(2):
        counts = [
            get(asked, f"Bearer {signed(scope=s)}", path).json()["numberMatched"] for s in ("read:*", "read:roads")
        ]
        assert counts == [8, 3]
        assert asked.client.get(path, headers=bearer("bob")).json()["numberMatched"] == 6
        assert asked.client.get(path).json()["numberMatched"] == 1
