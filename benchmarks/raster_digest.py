"""How fast and in how much memory `raster_digest` reads: `python -m benchmarks.raster_digest [MEGABYTES]`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio

from catalog.raster_digest import raster_digest

LAYOUTS = {
    "strips, uncompressed": {},
    "tiles, uncompressed": {"tiled": True, "blockxsize": 512, "blockysize": 512},
    "tiles, deflate": {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"},
}


def peak() -> float:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    side = int((megabytes * 1e6 / 4) ** 0.5)
    strip = np.random.default_rng(0).integers(0, 4000, (2, 512, side), dtype="uint16")
    with tempfile.TemporaryDirectory() as folder:
        for name, layout in LAYOUTS.items():
            path = Path(folder) / "a.tif"
            profile = {"driver": "GTiff", "dtype": "uint16", "crs": "EPSG:32618", **layout}
            place = rasterio.Affine(10, 0, 5e5, 0, -10, 4e6)
            with rasterio.open(path, "w", count=2, height=side, width=side, transform=place, **profile) as out:
                for row in range(0, side, 512):
                    rows = min(512, side - row)
                    out.write(strip[:, :rows], window=rasterio.windows.Window(0, row, side, rows))
            start = time.perf_counter()
            raster_digest(path)
            seconds = time.perf_counter() - start
            print(f"{name:22} {megabytes / seconds:6.0f} MB/s of pixels, peak of the process {peak():.0f} MB")


if __name__ == "__main__":
    main()
