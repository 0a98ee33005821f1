"""Several workers at one address: uvicorn's own supervisor, which says what became of them."""

from __future__ import annotations

import logging

from uvicorn.supervisors import Multiprocess

__all__ = ["Supervisor"]

_log = logging.getLogger(__name__)


class Supervisor(Multiprocess):
    """Starts anew what dies or hangs, and passes signals on; uvicorn tells that at a level that nobody reads."""

    def keep_subprocess_alive(self) -> None:
        """Look at each worker, and say which was replaced and why."""
        before = [(process, process.process.is_alive()) for process in self.processes]
        super().keep_subprocess_alive()
        for (old, lived), new in zip(before, self.processes, strict=True):
            if new is not old:
                why = "did not answer and was killed" if lived else f"died (exit code {old.exitcode})"
                fields = {"worker": old.pid, "exit_code": old.exitcode, "replaced_by": new.pid}
                _log.warning("worker %s %s; worker %s replaces it", old.pid, why, new.pid, extra={"fields": fields})
