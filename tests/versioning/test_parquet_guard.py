"""A small file that expands to gigabytes is refused before it is decoded; what writers really make is not."""

from __future__ import annotations

import io
import re
import resource
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from version_helpers import Wrapped, item_of, local_store, save

from versioning.catalog import Catalog
from versioning.errors import Integrity
from versioning.manifests import FileRef, encode_rows
from versioning.objects import LARGEST_MANIFEST
from versioning.parquet_footer import chunks_of
from versioning.parquet_guard import check_parquet, expanded_bytes, measure_parquet
from versioning.row_tables import table_of
from versioning.rows import make_row
from versioning.snapshots import describe, encode_snapshots

GIB = 1 << 30


def written(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **{"compression": "zstd", "store_schema": False, **options})
    return sink.getvalue()


def repeated(value: str, times: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), pa.array([value]))


BOMBS = {
    "a long value that is repeated": lambda: written(pa.table({"item": repeated("x" * 100_000, 100_000)})),
    "the same within lists": lambda: written(
        pa.table({"a": pa.ListArray.from_arrays(pa.array([0, 100_000]), repeated("x" * 100_000, 100_000))})
    ),
    "pages of zeros": lambda: written(
        pa.table({"item": [b"\0" * 3_000_000] * 20}), use_dictionary=False, write_statistics=False
    ),
    "nulls": lambda: written(pa.table({"id": pa.nulls(10_000_000, pa.int64())}), row_group_size=1 << 30),
    "prefixes": lambda: written(
        pa.table({"id": ["x" * 10_000] * 8_000}), use_dictionary=False, column_encoding={"id": "DELTA_BYTE_ARRAY"}
    ),
}

HUGE = list(BOMBS.values())[:2]


@pytest.mark.parametrize("name", list(BOMBS))
def test_bombs(name: str, monkeypatch: pytest.MonkeyPatch):
    if BOMBS[name] not in HUGE:  # those that take as long to make as to unpack
        monkeypatch.setattr("versioning.parquet_guard._LEAST_ALLOWED", GIB // 32)
    data = BOMBS[name]()
    assert len(data) < 100_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Integrity, match=r"m is refused: its \d+ bytes expand to \d+ or more") as caught:
        check_parquet(data, where="m")
    assert caught.value.kind == "too-large"
    # ru_maxrss is in kilobytes.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_a_footer_that_lies_changes_nothing():
    """The sizes that the footer tells are not used: those of the pages are."""
    data = BOMBS["pages of zeros"]()
    size = measure_parquet(data)
    told = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0).total_uncompressed_size
    assert size.columns[0].pages == pytest.approx(told, rel=0.01)
    assert size.columns[0].largest_page >= 3_000_000


@pytest.mark.parametrize(
    "options", [{}, {"use_dictionary": False}, {"data_page_version": "2.0"}, {"compression": "none"}]
)
def test_what_writers_make(options: dict[str, Any]):
    rows = [make_row(item_of(f"i{number:04d}", number)) for number in range(600)]
    table = table_of(rows)
    check_parquet(written(table, **options), where="m")
    check_parquet(written(table, row_group_size=100, data_page_size=1000, **options), where="m")
    ours = encode_rows(table)
    check_parquet(ours, where="m")
    check_parquet(encode_snapshots([describe(table, ())])[0], where="s")
    assert measure_parquet(ours).decoded < 4 * table.nbytes


@pytest.mark.parametrize("statistics", [True, False, ["id"]])
@pytest.mark.parametrize(
    "options", [{}, {"use_dictionary": False}, {"data_page_version": "2.0"}, {"compression": "none"}]
)
@pytest.mark.parametrize("checksums", [True, False])
def test_plain_headers_are_read_as_field_by_field(
    monkeypatch: pytest.MonkeyPatch, statistics: Any, options: dict[str, Any], checksums: bool
):
    texts = [None, "", "a", "ä" * 63, "b" * 127, "c" * 128, "d" * 20_000]
    columns = {
        "id": pa.array(texts * 40),
        "n": pa.array([None, *range(-3, 3)] * 40),
        "x": pa.array([float(number) for number in range(280)]),
        "list": pa.array([[1, None], [], None, [2**40]] * 70),
        "digest": pa.array([b"\1" * 32] * 280, pa.binary(32)),
        "yes": pa.array([True, None] * 140),
    }
    options = options | {"write_statistics": statistics, "write_page_checksum": checksums}
    for more in ({}, {"data_page_size": 300, "row_group_size": 90}):
        data = written(pa.table(columns), **options, **more)
        fast = measure_parquet(data)
        with monkeypatch.context() as patch:
            patch.setattr("versioning.parquet_guard._PLAIN_PAGE", re.compile(b"(?!)"))
            assert measure_parquet(data) == fast


