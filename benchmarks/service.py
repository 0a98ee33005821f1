"""What a service answers: requests a second by workers, memory. Run: python benchmarks/service.py [ITEMS]."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from search import items

from versioning.catalog import Catalog
from versioning.commit import commit

CLIENTS, SECONDS = 8, 6.0
LARGE = 64 * 1024 * 1024
BOX = "bbox=-100,20,-98,22&datetime=2024-03&limit=10"


def ask(port: int, path: str, seconds: float) -> tuple[int, int]:
    """One client that asks the same again and again: how many answers, how many bytes."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    answers = size = 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        connection.request("GET", path)
        answer = connection.getresponse()
        size += len(answer.read())
        assert answer.status == 200
        answers += 1
    return answers, size


@contextmanager
def service(folder: str, *options: str) -> Iterator[tuple[int, int]]:
    """A service with its port and process id, once it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    begin = time.perf_counter()
    command = [sys.executable, "-m", "stacpin", "-q", "serve", "-C", folder, "--port", str(port), *options]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                ask(port, "/_mgmt/health", 0.01)
                break
            except OSError:
                time.sleep(0.05)
        print(f"ready after {time.perf_counter() - begin:.1f} s")
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(60)


def memory(process: int) -> int:
    """Megabytes of a process and its children that are its own, and not shared with others (PSS)."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    total = 0
    for each in [str(process), *children]:
        lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total // 1024


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(CLIENTS) as clients:
        catalog = Catalog.create(f"{folder}/catalog")
        commit(catalog.dataset("tiles"), items=list(items(count)), message="tiles", author="benchmark")
        file = Path(folder) / "large.bin"
        file.write_bytes(os.urandom(LARGE))
        large = catalog.objects.put_file(file)
        paths = {
            "one item": "/collections/tiles--v1/items/r0000c0000-202401",
            "search, box and month, 10 of a page": f"/search?collections=tiles--v1&{BOX}",
            "object of 64 MiB": f"/{large.href}",
        }
        for options in ((), ("--workers", "2"), ("--metrics", "path"), ("--metrics", "path", "--log-requests")):
            print(f"\n{count:,} items, {CLIENTS} clients, serve {' '.join(options)}")
            with service(f"{folder}/catalog", *options) as (port, process):
                print(f"memory when ready: {memory(process)} MB")
                for what, path in paths.items():
                    ask(port, path, 1)
                    begin = time.perf_counter()
                    found = list(clients.map(ask, [port] * CLIENTS, [path] * CLIENTS, [SECONDS] * CLIENTS))
                    took = time.perf_counter() - begin
                    rate, size = sum(each[0] for each in found) / took, sum(each[1] for each in found) / took
                    print(f"{what:<40} {rate:8.1f} a second, {size / 1e6:8.1f} MB/s")
                print(f"memory after that: {memory(process)} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
