"""make test-long: the state machine of the version store for an hour, and kills at every step; a report at the end.

    tools/test_long.py                               both, for STACPIN_LONG_MINUTES (60)
    tools/test_long.py --only memory --seed 17       one run of the machine again, made smaller if it fails

STACPIN_LONG_SEED makes a run reproducible: its first seed; otherwise it is random. The report is printed, and kept as
JSON below .test-long/. Exit code 1 if anything failed.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
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


def run_until(deadline: float, first: int, workers: int, where: dict[str, str]) -> list[dict[str, Any]]:
    """Seed after seed, on one kind of store after the other, until the time is over."""
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
                told = "FAILED" if done[-1]["failure"] else "ok"
                print(f"{told:6} {done[-1]['kind']:6} seed {done[-1]['seed']} {done[-1]['seconds']} s", flush=True)


def run_kills(report: Path) -> dict[str, Any]:
    """Kills at every step, and the other tests of the version store that have a long profile."""
    start = time.monotonic()
    tests = sorted(str(path) for path in (ROOT / "tests").glob("*/test_*kill*.py"))
    command = [sys.executable, "-m", "pytest", "-q", *tests]
    environment = os.environ | {"STACPIN_LONG": "1", "STACPIN_LONG_KILLS": str(report)}
    code = subprocess.run(command, check=False, cwd=ROOT, env=environment).returncode
    did = Counter[str]()
    for line in report.read_text().splitlines() if report.exists() else []:
        did.update(json.loads(line))
    return {"exit_code": code, "seconds": round(time.monotonic() - start, 1), "did": dict(sorted(did.items()))}


def main() -> int:
    """Read the arguments, run, report; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(set(KINDS)))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("STACPIN_LONG_SEED", secrets.randbelow(10**9))))
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("STACPIN_LONG_MINUTES", "60")))
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--no-kills", action="store_true")
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
        kills = None if asked.no_kills else run_kills(folder / f"{name}-kills.ndjson")
        runs = run_until(start + 60 * asked.minutes, asked.seed, asked.workers, where)
    did = sum((Counter(run["did"]) for run in runs), Counter())
    failed = [run for run in runs if run["failure"]]
    report = {
        "time": name,
        "minutes": round((time.monotonic() - start) / 60, 1),
        "first_seed": asked.seed,
        "runs": len(runs),
        "failed": failed,
        "did": dict(sorted(did.items())),
        "kills": kills,
    }
    (folder / f"{name}.json").write_text(json.dumps(report, indent=1))
    print(f"\n{len(runs)} runs from seed {asked.seed} in {report['minutes']} minutes, {len(failed)} failed")
    for what, number in [*report["did"].items(), *(kills or {"did": {}})["did"].items()]:
        print(f"{number:>10,}  {what}")
    for run in failed:
        print(f"\n{run['failure']}\nagain: tools/test_long.py --only {run['kind']} --seed {run['seed']}")
    print(f"\n{folder / name}.json")
    return 1 if failed or (kills and kills["exit_code"]) else 0


if __name__ == "__main__":
    sys.exit(main())
