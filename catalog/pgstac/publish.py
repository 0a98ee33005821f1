"""One version into the index, in one transaction with its record and the watermark: nobody sees half of it.

The version is compared with what the index holds of its dataset, which is the version indexed before it and not its
parent: by the chunks that the two do not share where that version can still be read, else by the digests in the index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import orjson
import psycopg
from psycopg import sql

from catalog.pgstac.rows import OPEN, IndexedRow, indexed_rows, revision_id
from versioning.dataset import Dataset
from versioning.diff import diff_versions
from versioning.errors import Expired, Integrity, NotFound
from versioning.events import Listener, Progress
from versioning.rows import Row
from versioning.version import Version

__all__ = ["Published", "publish", "put_record"]

_TOGETHER = 512
_LONGEST_NAME = 200  # that a search may sort by
_MOST_NAMES = 20_000
# What no item's time lies outside of; so that no later version makes pgstac rebuild its constraints (0.5 s each).
_WIDE = "[0001-01-01T00:00:00Z,9999-12-31T23:59:59.999999Z]"
_TABLE = "create temporary table revisions (id text, geometry text, datetime text, end_datetime text, content text,"
_CLOSE = """
    update pgstac.items set private = private || jsonb_build_object('u', %(seq)s::int)
    where collection = %(dataset)s and split_part(id, '!', 1) = any(%(ids)s)
      and (private->'u')::int4 = %(open)s
"""
_INSERT = """
    insert into pgstac.items (id, geometry, collection, datetime, end_datetime, content, private)
    select id, geometry::geometry, %(dataset)s, datetime::timestamptz, end_datetime::timestamptz, content::jsonb,
        private::jsonb
    from revisions
"""


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a version: how many revisions it began and ended, None if another follower had it first."""

    pin: str
    added: int
    closed: int
    expired: bool = False


def publish(connection: psycopg.Connection, dataset: Dataset, number: int, *, listener: Listener) -> Published | None:
    """Index one version; within the transaction that the connection is in. None if it is indexed already.

    Raises
    ------
    Integrity
        If the catalog's manifests are damaged, or the index is not what it says: it has to be rebuilt then.
    """
    # Serialises all who publish: the order of the sequence is the order of commits.
    connection.execute("select from pin.state for update")
    indexed = _one(connection, "select indexed from pin.datasets where id = %s", dataset.id)
    if indexed >= number:
        return None
    if indexed != number - 1:
        raise Integrity(
            f"The index has {dataset.id} up to v{indexed}; v{number} cannot be next.", hint="stacpin index --rebuild"
        )
    state = _one(connection, "update pin.state set state = state + 1 returning state")
    put_record(connection, dataset.log.path(number), dataset.log.get(number), state)
    pin = f"{dataset.id}@v{number}"
    try:
        version: Version | None = dataset.version(number)
    except Expired:
        version = None
    if version is None:
        connection.execute(
            "insert into pin.versions (dataset, number, live) values (%s, %s, false)", (dataset.id, number)
        )
        done = Published(pin, 0, 0, expired=True)
    else:
        seq = _one(connection, "update pin.state set seq = seq + 1 returning seq")
        done = _items(connection, dataset, version, seq, listener)
        connection.execute(
            "insert into pin.versions (dataset, number, seq) values (%s, %s, %s)", (dataset.id, number, seq)
        )
    connection.execute(
        "update pin.datasets set indexed = %s, behind = case when head > %s then behind end where id = %s",
        (number, number, dataset.id),
    )
    return done


def put_record(connection: psycopg.Connection, path: str, data: bytes, state: int) -> None:
    """Keep a record of the catalog as it is."""
    connection.execute(
        "insert into pin.records values (%s, %s, %s) on conflict (path) do update"
        " set data = excluded.data, state = excluded.state",
        (path, data, state),
    )


def _one(connection: psycopg.Connection, query: str, *args: object) -> int:
    row = connection.execute(query, args).fetchone()  # pyright: ignore[reportArgumentType] - constants of this module
    assert row is not None
    return row[0]


def _items(
    connection: psycopg.Connection, dataset: Dataset, version: Version, seq: int, listener: Listener
) -> Published:
    last = connection.execute(
        "select max(number) from pin.versions where dataset = %s and seq is not null", (dataset.id,)
    ).fetchone()
    before = last[0] if last else None
    if before is None:
        _make_room(connection, dataset.id)
        begins, ends, count = version.rows(), [], version.record.statistics.items
    else:
        new_ids, ends = _changes(connection, dataset, before, version)
        begins, count = _found(version, new_ids), len(new_ids)
    closed = _close(connection, dataset.id, ends, seq)
    rows = _counted(indexed_rows(begins), count, version.pin, listener)
    added = _add(connection, dataset.id, rows, seq)
    if added != count:
        raise Integrity(f"{version.pin} has {added} items to index and says {count}.", hint="stacpin verify")
    return Published(version.pin, added, closed)


