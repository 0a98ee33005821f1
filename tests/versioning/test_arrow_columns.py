"""Arrow columns without pandas: what is cut from buffers is what Arrow itself gives."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from versioning.arrays import Texts, bytes_of, tuples
from versioning.manifests import FileRef
from versioning.row_tables import asset_refs, flat_asset_refs, table_of
from versioning.rows import AssetRef, make_row

words = st.lists(st.text(max_size=5), max_size=20)
parts = st.tuples(st.integers(0, 8), st.integers(0, 8))


@given(words, parts)
def test_texts_are_those_of_the_column(values: list[str], part: tuple[int, int]):
    values.sort()
    column = pa.chunked_array([pa.array(values, pa.string())]).slice(*part)
    texts, wanted = Texts(column), column.to_pylist()
    assert list(texts) == wanted
    assert [texts[index - len(wanted)] for index in range(len(wanted))] == wanted
    for each in [*values, "", "\U0010ffff"]:
        assert bisect_left(texts, each) == bisect_left(wanted, each)
        assert bisect_right(texts, each) == bisect_right(wanted, each)
    for index in (len(wanted), -len(wanted) - 1):
        with pytest.raises(IndexError):
            texts[index]


def test_texts_of_several_chunks_and_of_none():
    assert list(Texts(pa.chunked_array([["a"], [], ["b", "c"]], pa.string()))) == ["a", "b", "c"]
    assert list(Texts(pa.chunked_array([], pa.string()))) == []


@given(st.lists(st.binary(min_size=3, max_size=3), max_size=12), parts)
def test_bytes_are_those_of_the_column(values: list[bytes], part: tuple[int, int]):
    column = pa.array(values, pa.binary(3)).slice(*part)
    assert bytes_of(column) == bytes_of(pa.chunked_array([column])) == column.to_pylist()


def test_a_digest_that_is_null_is_refused():
    with pytest.raises(ValueError, match="null"):
        bytes_of(pa.array([b"abc", None], pa.binary(3)))
    assert bytes_of(pa.array([b"abc", None], pa.binary(3)).slice(0, 1)) == [b"abc"]


def test_tuples_of_columns():
    found = list(tuples(FileRef, ([b"a", b"b"], [1, 2])))
    assert found == [FileRef(b"a", 1), FileRef(b"b", 2)]
    assert {type(each) for each in found} == {FileRef}
    with pytest.raises(ValueError, match="shorter"):
        list(tuples(FileRef, ([b"a", b"b"], [1])))


@pytest.mark.parametrize("part", [slice(0, 4), slice(1, 3), slice(2, 2)])
def test_assets_of_some_rows(part: slice):
    def item(number: int) -> dict:
        digest = f"{number:02x}" * 32
        asset = {"href": f"objects/{digest[:2]}/{digest}.tif", "file:checksum": f"1220{digest}", "file:size": number}
        properties = {"datetime": "2024-05-01T00:00:00Z"}
        assets = {f"k{key}": asset for key in range(number)}
        return {"type": "Feature", "id": f"i{number}", "geometry": None, "properties": properties, "assets": assets}

    rows = [make_row(item(number)) for number in range(4)]
    column = table_of(rows).column("assets").combine_chunks()[part]
    wanted = [row.assets for row in rows[part]]
    assert asset_refs(column) == wanted
    lengths, flat = flat_asset_refs(column)
    assert lengths == [len(each) for each in wanted]
    found = list(flat)
    assert found == [asset for each in wanted for asset in each]
    assert all(type(each) is AssetRef for each in found)
