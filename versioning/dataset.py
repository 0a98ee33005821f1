"""A dataset's history: its versions, what ``latest`` and other pointers mean, its tags."""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from threading import Lock

from cachetools import LRUCache

from versioning.errors import Conflict, Expired, Immutable, Integrity, InvalidInput, NotFound
from versioning.ids import check_pointer_name, check_tag_name
from versioning.numbered import NumberedLog
from versioning.objects import ManifestFiles
from versioning.pins import PinRef, parse_ref
from versioning.read_only import from_mirrors, pointers_unknown
from versioning.records import (
    ExpiryRecord,
    PointerRecord,
    TagRecord,
    VersionRecord,
    parse_time,
    record_digest,
    time_text,
)
from versioning.store import Store
from versioning.together import both
from versioning.version import Files, Version

__all__ = ["LATEST", "Dataset"]

LATEST = "latest"
_TRIES = 16


class Dataset:
    """The history of one dataset in a catalog. Get one from :meth:`versioning.catalog.Catalog.dataset`."""

    def __init__(self, store: Store, dataset_id: str, *, clock: Callable[[], datetime]) -> None:
        self.id = dataset_id
        self.folder = f"datasets/{dataset_id}"
        self.store = store
        self.files = Files(
            ManifestFiles(store, f"{self.folder}/manifests"), ManifestFiles(store, f"{self.folder}/snapshots")
        )
        self.log = NumberedLog(store, f"{self.folder}/versions")
        self._clock = clock
        self._pointers: LRUCache[str, NumberedLog] = LRUCache(maxsize=64)
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"Dataset({self.id!r})"

    def now(self) -> datetime:
        """The time, by the catalog's clock."""
        return self._clock()

    # -- versions

    def head(self) -> int:
        """The highest version number, 0 if the dataset has none.

        Raises
        ------
        Integrity
            If there are versions, but not the first.
        """
        head = self.log.head()
        if head == 0:
            self.log.check_nothing_beyond(0)
        return head

    def record(self, number: int) -> VersionRecord:
        """A version's record; also of an expired version.

        Raises
        ------
        NotFound
            If there is no such version.
        """
        data = self.log.find(number)
        if data is None:
            raise self._no_version(f"v{number}")
        record = VersionRecord.decode(data, where=self.log.path(number))
        if (record.dataset, record.number) != (self.id, number):
            raise Integrity(
                f"{self.log.path(number)} is the record of {record.dataset}@v{record.number}.",
                hint="Restore it from a mirror.",
                kind="altered",
            )
        return record

    def version(self, number: int) -> Version:
        """A live version by its number.

        Raises
        ------
        NotFound
            If there is no such version.
        Expired
            If it was retired.
        """
        record, expiry = both(self.store, partial(self.record, number), partial(self.expiry, number))
        if expiry is not None:
            raise Expired(
                f"{self.id}@v{number} expired on {expiry.time[:10]}: {expiry.why}.",
                hint=f"Use a newer version: stacpin log {self.id}",
            )
        return Version(record, self.files)

    def versions(self) -> Iterator[VersionRecord]:
        """All records, newest first."""
        for number in range(self.head(), 0, -1):
            yield self.record(number)

    def expired(self) -> set[int]:
        """The numbers of the versions that were retired, by one listing."""
        folder = f"{self.folder}/expired/"
        names = (entry.path.removeprefix(folder).removesuffix(".json") for entry in self.store.list(folder))
        return {int(name) for name in names if name.isascii() and name.isdigit()}

    def expiry(self, number: int) -> ExpiryRecord | None:
        """Why and when a version was retired, or None if it lives."""
        path = f"{self.folder}/expired/{number:08d}.json"
        try:
            return ExpiryRecord.decode(self.store.get(path), where=path)
        except NotFound:
            return None

    def latest_number(self, before: datetime | None = None) -> int:
        """What ``latest`` is: the highest version above what its last entry had seen that advances, else its target.

        ``before`` asks what it was just before an instant. 0 if there is (or was) no such version.

        Raises
        ------
        StorageUnavailable
            With the kind ``pointers-unknown``, if the catalog stopped answering and a mirror, which may be behind, was
            asked for any part of it.
        """
        asked = from_mirrors(self.store)
        number = self._latest(before)
        if from_mirrors(self.store) != asked:
            raise pointers_unknown(self.store.url)
        return number

    def _latest(self, before: datetime | None) -> int:
        target, seen = 0, 0
        entry = self._entry_before(LATEST, before)
        if entry is not None:
            target, seen = entry.target, entry.seen
        for number in range(self.head(), seen, -1):
            record = self.record(number)
            if record.advance and (before is None or parse_time(record.time) < before):
                return number
        return target

    def latest(self) -> Version | None:
        """The version that ``latest`` means, None if there is none yet."""
        number = self.latest_number()
        return self.version(number) if number else None

    # -- pins

    def resolve(self, ref: PinRef | str) -> Version:
        """The version that a reference means.

        Raises
        ------
        InvalidInput
            If the reference is malformed or means the future.
        NotFound
            If nothing has that name; the error lists what there is.
        Expired
            If the version was retired.
        """
        pin = parse_ref(self.id, ref) if isinstance(ref, str) else ref
        if pin.kind == "version" and isinstance(pin.value, int):
            return self.version(pin.value)
        if pin.kind == "digest":
            return self.version(self._by_digest(str(pin.value)))
        if pin.kind == "date" and isinstance(pin.value, datetime):
            return self.version(self._by_date(pin, pin.value))
        return self.version(self._by_name(str(pin.value)))

    def _by_name(self, name: str) -> int:
        if name == LATEST:
            number = self.latest_number()
            if not number:
                raise NotFound(f"{self.id} has no version that {LATEST} could mean.", kind="no-such-version")
            return number
        tag = self.find_tag(name)
        if tag is not None:
            if self.record(tag.target).digest != tag.digest:
                raise Integrity(
                    f"The tag {name!r} of {self.id} says it is v{tag.target}, whose digest is not the tag's.",
                    hint=f"Run: stacpin verify {self.id}",
                    kind="altered",
                )
            return tag.target
        try:
            entry = self.pointer(name)
        except InvalidInput:  # v9.9.9: a tag may be called so, a pointer may not
            entry = None
        if entry is None:
            raise self._no_version(name)
        return entry.target

    def _by_digest(self, digest: str) -> int:
        # The lowest number: a digest that comes again later keeps its first meaning.
        found = [record for record in self.versions() if record.digest.startswith(digest)]
        if not found:
            raise NotFound(f"{self.id} has no version with the digest {digest}.", kind="no-such-version")
        if len({record.digest for record in found}) > 1:
            listed = ", ".join(f"v{record.number}" for record in reversed(found))
            raise InvalidInput(f"{self.id}@{digest} is ambiguous: {listed}.", hint="Write more digits.")
        return min(record.number for record in found)

    def _by_date(self, pin: PinRef, before: datetime) -> int:
        if before > self._clock():
            raise InvalidInput(
                f"{pin} is not over yet: what it means may still change.",
                hint=f"Use {self.id}@latest, or a full time such as {{2026-01-31T12:00:00Z}}.",
                kind="invalid-pin",
            )
        number = self.latest_number(before)
        if not number:
            raise NotFound(f"{pin}: {self.id} had no version then.", kind="no-such-version")
        return number

    # -- pointers

    def pointer(self, name: str) -> PointerRecord | None:
        """The last move of a pointer, None if it never moved (``latest`` may mean a version all the same)."""
        return self._entry_before(check_pointer_name(name), None)

    def pointer_names(self) -> list[str]:
        """The pointers that have entries, sorted."""
        # A writer that died before its first entry leaves an empty folder on a local disk.
        return [name for name in self.store.folders(f"{self.folder}/pointers") if self._pointer_log(name).head()]

    def pointers(self) -> dict[str, int]:
        """What every pointer means, ``latest`` first."""
        found = {LATEST: self.latest_number()}
        for name in self.pointer_names():
            entry = self.pointer(name)
            if name != LATEST and entry is not None:
                found[name] = entry.target
        return {name: target for name, target in found.items() if target}

    def moves(self, name: str) -> Iterator[PointerRecord]:
        """All moves of a pointer, newest first."""
        log = self._pointer_log(check_pointer_name(name))
        for number in range(log.head(), 0, -1):
            yield PointerRecord.decode(log.get(number), where=log.path(number))

    def move(self, name: str, target: int, *, why: str, author: str) -> PointerRecord:
        """Move a pointer: promotion and rollback are this. It is one small write, and stays in the log.

        Raises
        ------
        NotFound
            If there is no such version.
        InvalidInput
            If the name cannot be a pointer, or the version's checks failed.
        Conflict
            If a tag has that name, or other writers keep moving the pointer. With the kind ``named-meanwhile`` if the
            version expired in the same moment; the pointer is moved all the same.
        """
        check_pointer_name(name)
        version = self.version(target)
        if not version.record.advance:
            raise InvalidInput(
                f"{version.pin} cannot be promoted: its checks failed.", hint=f"See: stacpin show {version.pin}"
            )
        if self.find_tag(name) is not None:
            raise Conflict(f"{self.id} has a tag {name!r}; a pointer cannot have its name.", hint="Use another name.")
        log = self._pointer_log(name)
        for _ in range(_TRIES):
            number = log.head() + 1
            before = log.find(number - 1) if number > 1 else None
            seen = self.head()
            moments = [self._clock(), parse_time(self.record(seen).time)]
            if before is not None:
                moments.append(parse_time(PointerRecord.decode(before, where=log.path(number - 1)).time))
            entry = PointerRecord(
                pointer=name,
                number=number,
                previous=record_digest(before) if before else None,
                target=target,
                seen=seen,
                why=why,
                author=author,
                time=time_text(max(moments)),
                nonce=secrets.token_hex(8),
            )
            if log.append(number, entry.encode()):
                self._check_alive(name, target)
                return entry
        raise Conflict(f"{self.id}: other writers keep moving {name!r}.", hint="Look at it again: stacpin log.")

    def _entry_before(self, name: str, before: datetime | None) -> PointerRecord | None:
        for entry in self.moves(name):
            if before is None or parse_time(entry.time) < before:
                return entry
        return None

    def _pointer_log(self, name: str) -> NumberedLog:
        with self._lock:
            log = self._pointers.get(name)
            if log is None:
                log = self._pointers[name] = NumberedLog(self.store, f"{self.folder}/pointers/{name}")
        return log

    # -- tags

    def find_tag(self, name: str) -> TagRecord | None:
        """A tag's record, or None."""
        path = self._tag_path(name)
        try:
            record = TagRecord.decode(self.store.get(path), where=path)
        except NotFound:
            return None
        # On a disk that ignores case, another tag's file answers to this name.
        if record.tag != name:
            raise Integrity(f"{path} is the record of the tag {record.tag!r}.", kind="altered")
        return record

    def tags(self) -> list[TagRecord]:
        """All tags, sorted by name."""
        found = (self.find_tag(name) for name in self.tag_names())
        return [tag for tag in found if tag is not None]

    def tag_names(self) -> list[str]:
        """The names of all tags, sorted."""
        names = (entry.path.rsplit("/", 1)[-1] for entry in self.store.list(f"{self.folder}/tags"))
        return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))

    def tag(self, name: str, target: int, *, author: str, message: str = "") -> TagRecord:
        """Give a version a name for ever. Giving the same name to the same version again is fine.

        Raises
        ------
        InvalidInput
            If the name cannot be a tag.
        NotFound
            If there is no such version.
        Immutable
            If another version has the tag.
        Conflict
            If a pointer has that name. With the kind ``named-meanwhile`` if the version expired in the same moment; it
            has the tag all the same.
        """
        check_tag_name(name)
        version = self.version(target)
        if name in self.pointer_names():
            raise Conflict(f"{self.id} has a pointer {name!r}; a tag cannot have its name.", hint="Use another name.")
        record = TagRecord(
            tag=name,
            target=target,
            digest=version.digest,
            message=message,
            author=author,
            time=time_text(self._clock()),
            nonce=secrets.token_hex(8),
        )
        if not self.store.put_record(self._tag_path(name), record.encode()):
            there = self.find_tag(name)
            if there is None or there.target != target:
                taken = f"v{there.target}" if there else "another version"
                raise Immutable(
                    f"The tag {name!r} of {self.id} is {taken}; tags never move.", hint="Use a new name for this one."
                )
            return there
        self._check_alive(name, target)
        return record

    def _check_alive(self, name: str, target: int) -> None:
        """Tell that a version was retired between the look at it and the record that names it.

        Who retires it reads all names again afterwards; so one of the two is told, whoever was first.
        """
        if self.expiry(target) is not None:
            raise Conflict(
                f"{self.id}: {name!r} means v{target} now, which expired in the same moment.",
                hint="A tag says so for ever: use another. Move a pointer to a version that lives: stacpin promote, or "
                "stacpin rollback where it is latest.",
                kind="named-meanwhile",
            )

    def _tag_path(self, name: str) -> str:
        return f"{self.folder}/tags/{name}.json"

    def _no_version(self, name: str) -> NotFound:
        head = self.head()
        names = [f"v{number}" for number in range(max(1, head - 19), head + 1)]
        others = [*self.pointers(), *(tag.tag for tag in self.tags())]
        near = difflib.get_close_matches(name, [*names[::-1], *others], n=1, cutoff=0.4)
        more = "… " if head > len(names) else ""
        return NotFound(
            f"{self.id}@{name} does not exist; versions: {more}{' '.join(names) or 'none'}"
            f"{'; names: ' + ' '.join(others) if others else ''}.",
            hint=f"Did you mean {self.id}@{near[0]}?" if near else None,
            kind="no-such-version",
        )
