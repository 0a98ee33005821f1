"""Who asks: static tokens and JSON Web Tokens, and everything that is not accepted as one."""

from __future__ import annotations

import base64
import hmac
import http.server
import json
import re
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from access_site import Asked, access, bearer, token, told, with_roads
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.registry import HeaderParameter

from api.access.bearer import Bearer, hash_of, new_token
from api.access.jwt_tokens import JwtTokens
from api.access.key_sets import KeyRing, fetch, parse_keys
from api.access.refusals import Unauthorized
from api.access.scopes import Reader, check_scope, patterns_of
from api.access.settings import AccessSettings, LogSettings, OidcSettings, RateSettings, load_access
from versioning.errors import InvalidInput, NotFound, StorageUnavailable

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


@pytest.fixture(scope="module")
def hidden(site, tmp_path_factory):
    return with_roads(site, tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def asked(hidden, tmp_path_factory) -> Asked:
    folder = tmp_path_factory.mktemp("keys")
    (folder / "jwks.json").write_bytes(key_set(RSA, EC, OKP))
    oidc = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": "jwks.json"}
    return Asked(str(hidden.folder), access(folder, oidc=oidc))


def get(asked: Asked, value: str | bytes | None, path: str = "/collections/roads"):
    return asked("GET", path, headers={} if value is None else {"Authorization": value})[0]


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


def refused(answer) -> None:
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith(INVALID)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "code": "invalid-token",
        "description": "The access token is expired, revoked, malformed or not valid here.",
        "hint": "Get a new token; without one, public datasets can be read.",
    }


