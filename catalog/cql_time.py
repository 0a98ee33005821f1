"""The temporal operators of CQL2 (T_BEFORE, T_INTERSECTS, …), as pgstac works them out.

Each operand is a closed range in microseconds; ``datetime`` is the instant at which an item's time range begins
(``temporal_operand`` and ``temporal_op_query`` of pgstac 0.10).
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from catalog.cql_nodes import COLUMNS, Test, Uses, both, getter, property_of, refused
from catalog.cql_values import time_of
from catalog.query_time import DAY, parse_day, parse_instant

__all__ = ["TEMPORAL", "Moment", "interval_ends", "moments", "temporal_test"]

Moment = float | int | None
_Ends = Callable[[Any], tuple[Moment, Moment]]
_PAIR = 2
_HINT = "Write TIMESTAMP('2024-05-01T10:30:00Z'), DATE('2024-05-01') or INTERVAL('2024-01-01', '..')."


def _less(a: Moment, b: Moment) -> bool | None:
    return None if a is None or b is None else a < b


def _same(a: Moment, b: Moment) -> bool | None:
    return None if a is None or b is None else a == b


def _upto(a: Moment, b: Moment) -> bool | None:
    return None if a is None or b is None else a <= b


def _meets(ll: Moment, lh: Moment, rl: Moment, rh: Moment) -> bool | None:
    return both([_upto(ll, rh), _upto(rl, lh)])


def _apart(ll: Moment, lh: Moment, rl: Moment, rh: Moment) -> bool | None:
    met = _meets(ll, lh, rl, rh)
    return None if met is None else not met


# Of the low and high ends of the left and of the right operand.
TEMPORAL: dict[str, Callable[[Moment, Moment, Moment, Moment], bool | None]] = {
    "t_before": lambda _, lh, rl, __: _less(lh, rl),
    "t_after": lambda ll, _, __, rh: _less(rh, ll),
    "t_meets": lambda _, lh, rl, __: _same(lh, rl),
    "t_metby": lambda ll, _, __, rh: _same(ll, rh),
    "t_overlaps": lambda ll, lh, rl, rh: both([_less(ll, rl), _less(rl, lh), _less(lh, rh)]),
    "t_overlappedby": lambda ll, lh, rl, rh: both([_less(rl, ll), _less(ll, rh), _less(rh, lh)]),
    "t_starts": lambda ll, lh, rl, rh: both([_same(ll, rl), _less(lh, rh)]),
    "t_startedby": lambda ll, lh, rl, rh: both([_same(ll, rl), _less(rh, lh)]),
    "t_during": lambda ll, lh, rl, rh: both([_less(rl, ll), _less(lh, rh)]),
    "t_contains": lambda ll, lh, rl, rh: both([_less(ll, rl), _less(rh, lh)]),
    "t_finishes": lambda ll, lh, rl, rh: both([_less(rl, ll), _same(lh, rh)]),
    "t_finishedby": lambda ll, lh, rl, rh: both([_less(ll, rl), _same(lh, rh)]),
    "t_equals": lambda ll, lh, rl, rh: both([_same(ll, rl), _same(lh, rh)]),
    "t_disjoint": _apart,
    "t_intersects": _meets,
    "anyinteracts": _meets,
}


def temporal_test(op: str, args: list[Any], uses: Uses) -> Test:
    """The test of a temporal operator."""
    if len(args) != _PAIR:
        raise refused(f"{op} takes 2 arguments and was given {len(args)}")
    left, right = (_operand(arg, uses) for arg in args)
    holds = TEMPORAL[op]
    return lambda record: holds(*left(record), *right(record))


def _operand(node: Any, uses: Uses, *, inside: bool = False) -> _Ends:
    name = property_of(node)
    if name is not None:
        return _property(name, uses)
    ends = interval_ends(node)
    if ends is not None:
        if inside:
            raise refused("an interval's end must be a time, a date or a property", _HINT)
        return _range(ends, uses)
    found = moments(node)
    return lambda _: found


def moments(node: Any) -> tuple[int, int]:
    """The first and the last microsecond of a time or a date in a filter.

    Raises
    ------
    InvalidInput
        If it is neither.
    """
    text = (node.get("timestamp") or node.get("date")) if isinstance(node, dict) else node
    if not isinstance(text, str):
        raise refused(f"{str(node)[:100]!r} is not a time", _HINT)
    day = parse_day(text)
    if day is not None:
        whole = not (isinstance(node, dict) and "timestamp" in node)
        return day, day + DAY - 1 if whole else day
    instant = parse_instant(text)
    if instant is None:
        raise refused(f"{text[:100]!r} is not a time", _HINT)
    return instant, instant


def _property(name: str, uses: Uses) -> _Ends:
    if COLUMNS.get(name) in {"id", "collection", "geometry"}:
        raise refused(f"{name!r} is not a time")
    value = getter(name, uses)
    column = name in COLUMNS

    def ends(record: Any) -> tuple[Moment, Moment]:
        moment = value(record) if column else time_of(value(record))
        return moment, moment

    return ends


def interval_ends(node: Any) -> list[Any] | None:
    """The two ends of an interval in a filter, None if a node is no interval.

    Raises
    ------
    InvalidInput
        If it is one that has not two ends.
    """
    ends = node
    if isinstance(node, dict):
        ends = node.get("interval")
        if "interval" in node and not isinstance(ends, list):
            raise refused("an interval is a list of two ends", _HINT)
    elif isinstance(node, str):
        ends = node.split("/") if "/" in node else None
    if not isinstance(ends, list):
        return None
    if len(ends) != _PAIR:
        raise refused("an interval has two ends", _HINT)
    return ends


def _range(ends: list[Any], uses: Uses) -> _Ends:
    opened = [end in ("", "..") if isinstance(end, str) else False for end in ends]
    low = None if opened[0] else _operand(ends[0], uses, inside=True)
    high = None if opened[1] else _operand(ends[1], uses, inside=True)
    if not any(isinstance(end, dict) and "property" in end for end in ends):
        first, last = low(None)[0] if low else -inf, high(None)[1] if high else inf
        if first is not None and last is not None and first > last:
            raise refused(f"the interval {ends[0]} to {ends[1]} ends before it starts")
        return lambda _: (first, last)
    return lambda record: (low(record)[0] if low else -inf, high(record)[1] if high else inf)
