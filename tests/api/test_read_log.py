"""The log of reads: what stands in it, that it cannot be changed unseen, and that reads stop where it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from access_site import Asked, access, bearer, token, with_roads
from hypothesis import given
from hypothesis import strategies as st

from api.access.read_log import START, ReadLog, line_hash, parts_of
from api.access.read_log_proof import LogHead, Proof, Wanted, read_log
from versioning.errors import InvalidInput, NotFound, StorageUnavailable


@pytest.fixture(scope="module")
def hidden(site, tmp_path_factory):
    return with_roads(site, tmp_path_factory.mktemp("log"))


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "reads.jsonl"


def logging(hidden, file: Path, **more) -> Asked:
    return Asked(str(hidden.folder), access(file.parent, log={"path": file.name, **more}))


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for part in parts_of(path) for line in part.read_bytes().splitlines()]


def proven(path: Path, head: LogHead | None = None) -> Proof:
    proof = Proof()
    for _ in read_log(path, proof, head=head):
        pass
    return proof


# -- what stands in it


def test_every_read_is_a_line(hidden, path):
    asked = logging(hidden, path)
    ann = bearer("ann")
    item = asked.client.get("/collections/roads--v1/items/r01?fields=id", headers=ann)
    assert item.status_code == 400
    item = asked.client.get("/collections/roads--v1/items/r01", headers=ann)
    href = item.json()["assets"]["cover"]["href"]
    asked.client.head(href)
    asked.client.get("/search?limit=2", headers=ann)
    asked.client.get("/collections/roads", headers=bearer("bob"))
    asked.client.get("/collections/none")
    asked.client.get("/", headers={"Authorization": f"Bearer {token('x')}"})
    asked.client.get(href.partition("?")[0])
    asked.client.get("/collections/roads--v1/items/r01", headers=ann | {"If-None-Match": item.headers["etag"]})
    found = lines(path)
    digest = hidden.catalog.resolve("roads@v1").digest
    told = [(e["user"], e["by"], e["method"], e["path"], e["status"], e["reason"]) for e in found]
    r01, sha = "/collections/roads--v1/items/r01", href.partition("?")[0].rpartition("/")[2][:64]
    bytes_ = href.partition("?")[0].removeprefix("http://api.test")
    assert told == [
        ("ann", "token", "GET", r01, 400, None),
        ("ann", "token", "GET", r01, 200, None),
        ("anonymous", None, "HEAD", bytes_, 200, None),
        ("ann", "token", "GET", "/search", 200, None),
        ("bob", "token", "GET", "/collections/roads", 404, "no right to read 'roads'"),
        ("anonymous", None, "GET", "/collections/none", 404, "no right to read 'none'"),
        ("anonymous", None, "GET", "/", 401, "an unknown token"),
        ("anonymous", None, "GET", bytes_, 403, "not a valid signature"),
        ("ann", "token", "GET", r01, 304, None),
    ]
    assert found[1]["pins"] == {"roads@v1": digest}
    assert (found[1]["datasets"], found[1]["items"], found[1]["objects"]) == (["roads"], 1, [])
    assert (found[2]["objects"], found[2]["items"]) == ([sha], None)
    assert found[3]["items"] == 2
    assert sorted(found[3]["pins"]) == ["dem@v1", "roads@v2"]
    assert found[1]["id"] == item.headers["x-request-id"]
    assert found[1]["client"] == "testclient"
    assert proven(path).problems == []
    assert oct(path.stat().st_mode & 0o777) == "0o600"


def test_tokens_never_stand_in_it(hidden, path):
    asked = logging(hidden, path)
    secret = token("ann")
    for where in (f"/collections/{secret}", f"/search?token={secret}", f"/search?{secret}=1", f"/{secret}/x"):
        asked.client.get(where, headers={"Authorization": f"Bearer {secret}"})
    asked.client.get("/", headers={"Authorization": "Bearer stacpin_wrong" + "y" * 40})
    asked.client.get("/collections/eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln")
    asked.client.get("/", headers={"Authorization": f"Basic {secret}"})
    text = path.read_text()
    assert text.count("\n") == 7
    for part in (secret, "x" * 20, "y" * 20, "eyJzdWIi"):
        assert part not in text
    assert "[token]" in text


def test_health_and_the_browsers_files_are_no_reads(hidden, path):
    asked = logging(hidden, path)
    for where in ("/_mgmt/ping", "/_mgmt/health", "/browser/", "/browser/config.js"):
        asked.client.get(where)
    assert lines(path) == []


def test_an_unexpected_error_is_a_line(hidden, path, monkeypatch):
    asked = logging(hidden, path)
    monkeypatch.setattr("api.core.collection_document", lambda *_: 1 / 0)
    assert asked.client.get("/collections/dem").status_code == 500
    assert [entry["status"] for entry in lines(path)] == [500]


# -- a log that fails


class Full:
    """A disk on which nothing can be written."""

    def __init__(self, after: int = 0) -> None:
        self.after = after
        self.write = os.write

    def __call__(self, file: int, data: bytes) -> int:
        if self.after > 0:
            self.after -= 1
            return self.write(file, data[: len(data) // 2])
        raise OSError(28, "No space left on device")


def test_what_cannot_be_logged_is_not_answered(hidden, path, monkeypatch):
    asked = logging(hidden, path)
    asked.client.get("/collections/dem")
    before = path.read_bytes()
    for after in (0, 1):
        monkeypatch.setattr("api.access.read_log.os.write", Full(after))
        for where in ("/collections/dem", "/collections/dem/assets", "/nothing", "/"):
            answer = asked.client.get(where)
            assert (answer.status_code, answer.json()["code"]) == (503, "log-unavailable")
            assert "dem" not in answer.text
            assert str(path) not in answer.text
        assert path.read_bytes() == before  # half a line is taken back
        monkeypatch.undo()
    assert asked.client.get("/collections/dem").status_code == 200
    assert proven(path).problems == []
    assert proven(path).lines == 2


def test_readiness_fails_while_it_cannot_be_written(hidden, path, monkeypatch, caplog):
    asked = logging(hidden, path)
    asked.client.app.state.health._watched[1]._kept = 0.0

    def health() -> tuple[int, dict]:
        answer = asked.client.get("/_mgmt/health")
        return answer.status_code, next(each for each in answer.json()["checks"] if each["name"] == "log")

    assert health() == (200, {"name": "log", "ok": True, "detail": "can be written"})
    full = Full()
    monkeypatch.setattr("api.access.read_log.os.write", full)
    monkeypatch.setattr("api.access.read_log.ReadLog._try_disk", lambda _: os.write(-1, b""))
    for _ in range(3):
        assert asked.client.get("/collections/dem").status_code == 503
        assert health() == (503, {"name": "log", "ok": False, "detail": "cannot be written"})
    monkeypatch.undo()
    # Without a read, which no load balancer would send now.
    assert health()[0] == 200
    assert path.read_bytes() == b""
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    told = [(each.levelname, each.getMessage()) for each in caplog.records if each.name == "api.access.read_log"]
    assert told == [
        ("ERROR", f"The log of reads cannot be written: {path}: No space left on device (errno 28)"),
        ("WARNING", f"The log of reads can be written again: {path}"),
    ]


def test_what_is_tried_needs_no_right_to_make_files(path, monkeypatch):
    log = ReadLog(path)

    def refused(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("api.access.read_log.tempfile.TemporaryFile", refused)
    assert log.try_again()
    room = os.statvfs_result((4096, 4096, 10, 0, 0, 10, 10, 10, 0, 255))
    monkeypatch.setattr("api.access.read_log.os.statvfs", lambda _: room)
    assert not log.try_again()
    assert log.failing


def test_an_operator_may_want_answers_all_the_same(hidden, path, monkeypatch):
    asked = logging(hidden, path, required=False)
    monkeypatch.setattr("api.access.read_log.os.write", Full())
    assert asked.client.get("/collections/dem").status_code == 200
    names = [each["name"] for each in asked.client.get("/_mgmt/health").json()["checks"]]
    assert names == ["catalog"]


def test_a_line_that_is_not_on_disk_is_not_answered(hidden, path, monkeypatch):
    def fails(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("api.access.read_log.os.fdatasync", fails)
    assert logging(hidden, path).client.get("/").status_code == 503
    assert logging(hidden, path, sync=False).client.get("/").status_code == 200


def test_a_log_that_cannot_be_made_stops_the_start(hidden, tmp_path):
    with pytest.raises(StorageUnavailable):
        logging(hidden, tmp_path / "reads.jsonl", path="none/reads.jsonl")
    target = tmp_path / "elsewhere"
    (tmp_path / "link.jsonl").symlink_to(target)
    with pytest.raises(StorageUnavailable):
        logging(hidden, tmp_path / "link.jsonl")
    assert not target.exists()


# -- the chain


def test_the_chain(path):
    log = ReadLog(path)
    for index in range(3):
        log.write({"what": index})
    raw = path.read_bytes().splitlines()
    found = lines(path)
    assert [entry["n"] for entry in found] == [1, 2, 3]
    assert [entry["previous"] for entry in found] == [START, line_hash(raw[0]), line_hash(raw[1])]
    log.close()
    ReadLog(path).write({"what": 3})  # another process later
    assert proven(path).problems == []
    assert str(proven(path).head) == f"4:{line_hash(path.read_bytes().splitlines()[-1])}"


def _damaged(raw: list[bytes], kind: str, at: int) -> list[bytes]:
    match kind:
        case "changed":
            return [*raw[:at], raw[at].replace(b"w", b"x", 1), *raw[at + 1 :]]
        case "removed":
            return raw[:at] + raw[at + 1 :]
        case "doubled":
            return [*raw[: at + 1], *raw[at:]]
        case "swapped":
            return [*raw[:at], raw[at + 1], raw[at], *raw[at + 2 :]]
        case "added":
            return [*raw[:at], json.dumps({"n": at + 1, "previous": line_hash(raw[at - 1])}).encode(), *raw[at:]]
        case "garbage":
            return [*raw[:at], b"\x00garbage", *raw[at + 1 :]]
    raise AssertionError(kind)


@given(
    st.integers(4, 12),
    st.sampled_from(["changed", "removed", "doubled", "swapped", "added", "garbage"]),
    st.integers(1, 100),
)
def test_whatever_is_changed_within_shows(tmp_path_factory, count, kind, at):
    path = tmp_path_factory.mktemp("chain") / "reads.jsonl"
    log = ReadLog(path, sync=False)
    for index in range(count):
        log.write({"what": f"w{index}"})
    log.close()
    raw = path.read_bytes().splitlines()
    assert proven(path).problems == []
    path.write_bytes(b"\n".join(_damaged(raw, kind, 1 + at % (count - 2))) + b"\n")
    assert proven(path).problems


def test_what_is_cut_off_the_end_shows_by_a_head(path):
    log = ReadLog(path)
    for index in range(5):
        log.write({"what": index})
    head = proven(path).head
    assert head is not None
    log.write({"what": 5})
    assert proven(path, head).problems == []
    raw = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(raw[:4]))
    assert proven(path).problems == []
    assert "not there" in proven(path, head).problems[0]
    # Rewritten as a whole, with a chain of its own.
    path.unlink()
    other = ReadLog(path)
    for index in range(6):
        other.write({"what": f"other {index}"})
    assert proven(path).problems == []
    assert "head" in proven(path, head).problems[0]
    assert LogHead.parse(str(head)) == head
    for text in ("", "5", "5:abc", f"x:{'0' * 64}"):
        with pytest.raises(InvalidInput):
            LogHead.parse(text)


@pytest.mark.parametrize("cut", [1, 10, 10_000])
def test_a_writer_that_died_within_a_line(path, cut):
    log = ReadLog(path)
    for index in range(3):
        log.write({"what": index})
    log.close()
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    path.write_bytes(whole[: -min(cut, len(last) - 1)])
    assert proven(path).problems  # until somebody goes on
    ReadLog(path).write({"what": 3})
    proof = proven(path)
    assert (proof.problems, proof.recovered) == ([], 1)
    assert [entry["n"] for entry in map(json.loads, path.read_bytes().splitlines()[3:])] == [4, 5]
    # What was cut off cannot be changed unseen either.
    raw = path.read_bytes().splitlines()
    raw[2] = raw[2][:-1]
    path.write_bytes(b"\n".join(raw) + b"\n")
    assert proven(path).problems


def test_full_files_are_renamed_and_the_chain_goes_on(path):
    log = ReadLog(path, rotate_bytes=1024)
    for index in range(60):
        log.write({"what": index})
    parts = parts_of(path)
    assert len(parts) > 4
    assert parts[-1] == path
    assert [part.name for part in parts[:2]] == ["reads.jsonl.00000001", "reads.jsonl.00000002"]
    assert [entry["what"] for entry in lines(path)] == list(range(60))
    assert proven(path).problems == []
    assert proven(path).lines == 60
    # A whole file that is missing in the middle shows; those before a point may have been taken away.
    kept = parts[2].read_bytes()
    parts[2].unlink()
    assert proven(path).problems
    parts[2].write_bytes(kept)
    parts[0].unlink()
    proof = proven(path)
    assert proof.problems == []
    assert proof.first > 1
    # A writer that died after it had renamed the file, and one within the last line of a full file.
    path.rename(path.with_name("reads.jsonl.00000099"))
    ReadLog(path).write({"what": 60})
    assert proven(path).problems == []
    path.unlink()
    full = path.with_name("reads.jsonl.00000099")
    full.write_bytes(full.read_bytes()[:-5])
    ReadLog(path).write({"what": 61})
    assert (proven(path).problems, proven(path).recovered) == ([], 1)


def test_names_with_signs_of_patterns(tmp_path):
    path = tmp_path / "a[b]*.jsonl"
    log = ReadLog(path, rotate_bytes=1024)
    for index in range(30):
        log.write({"what": index})
    assert [entry["what"] for entry in lines(path)] == list(range(30))


def test_no_log(path):
    with pytest.raises(NotFound):
        proven(path)


# -- many at once


WRITER = """
import sys
from pathlib import Path
from api.access.read_log import ReadLog

