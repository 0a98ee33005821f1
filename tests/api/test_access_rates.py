"""How often who may ask, and whose address counts."""

from __future__ import annotations

import pytest
from access_site import Asked, access, bearer, token, with_roads

from api.access.rates import Rates, client_address
from api.access.refusals import TooMany
from api.access.scopes import Reader
from api.access.settings import RateSettings
from versioning.errors import InvalidInput


@pytest.fixture(scope="module")
def hidden(site, tmp_path_factory):
    return with_roads(site, tmp_path_factory.mktemp("rates"))


def limited(hidden, readers: str | None, anonymous: str | None, **options) -> Asked:
    return Asked(
        str(hidden.folder), access(hidden.folder, rate={"readers": readers, "anonymous": anonymous}), **options
    )


def statuses(asked: Asked, count: int, path: str = "/conformance", headers: dict | None = None) -> list[int]:
    return [asked.client.get(path, headers=headers or {}).status_code for _ in range(count)]


def test_too_many(hidden):
    asked = limited(hidden, "4/hour", "2/hour")
    assert statuses(asked, 3) == [200, 200, 429]
    answer, calls = asked("GET", "/collections/dem")
    assert (answer.status_code, answer.json()["code"], calls) == (429, "too-many-requests", [])
    assert 3500 < int(answer.headers["retry-after"]) <= 3600
    assert answer.headers["cache-control"] == "no-store"
    # Each user has a window, wherever from; all routes count together.
    assert statuses(asked, 5, "/collections", bearer("ann")) == [200] * 4 + [429]
    assert statuses(asked, 1, "/search", bearer("ann")) == [429]
    assert statuses(asked, 1, "/search", bearer("bob")) == [200]
    # Health is asked for by machines.
    assert statuses(asked, 5, "/_mgmt/ping") + statuses(asked, 5, "/_mgmt/health") == [200] * 10


def test_files_of_the_browser_do_not_count(hidden, tmp_path):
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "app.js").write_text("1")
    asked = limited(hidden, None, "2/hour", browser_dir=tmp_path)
    for path in ("/browser/", "/browser/app.js", "/browser/collections/dem--v1"):
        assert statuses(asked, 2, path) == [200, 200]
    # What it asks for then does, and so do its settings, which are made from the catalog.
    assert statuses(asked, 1, "/browser/config.js") + statuses(asked, 2, "/conformance") == [200, 200, 429]
    assert statuses(asked, 1, "/browser/app.js") == [200]
    # Nor is it a place to guess tokens at.
    guess = {"Authorization": f"Bearer {token('guess')}"}
    assert statuses(limited(hidden, None, "1/hour"), 2, "/browser/", guess) == [401, 429]


def test_guessing_tokens_counts_too(hidden):
    asked = limited(hidden, None, "3/hour")
    wrong = [{"Authorization": f"Bearer {token(f'guess{n}')}"} for n in range(5)]
    found = [asked.client.get("/", headers=headers).status_code for headers in wrong]
    assert found == [401, 401, 401, 429, 429]
    assert statuses(asked, 1, headers=bearer("ann")) == [200]


def test_several_windows_and_none(hidden):
    assert statuses(limited(hidden, None, "10/hour;2/minute"), 3)[-1] == 429
    assert set(statuses(limited(hidden, None, None), 30)) == {200}


def test_whose_word_about_addresses_counts(hidden):
    asked = limited(hidden, None, "1/hour")
    made_up = [{"X-Forwarded-For": f"192.0.2.{n}"} for n in range(3)]
    assert [asked.client.get("/", headers=each).status_code for each in made_up] == [200, 429, 429]
    behind = limited(hidden, None, "1/hour", proxy_headers=True)
    assert [behind.client.get("/", headers=each).status_code for each in made_up] == [200, 200, 200]
    assert behind.client.get("/", headers={"X-Forwarded-For": "9.9.9.9, 192.0.2.1"}).status_code == 429


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, "10.0.0.1"),
        ({b"x-forwarded-for": b"192.0.2.7"}, "192.0.2.7"),
        ({b"x-forwarded-for": b"6.6.6.6, 192.0.2.7"}, "192.0.2.7"),
        ({b"x-forwarded-for": b"192.0.2.7:1234"}, "192.0.2.7"),
        ({b"x-forwarded-for": b"2001:db8::1"}, "2001:db8::1"),
        ({b"x-forwarded-for": b"[2001:db8::1]:80"}, "2001:db8::1"),
        ({b"x-forwarded-for": b"nonsense"}, "10.0.0.1"),
        ({b"x-forwarded-for": b"192.0.2.7, "}, "10.0.0.1"),
        ({b"x-forwarded-for": b"\xff\xfe"}, "10.0.0.1"),
        ({b"forwarded": b"for=6.6.6.6, proto=https;For=192.0.2.7"}, "192.0.2.7"),
        ({b"forwarded": b'for="[2001:db8::1]:80"'}, "2001:db8::1"),
        ({b"forwarded": b"for=_hidden"}, "10.0.0.1"),
    ],
)
def test_addresses(headers, found):
    given = list(headers.items())
    assert client_address(("10.0.0.1", 5), given, proxied=True) == found
    assert client_address(("10.0.0.1", 5), given, proxied=False) == "10.0.0.1"
    assert client_address(None, [], proxied=False) == "unknown"


def test_addresses_of_one_network_count_together():
    rates = Rates(RateSettings(anonymous="1/hour"))
    rates.hit(None, "2001:db8::1")
    with pytest.raises(TooMany):
        rates.hit(None, "2001:db8::ffff")
    rates.hit(None, "2001:db8:0:1::1")
    rates.hit(None, "192.0.2.1")
    rates.hit(None, "192.0.2.2")
    # A user called like an address is not one, nor is one of another kind the same.
    rates.hit(Reader("192.0.2.1", "token", ()), "192.0.2.1")
    rates.hit(Reader("192.0.2.1", "oidc", ()), "192.0.2.1")


def test_memory_does_not_grow_with_strangers(monkeypatch):
    monkeypatch.setattr("api.access.rates._MOST_KEYS", 50)
    rates = Rates(RateSettings(anonymous="1/second"))
    assert rates._memory is not None
    for index in range(40):
        rates.hit(None, f"10.0.0.{index}")
    rates._memory.events.update({f"gone-{index}": [] for index in range(100)})
    rates.hit(None, "10.0.1.1")
    assert len(rates._memory.events) <= 41


def test_stores_of_counts():
    with pytest.raises(InvalidInput, match="nonsense"):
        Rates(RateSettings(storage="nonsense://user:secret@host"))
    with pytest.raises(InvalidInput) as error:
        Rates(RateSettings(storage="redis://user:secret@host"))
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("text", ["", "often", "0/minute", "-1/minute", "1/fortnight", "1"])
def test_rates_that_are_none(text):
    with pytest.raises(ValueError):
        RateSettings(readers=text)
