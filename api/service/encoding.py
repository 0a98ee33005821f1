"""Which compression an answer gets: the client's choice, by q (RFC 9110, 12.5.3), of brotli, gzip and none.

The compressors look for a name anywhere in ``Accept-Encoding``, so that ``br;q=0`` would mean brotli. They are given a
header in which only the one choice stands.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["EncodingChoice", "choose"]

# In the order in which they are taken where the client does not care: brotli's answers are a fifth smaller.
_KNOWN = ("br", "gzip")
_CODING = re.compile(
    r"\s*([A-Za-z0-9!#$%&'*+.^_`|~-]+)\s*(?:;\s*[qQ]\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*)?", re.ASCII
)
_LONGEST = 1_000


def choose(accepted: str | None) -> str:
    """``br``, ``gzip`` or ``identity``: what is accepted with the highest q. What cannot be read is not accepted."""
    weights: dict[str, float] = {}
    for part in (accepted or "")[:_LONGEST].split(","):
        if match := _CODING.fullmatch(part):
            name = match[1].lower()
            weights["gzip" if name == "x-gzip" else name] = float(match[2] or 1)
    every = weights.get("*", 0.0)
    best = max(_KNOWN, key=lambda name: weights.get(name, every))
    weight = weights.get(best, every)
    # identity is acceptable unless it is excluded, and preferred only where it is named.
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else "identity"


class EncodingChoice:
    """Chooses once, for the compressors below, and says that the answer depends on it (``Vary``).

    Parameters
    ----------
    app
        What answers, and compresses.
    uncompressed
        Paths below which nothing is ever compressed.
    """

    def __init__(self, app: ASGIApp, uncompressed: Sequence[str] = ()) -> None:
        self.app = app
        self._never = re.compile("|".join(uncompressed)) if uncompressed else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or (self._never and self._never.search(scope["path"])):
            await self.app(scope, receive, send)
            return
        chosen = choose(Headers(scope=scope).get("accept-encoding"))
        others = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]

        async def varied(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if "accept-encoding" not in ",".join(headers.getlist("vary")).lower():
                    headers.add_vary_header("Accept-Encoding")
            await send(message)

        headers = [*others, (b"accept-encoding", chosen.encode())]
        await self.app({**scope, "headers": headers}, receive, varied)