def _make_room(connection: psycopg.Connection, dataset: str) -> None:
    """The dataset's collection in pgstac, its one partition, and in that at most one open revision of each item."""
    # Nothing but the id: what collections say is in the records, and a base item would be taken out of every item.
    content = orjson.dumps({"id": dataset, "type": "Collection"}).decode()
    connection.execute("select pgstac.create_collection(%s::jsonb)", (content,))
    row = connection.execute(
        "select pgstac.check_partition(%(id)s, %(wide)s::tstzrange, %(wide)s::tstzrange)",
        {"id": dataset, "wide": _WIDE},
    ).fetchone()
    assert row is not None
    connection.execute(
        sql.SQL("create unique index on pgstac.{} (split_part(id, '!', 1)) where (private->'u')::int4 = {}").format(
            sql.Identifier(row[0]), sql.Literal(OPEN)
        )
    )


def _changes(
    connection: psycopg.Connection, dataset: Dataset, before: int, version: Version
) -> tuple[list[str], list[str]]:
    """The ids of the revisions that begin with a version, and of those that end before it."""
    try:
        found = diff_versions(dataset.version(before), version)
    except (Expired, NotFound):
        return _changes_by_index(connection, dataset.id, version)
    changed = [change.id for change in found.changed]
    return (
        sorted([row.id for row in found.added] + changed),
        [row.id for row in found.removed] + changed,
    )


def _changes_by_index(connection: psycopg.Connection, dataset: str, version: Version) -> tuple[list[str], list[str]]:
    """The same where the version before is gone from the catalog: by all digests that the index has."""
    rows = connection.execute(
        "select split_part(id, '!', 1), decode(private->>'d', 'hex') from pgstac.items"
        " where collection = %s and (private->'u')::int4 = %s",
        (dataset, OPEN),
    )
    there: dict[str, bytes] = dict(rows.fetchall())
    begins: list[str] = []
    ends: list[str] = []
    for chunk in version.chunks:
        table = version.digests(chunk)
        pairs = zip(table.column("id").to_pylist(), table.column("digest").to_pylist(), strict=True)
        for item_id, digest in pairs:
            old = there.pop(item_id, None)
            if old != digest:
                begins.append(item_id)
                if old is not None:
                    ends.append(item_id)
    return begins, ends + sorted(there)


def _found(version: Version, ids: list[str]) -> Iterator[Row]:
    for start in range(0, len(ids), _TOGETHER):
        some = ids[start : start + _TOGETHER]
        rows = version.find_all(some)
        yield from (rows[item_id] for item_id in some)


def _close(connection: psycopg.Connection, dataset: str, ids: list[str], seq: int) -> int:
    if not ids:
        return 0
    done = connection.execute(_CLOSE, {"seq": seq, "dataset": dataset, "ids": ids, "open": OPEN})
    if done.rowcount != len(ids):
        raise Integrity(
            f"The index has {done.rowcount} of {len(ids)} items of {dataset} that a version ended.",
            hint="Build it anew: stacpin index --rebuild",
            kind="index-damaged",
        )
    return done.rowcount


def _add(
    connection: psycopg.Connection,
    dataset: str,
    rows: Iterable[IndexedRow],
    seq: int,
) -> int:
    connection.execute(f"{_TABLE} private text) on commit drop")  # pyright: ignore[reportArgumentType] - constants
    names: set[str] = set()
    added = 0
    with connection.cursor() as cursor, cursor.copy("copy revisions from stdin") as copy:
        for row in rows:
            private = f'{{"f":{seq},"u":{OPEN},"d":"{row.digest.hex()}"}}'
            copy.write_row((revision_id(row.id, seq), row.geometry, row.start, row.end, row.content, private))
            names |= row.numbers
            added += 1
    connection.execute(_INSERT, {"dataset": dataset})
    connection.execute("drop table revisions")
    _register(connection, names)
    return added


def _register(connection: psycopg.Connection, names: set[str]) -> None:
    """Tell pgstac to sort by these names as by numbers: all else it sorts as text, which is what is meant."""
    known = {name for (name,) in connection.execute("select name from pgstac.queryables where collection_ids is null")}
    new = sorted(name for name in names - known if name.strip() and "\0" not in name and len(name) <= _LONGEST_NAME)
    new = new[: max(0, _MOST_NAMES - len(known))]
    if new:
        # One statement: pgstac looks at all its partitions after each.
        connection.execute(
            "insert into pgstac.queryables (name, property_wrapper) select unnest(%s::text[]), 'pin_order'", (new,)
        )


def _counted(rows: Iterable[IndexedRow], count: int, pin: str, listener: Listener) -> Iterator[IndexedRow]:
    for done, row in enumerate(rows, start=1):
        yield row
        if done % _TOGETHER == 0 or done == count:
            listener(Progress("index", done, count, detail=pin))
