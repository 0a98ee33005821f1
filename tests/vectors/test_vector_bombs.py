"""GeoParquet that expands: a small file may not take the memory of the machine."""

from __future__ import annotations

import json
import resource

import geopandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from catalog.vectors import read_features
from versioning.errors import InvalidInput

GEO = json.dumps(
    {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": []}},
    }
)
POINT = shapely.to_wkb(shapely.Point(1, 2))


def save(path, columns, **options):
    table = pa.table(columns)
    # Without Arrow's own schema, which says that a column is a dictionary: other writers leave it out.
    with pq.ParquetWriter(path, table.schema, compression="zstd", store_schema=False, **options) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"geo": GEO})
    return path


def repeated(value, times):
    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), pa.array([value]))


def test_one_long_value_repeated(tmp_path):
    """2 kB that stand for 20 GB."""
    path = save(
        tmp_path / "a.parquet", {"geometry": repeated(POINT, 200_000), "name": repeated("x" * 100_000, 200_000)}
    )
    assert path.stat().st_size < 5_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidInput, match="repeat long values") as caught:
        read_features(path)
    assert (caught.value.kind, str(path) in caught.value.message) == ("too-large", True)
    # ru_maxrss is in kilobytes.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_a_page_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr("catalog.vector_tables._MAX_PAGE", 1_000_000)
    columns = {"geometry": [POINT] * 4, "name": ["x" * 3_000_000] * 4}
    path = save(tmp_path / "a.parquet", columns, use_dictionary=False, write_statistics=False)
    assert path.stat().st_size < 10_000
    with pytest.raises(InvalidInput, match="of them in one page") as caught:
        read_features(path)
    assert caught.value.kind == "too-large"


def test_long_values_come_in_small_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("catalog.vector_tables._MAX_BATCH", 1_000_000)
    columns = {"geometry": [POINT] * 300, "name": [f"{number}" * 20_000 for number in range(100, 400)]}
    path = save(tmp_path / "a.parquet", columns, use_dictionary=False, write_statistics=False, data_page_size=50_000)
    sizes = []

    def seen(batch):
        sizes.append(batch.nbytes)
        return batch

    monkeypatch.setattr("catalog.vector_tables._written_out", seen)
    assert len(read_features(path).geometries) == 300
    assert len(sizes) > 10
    assert max(sizes) < 2_000_000


@pytest.mark.parametrize("dictionary", [True, False])
def test_all_kinds_of_columns_read_the_same(tmp_path, dictionary):
    columns = {
        "geometry": [shapely.to_wkb(shapely.Point(number, 0)) for number in range(40)],
        "text": ["a", None] * 20,
        "list": [["a", None], []] * 20,
        "struct": [{"k": "v", "n": 1}, None] * 20,
        "structs": [[{"k": "v"}], None] * 20,
    }
    found = read_features(save(tmp_path / "a.parquet", columns, use_dictionary=dictionary)).columns
    assert {name: list(values) for name, values in found.items()} == {
        name: values for name, values in columns.items() if name != "geometry"
    }


def test_what_geopandas_writes_is_as_before(tmp_path):
    names = [f"name {number % 7}" for number in range(50_000)]
    frame = geopandas.GeoDataFrame(
        {"name": names}, geometry=geopandas.points_from_xy(range(50_000), [0] * 50_000), crs="EPSG:32613"
    )
    path = tmp_path / "a.parquet"
    frame.to_parquet(path)
    found = read_features(path)
    assert len(found.geometries) == 50_000
    assert list(found.columns["name"]) == names
