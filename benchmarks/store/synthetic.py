"""Made-up items in the shape and size of real ones: about 3 kB of JSON, 3.2 assets, ids that begin with the tile."""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from versioning.catalog import Catalog
from versioning.commit import commit

__all__ = ["DATASET", "added", "changed", "item", "make_catalog", "numbers"]

DATASET = "scenes"
_DATES = 10
_BATCH = 50_000
_KEYS = ("blue", "green", "red", "scl")


def item(number: int, state: int = 0) -> dict[str, Any]:
    """The item of a number; ``state`` counts its changes, each of which gives it new pixels."""
    tile, date = divmod(number, _DATES)
    row, column = divmod(tile, 400)
    return _item(f"t{row:04d}{column:03d}-202{date % 5}{date + 1:02d}", number, (row, column), date, state)


def added(number: int, place: str, count: int) -> dict[str, Any]:
    """A new item for a catalog of ``count``: beyond all others (``end``), or in any of its tiles (``spread``)."""
    tile = number * 7919 % (count // _DATES)
    name = f"t{tile // 400:04d}{tile % 400:03d}-2030-{number:06d}" if place == "spread" else f"u{number:09d}"
    return _item(name, number, divmod(tile, 400), 11, 0)


def changed(numbers: Iterable[int], state: int) -> list[dict[str, Any]]:
    """Items with new pixels."""
    return [item(number, state) for number in numbers]


def _item(name: str, number: int, place: tuple[int, int], date: int, state: int) -> dict[str, Any]:
    row, column = place
    west, south = -120 + column * 0.11, 10 + row * 0.04
    east, north = west + 0.12, south + 0.05
    keys = _KEYS if number % 5 == 0 else _KEYS[:3]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [
            f"https://stac-extensions.github.io/{each}/schema.json"
            for each in ("eo/v2.0.0", "file/v2.1.0", "projection/v2.0.0", "view/v1.1.0")
        ],
        "id": name,
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]],
        },
        "bbox": [west, south, east, north],
        "properties": {
            "datetime": f"202{date % 5}-{date + 1:02d}-{number % 28 + 1:02d}T{number % 24:02d}:15:21.024000Z",
            "platform": f"sentinel-2{'ab'[number % 2]}",
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "eo:cloud_cover": number * 7 % 1000 / 10,
            "view:sun_azimuth": 120 + number % 400 / 10,
            "view:sun_elevation": 30 + number % 377 / 10,
            "view:off_nadir": 0,
            "proj:code": "EPSG:32613",
            "gsd": 10,
            "processing:level": "L2A",
        },
        "assets": {key: _asset(name, key, place, state) for key in keys},
    }


def _asset(name: str, key: str, place: tuple[int, int], state: int) -> dict[str, Any]:
    row, column = place
    digest = hashlib.sha256(f"{name}/{key}/{state}".encode()).hexdigest()
    content = hashlib.sha256(f"{name}/{key}/{state}/pixels".encode()).hexdigest()
    return {
        "href": f"objects/{digest[:2]}/{digest}.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "title": f"Surface reflectance, {key}",
        "roles": ["data"],
        "proj:shape": [1098, 1098],
        "proj:transform": [10, 0, 600000 + 10980 * column, 0, -10, 4300020 - 10980 * row, 0, 0, 1],
        "raster:spatial_resolution": 10,
        "bands": [
            {
                "name": key,
                "eo:common_name": key,
                "eo:center_wavelength": 0.49,
                "data_type": "uint16",
                "nodata": 0,
                "raster:scale": 0.0001,
                "raster:offset": -0.1,
            }
        ],
        "file:checksum": f"1220{digest}",
        "file:size": 1_800_000 + int(digest[:5], 16) % 900_000,
        "pin:digest": f"r1:{content}",
    }


def make_catalog(scratch: Path, count: int) -> Path:
    """A catalog with so many items, made by commits of 50,000; made unless it is there."""
    folder = scratch / f"growth-{count}"
    if folder.is_dir():
        return folder
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    dataset = Catalog.create(str(part)).dataset(DATASET)
    begin = time.perf_counter()
    for first in range(0, count, _BATCH):
        batch = range(first, min(count, first + _BATCH))
        commit(dataset, items=map(item, batch), message=f"{len(batch)} more", author="bench")
        print(f"{batch.stop:,} items in {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    part.replace(folder)
    return folder


def numbers(count: int, share: int, *, clustered: bool) -> Iterator[int]:
    """So many numbers below ``count``: side by side, or far from each other."""
    if clustered:
        first = count // 3
        return iter(range(first, first + share))
    return (index * count // share + index * 37 % max(1, count // share) for index in range(share))
