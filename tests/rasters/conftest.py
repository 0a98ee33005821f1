"""Small rasters, made when they are needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio import Affine

NORTH_UP = Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 4_000_000.0)


def pixels(dtype: str = "uint16", shape: tuple[int, int, int] = (2, 70, 90)) -> np.ndarray:
    values = np.random.default_rng(7).integers(1, 120, size=shape)
    return values.astype(dtype)


def write_raster(path: Path, values: np.ndarray | None = None, **profile: Any) -> Path:
    """A georeferenced GeoTIFF (or what ``driver`` says) with these values."""
    values = pixels() if values is None else values
    after: Callable[[Any], None] | None = profile.pop("after", None)
    settings = {
        "driver": "GTiff",
        "count": values.shape[0],
        "height": values.shape[1],
        "width": values.shape[2],
        "dtype": values.dtype.name,
        "crs": "EPSG:32618",
        "transform": NORTH_UP,
    }
    with rasterio.open(path, "w", **{k: v for k, v in (settings | profile).items() if v is not None}) as out:
        if after:
            after(out)
        out.write(values)
    return path


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    def _make(name: str = "a.tif", values: np.ndarray | None = None, **profile: Any) -> Path:
        return write_raster(tmp_path / name, values, **profile)

    return _make


@pytest.fixture(name="pixels")
def _pixels() -> Callable[..., np.ndarray]:
    return pixels
