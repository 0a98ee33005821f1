"""Storage tiers for what no version needs: objects get a tag, and the bucket's own rules move what has it.

Objects are named by their content, so a rule by prefix cannot tell those that are needed from those that are not. S3's
rules can filter by tag: ``stacpin=unreferenced``. Only objects are tagged that nothing needs and that are older than
garbage collection's grace period; the tag is taken away as soon as a run finds that something needs them again. The
default class, GLACIER_IR, is read like any other, so that an object which a version comes to need between two runs
costs more and breaks nothing; from GLACIER and DEEP_ARCHIVE it would have to be restored first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from versioning.catalog import Catalog
from versioning.errors import InvalidInput, StacpinError
from versioning.events import Listener, Progress, silent
from versioning.lifecycle_journal import read_journal
from versioning.reachability import classify, marked, store_time
from versioning.s3_bucket import Bucket, NotThere, Unsupported, open_bucket

__all__ = ["READABLE", "TAG", "LifecyclePlan", "LifecycleResult", "apply_lifecycle", "plan_lifecycle"]

TAG = {"Key": "stacpin", "Value": "unreferenced"}
# What S3 serves at once, and what must be restored first.
READABLE = ("GLACIER_IR", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING")
_COLD = ("GLACIER", "DEEP_ARCHIVE")
_ABORT_DAYS = 7
_BATCH = 20_000
_WORKERS = 16
_MOST_RULES = 1000  # of a bucket, by S3


@dataclass(slots=True)
class LifecyclePlan:
    """What there is by class, the bucket's rules, and which objects get or lose the tag."""

    url: str
    classes: dict[str, dict[str, int]]
    rules: list[dict[str, Any]]
    tag: list[str] = field(default_factory=list)
    untag: list[str] = field(default_factory=list)
    tagged: int = 0
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The plan for ``--json``; the lists of objects as counts."""
        return {
            "catalog": self.url,
            "classes": self.classes,
            "policy": {"Rules": self.rules},
            "tag": len(self.tag),
            "untag": len(self.untag),
            "tagged": self.tagged,
            "notes": self.notes,
        }


@dataclass(frozen=True, slots=True)
class LifecycleResult:
    """What was done: objects tagged and untagged, rules of ours, rules of others that were kept."""

    tagged: int
    untagged: int
    rules: int
    kept: int


def plan_lifecycle(
    catalog: Catalog,
    *,
    transition_days: int = 30,
    storage_class: str = "GLACIER_IR",
    now: datetime | None = None,
    on_event: Listener = silent,
) -> LifecyclePlan:
    """Work out the policy; nothing is changed.

    Parameters
    ----------
    catalog
        The catalog. One that is not on S3 has classes and rules too, which cannot be applied.
    transition_days
        After how many days, from when an object was written, S3 moves what has the tag.
    storage_class
        Where to: one of ``READABLE``, GLACIER or DEEP_ARCHIVE.
    now
        The time by the store's clock; None asks for it.
    on_event
        Hears how far it is.

    Raises
    ------
    InvalidInput
        If there is no such class.
    Integrity
        If a record or a manifest is damaged, so that it is not known what is needed.
    """
    if storage_class not in (*READABLE, *_COLD):
        raise InvalidInput(
            f"{storage_class!r} is no storage class to move to.",
            hint=f"Use one of {', '.join(READABLE)} (read at once), {' or '.join(_COLD)} (restored first).",
        )
    journal = read_journal(catalog.store)
    marks = marked(catalog, now=now or store_time(catalog.store, writable=False), on_event=on_event)
    classes = {name: {"objects": 0, "bytes": 0} for name in ("live", "staged", "recent", "unreferenced")}
    plan = LifecyclePlan(catalog.url, classes, [])
    for seen, (entry, need) in enumerate(classify(catalog, marks=marks), 1):
        classes[need]["objects"] += 1
        classes[need]["bytes"] += entry.size
        since = journal.tagged.get(entry.path)
        has_tag = since is not None and entry.modified <= since  # one that was written anew has no tags
        plan.tagged += has_tag
        if need == "unreferenced" and not has_tag and entry.path.startswith("objects/"):
            plan.tag.append(entry.path)
        elif need in {"live", "staged"} and (has_tag or entry.path in journal.doubtful):
            plan.untag.append(entry.path)
        if seen % _BATCH == 0:
            on_event(Progress("classify", seen, unit="files"))
    versioned = _versioned(catalog.url, plan.notes)
    plan.rules = _rules(_prefix(catalog.url), transition_days, storage_class, versioned=versioned)
    if catalog.url.startswith("s3") and not _prefix(catalog.url):
        plan.notes.append("The catalog is the whole bucket, and so the rules are for everything in the bucket.")
    if storage_class in _COLD:
        plan.notes.append(
            f"{storage_class} cannot be read until it is restored: a version that comes to need such an object between "
            "two runs cannot be read until then (stacpin doctor --objects finds it). GLACIER_IR avoids that."
        )
    return plan


def apply_lifecycle(catalog: Catalog, plan: LifecyclePlan, *, on_event: Listener = silent) -> LifecycleResult:
    """Set the rules, then take the tag from what is needed again and give it to what is not.

    The rules of others in the bucket stay. A version that appears meanwhile is looked at afterwards, and what it needs
    loses the tag again.

    Raises
    ------
    InvalidInput
        If the catalog is not on S3.
    StorageUnavailable
        If the server does not implement such rules (``not-implemented``); then nothing was tagged.
    Conflict
        If another run is under way.
    """
    with open_bucket(catalog.url) as bucket:
        kept = _set_rules(bucket, plan.rules)
        journal = read_journal(catalog.store)
        marks = marked(catalog, on_event=on_event)
        tag = [path for path in plan.tag if marks.needs(path) is None]
        done = 0

        def change(action: Any, paths: Sequence[str], work: Callable[[Bucket, str], None]) -> None:
            nonlocal done
            total = len(tag) + len(plan.untag)
            for batch in _batches(paths):
                with journal.batch(action, batch), ThreadPoolExecutor(_WORKERS) as pool:
                    for _ in pool.map(lambda path: work(bucket, path), batch):
                        done += 1
                        on_event(Progress("tag", done, max(total, done), unit="files"))

        change("untag", plan.untag, _untag)
        change("tag", tag, _tag)
        marks.refresh()
        again = [path for path in tag if marks.needs(path) is not None]
        change("untag", again, _untag)
    return LifecycleResult(len(tag) - len(again), len(plan.untag), len(plan.rules), kept)


def _rules(prefix: str, days: int, storage_class: str, *, versioned: bool) -> list[dict[str, Any]]:
    """The rules in the form of S3's PutBucketLifecycleConfiguration."""
    own = hashlib.sha256(prefix.encode()).hexdigest()[:8]
    rules: list[dict[str, Any]] = [
        {
            "ID": f"stacpin-{own}-tier",
            "Status": "Enabled",
            "Filter": {"And": {"Prefix": f"{prefix}objects/", "Tags": [TAG]}},
            "Transitions": [{"Days": days, "StorageClass": storage_class}],
        },
        {
            "ID": f"stacpin-{own}-uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": prefix},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": _ABORT_DAYS},
        },
    ]
    if versioned:
        rules.append(
            {
                "ID": f"stacpin-{own}-noncurrent",
                "Status": "Enabled",
                "Filter": {"Prefix": prefix},
                "NoncurrentVersionExpiration": {"NoncurrentDays": days},
            }
        )
    return rules


