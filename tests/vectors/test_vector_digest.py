"""What changes the v1 digest and what does not."""

from __future__ import annotations

import copy
import hashlib
import json
import struct
import time

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from label_samples import SQUARE, feature, shifted, three

from catalog.vector_crs import WGS84
from catalog.vector_digest import vector_digest
from catalog.vector_normal import Grid, decode_geometries, encode_geometries
from catalog.vectors import Features, read_features

STEP = 1e-7


def features_of(*geometries, **columns):
    array = np.empty(len(geometries), dtype=object)
    array[:] = geometries
    return Features(array, columns, WGS84, "layer", "test")


def digest(*geometries, **columns):
    return vector_digest(features_of(*geometries, **columns))


def test_the_definition_by_hand(write):
    """The docstring's bytes, put together without our code."""
    path = write([feature(properties={"class": "roof", "n": 2, "gone": None})])
    vertices = [(1_000_000, 1_000_000), (1_000_000, 4_000_000), (3_000_000, 4_000_000), (3_000_000, 1_000_000)]
    geometry = b"A2" + struct.pack(">III", 1, 1, 4) + b"".join(struct.pack(">qq", *vertex) for vertex in vertices)
    text = struct.pack(">I", 5) + b"class" + b"s" + struct.pack(">I", 4) + b"roof"
    number = struct.pack(">I", 1) + b"n" + b"n" + struct.pack(">d", 2.0)
    one = hashlib.sha256(b"stacpin feature v1\0" + struct.pack(">Q", len(geometry)) + geometry + text + number)
    head = b"stacpin vectors v1\0" + struct.pack(">I", 9) + b"EPSG:4326" + struct.pack(">dQ", STEP, 1)
    assert vector_digest(path) == "v1:" + hashlib.sha256(head + one.digest()).hexdigest()


def name_of(value):
    return value if isinstance(value, str) else ""


def equal_variants():
    features = three()
    yield "feature order", features[::-1]
    yield (
        "key order",
        [dict(reversed(f.items())) | {"properties": dict(reversed(f["properties"].items()))} for f in features],
    )
    yield "null properties", [f | {"properties": f["properties"] | {"extra": None}} for f in features]
    yield "empty text", [f | {"properties": f["properties"] | {"extra": ""}} for f in features]
    yield (
        "row numbers",
        [f | {"id": number, "properties": f["properties"] | {"fid": number}} for number, f in enumerate(features)],
    )
    yield "row numbers as text", [f | {"id": str(number)} for number, f in enumerate(features)]
    other = copy.deepcopy(features)
    other[0]["properties"]["height"] = 3.0
    yield "3 and 3.0", other
    other = copy.deepcopy(features)
    other[2]["properties"]["ok"] = 1.0  # what geopandas makes of true beside a null
    yield "true and 1.0", other
    other = copy.deepcopy(features)
    other[2]["properties"]["at"] = "2024/05/01 10:00:00Z"
    yield "the same time", other
    other = copy.deepcopy(features)
    other[1]["properties"]["tags"] = json.dumps({"b": None, "a": [1.0, 2.5]})
    yield "JSON as text", other
    other = copy.deepcopy(features)
    other[0]["geometry"] = {"type": "MultiPolygon", "coordinates": [other[0]["geometry"]["coordinates"]]}
    yield "one part", other
    other = copy.deepcopy(features)
    other[0]["geometry"]["coordinates"][0].insert(1, SQUARE[0])
    yield "repeated vertex", other
    other = copy.deepcopy(features)
    other[0]["geometry"]["coordinates"][0][1][0] += 2e-8
    yield "noise", other


