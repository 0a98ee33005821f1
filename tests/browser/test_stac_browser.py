"""STAC Browser in headless Chromium, over a real server: versions, items, assets, and maps that show what is there."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytestmark = pytest.mark.slow

BLUE, ORANGE = (51, 153, 204), (255, 156, 51)
LANDING, V1, V3, RELIEF = "landing", "v1", "v3", "relief"


def box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of what is set: the outline of a footprint."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert rows.size, "nothing of that colour is on the map"
    return rows[0], rows[-1], columns[0], columns[-1]


def around(mask: np.ndarray, top: int, bottom: int, left: int, right: int) -> np.ndarray:
    """A footprint's box and 20 pixels more; the map's buttons stand in its corners, further away."""
    return mask[max(0, top - 20) : bottom + 20, max(0, left - 20) : right + 20]


def ink(picture: np.ndarray) -> np.ndarray:
    """Where a map without base map has neither white nor the colour of a line: dark or grey."""
    spread = picture.max(axis=-1).astype(int) - picture.min(axis=-1)
    return (spread < 16) & (picture.max(axis=-1) < 200)


def test_no_page_complains(pages):
    assert {name: page.complaints for name, page in pages.items() if page.complaints} == {}


def test_only_the_base_map_is_asked_of_others(pages):
    assert {host for page in pages.values() for host in page.elsewhere} <= {"tile.openstreetmap.org"}


def test_the_landing_page_lists_the_latest_version(pages, address):
    page = pages[LANDING]
    assert page.links["The ridge v3"] == f"{address}/browser/collections/ridge--v3"
    assert "The ridge v1" not in page.text


def test_each_version_leads_to_the_others(pages, address):
    browser = f"{address}/browser/collections"
    first, last = pages[V1], pages[V3]
    assert (first.title.split(" - ")[0], last.title.split(" - ")[0]) == ("The ridge v1", "The ridge v3")
    assert "Outdated" in first.text
    assert "Outdated" not in last.text
    assert "Latest version: ridge@v3" in first.text
    assert "Next version: ridge@v2" in first.text
    assert first.links["ridge@v3"] == f"{browser}/ridge"
    assert first.links["ridge@v2"] == f"{browser}/ridge--v2"
    assert "Previous version: ridge@v2" in last.text
    assert last.links["ridge@v2"] == f"{browser}/ridge--v2"
    for page in (first, last):
        assert page.links["All versions of ridge"] == f"{browser}/ridge/versions"
    everything = pages["versions"].links
    assert {f"The ridge v{n}": everything[f"The ridge v{n}"] for n in (1, 2, 3)} == {
        f"The ridge v{n}": f"{browser}/ridge--v{n}" for n in (1, 2, 3)
    }
    listed = [line for line in pages["versions"].text.splitlines() if line.startswith(("v1 ", "v2 ", "v3 "))]
    assert [re.sub(r"\d{4}-\d\d-\d\d", "DAY", line) for line in listed] == [
        "v3 (DAY, latest): One hut <moved> *",
        "v2 (DAY): Huts",
        "v1 (DAY): Elevations",
    ]


def test_a_version_shows_its_items_and_no_others(pages, address):
    items = f"{address}/browser/collections/ridge--v3/items"
    assert "huts" not in pages[V1].links
    assert pages[V1].links["relief"] == f"{address}/browser/collections/ridge--v1/items/relief"
    assert (pages[V3].links["huts"], pages[V3].links["relief"]) == (f"{items}/huts", f"{items}/relief")


def test_a_search_for_items_finds_those_of_the_latest_version(walks):
    origin, shown = walks
    page = shown["items"]
    assert page.links["huts"] == f"{origin}/browser/collections/ridge--v3/items/huts"
    assert "relief" not in page.links


def test_a_search_for_collections_finds_the_version(pages, address):
    page = pages["collections-manifests"]
    assert page.links["The ridge v3"] == f"{address}/browser/collections/ridge--v3"
    assert "The ridge v1" not in page.text


def test_the_items_of_a_version_are_filtered(pages):
    assert "relief" not in pages["filtered-manifests"].links


def test_who_follows_successors_and_predecessors_gets_there(pages, address):
    reached = pages["followed-manifests"].url.partition("?")[0]
    assert reached == f"{address}/browser/collections/ridge--v2/items/huts"


def test_an_item_leads_to_its_revisions(pages, address):
    browser = f"{address}/browser/collections"
    page = pages["huts"]
    assert page.links["huts in ridge@v2"] == f"{browser}/ridge--v2/items/huts"
    assert page.links["Revisions of huts"] == f"{browser}/ridge/items/huts/versions"
    assert "v3 changed, v2 added" in pages["revisions"].text
    assert "Outdated" not in pages["revisions"].text


@pytest.mark.parametrize(
    ("name", "kind", "start"), [(RELIEF, "Cloud-Optimized GeoTIFF", "II*\0"), ("huts", "Parquet", "PAR1")]
)
def test_an_asset_can_be_downloaded(pages, address, name, kind, start):
    page = pages[name]
    assert kind in page.text
    assert "sha2-256" in page.text
    assert page.links["Download"].startswith(f"{address}/objects/")
    assert page.download == start


@pytest.mark.parametrize("name", [V1, V3])
def test_the_map_of_a_collection_shows_footprints_and_nothing_else(pages, name):
    page = pages[name]
    top, bottom, left, right = box(page.near(BLUE) | page.near(ORANGE))
    assert bottom - top > 100
    assert right - left > 100
    assert page.near(ORANGE).sum() > 400
    assert around(ink(page.picture), top, bottom, left, right).sum() == 0


def test_the_map_of_an_item_draws_its_raster_where_it_is(pages):
    page = pages[RELIEF]
    top, bottom, left, right = box(page.near(BLUE))
    # Three stripes of equal width: the range of the values is stretched, and 3,000 m is white.
    middle = page.picture[(top + bottom) // 2, left:right].astype(int)
    width = middle.shape[0]
    black, grey, white = (middle[int(width * share)] for share in (1 / 6, 1 / 2, 5 / 6))
    assert black.max() < 16
    assert abs(grey - 127).max() < 16
    assert white.min() > 239
    # It fills the footprint from top to bottom, and nothing is drawn beside it.
    inside = page.picture[top + 8 : bottom - 8, left + 8 : left + width // 3 - 8]
    assert inside.max() < 16
    beside = ink(page.picture)
    beside[top : bottom + 1, left : right + 1] = False
    assert around(beside, top, bottom, left, right).sum() == 0


def test_the_map_of_labels_shows_their_footprint_and_each_of_them(pages):
    page = pages["huts"]
    blue = page.near(BLUE)
    assert blue.sum() > 400
    top, bottom, left, right = box(blue)
    assert ink(page.picture[top:bottom, left:right]).sum() == 0
    # Two of the three huts are the ends of the footprint's upper side, and their circles stand out above it.
    assert 0 < blue[top].sum() < (right - left) / 4
