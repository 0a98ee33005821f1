"""A small catalog with three versions, a real server over it, and what Chromium shows of its STAC Browser."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from postgres import postgres_bin, run_postgres
from rasterio.transform import from_origin

REPOSITORY = Path(__file__).resolve().parents[2]
NODE_WANTED = 20
RECIPE = """\
dataset: ridge
catalog: catalog
title: The ridge
license: CC0-1.0
layers:
  relief:
    kind: raster
    sources: relief.tif
    title: Elevation in metres
    datetime: 2020-06-01
    bands: [elevation]
  huts:
    kind: labels
    sources: huts.geojson
    optional: true
    datetime: 2020-06-01
    title: Huts
    label: {tasks: [detection], properties: [], description: Huts on the ridge}
"""
WEST, NORTH = -105.9, 40.55
# Pixels that are not square: OpenLayers draws dots beside the place without the change in api/browser/prepare.mjs.
WIDE, HIGH = 0.00275, 0.00211
COLUMNS, ROWS = 150, 150
MAP = ".ol-viewport canvas"
# Below /browser/: the path, and what must come before the page counts as shown.
PAGES = {
    "landing": ("", "text=The ridge v3"),
    "v1": ("collections/ridge--v1", ".items .item-card", MAP),
    "v3": ("collections/ridge--v3", ".items .item-card >> nth=1", MAP),
    "versions": ("collections/ridge/versions", "text=The ridge v1", "text=The ridge v3"),
    # The badge comes when the raster is on the map.
    "relief": ("collections/ridge--v3/items/relief", ".badge.shown", MAP),
    "huts": ("collections/ridge--v3/items/huts", "text=Download", MAP),
    "revisions": ("collections/ridge/items/huts/versions", ".items .item-card >> nth=1"),
}
# What is done on a page, and what must come of it; one of them on the index too, where there is PostGIS.
SUBMIT = ["click", "button:has-text('Submit'):visible"]
WALKS = {
    "items": (
        "search",
        ["click", "text=Search for Items"],
        ["click", "button:has-text('Add filter'):visible"],
        ["click", ".dropdown-menu.show >> text=Item id"],
        ["fill", ".queryable-row input.value:visible", "huts"],
        SUBMIT,
        ["wait", ".items .item-card"],
    ),
    "collections": (
        "search",
        ["click", ".multiselect:visible"],
        ["fill", ".multiselect__input:visible", "RIDGE"],
        ["press", "Enter"],
        SUBMIT,
        ["wait", "a:has-text('The ridge v3'):visible"],
    ),
    "filtered": (
        "collections/ridge--v1",
        ["click", "text=Show Filters"],
        ["click", "button:has-text('Add filter'):visible"],
        ["click", ".dropdown-menu.show >> text=Item id"],
        ["fill", ".queryable-row input.value:visible", "nothing"],
        SUBMIT,
        ["wait", "text=No items found"],
    ),
    "followed": (
        "collections/ridge--v2",
        ["click", "a:has-text('ridge@v3')"],
        ["wait", "h1:has-text('The ridge v3')"],
        ["click", "a:has-text('ridge@v2')"],
        ["wait", "h1:has-text('The ridge v2')"],
        ["click", ".items .item-card a:has-text('huts')"],
        ["wait", "h1:has-text('huts')"],
    ),
}


@dataclass(frozen=True)
class Page:
    """What one page of STAC Browser shows."""

    url: str
    title: str
    text: str
    links: dict[str, str]
    download: str | None
    complaints: list[str]
    elsewhere: list[str]
    picture: np.ndarray | None

    def near(self, colour: tuple[int, int, int], tolerance: int = 12) -> np.ndarray:
        """Where the map has a colour."""
        assert self.picture is not None
        return (np.abs(self.picture.astype(int) - colour) <= tolerance).all(axis=-1)


def find_chromium() -> str:
    """The system's Chromium: Debian's name, others' names, or the path in CHROMIUM."""
    for name in (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"):
        if name and (found := shutil.which(name)):
            return found
    pytest.skip("no Chromium here: install it, or set CHROMIUM to where it is")


@pytest.fixture(scope="session")
def tools() -> dict[str, str]:
    """Chromium, Node and the built STAC Browser, or a skip that says which is missing."""
    chromium = find_chromium()
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("no Node.js with npm here")
    version = subprocess.run([node, "-p", "process.versions.node"], capture_output=True, text=True, check=True).stdout
    if int(version.split(".")[0]) < NODE_WANTED:
        pytest.skip(f"Node.js {version.strip()} is older than {NODE_WANTED}")
    if not (REPOSITORY / "api/browser/dist/index.html").is_file():
        pytest.skip("STAC Browser is not built: sh api/browser/build.sh")
    return {"chromium": chromium, "node": node, "npm": npm}


def playwright(tools: dict[str, str], folder: Path) -> Path:
    """A folder with playwright-core: tools/ after `npm ci` there, else a new one beside the catalog."""
    if (REPOSITORY / "tools/node_modules/playwright-core/package.json").is_file():
        return REPOSITORY / "tools"
    folder.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(REPOSITORY / "tools" / name, folder)
    command = [tools["npm"], "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm does not give playwright-core: {done.stderr.strip()[-300:]}")
    return folder


def make_catalog(work: Path) -> Path:
    """Elevations; huts; one hut moved."""
    work.mkdir()
    (work / "stacpin.yaml").write_text(RECIPE)
    pixels = np.repeat(np.array([1000, 2000, 3000], dtype="uint16"), COLUMNS // 3)
    profile = {"driver": "GTiff", "width": COLUMNS, "height": ROWS, "count": 1, "dtype": "uint16", "nodata": 65535}
    transform = from_origin(WEST, NORTH, WIDE, HIGH)
    with rasterio.open(work / "relief.tif", "w", **profile, crs="EPSG:4326", transform=transform) as target:
        target.write(np.broadcast_to(pixels, (1, ROWS, COLUMNS)))
    ingest(work, "Elevations")
    huts = {"a": (-105.85, 40.5), "b": (-105.6, 40.5), "c": (-105.7, 40.3)}
    write_points(work / "huts.geojson", huts)
    ingest(work, "Huts")
    write_points(work / "huts.geojson", {**huts, "c": (-105.7, 40.31)})
    ingest(work, "One hut <moved> *")
    return work / "catalog"


def write_points(path: Path, points: dict[str, tuple[float, float]]) -> None:
    features = [
        {"type": "Feature", "properties": {"name": name}, "geometry": {"type": "Point", "coordinates": place}}
        for name, place in points.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def ingest(work: Path, message: str) -> None:
    command = [sys.executable, "-m", "stacpin", "ingest", "-m", message, "--author", "tester", "--workers", "1"]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@contextmanager
def serving(catalog: Path, index: str | None = None) -> Iterator[str]:
    """A real server on a free port, over the catalog's manifests or over its index."""
    command = [sys.executable, "-m", "stacpin", "-C", str(catalog), "serve", "--port", "0"]
    environ = os.environ | ({"STACPIN_DATABASE_URL": index} if index else {})
    log = catalog.parent / f"serve{'-index' if index else ''}.log"
    with log.open("w") as told:
        server = subprocess.Popen(command, stderr=told, env=environ)
    try:
        yield wait_for(server, log)
    finally:
        server.terminate()
        server.wait(20)


@contextmanager
def indexed(catalog: Path) -> Iterator[str | None]:
    """A server over the catalog's index; None where there is no PostGIS."""
    if postgres_bin() is None:
        yield None
        return
    with run_postgres() as cluster:
        url = cluster.new_database()
        command = [sys.executable, "-m", "stacpin", "-C", str(catalog), "index", "--database-url", url]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        with serving(catalog, url) as address:
            yield address


def wait_for(server: subprocess.Popen[bytes], log: Path) -> str:
    """The address that the server tells, once it answers."""
    end = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < end:
        if found := re.search(r"STAC API +(http://\S+)/\n", log.read_text()):
            with suppress(urllib.error.URLError):
                urllib.request.urlopen(f"{found[1]}/_mgmt/ping", timeout=5).close()
                return found[1]
        time.sleep(0.05)
    pytest.fail(f"the server does not answer: {log.read_text()}")


@pytest.fixture(scope="session")
def visited(tools, tmp_path_factory) -> Path:
    """The folder with what was seen: all pages are visited once, however many workers share the tests."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder /= "browser"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "seen.json").exists():
            seen = visit(tools, Path(tempfile.mkdtemp(dir=folder)))
            (folder / "seen.json").write_text(json.dumps(seen))
    return folder


def visit(tools: dict[str, str], folder: Path) -> dict[str, Any]:
    """Make the catalog, serve it from manifests and from an index, and look at the pages of both, all at once."""
    catalog = make_catalog(folder / "ridge")
    with serving(catalog) as address, indexed(catalog) as index:
        visits = [
            {
                "name": name,
                "url": f"{address}/browser/{path}",
                "wait_for": selectors,
                "steps": [],
                "picture": str(folder / f"{name}.png") if MAP in selectors else None,
            }
            for name, (path, *selectors) in PAGES.items()
        ]
        for where, origin in (("manifests", address), ("index", index)):
            visits += [
                {"name": f"{name}-{where}", "url": f"{origin}/browser/{path}", "wait_for": [], "steps": steps}
                for name, (path, *steps) in WALKS.items()
                if origin is not None and (where == "manifests" or name == "items")
            ]
        plan = {
            "playwright": str(playwright(tools, folder / "node")),
            "chromium": tools["chromium"],
            "visits": visits,
        }
        (folder / "plan.json").write_text(json.dumps(plan))
        command = [tools["node"], str(Path(__file__).with_name("visit.mjs")), str(folder / "plan.json")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stderr
    return {"address": address, "index": index, "folder": str(folder), "pages": json.loads(done.stdout)}


@pytest.fixture(scope="session")
def address(visited) -> str:
    """Where the server was."""
    return json.loads((visited / "seen.json").read_text())["address"]


@pytest.fixture(scope="session", params=["manifests", "index"])
def walks(request, visited, pages) -> tuple[str, dict[str, Page]]:
    """Where a server was that searches manifests, or an index, and what came of each walk there."""
    seen = json.loads((visited / "seen.json").read_text())
    origin = seen["address" if request.param == "manifests" else "index"]
    if origin is None:
        pytest.skip("no PostgreSQL with PostGIS here")
    return origin, {name: pages[f"{name}-{request.param}"] for name in WALKS if f"{name}-{request.param}" in pages}


@pytest.fixture(scope="session")
def pages(visited) -> dict[str, Page]:
    """What each page showed."""
    seen = json.loads((visited / "seen.json").read_text())
    return {
        name: Page(
            url=shown["url"],
            title=shown["title"],
            text=shown["text"],
            links=dict(shown["links"]),
            download=shown["download"],
            complaints=shown["complaints"],
            elsewhere=shown["elsewhere"],
            picture=read_picture(Path(seen["folder"]) / f"{name}.png") if MAP in PAGES.get(name, ()) else None,
        )
        for name, shown in seen["pages"].items()
    }


def read_picture(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as picture:
            return np.moveaxis(picture.read([1, 2, 3]), 0, -1)
