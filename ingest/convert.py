"""Making the file of one asset: a COG, normalised labels, or the file as it is. Runs in any worker process."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ingest.plan import PlannedAsset
from ingest.recipe import Layer
from versioning.objects import hash_file

__all__ = ["Made", "Task", "convert", "task_of"]


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker needs to know; it can be pickled.

    Attributes
    ----------
    item, key
        Which asset it is for.
    source
        The file to read.
    folder
        An empty folder of its own to write to.
    declared_crs
        For sources that have none.
    parent
        For labels: the parent version's file, from which features within the precision keep their coordinates.
    layer_name
        For labels: which layer of the source.
    """

    item: str
    key: str
    source: Path
    folder: Path
    layer: Layer
    declared_crs: str | None
    target_crs: str | None
    parent: Path | None = None
    layer_name: str | None = None

    def of_parent(self, parent: Path) -> Task:
        """The same task, made from the parent version's file, which already is what is wanted."""
        return replace(self, source=parent, declared_crs=None, layer_name=None)


@dataclass(frozen=True, slots=True)
class Made:
    """What a worker made: the file, its content digest, and what an item says of labels (None for other kinds)."""

    path: Path
    digest: str
    kept: bool
    labels: dict[str, Any] | None = None


def task_of(item: str, key: str, asset: PlannedAsset, folder: Path) -> Task:
    """The task for a planned asset."""
    layer = asset.source.settings
    # What is in the wanted CRS is not moved. To name that CRS would be to ask for it, and a raster that is placed by
    # control points would be warped.
    target = asset.target_crs if asset.lineage else None
    return Task(item, key, asset.source.path, folder, layer, layer.source_crs, target, None, layer.layer)


def convert(task: Task) -> Made:
    """Make the file of an asset.

    Raises
    ------
    InvalidInput
        If the source is refused.
    """
    task.folder.mkdir(parents=True, exist_ok=True)
    if task.layer.kind == "raster":
        return _raster(task)
    if task.layer.kind == "labels":
        return _labels(task)
    target = task.folder / task.source.name
    shutil.copyfile(task.source, target)
    return Made(target, f"b1:{hash_file(target).hex()}", kept=True)  # of what was copied, whatever was planned


def _raster(task: Task) -> Made:
    from ingest.cog import CogProfile, to_cog

    layer = task.layer
    result = to_cog(
        task.source,
        task.folder / f"{task.source.stem}.tif",
        profile=CogProfile(**layer.cog.model_dump()),
        crs=task.declared_crs,
        target_crs=task.target_crs,
        resolution=layer.resolution,
        resampling=layer.resampling,
    )
    return Made(result.path, result.digest, result.kept)


def _labels(task: Task) -> Made:
    from ingest.labels import to_labels

    result = to_labels(
        task.source,
        task.folder / f"{task.source.stem}.parquet",
        crs=task.declared_crs,
        target_crs=task.target_crs,
        precision=task.layer.precision,
        layer=task.layer_name,
        parent=task.parent,
    )
    summary = {
        "count": result.count,
        "geometry_types": list(result.geometry_types),
        "bbox": result.bbox,
        "native_bbox": result.native_bbox,
        "crs": result.crs,
        "precision": result.precision,
        "properties": {
            name: {"kind": each.kind, "values": None if each.values is None else list(each.values)}
            for name, each in result.properties.items()
        },
        "footprint": result.footprint,
    }
    return Made(result.path, result.digest, kept=False, labels=summary)
