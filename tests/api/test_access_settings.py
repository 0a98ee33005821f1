"""The settings of who may read: scopes, and the file."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.access.bearer import Bearer
from api.access.scopes import Reader, check_scope, patterns_of
from api.access.settings import AccessSettings, LogSettings, RateSettings, load_access
from versioning.errors import InvalidInput, NotFound

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
        (one(sha256="secret") + HREFS, r"token\.0\.sha256: String should match .*, or Input should be a table\b"),
        ("public = 'dem'\n" + HREFS, "public: Input should be a list"),
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
