"""Which rasters a name means: an asset, a band of one, or a band's common name; the same in every item, or an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from versioning.errors import InvalidInput

if TYPE_CHECKING:
    import pystac

__all__ = ["BandKey", "Loadable", "choose"]

BandKey = tuple[str, int]
"""An asset's key, and the number of a band in it, from 1."""

_LISTED = 40


@dataclass(frozen=True, slots=True)
class Loadable:
    """The rasters of one item: of each asset, the names of each of its bands; an empty set for a band without any.

    A band's first name is what its variable is called.
    """

    item: str
    assets: Mapping[str, tuple[tuple[str, ...], ...]]

    @classmethod
    def of(cls, item: pystac.Item, bands: Iterable[BandKey]) -> Loadable:
        """Of the bands that odc-stac sees in an item."""
        counts: dict[str, int] = {}
        for key, number in bands:
            if key in item.assets:
                counts[key] = max(counts.get(key, 0), number)
        return cls(item.id, {key: _names(item.assets[key].extra_fields, count) for key, count in counts.items()})

    def find(self, name: str) -> BandKey | None:
        """The band that has a name, in the asset with the fewest bands, as odc-stac chooses too."""
        found = [
            (len(bands), key, number)
            for key, bands in self.assets.items()
            for number, names in enumerate(bands, start=1)
            if name in names
        ]
        return min(found)[1:] if found else None

    def within(self, name: str) -> BandKey | None:
        """The band that ``asset.3`` or ``asset.red`` means."""
        key, _, band = name.rpartition(".")
        bands = self.assets.get(key, ())
        for number, names in enumerate(bands, start=1):
            if band == str(number) or band in names:
                return key, number
        return None


def choose(
    loadable: Sequence[Loadable], asked: Sequence[str] | None, *, known: Iterable[str] = ()
) -> dict[str, BandKey]:
    """The variables to load: name -> asset and band.

    A name is an asset's key, else a band's name or common name, else ``asset.3`` or ``asset.red``. The key of an asset
    with several bands stands for all of them; their variables have the names of the bands, or ``asset.3`` where a band
    has none or another variable has it.

    Parameters
    ----------
    loadable
        The rasters of each item.
    asked
        The names; None is every asset.
    known
        Other names that odc-stac knows, which are left to it.

    Raises
    ------
    InvalidInput
        If no item has what is asked for, or it is one band here and another there: the variable would hold both.
    """
    keys = {key: each for each in loadable for key in each.assets}
    others = frozenset(known)
    chosen: dict[str, BandKey] = {}
    for name in sorted(keys) if asked is None else asked:
        if name in keys:
            chosen.update(_all_of(name, loadable, keys, chosen))
        elif name not in others:
            chosen[name] = _one(name, loadable)
    return chosen


def _all_of(
    key: str, loadable: Sequence[Loadable], keys: Mapping[str, Loadable], chosen: Mapping[str, BandKey]
) -> list[tuple[str, BandKey]]:
    first = keys[key]
    bands = first.assets[key]
    for each in loadable:
        if len(each.assets.get(key, bands)) != len(bands):
            raise InvalidInput(
                f"{key!r} has {len(each.assets[key])} bands in {each.item} and {len(bands)} in {first.item}.",
                hint=f"Name the bands, {key}.1 for the first, or load the items apart (ids=…).",
            )
    if len(bands) == 1:
        return [(key, (key, 1))]
    made: list[tuple[str, BandKey]] = []
    firsts = [names[0] if names else None for names in bands]
    for number, name in enumerate(firsts, start=1):
        band = (key, number)
        # A name is only used if it means this band in every item, and nothing else that can be asked for.
        means = {found for each in loadable if key in each.assets and name for found in [each.find(name)]}
        free = name is not None and name not in keys and firsts.count(name) == 1 and chosen.get(name, band) == band
        made.append((name if name is not None and free and means == {band} else f"{key}.{number}", band))
    return made


def _one(name: str, loadable: Sequence[Loadable]) -> BandKey:
    for found in ([(each, each.find(name)) for each in loadable], [(each, each.within(name)) for each in loadable]):
        meant = {band: each.item for each, band in found if band is not None}
        if len(meant) > 1:
            (one, here), (other, there) = sorted(meant.items())[:2]
            raise InvalidInput(
                f"{name!r} is {one[0]}.{one[1]} in {here} and {other[0]}.{other[1]} in {there}.",
                hint="Name the assets, or load the items apart (ids=…).",
            )
        for band, where in meant.items():
            _refuse_others(name, band, where, [each for each, same in found if same is None])
            return band
    raise InvalidInput(f"No band or asset is called {name!r}.", hint=f"What can be loaded: {_listed(loadable)}.")


def _refuse_others(name: str, band: BandKey, where: str, without: Iterable[Loadable]) -> None:
    """Refuse items that have the asset, but not such a band: another would be read in its place."""
    key, number = band
    for each in without:
        if key in each.assets:
            raise InvalidInput(
                f"{name!r} is band {number} of {key!r} in {where}, and no band of it in {each.item}.",
                hint="Load the items apart (ids=…).",
            )


def _listed(loadable: Iterable[Loadable]) -> str:
    """The names that mean something: assets, and the bands of those that have several."""
    names: dict[str, None] = {}
    for each in loadable:
        for key, bands in sorted(each.assets.items()):
            names[key] = None
            if len(bands) > 1:
                names |= {next(iter(own), f"{key}.{number}"): None for number, own in enumerate(bands, start=1)}
            else:
                names |= {name: None for own in bands for name in own}
    listed = list(names)
    more = f", and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return (", ".join(listed[:_LISTED]) or "nothing, there is no raster") + more


def _names(fields: Mapping[str, Any], count: int) -> tuple[tuple[str, ...], ...]:
    """Of each band, its name and its common name; STAC 1.1 has them in ``bands``, older items in ``eo:bands``."""
    given = fields.get("bands") or fields.get("eo:bands") or []
    found: list[tuple[str, ...]] = []
    for number in range(count):
        band = given[number] if number < len(given) and isinstance(given[number], Mapping) else {}
        own = (band.get(field) for field in ("name", "eo:common_name", "common_name"))
        found.append(tuple(dict.fromkeys(name for name in own if isinstance(name, str) and name)))
    return tuple(found)
