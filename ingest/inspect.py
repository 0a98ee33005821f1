"""What a source is, before anything is made of it: its content digest, its CRS, the files that take part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.cache import DigestCache, fingerprint_of
from versioning.errors import NotFound, StorageUnavailable
from versioning.objects import hash_file

if TYPE_CHECKING:
    from catalog.rasters import Raster

__all__ = ["Inspection", "content_digest", "inspect_labels", "inspect_opaque", "inspect_raster"]

_SHAPEFILE = (".shp", ".shx", ".dbf", ".prj", ".cpg")
_GDAL = "tif tiff vrt asc xyz grib grib2 grb grb2 jp2 img dt0 dt1 dt2 nc raw bil bsq bip"
_RASTERS = frozenset(f".{suffix}" for suffix in _GDAL.split(" "))


@dataclass(frozen=True, slots=True)
class Inspection:
    """A source as it came.

    Attributes
    ----------
    fingerprint
        Digest over the bytes of all files that take part, and how they are read.
    digest
        Content digest: ``r1:``, ``v1:`` or ``b1:``.
    crs
        Authority code, or another text that names the CRS; None for opaque files.
    size
        Bytes of all files that take part.
    bands
        How many a raster has; None for anything else.
    bytes_digest
        The sha256 of the file itself, 32 bytes: whoever stores it as it is need not hash it again.
    others
        The files that take part beside the source: its mask, the parts of a Shapefile, what a VRT names.
    settled
        Whether the source's state was taken early enough to stand for its content, see `ingest.file_memory`.
    facts
        Of a raster that already is the COG its layer wants, if it was opened: `catalog.raster_facts.RasterFacts` as
        JSON, so that nobody has to open it again.
    """

    path: Path
    fingerprint: str
    digest: str
    crs: str | None
    size: int
    bands: int | None = None
    bytes_digest: bytes | None = None
    others: tuple[Path, ...] = ()
    settled: bool = False
    facts: bytes | None = None


def inspect_raster(
    path: Path, cache: DigestCache, *, crs: str | None = None, profile: Mapping[str, Any] | None = None
) -> Inspection:
    """Inspect a raster; its pixels are decoded only if its bytes are new.

    Where it already is the COG of a ``profile`` (the fields of `ingest.cog.CogProfile`), its facts are read too.
    """
    from catalog.raster_digest import raster_digest_of
    from catalog.rasters import open_raster

    opened = _state([path]) if path.is_file() else None
    with open_raster(path, crs=crs) as raster:
        files = raster.files
        before = _state(files)
        hashes = {file: hash_file(file) for file in files}
        key = fingerprint_of(hashes, "raster", crs)
        known = cache.get(key)
        digest = known or raster_digest_of(raster)
        facts = None if profile is None else _facts_of(raster, profile)
        _check_state(path, files, before)
        if opened != before[:1]:  # what is open is not what was hashed
            raise _changed(path)
        if known is None:
            cache.put(key, digest)
        return Inspection(
            path,
            key,
            digest,
            _crs_name(raster),
            _size(before),
            raster.dataset.count,
            hashes[files[0]],
            files[1:],
            facts=facts,
        )


def _facts_of(raster: Raster, profile: Mapping[str, Any]) -> bytes | None:
    from catalog.raster_facts import raster_facts
    from ingest.cog import CogProfile, is_wanted

    return raster_facts(raster, cog=True).to_json() if is_wanted(raster, CogProfile(**profile)) else None


def inspect_labels(
    path: Path, cache: DigestCache, *, crs: str | None = None, layer: str | None = None, precision: float | None = None
) -> Inspection:
    """Inspect a vector file."""
    from catalog.vector_digest import vector_digest
    from catalog.vectors import open_vectors

    files = [path]
    if path.suffix.lower() == ".shp":
        # No glob: the brackets of "roads[1].shp" would match other files than its own, or none.
        beside = (each for each in path.parent.iterdir() if each.stem == path.stem)
        files = sorted(each for each in beside if each.suffix.lower() in _SHAPEFILE)
    before = _state(files)
    hashes = {file: hash_file(file) for file in files}
    key = fingerprint_of(hashes, "labels", crs, layer, None if precision is None else repr(precision))
    source = open_vectors(path, crs=crs, layer=layer)
    digest = cache.get(key)
    if digest is None:
        digest = vector_digest(path, crs=crs, layer=layer, precision=precision)
        _check_state(path, files, before)
        cache.put(key, digest)
    others = tuple(file for file in files if file != path)
    return Inspection(path, key, digest, source.crs.name, _size(before), bytes_digest=hashes[path], others=others)


def inspect_opaque(path: Path) -> Inspection:
    """Inspect a file that is kept as it is: its content is its bytes."""
    before = _state([path])
    digest = hash_file(path)
    _check_state(path, [path], before)
    name = digest.hex()
    return Inspection(path, name, f"b1:{name}", None, _size(before), bytes_digest=digest)


def content_digest(
    path: Path, cache: DigestCache, *, crs: str | None = None, layer: str | None = None, precision: float | None = None
) -> str:
    """The content digest of any file: vectors and rasters by their suffix, everything else by its bytes.

    Raises
    ------
    NotFound
        If there is no such file.
    StorageUnavailable
        If it is written to meanwhile.
    InvalidInput
        If a file with the suffix of a raster or of vectors is neither.
    """
    from catalog.vectors import SUFFIXES

    if not path.is_file():
        raise NotFound(f"{path} does not exist, or is not a file.", hint="Check the path.")
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return inspect_labels(path, cache, crs=crs, layer=layer, precision=precision).digest
    if suffix in _RASTERS:
        return inspect_raster(path, cache, crs=crs).digest
    return inspect_opaque(path).digest


def _state(files: Sequence[Path]) -> list[tuple[int, int]]:
    return [(status.st_size, status.st_mtime_ns) for status in (file.stat() for file in files)]


def _check_state(path: Path, files: Sequence[Path], before: list[tuple[int, int]]) -> None:
    """Refuse a file that was written to: its digest would be remembered for bytes that it is not of, for ever."""
    if _state(files) != before:
        raise _changed(path)


def _changed(path: Path) -> StorageUnavailable:
    return StorageUnavailable(f"{path} changed while it was read.", hint="Run again when nothing writes to it.")


def _crs_name(raster: Raster) -> str:
    """The CRS as people write it; a raster that is placed by RPCs alone is placed on WGS 84."""
    if raster.crs is None:
        return "EPSG:4326"
    return raster.identity if isinstance(raster.identity, str) else raster.crs.to_wkt()


def _size(state: Sequence[tuple[int, int]]) -> int:
    return sum(size for size, _ in state)
