"""Which objects the rows of chunks name: read from the ``assets`` column alone, each file once, each row told once."""

# pyarrow makes the functions of pyarrow.compute at run time, so a type checker cannot see them.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
from cachetools import LRUCache

from versioning.arrays import integers
from versioning.dataset import Dataset
from versioning.errors import Integrity
from versioning.manifests import FileRef, decode_rows
from versioning.parquet_guard import check_parquet
from versioning.snapshots import Chunk

__all__ = ["RowHrefs"]

_WORKERS = 8
_REMEMBERED = 128 * 1024 * 1024


class RowHrefs:
    """Which objects the rows of chunks name. Of each file it remembers which rows were told already."""

    def __init__(self, dataset: Dataset) -> None:
        self._manifests = dataset.files.manifests
        self._remembered: LRUCache[bytes, _File] = LRUCache(_REMEMBERED, getsizeof=lambda file: file.nbytes)
        self._files: dict[bytes, _File] = {}

    def load(self, refs: set[FileRef]) -> None:
        """Read and prove files, several at a time: on S3 each takes a round trip."""
        known = {ref.sha256: self._files.get(ref.sha256) or self._remembered.get(ref.sha256) for ref in refs}
        self._files = {digest: file for digest, file in known.items() if file is not None}
        wanted = [ref for ref in refs if ref.sha256 not in self._files]
        if not wanted:
            return
        with ThreadPoolExecutor(min(_WORKERS, len(wanted))) as pool:
            for ref, file in zip(wanted, pool.map(self._open, wanted), strict=True):
                self._files[ref.sha256] = file
                if file.nbytes <= self._remembered.maxsize:
                    self._remembered[ref.sha256] = file

    def hrefs(self, pin: str, chunk: Chunk) -> Iterator[str]:
        """The hrefs of a chunk's rows that were not told before; all of its files must be loaded.

        A row of a file is one of the chunk's if it lies in its range and no later file has its id.
        """
        files = [self._files[ref.sha256] for ref in chunk.files]
        if len(files) == 1 and files[0].count(chunk) != chunk.rows:
            raise Integrity(
                f"{pin}: the files of the chunk that begins at {chunk.first_id!r} do not give its rows.",
                hint=f"Run: stacpin verify {pin}",
                kind="altered",
            )
        later: set[str] = set()
        for file in reversed(files):
            first, end = file.span(chunk)
            yield from file.tell(first, end, later)
            if file is not files[0]:
                later.update(file.ids[first:end])

    def _open(self, ref: FileRef) -> _File:
        data, where = self._manifests.get(ref), self._manifests.path(ref)
        file = check_parquet(data, where=where, columns=("id", "deleted", "assets"))
        return _File(decode_rows(data, where=where, columns=("assets",), file=file))


class _File:
    """The ids and hrefs of one manifest file, and which of its rows were told."""

    def __init__(self, table: pa.Table) -> None:
        self.ids: list[str] = table.column("id").to_pylist()
        self._assets = table.column("assets").combine_chunks()
        deleted = table.column("deleted").to_pylist() if "deleted" in table.column_names else [False] * len(self.ids)
        # A tombstone has nothing to tell.
        self._told = bytearray(deleted)
        self._gone = sum(deleted)
        self._deleted = deleted
        self.nbytes = 200 * len(self.ids) + table.nbytes

    def span(self, chunk: Chunk) -> tuple[int, int]:
        return bisect_left(self.ids, chunk.first_id), bisect_right(self.ids, chunk.last_id)

    def count(self, chunk: Chunk) -> int:
        """How many rows it gives a chunk whose only file it is."""
        first, end = self.span(chunk)
        return end - first - (sum(self._deleted[first:end]) if self._gone else 0)

    def tell(self, first: int, end: int, later: set[str]) -> Sequence[str]:
        """The hrefs of the rows of a span that were not told and that no later file has."""
        if self._told.find(0, first, end) < 0:
            return ()
        untold = [index for index in range(first, end) if not self._told[index]]
        wanted = [index for index in untold if self.ids[index] not in later] if later else untold
        for index in wanted:
            self._told[index] = 1
        assets = self._assets.take(integers(wanted))
        return pc.struct_field(pc.list_flatten(assets), "href").to_pylist()
