"""docs/guarantees.md: every promise names tests, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "guarantees.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([a-z_/0-9]+\.py)::(\w+)`", PAGE)))


@cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED}))
def test_every_test_that_is_named_exists(file: str):
    assert (TESTS / file).is_file(), file
    named = {name for of, name in NAMED if of == file}
    assert all(name.startswith("test_") for name in named)
    assert named <= functions(file), sorted(named - functions(file))


def test_every_promise_has_a_test():
    sections = re.split(r"^(?=###? )", PAGE, flags=re.MULTILINE)[1:]
    # A heading of chapters has no promise of its own.
    promises = [each for each in sections if len(each.strip().splitlines()) > 1]
    assert len(promises) > len(sections) / 2
    without = [each.splitlines()[0] for each in promises if "::test_" not in each]
    assert without == []


def test_nothing_that_looks_like_a_test_is_overlooked():
    assert len(re.findall(r"::", PAGE)) == len(re.findall(r"`[a-z_/0-9]+\.py::\w+`", PAGE))
