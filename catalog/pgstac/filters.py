"""CQL2 filters in the operators of schema.sql, so that pgstac reads values as the embedded search does.

pgstac's own reading raises where a text stands in place of a number, compares with the revision's id in place of the
item's, and knows no ``ds--v3``. So what it is given names no property: every value is read by an operator of ours, and
every literal comes as a text that one of them casts. What a filter means is decided in :mod:`catalog.cql_compare` and
its kin; here it is only written down, and a differential test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import isinf
from typing import Any, ClassVar

import orjson
import shapely

from catalog import cql_compare, cql_time
from catalog.cql_compare import Reader
from catalog.cql_nodes import COLUMNS, property_of
from catalog.cql_space import SPATIAL, spatial_operands
from catalog.cql_time import Moment
from catalog.cql_values import array_of, like_escaped, path_of
from catalog.pgstac.rows import without_nul
from catalog.query_time import instant_text

__all__ = ["all_of", "any_of", "geometry_meets", "op", "translate"]

Node = dict[str, Any]

_COMPARISONS = {
    **dict.fromkeys(("=", "eq"), "="),
    **dict.fromkeys(("<>", "!=", "neq", "ne"), "<>"),
    **dict.fromkeys(("<", "lt"), "<"),
    **dict.fromkeys(("<=", "lte", "le"), "<="),
    **dict.fromkeys((">", "gt"), ">"),
    **dict.fromkeys((">=", "gte", "ge"), ">="),
}
_ARRAYS = {
    "a_equals": "pin_a_equals",
    "a_contains": "pin_a_contains",
    "a_containedby": "pin_a_contained",
    "a_contained_by": "pin_a_contained",
    "a_overlaps": "pin_a_overlaps",
}
_FUNCTIONS = {"casei": "pin_upper", "upper": "pin_upper", "lower": "pin_lower", "accenti": "pin_unaccent"}
_ARITHMETIC = {"+": "pin_plus", "-": "pin_minus", "*": "pin_times", "/": "pin_by"}
_READ = {"text": "pin_text", "number": "pin_number", "time": "pin_moment", "texts": "pin_texts"}
# The same of a value that was found by its names: where one looks like a number, PostgreSQL would go into arrays.
_READ_OF = {"text": "pin_text_of", "number": "pin_number_of", "time": "pin_moment_of", "texts": "pin_texts_of"}
_PLACE = re.compile(r"\s*[+-]?\d+\s*")
# What a function's text, and a calculation's number, become where something else is wanted.
_FROM_TEXT: dict[Reader, str | None] = {"text": None, "number": "pin_text_number", "time": "pin_text_moment"}
_FROM_NUMBER: dict[Reader, str | None] = {"text": "pin_number_text", "number": None, "time": "pin_no_moment"}
# An operator whose operands stand the other way round.
_TURNED = {"s_within": "s_contains", "s_contains": "s_within"}

_Ends = tuple[Any, Any]


def op(name: str, *args: Any) -> Node:
    """One operation of CQL2 JSON."""
    return {"op": name, "args": list(args)}


def all_of(parts: list[Any]) -> Any:
    """AND; of one part, the part."""
    return parts[0] if len(parts) == 1 else op("and", *parts)


def any_of(parts: list[Any]) -> Any:
    """OR; of one part, the part."""
    return parts[0] if len(parts) == 1 else op("or", *parts)


def geometry_meets(shape: shapely.Geometry) -> Node:
    """The condition that an item's footprint meets a shape; an item without a place does not."""
    return op("pin_s_intersects", op("pin_geom", shapely.to_geojson(shape)))


def translate(node: Any, collection: str | Mapping[str, str]) -> Node:
    """A filter that :func:`catalog.cql.parse_filter` has checked, for the items of some versions.

    Parameters
    ----------
    node
        CQL2 JSON.
    collection
        What the property ``collection`` is: the version's collection id, or that of each dataset.
    """
    named = collection if isinstance(collection, str) else op("pin_collection", orjson.dumps(collection).decode())
    return _Writer(named, sure=True).condition(node)


