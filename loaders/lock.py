"""Lock files: ``stacpin.lock`` says which version of which dataset a training repository uses, and proves it.

The file is TOML, sorted by dataset, so that it reads well in a review and changes one block when one pin moves. A
local catalog in or below the folder of the lock file is written relative to it, so that both can be moved together.
"""

from __future__ import annotations

import json
import os
import secrets
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from versioning.digests import parse_digest
from versioning.errors import Forbidden, InvalidInput, NotFound
from versioning.pins import parse_pin

__all__ = ["LOCK_NAME", "LockEntry", "read_lock", "write_lock"]

LOCK_NAME = "stacpin.lock"
_FORMAT = 1
_LIMIT = 4 * 1024 * 1024  # some 15,000 entries; more is not a lock file
_HEAD = "# Made by stacpin. It proves which data was used: keep it under version control, and do not edit it.\n"
_KEYS = ("pin", "digest", "catalog")


@dataclass(frozen=True, slots=True)
class LockEntry:
    """One locked dataset.

    ``pin`` is canonical (``landcover@v3``), ``digest`` is the version's (``sha256:…``), ``catalog`` is the path or URL
    of the catalog or of the API.
    """

    pin: str
    digest: str
    catalog: str

    @property
    def dataset(self) -> str:
        """The dataset's id."""
        return self.pin.partition("@")[0]


def write_lock(path: str | os.PathLike[str], entries: Iterable[LockEntry]) -> Path:
    """Write a lock file; one that is there is replaced at once, or not at all.

    Raises
    ------
    InvalidInput
        If an entry is not canonical, or a dataset occurs twice.
    Forbidden
        If the file cannot be written.
    """
    target = Path(path).absolute()
    ordered = sorted(entries, key=lambda entry: entry.dataset)
    where = str(path)
    _check(ordered, where)
    blocks = [_HEAD + f"format = {_FORMAT}\n"]
    for entry in ordered:
        values = {"pin": entry.pin, "digest": entry.digest, "catalog": _relative(entry.catalog, target.parent)}
        blocks.append("[[pin]]\n" + "".join(f"{key} = {_quoted(value)}\n" for key, value in values.items()))
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        part.write_text("\n".join(blocks), encoding="utf-8", newline="\n")
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Forbidden(f"{where} cannot be written: {error.strerror}.", hint="Name another path.") from error
    return target


def read_lock(path: str | os.PathLike[str]) -> list[LockEntry]:
    """The entries of a lock file, sorted by dataset, with paths of catalogs made absolute.

    Raises
    ------
    NotFound
        If there is no such file.
    InvalidInput
        If it is not a lock file, or one of a newer format.
    """
    source, where = Path(path).absolute(), str(path)
    try:
        with source.open("rb") as file:
            data = file.read(_LIMIT + 1)
    except FileNotFoundError as error:
        raise NotFound(f"{where} does not exist.", hint="Make one: stacpin lock DATASET@v1") from error
    except OSError as error:
        raise Forbidden(f"{where} cannot be read: {error.strerror}.") from error
    if len(data) > _LIMIT:
        raise InvalidInput(f"{where} is larger than {_LIMIT} bytes: it is not a lock file.")
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidInput(f"{where} is not a lock file: {error}.", hint="Make it again: stacpin lock.") from error
    found = document.get("format")
    if isinstance(found, int) and found > _FORMAT:
        raise InvalidInput(
            f"{where} has lock format {found}; this stacpin reads format {_FORMAT}.",
            hint="Upgrade stacpin: pip install --upgrade stacpin",
            kind="newer-format",
        )
    pins = document.get("pin", [])
    if found != _FORMAT or not isinstance(pins, list):
        raise InvalidInput(f"{where} is not a lock file: it has no format.", hint="Make it again: stacpin lock.")
    entries = [_entry(pin, where, source.parent) for pin in pins]
    _check(entries, where)
    return sorted(entries, key=lambda entry: entry.dataset)


def _entry(value: Any, where: str, folder: Path) -> LockEntry:
    if not isinstance(value, dict) or any(not isinstance(value.get(key), str) for key in _KEYS):
        raise InvalidInput(f"{where}: an entry needs {', '.join(_KEYS)} as strings; it is {value!r}.")
    catalog = value["catalog"]
    if "://" not in catalog:
        catalog = os.path.normpath(folder / catalog)
    return LockEntry(value["pin"], value["digest"], catalog)


def _check(entries: list[LockEntry], where: str) -> None:
    seen: set[str] = set()
    for entry in entries:
        try:
            ref = parse_pin(entry.pin)
            parse_digest(entry.digest)
        except InvalidInput as error:
            raise InvalidInput(f"{where}: {error.message}", hint=error.hint) from error
        if ref.kind != "version" or str(ref) != entry.pin:
            raise InvalidInput(f"{where}: {entry.pin!r} does not name one version.", hint="Lock a pin such as ds@v3.")
        if entry.dataset in seen:
            raise InvalidInput(f"{where}: {entry.dataset!r} is locked twice.", hint="Keep one entry for a dataset.")
        seen.add(entry.dataset)


def _relative(catalog: str, folder: Path) -> str:
    if "://" in catalog:
        return catalog
    place = Path(catalog).expanduser().absolute()
    return place.relative_to(folder).as_posix() if place.is_relative_to(folder) else str(place)


def _quoted(text: str) -> str:
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
