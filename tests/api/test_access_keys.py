"""The keys of an issuer of JSON Web Tokens: where they come from, when they are read again, which are meant."""

from __future__ import annotations

import http.server
import json
import threading

import pytest
from access_site import Asked, access, token, with_roads
from cryptography.hazmat.primitives.asymmetric import rsa
from jwts import (
    AUDIENCE,
    EC,
    ISSUER,
    OTHER_RSA,
    RSA,
    get,
    key_set,
    part,
    refused,
    signed,
)

from api.access.key_sets import KeyRing, fetch, parse_keys
from versioning.errors import InvalidInput, StorageUnavailable


@pytest.fixture(scope="module")
def hidden(site, tmp_path_factory):
    return with_roads(site, tmp_path_factory.mktemp("keys"))


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


def test_an_issuer_that_cannot_be_reached_is_503(hidden, tmp_path):
    oidc = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": "jwks.json"}
    (tmp_path / "jwks.json").write_bytes(key_set(RSA))
    asked = Asked(str(hidden.folder), access(tmp_path, oidc=oidc))
    (tmp_path / "jwks.json").unlink()
    assert get(asked, f"Bearer {signed()}").status_code == 503
    assert get(asked, f"Bearer {token('ann')}").status_code == 200
    assert get(asked, None, "/collections/dem").status_code == 200


def test_a_file_of_keys_that_is_not_there_stops_the_start(hidden, tmp_path):
    oidc = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": "not-there.json"}
    with pytest.raises(InvalidInput, match=r"oidc\.jwks_file: .*/not-there\.json cannot be read: No such file"):
        Asked(str(hidden.folder), access(tmp_path, oidc=oidc))


@pytest.mark.parametrize(
    ("more", "reason", "level"),
    [
        ({"aud": "another"}, "not a valid JWT: invalid_claim (aud)", "WARNING"),
        ({"iss": "https://other"}, "not a valid JWT: invalid_claim (iss)", "WARNING"),
        ({"nbf": lambda now: now + 900}, "not a valid JWT: invalid_claim (nbf)", "WARNING"),
        ({"aud": None, "iss": None}, "not a valid JWT: missing_claim (aud,iss)", "WARNING"),
        ({"exp": lambda now: now - 900}, "not a valid JWT: expired_token (exp)", "INFO"),
        ({"sub": None}, "a JWT without a usable claim 'sub'", "WARNING"),
    ],
)
def test_the_log_names_the_claim_that_is_refused(hidden, tmp_path, caplog, more, reason, level):
    caplog.set_level("INFO", "api.access.jwt_tokens")
    (tmp_path / "jwks.json").write_bytes(key_set(RSA))
    oidc = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": "jwks.json"}
    asked = Asked(str(hidden.folder), access(tmp_path, oidc=oidc, log={"path": "reads.jsonl"}))
    refused(get(asked, f"Bearer {signed(**more)}"))
    assert json.loads((tmp_path / "reads.jsonl").read_text())["reason"] == reason
    told = [(each.levelname, each.getMessage()) for each in caplog.records if each.name == "api.access.jwt_tokens"]
    assert told == [(level, f"A token of the issuer is refused: {reason}")]
    assert "another" not in caplog.text


def test_what_the_issuer_has_not_signed_fills_no_log(hidden, tmp_path, caplog):
    (tmp_path / "jwks.json").write_bytes(key_set(RSA))
    oidc = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": "jwks.json"}
    asked = Asked(str(hidden.folder), access(tmp_path, oidc=oidc))
    refused(get(asked, f"Bearer {signed(key=OTHER_RSA, aud='another')}"))
    assert [each for each in caplog.records if each.name == "api.access.jwt_tokens"] == []
