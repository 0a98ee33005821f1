"""odc-stac with our GDAL settings and with bands chosen over all items; importing it needs odc-stac."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from odc.loader import RioDriver
from odc.loader.types import RasterGroupMetadata
from odc.stac._mdtools import StacAuxReader, StacMDParser

from loaders.bands import BandKey, Loadable, choose

if TYPE_CHECKING:
    import pystac

__all__ = ["ChosenBands", "SettledDriver"]


class ChosenBands:
    """Tells odc-stac of every item the same: the bands of all of them, and which of those the names mean.

    By itself odc-stac takes the bands from the first item alone, and knows the names of bands only from STAC 1.0.

    Parameters
    ----------
    items
        The items.
    asked
        The names of bands and assets; None for all.
    config
        The user's ``stac_cfg``.
    """

    def __init__(self, items: Sequence[pystac.Item], asked: Sequence[str] | None, config: Mapping[str, Any]) -> None:
        self._parser = StacMDParser(dict(config))
        found = [self._parser.extract(item) for item in items]
        merged = found[0]
        for each in found[1:]:
            merged = merged.merge(each)
        loadable = [Loadable.of(item, each.bands) for item, each in zip(items, found, strict=True)]
        self.variables: dict[str, BandKey] = choose(loadable, asked, known=merged.aliases)
        own = [name for name in asked or () if name in merged.aliases and name not in self.variables]
        self.names = list(dict.fromkeys([*self.variables, *own]))
        self.assets = frozenset(key for key, _ in self.variables.values()) | {
            merged.aliases[name][0][0] for name in own
        }
        aliases = {**merged.aliases, **{name: [band] for name, band in self.variables.items()}}
        bands = {
            band: merged.bands[band] for band in merged.bands if band[0] in self.assets or band[0] not in _keys(items)
        }
        self._all = RasterGroupMetadata(bands, aliases, merged.extra_dims, merged.extra_coords)

    def extract(self, md: Any) -> RasterGroupMetadata:  # noqa: ARG002 - odc-stac's protocol; the same for every item
        """What odc-stac asks of each item."""
        return self._all

    def driver_data(self, md: Any, band_key: BandKey) -> Any:
        """What odc-stac asks of each band: the value of a property that is loaded as one."""
        return self._parser.driver_data(md, band_key)


class SettledDriver(RioDriver):
    """Reads with rasterio under stated settings, in this process or another.

    odc-stac carries the settings of the calling thread to its workers, but leaves out which S3 endpoint to ask; what
    ``rasterio.Env`` or ``odc.stac.configure_rio`` say stands above ours.
    """

    def __init__(self, settings: Mapping[str, Any], bands: ChosenBands) -> None:
        super().__init__(md_parser=bands, aux_reader=StacAuxReader())
        self._settings = dict(settings)

    def capture_env(self) -> dict[str, Any]:
        """The settings for the workers."""
        return {**self._settings, **super().capture_env()}


def _keys(items: Sequence[pystac.Item]) -> frozenset[str]:
    return frozenset(key for item in items for key in item.assets)
