"""A small catalog of real COGs, made once: two versions, a pointer, a tag."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from loader_servers import api_of
from s3 import s3_server  # noqa: F401 - a fixture of this folder

from catalog.assets import opaque_asset, raster_asset
from catalog.items import build_item
from catalog.raster_digest import raster_digest
from versioning.catalog import Catalog
from versioning.commit import commit

COLLECTION = {
    "title": "Fields <of> Peru",
    "description": "Small COGs.",
    "license": "CC-BY-4.0",
    "keywords": ["fields"],
    "links": [{"rel": "license", "href": "https://creativecommons.org/licenses/by/4.0/", "type": "text/html"}],
}
SIDE, PIXEL, EAST, NORTH = 512, 10.0, 500_000.0, 9_100_000.0


@dataclass(frozen=True)
class Fields:
    """Where the catalog is, and the COGs that went in: (item, key) -> file, for v2."""

    root: Path
    files: dict[tuple[str, str], Path]

    @property
    def url(self) -> str:
        return str(self.root)

    @property
    def catalog(self) -> Catalog:
        return Catalog.open(self.url)

    def object_of(self, item: str, key: str, pin: str = "fields@v2") -> Path:
        return self.root / self.catalog.resolve(pin).item(item)["assets"][key]["href"]


def write_cog(path: Path, *, column: int, row: int, seed: int) -> Path:
    import rasterio
    from affine import Affine
    from rasterio.shutil import copy

    values = np.random.default_rng(seed).integers(1, 10_000, (1, SIDE, SIDE), dtype="uint16")
    plain = path.with_suffix(".plain.tif")
    transform = Affine(PIXEL, 0, EAST + column * SIDE * PIXEL, 0, -PIXEL, NORTH - row * SIDE * PIXEL)
    with rasterio.open(
        plain,
        "w",
        driver="GTiff",
        width=SIDE,
        height=SIDE,
        count=1,
        dtype="uint16",
        nodata=0,
        crs="EPSG:32718",
        transform=transform,
    ) as out:
        out.write(values)
    copy(plain, path, driver="COG", blocksize=128, compress="deflate", overview_resampling="nearest")
    plain.unlink()
    return path


def make_item(catalog: Catalog, item_id: str, files: dict[str, Path], *, datetime: str) -> dict:
    parts = {}
    for key, path in files.items():
        ref = catalog.objects.put_file(path)
        if path.suffix == ".tif":
            parts[key] = raster_asset(path, ref, digest=raster_digest(path), band_names=[key])
        else:
            parts[key] = opaque_asset(path, ref, media_type="text/plain")
    return build_item(item_id, parts, datetime=datetime, properties={"eo:cloud_cover": len(item_id) + int(item_id[1])})


@pytest.fixture(scope="session")
def fields_template(tmp_path_factory: pytest.TempPathFactory) -> Fields:
    work = tmp_path_factory.mktemp("fields")
    catalog = Catalog.create(str(work / "catalog"))
    dataset = catalog.dataset("fields")
    places = {"r0c0": (0, 0), "r0c1": (1, 0), "r1c0": (0, 1)}

    def files(item_id: str, column: int, row: int, seed: int) -> dict[str, Path]:
        made = {
            key: write_cog(work / f"{item_id}-{key}-{seed}.tif", column=column, row=row, seed=seed + number)
            for number, key in enumerate(("red", "nir"))
        }
        notes = work / f"{item_id}-{seed}.txt"
        notes.write_text(f"notes on {item_id}\n")
        return made | {"notes": notes}

    first = {
        item_id: files(item_id, *place, 10 * number) for number, (item_id, place) in enumerate(places.items(), start=1)
    }
    times = {"r0c0": "2023-05-01T10:00:00Z", "r0c1": "2023-06-01T10:00:00Z", "r1c0": "2024-05-01T10:00:00Z"}
    items = [make_item(catalog, item_id, paths, datetime=times[item_id]) for item_id, paths in first.items()]
    commit(dataset, items=items, collection=COLLECTION, message="First", author="Ada <ada@example.org>")
    changed = first["r0c1"] | {
        "red": write_cog(work / "r0c1-red-new.tif", column=1, row=0, seed=99),
    }
    added = files("r1c1", 1, 1, 50)
    items = [
        make_item(catalog, "r0c1", changed, datetime=times["r0c1"]),
        make_item(catalog, "r1c1", added, datetime="2024-06-01T10:00:00Z"),
    ]
    commit(dataset, items=items, remove=["r1c0"], message="Second <script>alert(1)</script>", author="Bob")
    dataset.move("stable", 1, why="checked", author="Ada")
    dataset.tag("v1.0.0", 1, author="Ada")
    now = {"r0c0": first["r0c0"], "r0c1": changed, "r1c1": added}
    return Fields(
        work / "catalog", {(item_id, key): path for item_id, paths in now.items() for key, path in paths.items()}
    )


@pytest.fixture
def fields(fields_template: Fields, tmp_path: Path) -> Fields:
    """A copy that a test may damage."""
    shutil.copytree(fields_template.root, tmp_path / "catalog")
    return Fields(tmp_path / "catalog", fields_template.files)


@pytest.fixture
def damage() -> Callable[[Path], None]:
    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.chmod(0o644)
        path.write_bytes(bytes(data))

    return flip


@pytest.fixture(scope="session")
def api_url(fields_template: Fields) -> Iterator[str]:
    with api_of(fields_template.url) as base:
        yield base


@pytest.fixture(params=["catalog", "api"])
def place(request: pytest.FixtureRequest, fields_template: Fields) -> str:
    """The same data from each source; only for tests that read."""
    return fields_template.url if request.param == "catalog" else request.getfixturevalue("api_url")


@pytest.fixture(params=["catalog", "api"])
def own_place(request: pytest.FixtureRequest, fields: Fields) -> Iterator[str]:
    """Each source over ``fields``, which a test may damage."""
    if request.param == "catalog":
        yield fields.url
    else:
        with api_of(fields.url) as base:
            yield base
