"""A store for readers that falls back to mirrors; what it gives is proven, and it never writes."""

from __future__ import annotations

import re
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path
from threading import RLock
from typing import IO, TypeVar

import orjson
from cachetools import LRUCache

from versioning.digests import sha256
from versioning.errors import Forbidden, Integrity, NotFound, StacpinError, StorageUnavailable
from versioning.mirrors import (
    Mirror,
    content_name,
    declared_mirrors,
    mirrors_of_user,
    opened,
    read_proven_file,
)
from versioning.numbered import NumberedLog
from versioning.read_only import Gone, ReadOnly, pointers_unknown
from versioning.records import SettingsRecord, record_digest
from versioning.store import Entry, Store, open_store
from versioning.verify_records import read_record

__all__ = ["open_mirrored", "primary_of"]

# A store that is down is asked again after so many seconds: each try waits for its own retries.
_ASK_AGAIN = 30.0
_BLOCK = 4 * 1024 * 1024
_HELD = 4
_LINKED = re.compile(r"(?P<folder>datasets/[^/]+/(?:versions|pointers/[^/]+))/(?P<number>[0-9]{8})\.json")
_POINTERS = re.compile(r"datasets/[^/]+/pointers(?:/.*)?")
_VERSION = re.compile(r"datasets/[^/]+/versions/[0-9]{8}\.json")
_Out = TypeVar("_Out")


def open_mirrored(where: str | Store, mirrors: Sequence[str | Store] = ()) -> MirroredStore:
    """A catalog's store for reading, with the mirrors of the caller, of STACPIN_MIRRORS and of the catalog's settings.

    Raises
    ------
    NotFound
        If a local folder is missing and the user names no mirror.
    """
    places = [*mirrors, *mirrors_of_user()]
    try:
        primary = open_store(where) if isinstance(where, str) else where
    except NotFound:
        if not places or not isinstance(where, str):
            raise
        primary = Gone(where)
    return MirroredStore(primary, places)


def primary_of(store: Store) -> Store:
    """The catalog's own store, without its mirrors: what is verified, repaired and written to."""
    return store.primary if isinstance(store, MirroredStore) else store


