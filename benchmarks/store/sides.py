"""The two sides, each by its own command line with its defaults, on the same files; and `cp -r` beside them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.store.disks import empty
from benchmarks.store.timing import Measured, timed

__all__ = ["DVC_VERSION", "Copy", "Dvc", "Round", "Side", "Stacpin", "compiled", "find_dvc"]

DVC_VERSION = "3.67"
PYTHON = Path(sys.executable)
RECIPE = """\
dataset: tiles
catalog: ../catalog
license: CC0-1.0
layers:
  image:
    kind: raster
    sources: "data/*/*.tif"
    datetime: "2026-01-01"
"""


@dataclass(frozen=True, slots=True)
class Round:
    """One run through all steps: a folder of its own, in which both sides work on the same ``work/data``.

    ``spare`` is where to put what is measured once and thrown away; ``size`` is that of all tiles in bytes.
    """

    folder: Path
    tiles: Path
    changed: Path
    spare: Path
    size: int
    own_disk: bool
    environ: dict[str, str]

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def data(self) -> Path:
        return self.work / "data"

    def throwaway(self, copies: int = 1) -> AbstractContextManager[Path]:
        """An empty folder for so many copies of all tiles."""
        return empty(self.spare, copies * self.size, own_disk=self.own_disk)

    def change(self) -> None:
        """Bring the new pixels of every hundredth tile."""
        for path in sorted(self.changed.rglob("*.tif")):
            shutil.copyfile(path, self.data / path.relative_to(self.changed))


class Side(Protocol):
    """One of those that are compared; ``steps`` are those it has, each timed when it is called."""

    name: str

    def prepare(self) -> None: ...

    def steps(self) -> dict[str, Callable[[], Measured]]: ...


class Copy:
    """`cp -r` of the files: what the disk alone takes; ``durable`` waits until it has them, as a commit does."""

    def __init__(self, turn: Round, *, durable: bool = False) -> None:
        self.name = "cp -r + sync" if durable else "cp -r"
        self._turn = turn
        self._durable = durable

    def prepare(self) -> None:
        pass

    def steps(self) -> dict[str, Callable[[], Measured]]:
        return {"snapshot": self._copy, "pull": self._copy}

    def _copy(self) -> Measured:
        with self._turn.throwaway() as spare:
            command = ["cp", "-r", str(self._turn.data), str(spare / "copy")]
            if self._durable:
                command = ["sh", "-c", 'cp -r "$1" "$2" && sync -f "$2"', "sh", *command[2:]]
            return timed(command, self._turn.folder, self._turn.environ, self._turn.folder / "copy.log")


class Stacpin:
    """stacpin, from a shell; only ``snapshot`` is the store by itself."""

    name = "stacpin"

    def __init__(self, turn: Round) -> None:
        self._turn = turn
        self._log = turn.folder / "stacpin.log"
        self._environ = turn.environ | {"STACPIN_CACHE": str(turn.folder / "stacpin-cache"), "STACPIN_AUTHOR": "bench"}

    def prepare(self) -> None:
        (self._turn.work / "stacpin.yaml").write_text(RECIPE)

    def steps(self) -> dict[str, Callable[[], Measured]]:
        return {
            "snapshot": self._snapshot,
            "first": lambda: self._run("ingest", "-m", "first"),
            "status": lambda: self._run("status"),
            "change": lambda: self._run("ingest", "-m", "second"),
            "diff": lambda: self._run("diff", "tiles@v1", "tiles@v2"),
            "pull": self._pull,
        }

    def _run(self, *arguments: str) -> Measured:
        return timed([str(PYTHON.with_name("stacpin")), *arguments], self._turn.work, self._environ, self._log)

    def _snapshot(self) -> Measured:
        with self._turn.throwaway() as spare:
            command = [str(PYTHON), "-m", "benchmarks.store.snapshot", str(spare / "catalog"), str(self._turn.data)]
            return timed(command, Path(__file__).parents[2], self._environ, self._log)

    def _pull(self) -> Measured:
        with self._turn.throwaway() as spare:
            return self._run("pull", "tiles@latest", str(spare / "pulled"))


class Dvc:
    """DVC with a local remote, from a shell, with its defaults."""

    name = "DVC"

    def __init__(self, turn: Round, binaries: Path) -> None:
        self._turn = turn
        self._log = turn.folder / "dvc.log"
        self._dvc = str(binaries / "dvc")
        self._environ = {key: value for key, value in turn.environ.items() if not key.startswith("GIT_")} | {
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "DVC_SITE_CACHE_DIR": str(turn.folder / "dvc-site"),
            "DVC_GLOBAL_CONFIG_DIR": str(turn.folder / "dvc-global"),
            "DVC_SYSTEM_CONFIG_DIR": str(turn.folder / "dvc-system"),
            "GIT_CONFIG_GLOBAL": str(turn.folder / "gitconfig"),
        }

    def prepare(self) -> None:
        (self._turn.folder / "gitconfig").write_text("[user]\nname = bench\nemail = bench@example.org\n")
        self._plain("git", "init", "-q")
        self._plain(self._dvc, "init", "-q")
        for name, value in {"analytics": "false", "check_update": "false"}.items():  # no word to the network
            self._plain(self._dvc, "config", f"core.{name}", value)
        self._plain(self._dvc, "remote", "add", "-d", "-q", "local", str(self._turn.folder / "remote"))

    def steps(self) -> dict[str, Callable[[], Measured]]:
        return {
            "first": self._add,
            "status": lambda: self._run("status"),
            "change": self._add,
            "diff": lambda: self._run("diff", "HEAD~1", "HEAD"),
            "pull": self._pull,
        }

    def settings(self) -> str:
        """Its version, and by what it fills a workspace from its cache here."""
        said = subprocess.run(
            [self._dvc, "doctor"],
            cwd=self._turn.work,
            env=self._environ,
            capture_output=True,
            text=True,
            check=False,
        )
        wanted = ("DVC version:", "Cache types:")
        return "; ".join(line.strip() for line in said.stdout.splitlines() if line.startswith(wanted))

    def _add(self) -> Measured:
        measured = self._run("add", "data").plus(self._run("push"))
        self._plain("git", "add", "data.dvc", ".gitignore", ".dvc")
        self._plain("git", "commit", "-q", "-m", "a version")
        return measured

    def _pull(self) -> Measured:
        """Into an empty workspace with an empty cache, as on another machine."""
        with self._turn.throwaway(copies=2) as spare:
            self._plain("git", "clone", "-q", str(self._turn.work), str(spare / "clone"))
            environ = self._environ | {"DVC_SITE_CACHE_DIR": str(spare / "site")}
            return timed([self._dvc, "pull"], spare / "clone", environ, self._log)

    def _run(self, *arguments: str) -> Measured:
        return timed([self._dvc, *arguments], self._turn.work, self._environ, self._log)

    def _plain(self, *command: str) -> None:
        with self._log.open("ab") as out:
            subprocess.run(command, cwd=self._turn.work, env=self._environ, stdout=out, stderr=out, check=True)


def compiled(scratch: Path, *folders: Path) -> dict[str, str]:
    """The environment for both sides, in which Python finds the modules of some folders compiled, as it does anywhere.

    Where PYTHONDONTWRITEBYTECODE is set, as in many containers, each command otherwise compiles all that it imports:
    1.5 s of the 2.3 s of `stacpin diff`.
    """
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environ["PYTHONPYCACHEPREFIX"] = str(scratch / "pycache")
    for folder in folders:
        if folder.is_dir():
            command = [str(PYTHON), "-m", "compileall", "-q", "-j", "0", str(folder)]
            subprocess.run(command, env=environ, capture_output=True, check=False)  # some packages carry broken files
    return environ


def find_dvc(scratch: Path) -> Path | None:
    """The folder of DVC's programs, in an environment of its own in the scratch folder; None if it cannot be had."""
    binaries = scratch / "dvc-env" / "bin"
    if not (binaries / "dvc").exists():
        print(f"installing DVC {DVC_VERSION} in {binaries.parent}", file=sys.stderr)
        uv = shutil.which("uv") or str(Path(__file__).parents[2] / ".tools" / "bin" / "uv")  # where make setup puts it
        for command in (
            [uv, "venv", "-q", "--clear", "-p", str(PYTHON), str(binaries.parent)],
            [uv, "pip", "install", "-q", "-p", str(binaries.parent), f"dvc=={DVC_VERSION}.*"],
        ):
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except FileNotFoundError:
                print("uv is not there", file=sys.stderr)
                return None
            if done.returncode:
                print(done.stderr.strip()[-500:], file=sys.stderr)
                return None
    return binaries
