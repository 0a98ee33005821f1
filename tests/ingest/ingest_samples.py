"""Small sources, recipes and runs for the ingest tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from rasterio import Affine
from rasterio.shutil import copy as gdal_copy

from ingest.publish import commit_staged
from ingest.recipe import Recipe, load_recipe
from ingest.run import Run
from ingest.staging import StagedRun
from versioning.catalog import Catalog
from versioning.commit import CommitResult
from versioning.errors import StacpinError
from versioning.version import Version

DAY = "2024-05-01T10:30:00Z"
NORTH_UP = Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 4_000_000.0)
RASTERS = {"kind": "raster", "sources": "*.tif", "datetime": DAY}
LABELS = {"kind": "labels", "sources": "labels.*", "datetime": DAY}


@dataclass
class Project:
    """A folder with a recipe and its sources, and the catalog that it is ingested into."""

    folder: Path
    catalog: Catalog
    dataset: str = "fields"

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def recipe(self, layers: Mapping[str, Any] | None = None, **more: Any) -> Recipe:
        """Write a recipe (one raster layer by default) and read it."""
        content = {"dataset": self.dataset, **more, "layers": layers or {"scenes": RASTERS}}
        file = self.folder / "stacpin.yaml"
        file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
        return load_recipe(file)

    def run(self, recipe: Recipe | None = None, **options: Any) -> Run:
        return Run(self.catalog, recipe or load_recipe(self.folder / "stacpin.yaml"), self.folder, **options)

    def stage(self, **options: Any) -> tuple[Run, StagedRun | None]:
        """Everything but the commit."""
        run = self.run(**options)
        run.plan()
        run.convert()
        run.check()
        staged = run.staged()
        if staged is not None:
            run.verify()
        return run, staged

    def ingest(self, **options: Any) -> CommitResult | None:
        """A whole run; None if it found nothing to commit."""
        _, staged = self.stage(**options)
        return None if staged is None else commit_staged(self.catalog, staged, message="m", author="a")

    def must_ingest(self, **options: Any) -> Version:
        """A whole run that makes a version."""
        done = self.ingest(**options)
        assert done is not None
        assert done.created
        return done.version

    def versions(self) -> list[int]:
        return sorted(version.number for version in self.catalog.dataset(self.dataset).versions())

    def objects(self) -> set[str]:
        return {entry.path for entry in self.catalog.store.list("objects")}

    def listing(self) -> dict[str, bytes]:
        """Everything in the catalog, except objects and the staging area: nothing reads what no version names.

        A run that stored objects before it was refused says so in the staging area, and gc removes them.
        """
        paths = [entry.path for entry in self.catalog.store.list("")]
        return {path: self.catalog.store.get(path) for path in paths if not path.startswith(("objects/", "staging/"))}


def pixels(seed: int = 7, shape: tuple[int, int, int] = (1, 60, 80), dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 200, size=shape).astype(dtype)


def write_raster(path: Path, values: np.ndarray | None = None, **profile: Any) -> Path:
    """A georeferenced GeoTIFF; ``after`` is called with it while it is open."""
    values = pixels() if values is None else values
    after: Callable[[Any], None] | None = profile.pop("after", None)
    settings: dict[str, Any] = {
        "driver": "GTiff",
        "count": values.shape[0],
        "height": values.shape[1],
        "width": values.shape[2],
        "dtype": values.dtype.name,
        "crs": "EPSG:32618",
        "transform": NORTH_UP,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **{k: v for k, v in (settings | profile).items() if v is not None}) as out:
        out.write(values)
        if after:
            after(out)
    return path


def write_cog(path: Path, values: np.ndarray | None = None, **profile: Any) -> Path:
    """A COG as the default profile has them, with tags that ours would not have."""
    plain = path.with_suffix(".plain")
    write_raster(plain, values, after=lambda out: out.update_tags(MAKER="somebody else"), **profile)
    gdal_copy(plain, path, driver="COG", COMPRESS="DEFLATE", BLOCKSIZE="512", OVERVIEWS="IGNORE_EXISTING")
    plain.unlink()
    return path


def polygon(west: float, south: float, side: float = 0.01) -> dict[str, Any]:
    east, north = west + side, south + side
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def features(count: int = 5) -> list[dict[str, Any]]:
    """Squares around 10° E, 50° N, with a name, a class and a confidence each."""
    return [
        {
            "type": "Feature",
            "properties": {"name": f"field {at}", "class": at % 3, "confidence": 0.5 + at / 100},
            "geometry": polygon(10 + at / 10, 50),
        }
        for at in range(count)
    ]


def write_geojson(path: Path, rows: Iterable[Mapping[str, Any]] | None = None, **members: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = features() if rows is None else rows
    path.write_text(json.dumps({"type": "FeatureCollection", **members, "features": list(rows)}), encoding="utf-8")
    return path


def write_gpkg(path: Path, rows: Iterable[Mapping[str, Any]], *, layer: str = "labels", crs: str = "EPSG:4326") -> Path:
    import geopandas

    frame = geopandas.GeoDataFrame.from_features(list(rows), crs="EPSG:4326").to_crs(crs)
    frame.to_file(path, layer=layer, driver="GPKG")
    return path


def copied(source: Path, target: Path) -> Path:
    """A writable copy: the shared data is read-only."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return target


def refusal(project: Project, **options: Any) -> StacpinError:
    """The error of a run, which must leave the catalog as it was and say what to do."""
    before = project.listing()
    with pytest.raises(StacpinError) as caught:
        project.ingest(**options)
    assert project.listing() == before
    assert caught.value.hint, f"no way out is named: {caught.value}"
    return caught.value
