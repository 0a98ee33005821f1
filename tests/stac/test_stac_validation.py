"""Validation: offline, complete about what it did not check, and clear."""

from __future__ import annotations

import json
import socket

import pytest
from stac_documents import part_of

from catalog.extensions import PREFIXES, extension_id
from catalog.items import build_item
from catalog.validation import check_document, validate_collection, validate_item
from versioning.errors import InvalidInput


@pytest.fixture
def item(make_raster):
    part = part_of(make_raster("EPSG:32618", 3e5, 4e6, 30, 30))
    return build_item("a", {"data": part}, datetime="2024-05-01T10:30:00Z", properties={"eo:cloud_cover": 5})


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("validation must not open a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_core_and_our_own_schema_are_always_there(item):
    found = validate_item(item)
    assert found.ok
    assert [uri.split("/")[3] for uri in found.unchecked] == ["eo", "file", "projection"]


def test_every_extension_that_we_declare_has_a_schema_in_the_shared_data(schemas):
    known = {json.loads(path.read_text())["$id"].rstrip("#") for path in schemas.glob("*.json")}
    assert {uri for prefix, uri in PREFIXES.items() if prefix != "pin"} <= known


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda i: i["properties"].update({"eo:cloud_cover": 120}), "properties.eo:cloud_cover: 120 is greater"),
        (lambda i: i["properties"].update(datetime="1 May"), "properties.datetime: '1 May' does not match"),
        (lambda i: i["assets"]["data"].pop("href"), "assets.data: 'href' is a required property"),
        (lambda i: i["assets"]["data"].pop("pin:digest"), "assets.data: 'pin:digest' is a required property"),
        (lambda i: i["assets"]["data"].update({"pin:digest": "r1:ab"}), "assets.data.pin:digest: 'r1:ab' does not"),
        (lambda i: i["assets"]["data"].update({"file:checksum": "ab"}), "assets.data.file:checksum: 'ab' does not"),
        (lambda i: i["assets"]["data"].update({"proj:shape": [1]}), r"proj:shape: \[1\]"),
        (lambda i: i["geometry"].update(coordinates=[[[1, 2]]]), "geometry"),
        (lambda i: i.pop("geometry"), "'geometry' is a required property"),
        (lambda i: i.update(bbox=[1, 2]), "bbox"),
        (lambda i: i.update(stac_version="0.9.0"), "stac_version"),
    ],
)
def test_a_violation_is_named_with_its_place(item, schemas, change, text):
    change(item)
    with pytest.raises(InvalidInput, match=text) as caught:
        check_document(item, schemas)
    assert "item a" in caught.value.message
    assert caught.value.kind == "invalid-stac"


def test_other_documents_are_refused():
    with pytest.raises(InvalidInput, match="type is 'Catalog'"):
        check_document({"type": "Catalog"})


def test_real_items_of_this_version_validate(shared_data, schemas):
    path = shared_data / "stac" / "extensions" / "label" / "examples" / "spacenet-roads" / "roads_source.json"
    assert validate_item(json.loads(path.read_text()), schemas).errors == ()


def test_unknown_extensions_are_reported_and_not_fetched(item, schemas):
    item["stac_extensions"].append("http://127.0.0.1:9/schema.json")
    found = validate_item(item, schemas)
    assert found.ok
    assert found.unchecked == ("http://127.0.0.1:9/schema.json",)


def test_hostile_documents_give_few_errors(item, schemas):
    item["links"] = [{"rel": 1} for _ in range(10_000)]
    assert 0 < len(validate_item(item, schemas).errors) <= 100
    assert not validate_item({"type": "Feature", "stac_extensions": 7}, schemas).ok
    assert not validate_collection({"stac_extensions": [None]}, schemas).ok


def test_a_folder_with_a_broken_schema_is_refused(item, tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(InvalidInput, match="not a JSON schema"):
        validate_item(item, tmp_path)


def test_ids_have_the_form_of_the_organisation():
    assert extension_id("eo", "2.0.0") == "https://stac-extensions.github.io/eo/v2.0.0/schema.json"
