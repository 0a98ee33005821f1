"""Signed hrefs: an expiry and an HMAC over path and expiry, in windows so that documents stay the same within one.

Objects are shared by their content: the same bytes may belong to a dataset that a reader may see and to one that the
reader may not even know of. So a token does not prove a right to an object, and telling whether it does would mean to
search all versions of all visible datasets. A signature proves it: it was given out in a document of a dataset that its
reader could see. Whoever has the address can read the object until it expires, as with the presigned URLs of S3.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

__all__ = ["HrefKeys", "HrefSigner"]

_EXPIRES = re.compile(r"[1-9][0-9]{0,11}")
_PURPOSE = b"stacpin href 1"


@dataclass(frozen=True, slots=True)
class HrefSigner:
    """Signs hrefs that all expire at one moment: those of one request.

    ``until`` is the end of the window (seconds since 1970), up to which documents are the same; ``expires`` is one
    window later, so that an href from a document that is still fresh lives at least so long.
    """

    key: bytes
    until: int
    expires: int

    def query(self, path: str) -> str:
        """The parameters for a path below the API's address, such as ``objects/ab/….tif``."""
        return urlencode({"expires": self.expires, "signature": _signature(self.key, path, str(self.expires))})

    @property
    def stamp(self) -> str:
        """What of an answer changes with the window and the key, for ETags; it tells nothing of the key."""
        return f"{self.until}:{_signature(self.key, 'stamp', str(self.until))[:8]}"


class HrefKeys:
    """The keys of hrefs. The first signs, all of them are accepted: so keys are changed without breaking hrefs.

    Parameters
    ----------
    keys
        At least one, of 32 bytes or more.
    seconds
        The length of a window; hrefs live between one and two of them.
    """

    def __init__(self, keys: Sequence[bytes], *, seconds: int) -> None:
        self._keys = tuple(keys)
        self._seconds = seconds

    def signer(self, now: float) -> HrefSigner:
        """What signs at a moment. Windows are counted from 1970: all servers of a catalog agree on them."""
        until = (int(now) // self._seconds + 1) * self._seconds
        return HrefSigner(self._keys[0], until, until + self._seconds)

    def valid_until(self, path: str, expires: str, signature: str, now: float) -> int | None:
        """When a signed path expires, in seconds since 1970; None if no key has signed it, or it is expired."""
        given = signature.encode("utf-8", "replace")
        if not _EXPIRES.fullmatch(expires):
            return None
        # Every key is tried, each compared in constant time: how long it takes tells nothing.
        known = [hmac.compare_digest(_signature(key, path, expires).encode(), given) for key in self._keys]
        return int(expires) if any(known) and now < int(expires) else None


def _signature(key: bytes, path: str, expires: str) -> str:
    # Neither part can hold a line feed where it is signed: no two pairs have the same text.
    text = b"\n".join((_PURPOSE, path.encode("utf-8", "surrogatepass"), expires.encode()))
    return base64.urlsafe_b64encode(hmac.new(key, text, hashlib.sha256).digest()).rstrip(b"=").decode()
