"""The main job on real data, as a session that can be read: ``make demo``.

Three versions of a dataset are made from ``examples/rocky-mountain``, searched at their pins over the STAC API, pulled
and verified. The catalog stays in ``.demo/catalog``.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from stacpin.cli import main as stacpin
from stacpin.cli.serving import free_port
from versioning.errors import StorageUnavailable

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "rocky-mountain"
DATASET = "rocky-mountain"
GLACIER = "G254331E40212N"
PORT = 8080
MARK = ".stacpin-demo"
OURS = {MARK, "catalog", "work", "later", "pulled"}


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--serve", default="1", help="0 ends after the job")
    parser.add_argument("--port", type=int, help="without it 8080, or a free one if that is taken")
    parser.add_argument("--folder", type=Path, default=Path(".demo"))
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    serve = arguments.serve != "0"
    if serve and arguments.port is not None:
        _must_be_free(arguments.port)
    folder: Path = arguments.folder.resolve()
    try:
        with _make_room(folder):
            _play(folder, arguments.port if serve else 0, stay=serve)
    except KeyboardInterrupt:
        _say("stopped")
        sys.exit(_end_code(signal.SIGINT))


def _end(number: int, _: object) -> None:
    """Leave by the way of an exit, so that the server is stopped too."""
    sys.exit(_end_code(number))


def _end_code(number: int) -> int:
    return 128 + number  # as shells have it


def _must_be_free(port: int) -> None:
    """A port that was asked for is used, or the demo ends before it has done anything."""
    try:
        free_port("127.0.0.1", port)
    except StorageUnavailable as error:
        sys.exit(f"{error.message} Name a free port, or none: make demo")


def _play(folder: Path, port: int | None, *, stay: bool) -> None:
    work = folder / "work"
    shutil.copytree(EXAMPLE, work)
    labels = folder / "later"
    (work / "labels").rename(labels)
    os.environ.setdefault("STACPIN_AUTHOR", "demo")
    os.chdir(work)
    _versions(work, labels)
    _consume(folder)
    _api(folder / "catalog", port, stay=stay)


@contextmanager
def _make_room(folder: Path) -> Iterator[None]:
    """An empty folder with our mark in it, ours until the end.

    What a former demo has made there goes; anything else is not ours, and neither is what another demo still serves.
    """
    if folder.is_dir() and not folder.is_symlink():
        found = [each.name for each in folder.iterdir()]
        if found and MARK not in found:
            sys.exit(f"{folder} is not a former demo's folder: it has no {MARK}. Remove it, or name another --folder.")
        strange = sorted(set(found) - OURS)
        if strange:
            sys.exit(
                f"{folder} holds what no demo has made: {', '.join(strange[:5])}. Move it, or name another --folder."
            )
    elif folder.exists():
        sys.exit(f"{folder} is a file. Name a folder with --folder.")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / MARK).open("a+") as mark:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"Another demo runs in {folder}. Stop it with Ctrl-C, or name another --folder.")
        mark.truncate(0)
        mark.write("Made by stacpin's demo, which replaces everything here when it runs again.\n")
        mark.flush()
        for each in folder.iterdir():
            if each.name != MARK:
                shutil.rmtree(each)
        yield


def _versions(work: Path, labels: Path) -> None:
    _run("init", "../catalog", "--title", "Rocky Mountain demo")
    _tell("Version 1: Landsat bands and a DEM, from files in examples/rocky-mountain")
    _run("ingest", "-m", "Landsat bands and elevation")
    _tell("The same files again:")
    _run("ingest")
    _tell("Version 2: labels arrive.")
    labels.rename(work / "labels")
    _run("status")
    _run("ingest", "-m", "Glaciers and the park boundary", "--tag", "v1.0.0")
    _run("promote", f"{DATASET}@v2", "-m", "reviewed")
    _tell(
        "Version 3: one glacier is moved to where it is; red.tif is re-saved with other tags and compression,",
        "so its bytes differ and its pixels do not.",
    )
    _move_glacier(work / "labels" / "colorado-glaciers.geojson")
    _resave(work / "imagery" / "red.tif")
    _run("ingest", "-m", "Correct the position of one glacier")
    _tell("What changed? One feature. The re-saved band is no change.")
    _run("diff", f"{DATASET}@v2", f"{DATASET}@v3")


def _consume(folder: Path) -> None:
    _run("log", DATASET)
    _tell("A pin resolves to the exact, verified asset set.")
    _run("resolve", f"{DATASET}@stable", DATASET)
    _run("search", f"{DATASET}@v2", "--bbox", "-106,40.1,-105.4,40.6", "--filter", "eo:cloud_cover < 10")
    _run("pull", f"{DATASET}@stable", str(folder / "pulled"))
    _run("verify", str(folder / "pulled"))
    _run("verify", f"{DATASET}@v3")
    _run("lock", f"{DATASET}@stable")


def _api(catalog: Path, port: int | None, *, stay: bool) -> None:
    import pystac_client
    import rasterio

    with _server(catalog, port) as (address, server):
        _tell(f"The same over the STAC API at {address}")
        client = pystac_client.Client.open(address)
        for pin in ("v1", "v2", "v3"):
            found = client.search(collections=[f"{DATASET}--{pin}"], bbox=[-106, 40.1, -105.4, 40.6])
            _say(f"  {DATASET}--{pin}: {', '.join(sorted(item.id for item in found.items()))}")
        search = client.search(collections=[f"{DATASET}--v1"], ids=["rmnp-landsat"])
        item = next(search.items())
        with rasterio.open(f"/vsicurl/{item.assets['red'].href}") as band:
            _say(f"  GDAL reads {item.id}/red through the API: {band.width} x {band.height}, {band.crs}")
        if not stay:
            return
        _say("")
        _say(f"STAC API:     {address}/")
        _say(f"STAC Browser: {address}/browser/")
        _say(f"catalog:      {catalog}")
        _say("Stop with Ctrl-C.")
        try:
            server.wait()
        except KeyboardInterrupt:
            _say("stopped")


@contextmanager
def _server(catalog: Path, port: int | None) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """``stacpin serve`` in a process of its own: GDAL holds the interpreter while it waits for an answer."""
    chosen = _chosen(port)
    address = f"http://127.0.0.1:{chosen}"
    command = [sys.executable, "-m", "stacpin", "--quiet", "-C", str(catalog), "serve", "--port", str(chosen)]
    process = subprocess.Popen(command)
    try:
        for _ in range(600):
            if process.poll() is not None:
                sys.exit("the API did not start")
            try:
                urlopen(address, timeout=5).close()
                break
            except OSError:
                time.sleep(0.05)
        yield address, process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _chosen(port: int | None) -> int:
    """The port that was asked for; without one the usual one, or a free one and a word about it."""
    try:
        return free_port("127.0.0.1", PORT if port is None else port)
    except StorageUnavailable as error:
        if port is not None:
            sys.exit(error.message)
        free = free_port("127.0.0.1", 0)
        _say(f"Port {PORT} is taken: port {free} is used instead.")
        return free


def _move_glacier(path: Path) -> None:
    """Correct one point by 0.002 degrees, about 200 m."""
    content: dict[str, Any] = json.loads(path.read_text())
    for feature in content["features"]:
        if feature["properties"]["glacier_id"] == GLACIER:
            feature["geometry"]["coordinates"][1] += 0.002
    path.write_text(json.dumps(content))


def _resave(path: Path) -> None:
    import rasterio

    with rasterio.open(path) as source:
        pixels, profile = source.read(), source.profile
    profile.update(compress="deflate", tiled=True, blockxsize=256, blockysize=256)
    with rasterio.open(path, "w", **profile) as target:
        target.write(pixels)
        target.update_tags(TIFFTAG_SOFTWARE="some exporter 2.0", TIFFTAG_DATETIME="2026:01:01 00:00:00")


def _run(*words: str) -> None:
    _say("")
    _say(f"$ stacpin {shlex.join(words)}")
    try:
        stacpin(list(words))
    except SystemExit as end:
        if end.code:
            raise


def _tell(*lines: str) -> None:
    """What comes next, set apart from the answer above it."""
    _say("")
    for line in lines:
        _say(line)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
