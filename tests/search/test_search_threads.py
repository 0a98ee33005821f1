"""Searches over many chunks, which several threads scan at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MANY = """
import sys
from catalog.search import Query, search
from versioning.catalog import Catalog
from versioning.commit import commit

def item(number):
    x, y = number % 340 - 170, number % 160 - 80
    ring = [[x, y], [x + 3, y], [x, y + 3], [x, y]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    found = {"type": "Feature", "stac_version": "1.1.0", "id": f"t{number:06d}", "geometry": geometry, "assets": {}}
    return found | {"bbox": [x, y, x + 3, y + 3], "properties": {"datetime": "2024-01-01T00:00:00Z"}}

dataset = Catalog.create("memory://").dataset("many")
version = commit(dataset, items=map(item, range(12000)), message="m", author="a").version
assert len(version.chunks) > 8
found = set()
for turn in range(40):
    corner = -160.1 + turn / 1000
    ring = [[corner, -60], [160, -60], [0, 80], [corner, -60]]
    found.add(search([version], Query.parse(intersects={"type": "Polygon", "coordinates": [ring]}), limit=1).matched)
print(max(found) > 1000)
"""


@pytest.mark.slow
def test_threads_do_not_share_what_geos_fills_lazily():
    # In a process of its own: what this guards against ends the process.
    command = [sys.executable, "-c", MANY]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stdout) == (0, "True\n"), ran.stderr[-2000:]
