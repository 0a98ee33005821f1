"""The records of a dataset in a store that is not trusted: by listing, and read no further than the listing says.

A name that a listing shows counts only if it is what the format calls such a record.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from versioning.errors import Integrity, InvalidInput
from versioning.ids import check_pointer_name, check_tag_name
from versioning.store import Store

__all__ = ["Names", "list_names", "read_record"]

_ENTRY = re.compile(r"(?!0{8})([0-9]{8})\.json")
_LARGEST_RECORD = 64 * 1024 * 1024
_VERIFY = "Run stacpin verify on that side, or sync from another mirror."


@dataclass(slots=True)
class Names:
    """The records that one side has of a dataset: numbers and names, each with its size in bytes."""

    versions: dict[int, int] = field(default_factory=dict)
    moves: dict[str, dict[int, int]] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)
    expired: dict[int, int] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)


def list_names(store: Store, dataset: str) -> Names:
    """The records of a dataset by listing; what no record may be called is kept apart as odd.

    Versions are listed last: whatever a tag or a move that was listed means is then among them.
    """
    found = Names()
    folder = f"datasets/{dataset}"

    def each(kind: str, take: Callable[[str, int], bool]) -> None:
        prefix = f"{folder}/{kind}/"
        for entry in store.list(prefix.rstrip("/")):
            if not entry.path.startswith(prefix) or not take(entry.path.removeprefix(prefix), entry.size):
                found.odd.append(entry.path)

    def numbered(target: dict[int, int], name: str, size: int) -> bool:
        match = _ENTRY.fullmatch(name)
        if match:
            target[int(match[1])] = size
        return match is not None

    def move(name: str, size: int) -> bool:
        pointer, _, number = name.partition("/")
        log = found.moves.get(pointer, {})
        if not _is(check_pointer_name, pointer) or not numbered(log, number, size):
            return False
        found.moves[pointer] = log
        return True

    def tag(name: str, size: int) -> bool:
        plain = name.removesuffix(".json")
        if plain == name or not _is(check_tag_name, plain):
            return False
        found.tags[plain] = size
        return True

    each("pointers", move)
    each("tags", tag)
    each("expired", lambda name, size: numbered(found.expired, name, size))
    each("versions", lambda name, size: numbered(found.versions, name, size))
    return found


def read_record(store: Store, path: str, size: int) -> bytes:
    """The bytes of a record, of which a listing has told the size; a source that lies is not believed.

    Raises
    ------
    Integrity
        If it is empty, too large, or of another size.
    """
    if not 0 < size <= _LARGEST_RECORD:
        raise Integrity(f"{store.url}/{path} has {size} bytes, which no record has.", hint=_VERIFY, kind="altered")
    data = store.get_range(path, 0, size + 1)
    if len(data) != size:
        raise Integrity(f"{store.url}/{path} is not as long as its listing says.", hint=_VERIFY, kind="altered")
    return data


def _is(check: Callable[[str], str], name: str) -> bool:
    try:
        check(name)
    except InvalidInput:
        return False
    return True
