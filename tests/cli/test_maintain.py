"""gc and expire on the command line: dry runs say exactly what applying them does."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from cli_helpers import DATASET, listing
from cli_snapshots import check_snapshot

HARD = ["--older-than", "0s", "--delay", "0"]


def _aged(catalog: Path) -> None:
    """Let everything that is there be an hour old."""
    then = time.time() - 3600
    for path in catalog.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


def _files(catalog: Path) -> set[str]:
    return {str(path.relative_to(catalog)) for path in catalog.rglob("*") if path.is_file()}


@pytest.mark.parametrize("verb", ["gc", "expire"])
def test_help(cli, verb):
    ran = cli(verb, "--help")
    check_snapshot(f"help-{verb}.txt", ran.out)
    assert "Exit codes: 0 fine, 20" in ran.out


def test_gc_has_nothing_to_do_in_a_catalog_where_everything_is_needed(cli, here):
    ran = cli("gc")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == "would condemn 0 files, 0 B, that nothing needs"
    assert ran.out.splitlines()[-1] == "nothing to do"


def test_expire_then_gc_then_gc(cli, place):
    catalog = place / "catalog"
    assert cli("expire", DATASET, "--keep-last", "2").out.splitlines()[-2:] == [
        f"1 version would expire (policy: keep the last 2); 2 versions of {DATASET} would be left",
        "nothing was changed; to do it, for ever: the same with --apply",
    ]
    assert cli("show", f"{DATASET}@v1").code == 0
    ran = cli("expire", DATASET, "--keep-last", "2", "-m", "too old", "--apply")
    assert "1 version expired (too old)" in ran.out
    refused = cli("show", f"{DATASET}@v1")
    assert refused.code == 40
    assert "too old" in refused.err
    _aged(catalog)

    before = _files(catalog)
    dry = cli("gc", *HARD)
    assert dry.out.splitlines()[-1] == "nothing was changed; to do it: stacpin gc --apply --older-than 0s --delay 0"
    assert _files(catalog) == before
    told = cli("gc", *HARD, "--json").json["data"]
    assert told["condemned"]["files"] > 0
    assert f"would condemn {told['condemned']['files']} file" in dry.out

    first = cli("gc", *HARD, "--apply")
    assert f"condemned {told['condemned']['files']} file" in first.out
    assert "(gc/00000001.json)" in first.out
    assert "waiting: " in first.out
    assert "let nobody commit" in first.err
    second = cli("gc", *HARD, "--apply", "--json").json["data"]
    assert second["deleted"] == told["condemned"]
    assert (second["condemned"], second["waiting"], second["applied"]) == ({"files": 0, "bytes": 0}, [], True)
    for version in (2, 3):
        assert cli("verify", f"{DATASET}@v{version}").code == 0
    assert cli("gc").out.splitlines()[-1] == "nothing to do"


def test_gc_waits_a_day(cli, place):
    cli("expire", DATASET, "--version", "v1", "--apply")
    _aged(place / "catalog")
    cli("gc", "--older-than", "0s", "--apply")
    ran = cli("gc", "--older-than", "0s", "--apply")
    assert "deleted 0 files" in ran.out
    assert "stacpin gc --apply --older-than 0s" in ran.out.splitlines()[-1]
    assert cli("gc", "--json").json["data"]["waiting"][0]["runs"] == []


def test_names_keep_versions(cli, place):
    ran = cli("expire", DATASET, "--keep-last", "1", "--apply", "--json").json["data"]
    assert [each["pin"] for each in ran["expired"]] == [f"{DATASET}@v1"]
    assert ran["kept"] == [{"version": 2, "names": ["stable", "v1.0.0"]}]
    assert "v2 stays: stable, v1.0.0" in cli("expire", DATASET, "--keep-last", "1").out
    refused = cli("expire", DATASET, "--version", "v2", "--apply")
    assert refused.code == 20
    assert "'stable', 'v1.0.0' mean it" in refused.err


@pytest.mark.parametrize(
    ("words", "code", "names"),
    [
        (["gc", "--older-than", "14"], 50, "14d"),
        (["gc", "--delay", "-1h"], 50, "not an age"),
        (["expire", DATASET], 50, "--keep-last N"),
        (["expire", DATASET, "--older-than", "999999w"], 50, "not an age"),
        (["expire", DATASET, "--keep-last", "0"], 50, "Keep one"),
        (["expire", DATASET, "--keep-last", "1", "--version", "v1"], 50, "at once"),
        (["expire", DATASET, "--version", "latest"], 50, "v2"),
        (["expire", DATASET, "--version", "v9"], 40, "v1 to v3"),
        (["expire", f"{DATASET}@v3", "--keep-last", "1"], 50, "dataset's id"),
        (["expire", "nowhere", "--keep-last", "1"], 40, DATASET),
        (["gc", "-C", "nowhere"], 40, "stacpin init"),
    ],
)
def test_refusals(cli, here, words, code, names):
    before = listing(here / "catalog")
    ran = cli(*words)
    assert (ran.code, ran.out) == (code, "")
    assert names in ran.err
    assert cli(*words, "--json").error["message"] in ran.err
    assert listing(here / "catalog") == before


def test_damage_is_named_and_nothing_is_deleted(cli, place):
    catalog = place / "catalog"
    cli("expire", DATASET, "--version", "v1", "--apply")
    _aged(catalog)
    for manifest in (catalog / "datasets" / DATASET / "manifests").iterdir():
        manifest.write_bytes(b"damaged")
    before = _files(catalog)
    ran = cli("gc", *HARD, "--apply")
    assert ran.code == 30
    assert "/manifests/" in ran.err
    assert _files(catalog) == before
