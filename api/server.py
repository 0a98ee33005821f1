"""Runs the API with uvicorn: in this process, or in several that share its address."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api.service.listening import address_of, bound_socket, listen
from api.settings import ApiSettings
from versioning.errors import InvalidInput, StorageUnavailable

if TYPE_CHECKING:
    import socket

    import uvicorn

__all__ = ["check_exposed", "serve"]

_log = logging.getLogger(__name__)
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_UNHEARD = 30


def check_exposed(settings: ApiSettings, host: str, *, public: bool) -> None:
    """Refuse to give a catalog to a network without a word about who may read it.

    Raises
    ------
    InvalidInput
        If the address is not this machine's alone and there are neither access settings nor ``public``, or both.
    """
    if public and settings.access is not None:
        raise InvalidInput(
            "Everybody may read, and access settings say who may: only one can be meant.",
            hint='Leave --public out; public = ["*"] in the settings shows all datasets to everybody.',
        )
    if not public and settings.access is None and not _is_loopback(host):
        raise InvalidInput(
            f"Others can reach {host or 'every address of this machine'}, and nothing says who may read.",
            hint="Name access settings (--access FILE, see docs/access.md), or say that everybody may read: --public.",
            kind="unprotected",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(
    settings: ApiSettings,
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    public: bool = False,
    log_level: str = "info",
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until stopped (Ctrl-C or SIGTERM), and then let requests that run finish.

    Parameters
    ----------
    settings
        What to serve, and how.
    host, port
        Where to listen; port 0 takes a free one.
    public
        Whether everybody who reaches the address may read everything: said on purpose, or access settings are needed.
    log_level
        What uvicorn prints: critical, error, warning, info, debug.
    ready
        Is told the address, without a slash at its end, once it is listened on.

    Raises
    ------
    InvalidInput
        If others can reach the address, and nothing says who may read.
    StacpinError
        If the catalog cannot be opened, or an address is taken; nothing listens then.
    """
    check_exposed(settings, host, public=public)
    with ExitStack() as stack:
        stop = stack.enter_context(_stopped_in_order())
        listening = stack.enter_context(bound_socket(host, port))
        if settings.workers > 1 and settings.metrics is not None:
            # prometheus_client reads it when it is imported: here, and in each worker.
            os.environ[_FOLDER] = stack.enter_context(tempfile.TemporaryDirectory(prefix="stacpin-metrics-"))
            stack.callback(os.environ.pop, _FOLDER, None)
        # When each series began: half of all lines, and no use to Prometheus.
        os.environ.setdefault("PROMETHEUS_DISABLE_CREATED_SERIES", "true")
        make = _Factory(settings)
        app = make()  # also before workers: what is wrong is said once, and nothing listens
        if settings.metrics_address is not None:
            _serve_metrics(settings, app, stack)
        address = address_of(host, listening)
        config = _config(settings, make if settings.workers > 1 else app, host, port, log_level)
        listen(listening, config.backlog)
        fields = {"address": address, "catalog": settings.catalog, "workers": settings.workers}
        _log.info("listening on %s", address, extra={"fields": fields})
        if ready is not None:
            ready(address)
        run = _run_several if settings.workers > 1 else _run_one
        run(config, listening, stop)
        _log.info("stopped", extra={"fields": {"address": address}})


@dataclass(frozen=True, slots=True)
class _Factory:
    """Makes the application, in whichever process it is called."""

    settings: ApiSettings

    def __call__(self) -> Any:
        from api.app import create_app
        from api.service.stopping import Stopping

        settings = self.settings
        app = create_app(settings)
        return Stopping(
            app,
            app.state.health,
            drain_seconds=settings.drain_seconds,
            shutdown_seconds=settings.shutdown_seconds,
        )


class _Stop:
    """SIGTERM and SIGINT until the server takes them, and again when it has ended and hands them back."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.then: Callable[[], None] | None = None

    def __call__(self, *_: object) -> None:
        self.asked.set()
        if self.then is not None:
            self.then()


@contextmanager
def _stopped_in_order() -> Iterator[_Stop]:
    """A signal that comes before the server listens ends it too, and one that ended it does not end it again.

    uvicorn raises a signal anew when it has ended, which would make exit code -15 of an orderly end. And the first
    process of a container has no handlers but its own: without one, SIGTERM is ignored there until it is killed.
    """
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _config(settings: ApiSettings, app: Any, host: str, port: int, log_level: str) -> uvicorn.Config:
    from api.service.logs import configuration
    from api.service.protocol import BoundedProtocol, Config

    config = Config(
        app,
        factory=isinstance(app, _Factory),
        host=host,
        port=port,
        workers=settings.workers,
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        log_level=log_level,
        log_config=configuration(settings.log_format, log_level, requests=settings.log_requests),
        access_log=False,
        server_header=False,
        # Without it uvicorn, too, believes no X-Forwarded-* header.
        proxy_headers=settings.proxy_headers,
        limit_concurrency=settings.max_connections,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        # In uvicorn's 5 s a worker on a busy machine has not even imported what it needs, and would be killed for it.
        timeout_worker_healthcheck=_UNHEARD,
    )
    config.client_seconds = settings.client_seconds
    return config


def _run_one(config: uvicorn.Config, listening: socket.socket, stop: _Stop) -> None:
    import uvicorn

    server = uvicorn.Server(config)

    def end() -> None:
        server.should_exit = True

    stop.then = end
    if not stop.asked.is_set():
        server.run([listening])


def _run_several(config: uvicorn.Config, listening: socket.socket, stop: _Stop) -> None:
    from api.service.workers import Supervisor

    supervisor = Supervisor(config, sockets=[listening])
    if not stop.asked.is_set():
        supervisor.run()


def _serve_metrics(settings: ApiSettings, app: Any, stack: ExitStack) -> None:
    """Answer ``/metrics`` on an address of its own, from this process, for all workers."""
    from prometheus_client import start_http_server

    from api.service.metrics import readable

    where = settings.metrics_address
    assert where is not None
    registry = readable() if settings.workers > 1 else app.app.state.metrics.registry
    try:
        server, thread = start_http_server(where.port, where.host, registry)
    except OSError as error:
        raise StorageUnavailable(
            f"Metrics cannot be served on {where.host}:{where.port}: {error.strerror}.",
            hint="Choose another --metrics.",
        ) from error
    stack.callback(thread.join, 5)
    stack.callback(server.server_close)
    stack.callback(server.shutdown)