log = ReadLog(Path(sys.argv[1]), sync=False, rotate_bytes=4096)
for index in range(150):
    log.write({"who": int(sys.argv[2]), "what": index})
"""


def test_many_threads(path):
    log = ReadLog(path, rotate_bytes=8192)
    threads = [
        threading.Thread(target=lambda who=who: [log.write({"who": who, "what": n}) for n in range(50)])
        for who in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _check(path, 8, 50)


def test_many_processes_and_rotation(path):
    workers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(who)]) for who in range(3)]
    assert [worker.wait(120) for worker in workers] == [0, 0, 0]
    _check(path, 3, 150)
    assert len(parts_of(path)) > 3


def _check(path: Path, writers: int, count: int) -> None:
    proof = proven(path)
    assert (proof.problems, proof.lines) == ([], writers * count)
    for who in range(writers):
        assert [entry["what"] for entry in lines(path) if entry["who"] == who] == list(range(count))


# It ends by itself: a writer that outlived its test would fill the disk.
DYING = """
import sys
from pathlib import Path
from api.access.read_log import ReadLog

log = ReadLog(Path(sys.argv[1]), sync=False)
for index in range(5_000):
    log.write({"what": index, "pad": "x" * 5000})
    if index == 10:
        print("ready", flush=True)
"""


def test_a_killed_writer_leaves_a_log_that_goes_on(path):
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", DYING, str(path)], stdout=subprocess.PIPE, text=True) as child:
            try:
                assert child.stdout is not None
                assert child.stdout.readline() == "ready\n"
            finally:
                child.kill()
        before = path.stat().st_size
        ReadLog(path).write({"what": "after"})
        assert proven(path).problems == []
        assert path.stat().st_size > before


# -- which lines are wanted


def test_wanted(hidden, path):
    asked = logging(hidden, path)
    asked.client.get("/collections/roads", headers=bearer("ann"))
    asked.client.get("/collections/dem")
    found = list(read_log(path, Proof()))
    from datetime import datetime, timedelta

    time = datetime.fromisoformat(found[0]["time"])
    day = timedelta(days=1)
    for wanted, count in (
        (Wanted(), 2),
        (Wanted(user="ann"), 1),
        (Wanted(dataset="roads"), 1),
        (Wanted(dataset="none"), 0),
        (Wanted(since=time - day), 2),
        (Wanted(since=time + day), 0),
        (Wanted(until=time), 0),
        (Wanted(user="anonymous", dataset="dem", since=time, until=time + day), 1),
    ):
        assert len([entry for entry in found if wanted.fits(entry)]) == count
