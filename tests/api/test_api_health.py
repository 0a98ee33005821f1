"""Readiness: every check by name, none waited for without end, nothing said that strangers should not know."""

from __future__ import annotations

import threading
import time

import pytest

from api.app import create_app
from api.backend import EmbeddedBackend
from api.service.health import Check
from api.settings import ApiSettings
from versioning.catalog import Catalog


class Looked:
    """A probe that counts how often it was asked."""

    name = "index"

    def __init__(self, answer):
        self.answer = answer
        self.times = 0

    def check(self) -> Check:
        self.times += 1
        return self.answer()


class Indexed(EmbeddedBackend):
    def __init__(self, catalog, probe):
        super().__init__(catalog)
        self.probe = probe

    def probes(self):
        return [self.probe]


def client_with(client_class, site, probe):
    catalog = Catalog.open(str(site.folder))
    app = create_app(ApiSettings(catalog=catalog.url), backend=Indexed(catalog, probe))
    return app, client_class(app, base_url="http://api.test", raise_server_exceptions=False)


@pytest.fixture
def client_class(client):
    return type(client)


def test_a_backend_adds_its_own_checks(client_class, site):
    probe = Looked(lambda: Check("index", ok=True, detail="0 versions behind"))
    _, client = client_with(client_class, site, probe)
    answer = client.get("/_mgmt/health")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "status": "UP",
        "checks": [
            {"name": "catalog", "ok": True, "detail": "answers"},
            {"name": "index", "ok": True, "detail": "0 versions behind"},
        ],
    }


def test_one_check_that_fails_is_not_ready(client_class, site):
    _, client = client_with(client_class, site, Looked(lambda: Check("index", ok=False, detail="900 versions behind")))
    answer = client.get("/_mgmt/health")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    body = answer.json()
    assert (body["code"], body["status"], body["description"]) == ("not-ready", "DOWN", "Not ready: index.")
    assert body["checks"][1] == {"name": "index", "ok": False, "detail": "900 versions behind"}


def test_a_check_that_raises_tells_the_log_and_nobody_else(client_class, site, caplog):
    def broken():
        raise OSError("postgresql://stacpin:secret@db.internal:5432 refused")

    _, client = client_with(client_class, site, Looked(broken))
    answer = client.get("/_mgmt/health")
    assert answer.status_code == 503
    assert "secret" not in answer.text
    assert "db.internal" not in answer.text
    assert "secret" in caplog.text


def test_a_store_that_fails_is_named_by_its_kind_alone(client_of, own_site):
    client = client_of(own_site)
    own_site.folder.rename(own_site.folder.with_name("moved"))
    answer = client.get("/_mgmt/health")
    assert answer.json()["checks"] == [{"name": "catalog", "ok": False, "detail": "does not answer (no-such-object)"}]
    assert str(own_site.folder) not in answer.text


def test_an_answer_is_kept_for_a_second(client_class, site):
    probe = Looked(lambda: Check("index", ok=True))
    app, client = client_with(client_class, site, probe)
    watched = app.state.health._watched[1]
    watched._kept = 1000.0
    for _ in range(5):
        assert client.get("/_mgmt/health").status_code == 200
    assert probe.times == 1
    watched._kept = 0.0
    client.get("/_mgmt/health")
    assert probe.times == 2


def test_a_probe_that_hangs_is_asked_once(client_class, site):
    ended = threading.Event()

    def hangs() -> Check:
        ended.wait(60)
        return Check("index", ok=True)

    probe = Looked(hangs)
    app, client = client_with(client_class, site, probe)
    watched = app.state.health._watched[1]
    watched._seconds, watched._kept = 0.05, 1000.0
    for _ in range(3):
        answer = client.get("/_mgmt/health")
        assert answer.status_code == 503
        assert answer.json()["checks"][1]["detail"] == "no answer within 0.05 s"
    assert probe.times == 1
    ended.set()
    end = time.monotonic() + 30
    while client.get("/_mgmt/health").status_code != 200 and time.monotonic() < end:
        time.sleep(0.01)
    assert client.get("/_mgmt/health").status_code == 200
    assert probe.times == 1


def test_while_shutting_down_it_is_alive_and_not_ready(client_class, site):
    app, client = client_with(client_class, site, Looked(lambda: Check("index", ok=True)))
    app.state.health.stopping = True
    answer = client.get("/_mgmt/health")
    assert (answer.status_code, answer.json()["code"]) == (503, "stopping")
    assert client.get("/_mgmt/ping").status_code == 200
    assert client.get("/").status_code == 200
