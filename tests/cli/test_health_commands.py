"""doctor and lifecycle, as their users run them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stacpin import environment
from stacpin.environment import environment_checks


def test_doctor_of_a_healthy_catalog(cli, here):
    ran = cli("doctor")
    assert ran.code == 0, ran.out
    lines = ran.out.splitlines()
    assert lines[0].startswith("ok       catalog")
    assert lines[-1].startswith("0 errors, ")
    told = cli("doctor", "--json").json
    assert told["ok"]
    assert told["data"]["catalog"].endswith("/catalog")
    checks = told["data"]["checks"]
    assert all(check.keys() == {"name", "status", "message", "hint"} for check in checks)
    assert {"catalog", "put-if-absent", "clock", "hard links", "GDAL", "cache folder"} <= {
        each["name"] for each in checks
    }


def test_doctor_without_a_catalog_checks_the_installation(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    ran = cli("doctor")
    assert ran.code == 0
    assert ran.out.startswith("unknown  catalog")
    assert "stacpin" in ran.out


@pytest.mark.parametrize(("make", "code"), [(lambda _: None, 60), (lambda path: path.write_text("{}"), 30)])
def test_doctor_tells_errors_by_its_exit_code(cli, tmp_path: Path, make, code: int):
    (tmp_path / "cat").mkdir()
    make(tmp_path / "cat" / "stacpin.json")
    ran = cli("doctor", "-C", tmp_path / "cat")
    assert ran.code == code
    assert "\nerror " in f"\n{ran.out}"
    assert "1 error, " in ran.out
    told = cli("doctor", "-C", tmp_path / "cat", "--json")
    assert (told.code, told.json["ok"], told.json["errors"][0]["kind"]) == (code, False, "catalog")


def test_lifecycle_shows_what_it_would_do(cli, here):
    ran = cli("lifecycle", "--transition-days", "7", "--storage-class", "standard_ia")
    assert ran.code == 0
    assert ran.out.startswith("CLASS")
    policy = json.loads(ran.out[ran.out.index("{") :])
    assert policy["Rules"][0]["Transitions"] == [{"Days": 7, "StorageClass": "STANDARD_IA"}]
    assert "nothing was changed" in ran.err
    told = cli("lifecycle", "--json").json["data"]
    assert (told["applied"], told["tag"], told["classes"]["unreferenced"]["objects"]) == (False, 0, 0)
    assert told["classes"]["live"]["objects"] > 5


def test_lifecycle_refuses_what_it_cannot_do(cli, here):
    assert cli("lifecycle", "--apply", "--json").error["message"].endswith("is not on S3.")
    assert cli("lifecycle", "--storage-class", "ice", "--json").code == 50
    assert cli("lifecycle", "--transition-days", "-1").code == 2


def _of(name: str) -> environment.Check:
    return next(check for check in environment_checks() if check.name == name)


def test_a_foreign_proj_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert _of("GDAL").status == "ok"
    monkeypatch.setenv("PROJ_LIB", str(tmp_path))
    check = _of("GDAL")
    assert check.status in {"warning", "error"}
    assert "Unset PROJ_LIB" in (check.hint or "")


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(environment, "_version", lambda name: "" if name == "boto3" else "1.0")
    check = _of("extra s3")
    assert (check.status, "pip install 'stacpin[s3]'" in (check.hint or "")) == ("advice", True)


def test_a_cache_folder_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("STACPIN_CACHE", str(tmp_path / "file" / "below"))
    check = _of("cache folder")
    assert (check.status, "STACPIN_CACHE" in (check.hint or "")) == ("warning", True)
