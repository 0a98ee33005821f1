"""Whether this installation is as it should be: versions of libraries, extras, GDAL's data, the cache folder."""

from __future__ import annotations

import os
import platform
import re
import tempfile
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path

from versioning.health_check import Check

__all__ = ["environment_checks"]

_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)[^;]*;.*\bextra\s*==\s*['\"]([a-z0-9-]+)['\"]")
_OVERRIDES = ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH")


def environment_checks() -> Iterator[Check]:
    """Check this Python, the extras of the distribution, GDAL and PROJ, and the cache folder."""
    from stacpin import __version__

    core = ", ".join(f"{name} {_version(name)}" for name in ("obstore", "pyarrow", "pydantic"))
    yield Check("stacpin", "ok", f"{__version__}, Python {platform.python_version()}, {core}")
    yield from _extras()
    yield from _gdal()
    yield _cache()


def _extras() -> Iterator[Check]:
    try:
        needed = metadata.requires("stacpin") or []
    except metadata.PackageNotFoundError:
        yield Check("extras", "unknown", "stacpin is not installed as a distribution", "pip install stacpin")
        return
    extras: dict[str, list[str]] = {}
    for line in needed:
        if (found := _REQUIREMENT.match(line)) and found[1] != "stacpin":
            extras.setdefault(found[2], []).append(found[1])
    extras.pop("all", None)
    for extra, names in sorted(extras.items()):
        missing = [name for name in names if not _version(name)]
        if missing:
            hint = f"Install it if you need it: pip install 'stacpin[{extra}]'"
            yield Check(f"extra {extra}", "advice", f"not installed: {', '.join(missing)}", hint)
        else:
            yield Check(f"extra {extra}", "ok", ", ".join(f"{name} {_version(name)}" for name in names))


def _gdal() -> Iterator[Check]:
    """Whether GDAL and PROJ find their own data: another installation's, by a variable, breaks them in odd ways."""
    if util.find_spec("rasterio") is None:
        yield Check("GDAL", "unknown", "rasterio is not installed", "pip install 'stacpin[ingest]'")
        return
    set_here = [name for name in _OVERRIDES if os.environ.get(name)]
    hint = f"Unset {' and '.join(set_here)}: rasterio and pyproj bring their own data." if set_here else None
    try:
        import pyproj
        import rasterio
        from rasterio.crs import CRS

        versions = f"GDAL {rasterio.__gdal_version__}, PROJ {rasterio.__proj_version__} and {pyproj.proj_version_str}"
        CRS.from_epsg(32618).to_wkt()
        pyproj.CRS.from_epsg(32618)
    except Exception as error:  # noqa: BLE001 - whatever a broken installation raises is the finding
        said = " ".join(str(error).split())[:200]
        hint = hint or "Install it anew: pip install --force-reinstall rasterio pyproj"
        yield Check("GDAL", "error", f"rasterio or PROJ does not work ({type(error).__name__}: {said})", hint)
        return
    if set_here:
        yield Check("GDAL", "warning", f"{versions}; {', '.join(set_here)} point elsewhere", hint)
    else:
        yield Check("GDAL", "ok", versions)


def _cache() -> Check:
    given = os.environ.get("STACPIN_CACHE")
    if given:
        folder = Path(given)
    elif util.find_spec("platformdirs") is None:
        return Check("cache folder", "unknown", "platformdirs is not installed", "pip install 'stacpin[ingest]'")
    else:
        from platformdirs import user_cache_path

        folder = user_cache_path("stacpin")
    there = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        said = f"{folder} cannot be written to ({error.strerror}): nothing is remembered, everything is read again"
        return Check("cache folder", "warning", said, "Set STACPIN_CACHE to a folder of yours.")
    return Check("cache folder", "ok", str(folder))


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
