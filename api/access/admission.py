"""Stands before all routes: who asks, whether too often, what is logged, and what caches may keep of the answer.

Nothing of an answer is sent before its line is in the log of reads.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access.asking import ASKING, Asking
from api.access.bearer import Bearer
from api.access.rates import Rates, client_address
from api.access.read_log import ReadLog
from api.access.refusals import Refusal, Unauthorized, Unreadable
from api.access.scopes import ANONYMOUS, Reader
from api.access.settings import AccessSettings
from api.access.signatures import HrefKeys
from api.errors import problem
from api.middleware import is_head, route_path
from api.service.health import Check, Probe
from api.service.logs import REQUEST_ID
from versioning.errors import StacpinError

__all__ = ["Admission", "Desk"]

# Whether the process and the catalog live is asked by machines, often, and tells nothing of what is in it.
_HEALTH = frozenset({"/_mgmt/ping", "/_mgmt/health"})
_OBJECTS = "/objects/"
_BROWSER = "/browser/"
_BROWSER_SETTINGS = "/browser/config.js"
_MAX_AGE = re.compile(r"max-age=(\d+)")
# Tokens that somebody has put where they do not belong: in a path.
_SECRETS = re.compile(r"stacpin_[A-Za-z0-9_-]{20,}|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_.-]+")
_LONGEST_PATH = 2_000
_FAILED = 500


class Desk:
    """What access settings come to: made once, when the application is.

    Parameters
    ----------
    settings
        Who may read.
    proxied
        Whether every request passes a proxy that says whose it is.
    clock
        What gives the time in seconds since 1970; for tests.

    Raises
    ------
    InvalidInput
        If a secret that the settings name is not there.
    StorageUnavailable
        If the log of reads cannot be written.
    """

    def __init__(
        self, settings: AccessSettings, *, proxied: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self.clock = clock
        self.proxied = proxied
        self.bearer = Bearer(settings, clock=clock)
        self.anonymous = Reader(ANONYMOUS, None, settings.public)
        self.hrefs = HrefKeys(settings.hrefs.secrets(settings.folder), seconds=settings.hrefs.seconds)
        self.rates = Rates(settings.rate)
        # Without keys or counts elsewhere, letting in takes some microseconds, and another thread more than that.
        self.waits = settings.oidc is not None or not self.rates.in_memory
        self.log: ReadLog | None = None
        self.log_required = False
        if settings.log is not None:
            found = settings.log
            self.log = ReadLog(settings.folder / found.path, sync=found.sync, rotate_bytes=found.rotate_bytes)
            self.log.open()
            self.log_required = found.required

    def probes(self) -> Sequence[Probe]:
        """What readiness depends on: the log, if nothing may be read without it."""
        return [LogProbe(self.log)] if self.log is not None and self.log_required else []


class LogProbe:
    """Whether the log of reads can be written: as it was at the last read, and after a failure by trying again."""

    name = "log"

    def __init__(self, log: ReadLog) -> None:
        self._log = log

    def check(self) -> Check:
        """Ask nothing of the disk unless writing has failed."""
        ok = not self._log.failing or self._log.try_again()
        return Check(self.name, ok=ok, detail="can be written" if ok else "cannot be written")


class Admission:
    """Lets requests in."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self.app = app
        self.desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or route_path(scope) in _HEALTH:
            await self.app(scope, receive, send)
            return
        desk = self.desk
        signer = desk.hrefs.signer(desk.clock())
        asking = Asking(desk.anonymous, signer, signer.until)
        address = client_address(scope.get("client"), scope["headers"], proxied=desk.proxied)
        answer = _Answer(desk, asking, scope, address, send)
        refusal: StacpinError | None = None
        try:
            if desk.waits:
                await run_in_threadpool(self._admit, asking, scope, address)
            else:
                self._admit(asking, scope, address)
        except StacpinError as error:
            refusal = error
        if refusal is not None:
            told = isinstance(refusal, Refusal)
            headers = refusal.headers if told else {}
            asking.reason = refusal.reason if told else refusal.message
            made = problem(refusal.http_status, refusal.kind, refusal.message, refusal.hint, **headers)
            await made(scope, receive, answer.send)
            return
        token = ASKING.set(asking)
        try:
            await self.app({**scope, "stacpin.href": signer}, receive, answer.send)
        except Exception:
            await answer.failed()
            raise
        finally:
            ASKING.reset(token)

    def _admit(self, asking: Asking, scope: Scope, address: str) -> None:
        try:
            asking.reader = self.desk.bearer.reader(scope["headers"])
        except (Unauthorized, Unreadable):
            self.desk.rates.hit(None, address)  # guessing tokens has its price too
            raise
        if not _is_browser_file(route_path(scope)):
            self.desk.rates.hit(asking.reader, address)


