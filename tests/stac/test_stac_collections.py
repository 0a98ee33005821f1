"""Versions as collections, and items to and fro between stored and served."""

from __future__ import annotations

import json
from collections.abc import Callable

import pystac
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stac_documents import ApiLinks, ExportLinks, part_of

from catalog.collections import collection_dict, dataset_summaries, object_of_href, stac_item, stored_item
from catalog.items import build_item
from catalog.summaries import telling_summaries
from catalog.validation import validate_collection, validate_item
from versioning.records import Statistics, VersionRecord
from versioning.rows import make_row
from versioning.version import Files, Version

DECLARED = {
    "title": "Land cover",
    "description": "Classes of land cover.",
    "license": "CC-BY-4.0",
    "keywords": ["land cover"],
    "providers": [{"name": "USGS", "roles": ["producer"], "processing:level": "L2"}],
    "item_assets": {"red": {"roles": ["data"], "bands": [{"name": "red", "eo:common_name": "red"}]}},
    "pin:crs": "EPSG:32618",
    "pin:precision": 0.001,
    "sci:doi": "10.5555/1",
    "links": [{"rel": "license", "href": "https://example.org/licence"}, {"rel": "self", "href": "elsewhere"}],
    "stac_extensions": ["https://stac-extensions.github.io/scientific/v1.0.0/schema.json"],
}


def make_version(**changes) -> Version:
    digest = "sha256:" + "1" * 64
    record = {
        "dataset": "landcover",
        "number": 3,
        "parent": 1,
        "previous": digest,
        "digest": digest,
        "content_digest": "sha256:" + "2" * 64,
        "root": digest,
        "content_root": digest,
        "snapshot": [],
        "collection": DECLARED,
        "author": "ana",
        "message": "Correct one label",
        "time": "2026-01-31T09:15:00.000000Z",
        "nonce": "n",
        "statistics": {
            "items": 4,
            "assets": 9,
            "bytes": 100,
            "bbox": [170.0, -20.0, -170.0, -10.0],
            "interval": ["2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z"],
        },
        "summaries": {"platform": ["landsat-8"], "eo:cloud_cover": {"minimum": 0, "maximum": 7}},
    }
    files: Files = None  # type: ignore[assignment]
    return Version(VersionRecord.model_validate({**record, **changes}), files)


def rels(document):
    return [(link["rel"], link["href"]) for link in document["links"]]


def test_a_version_is_a_valid_collection(schemas):
    collection = collection_dict(make_version(), ApiLinks(), successors=[5, 4])
    found = validate_collection(collection, schemas)
    assert found.errors == ()
    assert found.unchecked == ("https://stac-extensions.github.io/scientific/v1.0.0/schema.json",)
    assert collection["id"] == "landcover--v3"
    assert (collection["version"], collection["deprecated"], collection["experimental"]) == ("3", False, False)
    assert collection["title"] == "Land cover v3"
    assert collection["license"] == "CC-BY-4.0"
    assert collection["extent"]["spatial"]["bbox"] == [[170, -20, -170, -10]]
    assert collection["extent"]["temporal"]["interval"] == [["2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z"]]
    assert collection["pin:parent"] == 1
    assert collection["pin:statistics"]["assets"] == 9
    assert collection["sci:doi"] == "10.5555/1"
    base = "https://example.org/api"
    assert rels(collection) == [
        ("self", f"{base}/collections/landcover--v3"),
        ("root", base),
        ("parent", base),
        ("items", f"{base}/collections/landcover--v3/items"),
        ("latest-version", f"{base}/collections/landcover"),
        ("version-history", f"{base}/collections/landcover/versions"),
        ("predecessor-version", f"{base}/collections/landcover--v1"),
        ("successor-version", f"{base}/collections/landcover--v4"),
        ("successor-version", f"{base}/collections/landcover--v5"),
        ("license", "https://example.org/licence"),
    ]
    names = [uri.split("/")[3] for uri in collection["stac_extensions"]]
    assert names == ["eo", "processing", "scientific", "version", "pin"]
    assert pystac.Collection.from_dict(collection).extent.spatial.bboxes == [[170, -20, -170, -10]]


def test_making_a_collection_leaves_the_record_alone():
    version = make_version()
    before = version.record.model_dump_json()
    collection_dict(version, ApiLinks())
    assert version.record.model_dump_json() == before


