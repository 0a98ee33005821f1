"""The way in: a catalog, a STAC API or a lock file, and a pin."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from loaders.catalog_source import catalog_source
from loaders.lock import LOCK_NAME, LockEntry, read_lock
from loaders.pin import Pin
from loaders.source import PinSource
from versioning.errors import Integrity, InvalidInput, NotFound
from versioning.pins import parse_pin

__all__ = ["open_pin"]


def open_pin(
    url: str | os.PathLike[str], pin: str | None = None, *, mirrors: Sequence[str | os.PathLike[str]] = ()
) -> Pin:
    """Open a pin.

    Parameters
    ----------
    url
        A catalog's path or URL (``s3://…``, ``gs://…``, ``az://…``), the URL of a stacpin STAC API (``http://…``), a
        lock file, or a folder with one.
    pin
        ``landcover@v3``, ``landcover@stable``, ``landcover@v2.1.4``, ``landcover@sha256:ab12…``,
        ``landcover@{2026-01-31}``, or ``landcover`` for its latest version: the Pin says which one that was. Of a lock
        file it names the entry, and may be left out if there is just one.

    Raises
    ------
    InvalidInput
        If the pin is malformed, missing, or not what the lock file locks.
    NotFound
        If there is no such catalog, dataset or version.
    Integrity
        If what the lock file locked is something else now.
    """
    place = os.fspath(url)
    copies = [os.fspath(each) for each in mirrors]
    lock = _lock_of(place)
    if lock is not None:
        return _locked(lock, pin, copies)
    if pin is None:
        raise InvalidInput(f"Which dataset of {place}?", hint="Name a pin: stacpin.open(url, 'dataset@v3').")
    return Pin(_source(place, pin, copies), asked=pin)


def _source(place: str, pin: str, mirrors: list[str]) -> PinSource:
    if place.lower().startswith(("http://", "https://")):
        if mirrors:
            raise InvalidInput(f"{place} is an API, which has no mirrors.", hint="Open a catalog with mirrors.")
        from loaders.api_source import api_source

        return api_source(place, pin)
    return catalog_source(place, pin, mirrors=mirrors)


def _lock_of(place: str) -> Path | None:
    if "://" in place:
        return None
    path = Path(place).expanduser()
    if path.is_dir() and not (path / "stacpin.json").exists() and (path / LOCK_NAME).is_file():
        return path / LOCK_NAME
    return path if path.is_file() or path.name == LOCK_NAME else None


def _locked(path: Path, pin: str | None, mirrors: list[str]) -> Pin:
    entry = _entry(path, read_lock(path), pin)
    opened = Pin(_source(entry.catalog, entry.pin, mirrors), asked=pin)
    if opened.digest != entry.digest:
        raise Integrity(
            f"{path} locks {entry.pin} as {entry.digest}, but {entry.catalog} has {opened.digest} under that pin.",
            hint="Find out who changed the catalog or the lock file; lock anew only if the change was meant.",
            kind="altered",
        )
    return opened


def _entry(path: Path, entries: list[LockEntry], pin: str | None) -> LockEntry:
    listed = ", ".join(entry.pin for entry in entries) or "nothing"
    if pin is None:
        if len(entries) != 1:
            raise InvalidInput(f"{path} locks {listed}: which one?", hint="Name one of them.")
        return entries[0]
    ref = parse_pin(pin)
    for entry in entries:
        if entry.dataset == ref.dataset:
            if pin in {entry.dataset, entry.pin} or str(ref) == entry.pin:
                return entry
            raise InvalidInput(
                f"{path} locks {entry.pin}, not {pin}.",
                hint=f"Open {entry.dataset!r} to use what is locked, or open the catalog itself.",
            )
    raise NotFound(f"{path} locks {listed}, not {ref.dataset!r}.", hint=f"Lock it: stacpin lock {pin}")
