"""A real Azure Blob server for tests: Azurite from npm (tools/azurite), on a free port of 127.0.0.1."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import hmac
import http.client
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
NODE_WANTED = 20
# The account and the key that every Azurite has; they are public and open nothing else:
# https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_MAIN = "node_modules/azurite/dist/src/blob/main.js"


@dataclass(frozen=True)
class AzureServer:
    """A running server. ``environment`` is what a client needs in its environment variables."""

    port: int

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AZURITE_BLOB_STORAGE_URL": f"http://127.0.0.1:{self.port}",
            "AZURE_STORAGE_USE_EMULATOR": "true",
        }

    def new_container(self) -> str:
        """The URL of a new, empty container. One signed request, since no client of Azure is installed for it.

        The signature: https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
        """
        name = f"c-{uuid.uuid4().hex[:20]}"
        headers = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        signed = "".join(f"{key}:{headers[key]}\n" for key in sorted(headers))
        text = "PUT" + "\n" * 12 + f"{signed}/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
        signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()
        headers |= {"Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("PUT", f"/{ACCOUNT}/{name}?restype=container", headers=headers)
            answer = connection.getresponse()
            assert answer.status == http.HTTPStatus.CREATED, answer.read()
        finally:
            connection.close()
        return f"az://{name}"


def _node() -> str:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Azure server: Node.js is not installed")
    version = subprocess.run([node, "-p", "process.versions.node"], capture_output=True, text=True, check=True).stdout
    if int(version.split(".")[0]) < NODE_WANTED:
        pytest.skip(f"no Azure server: Node.js {version.strip()} is older than {NODE_WANTED}")
    return node


def _installed() -> Path:
    """A folder with Azurite: tools/azurite after `npm ci` there, else one in .tools, made by the first who needs it."""
    here = REPOSITORY / "tools/azurite"
    lock = (here / "package-lock.json").read_bytes()
    kept = REPOSITORY / ".tools" / f"azurite-{hashlib.sha256(lock).hexdigest()[:12]}"
    for folder in (here, kept):
        if (folder / _MAIN).is_file():
            return folder
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no Azure server: npm is not installed")
    kept.parent.mkdir(exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=kept.parent, prefix="azurite-new-"))
    try:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(here / name, new)
        command = [npm, "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=new, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no Azure server: npm does not give azurite: {done.stderr.strip()[-300:]}")
        try:
            new.rename(kept)
        except OSError:  # another test process was faster
            assert (kept / _MAIN).is_file()
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return kept


@contextmanager
def run_azure(folder: Path) -> Iterator[AzureServer]:
    """Start a server that keeps its data in ``folder``; it is ended by its process id."""
    node, azurite = _node(), _installed()
    log = folder / "azurite.log"
    for _ in range(3):  # a port may be taken between looking and starting
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [
            node, str(azurite / _MAIN), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder),
            "--disableTelemetry", "--silent", "--skipApiVersionCheck",
        ]  # fmt: skip
        with log.open("wb") as said:
            process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, cwd=folder)
        try:
            if _answers(port, process):
                yield AzureServer(port)
                return
        finally:
            process.terminate()
            try:
                process.wait(1)  # it waits for connections that clients keep open
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    pytest.fail(f"Azurite did not start:\n{log.read_text(errors='replace')[-3000:]}")


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="session")
def azure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    """One server a test process. A test that uses it puts ``environment`` into its environment variables."""
    with run_azure(tmp_path_factory.mktemp("azure")) as server:
        yield server
