"""Whether a version has what was asked for by name: a misspelt id or key must not look like an empty answer."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from catalog.query import Query
from loaders.source import PinSource
from versioning.errors import NotFound

__all__ = ["check_assets", "check_ids"]

_LISTED = 20


def check_ids(source: PinSource, ids: Collection[str] | None) -> None:
    """Refuse ids that no item of the version has, wherever and whenever it is.

    Raises
    ------
    NotFound
        With all of them.
    """
    if not ids:
        return
    missing = set(ids) - {row.id for row in source.rows(Query(ids=tuple(sorted(set(ids)))))}
    if missing:
        pin = source.facts.pin
        raise NotFound(
            f"{pin} has no item {_listed(missing)}.", hint=f"List them: stacpin search {pin}", kind="no-such-item"
        )


def check_assets(source: PinSource, keys: Collection[str] | None, query: Query) -> None:
    """Refuse keys that no asset of the version has; that none of the items in a query has such an asset is no error.

    Raises
    ------
    NotFound
        With all of them.
    """
    if not keys:
        return
    missing, known = set(keys), set[str]()
    if query.narrows:
        # From an API this is a page, the whole version may be a thousand; most keys are found here.
        _strike(missing, known, (asset.key for row in source.rows(query) for asset in row.assets))
    if missing:
        _strike(missing, known, source.asset_keys())
    if missing:
        near = difflib.get_close_matches(min(missing), sorted(known), n=1, cutoff=0.4)
        guess = f"Did you mean {near[0]}? " if near else ""
        raise NotFound(
            f"No item of {source.facts.pin} has an asset {_listed(missing)}.",
            hint=f"{guess}Its assets: {_listed(known, quoted=False) or 'none'}.",
            kind="no-such-asset",
        )


def _strike(missing: set[str], known: set[str], found: Iterable[str]) -> None:
    for key in found:
        if key not in known:
            known.add(key)
            missing.discard(key)
            if not missing:
                return


def _listed(names: Collection[str], *, quoted: bool = True) -> str:
    shown = [repr(name) if quoted else name for name in sorted(names)[:_LISTED]]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(shown) + more
