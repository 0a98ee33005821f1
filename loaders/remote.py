"""Bytes over HTTP, and the one place where the errors of HTTP become ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from loaders.source import PEEKED, Peek
from versioning.errors import (
    Conflict,
    Expired,
    Forbidden,
    InvalidInput,
    NotFound,
    StacpinError,
    StorageUnavailable,
)

if TYPE_CHECKING:
    from requests import Response, Session

__all__ = ["HttpReader", "http_error"]

_TIMEOUT = (10, 60)  # seconds to connect, and between two blocks
_BLOCK = 1024 * 1024
_SHOWN = 300
_ERROR = 64 * 1024  # of an error's answer no more is read
# The longest answers are a dataset's history, a page of 100 versions of some kilobytes, and a collection.
_JSON = 64 * 1024 * 1024
_BY_STATUS: dict[int, type[StacpinError]] = {
    400: InvalidInput,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Expired,
    422: InvalidInput,
}


class HttpReader:
    """Reads URLs with retries; each thread has a connection pool of its own, since sessions are not thread-safe.

    ``token`` is sent to what lies below ``base``, and to nobody else.
    """

    def __init__(self, base: str | None = None, token: str | None = None) -> None:
        self._local = threading.local()
        self._base = None if base is None else base.rstrip("/")
        self._token = token

    @property
    def authorization(self) -> dict[str, str]:
        """The headers that prove who asks, for what lies below the base."""
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def json(self, url: str, params: dict[str, str] | None = None) -> Any:
        """A JSON document.

        Raises
        ------
        StacpinError
            What the server refused, as the class that the status stands for.
        """
        import orjson

        with self._asked(url, params=params) as response:
            data = _bounded(response, url)
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise StorageUnavailable(f"{url} did not answer with JSON.", hint="Is it a STAC API's URL?") from error

    def hrefs(self, url: str) -> Iterator[str]:
        """The ``href`` of each line of a stream of JSON lines.

        Raises
        ------
        StorageUnavailable
            If it is something else.
        """
        import orjson

        with self._asked(url) as response:
            for line in response.iter_lines(_BLOCK):
                try:
                    yield str(orjson.loads(line)["href"])
                except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                    raise StorageUnavailable(f"{url} did not answer with JSON lines.", hint="Try again.") from error

    def peek(self, url: str) -> Peek | None:
        """The size of what is at a URL and its first bytes, in one request; None if there is nothing."""
        try:
            with self._asked(url, headers={"Range": f"bytes=0-{PEEKED - 1}"}) as response:
                # A server without ranges answers 200 and begins with all of it.
                total = response.headers.get("Content-Range") or response.headers["Content-Length"]
                return Peek(int(total.rpartition("/")[2]), next(response.iter_content(PEEKED), b""))
        except NotFound:
            return None
        except (KeyError, ValueError) as error:
            raise StorageUnavailable(f"{url} does not say how large it is.") from error

    def read(self, url: str) -> Iterator[memoryview]:
        """The bytes at a URL, about a megabyte at a time, as they are stored (no content encoding)."""
        with self._asked(url) as response:
            for block in response.iter_content(_BLOCK):
                yield memoryview(block)

    @contextmanager
    def _asked(
        self, url: str, *, params: dict[str, str] | None = None, headers: dict[str, str] | None = None
    ) -> Iterator[Response]:
        import requests

        session = self._session()
        if self._base is not None and (url == self._base or url.startswith((f"{self._base}/", f"{self._base}?"))):
            headers = {**self.authorization, **(headers or {})}
        try:
            with session.request(
                "GET", url, params=params, headers=headers, timeout=_TIMEOUT, stream=True, allow_redirects=True
            ) as response:
                if not response.ok:
                    raise http_error(url, response.status_code, next(response.iter_content(_ERROR), b""))
                yield response
        except requests.RequestException as error:
            raise StorageUnavailable(
                f"{url} did not answer ({type(error).__name__}).", hint="Check that the server is up, then try again."
            ) from error

    def _session(self) -> Session:
        session = getattr(self._local, "session", None)
        if session is None:
            import requests
            from requests.adapters import HTTPAdapter
            from urllib3.util import Retry

            retry = Retry(
                5, connect=2, backoff_factor=0.2, status_forcelist=(429, 502, 503, 504), raise_on_status=False
            )
            session = requests.Session()
            session.headers["Accept-Encoding"] = "identity"
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=retry))
            self._local.session = session
        return session


def _bounded(response: Response, url: str) -> bytes:
    """The body of an answer, of which a stranger's server could send without end."""
    data = bytearray()
    for block in response.iter_content(_BLOCK):
        data += block
        if len(data) > _JSON:
            raise InvalidInput(
                f"{url} answered with more than {_JSON} bytes of JSON.",
                hint="Is it a STAC API's URL?",
                kind="too-large",
            )
    return bytes(data)


def http_error(url: str, status: int, body: bytes | str) -> StacpinError:
    """The error for an answer of a STAC API: its own words, where it has any."""
    import orjson

    message, hint, kind = f"{url} answered {status}.", None, None
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if isinstance(document, dict):
        said = document.get("description") or document.get("detail")
        if isinstance(said, str) and said:
            message = said[:_SHOWN]
        found = (document.get("hint"), document.get("code"))
        hint, kind = (value if isinstance(value, str) else None for value in found)
    return _BY_STATUS.get(status, StorageUnavailable)(message, hint=hint, kind=kind)
