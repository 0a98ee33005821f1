"""Two ways to answer a search, one meaning: the manifests and the pgstac index agree item for item, and in order."""

from __future__ import annotations

import json

import pytest
import shapely
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st
from postgres import postgres  # noqa: F401 - a fixture of this file
from search_items import make_item, with_assets
from test_search_real import real_items

from api.pgstac_backend import PgstacBackend
from catalog.pgstac.database import Database
from catalog.pgstac.follow import Follower
from catalog.search import Query, search
from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.errors import InvalidInput
from versioning.rows import make_row
from versioning.store import open_store

pytestmark = pytest.mark.slow

# Values of every kind under few names, so that comparisons meet what they do not expect.
ODD = [
    None, 0, 1, -2.5, 10, 1e-7, 2**60, 1e300, True, False, "", "a", "B", "10", " 7 ", "1e999", "é", "straße", "STRASSE",
    "100%", "a_b", "back\\slash", "it's", 'quo"te', "nul\0here", "𒍟※", "'; drop table pgstac.items; --", "2024-03-01",
    "2024-03-01T12:00:00.1234567Z", "2024-02-30", [], [1], ["a", "b"], [None, "a"], ["3"], {"x": 1}, {"x": {"y": "z"}},
    1e23, "1" + "0" * 23, [10, 20.5, -3], [1e23, {"x": [7]}], 1e-200,
]  # fmt: skip
TIMES = [
    "2023-12-31T23:59:59.999999Z", "2024-01-01T00:00:00Z", "2024-03-01T12:00:00+05:30", "2024-03-01T12:00:00Z",
    ("2024-01-01T00:00:00Z", "2024-12-31T00:00:00Z"), ("2024-02-01T00:00:00Z", "2024-03-01T12:00:00Z"),
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
]  # fmt: skip
BOXES = [
    None, (0, 0, 1, 1), (0.5, 0.5, 2, 2), (-10, -10, 10, 10), (170, -5, -170, 5), (179, 0, 180, 1), (-180, 0, -179, 1),
    (0, 0, 0.00001, 0.00001), (1e-9, 0, 2e-9, 1), (-180, -90, 180, 90),
]  # fmt: skip
SHAPES = [
    {"type": "Point", "coordinates": [0.5, 0.5]},
    {"type": "Point", "coordinates": [0.5, 0.5, 100]},
    {"type": "MultiPoint", "coordinates": [[0, 0], [1, 1]]},
    {"type": "LineString", "coordinates": [[0, 0], [2, 2]]},
    {"type": "Polygon", "coordinates": [[[179, -1], [181, -1], [181, 1], [179, 1], [179, -1]]]},
    {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]], [[1, 1], [2, 1], [2, 2], [1, 1]]]},
    {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [3, 3]}]},
    {"type": "Polygon", "coordinates": [[[0.1234567, 0.7654321], [1.1, 0.3], [1 / 3, 2 / 3], [0.1234567, 0.7654321]]]},
]


def odd_items(seed):
    """Sixty items that between them have every odd value, time, box and shape."""
    found = []
    for number in range(60):
        at = number + seed
        if number % 3:
            place = {"box": BOXES[at % len(BOXES)]}
        else:
            geometry = SHAPES[at % len(SHAPES)]
            west, south, east, north = shapely.geometry.shape(geometry).bounds
            place = {"geometry": geometry, "box": (west, south, east, north)}
        item = make_item(f"x{number:02d}", when=TIMES[at % len(TIMES)], **place, p=ODD[at % len(ODD)])
        item["properties"]["q"] = ODD[(at * 7) % len(ODD)]
        if number % 4 == 0:
            item["properties"]["n:o"] = {"deep": ODD[(at * 3) % len(ODD)]}
        if number % 7 == 0:
            item["assets"] = {
                "a": {"href": "https://example.com/a", "file:checksum": "1220" + "ab" * 32, "file:size": 1, "gsd": at}
            }
        if number % 11 == 0:
            item["pgstac:base_item"] = "foreign"
        found.append(item)
    return found


