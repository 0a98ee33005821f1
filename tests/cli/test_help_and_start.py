"""The way in: help texts, start-up, hidden packages, missing extras."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from cli_snapshots import check_snapshot

from stacpin.cli import app

VERBS = sorted(command.callback.__name__ for command in app.registered_commands)
HEAVY = ["rasterio", "geopandas", "pandas", "xarray", "torch", "fastapi", "pyarrow", "shapely", "obstore", "rich"]


def _python(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _running(*words: str) -> str:
    return f"from stacpin.cli import main\ntry: main({list(words)!r})\nexcept SystemExit as end: code = end.code\n"


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_every_help_text_is_as_it_was(cli, verb):
    ran = cli(*verb.split(), "--help")
    assert (ran.code, ran.err) == (0, "")
    check_snapshot(f"help-{verb or 'stacpin'}.txt", ran.out)
    assert all(len(line) <= 80 for line in ran.out.splitlines())
    assert not re.search(r"[a-z]\.\.\.$", ran.out, re.MULTILINE), "a cut sentence"
    assert not verb or "Example: stacpin" in ran.out


@pytest.mark.parametrize("columns", ["20", "40", "200"])
def test_help_fits_any_terminal(cli, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    assert cli("--help").code == 0
    assert cli("search", "--help").code == 0


def test_without_a_verb_the_help_is_shown(cli):
    ran = cli()
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Usage: stacpin ")
    assert cli("--json").error["kind"] == "usage"


def test_the_version(cli):
    from stacpin import __version__

    assert __version__ == version("stacpin")
    assert cli("--version").out == f"stacpin {__version__}\n"
    assert cli("--version", "--json").json["data"] == {"version": __version__}


@pytest.mark.parametrize("code", ["import stacpin", _running("--help"), _running("ingest", "--help")])
def test_nothing_heavy_is_imported_to_start(tmp_path, code):
    ran = _python(f"{code}\nimport sys; sys.exit(' '.join(set({HEAVY!r}) & set(sys.modules)) or 0)", tmp_path)
    assert ran.returncode == 0, ran.stderr


def test_reading_history_needs_no_gdal(here, tmp_path):
    words = _running("-C", str(here / "catalog"), "log", "rocky-mountain")
    heavy = ["rasterio", "geopandas", "pandas", "fastapi", "xarray", "pyogrio"]
    ran = _python(f"{words}\nimport sys; sys.exit(' '.join(set({heavy!r}) & set(sys.modules)) or 0)", tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("v3  (latest)")


@pytest.mark.parametrize("name", ["catalog.py", "api/__init__.py", "versioning/__init__.py", "ingest/"])
def test_a_file_that_hides_a_package_is_named(tmp_path, name):
    if name.endswith("/"):
        (tmp_path / name).mkdir()
        # A folder without __init__.py is found only where nothing better is: it hides nothing.
        assert _python("import stacpin", tmp_path).returncode == 0
        return
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("print('never run')\n")
    ran = _python("import stacpin", tmp_path)
    assert ran.returncode != 0
    assert ran.stdout == ""
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("ImportError: stacpin's package ")
    assert str(tmp_path / name) in last
    assert "Rename" in last


def test_the_command_is_not_confused_by_files_around_it(tmp_path):
    """The console script does not look into the current folder."""
    (tmp_path / "catalog.py").write_text("raise SystemExit('wrong file')\n")
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "__init__.py").write_text("raise SystemExit('wrong file')\n")
    script = Path(sys.executable).with_name("stacpin")
    ran = subprocess.run([script, "--version"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
"""
INGEST = {"rasterio", "rio_cogeo", "geopandas", "pyogrio", "yaml", "platformdirs"}
API = {"fastapi", "starlette", "uvicorn", "stac_fastapi", "stac_pydantic", "brotli_asgi"}
ALL = INGEST | API | {"xarray", "odc", "boto3"}


@pytest.mark.parametrize(
    ("words", "missing", "extra"),
    [
        (["ingest"], INGEST, "ingest"),
        (["ingest"], {"rasterio"}, "ingest"),
        (["status"], {"yaml"}, "ingest"),
        (["digest", "imagery/red.tif"], {"rasterio"}, "ingest"),
        (["serve"], API, "api"),
        (["serve"], {"uvicorn"}, "api"),
    ],
)
def test_a_missing_extra_is_named(here, words, missing, extra):
    code = BLOCKED.format(names=missing) + _running(*words, "-C", "../catalog") + "sys.exit(code)"
    if words[0] == "digest":
        code = code.replace(", '-C', '../catalog'", "")
    ran = _python(code, here / "work")
    assert ran.returncode == 50, ran.stderr
    assert "Traceback" not in ran.stderr
    assert f"hint: Install it: pip install 'stacpin[{extra}]'" in ran.stderr
    assert ran.stderr.startswith(f"error: stacpin {words[0]} needs "), "and nothing before it"


@pytest.mark.parametrize(
    "words",
    [
        ["log"],
        ["log", "rocky-mountain"],
        ["show", "rocky-mountain"],
        ["show", "rocky-mountain", "rmnp-dem"],
        ["diff", "rocky-mountain@v1", "rocky-mountain@v2"],
        ["resolve", "rocky-mountain@stable"],
        ["search", "rocky-mountain@v3", "--bbox", "-106,40,-105,41"],
        ["pull", "rocky-mountain@v1", "PULLED"],
        ["verify", "rocky-mountain"],
        ["audit"],
        ["guard", "rocky-mountain@stable", "--verify"],
    ],
)
def test_reading_needs_no_extra(here, tmp_path, words):
    words = [str(tmp_path / "pulled") if word == "PULLED" else word for word in words]
    code = BLOCKED.format(names=ALL) + _running("-C", str(here / "catalog"), *words) + "sys.exit(code)"
    ran = _python(code, tmp_path)
    assert ran.returncode == 0, ran.stderr
