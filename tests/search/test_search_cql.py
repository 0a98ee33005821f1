"""CQL2 against SQL: sqlite decides what is unknown, and pgstac's rules what is compared as what."""

from __future__ import annotations

import sqlite3
import time

import orjson
import pyarrow as pa
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from search_items import make_item

from catalog.cql import compile_filter, parse_filter
from catalog.cql_values import like_matcher
from catalog.query_area import footprint
from catalog.query_time import parse_instant
from catalog.scan import _Item  # the record that search itself makes


def record(item):
    properties = item["properties"]
    start = properties.get("start_datetime") or properties["datetime"]
    end = properties.get("end_datetime") or properties["datetime"]
    shape = shapely.geometry.shape(item["geometry"]) if item["geometry"] else None
    text = pa.scalar(orjson.dumps(item).decode())
    return _Item(item["id"], "ds--v1", (parse_instant(start), parse_instant(end)), shape, text)


def answer(text, item):
    return compile_filter(parse_filter(text)).test(record(item))


ITEM = make_item(
    "scene-1",
    (0, 0, 10, 10),
    ("2024-05-01T10:00:00Z", "2024-05-02T10:00:00Z"),
    n=5, f=0.5, tiny=1e-7, s="Hello", t="10", flag=True, nil=None, accents="Übergrößé",
    proj={"shape": [1, 2]}, instruments=["oli", "tirs"], created="2024-06-01T00:00:00.5Z", odd="50%_\\",
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n = 5", True),
        ("properties.n = 5", True),
        ("5 = n", True),
        ("n = '5'", True),  # beside a text, a number is read as text
        ("t = 10", True),  # beside a number, a text is read as a number
        ("t < '9'", True),  # as texts
        ("t < 9", False),  # as numbers
        ("s = 5", None),  # not a number: unknown
        ("f = '0.5'", True),
        ("tiny = '0.0000001'", True),
        ("flag = TRUE", True),
        ("flag = 'true'", True),
        ('instruments = \'["oli", "tirs"]\'', True),
        ("n <> 5", False),
        ("missing = 5", None),
        ("missing <> 5", None),
        ("NOT missing > 5", None),
        ("n = 5 OR missing = 2", True),
        ("missing = 2 OR n = 5", True),
        ("n = 4 OR missing = 2", None),
        ("n = 5 AND missing = 2", None),
        ("n = 4 AND missing = 2", False),
        ("NOT (n = 4 AND missing = 2)", True),
        ("nil IS NULL", True),
        ("missing IS NULL", True),
        ("n IS NOT NULL", True),
        ("nil = 1", None),
        ("n IN (4, 5)", True),
        ("n IN (1, 2)", False),
        ("n NOT IN (1, 2)", True),
        ("missing NOT IN (1, 2)", None),
        ("s IN ('Hello', 'x')", True),
        ("n BETWEEN 5 AND 6", True),
        ("n NOT BETWEEN 6 AND 7", True),
        ("missing BETWEEN 1 AND 2", None),
        ("n + 1 = 6", True),
        ("n * 2 > n + 4", True),
        ("n / 0 = 1", None),
        ("n - missing = 1", None),
        ("s LIKE 'H%'", True),
        ("s LIKE 'h%'", False),
        ("s LIKE '_ell_'", True),
        ("s NOT LIKE '%z%'", True),
        ("missing LIKE '%'", None),
        ("CASEI(s) = CASEI('hELLO')", True),
        ("CASEI(s) LIKE CASEI('hel%')", True),
        ("CASEI(s) IN (CASEI('hello'), CASEI('x'))", True),
        ("ACCENTI(CASEI(accents)) LIKE '%E'", True),
        ("proj.shape = '[1, 2]'", True),
        ("properties.proj.shape IS NOT NULL", True),
        ("proj.missing.deeper IS NULL", True),
        ("A_CONTAINS(instruments, ('oli'))", True),
        ("A_CONTAINS(instruments, ('oli', 'pan'))", False),
        ("A_OVERLAPS(instruments, ('pan', 'tirs'))", True),
        ("A_EQUALS(instruments, ('oli', 'tirs'))", True),
        ("A_CONTAINEDBY(instruments, ('oli', 'tirs', 'pan'))", True),
        ("A_OVERLAPS(missing, ('x'))", None),
        ("id = 'scene-1'", True),
        ("id LIKE 'scene-%'", True),
        ("id IN ('scene-1', 'scene-2')", True),
        ("collection = 'ds--v1'", True),
        ("datetime = TIMESTAMP('2024-05-01T10:00:00Z')", True),  # where the range begins
        ("datetime > '2024-05-01T09:00:00Z'", True),
        ("start_datetime = TIMESTAMP('2024-05-01T10:00:00Z')", True),
        ("end_datetime = TIMESTAMP('2024-05-02T12:00:00+02:00')", True),
        ("datetime BETWEEN DATE('2024-05-01') AND DATE('2024-05-02')", True),
        ("created > TIMESTAMP('2024-06-01T00:00:00Z')", True),
        ("T_AFTER(created, TIMESTAMP('2024-06-01T00:00:00Z'))", True),
        ("T_AFTER(missing, TIMESTAMP('2024-06-01T00:00:00Z'))", None),
        ("T_BEFORE(datetime, DATE('2024-05-02'))", True),
        ("T_DURING(datetime, DATE('2024-05-01'))", True),
        ("T_DURING(datetime, INTERVAL('2024-04-01', '..'))", True),
        ("T_EQUALS(datetime, TIMESTAMP('2024-05-01T10:00:00Z'))", True),
        ("T_DISJOINT(datetime, INTERVAL('2024-05-01T10:00:00Z', '2024-05-03'))", False),
        ("T_INTERSECTS(INTERVAL(start_datetime, end_datetime), INTERVAL('2024-05-02', '2024-05-03'))", True),
        ("T_OVERLAPS(INTERVAL(start_datetime, end_datetime), INTERVAL('2024-05-02', '2024-05-03'))", True),
        ("T_CONTAINS(INTERVAL(start_datetime, end_datetime), TIMESTAMP('2024-05-02T00:00:00Z'))", True),
        ("T_MEETS(INTERVAL(start_datetime, end_datetime), INTERVAL('2024-05-02T10:00:00Z', '..'))", True),
        ("T_INTERSECTS(INTERVAL(missing, end_datetime), DATE('2024-05-02'))", None),
        ("S_INTERSECTS(geometry, POINT(10 10))", True),
        ("S_INTERSECTS(POINT(5 5), geometry)", True),
        ("S_WITHIN(geometry, BBOX(-1, -1, 11, 11))", True),
        ("S_CONTAINS(geometry, POINT(5 5))", True),
        ("S_DISJOINT(geometry, POLYGON((20 20, 30 20, 30 30, 20 20)))", True),
        ("S_TOUCHES(geometry, BBOX(10, 0, 20, 10))", True),
        ("S_INTERSECTS(geometry, GEOMETRYCOLLECTION(POINT(50 50), POINT(5 5)))", True),
        ("TRUE", True),
        ("FALSE", False),
        ("n = NULL", None),
    ],
)
def test_what_a_filter_answers(text, expected):
    assert answer(text, ITEM) is expected
    # NOT of the unknown is unknown.
    assert answer(f"NOT ({text})", ITEM) is (None if expected is None else not expected)


