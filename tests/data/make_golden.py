"""Make the golden catalog of format 1: ``python tests/data/make_golden.py FOLDER``.

The committed catalog is never made again: the readers of all later releases must read it. A test makes it afresh
beside it and compares the logical digests, which do not depend on the versions of pyarrow and zstd; file bytes may.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa

from versioning.catalog import Catalog
from versioning.chunking import chunk_hash
from versioning.commit import Notes, commit
from versioning.dataset import Dataset
from versioning.digests import digest_text, version_digest
from versioning.manifests import DELTA_SCHEMA, FileRef, encode_rows, encode_table
from versioning.objects import ObjectRef
from versioning.records import ExpiryRecord, SnapshotFile, record_digest, time_text
from versioning.row_tables import table_of
from versioning.rows import Row, make_row
from versioning.snapshots import Chunk, describe, encode_snapshots, roots_of

AUTHOR = "Golden <golden@example.org>"


class Clock:
    """One hour later at each look."""

    def __init__(self) -> None:
        self.moment = datetime.fromisoformat("2026-01-01T00:00:00+00:00")

    def __call__(self) -> datetime:
        self.moment += timedelta(hours=1)
        return self.moment


def ids() -> list[str]:
    """300 ids of which the 256th ends a chunk, so that few items make two."""
    names = [f"t-{number:03d}" for number in range(300)]
    names[255] = next(name for name in (f"t-255-{number}" for number in count()) if chunk_hash(name) % 4096 == 0)
    return names


def item(name: str, refs: list[ObjectRef], value: object, **more: Any) -> dict[str, Any]:
    """A small item; ``refs[0]`` is its image and ``refs[1]`` its labels."""
    number = int(name[2:5])
    west, south = -70 + number % 20 / 10, -10 + number // 20 / 10
    east, north = west + 0.1, south + 0.1
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    assets = {
        key: {
            "file:checksum": ref.checksum,
            "file:size": ref.size,
            "href": ref.href,
            "pin:digest": f"b1:{ref.sha256.hex()}",
        }
        for key, ref in zip(("image", "labels"), refs, strict=False)
    }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": {"datetime": f"2024-05-{number % 28 + 1:02d}T00:00:00Z", "value": value},
        "assets": assets,
        **more,
    }


def odd_items(refs: list[ObjectRef]) -> list[dict[str, Any]]:
    """One of each thing that a reader may stumble over."""
    outside = item("t-290", refs[:1], "elsewhere")
    outside["assets"]["image"] |= {"href": "https://example.org/image.tif"}
    return [
        outside,
        item("t-291", refs, "nowhere", geometry=None, bbox=None),
        item("t-292", refs, "antimeridian", bbox=[179.5, -1, -179.5, 1]),
        item(
            "t-293",
            refs,
            "heights",
            geometry={"type": "LineString", "coordinates": [[1, 2, 3.5], [3, 4]]},
            bbox=[1, 2, 0, 3, 4, 9],
        ),
        item(
            "t-294",
            refs,
            "times",
            properties={
                "datetime": None,
                "start_datetime": "2016-12-31T23:59:60.0000001Z",
                "end_datetime": "2017-01-01T05:30:00.1234567+05:30",
            },
        ),
        item("t-295", [], {"é": [1e-7, 1e21, 2**60, -0.0, 0.1], "\ufb33": None, "\U0001f600": '\x1f\u2028"\\'}),
        item("t-296", refs, [{"nodata": float("nan")}, {"nodata": -(2**63)}, {"nodata": float("-inf")}]),
    ]


def tiles(catalog: Catalog, refs: list[ObjectRef]) -> None:
    """Five versions with tags, moves of a pointer, failed checks, a rollback and an expired version."""
    dataset = catalog.dataset("tiles")
    who: dict[str, Any] = {"author": AUTHOR}
    meta = {"description": "Golden tiles", "license": "CC0-1.0", "title": "Tiles"}
    commit(dataset, items=[item(name, refs[:2], 0) for name in ids()], collection=meta, message="first", **who)
    dataset.move("stable", 1, why="the first", **who)
    second = [item(name, [refs[2], refs[1]], 1) for name in ("t-270", "t-280")]
    notes = Notes(
        summaries={"gsd": [10, 30]},
        checks=[{"name": "crs", "ok": True}],
        recipe={"layers": []},
        software={"gdal": "3.10"},
    )
    commit(dataset, items=[*second, item("t-299", refs[:2], "changed")], notes=notes, message="second", **who)
    dataset.tag("v1.0.0", 2, message="released", **who)
    dataset.move("stable", 2, why="tested", **who)
    commit(dataset, remove=["t-298"], advance=False, message="its checks failed", **who)
    more = meta | {"title": "Kacheln é"}
    commit(dataset, items=odd_items(refs), collection=more, message="odd", **who)
    dataset.move("latest", 2, why="version 4 was wrong", **who)
    commit(dataset, items=[item("t-299", refs[:2], 5)], remove=["t-297"], message="after the rollback", **who)
    dataset.tag("gold", 5, **who)
    moment = time_text(dataset.now())
    expiry = ExpiryRecord(number=1, why="keep the last four", author=AUTHOR, time=moment, nonce="00000000000000ee")
    catalog.store.put_record("datasets/tiles/expired/00000001.json", expiry.encode())
    commit(catalog.dataset("empty"), message="a dataset without items", **who)


def deltas(catalog: Catalog, refs: list[ObjectRef]) -> None:
    """Snapshots with delta files, which no writer of ours makes yet: overrides, tombstones, both, wider bases."""
    dataset = catalog.dataset("deltas")
    content = {name: item(name, refs[:2], 0) for name in ids()}
    first = commit(dataset, items=content.values(), message="plain", author=AUTHOR).version
    own = [chunk.files for chunk in first.chunks]

    # 2: overrides. One delta file serves both chunks.
    changes = {name: item(name, refs[:2], 2) for name in ("t-007", "t-200", "t-260")}
    one = delta(dataset, list(changes.values()), [])
    content |= changes
    append(dataset, content, [(*files, one) for files in own], "overrides")

    # 3: tombstones, over the overrides of version 2.
    gone = ["t-257", "t-260"]
    two = delta(dataset, [], gone)
    content = {name: value for name, value in content.items() if name not in gone}
    append(dataset, content, [(*own[0], one), (*own[1], one, two)], "tombstones")

    # 4: both at once, one lifted tombstone and one of nothing, over two base files that are wider than the chunks.
    changes = {name: item(name, [refs[2]], 4) for name in ("t-008", "t-260", "t-270x")}
    content = {name: value for name, value in (content | changes).items() if name != "t-258"}
    rows = [make_row(item(name, refs[:2], 0)) for name in ids()]
    wide = [dataset.files.manifests.put(encode_rows(table_of(part))) for part in (rows[:270], rows[200:])]
    three = delta(dataset, list(changes.values()), ["nothing", "t-258"])
    append(dataset, content, [(*wide, one, two, three)] * 2, "both")

    # 5: an ordinary commit on top.
    commit(dataset, items=[item("t-299", refs[:2], 5)], message="plain again", author=AUTHOR)


def delta(dataset: Dataset, upserts: list[dict[str, Any]], tombstones: list[str]) -> FileRef:
    """Write a delta file: whole rows that override, and tombstones that have only an id."""
    live = table_of([make_row(each) for each in upserts])
    live = live.append_column(DELTA_SCHEMA.field("deleted"), pa.array([False] * len(upserts), pa.bool_()))
    gone = pa.Table.from_pylist([{"id": name, "deleted": True} for name in tombstones], schema=DELTA_SCHEMA)
    return dataset.files.manifests.put(encode_table(pa.concat_tables([live, gone]).sort_by("id").cast(DELTA_SCHEMA)))


def append(dataset: Dataset, content: dict[str, Any], files: list[tuple[FileRef, ...]], message: str) -> None:
    """Append a version of ``content`` whose chunks lie in the given files."""
    rows = [make_row(content[name]) for name in sorted(content)]
    groups = [rows[:256], rows[256:]]
    chunks = [layered(group, refs) for group, refs in zip(groups, files, strict=True)]
    roots = roots_of(chunks)
    stored = [dataset.files.snapshots.put(data) for data in encode_snapshots(chunks)]
    head = dataset.head()
    last = dataset.record(head)
    record = last.model_copy(
        update={
            "number": head + 1,
            "parent": head,
            "previous": record_digest(dataset.log.get(head)),
            "digest": version_digest(roots.digest, last.collection),
            "content_digest": version_digest(roots.content, last.collection, family="content"),
            "root": digest_text(roots.digest),
            "content_root": digest_text(roots.content),
            "snapshot": [SnapshotFile(sha256=ref.sha256.hex(), size=ref.size) for ref in stored],
            "message": message,
            "time": time_text(dataset.now()),
            "nonce": f"{head + 1:016x}",
            "statistics": last.statistics.model_copy(
                update={
                    "items": len(rows),
                    "assets": sum(chunk.assets for chunk in chunks),
                    "bytes": sum(chunk.bytes for chunk in chunks),
                }
            ),
        }
    )
    assert dataset.log.append(head + 1, record.encode())


def layered(rows: list[Row], files: tuple[FileRef, ...]) -> Chunk:
    return describe(table_of(rows), ())._replace(files=files)


def build(folder: Path) -> Catalog:
    """Make the golden catalog in a folder that is empty or missing."""
    with (
        mock.patch("secrets.token_hex", side_effect=(f"{number:016x}" for number in count(1))),
        mock.patch("uuid.uuid4", return_value="00000000-0000-4000-8000-000000000001"),
    ):
        catalog = Catalog.create(str(folder), title="Golden", clock=Clock())
        refs = [catalog.objects.put_bytes(f"golden object {number}\n".encode(), ".tif") for number in range(3)]
        tiles(catalog, refs)
        deltas(catalog, refs)
    return catalog


def expectations(catalog: Catalog) -> dict[str, Any]:
    """What every reader must find: the logical digests of each version, and what each name means."""
    found: dict[str, Any] = {}
    for name in catalog.dataset_ids():
        dataset = catalog.dataset(name)
        found[name] = {
            "versions": {
                str(record.number): {
                    "digest": record.digest,
                    "content_digest": record.content_digest,
                    "root": record.root,
                    "content_root": record.content_root,
                    "items": record.statistics.items,
                }
                for record in sorted(dataset.versions(), key=lambda record: record.number)
            },
            "pointers": dataset.pointers(),
            "tags": {tag.tag: tag.target for tag in dataset.tags()},
        }
    return found


def make_changes(where: str) -> Catalog:
    """The second golden catalog: small commits one after the other, which leave delta files and files of changes."""
    catalog = Catalog.create(where, title="Golden changes", clock=Clock())
    dataset = catalog.dataset("stream")
    refs = [catalog.objects.put_bytes(b"image", ".tif")]
    names = ids()
    commit(dataset, items=[item(name, refs, 0) for name in names], message="all", author=AUTHOR)
    for number in range(1, 10):
        # The first chunk keeps its end; rows come and go in the second.
        some = names[number * 20 : number * 20 + 3] if number % 2 else [names[256 + number]]
        gone = [] if number % 2 else [names[270 + number]]
        changed = [item(name, refs, number) for name in some]
        commit(dataset, items=changed, remove=gone, message=f"few {number}", author=AUTHOR)
    return catalog


if __name__ == "__main__":
    made = build(Path(sys.argv[1]))
    Path(sys.argv[1]).with_suffix(".expected.json").write_text(json.dumps(expectations(made), indent=2) + "\n")
