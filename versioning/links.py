"""Links in a catalog on a disk: whoever wrote it could name any file that its reader or writer may open."""

from __future__ import annotations

import os
from pathlib import Path

from versioning.errors import Integrity

__all__ = ["refuse_links"]


def refuse_links(root: Path, path: str) -> None:
    """Refuse a file of a catalog that is a link, or lies below one; the catalog's own folder may be reached by one.

    It takes some 10 µs for an object. What is not there is no link.

    Raises
    ------
    Integrity
        If a link is on the way.
    """
    place = str(root)
    for part in path.split("/"):
        place = f"{place}{os.sep}{part}"
        if os.path.islink(place):  # noqa: PTH114 - a Path for each part takes three times as long
            raise Integrity(
                f"{path} is altered: {place} is a link, which no catalog holds.",
                hint="Copy what it leads to into its place, if you trust it.",
                kind="altered",
            )
