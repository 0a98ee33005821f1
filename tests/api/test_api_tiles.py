"""Vector tiles: the labels' own places and properties, the same bytes each time, and nothing that breaks them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyproj
import pytest
import shapely
from label_tiles import (
    BUILDINGS,
    FIRES,
    ask,
    features,
    label_item,
    publish,
    square,
    tile_at,
    tiles_of,
    write_geojson,
)

from api.pictures.label_files import in_mercator
from api.pictures.mercator import WORLD, Tile
from catalog.vectors import read_features
from versioning.catalog import Catalog


@pytest.mark.parametrize("z", [14, 16, 18, 20])
def test_every_building_is_in_its_place(client_of, buildings, z):
    catalog, item, outlines = buildings
    client = client_of(catalog)
    step = WORLD / 2**z / 4096
    shown: dict[int, list[shapely.Geometry]] = {}
    for tile in tiles_of(item["bbox"], z):
        for _, properties, shape in features(ask(client, tile), tile):
            assert properties["pin:item"] == "alexandria"
            shown.setdefault(properties["pin:feature"], []).append(
                shapely.intersection(shape, shapely.box(*tile.bounds))
            )
    assert len(shown) == len(outlines)
    for row, parts in shown.items():
        whole = shapely.union_all(parts)
        # Simplified by two steps of the grid, and put on it.
        assert shapely.hausdorff_distance(whole, outlines[row]) < 3 * step
        assert abs(whole.area - outlines[row].area) <= 3 * step * outlines[row].length
    total = sum(shapely.union_all(parts).area for parts in shown.values())
    assert total == pytest.approx(shapely.area(outlines).sum(), rel={14: 0.05, 16: 0.01}.get(z, 0.002))


def test_shapes_are_simplified_to_what_can_be_seen(client_of, shared_data, tmp_path):
    catalog = Catalog.create("memory://")
    item = label_item(catalog, shared_data / FIRES, tmp_path, "fires")
    publish(catalog, item)
    own = in_mercator(read_features(tmp_path / "fires-labels.parquet"))
    client = client_of(catalog)

    def vertices(z: int) -> dict[int, int]:
        """Of each feature that lies in one tile and is larger than a pixel of it."""
        found = {}
        for tile in tiles_of(item["bbox"], z):
            for _, properties, shape in features(ask(client, tile), tile):
                outline = own[properties["pin:feature"]]
                west, south, east, north = outline.bounds
                large = max(east - west, north - south) > tile.side / 512
                if large and shapely.contains(shapely.box(*tile.bounds), outline):
                    # Not by distance: islands that are too small to be drawn are left out.
                    assert shapely.symmetric_difference(shape, outline).area < 3 * tile.side / 4096 * outline.length
                    found[properties["pin:feature"]] = int(shapely.get_num_coordinates(shape))
        return found

    far, near = vertices(6), vertices(9)
    both = far.keys() & near.keys()
    assert len(both) > 10
    stored = sum(int(shapely.get_num_coordinates(own[row])) for row in both)
    assert sum(far[row] for row in both) < 0.6 * sum(near[row] for row in both) < 0.6 * stored


def test_far_away_each_pixel_has_one_mark(client_of, buildings):
    catalog, item, outlines = buildings
    tile = tile_at(*item["bbox"][:2], 6)
    shown = features(ask(client_of(catalog), tile), tile)
    pixel = tile.side / 512
    assert 1 <= len(shown) <= 4
    assert all(shape.area == pytest.approx(pixel**2) for _, _, shape in shown)
    around = shapely.union_all([shape for _, _, shape in shown]).buffer(pixel)
    assert all(around.contains(outline) for outline in outlines)


@pytest.mark.parametrize(
    "source",
    [
        "labels/slovenia-lulc/LULC.gpkg",  # UTM
        FIRES,  # Montana's state plane, in metres
    ],
)
def test_projected_labels_are_transformed(client_of, shared_data, tmp_path, source):
    catalog = Catalog.create("memory://")
    item = label_item(catalog, shared_data / source, tmp_path, "places")
    publish(catalog, item)
    stored = read_features(tmp_path / "places-labels.parquet")
    assert not stored.crs.degrees
    to_degrees = pyproj.Transformer.from_crs(stored.crs.name, "EPSG:3857", always_xy=True)
    client = client_of(catalog)
    west, south, east, north = item["bbox"]
    tile = tile_at((west + east) / 2, (south + north) / 2, 11)
    shown = features(ask(client, tile), tile)
    assert len(shown) > 3
    box = shapely.box(*tile.bounds)
    for _, properties, shape in shown:
        own = shapely.transform(
            stored.geometries[properties["pin:feature"]], lambda at: np.column_stack(to_degrees.transform(*at.T))
        )
        own = shapely.intersection(shapely.make_valid(own), box)
        inside = shapely.intersection(shape, box)
        step = tile.side / 4096
        # What is smaller than a pixel is drawn as one, of 8 steps a side.
        assert shapely.symmetric_difference(own, inside).area <= 3 * step * own.length + (8 * step) ** 2


def test_points_and_lines_of_the_example(client_of, examples, tmp_path):
    catalog = Catalog.create("memory://")
    glaciers = label_item(catalog, examples / "labels/colorado-glaciers.geojson", tmp_path, "glaciers", key="ice")
    park = label_item(catalog, examples / "labels/rmnp.shp", tmp_path, "park", key="boundary")
    publish(catalog, glaciers, park)
    client = client_of(catalog)
    stored = read_features(tmp_path / "glaciers-ice.parquet")
    tile = tile_at(-105.65, 40.3, 9)
    points = in_mercator(stored)
    box = shapely.box(*tile.bounds).buffer(tile.side / 64, join_style="mitre")
    answer = ask(client, tile)
    shown = features(answer, tile, "ice")
    assert len(shown) == int(shapely.within(points, box).sum()) > 0
    for _, properties, shape in shown:
        row = properties.pop("pin:feature")
        assert shapely.distance(shape, points[row]) <= tile.side / 4096
        assert properties.pop("pin:item") == "glaciers"
        assert properties == {name: values[row] for name, values in stored.columns.items() if values[row] is not None}
    ((_, _, boundary),) = features(answer, tile, "boundary")
    own = in_mercator(read_features(tmp_path / "park-boundary.parquet"))[0]
    assert boundary.area == pytest.approx(shapely.intersection(own, box).area, rel=0.001)


# -- identity and properties


def test_ids_are_the_same_at_every_zoom_and_unique(client_of, buildings):
    catalog, item, _ = buildings
    client = client_of(catalog)
    seen: dict[int, int] = {}
    for z in (14, 16, 18):
        for tile in tiles_of(item["bbox"], z):
            for number, properties, _ in features(ask(client, tile), tile):
                assert seen.setdefault(properties["pin:feature"], number) == number
    assert len(set(seen.values())) == len(seen) == 84
    assert max(seen.values()) < 2**53


def test_properties_are_as_they_are(client_of, tmp_path):
    catalog = Catalog.create("memory://")
    more = {
        "text": "ü",
        "whole": 7,
        "real": 1.5,
        "yes": True,
        "missing": None,
        "nested": {"b": [1, {"a": None}], "a": "x"},
        "huge": 2**70,
        "pin:item": "forged",
    }
    source = write_geojson(tmp_path / "a.geojson", (square(1, 1, 1), more), (square(3, 1, 1), {"whole": 8}))
    publish(catalog, label_item(catalog, source, tmp_path, "one"))
    tile = tile_at(2, 1.5, 4)
    by_size = {each["whole"]: each for _, each, _ in features(ask(client_of(catalog), tile), tile)}
    shown = by_size[7]
    assert json.loads(shown.pop("nested")) == more["nested"]
    assert shown.pop("huge") == str(2**70)
    assert shown.pop("pin:feature") in {0, 1}
    assert shown == {"text": "ü", "whole": 7, "real": 1.5, "yes": True, "pin:item": "one"}
    assert type(shown["yes"]) is bool
    assert set(by_size[8]) == {"whole", "pin:item", "pin:feature"}


def test_the_same_bytes_on_every_store_and_in_every_process(client_of, buildings, shared_data, tmp_path):
    catalog, item, _ = buildings
    other = Catalog.create("memory://")
    publish(
        other,
        label_item(other, shared_data / BUILDINGS, tmp_path, "alexandria"),
    )
    tile = tile_at(*item["bbox"][:2], 15)
    here, there = ask(client_of(catalog), tile), ask(client_of(other), tile)
    assert here.content == there.content != b""
    assert here.headers["etag"] == there.headers["etag"]
    code = (
        "import hashlib, sys; from api.backend import EmbeddedBackend; from api.pictures.mercator import Tile\n"
        "from api.pictures.vector_tiles import TileLimits, VectorTiles; from versioning.catalog import Catalog\n"
        "backend = EmbeddedBackend(Catalog.open(sys.argv[1]))\n"
        "tiles = VectorTiles(backend, TileLimits(500, 20_000, 1 << 20))\n"
        f"made = tiles.draw(backend.resolve('marks', 'v1'), Tile({tile.z}, {tile.x}, {tile.y}))\n"
        "print(hashlib.sha256(made.data).hexdigest())"
    )
    root = Path(__file__).resolve().parents[2]
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code, catalog.url]
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == hashlib.sha256(here.content).hexdigest(), done.stderr


def test_the_same_from_s3(client_of, buildings, s3_server, monkeypatch, shared_data, tmp_path):
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    catalog, item, _ = buildings
    other = Catalog.create(s3_server.new_bucket() + "/catalog")
    publish(
        other,
        label_item(other, shared_data / BUILDINGS, tmp_path, "alexandria"),
    )
    tile = tile_at(*item["bbox"][:2], 16)
    assert ask(client_of(other), tile).content == ask(client_of(catalog), tile).content != b""


# -- the antimeridian, and shapes that are broken


ACROSS = shapely.geometry.mapping(
    shapely.MultiPolygon([shapely.box(179, -17, 180, -15), shapely.box(-180, -17, -179, -15)])
)


def test_across_the_antimeridian(client_of, tmp_path):
    catalog = Catalog.create("memory://")
    beyond = write_geojson(tmp_path / "a.geojson", (square(179, -17, 2), {"name": "beyond"}))
    item = label_item(catalog, beyond, tmp_path, "fiji", place=ACROSS, crs="EPSG:4979")
    publish(catalog, item)
    client = client_of(catalog)
    for longitude in (179.5, -179.5):
        tile = tile_at(longitude, -16, 6)
        ((_, properties, shape),) = features(ask(client, tile), tile)
        assert properties["name"] == "beyond"
        west, _, east, _ = (edge / WORLD * 360 for edge in shape.bounds)
        margin = 360 / 2**6 / 64
        wanted = (179, 180 + margin) if longitude > 0 else (-180 - margin, -179)
        assert (west, east) == pytest.approx(wanted, abs=0.01)


def test_a_projected_zone_across_the_antimeridian(client_of, tmp_path):
    catalog = Catalog.create("memory://")
    zone = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32701", always_xy=True)
    ring = [zone.transform(*at) for at in [(179.5, -17), (-179.5, -17), (-179.5, -16), (179.5, -16), (179.5, -17)]]
    source = write_geojson(tmp_path / "a.geojson", ({"type": "Polygon", "coordinates": [ring]}, {}))
    publish(catalog, label_item(catalog, source, tmp_path, "fiji", place=ACROSS, crs="EPSG:32701"))
    client = client_of(catalog)
    tile = tile_at(-179.9, -16.5, 7)
    ((_, _, shape),) = features(ask(client, tile), tile)
    west, _, east, _ = (edge / WORLD * 360 for edge in shape.bounds)
    assert (west, east) == pytest.approx((-180 - 360 / 2**7 / 64, -179.5), abs=0.01)


def test_a_broken_label_does_not_break_its_tile(client_of, tmp_path):
    catalog = Catalog.create("memory://")
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}
    spike = {"type": "Polygon", "coordinates": [[[6, 0], [8, 0], [6, 0], [6, 0]]]}
    mixed = {"type": "GeometryCollection", "geometries": [square(10, 0, 1), {"type": "Point", "coordinates": [12, 1]}]}
    north = {"type": "Polygon", "coordinates": [[[0, 80], [20, 80], [20, 90], [0, 90], [0, 80]]]}
    source = write_geojson(
        tmp_path / "a.geojson",
        (bow, {"n": 1}),
        (square(3, 0, 2), {"n": 2}),
        (spike, {"n": 3}),
        (mixed, {"n": 4}),
        (None, {"n": 5}),
        (north, {"n": 6}),
    )
    publish(catalog, label_item(catalog, source, tmp_path, "one"))
    tile = tile_at(5, 1, 4)
    shown: dict[int, list] = {}
    for _, properties, shape in features(ask(client_of(catalog), tile), tile):
        assert shape.is_valid
        shown.setdefault(properties["n"], []).append(shape)
    assert set(shown) >= {1, 2, 4}
    degree = WORLD / 360
    assert shown[1][0].area == pytest.approx(2 * degree**2, rel=0.02)
    assert shown[2][0].area == pytest.approx(4 * degree**2, rel=0.02)
    assert sorted(shape.geom_type for shape in shown[4]) == ["Point", "Polygon"]
    top = Tile(1, 1, 0)
    polar = [shape for _, each, shape in features(ask(client_of(catalog), top), top) if each["n"] == 6]
    assert polar[0].bounds[3] == pytest.approx(WORLD / 2, rel=1e-3)
