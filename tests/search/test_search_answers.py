"""Search against a plain reading of what it means, over every item, one by one."""

from __future__ import annotations

from functools import cmp_to_key

import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from search_items import box_geometry, found, make_item, make_version, moment, place_matches, times_of

from catalog import search as module
from catalog.search import Query, explain, iterate, search
from versioning.catalog import Catalog
from versioning.errors import InvalidInput
from versioning.store import open_store

DAYS = [f"2024-01-{day:02d}T00:00:00Z" for day in range(1, 10)]


def boxes():
    """Corners on a coarse grid, so that edges touch, boxes are flat and the antimeridian is crossed."""
    longitudes = st.sampled_from([-180, -170, -90, -10, 0, 10, 90, 170, 180])
    latitudes = st.sampled_from([-90, -10, 0, 10, 60, 90])
    return st.builds(
        lambda w, e, a, b: (w, min(a, b), e, max(a, b)), longitudes, longitudes, latitudes, latitudes
    )  # fmt: skip


def item_boxes():
    return boxes().filter(lambda box: box[0] != box[2] and box[1] != box[3] and box[0] != 180 and box[2] != -180)


def whens():
    days = st.sampled_from(DAYS)
    return st.one_of(days, st.tuples(days, days).map(sorted).map(tuple))


def properties():
    values = st.sampled_from([None, 0, 1, 2.5, 10, "", "a", "b", "é", True])
    return st.fixed_dictionaries({}, optional={"p": values, "q": values})


def item_lists():
    drafts = st.tuples(st.one_of(st.none(), item_boxes()), whens(), properties())
    ids = st.text("ab-.", min_size=1, max_size=3).map(lambda text: "x" + text)
    return st.dictionaries(ids, drafts, min_size=1, max_size=12).map(
        lambda made: [make_item(item_id, box, when, **more) for item_id, (box, when, more) in made.items()]
    )


def parts():
    days = st.sampled_from(DAYS)
    intervals = st.tuples(days, days).map(sorted).map("/".join)
    return st.fixed_dictionaries(
        {},
        optional={
            "bbox": boxes(),
            "datetime": st.one_of(days, intervals, days.map("{}/..".format), days.map("../{}".format)),
            "ids": st.lists(st.text("ab-.", max_size=3).map(lambda text: "x" + text), max_size=5),
            "filter": st.sampled_from(["p = 1", "NOT p > 1", "q IS NULL", "p = 1 OR q = 'a'", "id > 'xb'"]),
        },
    )


def expected(items, asked):
    """Ids of the items that match, by the words of the STAC API specification."""
    ids = []
    for item in items:
        start, end = times_of(item)
        p, q = item["properties"].get("p"), item["properties"].get("q")
        number = p if isinstance(p, int | float) and not isinstance(p, bool) else None
        filters = {
            None: True,
            "p = 1": number == 1,
            "NOT p > 1": number is not None and not number > 1,
            "q IS NULL": q is None,
            "p = 1 OR q = 'a'": number == 1 or q == "a",
            "id > 'xb'": item["id"] > "xb",
        }
        first, _, last = asked.get("datetime", "../..").partition("/")
        last = last or first
        if (
            ("ids" not in asked or item["id"] in asked["ids"])
            and ("bbox" not in asked or place_matches(item, box_geometry(asked["bbox"])))
            and (last == ".." or start <= moment(last))
            and (first == ".." or end >= moment(first))
            and filters[asked.get("filter")]
        ):
            ids.append(item["id"])
    return ids


