"""Every verb on real data: what it prints, and its envelope."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from cli_helpers import DATASET, move_glacier
from cli_snapshots import check_json, check_snapshot, needs_known_gdal, without_times

from versioning.catalog import Catalog
from versioning.commit import commit

V1, V2, V3 = (f"{DATASET}@v{number}" for number in (1, 2, 3))


@needs_known_gdal
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("log", ["log"]),
        ("log-dataset", ["log", DATASET]),
        ("log-moves", ["log", DATASET, "--moves", "stable"]),
        ("show", ["show", V3]),
        ("show-item", ["show", V3, "rmnp-dem"]),
        ("diff", ["diff", V2, V3]),
        ("diff-stat", ["diff", V1, V3, "--stat"]),
        ("diff-none", ["diff", V3, V3]),
        ("resolve", ["resolve", f"{DATASET}@stable", DATASET]),
        ("status", ["status"]),
        ("dry-run", ["ingest", "--dry-run"]),
        ("digest", ["digest", "imagery/red.tif", "labels/rmnp.shp", "labels/colorado-glaciers.geojson"]),
        ("verify", ["verify", f"{DATASET}@stable"]),
    ],
)
def test_reading_verbs_answer_as_they_did(cli, here, name, words):
    ran = cli(*words)
    assert (ran.code, ran.err) == (0, "")
    text = "\n".join(line for line in ran.out.splitlines() if not line.startswith("software"))
    check_snapshot(f"text-{name}.txt", without_times(text.replace(str(here), "FOLDER")) + "\n")
    envelope = cli(*words, "--json").json
    assert envelope.keys() == {"ok", "command", "data", "errors"}
    assert (envelope["ok"], envelope["command"], envelope["errors"]) == (True, words[0], [])
    check_json(name, envelope, here)


def test_of_many_changes_the_first_fifty_are_shown(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(73):
        Path(f"f{number:02d}.bin").write_bytes(b"%d" % number)
    Path("stacpin.yaml").write_text(
        "dataset: many\ncatalog: catalog\nlicense: CC0-1.0\n"
        "layers:\n  raw: {kind: file, sources: '*.bin', datetime: '2026-01-01'}\n"
    )
    for words in (["status"], ["ingest", "--dry-run"]):
        lines = cli(*words).out.splitlines()
        assert lines[1] == "  new      f00: raw (f00.bin)"
        assert lines[51:] == [
            "  … and 23 more new (--json names all)",
            "73 new, 0 changed, 0 unchanged, 0 removed, 0 refused",
        ]
        assert len(cli(*words, "--json").json["data"]["items"]) == 73
    cli("ingest", "-m", "all")
    for number in range(52):
        Path(f"f{number:02d}.bin").unlink()
    assert "  … and 2 more removed (--json names all)" in cli("status").out.splitlines()


def test_search_prints_lines_and_json_lines(cli, here):
    ran = cli("search", V2, "--bbox", "-106,40.1,-105.4,40.6", "--filter", "constellation = 'landsat'")
    assert ran.out == "rmnp-landsat  2018-01-01T00:00:00Z/2018-12-31T23:59:59Z  blue, green, red\n"
    assert ran.err == f"1 item of {V2}\n"
    lines = [json.loads(line) for line in cli("search", V2, "--json").out.splitlines()]
    assert [item["id"] for item in lines] == ["colorado-glaciers", "rmnp-boundary", "rmnp-dem", "rmnp-landsat"]
    assert {item["collection"] for item in lines} == {f"{DATASET}--v2"}
    assert len(cli("search", V2, "--json", "--limit", "2").out.splitlines()) == 2
    assert len(cli("search", DATASET, "--datetime", "2018-12-15").out.splitlines()) == 4
    assert cli("search", DATASET, "--datetime", "2017").out == ""
    assets = [
        json.loads(line) for line in cli("search", V2, "--ids", "rmnp-dem", "--assets", "--json").out.splitlines()
    ]
    assert [(each["item"], each["asset"]) for each in assets] == [("rmnp-dem", "dem")]
    geometry = here / "square.json"
    square = [[-106, 40], [-105, 40], [-105, 41], [-106, 41], [-106, 40]]
    geometry.write_text(json.dumps({"type": "Polygon", "coordinates": [square]}))
    by_file = cli("search", V1, "--intersects", geometry).out
    assert by_file == cli("search", V1, "--intersects", geometry.read_text()).out
    assert by_file.startswith("rmnp-dem")
    feature = {"type": "Feature", "properties": {}, "geometry": json.loads(geometry.read_text())}
    for area in (feature, {"type": "FeatureCollection", "features": [feature]}):
        assert cli("search", V1, "--intersects", json.dumps(area)).out == by_file
    assert [line.split()[0] for line in cli("search", V2, "--asset", "dem", "-a", "red").out.splitlines()] == [
        "rmnp-dem",
        "rmnp-landsat",
    ]
    (line,) = cli("search", V2, "--asset", "dem", "--assets").out.splitlines()
    assert "  rmnp-dem/dem  " in line


def test_search_by_free_text(cli, tmp_path):
    place = {"type": "Point", "coordinates": [0, 0]}
    texts = {"a": {"title": "Land cover of Peru"}, "b": {"keywords": ["forest", "cover of land"]}, "c": {}}
    items = [
        {
            "type": "Feature",
            "stac_version": "1.1.0",
            "id": name,
            "geometry": place,
            "bbox": [0, 0, 0, 0],
            "properties": {"datetime": "2024-01-01T00:00:00Z", **text},
            "assets": {},
        }
        for name, text in texts.items()
    ]
    commit(Catalog.create(str(tmp_path / "own")).dataset("ds"), items=items, message="m", author="t")
    for q, found in [("land COVER", "a"), ("land cover, forest", "ab"), ("cover land", ""), ("Peru forest", "")]:
        ran = cli("search", "ds", "--q", q, "-C", tmp_path / "own")
        assert "".join(line[0] for line in ran.out.splitlines()) == found


def test_a_bare_dataset_says_what_it_is(cli, here):
    assert cli("search", DATASET).err == f"{DATASET} is {V3}\n4 items of {V3}\n"
    assert cli("-q", "search", DATASET).err == ""


def test_pull_verify_and_lock(cli, here, tmp_path):
    ran = cli("pull", f"{DATASET}@stable", tmp_path / "data")
    assert f"6 files of 4 items in {tmp_path / 'data'} (" in ran.out
    assert ": 6 fetched, 0 already there, all proven" in ran.out
    again = cli("pull", V2, tmp_path / "data", "--json").json
    assert (again["data"]["fetched"], again["data"]["kept"]) == (0, 6)
    assert cli("verify", tmp_path / "data").out.splitlines()[1].startswith("proven: 4 items, 6 files, ")
    part = cli("pull", V2, tmp_path / "part", "--asset", "dem", "--ids", "rmnp-dem")
    assert "1 file of 1 item in" in part.out
    far = json.dumps({"type": "Point", "coordinates": [-107.99, 37.838]})
    assert "1 file of 1 item in" in cli("pull", V2, tmp_path / "far", "--intersects", far).out
    ran = cli("lock", f"{DATASET}@stable", "-f", tmp_path / "stacpin.lock")
    assert ran.out.startswith(f"{V2}  sha256:")
    assert cli("-C", tmp_path / "stacpin.lock", "search", DATASET).err.endswith(f"4 items of {V2}\n")


def test_diff_names_features_and_says_where_they_are(cli, tmp_path):
    """In a projected CRS too, and by a property that does not look like a key."""
    recipe = "dataset: trees\ncatalog: catalog\nlayers:\n  trees: {kind: labels, sources: trees.geojson, "
    (tmp_path / "stacpin.yaml").write_text(
        recipe + "source_crs: 'EPSG:32613', crs: 'EPSG:32613', datetime: 2024-01-01}\n"
    )
    rows = [("oak", 500_000, 4_500_000), ("elm", 500_100, 4_500_000)]
    for shift in (0, 40):
        features = [
            {
                "type": "Feature",
                "properties": {"name": name, "height": 3 + shift},
                "geometry": {"type": "Point", "coordinates": [x + shift, y]},
            }
            for name, x, y in rows
        ]
        (tmp_path / "trees.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        assert cli("ingest", tmp_path).code == 0
    words = ["-C", tmp_path / "catalog", "diff", "trees@v1", "trees@v2"]
    edits = cli(*words, "--key", "name", "--json").json["data"]["changed"][0]["assets"][0]["edits"]
    assert [(edit["kind"], edit["feature"]) for edit in edits] == [("both", "name=oak"), ("both", "name=elm")]
    # 40 m east of the central meridian, 105 degrees west, of zone 13.
    assert edits[0]["place"] == pytest.approx([-104.999526, 40.650853], abs=2e-5)
    assert ": name=oak, at -104.9995" in cli(*words, "--key", "name").out
    without = cli(*words, "--json").json["data"]["changed"][0]["assets"][0]["edits"]
    assert {edit["kind"] for edit in without} == {"added", "removed"}
    assert all(len(edit["place"]) == 2 for edit in without)


def test_locking_another_version_says_what_it_was(cli, here, tmp_path):
    file = tmp_path / "stacpin.lock"
    assert "(was" not in cli("lock", V2, "-f", file).out
    assert "(was" not in cli("lock", V2, "-f", file).out
    assert cli("lock", V3, "-f", file).out.endswith("  (was v2)\n")
    assert cli("lock", V1, "-f", file, "--json").json["data"]["locked"][0]["was"] == V3


def test_pull_says_when_nothing_was_meant(cli, here, tmp_path):
    assert cli("pull", V3, tmp_path / "a", "--asset", "nir").code == 40
    assert cli("search", V3, "--asset", "nir").code == 40
    ran = cli("pull", V3, tmp_path / "a", "--ids", "rmnp-dem", "--asset", "red")
    assert "none of these items has an asset red; assets of rocky-mountain@v3: blue, boundary, dem" in ran.err
    assert "no item of rocky-mountain@v3 matches" in cli("pull", V3, tmp_path / "b", "--bbox", "0,0,1,1").err


def test_init_and_the_empty_catalog(cli, tmp_path, monkeypatch):
    where = tmp_path / "new catalog é"
    assert cli("init", where, "--title", "Tests").out == f"{where} is a stacpin catalog (format 1).\n"
    before = (where / "stacpin.json").read_bytes()
    assert cli("init", where, "--json").json["data"]["format"] == 1
    assert (where / "stacpin.json").read_bytes() == before
    assert cli("-C", where, "log").out == f"no datasets yet in {where}\n"
    assert cli("-C", where, "log", "--json").json["data"] == []
    assert cli("-C", where, "status").out == "nothing is staged\n"
    monkeypatch.chdir(where)
    assert cli("log").code == 0


def test_ingest_commit_and_nothing_to_commit(cli, place):
    ran = cli("ingest")
    assert ran.out.startswith(f"nothing to commit: {DATASET} is as it was ({V3} sha256:")
    assert cli("ingest", "--json").json["data"]["created"] is False
    assert "stacpin tag rocky-mountain@v3 v7.0.0" in cli("ingest", "--tag", "v7.0.0").err
    move_glacier(place / "work", 0.01)
    ran = cli("ingest", "--no-commit")
    assert "1 item, 0 removed" in ran.out
    assert "stacpin commit -m MESSAGE" in ran.out
    assert len(cli("status", "--json").json["data"]["staged"]) == 1
    assert "staged: run " in cli("status").out
    assert cli("log", DATASET, "--json").json["data"][0]["version"] == 3
    committed = cli("commit", "-m", "Again", "--tag", "v2.0.0", "--author", "Bo", "--json").json
    assert committed["data"]["created"] is True
    assert committed["data"]["version"]["pin"] == f"{DATASET}@v4"
    newest = cli("log", DATASET, "-n", "1", "--json").json["data"][0]
    assert (newest["author"], newest["message"], newest["names"]) == ("Bo", "Again", ["latest", "v2.0.0"])
    assert cli("ingest", "--tag", "v2.0.0").out.startswith("nothing to commit")


def test_names_move_and_stay(cli, place):
    assert cli("tag", V3, "v3.0.0").out == f"{DATASET}@v3.0.0 is {V3} for ever\n"
    assert cli("promote", V3).out == f"{DATASET}@stable is {V3}\n"
    assert cli("promote", V1, "candidate", "--json").json["data"]["pointer"] == "candidate"
    ran = cli("rollback", DATASET, "--to", "v2", "-m", "shifted labels")
    assert ran.out == f"{DATASET}@latest is {V2} again (it was v3): shifted labels\n"
    assert cli("resolve", DATASET).out.startswith(f"{V2}  sha256:")
    moves = cli("log", DATASET, "--moves", "latest", "--json").json["data"]
    assert [(move["target"], move["why"], move["author"]) for move in moves] == [(2, "shifted labels", "Ana Ruiz")]
    move_glacier(place / "work", 0.01)
    assert cli("ingest").out.startswith(f"{DATASET}@v4")
    listed = cli("log", DATASET, "--moves", "latest").out.splitlines()
    assert "Z  v2      Ana Ruiz" in listed[1]
    assert listed[2] == "latest is v4 now"


def test_what_was_refused_is_seen_later(cli, place):
    recipe = place / "work" / "stacpin.yaml"
    recipe.write_text(recipe.read_text().rstrip() + "\non_error: quarantine\n")
    named = cli("show", V3, "--json").json["data"]["collection_metadata"]["title"]
    bad = place / "work" / "labels" / "colorado-glaciers.geojson"
    bad.write_text("{")
    assert cli("ingest").out.endswith("; 1 refused\n")
    recipe.write_text(recipe.read_text().replace(named, f"{named}, again"))
    assert ", 1 refused; now " in cli("ingest", "-m", "Without it").out
    shown = cli("show", f"{DATASET}@v4").out
    assert "\nrefused    colorado-glaciers: " in shown
    (refusal,) = cli("show", f"{DATASET}@v4", "--json").json["data"]["refused"]
    assert refusal["item"] == "colorado-glaciers"
    assert "refused" not in cli("show", V3).out
    assert cli("show", V3, "--json").json["data"]["refused"] == []


def test_the_catalog_is_found_in_this_order(cli, place, tmp_path, monkeypatch):
    """-C after the verb, -C before it, STACPIN_CATALOG, the recipe's, the folder itself."""
    empty = {name: tmp_path / name for name in ("one", "two", "three")}
    for folder in empty.values():
        cli("init", folder)
    assert cli("log").out.startswith("dataset")
    monkeypatch.setenv("STACPIN_CATALOG", str(empty["three"]))
    assert cli("log").out.endswith("three\n")
    assert cli("-C", empty["two"], "log").out.endswith("two\n")
    assert cli("-C", empty["two"], "log", "-C", empty["one"]).out.endswith("one\n")
    monkeypatch.delenv("STACPIN_CATALOG")
    monkeypatch.chdir(place / "catalog")
    assert cli("log", DATASET).code == 0
    monkeypatch.chdir(place)
    assert cli("log", "-C", "catalog", DATASET).code == 0
    assert cli("status", "work").out.endswith("0 new, 0 changed, 4 unchanged, 0 removed, 0 refused\n")


