"""make test-long: all tests that have a long profile, then an hour of the state machine of the version store.

    tools/test_long.py                               both: the tests for at most STACPIN_LONG_MINUTES (60), the machine
                                                     for as long again
    tools/test_long.py --only memory --seed 17       one run of the machine again, made smaller if it fails

STACPIN_LONG_SEED makes a run reproducible: its first seed; otherwise it is random. The report is printed, and kept as
JSON below .test-long/, as is the text of each history that fails, at once. Exit code 1 if anything failed, or if the
tests took longer than that.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count, cycle
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "versioning"), str(ROOT / "tests"), str(ROOT)]

# Three of five runs are in memory: they do the most steps a second.
KINDS = ("memory", "local", "memory", "s3", "memory")
EXAMPLES, STEPS = 5, 40


def run_seed(kind: str, place: str, number: int, *, shrink: bool = False) -> dict[str, Any]:
    """One run of the machine in this process: what it did, and how it failed if it did."""
    from model_runs import machine_on, run_machine
    from model_state import TALLY

    TALLY.clear()
    machine = machine_on(kind, place)
    machine.thorough = True
    start, failure = time.monotonic(), None
    try:
        run_machine(machine, number=number, examples=EXAMPLES, steps=STEPS, shrink=shrink)
    except Exception:  # noqa: BLE001 - whatever it is, it goes into the report
        failure = traceback.format_exc()
    seconds = round(time.monotonic() - start, 1)
    return {"kind": kind, "seed": number, "seconds": seconds, "did": dict(TALLY), "failure": failure}


@contextmanager
def places() -> Iterator[dict[str, str]]:
    """Where each kind of store is."""
    from s3 import run_s3

    with tempfile.TemporaryDirectory(prefix="stacpin-long-") as folder:
        (Path(folder) / "s3").mkdir()
        (Path(folder) / "local").mkdir()
        with run_s3(Path(folder) / "s3") as server:
            os.environ.update(server.environment)
            yield {"memory": "", "local": f"{folder}/local", "s3": server.new_bucket()}


def run_until(deadline: float, first: int, workers: int, where: dict[str, str], report: Path) -> list[dict[str, Any]]:
    """Seed after seed, on one kind of store after the other, until the time is over; a file for each that fails."""
    done: list[dict[str, Any]] = []
    numbers, kinds = count(first), cycle(KINDS)
    # Each run in a new process: a leak or a crash of one is not another's.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        running: set[Future[dict[str, Any]]] = set()
        while True:
            while len(running) < workers and time.monotonic() < deadline:
                kind = next(kinds)
                running.add(pool.submit(run_seed, kind, where[kind], next(numbers)))
            if not running:
                return done
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for each in finished:
                done.append(each.result())
                run = done[-1]
                if run["failure"]:
                    report.with_name(f"{report.name}-{run['kind']}-{run['seed']}.txt").write_text(run["failure"])
                told = "FAILED" if run["failure"] else "ok"
                print(f"{told:6} {run['kind']:6} seed {run['seed']} {run['seconds']} s", flush=True)


def long_tests() -> tuple[list[str], list[str]]:
    """The files of tests that have a long profile: those of processes, which are to be alone, and the others."""
    files = [path for path in sorted((ROOT / "tests").glob("*/test_*.py")) if "STACPIN_LONG" in path.read_text()]
    alone = [str(path) for path in files if "processes" in path.stem]
    return alone, [str(path) for path in files if "processes" not in path.stem]


def run_tests(report: Path, seconds: float) -> dict[str, Any]:
    """The tests that have a long profile, at most for so long: kills, faults, garbage collection, sync, ingests."""
    start = time.monotonic()
    alone, others = long_tests()
    kills = report.with_suffix(".ndjson")
    environment = os.environ | {"STACPIN_LONG": "1", "STACPIN_LONG_KILLS": str(kills)}
    codes: list[int] = []  # 2 is pytest's for what was stopped
    seen: dict[str, Counter[str]] = {}
    for part, (files, processes) in enumerate([(alone, 0), (others, os.cpu_count() or 1)]):
        left = seconds - (time.monotonic() - start)
        if left <= 0:
            codes.append(2)
            continue
        found = report.with_suffix(f".{part}.xml")
        options = ["-q", "-n", str(processes), "--dist", "worksteal", f"--junitxml={found}"]
        command = [sys.executable, "-m", "pytest", *options, *files]
        with subprocess.Popen(command, cwd=ROOT, env=environment) as tests:
            try:
                codes.append(tests.wait(left))
            except subprocess.TimeoutExpired:
                print(f"the tests were stopped after {seconds / 60:.0f} minutes", flush=True)
                tests.send_signal(signal.SIGINT)
                tests.wait()
                codes.append(2)
        for case in ET.parse(found).iter("testcase") if found.exists() else ():
            counts = seen.setdefault(case.get("classname", ""), Counter())
            counts[next((child.tag for child in case if child.tag in {"failure", "error", "skipped"}), "passed")] += 1
            counts["seconds"] += round(float(case.get("time", 0)))
    did = Counter[str]()
    for line in kills.read_text().splitlines() if kills.exists() else []:
        did.update(json.loads(line))
    return {
        "exit_code": max(codes),
        "seconds": round(time.monotonic() - start, 1),
        "tests": {name: dict(counts) for name, counts in sorted(seen.items())},
        "did": dict(sorted(did.items())),
    }


def main() -> int:
    """Read the arguments, run, report; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(set(KINDS)))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("STACPIN_LONG_SEED", secrets.randbelow(10**9))))
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("STACPIN_LONG_MINUTES", "60")))
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--no-tests", action="store_true")
    asked = parser.parse_args()
    start = time.monotonic()
    with places() as where:
        if asked.only:
            found = run_seed(asked.only, where[asked.only], asked.seed, shrink=True)
            print(found["failure"] or json.dumps(found["did"], indent=1, sort_keys=True))
            return 1 if found["failure"] else 0
        folder = ROOT / ".test-long"
        folder.mkdir(exist_ok=True)
        (folder / ".gitignore").write_text("*\n")
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
        # The machine has all of the time, and the tests have as much before it.
        tests = None if asked.no_tests else run_tests(folder / f"{name}-tests", 60 * asked.minutes)
        runs = run_until(time.monotonic() + 60 * asked.minutes, asked.seed, asked.workers, where, folder / name)
    did = sum((Counter(run["did"]) for run in runs), Counter())
    failed = [run for run in runs if run["failure"]]
    report = {
        "time": name,
        "minutes": round((time.monotonic() - start) / 60, 1),
        "first_seed": asked.seed,
        "runs": len(runs),
        "failed": failed,
        "did": dict(sorted(did.items())),
        "tests": tests,
    }
    (folder / f"{name}.json").write_text(json.dumps(report, indent=1))
    print(f"\n{len(runs)} runs from seed {asked.seed} in {report['minutes']} minutes, {len(failed)} failed")
    for what, number in [*report["did"].items(), *(tests or {"did": {}})["did"].items()]:
        print(f"{number:>10,}  {what}")
    for name_of, counts in (tests or {"tests": {}})["tests"].items():
        print(f"{name_of}: {', '.join(f'{number} {what}' for what, number in counts.items())}")
    for run in failed:
        print(f"\n{run['failure']}\nagain: tools/test_long.py --only {run['kind']} --seed {run['seed']}")
    print(f"\n{folder / name}.json")
    return 1 if failed or (tests and tests["exit_code"]) else 0


if __name__ == "__main__":
    sys.exit(main())
