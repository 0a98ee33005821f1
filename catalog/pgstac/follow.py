"""The follower: brings what happened in the catalog into the index, in the order in which it happened.

Several may run at once: whoever comes second finds the work done. What a version needs is in the index before the
version is, and a pointer, a tag or an expiry only once the version that it is about is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from threading import Event

import psycopg

from catalog.pgstac.database import Database
from catalog.pgstac.publish import Published, publish, put_record
from catalog.pgstac.rows import OPEN
from catalog.pgstac.schema import prepare
from versioning.catalog import Catalog
from versioning.dataset import Dataset
from versioning.errors import NotFound, StacpinError, StorageUnavailable
from versioning.events import Listener, silent
from versioning.records import PointerRecord, TagRecord

__all__ = ["Follower", "Pass"]

_UNSEEN = """
    delete from pgstac.items i
    where collection = %s and (private->'u')::int4 < %s and not exists (
        select from pin.versions v
        where v.dataset = i.collection and v.live
          and v.seq >= (i.private->'f')::int4 and v.seq < (i.private->'u')::int4
    )
"""


@dataclass(slots=True)
class Pass:
    """What one look at the catalog brought into the index; ``failed`` has what could not be indexed, by dataset."""

    versions: list[Published] = field(default_factory=list)
    names: int = 0
    pruned: int = 0
    failed: dict[str, StacpinError] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.versions or self.names or self.pruned or self.failed)


class Follower:
    """Follows one catalog into one database.

    Parameters
    ----------
    catalog
        The catalog itself, not a copy.
    database
        Where its index is, or is to be.
    listener
        What is told how far it is.
    """

    def __init__(self, catalog: Catalog, database: Database, *, listener: Listener = silent) -> None:
        self.catalog = catalog
        self.database = database
        self._listener = listener

    def prepare(self) -> int | None:
        """Make the schema, or bring it up to date. See :func:`catalog.pgstac.schema.prepare`."""
        return prepare(self.database, self.catalog.record.id)

    def step(self) -> Pass:
        """Look at the catalog once. What fails of one dataset does not hold up the others.

        Raises
        ------
        StorageUnavailable
            If the catalog or the database does not answer, and did not for as long as the database has patience.
        """
        done = Pass()
        with self.database.keep():
            for dataset_id in self.catalog.dataset_ids():
                try:
                    self._follow(self.catalog.dataset(dataset_id), done)
                except StorageUnavailable:
                    raise
                except StacpinError as error:
                    done.failed[dataset_id] = error
            self.database.run(lambda connection: connection.execute("update pin.state set checked = now()"))
        return done

    def watch(self, seconds: float, stop: Event) -> Iterator[Pass]:
        """Look again and again: what each look brought. What does not answer is told as failed and tried again.

        Parameters
        ----------
        seconds
            How long to wait between two looks.
        stop
            Ends it before the next look.
        """
        while not stop.is_set():
            try:
                yield self.step()
            except StorageUnavailable as error:
                yield Pass(failed={"": error})
            stop.wait(seconds)

    def rebuild(self) -> Pass:
        """Drop everything and index all versions anew; until then the index shows what is there already."""
        with self.database.connect() as connection:
            found = connection.execute("select id from pin.datasets order by id").fetchall()
        for (dataset_id,) in found:
            self.drop(dataset_id)
        return self.step()

    def drop(self, dataset_id: str) -> None:
        """Take a dataset out of the index. The next look at the catalog indexes it anew.

        Raises
        ------
        NotFound
            If the index does not have it.
        """
        self.database.run(partial(_drop, dataset_id=dataset_id))

    def _follow(self, dataset: Dataset, done: Pass) -> None:
        head = dataset.head()
        indexed = self.database.run(partial(_watermark, dataset_id=dataset.id, head=head))
        for number in range(indexed + 1, head + 1):
            work = partial(publish, dataset=dataset, number=number, listener=self._listener)
            published = self.database.run(work)
            if published is not None:
                done.versions.append(published)
        names, pruned = self.database.run(partial(_copy_names, dataset=dataset))
        done.names += names
        done.pruned += pruned


def _watermark(connection: psycopg.Connection, *, dataset_id: str, head: int) -> int:
    row = connection.execute(
        "insert into pin.datasets (id, head, behind) values (%s, %s, now()) on conflict (id) do update"
        " set head = greatest(datasets.head, excluded.head),"
        " behind = case when excluded.head > datasets.indexed then coalesce(datasets.behind, now()) end"
        " returning indexed",
        (dataset_id, head),
    ).fetchone()
    assert row is not None
    return row[0]


def _known(connection: psycopg.Connection, folder: str) -> set[str]:
    found = connection.execute(
        "select path from pin.records where path >= %s and path < %s and data is not null",
        (folder, folder + "\U0010ffff"),
    )
    return {path for (path,) in found}


def _next_state(connection: psycopg.Connection) -> int:
    row = connection.execute("update pin.state set state = state + 1 returning state").fetchone()
    assert row is not None
    return row[0]


def _copy_names(connection: psycopg.Connection, *, dataset: Dataset) -> tuple[int, int]:
    """Copy pointer moves, tags and expiries of what is indexed: how many, and how many revisions nobody sees now."""
    store = dataset.store
    found = [entry.path for part in ("pointers", "tags", "expired") for entry in store.list(f"{dataset.folder}/{part}")]
    known = _known(connection, f"{dataset.folder}/")
    new = sorted(path for path in found if path not in known and path.endswith(".json"))
    if not new:
        return 0, 0
    connection.execute("select from pin.state for update")
    row = connection.execute("select indexed from pin.datasets where id = %s", (dataset.id,)).fetchone()
    indexed = 0 if row is None else row[0]
    ready = [(path, data) for path, data in ((path, store.get(path)) for path in new) if _about(path, data) <= indexed]
    if not ready:
        return 0, 0
    state = _next_state(connection)
    for path, data in ready:
        put_record(connection, path, data, state)
    return len(ready), _retire(connection, dataset, [path for path, _ in ready if "/expired/" in path])


def _about(path: str, data: bytes) -> int:
    """Up to which version must be indexed before a record makes sense."""
    kind = path.split("/")[2]
    if kind == "pointers":
        return PointerRecord.decode(data, where=path).seen
    if kind == "tags":
        return TagRecord.decode(data, where=path).target
    return _number(path)


def _number(path: str) -> int:
    return int(path.rpartition("/")[2].removesuffix(".json"))


def _retire(connection: psycopg.Connection, dataset: Dataset, paths: list[str]) -> int:
    if not paths:
        return 0
    numbers = [_number(path) for path in paths]
    connection.execute(
        "update pin.versions set live = false where dataset = %s and number = any(%s)", (dataset.id, numbers)
    )
    # What is open stays, seen or not: the next version is compared with it.
    return connection.execute(_UNSEEN, (dataset.id, OPEN)).rowcount


def _drop(connection: psycopg.Connection, *, dataset_id: str) -> None:
    connection.execute("select from pin.state for update")
    if connection.execute("delete from pin.datasets where id = %s", (dataset_id,)).rowcount == 0:
        raise NotFound(f"The index has no dataset {dataset_id[:100]!r}.", kind="no-such-dataset")
    connection.execute("delete from pgstac.collections where id = %s", (dataset_id,))
    state = _next_state(connection)
    folder = f"datasets/{dataset_id}/"
    connection.execute(
        "update pin.records set data = null, state = %s where path >= %s and path < %s",
        (state, folder, folder + "\U0010ffff"),
    )
