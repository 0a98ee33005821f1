"""Every hash of catalog format 1: one prefix a kind, two fixed levels of leaves and pages below a root.

Digests are defined on logical rows, never on file bytes. An item's digest is the plain sha256 of its canonical JSON
(which begins with ``{``, so it cannot be mistaken for any of the prefixed kinds below).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal

from versioning.canonical import canonical
from versioning.errors import InvalidInput

__all__ = [
    "DIGEST_SIZE",
    "digest_text",
    "leaf_digest",
    "multihash",
    "page_digest",
    "parse_digest",
    "parse_multihash",
    "root_digest",
    "sha256",
    "tree",
    "version_digest",
]

DIGEST_SIZE = 32
Family = Literal["digest", "content"]

# "digest" proves bytes, "content" decides what is a change; each family and each level has a prefix of its own.
_PREFIX: dict[tuple[Family, str], bytes] = {
    (family, level): f"stacpin/1/{family}/{level}\n".encode()
    for family in ("digest", "content")
    for level in ("leaf", "page", "root", "version")
}
_COLLECTION_PREFIX = b"stacpin/1/collection\n"
_MULTIHASH = "1220"


def sha256(*parts: bytes | memoryview) -> bytes:
    """The sha256 of the concatenated parts, 32 bytes."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return state.digest()


def leaf_digest(rows: Iterable[bytes | memoryview], *, family: Family = "digest") -> bytes:
    """The digest of a chunk: over the digests of its items, in the byte order of their ids."""
    return sha256(_PREFIX[family, "leaf"], *rows)


def page_digest(leaves: Iterable[bytes], *, family: Family = "digest") -> bytes:
    """The digest of a page: over the leaves of its chunks, in order."""
    return sha256(_PREFIX[family, "page"], *leaves)


def root_digest(pages: Iterable[bytes], *, family: Family = "digest") -> bytes:
    """The digest of a snapshot: over its pages. The empty set is the root of no pages."""
    return sha256(_PREFIX[family, "root"], *pages)


def version_digest(root: bytes, collection: dict[str, object], *, family: Family = "digest") -> str:
    """A version's digest as text: over the snapshot's root and the hash of the collection's metadata."""
    metadata = sha256(_COLLECTION_PREFIX, canonical(collection, where="collection metadata"))
    return digest_text(sha256(_PREFIX[family, "version"], root, metadata))


def digest_text(raw: bytes) -> str:
    """``sha256:`` and 64 hexadecimal digits."""
    return f"sha256:{raw.hex()}"


def parse_digest(text: object) -> bytes:
    """The 32 bytes of ``sha256:<hex>``.

    Raises
    ------
    InvalidInput
        If the text is not of that form.
    """
    if isinstance(text, str) and text.startswith("sha256:"):
        raw = _hex(text[7:])
        if raw is not None:
            return raw
    raise InvalidInput(f"{text!r} is not a digest.", hint="A digest is sha256: and 64 hexadecimal digits.")


def multihash(raw: bytes) -> str:
    """A sha2-256 multihash, as the file extension wants it: ``1220`` and 64 hexadecimal digits."""
    return _MULTIHASH + raw.hex()


def parse_multihash(text: object) -> bytes:
    """The 32 bytes of a sha2-256 multihash.

    Raises
    ------
    InvalidInput
        If the text is anything else; other hash functions are not accepted.
    """
    if isinstance(text, str) and text.startswith(_MULTIHASH):
        raw = _hex(text[4:])
        if raw is not None:
            return raw
    raise InvalidInput(f"{text!r} is not a sha2-256 multihash.", hint="It is 1220 and 64 hexadecimal digits.")


def tree(leaves: Sequence[bytes], page_ends: Sequence[int], *, family: Family = "digest") -> bytes:
    """The root over leaves that are cut into pages; ``page_ends`` are the exclusive ends of the pages."""
    starts = [0, *page_ends][: len(page_ends)]
    return root_digest(
        (page_digest(leaves[start:end], family=family) for start, end in zip(starts, page_ends, strict=True)),
        family=family,
    )


def _hex(text: str) -> bytes | None:
    if len(text) != 2 * DIGEST_SIZE or text != text.lower():
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None
