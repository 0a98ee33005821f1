"""A private PostgreSQL cluster with PostGIS for tests, from Debian's packages, on a free port of 127.0.0.1."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER, PASSWORD = "stacpin", "stacpin-secret"
_INSTALLED = "/usr/lib/postgresql"
# The cluster is thrown away: nothing of it has to be on the disk.
_SETTINGS = {
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "256MB",
    "max_connections": "60", "jit": "off", "logging_collector": "off", "autovacuum_naptime": "5",
}  # fmt: skip


def postgres_bin() -> Path | None:
    """The folder of the newest PostgreSQL here that has PostGIS, None if there is none."""
    folders = sorted(Path(_INSTALLED).glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    for folder in folders:
        share = Path("/usr/share/postgresql") / folder.parent.name / "extension" / "postgis.control"
        if (folder / "initdb").is_file() and share.is_file():
            return folder
    return None


class Cluster:
    """A running cluster. Databases are made from a template that a test may have filled."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._programs = programs
        # initdb and postgres refuse to run as root.
        self._user = None if os.getuid() else _ordinary_user()
        if self._user is not None:
            shutil.chown(folder, self._user)

    def _run(self, program: str, *args: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *args],
            user=self._user, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            log = self.folder / "log"
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise RuntimeError(f"{program}: {done.stdout}{done.stderr}\n{tail}")

    def make(self) -> None:
        """Make the cluster. Texts sort by their bytes, as everywhere in stacpin."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if self._user is not None:
            shutil.chown(secret, self._user)
        self._run(
            "initdb", "-D", str(self.folder / "data"), "-U", USER, "--pwfile", str(secret), "-A", "scram-sha-256",
            "--locale=C", "--encoding=UTF8", "--no-sync",
        )  # fmt: skip

    def start(self) -> None:
        """Start, on the port it had before if it had one."""
        options = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
        for _ in range(3):
            port = self.port or _free_port()
            where = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories=''"
            try:
                self._run(
                    "pg_ctl", "start", "-w", "-s", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"),
                    "-o", f"{where} {options}",
                )  # fmt: skip
            except RuntimeError:
                if self.port:  # the old port must be free again first
                    time.sleep(0.5)
                continue
            self.port = port
            return
        raise RuntimeError((self.folder / "log").read_text(errors="replace")[-3000:])

    def stop(self) -> None:
        """Stop at once; who is connected is cut off."""
        self._run("pg_ctl", "stop", "-w", "-s", "-m", "immediate", "-D", str(self.folder / "data"))

    def url(self, database: str) -> str:
        """The URL of a database, for its owner."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def new_database(self, template: str = "template0") -> str:
        """The URL of a new database."""
        import psycopg

        name = f"d{uuid.uuid4().hex[:16]}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"create database {name} template {template}")
        return self.url(name)


def _ordinary_user() -> str:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.skip("no user but root here, as whom PostgreSQL does not run")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def run_postgres() -> Iterator[Cluster]:
    """Make and start a cluster in a folder of its own, which its user can reach; stop it and remove it afterwards."""
    programs = postgres_bin()
    if programs is None:
        pytest.skip("no PostgreSQL with PostGIS: apt-get install postgresql-15-postgis-3")
    with tempfile.TemporaryDirectory(prefix="stacpin-postgres-", ignore_cleanup_errors=True) as name:
        cluster = Cluster(programs, Path(name))
        cluster.make()
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """One cluster a test process."""
    with run_postgres() as cluster:
        yield cluster
