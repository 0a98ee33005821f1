"""The store by itself: every file of a folder becomes an object, and one commit names them all.

In a process of its own, so that its memory can be told: python -m benchmarks.store.snapshot CATALOG FOLDER [THREADS].
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.objects import ObjectRef

_UNDER_WAY = 256


def main() -> None:
    catalog, folder = Catalog.create(sys.argv[1]), Path(sys.argv[2])
    threads = int(sys.argv[3]) if len(sys.argv) > 3 else os.cpu_count() or 1
    files = sorted(folder.rglob("*.tif"))
    with ThreadPoolExecutor(threads) as pool:
        items = map(_item, files, _stored(pool, catalog, files))
        made = commit(catalog.dataset("tiles"), items=items, message="all", author="bench")
    print(made.version)


def _stored(pool: Executor, catalog: Catalog, files: Iterable[Path]) -> Iterator[ObjectRef]:
    """What each file has become, in order; some hundreds are under way, not all: 20,000 futures take 40 MB."""
    waiting: deque[Future[ObjectRef]] = deque()
    for path in files:
        waiting.append(pool.submit(catalog.objects.put_file, path))
        if len(waiting) > _UNDER_WAY:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _item(path: Path, ref: ObjectRef) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": path.stem,
        "geometry": None,
        "properties": {"datetime": "2026-01-01T00:00:00Z"},
        "assets": {"image": {"href": ref.href, "file:checksum": ref.checksum, "file:size": ref.size}},
    }


if __name__ == "__main__":
    main()
