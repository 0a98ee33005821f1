"""Options of a service from the environment and from files: one rule, nothing ignored without a word."""

from __future__ import annotations

from typing import Any

import pytest

import api.server
from versioning.catalog import Catalog


@pytest.fixture
def asked(cli, tmp_path, monkeypatch):
    """Runs `stacpin serve …` up to where it would listen: what it would have served, and what the command said."""
    Catalog.create(str(tmp_path / "catalog"), title="A catalog")
    taken: list[Any] = []
    monkeypatch.setattr(api.server, "serve", lambda settings, **where: taken.append((settings, where)))

    def run(*words: str):
        taken.clear()
        ran = cli("serve", "-C", tmp_path / "catalog", "--port", "0", *words)
        return ran, taken[0][0] if taken else None

    return run


def test_nothing_is_on_unless_asked_for(asked):
    ran, settings = asked()
    assert ran.code == 0
    assert (settings.workers, settings.metrics, settings.otel) == (1, None, False)
    assert (settings.log_format, settings.log_requests, settings.proxy_headers) == ("text", False, False)
    assert settings.cors_origins == ("*",)
    limits = ("max_limit", "max_search_seconds", "max_drawings")
    for name in limits:
        assert getattr(settings, name) == type(settings).model_fields[name].default
    assert settings.title == "A catalog"


def test_every_option_is_a_variable(asked, monkeypatch):
    for name, value in {
        "PUBLIC_URL": "https://example.org/stac",
        "WORKERS": "3",
        "METRICS": "9464",
        "LOG_FORMAT": "json",
        "LOG_REQUESTS": "1",
        "CORS_ORIGIN": "https://a.org https://b.org",
        "DRAIN_SECONDS": "2.5",
        "PROXY_HEADERS": "true",
        "OTEL": "yes",
        "TITLE": "All that we pin",
        "MAX_LIMIT": "500",
        "MAX_SEARCH_SECONDS": "2.5",
        "MAX_DRAWINGS": "6",
    }.items():
        monkeypatch.setenv(f"STACPIN_{name}", value)
    ran, settings = asked()
    assert (ran.code, ran.err) == (0, "")
    assert (settings.public_url, settings.workers, settings.metrics) == ("https://example.org/stac", 3, "9464")
    assert (settings.log_format, settings.log_requests, settings.drain_seconds) == ("json", True, 2.5)
    assert settings.cors_origins == ("https://a.org", "https://b.org")
    assert (settings.proxy_headers, settings.otel) == (True, True)
    assert (settings.title, settings.max_limit) == ("All that we pin", 500)
    assert (settings.max_search_seconds, settings.max_drawings) == (2.5, 6)


@pytest.mark.parametrize("built", [True, False])
def test_what_is_said_once_it_listens(asked, monkeypatch, built):
    monkeypatch.setattr(api.server, "serve", lambda _, **where: where["ready"]("http://127.0.0.1:8080"))
    monkeypatch.setattr("api.browser_files.is_built", lambda _: built)
    ran, _ = asked("--public-url", "https://example.org/stac/")
    assert ran.err.splitlines() == [
        "STAC API  http://127.0.0.1:8080/",
        *(["browser   http://127.0.0.1:8080/browser/"] if built else []),
        "public    https://example.org/stac/",
        "stop with Ctrl-C",
        "stopped",
    ]
    assert asked("--log-format", "json")[0].err == ""


def test_the_command_line_comes_first_and_empty_is_unset(asked, monkeypatch):
    monkeypatch.setenv("STACPIN_WORKERS", "3")
    monkeypatch.setenv("STACPIN_PUBLIC_URL", "")
    _, settings = asked("--workers", "2")
    assert (settings.workers, settings.public_url) == (2, None)


def test_a_file_holds_a_value(asked, monkeypatch, tmp_path):
    file = tmp_path / "secret"
    file.write_text("https://example.org\n")
    monkeypatch.setenv("STACPIN_PUBLIC_URL_FILE", str(file))
    assert asked()[1].public_url == "https://example.org"
    assert asked("--public-url", "https://other.org")[1].public_url == "https://other.org"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe", b"x" * 70_000])
def test_a_file_that_holds_none(asked, monkeypatch, tmp_path, content):
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("STACPIN_PUBLIC_URL_FILE", str(file))
    ran, settings = asked()
    assert (ran.code, settings) == (50, None)
    assert "STACPIN_PUBLIC_URL_FILE" in ran.err


def test_a_value_and_a_file_are_one_too_many(asked, monkeypatch, tmp_path):
    monkeypatch.setenv("STACPIN_PUBLIC_URL", "https://example.org")
    monkeypatch.setenv("STACPIN_PUBLIC_URL_FILE", str(tmp_path / "secret"))
    ran, _ = asked()
    assert ran.code == 50
    assert "both set" in ran.err


def test_a_slip_is_told(asked, monkeypatch):
    monkeypatch.setenv("STACPIN_WORKER", "4")
    # What Kubernetes sets for a service of the same name is none of ours.
    monkeypatch.setenv("STACPIN_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("STACPIN_PORT_80_TCP_ADDR", "10.0.0.1")
    ran, settings = asked()
    assert settings.workers == 1
    assert "STACPIN_WORKER is no setting and is ignored; did you mean STACPIN_WORKERS?" in ran.err
    assert "10.0.0.1" not in ran.err
    assert "SERVICE_HOST" not in ran.err


def test_otels_own_variables_are_enough(asked, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    assert asked()[1].otel is True
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert asked()[1].otel is False


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--cors-origin", "example.org"], 50, "cors_origins"),
        (["--metrics", "nowhere:x"], 50, "metrics 'nowhere:x'"),
        (["--public-url", "example.org"], 50, "public_url"),
        (["--root-path", "stac"], 50, "root_path"),
        (["--workers", "0"], 2, "--workers"),
        (["--max-limit", "10001"], 2, "--max-limit"),
        (["--max-search-seconds", "0"], 2, "--max-search-seconds"),
        (["--max-drawings", "65"], 2, "--max-drawings"),
        (["--log-format", "xml"], 2, "--log-format"),
        (["--shutdown-seconds", "0"], 2, "--shutdown-seconds"),
    ],
)
def test_a_value_that_cannot_be_used(asked, words, code, said):
    ran, settings = asked(*words)
    assert (ran.code, settings) == (code, None)
    assert said in ran.err


def test_a_bad_value_names_the_variable_that_it_comes_from(asked, monkeypatch, tmp_path):
    monkeypatch.setenv("STACPIN_WORKERS", "many")
    assert "Invalid value for '--workers' (from STACPIN_WORKERS): " in asked()[0].err
    assert "Invalid value for '--workers': " in asked("--workers", "0")[0].err
    monkeypatch.delenv("STACPIN_WORKERS")
    (tmp_path / "count").write_text("several")
    monkeypatch.setenv("STACPIN_WORKERS_FILE", str(tmp_path / "count"))
    ran, settings = asked()
    assert (ran.code, settings) == (2, None)
    assert "Invalid value for '--workers' (from STACPIN_WORKERS_FILE): " in ran.err


def test_other_commands_take_nothing_from_these_variables(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("STACPIN_DATASET_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("STACPIN_WORKERS", "many")
    assert cli("init", tmp_path / "catalog").code == 0
    assert cli("doctor", "-C", tmp_path / "catalog").code == 0
