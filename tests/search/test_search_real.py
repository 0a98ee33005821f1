"""Search over the real STAC items of the shared data."""

from __future__ import annotations

import json

import pytest
import shapely
from search_items import box_geometry, found, make_version, moment, place_matches, times_of, with_assets

from catalog.search import Query, iterate, search
from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.errors import InvalidInput
from versioning.rows import make_row


def real_items(folder):
    """Every STAC Item below a folder, by id, whatever other JSON lies there."""
    items = {}
    for path in sorted(folder.rglob("*.*json")):
        if "schemas" in path.parts:
            continue
        document = json.loads(path.read_text("utf-8"))
        features = document.get("features", [document]) if isinstance(document, dict) else []
        for feature in features:
            if feature.get("type") == "Feature" and "stac_version" in feature and feature.get("assets") is not None:
                items.setdefault(feature["id"], feature)
    return items


@pytest.fixture(scope="module")
def items(shared_data):
    found_items, refused = {}, []
    for item in real_items(shared_data / "stac").values():
        bare = {key: value for key, value in with_assets(item).items() if key not in {"links", "collection"}}
        bare["id"] = item["id"].replace("/", "=2F")
        try:
            make_row(bare)
        except InvalidInput as error:
            refused.append(str(error))
            continue
        found_items[bare["id"]] = bare
    # SpaceNet's example items have rings that are not closed.
    assert all("closed linestring" in text for text in refused), refused
    return found_items


@pytest.fixture(scope="module")
def version(items):
    return make_version(items.values())


def test_there_are_enough_of_them_and_all_come_back(items, version):
    assert len(items) > 20
    got = {item["id"]: item for item in iterate(version, Query())}
    assert set(got) == set(items)
    assert search([version], Query(), limit=5).matched == len(items)


@pytest.mark.parametrize(
    "box", [(-180, -90, 180, 90), (-95, 36, -94, 38), (-100, 20, -60, 50), (170, -90, -150, 90), (0, 0, 40, 60)]
)
def test_boxes(items, version, box):
    query = Query.parse(bbox=box)
    wanted = {name for name, item in items.items() if place_matches(item, box_geometry(box))}
    assert set(found(version, query, search)) == wanted
    geometry = shapely.geometry.mapping(box_geometry(box))
    assert set(found(version, Query.parse(intersects=geometry), search)) == wanted


@pytest.mark.parametrize("span", ["2017-08-31", "1970/1990", "2020/..", "../2000-01-01T00:00:00Z", "2017"])
def test_times(items, version, span):
    query = Query.parse(datetime=span)
    first, last = ((query.datetime or "").split("/") * 2)[:2]
    wanted = {
        name
        for name, item in items.items()
        if (last == ".." or times_of(item)[0] <= moment(last)) and (first == ".." or times_of(item)[1] >= moment(first))
    }
    assert wanted
    assert set(found(version, query, search)) == wanted


@pytest.mark.parametrize(
    ("text", "test"),
    [
        ("eo:cloud_cover < 20", lambda p: (p.get("eo:cloud_cover") is not None) and p["eo:cloud_cover"] < 20),
        ("NOT eo:cloud_cover < 20", lambda p: p.get("eo:cloud_cover") is not None and p["eo:cloud_cover"] >= 20),
        ("platform IS NULL", lambda p: p.get("platform") is None),
        ("CASEI(platform) LIKE 'LANDSAT%'", lambda p: str(p.get("platform", "")).lower().startswith("landsat")),
        ("A_CONTAINS(instruments, ('tm'))", lambda p: "tm" in (p.get("instruments") or [])),
        ("gsd BETWEEN 10 AND 60", lambda p: 10 <= (p.get("gsd") or 0) <= 60),
    ],
)
def test_filters(items, version, text, test):
    wanted = {name for name, item in items.items() if test(item["properties"])}
    assert wanted
    assert set(found(version, Query.parse(filter=text), search)) == wanted


def test_the_default_order_is_the_newest_first(items, version):
    got = found(version, Query(), search)
    assert got == sorted(items, key=lambda name: (times_of(items[name])[0], name), reverse=True)


def test_an_item_is_found_where_its_geometry_sticks_out_of_its_box(items):
    name, item = next((name, item) for name, item in sorted(items.items()) if len(item.get("bbox") or ()) == 4)
    moved = item | {"geometry": {"type": "Point", "coordinates": [10.0, 20.0]}, "bbox": [50.0, 60.0, 51.0, 61.0]}
    dataset = Catalog.create("memory://").dataset("odd")
    version = commit(dataset, items=[moved], message="m", author="a").version
    assert found(version, Query.parse(bbox=[9.9, 19.9, 10.1, 20.1]), search) == [name]
