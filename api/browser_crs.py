"""The CRSs that STAC Browser cannot know by itself, as the WKT 1 that it reads: it would ask epsg.io for them."""

from __future__ import annotations

import re
from functools import lru_cache

from api.backend import Backend
from versioning.errors import StacpinError
from versioning.version import Version

__all__ = ["BrowserCrs"]

_CODE = re.compile(r"(?P<authority>[A-Z][A-Za-z0-9_]{0,19}):(?P<number>[A-Za-z0-9_.]{1,30})", re.ASCII)
# OpenLayers has these itself: WGS 84, web Mercator, and UTM on WGS 84.
_BUILT_IN = re.compile(r"EPSG:(?:4326|3857|32[67](?:0[1-9]|[1-5]\d|60))", re.ASCII)


class BrowserCrs:
    """The CRSs of every dataset's latest version, as their records sum them up. A version is read once."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._known: dict[str, tuple[int, list[str]]] = {}

    def definitions(self) -> dict[str, str]:
        """WKT 1 by code, for STAC Browser's option ``crs``. What PROJ does not know, or WKT 1 cannot say, is left out.

        A dataset that cannot be read is left out too: its own pages say why, and the others can still be drawn.
        """
        found: dict[str, str] = {}
        for dataset_id in self._backend.dataset_ids():
            try:
                codes = self._codes(dataset_id)
            except StacpinError:
                continue
            found |= {code: wkt for code in codes if (wkt := _wkt1(code)) is not None}
        return dict(sorted(found.items()))

    def _codes(self, dataset_id: str) -> list[str]:
        latest = self._backend.dataset(dataset_id).latest_number()
        number, codes = self._known.get(dataset_id, (0, []))
        if latest != number:
            codes = _summed_up(self._backend.resolve(dataset_id, f"v{latest}"))
            self._known[dataset_id] = (latest, codes)
        return codes


def _summed_up(version: Version) -> list[str]:
    codes = version.record.summaries.get("proj:code")
    return [code for code in codes if isinstance(code, str)] if isinstance(codes, list) else []


@lru_cache(maxsize=256)
def _wkt1(code: str) -> str | None:
    # By authority and number only: any other text that PROJ takes could name a file.
    match = _CODE.fullmatch(code)
    if match is None or _BUILT_IN.fullmatch(code):
        return None
    import pyproj
    from pyproj.exceptions import CRSError

    try:
        return pyproj.CRS.from_authority(match["authority"], match["number"]).to_wkt("WKT1_GDAL")
    except CRSError:
        return None
