"""Footprints and boxes: RFC 7946 at the antimeridian and the poles, whatever the projection."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from rasterio.transform import Affine
from rasterio.warp import transform

from catalog import footprints
from catalog.footprints import bbox_of, from_geojson, join_footprints, raster_footprint, rounded, to_geojson
from catalog.rasters import open_raster
from versioning.errors import InvalidInput


def footprint(path):
    with open_raster(path) as raster:
        return raster_footprint(raster)


def check_geojson(geometry):
    """Closed rings, right-hand rule, valid, within bounds, finite, on the grid."""
    document = to_geojson(geometry)
    polygons = document["coordinates"] if document["type"] == "MultiPolygon" else [document["coordinates"]]
    assert geometry.is_valid
    for shell, *holes in polygons:
        assert shell[0] == shell[-1]
        assert shapely.LinearRing(shell).is_ccw
        assert not any(shapely.LinearRing(hole).is_ccw for hole in holes)
        for x, y in shell:
            assert -180 <= x <= 180
            assert -90 <= y <= 90
            assert (round(x, 7), round(y, 7)) == (x, y)
    return document


def test_a_lonlat_raster_is_its_box(make_raster):
    shape = footprint(make_raster("EPSG:4326", 10, 20, 0.1, 0.1))
    assert shape.equals(shapely.box(10, 18, 12, 20))
    assert len(check_geojson(shape)["coordinates"][0]) == 5
    assert bbox_of(shape) == (10, 18, 12, 20)


def test_a_small_projected_raster_has_five_points(make_raster):
    document = check_geojson(footprint(make_raster("EPSG:32618", 300000, 4500000, 30, 30)))
    assert len(document["coordinates"][0]) == 5


def test_long_edges_are_bent_as_the_projection_bends_them(make_raster):
    shape = footprint(make_raster("EPSG:32618", 300000, 7000000, 10000, 10000))
    check_geojson(shape)
    x = np.linspace(300000, 500000, 501)
    lon, lat = transform("EPSG:32618", "EPSG:4326", x, np.full(501, 7000000.0))
    edge = shapely.LineString(np.column_stack([lon, lat]))
    assert shape.exterior.hausdorff_distance(edge) > 1  # the other edges
    assert max(shape.exterior.distance(shapely.points(lon, lat))) < 1e-4 * edge.length
    straight = shapely.LineString([(lon[0], lat[0]), (lon[-1], lat[-1])])
    assert max(straight.distance(shapely.points(lon, lat))) > 1e-3


def test_rotated_rasters_are_no_boxes(make_raster):
    path = make_raster("EPSG:4326", 0, 0, 0, 0, transform=Affine(0.1, 0.05, 10, 0.05, -0.1, 20))
    shape = footprint(path)
    corners = shapely.Polygon([(10, 20), (11, 18), (13, 19), (12, 21)])
    assert shape.equals(corners)


@pytest.mark.parametrize(
    ("crs", "transform", "plain"),
    [
        ("EPSG:32618", Affine(30, 0, 300000, 0, -30, 4500000), True),
        ("EPSG:32618", Affine(10000, 0, 300000, 0, -10000, 7000000), False),  # bent
        ("EPSG:32660", Affine(50, 10, 800000, 10, -50, 100000), True),  # rotated, near the antimeridian
        ("EPSG:32601", Affine(5000, 0, 100000, 0, -5000, 5000000), False),  # across it
        ("EPSG:3413", Affine(10, 0, -50000, 0, -10, 60000), True),  # near the pole
        ("EPSG:3413", Affine(10000, 0, -100000, 0, -10000, 100000), False),  # around it
        ("EPSG:4326", Affine(0.1, 0, 10, 0, -0.1, 20), True),
        ("EPSG:4326", Affine(18, 0, -180, 0, -9, 90), False),  # everything
        ("EPSG:3857", Affine(100, 0, 0, 0, -100, 0), True),
    ],
)
def test_the_short_way_gives_what_the_long_way_gives(make_raster, monkeypatch, crs, transform, plain):
    path = make_raster(crs, 0, 0, 0, 0, transform=transform)
    asked = []
    real = footprints._is_plain
    monkeypatch.setattr(footprints, "_is_plain", lambda *ring: (asked.append(real(*ring)), asked[-1])[1])
    found = footprint(path)
    assert asked == [plain]
    monkeypatch.setattr(footprints, "_is_plain", lambda lon, lat: False)
    assert footprint(path).wkb == found.wkb


def test_south_up_rasters_obey_the_right_hand_rule(make_raster):
    shape = footprint(make_raster("EPSG:4326", 0, 0, 0, 0, transform=Affine(0.1, 0, 10, 0, 0.1, 18)))
    assert check_geojson(shape) == to_geojson(footprint(make_raster("EPSG:4326", 10, 20, 0.1, 0.1, name="b.tif")))


@pytest.mark.parametrize("west", [175, -185])
def test_lonlat_rasters_are_cut_at_the_antimeridian(make_raster, west):
    shape = footprint(make_raster("EPSG:4326", west, 10, 0.5, 0.5))
    assert check_geojson(shape)["type"] == "MultiPolygon"
    assert shape.equals(shapely.union(shapely.box(175, 0, 180, 10), shapely.box(-180, 0, -175, 10)))
    assert bbox_of(shape) == (175, 0, -175, 10)


@pytest.mark.parametrize(
    ("crs", "west", "north", "step"),
    [("EPSG:32660", 700000, 1000000, 20000), ("EPSG:32701", 100000, 8000000, 10000), ("EPSG:3832", 3000000, 0, 100000)],
)
def test_projected_rasters_are_cut_at_the_antimeridian(make_raster, crs, west, north, step):
    shape = footprint(make_raster(crs, west, north, step, step))
    assert check_geojson(shape)["type"] == "MultiPolygon"
    box = bbox_of(shape)
    assert box[0] > 0 > box[2]
    lon, lat = transform(crs, "EPSG:4326", [west + 10 * step], [north - 10 * step])
    assert shape.covers(shapely.Point(lon[0], lat[0]))
    assert not shape.covers(shapely.Point(0, lat[0]))


@pytest.mark.parametrize(
    ("crs", "pole", "box"),
    [("EPSG:3413", 90, (-180, 76.9988155, 180, 90)), ("EPSG:3031", -90, (-180, -90, 180, -77.0374006))],
)
def test_a_raster_around_a_pole_reaches_it(make_raster, crs, pole, box):
    shape = footprint(make_raster(crs, -1e6, 1e6, 1e5, 1e5))
    check_geojson(shape)
    assert shape.covers(shapely.points(np.linspace(-179, 179, 50), np.full(50, pole * 0.99))).all()
    assert bbox_of(shape) == pytest.approx(box, abs=2e-7)


def test_a_corner_at_the_pole_is_a_quarter_of_the_turn(make_raster):
    shape = footprint(make_raster("EPSG:3413", 0, 1e6, 5e4, 5e4))
    check_geojson(shape)
    assert bbox_of(shape) == pytest.approx((45, 76.9988155, 135, 90), abs=2e-7)
    assert shape.covers(shapely.points([46, 90, 134], [89.9, 89.9, 89.9])).all()
    assert not shape.covers(shapely.Point(0, 89.9))


@pytest.mark.parametrize(
    ("west", "north", "step", "size"),
    [(-180, 90, 1, (360, 180)), (0, 90, 1, (360, 180)), (-180.5, 90.5, 1, (360, 181))],
)
def test_the_whole_world_is_one_box(make_raster, west, north, step, size):
    shape = footprint(make_raster("EPSG:4326", west, north, step, step, size=size))
    assert shape.equals(shapely.box(-180, -90, 180, 90))
    assert bbox_of(shape) == (-180, -90, 180, 90)


def test_web_mercator_of_the_world_has_no_sliver_beyond_180(make_raster):
    half = 20037508.342789244
    shape = footprint(make_raster("EPSG:3857", -half, half, half / 10, half / 10))
    assert shape.geom_type == "Polygon"
    assert bbox_of(shape) == (-180, -85.0511288, 180, 85.0511288)


@pytest.mark.parametrize(("lon", "seen", "unseen"), [(-137, [-137, 170, -65], 20), (0, [0, 60, -60], 170)])
def test_a_full_disk_is_the_hull_of_what_is_on_earth(make_raster, lon, seen, unseen):
    crs = f"+proj=geos +h=35786023 +lon_0={lon} +sweep=x +a=6378137 +b=6356752.31414 +units=m"
    shape = footprint(make_raster(crs, -5434894, 5434894, 543489.4, 543489.4))
    check_geojson(shape)
    assert shape.covers(shapely.points(seen, [0, 0, 0])).all()
    assert not shape.covers(shapely.Point(unseen, 0))


def test_a_raster_that_is_nowhere_is_refused(make_raster):
    crs = "+proj=geos +h=35786023 +lon_0=0 +sweep=x +ellps=WGS84 +units=m"
    with pytest.raises(InvalidInput, match="no area on Earth"):
        footprint(make_raster(crs, 9e6, 9e6, 10, 10))


def test_a_raster_smaller_than_the_grid_is_a_point(make_raster):
    shape = footprint(make_raster("EPSG:32618", 300000, 4500000, 1e-5, 1e-5))
    assert shape.geom_type == "Point"


def test_control_points_place_a_raster(shared_data):
    with open_raster(shared_data / "odd-formats" / "gcps" / "cog_gcps.tif") as raster:
        shape = raster_footprint(raster)
        points, _ = raster.dataset.gcps
    check_geojson(shape)
    cloud = shapely.MultiPoint([(point.x, point.y) for point in points]).convex_hull
    assert shape.intersection(cloud).area > 0.95 * shape.union(cloud).area


def test_joining_takes_the_covering_footprint_and_unites_others():
    wide, inner, beside = shapely.box(0, 0, 10, 10), shapely.box(0.0001, 0, 10.0001, 10), shapely.box(20, 0, 30, 10)
    assert join_footprints([]) is None
    assert join_footprints([inner, wide]) == join_footprints([wide, inner])
    assert join_footprints([wide, inner]).area == pytest.approx(100)
    assert join_footprints([wide, beside]).area == pytest.approx(200)
    assert join_footprints([beside, wide]) == join_footprints([wide, beside])


def test_a_box_far_wider_than_half_the_world_does_not_wrap():
    spread = shapely.union_all([shapely.box(-180, 0, -170, 1), shapely.box(0, 0, 10, 1), shapely.box(170, 0, 180, 1)])
    assert bbox_of(spread) == (-180, 0, 180, 1)


@pytest.mark.parametrize(
    "geometry",
    [
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]},
        {"type": "Polygon", "coordinates": [[[170, 0], [190, 0], [190, 1], [170, 0]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]},
        {"type": "Point", "coordinates": [float("nan"), 1]},
        {"type": "Blob"},
        {},
    ],
)
def test_foreign_footprints_are_checked(geometry):
    with pytest.raises(InvalidInput):
        from_geojson(geometry)


def test_rounding_is_stable_and_does_not_depend_on_the_start():
    ring = [(0.123456789, 0), (1, 0.3333333333), (0.5, 1)]
    turned = shapely.Polygon([ring[2], ring[1], ring[0]])
    once = rounded(shapely.Polygon(ring))
    assert to_geojson(once) == to_geojson(rounded(turned)) == to_geojson(rounded(once))
