"""The journal of a run: which files are converted, stored and proven, so that a later run need not do it again.

In the staging area, all of it put-if-absent:

    staging/<run>/begin.json               dataset, recipe digest, base, time, host and process; before the first object
    staging/<run>/journal/00000001.ndjson  batches of entries: after 5 s or 1,024 files, at the end, and on an error
    staging/<run>/failed.json              why a run ended before it was staged, and the objects that it leaves

**An entry** is written when its object was stored *and* read back whole, and as a record (durable, and everything that
was written before it is durable first): after a power cut no entry names an object that is not there.

**What is believed.** The staging area is as open as the catalog: anybody who may write there could name an object of
other pixels as what became of a source. So each batch carries an HMAC-SHA256 under a key that lies in this user's cache
folder and nowhere else, and batches without it are not even parsed. What one's own runs have proven is not made again;
that the object is still there with its size is asked at once, and its bytes are read before the commit. Without the key
(another user, another machine, a deleted cache) a file is converted and sent again, and found to be there.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import platform
import secrets
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import shapely
from platformdirs import user_cache_path

from catalog.assets import AssetPart
from ingest.convert import Task
from versioning.canonical import canonical
from versioning.catalog import Catalog
from versioning.digests import sha256
from versioning.errors import StacpinError
from versioning.objects import ObjectRef

__all__ = ["Done", "Journal", "decode", "journal_key", "read_batch", "task_key"]

# Counted up when an entry means something else, so that none of an older release is taken over.
_SCHEME = "stacpin journal 1"
_EVERY = 1_024
_SECONDS = 5.0
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a task: the object, its content digest, what an item says of it.

    Attributes
    ----------
    kept
        Whether the object has the source's own bytes.
    ours
        Whether a run stored the object, rather than found it in the parent version.
    """

    ref: ObjectRef
    digest: str
    part: AssetPart
    kept: bool
    ours: bool


def task_key(task: Task, recipe: str) -> str:
    """What a result depends on: the source's bytes, how it is read, all parameters, and what the parent version has."""
    asset = task.asset
    depends = {
        "scheme": _SCHEME,
        "recipe": recipe,
        "item": task.item,
        "asset": task.key,
        "name": asset.source.path.name,
        "fields": asset.source.fields,
        "layer": asset.source.layer,
        "source": asset.inspection.fingerprint,
        "digest": asset.inspection.digest,
        "target_crs": asset.target_crs,
        "lineage": asset.lineage,
        "parent": asset.parent,
        "unnamed": asset.unnamed,
        "again": task.again,
    }
    # json escapes what is no UTF-8 in the names of files; orjson refuses it.
    return sha256(json.dumps(depends, sort_keys=True).encode()).hex()