def test_an_item_without_a_place_has_no_relation_to_one():
    assert answer("S_DISJOINT(geometry, POINT(0 0))", make_item("nowhere")) is None
    assert answer("geometry IS NULL", make_item("nowhere")) is True


NUMBERS = st.sampled_from([None, -1, 0, 0.5, 1, 2, 10])
TEXTS = st.sampled_from([None, "", "a", "ab", "b%", "B_", "abc"])


def leaves():
    operators = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])
    numbers = st.sampled_from([-1, 0, 0.5, 1, 2])
    texts = st.sampled_from(["", "a", "ab", "b%", "abc"])
    patterns = st.sampled_from(["%", "a%", "%b%", "_", "a_", "%%c", "ab", "b!%", "%!_"])

    def quoted(text):
        return f"'{text}'"

    return st.one_of(
        st.builds(lambda op, v: (f"n {op} {v}",) * 2, operators, numbers),
        st.builds(lambda op: (f"n {op} m",) * 2, operators),
        st.builds(lambda op, v: (f"s {op} {quoted(v)}",) * 2, operators, texts),
        st.builds(lambda a, b: (f"n BETWEEN {a} AND {b}",) * 2, numbers, numbers),
        st.builds(lambda vs: (f"n IN ({', '.join(map(str, vs))})",) * 2, st.lists(numbers, min_size=1)),
        st.builds(lambda vs: (f"s NOT IN ({', '.join(map(quoted, vs))})",) * 2, st.lists(texts, min_size=1)),
        st.builds(
            lambda p: ("s LIKE " + quoted(p.replace("!", "\\")), "s LIKE " + quoted(p) + " ESCAPE '!'"), patterns
        ),
        st.sampled_from([("n IS NULL",) * 2, ("s IS NOT NULL",) * 2]),
    )


