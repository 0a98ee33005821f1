"""Plans and staged runs in words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from stacpin.cli.output import counted

if TYPE_CHECKING:
    from ingest.planned import Plan, PlannedItem
    from ingest.staging import StagedRun
    from ingest.unfinished import Interrupted

__all__ = [
    "compared_text",
    "counts_text",
    "default_message",
    "interrupted_text",
    "plan_text",
    "staged_dict",
    "staged_text",
]

# Twenty thousand new files are no text that anybody reads.
_SHOWN = 50


def default_message(plan: Plan) -> str:
    """What a version says of itself where nobody said why."""
    parts = [(plan.count("new"), "new"), (plan.count("changed"), "changed"), (len(plan.removed), "removed")]
    return "Ingest: " + (", ".join(f"{count} {word}" for count, word in parts if count) or "metadata")


def plan_text(plan: Plan) -> str:
    """A plan for people: what changes, item by item, and the counts; of each kind of change the first fifty."""
    lines = [compared_text(plan.dataset, plan.parent.pin if plan.parent else None)]
    seen = Counter[str]()
    for kind, text in _changes(plan):
        seen[kind] += 1
        if seen[kind] <= _SHOWN:
            lines.append(f"  {kind:<9}{text}")
    more = [f"{count - _SHOWN} more {kind}" for kind, count in seen.items() if count > _SHOWN]
    if more:
        lines.append(f"  … and {', '.join(more)} (--json names all)")
    if plan.metadata:
        lines.append(f"  dataset: {', '.join(plan.metadata)}")
    new, changed, unchanged = plan.count("new"), plan.count("changed"), plan.count("unchanged")
    lines.append(counts_text(new, changed, unchanged=unchanged, removed=len(plan.removed), refused=len(plan.refused)))
    return "\n".join(lines)


def _changes(plan: Plan) -> Iterator[tuple[str, str]]:
    """What happens to each item that does not stay as it is, and what changes in it."""
    for item in plan.items:
        if item.state != "unchanged":
            yield item.state, f"{item.source.id}: {(', ' if item.state == 'new' else '; ').join(_item_changes(item))}"
    yield from (("removed", item_id) for item_id in plan.removed)
    yield from (("refused", f"{each.item}: {each.message}") for each in plan.refused)


def counts_text(new: int = 0, changed: int = 0, *, unchanged: int, removed: int = 0, refused: int = 0) -> str:
    """How many items are in which state."""
    return f"{new} new, {changed} changed, {unchanged} unchanged, {removed} removed, {refused} refused"


def compared_text(dataset: str, pin: str | None) -> str:
    """What a plan was made against."""
    return f"{dataset}: compared with {pin or 'nothing (no version yet)'}"


def _item_changes(item: PlannedItem) -> Iterator[str]:
    """What is new (+), other (~) or gone (-) in an item, one by one; of a new one all assets, else what differs."""
    for key, asset in item.assets.items():
        if asset.action == "convert":
            warped = f", {_crs_text(asset.inspection.crs)} -> {_crs_text(asset.target_crs)}" if asset.lineage else ""
            sign = "" if item.state == "new" else "+ asset " if asset.parent is None else "~ asset "
            yield f"{sign}{key} ({asset.source.path.name}{warped})"
        elif key in item.described:
            yield f"~ asset {key}: {', '.join(item.described[key])}"
    yield from (f"- asset {key}" for key in item.removed)
    if item.properties:
        yield f"~ properties: {', '.join(item.properties)}"


def _crs_text(crs: str | None) -> str:
    """A code as it is; of a WKT, PROJJSON or PROJ text the name, or its beginning."""
    text = crs or "no CRS"
    named = re.match(r'\s*\w+\[\s*"([^"]+)"', text) or re.search(r'"name":\s*"([^"]+)"', text)
    return (named[1] if named else text)[:60]


def staged_dict(run: StagedRun) -> dict[str, Any]:
    """A staged run for ``--json``."""
    return {
        "run": run.id,
        "dataset": run.dataset,
        "base": run.base,
        "time": run.time,
        "items": len(run.items),
        "removed": len(run.remove),
        "passed": run.passed,
    }


def staged_text(staged: list[StagedRun]) -> str:
    """The runs that wait for a commit, a line each."""
    return "\n".join(
        f"staged: run {run.id} of {run.dataset}, {counted(len(run.items), 'item')}, {len(run.remove)} removed"
        for run in staged
    )


def interrupted_text(runs: list[Interrupted]) -> str:
    """The runs that ended before they were staged, a line each."""
    return "\n".join(
        f"interrupted: run {run.id} of {run.dataset}, {counted(run.files, 'file')} stored and proven"
        + (f": {run.reason.get('message', '')}" if run.reason else "")
        for run in runs
    )
