"""docs/cli.md: its sessions are run, and print what the page says.

``STACPIN_UPDATE_SNAPSHOTS=1`` writes what they print into the page.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

from cli_snapshots import needs_known_gdal, without_times

from stacpin.cli import app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
_SESSION = re.compile(r"```console\n(.*?)```", re.DOTALL)
_RUN = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}")
_SOFTWARE = re.compile(r"^software .*$", re.MULTILINE)
# What a catalog takes beside its objects depends on the release of pyarrow, the machine's name and the like.
_SIZES = re.compile(r"^((?:copied|condemned|deleted|kept|waiting)\b.*?)[0-9.]+ k?B", re.MULTILINE)
_DAY = re.compile(r"\b20\d\d-\d\d-\d\d\b")
# Records have the times of their writers in them.
_HEAD = re.compile(r"\bhead sha256:[0-9a-f]{64}")
_CLEARED = re.compile(r"^cleared [0-9]+ files, [0-9.]+ k?B", re.MULTILINE)


@needs_known_gdal
def test_the_page_tells_the_truth(cli, place):
    page = PAGE.read_text(encoding="utf-8")

    def played(session: re.Match[str]) -> str:
        commands = [line[2:] for line in session[1].splitlines() if line.startswith("$ ")]
        return f"```console\n{''.join(_played(cli, place, command) for command in commands)}```"

    now = _SESSION.sub(played, page)
    if os.environ.get("STACPIN_UPDATE_SNAPSHOTS"):
        PAGE.write_text(now, encoding="utf-8")
        page = now
    assert _settled(now) == _settled(page)


def test_the_page_has_every_verb():
    verbs = {command.callback.__name__ for command in app.registered_commands}
    assert verbs == set(re.findall(r"^\$ stacpin ([a-z]+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE))


def _played(cli, place: Path, command: str) -> str:
    words = shlex.split(command)
    if words[0] != "stacpin":
        subprocess.run(words, check=True)
        return f"$ {command}\n"
    ran = cli(*words[1:])
    return f"$ {command}\n{ran.out}{ran.err}".replace(str(place), "/data/rocky-mountain")


def _settled(text: str) -> str:
    text = _CLEARED.sub("cleared", _SIZES.sub(r"\1SIZE", text))
    text = _HEAD.sub("head", text)
    return _DAY.sub("DAY", _SOFTWARE.sub("software", _RUN.sub("RUN", without_times(text))))
