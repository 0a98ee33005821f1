"""A second reader of catalog format 1, from ``docs/format.md`` alone: hashlib, json, rfc8785 and Parquet, none of ours.

It keeps the specification honest: what it needs and the page does not say is missing there.
"""

from __future__ import annotations

import hashlib
import json
import struct
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import rfc8785

NOT_CONTENT = {"created", "updated", "proj:wkt2", "proj:projjson", "statistics", "raster:histogram"}


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def cut(ids: list[str], least: int, wanted: int, most: int, rare: int, often: int, first_byte: int) -> list[int]:
    """Exclusive ends of the groups."""
    ends, count = [], 0
    for place, name in enumerate(ids, start=1):
        count += 1
        h = struct.unpack(">Q", sha(name.encode())[first_byte : first_byte + 8])[0]
        if count >= most or (count >= least and h % (rare if count < wanted else often) == 0):
            ends.append(place)
            count = 0
    return ends + ([len(ids)] if count else [])


def chunk_ends(ids: list[str]) -> list[int]:
    return cut(ids, 256, 1024, 4096, 4096, 256, 0)


def page_ends(last_ids: list[str]) -> list[int]:
    return cut(last_ids, 64, 256, 1024, 1024, 64, 8)


def groups(values: list[Any], ends: list[int]) -> list[list[Any]]:
    return [values[start:end] for start, end in zip([0, *ends][: len(ends)], ends, strict=True)]


def root_over(leaves: list[bytes], ends: list[int], family: str) -> bytes:
    pages = [sha(f"stacpin/1/{family}/page\n".encode() + b"".join(page)) for page in groups(leaves, ends)]
    return sha(f"stacpin/1/{family}/root\n".encode() + b"".join(pages))


def leaf_over(digests: list[bytes], family: str) -> bytes:
    return sha(f"stacpin/1/{family}/leaf\n".encode() + b"".join(digests))


def version_over(root: bytes, collection: Any, family: str) -> str:
    metadata = sha(b"stacpin/1/collection\n" + rfc8785.dumps(collection))
    return "sha256:" + sha(f"stacpin/1/{family}/version\n".encode() + root + metadata).hex()


def read_json(data: bytes | str) -> Any:
    """Whole numbers from 2**53 on are doubles."""
    return json.loads(data, parse_int=lambda text: float(text) if abs(int(text)) >= 2**53 else int(text))


def content_of(item: dict[str, Any]) -> bytes:
    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(member) for key, member in value.items() if key not in NOT_CONTENT}
        return [strip(member) for member in value] if isinstance(value, list) else value

    assets = {}
    for key, asset in item["assets"].items():
        assets[key] = strip({name: asset[name] for name in asset if name not in {"href", "file:checksum", "file:size"}})
        assets[key].setdefault("pin:digest", "b1:" + asset["file:checksum"][4:])
    return rfc8785.dumps(strip({key: item[key] for key in item if key != "assets"}) | {"assets": assets})


class SecondReader:
    """Reads one dataset of a catalog in a local folder, and believes nothing."""

    def __init__(self, root: Path, dataset: str) -> None:
        self.root = root
        self.folder = root / "datasets" / dataset

    def _named_by_hash(self, path: Path, size: int) -> pa.Table:
        data = path.read_bytes()
        assert len(data) == size
        assert hashlib.sha256(data).hexdigest() == path.stem
        return pq.read_table(path)

    def record(self, number: int) -> dict[str, Any]:
        data = (self.folder / "versions" / f"{number:08d}.json").read_bytes()
        record = json.loads(data)
        assert rfc8785.dumps(read_json(data)) == data
        if number > 1:
            before = (self.folder / "versions" / f"{number - 1:08d}.json").read_bytes()
            assert record["previous"] == "sha256:" + hashlib.sha256(before).hexdigest()
        else:
            assert record["previous"] is None
        return record

    def chunks(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        """The list of chunks, with the files of changes after it."""
        chunks: list[dict[str, Any]] = []
        for ref in record["snapshot"]:
            path = self.folder / "snapshots" / f"{ref['sha256']}.parquet"
            rows = self._named_by_hash(path, ref["size"]).to_pylist()
            if ref.get("changes"):
                for row in rows:
                    chunks = [
                        each
                        for each in chunks
                        if each["last_id"] < row["first_id"] or each["first_id"] > row["last_id"]
                    ]
                rows = [row for row in rows if row["rows"]]
            chunks = sorted([*chunks, *rows], key=lambda row: row["first_id"])
        return chunks

    def items(self, number: int) -> dict[str, dict[str, Any]]:
        """The items of a version, once every digest above them has been computed again from their JSON."""
        record = self.record(number)
        chunks = self.chunks(record)
        texts: dict[str, str] = {}
        for chunk in chunks:
            merged: dict[str, str] = {}
            for ref in chunk["files"]:
                table = self._named_by_hash(self.folder / "manifests" / f"{ref['sha256'].hex()}.parquet", ref["size"])
                for row in table.to_pylist():
                    if chunk["first_id"] <= row["id"] <= chunk["last_id"]:
                        if row.get("deleted"):
                            merged.pop(row["id"], None)
                        else:
                            merged[row["id"]] = row["item"]
            texts |= merged
        ids = sorted(texts)
        items = {name: read_json(texts[name]) for name in ids}
        for name, item in items.items():
            assert rfc8785.dumps(item) == texts[name].encode()
            assert item["id"] == name
        ends = chunk_ends(ids)
        pages = page_ends([ids[end - 1] for end in ends])
        for family, prefix, hashed in (
            ("digest", "", lambda name: texts[name].encode()),
            ("content", "content_", lambda name: content_of(items[name])),
        ):
            leaves = [leaf_over([sha(hashed(name)) for name in group], family) for group in groups(ids, ends)]
            assert leaves == [chunk[f"{prefix}digest"] for chunk in chunks]
            root = root_over(leaves, pages, family)
            assert record[f"{prefix}root"] == "sha256:" + root.hex()
            assert record[f"{prefix}digest"] == version_over(root, record["collection"], family)
        return items

    def latest(self) -> int:
        moves = sorted((self.folder / "pointers" / "latest").glob("*.json"))
        last = json.loads(moves[-1].read_bytes()) if moves else {"target": 0, "seen": 0}
        numbers = sorted(int(path.stem) for path in (self.folder / "versions").iterdir())
        above = [number for number in numbers if number > last["seen"] and self.record(number)["advance"]]
        return max(above, default=last["target"])


def micros(text: str) -> int:
    """Microseconds since 1970 of an RFC 3339 time without finer fractions or leap seconds."""
    moment = datetime.fromisoformat(text)
    return round(moment.timestamp() * 1_000_000)
