"""The commands about who may read: token, reads, and what serve asks for before others can reach it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from api.access.bearer import Bearer, hash_of
from api.access.read_log import ReadLog
from api.access.settings import load_access

KEY = 'keys = [{ value = "' + "k" * 40 + '" }]\n'


@pytest.fixture
def log(tmp_path):
    """Three reads: two of landcover by ana, a refused one."""
    path = tmp_path / "reads.jsonl"
    made = ReadLog(path)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for day, (user, dataset, status) in enumerate(
        [("ana", "landcover", 200), ("=ben", "dem", 200), ("ana", "landcover", 404)]
    ):
        made.write(
            {
                "time": (start + timedelta(days=day)).isoformat().replace("+00:00", "Z"),
                "user": user,
                "by": "token",
                "method": "GET",
                "path": f"/collections/{dataset}",
                "status": status,
                "datasets": [dataset],
                "pins": {f"{dataset}@v1": "sha256:ab"},
                "items": None,
                "objects": [],
                "reason": "no right" if status == 404 else None,
            }
        )
    made.close()
    return path


# -- token


def test_token_is_what_the_settings_take(cli, tmp_path):
    ran = cli("token", 'A "ci" \\ one', "--scope", "read:land*", "--scope", "read:dem", "--expires", "90d")
    assert ran.code == 0
    made, _, block = ran.out.partition("\n\n")
    assert made not in block
    path = tmp_path / "access.toml"
    path.write_text(f"{block}\n[hrefs]\n{KEY}")
    (entry,) = load_access(path).tokens
    assert (entry.name, entry.scopes) == ('A "ci" \\ one', ("read:land*", "read:dem"))
    assert timedelta(days=89) < entry.expires - datetime.now(UTC) <= timedelta(days=90, seconds=1)
    reader = Bearer(load_access(path)).reader([(b"authorization", f"Bearer {made}".encode())])
    assert (reader.user, reader.may("landcover"), reader.may("roads")) == (entry.name, True, False)


def test_token_as_json(cli):
    data = cli("token", "ci", "--scope", "read:*", "--expires", "2099-01-31", "--json").json["data"]
    assert data["sha256"] == hash_of(data["token"])
    assert (data["name"], data["scopes"], data["expires"]) == ("ci", ["read:*"], "2099-01-31T00:00:00Z")
    ran = cli("token", "ci", "--scope", "read:*")
    assert "expires" not in tomllib.loads(ran.out.partition("\n\n")[2])["token"][0]


@pytest.mark.parametrize(
    "words",
    [
        ["ci"],
        ["ci", "--scope", "landcover"],
        ["ci", "--scope", "write:landcover"],
        ["ci", "--scope", "read:Land"],
        ["ci", "--scope", "read:*", "--expires", "2020-01-01"],
        ["ci", "--scope", "read:*", "--expires", "0d"],
        ["ci", "--scope", "read:*", "--expires", "soon"],
        ["", "--scope", "read:*"],
        ["x" * 201, "--scope", "read:*"],
    ],
)
def test_token_refuses(cli, words):
    ran = cli("token", *words)
    assert (ran.code, ran.out) == (50, "")
    assert "hint" in ran.err


# -- reads


def test_reads_tells_and_proves(cli, log):
    ran = cli("reads", log)
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "2026-01-01T00:00:00Z  ana  200  GET /collections/landcover  landcover@v1",
        "2026-01-02T00:00:00Z  =ben  200  GET /collections/dem  dem@v1",
        "2026-01-03T00:00:00Z  ana  404  GET /collections/landcover  landcover@v1  (no right)",
    ]
    assert "3 lines, 3 of them shown; the chain holds; head 3:" in ran.err
    head = ran.err.rpartition("head ")[2].strip()
    assert cli("reads", log, "--head", head).code == 0
    assert cli("reads", log, "--head", f"4{head[1:]}").code == 30


def test_reads_of_one_user_time_or_dataset(cli, log):
    def numbers(*words: str) -> list[int]:
        return [json.loads(line)["n"] for line in cli("reads", log, "--format", "jsonl", *words).out.splitlines()]

    assert numbers() == [1, 2, 3]
    assert numbers("--user", "ana") == [1, 3]
    assert numbers("-d", "dem") == [2]
    assert numbers("--since", "2026-01-02") == [2, 3]
    assert numbers("--until", "2026-01-02") == [1]
    assert numbers("--user", "ana", "--since", "2026-01-02") == [3]
    assert numbers("--user", "none") == []


def test_reads_as_csv_runs_no_formula(cli, log):
    rows = list(csv.DictReader(cli("reads", log, "--format", "csv").out.splitlines()))
    assert [row["user"] for row in rows] == ["ana", "'=ben", "ana"]
    assert rows[0]["pins"] == "landcover@v1=sha256:ab"


def test_reads_as_json(cli, log):
    *entries, last = [json.loads(line) for line in cli("reads", log, "--json").out.splitlines()]
    assert [entry["n"] for entry in entries] == [1, 2, 3]
    assert (last["ok"], last["data"]["lines"], last["data"]["listed"], last["data"]["problems"]) == (True, 3, 3, [])
    assert cli("reads", log, "--json", "--format", "csv").code == 50


def test_reads_shows_a_changed_line(cli, log):
    log.write_bytes(log.read_bytes().replace(b'"=ben"', b'"=bob"'))
    ran = cli("reads", log)
    assert ran.code == 30
    assert "line 3: the line before it was changed or taken away" in ran.err
    last = json.loads(cli("reads", log, "--json").out.splitlines()[-1])
    assert (last["ok"], len(last["data"]["problems"])) == (False, 1)


def test_reads_of_nothing(cli, tmp_path):
    assert cli("reads", tmp_path / "none").code == 40
    (tmp_path / "empty").touch()
    ran = cli("reads", tmp_path / "empty")
    assert (ran.code, ran.out) == (0, "")
    assert "the log is empty" in ran.err
    assert "None" not in ran.err
    assert cli("reads", tmp_path / "empty", "--head", f"1:{'0' * 64}").code == 30


def test_reads_of_what_is_no_file(cli, tmp_path):
    ran = cli("reads", tmp_path)
    assert ran.code == 50
    assert f"{tmp_path} is a folder, not a log." in ran.err
    assert "log.path" in ran.err
    assert "defect" not in ran.err


# -- serve


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_serve_to_others_needs_a_word(cli, place, host):
    ran = cli("serve", "--host", host)
    assert ran.code == 50
    assert "--access FILE" in ran.err
    assert "--public" in ran.err


def test_serve_refuses_settings_that_cannot_be_meant(cli, place, tmp_path):
    path = tmp_path / "access.toml"
    assert cli("serve", "--access", path).code == 40
    path.write_text("nonsense = 1\n[hrefs]\n" + KEY)
    ran = cli("serve", "--access", path)
    assert (ran.code, "nonsense: is not a setting" in ran.err) == (50, True)
    path.write_text("[hrefs]\n" + KEY)
    assert cli("serve", "--access", path, "--public").code == 50
    path.write_text('[hrefs]\nkeys = [{ env = "STACPIN_TEST_NO_SUCH_KEY" }]\n')
    assert "STACPIN_TEST_NO_SUCH_KEY" in cli("serve", "--access", path).err


@pytest.mark.parametrize("words", [["--public"], ["--access", "access.toml"]])
def test_serve_on_every_address(place, words):
    entry = f"[[token]]\nname = 't'\nsha256 = '{hash_of('secret')}'\nscopes = ['read:*']\n"
    (place / "access.toml").write_text(f"{entry}[hrefs]\n{KEY}")
    command = [sys.executable, "-m", "stacpin", "serve", "--host", "0.0.0.0", "--port", "0", *words]
    environment = {**os.environ, "STACPIN_CATALOG": str(place / "catalog")}
    with subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stderr is not None
        try:
            url = server.stderr.readline().split()[2].replace("0.0.0.0", "127.0.0.1")
            assert collections(url, {}) == (1 if words == ["--public"] else 0)
            assert collections(url, {"Authorization": "Bearer secret"}) == 1
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0


def collections(url: str, headers: dict) -> int:
    """How many a server shows, once it answers."""
    for _ in range(300):
        try:
            return len(httpx.get(f"{url}collections", headers=headers, timeout=30).json()["collections"])
        except httpx.ConnectError:
            time.sleep(0.05)
    raise TimeoutError(url)