def test_hostile_texts_do_not_reach_the_terminal(cli, place):
    cli("tag", V3, "t1", "-m", "a\x1b[31mred\x07")
    cli("rollback", DATASET, "--to", "v1", "-m", "two\nlines \x1b]0;title\x07")
    ran = cli("log", DATASET, "--moves", "latest")
    assert "two lines \\x1b]0;title\\x07" in ran.out
    assert "\x1b" not in ran.out


def test_paths_with_spaces_and_other_letters(cli, place):
    new = place / "årbeit mit leerzeichen"
    shutil.move(place / "work", new)
    assert cli("status", new).code == 0
    (new / "labels" / "colorado-glaciers.geojson").rename(new / "labels" / "mes glaciers.geojson")
    ran = cli("ingest", new)
    assert (ran.code, "mes glaciers" in ran.err) in {(50, True), (0, False)}


def test_a_staged_run_can_be_thrown_away(cli, place):
    move_glacier(place / "work", 0.01)
    run = cli("ingest", "--no-commit", "--json").json["data"]["run"]
    ran = cli("commit", "--json")
    assert (ran.code, ran.json["errors"][0]["kind"]) == (2, "usage")
    assert cli("commit", "--discard").out == f"run {run} is discarded\n"
    assert cli("commit", "-m", "x", "--json").json["errors"][0]["kind"] == "nothing-staged"
    assert cli("status", "--json").json["data"]["staged"] == []
    assert cli("ingest", "-m", "after all").code == 0