@pytest.mark.parametrize(
    ("what", "features"), list(equal_variants()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_equal(write, what, features):
    assert vector_digest(write(features, indent=1)) == vector_digest(write(three()))


def different_variants():
    features = three()
    yield "removed", features[:2]
    yield "duplicated", [*features, features[0]]
    for name, value in {"class": "Roof", "height": 3.0000001, "seen": "2024-05-02", "new": 1, "note": "x"}.items():
        other = copy.deepcopy(features)
        other[0]["properties"][name] = value
        yield name, other
    other = copy.deepcopy(features)
    other[0]["properties"]["height"] = "3"
    yield "3 and '3'", other
    other = copy.deepcopy(features)
    other[1]["properties"]["tags"]["a"].reverse()
    yield "nested order", other
    other = copy.deepcopy(features)
    other[0]["geometry"]["coordinates"][0][1][0] += 1.2e-7
    yield "moved vertex", other
    other = copy.deepcopy(features)
    for vertex in other[0]["geometry"]["coordinates"][0]:
        vertex.append(5.0)
    yield "height of vertices", other
    yield "text id", [f | {"id": "a"} for f in features]
    other = copy.deepcopy(features)
    other[0]["geometry"] = None
    yield "no geometry", other


@pytest.mark.parametrize(
    ("what", "features"), list(different_variants()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_different(write, what, features):
    assert vector_digest(write(features)) != vector_digest(write(three()))


def test_duplicates_and_crs_and_precision_differ(write):
    path = write(three())
    found = {vector_digest(path), vector_digest(path, crs=4269), vector_digest(path, precision=1e-6)}
    found |= {vector_digest(write([*three(), three()[number]])) for number in range(3)}
    assert len(found) == 6
    assert vector_digest(path, crs="OGC:CRS84") == vector_digest(path) == vector_digest(path, precision=1e-7)


@pytest.mark.parametrize("suffix", ["gpkg", "shp", "parquet", "fgb", "geojson"])
def test_formats(write, tmp_path, suffix):
    rows = [
        feature(properties={"class": "roof", "n": 3, "v": 0.5, "day": "2024-05-01", "fid": 1}),
        feature(shifted(1), {"class": "", "n": 4, "v": 2.0, "day": "2024-05-02", "fid": 2}),
    ]
    source = write(rows)
    copied = tmp_path / f"copy.{suffix}"
    frame = geopandas.read_file(source)
    frame["day"] = frame["day"].dt.strftime("%Y-%m-%d") if suffix == "shp" else frame["day"]
    frame.to_parquet(copied) if suffix == "parquet" else frame.to_file(copied)
    assert vector_digest(copied) == vector_digest(source)


def test_multi_and_z_in_a_geopackage(tmp_path, write):
    source = write([feature(ring=[[*at, 7.5] for at in SQUARE]), feature(ring=[[*at, 1.0] for at in shifted(1)])])
    frame = geopandas.read_file(source)
    frame.to_file(tmp_path / "z.gpkg", promote_to_multi=True)
    assert read_features(tmp_path / "z.gpkg").geometries[0].geom_type == "MultiPolygon"
    assert vector_digest(tmp_path / "z.gpkg") == vector_digest(source)


whole = st.integers(-40, 40)
rings = st.lists(st.tuples(whole, whole), min_size=3, max_size=9)


@given(rings, st.integers(0, 8), st.booleans(), st.lists(st.integers(-4, 4), min_size=18, max_size=18))
@settings(max_examples=150, deadline=None)
def test_ring_start_direction_and_noise(ring, start, backwards, noise):
    """Also for rings that touch, retrace or collapse onto themselves."""
    points = np.array(ring, dtype=float)
    turned = np.roll(points, start % len(points), axis=0)
    turned = turned[::-1] if backwards else turned
    turned = turned + np.resize(np.array(noise) / 10, turned.shape)  # up to 0.4 of a step
    assert digest(shapely.Polygon(points * STEP)) == digest(shapely.Polygon(turned * STEP))


@given(rings, rings)
@settings(max_examples=150, deadline=None)
def test_equal_digests_mean_equal_rings(one, other):
    """No two different rings meet: compared with every rotation, by brute force."""

    def reduced(ring):
        kept = [at for number, at in enumerate(ring) if at != ring[number - 1]] or ring[:1]
        turns = [kept[at:] + kept[:at] for at in range(len(kept))]
        return min(turns + [turn[::-1] for turn in turns])

    same = digest(shapely.Polygon(np.array(one) * STEP)) == digest(shapely.Polygon(np.array(other) * STEP))
    assert same == (reduced(one) == reduced(other))


@given(st.lists(rings, min_size=1, max_size=4), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_normal_forms_come_back(parts, random):
    """Decoding and encoding again is stable, for polygons with holes, multis and collections in any order."""
    polygons = [shapely.Polygon(np.array(ring) * STEP) for ring in parts]
    holed = shapely.Polygon(polygons[0].exterior, [polygon.exterior for polygon in polygons[1:]])
    shuffled = random.sample(polygons, len(polygons))
    lines = [shapely.LineString(np.array(ring) * STEP) for ring in parts]
    shapes = [holed, shapely.MultiPolygon(shuffled), shapely.MultiLineString(lines)]
    shapes += [
        shapely.GeometryCollection([shapes[0], lines[0], shapely.Point(1, 2)]),
        shapely.MultiPoint(parts[0]),
        None,
    ]
    array = np.array(shapes, dtype=object)
    grid = Grid(STEP, 0.001)
    encoded = encode_geometries(array, grid, "test")
    assert encode_geometries(decode_geometries(encoded, grid), grid, "test") == encoded
    assert encoded[1] == encode_geometries(np.array([shapely.MultiPolygon(polygons)], dtype=object), grid, "test")[0]


def test_lines_keep_their_direction():
    line = shapely.LineString([(0, 0), (1, 1), (2, 0)])
    assert digest(line) != digest(line.reverse())


def test_a_long_ring_that_touches_itself_stays_linear():
    """A hostile ring whose least vertex repeats 50,000 times."""
    points = np.zeros((100_000, 2))
    points[1::2, 0] = 1e-5 * (1 + np.arange(50_000) % 7)
    start = time.perf_counter()
    digest(shapely.Polygon(points))
    assert time.perf_counter() - start < 5


def test_real_labels_in_every_format(shared_data, tmp_path):
    for name in ("alexandria-va-buildings/buildings.geojson", "yellowstone-fires/ynp_fires_1984_2022.gpkg"):
        source = shared_data / "labels" / name
        frame = geopandas.read_file(source)
        for suffix in ("gpkg", "fgb", "geojson"):
            copied = tmp_path / f"copy.{suffix}"
            frame.sample(frac=1, random_state=1).to_file(copied)
            assert vector_digest(copied) == vector_digest(source)
    shapes = shared_data / "labels" / "alexandria-va-buildings"
    assert vector_digest(shapes / "buildings.shp") == vector_digest(shapes / "buildings.geojson")


def test_many_features(tmp_path, capsys):
    """Prints the time; bounded memory is measured outside."""
    corners = np.random.default_rng(1).random((20_000, 2)) * 80
    path = tmp_path / "many.geojson"
    with path.open("w") as out:
        out.write('{"type": "FeatureCollection", "features": [')
        for number, (x, y) in enumerate(corners.tolist()):
            out.write("," * bool(number) + json.dumps(feature(shifted(x, y), {"n": number})))
        out.write("]}")
    start = time.perf_counter()
    vector_digest(path)
    with capsys.disabled():
        print(f"\nv1 of 20,000 GeoJSON polygons: {time.perf_counter() - start:.1f} s")  # noqa: T201 - the measurement is the point
