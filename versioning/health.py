"""Whether a catalog and the place where it lies are as they should be: what ``stacpin doctor`` checks of a catalog.

Each check answers for itself; one that fails does not stop the others. Checks that need to write use objects of their
own below ``staging/`` and remove them; who may not write hears that instead.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from typing import Literal

from versioning.capabilities import one_winner
from versioning.catalog import Catalog
from versioning.errors import Forbidden, Integrity, InvalidInput, NotFound, StacpinError
from versioning.events import Listener, silent
from versioning.health_check import Check
from versioning.health_local import local_checks
from versioning.records import FORMAT
from versioning.store import Store, open_store

__all__ = ["Check", "examine"]

_CLOCK_WARNING, _CLOCK_ERROR = 60, 900  # seconds; S3 refuses requests from 15 minutes on


def examine(url: str, *, objects: bool = False, on_event: Listener = silent) -> Iterator[Check]:
    """Check a catalog and its store.

    Parameters
    ----------
    url
        Where the catalog is.
    objects
        Whether the storage class of every object is looked at too: one request for a thousand objects.
    on_event
        Hears how far a listing of objects is.
    """
    try:
        store = open_store(url)
    except StacpinError as error:
        yield _failed("store", error)
        return
    found = yield from _catalog(store)
    if found == "unreachable":
        return
    # Where no catalog is, nothing is written.
    writable = found == "catalog" and (yield from _writing(store))
    if writable:
        yield from _guarded("clock", lambda: _clock(store))
    root = store.local_root
    if root is not None:
        yield from _guarded("local disk", lambda: local_checks(root, writable=writable))
    elif url.lower().startswith(("s3://", "s3a://")):
        from versioning.health_s3 import bucket_checks

        yield from _guarded("bucket", lambda: bucket_checks(store, objects=objects, on_event=on_event))
    elif url != "memory://":
        yield Check(
            "bucket",
            "unknown",
            "settings of buckets are looked at on S3 only",
            "See in your cloud's console that no lifecycle rule deletes objects below the catalog.",
        )


def _catalog(store: Store) -> Generator[Check, None, Literal["catalog", "none", "unreachable"]]:
    """Whether there is a catalog that this stacpin reads; returns what is there."""
    try:
        catalog = Catalog.open(store)
        datasets = catalog.dataset_ids()
        title = catalog.settings.title
    except NotFound as error:
        yield _failed("catalog", error)
        return "none" if error.kind == "no-such-catalog" else "unreachable"
    except StacpinError as error:
        yield _failed("catalog", error)
        return "none" if isinstance(error, (Integrity, InvalidInput)) else "unreachable"
    named = f" {title!r}" if title else ""
    count = f"{len(datasets)} dataset{'' if len(datasets) == 1 else 's'}"
    yield Check("catalog", "ok", f"{store.url}{named} has format {FORMAT} and {count}")
    return "catalog"


def _writing(store: Store) -> Generator[Check, None, bool]:
    """Whether creations are safe; returns whether the store may be written to at all."""
    name = "put-if-absent"
    try:
        race = one_winner(store)
    except StacpinError as error:
        if isinstance(error, Forbidden) and error.kind in {"forbidden", "read-only"}:
            said = f"this catalog can be read, not written: {error.message}"
            yield Check("writing", "warning", said, "Nothing to do if you only read. " + (error.hint or ""))
        else:
            yield _failed(name, error)
        return False
    if race.left is not None:
        said = f"what is written here cannot be deleted: {race.left.message}"
        way_out = "Nothing to do unless garbage is collected from here. " + (race.left.hint or "")
        yield Check("deleting", "warning", said, way_out.strip())
    if race.one_won:
        yield Check(name, "ok", "a second creation is refused, and of 8 writers at once one wins")
        return True
    said = "of several writers at once, not exactly one created an object: two could both make the same version"
    yield Check(name, "error", said, "Let one process write at a time, or use another store.")
    return True


def _clock(store: Store) -> Iterator[Check]:
    before = datetime.now(UTC)
    there = store.now()
    after = datetime.now(UTC)
    # A store may tell whole seconds only.
    off = max((before - there).total_seconds() - 1, (there - after).total_seconds(), 0)
    said = f"this computer's clock and the store's are {'less than 2' if off <= 1 else f'{off:.0f}'} s apart"
    if off < _CLOCK_WARNING:
        yield Check("clock", "ok", said)
        return
    yield Check(
        "clock",
        "warning" if off < _CLOCK_ERROR else "error",
        f"{said}: times in records and pins by date go by this one, garbage collection by the store's",
        "Set the clock (for example: timedatectl set-ntp true).",
    )


def _guarded(name: str, checks: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    try:
        yield from checks()
    except StacpinError as error:
        yield _failed(name, error)


def _failed(name: str, error: StacpinError) -> Check:
    return Check(name, "error", error.message, error.hint, 30 if isinstance(error, Integrity) else 60)