def in_order(items, sortby):
    """Items as PostgreSQL orders them: nulls are the greatest; ties go by id in the first field's direction."""
    fields = [*sortby, ("id", sortby[0][1])] if sortby else [("datetime", "desc"), ("id", "desc")]

    def key(item, field):
        if field == "id":
            return (0, item["id"])
        if field in {"datetime", "end_datetime"}:
            return (0, times_of(item)[field == "end_datetime"])
        value = item["properties"].get(field)
        if value is None:
            return (2, 0)
        if isinstance(value, bool):
            return (1, str(value).lower())
        return (0, value) if isinstance(value, int | float) else (1, value)

    def compare(one, two):
        for field, direction in fields:
            a, b = key(one, field), key(two, field)
            if a != b:
                return (1 if a > b else -1) * (1 if direction == "asc" else -1)
        return 0

    return [item["id"] for item in sorted(items, key=cmp_to_key(compare))]


SORTS = st.lists(
    st.tuples(st.sampled_from(["p", "q", "id", "datetime", "end_datetime"]), st.sampled_from(["asc", "desc"])),
    max_size=3,
)
SLOW = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)


@SLOW
@given(item_lists(), st.lists(parts(), min_size=1, max_size=4))
def test_what_is_found(items, asks):
    version = make_version(items)
    for asked in asks:
        query = Query.parse(**asked)
        wanted = sorted(expected(items, asked))
        assert [item["id"] for item in iterate(version, query)] == wanted
        assert sorted(found(version, query, search)) == wanted
        assert explain(version, query).matched == len(wanted)


@SLOW
@given(item_lists(), SORTS, st.integers(1, 5))
def test_order_and_paging_forward_and_back(items, sortby, limit):
    version = make_version(items)
    query = Query.parse(sortby=sortby)
    wanted = in_order(items, sortby)
    pages, token = [], None
    while True:
        page = search([version], query, limit=limit, token=token)
        assert page.matched == len(items)
        pages.append([item["id"] for item in page.items])
        token = page.next
        if token is None:
            break
    assert [item_id for ids in pages for item_id in ids] == wanted
    back = [pages[-1]]
    while page.prev is not None:
        page = search([version], query, limit=limit, token=page.prev)
        back.insert(0, [item["id"] for item in page.items])
    assert back == pages


@pytest.fixture(scope="module")
def large():
    """4,000 items in several chunks, along a line from west to east and through two years."""
    items = [
        make_item(
            f"t{n:05d}", (-150 + n / 16, 0, -150 + n / 16 + 0.0625, 1), f"{2023 + n // 2_000}-03-01T00:00:00Z", n=n
        )
        for n in range(4_000)
    ]
    return make_version(items)


def test_only_the_chunks_that_are_touched_are_read(large):
    assert len(large.chunks) > 1
    everything = explain(large, Query())
    assert everything.chunks_read == everything.chunks == len(large.chunks)
    assert everything.examined == everything.matched == 4_000
    corner = explain(large, Query.parse(bbox=[-150, 0, -149, 1]))
    assert corner.chunks_read == 1
    assert corner.matched == 17
    late = explain(large, Query.parse(datetime="2024"))
    assert late.chunks_read < everything.chunks
    assert late.matched == 2_000
    one = explain(large, Query.parse(ids=["t00700", "nothing"]))
    assert (one.chunks_read, one.matched) == (1, 1)
    assert explain(large, Query.parse(bbox=[0, 50, 1, 51])).chunks_read == 0
    assert not corner.reads_json
    assert explain(large, Query.parse(filter="n = 1")).reads_json
    assert not explain(large, Query.parse(filter="id = 't00001' AND datetime > DATE('2023-01-01')")).reads_json
    assert "reads 1 of" in str(corner)
    assert corner.to_dict()["query"] == {"bbox": [-150.0, 0.0, -149.0, 1.0]}


def test_paging_over_chunks_by_a_property(large):
    query = Query.parse(sortby="-n", filter="n >= 100")
    seen, token = [], None
    while True:
        page = search([large], query, limit=333, token=token)
        seen += [item["properties"]["n"] for item in page.items]
        token = page.next
        if token is None:
            break
    assert seen == list(range(3_999, 99, -1))
    assert page.matched == 3_900


