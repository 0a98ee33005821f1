"""Files that earlier pulls left in a folder: they stay ours, with the hash that each was brought with.

.stacpin/former.ndjson holds one a line, {"path", "sha256", "size"}: the files that the last pull did not ask for. What
it asked for is in its own list of items.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import orjson

from versioning.errors import Integrity

__all__ = ["FORMER", "FormerFile", "decode_former", "encode_former", "read_former"]


FORMER = "former.ndjson"
_PATH = re.compile(r"[^/\\\0]+/[^/\\\0]+")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class FormerFile(NamedTuple):
    """A file as a pull made it; ``sha256`` in hexadecimal digits, ``size`` in bytes."""

    sha256: str
    size: int


def read_former(path: Path) -> dict[str, FormerFile]:
    """The files of earlier pulls, by their paths in the folder; none if there is no list.

    Raises
    ------
    Integrity
        If the list is damaged.
    """
    try:
        return decode_former(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Integrity(
            f"{path} is altered: {error}.", hint="Delete it, and what earlier pulls have left.", kind="altered"
        ) from error


def encode_former(files: Iterable[tuple[str, FormerFile]]) -> bytes:
    """The list as bytes."""
    return b"".join(
        orjson.dumps({"path": path, "sha256": file.sha256, "size": file.size}, option=orjson.OPT_APPEND_NEWLINE)
        for path, file in files
    )


def decode_former(data: bytes) -> dict[str, FormerFile]:
    """The list from bytes; ValueError, KeyError or TypeError if it is none, or leads out of the folder."""
    found: dict[str, FormerFile] = {}
    for line in data.splitlines():
        entry = orjson.loads(line)
        path, digest, size = entry["path"], entry["sha256"], entry["size"]
        if not _PATH.fullmatch(path) or ".." in path.split("/") or not _DIGEST.fullmatch(digest):
            raise ValueError(f"{path!r} is no file of a pull")
        found[path] = FormerFile(digest, int(size))
    return found