def test_our_own_pages_take_the_short_way(monkeypatch: pytest.MonkeyPatch):
    """Also those with statistics, of ids of some length."""
    table = table_of([make_row(item_of(f"i{number:04d}" * 8, number)) for number in range(600)])

    def no_struct(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("versioning.parquet_guard.read_struct", no_struct)
    for data in (encode_rows(table), encode_snapshots([describe(table, ())])[0]):
        assert measure_parquet(data).decoded > 0


def test_only_columns_that_are_read_are_measured():
    kind = pa.DictionaryArray.from_arrays(pa.array([0] * 200_000, pa.int32()), pa.array(["x" * 100_000]))
    data = written(pa.table({"id": ["a"] * 200_000, "item": kind}))
    check_parquet(data, where="m", columns={"id"})
    for columns in ({"id", "item"}, None):
        with pytest.raises(Integrity, match="is refused"):
            check_parquet(data, where="m", columns=columns)


def test_many_different_values_in_dictionaries_are_counted_by_their_values():
    """A bound by the dictionary's size would be 60,000 times 1.8 MB."""
    data = written(pa.table({"id": [f"an id of some length {number}" for number in range(60_000)]}))
    assert measure_parquet(data).decoded > GIB
    check_parquet(data, where="m")


def test_expanded_bytes_is_exact():
    kind = pa.map_(pa.dictionary(pa.int32(), pa.string()), pa.int64())
    nested = pa.array([[("abc", 1)], [("abc", 2), ("d", 3)]], kind)
    assert expanded_bytes(nested) == 7
    texts = pa.array(["ab", None, "ab", "c"]).dictionary_encode()
    assert expanded_bytes(texts) == expanded_bytes(pa.chunked_array([texts])) == 5
    assert expanded_bytes(texts.slice(2)) == 3
    assert expanded_bytes(pa.StructArray.from_arrays([texts, texts], ["a", "b"])) == 10
    assert expanded_bytes(pa.array([1.5]).dictionary_encode()) == expanded_bytes(pa.array(["plain"])) == 0


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"PAR1" + b"\xff\xff\xff\xff" + b"PAR1", b"x" * 100, b"PAR1\0\0\0\0PAR1"]
)
def test_no_parquet(data: bytes):
    with pytest.raises(Integrity, match="m is not a Parquet file"):
        check_parquet(data, where="m")


GOOD = written(pa.table({"id": [f"i{number}" for number in range(300)], "n": list(range(300))}), data_page_size=500)


