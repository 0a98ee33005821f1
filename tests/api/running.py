"""The API in the test's process: asked as an application, or over a real socket."""

from __future__ import annotations

import atexit
import socket
import threading
import time
import warnings
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import uvicorn
from anyio.from_thread import start_blocking_portal

from api.app import create_app
from api.settings import ApiSettings

if TYPE_CHECKING:
    from anyio.abc import BlockingPortal
    from fastapi import FastAPI

with warnings.catch_warnings():
    # Starlette 1.x deprecates httpx in favour of a package that is not among our dependencies; nothing else is ignored.
    warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")
    from starlette.testclient import TestClient


@cache
def _portal() -> BlockingPortal:
    """One event loop for all clients of a process: Starlette's own two for each request take a third of its time."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(start_blocking_portal())


def client_of_app(app: FastAPI, **options: Any) -> TestClient:
    """A client of an application, whose failures come as answers."""
    client = TestClient(app, base_url="http://api.test", raise_server_exceptions=False, **options)
    client.portal = _portal()
    return client


class Server:
    """uvicorn in a thread, on a free port of this machine."""

    def __init__(self, folder: Path, **options) -> None:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        app = create_app(ApiSettings(catalog=str(folder), **options))
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        for _ in range(200):
            if self.server.started:
                return self
            time.sleep(0.02)
        raise TimeoutError("the server did not start")

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()
