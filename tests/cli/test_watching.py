"""audit and guard on the command line: what they tell, prove, move, refuse, and the codes they exit with."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from cli_helpers import DATASET, Ran, listing
from cli_snapshots import check_json, check_snapshot, needs_known_gdal, without_times

from versioning import guard as module
from versioning.canonical import canonical
from versioning.catalog import Catalog

V1, V2, V3 = (f"{DATASET}@v{number}" for number in (1, 2, 3))
STABLE = f"{DATASET}@stable"
BAD = ["--metric", "IoU=0.64", "--least", "IoU=0.7"]
GOOD = ["--metric", "IoU=0.74", "--least", "IoU=0.7"]
_HASH = re.compile(r"\b[0-9a-f]{64}\b")


@pytest.fixture
def stable(cli, place) -> Path:
    """The catalog; stable was v2, and is v3."""
    assert cli("promote", V3, "-m", "reviewed again").code == 0
    return place / "catalog"


def rewrite(catalog: Path, path: str, **members: object) -> None:
    """Change a record, and write it as its writers would."""
    file = catalog / path
    data = canonical(json.loads(file.read_bytes()) | members)
    file.unlink()
    file.write_bytes(data)


def lines(ran: Ran) -> list[dict]:
    return [json.loads(line) for line in ran.out.splitlines()]


def meant(cli, pointer: str = STABLE) -> str:
    return cli("resolve", pointer).out.split()[0]


# -- audit


@needs_known_gdal
def test_every_write_has_a_line(cli, here):
    ran = cli("audit", DATASET)
    assert ran.code == 0
    check_snapshot("text-audit.txt", without_times(ran.out))
    assert re.fullmatch(r"5 writes; all chains hold; head sha256:[0-9a-f]{64}\n", ran.err)
    assert cli("-q", "audit", DATASET).err == ""


@needs_known_gdal
def test_every_write_is_a_line_of_json_and_the_answer_is_the_last(cli, here):
    ran = cli("audit", "--json")
    assert (ran.code, ran.err) == (0, "")
    *entries, answer = lines(ran)
    for entry in entries:
        assert _HASH.fullmatch(entry["sha256"])
    told = [each | {"sha256": "SHA256"} | ({"name": "ID"} if each["kind"] == "catalog" else {}) for each in entries]
    head = answer["data"].pop("head")
    assert head == re.search(r"sha256:[0-9a-f]{64}", cli("audit").err)[0]
    check_json("audit", [*told, answer])
    assert answer["data"]["writes"] == len(entries) == len(cli("audit").out.splitlines()) - 1


def test_since(cli, place):
    every = lines(cli("audit", DATASET, "--json"))[:-1]
    last = every[-1]["time"]
    *after, answer = lines(cli("audit", DATASET, "--since", last, "--json"))
    assert after == every[-1:]
    assert (answer["data"]["writes"], answer["data"]["listed"]) == (len(every), 1)
    for since, count in (("2001-01-31", 5), ("5w", 5), ("9999-12-31", 0), ("9999-12-31T23:59:59+00:00", 0)):
        ran = cli("audit", DATASET, "--since", since)
        assert ran.code == 0
        assert f"5 writes, {count} of them since {since}; " in ran.err
        assert bool(ran.out) == bool(count)


@pytest.mark.parametrize(
    "since", ["yesterday", "2026-13-01", "2026-W01", "31.01.2026", "7", "", "0001-01-01T00:00+23:59"]
)
def test_what_is_no_moment(cli, here, since):
    ran = cli("audit", "--since", since)
    assert (ran.code, ran.out) == (50, "")
    assert "neither a date nor an age" in ran.err
    assert "7d" in ran.err


def test_a_head_kept_elsewhere_proves_the_past(cli, place):
    file = place / "head.json"
    saved = cli("audit", "--save-head", file)
    assert (saved.code, f"wrote {file}; keep it" in saved.err) == (0, True)
    digest = re.search(r"sha256:[0-9a-f]{64}", saved.err)[0]
    before = file.read_bytes()
    cli("tag", V1, "paper")
    cli("promote", V3)
    for head in (file, digest):
        ran = cli("audit", "--head", head)
        assert ran.code == 0
        assert f"nothing of {head} was rewritten or taken away" in ran.err
    assert "taken away; 2 writes since" in cli("audit", "--head", file).err
    assert cli("audit", "--head", file, "--save-head", file).code == 0
    assert file.read_bytes() != before
    assert list(place.glob(".head*")) == []
    assert "taken away; 0 writes since" in cli("audit", "--head", file).err
    # What came later is no part of what was before.
    assert cli("audit", "--head", digest).code == 0


def test_only_a_head_shows_that_the_newest_was_rewritten(cli, place):
    file, path = place / "head.json", f"datasets/{DATASET}/versions"
    assert cli("audit", DATASET, "--save-head", file).code == 0
    before = file.read_bytes()
    rewrite(place / "catalog", f"{path}/00000003.json", message="nothing to see")
    assert cli("audit", DATASET).code == 0
    ran = cli("audit", DATASET, "--head", file, "--save-head", file)
    assert ran.code == 30
    assert "nothing to see" in ran.out, "everything is told all the same"
    assert f"altered: {path}: the entries up to 00000003.json are not those of when" in ran.err
    assert "error: The records of " in ran.err
    assert "hint: The chains hold" in ran.err
    assert file.read_bytes() == before, "what cannot be proven is no new head"
    told = cli("audit", DATASET, "--head", file, "--json")
    assert told.code == 30
    answer = lines(told)[-1]
    assert (answer["ok"], answer["errors"][0]["kind"]) == (False, "damaged")
    assert [problem["path"] for problem in answer["data"]["problems"]] == [path]
    digest = re.search(r"sha256:[0-9a-f]{64}", cli("audit", DATASET).err)[0]
    assert cli("audit", DATASET, "--head", digest).code == 0
    assert cli("audit", "--head", digest).code == 30


def test_only_a_head_shows_that_a_tag_was_taken_away(cli, place):
    file, tag = place / "head.json", f"datasets/{DATASET}/tags/v1.0.0.json"
    cli("audit", "--save-head", file)
    (place / "catalog" / tag).unlink()
    assert cli("audit").code == 0
    ran = cli("audit", "--head", file)
    assert ran.code == 30
    assert f"missing: {tag}: it was there" in ran.err


@pytest.mark.parametrize(
    ("path", "members"),
    [
        ("versions/00000001.json", {"message": "other"}),
        ("versions/00000002.json", {"author": "Eve"}),
        ("tags/v1.0.0.json", {"target": 1}),
        ("pointers/stable/00000001.json", {"pointer": "other"}),
    ],
)
def test_an_altered_record_is_named(cli, place, path, members):
    record = f"datasets/{DATASET}/{path}"
    rewrite(place / "catalog", record, **members)
    ran = cli("audit", "--save-head", place / "head.json")
    assert ran.code == 30
    assert f"altered: {record}: " in ran.err
    assert ran.err.splitlines()[-1].endswith("stacpin verify --repair-from URL")
    assert V3 in ran.out
    assert not (place / "head.json").exists()
    answer = lines(cli("audit", DATASET, "--json"))[-1]
    assert record in {problem["path"] for problem in answer["data"]["problems"]}
    assert record in answer["errors"][0]["message"]
    assert record in cli("-q", "audit").err


def test_a_record_that_is_lost_or_none_is_named(cli, place):
    versions = place / "catalog" / "datasets" / DATASET / "versions"
    (versions / "00000001.json").unlink()
    (versions / "00000002.json").unlink()
    (versions / "00000002.json").write_bytes(b"{")
    ran = cli("audit", DATASET)
    assert ran.code == 30
    assert "missing: " in ran.err
    assert "altered: " in ran.err
    assert V3 in ran.out


def test_hostile_texts_do_not_reach_the_terminal(cli, place):
    cli("tag", V3, "t1", "-m", "a\x1b[31mred\x07\nerror: \x9b2Jforged", "--author", "Eve\x1b]0;title\x07\nand Bo")
    ran = cli("audit", DATASET)
    assert r"a\x1b[31mred\x07 error: \x9b2Jforged" in ran.out
    assert r"Eve\x1b]0;title\x07 and Bo" in ran.out
    assert len(ran.out.splitlines()) == 7, "one line each"
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", ran.out + ran.err)
    assert "\x1b" not in cli("audit", "--json").out

    rewrite(place / "catalog", f"datasets/{DATASET}/versions/00000003.json", dataset="x\x1b[2J\nerror: forged")
    ran = cli("audit", DATASET)
    assert ran.code == 30
    assert r"it says that it is of x\x1b[2J error: forged" in ran.err
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", ran.out + ran.err)
    assert not re.search("^error: forged", ran.err, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "code", "names"),
    [
        (["nowhere"], 40, f"datasets: {DATASET}"),
        ([V3], 50, "dataset's id"),
        (["../up"], 50, "dataset's id"),
        (["-C", "nowhere"], 40, "stacpin init"),
        (["-C", "https://example.org"], 50, "needs the catalog itself"),
        (["--head", "nowhere.json"], 40, "stacpin audit --save-head nowhere.json"),
        (["--head", "."], 50, "cannot be read"),
        (["--head", "a\0b"], 50, "cannot be read"),
        (["--head", "stacpin.yaml"], 50, "not valid JSON"),
        (["--head", "../catalog/stacpin.json"], 50, "not the head of an audit trail"),
        (["--head", "sha256:12"], 50, "64 hex digits"),
        (["--since", "1y"], 50, "7d"),
        (["--workers", "0"], 2, "--workers"),
    ],
)
def test_audit_refuses(cli, here, words, code, names):
    ran = cli("audit", *words)
    assert (ran.code, ran.out) == (code, "")
    assert names in ran.err
    assert cli("audit", *words, "--json").error["message"].replace("\0", "\\x00") in ran.err


def test_a_head_of_something_else(cli, place):
    file = place / "head.json"
    cli("audit", DATASET, "--save-head", file)
    ran = cli("audit", "--head", file)
    assert (ran.code, ran.out) == (50, "")
    assert f"stacpin audit {DATASET} --head {file}" in ran.err
    cli("audit", "--save-head", file)
    assert f"stacpin audit --head {file}" in cli("audit", DATASET, "--head", file).err
    cli("init", place / "another")
    ran = cli("audit", "--head", file, "-C", place / "another")
    assert ran.code == 30
    assert "the head is that of catalog" in ran.err


@pytest.mark.parametrize("name", ["nowhere/head.json", "."])
def test_a_head_that_cannot_be_written(cli, here, name):
    ran = cli("audit", "--save-head", name)
    assert ran.code == 60
    assert f"{name} cannot be written" in ran.err
    assert lines(cli("audit", "--save-head", name, "--json"))[-1]["errors"][0]["kind"] == "forbidden"
    assert not list((here / "work").glob(".*"))


# -- guard


def test_a_version_that_holds_stays(cli, stable):
    before = listing(stable)
    ran = cli("guard", STABLE, *GOOD)
    assert (ran.code, ran.out, ran.err) == (0, f"{STABLE} stays {V3}: IoU = 0.74\n", "")
    ran = cli("guard", STABLE, *GOOD, "--verify", "--sample", "50%")
    assert (ran.code, ran.out) == (0, f"{STABLE} stays {V3}: IoU = 0.74, its bytes are proven\n")
    assert listing(stable) == before


def test_a_bad_version_is_left_once(cli, stable):
    before = listing(stable)
    ran = cli("guard", STABLE, *BAD, "--version", "v3", "--dry-run")
    assert ran.code == 1
    assert ran.out == f"{STABLE} would be {V2} again (it is v3): IoU = 0.64 is below 0.7\n"
    assert ran.err == "nothing was changed; run it without --dry-run\n"
    assert listing(stable) == before
    assert meant(cli) == V3

    ran = cli("guard", STABLE, *BAD, "--version", "v3", "--author", "ci")
    assert ran.code == 1
    assert ran.out == f"{STABLE} is {V2} again (it was v3): IoU = 0.64 is below 0.7\n"
    assert meant(cli) == V2
    newest = cli("log", DATASET, "--moves", "stable").out.splitlines()[1]
    assert newest.split(maxsplit=3)[1:] == ["v2", "ci", "guard: IoU = 0.64 is below 0.7 (back from v3)"]

    before = listing(stable)
    ran = cli("guard", STABLE, *BAD, "--version", "3")
    assert (ran.code, ran.out.endswith("it is not v3, which was measured (IoU = 0.64 is below 0.7)\n")) == (1, True)
    ran = cli("guard", STABLE, *GOOD, "--version", "v3")
    assert (ran.code, ran.out) == (0, f"{STABLE} stays {V2}: it is not v3, which was measured\n")
    ran = cli("guard", STABLE, *BAD)
    assert ran.code == 1
    assert "a guard moved it last" in ran.out
    assert "--version v2" in ran.err
    assert listing(stable) == before
    assert [each["kind"] for each in lines(cli("audit", DATASET, "--json"))[:-1]].count("move") == 3


def test_the_answer_for_programs(cli, stable):
    ran = cli("guard", STABLE, *BAD, "--metric", "loss=nan", "--most", "loss=1", "--version", "v3", "--json")
    assert (ran.code, ran.err) == (1, "")
    check_json("guard", ran.json)
    assert meant(cli) == V2


def test_one_bad_value_of_several_is_enough(cli, stable):
    several = ["--metric", "loss=2.5", "--most", "loss=1", "--metric", "mAP@IoU=0.5=0.9", "--least", "mAP@IoU=0.5=0.8"]
    ran = cli("guard", STABLE, *GOOD, *several, "--dry-run")
    assert ran.code == 1
    assert ran.out.endswith("(it is v3): loss = 2.5 is above 1\n")
    ran = cli("guard", STABLE, "--metric", "loss=nan", "--most", "loss=1", "--dry-run")
    assert ran.out.endswith("loss is not a number\n")
    ran = cli("guard", STABLE, "--metric", "bias=-0.5", "--least", "bias=-1", "--most", "bias=1", "--dry-run")
    assert ran.out == f"{STABLE} stays {V3}: bias = -0.5\n"


def test_a_damaged_version_is_left(cli, stable):
    href = cli("show", V3, "colorado-glaciers", "--json").json["data"]["assets"]["glaciers"]["href"]
    assert cli("guard", STABLE, "--verify").code == 0
    (stable / href).unlink()
    ran = cli("guard", STABLE, "--verify")
    assert ran.code == 1
    assert ran.out == f"{STABLE} is {V2} again (it was v3): v3 is damaged: {href} is missing\n"
    assert meant(cli) == V2
    assert cli("guard", STABLE, "--verify").code == 0


def test_a_bare_dataset_is_its_latest(cli, place):
    ran = cli("guard", DATASET, *BAD)
    assert ran.code == 1
    assert ran.out.startswith(f"{DATASET}@latest is {V2} again (it was v3)")
    assert meant(cli, DATASET) == V2


def test_expired_versions_are_passed_over_and_that_is_told(cli, place):
    for pin in (V1, V2, V3):
        cli("promote", pin, "candidate")
    (place / "catalog" / "datasets" / DATASET / "tags" / "v1.0.0.json").unlink()
    cli("promote", V3)
    assert cli("expire", DATASET, "--version", "v2", "--apply").code == 0
    ran = cli("guard", f"{DATASET}@candidate", *BAD)
    assert (ran.code, ran.err) == (1, "v2 was passed over: it expired\n")
    assert meant(cli, f"{DATASET}@candidate") == V1


def test_20_the_pointer_stays(cli, stable):
    assert cli("guard", STABLE, *BAD).code == 1
    before = listing(stable)
    ran = cli("guard", STABLE, *BAD, "--version", "v2")
    assert (ran.code, ran.out) == (20, "")
    assert "no version to go back to" in ran.err
    told = cli("guard", STABLE, *BAD, "--version", "v2", "--json")
    assert told.error["kind"] == "no-good-version"
    assert told.json["data"]["fault"] == "IoU = 0.64 is below 0.7"
    assert listing(stable) == before
    for pin in (V1, V3):
        cli("promote", pin)
    before = listing(stable)
    ran = cli("guard", STABLE, *BAD, "--at-most", "1", "--within", "2d")
    assert ran.code == 20
    assert "guards moved it 1 times" in ran.err
    assert listing(stable) == before
    assert cli("guard", STABLE, *BAD, "--at-most", "1", "--within", "0").code == 1
    assert meant(cli) == V1


def test_what_somebody_did_meanwhile_stays(cli, stable, monkeypatch):
    back = module._back

    def meanwhile(*arguments):
        Catalog.open(str(stable)).dataset(DATASET).move("stable", 1, why="by hand", author="Bo")
        return back(*arguments)

    monkeypatch.setattr(module, "_back", meanwhile)
    ran = cli("guard", STABLE, *BAD)
    assert ran.code == 1
    assert ran.out.startswith(f"{STABLE} is {V1}: somebody moved it meanwhile")
    assert meant(cli) == V1


@pytest.mark.parametrize(
    ("words", "code", "names"),
    [
        ([STABLE], 50, "--verify"),
        ([V3, "--verify"], 50, f"{DATASET}@stable --version v3"),
        ([f"{DATASET}@{{2026-01-31}}", "--verify"], 50, "--version vN"),
        ([f"{DATASET}@v1.0.0", "--verify"], 50, "cannot be a pointer"),
        ([f"{DATASET}@nowhere", "--verify"], 40, "pointers: latest, stable"),
        (["nowhere@stable", "--verify"], 40, DATASET),
        (["../up@stable", "--verify"], 50, "not a pin"),
        ([STABLE, *BAD, "--version", "v9"], 40, "versions: v1 v2 v3"),
        ([STABLE, *BAD, "--version", "latest"], 50, "v2"),
        ([STABLE, "--metric", "IoU=0.64"], 50, "--least IoU=N"),
        ([STABLE, *GOOD, "--most", "loss=1"], 50, "--metric loss=VALUE"),
        ([STABLE, *GOOD, *GOOD], 50, "given twice"),
        ([STABLE, "--metric", "IoU", "--least", "IoU=1"], 50, "IoU=0.7"),
        ([STABLE, "--metric", "IoU=high", "--least", "IoU=1"], 50, "IoU=0.7"),
        ([STABLE, "--metric", "=0.5", "--least", "=1"], 50, "IoU=0.7"),
        ([STABLE, "--metric", "a\x1bb=0.5", "--least", "a\x1bb=1"], 50, "a\\x1bb"),
        ([STABLE, "--metric", "IoU=1", "--least", "IoU=nan"], 50, "make no sense"),
        ([STABLE, "--metric", "IoU=1", "--least", "IoU=2", "--most", "IoU=1"], 50, "make no sense"),
        ([STABLE, *GOOD, "--sample", "5%"], 50, "--verify"),
        ([STABLE, *GOOD, "--seed", "5"], 50, "--verify"),
        ([STABLE, "--verify", "--seed", "5"], 50, "--sample 5%"),
        ([STABLE, "--verify", "--sample", "much"], 50, "not a sample"),
        ([STABLE, *GOOD, "--within", "soon"], 50, "not an age"),
        ([STABLE, *GOOD, "--within", "999999w"], 50, "not an age"),
        ([STABLE, *GOOD, "--at-most", "0"], 2, "--at-most"),
        ([STABLE, *GOOD, "-C", "nowhere"], 40, "stacpin init"),
        ([STABLE, *GOOD, "-C", "http://localhost:8080"], 50, "needs the catalog itself"),
    ],
)
def test_guard_refuses(cli, here, words, code, names):
    before = listing(here / "catalog")
    ran = cli("guard", *words)
    assert (ran.code, ran.out) == (code, "")
    assert names in ran.err
    assert "\x1b" not in ran.err
    error = cli("guard", *words, "--json").error
    assert error["message"].replace("\x1b", "\\x1b") in ran.err
    assert listing(here / "catalog") == before


def test_a_tag_is_no_pointer(cli, place):
    cli("tag", V1, "paper")
    ran = cli("guard", f"{DATASET}@paper", "--verify")
    assert (ran.code, ran.out) == (40, "")
    assert "is a tag of v1" in ran.err
    assert f"{DATASET}@stable" in ran.err


def test_a_pin_that_was_never_promoted(cli, place):
    shutil.rmtree(place / "catalog" / "datasets" / DATASET / "pointers")
    ran = cli("guard", STABLE, *BAD)
    assert ran.code == 40
    assert f"stacpin promote {DATASET}@vN stable" in ran.err
