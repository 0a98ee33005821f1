"""Normalised label files: one set of bytes for one set of features, and a parent that noise does not move."""

from __future__ import annotations

import copy
import json

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from label_samples import SQUARE, feature, shifted, three

from catalog.vector_digest import vector_digest
from catalog.vectors import read_features
from ingest import labels
from ingest.labels import to_labels
from versioning.errors import Integrity, InvalidInput


def test_any_order_gives_the_same_bytes(write, tmp_path):
    features = [*three(), three()[0], three()[0] | {"properties": {**three()[0]["properties"], "note": ""}}]
    turned = copy.deepcopy(features)[::-1]
    for row in turned:
        ring = row["geometry"]["coordinates"][0]
        row["geometry"]["coordinates"] = [[*ring[2:], *ring[1:3]][::-1]]
        row["properties"] = dict(reversed(row["properties"].items()))
    one, other = (
        to_labels(write(rows), tmp_path / f"{len(rows)}{at}.parquet") for at, rows in enumerate([features, turned])
    )
    assert one.path.read_bytes() == other.path.read_bytes()
    assert one.digest == one.source_digest == other.digest == vector_digest(one.path)


def test_what_the_file_says(write, tmp_path):
    result = to_labels(write(three()), tmp_path / "out.parquet")
    geo = json.loads(pq.read_metadata(result.path).metadata[b"geo"])
    column = geo["columns"]["geometry"]
    assert (geo["version"], column["encoding"], column["geometry_types"]) == ("1.1.0", "WKB", ["Polygon"])
    assert column["crs"]["id"] == {"authority": "OGC", "code": "CRS84"}
    assert column["bbox"] == [0.1, 0.1, 2.3, 0.4] == list(result.bbox) == list(result.native_bbox)
    assert column["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    frame = geopandas.read_parquet(result.path, bbox=(0.9, 0, 1.5, 1))
    assert frame["class"].tolist() == ["tree"]
    assert frame.geometry.iloc[0].exterior.is_ccw
    assert "note" not in frame.columns
    assert result.properties["class"].values == ("roof", "tree")
    assert {name: found.kind for name, found in result.properties.items()} == {
        "at": "text", "class": "text", "height": "number", "ok": "boolean", "seen": "text", "tags": "json",
    }  # fmt: skip
    assert shapely.geometry.shape(result.footprint).bounds == result.bbox
    assert (result.count, result.lineage, result.kept) == (3, {}, 0)


def test_every_kind_of_value_comes_back(write, tmp_path):
    rows = [
        feature(properties={"mixed": 1, "big": 2**60 + 1, "text": "[1, 2]", "geometry": "a", "bbox": 1, "é": "ü"}),
        feature(shifted(1), {"mixed": "1", "big": 2**70, "nested": {"a": [None, True]}, "real": 1.5}),
        feature(shifted(2), {"mixed": True, "big": -1, "nested": "plain", "real": 2}),
        {"type": "Feature", "properties": {"mixed": 2.5}, "geometry": None},
        {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [1, 2, 3]}},
        {"type": "Feature", "properties": {}, "geometry": {"type": "MultiPoint", "coordinates": [[5, 2], [1, 2]]}},
    ]
    source = write(rows)
    result = to_labels(source, tmp_path / "kinds.parquet")
    assert result.digest == vector_digest(source) == vector_digest(result.path)
    assert result.geometry_types == ("MultiPoint", "Point Z", "Polygon")
    found = read_features(result.path).columns
    assert {json.dumps(value) for value in found["mixed"]} == {"null", "1", '"1"', "true", "2.5"}
    assert 2**60 + 1 in found["big"]


def test_formats_give_one_digest_and_nearly_one_file(write, tmp_path):
    source = write([feature(properties={"class": "roof", "n": 1}), feature(shifted(1), {"class": "tree", "n": 2})])
    geopandas.read_file(source).to_file(tmp_path / "a.gpkg", promote_to_multi=True)
    one, other = (to_labels(path, tmp_path / f"{path.stem}.parquet") for path in (source, tmp_path / "a.gpkg"))
    assert one.digest == other.digest
    assert one.path.read_bytes() == other.path.read_bytes()


