"""The files that both sides version: GeoTIFF tiles of about 150 KB, made once by rasterio from a seed, and kept."""

from __future__ import annotations

import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

__all__ = ["change_some", "make_tiles"]

SIDE = 256
# 76 grey values have 6.25 bits of entropy: deflate leaves 150 KB of 3 x 256 x 256 pixels, and finds nothing to repeat.
VALUES = 76
A_ROW = 100


def make_tiles(scratch: Path, count: int) -> Path:
    """A folder of tiles, ``r012/r012c034.tif``; made unless it is there.

    They are COGs as `stacpin ingest` makes them by default (deflate, blocks of 512), so that an ingest keeps their
    bytes, and lie side by side in EPSG:32613.
    """
    folder = scratch / f"tiles-{count}"
    if folder.is_dir():
        return folder
    _make(scratch / f"tiles-{count}.part", range(count), seed=1)
    (scratch / f"tiles-{count}.part").replace(folder)
    return folder


def change_some(scratch: Path, tiles: Path, count: int, share: int = 100) -> Path:
    """A folder with new pixels for every hundredth tile, under the same names."""
    folder = scratch / f"{tiles.name}-changed"
    if not folder.is_dir():
        part = folder.with_suffix(".part")
        _make(part, range(share // 2, count, share), seed=2)
        part.replace(folder)
    return folder


def _make(folder: Path, numbers: range, *, seed: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for row in {number // A_ROW for number in numbers}:
        (folder / f"r{row:03d}").mkdir(parents=True)
    print(f"making {len(numbers):,} tiles in {folder}", file=sys.stderr)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for _ in pool.map(partial(_tile, folder, seed), numbers, chunksize=50):
            pass


def _tile(folder: Path, seed: int, number: int) -> None:
    import numpy as np
    from rasterio import MemoryFile
    from rasterio.shutil import copy
    from rasterio.transform import from_origin

    row, column = divmod(number, A_ROW)
    pixels = np.random.default_rng((seed, number)).integers(0, VALUES, (3, SIDE, SIDE), dtype="uint8")
    place = from_origin(400_000 + column * SIDE, 4_500_000 - row * SIDE, 1, 1)
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=SIDE, height=SIDE, count=3, dtype="uint8", crs="EPSG:32613", transform=place
        ) as plain:
            plain.write(pixels)
        with memory.open() as plain:
            copy(plain, folder / f"r{row:03d}" / f"r{row:03d}c{column:02d}.tif", driver="COG", COMPRESS="DEFLATE")


if __name__ == "__main__":
    tiles = make_tiles(Path(sys.argv[1]), int(sys.argv[2]))
    change_some(Path(sys.argv[1]), tiles, int(sys.argv[2]))
