"""What a process does until it is killed; each act can be done again, and then gets to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from model_state import bytes_of, stored_item
from version_helpers import AUTHOR

from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.store import Store, open_store

__all__ = ["ACTS", "NEW", "OLD", "prepare"]

Watched = Callable[[Store], Store]
# Ids that end in 0 share their objects.
OLD = {f"i{number:02d}0": 0 for number in range(16)}
NEW = OLD | {"i030": 1, "i110": 1, "x0": 1}


def put(catalog: Catalog, content: dict[str, int]) -> dict[str, Any]:
    """Store the objects of some items, and commit the items."""
    for data in sorted({bytes_of(key, value) for key, value in content.items()}):
        catalog.objects.put_bytes(data, ".bin")
    items = [stored_item(key, value) for key, value in content.items()]
    result = commit(catalog.dataset("ds"), items=items, message="m", author=AUTHOR)
    return {"version": result.version.number, "digest": result.version.digest, "created": result.created}


def prepare(store: Store) -> None:
    """A catalog with one version."""
    put(Catalog.create(store), OLD)


def do_commit(watched: Watched, url: str) -> dict[str, Any]:
    return put(Catalog.open(watched(open_store(url))), NEW)


def do_first_commit(watched: Watched, url: str) -> dict[str, Any]:
    """From an empty folder: the catalog is made too."""
    return put(Catalog.create(watched(open_store(url, create=True))), OLD)


def do_names(watched: Watched, url: str) -> dict[str, Any]:
    dataset = Catalog.open(watched(open_store(url))).dataset("ds")
    dataset.tag("v1.0.0", 1, author=AUTHOR)
    dataset.move("stable", 1, why="w", author=AUTHOR)
    return {}


ACTS: dict[str, Callable[..., dict[str, Any]]] = {
    "commit": do_commit,
    "first": do_first_commit,
    "names": do_names,
}