def build(shared):
    """Three datasets, of which some versions were the newest at the same time, and some were not."""
    catalog = Catalog.create(open_store("memory://"))
    base = odd_items(0)

    def put(dataset, items=(), remove=()):
        return commit(catalog.dataset(dataset), items=items, remove=remove, message="test", author="test").version

    versions = {"a": [put("a", base)], "a-b": [put("a-b", odd_items(5)[:30])], "c0": []}
    versions["a"].append(put("a", [*odd_items(3)[::5], make_item("new", (0, 0, 3, 3), p="new")]))
    versions["a"].append(put("a", remove=[item["id"] for item in base[::4]]))
    versions["a-b"].append(put("a-b", odd_items(9)[20:40]))
    versions["a"].append(put("a", base[:20]))  # what was there before comes back
    real = {}
    for item in [] if shared is None else real_items(shared / "stac").values():
        bare = {key: value for key, value in with_assets(item).items() if key not in {"links", "collection"}}
        bare["id"] = item["id"].replace("/", "=2F")
        try:
            make_row(bare)
        except InvalidInput:
            continue
        real[bare["id"]] = bare
    versions["c0"].append(put("c0", list(real.values())[::2] or base[:3]))
    versions["c0"].append(put("c0", list(real.values()) or base[3:]))
    return catalog, versions


@pytest.fixture(scope="module")
def both(request, postgres):  # noqa: F811
    """The versions, and the backend that answers from the index."""
    try:
        shared = request.getfixturevalue("shared_data")
    except pytest.skip.Exception:
        shared = None
    catalog, versions = build(shared)
    database = Database(postgres.new_database())
    follower = Follower(catalog, database)
    follower.prepare()
    # Indexed in the order of datasets, each version by version: their ranges meet in some pairs and not in others.
    assert not follower.step().failed
    backend = PgstacBackend(catalog, database.url)
    yield versions, backend
    backend.close()


NAMES = ["p", "q", "n:o.deep", "n:o", "id", "collection", "datetime", "end_datetime", "missing", "eo:cloud_cover",
         "platform", "gsd", "proj:shape", "assets.a.gsd", "proj:epsg", "created", "bbox",
         "p.0", "p.-1", "q. 1", "bbox.0", "n:o.0.x", "pin:id"]  # fmt: skip
SORTABLE = [name for name in NAMES if name != "bbox"]


def scalars():
    texts = [value for value in ODD if isinstance(value, str)]
    return st.sampled_from([0, 1, -2.5, 10, 1e-7, True, *texts, "x01", "a--v1", "a-b--v2", "sentinel-2a", "landsat-8"])


def named():
    return st.sampled_from(NAMES).map(lambda name: {"property": name})


def operands():
    plain = named() | scalars()
    calls = st.tuples(st.sampled_from(["casei", "accenti", "upper", "lower"]), plain)
    numbers = st.integers(-3, 3) | st.sampled_from([1e-200, 1e300])
    sums = st.tuples(st.sampled_from("+-*/"), named() | numbers, numbers)
    moments = st.sampled_from([{"timestamp": "2024-03-01T12:00:00Z"}, {"date": "2024-03-01"}])
    return st.one_of(
        plain,
        moments,
        calls.map(lambda made: {"op": made[0], "args": [made[1]]}),
        sums.map(lambda made: {"op": made[0], "args": list(made[1:])}),
    )


def op(names, *args):
    return st.tuples(st.sampled_from(names), st.tuples(*args)).map(lambda made: {"op": made[0], "args": list(made[1])})


def spans():
    moments = st.sampled_from(["2024-01-01", "2024-03-01T12:00:00Z", "2023-12-31T23:59:59.999999Z"])
    ends = st.tuples(st.just("..") | moments, moments | st.just("..")).map(list)
    return st.one_of(
        moments.map(lambda text: {"timestamp": text if "T" in text else f"{text}T00:00:00Z"}),
        st.just({"date": "2024-03-01"}),
        ends.map(lambda pair: {"interval": pair}),
        st.just({"interval": [{"property": "datetime"}, {"property": "end_datetime"}]}),
        st.sampled_from(["datetime", "end_datetime", "p", "created"]).map(lambda name: {"property": name}),
    )


