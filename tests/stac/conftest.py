"""What the tests of STAC documents share: small rasters, the schemas of extensions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import rasterio
from rasterio.transform import Affine


@pytest.fixture
def make_raster(tmp_path) -> Callable[..., Path]:
    """Write an empty raster: ``make_raster(crs, west, north, dx, dy, …)``."""

    def make(crs, west, north, dx, dy, *, name="raster.tif", size=20, count=1, dtype="uint8", describe=None, **options):
        transform = options.pop("transform", Affine(dx, 0, west, 0, -dy, north))
        path = tmp_path / name
        width, height = size if isinstance(size, tuple) else (size, size)
        profile = {"driver": "GTiff", "width": width, "height": height, "count": count, "dtype": dtype}
        with rasterio.open(path, "w", **profile, crs=crs, transform=transform, **options) as dataset:
            if describe:
                describe(dataset)
        return path

    return make


@pytest.fixture
def schemas(shared_data) -> Path:
    return shared_data / "stac" / "schemas"
