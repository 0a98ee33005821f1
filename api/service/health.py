"""Whether the service is ready: named checks, each cheap, bounded in time, and silent about addresses.

``/_mgmt/ping`` says that the process lives; ``/_mgmt/health`` that it can answer. The first must not depend on the
store: to restart a process mends no store.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from threading import Lock, Thread
from typing import Any, Protocol, runtime_checkable

from starlette.responses import JSONResponse, Response

from versioning.errors import StacpinError
from versioning.store import Store

__all__ = ["CatalogProbe", "Check", "Health", "Probe", "Probed"]

_log = logging.getLogger(__name__)
_RETRY_AFTER = "5"


@dataclass(frozen=True, slots=True)
class Check:
    """What one probe found. ``detail`` is read by strangers: a few words of our own, never an error's text."""

    name: str
    ok: bool
    detail: str = ""


class Probe(Protocol):
    """One thing that readiness depends on."""

    @property
    def name(self) -> str:
        """What it is about, as answers and alerts name it."""
        ...

    def check(self) -> Check:
        """Look, in a thread of its own. It may raise, which is a failed check, and be slow, which is one too."""
        ...


@runtime_checkable
class Probed(Protocol):
    """A backend with something of its own to look at: a database, an index that lags behind."""

    def probes(self) -> Sequence[Probe]:
        """What is to be checked beside the catalog."""
        ...


class CatalogProbe:
    """Whether the store gives the catalog's first file."""

    name = "catalog"

    def __init__(self, store: Store) -> None:
        self._store = store

    def check(self) -> Check:
        """Read ``stacpin.json``: some hundred bytes."""
        try:
            self._store.get("stacpin.json")
        except StacpinError as error:
            _log.error("the catalog does not answer: %s", error)
            return Check(self.name, ok=False, detail=f"does not answer ({error.kind})")
        return Check(self.name, ok=True, detail="answers")


class Health:
    """Readiness of one application.

    Parameters
    ----------
    probes
        What it depends on.
    seconds
        How long a probe may take: stores are patient for a minute, and whoever asks for health is not.
    kept
        For how long an answer stays good, in seconds, however many ask.
    """

    def __init__(self, probes: Sequence[Probe], *, seconds: float = 3.0, kept: float = 1.0) -> None:
        self._watched = [_Watched(probe, seconds, kept) for probe in probes]
        #: Set once the service is told to end: it still answers, and asks to be sent nothing more.
        self.stopping = False

    async def look(self) -> list[Check]:
        """What all probes found, in their order."""
        return list(await asyncio.gather(*(watched.check() for watched in self._watched)))

    async def answer(self) -> Response:
        """GET /_mgmt/health: 200, or 503 with an error body that has the checks too."""
        checks = await self.look()
        failed = [check.name for check in checks if not check.ok]
        told: dict[str, Any] = {"checks": [asdict(check) for check in checks]}
        headers = {"Cache-Control": "no-store"}
        if not failed and not self.stopping:
            return JSONResponse({"status": "UP", **told}, headers=headers)
        said = "The service is shutting down." if self.stopping else f"Not ready: {', '.join(failed)}."
        code = "stopping" if self.stopping else "not-ready"
        problem = {"code": code, "description": said, "hint": "Ask again later, or another instance."}
        body = {**problem, "status": "STOPPING" if self.stopping else "DOWN", **told}
        return JSONResponse(body, status_code=503, headers={**headers, "Retry-After": _RETRY_AFTER})


class _Watched:
    """One probe: its answer is kept for a moment, and while it hangs it is not asked a second time."""

    def __init__(self, probe: Probe, seconds: float, kept: float) -> None:
        self._probe = probe
        self._seconds = seconds
        self._kept = kept
        self._lock = Lock()
        self._last: Future[Check] | None = None
        self._ended = 0.0

    async def check(self) -> Check:
        answer = asyncio.wrap_future(self._asked())
        try:
            # Shielded: whoever gives up waiting does not take the answer away from the others.
            return await asyncio.wait_for(asyncio.shield(answer), self._seconds)
        except TimeoutError:
            return Check(self._probe.name, ok=False, detail=f"no answer within {self._seconds:g} s")

    def _asked(self) -> Future[Check]:
        with self._lock:
            last = self._last
            if last is None or (last.done() and time.monotonic() - self._ended >= self._kept):
                last = self._last = Future()
                # Not the pool of the requests, all of whose threads may hang in the store just then.
                Thread(target=self._run, args=(last,), name=f"health of {self._probe.name}", daemon=True).start()
            return last

    def _run(self, asked: Future[Check]) -> None:
        try:
            found = self._probe.check()
        except Exception:  # noqa: BLE001 - whatever a probe raises is the finding
            _log.exception("the check of %s failed", self._probe.name)
            found = Check(self._probe.name, ok=False, detail="the check failed; the log says why")
        self._ended = time.monotonic()
        asked.set_result(found)