def conditions():
    compared = op(["=", "<>", "<", "<=", ">", ">="], operands(), operands())
    lists = st.lists(st.one_of(st.none(), scalars(), st.sampled_from([10.0, -0.0, 20.5, 1e23])), max_size=3)
    relations = [
        "t_before", "t_after", "t_meets", "t_metby", "t_overlaps", "t_overlappedby", "t_starts", "t_startedby",
        "t_during", "t_contains", "t_finishes", "t_finishedby", "t_equals", "t_disjoint", "t_intersects",
    ]  # fmt: skip
    places = [
        "s_intersects",
        "s_disjoint",
        "s_equals",
        "s_touches",
        "s_within",
        "s_overlaps",
        "s_crosses",
        "s_contains",
    ]
    shapes = st.sampled_from([*SHAPES[:4], SHAPES[5], {"bbox": [0, 0, 1, 1]}, {"bbox": [170, -5, -170, 5]}])
    leaves = st.one_of(
        compared,
        op(["between"], operands(), operands(), operands()),
        op(["in"], named(), st.lists(st.one_of(st.none(), scalars()), min_size=1, max_size=4)),
        op(["like", "ilike"], named(), st.sampled_from(["%", "a%", "%E%", "10_", "%\\%", "s_r%", "a\\", "%ß%", "x0_"])),
        op(["isnull"], named() | st.just({"property": "geometry"})),
        op(["a_equals", "a_contains", "a_containedby", "a_overlaps"], named() | lists, named() | lists),
        op(relations, spans(), spans()),
        op(places, st.just({"property": "geometry"}), shapes),
        op(places, shapes, st.just({"property": "geometry"})),
        st.booleans(),
    )
    return st.recursive(
        leaves,
        lambda inner: op(["and", "or"], inner, inner) | op(["not"], inner),
        max_leaves=4,
    )


def queries():
    boxes = st.sampled_from(
        [[0, 0, 1, 1], [-5, -5, 0.5, 0.5], [170, -90, -170, 90], [-180, -90, 180, 90], [0, 0, 0, 0]]
    )
    days = st.sampled_from(["2024-01-01", "2024-03-01T12:00:00Z", "2023/2024", "../2024-02-15", "2024-06-01/.."])
    sorts = st.lists(st.tuples(st.sampled_from(SORTABLE), st.sampled_from(["asc", "desc"])).map(list), max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "bbox": boxes,
            "datetime": days,
            "ids": st.lists(
                st.sampled_from(["x00", "x01", "x33", "new", "nul\0", "none", "'"]), min_size=1, max_size=4
            ),
            "filter": conditions(),
            "sortby": sorts,
        },
    )


def chosen():
    return st.fixed_dictionaries(
        {}, optional={"a": st.integers(0, 3), "a-b": st.integers(0, 1), "c0": st.integers(0, 1)}
    ).filter(bool)


def checked(parts):
    """The query, None where both refuse it."""
    try:
        return Query.parse(**parts)
    except InvalidInput:
        return None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen(), queries(), st.integers(1, 25))
@example({"a": 3, "a-b": 1, "c0": 1}, {}, 7)
@example({"a": 0, "c0": 1}, {"sortby": [["p", "desc"]]}, 5)
@example({"a": 0}, {"sortby": [["q", "asc"], ["id", "desc"]]}, 9)
@example(
    {"a": 1},
    {"filter": {"op": "not", "args": [{"op": "s_disjoint", "args": [{"property": "geometry"}, SHAPES[3]]}]}},
    25,
)
@example({"a": 2, "a-b": 0}, {"filter": {"op": "=", "args": [{"property": "collection"}, "a--v3"]}}, 25)
def test_the_index_answers_as_the_manifests_do(both, choice, parts, limit):
    versions, backend = both
    note(f"{choice} {parts} {limit}")
    query = checked(parts)
    if query is None:
        return
    picked = [versions[dataset][number] for dataset, number in choice.items()]
    wanted = search(picked, query, limit=limit)
    got = backend.search(picked, query, limit=limit, token=None)
    same(got, wanted)
    for _ in range(2):  # forwards, page by page, and one back
        if wanted.next is None:
            break
        token = wanted.next
        wanted, got = (
            search(picked, query, limit=limit, token=token),
            backend.search(picked, query, limit=limit, token=token),
        )
        same(got, wanted)
    if wanted.prev is not None:
        same(
            backend.search(picked, query, limit=limit, token=wanted.prev),
            search(picked, query, limit=limit, token=wanted.prev),
        )


def same(got, wanted):
    assert [(item["collection"], item["id"]) for item in got.items] == [
        (item["collection"], item["id"]) for item in wanted.items
    ]
    # Numbers too: 1 and 1.0 are one number in JSON, and one in Python.
    assert got.items == wanted.items
    assert json.loads(json.dumps(got.items)) == json.loads(json.dumps(wanted.items))
    assert (got.matched, got.next, got.prev) == (wanted.matched, wanted.next, wanted.prev)


def test_every_item_of_every_version_comes_back_as_it_is(both):
    versions, backend = both
    for version in (version for some in versions.values() for version in some):
        rows = {row.id: row for row in version.rows()}
        for item_id, row in rows.items():
            found = backend.find(version, item_id)
            assert found is not None
            assert (found.digest, found.item) == (row.digest, row.item)
            assert backend.digest(version, item_id) == row.digest
        assert backend.find(version, "nobody") is None
        assert backend.digest(version, "nobody") is None
