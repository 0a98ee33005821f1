"""Comparisons, LIKE, IN, BETWEEN, functions, arithmetic and arrays of CQL2, with pgstac's reading of their operands."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from math import isfinite
from typing import Any, Literal

from catalog import cql_values
from catalog.cql_nodes import COLUMNS, Getter, Test, Uses, both, getter, property_of, refused

__all__ = [
    "ARITHMETIC",
    "ARRAYS",
    "COMPARISONS",
    "FUNCTIONS",
    "LIKES",
    "Reader",
    "array_test",
    "between_test",
    "compare",
    "in_test",
    "like_pattern",
    "like_test",
    "literal_of",
    "null_test",
    "reader_of",
]

Reader = Literal["text", "number", "time"]

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    **dict.fromkeys(("=", "eq"), operator.eq),
    **dict.fromkeys(("<>", "!=", "neq", "ne"), operator.ne),
    **dict.fromkeys(("<", "lt"), operator.lt),
    **dict.fromkeys(("<=", "lte", "le"), operator.le),
    **dict.fromkeys((">", "gt"), operator.gt),
    **dict.fromkeys((">=", "gte", "ge"), operator.ge),
}
LIKES = {"like", "ilike"}
ARRAYS: dict[str, Callable[[list[Any], list[Any]], bool]] = {
    "a_equals": operator.eq,
    "a_contains": lambda left, right: set(left) >= set(right),
    "a_containedby": lambda left, right: set(left) <= set(right),
    "a_contained_by": lambda left, right: set(left) <= set(right),
    "a_overlaps": lambda left, right: not set(left).isdisjoint(right),
}
ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
FUNCTIONS: dict[str, Callable[[str], str]] = {
    "casei": str.upper,
    "upper": str.upper,
    "lower": str.lower,
    "accenti": cql_values.unaccented,
}
_READERS: dict[Reader, Callable[[Any], Any]] = {
    "text": cql_values.text_of,
    "number": cql_values.number_of,
    "time": cql_values.time_of,
}
_PAIR, _TRIPLE = 2, 3


def compare(op: str, args: list[Any], uses: Uses) -> Test:
    """The test of ``=``, ``<>``, ``<``, ``<=``, ``>`` or ``>=``."""
    _count(op, args, _PAIR)
    reader = reader_of(args)
    left, right = (_value(arg, reader, uses) for arg in args)
    holds = COMPARISONS[op]

    def test(record: Any) -> bool | None:
        a = left(record)
        if a is None:
            return None
        b = right(record)
        return None if b is None else holds(a, b)

    return test


def between_test(op: str, args: list[Any], uses: Uses) -> Test:
    """The test of BETWEEN, both ends inclusive."""
    _count(op, args, _TRIPLE)
    reader = reader_of(args)
    value, low, high = (_value(arg, reader, uses) for arg in args)

    def test(record: Any) -> bool | None:
        x, a, b = value(record), low(record), high(record)
        if x is None:
            return None
        return both([None if a is None else a <= x, None if b is None else x <= b])

    return test


def in_test(op: str, args: list[Any], uses: Uses) -> Test:
    """The test of IN."""
    _count(op, args, _PAIR)
    if not isinstance(args[1], list) or not args[1]:
        raise refused("IN wants a value and a list of values")
    reader = reader_of([args[0], *args[1]])
    value = _value(args[0], reader, uses)
    if not any(isinstance(arg, dict) for arg in args[1]):
        constants = {literal_of(arg, reader) for arg in args[1]}
        unknown = None if None in constants else False

        def quick(record: Any) -> bool | None:
            x = value(record)
            return None if x is None else (x in constants or unknown)

        return quick
    choices = [_value(arg, reader, uses) for arg in args[1]]

    def test(record: Any) -> bool | None:
        x = value(record)
        found = [choice(record) for choice in choices]
        if x is None:
            return None
        return x in found or (None if None in found else False)

    return test


def like_test(op: str, args: list[Any], uses: Uses) -> Test:
    """The test of LIKE; the pattern is a text, or a function of one."""
    _count(op, args, _PAIR)
    name = property_of(args[0])
    if name in COLUMNS and name not in {"id", "collection"}:
        raise refused(f"{op.upper()} compares text, and {name!r} is none")
    value = _value(args[0], "text", uses)
    matches = cql_values.like_matcher(like_pattern(op, args))
    ignores_case = op == "ilike"

    def test(record: Any) -> bool | None:
        text = value(record)
        return None if text is None else matches(text.upper() if ignores_case else text)

    return test


def like_pattern(op: str, args: list[Any]) -> str:
    """The pattern of LIKE; that of ILIKE is for texts in upper case.

    Raises
    ------
    InvalidInput
        If it is not a text, or a function of one.
    """
    unused = Uses()
    pattern = None
    if property_of(args[1]) is None and reader_of(args) == "text":
        pattern = _value(args[1], "text", unused)(None)  # type: ignore[arg-type]
    if unused.names or not isinstance(pattern, str):
        raise refused(f"{op.upper()} wants a pattern as text")
    return pattern.upper() if op == "ilike" else pattern


def null_test(op: str, args: list[Any], uses: Uses) -> Test:
    """The test of IS NULL; a property that is missing is null, as in SQL."""
    _count(op, args, 1)
    name = property_of(args[0])
    value = getter(name, uses) if name is not None else _value(args[0], "text", uses)
    return lambda record: value(record) is None


def array_test(op: str, args: list[Any], uses: Uses) -> Test:
    """The test of an array operator; a single value counts as an array of one."""
    _count(op, args, _PAIR)
    left, right = (_array(arg, uses) for arg in args)
    holds = ARRAYS[op]

    def test(record: Any) -> bool | None:
        a, b = left(record), right(record)
        return None if a is None or b is None else holds(a, b)

    return test


def _array(node: Any, uses: Uses) -> Getter:
    name = property_of(node)
    if name is not None:
        if name in COLUMNS:
            raise refused(f"{name!r} is not an array")
        value = getter(name, uses)
        return lambda record: cql_values.array_of(value(record))
    if isinstance(node, dict):
        raise refused("an array operator wants properties and arrays of values")
    constant = cql_values.array_of(node)
    return lambda _: constant


def _count(op: str, args: list[Any], wanted: int) -> None:
    if len(args) != wanted:
        raise refused(f"{op} takes {wanted} arguments and was given {len(args)}")


def reader_of(args: list[Any]) -> Reader:
    """How the operands of one comparison are read (cql2_query of pgstac 0.10)."""
    columns = {COLUMNS[name] for name in map(property_of, args) if name in COLUMNS}
    if "geometry" in columns:
        raise refused("'geometry' cannot be compared so", "Use S_INTERSECTS and its kin.")
    if columns & {"start", "end"}:
        return "time"
    if columns:
        return "text"
    if any(isinstance(arg, dict) and ("timestamp" in arg or "date" in arg) for arg in args):
        return "time"
    if any(_is_number(arg) or (isinstance(arg, dict) and arg.get("op") in ARITHMETIC) for arg in args):
        return "number"
    return "text"


def _is_number(node: Any) -> bool:
    return isinstance(node, int | float) and not isinstance(node, bool)


def _value(node: Any, reader: Reader, uses: Uses) -> Getter:
    name = property_of(node)
    if name is not None:
        return _property(name, reader, uses)
    if isinstance(node, dict) and "op" in node:
        return _operation(node, reader, uses)
    constant = literal_of(node, reader)
    return lambda _: constant


def _property(name: str, reader: Reader, uses: Uses) -> Getter:
    value = getter(name, uses)
    column = COLUMNS.get(name)
    if column is None:
        read = _READERS[reader]
        return lambda record: read(value(record))
    wanted = "time" if column in {"start", "end"} else "text"
    if column == "geometry" or reader != wanted:
        raise refused(f"{name!r} cannot be read as a {reader}")
    return value


def literal_of(node: Any, reader: Reader) -> Any:
    """A value of a filter, read so: a text, a number, microseconds since 1970, or None.

    Raises
    ------
    InvalidInput
        If it cannot be read so.
    """
    if node is None:
        return None
    plain = node
    if isinstance(node, dict):
        plain = node.get("timestamp", node.get("date"))
        if reader != "time" or not isinstance(plain, str):
            raise refused(f"{str(node)[:100]} is not a value that can be compared so")
    if isinstance(node, list):
        raise refused("a list of values stands only in IN and in array operators")
    value = _READERS[reader](plain)
    if value is None:
        hint = "Write 2024-05-01T10:30:00Z." if reader == "time" else None
        raise refused(f"{str(plain)[:100]!r} is not a {reader}", hint)
    return value


def _operation(node: dict[str, Any], reader: Reader, uses: Uses) -> Getter:
    op, args = node.get("op"), node.get("args")
    name = op.lower() if isinstance(op, str) else ""
    if not isinstance(args, list):
        raise refused(f"{str(op)[:50]!r} has no list of args")
    read = _READERS[reader]
    if name in FUNCTIONS:
        _count(name, args, 1)
        return partial(_apply, FUNCTIONS[name], _value(args[0], "text", uses), read)
    if name in ARITHMETIC:
        _count(name, args, _PAIR)
        left, right = (_value(arg, "number", uses) for arg in args)
        return partial(_calculate, ARITHMETIC[name], left, right, read)
    raise refused(
        f"{str(op)[:50]!r} is not a function that stacpin knows",
        f"Known: {', '.join(sorted(FUNCTIONS))} and {' '.join(ARITHMETIC)}.",
    )


def _apply(function: Callable[[str], str], value: Getter, read: Callable[[Any], Any], record: Any) -> Any:
    text = value(record)
    return None if text is None else read(function(text))


def _calculate(
    function: Callable[[float, float], float], left: Getter, right: Getter, read: Callable[[Any], Any], record: Any
) -> Any:
    a, b = left(record), right(record)
    if a is None or b is None:
        return None
    try:
        result = function(a, b)
    except (ZeroDivisionError, OverflowError):
        return None
    return read(result) if isfinite(result) else None
