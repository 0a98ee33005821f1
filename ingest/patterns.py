"""Matching a recipe's regular expressions within a time limit: a recipe may come from a stranger.

``re`` holds the interpreter for ever on an expression such as ``(a|aa)+$``, and nothing can stop it. The package regex
takes a time limit, also in threads; it is asked only where the layer has a ``pattern``.
"""

from __future__ import annotations

import time
from pathlib import Path

from versioning.errors import InvalidInput

__all__ = ["PathPattern"]

_SECONDS = 5.0
_SECONDS_A_FILE = 0.001  # a sane pattern takes 3 µs for a path of 40 characters


class PathPattern:
    """The ``pattern`` of a layer.

    Parameters
    ----------
    expression
        A regular expression, which must match the end of a path.
    layer
        The layer's name, for errors.
    files
        How many paths there are; the limit is 5 seconds and a millisecond for each, all together.
    """

    def __init__(self, expression: str, *, layer: str, files: int) -> None:
        import regex

        self._text, self._layer = expression, layer
        self._limit = self._left = _SECONDS + _SECONDS_A_FILE * files
        try:
            self._search = regex.compile(f"(?:{expression})$").search
        except (regex.error, RecursionError, OverflowError) as error:
            raise InvalidInput(
                f"the pattern {expression!r} of layer {layer!r} is not a regular expression: {error}.",
                hint="Mend the pattern.",
                kind="invalid-recipe",
            ) from error

    def groups(self, below: str, path: Path) -> dict[str, str]:
        """The named groups that take part in the match of a path.

        Raises
        ------
        InvalidInput
            If the path does not match, or the layer's time is used up.
        """
        start = time.perf_counter()
        try:
            match = self._search(below, timeout=max(self._left, 1e-6))
        except TimeoutError as error:
            raise InvalidInput(
                f"the pattern {self._text!r} of layer {self._layer!r} took more than {self._limit:.0f} seconds, "
                f"most of all for {below!r}.",
                hint="Write it without repetitions inside repetitions, such as (a+)+ or (a|aa)*.",
                kind="slow-pattern",
            ) from error
        self._left -= time.perf_counter() - start
        if match is None:
            raise InvalidInput(
                f"{path}: its path {below!r} does not match the pattern {self._text!r} of layer {self._layer!r}.",
                hint="Mend the pattern, or narrow 'sources'.",
            )
        return {group: value for group, value in match.groupdict().items() if value is not None}
