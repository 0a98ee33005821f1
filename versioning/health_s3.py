"""Whether the settings of a catalog's S3 bucket protect it, or would delete it behind our back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from itertools import islice
from typing import Any

from versioning.catalog import Catalog
from versioning.errors import Forbidden, Integrity, NotFound, StacpinError
from versioning.events import Listener, Progress, silent
from versioning.health_check import Check
from versioning.s3_bucket import Bucket, NotThere, Unsupported, open_bucket
from versioning.store import Store

__all__ = ["COLD", "bucket_checks", "reaches"]

# Classes whose objects answer InvalidObjectState until they are restored.
COLD = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_OLD_UPLOAD = timedelta(days=1)
_SHOWN = 5
_EVERYONE = ("AllUsers", "AuthenticatedUsers")
# What no version is read from: rules may tidy up there.
_EPHEMERAL = ("staging/", "quarantine/")


def bucket_checks(store: Store, *, objects: bool = False, on_event: Listener = silent) -> Iterator[Check]:
    """Check the bucket of a catalog on S3. What the server does not implement is ``unknown``.

    Parameters
    ----------
    store
        The catalog's store.
    objects
        Whether every object's storage class is looked at; then what live versions need of the cold ones is named.
    on_event
        Hears how many objects were looked at.
    """
    if find_spec("boto3") is None:
        yield Check("bucket", "unknown", "boto3 is not installed", "Install it: pip install 'stacpin[s3]'")
        return
    checks: dict[str, Callable[[Bucket], Check]] = {
        "lifecycle rules": _lifecycle,
        "bucket versioning": _versioning,
        "Object Lock": _object_lock,
        "unfinished uploads": _uploads,
        "public access": _public,
    }
    if objects:
        checks["storage classes"] = lambda found: _storage_classes(found, store, on_event)
    with open_bucket(store.url) as bucket:
        for name, check in checks.items():
            yield _guarded(name, check, bucket)


def reaches(rule: dict[str, Any], prefix: str) -> bool:
    """Whether a lifecycle rule applies to what versions need below a prefix (empty, or ending in a slash)."""
    terms = rule.get("Filter") or {}
    terms = terms.get("And") or terms
    tags = terms.get("Tags") or ([terms["Tag"]] if terms.get("Tag") else [])
    if any(tag.get("Key") != "stacpin" for tag in tags):
        return False  # our objects have no tags but our own
    wanted = terms.get("Prefix") or rule.get("Prefix") or ""
    if any(wanted.startswith(prefix + folder) for folder in _EPHEMERAL):
        return False
    return wanted.startswith(prefix) or prefix.startswith(wanted)


def _lifecycle(bucket: Bucket) -> Check:
    try:
        rules = bucket.ask("get_bucket_lifecycle_configuration").get("Rules", [])
    except NotThere:
        return Check("lifecycle rules", "ok", "none")
    ours = [rule for rule in rules if rule.get("Status") == "Enabled" and reaches(rule, bucket.prefix)]
    deleting = [_name(rule) for rule in ours if {"Days", "Date"} & rule.get("Expiration", {}).keys()]
    if deleting:
        return Check(
            "lifecycle rules",
            "error",
            f"{_some(deleting)} will delete objects that versions need",
            f"Remove it, or keep it away from s3://{bucket.name}/{bucket.prefix}: what nothing needs is for "
            "stacpin gc to delete.",
        )
    cooling = [
        _name(rule)
        for rule in ours
        if not _tagged(rule) and any(each.get("StorageClass") in COLD for each in rule.get("Transitions", []))
    ]
    if cooling:
        return Check(
            "lifecycle rules",
            "error",
            f"{_some(cooling)} will move objects that versions need to cold storage, where they cannot be read",
            "Use a class that can be read at once (STANDARD_IA, INTELLIGENT_TIERING, GLACIER_IR), or a rule for what "
            "nothing needs: stacpin lifecycle",
        )
    return Check("lifecycle rules", "ok", f"{len(rules)}, none of which deletes or hides what versions need")


def _versioning(bucket: Bucket) -> Check:
    status = bucket.ask("get_bucket_versioning").get("Status")
    if status == "Enabled":
        return Check("bucket versioning", "ok", "on: what is deleted or overwritten by mistake can be brought back")
    return Check(
        "bucket versioning",
        "advice",
        "off: what somebody deletes or overwrites is gone (stacpin itself needs nothing of it)",
        f"Turn it on: aws s3api put-bucket-versioning --bucket {bucket.name} --versioning-configuration "
        "Status=Enabled; and let stacpin lifecycle --apply expire what it keeps",
    )


def _object_lock(bucket: Bucket) -> Check:
    try:
        found = bucket.ask("get_object_lock_configuration").get("ObjectLockConfiguration", {})
    except NotThere:
        found = {}
    if found.get("ObjectLockEnabled") != "Enabled":
        return Check(
            "Object Lock",
            "advice",
            "off: whoever has the credentials can delete published versions (stacpin itself needs nothing of it)",
            "It keeps objects for a set time against everybody. Turn bucket versioning on, then: aws s3api "
            f"put-object-lock-configuration --bucket {bucket.name} --object-lock-configuration "
            "'ObjectLockEnabled=Enabled,Rule={DefaultRetention={Mode=GOVERNANCE,Days=30}}'; and write with "
            "AWS_CHECKSUM_ALGORITHM=SHA256",
        )
    kept = found.get("Rule", {}).get("DefaultRetention")
    if not kept:
        return Check("Object Lock", "advice", "on, but new objects are kept for no time", "Set a default retention.")
    length = f"{kept['Days']} days" if "Days" in kept else f"{kept.get('Years')} years"
    return Check("Object Lock", "ok", f"on: each object is kept for {length} ({str(kept.get('Mode')).lower()})")


def _uploads(bucket: Bucket) -> Check:
    limit = datetime.now(UTC) - _OLD_UPLOAD
    found = [
        upload
        for page in islice(bucket.pages("list_multipart_uploads", Prefix=bucket.prefix), 10)
        for upload in page.get("Uploads", [])
    ]
    old = [upload for upload in found if upload["Initiated"] < limit]
    if not old:
        return Check("unfinished uploads", "ok", f"{len(found)}, none older than a day")
    return Check(
        "unfinished uploads",
        "warning",
        f"{len(old)} are older than a day: their parts are paid for",
        "Let the bucket end them: stacpin lifecycle --apply",
    )


def _public(bucket: Bucket) -> Check:
    public: list[str] = []
    try:
        if bucket.ask("get_bucket_policy_status").get("PolicyStatus", {}).get("IsPublic"):
            public.append("its policy")
    except NotThere:
        pass
    grants = bucket.ask("get_bucket_acl").get("Grants", [])
    if any(str(grant.get("Grantee", {}).get("URI", "")).endswith(_EVERYONE) for grant in grants):
        public.append("its access list")
    if not public:
        return Check("public access", "ok", "neither its policy nor its access list is public")
    hint = "Nothing to do if it is meant so. Otherwise turn on the bucket's Block Public Access."
    return Check("public access", "warning", f"everybody may use this bucket by {' and '.join(public)}", hint)


def _storage_classes(bucket: Bucket, store: Store, on_event: Listener) -> Check:
    cold: set[str] = set()
    seen = 0
    for page in bucket.pages("list_objects_v2", Prefix=bucket.prefix):
        for each in page.get("Contents", []):
            seen += 1
            if each.get("StorageClass") in COLD:
                cold.add(each["Key"].removeprefix(bucket.prefix))
        on_event(Progress("storage classes", seen, unit="files"))
    if not cold:
        return Check("storage classes", "ok", f"all of {seen} objects can be read at once")
    needed = sorted(cold - _unneeded(Catalog.open(store)))
    if not needed:
        return Check(
            "storage classes", "ok", f"{len(cold)} of {seen} objects are in cold storage; no version needs them"
        )
    return Check(
        "storage classes",
        "error",
        f"{len(needed)} objects that versions need are in cold storage and cannot be read: {_some(needed)}",
        f"Restore them: aws s3api restore-object --bucket {bucket.name} --key KEY --restore-request Days=7; then copy "
        "each onto itself with --storage-class STANDARD.",
    )


def _unneeded(catalog: Catalog) -> set[str]:
    from versioning.reachability import classify

    return {entry.path for entry, need in classify(catalog) if need in {"recent", "unreferenced"}}


def _guarded(name: str, check: Callable[[Bucket], Check], bucket: Bucket) -> Check:
    try:
        return check(bucket)
    except (Unsupported, Forbidden, NotThere) as error:
        return Check(name, "unknown", error.message, error.hint)
    except (Integrity, NotFound) as error:
        return Check(name, "error", error.message, error.hint, error.exit_code)
    except StacpinError as error:
        return Check(name, "unknown", error.message, error.hint)


def _tagged(rule: dict[str, Any]) -> bool:
    terms = rule.get("Filter") or {}
    return bool(terms.get("Tag") or (terms.get("And") or {}).get("Tags"))


def _name(rule: dict[str, Any]) -> str:
    return repr(rule.get("ID") or "without a name")


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
