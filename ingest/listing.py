"""The files that a recipe's globs lead to: every folder read once, links kept inside, states to know a file again by.

No import of weight: `stacpin status` of an unchanged dataset reads this much and no more.
"""

# Paths are texts here: making 20,000 Path objects takes as long as reading their folder.
# ruff: noqa: PTH112, PTH113, PTH114, PTH116, PTH118, PTH120, PTH206

from __future__ import annotations

import fnmatch
import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path, PurePath

from versioning.errors import InvalidInput, StorageUnavailable

__all__ = ["Listing", "found_files", "newest", "restate"]

# Files that belong to another file of the same stem, which brings them along.
_COMPANIONS = {
    "raster": (".aux.xml", ".ovr", ".msk", ".hdr", ".prj", ".tfw", ".tifw", ".wld", ".jgw", ".xml", ".json", ".txt"),
    "labels": (".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".xml", ".qmd", ".gpkg-wal", ".gpkg-shm"),
    "file": (),
}
_MAGIC = re.compile(r"[*?[]")
_MOST_PARTS = 100
_MOST_BESIDE = 64  # a Shapefile has a dozen parts
_NAME = attrgetter("name")
_FIELD, _RECORD, _GONE = "\0", "\0\0", "\0-"  # no name of a file can hold them
_CASE = re.IGNORECASE if os.name == "nt" else 0


class Listing:
    """What lies where the globs of one recipe lead.

    Parameters
    ----------
    folder
        Where the recipe lies; its globs start there.
    patterns
        All globs of the recipe. The folders that they name outright are, with ``folder``, where links may lead to.
    """

    def __init__(self, folder: Path, patterns: Iterable[str]) -> None:
        self.folder = folder
        self._folders: dict[str, dict[str, os.DirEntry[str]]] = {}
        self._sorted: dict[str, tuple[list[str], list[str]]] = {}
        self._roots = {os.path.realpath(folder)}
        for pattern in patterns:
            base, parts = self._parts(pattern)
            named = next((at for at, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
            self._roots.add(os.path.realpath(os.path.join(base, *parts[:named])))

    def glob(self, pattern: str) -> list[str]:
        """The regular files that a pattern matches, sorted by folder and name; ``**`` enters no links.

        Raises
        ------
        InvalidInput
            If it is no pattern of files, or a link leads out of the recipe's folder and all folders that it names.
        StorageUnavailable
            If a folder cannot be read: its files would seem to be gone.
        """
        base, parts = self._parts(pattern)
        found = self._walk(base, parts, wild=False)
        # Each folder is in the order of its names, so all are, unless ** leads to one of them in several ways.
        return sorted(set(found), key=lambda path: path.split(os.sep)) if "**" in parts else list(found)

    def state(self, path: str, *, alone: bool = False) -> str:
        """What a file and all that lies beside it under its stem (masks, headers, parts) are, by their stats.

        Size, times, inode and device of each: equal states are equal bytes, unless a file was written again within
        the clock's grain. Names beginning with the stem and a dot count, in any case; so does what a link leads to.

        Parameters
        ----------
        path
            The file.
        alone
            Whether nothing beside it can matter, as for a file that is kept as it is.

        Returns
        -------
        str
            The state; empty, which says nothing, if very many files lie beside it (frame.0001, frame.0002, …).
        """
        folder, name = _split(path)
        entries = self._entries(folder)
        entry = entries.get(name)
        if entry is None:
            return _record(name, None)
        names = [name] if alone else self._beside(folder, name)
        if len(names) > _MOST_BESIDE:
            return ""
        records = [_record(each, _stat(entries[each].stat)) for each in names]
        if entry.is_symlink():
            real = os.path.realpath(path)
            inner, there = _split(real)
            beside = self._entries(inner)
            names = self._beside(inner, there) if there in beside and not alone else [there]
            if len(names) > _MOST_BESIDE:
                return ""
            for each in names:
                stat = beside[each].stat if each in beside else None
                records.append(_record(os.path.join(inner, each), _stat(stat)))
        return _RECORD.join(records)

    def _beside(self, folder: str, name: str) -> list[str]:
        """A file, then the others of its stem. By a sorted list: a look at every name would be quadratic."""
        if folder not in self._sorted:
            names = sorted(self._entries(folder), key=str.lower)
            self._sorted[folder] = names, [each.lower() for each in names]
        names, lower = self._sorted[folder]
        stem = f"{name.rpartition('.')[0] or name}.".lower()
        found, at = [name], bisect_left(lower, stem)
        while at < len(lower) and len(found) <= _MOST_BESIDE and lower[at].startswith(stem):
            if names[at] != name:
                found.append(names[at])
            at += 1
        return found

    def _parts(self, pattern: str) -> tuple[str, tuple[str, ...]]:
        """Where a pattern starts, and its parts."""
        glob = PurePath(pattern)
        parts = glob.parts[1:] if glob.is_absolute() else glob.parts
        reason = None
        if not parts:
            reason = "it names no file"
        elif any("**" in part and part != "**" for part in parts):
            reason = "** can only be a whole folder's name"
        elif "\0" in pattern or len(parts) > _MOST_PARTS:
            reason = f"it has a NUL, or more than {_MOST_PARTS} parts"
        if reason is not None:
            raise InvalidInput(
                f"{pattern!r} is not a glob pattern of files: {reason}.",
                hint="Write it like imagery/*.tif or **/*.tif.",
            )
        return (glob.anchor if glob.is_absolute() else str(self.folder)), parts

    def _walk(self, folder: str, parts: tuple[str, ...], *, wild: bool) -> Iterator[str]:
        head, rest = parts[0], parts[1:]
        wild = wild or _MAGIC.search(head) is not None
        if head == "**":
            found = self._below(folder) if rest else iter(())  # a pattern that ends so means folders
        elif _MAGIC.search(head):
            found = self._matching(folder, head, folders=bool(rest))
        else:
            found = self._named(os.path.join(folder, head), folder=bool(rest), wild=wild)
        if not rest:
            yield from found
            return
        for path in found:
            yield from self._walk(path, rest, wild=wild)

    def _named(self, path: str, *, folder: bool, wild: bool) -> Iterator[str]:
        """A file or a folder that the recipe names; below a wild part it may be a link that nobody named."""
        if os.path.isdir(path) if folder else os.path.isfile(path):
            if wild and os.path.islink(path):
                self._check_link(path)
            yield path

    def _matching(self, folder: str, part: str, *, folders: bool) -> Iterator[str]:
        matches = re.compile(fnmatch.translate(part), _CASE).match
        before = os.path.join(folder, "")
        for name, entry in self._entries(folder).items():
            if matches(name) and (entry.is_dir() if folders else entry.is_file()):
                path = before + name
                if entry.is_symlink() and (folders or not name.startswith(".")):
                    self._check_link(path)
                yield path

    def _below(self, folder: str) -> Iterator[str]:
        """A folder and all folders in it; a stack, since their depth is not ours to choose."""
        waiting = [folder]
        while waiting:
            at = waiting.pop()
            yield at
            waiting += [
                os.path.join(at, name)
                for name, entry in self._entries(at).items()
                if entry.is_dir(follow_symlinks=False)
            ]

    def _entries(self, folder: str) -> dict[str, os.DirEntry[str]]:
        found = self._folders.get(folder)
        if found is None:
            try:
                with os.scandir(folder or ".") as entries:
                    found = {entry.name: entry for entry in sorted(entries, key=_NAME)}
            except (FileNotFoundError, NotADirectoryError):
                found = {}
            except OSError as error:
                raise StorageUnavailable(
                    f"{folder} cannot be read: {error.strerror}.",
                    hint="Allow it, or narrow 'sources': files that are not seen would count as removed.",
                ) from error
            self._folders[folder] = found
        return found

    def _check_link(self, path: str) -> None:
        real = os.path.realpath(path)
        if any(real == root or real.startswith(os.path.join(root, "")) for root in self._roots):
            return
        raise InvalidInput(
            f"{path} is a link to {real}, outside the recipe's folder and every folder that its 'sources' name.",
            hint="Name the folder that it leads to in 'sources' (a path from the recipe, or an absolute one), "
            "or put the file itself there.",
            kind="link-outside",
        )


def found_files(listing: Listing, kind: str, patterns: Sequence[str]) -> Iterator[str]:
    """The files of a layer, each once, in the order of its globs; without hidden files and companions of others."""
    # By folder and name: two globs may lead to one folder in two ways, but two links to one file are two sources.
    seen: set[tuple[str, str]] = set()
    real: dict[str, str] = {}
    companions = _COMPANIONS[kind]
    for pattern in patterns:
        for path in listing.glob(pattern):
            folder, name = _split(path)
            if name.startswith(".") or name.lower().endswith(companions):
                continue
            if folder not in real:
                real[folder] = os.path.realpath(folder)
            place = (real[folder], name)
            if place not in seen:
                seen.add(place)
                yield path


def restate(path: str, state: str) -> str:
    """A state taken again, of the same names; it is equal if nothing was written since."""
    folder = os.path.dirname(path)
    names = [record.partition(_FIELD)[0] for record in state.split(_RECORD)]
    return _RECORD.join(_record(name, _stat(lambda at=name: os.stat(os.path.join(folder, at)))) for name in names)


def newest(state: str) -> int:
    """The latest time in a state, in nanoseconds: when one of its files was last written, or changed otherwise."""
    times = [record.split(_FIELD)[2:4] for record in state.split(_RECORD) if not record.endswith(_GONE)]
    return max((int(each) for pair in times for each in pair), default=0)


def _split(path: str) -> tuple[str, str]:
    """`os.path.split` for paths as `pathlib` and the system write them, in a third of its time."""
    folder, separator, name = path.rpartition(os.sep)
    return folder or separator, name


def _stat(call: Callable[[], os.stat_result] | None) -> os.stat_result | None:
    try:
        return None if call is None else call()
    except OSError:  # a link that leads nowhere, or a file that has just gone
        return None


def _record(name: str, stat: os.stat_result | None) -> str:
    if stat is None:
        return f"{name}{_GONE}"
    return f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}\0{stat.st_ino}\0{stat.st_dev}"