def test_reprojection(shared_data, tmp_path):
    source = shared_data / "labels" / "spacenet4-atlanta-buildings-2" / "gt.geojson"
    result = to_labels(source, tmp_path / "gt.parquet", target_crs="EPSG:4326")
    oracle = geopandas.read_file(source).to_crs(4326)
    assert np.allclose(geopandas.read_parquet(result.path).total_bounds, oracle.total_bounds, rtol=0, atol=1e-7)
    assert result.lineage == {"step": "reproject", "from": "EPSG:32616", "to": "EPSG:4326", "precision": 1e-7}
    assert result.source_digest == vector_digest(source) != result.digest
    assert shapely.geometry.shape(result.footprint).buffer(1e-6).covers(oracle.union_all())


def test_real_labels(shared_data, tmp_path):
    names = ["slovenia-lulc/LULC.gpkg", "natural-earth-countries/naturalearth_lowres.shp"]
    for number, name in enumerate([*names, "yellowstone-fires/ynp_fires_1984_2022.gpkg"]):
        result = to_labels(shared_data / "labels" / name, tmp_path / f"{number}.parquet")
        frame = geopandas.read_parquet(result.path)
        assert len(frame) == result.count
        assert result.digest == result.source_digest


class TestParent:
    def many(self, noise, seed=1):
        """Squares whose corners lie close to the edges of the grid, so that noise moves many to the next step."""
        random = np.random.default_rng(seed)
        found = []
        for number in range(300):
            ring = np.array(shifted(number / 100)) + 5e-8 + random.uniform(-1, 1, (4, 2)) * noise
            ring = np.roll(ring, seed, axis=0)
            found.append(feature(ring.tolist(), {"n": number % 7}))
        return found

    def test_noise_across_the_grid_keeps_the_parent(self, write, tmp_path):
        parent = to_labels(write(self.many(1e-9)), tmp_path / "parent.parquet")
        noisy = write(self.many(1e-9, seed=2)[::-1])
        assert to_labels(noisy, tmp_path / "alone.parquet").digest != parent.digest
        result = to_labels(noisy, tmp_path / "kept.parquet", parent=parent.path)
        assert result.kept > 0
        assert result.digest == parent.digest
        assert result.path.read_bytes() == parent.path.read_bytes()

    def test_what_moved_further_or_differs_is_new(self, write, tmp_path):
        parent = to_labels(write(self.many(0)), tmp_path / "parent.parquet")
        changed = self.many(1e-9)
        changed[5]["geometry"]["coordinates"][0][1][0] += 3e-7
        changed[9]["properties"]["n"] = 99
        del changed[20]
        path = write(changed)
        result = to_labels(path, tmp_path / "next.parquet", parent=parent.path)
        old, new = read_features(parent.path), read_features(result.path)
        left = {shape.wkb for shape in old.geometries} - {shape.wkb for shape in new.geometries}
        assert len(left) in (2, 3)  # moved and removed; the relabelled one may stand on either side of the grid's edge
        assert result.count == 299

    def test_another_crs_keeps_nothing(self, write, tmp_path):
        parent = to_labels(write(three()), tmp_path / "parent.parquet")
        assert to_labels(write(three()), tmp_path / "b.parquet", target_crs=3857, parent=parent.path).kept == 0


def test_nothing_is_left_of_a_failure(write, tmp_path, monkeypatch):
    target = tmp_path / "out" / "labels.parquet"
    real = labels.write_geoparquet

    def wrong(path, features, columns, step):
        real(path, features, columns[:-1], step)

    monkeypatch.setattr(labels, "write_geoparquet", wrong)
    with pytest.raises(Integrity, match="read back"):
        to_labels(write(three()), target)
    assert list(target.parent.iterdir()) == []


def test_no_features_and_bad_targets(write, tmp_path):
    result = to_labels(write([]), tmp_path / "none.parquet")
    assert (result.count, result.bbox, result.footprint) == (0, None, None)
    assert vector_digest(result.path) == result.digest == vector_digest(write([]))
    with pytest.raises(InvalidInput, match=r"\.parquet"):
        to_labels(write([]), tmp_path / "x.json")
    with pytest.raises(InvalidInput, match="precision"):
        to_labels(write([]), tmp_path / "x.parquet", precision=-1)
    far = write([feature(shifted(3))])  # a quarter of the globe from the zone's meridian
    with pytest.raises(InvalidInput, match="infinite"):
        to_labels(far, tmp_path / "x.parquet", target_crs=32616)


def test_a_declared_precision_travels_with_the_file(write, tmp_path):
    result = to_labels(write([feature(SQUARE)]), tmp_path / "coarse.parquet", precision=0.01)
    assert vector_digest(result.path) == result.digest == result.source_digest
    assert read_features(result.path).precision == 0.01