def test_reading_ahead_changes_nothing(large, monkeypatch):
    query = Query.parse(sortby="-n", filter="n >= 3990")
    wanted = search([large], query).items
    assert [item["properties"]["n"] for item in wanted] == list(range(3_999, 3_989, -1))
    monkeypatch.setattr(module, "_READERS", 2)
    monkeypatch.setattr(module, "_FEW", 0)
    module._remembered.clear()
    assert search([large], query).items == wanted
    assert search([large], Query(), limit=4_000).matched == 4_000


def test_the_order_is_the_same_with_nothing_remembered(large):
    query = Query.parse(filter="n < 50")
    first = search([large], query, limit=7)
    module._remembered.clear()
    again = search([large], query, limit=7, token=first.next)
    assert search([large], query, limit=7, token=again.prev).items == first.items


def test_several_datasets_in_one_search():
    catalog = Catalog.create(open_store("memory://"))
    one = make_version([make_item(f"i{n}", when=DAYS[n % 2]) for n in range(4)], "a", catalog)
    two = make_version([make_item(f"i{n}", when=DAYS[n % 2]) for n in range(3)], "a-b", catalog)
    # The newest first; ties by collection, then by id, both descending.
    wanted = [
        ("a-b--v1", "i1"),
        ("a--v1", "i3"),
        ("a--v1", "i1"),
        ("a-b--v1", "i2"),
        ("a-b--v1", "i0"),
        ("a--v1", "i2"),
    ]
    wanted.append(("a--v1", "i0"))
    for versions in ([one, two], [two, one]):
        page = search(versions, Query(), limit=10)
        assert [(item["collection"], item["id"]) for item in page.items] == wanted
        assert page.matched == 7
    got, token = [], None
    while True:
        page = search([two, one], Query.parse(sortby="id,-collection"), limit=2, token=token)
        got += [(item["id"], item["collection"]) for item in page.items]
        token = page.next
        if token is None:
            break
    assert got == sorted(got, key=lambda pair: (pair[0], pair[1] != "a-b--v1"))
    assert len(got) == 7
    assert search([], Query(), limit=5).matched == 0


def test_two_versions_of_one_dataset_are_refused():
    catalog = Catalog.create(open_store("memory://"))
    one = make_version([make_item("a")], "ds", catalog)
    two = make_version([make_item("b")], "ds", catalog)
    with pytest.raises(InvalidInput, match="one dataset"):
        search([one, two], Query())


def test_a_later_version_changes_no_answer():
    catalog = Catalog.create(open_store("memory://"))
    one = make_version([make_item(f"i{n}") for n in range(5)], "ds", catalog)
    page = search([one], Query(), limit=2)
    two = make_version([make_item("i9")], "ds", catalog)
    assert search([one], Query(), limit=2) == page
    assert search([one], Query(), limit=2, token=page.next).matched == 5
    assert search([two], Query(), limit=2).matched == 6
    with pytest.raises(InvalidInput, match="another search"):
        search([two], Query(), limit=2, token=page.next)


def test_tokens_of_other_searches_and_forged_ones_are_refused():
    version = make_version([make_item(f"i{n}", p=n) for n in range(5)])
    query = Query.parse(filter="p > 1")
    token = search([version], query, limit=1).next
    assert token is not None
    for other in (Query(), Query.parse(filter="p > 0"), Query.parse(filter="p > 1", sortby="id")):
        with pytest.raises(InvalidInput, match="another search"):
            search([version], other, limit=1, token=token)
    from catalog.paging import Token, identity

    owner = identity([version], query)
    absent = [Token("next", "ds--v1", name).encode(owner) for name in ("i0", "zz", "", "'; DROP TABLE items", "ü")]
    absent.append(Token("next", "ds--v2", "i4").encode(owner))
    for bad in (
        *absent,
        "",
        "x",
        "====",
        "next:ds--v1:i1",
        token[:-2],
        token + "AAAA",
        "A" * 5_000,
        "\x00",
        "é",
        "W10",
        "bnVsbA",
    ):
        with pytest.raises(InvalidInput, match="token"):
            search([version], query, limit=1, token=bad)


