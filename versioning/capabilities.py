"""Whether a store honours put-if-absent, on which every promise rests: asked once by each process that writes.

Some servers that speak S3 ignore ``If-None-Match`` and answer 200 to a second creation: two writers would both "commit"
version 3. So before its first write a process creates an object of a fixed name and fixed content. If the store says
that it is there already, it has honoured the precondition: one request. If the store says that it was created, it is
created once more, and that must be refused: two requests, once in the life of a catalog.

The object stays, and this is where the outcome is remembered. A "yes" in a file of the user's could be wrong the next
day, when another server answers at the same address; this proof is renewed by each process for one request. An object
with a random name would cost three requests, and those who may write but not delete would leave one behind each time. A
store that ignores preconditions overwrites the object with its own bytes, which harms nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from versioning.errors import Forbidden

__all__ = ["PROBE", "Creates", "Race", "honours_put_if_absent", "no_put_if_absent", "one_winner"]

PROBE = "staging/put-if-absent"
_CONTENT = b"stacpin creates this object again and again: a store that lets it cannot hold a catalog.\n"

Create = Callable[[str, bytes], bool]


class Creates(Protocol):
    """What a race needs of a store."""

    def put_new(self, path: str, data: bytes) -> bool:
        """Write an object unless one is there; True if it was written."""
        ...

    def get(self, path: str) -> bytes:
        """The bytes of an object."""
        ...

    def delete(self, paths: Sequence[str]) -> None:
        """Remove objects."""
        ...


def honours_put_if_absent(create: Create) -> bool:
    """Whether the store refuses to create what is there.

    Parameters
    ----------
    create
        Puts bytes under a path with the backend's create mode; False if it said that the path is taken.
    """
    return not create(PROBE, _CONTENT) or not create(PROBE, _CONTENT)


def no_put_if_absent(url: str) -> Forbidden:
    """The refusal to write to such a store."""
    return Forbidden(
        f"{url} cannot be written to: its store ignores 'If-None-Match: *' (it let an object be created twice), so two "
        "writers could both make the same version. Nothing was written.",
        hint="Reading works. To write, use a store that honours it (Amazon S3, Google Cloud Storage, Azure, MinIO, "
        "SeaweedFS, a local folder), or a newer release of this one.",
        kind="no-put-if-absent",
    )


@dataclass(frozen=True, slots=True)
class Race:
    """What became of a race: whether one writer won it, and why its object could not be removed, if it could not."""

    one_won: bool
    left: Forbidden | None


def one_winner(store: Creates, *, writers: int = 8) -> Race:
    """Whether exactly one of several writers at once creates an object, and its bytes are what is there afterwards.

    A store that looks first and then writes passes :func:`honours_put_if_absent` and may fail here. The object is
    removed, unless that is forbidden: there are those who may write and not delete.
    """
    path = f"staging/probe-{secrets.token_hex(8)}"
    with ThreadPoolExecutor(writers) as pool:
        won = list(pool.map(lambda number: store.put_new(path, b"%d" % number), range(writers)))
    left: Forbidden | None = None
    try:
        one_won = sum(won) == 1 and store.get(path) == b"%d" % won.index(True)
    finally:
        try:
            store.delete([path])
        except Forbidden as error:
            left = error
    return Race(one_won, left)