def _set_rules(bucket: Bucket, rules: list[dict[str, Any]]) -> int:
    """Put our rules beside those of others; how many of others there are."""
    try:
        there = bucket.ask("get_bucket_lifecycle_configuration").get("Rules", [])
    except NotThere:
        there = []
    own = hashlib.sha256(bucket.prefix.encode()).hexdigest()[:8]
    others = [rule for rule in there if not str(rule.get("ID", "")).startswith(f"stacpin-{own}-")]
    if len(others) + len(rules) > _MOST_RULES:
        raise InvalidInput(f"s3://{bucket.name} has {len(others)} lifecycle rules already.", hint="Remove some first.")
    try:
        bucket.ask("put_bucket_lifecycle_configuration", LifecycleConfiguration={"Rules": [*others, *rules]})
    except Unsupported as error:
        raise Unsupported(
            error.message, hint="This store has no storage tiers. Free the room instead: stacpin gc", kind=error.kind
        ) from error
    return len(others)


def _tag(bucket: Bucket, path: str) -> None:
    _change_tags(bucket, path, lambda tags: [*tags, TAG])


def _untag(bucket: Bucket, path: str) -> None:
    _change_tags(bucket, path, lambda tags: tags)


def _change_tags(bucket: Bucket, path: str, change: Callable[[list[Any]], list[Any]]) -> None:
    """Change our tag alone: people have their own, for costs and access. What was deleted meanwhile does not matter."""
    key = bucket.prefix + path
    try:
        tags = bucket.ask("get_object_tagging", Key=key).get("TagSet", [])
        wanted = change([tag for tag in tags if tag.get("Key") != TAG["Key"]])
        if wanted:
            bucket.ask("put_object_tagging", Key=key, Tagging={"TagSet": wanted})
        elif tags:
            bucket.ask("delete_object_tagging", Key=key)
    except StacpinError as error:
        if error.kind != "no-such-object":
            raise


def _versioned(url: str, notes: list[str]) -> bool:
    """Whether the bucket keeps what is overwritten; what could not be found out goes into the notes."""
    try:
        with open_bucket(url) as bucket:
            return bucket.ask("get_bucket_versioning").get("Status") == "Enabled"
    except InvalidInput:
        notes.append("This catalog is not on S3: the policy shows what it would be there, and cannot be applied.")
    except ImportError:
        notes.append("boto3 is not installed, so the bucket was not asked whether it keeps old versions.")
    except StacpinError as error:
        notes.append(f"Whether the bucket keeps old versions is not known: {error.message}")
    return False


def _prefix(url: str) -> str:
    _, scheme, rest = url.partition("://")
    folder = rest.partition("/")[2].strip("/") if scheme else ""
    return f"{folder}/" if folder else ""


def _batches(paths: Sequence[str]) -> Iterator[list[str]]:
    left = iter(paths)
    while batch := list(islice(left, _BATCH)):
        yield batch