TREES = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        st.builds(lambda a, b: (f"({a[0]} AND {b[0]})", f"({a[1]} AND {b[1]})"), inner, inner),
        st.builds(lambda a, b: (f"({a[0]} OR {b[0]})", f"({a[1]} OR {b[1]})"), inner, inner),
        st.builds(lambda a: (f"NOT ({a[0]})", f"NOT ({a[1]})"), inner),
    ),
    max_leaves=6,
)

DATABASE = sqlite3.connect(":memory:", check_same_thread=False)
DATABASE.execute("PRAGMA case_sensitive_like = ON")


@given(TREES, NUMBERS, NUMBERS, TEXTS, st.booleans())
def test_three_valued_logic_is_sqls(tree, n, m, s, leave_out):
    text, sql = tree
    if " m" in text and None not in (n, m):
        n, m = abs(n) % 3, abs(m) % 3  # two properties are compared as texts: only where that is the same
        n, m = int(n), int(m)
    query = f"SELECT {sql} FROM (SELECT CAST(? AS NUMERIC) AS n, CAST(? AS NUMERIC) AS m, ? AS s)"
    (wanted,) = DATABASE.execute(query, (n, m, s)).fetchone()
    properties = {key: value for key, value in {"n": n, "m": m, "s": s}.items() if value is not None or not leave_out}
    assert answer(text, make_item("x", **properties)) is (None if wanted is None else bool(wanted)), text


@given(st.text("ab%_\\", max_size=8), st.text("ab%_\\", max_size=8))
def test_like_is_sqls(pattern, text):
    if pattern.replace("\\\\", "").endswith("\\"):
        return  # an error in PostgreSQL
    (wanted,) = DATABASE.execute("SELECT ? LIKE ? ESCAPE '\\'", (text, pattern)).fetchone()
    assert like_matcher(pattern)(text) is bool(wanted)


def test_a_hostile_pattern_takes_no_longer():
    begin = time.perf_counter()
    assert not like_matcher("%a" * 2_000 + "%b")("a" * 20_000)
    assert time.perf_counter() - begin < 2


@pytest.mark.parametrize(
    ("coordinates", "box"),
    [
        ([[[179, 0], [-179, 0], [-179, 1], [179, 1], [179, 0]]], (179, 0, -179, 1)),
        ([[[179, 0], [181, 0], [181, 1], [179, 1], [179, 0]]], (179, 0, 181, 1)),
        ([[[-181, 0], [-179, 0], [-179, 1], [-181, 1], [-181, 0]]], (-181, 0, -179, 1)),
    ],
)
def test_a_footprint_across_the_antimeridian_is_cut_there(coordinates, box):
    shape = footprint(shapely.geometry.shape({"type": "Polygon", "coordinates": coordinates}), box)
    wanted = shapely.union_all([shapely.box(179, 0, 180, 1), shapely.box(-180, 0, -179, 1)])
    assert shapely.equals(shape, wanted)
    assert footprint(wanted, (179, 0, -179, 1)) is wanted
