"""Free text: what a term finds, and that it is nothing but a CQL2 filter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_items import found, make_item, make_version

from catalog.free_text import TEXT_FIELDS, free_text_filter
from catalog.query import Query
from catalog.search import search
from versioning.errors import InvalidInput

ITEMS = [
    make_item("a", title="Land Cover of Peru", keywords=["forest", "Amazon basin"]),
    make_item("b", description="Cover of the land", keywords=["urban"]),
    make_item("c", title="100% cloud_free", keywords=['say "hi"', "back\\slash"]),
    make_item("d", title="100 cloudXfree"),
    make_item("e", platform="landsat forest"),
]


@pytest.fixture(scope="module")
def version():
    return make_version(ITEMS)


@pytest.mark.parametrize(
    ("q", "ids"),
    [
        ("land cover", "a"),
        ("LAND COVER", "a"),
        ("cover", "ab"),
        ("land cover,urban", "ab"),
        (" forest , urban ", "ab"),
        ("amazon BASIN", "a"),
        ("basin,nothing", "a"),
        ("nothing", ""),
        ("100%", "c"),
        ("cloud_free", "c"),
        ("cloud%free", ""),
        ('say "hi"', "c"),
        ("back\\slash", "c"),
        ('forest", "Amazon', ""),
        (["Land Cover of Peru"], "a"),
        (["urban,forest"], ""),
        (["urban", "forest"], "ab"),
    ],
)
def test_a_term_is_a_phrase_and_one_of_them_is_enough(version, q, ids):
    assert "".join(sorted(found(version, Query.parse(q=q), search))) == ids


def test_it_adds_to_a_filter(version):
    assert found(version, Query.parse(q="cover", filter="title IS NULL"), search) == ["b"]
    assert found(version, Query.parse(q="cover", filter=False), search) == []
    assert Query.parse(q="x").to_dict() == {"filter": free_text_filter("x"), "filter-lang": "cql2-json"}
    assert Query.parse(filter=Query.parse(q="land cover").filter) == Query.parse(q="land cover")


@given(st.text(min_size=1, max_size=12), st.text(max_size=6), st.text(max_size=6))
def test_what_stands_in_a_text_is_found_by_it(term, before, after):
    from catalog.cql import compile_filter

    class Item:
        def __init__(self, **properties):
            self.item = {"properties": properties}

    stripped = term.strip()
    try:
        tree = free_text_filter([term])
    except InvalidInput:
        assert not any(character.isalnum() for character in term)
        return
    test = compile_filter(tree).test
    for field in TEXT_FIELDS:
        assert test(Item(**{field: before + stripped + after})) is True or field == "keywords"
    assert test(Item(keywords=["x", before + stripped + after])) is True
    assert test(Item()) is not True


@pytest.mark.parametrize(
    "q", ["", ",", "a,,b", "%", "[", " ", [], [""], [1], "x" * 201, ",".join(map(str, range(51))), ["\ud800a"]]
)
def test_what_cannot_be_looked_for(q):
    with pytest.raises(InvalidInput, match=r"^q "):
        Query.parse(q=q)
