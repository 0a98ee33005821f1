"""A process that kills itself at any step of its work: ``kill -9``, nothing is flushed, no ``finally`` runs.

It reads one order (JSON) a line, forks, and the fork does the work; what has been imported is imported once, so that a
kill costs some ten milliseconds. A step is a store call, before and after it is done, and for local files also each
``fsync``, ``link``, rename and removal, before and after.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from importlib import import_module
from typing import Any, TypeVar

from kill_acts import ACTS
from version_helpers import Wrapped, small_chunks

from versioning.store import Entry, Store

Result = TypeVar("Result")
_DISK = ("fsync", "link", "replace", "rename", "unlink")


class Steps:
    """Counts steps; the ``last`` one is the process's last. What was done is counted by verb."""

    def __init__(self, last: int | None) -> None:
        self.last = last
        self.count = 0
        self.done: Counter[str] = Counter()

    def step(self) -> None:
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, verb: str, act: Callable[[], Result]) -> Result:
        self.step()
        result = act()
        self.done[f"{verb} {result}" if isinstance(result, bool) else verb] += 1
        self.step()
        return result

    def watch_disk(self) -> None:
        """Let the calls that make local files durable and visible be steps too."""
        for name in _DISK:
            setattr(os, name, self._watched(name, getattr(os, name)))

    def _watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **more: self.around(name, lambda: real(*args, **more))


class Kills(Wrapped):
    """A store whose calls are steps."""

    def __init__(self, inner: Store, steps: Steps) -> None:
        super().__init__(inner)
        self._steps = steps

    def get(self, path: str) -> bytes:
        return self._steps.around("get", lambda: self.inner.get(path))

    def get_range(self, path: str, start: int, length: int) -> bytes:
        return self._steps.around("get_range", lambda: self.inner.get_range(path, start, length))

    def stream(self, path: str) -> Iterator[memoryview]:
        self._steps.step()
        for part in self.inner.stream(path):
            yield part
            self._steps.step()
        self._steps.done["stream"] += 1

    def size(self, path: str) -> int | None:
        return self._steps.around("size", lambda: self.inner.size(path))

    def put_new(self, path: str, data: bytes) -> bool:
        return self._steps.around("put_new", lambda: self.inner.put_new(path, data))

    def put_stream(self, path: str, chunks: Iterable[bytes]) -> None:
        self._steps.around("put_stream", lambda: self.inner.put_stream(path, chunks))

    def put_record(self, path: str, data: bytes) -> bool:
        return self._steps.around("put_record", lambda: self.inner.put_record(path, data))

    def replace(self, path: str, data: bytes) -> None:
        self._steps.around("replace", lambda: self.inner.replace(path, data))

    def delete(self, paths: Sequence[str]) -> None:
        self._steps.around("delete", lambda: self.inner.delete(paths))

    def now(self) -> datetime:
        return self._steps.around("now", self.inner.now)

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Entry]:
        self._steps.step()
        yield from self.inner.list(prefix, after=after)
        self._steps.step()

    def folders(self, prefix: str) -> list[str]:
        return self._steps.around("folders", lambda: self.inner.folders(prefix))


def work(order: dict[str, Any]) -> dict[str, Any]:
    """Do what the order says, in this process; never returns if it is killed."""
    steps = Steps(order["last"])
    with small_chunks():
        act = ACTS[order["act"]]
        steps.watch_disk()
        said = act(lambda store: Kills(store, steps), **order["where"])
    return {"steps": steps.count, "done": dict(steps.done), "said": said, "modules": sorted(sys.modules)}


def answer_of(order: dict[str, Any]) -> dict[str, Any]:
    """What a fork says, or that it was killed."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = work(order)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must hear of it
            answer = {"error": f"{type(error).__name__}: {error}"}
        os.write(there, json.dumps(answer).encode())
        os._exit(0)
    os.close(there)
    with os.fdopen(here, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    return {"killed": os.WTERMSIG(status)} if os.WIFSIGNALED(status) else json.loads(told)


def main() -> None:
    for line in sys.stdin:
        answer = answer_of(json.loads(line))
        for name in answer.pop("modules", ()):
            # What a fork has imported is imported here, so that the next one need not.
            if name not in sys.modules and name != "__main__":
                with suppress(ImportError):
                    import_module(name)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
