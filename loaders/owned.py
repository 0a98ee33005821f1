"""Which files of a folder an earlier pull has made: those may be replaced, and no others."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from loaders.folder import Folder, document_bytes
from loaders.former import FormerFile
from loaders.layout import PlacedItem
from versioning.digests import sha256
from versioning.errors import Conflict, Integrity
from versioning.objects import hash_file

__all__ = ["Owned"]


class Owned:
    """What earlier pulls have made in a folder, as it was before this one."""

    def __init__(self, folder: Folder) -> None:
        self._root = folder.root
        self._there = _names(folder.root)
        self._files: dict[str, FormerFile] = {}
        self._last: set[str] = set()
        notes = folder.notes()
        self._mine = notes is not None
        if notes is None:
            return
        # A list that was lost or damaged owns nothing: what is there and right is kept, anything else is the user's.
        with suppress(Integrity):
            self._files.update(folder.former())
        with suppress(Integrity):
            for placed in folder.placed(notes.asset, checked=True):
                made = {file.path: FormerFile(file.asset.sha256.hex(), file.asset.size) for file in placed.files}
                document = document_bytes(placed.document(notes.collection_id))
                made[placed.path] = FormerFile(sha256(document).hex(), len(document))
                self._files.update(made)
                self._last.update(made)

    @property
    def any(self) -> bool:
        """Whether earlier pulls have made anything."""
        return bool(self._files)

    def left(self, wanted: Collection[str]) -> dict[str, FormerFile]:
        """What earlier pulls leave in a folder where other files are wanted now."""
        return {
            path: file
            for path, file in self._files.items()
            if path not in self._last or (path not in wanted and os.path.lexists(self._root / path))
        }

    def root_files(self, names: Iterable[str]) -> None:
        """Refuse a folder whose own files have the names of ours."""
        for name in names:
            if not self._mine and os.path.lexists(self._root / name):
                raise _foreign(self._root / name)

    def item(self, placed: PlacedItem, collection_id: str) -> None:
        """Refuse to replace files of the user's with those of an item."""
        if placed.folder.casefold() not in self._there:
            return
        for path in self._unknown([placed.path]):
            if hash_file(self._root / path) != sha256(document_bytes(placed.document(collection_id))):
                raise _foreign(self._root / path)
        digests = {file.path: file.asset.sha256 for file in placed.files}
        for path in self._unknown(digests):
            if hash_file(self._root / path) != digests[path]:
                raise _foreign(self._root / path)

    def _unknown(self, paths: Iterable[str]) -> Iterator[str]:
        """The paths at which something is that no pull has made."""
        for path in paths:
            if path not in self._files and os.path.lexists(self._root / path):
                if not (self._root / path).is_file():
                    raise _foreign(self._root / path)
                yield path


def _names(root: Path) -> frozenset[str]:
    """What is directly in the folder, in lower case: most pulls find nothing, and need not ask for each file."""
    with os.scandir(root) as entries:
        return frozenset(entry.name.casefold() for entry in entries)


def _foreign(path: Path) -> Conflict:
    return Conflict(f"{path} is there, and no pull has made it.", hint="Pull into a folder of its own.")
