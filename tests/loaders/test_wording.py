"""What people read: a difference in a line, a fault without its path twice."""

from __future__ import annotations

import pytest

from loaders import open as open_pin
from versioning.errors import Integrity
from versioning.verify import detail_of


class TestDifferences:
    def test_a_line_for_people(self, place):
        found = open_pin(place, "fields@v2").diff("fields@v1")
        assert found.summary() == "1 added, 1 changed (red 1), 1 removed"
        assert repr(found) == f"VersionDiff({found.summary()})"
        assert repr(found.changed) == "[ItemChange('r0c1': red changed)]"

    def test_nothing(self, place):
        found = open_pin(place, "fields@v2").diff("fields@v2")
        assert not found
        assert found.summary() == "0 added, 0 changed, 0 removed"


class TestFaults:
    @pytest.mark.parametrize(
        ("message", "detail"),
        [
            ("objects/a.tif is altered: its bytes hash to 12.", "its bytes hash to 12"),
            ("objects/a.tif (ds@v1) is altered: it is longer than 3 bytes.", "it is longer than 3 bytes"),
            ("objects/a.tif is altered.", "it is altered"),
            ("objects/a.tif: not JSON.", "not JSON"),
            ("objects/a.tiff is strange.", "objects/a.tiff is strange"),
            ("something else.", "something else"),
        ],
    )
    def test_the_path_is_told_once(self, message, detail):
        assert detail_of(Integrity(message, kind="altered"), "objects/a.tif") == detail

    def test_a_damaged_object(self, fields, own_place, damage):
        path = fields.object_of("r0c1", "red")
        damage(path)
        (problem,) = open_pin(own_place, "fields@v2").verify().problems
        assert problem.path.endswith(path.name)
        assert problem.kind == "altered"
        assert problem.detail.startswith("its bytes hash to ")
