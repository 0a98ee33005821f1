"""The command sync, as people and scripts use it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_helpers import DATASET, Cli, listing

from stacpin.cli.syncing import _rate
from versioning.errors import InvalidInput


def test_a_mirror_and_again(cli: Cli, made: Path, tmp_path: Path):
    catalog, mirror = made / "catalog", tmp_path / "mirror"
    ran = cli("sync", catalog, mirror)
    assert ran.code == 0
    assert ran.out.startswith("copied: 3 versions, 1 tag, 1 pointer move, 2 settings files, 3 snapshots, ")
    assert listing(mirror) == listing(catalog)
    assert (mirror / "stacpin.json").read_bytes() == (catalog / "stacpin.json").read_bytes()
    again = cli("sync", catalog, mirror)
    assert (again.code, again.out) == (0, f"in sync: {mirror} lacks nothing of {catalog}\n")
    assert cli("verify", f"{DATASET}@v3", "-C", mirror).code == 0


def test_a_dry_run_for_scripts(cli: Cli, made: Path, tmp_path: Path):
    catalog, mirror = made / "catalog", tmp_path / "mirror"
    ran = cli("sync", catalog, mirror, "--dry-run", "--exit-code", "--json")
    assert ran.code == 1
    assert not mirror.exists()
    data = ran.json["data"]
    assert ran.json["ok"] is True
    assert data["missing"]["kinds"]["versions"] == 3
    assert data["copied"]["count"] == 0
    assert data["datasets"] == [DATASET]
    assert cli("sync", catalog, mirror, "--dry-run").code == 0
    assert "nothing was written" in cli("sync", catalog, mirror, "--dry-run").err
    wet = cli("sync", catalog, mirror, "--json").json["data"]
    assert wet["copied"] == data["missing"]
    done = cli("sync", catalog, mirror, "--dry-run", "--exit-code", "--deep")
    assert done.code == 0
    assert "already there: 3 snapshots, " in done.out


def test_a_damaged_mirror_is_named_by_deep(cli: Cli, made: Path, tmp_path: Path):
    catalog, mirror = made / "catalog", tmp_path / "mirror"
    cli("sync", catalog, mirror)
    first, second, *_ = sorted((mirror / "objects").rglob("*.tif"))
    first.unlink()
    second.write_bytes(b"short")
    ran = cli("sync", catalog, mirror, "--deep", "--dry-run", "--exit-code")
    assert ran.code == 1
    assert ran.out.startswith("missing: 1 object (")
    assert f"mismatched: 1 object (5 B)\n  {second.relative_to(mirror)}\n" in ran.out
    assert "repair" in ran.err
    ran = cli("sync", catalog, mirror, "--deep", "--json")
    assert ran.code == 30
    assert ran.json["errors"][0]["kind"] == "damaged"
    assert ran.json["data"]["mismatched"]["names"] == [str(second.relative_to(mirror))]
    second.unlink()
    assert cli("sync", catalog, mirror, "--deep").code == 0
    assert cli("verify", f"{DATASET}@v3", "-C", mirror).code == 0


def test_a_diverged_history(cli: Cli, made: Path, tmp_path: Path, place: Path):
    mirror = tmp_path / "mirror"
    cli("sync", made / "catalog", mirror)
    cli("promote", f"{DATASET}@v3", "-C", mirror, "-m", "mirror")
    cli("promote", f"{DATASET}@v1", "-C", place / "catalog", "-m", "here")
    ran = cli("sync", place / "catalog", mirror, "--json")
    assert ran.code == 20
    assert ran.json["errors"][0]["kind"] == "diverged"
    (found,) = ran.json["data"]["diverged"]
    assert found["name"] == f"move 2 of {DATASET}@stable"
    assert found["source"] != found["destination"]
    dry = cli("sync", place / "catalog", mirror, "--dry-run", "--exit-code")
    assert dry.code == 1
    assert f"diverged: move 2 of {DATASET}@stable is sha256:" in dry.out


def test_a_mirror_that_is_ahead(cli: Cli, made: Path, tmp_path: Path):
    mirror = tmp_path / "mirror"
    shutil.copytree(made / "catalog", mirror)
    cli("tag", f"{DATASET}@v3", "v9.0.0", "-C", mirror)
    ran = cli("sync", made / "catalog", mirror)
    assert ran.code == 0
    assert "extra: 1 tag (" in ran.out
    assert f"datasets/{DATASET}/tags/v9.0.0.json" in ran.out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["{0}", "{0}"], 50, "both the source and the destination"),
        (["{0}/none", "{1}"], 40, "does not exist"),
        (["{1}", "{0}"], 40, "is not a stacpin catalog"),
        (["{0}", "{1}", "--dataset", "nope"], 40, "no dataset 'nope'"),
        (["{0}", "{1}", "--dataset", "../x"], 50, "cannot be a dataset's id"),
        (["{0}", "{1}", "--bandwidth", "fast"], 50, "'fast' is no bandwidth"),
        (["{0}", "{1}", "--bandwidth", "0"], 50, "no bandwidth"),
        (["{0}", "{1}", "--workers", "0"], 2, "workers"),
        (["http://127.0.0.1:9/", "{1}"], 50, "needs the catalog itself"),
        (["{0}", "ftp://x/y"], 50, "does not know"),
    ],
)
def test_refusals(cli: Cli, made: Path, tmp_path: Path, words: list[str], code: int, says: str):
    (tmp_path / "empty").mkdir()
    ran = cli("sync", *(word.format(made / "catalog", tmp_path / "empty") for word in words))
    assert ran.code == code
    assert says in ran.err
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "rate"), [("20MB", 20_000_000), ("512KiB", 524_288), ("1.5GB/s", 1_500_000_000), ("1000", 1000)]
)
def test_rates(text: str, rate: int):
    assert _rate(text) == rate


@pytest.mark.parametrize("text", ["", "MB", "-5MB", "20 apples", "0.1", "nan", "1e999"])
def test_what_is_no_rate(text: str):
    with pytest.raises(InvalidInput):
        _rate(text)


def test_the_bandwidth_is_heeded_and_the_answer_the_same(cli: Cli, made: Path, tmp_path: Path):
    one = cli("sync", made / "catalog", tmp_path / "a", "--bandwidth", "1GB", "--workers", "2", "--json").json["data"]
    two = cli("sync", made / "catalog", tmp_path / "b", "--json").json["data"]
    assert json.dumps(one["copied"], sort_keys=True) == json.dumps(two["copied"], sort_keys=True)
