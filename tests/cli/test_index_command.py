"""stacpin index: what it says, and how it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psycopg
import pytest
from cli_helpers import DATASET
from postgres import postgres  # noqa: F401 - a fixture of this file

pytestmark = pytest.mark.slow


@pytest.fixture
def database(postgres, monkeypatch) -> str:  # noqa: F811
    """A new database, named by the environment."""
    url = postgres.new_database()
    monkeypatch.setenv("STACPIN_DATABASE_URL", url)
    return url


def test_it_tells_each_version_once(cli, place, database):
    ran = cli("index")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        f"{DATASET}@v1: 2 in, 0 out",
        f"{DATASET}@v2: 2 in, 0 out",
        f"{DATASET}@v3: 1 in, 1 out",
    ]
    assert "2 pointer moves, tags and expiries" in ran.err
    again = cli("index")
    assert (again.code, again.out) == (0, "")
    assert "has everything already" in again.err


def test_json_is_a_line_a_version_and_the_answer(cli, place, database):
    ran = cli("index", "--json")
    *versions, answer = map(json.loads, ran.out.splitlines())
    assert [each["pin"] for each in versions] == [f"{DATASET}@v{number}" for number in (1, 2, 3)]
    assert versions[2] == {"pin": f"{DATASET}@v3", "begun": 1, "ended": 1, "expired": False}
    assert answer["ok"] is True
    assert answer["data"] == {"versions": versions, "names": 2, "pruned": 0, "cleared_form": None}


def test_drop_and_rebuild(cli, place, database):
    cli("index")
    dropped = cli("index", "--drop", DATASET)
    assert (dropped.code, dropped.out.startswith(f"{DATASET} is out of the index")) == (0, True)
    assert cli("index", "--drop", DATASET).code == 40
    assert len(cli("index").out.splitlines()) == 3
    assert len(cli("index", "--rebuild").out.splitlines()) == 3


def test_what_cannot_be_meant(cli, place, database, monkeypatch):
    assert cli("index", "--drop", DATASET, "--watch").code == 50
    assert cli("index", "--database-url", "postgresql://nobody@127.0.0.1:1/x", "--json").code in {50, 60}
    ran = cli("index", "--database-url", "mysql://u:s3cretpw@h/x", "--json")
    assert (ran.code, ran.error["kind"], "s3cretpw" in ran.out + ran.err) == (50, "database-url", False)
    monkeypatch.delenv("STACPIN_DATABASE_URL")
    ran = cli("index", "--json")
    assert (ran.code, ran.error["kind"]) == (50, "no-database")


def test_a_database_that_is_not_there_or_refuses_is_60(cli, place, database, monkeypatch):
    name = database.rpartition("/")[2]
    for url, kind in (
        (database.replace(name, "nowhere"), "storage-unavailable"),
        (database.replace("stacpin-secret", "wrong"), "forbidden"),
        (database.replace("stacpin:", "nobody:"), "forbidden"),
    ):
        ran = cli("index", "--database-url", url, "--json")
        assert (ran.code, ran.error["kind"]) == (60, kind)
    assert "60 the database is not there, does not answer, or refuses the user" in " ".join(
        cli("index", "-h").out.split()
    )


def test_another_catalogs_index_is_left_alone(cli, place, database, tmp_path):
    cli("index")
    cli("init", tmp_path / "another")
    ran = cli("index", "-C", tmp_path / "another", "--json")
    assert (ran.code, ran.error["kind"]) == (20, "other-catalog")


def test_an_index_of_another_form(cli, place, database):
    """An older one is built anew and that is told; a newer one is refused."""
    cli("index")

    def put(form: int) -> None:
        with psycopg.connect(database) as connection:
            connection.execute("update pin.state set form = %s", (form,))

    put(0)
    ran = cli("index")
    assert (ran.code, len(ran.out.splitlines())) == (0, 3)
    assert "the index had form 0, of an older stacpin: it is built anew" in ran.err
    put(0)
    first, *_, answer = map(json.loads, cli("index", "--json").out.splitlines())
    assert first["cleared_form"] == answer["data"]["cleared_form"] == 0
    put(99)
    ran = cli("index", "--json")
    assert (ran.code, ran.error["kind"], ran.error["hint"]) == (50, "newer-index", "Upgrade stacpin.")


def test_a_damaged_version_is_named(cli, place, database):
    manifests = sorted((place / "catalog" / "datasets" / DATASET / "manifests").glob("*.parquet"))
    for path in manifests:
        path.chmod(0o644)
        path.write_bytes(b"not parquet")
    ran = cli("index", "--json")
    answer = json.loads(ran.out.splitlines()[-1])
    assert ran.code == 30
    assert DATASET in answer["errors"][0]["message"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_watch_follows_and_ends_in_order(place, database, number):
    environment = {**os.environ, "STACPIN_DATABASE_URL": database}
    command = [sys.executable, "-m", "stacpin", "index", "--watch", "--every", "0.2", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, restore_signals=True, text=True
    ) as process:
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline())["pin"] for _ in range(3)] == [
            f"{DATASET}@v{version}" for version in (1, 2, 3)
        ]
        moved = [
            sys.executable,
            "-m",
            "stacpin",
            "rollback",
            DATASET,
            "--to",
            "v2",
            "-m",
            "test",
            "-C",
            place / "catalog",
        ]
        subprocess.run(moved, check=True, capture_output=True)
        time.sleep(1)
        process.send_signal(number)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_the_watch_says_that_a_database_was_away(place, database, postgres):  # noqa: F811
    """Also where it was away for less than the minute in which nothing has failed yet."""
    command = [sys.executable, "-m", "stacpin", "index", "--watch", "--every", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for said, work in (
                ("pointer moves", postgres.stop),
                ("does not answer, and is tried again", postgres.start),
                ("answers again", process.terminate),
            ):
                assert said in next(line for line in process.stderr if "following" not in line)
                work()
            assert process.wait(30) == 0
        finally:
            process.kill()
            if not (postgres.folder / "data" / "postmaster.pid").exists():
                postgres.start()
