"""Small label files, made at test time."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def write(tmp_path):
    """Write features (or any text) as a GeoJSON file and return its path."""
    made = iter(range(1000))

    def write(content, *, indent=None, **members):
        path = tmp_path / f"labels{next(made)}.geojson"
        if isinstance(content, list):
            content = json.dumps({"type": "FeatureCollection", "features": content, **members}, indent=indent)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write
