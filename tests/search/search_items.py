"""Items and versions for the tests of search, and a plain reading of what a search means."""

from __future__ import annotations

from datetime import datetime

import shapely

from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.store import open_store

CHECKSUM = "1220" + "ab" * 32


def make_item(item_id, box=None, when="2024-01-01T00:00:00Z", geometry=None, **properties):
    """A STAC Item; a box with west > east gets the two-part geometry of RFC 7946; ``when`` may be a pair."""
    times = {"datetime": when} if isinstance(when, str) else {"start_datetime": when[0], "end_datetime": when[1]}
    if geometry is None and box is not None:
        west, south, east, north = box
        if west > east:
            parts = [shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)]
            geometry = shapely.geometry.mapping(shapely.MultiPolygon(parts))
        else:
            geometry = shapely.geometry.mapping(shapely.box(*box))
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": item_id,
        "geometry": geometry,
        "properties": {"datetime": None, **times, **properties},
        "assets": {},
    }
    if box is not None:
        item["bbox"] = list(box)
    return item


def with_assets(item):
    """A real item as the store takes it: its assets get a checksum, a size and an absolute href."""
    assets = {
        key: {**asset, "href": f"https://example.com/{key}.bin", "file:checksum": CHECKSUM, "file:size": 1}
        for key, asset in item["assets"].items()
    }
    return {**item, "assets": assets}


def make_version(items, dataset="ds", catalog=None):
    catalog = catalog or Catalog.create(open_store("memory://"))
    return commit(catalog.dataset(dataset), items=items, message="test", author="test").version


def found(version, query, search, limit=10_000):
    return [item["id"] for item in search([version], query, limit=limit).items]


def moment(text):
    return datetime.fromisoformat(text)


def times_of(item):
    properties = item["properties"]
    start, end = properties.get("start_datetime"), properties.get("end_datetime")
    if start and end:
        return moment(start), moment(end)
    return moment(properties["datetime"]), moment(properties["datetime"])


def box_geometry(box):
    west, south, east, north = box
    if west > east:
        return shapely.union(box_geometry((west, south, 180, north)), box_geometry((-180, south, east, north)))
    return shapely.make_valid(shapely.box(west, south, east, north))


def place_matches(item, geometry):
    return item["geometry"] is not None and shapely.intersects(shapely.geometry.shape(item["geometry"]), geometry)
