"""verify of a whole catalog, of samples, and repair, as a user meets them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_helpers import DATASET

from versioning.mirrors import MIRRORS

V1, V3 = f"{DATASET}@v1", f"{DATASET}@v3"


@pytest.fixture(autouse=True)
def _no_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MIRRORS, raising=False)


def objects(catalog: Path) -> list[Path]:
    return sorted(path for path in (catalog / "objects").rglob("*") if path.is_file())


def harm(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def test_the_whole_catalog(cli, here):
    ran = cli("verify")
    assert (ran.code, ran.err) == (0, "")
    first, second, *rest = ran.out.splitlines()
    assert first == str(here / "catalog")
    assert second.startswith("proven: 3 versions of 1 dataset, 7 records, 6 manifests, ")
    assert rest == []
    data = cli("verify", "--json").json["data"]
    assert (data["ok"], data["datasets"], data["versions"], data["objects"]) == (True, [DATASET], 3, 7)
    alone = cli("verify", DATASET, "--all")
    assert alone.out.startswith(f"{DATASET}\nproven: 3 versions of 1 dataset, ")


def test_a_sample_says_what_it_did_not_read(cli, here):
    ran = cli("verify", "--sample", "2", "--seed", "11")
    assert ran.code == 0
    assert ", 2 of 7 files, " in ran.out
    last = ran.out.splitlines()[-1]
    assert last.startswith("not read: 5 files, ")
    assert last.endswith("seen to be there in their sizes (--sample 2 --seed 11)")
    assert cli("verify", "--sample", "2", "--seed", "11").out == ran.out
    sample = cli("verify", V3, "--sample", "50%", "--json").json["data"]["sample"]
    assert (sample["asked"], sample["objects"], sample["of_objects"]) == ("50%", 3, 6)
    again = cli("verify", V3, "--sample", "50%", "--seed", sample["seed"], "--json").json["data"]["sample"]
    assert again == sample


def test_what_is_extra(cli, place):
    catalog = place / "catalog"
    (catalog / "notes.txt").write_text("mine")
    loose = catalog / "objects" / "ab" / ("ab" * 32 + ".tif")
    loose.parent.mkdir(exist_ok=True)
    loose.write_text("x")
    ran = cli("verify")
    assert ran.code == 0
    assert ran.out.splitlines()[2:] == [
        "extra: 1 file that no version needs, 1 B; see stacpin gc",
        "extra: 1 file that no catalog has: notes.txt",
    ]
    assert cli("verify", "--json").json["data"]["extra"]["foreign"] == {"files": 1, "bytes": 4, "names": ["notes.txt"]}


def test_repair(cli, place):
    catalog, mirror = place / "catalog", place / "mirror"
    shutil.copytree(catalog, mirror)
    altered, missing = objects(catalog)[:2]
    harm(altered)
    missing.unlink()
    record = catalog / "datasets" / DATASET / "versions" / "00000001.json"
    record.unlink()
    ran = cli("verify")
    assert ran.code == 30
    assert f"missing: {record.relative_to(catalog)}: " in ran.err
    assert "--repair-from URL" in ran.err
    assert cli("verify", "--repair-from", place / "nowhere").code == 40
    ran = cli("verify", "--repair-from", mirror)
    assert ran.code == 0
    assert ran.out.splitlines()[-1] == "repaired: 3 files"
    assert f"repaired: {record.relative_to(catalog)} (missing) from {mirror}\n" in ran.err
    (line,) = [line for line in ran.err.splitlines() if altered.name in line]
    kept = catalog / line.rsplit(" ", 1)[1]
    assert kept.read_bytes()[-1:] == b"?"
    assert cli("verify").code == 0
    for path in objects(mirror):
        assert (catalog / path.relative_to(mirror)).read_bytes() == path.read_bytes()
    assert record.read_bytes() == (mirror / record.relative_to(catalog)).read_bytes()


def test_what_cannot_be_repaired(cli, place, caplog):
    catalog, mirror = place / "catalog", place / "mirror"
    shutil.copytree(catalog, mirror)
    for folder in (catalog, mirror):
        harm(objects(folder)[0])
    before = objects(catalog)[0].read_bytes()
    ran = cli("verify", "--repair-from", mirror)
    assert ran.code == 30
    assert f"none of {mirror} has it whole" in ran.err
    assert f"the mirror {mirror} has other bytes" in caplog.text
    assert objects(catalog)[0].read_bytes() == before
    told = cli("verify", "--repair-from", mirror, "--json")
    assert told.error["kind"] == "damaged"
    assert told.json["data"]["repair"]["mended"] == []
    assert len(told.json["data"]["repair"]["refused"]) == 1


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--seed", "3"], "--sample 5%"),
        (["--sample", "lots"], "'lots' is not a sample"),
        ([V1, "--all"], f"stacpin verify {DATASET} --all"),
        ([V1, "--repair-from", "x"], f"stacpin verify {DATASET} --all --repair-from URL"),
        (["./nowhere", "--sample", "3"], "--sample is not for folders"),
    ],
)
def test_refusals(cli, here, words, names):
    ran = cli("verify", *words)
    assert ran.code == 50
    assert names in ran.err


def test_pull_reads_from_a_mirror(cli, place, monkeypatch, tmp_path, caplog):
    catalog, mirror = place / "catalog", place / "mirror"
    shutil.copytree(catalog, mirror)
    for path in objects(catalog):
        harm(path)
    assert cli("pull", V3, tmp_path / "without").code == 30
    monkeypatch.setenv(MIRRORS, str(mirror))
    assert cli("pull", V3, tmp_path / "with").code == 0
    assert cli("verify", tmp_path / "with").code == 0
    assert f"are read from the mirror {mirror}" in caplog.text
    # The proof of a catalog is of its own files.
    assert cli("verify", V3).code == 30
    shutil.move(catalog, place / "away")
    assert cli("pull", V3, tmp_path / "again", "-C", catalog).code == 0
    ran = cli("pull", DATASET, tmp_path / "latest", "-C", catalog)
    assert ran.code == 60
    assert "what latest and pointers mean is unknown" in ran.err
