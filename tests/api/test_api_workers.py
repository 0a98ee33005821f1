"""What the supervisor of several workers says of one that it replaces."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from uvicorn.supervisors import Multiprocess

from api.service.workers import Supervisor


def worker(pid: int, *, alive: bool = True, code: int | None = None) -> Any:
    return SimpleNamespace(pid=pid, exitcode=code, process=SimpleNamespace(is_alive=lambda: alive))


@pytest.mark.parametrize(("alive", "why"), [(False, "died (exit code -9)"), (True, "did not answer and was killed")])
def test_a_worker_that_is_replaced_is_a_warning(monkeypatch, caplog, alive, why):
    supervisor = Supervisor.__new__(Supervisor)
    supervisor.processes = [worker(10), worker(11, alive=alive, code=-9)]
    monkeypatch.setattr(Multiprocess, "keep_subprocess_alive", lambda _: None)
    supervisor.keep_subprocess_alive()
    assert caplog.records == []
    monkeypatch.setattr(Multiprocess, "keep_subprocess_alive", lambda its: its.processes.__setitem__(1, worker(12)))
    supervisor.keep_subprocess_alive()
    (told,) = caplog.records
    assert (told.levelname, told.getMessage()) == ("WARNING", f"worker 11 {why}; worker 12 replaces it")
    assert told.fields == {"worker": 11, "exit_code": -9, "replaced_by": 12}
