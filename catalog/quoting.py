"""How a value from outside is quoted in an error: short, whatever it is."""

from __future__ import annotations

import reprlib

__all__ = ["brief"]

_short = reprlib.Repr()
_short.maxlevel, _short.maxtuple, _short.maxlist, _short.maxdict = 2, 7, 7, 4
_short.maxstring, _short.maxother, _short.maxlong = 120, 80, 40


def brief(value: object) -> str:
    """A value in at most some hundred characters; also one that is nested 10,000 deep, which ``repr`` cannot write."""
    try:
        return _short.repr(value)[:300]
    except (ValueError, RecursionError):
        return f"a {type(value).__name__}"
