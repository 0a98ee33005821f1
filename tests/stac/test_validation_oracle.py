"""jsonschema-rs never accepts what jsonschema refuses: on real documents, and on hostile changes of them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from catalog import validation
from catalog.validation import validate_item

pytest.importorskip("jsonschema_rs")

DIGEST = "ab" * 32
ITEM: dict[str, Any] = {
    "type": "Feature",
    "stac_version": "1.1.0",
    "id": "a",
    "links": [],
    "bbox": [0, 0, 1, 1],
    "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]},
    "properties": {"datetime": "2024-05-01T10:30:00Z", "proj:code": "EPSG:32618", "eo:cloud_cover": 5},
    "stac_extensions": ["https://stacpin.github.io/pin/v1.0.0/schema.json"],
    "assets": {
        "data": {
            "href": f"objects/ab/{DIGEST}.tif",
            "type": "image/tiff; application=geotiff",
            "roles": ["data"],
            "file:checksum": f"1220{DIGEST}",
            "file:size": 7,
            "pin:digest": f"r1:{DIGEST}",
            "bands": [{"name": "b1", "data_type": "uint8", "nodata": "nan"}],
            "proj:shape": [256, 256],
        }
    },
}
NAMES = [*validation._CORE.values(), "https://stacpin.github.io/pin/v1.0.0/schema.json"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(
        ["", "\n", "2024-05-01T10:30:00Z\n", "٢٠٢٤-05-01T10:30:00Z", "Feature", "1.1.0\n", f"r1:{DIGEST}\n"]
    )
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        found += places(member, (*path, key))
    return found


def put(document: dict[str, Any], path: tuple[Any, ...], value: Any, *, remove: bool) -> None:
    at: Any = document
    for step in path[:-1]:
        at = at[step]
    if remove:
        del at[path[-1]]
    elif isinstance(at, str):
        pytest.fail("a path leads into text")
    else:
        at[path[-1]] = value


@pytest.mark.parametrize("uri", NAMES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_accepted_is_valid(uri: str, data: st.DataObject) -> None:
    document = copy.deepcopy(ITEM)
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places(document)[1:]))
        put(document, path, data.draw(VALUES), remove=data.draw(st.booleans()))
        if not places(document)[1:]:
            break
    accepts, oracle = validation._fast_validator(uri, None), validation._validator(uri, None)
    assert accepts is not None
    assert oracle is not None
    if accepts(document):
        assert list(oracle.iter_errors(document)) == []


def test_most_of_what_is_valid_is_accepted() -> None:
    """Otherwise the fast way is none, and the test above holds of a validator that refuses everything."""
    for uri in (NAMES[0], NAMES[2]):
        accepts = validation._fast_validator(uri, None)
        assert accepts is not None
        assert accepts(ITEM)


def test_real_documents_get_the_same_verdict(shared_data: Path, schemas: Path) -> None:
    seen = 0
    for path in sorted((shared_data / "stac").rglob("*.json")):
        document = json.loads(path.read_text())
        if not isinstance(document, dict) or document.get("type") not in validation._CORE:
            continue
        names = [validation._CORE[document["type"]], *document.get("stac_extensions", ())]
        for uri in names:
            oracle = validation._validator(uri.rstrip("#"), schemas)
            accepts = validation._fast_validator(uri.rstrip("#"), schemas) if oracle is not None else None
            if oracle is None or accepts is None:
                continue
            token = validation._missing.set(set())
            try:
                assert accepts(document) == (not list(oracle.iter_errors(document))), (path.name, uri)
            finally:
                validation._missing.reset(token)
            seen += 1
    assert seen > 40


def test_a_schema_that_refers_to_one_that_is_missing_is_left_to_jsonschema(tmp_path: Path) -> None:
    schema = {"$id": "http://example.org/x.json", "$schema": "http://json-schema.org/draft-07/schema#"}
    schema["allOf"] = [{"$ref": "http://example.org/nowhere.json"}]
    Draft7Validator.check_schema(schema)
    (tmp_path / "x.json").write_text(json.dumps(schema))
    assert validation._fast_validator("http://example.org/x.json", tmp_path) is None
    found = validate_item(ITEM | {"stac_extensions": ["http://example.org/x.json"]}, tmp_path)
    assert found.ok
    assert found.unchecked == ("http://example.org/nowhere.json",)
