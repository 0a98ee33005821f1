"""Pages of versions against a plain sort, and tokens that anybody could have made."""

from __future__ import annotations

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.collection_places import Place
from catalog.collection_search import Entry, search_collections
from catalog.query import Query
from versioning.errors import InvalidInput


def entry(dataset, number, value=None):
    declared = {} if value is None else {"x": value}
    return Entry(dataset, number, ((-180.0, -90.0, 180.0, 90.0),), None, None, declared, {}, b"{}")


values = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(-2, 2)
    | st.text(max_size=3)
    | st.lists(st.none(), max_size=1)
)
datasets = st.dictionaries(st.tuples(st.sampled_from("abc"), st.integers(1, 12)), values, max_size=14)


@given(datasets, st.sampled_from([None, "x", "-x", "id", "-id", "x,-id", "-datetime,x"]), st.integers(1, 5), st.data())
def test_pages_are_the_whole_in_its_order(given_values, sortby, limit, data):
    ordered = sorted(given_values.items(), key=lambda pair: (pair[0][0], -pair[0][1]))
    entries = [entry(dataset, number, value) for (dataset, number), value in ordered]
    query = Query.parse(sortby=sortby)
    whole = search_collections(entries, query, limit=100)
    assert whole.matched == len(whole.entries) == len(entries)
    if sortby in {"id", None}:
        names = [(one.dataset, one.number if sortby else -one.number) for one in whole.entries]
        assert names == sorted(names)
    seen, page = [], search_collections(entries, query, limit=limit)
    gone = set()
    while True:
        assert len(page.entries) <= limit
        seen += page.entries
        if page.next is None:
            break
        # What stood at the end of a page may go before the next is asked for.
        if data.draw(st.booleans()):
            gone.add((page.entries[-1].dataset, page.entries[-1].number))
        left = [one for one in entries if (one.dataset, one.number) not in gone]
        page = search_collections(left, query, limit=limit, token=page.next)
    assert seen == whole.entries


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3) | st.just("next"), st.lists, max_leaves=8
    )
)
def test_no_forged_token_does_harm(content):
    query = Query.parse(sortby="x,-id")
    entries = [entry("a", 2, "t"), entry("a", 1, 1), entry("b", 1)]
    owner = orjson.loads(_decoded(search_collections(entries, query, limit=1).next))[3]
    for parts in (content, ["next", ["a", 9], content, owner], ["prev", content, [[2], [1, "a", 1]], owner]):
        token = base64.urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")
        try:
            page = search_collections(entries, query, limit=2, token=token)
        except InvalidInput:
            continue
        assert page.matched == 3


def _decoded(token):
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


@pytest.mark.parametrize("token", ["", "x", "é", "A" * 20_000, "W10", "bnVsbA"])
def test_what_is_no_token(token):
    with pytest.raises(InvalidInput, match="not a paging token"):
        Place.decode(token, "search", fields=0)


def test_long_texts_make_no_token_that_is_refused():
    entries = [entry("a", number, "é" * 50_000 + str(number)) for number in (3, 2, 1)]
    query = Query.parse(sortby=",".join(["x"] * 16))
    page = search_collections(entries, query, limit=1)
    assert search_collections(entries, query, limit=1, token=page.next).entries == [entries[1]]
