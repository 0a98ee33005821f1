"""One timed command: wall time, CPU time and memory of everything it starts."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Measured", "timed"]

_EVERY = 0.05
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Measured:
    """What a command took.

    ``seconds`` is wall time, ``cpu`` user and system time of all its processes. Of memory (resident, MiB): ``largest``
    is the peak of its largest process (the kernel's own count), ``main`` that of the process started, ``together`` the
    largest sum over all its processes, looked at every 50 ms; pages that they share count once for each of them.
    """

    seconds: float
    cpu: float
    main: float
    largest: float
    together: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def plus(self, other: Measured) -> Measured:
        """Two commands, one after the other, as one step."""
        return Measured(
            self.seconds + other.seconds,
            self.cpu + other.cpu,
            max(self.main, other.main),
            max(self.largest, other.largest),
            max(self.together, other.together),
        )


def timed(command: Sequence[str], folder: Path, environ: Mapping[str, str], log: Path) -> Measured:
    """Run a command to its end; what was written before is on the disk first, so that it does not tax this one.

    Raises
    ------
    RuntimeError
        If it fails; the end of what it said is in the text.
    """
    os.sync()
    with log.open("ab") as out:
        begin = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=dict(environ), stdout=out, stderr=out)
        watch = _Watch(process.pid)
        # wait4 and not process.wait(): it tells what the process and all that it has waited for have used.
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    watch.stop()
    if process.returncode:
        tail = log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{tail}")
    largest = used.ru_maxrss / 1024
    return Measured(seconds, used.ru_utime + used.ru_stime, watch.main or largest, largest, watch.together or largest)


class _Watch(threading.Thread):
    """Looks at a process and its children until told to stop."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.main = self.together = 0.0
        self._pid = pid
        self._over = threading.Event()
        self.start()

    def stop(self) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(_EVERY):
            self.main = max(self.main, _status(self._pid, "VmHWM"))
            self.together = max(self.together, sum(_status(pid, "VmRSS") for pid in _tree(self._pid)))


def _tree(pid: int) -> list[int]:
    found = [pid]
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += _tree(int(child))
    except OSError:  # it has just ended
        pass
    return found


def _status(pid: int, name: str) -> float:
    """A line of a process's status in MiB; 0 once it has ended."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024 / _MIB
    except OSError:
        pass
    return 0.0
