"""How often who may ask: a moving window for each user, or for each client address where nobody is named."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Sequence
from threading import Lock

from api.access.refusals import TooMany
from api.access.scopes import Reader
from api.access.settings import RateSettings
from versioning.errors import InvalidInput

__all__ = ["Rates", "client_address"]

UNKNOWN = "unknown"
_MOST_KEYS = 10_000


def client_address(peer: tuple[str, int] | None, headers: Sequence[tuple[bytes, bytes]], *, proxied: bool) -> str:
    """The address of a client: its socket's, or what the nearest proxy says if all requests pass one.

    That is the last entry of ``X-Forwarded-For``, or of ``Forwarded`` (RFC 7239): those before it are the client's own
    words.
    """
    here = peer[0] if peer else UNKNOWN
    if not proxied:
        return here
    values = {
        name: b",".join(value for key, value in headers if key == name) for name in (b"x-forwarded-for", b"forwarded")
    }
    last = values[b"x-forwarded-for"].rpartition(b",")[2].strip()
    if not last:
        parts = values[b"forwarded"].rpartition(b",")[2].split(b";")
        last = next((part.strip()[4:] for part in parts if part.strip().lower().startswith(b"for=")), b"")
    return _address(last.decode("latin-1").strip('"')) or here


def _address(text: str) -> str | None:
    """An address without its port: ``[2001:db8::1]:80``, ``192.0.2.1:80``."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


class Rates:
    """Counts requests.

    Raises
    ------
    InvalidInput
        If the counts cannot be kept where the settings say.
    """

    def __init__(self, settings: RateSettings) -> None:
        from limits import parse_many
        from limits.errors import ConfigurationError
        from limits.storage import MemoryStorage, storage_from_string
        from limits.strategies import MovingWindowRateLimiter

        self._readers, self._anonymous = (
            parse_many(text) if text else [] for text in (settings.readers, settings.anonymous)
        )
        try:
            storage = storage_from_string(settings.storage)
            self._limiter = MovingWindowRateLimiter(storage)
        except (ConfigurationError, NotImplementedError, ValueError) as error:
            raise InvalidInput(
                f"rate.storage {settings.storage.partition('://')[0]}://… cannot be used: {error}.",
                hint="Use memory://, or install the client of the store that is named.",
            ) from error
        self._memory = storage if isinstance(storage, MemoryStorage) else None
        self._lock = Lock()

    @property
    def in_memory(self) -> bool:
        """Whether counting waits for nobody."""
        return self._memory is not None

    def hit(self, reader: Reader | None, address: str) -> None:
        """Count a request of a reader; None for one whose token was refused, which counts for the address.

        Raises
        ------
        TooMany
            If it is one too many.
        """
        if reader is None or reader.by is None:
            limits, key = self._anonymous, ("address", _network(address))
        else:
            limits, key = self._readers, (reader.by, reader.user)
        self._tidy()
        for limit in limits:
            if not self._limiter.hit(limit, *key):
                reset = self._limiter.get_window_stats(limit, *key).reset_time
                raise TooMany(max(1, math.ceil(reset - time.time())))

    def _tidy(self) -> None:
        """The memory of `limits` keeps the names of all who ever asked, with nothing behind them."""
        if self._memory is None or len(self._memory.events) <= _MOST_KEYS:
            return
        with self._lock:
            for key in [name for name, events in list(self._memory.events.items()) if not events]:
                self._memory.events.pop(key, None)


def _network(address: str) -> str:
    """Who has one IPv6 address has 2^64 of them: they count together."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address  # noqa: PLR2004
