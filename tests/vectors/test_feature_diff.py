"""What a diff calls an edit, a move, a relabelling, noise."""

from __future__ import annotations

import copy
import json

import pytest
from label_samples import feature, shifted, three

from catalog.feature_diff import diff_features
from ingest.labels import to_labels
from versioning.errors import InvalidInput


def kinds(diff):
    return {kind: count for kind, count in diff.counts.items() if count}


@pytest.fixture
def atlanta(shared_data):
    return shared_data / "labels" / "spacenet4-atlanta-buildings-2"


def test_predictions_to_ground_truth_replaces_all(atlanta):
    diff = diff_features(atlanta / "pred.geojson", atlanta / "gt.geojson")
    assert kinds(diff) == {"added": 28, "removed": 28}
    assert diff.unchanged == 0


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("with_ids", [False, True])
def test_three_named_edits(atlanta, write, tmp_path, normalised, with_ids):
    old = json.loads((atlanta / "gt.geojson").read_text())
    if not with_ids:
        for row in old["features"]:
            del row["properties"]["osm_id"]
    new = copy.deepcopy(old)
    rows = new["features"]
    rows[3]["geometry"]["coordinates"][0][1][0] += 0.5
    rows[5]["properties"]["building"] = "no"
    del rows[9]
    rows.reverse()
    paths = [write(json.dumps(side)) for side in (old, new)]
    if normalised:
        paths = [to_labels(path, tmp_path / f"{at}.parquet").path for at, path in enumerate(paths)]
    diff = diff_features(*paths)
    assert kinds(diff) == {"geometry": 1, "attribute": 1, "removed": 1}
    assert diff.unchanged == 25
    moved = next(change for change in diff.changes if change.kind == "geometry")
    assert 0 < moved.hausdorff <= 0.5 + 1e-6
    assert moved.area_delta
    relabelled = next(change for change in diff.changes if change.kind == "attribute")
    assert relabelled.properties == {"building": ("yes", "no")}
    assert diff.classes == {"geometry", "attribute"}


def test_equal_files_in_another_order(write):
    diff = diff_features(write(three()), write(three()[::-1]))
    assert (diff.changes, diff.unchanged, diff.classes) == ((), 3, frozenset())


def test_duplicates_are_counted(write):
    rows = [feature(properties={"a": 1})] * 3
    assert kinds(diff_features(write(rows), write(rows[:1]))) == {"removed": 2}
    assert kinds(diff_features(write(rows[:1]), write(rows))) == {"added": 2}


def test_noise_across_the_grid_is_precision_only(write):
    old = [feature([[x + 4.9e-8, y] for x, y in shifted(0)])]
    new = [feature([[x + 5.1e-8, y] for x, y in shifted(0)])]
    diff = diff_features(write(old), write(new))
    assert kinds(diff) == {"precision-only": 1}
    assert diff.classes == {"precision-only"}


def test_a_key_finds_what_moved_and_changed(write):
    old = [feature(properties={"id": "a", "c": 1}), feature(shifted(1), {"id": "b", "c": 1})]
    new = [feature(shifted(50), {"id": "b", "c": 2}), feature(properties={"id": "a", "c": 1})]
    diff = diff_features(write(old), write(new))
    assert kinds(diff) == {"both": 1}
    assert diff.changes[0].handle == "id=b"
    assert diff.changes[0].properties == {"c": (1, 2)}
    assert (diff.changes[0].old, diff.changes[0].new) == (1, 0)


def test_a_named_key_must_identify(write):
    old, new = write([feature(properties={"k": 1})] * 2), write([feature(properties={"k": 1})])
    with pytest.raises(InvalidInput, match="two features share"):
        diff_features(old, new, key="k")


def test_far_apart_is_no_move(write):
    """Equal properties are not enough: one came, another went."""
    diff = diff_features(write([feature()]), write([feature(shifted(5))]))
    assert kinds(diff) == {"added": 1, "removed": 1}


def test_another_crs_is_all_new(write):
    crs = {"type": "name", "properties": {"name": "EPSG:4269"}}
    diff = diff_features(write(three()), write(three(), crs=crs))
    assert kinds(diff) == {"added": 3, "removed": 3}
    assert (diff.old_crs, diff.new_crs) == ("EPSG:4326", "EPSG:4269")
