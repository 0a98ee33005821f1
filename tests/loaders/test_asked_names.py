"""Ids and keys that a version has not: a misspelt name is no empty answer."""

from __future__ import annotations

import pytest

from loaders import open as open_pin
from versioning.errors import NotFound

ELSEWHERE = [0, 0, 1, 1]


class TestIds:
    @pytest.mark.parametrize("ids", ["nope", ["r0c0", "nope"]])
    def test_unknown_ids(self, place, tmp_path, ids):
        pin = open_pin(place, "fields@v2")
        for ask in (pin.items, pin.assets, pin.to_xarray, lambda **search: pin.pull(tmp_path / "out", **search)):
            with pytest.raises(NotFound, match=r"fields@v2 has no item 'nope'\.") as caught:
                ask(ids=ids)
            assert caught.value.kind == "no-such-item"
        assert list(tmp_path.iterdir()) == []

    def test_an_item_of_another_version_is_unknown(self, place):
        with pytest.raises(NotFound, match="'r1c0'"):
            open_pin(place, "fields@v2").items(ids=["r1c0"])
        assert [item.id for item in open_pin(place, "fields@v1").items(ids=["r1c0"])] == ["r1c0"]

    def test_known_ids_somewhere_else_are_just_not_found(self, place, tmp_path):
        pin = open_pin(place, "fields@v2")
        assert list(pin.items(ids=["r0c0"], bbox=ELSEWHERE)) == []
        assert pin.pull(tmp_path, ids=["r0c0"], bbox=ELSEWHERE, asset="red").files == 0

    def test_many_are_counted(self, place):
        with pytest.raises(NotFound, match="and 10 more"):
            open_pin(place, "fields").items(ids=[f"x{number}" for number in range(30)])


class TestAssets:
    def test_unknown_keys(self, place, tmp_path):
        pin = open_pin(place, "fields@v2")
        for ask in (pin.assets, lambda **search: pin.pull(tmp_path / "out", **search)):
            with pytest.raises(NotFound, match=r"No item of fields@v2 has an asset 'rad'\.") as caught:
                ask(asset=["rad", "nir"])
            assert caught.value.kind == "no-such-asset"
            assert caught.value.hint == "Did you mean red? Its assets: nir, notes, red."
        assert list(tmp_path.iterdir()) == []

    def test_a_pull_leaves_an_earlier_one_as_it_is(self, place, tmp_path):
        pin = open_pin(place, "fields@v2")
        pin.pull(tmp_path, asset="red")
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        with pytest.raises(NotFound):
            pin.pull(tmp_path, asset="rad", ids="r0c0")
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before

    def test_keys_that_only_other_items_have_are_known(self, place):
        assert open_pin(place, "fields@v2").assets(asset="red", bbox=ELSEWHERE) == []
