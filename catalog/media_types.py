"""Media types of files, the same on every machine: Python's own table reads the machine's files."""

from __future__ import annotations

from pathlib import Path

__all__ = ["COG", "GEOTIFF", "PARQUET", "media_type_of"]

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
GEOTIFF = "image/tiff; application=geotiff"
PARQUET = "application/vnd.apache.parquet"

_MEDIA_TYPES = {
    ".csv": "text/csv",
    ".fgb": "application/vnd.flatgeobuf",
    ".geojson": "application/geo+json",
    ".gpkg": "application/geopackage+sqlite3",
    ".h5": "application/x-hdf5",
    ".hdf": "application/x-hdf",
    ".html": "text/html",
    ".jp2": "image/jp2",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".laz": "application/vnd.laszip",
    ".nc": "application/netcdf",
    ".parquet": PARQUET,
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".txt": "text/plain",
    ".xml": "application/xml",
    ".zip": "application/zip",
}
_BYTES = "application/octet-stream"


def media_type_of(path: Path) -> str:
    """The media type that a file's suffix stands for."""
    return _MEDIA_TYPES.get(path.suffix.lower(), _BYTES)