class Journal:
    """What one run notes of itself. Nothing is written before the first object is."""

    def __init__(self, catalog: Catalog, run_id: str, about: Mapping[str, Any]) -> None:
        self._store = catalog.store
        self._folder = f"staging/{run_id}"
        self._run = run_id
        self._about = {
            "type": "run",
            "run": run_id,
            **about,
            "host": platform.node(),
            "process": os.getpid(),
        }
        self._key = journal_key()
        self._begun = False
        self._number = 0
        self._lines: list[bytes] = []
        self._since = time.monotonic()
        self._writer: ThreadPoolExecutor | None = None
        self._pending: Future[object] | None = None

    def begin(self) -> None:
        """Announce the run, once: from here on garbage collection knows that somebody is at work."""
        if not self._begun:
            self._begun = True
            self._store.put_new(f"{self._folder}/begin.json", canonical(self._about))

    def add(self, key: str, done: Done) -> None:
        """Note what is stored and proven; now and then, write what was noted."""
        if not self._lines:
            self._since = time.monotonic()
        self._lines.append(_encode(key, done))
        due = len(self._lines) >= _EVERY or time.monotonic() - self._since > _SECONDS
        if due and (self._pending is None or self._pending.done()):
            # Making it durable took 0.2 to 1.5 s a time, more on a busy disk: only the next batch waits for it.
            self._wait()
            self._writer = self._writer or ThreadPoolExecutor(1, thread_name_prefix="stacpin-journal")
            self._pending = self._writer.submit(self._write, self._take())

    def flush(self) -> None:
        """Write what was noted; it is durable when this returns."""
        self._wait()
        if self._lines:
            self._write(self._take())

    def fail(self, error: BaseException, objects: Mapping[str, int]) -> None:
        """Note why the run ended, and which objects it leaves behind (their paths and sizes)."""
        if not self._begun:
            return
        self.flush()
        reason = {"kind": getattr(error, "kind", type(error).__name__), "message": str(error)[:1000]}
        if isinstance(error, StacpinError):
            reason |= {"message": error.message[:1000], "hint": error.hint or ""}
        left = [{"href": href, "size": size} for href, size in objects.items()]
        note = {"run": self._run, "reason": reason, "objects": left}
        self._store.put_new(f"{self._folder}/failed.json", canonical(note))

    def close(self) -> None:
        """End what runs in the background, after what it has begun."""
        if self._writer is not None:
            self._writer.shutdown(wait=True)
            self._writer = None

    @property
    def begun(self) -> bool:
        """Whether anything of the run is in the staging area."""
        return self._begun

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _take(self) -> list[bytes]:
        lines, self._lines = self._lines, []
        return lines

    def _write(self, lines: list[bytes]) -> None:
        self.begin()
        self._number += 1
        body = b"\n".join(lines)
        head = {"run": self._run, "number": self._number, "mac": _mac(self._key, self._run, self._number, body)}
        path = f"{self._folder}/journal/{self._number:08}.ndjson"
        self._store.put_record(path, orjson.dumps(head) + b"\n" + body)


def read_batch(data: bytes, run_id: str, number: int, key: bytes) -> list[bytes]:
    """The entries of a batch that our own key vouches for; nothing of any other. `decode` reads them."""
    head, _, body = data.partition(b"\n")
    wanted = {"run": run_id, "number": number, "mac": _mac(key, run_id, number, body)}
    if not hmac.compare_digest(head, orjson.dumps(wanted)):
        return []
    return body.split(b"\n")


def journal_key() -> bytes:
    """The user's key, made when it is first asked for; a passing one where nothing can be kept."""
    folder = Path(os.environ["STACPIN_CACHE"]) if "STACPIN_CACHE" in os.environ else user_cache_path("stacpin")
    path, fresh = folder / "journal.key", secrets.token_bytes(_KEY_BYTES)
    draft = folder / f"journal.key-{secrets.token_hex(8)}"
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(fresh)
            try:
                os.link(draft, path)  # the first of two that do it at once wins, and no half of a key is ever read
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        found = path.read_bytes()
    except OSError:
        return fresh
    return found if len(found) == _KEY_BYTES else fresh


def _mac(key: bytes, run_id: str, number: int, body: bytes) -> str:
    return hmac.new(key, f"{_SCHEME}\n{run_id}\n{number}\n".encode() + body, hashlib.sha256).hexdigest()


def _encode(key: str, done: Done) -> bytes:
    part = done.part
    return orjson.dumps(
        {
            "task": key,
            "href": done.ref.href,
            "sha256": done.ref.sha256.hex(),
            "size": done.ref.size,
            "digest": done.digest,
            "kept": done.kept,
            "ours": done.ours,
            "asset": part.asset,
            "footprint": None if part.footprint is None else shapely.to_wkb(part.footprint, hex=True),
            "properties": part.properties,
        }
    )


def decode(line: bytes) -> tuple[str, Done]:
    """An entry: the key of its task, and what became of it."""
    entry = orjson.loads(line)
    footprint = None if entry["footprint"] is None else shapely.from_wkb(entry["footprint"])
    part = AssetPart(entry["asset"], footprint, entry["properties"])
    ref = ObjectRef(entry["href"], bytes.fromhex(entry["sha256"]), entry["size"])
    return entry["task"], Done(ref, entry["digest"], part, entry["kept"], entry["ours"])