@pytest.mark.parametrize("limit", [0, -1, 10_001, 10**30, True, "10", 1.5, None])
def test_limits_out_of_range_are_refused(limit):
    with pytest.raises(InvalidInput, match="limit"):
        search([make_version([make_item("a")])], Query(), limit=limit)


def test_a_stream_has_one_order():
    with pytest.raises(InvalidInput, match="order"):
        iterate(make_version([make_item("a")]), Query.parse(sortby="id"))


def test_items_come_as_they_are_stored_with_their_collection():
    item = make_item("a", (0, 0, 1, 1), p={"deep": [1, None]})
    version = make_version([item])
    for got in (search([version], Query()).items[0], next(iterate(version, Query()))):
        assert got.pop("collection") == "ds--v1"
        assert got == version.item("a")


def test_footprints_that_go_the_wrong_way_round_the_earth():
    # One polygon from 179 to -179, as many providers write it, and one from 179 to 181.
    ring = [[179, 0], [-179, 0], [-179, 1], [179, 1], [179, 0]]
    beyond = [[x % 360, y] for x, y in ring]
    items = [
        make_item("round", (179, 0, -179, 1), geometry={"type": "Polygon", "coordinates": [ring]}),
        make_item("beyond", (179, 0, 181, 1), geometry={"type": "Polygon", "coordinates": [beyond]}),
    ]
    version = make_version(items)
    both = ["beyond", "round"]
    assert [item["id"] for item in iterate(version, Query.parse(bbox=[0, 0, 10, 10]))] == []
    for box in ([-179.5, 0, -170, 1], [170, 0, 179.5, 1], [175, -5, -175, 5], [-180, 0, -180, 1], [180, 0, 180, 1]):
        assert [item["id"] for item in iterate(version, Query.parse(bbox=box))] == both, box
    point = {"type": "Point", "coordinates": [-179.2, 0.5]}
    assert [item["id"] for item in iterate(version, Query.parse(intersects=point))] == both
    assert [item["id"] for item in iterate(version, Query.parse(filter="S_INTERSECTS(geometry, POINT(0 0.5))"))] == []


@SLOW
@given(st.lists(st.tuples(st.integers(-179, 179), st.integers(-89, 89)), min_size=3, max_size=6), item_lists())
def test_intersects(corners, items):
    shape = shapely.MultiPoint(corners).convex_hull
    version = make_version(items)
    query = Query.parse(intersects=shapely.geometry.mapping(shape))
    wanted = sorted(item["id"] for item in items if place_matches(item, shape))
    assert [item["id"] for item in iterate(version, query)] == wanted


def test_a_geometry_that_sticks_out_of_its_box_is_found():
    ring = [[0, 0], [10.05, 0], [10.05, 1], [0, 1], [0, 0]]
    version = make_version([make_item("a", (0, 0, 10, 1), geometry={"type": "Polygon", "coordinates": [ring]})])
    assert found(version, Query.parse(bbox=[10.02, 0, 11, 1]), search) == ["a"]
    assert found(version, Query.parse(bbox=[10.06, 0, 11, 1]), search) == []


def test_a_broken_footprint_hides_no_other():
    bow = [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]
    items = [
        make_item("bow", (0, 0, 2, 2), geometry={"type": "Polygon", "coordinates": bow}),
        make_item("box", (0, 0, 2, 2)),
    ]
    version = make_version(items)
    for query in (Query.parse(bbox=[1.8, 0.9, 3, 1.1]), Query.parse(filter="S_INTERSECTS(geometry, POINT(1.9 1))")):
        assert "box" in [item["id"] for item in iterate(version, query)]