def _interrupt_an_ingest(cli, place: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two new files, of which one goes away between plan and conversion; gives the run's id."""
    from ingest.run import Run

    folder = place / "work" / "extra"
    folder.mkdir()
    for name in ("reda.tif", "redb.tif"):
        shutil.copyfile(place / "work" / "imagery" / "red.tif", folder / name)
    recipe = (place / "work" / "stacpin.yaml").read_text()
    more = "  extra: {kind: file, sources: 'extra/*.tif', item: '{stem}', datetime: 2024-05-01}\n"
    (place / "work" / "stacpin.yaml").write_text(recipe.rstrip("\n") + "\n" + more)
    convert = Run.convert

    def loses_one(run: Run) -> None:
        (folder / "redb.tif").unlink()
        convert(run)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "convert", loses_one)
        assert cli("ingest").code == 40
    shutil.copyfile(folder / "reda.tif", folder / "redb.tif")
    (ended,) = cli("status", "--json").json["data"]["interrupted"]
    assert (ended["dataset"], ended["files"], len(ended["objects"])) == (DATASET, 1, 1)
    assert "redb.tif" in ended["reason"]["message"]
    text = cli("status").out.splitlines()[-1]
    assert text.startswith(f"interrupted: run {ended['id']} of {DATASET}, 1 file stored and proven: ")
    return ended["id"]


