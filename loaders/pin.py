"""A pin: one version of one dataset, open for reading, that never changes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loaders.assets import Asset
from loaders.bring import Link
from loaders.lock import LockEntry
from loaders.notebook import pin_html, size_text
from loaders.pull import PullReport, pull
from loaders.rowdiff import diff_sources
from loaders.source import PinFacts, PinSource
from versioning.diff import VersionDiff
from versioning.errors import Integrity, NotFound
from versioning.events import Listener, silent
from versioning.rows import AssetRef, Row
from versioning.verify import VerifyReport

if TYPE_CHECKING:
    import pystac
    import xarray

    from catalog.query import Query
    from catalog.query_time import TimeLike
    from loaders.folder_check import FolderReport

__all__ = ["Pin"]

_DRAWN = 200


class Pin:
    """One version of a dataset, read from its catalog or from a STAC API. Get one from :func:`stacpin.open`.

    Searches take what STAC takes: ``ids``, ``bbox`` (west, south, east, north in degrees), ``datetime`` (an instant, a
    date, ``start/end``), ``intersects`` (a GeoJSON geometry) and ``filter`` (CQL2, text or JSON). ``items`` and
    ``assets`` take ``q`` too: terms of which any stands in an item's title, description or keywords.
    """

    def __init__(self, source: PinSource, *, asked: str | None = None) -> None:
        self.source = source
        self.asked = asked or source.facts.pin

    def __repr__(self) -> str:
        facts, statistics = self.facts, self.facts.statistics
        asked = "" if self.asked == self.pin else f", asked for as {self.asked}"
        return (
            f"Pin({self.pin}{asked}, {self.digest[:19]}…, {statistics.items:,} items, {statistics.assets:,} assets, "
            f"{size_text(statistics.bytes)}, {facts.time[:10]}, from {self.source.url})"
        )

    def _repr_html_(self) -> str:
        return pin_html(self.facts, url=self.source.url, asked=self.asked, boxes=self.source.boxes(_DRAWN))

    # -- what it is

    @property
    def facts(self) -> PinFacts:
        """What the version says of itself: parent, time, author, message, declared metadata, statistics."""
        return self.source.facts

    @property
    def pin(self) -> str:
        """The canonical pin, ``landcover@v3``, whatever was asked for."""
        return self.facts.pin

    @property
    def dataset(self) -> str:
        """The dataset's id."""
        return self.facts.dataset

    @property
    def number(self) -> int:
        """The version's number."""
        return self.facts.number

    @property
    def digest(self) -> str:
        """What proves the bytes, ``sha256:…``: equal digests, equal data, on any machine."""
        return self.facts.digest

    def lock(self) -> LockEntry:
        """The pin as an entry of a lock file."""
        return LockEntry(self.pin, self.digest, self.source.url)

    def lineage(self) -> dict[str, Any]:
        """What MLflow or W&B should record of the data that a run used: plain JSON, enough to open it again."""
        facts = self.facts
        return {
            "pin": self.pin,
            "asked": self.asked,
            "dataset": facts.dataset,
            "version": facts.number,
            "collection": facts.collection_id,
            "digest": facts.digest,
            "content_digest": facts.content_digest,
            "catalog": self.source.url,
            "catalog_id": facts.catalog_id,
            "committed": facts.time,
            "author": facts.author,
            "message": facts.message,
            "items": facts.statistics.items,
            "assets": facts.statistics.assets,
            "bytes": facts.statistics.bytes,
            "written_by": dict(facts.software),
            "read_by": _software(),
        }

    # -- what it holds

    def items(
        self,
        *,
        ids: str | Sequence[str] | None = None,
        bbox: str | Sequence[object] | None = None,
        datetime: TimeLike | Sequence[TimeLike] = None,
        intersects: str | Mapping[str, Any] | None = None,
        filter: str | bool | Mapping[str, Any] | None = None,  # noqa: A002 - STAC's own name for it
        q: str | Sequence[str] | None = None,
    ) -> Iterator[pystac.Item]:
        """The items, in the order of their ids, with asset hrefs that can be opened.

        Raises
        ------
        InvalidInput
            If the search cannot be understood.
        Integrity
            If what the source gives is not what the digest proves.
        NotFound
            If the version has no item with one of the ``ids``, wherever it is.
        """
        query = _query(ids=ids, bbox=bbox, datetime=datetime, intersects=intersects, filter=filter, q=q)
        self._check(query)
        return (self._item(row) for row in self.source.rows(query))

    def item(self, item_id: str) -> pystac.Item:
        """One item.

        Raises
        ------
        NotFound
            If the version has no such item.
        """
        for row in self.source.rows(_query(ids=[item_id])):
            return self._item(row)
        raise NotFound(f"{self.pin} has no item {item_id!r}.", hint="See: pin.items()", kind="no-such-item")

    def assets(
        self,
        *,
        asset: str | Iterable[str] | None = None,
        ids: str | Sequence[str] | None = None,
        bbox: str | Sequence[object] | None = None,
        datetime: TimeLike | Sequence[TimeLike] = None,
        intersects: str | Mapping[str, Any] | None = None,
        filter: str | bool | Mapping[str, Any] | None = None,  # noqa: A002 - STAC's own name for it
        q: str | Sequence[str] | None = None,
    ) -> list[Asset]:
        """The exact asset set: every asset of every item that the search finds, or those with some keys.

        Raises
        ------
        NotFound
            If the version has no item with one of the ``ids``, or none of its items has one of the assets.
        """
        query = _query(ids=ids, bbox=bbox, datetime=datetime, intersects=intersects, filter=filter, q=q)
        keys = _keys(asset)
        self._check(query, keys)
        return [
            self._asset(row.id, each)
            for row in self.source.rows(query)
            for each in row.assets
            if keys is None or each.key in keys
        ]

    def read(self, asset: Asset) -> bytes:
        """The bytes of one asset, proven.

        Raises
        ------
        Integrity
            If they are missing, or not those of its checksum.
        """
        from loaders.pull import proven_blocks

        ref = AssetRef(asset.key, asset.stored, bytes.fromhex(asset.sha256), asset.size)
        return b"".join(proven_blocks(self.source, ref, f"{asset.item}/{asset.key}"))

    # -- what to do with it

    def pull(
        self,
        dest: str | os.PathLike[str],
        *,
        asset: str | Iterable[str] | None = None,
        ids: str | Sequence[str] | None = None,
        bbox: str | Sequence[object] | None = None,
        datetime: TimeLike | Sequence[TimeLike] = None,
        intersects: str | Mapping[str, Any] | None = None,
        filter: str | bool | Mapping[str, Any] | None = None,  # noqa: A002 - STAC's own name for it
        workers: int = 8,
        link: Link = "auto",
        on_event: Listener = silent,
    ) -> PullReport:
        """Bring the files into a folder, every byte proven; see :func:`loaders.pull.pull`.

        Raises
        ------
        NotFound
            If the version has no item with one of the ``ids``, or none of its items has one of the assets; nothing is
            written then.
        """
        query = _query(ids=ids, bbox=bbox, datetime=datetime, intersects=intersects, filter=filter)
        keys = _keys(asset)
        self._check(query, keys)
        return pull(self.source, dest, query, asset=keys, workers=workers, link=link, on_event=on_event)

    def verify(
        self, dest: str | os.PathLike[str] | None = None, *, on_event: Listener = silent
    ) -> VerifyReport | FolderReport:
        """Prove every byte of the version where it lies, or of a folder that it was pulled into.

        Raises
        ------
        Integrity
            If the folder holds another version.
        """
        if dest is None:
            return self.source.verify(on_event=on_event)
        from loaders.folder_check import verify_folder

        report = verify_folder(dest, on_event=on_event)
        if (report.pin, report.digest) != (self.pin, self.digest):
            raise Integrity(
                f"{dest} holds {report.pin} ({report.digest}), not {self.pin} ({self.digest}).",
                hint=f"Pull it: stacpin pull {self.pin} {dest}",
            )
        return report

    def diff(self, other: Pin | str) -> VersionDiff:
        """What changed between two versions, from the older to the newer; a text is a pin from the same place."""
        source = other.source if isinstance(other, Pin) else self.source.at(other)
        same = source.facts.dataset == self.facts.dataset
        older_first = source.facts.number <= self.facts.number if same else True
        return diff_sources(source, self.source) if older_first else diff_sources(self.source, source)

    def to_xarray(
        self,
        bands: str | Sequence[str] | None = None,
        *,
        resolution: float | None = None,
        crs: str | int | None = None,
        bbox: Sequence[float] | None = None,
        datetime: TimeLike | Sequence[TimeLike] = None,
        ids: str | Sequence[str] | None = None,
        filter: str | bool | Mapping[str, Any] | None = None,  # noqa: A002 - STAC's own name for it
        chunks: Mapping[str, int] | None = None,
        **options: Any,
    ) -> xarray.Dataset:
        """The pin as an xarray Dataset with dimensions time, y, x, through ``odc.stac.load``.

        Before anything is read, every object that may be is checked to be there in its full size. A windowed read
        proves no more than that; :meth:`verify` and :meth:`pull` prove every byte.

        Parameters
        ----------
        bands
            Names of assets, of bands (``red``, also by their common name), or both (``naip.red``, ``naip.1``); the
            variables are called so. An asset with several bands is loaded as one variable a band, called as the bands
            are. None is every raster asset. Items without any of them are left out.
        resolution, crs
            Of the result, in units of the CRS; None takes them from the items.
        bbox, datetime, ids, filter
            Which items; ``bbox`` also cuts the result.
        chunks
            Dask chunks for a lazy result, ``{}`` for one chunk a time step; None loads at once.
        **options
            Anything else of ``odc.stac.load``: ``groupby``, ``resampling``, ``geobox``, ``like``, …

        Raises
        ------
        InvalidInput
            If there is nothing to load, or the arguments do not fit.
        NotFound
            If the version has no item with one of the ``ids``.
        Integrity
            If an object is missing or has another size.
        """
        from loaders import cubes

        query = _query(ids=ids, bbox=bbox, datetime=datetime, filter=filter)
        self._check(query)
        rows = list(self.source.rows(query))
        items = [self._item(row) for row in rows]
        wanted = {"resolution": resolution, "crs": crs, "bbox": None if bbox is None else tuple(bbox), "chunks": chunks}
        given = {key: value for key, value in wanted.items() if value is not None}
        return cubes.load(self.source, rows, items, bands=bands, options={**given, **options})

    # -- helpers

    def _check(self, query: Query, keys: frozenset[str] | None = None) -> None:
        from loaders.asked import check_assets, check_ids

        check_ids(self.source, query.ids)
        check_assets(self.source, keys, query)

    def _asset(self, item_id: str, ref: AssetRef) -> Asset:
        return Asset(item_id, ref.key, self.source.href(ref.href), ref.href, ref.sha256.hex(), ref.size)

    def _item(self, row: Row) -> pystac.Item:
        import pystac

        item = row.parse()
        for asset in item["assets"].values():
            asset["href"] = self.source.href(asset["href"])
        return pystac.Item.from_dict(item | {"links": [], "collection": self.facts.collection_id}, preserve_dict=False)


def _query(**search: Any) -> Query:
    from catalog.query import Query

    return Query.parse(**search)


def _keys(asset: str | Iterable[str] | None) -> frozenset[str] | None:
    if asset is None:
        return None
    return frozenset([asset] if isinstance(asset, str) else asset)


def _software() -> dict[str, str]:
    """The versions of what reads, as far as they are installed: they decide what the pixels look like after a warp."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("stacpin", "odc-stac", "rasterio", "xarray"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
