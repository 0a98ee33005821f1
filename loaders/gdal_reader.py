"""odc-stac's reader of rasters with our GDAL settings; importing it needs odc-stac."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from odc.loader import RioDriver

__all__ = ["SettledDriver"]


class SettledDriver(RioDriver):
    """Reads with rasterio under stated settings, in this process or another.

    odc-stac carries the settings of the calling thread to its workers, but leaves out which S3 endpoint to ask; what
    ``rasterio.Env`` or ``odc.stac.configure_rio`` say stands above ours.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self._settings = dict(settings)

    def capture_env(self) -> dict[str, Any]:
        """The settings for the workers."""
        return {**self._settings, **super().capture_env()}
