"""A writer in a process of its own: told what to commit, it says line by line what came of it."""

from __future__ import annotations

import json
import sys

from model_state import bytes_of, stored_item
from version_helpers import AUTHOR, small_chunks

from versioning.catalog import Catalog
from versioning.commit import CommitResult, commit
from versioning.errors import Conflict


def put(catalog: Catalog, content: dict[str, int]) -> CommitResult:
    """Store the objects of some items and commit them, made from version 1."""
    for data in sorted({bytes_of(key, value) for key, value in content.items()}):
        catalog.objects.put_bytes(data, ".bin")
    dataset = catalog.dataset("ds")
    items = [stored_item(key, value) for key, value in content.items()]
    return commit(dataset, items=items, base=dataset.version(1), message="m", author=AUTHOR)


def say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main(url: str, who: int, rounds: int, shared: str) -> None:
    catalog = Catalog.open(url)
    say(ready=who)
    sys.stdin.readline()
    with small_chunks():
        for number in range(rounds):
            # Two items that come together: whoever sees one of them must see the other.
            own = {f"w{who}-{number}-a": number, f"w{who}-{number}-b": number}
            try:
                done = put(catalog, own | ({f"{shared}{number}": who + 1} if shared else {}))
                say(round=number, landed=done.version.number)
            except Conflict as error:
                say(round=number, conflict=error.message)
                done = put(catalog, own)
                say(round=number, landed=done.version.number)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