class _Writer:
    """Writes conditions; ``sure`` says that unknown may be written as false, since nothing negates it."""

    def __init__(self, collection: str | Node, *, sure: bool) -> None:
        self._collection = collection
        self._sure = sure

    def condition(self, node: Any) -> Node:
        if isinstance(node, bool):
            return op("pin_true" if node else "pin_false")
        name, args = node["op"].lower(), node["args"]
        return self._writers.get(name, _Writer._compared)(self, name, args)

    def _both(self, name: str, args: list[Any]) -> Node:
        parts = [self.condition(arg) for arg in args]
        return all_of(parts) if name == "and" else any_of(parts)

    def _not(self, _: str, args: list[Any]) -> Node:
        return op("not", _Writer(self._collection, sure=False).condition(args[0]))

    def _compared(self, name: str, args: list[Any]) -> Node:
        reader = cql_compare.reader_of(args)
        return op(_COMPARISONS.get(name, name), *(self._value(arg, reader) for arg in args))

    def _in(self, _: str, args: list[Any]) -> Node:
        reader = cql_compare.reader_of([args[0], *args[1]])
        return op("in", self._value(args[0], reader), [self._value(arg, reader) for arg in args[1]])

    def _arrays(self, name: str, args: list[Any]) -> Node:
        return op(_ARRAYS[name], *(_array(arg) for arg in args))

    def _placed(self, name: str, args: list[Any]) -> Node:
        return _spatial(name, args, sure=self._sure)

    def _like(self, name: str, args: list[Any]) -> Node:
        value = self._value(args[0], "text")
        pattern = like_escaped(cql_compare.like_pattern(name, args))
        return op("pin_like", op("pin_upper", value) if name == "ilike" else value, pattern)

    def _missing(self, _: str, args: list[Any]) -> Node:
        name = property_of(args[0])
        if name is None:
            return op("isnull", self._value(args[0], "text"))
        column = COLUMNS.get(name)
        if column == "geometry":
            return op("pin_no_place")
        return op("pin_false") if column else op("isnull", _read("text", name))

    def _temporal(self, name: str, args: list[Any]) -> Node:
        (ll, lh), (rl, rh) = (self._ends(arg) for arg in args)
        return _TEMPORAL[name](ll, lh, rl, rh)

    def _ends(self, node: Any) -> _Ends:
        """The two ends of a temporal operand, each a column, an operation or a literal."""
        name = property_of(node)
        if name is not None:
            value = self._property(name, "time")
            return value, value
        inner = cql_time.interval_ends(node)
        if inner is None:
            low, high = cql_time.moments(node)
            return _moment(low), _moment(high)
        opened = [isinstance(end, str) and end in {"", ".."} for end in inner]
        low = {"timestamp": "-infinity"} if opened[0] else self._ends(inner[0])[0]
        high = {"timestamp": "infinity"} if opened[1] else self._ends(inner[1])[1]
        return low, high

    def _value(self, node: Any, reader: Reader) -> Any:
        name = property_of(node)
        if name is not None:
            return self._property(name, reader)
        if isinstance(node, dict) and "op" in node:
            return self._operation(node["op"].lower(), node["args"], reader)
        value = cql_compare.literal_of(node, reader)
        if reader == "text":
            return value
        if reader == "number":
            return op("pin_float", value)
        return op("pin_no_moment") if value is None else _moment(value)

    def _property(self, name: str, reader: Reader) -> Any:
        match COLUMNS.get(name):
            case None:
                return _read(reader, name)
            case "id":
                return op("pin_id")
            case "collection":
                return self._collection
            case "start":
                return op("pin_start")
            case _:
                return op("pin_end")

    def _operation(self, name: str, args: list[Any], reader: Reader) -> Any:
        if name in _FUNCTIONS:
            made, become = op(_FUNCTIONS[name], self._value(args[0], "text")), _FROM_TEXT[reader]
        else:
            made = op(_ARITHMETIC[name], *(self._value(arg, "number") for arg in args))
            become = _FROM_NUMBER[reader]
        if become is None:
            return made
        return op(become) if become == "pin_no_moment" else op(become, made)

    _writers: ClassVar[dict[str, Callable[..., Node]]] = {
        **dict.fromkeys(SPATIAL, _placed),
        **dict.fromkeys(cql_time.TEMPORAL, _temporal),
        **dict.fromkeys(_ARRAYS, _arrays),
        **dict.fromkeys(cql_compare.LIKES, _like),
        "and": _both,
        "or": _both,
        "not": _not,
        "isnull": _missing,
        "in": _in,
    }