def test_every_bad_token_is_refused_with_the_same_bytes(asked):
    now = int(time.time())
    bad = [
        *BAD.values(),
        f"Bearer {signed(exp=now - 31)}",
        f"Bearer {signed(key=OTHER_RSA)}",
        f"Bearer {signed(iss='https://other')}",
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
    reader = _jwt()
    assert reader.reader(value).user == "u-1"
    with pytest.raises(Unauthorized):
        reader.reader(other)


@given(st.text(max_size=300) | st.binary(max_size=300).map(part))
def test_no_text_is_a_jwt(text):
    with pytest.raises(Unauthorized):
        _jwt().reader(f"{part({'alg': 'RS256', 'kid': 'rsa'})}.{text}")


_KEPT = signed()


def _jwt(read: Callable[[], bytes] = lambda: key_set(RSA), clock=time.time, **more) -> JwtTokens:
    settings = OidcSettings(issuer=ISSUER, audience=AUDIENCE, jwks_url="https://x", **more)
    return JwtTokens(settings, KeyRing(read, seconds=60), clock=clock)


def test_which_claims_name_user_and_scopes():
    tokens = _jwt(user_claim="preferred_username", scope_claim=("realm_access", "roles"))
    value = signed(preferred_username="ana", realm_access={"roles": ["offline", "read:land*"]})
    assert tokens.reader(value) == Reader("ana", "oidc", ("land*",))
    assert tokens.reader(signed(preferred_username="ana", realm_access=["read:*"])).patterns == ()


def test_time_runs_out():
    now = time.time()
    tokens = _jwt(clock=lambda: now)
    value = signed(exp=int(now) + 10, nbf=int(now))
    tokens.reader(value)
    for moment, fine in ((now + 39, True), (now + 41, False), (now - 29, True), (now - 32, False)):
        later = _jwt(clock=lambda moment=moment: moment)
        if fine:
            later.reader(value)
        else:
            with pytest.raises(Unauthorized):
                later.reader(value)


def test_only_the_allowed_algorithms():
    with pytest.raises(Unauthorized, match="expired"):
        _jwt(algorithms=("ES256",)).reader(signed("RS256"))
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


# -- keys


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_new_keys_are_found_and_asked_for_no_oftener_than_need_be():
    clock, sets, asked = Clock(), [key_set(RSA)], []

    def read() -> bytes:
        asked.append(clock.now)
        return sets[-1]

    ring = KeyRing(read, seconds=3600, clock=clock)
    assert ring.find("rsa", "RS256") is not None
    assert ring.find("rsa", "RS256") is not None
    assert len(asked) == 1
    sets.append(key_set(RSA, EC))
    assert ring.find("ec", "ES256") is None  # too soon
    clock.now += 30
    assert ring.find("ec", "ES256") is not None
    for _ in range(100):
        assert ring.find("made up", "RS256") is None
    assert len(asked) == 2
    sets.append(key_set(EC))
    clock.now += 3600
    assert ring.find("rsa", "RS256") is None  # gone with its issuer's word
    assert ring.find("ec", "ES256") is not None


def test_an_issuer_that_is_away_does_not_lock_out_at_once():
    clock, away = Clock(), [False]

    def read() -> bytes:
        if away[0]:
            raise OSError("away")
        return key_set(RSA)

    ring = KeyRing(read, seconds=3600, clock=clock)
    assert ring.find("rsa", "RS256") is not None
    away[0] = True
    clock.now += 2 * 3600
    assert ring.find("rsa", "RS256") is not None
    clock.now += 24 * 3600
    with pytest.raises(StorageUnavailable):
        ring.find("rsa", "RS256")
    with pytest.raises(StorageUnavailable):
        KeyRing(read, seconds=1, clock=clock).find("rsa", "RS256")


def test_without_a_key_id_only_one_key_can_be_meant():
    one, two = KeyRing(lambda: key_set(RSA, EC), seconds=60), KeyRing(lambda: key_set(RSA, OTHER_RSA), seconds=60)
    assert one.find(None, "RS256") is not None
    assert two.find(None, "RS256") is None


def test_keys_that_are_not_for_this():
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    small = {"kty": "RSA", "kid": "small", "e": "AQAB", "n": part(numbers.n.to_bytes(128))}
    encrypting = {**EC.as_dict(private=False), "use": "enc"}
    odd = [
        {"kty": "XXX"},
        {"kty": "RSA"},
        {},
        7,
        None,
        {"kty": ["RSA"]},
        {"kty": "EC", "crv": "P-256", "x": "a", "y": "b"},
    ]
    data = json.dumps({"keys": [small, encrypting, *odd, RSA.as_dict(private=False)]})
    assert [key.kid for key in parse_keys(data.encode())] == ["rsa"]
    only_ps = KeyRing(lambda: key_set(RSA, alg="PS256"), seconds=60)
    assert only_ps.find("rsa", "RS256") is None
    assert only_ps.find("rsa", "PS256") is not None
    for nothing in (b"", b"[]", b"{}", b'{"keys": {}}', b"\xff", b"[" * 100_000):
        with pytest.raises(ValueError):
            parse_keys(nothing)


class Issuer(http.server.BaseHTTPRequestHandler):
    """Answers with a key set, by the path: as it should, elsewhere, too much."""

    def do_GET(self):
        status = {"/moved": 302, "/none": 404}.get(self.path, 200)
        self.send_response(status)
        self.send_header("Location", "/keys")
        self.end_headers()
        if status == 200:
            self.wfile.write(key_set(RSA) if self.path == "/keys" else b" " * 2_000_000)

    def log_message(self, *_):
        pass


@pytest.fixture
def issuer():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Issuer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_keys_from_an_address(hidden, issuer):
    oidc = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": f"{issuer}/keys"}
    asked = Asked(str(hidden.folder), access(hidden.folder, oidc=oidc))
    assert get(asked, f"Bearer {signed()}").status_code == 200
    refused(get(asked, f"Bearer {signed(key=OTHER_RSA)}"))
    for path in ("/moved", "/none", "/much"):
        with pytest.raises(OSError):
            fetch(issuer + path)


def test_names_that_are_no_text_are_logged_all_the_same(hidden, tmp_path):
    (tmp_path / "jwks.json").write_bytes(key_set(RSA))
    oidc = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": "jwks.json"}
    asked = Asked(str(hidden.folder), access(tmp_path, oidc=oidc, log={"path": "reads.jsonl"}))
    for name in ("\ud800", "a\nb", "=cmd()", "\u202eana"):
        assert get(asked, f"Bearer {signed(sub=name)}").status_code == 200
    users = [json.loads(line)["user"] for line in (tmp_path / "reads.jsonl").read_text().splitlines()]
    assert users == ["\\ud800", "a\nb", "=cmd()", "\u202eana"]


def test_an_issuer_that_cannot_be_reached_is_503(hidden):
    oidc = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": "not-there.json"}
    asked = Asked(str(hidden.folder), access(hidden.folder, oidc=oidc))
    assert get(asked, f"Bearer {signed()}").status_code == 503
    assert get(asked, f"Bearer {token('ann')}").status_code == 200
    assert get(asked, None, "/collections/dem").status_code == 200


# -- scopes


@pytest.mark.parametrize("scope", ["read:landcover", "read:land*", "read:*", "read:a-b_c*"])
def test_scopes(scope):
    assert patterns_of([check_scope(scope)]) == (scope[5:],)


@pytest.mark.parametrize(
    "scope", ["", "read", "read:", "write:x", "read:*x", "read:a*b", "read:a b", "read:A", "read:a\n"]
)
def test_what_is_no_scope(scope):
    with pytest.raises(InvalidInput):
        check_scope(scope)
    assert patterns_of([scope]) == ()


IDS = st.from_regex(r"[a-z0-9][a-z0-9_]{0,8}", fullmatch=True)


@given(IDS, IDS)
def test_what_a_pattern_shows(pattern, dataset):
    assert Reader("x", None, (pattern,)).may(dataset) == (pattern == dataset)
    assert Reader("x", None, (f"{pattern}*",)).may(dataset) == dataset.startswith(pattern)
    assert Reader("x", None, ("*",)).may(dataset)
    assert not Reader("x", None, ()).may(dataset)


# -- the file of settings

GOOD = """
public = ["dem", "open-*"]

[[token]]
name = "ci"
sha256 = "{hash}"
scopes = ["read:landcover"]
expires = 2099-01-31T00:00:00Z

[[token]]
name = "other"
sha256 = {{ file = "other.sha256" }}

[hrefs]
keys = [{{ file = "new.key" }}, {{ env = "STACPIN_TEST_KEY" }}]
"""


def test_a_file_of_settings(tmp_path, monkeypatch):
    path = tmp_path / "access.toml"
    path.write_text(GOOD.format(hash="0" * 64))
    (tmp_path / "other.sha256").write_text("1" * 64 + "\n")
    (tmp_path / "new.key").write_text("n" * 40 + "\n")
    monkeypatch.setenv("STACPIN_TEST_KEY", "o" * 40)
    found = load_access(path)
    assert found.public == ("dem", "open-*")
    assert found.hrefs.secrets(found.folder) == (b"n" * 40, b"o" * 40)
    assert Bearer(found).reader([]).may("open-data")
    monkeypatch.delenv("STACPIN_TEST_KEY")
    with pytest.raises(InvalidInput, match="STACPIN_TEST_KEY"):
        found.hrefs.secrets(found.folder)
    (tmp_path / "new.key").write_text("short")
    monkeypatch.setenv("STACPIN_TEST_KEY", "o" * 40)
    with pytest.raises(InvalidInput, match="32"):
        found.hrefs.secrets(found.folder)
    (tmp_path / "other.sha256").write_text("no hash")
    with pytest.raises(InvalidInput, match="sha256"):
        Bearer(found)


HREFS = "[hrefs]\nkeys = [{value='x'}]\n"


def one(more: str = "", name: str = "a", sha256: str = "0" * 64) -> str:
    return f"[[token]]\nname = '{name}'\nsha256 = '{sha256}'\n{more}\n"


@pytest.mark.parametrize(
    ("text", "told_"),
    [
        ("x = ", "TOML"),
        ("\x00", "TOML"),
        ("", "hrefs"),
        ("[hrefs]\nkeys = []", "hrefs.keys"),
        ("[hrefs]\nkeys = [{}]", "one of file, env and value"),
        ("[hrefs]\nkeys = [{value='x', env='y'}]", "one of file, env and value"),
        ("pubic = []\n" + HREFS, "pubic: is not a setting"),
        ("folder = '/'\n" + HREFS, "folder"),
        ("public = ['Land*']\n" + HREFS, "names no datasets"),
        (one(sha256="secret") + HREFS, "token.0"),
        (one("expires = 2026-01-01T00:00:00") + HREFS, "zone"),
        (one("scopes = ['write:x']") + HREFS, "not a scope"),
        ("[rate]\nreaders = 'often'\n" + HREFS, "not a rate"),
        ("[log]\npath = 'x'\nrotate_bytes = 1\n" + HREFS, "log.rotate_bytes"),
        (one() + one() + HREFS, "two tokens"),
    ],
)
def test_files_of_settings_that_are_refused(tmp_path, text, told_):
    path = tmp_path / "access.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=told_) as error:
        load_access(path)
    assert "secret" not in str(error.value).replace("secret of", "")


def test_the_settings_of_the_page(tmp_path):
    """docs/access.md: what it shows as settings can be read, all of it together."""
    text = (Path(__file__).parents[2] / "docs" / "access.md").read_text(encoding="utf-8")
    found: dict = {}
    for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL):
        found |= tomllib.loads(block.replace("9f86d081…", "0" * 64))
    settings = AccessSettings.model_validate(found | {"folder": tmp_path})
    assert found.keys() == {"public", "token", "oidc", "hrefs", "rate", "log"}
    assert settings.rate == RateSettings(anonymous="120/minute;2000/hour")
    assert settings.log == LogSettings(path=Path("/var/log/stacpin/reads.jsonl"))


def test_a_file_of_settings_that_is_not_there(tmp_path):
    with pytest.raises(NotFound):
        load_access(tmp_path / "none.toml")
    with pytest.raises(InvalidInput):
        load_access(tmp_path)


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