def test_what_an_interrupted_run_has_proven_is_taken_over_and_counted(cli, place, monkeypatch):
    _interrupt_an_ingest(cli, place, monkeypatch)
    assert "1 of 2 files taken over from an interrupted run" in cli("ingest").err
    assert cli("status", "--json").json["data"]["interrupted"] == []


def test_an_interrupted_run_can_be_thrown_away(cli, place, monkeypatch):
    run = _interrupt_an_ingest(cli, place, monkeypatch)
    assert cli("commit", "--discard", "--json").json["errors"][0]["kind"] == "nothing-staged"
    assert cli("commit", "--discard", "--run", run).out == f"run {run}, which was interrupted, is discarded\n"
    assert cli("status", "--json").json["data"]["interrupted"] == []
    did = cli("ingest", "--json").json["data"]["run"]
    assert did | {"bytes": 0} == {"files": 2, "resumed": 0, "kept": 2, "objects": 1, "bytes": 0}


def test_a_version_that_expired_says_so_in_the_log(cli, place):
    cli("expire", DATASET, "--version", "v1", "-m", "older than the survey", "--apply")
    text = cli("log", DATASET).out
    assert text.count("expired") == 1
    assert re.search(r"v1 .*\n.*\n.*\n    expired \d{4}-\d\d-\d\d: older than the survey\n", text)
    told = {each["version"]: each["expired"] for each in cli("log", DATASET, "--json").json["data"]}
    assert (told[3], told[2], told[1]["why"]) == (None, None, "older than the survey")


def test_a_first_ingest_that_is_refused_makes_no_catalog(cli, place):
    (place / "work" / "imagery" / "red.tif").write_text("no raster")
    assert cli("ingest", "-C", place / "new").code == 50
    assert not (place / "new").exists()


def test_promoting_the_same_version_again_is_no_move(cli, place):
    assert cli("promote", V2, "--json").json["data"]["moved"] is False
    assert len(cli("log", DATASET, "--moves", "stable", "--json").json["data"]) == 1
