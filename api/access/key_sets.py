"""The keys of an issuer of tokens, from a file or an address (RFC 7517): kept for a while, asked again for new ones."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from versioning.errors import StorageUnavailable

if TYPE_CHECKING:
    from joserfc.jwk import Key

__all__ = ["KeyRing", "fetch", "parse_keys"]

_log = logging.getLogger(__name__)
_LONGEST = 1024 * 1024
_PATIENCE = 5.0
# Whoever sends tokens with made-up key ids makes us ask the issuer no oftener than this.
_PAUSE = 30.0
# An issuer that is away does not lock everybody out at once: keys are believed for so many times their usual life.
_STALE = 24
_SHORTEST_RSA = 2048


class KeyRing:
    """The keys that tokens may be signed with.

    Parameters
    ----------
    read
        Gives the set as JSON; it may take a while, and may fail with OSError.
    seconds
        For how long a set is kept. A key id that is not in it makes us look again before that.
    clock
        What gives the time in seconds; for tests.
    """

    def __init__(
        self, read: Callable[[], bytes], *, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._seconds = seconds
        self._clock = clock
        self._lock = Lock()
        self._keys: list[Key] = []
        self._read_at: float | None = None
        self._tried_at: float | None = None

    @classmethod
    def of_file(cls, path: Path, *, seconds: float) -> KeyRing:
        """The keys in a file, which may be replaced while the API runs."""
        return cls(path.read_bytes, seconds=seconds)

    @classmethod
    def of_url(cls, url: str, *, seconds: float) -> KeyRing:
        """The keys at an address."""
        return cls(lambda: fetch(url), seconds=seconds)

    def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key of a token's header, None if there is none; without an id, only if no other could be meant.

        Raises
        ------
        StorageUnavailable
            If the keys cannot be read, and none that were read before are young enough.
        """
        with self._lock:
            now = self._clock()
            if self._read_at is None or now - self._read_at >= self._seconds:
                self._again(now)
            found = _pick(self._keys, kid, algorithm)
            if found is None and self._tried_at is not None and now - self._tried_at >= _PAUSE:
                self._again(now)
                found = _pick(self._keys, kid, algorithm)
            return found

    def _again(self, now: float) -> None:
        waiting = self._tried_at is not None and now - self._tried_at < _PAUSE
        if not waiting or self._read_at is None:
            self._tried_at = now
            try:
                self._keys, self._read_at = parse_keys(self._read()), now
            except (OSError, ValueError) as error:
                _log.warning("The keys of the token issuer cannot be read: %s", error)
        if self._read_at is None or now - self._read_at > self._seconds * _STALE:
            raise StorageUnavailable("The keys of the token issuer cannot be read.", hint="Try again later.")


def parse_keys(data: bytes) -> list[Key]:
    """The keys of a JSON Web Key Set that signatures can be checked with; others are left out (RFC 7517, section 5).

    Raises
    ------
    ValueError
        If it is not a key set.
    """
    from joserfc.errors import JoseError
    from joserfc.jwk import JWKRegistry

    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not JSON") from error
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("it has no list of keys")  # noqa: TRY004 - a file that says something else
    found: list[Key] = []
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        try:
            if entry.get("kty") == "RSA" and _bits(entry["n"]) < _SHORTEST_RSA:
                _log.warning("A key of the token issuer is left out: RSA with fewer than %d bits.", _SHORTEST_RSA)
                continue
            found.append(JWKRegistry.import_key(entry))
        except (JoseError, ValueError, TypeError, KeyError, AttributeError):
            continue
    return found


def fetch(url: str) -> bytes:
    """What is at an address: at most a megabyte, within seconds, and from nowhere else.

    Raises
    ------
    OSError
        If it cannot be had.
    """
    import requests

    end = time.monotonic() + _PATIENCE
    # No redirects: the settings name the one place whose keys are believed.
    with requests.get(url, timeout=_PATIENCE, allow_redirects=False, stream=True) as answer:
        if answer.status_code != requests.codes.ok:
            raise OSError(f"{url} answers {answer.status_code}")
        data = b""
        for part in answer.iter_content(65536):
            data += part
            if len(data) > _LONGEST or time.monotonic() > end:
                raise OSError(f"{url} answers too much, or too slowly")
        return data


def _bits(modulus: str) -> int:
    padded = modulus + "=" * (-len(modulus) % 4)
    return int.from_bytes(base64.urlsafe_b64decode(padded)).bit_length()


def _pick(keys: list[Key], kid: str | None, algorithm: str) -> Key | None:
    kind = {"R": "RSA", "P": "RSA", "H": "oct"}.get(algorithm[0], "EC" if algorithm.startswith("ES") else "OKP")
    fitting = [key for key in keys if key.key_type == kind and key.get("alg") in {None, algorithm}]
    if kid is None:
        return fitting[0] if len(fitting) == 1 else None
    return next((key for key in fitting if key.get("kid") == kid), None)
