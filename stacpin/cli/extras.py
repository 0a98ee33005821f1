"""Which extra of the distribution brings a library that is not installed."""

from __future__ import annotations

from versioning.errors import InvalidInput

__all__ = ["missing_extra"]

_EXTRAS = {
    "attr": "api",
    "brotli_asgi": "api",
    "fastapi": "api",
    "stac_fastapi": "api",
    "stac_pydantic": "api",
    "starlette": "api",
    "uvicorn": "api",
    "asyncpg": "service",
    "joserfc": "service",
    "limits": "service",
    "mapbox_vector_tile": "service",
    "prometheus_client": "service",
    "psycopg": "service",
    "psycopg_pool": "service",
    "pypgstac": "service",
    "titiler": "service",
    "opentelemetry": "otel",
    "geopandas": "ingest",
    "platformdirs": "ingest",
    "pyogrio": "ingest",
    "rasterio": "ingest",
    "rio_cogeo": "ingest",
    "yaml": "ingest",
    "odc": "xarray",
    "xarray": "xarray",
    "boto3": "s3",
}


def missing_extra(error: ImportError, command: str) -> InvalidInput | None:
    """What to say when a command cannot import what it needs; None if no extra would bring it."""
    name = (error.name or "").partition(".")[0]
    extra = _EXTRAS.get(name)
    if extra is None:
        return None
    return InvalidInput(
        f"stacpin {command} needs {name}: {error}.",
        hint=f"Install it: pip install 'stacpin[{extra}]'",
        kind="missing-extra",
    )
