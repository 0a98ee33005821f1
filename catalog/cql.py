"""CQL2 filters: text or JSON in, a test of items out, with SQL's three-valued logic.

The text is parsed by the ``cql2`` package; the tree is evaluated here and not by ``Expr.matches``, which raises for
``NOT (missing > 5)`` instead of answering "unknown", reads ``a = '1'`` otherwise than pgstac, and takes 10 µs an item
where this takes 1 µs (benchmarks/search.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import cql2
import orjson

from catalog import cql_compare, cql_space, cql_time
from catalog.cql_nodes import Record, Test, Uses, property_name, refused

__all__ = ["Filter", "Record", "compile_filter", "parse_filter", "property_name"]

LANGUAGES = ("cql2-text", "cql2-json")

# The parser recurses on the C stack and kills the process when that is full: 1,000 NOTs do it in a thread with 1 MB
# of stack, 4,000 ANDs too. What is longer or deeper than this is refused before it is parsed.
_LONGEST_TEXT = 100_000
_MOST_OPERATORS = 1_000
_MOST_PREFIXES = 100
_DEEPEST = 32
_MOST_NODES = 20_000
_LONGEST_JSON = 4_000_000

_QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"")
_OPERATOR = re.compile(r"\b(?:and|or|in|like|between|is|div)\b|[-+*/%^<>=]", re.IGNORECASE)
_PREFIX = re.compile(r"\bnot\b|-\s*(?=-)", re.IGNORECASE)

_TESTS: dict[str, Callable[[str, list[Any], Uses], Test]] = {
    **dict.fromkeys(cql_compare.COMPARISONS, cql_compare.compare),
    **dict.fromkeys(cql_compare.LIKES, cql_compare.like_test),
    **dict.fromkeys(cql_compare.ARRAYS, cql_compare.array_test),
    **dict.fromkeys(cql_time.TEMPORAL, cql_time.temporal_test),
    **dict.fromkeys(cql_space.SPATIAL, cql_space.spatial_test),
    "between": cql_compare.between_test,
    "in": cql_compare.in_test,
    "isnull": cql_compare.null_test,
}


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that is ready to run: ``test`` answers True, False, or None where SQL would say unknown."""

    test: Test
    uses: Uses

    def matches(self, record: Record) -> bool:
        """Whether an item matches: unknown is no."""
        return self.test(record) is True


def parse_filter(value: str | bool | Mapping[str, Any], *, lang: str | None = None) -> dict[str, Any] | bool:  # noqa: FBT001 - TRUE and FALSE are filters
    """Check a filter and give it as CQL2 JSON.

    Parameters
    ----------
    value
        CQL2 text, or CQL2 JSON as text or as an object.
    lang
        ``cql2-text`` or ``cql2-json``; None tells them apart by themselves.

    Raises
    ------
    InvalidInput
        If it is not CQL2, too long or too deep, or uses an operator that stacpin does not know.
    """
    if lang is not None and lang not in LANGUAGES:
        raise refused(f"filter-lang {lang[:50]!r} is unknown", f"Use {' or '.join(LANGUAGES)}.")
    node: Any = value
    if isinstance(value, str):
        as_json = lang == "cql2-json" or (lang is None and value.lstrip().startswith("{"))
        node = _from_json(value) if as_json else _from_text(value)
    elif lang == "cql2-text":
        raise refused("filter-lang is cql2-text, and the filter is not a text", "Use filter-lang cql2-json.")
    elif not isinstance(value, bool):
        node = dict(value)
    _check_size(node)
    try:
        # A copy, so that nobody can change it later.
        plain = orjson.loads(orjson.dumps(node))
    except TypeError as error:
        raise refused(f"it is not JSON ({error})") from error
    compile_filter(plain)
    return plain


def compile_filter(node: Any) -> Filter:
    """Make a test of CQL2 JSON that :func:`parse_filter` has given.

    Raises
    ------
    InvalidInput
        If it is not CQL2, or uses an operator that stacpin does not know.
    """
    uses = Uses()
    return Filter(_boolean(node, uses), uses)


def _from_json(text: str) -> Any:
    if len(text) > _LONGEST_JSON:
        raise refused(f"it is longer than {_LONGEST_JSON:,} characters")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise refused(f"it is not JSON ({error})", "For CQL2 text, set filter-lang to cql2-text.") from error


