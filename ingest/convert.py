"""Making and describing the file of one asset: a COG, normalised labels, or the file as it is. Runs in any process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.assets import AssetPart
from ingest.describe import part_of, raster_part_of
from ingest.planned import PlannedAsset
from ingest.recipe import Layer

if TYPE_CHECKING:
    from catalog.raster_facts import RasterFacts

__all__ = ["Made", "Task", "convert"]


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker needs to know; it can be pickled.

    Attributes
    ----------
    item, key
        Which asset it is for.
    asset
        What was planned for it.
    scratch, number
        Where it may make a folder of its own to write to, and that folder's name.
    parent
        The parent version's file: what is described again, or from which label features within the precision keep their
        coordinates.
    again
        Whether that file already is what is wanted, and is described again; labels are made of it.
    """

    item: str
    key: str
    asset: PlannedAsset
    scratch: Path
    number: int
    parent: Path | None = None
    again: bool = False

    @property
    def folder(self) -> Path:
        """Its own folder, which it has to make."""
        return self.scratch / str(self.number)

    @property
    def layer(self) -> Layer:
        """The layer's settings."""
        return self.asset.source.settings

    @property
    def source(self) -> Path:
        """The file to read."""
        return self.parent if self.again and self.parent is not None else self.asset.source.path

    @property
    def target_crs(self) -> str | None:
        """The CRS to move to.

        What is in the wanted CRS is not moved. To name that CRS would be to ask for it, and a raster that is placed by
        control points would be warped.
        """
        return self.asset.target_crs if self.asset.lineage else None


@dataclass(frozen=True, slots=True)
class Made:
    """What a worker made.

    Attributes
    ----------
    path
        The file: in the task's folder, or the source itself where that is kept as it is.
    extension
        What its object's name ends in; None for the file's own.
    digest
        Its content digest.
    part
        What an item says of it; where it is stored comes later.
    sha256
        What its bytes must be, where ``digest`` was not taken of the file in the same step; None otherwise.
    kept
        Whether it has the source's own bytes.
    """

    path: Path
    extension: str | None
    digest: str
    part: AssetPart
    sha256: bytes | None = None
    kept: bool = False


def convert(task: Task) -> Made:
    """Make the file of an asset.

    Raises
    ------
    InvalidInput
        If the source is refused.
    NotFound
        If it is gone.
    """
    parent = task.asset.parent
    if task.again and parent is not None and task.layer.kind != "labels":
        digest = str(parent["pin:digest"])
        return Made(task.source, None, digest, part_of(task.asset, task.source, digest))
    if task.layer.kind == "raster":
        return _kept_raster(task) or _raster(task)
    if task.layer.kind == "labels":
        return _labels(task)
    inspected = task.asset.inspection
    part = part_of(task.asset, task.source, inspected.digest)
    known = bytes.fromhex(inspected.digest.removeprefix("b1:"))
    return Made(task.source, None, inspected.digest, part, known, kept=True)


def _kept_raster(task: Task) -> Made | None:
    """A source that already is the wanted COG, described by what was read of it when it was inspected, or now.

    Its bytes are proven to be those that were inspected when they are stored.
    """
    from catalog.raster_facts import RasterFacts

    inspected = task.asset.inspection
    if inspected.bytes_digest is None or task.target_crs is not None or task.layer.resolution is not None:
        return None
    if inspected.facts is not None:
        facts = RasterFacts.from_json(task.source, inspected.facts)
    elif (found := _facts(task)) is not None:
        facts = found
    else:
        return None
    part = raster_part_of(task.asset, facts, inspected.digest, source=facts)
    return Made(task.source, ".tif", inspected.digest, part, inspected.bytes_digest, kept=True)


def _facts(task: Task) -> RasterFacts | None:
    """The facts of a source that is the wanted COG."""
    from catalog.raster_facts import raster_facts
    from catalog.rasters import open_raster
    from ingest.cog import CogProfile, is_wanted

    with open_raster(task.source, crs=task.layer.source_crs) as raster:
        wanted = is_wanted(raster, CogProfile(**task.layer.cog.model_dump()))
        return raster_facts(raster, cog=True) if wanted else None


def _raster(task: Task) -> Made:
    from ingest.cog import CogProfile, to_cog

    layer = task.layer
    task.folder.mkdir(parents=True, exist_ok=True)
    result = to_cog(
        task.source,
        task.folder / f"{task.source.stem}.tif",
        profile=CogProfile(**layer.cog.model_dump()),
        crs=layer.source_crs,
        target_crs=task.target_crs,
        resolution=layer.resolution,
        resampling=layer.resampling,
    )
    return Made(result.path, None, result.digest, part_of(task.asset, result.path, result.digest), kept=result.kept)


def _labels(task: Task) -> Made:
    from ingest.labels import to_labels

    layer = task.layer
    task.folder.mkdir(parents=True, exist_ok=True)
    result = to_labels(
        task.source,
        task.folder / f"{task.source.stem}.parquet",
        crs=None if task.again else layer.source_crs,
        target_crs=task.target_crs,
        precision=layer.precision,
        layer=None if task.again else layer.layer,
        parent=None if task.again else task.parent,
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
    return Made(result.path, None, result.digest, part_of(task.asset, result.path, result.digest, summary))
