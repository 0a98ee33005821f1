"""A pulled folder's own notes: what was pulled, and every item of it, so that it can be checked without the catalog.

.stacpin/pull.json      version, selection, the STAC Collection; written before the first asset
.stacpin/items.ndjson   the stored items in canonical JSON, one a line, in the order of their ids
.stacpin/former.ndjson  files that earlier pulls have left
.stacpin/parts/         files that are not whole yet
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from loaders.former import FORMER, FormerFile, encode_former, read_former
from loaders.layout import COLLECTION, STATE, Layout, PlacedItem, collection_document
from versioning.digests import parse_multihash, sha256
from versioning.errors import Conflict, Forbidden, Integrity, InvalidInput, NotFound
from versioning.objects import hash_file
from versioning.rows import AssetRef, Row, parse_item

__all__ = ["Folder", "PullNotes"]

_LONGEST_ITEM = 64 * 1024 * 1024


class PullNotes(BaseModel):
    """``pull.json``: what the folder holds. ``whole`` is False if items of the version are left out."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: Literal["pull"] = "pull"
    format: Literal[1] = 1
    pin: str
    collection_id: str
    digest: str
    catalog: str
    whole: bool
    proven: bool
    asset: list[str] | None
    query: dict[str, Any]
    declared: dict[str, Any]
    collection: dict[str, Any]


class Folder:
    """The destination of a pull."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).absolute()
        self.state = self.root / STATE
        self.parts = self.state / "parts"
        self._items = self.state / "items.ndjson"
        self._notes = self.state / "pull.json"
        self._former = self.state / FORMER

    def notes(self) -> PullNotes | None:
        """What was pulled before, None for a folder that no pull has made.

        Raises
        ------
        Integrity
            If the notes are damaged.
        """
        try:
            return PullNotes.model_validate_json(self._notes.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Forbidden(f"{self._notes} cannot be read: {error.strerror}.") from error
        except ValidationError as error:
            raise Integrity(
                f"{self._notes} is altered: {error.errors()[0]['msg']}.", hint="Pull into a new folder.", kind="altered"
            ) from error

    def placed(self, asset: list[str] | None, *, checked: bool = False) -> Iterator[PlacedItem]:
        """Every item of the pull with its files, from the folder's own notes.

        ``checked`` says that they have just been read or written by this process: then only the assets are drawn from
        an item, a tenth of the work of proving it; its digests and times are left empty.

        Raises
        ------
        Integrity
            If the list of items is missing or damaged.
        """
        layout = Layout(None if asset is None else frozenset(asset))
        try:
            with self._items.open("rb") as file:
                while line := file.readline(_LONGEST_ITEM):
                    yield layout.place(_assets_of(line) if checked else self._row(line))
        except FileNotFoundError as error:
            raise Integrity(f"{self._items} is missing.", hint="Pull again.", kind="missing") from error

    def note_items(self, rows: Iterable[Row], notes: PullNotes, check: Owned) -> tuple[int, int, int]:
        """Write the notes of a pull, after every path it wants has been checked; items, files and bytes.

        Nothing of the folder is changed if this fails: the earlier notes stay.
        """
        self.parts.mkdir(parents=True, exist_ok=True)
        layout = Layout(None if notes.asset is None else frozenset(notes.asset))
        items = files = size = 0
        paths: set[str] = set()
        part = self.parts / "items.ndjson"
        with part.open("wb") as out:
            for row in rows:
                placed = layout.place(parse_item(row.item))
                check.item(self.root, placed, notes.collection_id)
                items += 1
                files += len(placed.files)
                paths.update(placed.paths)
                size += sum(each.asset.size for each in placed.files)
                out.write(row.item + b"\n")
        # First what the earlier pulls have left, in full: killed in between, either list of items is right with it.
        left = check.left(self.root, paths)
        if left:
            self.write(self._former.relative_to(self.root).as_posix(), encode_former(sorted(left.items())))
        part.replace(self._items)
        self.write(self._notes.relative_to(self.root).as_posix(), _document(notes.model_dump(mode="json")))
        return items, files, size

    def former(self) -> dict[str, FormerFile]:
        """The files that earlier pulls have left, by their paths; some may be of the last pull again.

        Raises
        ------
        Integrity
            If the list is damaged.
        """
        return read_former(self._former)

    def documents(self, notes: PullNotes) -> Iterator[tuple[str, bytes]]:
        """The STAC documents of the folder, each with its path."""
        paths: list[str] = []
        for placed in self.placed(notes.asset, checked=True):
            paths.append(placed.path)
            yield placed.path, _document(placed.document(notes.collection_id))
        yield COLLECTION, _document(collection_document(notes.collection, iter(paths)))

    def write(self, path: str, data: bytes) -> None:
        """Write a small file at once, or not at all; one that is the same is left alone."""
        target = self.root / path
        try:
            if target.read_bytes() == data:
                return
        except OSError:
            pass
        with self.part() as (part, file):
            file.write(data)
            file.close()
            self.put(part, path)

    @contextmanager
    def part(self) -> Iterator[tuple[Path, IO[bytes]]]:
        """A file that is not whole yet; it is removed unless :meth:`put` has moved it to its place."""
        part = self.parts / f"{os.getpid():x}-{os.urandom(8).hex()}"
        try:
            with part.open("xb") as file:
                yield part, file
        except OSError as error:
            raise Forbidden(
                f"{self.root} cannot be written: {error.strerror or error}.", hint="Check space and permissions."
            ) from error
        finally:
            part.unlink(missing_ok=True)

    def put(self, part: Path, path: str) -> None:
        """Move a whole file to its place."""
        target = self.root / path
        # A path is at most a folder and a name, so there is one place where a link could lead elsewhere.
        if target.parent.is_symlink() and target.parent != self.root:
            raise InvalidInput(f"{target.parent} leads out of {self.root}.", hint="Remove the link, then pull again.")
        try:
            part.replace(target)
        except FileNotFoundError:
            target.parent.mkdir(exist_ok=True)
            part.replace(target)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second pull out of the folder meanwhile; what a killed one left half-written is removed.

        Raises
        ------
        Conflict
            If another process is pulling into it.
        """
        self._make()
        with (self.state / "busy").open("wb") as file:
            try:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except ImportError:  # Windows: parts have names of their own, so two pulls only do the work twice
                pass
            except OSError as error:
                raise Conflict(
                    f"Another process is pulling into {self.root}.", hint="Wait until it is done."
                ) from error
            for left in self.parts.glob("*"):
                left.unlink(missing_ok=True)
            yield

    def _make(self) -> None:
        if self.root.exists() and not self.root.is_dir():
            raise InvalidInput(f"{self.root} is a file, not a folder.", hint="Name another path.")
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
            (self.state / ".gitignore").write_text("*\n")
        except OSError as error:
            raise Forbidden(f"{self.root} cannot be made: {error.strerror}.", hint="Name another path.") from error

    def _row(self, line: bytes) -> Row:
        try:
            return parse_item(line.rstrip(b"\n"))
        except (InvalidInput, ValueError, AttributeError) as error:
            raise Integrity(f"{self._items} is altered: {error}.", hint="Pull again.", kind="altered") from error


