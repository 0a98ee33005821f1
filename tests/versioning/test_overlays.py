"""Files of rows that lie over each other, against a dict; few changes and many take different ways."""

from __future__ import annotations

import random

import pytest
from model_state import stored_item

from versioning.overlays import merge_tables, places_of
from versioning.row_tables import delta_of, rows_of, table_of
from versioning.rows import Row, make_row


def _row(number: int, value: int) -> Row:
    return make_row(stored_item(_id(number), value))


def _id(number: int) -> str:
    return f"i{number:05d}"


@pytest.mark.parametrize("rows", [1, 40, 900])
@pytest.mark.parametrize("changes", [0, 1, 3, 25, 300])
@pytest.mark.parametrize("deltas", [1, 3])
def test_the_last_file_that_has_an_id_decides(rows, changes, deltas):
    chance = random.Random(f"{rows} {changes} {deltas}")
    wanted = {_id(2 * number): _row(2 * number, 0) for number in range(rows)}
    tables = [table_of(list(wanted.values()))]
    for state in range(1, deltas + 1):
        delta: dict[str, Row | str] = {}
        for number in chance.sample(range(2 * rows), min(changes, 2 * rows)):
            delta[_id(number)] = _id(number) if chance.random() < 0.3 else _row(number, state)
        tables.append(delta_of(list(delta.values())))
        for item_id, row in delta.items():
            if isinstance(row, str):
                wanted.pop(item_id, None)
            else:
                wanted[item_id] = row
    first, last = _id(rows // 2), _id(2 * rows)
    inside = {item_id: row for item_id, row in sorted(wanted.items()) if first <= item_id <= last}

    merged = merge_tables(tables, first, last)

    assert list(rows_of(merged)) == list(inside.values())
    assert places_of(merged, [*inside, "i", "j"]) == {item_id: at for at, item_id in enumerate(inside)}
