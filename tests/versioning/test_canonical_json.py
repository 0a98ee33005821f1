"""Canonical JSON against the rfc8785 package as an oracle, and the rules that the format puts on top."""

from __future__ import annotations

import enum
import math
import struct

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from versioning.canonical import MAX_DEPTH, canonical, is_canonical, loads, parse
from versioning.errors import InvalidInput

EXACT = 2**53
text = st.text(st.characters(exclude_categories=["Cs"]))
floats = st.floats(allow_nan=False, allow_infinity=False) | st.builds(
    lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0], st.integers(0, 2**64 - 1)
).filter(math.isfinite)
scalars = st.none() | st.booleans() | st.integers(1 - EXACT, EXACT - 1) | floats | text
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=20
)


@given(values)
@example({"é": 1, "z": 2, "\U0001f600": 3, "\ufb33": 4})
@example([1e16, 9007199254740994.0, 1e-7, 1e-5, 9.99e-6, 1e21, 5e-324, -0.0, 1.0])
@example({'\x7f\x1f\x00"\\/\b\f\n\r\t': '\x7f\x1f\x00"\\/\b\f\n\r\t\u2028'})
def test_bytes_are_those_of_rfc_8785(value):
    assert canonical(value) == rfc8785.dumps(value)


@given(floats)
def test_numbers_are_written_as_ecmascript_does(value):
    assert canonical(value) == rfc8785.dumps(value)
    assert parse(canonical(value)) == value


@given(values)
def test_a_round_trip_changes_nothing(value):
    data = canonical(value)
    assert parse(data) == value
    assert canonical(loads(data)) == data
    assert is_canonical(data)


@given(st.dictionaries(text, scalars, max_size=6), st.randoms())
def test_the_order_of_keys_does_not_matter(value, random):
    pairs = list(value.items())
    random.shuffle(pairs)
    assert canonical(dict(pairs)) == canonical(value)


@given(st.integers(EXACT, 2**200) | st.integers(-(2**200), -EXACT))
@example(EXACT)
@example(EXACT + 1)
@example(2**63)
@example(9223372036854776000)
def test_large_integers_only_where_a_double_holds_them(value):
    shortest = rfc8785.dumps(float(value))
    if int(float(value)) == value or str(value).encode() == shortest:
        assert canonical(value) == shortest
        assert type(parse(canonical(value))) is float
    else:
        with pytest.raises(InvalidInput, match="integer"):
            canonical(value)


@pytest.mark.parametrize("digits", [400, 5000])
def test_integers_beyond_every_double_are_refused(digits):
    value = -(10**digits)
    with pytest.raises(InvalidInput, match="no double holds"):
        canonical(value)


def test_nodata_that_is_not_a_number_becomes_a_string():
    bands = {"bands": [{"nodata": math.nan}, {"nodata": math.inf}, {"nodata": -math.inf}], "nodata": [math.nan, 0.0]}
    assert canonical(bands) == b'{"bands":[{"nodata":"nan"},{"nodata":"inf"},{"nodata":"-inf"}],"nodata":["nan",0]}'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("wrap", [lambda each: each, lambda each: [each], lambda each: {"scale": each}])
def test_no_other_nan_or_infinity(value, wrap):
    with pytest.raises(InvalidInput, match="JSON cannot express"):
        canonical(wrap(value))


@pytest.mark.parametrize("value", [{1: 2}, {None: 1}, {"a": {1, 2}}, b"bytes", object(), {"a": 1j}])
def test_what_json_has_not_is_refused(value):
    with pytest.raises(InvalidInput):
        canonical(value, where="item a")


@pytest.mark.parametrize("value", ["\ud800", {"\udc00": 1}, {"é\ud800": 1}, ["a", "\udfff"]])
def test_lone_surrogates_are_refused(value):
    with pytest.raises(InvalidInput):
        canonical(value)


@pytest.mark.parametrize("inner", [1, "text", None, True, 1.5])
@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}])
def test_depth_is_bounded(inner, wrap):
    deep = inner
    for _ in range(MAX_DEPTH):
        deep = wrap(deep)
    assert canonical(deep)
    for wider in ([], {}):
        deepest = wider
        for _ in range(MAX_DEPTH):
            deepest = wrap(deepest)
        with pytest.raises(InvalidInput, match="64 levels"):
            canonical(deepest)
    with pytest.raises(InvalidInput, match="64 levels"):
        canonical(wrap(deep))


def test_subclasses_count_as_what_they_are():
    class Colour(enum.IntEnum):
        RED = 3

    class Name(str):
        __slots__ = ()

    assert canonical([Colour.RED, Name("n"), (1, 2), True]) == b'[3,"n",[1,2],true]'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a":1,"a":2}', "'a' occurs twice"),
        (b'{"b":{"a":1,"c":1,"a":2}}', "'a' occurs twice"),
        (b"[NaN]", "NaN"),
        (b"[-Infinity]", "-Infinity"),
        (b"[1e999]", "larger than any double"),
        (b"\xff", "UTF-8"),
        ("\ud800", "UTF-8"),
        (b'["\\ud800"]', "UTF-8"),
        (b'{"\\uDC00x":1}', "UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"{", "not valid JSON"),
        (b"1" * 5000, "not valid JSON"),
    ],
    ids=range(12),
)
def test_ambiguous_json_is_refused(data, reason):
    with pytest.raises(InvalidInput, match=reason) as caught:
        loads(data, where="labels.geojson")
    assert "labels.geojson" in str(caught.value)


def test_pairs_of_surrogates_are_one_character():
    assert loads(b'"\\ud83d\\ude00"') == "\U0001f600"


@pytest.mark.parametrize(
    "data", [b'{"b":1,"a":2}', b'{ "a":1}', b'{"a":1.0}', b"{", b'{"a":1,"a":1}', b"9007199254740993"]
)
def test_other_spellings_are_not_canonical(data):
    assert not is_canonical(data)