def _spatial(name: str, args: list[Any], *, sure: bool) -> Node:
    shape, first = spatial_operands(name, args)
    name = "s_intersects" if name == "intersects" else name
    turned = name if first else _TURNED.get(name, name)
    made = op(f"pin_{turned}", op("pin_geom", shapely.to_geojson(shape)))
    # Nothing meets an item without a place, but everything is disjoint from it. The guard hides the GiST index.
    return made if sure and turned != "s_disjoint" else op("pin_null_if", op("pin_no_place"), made)


def _array(node: Any) -> Node:
    name = property_of(node)
    if name is not None:
        return _read("texts", name)
    return op("pin_list", orjson.dumps(without_nul(array_of(node))).decode())


def _read(reader: str, name: str) -> Node:
    """The value of a property as a text, a number, a time or a list of texts."""
    path = path_of(name)
    whole = ".".join(path)
    if any(_PLACE.fullmatch(step) for step in path):
        return op(_READ_OF[reader], op("pin_member", whole))
    return op(_READ[reader], whole)


def _moment(moment: Moment) -> Node:
    if moment is None or (isinstance(moment, float) and isinf(moment)):
        return {"timestamp": "infinity" if moment and moment > 0 else "-infinity"}
    return {"timestamp": instant_text(int(moment))}


def _less(a: Any, b: Any) -> Node:
    return op("<", a, b)


def _same(a: Any, b: Any) -> Node:
    return op("=", a, b)


def _meets(ll: Any, lh: Any, rl: Any, rh: Any) -> Node:
    return op("and", op("<=", ll, rh), op("<=", rl, lh))


# The same table as in catalog/cql_time.py, written instead of worked out.
_TEMPORAL: Mapping[str, Callable[[Any, Any, Any, Any], Node]] = {
    "t_before": lambda _, lh, rl, __: _less(lh, rl),
    "t_after": lambda ll, _, __, rh: _less(rh, ll),
    "t_meets": lambda _, lh, rl, __: _same(lh, rl),
    "t_metby": lambda ll, _, __, rh: _same(ll, rh),
    "t_overlaps": lambda ll, lh, rl, rh: op("and", _less(ll, rl), _less(rl, lh), _less(lh, rh)),
    "t_overlappedby": lambda ll, lh, rl, rh: op("and", _less(rl, ll), _less(ll, rh), _less(rh, lh)),
    "t_starts": lambda ll, lh, rl, rh: op("and", _same(ll, rl), _less(lh, rh)),
    "t_startedby": lambda ll, lh, rl, rh: op("and", _same(ll, rl), _less(rh, lh)),
    "t_during": lambda ll, lh, rl, rh: op("and", _less(rl, ll), _less(lh, rh)),
    "t_contains": lambda ll, lh, rl, rh: op("and", _less(ll, rl), _less(rh, lh)),
    "t_finishes": lambda ll, lh, rl, rh: op("and", _less(rl, ll), _same(lh, rh)),
    "t_finishedby": lambda ll, lh, rl, rh: op("and", _less(ll, rl), _same(lh, rh)),
    "t_equals": lambda ll, lh, rl, rh: op("and", _same(ll, rl), _same(lh, rh)),
    "t_disjoint": lambda *ends: op("not", _meets(*ends)),
    "t_intersects": _meets,
    "anyinteracts": _meets,
}