class Owned:
    """Which files of a folder an earlier pull has made: those may be replaced, and no others."""

    def __init__(self, folder: Folder) -> None:
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
            for placed in folder.placed(notes.asset):
                made = {file.path: FormerFile(file.asset.sha256.hex(), file.asset.size) for file in placed.files}
                document = _document(placed.document(notes.collection_id))
                made[placed.path] = FormerFile(sha256(document).hex(), len(document))
                self._files.update(made)
                self._last.update(made)

    def left(self, root: Path, wanted: Collection[str]) -> dict[str, FormerFile]:
        """What earlier pulls leave in a folder where other files are wanted now."""
        return {
            path: file
            for path, file in self._files.items()
            if path not in self._last or (path not in wanted and os.path.lexists(root / path))
        }

    def root_files(self, folder: Folder, names: Iterable[str]) -> None:
        """Refuse a folder whose own files have the names of ours."""
        for name in names:
            if not self._mine and os.path.lexists(folder.root / name):
                raise _foreign(folder.root / name)

    def item(self, root: Path, placed: PlacedItem, collection_id: str) -> None:
        """Refuse to replace files of the user's with those of an item."""
        for path in self._unknown(root, [placed.path]):
            if hash_file(root / path) != sha256(_document(placed.document(collection_id))):
                raise _foreign(root / path)
        digests = {file.path: file.asset.sha256 for file in placed.files}
        for path in self._unknown(root, digests):
            if hash_file(root / path) != digests[path]:
                raise _foreign(root / path)

    def _unknown(self, root: Path, paths: Iterable[str]) -> Iterator[str]:
        """The paths at which something is that no pull has made."""
        for path in paths:
            if path not in self._files and os.path.lexists(root / path):
                if not (root / path).is_file():
                    raise _foreign(root / path)
                yield path


def _foreign(path: Path) -> Conflict:
    return Conflict(f"{path} is there, and no pull has made it.", hint="Pull into a folder of its own.")


def _document(value: dict[str, Any]) -> bytes:
    # Readable, and the same bytes for the same content: verify makes it again and compares.
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def _assets_of(line: bytes) -> Row:
    item = orjson.loads(line)
    assets = tuple(
        AssetRef(key, asset["href"], parse_multihash(asset["file:checksum"]), asset["file:size"])
        for key, asset in sorted(item["assets"].items())
    )
    return Row(item["id"], b"", b"", None, None, None, None, assets, line)


def missing_folder(root: Path) -> NotFound:
    """The error for a folder that holds no pull."""
    return NotFound(f"{root} holds no pulled version: it has no {STATE}/pull.json.", hint="Pull one: stacpin pull.")