def test_an_empty_first_version_is_valid(schemas):
    changes = {"number": 1, "parent": None, "collection": {}, "summaries": {}, "advance": False}
    collection = collection_dict(make_version(**changes, statistics=Statistics(items=0, assets=0, bytes=0)), ApiLinks())
    assert validate_collection(collection, schemas).errors == ()
    assert collection["extent"] == {
        "spatial": {"bbox": [[-180, -90, 180, 90]]},
        "temporal": {"interval": [[None, None]]},
    }
    assert collection["license"] == "other"
    assert collection["experimental"] is True
    assert "summaries" not in collection
    assert "predecessor-version" not in dict(rels(collection))
    pystac.Collection.from_dict(collection)


def test_what_is_declared_cannot_replace_what_is_derived():
    lies = {"id": "x", "type": "Feature", "version": "9", "extent": {}, "pin:digest": "sha256:0", "description": "ok"}
    collection = collection_dict(make_version(collection=lies), ApiLinks())
    honest = collection_dict(make_version(collection={"description": "ok"}), ApiLinks())
    assert collection == honest


def test_a_static_export_has_relative_links_and_no_self(schemas):
    collection = collection_dict(make_version(), ExportLinks())
    assert rels(collection) == [
        ("root", "../../catalog.json"),
        ("parent", "../../catalog.json"),
        ("license", "https://example.org/licence"),
    ]
    assert validate_collection(collection, schemas).errors == ()


def served(item, links=None, prefix="https://example.org/api/"):
    return stac_item(item, "landcover--v3", links or ApiLinks(), lambda href: prefix + href)


def test_a_served_item_is_valid_and_proves_itself(make_raster, schemas):
    part = part_of(make_raster("EPSG:32618", 3e5, 4e6, 30, 30))
    item = build_item("a", {"data": part}, datetime="2024-05-01T10:30:00Z")
    copy = json.loads(json.dumps(item))
    document = served(item)
    assert item == copy
    assert validate_item(document, schemas).errors == ()
    assert document["collection"] == "landcover--v3"
    collection = "https://example.org/api/collections/landcover--v3"
    assert rels(document) == [
        ("self", f"{collection}/items/a"),
        ("root", "https://example.org/api"),
        ("parent", collection),
        ("collection", collection),
    ]
    wire = json.loads(json.dumps(document))
    assert make_row(stored_item(wire, object_of_href)).digest == make_row(item).digest
    wire["assets"]["data"]["file:size"] += 1
    assert make_row(stored_item(wire, object_of_href)).digest != make_row(item).digest
    pystac.Item.from_dict(document)


def test_an_exported_item_has_no_self_link(make_raster):
    part = part_of(make_raster("EPSG:32618", 3e5, 4e6, 30, 30))
    document = served(build_item("a", {"data": part}, datetime="2024-05-01T10:30:00Z"), ExportLinks(), "../../")
    assert "self" not in dict(rels(document))
    assert dict(rels(document))["collection"] == "../collection.json"


@pytest.mark.parametrize(
    ("href", "stored"),
    [
        ("https://x/api/objects/ab/{d}.tif", "objects/ab/{d}.tif"),
        ("https://x/api/objects/ab/{d}.tif?X-Amz-Signature=1&a=objects/b", "objects/ab/{d}.tif"),
        ("../../objects/ab/{d}", "objects/ab/{d}"),
        ("s3://bucket/other/{d}.tif", "s3://bucket/other/{d}.tif"),
        ("https://x/objects/ab/{d}.tif/more", "https://x/objects/ab/{d}.tif/more"),
    ],
)
def test_objects_are_found_in_served_hrefs(href, stored):
    digest = "ab" + "0" * 62
    assert object_of_href(href.format(d=digest)) == stored.format(d=digest)


members = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda key: key not in {"links", "collection", "assets", "id"}),
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)),
    max_size=4,
)
items = st.builds(
    lambda more, item_id, assets: {**more, "id": item_id, "assets": assets},
    members,
    st.text(min_size=1),
    st.dictionaries(st.text(), st.builds(lambda m, h: {**m, "href": h}, members, st.text()), max_size=3),
)


@given(items)
def test_serving_can_be_undone(item):
    undo: Callable[[str], str] = lambda href: href.removeprefix("https://example.org/api/")  # noqa: E731 - its type
    assert stored_item(served(item), undo) == item


