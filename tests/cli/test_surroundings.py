"""The command among pipes, terminals, signals, encodings and others who do the same at the same time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from cli_helpers import DATASET, listing, move_glacier

STACPIN = [sys.executable, "-m", "stacpin"]


def _start(*words: object, cwd: Path, **more) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    return subprocess.Popen([*STACPIN, *map(str, words)], cwd=cwd, **(pipes | more))


def test_a_pipe_that_is_closed_early(here):
    command = f"{sys.executable} -m stacpin search {DATASET} --assets --json | head -n 1"
    ran = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], cwd=here / "work", capture_output=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["asset"] == "glaciers"
    assert b"Traceback" not in ran.stderr
    assert b"Broken" not in ran.stderr


def test_nobody_listens_from_the_start(here):
    reading, writing = os.pipe()
    os.close(reading)
    with _start("log", DATASET, cwd=here / "work", stdout=writing) as process:
        os.close(writing)
        assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_defect(here, closed):
    command = f"exec {sys.executable} -m stacpin log {DATASET} {closed}"
    assert subprocess.run(["bash", "-c", command], cwd=here / "work", timeout=60, check=False).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_under_the_output(here):
    with Path("/dev/full").open("w") as full:
        process = _start("log", DATASET, cwd=here / "work", stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 60
    assert err.startswith("error: The output cannot be written: No space left on device.\n")


ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_a_terminal_that_knows_only_ascii(place):
    new = place / "daten-größe"
    (place / "work").rename(new)
    environment = os.environ | ASCII
    for words in (
        ["--help"],
        ["log"],
        ["show", DATASET, "colorado-glaciers"],
        ["digest", "stacpin.yaml"],
    ):
        process = _start(*words, cwd=new, env=environment)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, ""), words
        assert out
    process = _start("digest", new / "dem" / "rmnp-dem.tif", cwd=new, env=environment)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (50, "")
    assert "is not UTF-8 text" in err
    process = _start("-C", "größe", "log", cwd=new, env=environment)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 40
    assert err.startswith("error: ")


def test_two_at_once_make_one_version(place):
    move_glacier(place / "work", 0.01)
    both = [_start("ingest", "--json", cwd=place / "work") for _ in range(2)]
    answers = [json.loads(process.communicate(timeout=120)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all(answer["ok"] for answer in answers)
    assert {answer["data"]["version"]["pin"] for answer in answers} == {f"{DATASET}@v4"}


def _in_terminal(words: list[str], cwd: Path, columns: int) -> tuple[int, str]:
    """Run on a pseudo-terminal and give back what it would have shown, escape sequences and all."""
    import fcntl
    import struct
    import termios

    main, side = os.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "NO_COLOR"}}
    process = subprocess.Popen(
        [*STACPIN, *words], cwd=cwd, stdin=side, stdout=side, stderr=side, env=environment | {"TERM": "xterm"}
    )
    os.close(side)
    seen = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # Linux says so when the other side is closed
            break
        if not part:
            break
        seen += part
    os.close(main)
    return process.wait(60), seen.decode()


@pytest.mark.parametrize("columns", [24, 80])
def test_bars_are_drawn_on_a_terminal_and_wiped(here, columns):
    code, seen = _in_terminal(["verify", f"{DATASET}@v3"], here / "work", columns)
    assert code == 0
    assert "verify" in seen
    assert "\x1b[?25l" in seen, "the cursor is hidden while the bar is drawn"
    after = seen.rsplit("\x1b[2K", 1)[1]
    assert after.replace("\r\n", "\n").startswith(f"{DATASET}@v3  sha256:")
    assert seen.rindex("\x1b[?25h") < seen.rindex(f"{DATASET}@v3")
    quiet = _in_terminal(["-q", "verify", f"{DATASET}@v3"], here / "work", columns)[1]
    assert "\x1b" not in quiet


def test_ctrl_c_leaves_the_catalog_as_it_was(place):
    folder = place / "many"
    folder.mkdir()
    _many(folder)
    catalog = place / "catalog"
    before = listing(catalog)
    process = _start("ingest", "-C", catalog, "--workers", "1", "--json", cwd=folder)
    deadline = time.monotonic() + 60
    objects = len(list((catalog / "objects").rglob("*.tif")))
    while len(list((catalog / "objects").rglob("*.tif"))) < objects + 2:
        assert time.monotonic() < deadline
        assert process.poll() is None, "it was done before it could be interrupted"
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out)["errors"][0]["kind"] == "interrupted"
    assert "Traceback" not in err
    assert listing(catalog) == before
    done = _start("ingest", "-C", catalog, "--json", cwd=folder)
    assert json.loads(done.communicate(timeout=120)[0])["data"]["version"]["pin"] == "many@v1"


def test_ctrl_c_is_how_a_server_stops(here):
    process = _start("serve", "--port", "0", "-C", here / "catalog", cwd=here)
    assert process.stderr is not None
    address = process.stderr.readline().split()[-1]
    while process.stderr.readline() != "stop with Ctrl-C\n":
        pass
    _answers(address, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert err == "stopped\n"


def _answers(address: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None
        assert time.monotonic() < deadline
        try:
            with urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.05)


def _many(folder: Path) -> None:
    import numpy as np
    import rasterio
    from rasterio.transform import from_origin

    profile = {"driver": "GTiff", "width": 700, "height": 700, "count": 1, "dtype": "uint16", "crs": "EPSG:32613"}
    for number in range(12):
        grid = from_origin(500_000 + 7000 * number, 4_500_000, 10, 10)
        with rasterio.open(folder / f"a{number:02}.tif", "w", **profile, transform=grid) as out:
            out.write(np.random.default_rng(number).integers(1, 9000, (1, 700, 700), dtype="uint16"))
    recipe = "dataset: many\nlayers:\n  a: {kind: raster, sources: '*.tif', datetime: 2024-01-01}\n"
    (folder / "stacpin.yaml").write_text(recipe)
