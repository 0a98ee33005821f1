"""The running service: how it ends, what it refuses to wait for, and several workers at one address."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from served import Served, free_port, served

from api.service.listening import listening_socket
from versioning.errors import StorageUnavailable

pytestmark = pytest.mark.slow

LARGE = 24 * 1024 * 1024


def put_large(site) -> str:
    """The path of an object that no socket's buffers can hold."""
    file = site.scratch / "large.bin"
    file.write_bytes(os.urandom(LARGE))
    site.catalog.objects.put_file(file)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return f"/objects/{sha256[:2]}/{sha256}.bin"


def begin(server: Served, path: str) -> tuple[socket.socket, bytes]:
    """A download of which the beginning was read."""
    connection = server.connect(receive=65536)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    start = connection.recv(4096)
    assert start.startswith(b"HTTP/1.1 200"), start
    return connection, start


def rest_of(connection: socket.socket, start: bytes) -> bytes:
    parts = [start]
    while part := connection.recv(1 << 20):
        parts.append(part)
    return b"".join(parts).partition(b"\r\n\r\n")[2]


def refuses(server: Served, seconds: float = 20) -> bool:
    """Whether new connections come to be refused."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            server.connect().close()
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_a_download_is_finished_before_the_process_ends(own_site, tmp_path):
    path = put_large(own_site)
    with served(tmp_path, str(own_site.folder)) as server:
        connection, start = begin(server, path)
        with connection:
            server.process.send_signal(signal.SIGTERM)
            assert refuses(server)
            assert server.process.poll() is None
            body = rest_of(connection, start)
        assert len(body) == LARGE
        assert hashlib.sha256(body).hexdigest() == path[12:76]
        assert server.process.wait(40) == 0
        assert "Traceback" not in server.said


def test_a_client_that_does_not_read_keeps_no_process(own_site, tmp_path):
    path = put_large(own_site)
    with served(tmp_path, str(own_site.folder), "--shutdown-seconds", "1") as server:
        connection, _ = begin(server, path)
        with connection:
            assert server.stop() == 0


def test_a_thread_that_hangs_keeps_no_process_and_no_other_request(own_site, tmp_path):
    record = own_site.folder / "datasets/landcover/versions/00000001.json"
    with served(tmp_path, str(own_site.folder), "--request-seconds", "5", "--shutdown-seconds", "1") as server:
        server.wait_for("/collections/dem", 200)  # a dataset is looked for among all of them once
        record.unlink()
        os.mkfifo(record)  # a store that never answers: whoever opens it waits for a writer
        answer = server.get("/collections/landcover--v1", headers={"Origin": "https://example.org"})
        assert (answer.status_code, answer.json()["code"]) == (503, "timeout")
        assert answer.headers["retry-after"] == "10"
        assert answer.headers["access-control-allow-origin"] == "*"
        assert server.get("/_mgmt/ping").status_code == 200
        assert server.get("/collections/dem").status_code == 200
        assert server.stop() == 0


def test_a_store_that_hangs_is_not_ready(own_site, tmp_path):
    with served(tmp_path, str(own_site.folder)) as server:
        assert server.get("/_mgmt/health").json()["status"] == "UP"
        mark = own_site.folder / "stacpin.json"
        mark.rename(mark.with_suffix(".kept"))
        os.mkfifo(mark)
        answer = server.wait_for("/_mgmt/health", 503)
        assert answer.json()["checks"] == [{"name": "catalog", "ok": False, "detail": "no answer within 3 s"}]
        assert server.get("/_mgmt/ping").status_code == 200
        # The look that hangs ends, and perhaps before it has read.
        with suppress(BrokenPipeError), mark.open("wb") as writer:
            writer.write(b"{}")
        mark.unlink()
        mark.with_suffix(".kept").rename(mark)
        assert server.wait_for("/_mgmt/health", 200).json()["status"] == "UP"


def test_what_does_not_work_is_said_at_the_start(own_site, tmp_path):
    """Without anybody asking; and a URL that cannot be read is no reason to listen."""
    place = f"127.0.0.1:{free_port()}"
    with served(tmp_path, str(own_site.folder), "--database-url", f"postgresql://me:secret@{place}/stac") as server:
        end = time.monotonic() + 30
        while "not ready: index" not in server.said and time.monotonic() < end:
            time.sleep(0.1)
        assert "WARNING: not ready: index: " in server.said
        assert "secret" not in server.said
        assert server.get("/_mgmt/health").status_code == 503
    command = [sys.executable, "-m", "stacpin", "serve", "-C", str(own_site.folder), "--port", "0"]
    done = subprocess.run(
        [*command, "--database-url", "mysql://me:secret@x/y"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 50
    assert "secret" not in done.stdout + done.stderr


def test_readiness_goes_before_the_service_does(own_site, tmp_path):
    with served(tmp_path, str(own_site.folder), "--drain-seconds", "5") as server:
        server.process.send_signal(signal.SIGTERM)
        answer = server.wait_for("/_mgmt/health", 503)
        assert (answer.json()["code"], answer.json()["status"]) == ("stopping", "STOPPING")
        assert answer.headers["retry-after"] == "5"
        assert server.get("/collections/landcover--v1/items").status_code == 200
        assert server.process.wait(40) == 0


def test_a_second_signal_waits_for_no_load_balancer(own_site, tmp_path):
    with served(tmp_path, str(own_site.folder), "--drain-seconds", "500") as server:
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("/_mgmt/health", 503)
        assert server.stop() == 0


@pytest.fixture(scope="module")
def hasty(site, tmp_path_factory) -> Iterator[Served]:
    """A service that gives its clients a second to send a request."""
    with served(tmp_path_factory.mktemp("hasty"), str(site.folder), "--client-seconds", "1") as server:
        yield server


@pytest.mark.parametrize("sent", [b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_head_that_does_not_arrive(hasty, sent):
    with hasty.connect() as connection:
        connection.sendall(sent)
        assert json.loads(rest_of(connection, b""))["code"] == "timeout"


def test_a_connection_without_a_request_is_closed_in_silence(hasty):
    with hasty.connect() as connection:
        assert connection.recv(100) == b""


def test_a_body_that_does_not_arrive(hasty):
    with hasty.connect() as connection:
        connection.sendall(b"POST /search HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 90\r\n\r\n{")
        answer = connection.recv(12)
        assert answer == b"HTTP/1.1 408"
        assert json.loads(rest_of(connection, answer))["code"] == "timeout"


def test_the_second_request_of_a_connection_must_arrive_too(hasty):
    with hasty.connect() as connection:
        connection.sendall(b"GET /_mgmt/ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /_mgmt/pi")
        assert json.loads(rest_of(connection, b""))["code"] == "timeout"


def test_more_connections_than_it_takes(own_site, tmp_path):
    with served(tmp_path, str(own_site.folder), "--max-connections", "2") as server:
        with server.connect(), server.connect():
            answer = server.get("/")
            assert (answer.status_code, answer.json()["code"]) == (503, "busy")
            assert answer.headers["retry-after"] == "2"
            assert answer.headers["connection"] == "close"
            # A service that is busy lives, and is not to be restarted for it.
            assert server.get("/_mgmt/ping").status_code == 200
            assert server.get("/_mgmt/health").status_code == 200
        assert server.wait_for("/", 200)


def children(process: int) -> list[int]:
    found = [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return [each for each in found if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]


def counted(port: int, start: str) -> float:
    lines = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))


def test_workers_share_an_address_and_their_metrics(own_site, tmp_path):
    port = free_port()
    options = ("--workers", "2", "--metrics", str(port), "--log-requests", "--log-format", "json")
    with served(tmp_path, str(own_site.folder), *options) as server:
        asked = 'stacpin_http_requests_total{method="GET",route="/collections/{collection_id}",status="2xx"}'
        for _ in range(20):
            assert server.get("/collections/landcover--v1").status_code == 200
        assert counted(port, asked) == 20
        assert counted(port, "stacpin_build_info") == 1
        first, second = children(server.process.pid)
        os.kill(first, signal.SIGKILL)
        end = time.monotonic() + 60
        while time.monotonic() < end and (
            len(children(server.process.pid)) < 2 or first in children(server.process.pid)
        ):
            time.sleep(0.1)
        again = children(server.process.pid)
        assert second in again
        assert len(again) == 2
        for _ in range(20):
            server.wait_for("/collections/landcover--v1", 200)
        # What a worker counted that died is not forgotten: counters never go back.
        assert counted(port, asked) == 40
        assert server.stop() == 0
        lines = [json.loads(line) for line in server.said.splitlines()]
        told = [(line["level"], line["message"]) for line in lines if line["logger"] == "api.server"]
        assert told == [("info", f"listening on {server.url}"), ("info", "stopped")]
        began = next(line for line in lines if line["logger"] == "api.server")
        assert (began["address"], began["catalog"], began["workers"]) == (server.url, str(own_site.folder), 2)
        (died,) = (line for line in lines if line["logger"] == "api.service.workers")
        assert (died["level"], died["worker"], died["exit_code"]) == ("warning", first, -9)
        assert died["replaced_by"] in again
        assert [line["route"] for line in lines if "route" in line].count("/collections/{collection_id}") == 40


def test_answers_of_workers_are_sent_at_once():
    """asyncio sets TCP_NODELAY on what a socket accepts only if the socket names its protocol."""

    async def connect(listening: socket.socket) -> int:
        taken: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def connected(_, writer):
            accepted = writer.get_extra_info("socket")
            taken.set_result(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(connected, sock=listening):
            _, writer = await asyncio.open_connection(*listening.getsockname())
            try:
                return await taken
            finally:
                writer.close()
                await writer.wait_closed()

    assert asyncio.run(connect(listening_socket("127.0.0.1", 0, 16)))


def test_an_address_that_is_taken_is_one_error():
    with listening_socket("127.0.0.1", 0, 16) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StorageUnavailable, match=f"127.0.0.1:{port} cannot be listened on") as refused:
            listening_socket("127.0.0.1", port, 16)
        assert refused.value.hint == "Choose another --port, or --port 0."


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_of_this_machine(host):
    with pytest.raises(StorageUnavailable) as refused:
        listening_socket(host, 0, 16)
    assert "--host" in (refused.value.hint or "")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_nothing_is_said_of_an_address_that_cannot_be_listened_on(own_site, tmp_path, workers):
    port = str(free_port())
    words = ["-C", str(own_site.folder), "--port", port, "--metrics", port, "--workers", workers]
    command = [sys.executable, "-m", "stacpin", "serve", *words]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 60
    assert ran.stderr.startswith(f"error: 127.0.0.1:{port} cannot be listened on")
    assert "STAC API" not in ran.stderr


def test_what_is_said_of_an_address_is_true_then(own_site, tmp_path):
    command = [sys.executable, "-m", "stacpin", "serve", "-C", str(own_site.folder), "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            url = process.stderr.readline().split()[-1]
            assert httpx.get(f"{url}_mgmt/ping", timeout=30).status_code == 200  # at the first try
        finally:
            process.terminate()
        assert process.wait(40) == 0


def test_a_catalog_that_is_not_there_starts_no_workers(tmp_path):
    started = served(tmp_path, str(tmp_path / "none"), "--workers", "2")
    with pytest.raises(pytest.fail.Exception, match="does not exist"), started:
        pass


def test_a_port_of_metrics_that_is_taken(own_site, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        started = served(tmp_path, str(own_site.folder), "--metrics", port)
        with pytest.raises(pytest.fail.Exception, match="Metrics cannot be served"), started:
            pass