class _Answer:
    """What is sent for one request, once it is in the log."""

    def __init__(self, desk: Desk, asking: Asking, scope: Scope, address: str, send: Send) -> None:
        self._desk = desk
        self._asking = asking
        self._scope = scope
        self._address = address
        self._send = send
        self._path = route_path(scope)
        self._id = REQUEST_ID.get()
        self._started = False
        self._refused = False

    async def send(self, message: Message) -> None:
        if self._refused:
            return
        if message["type"] == "http.response.start":
            self._started = True
            headers = MutableHeaders(scope=message)
            headers.add_vary_header("Authorization")
            if "cache-control" in headers:
                headers["cache-control"] = self._caching(headers["cache-control"])
            if not await self._logged(message["status"]):
                self._refused = True
                text = "The log of reads cannot be written, and nothing is read without it."
                made = problem(503, "log-unavailable", text, "Tell who runs this server.")
                await made(self._scope, _nothing, self._send)
                return
        await self._send(message)

    async def failed(self) -> None:
        """Log a request whose answer is made outside of here, since the application failed."""
        if not self._started:
            await self._logged(_FAILED)

    def _caching(self, control: str) -> str:
        if "no-store" in control:
            return control
        if self._asking.reader.by is not None or self._asking.objects or self._path.startswith(_OBJECTS):
            control = control.replace("public", "private")
            if "private" not in control:
                control = f"private, {control}"
        if self._path.startswith(_BROWSER):
            return control
        left = max(0, self._asking.fresh_until - int(self._desk.clock()))
        return _MAX_AGE.sub(lambda match: f"max-age={min(int(match[1]), left)}", control)

    async def _logged(self, status: int) -> bool:
        """Write the line; whether the answer may be sent."""
        log = self._desk.log
        if log is None or self._path.startswith(_BROWSER):
            return True
        try:
            await run_in_threadpool(log.write, self._entry(status))
        except StacpinError:  # which the log itself has told to the operator
            return not self._desk.log_required
        return True

    def _entry(self, status: int) -> dict[str, Any]:
        asking = self._asking
        return {
            "time": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "id": self._id,
            "user": _shown(asking.reader.user),
            "by": asking.reader.by,
            "client": self._address,
            "method": "HEAD" if is_head(self._scope) else self._scope["method"],
            "path": _shown(self._path),
            "status": status,
            "datasets": sorted(asking.datasets),
            "pins": dict(sorted(asking.pins.items())),
            "items": asking.items,
            "objects": sorted(asking.objects),
            "reason": None if asking.reason is None else _shown(asking.reason),
        }


def _is_browser_file(path: str) -> bool:
    """Whether it is one of the many files of STAC Browser; its settings are made from the catalog, and count."""
    return path.startswith(_BROWSER) and path != _BROWSER_SETTINGS


def _shown(text: str) -> str:
    return _SECRETS.sub("[token]", text)[:_LONGEST_PATH].encode("utf-8", "backslashreplace").decode()


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
