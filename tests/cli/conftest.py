"""The demo's three versions, made once by the command line itself, and a way to run it as its users do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_helpers import DATASET, Cli, Ran, move_glacier

from stacpin.cli import main


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing of the machine shows: no catalog of its user, no wide terminal; digests are computed once for all."""
    monkeypatch.setenv("STACPIN_CACHE", str(tmp_path_factory.getbasetemp() / "digest-cache"))
    monkeypatch.setenv("STACPIN_AUTHOR", "Ana Ruiz")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("STACPIN_CATALOG", raising=False)
    monkeypatch.delenv("STACPIN_DEBUG", raising=False)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run ``stacpin WORDS…`` in this process."""

    def run(*words: object) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Ran(int(end.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def made(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``work``, and ``catalog``: v1 bands and DEM; v2 with labels, stable; v3 one glacier moved."""
    folder = tmp_path_factory.mktemp("made")
    work, later = folder / "work", folder / "later"
    shutil.copytree(examples, work)
    (work / "labels").rename(later)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STACPIN_CACHE", str(tmp_path_factory.getbasetemp() / "digest-cache"))
        patch.setenv("STACPIN_AUTHOR", "Ana Ruiz")
        patch.delenv("STACPIN_CATALOG", raising=False)
        _call("ingest", work, "-m", "Bands and elevation")
        later.rename(work / "labels")
        _call("ingest", work, "-m", "Glaciers and boundary", "--tag", "v1.0.0")
        _call("promote", f"{DATASET}@v2", "-m", "reviewed", "-C", folder / "catalog")
        move_glacier(work)
        _call("ingest", work, "-m", "Move a glacier")
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder to work in; the current folder is the recipe's."""
    folder = tmp_path / "place"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder / "work")
    return folder


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder itself, for commands that only read."""
    monkeypatch.chdir(made / "work")
    return made


def _call(*words: object) -> None:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    assert not end.value.code