FOOTER = len(GOOD) - 8 - int.from_bytes(GOOD[-8:-4], "little")
IN_A_CHILD = """
import os, random, sys
sys.path[:0] = sys.argv[1:3]
from test_parquet_guard import FOOTER, GOOD
from versioning.errors import Integrity
from versioning.parquet_guard import check_parquet

chance = random.Random(7)
for _ in range(400):
    data = bytearray(GOOD)
    data[chance.randrange(FOOTER, len(GOOD))] ^= chance.randrange(1, 256)
    child = os.fork()
    if child == 0:
        os.close(2)
        try:
            check_parquet(bytes(data), where="m")
        except Integrity:
            pass
        except BaseException:
            os._exit(9)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def ends_of(code: str) -> Counter[str]:
    here = Path(__file__).parent
    command = [sys.executable, "-c", code, str(here), str(here.parents[1])]
    return Counter(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.split())


def test_damaged_footers_of_manifests_give_clear_errors_or_end_the_process():
    """pyarrow reads them: its ``RowGroupMetaData.column`` lets exceptions of C++ out where types contradict each other,
    which end the process (in 26.0.1 one of 200 bytes that are changed). Nothing else may come of them."""
    codes = ends_of(IN_A_CHILD)
    assert codes.keys() <= {"0", str(-signal.SIGABRT)}
    assert codes["0"] > 380


def test_damaged_footers_of_files_from_outside_end_no_process():
    """Those are not named by their hashes, and so are read by ourselves."""
    code = IN_A_CHILD.replace("import check_parquet", "import measure_parquet")
    code = code.replace('check_parquet(bytes(data), where="m")', "measure_parquet(bytes(data))")
    code = code.replace("except Integrity:", "except (ValueError, pa.ArrowException, OSError):")
    assert ends_of(code.replace("import os", "import pyarrow as pa, os")) == {"0": 400}


@pytest.mark.parametrize("source", ["bytes", "path"])
def test_a_footer_is_read_as_pyarrow_reads_it(source: str, tmp_path: Path):
    table = pa.table(
        {"id": [f"i{number}" for number in range(3000)], "n": list(range(3000)),
         "s": [{"a": [1, number % 5], "b": "x" * (number % 7)} for number in range(3000)]}
    )  # fmt: skip
    data = written(table, row_group_size=700, data_page_size=900)
    path = tmp_path / "t.parquet"
    path.write_bytes(data)
    metadata = pq.ParquetFile(path).metadata
    wanted = [
        (part.num_values, part.total_compressed_size, part.data_page_offset, part.dictionary_page_offset)
        for part in (metadata.row_group(0).column(index) for index in range(metadata.num_columns))
    ]
    assert [tuple(part) for part in chunks_of(data)[0]] == wanted
    assert len(chunks_of(data)) == metadata.num_row_groups == 5
    size = measure_parquet(data if source == "bytes" else path)
    assert [column.path for column in size.columns[:4]] == ["id", "n", "s.a.list.element", "s.b"]
    assert size.decoded > 3000


@pytest.mark.parametrize(
    "footer",
    [b"\x49" + b"\x1c\x19\x1c\x00", b"\x49\xfc" + b"\xff" * 8 + b"\x01", b"\x19" * 60, b"\x49\x9c" + b"\x00" * 9,
     b"\x4c\x19\x0c\x00\x00", b""],
)  # fmt: skip
def test_a_forged_footer_is_refused_by_name(footer: bytes):
    with pytest.raises((ValueError, pa.ArrowException, OSError)):
        measure_parquet(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")


def test_a_list_of_millions_takes_no_minutes(monkeypatch):
    monkeypatch.setattr("versioning.thrift._MOST_VALUES", 1000)
    many = b"\x49\xf5" + b"\xd0\x0f" + b"\x02" * 2000 + b"\x00"  # field 4: a list of 2,000 numbers
    with pytest.raises(ValueError, match="too many values"):
        chunks_of(b"PAR1" + many + len(many).to_bytes(4, "little") + b"PAR1")


@given(st.integers(0, FOOTER - 1), st.integers(1, 255))
def test_damaged_files_give_clear_errors(position: int, bits: int):
    data = bytearray(GOOD)
    data[position] ^= bits
    with suppress(Integrity):
        check_parquet(bytes(data), where="m")


class Lengths(Wrapped):
    """Remembers how much was asked for at once."""

    most = 0

    def get(self, path: str) -> bytes:
        self.most = max(self.most, self.size(path) or 0)
        return self.inner.get(path)

    def get_range(self, path: str, start: int, length: int) -> bytes:
        self.most = max(self.most, length)
        return self.inner.get_range(path, start, length)


@pytest.mark.parametrize(
    ("size", "most"), [(3 * GIB, 0), (LARGEST_MANIFEST + 1, 0), (70 * 1024 * 1024, 70 * 1024 * 1024)]
)
def test_what_a_snapshot_says_of_its_files_takes_no_memory(tmp_path: Path, size: int, most: int):
    """A sparse file and a forged number of rows: a diff asked for all of the 3 GiB, and took twice as much."""
    inner = local_store(tmp_path)
    catalog = Catalog.create(inner)
    (chunk,) = save(catalog.dataset("ds"), {"a": 1}).version.chunks
    store = Lengths(inner)
    files = Catalog.open(store).dataset("ds").files
    big = FileRef(b"\1" * 32, size)
    with (tmp_path / files.manifests.path(big)).open("wb") as file:
        file.truncate(size)
    forged = chunk._replace(rows=10**9, files=(big,))
    store.most = 0
    with pytest.raises(Integrity, match=f"{files.manifests.path(big)} is altered"):
        files.light(forged, pin="ds@v1")
    with pytest.raises(Integrity, match=f"{files.manifests.path(big)} is altered"):
        files.tables(forged, None)
    assert store.most == most
