"""The manifest and snapshot files of one dataset, with what was read of them last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import TypeVar

import pyarrow as pa
from cachetools import LRUCache

from versioning.arrays import Texts
from versioning.errors import Integrity
from versioning.manifests import (
    DIGESTS,
    LIGHT,
    FileRef,
    RowGroups,
    decode_light,
    decode_rows,
    light_of,
)
from versioning.objects import ManifestFiles
from versioning.overlays import merge_tables, within
from versioning.parquet_guard import check_parquet
from versioning.snapshots import Chunk, Layers, leaf_of
from versioning.together import together

__all__ = ["Files", "Light"]

# Decoded tables are remembered up to this many bytes a dataset (reading a chunk again takes 3 ms), and as many of delta
# files, which many chunks share.
_REMEMBERED = 64 * 1024 * 1024
# A commit looks at the small columns of each chunk twice; those of a million items take 170 MB.
_LIGHT_REMEMBERED = 192 * 1024 * 1024
# What they are merged from: two versions of a chunk, which a diff looks at one after the other, share most of it.
_BASES_REMEMBERED = 24 * 1024 * 1024
# Lists of chunks of the versions that were used last: a writer that commits every few seconds reads none again.
_LISTS = 8
# What the small columns of a chunk take in a file: 120 to 150 bytes a row, those of a diff 65 to 85, and the footer. A
# guess that is too small costs a second read.
_TAIL_ROW = {LIGHT: 160, DIGESTS: 96}
_TAIL = 16 * 1024
# A chunk has at most 4,096 rows, whose small columns take 0.6 MB, or some more where items have many assets.
_LONGEST_TAIL = 64 * 1024 * 1024
_Thing = TypeVar("_Thing")


@dataclass(frozen=True, slots=True)
class _Key:
    """What a cached table is of: a file, one of its row groups or all, some of its columns or all."""

    sha256: bytes
    group: int | None
    columns: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Light:
    """The small columns of a chunk's rows; how many rows its delta files have in its range; what lies beyond.

    ``wider`` says whether a file may have rows outside of the range, which come to life if the range grows; ``base`` is
    the range of ids of the chunk's first file; ``nbytes`` is what it takes of memory.
    """

    rows: pa.Table
    over: int
    wider: bool
    base: tuple[str, str]
    nbytes: int


@dataclass(frozen=True, slots=True)
class _Succession:
    """The small columns of a chunk before a commit, and of what the commit changed in it."""

    before: Light
    changes: pa.Table

    @property
    def nbytes(self) -> int:
        return self.before.nbytes + self.changes.nbytes


def _nbytes(thing: pa.Table | RowGroups | Light | _Succession) -> int:
    return thing.nbytes


class Files:
    """The files of one dataset. Everything it gives is proven, and the same for ever; safe in threads."""

    def __init__(self, manifests: ManifestFiles, snapshots: ManifestFiles) -> None:
        self.manifests = manifests
        self.snapshots = snapshots
        self._tables: LRUCache[_Key, pa.Table] = LRUCache(_REMEMBERED, getsizeof=_nbytes)
        self._light: LRUCache[object, Light | _Succession] = LRUCache(_LIGHT_REMEMBERED, getsizeof=_nbytes)
        self._bases: LRUCache[object, pa.Table] = LRUCache(_BASES_REMEMBERED, getsizeof=_nbytes)
        self._deltas: LRUCache[bytes, RowGroups] = LRUCache(_REMEMBERED, getsizeof=_nbytes)
        self._lists: LRUCache[tuple[str, ...], Layers] = LRUCache(_LISTS)
        self._lock = Lock()

    def layers(self, names: Sequence[str], read: Callable[[], Layers]) -> Layers:
        """The list of chunks that snapshot files of these names give, remembered."""
        return self._remembered(self._lists, tuple(names), read)

    def remember_layers(self, names: Sequence[str], layers: Layers) -> None:
        """Remember the list of chunks of files that have just been written."""
        with self._lock:
            self._lists[tuple(names)] = layers

    def tables(self, chunk: Chunk, columns: tuple[str, ...] | None) -> list[pa.Table]:
        """What each file of a chunk has of it: its rows in or around the chunk's range, with some columns or all.

        Raises
        ------
        Integrity
            If a file is missing or damaged.
        """
        base, *deltas = chunk.files
        return together(
            self.manifests.store,
            [partial(self._whole, base, columns), *(partial(self._overlapping, ref, chunk, columns) for ref in deltas)],
        )

    def light(self, chunk: Chunk, names: tuple[str, ...] = LIGHT, *, pin: str) -> Light:
        """The merged rows of a chunk with the columns :data:`versioning.manifests.LIGHT` or ``DIGESTS`` of it.

        ``pin`` is the version's, for the text of an error.

        Raises
        ------
        Integrity
            If a file is missing or damaged, or the rows do not give the leaves that the chunk names.
        """
        return self._remembered(self._light, (names, chunk), partial(self._merged_light, chunk, names, pin))

    def succeed(self, old: Chunk, new: Chunk, changes: pa.Table) -> None:
        """Remember that a chunk has become another by some changes: its first file need not be read for it again.

        A writer that stays open would otherwise read the files of all chunks that it changes in each commit.

        Parameters
        ----------
        old, new
            The chunk before and after a commit; its small columns are remembered as the new one's from now on.
        changes
            What the commit changed in it, as a delta table with the columns :data:`versioning.manifests.LIGHT`.
        """
        with self._lock:
            before = self._light.pop((LIGHT, old), None)
            if isinstance(before, Light) and old.files[0] == new.files[0]:
                with suppress(ValueError):  # too large to be remembered
                    self._light[_Succession, new] = _Succession(before, changes)

    def _merged_light(self, chunk: Chunk, names: tuple[str, ...], pin: str) -> Light:
        with self._lock:
            known = self._light.pop((_Succession, chunk), None) if names == LIGHT else None
        deltas = [partial(self._overlapping, ref, chunk, names) for ref in chunk.files[1:]]
        if isinstance(known, _Succession):
            over = together(self.manifests.store, deltas)
            rows = merge_tables([known.before.rows, known.changes], chunk.first_id, chunk.last_id)
            if _proven(rows, chunk):
                return _layered(rows, chunk, known.before.base, over)
        base, *over = together(self.manifests.store, [partial(self._light_base, chunk, names), *deltas])
        rows = merge_tables([base, *over], chunk.first_id, chunk.last_id)
        if not _proven(rows, chunk):
            raise missing_rows(pin, chunk)
        ids = Texts(base.column("id"))
        # No writer of ours makes a file without rows; a forged one has nothing beyond the range either.
        return _layered(rows, chunk, (ids[0], ids[-1]) if len(ids) else (chunk.first_id, chunk.last_id), over)

    def delta(self, ref: FileRef, chunk: Chunk) -> pa.Table:
        """What a delta file has in or around the range of a chunk."""
        return self._overlapping(ref, chunk, None)

    def _light_base(self, chunk: Chunk, names: tuple[str, ...]) -> pa.Table:
        ref = chunk.files[0]
        with self._lock:
            whole = self._tables.get(_Key(ref.sha256, None, None))
        if whole is not None:
            return light_of(whole, names)
        return self._remembered(self._bases, (ref, names), partial(self._read_light, ref, chunk.rows, names))

    def _read_light(self, ref: FileRef, rows: int, names: tuple[str, ...]) -> pa.Table:
        where = self.manifests.path(ref)
        start = max(0, ref.size - _TAIL - rows * _TAIL_ROW[names])
        for _ in range(3):
            # How large a file is and how many rows it has is its writer's word, and where its columns begin is too.
            if ref.size - start > _LONGEST_TAIL:
                break
            found = decode_light(self.manifests.tail(ref, start), start, ref.size, where=where, names=names)
            if isinstance(found, pa.Table):
                return found
            if found == 0:
                break
            start = found
        return light_of(self._decoded(ref, None), names)

    def _decoded(self, ref: FileRef, columns: tuple[str, ...] | None) -> pa.Table:
        """A manifest's rows, proven by its name, and measured before anything unpacks them."""
        data, where = self.manifests.get(ref), self.manifests.path(ref)
        file = check_parquet(data, where=where, columns=None if columns is None else {"id", "deleted", *columns})
        return decode_rows(data, where=where, columns=columns, file=file)

    def _groups(self, ref: FileRef) -> RowGroups:
        data, where = self.manifests.get(ref), self.manifests.path(ref)
        return RowGroups(data, where=where, file=check_parquet(data, where=where))

    def _whole(self, ref: FileRef, columns: tuple[str, ...] | None) -> pa.Table:
        return self._remembered(self._tables, _Key(ref.sha256, None, columns), partial(self._decoded, ref, columns))

    def _overlapping(self, ref: FileRef, chunk: Chunk, columns: tuple[str, ...] | None) -> pa.Table:
        groups = self._remembered(self._deltas, ref.sha256, partial(self._groups, ref))
        found: list[pa.Table] = []
        for each in groups.overlapping(chunk.first_id, chunk.last_id):
            key = _Key(ref.sha256, each, columns)
            light = columns is not None and columns in _TAIL_ROW
            cache = self._bases if light else self._tables
            found.append(self._remembered(cache, key, partial(_read_group, groups, each, columns)))
        # A file that has nothing in the range is there for no reason, and does no harm.
        if not found:
            return _read_group(groups, 0, columns).slice(0, 0)
        return found[0] if len(found) == 1 else pa.concat_tables(found)

    def _remembered(self, cache: LRUCache, key: object, read: Callable[[], _Thing]) -> _Thing:
        with self._lock:
            thing = cache.get(key)
        if thing is None:
            thing = read()
            with self._lock, suppress(ValueError):  # what is larger than the cache is not remembered
                cache[key] = thing
        return thing


def _proven(rows: pa.Table, chunk: Chunk) -> bool:
    return leaf_of(rows, "digest") == chunk.digest and leaf_of(rows, "content_digest") == chunk.content_digest


def _layered(rows: pa.Table, chunk: Chunk, base: tuple[str, str], over: Sequence[pa.Table]) -> Light:
    inside = [within(table, chunk.first_id, chunk.last_id).num_rows for table in over]
    beyond = base[0] < chunk.first_id or base[1] > chunk.last_id
    return Light(
        rows=rows,
        over=sum(inside),
        wider=beyond or any(table.num_rows != count for table, count in zip(over, inside, strict=True)),
        base=base,
        nbytes=rows.nbytes,
    )


def _read_group(groups: RowGroups, each: int, columns: tuple[str, ...] | None) -> pa.Table:
    table = groups.read(each, columns)
    return table if columns is None or columns not in _TAIL_ROW else light_of(table, columns)


def missing_rows(pin: str, chunk: Chunk) -> Integrity:
    """The error for files that do not give the rows that a snapshot names."""
    return Integrity(
        f"{pin}: the files of the chunk that begins at {chunk.first_id!r} do not give its rows.",
        hint=f"Run: stacpin verify {pin}",
        kind="altered",
    )
