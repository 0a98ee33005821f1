"""pystac-client against a real server: every parameter it has, pages, and collections."""

from __future__ import annotations

import pystac_client
import pytest
from running import Server

# pystac 1.15 announces names that pystac-client 0.9 still uses.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pystac_client")

SQUARE = {"type": "Polygon", "coordinates": [[[1.2, 0.2], [2.8, 0.2], [2.8, 0.8], [1.2, 0.8], [1.2, 0.2]]]}
V2 = "landcover--v2"


@pytest.fixture(scope="module")
def stac(site):
    with Server(site.folder) as running:
        yield pystac_client.Client.open(running.url)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"collections": [V2]}, "t05 t04 t03 t02 t01 t00"),
        ({"collections": V2}, "t05 t04 t03 t02 t01 t00"),
        ({"collections": [V2, "dem"]}, "t05 t04 t03 t02 t01 t00 height"),
        ({"collections": [V2], "ids": ["t01", "t03"]}, "t03 t01"),
        ({"collections": [V2], "bbox": [1.5, 0.5, 2.5, 0.6]}, "t02 t01"),
        ({"collections": [V2], "intersects": SQUARE}, "t02 t01"),
        ({"collections": [V2], "datetime": "2021-01-01/2022-12-31"}, "t02 t01"),
        ({"collections": [V2], "datetime": "2023"}, "t03"),
        ({"collections": [V2], "filter": "eo:cloud_cover >= 30"}, "t04 t03"),
        (
            {"collections": [V2], "filter": {"op": ">=", "args": [{"property": "eo:cloud_cover"}, 30]}},
            "t04 t03",
        ),
        ({"collections": [V2], "sortby": "+id", "max_items": 3}, "t00 t01 t02"),
        ({"collections": [V2], "sortby": ["-properties.eo:cloud_cover"], "max_items": 3}, "t05 t04 t03"),
        ({"collections": [V2], "ids": ["none"]}, ""),
    ],
)
def test_items_by_every_parameter_and_in_pages(stac, method, asked, found):
    for limit in (2, 100):
        search = stac.search(method=method, limit=limit, **asked)
        assert [item.id for item in search.items()] == found.split()
        if "max_items" not in asked and found:  # of none it says that it does not know
            assert search.matched() == len(found.split())


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_fields(stac, method):
    search = stac.search(method=method, collections=[V2], ids=["t01"], fields=["properties.platform", "-links"])
    (item,) = search.items_as_dicts()
    assert item == {"type": "Feature", "id": "t01", "collection": V2, "properties": {"platform": "landsat-8"}}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, "dem--v1 landcover--v3"),
        ({"bbox": [179, -10, -179, 10]}, "dem--v1"),
        ({"datetime": "2024/.."}, "landcover--v3"),
        ({"q": "land cover v3,nothing"}, "landcover--v3"),
        ({"filter": "pin:dataset = 'dem'"}, "dem--v1"),
        ({"filter": {"op": "=", "args": [{"property": "pin:dataset"}, "dem"]}}, "dem--v1"),
        ({"sortby": "-id"}, "landcover--v3 dem--v1"),
        ({"fields": ["id", "title"]}, "dem--v1 landcover--v3"),
        ({"max_collections": 1}, "dem--v1"),
    ],
)
def test_collections_by_every_parameter_and_in_pages(stac, asked, found):
    for limit in (1, 100):
        search = stac.collection_search(limit=limit, **asked)
        assert [each["id"] for each in search.collections_as_dicts()] == found.split()
        if "max_collections" not in asked:
            assert search.matched() == len(found.split())


def test_items_of_collections(stac):
    for collection in stac.get_collections():
        items = list(collection.get_items())
        assert len(items) == collection.extra_fields["pin:statistics"]["items"]
        assert {item.collection_id for item in items} == {collection.id}
    assert [item.id for item in stac.get_collection("landcover").get_items("t02", "t04")] == ["t04", "t02"]
    assert stac.get_collection("landcover--v1").get_item("t00").id == "t00"


def test_what_it_says_it_conforms_to(stac):
    for name in ("CORE", "COLLECTIONS", "FEATURES", "ITEM_SEARCH", "FIELDS", "SORT", "FILTER", "COLLECTION_SEARCH"):
        assert stac.conforms_to(name), name
    assert stac.conforms_to("COLLECTION_SEARCH_FREE_TEXT")


@pytest.mark.parametrize("end", ["", "/"])
def test_a_path_in_front_of_all_routes(site, end):
    with Server(site.folder, root_path="/geo") as running:
        client = pystac_client.Client.open(f"{running.url}/geo{end}")
        assert {each.id for each in client.get_collections()} == {"landcover--v3", "dem--v1"}
