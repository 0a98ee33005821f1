"""What a process does until it is killed; each act can be done again, and then gets to its end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from model_state import bytes_of, stored_item
from version_helpers import AUTHOR

from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.expire import expire
from versioning.gc import collect
from versioning.store import Store, open_store
from versioning.sync import sync

__all__ = ["ACTS", "NEW", "OLD", "prepare", "prepare_garbage"]

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


def do_sync(watched: Watched, source: str, url: str) -> dict[str, Any]:
    """One worker, so that the steps are always the same ones."""
    report = sync(watched(open_store(source)), watched(open_store(url, create=True)), workers=1)
    return {"copied": report.copied.count, "skipped": report.skipped.count, "in_sync": report.in_sync}


def prepare_garbage(store: Store) -> None:
    """A catalog with a version that has expired and one that lives, and with objects that nobody needs."""
    catalog = Catalog.create(store)
    put(catalog, {f"i{number:02d}0": 3 for number in range(16)})
    put(catalog, NEW)
    expire(catalog.dataset("ds"), versions=[1], why="old", author=AUTHOR, apply=True)
    for number in range(5):
        catalog.objects.put_bytes(f"orphan {number}".encode(), ".bin")


def do_collect(watched: Watched, url: str) -> dict[str, Any]:
    """Two runs, the second of which deletes what the first has condemned."""
    catalog = Catalog.open(watched(open_store(url)))
    first = collect(catalog, delay=timedelta(0), apply=True)
    second = collect(catalog, delay=timedelta(0), apply=True)
    return {
        "condemned": first.condemned.files + second.condemned.files,
        "deleted": first.deleted.files + second.deleted.files,
    }


def do_pull(watched: Watched, url: str, dest: str) -> dict[str, Any]:
    from loaders import catalog_source, open_pin

    real = catalog_source.open_mirrored
    with mock.patch.object(catalog_source, "open_mirrored", lambda *args, **more: watched(real(*args, **more))):
        report = open_pin(url, "ds").pull(dest, workers=1)
    return {"files": report.files, "fetched": report.fetched, "kept": report.kept}


def do_ingest(watched: Watched, url: str, folder: str) -> dict[str, Any]:
    from ingest import journal, recipe
    from ingest.publish import commit_staged
    from ingest.run import Run

    catalog = Catalog.create(watched(open_store(url, create=True)))
    with mock.patch.object(journal, "_EVERY", 1):  # each file is noted at once, not after five seconds
        run = Run(catalog, recipe.load_recipe(Path(folder) / "stacpin.yaml"), Path(folder), workers=1)
        run.plan()
        run.convert()
        run.check()
        staged = run.staged()
        if staged is None:
            return {"created": False, **run.summary()}
        run.verify()
        result = commit_staged(catalog, staged, message="m", author=AUTHOR)
    return {"created": result.created, "digest": result.version.digest, **run.summary()}


ACTS: dict[str, Callable[..., dict[str, Any]]] = {
    "commit": do_commit,
    "first": do_first_commit,
    "names": do_names,
    "sync": do_sync,
    "collect": do_collect,
    "pull": do_pull,
    "ingest": do_ingest,
}