def real_items(folder):
    for path in sorted(folder.rglob("*.json")):
        if "schema" in path.name or "schemas" in path.parts:
            continue
        document = json.loads(path.read_text())
        for item in document if isinstance(document, list) else document.get("features", [document]):
            if item.get("type") == "Feature" and "assets" in item:
                yield item


def test_real_items_are_served_and_taken_back(shared_data):
    seen = 0
    for item in real_items(shared_data / "stac"):
        stored = {key: value for key, value in item.items() if key not in {"links", "collection"}}
        document = served(stored)
        assert {link["rel"] for link in document["links"]} == {"self", "root", "parent", "collection"}
        assert stored_item(document, lambda href: href.removeprefix("https://example.org/api/")) == stored
        seen += 1
    assert seen > 20


def test_summaries_of_real_items(shared_data):
    found = dataset_summaries(real_items(shared_data / "stac" / "usgs-landsat"))
    assert {"landsat-8", "landsat-9"} <= set(found["platform"])
    assert set(found["instruments"]) >= {"oli", "tirs"}
    assert found["eo:cloud_cover"].keys() == {"minimum", "maximum"}
    assert "datetime" not in found
    assert found["created"] == {"type": "string", "format": "date-time"}
    assert found["proj:shape"] == {"type": "array", "items": {"type": "number"}}
    collection = collection_dict(make_version(summaries=found), ApiLinks())
    assert found.keys() - collection["summaries"].keys() == {"created", "description"}
    assert validate_collection(collection).errors == ()


def test_summaries_do_not_depend_on_the_order():
    def item(place, **properties):
        bands = [{"name": f"b{place}", "data_type": "uint8"}]
        return {"properties": properties, "assets": {"a": {"proj:code": f"EPSG:3261{place % 3}", "bands": bands}}}

    many = [item(n % 40, text=f"t{n}", both=n if n % 2 else "x", few="ab"[n % 2], number=n, gsd=10) for n in range(99)]
    found = dataset_summaries(many)
    assert found == dataset_summaries(reversed(many))
    assert found == {
        "both": {"type": ["number", "string"]},
        "few": ["a", "b"],
        "gsd": [10],
        "number": {"minimum": 0, "maximum": 98},
        "proj:code": ["EPSG:32610", "EPSG:32611", "EPSG:32612"],
        "text": {"type": "string"},
    }
    assert dataset_summaries(many[:3])["bands"] == [
        {"name": "b0", "data_type": "uint8"},
        {"name": "b1", "data_type": "uint8"},
        {"name": "b2", "data_type": "uint8"},
    ]
    assert dataset_summaries([]) == {}
    odd = {"list": [], "nothing": None, "flag": True, "nested": {"a": 1}, "objects": [{"a": 1}], "bands": [{}]}
    found = dataset_summaries([item(0, **odd), item(1, flag=False, title="One")])
    assert {name: found.get(name) for name in [*odd, "title"]} == {
        "list": {"type": "array"},
        "nothing": None,
        "flag": [False, True],
        "nested": {"type": "object"},
        "objects": {"type": "array", "items": {"type": "object"}},
        "bands": [{"name": "b0", "data_type": "uint8"}, {"name": "b1", "data_type": "uint8"}],
        "title": {"type": "string"},
    }
    assert "title" in telling_summaries({"title": ["a"]})
    assert "title" not in telling_summaries(found)


def test_types_in_summaries_are_those_of_all_values():
    def of(*values: object) -> object:
        return dataset_summaries([{"properties": {"it": value}} for value in values]).get("it")

    times = [f"2024-01-01T00:00:{second:02d}Z" for second in range(40)]
    assert of(*times) == {"type": "string", "format": "date-time"}
    assert of(*times, "2024") == {"type": "string"}
    assert of(*times, 1) == {"type": ["number", "string"]}
    assert of(True, 1) == {"type": ["boolean", "number"]}
    assert of(*times[:2]) == times[:2]
    assert of(["a"], "b") == ["a", "b"]
    assert of([["a"]]) == {"type": "array", "items": {"type": "array"}}
    assert of([1, 2], [3]) == {"type": "array", "items": {"type": "number"}}
    assert of(float("nan")) is None