def _from_text(text: str) -> Any:
    if len(text) > _LONGEST_TEXT:
        raise refused(f"it is longer than {_LONGEST_TEXT:,} characters", "Use CQL2 JSON for large geometries.")
    bare = _QUOTED.sub("''", text)
    depth = deepest = 0
    for character in bare:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    if deepest > _DEEPEST or len(_PREFIX.findall(bare)) > _MOST_PREFIXES:
        raise refused(f"it is nested more than {_DEEPEST} deep")
    if len(_OPERATOR.findall(bare)) > _MOST_OPERATORS:
        raise refused(
            f"it has more than {_MOST_OPERATORS:,} operators",
            "Use IN instead of many ORs, and CQL2 JSON for large geometries.",
        )
    try:
        return cql2.parse_text(text).to_json()
    except (cql2.ParseError, ValueError) as error:
        place = re.search(r"--> (\d+):(\d+)", str(error))
        where = f" at character {place[2]}" if place else ""
        reason = str(error).strip().splitlines()[-1].strip(" =") if str(error).strip() else "not CQL2"
        raise refused(
            f"it is not CQL2 text{where} ({reason[:200]})",
            "Write it like: eo:cloud_cover < 10 AND platform = 'landsat-8'",
        ) from error


def _check_size(node: Any) -> None:
    """Refuse what is too deep or too large before anything recurses into it."""
    waiting: list[tuple[Any, int]] = [(node, 1)]
    seen = operators = 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        # Each operator is two levels: the object, and its list of arguments.
        if depth > 2 * _DEEPEST:
            raise refused(f"it is nested more than {_DEEPEST} deep")
        if seen > _MOST_NODES:
            raise refused(f"it has more than {_MOST_NODES:,} parts")
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise refused("it is not JSON")
            operators += "op" in value
            if operators > _MOST_OPERATORS:
                raise refused(f"it has more than {_MOST_OPERATORS:,} operators", "Use IN instead of many ORs.")
            # A geometry is checked where it is used; what has an operator is none.
            if "op" in value or "type" not in value or not {"coordinates", "geometries"} & value.keys():
                waiting += [(part, depth + 1) for part in value.values()]
        elif isinstance(value, list | tuple):
            waiting += [(part, depth + 1) for part in value]
        else:
            _check_scalar(value)


def _check_scalar(value: object) -> None:
    if isinstance(value, float) and not isfinite(value):
        raise refused(f"{value} is not a number of JSON")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise refused(f"the number {str(value)[:30]} is too large")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise refused(f"{value[:50]!a} is not Unicode text") from error
    elif value is not None and not isinstance(value, bool | int | float):
        raise refused(f"{str(value)[:50]!r} is not JSON")


def _boolean(node: Any, uses: Uses) -> Test:
    if isinstance(node, bool):
        return lambda _: node
    if not isinstance(node, dict) or not isinstance(node.get("op"), str) or not isinstance(node.get("args"), list):
        hint = "Write it as a comparison, e.g. flag = TRUE." if isinstance(node, dict) and "property" in node else None
        raise refused(f"{str(node)[:100]} is not a condition", hint)
    op, args = node["op"].lower(), node["args"]
    if op in {"and", "or"}:
        if not args:
            raise refused(f"{op} has no args")
        tests = [_boolean(arg, uses) for arg in args]
        return _every(tests) if op == "and" else _some(tests)
    if op == "not":
        if len(args) != 1:
            raise refused(f"not takes 1 argument and was given {len(args)}")
        return _negated(_boolean(args[0], uses))
    make = _TESTS.get(op)
    if make is None:
        raise refused(
            f"the operator {node['op'][:50]!r} is not known", "See docs: operators of CQL2 that search knows."
        )
    return make(op, args, uses)


def _every(tests: list[Test]) -> Test:
    def test(record: Record) -> bool | None:
        answer: bool | None = True
        for one in tests:
            found = one(record)
            if found is False:
                return False
            if found is None:
                answer = None
        return answer

    return test


def _some(tests: list[Test]) -> Test:
    def test(record: Record) -> bool | None:
        answer: bool | None = False
        for one in tests:
            found = one(record)
            if found:
                return True
            if found is None:
                answer = None
        return answer

    return test


def _negated(inner: Test) -> Test:
    def test(record: Record) -> bool | None:
        found = inner(record)
        return None if found is None else not found

    return test
