"""Whatever is sent, the answer is an answer: fine, refused or not found, and never a failure of the server."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

QUICK = settings(
    max_examples=80, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FINE = {200, 304, 400, 404}

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)
numbers = st.integers(-400, 400) | st.floats(-400, 400)
positions = st.lists(numbers, min_size=0, max_size=4)
geometries = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["Point", "LineString", "Polygon", "MultiPolygon", "GeometryCollection", "Feature", ""]
        ),
        "coordinates": positions
        | st.lists(positions, max_size=5)
        | st.lists(st.lists(positions, max_size=5), max_size=3),
    }
)
operators = st.sampled_from(
    ["and", "or", "not", "=", "<", "like", "in", "between", "isNull", "s_intersects", "t_after", "+"]
)
operands = st.fixed_dictionaries({"property": st.text(max_size=12)}) | scalars | geometries
filters = st.recursive(
    st.fixed_dictionaries({"op": operators, "args": st.lists(operands, max_size=3)}),
    lambda inner: st.fixed_dictionaries({"op": operators, "args": st.lists(inner | operands, max_size=3)}),
    max_leaves=8,
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "collections": st.lists(
            st.sampled_from(["landcover", "landcover--v1", "dem", "x"]) | st.text(max_size=9), max_size=3
        )
        | anything,
        "version": st.sampled_from(["stable", "v1", "v2.1.4", "{2026-01-01}"]) | anything,
        "ids": st.lists(st.text(max_size=9), max_size=3) | anything,
        "bbox": st.lists(numbers, min_size=3, max_size=7) | anything,
        "intersects": geometries | anything,
        "datetime": st.text("0123456789-:TZ/.", max_size=40) | anything,
        "filter": filters | anything,
        "sortby": st.lists(st.fixed_dictionaries({"field": st.text(max_size=9), "direction": st.just("asc")}))
        | anything,
        "fields": st.fixed_dictionaries({"include": st.lists(st.text(max_size=9))}) | anything,
        "limit": st.integers(-5, 20000) | anything,
        "token": st.text(max_size=30) | anything,
    },
)


@QUICK
@given(bodies)
def test_any_body(client, body):
    answer = client.post("/search", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code in FINE, (body, answer.text)
    assert answer.status_code == 200 or answer.json()["code"]


@QUICK
@given(
    st.dictionaries(
        st.sampled_from(["collections", "version", "ids", "bbox", "intersects", "datetime", "filter", "filter-lang"])
        | st.sampled_from(["filter-crs", "sortby", "fields", "limit", "token"]),
        st.text(max_size=30) | st.sampled_from(["landcover", "1,2,3,4", "id = 't01'", "cql2-text", "+id", "3"]),
        max_size=4,
    )
)
def test_any_parameters(client, params):
    for path in ("/search", "/collections/landcover--v1/items"):
        answer = client.get(path, params=params)
        assert answer.status_code in FINE, (params, answer.text)


@QUICK
@given(st.lists(st.text(min_size=1, max_size=12).filter(lambda text: text not in {".", ".."}), min_size=1, max_size=5))
def test_any_path(client, parts):
    from urllib.parse import quote

    for start in ("", "/collections", "/collections/landcover", "/objects", "/browser"):
        path = start + "/" + "/".join(quote(part, safe="", errors="replace") for part in parts)
        assert client.get(path).status_code in FINE | {405, 503}, path