class MirroredStore(ReadOnly):
    """A :class:`versioning.store.Store` over a catalog's own store and its mirrors. Its writing verbs are Forbidden.

    Without mirrors it does what the catalog's own store does. With mirrors the bytes of objects are proven before the
    first of them is given, since what was given cannot be taken back.
    """

    def __init__(self, primary: Store, mirrors: Sequence[str | Store] = ()) -> None:
        self.primary = primary
        self._own = opened(mirrors)
        self._mirrors: list[Mirror] | None = None
        self._down: tuple[float, StorageUnavailable] | None = None
        self._held = _Held(_HELD)
        weakref.finalize(self, self._held.close)
        self._elsewhere: LRUCache[str, bool] = LRUCache(65536)
        self._lock = RLock()

    def __repr__(self) -> str:
        return f"MirroredStore({self.primary!r})"

    @property
    def url(self) -> str:
        return self.primary.url

    @property
    def local_root(self) -> Path | None:
        return self.primary.local_root

    @property
    def mirrors(self) -> list[Mirror]:
        """The mirrors, those of the user first. The catalog's settings are read when this is first asked."""
        with self._lock:
            if self._mirrors is not None:
                return self._mirrors
            declared = self._declared()
            known = {mirror.url for mirror in self._own}
            found = [*self._own, *(mirror for mirror in opened(declared or ()) if mirror.url not in known)]
            if declared is not None:
                self._mirrors = found
            return found

    def where(self, path: str) -> str:
        """The path or URL at which an object can be opened: in the catalog, or where a mirror has it."""
        root = self.local_root
        here = str(root / path) if root is not None else f"{self.url.rstrip('/')}/{path}"
        missed = path in self._elsewhere or self._down is not None or (root is not None and not (root / path).exists())
        if not missed or content_name(path) is None:
            return here
        for mirror in self.mirrors:
            try:
                if mirror.store.size(path) is not None:
                    folder = mirror.store.local_root
                    return str(folder / path) if folder is not None else f"{mirror.url.rstrip('/')}/{path}"
            except StacpinError:
                continue
        return here

    # -- reading

    def get(self, path: str) -> bytes:
        if (digest := content_name(path)) is None:
            return self._get_record(path)
        data: bytes | None = None
        problem: StacpinError | None = None
        try:
            data = self._ask(path, lambda: self.primary.get(path))
        except (NotFound, Integrity, StorageUnavailable, Forbidden) as error:
            problem = error
        if data is not None and (not self.mirrors or sha256(data) == digest):
            return data
        file = self._fetch(path, problem)
        if file is not None:
            with file:
                return file.read()
        if problem is not None:
            raise problem
        return data or b""  # wrong, as its reader will find and say

    def get_range(self, path: str, start: int, length: int) -> bytes:
        if content_name(path) is None or not self.mirrors:
            return self._ask(path, lambda: self.primary.get_range(path, start, length))
        if not path.startswith("objects/"):
            return self.get(path)[start : start + length]
        try:
            return self._ask(path, lambda: self.primary.get_range(path, start, length))
        except (NotFound, Integrity, StorageUnavailable, Forbidden) as error:
            with self._lock:
                file = self._held.get(path) or self._fetch(path, error)
                if file is None:
                    raise
                self._held[path] = file
                file.seek(start)
                return file.read(length)

    def stream(self, path: str) -> Iterator[memoryview]:
        digest = content_name(path)
        if digest is None or not self.mirrors:
            yield from self.primary.stream(path)
            return
        file: IO[bytes] | None = None
        problem: StacpinError | None = None
        try:
            file, found = self._ask(path, lambda: read_proven_file(self.primary, path))
        except (NotFound, Integrity, StorageUnavailable, Forbidden) as error:
            problem, found = error, b""
        if found != digest and (better := self._fetch(path, problem)) is not None:
            if file is not None:
                file.close()
            file = better
        if file is None:
            raise problem or NotFound(f"{path} does not exist.", kind="no-such-object")
        with file:
            while block := file.read(_BLOCK):
                yield memoryview(block)

    def size(self, path: str) -> int | None:
        problem: StorageUnavailable | None = None
        try:
            size = self._ask(path, lambda: self.primary.size(path))
            if size is not None or content_name(path) is None or not self.mirrors:
                return size
        except StorageUnavailable as error:
            self._refuse_pointers(path, error)
            problem = error
        size = self._first(lambda store: store.size(path), problem)
        # Whether there is such an object, or such a dataset, only the catalog itself can deny.
        known_here = content_name(path) is not None or path.endswith("/versions/00000001.json")
        if size is None and problem is not None and known_here:
            raise problem
        if size is not None and content_name(path) is not None:
            self._elsewhere[path] = True
        return size

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[Entry]:
        try:
            return self._ask(prefix, lambda: _begun(self.primary.list(prefix, after=after)))
        except StorageUnavailable as error:
            self._refuse_pointers(prefix, error)
            found = self._first(lambda store: _begun(store.list(prefix, after=after)), error)
            return iter(()) if found is None else found

    def folders(self, prefix: str) -> list[str]:
        try:
            return self._ask(prefix, lambda: self.primary.folders(prefix))
        except StorageUnavailable as error:
            self._refuse_pointers(prefix, error)
            return self._first(lambda store: store.folders(prefix), error) or []

    def now(self) -> datetime:
        return self.primary.now()

    def _get_record(self, path: str) -> bytes:
        try:
            data = self._ask(path, lambda: self.primary.get(path))
            problem: NotFound | Integrity | None = None
            if _is_object(data):
                return data
        except (NotFound, Integrity) as error:
            data, problem = b"", error
        except StorageUnavailable as error:
            self._refuse_pointers(path, error)
            data = self._first(lambda store: _found(store, path), error)
            if data is not None:
                return data
            if _VERSION.fullmatch(path):
                raise
            raise NotFound(f"{path} does not exist in the mirrors.", kind="no-such-object") from error
        better = self._by_successor(path)
        if better is not None:
            return better
        if problem is not None:
            raise problem
        return data

    def _by_successor(self, path: str) -> bytes | None:
        """A record that is lost or damaged here, from a mirror, if the next one here names its hash."""
        match = _LINKED.fullmatch(path)
        if match is None:
            return None
        after = f"{match['folder']}/{int(match['number']) + 1:08d}.json"
        try:
            named = orjson.loads(self.primary.get(after))
        except (StacpinError, orjson.JSONDecodeError):
            return None
        wanted = named.get("previous") if isinstance(named, dict) else None
        for mirror in self.mirrors if wanted else ():
            try:
                data = read_record(mirror.store, path)
            except StacpinError:
                continue
            if record_digest(data) == wanted:
                mirror.say("used", "%s misses %s: it is read from the mirror %s", self.url, path, mirror.url)
                return data
        return None

    # -- who answers

    def _ask(self, path: str, call: Callable[[], _Out]) -> _Out:
        """Ask the catalog's own store, unless it did not answer a moment ago."""
        down = self._down
        if down is not None and time.monotonic() < down[0]:
            again = StorageUnavailable(down[1].message, hint=down[1].hint)
            again.of_store = down[1].of_store
            raise again
        try:
            answer = call()
        except StorageUnavailable as error:
            if self._own or self._mirrors:
                self._judge(path, error)
            raise
        self._down = None
        return answer

    def _judge(self, path: str, error: StorageUnavailable) -> None:
        """One damaged file may fail where the store itself answers: asked for its mark, it tells which."""
        try:
            if path != "stacpin.json":
                self.primary.size("stacpin.json")
                return
        except StorageUnavailable:
            pass
        except StacpinError:
            return
        self._down = (time.monotonic() + _ASK_AGAIN, error)

    def _fetch(self, path: str, problem: StacpinError | None) -> IO[bytes] | None:
        for mirror in self._mirrors_after(problem):
            file = mirror.fetch(path)
            if file is not None:
                why = "does not answer" if isinstance(problem, StorageUnavailable) else "misses files or has wrong ones"
                mirror.say("used", "%s %s: they are read from the mirror %s", self.url, why, mirror.url)
                self._elsewhere[path] = True
                return file
        return None

    def _first(self, call: Callable[[Store], _Out | None], problem: StorageUnavailable | None) -> _Out | None:
        """What the first mirror says that knows it; None if all that answer do not. Raises ``problem`` if none does."""
        answered = False
        for mirror in self._mirrors_after(problem):
            try:
                answer = call(mirror.store)
            except StacpinError as error:
                mirror.say("failed", "the mirror %s does not answer: %s", mirror.url, error.message)
                continue
            answered = True
            if problem is not None:
                with self._lock:
                    self.from_mirrors += 1
            if answer is not None:
                if problem is not None:
                    text = "%s does not answer: records are taken from the mirror %s, unproven, and may be behind"
                    mirror.say("records", text, self.url, mirror.url)
                return answer
        if problem is not None and not answered:
            raise problem
        return None

    def _mirrors_after(self, problem: StacpinError | None) -> list[Mirror]:
        """The mirrors; a catalog that does not answer is not asked for those that its settings name."""
        if isinstance(problem, StorageUnavailable):
            return self._mirrors or self._own
        return self.mirrors

    def _refuse_pointers(self, path: str, error: StorageUnavailable) -> None:
        if self._mirrors_after(error) and _POINTERS.fullmatch(path):
            raise pointers_unknown(self.url) from error

    def _declared(self) -> list[str] | None:
        """What the catalog's settings name; None while it does not answer."""
        if self._down is not None:
            return None
        try:
            log = NumberedLog(self.primary, "settings")
            head = log.head()
            return declared_mirrors(SettingsRecord.decode(log.get(head), where=log.path(head))) if head else []
        except StorageUnavailable:
            return None
        except StacpinError:
            return []  # who reads the settings themselves hears why


class _Held(LRUCache[str, IO[bytes]]):
    """Proven temporary files; one that gives way is closed."""

    def popitem(self) -> tuple[str, IO[bytes]]:
        path, file = super().popitem()
        file.close()
        return path, file

    def close(self) -> None:
        """Close all."""
        for file in self.values():
            file.close()


def _begun(entries: Iterator[Entry]) -> Iterator[Entry]:
    """The same entries, of which the first was asked for: what fails, fails now."""
    first = next(entries, None)
    return iter(()) if first is None else chain([first], entries)


def _found(store: Store, path: str) -> bytes | None:
    try:
        return read_record(store, path)
    except NotFound:
        return None


def _is_object(data: bytes) -> bool:
    try:
        return isinstance(orjson.loads(data), dict)
    except orjson.JSONDecodeError:
        return False
