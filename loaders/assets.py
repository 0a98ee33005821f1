"""One asset of a pin: what to read, and how to prove it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from versioning.digests import multihash

__all__ = ["Asset"]


@dataclass(frozen=True, slots=True)
class Asset:
    """One asset of one item.

    ``href`` can be opened: an absolute path or a URL. ``stored`` is the href as the version has it. ``sha256`` is in
    hexadecimal digits, ``size`` in bytes.
    """

    item: str
    key: str
    href: str
    stored: str
    sha256: str
    size: int

    @property
    def checksum(self) -> str:
        """The digest as the STAC file extension writes it (a sha2-256 multihash)."""
        return multihash(bytes.fromhex(self.sha256))

    def to_dict(self) -> dict[str, Any]:
        """The asset for ``--json`` and NDJSON."""
        return asdict(self)
