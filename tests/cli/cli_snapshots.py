"""Answers kept as files: what scripts rely on changes only on purpose.

``STACPIN_UPDATE_SNAPSHOTS=1 pytest tests/cli`` writes them anew; read the difference before you commit it.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import rasterio

# Equal pixels give equal bytes with an equal GDAL only, so the digests of versions are those of one GDAL.
GDAL = "3.10.3"
needs_known_gdal = pytest.mark.skipif(
    rasterio.__gdal_version__ != GDAL, reason=f"digests of bytes are kept for GDAL {GDAL}"
)

FOLDER = Path(__file__).parent / "snapshots"
_TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?")
# Of a run: when, where, with what software. Digests of the example never vary.
_VARIES = {"software", "nonce", "run", "id", "catalog", "dest", "url", "time", "committed"}


def check_snapshot(name: str, text: str) -> None:
    path = FOLDER / name
    if os.environ.get("STACPIN_UPDATE_SNAPSHOTS"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.is_file(), f"{path} is missing: run again with STACPIN_UPDATE_SNAPSHOTS=1"
    assert text == path.read_text(encoding="utf-8")


def check_json(name: str, data: Any, *folders: Path) -> None:
    text = json.dumps(_settled(data), indent=2, ensure_ascii=False)
    for folder in folders:
        text = text.replace(str(folder), "FOLDER")
    check_snapshot(f"json-{name}.json", text + "\n")


def _settled(data: Any, key: str = "") -> Any:
    if isinstance(data, dict):
        return {name: _settled(value, name) for name, value in data.items()}
    if isinstance(data, list):
        return [_settled(each) for each in data]
    if key in _VARIES and isinstance(data, str) and not data.startswith(("rmnp-", "colorado-")):
        return f"<{key}>"
    return data


def without_times(text: str) -> str:
    return _TIME.sub("<time>", text)
