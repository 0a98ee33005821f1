"""``make demo``: what it prints, what it leaves, and what it does not touch."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio
from cli_snapshots import GDAL, check_snapshot, without_times


def _demo(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "STACPIN_AUTHOR"}
    return subprocess.run(
        [sys.executable, "-m", "stacpin.demo", "--serve", "0", "--folder", str(folder), *more],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_the_demo_prints_what_it_printed(tmp_path):
    folder = tmp_path / "demo"
    ran = _demo(folder)
    assert ran.returncode == 0, ran.stderr
    text = without_times(ran.stdout.replace(str(folder), "FOLDER"))
    text = re.sub(r"http://127\.0\.0\.1:\d+", "<address>", text)
    if rasterio.__gdal_version__ == GDAL:
        check_snapshot("demo.txt", text)
    assert "nothing to commit: rocky-mountain is as it was (rocky-mountain@v1 sha256:" in text
    assert "features: 133 unchanged, 1 moved" in text
    assert "moved: glacier_id=G254331E40212N" in text
    assert "rocky-mountain--v1: rmnp-dem, rmnp-landsat\n" in text
    numbers = sorted(path.stem for path in (folder / "catalog/datasets/rocky-mountain/versions").iterdir())
    assert numbers == ["00000001", "00000002", "00000003"]
    # Again, in the same folder: the same versions, whatever the clock says.
    (folder / "catalog" / "stale").write_text("x")
    again = _demo(folder)
    assert again.returncode == 0
    digests = [set(re.findall(r"sha256:[0-9a-f]{64}", each.stdout)) for each in (ran, again)]
    assert digests[0] == digests[1]
    assert len(digests[0]) == 3
    assert not (folder / "catalog" / "stale").exists()


@pytest.mark.parametrize("strange", ["notes.txt", "catalog/stacpin.json"])
def test_the_demo_deletes_nothing_of_others(tmp_path, strange):
    path = tmp_path / strange
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    ran = _demo(tmp_path)
    assert ran.returncode == 1
    assert "is not a former demo's folder" in ran.stderr
    assert path.read_text() == "mine"
    (tmp_path / ".stacpin-demo").touch()
    if strange == "notes.txt":
        ran = _demo(tmp_path)
        assert ran.returncode == 1
        assert "notes.txt" in ran.stderr
        assert path.read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_demo_that_is_stopped_leaves_no_server(tmp_path, number, code):
    command = [sys.executable, "-m", "stacpin.demo", "--port", "0", "--folder", str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, start_new_session=True) as demo:
        assert demo.stdout is not None
        port = 0
        for line in demo.stdout:
            if line.startswith("STAC API:"):
                port = int(line.rstrip("/\n").rpartition(":")[2])
            if line.startswith("Stop with Ctrl-C"):
                break
        assert port
        second = _demo(tmp_path)
        assert second.returncode == 1
        assert f"Another demo runs in {tmp_path}." in second.stderr
        assert (tmp_path / "catalog" / "stacpin.json").is_file()
        # A terminal sends Ctrl-C to all of its processes; others end the demo alone.
        (os.killpg if number == signal.SIGINT else os.kill)(demo.pid, number)
        out, err = demo.communicate(timeout=60)
    assert demo.returncode == code
    assert err.endswith("wrote stacpin.lock\n"), "nothing is said of the end"
    assert out == ("stopped\n" if number == signal.SIGINT else "")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_port_that_was_asked_for_is_used_or_refused(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = _demo(tmp_path / "demo", "--serve", "1", "--port", str(port))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert f"127.0.0.1:{port} cannot be listened on" in ran.stderr
    assert not (tmp_path / "demo").exists()


def test_the_usual_port_may_move_and_says_so(made, monkeypatch, capsys):
    from stacpin import demo

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(demo, "PORT", port)
        with demo._server(made / "catalog", None) as (address, process):
            from urllib.request import urlopen

            assert not address.endswith(f":{port}")
            with urlopen(f"{address}/collections", timeout=10) as answer:
                assert [each["id"] for each in json.load(answer)["collections"]] == ["rocky-mountain--v3"]
        assert process.poll() is not None
    assert f"Port {port} is taken: port " in capsys.readouterr().out
