"""The order of a search's answers, and the tokens that name a place in it."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import orjson

from catalog.query import Query, SortField
from catalog.scan import Found
from versioning.errors import InvalidInput
from versioning.overlays import places_of
from versioning.snapshots import Chunk
from versioning.version import Version

__all__ = ["Order", "Token", "identity", "in_order", "make_order"]

_DEFAULT: tuple[SortField, ...] = (("datetime", "desc"),)
_LONGEST = 1_000
_HINT = "Take it from a next or prev link of the same search, or start again without it."


@dataclass(frozen=True, slots=True)
class Token:
    """A place in the answers of one search: the pages after an item, or before it."""

    direction: Literal["next", "prev"]
    collection: str
    item: str

    @classmethod
    def at(cls, direction: Literal["next", "prev"], item: dict[str, Any]) -> Token:
        """The token of the pages after an item of an answer, or before it."""
        return cls(direction, item["collection"], item["id"])

    def encode(self, search: str) -> str:
        """The token as opaque text that belongs to one search."""
        data = orjson.dumps([self.direction, self.collection, self.item, search])
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str, search: str) -> Token:
        """Read a token.

        Raises
        ------
        InvalidInput
            If it is not a token, or belongs to another search.
        """
        parts: object = None
        if isinstance(text, str) and len(text) <= _LONGEST and text.isascii():
            try:
                parts = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
            except (binascii.Error, orjson.JSONDecodeError):
                parts = None
        match parts:
            case ["next" | "prev" as direction, str(collection), str(item), str(owner)]:
                if owner == search:
                    return cls(direction, collection, item)
                raise InvalidInput("The paging token belongs to another search.", hint=_HINT, kind="invalid-token")
            case _:
                # Without what was given: people take the parameter for that of their access token.
                raise InvalidInput("What was given as token is not a paging token.", hint=_HINT, kind="invalid-token")


def in_order(versions: Sequence[Version]) -> list[Version]:
    """The versions that one search is asked of, in the order of their collection ids.

    Raises
    ------
    InvalidInput
        If two of them are of one dataset.
    """
    ordered = sorted(versions, key=lambda version: version.collection_id)
    for one, two in pairwise(ordered):
        if one.dataset == two.dataset:
            raise InvalidInput(
                f"{one.pin} and {two.pin} are versions of one dataset.",
                hint="Search one of them at a time, or use diff.",
            )
    return ordered


def identity(versions: Sequence[Version], query: Query) -> str:
    """What a token belongs to: the query and the exact versions it is asked of."""
    state = hashlib.sha256(query.digest.encode())
    for version in versions:
        state.update(f"\n{version.collection_id} {version.digest}".encode())
    return state.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Order:
    """All matches of a search in their order, as places of rows: 12 bytes a match, so that it can be remembered."""

    chunks: tuple[tuple[int, Chunk], ...]
    first: np.ndarray
    rows: np.ndarray
    order: np.ndarray

    def __len__(self) -> int:
        return len(self.order)

    @property
    def nbytes(self) -> int:
        """The memory it takes, about."""
        return self.rows.nbytes + self.order.nbytes + self.first.nbytes + 500 * (2 + len(self.chunks))

    def places(self, start: int, stop: int) -> list[tuple[int, int]]:
        """For each match of a page the number of its chunk in :attr:`chunks`, and its row there."""
        matches = self.order[start:stop]
        parts = np.searchsorted(self.first, matches, side="right") - 1
        return list(zip(parts.tolist(), self.rows[matches].tolist(), strict=True))

    def position(self, versions: Sequence[Version], token: Token) -> int:
        """Where the token's item stands.

        Raises
        ------
        InvalidInput
            If the search does not find that item.
        """
        for part, (number, chunk) in enumerate(self.chunks):
            version = versions[number]
            if version.collection_id == token.collection and chunk.first_id <= token.item <= chunk.last_id:
                row = places_of(version.table(chunk, ("id",)), (token.item,)).get(token.item)
                begin = int(self.first[part])
                end = int(self.first[part + 1]) if part + 1 < len(self.first) else len(self.rows)
                found = np.flatnonzero(self.rows[begin:end] == row)
                if row is not None and len(found):
                    return int(np.flatnonzero(self.order == begin + int(found[0]))[0])
        raise InvalidInput(
            "The paging token names an item that this search does not find.", hint=_HINT, kind="invalid-token"
        )


def make_order(
    versions: Sequence[Version],
    chunks: Sequence[tuple[int, Chunk]],
    found: Sequence[Found],
    sortby: tuple[SortField, ...],
) -> Order:
    """Put all matches in order, as pgstac 0.10 does.

    The default is ``datetime`` descending. Collection and id are appended in the direction of the first field; nulls
    come last when ascending and first when descending (``sortby_with_tiebreakers``, ``sort_sqlorderby``).

    Parameters
    ----------
    versions
        In the order of their collection ids.
    chunks, found
        The scanned chunks with the number of their version, in the order of versions and ids, and their matches.
    sortby
        The fields asked for.
    """
    pairs = [(pair, part) for pair, part in zip(chunks, found, strict=True) if len(part.rows)]
    sizes = [len(part.rows) for _, part in pairs]
    count = sum(sizes)
    fields = sortby or _DEFAULT
    # Matches come in the order of collection and id: that is the tie-breaker, as it is or backwards.
    order = np.arange(count, dtype=np.int32)
    if fields[0][1] == "desc":
        order = order[::-1]
    for field, direction in reversed(fields):
        keys = _keys(field, versions, pairs, sizes)
        if isinstance(keys, np.ndarray):
            taken = keys[order]
            order = order[np.argsort(-taken if direction == "desc" else taken, kind="stable")]
        else:
            ranked = sorted(order.tolist(), key=keys.__getitem__, reverse=direction == "desc")
            order = np.array(ranked, dtype=np.int32)
    return Order(
        chunks=tuple(pair for pair, _ in pairs),
        first=np.cumsum([0, *sizes[:-1]]) if sizes else np.empty(0, dtype=np.int64),
        rows=np.concatenate([part.rows for _, part in pairs]) if pairs else np.empty(0, dtype=np.int32),
        order=order.astype(np.int32),
    )


def _keys(
    field: str, versions: Sequence[Version], pairs: Sequence[tuple[tuple[int, Chunk], Found]], sizes: Sequence[int]
) -> np.ndarray | list:
    if not pairs:
        return np.empty(0, dtype=np.int64)
    if field in {"datetime", "start_datetime"}:
        return np.concatenate([part.start for _, part in pairs])
    if field == "end_datetime":
        return np.concatenate([part.end for _, part in pairs])
    if field == "collection":
        return np.repeat([number for (number, _), _ in pairs], sizes)
    if field == "id":
        ids: list[str] = []
        for (number, chunk), part in pairs:
            column = versions[number].table(chunk, ("id",)).column("id")
            ids += column.take(part.rows).to_pylist()
        return ids
    return [key for _, part in pairs for key in part.keys[field]]
