"""The demo's dataset for the tests of the command line: what a command did, what a catalog holds, an edit of labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATASET = "rocky-mountain"
GLACIER = "G254331E40212N"


@dataclass(frozen=True)
class Ran:
    """What a command did: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The one error of an envelope, which must be whole."""
        envelope = self.json
        assert envelope.keys() == {"ok", "command", "data", "errors"}
        assert envelope["ok"] is False
        (error,) = envelope["errors"]
        assert error.keys() == {"kind", "message", "hint"}
        return error


Cli = Callable[..., Ran]


def move_glacier(work: Path, by: float = 0.002) -> None:
    path = work / "labels" / "colorado-glaciers.geojson"
    content = json.loads(path.read_text())
    for feature in content["features"]:
        if feature["properties"]["glacier_id"] == GLACIER:
            feature["geometry"]["coordinates"][1] += by
    path.write_text(json.dumps(content))


def listing(catalog: Path) -> dict[str, bytes]:
    """Everything that versions, names and items of a catalog consist of; runs and objects may stay behind."""
    return {
        str(path.relative_to(catalog)): path.read_bytes()
        for path in sorted((catalog / "datasets").rglob("*"))
        if path.is_file()
    }
