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
from typing import IO, Any, Literal, NamedTuple, Protocol

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from loaders.drawn import drawn_row
from loaders.former import FORMER, FormerFile, encode_former, read_former
from loaders.layout import COLLECTION, STATE, Layout, PlacedItem, collection_document
from versioning.errors import Conflict, Forbidden, Integrity, InvalidInput, NotFound
from versioning.rows import Row, parse_item

__all__ = ["Folder", "Noted", "PullNotes", "document_bytes", "remove"]

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


class Noted(NamedTuple):
    """What a pull's notes say: how many items, files and bytes it has."""

    items: int
    files: int
    bytes: int


class Owners(Protocol):
    """Who says which files may be replaced: :class:`loaders.owned.Owned`."""

    @property
    def any(self) -> bool: ...

    def item(self, placed: PlacedItem, collection_id: str) -> None: ...

    def left(self, wanted: Collection[str]) -> dict[str, FormerFile]: ...


class Folder:
    """The destination of a pull."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).absolute()
        self.state = self.root / STATE
        self.parts = self.state / "parts"
        self._root = f"{self.root}{os.sep}"
        self._parts = f"{self.parts}{os.sep}"
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

        ``checked`` says that their digests are not asked for, since they have just been read or written by this process
        or are proven otherwise: then only the assets are drawn from an item (see :mod:`loaders.drawn`).

        Raises
        ------
        Integrity
            If the list of items is missing or damaged.
        """
        layout = Layout(None if asset is None else frozenset(asset))
        try:
            with self._items.open("rb") as file:
                while line := file.readline(_LONGEST_ITEM):
                    yield layout.place(self._row(line, checked=checked))
        except FileNotFoundError as error:
            raise Integrity(f"{self._items} is missing.", hint="Pull again.", kind="missing") from error

    def note_items(self, rows: Iterable[Row], notes: PullNotes, check: Owners) -> Noted:
        """Write the notes of a pull, after every path it wants has been checked.

        Nothing of the folder is changed if this fails: the earlier notes stay.
        """
        self.parts.mkdir(parents=True, exist_ok=True)
        layout = Layout(None if notes.asset is None else frozenset(notes.asset))
        items = files = size = 0
        paths: set[str] = set()
        part = self.parts / "items.ndjson"
        with part.open("wb") as out:
            for row in rows:
                placed = layout.place(drawn_row(row.item))
                check.item(placed, notes.collection_id)
                items += 1
                files += len(placed.files)
                size += sum(each.asset.size for each in placed.files)
                if check.any:
                    paths.update(placed.paths)
                out.write(row.item + b"\n")
        # First what the earlier pulls have left, in full: killed in between, either list of items is right with it.
        left = check.left(paths)
        if left:
            self.write(self._former.relative_to(self.root).as_posix(), encode_former(sorted(left.items())))
        part.replace(self._items)
        self.write(self._notes.relative_to(self.root).as_posix(), document_bytes(notes.model_dump(mode="json")))
        return Noted(items, files, size)

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
            yield placed.path, document_bytes(placed.document(notes.collection_id))
        yield COLLECTION, self.collection(notes, paths)

    def collection(self, notes: PullNotes, paths: Iterable[str]) -> bytes:
        """The STAC Collection of the folder, with a link to each of some items."""
        return document_bytes(collection_document(notes.collection, iter(paths)))

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

    def part_path(self) -> str:
        """A name for a file that is not whole yet."""
        return f"{self._parts}{os.getpid():x}-{os.urandom(8).hex()}"

    @contextmanager
    def part(self) -> Iterator[tuple[str, IO[bytes]]]:
        """A file that is not whole yet; it is removed unless :meth:`put` has moved it to its place."""
        part = self.part_path()
        try:
            with open(part, "xb") as file:  # noqa: PTH123 - a Path for each of 20,000 files costs as much as opening it
                yield part, file
        except OSError as error:
            raise self.not_written(error) from error
        finally:
            remove(part)

    def not_written(self, error: OSError) -> Forbidden:
        """The error for a folder that does not take a file."""
        return Forbidden(
            f"{self.root} cannot be written: {error.strerror or error}.", hint="Check space and permissions."
        )

    def put(self, part: str, path: str) -> None:
        """Move a whole file to its place."""
        target = self._root + path
        # A path is at most a folder and a name, so there is one place where a link could lead elsewhere.
        inner, _, _ = path.rpartition("/")
        if inner and os.path.islink(self._root + inner):  # noqa: PTH114 - as above
            raise InvalidInput(
                f"{self._root}{inner} leads out of {self.root}.", hint="Remove the link, then pull again."
            )
        try:
            os.replace(part, target)  # noqa: PTH105 - as above
        except FileNotFoundError:
            os.makedirs(self._root + inner, exist_ok=True)  # noqa: PTH103 - as above
            os.replace(part, target)  # noqa: PTH105 - as above

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

    def _row(self, line: bytes, *, checked: bool) -> Row:
        data = line.rstrip(b"\n")
        try:
            return drawn_row(data) if checked else parse_item(data)
        except (InvalidInput, ValueError, AttributeError) as error:
            raise Integrity(f"{self._items} is altered: {error}.", hint="Pull again.", kind="altered") from error


def document_bytes(value: dict[str, Any]) -> bytes:
    """A STAC document as it is written: readable, and the same bytes for the same content, so verify can compare."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def missing_folder(root: Path) -> NotFound:
    """The error for a folder that holds no pull."""
    return NotFound(f"{root} holds no pulled version: it has no {STATE}/pull.json.", hint="Pull one: stacpin pull.")


def remove(path: str) -> None:
    """Remove a file that may not be there."""
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - a Path for each file costs more than this
