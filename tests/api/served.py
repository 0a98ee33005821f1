"""`stacpin serve` as a process of its own, as operators run it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest


class Served:
    """The process, where it listens, and what it has said."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log = log

    @property
    def said(self) -> str:
        return self.log.read_text()

    def get(self, path: str, **options) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30, **options)

    def connect(self, *, receive: int | None = None) -> socket.socket:
        made = socket.socket()
        if receive:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        made.settimeout(60)
        try:
            made.connect(("127.0.0.1", self.port))
        except OSError:
            made.close()
            raise
        return made

    def stop(self, seconds: float = 40) -> int:
        """End it as containers are ended; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def wait_for(self, path: str, status: int, seconds: float = 60) -> httpx.Response:
        end = time.monotonic() + seconds
        answer: httpx.Response | None = None
        while time.monotonic() < end and self.process.poll() is None:
            try:
                answer = self.get(path)
            except httpx.TransportError:
                pass
            else:
                if answer.status_code == status:
                    return answer
            time.sleep(0.05)
        pytest.fail(f"{path} is not {status}: {answer and answer.text} {self.said}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def served(folder: Path, catalog: str, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """Serve a catalog until the end of the block; the process is ended by its id if it has not ended."""
    port, log = free_port(), folder / "serve.log"
    own = {name: value for name, value in os.environ.items() if not re.match("STACPIN_|OTEL_|PROMETHEUS_", name)}
    command = [sys.executable, "-m", "stacpin", "serve", "-C", catalog, "--port", str(port), *options]
    with log.open("wb") as told:
        process = subprocess.Popen(command, stderr=told, stdout=told, env={**own, **(environment or {})}, cwd=folder)
    try:
        made = Served(process, port, log)
        made.wait_for("/_mgmt/ping", 200)
        yield made
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
