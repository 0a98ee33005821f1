"""From the staging area to a version: prove what is not proven yet, then commit, on top of others where they agree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import orjson

from ingest.checks import NAMES, check_items
from ingest.describe import stored_ref
from ingest.staging import ItemLines, StagedRun, mark_done
from ingest.storing import prove_all
from ingest.whole import items_after, rows_by_id, whole_of
from versioning.canonical import canonical
from versioning.catalog import Catalog
from versioning.commit import CommitResult, Notes, commit
from versioning.dataset import Dataset
from versioning.diff import diff_versions
from versioning.errors import Conflict
from versioning.events import Listener, Progress, silent
from versioning.objects import ObjectRef
from versioning.rows import make_row
from versioning.version import Version

__all__ = ["commit_staged"]

# Each time another writer was faster, all items are added up again: who loses eight times should look.
_TRIES = 8
_SHOWN = 10
_ITEM_ASSETS = "item_assets"


def commit_staged(
    catalog: Catalog, run: StagedRun, *, message: str, author: str, on_event: Listener = silent
) -> CommitResult:
    """Commit a run from the staging area, after proving each object of it that the run itself has not proven.

    If ``latest`` has moved on meanwhile and others changed other items, the change is made on top of it, and whatever
    follows from all items together (declared assets, summaries, checks) is decided again.

    Raises
    ------
    NotFound, Integrity
        If an object that the run stored is missing, or is not what was stored; then nothing is committed.
    Conflict
        If somebody else changed the same items or the same metadata meanwhile.
    """
    dataset = catalog.dataset(run.dataset)
    base = None if run.base is None else dataset.version(run.base)
    _prove(catalog, run, base, on_event)
    tried = run
    for _ in range(_TRIES):
        try:
            result = commit(
                dataset,
                items=_checked(dataset, tried) if base is None else tried.items,
                remove=tried.remove,
                collection=tried.collection,
                message=message,
                author=author,
                base=base,
                advance=tried.passed,
                notes=Notes(
                    summaries=tried.summaries, checks=tried.checks, recipe=tried.recipe, software=tried.software
                ),
                rebase=False,
                on_event=on_event,
            )
        except Conflict as error:
            latest = dataset.latest()
            if error.kind != "stale-base" or latest is None:
                raise
            tried, base = _on_top(run, None if run.base is None else dataset.version(run.base), latest), latest
            continue
        mark_done(catalog, run, result.version.pin)
        return result
    raise Conflict(f"{run.dataset}: other writers were faster {_TRIES} times.", hint="Try again: stacpin commit")


def _checked(dataset: Dataset, run: StagedRun) -> Iterator[dict[str, Any]]:
    """The items of a run that was made from nothing, if there still is nothing.

    A commit without a base takes what is ``latest`` when it begins, and only then looks at the items: a version that
    was made before that is seen here, and one that is made after it by the commit itself.
    """
    latest = dataset.latest()
    if latest is not None:
        raise Conflict(
            f"{dataset.id}: latest is {latest.pin} now; the change was made from nothing.",
            hint="Run the ingest again.",
            kind="stale-base",
        )
    yield from run.items


def _prove(catalog: Catalog, run: StagedRun, base: Version | None, on_event: Listener) -> None:
    """Read back the objects that neither the run nor the version before it has proven."""
    refs: dict[str, ObjectRef] = {}
    of: dict[str, set[str]] = {}
    for item in run.items:
        for asset in item["assets"].values():
            if asset["href"] not in run.proven:
                refs[asset["href"]] = stored_ref(asset)
                of.setdefault(item["id"], set()).add(asset["href"])
    if not refs:
        return
    # Mostly an item keeps its own assets; only what is left is looked for among all.
    for row in rows_by_id(base, of).values() if base else ():
        for asset in row.parse()["assets"].values():
            refs.pop(asset["href"], None)
    if refs and base:
        for _, asset in base.assets():
            refs.pop(asset.href, None)
    total, done = sum(ref.size for ref in refs.values()), 0
    for ref in prove_all(catalog, [refs[href] for href in sorted(refs)]):
        done += ref.size
        on_event(Progress("verify", done, total, "bytes", ref.href))


def _on_top(run: StagedRun, base: Version | None, latest: Version) -> StagedRun:
    """The same change on top of ``latest``, with everything that follows from all items decided again.

    Raises
    ------
    Conflict
        If both changed the same items, or the same metadata, to different things.
    """
    theirs = diff_versions(base, latest)
    new = {row.id: row.digest for row in theirs.added} | {entry.id: entry.new.digest for entry in theirs.changed}
    gone = {row.id for row in theirs.removed}
    mine: dict[str, bytes] = {}
    both: list[str] = []
    for item in run.items:
        item_id = str(item["id"])
        if item_id in gone or (item_id in new and make_row(item).digest != new[item_id]):
            both.append(item_id)
        elif item_id not in new:
            mine[item_id] = orjson.dumps(item)
    both += [item_id for item_id in run.remove if item_id in new]
    if both:
        both.sort()
        more = f" and {len(both) - _SHOWN} more" if len(both) > _SHOWN else ""
        raise Conflict(
            f"{latest.pin} changed the same items: {', '.join(both[:_SHOWN])}{more}.",
            hint=f"Look at it (stacpin show {latest.pin}), then run the ingest again.",
        )
    remove = [item_id for item_id in run.remove if item_id not in gone]
    whole = whole_of(items_after(latest, mine, remove))
    collection = _merged(run.collection, base.record.collection if base else {}, latest)
    found = _assets(whole.kinds, run.collection, latest.record.collection)
    collection |= {_ITEM_ASSETS: found} if found else {}
    checks = check_items(items_after(latest, mine, remove))
    return replace(
        run,
        base=latest.number,
        items=ItemLines(list(mine.values())),
        remove=remove,
        collection=collection,
        summaries=whole.summaries,
        checks=[*checks, *(check for check in run.checks if check["name"] not in NAMES)],
    )


def _merged(mine: Mapping[str, Any], base: Mapping[str, Any], latest: Version) -> dict[str, Any]:
    """What is declared of the dataset, where one side alone changed each member; without ``item_assets``."""
    theirs = latest.record.collection
    merged: dict[str, Any] = {}
    both: list[str] = []
    for name in sorted({*mine, *theirs} - {_ITEM_ASSETS}):
        one, other, before = (canonical(each.get(name)) for each in (mine, theirs, base))
        if one not in (before, other) and other != before:
            both.append(name)
        value = theirs.get(name) if one == before else mine.get(name)
        if value is not None:
            merged[name] = value
    if both:
        raise Conflict(
            f"{latest.pin} changed the dataset's metadata too: {', '.join(both)}.", hint="Decide again on top of it."
        )
    return merged


def _assets(
    kinds: Iterable[tuple[str, str]], mine: Mapping[str, Any], theirs: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The ``item_assets`` of all items, each as the run declares it, else as the version below it does."""
    known = {**theirs.get(_ITEM_ASSETS, {}), **mine.get(_ITEM_ASSETS, {})}
    return {key: {**known.get(key, {"roles": ["metadata"]}), "type": kind} for key, kind in sorted(kinds)}
