"""Commands that look at history: log, show, diff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stacpin.cli.context import CatalogOption, JsonOption, PinArgument, catalog_of, output
from stacpin.cli.output import counted, human_bytes, table
from versioning.errors import NotFound

if TYPE_CHECKING:
    from catalog.changes import AssetChange, DiffReport, ItemReport
    from versioning.dataset import Dataset
    from versioning.records import VersionRecord
    from versioning.version import Version

__all__ = ["register"]

_SHOWN = 20
_EDITS = {"geometry": "moved", "attribute": "with other properties", "both": "moved and with other properties"}


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(epilog="Example: stacpin log landcover -n 5")(log)
    app.command(epilog="Example: stacpin show landcover@v3\n\nExample: stacpin show landcover@v3 tile-17")(show)
    app.command(epilog="Example: stacpin diff landcover@v2 landcover@v3 --stat")(diff)


def log(
    dataset: Annotated[str | None, typer.Argument(metavar="DATASET", help="Without it, the datasets.")] = None,
    number: Annotated[int, typer.Option("-n", min=1, metavar="N", help="At most so many versions.")] = 50,
    moves: Annotated[
        str | None, typer.Option(metavar="POINTER", help="Show the moves of a pointer instead.", show_default=False)
    ] = None,
    catalog: CatalogOption = None,
    json: JsonOption = False,
) -> None:
    """List the versions of a dataset, newest first. With their tags and pointers."""
    out = output(json)
    place = catalog_of(catalog)
    if dataset is None:
        found = [_dataset_dict(place.dataset(name)) for name in place.dataset_ids()]
        rows = [[each["dataset"], each["latest"] or "-", each["versions"], each["items"]] for each in found]
        text = table(rows, ("dataset", "latest", "versions", "items")) if found else f"no datasets yet in {place.url}"
        out.data(found, text)
        return
    history = place.dataset(dataset)
    if history.head() == 0:
        place.resolve(f"{dataset}@latest")  # says what there is instead
    if moves is not None:
        known = history.pointers()
        if moves not in known:
            raise NotFound(f"{dataset} has no pointer {moves!r}; pointers: {', '.join(known)}.", kind="no-such-pointer")
        entries = [entry.model_dump() for entry in history.moves(moves)][:number]
        rows = [[f"{entry['time'][:19]}Z", f"v{entry['target']}", entry["author"], entry["why"]] for entry in entries]
        listed = table(rows, ("time", moves, "author", "why")) if rows else f"{moves} was never moved by hand"
        out.data(entries, f"{listed}\n{moves} is v{known[moves]} now")
        return
    names = _names(history)
    records = [record for record, _ in zip(history.versions(), range(number), strict=False)]
    retired = _retired(history, records)
    data = [
        _record_dict(record, names.get(record.number, [])) | {"expired": retired.get(record.number)}
        for record in records
    ]
    out.data(data, "\n".join(_record_text(each, names.get(each.number, []), retired) for each in records))


def show(
    pin: PinArgument,
    item: Annotated[str | None, typer.Argument(metavar="ITEM", help="One item of it.")] = None,
    catalog: CatalogOption = None,
    json: JsonOption = False,
) -> None:
    """Show a version, or one item of it as it is stored."""
    out = output(json)
    import orjson

    place = catalog_of(catalog)
    version = place.resolve(pin)
    if item is not None:
        found = version.item(item)
        out.data(found, orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    names = _names(place.dataset(version.dataset)).get(version.number, [])
    data = version.summary() | {
        "names": names,
        "collection_metadata": version.record.collection,
        "summaries": version.record.summaries,
        "checks": version.record.checks,
        "refused": _refused(version),
        "recipe": (version.record.recipe or {}).get("digest"),
        "software": version.record.software,
    }
    out.data(data, _version_text(version, names))


def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A pin, e.g. landcover@v2.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Another pin, e.g. landcover@v3.")],
    stat: Annotated[bool, typer.Option("--stat", help="Counts and changed items, without single features.")] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 if they differ.")] = False,
    key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The property that tells label features apart.", show_default=False),
    ] = None,
    catalog: CatalogOption = None,
    json: JsonOption = False,
) -> None:
    """Show what changed between two versions. Items, assets, properties, and single features of labels."""
    out = output(json)
    from catalog.changes import explain_diff

    place = catalog_of(catalog)
    report = explain_diff(place, place.resolve(old), place.resolve(new), key=key)
    out.data(report.to_dict(stat=stat), _diff_text(report, stat=stat))
    if exit_code and report:
        raise typer.Exit(1)


def _retired(dataset: Dataset, records: Sequence[VersionRecord]) -> dict[int, dict[str, str]]:
    """When and why some of these versions expired."""
    expired = dataset.expired()
    found = {}
    for record in records:
        expiry = dataset.expiry(record.number) if record.number in expired else None
        if expiry is not None:
            found[record.number] = {"time": expiry.time, "why": expiry.why, "author": expiry.author}
    return found


def _names(dataset: Dataset) -> dict[int, list[str]]:
    names: dict[int, list[str]] = {}
    for name, target in dataset.pointers().items():
        names.setdefault(target, []).append(name)
    for tag in dataset.tags():
        names.setdefault(tag.target, []).append(tag.tag)
    return names


def _dataset_dict(dataset: Dataset) -> dict[str, Any]:
    latest = dataset.latest_number()
    items = dataset.record(latest).statistics.items if latest else 0
    return {
        "dataset": dataset.id,
        "latest": f"v{latest}" if latest else None,
        "versions": dataset.head(),
        "items": items,
    }


def _record_dict(record: VersionRecord, names: list[str]) -> dict[str, Any]:
    return {
        "version": record.number,
        "pin": f"{record.dataset}@v{record.number}",
        "digest": record.digest,
        "parent": record.parent,
        "time": record.time,
        "author": record.author,
        "message": record.message,
        "names": names,
        "advance": record.advance,
        "statistics": record.statistics.model_dump(),
    }


def _record_text(record: VersionRecord, names: list[str], retired: Mapping[int, Mapping[str, str]]) -> str:
    counts = record.statistics
    ended = retired.get(record.number)
    over = f"\n    expired {ended['time'][:10]}: {_indented(ended['why'], 4)}" if ended else ""
    named = f"  ({', '.join(names)})" if names else ""
    failed = "" if record.advance else "  checks failed"
    changes = f"+{counts.added} ~{counts.changed} -{counts.removed}"
    return (
        f"v{record.number}{named}{failed}  {record.digest[:19]}  {record.time[:19]}Z  {record.author}\n"
        f"    {_indented(record.message, 4)}\n"
        f"    {counted(counts.items, 'item')}, {changes}, {human_bytes(counts.bytes)}{over}"
    )


def _version_text(version: Version, names: list[str]) -> str:
    record, counts = version.record, version.record.statistics
    bbox = ", ".join(f"{value:g}" for value in counts.bbox) if counts.bbox else "none"
    interval = " to ".join(str(value) for value in counts.interval) if counts.interval else "none"
    rows = [
        ("pin", version.pin),
        ("names", ", ".join(names) or "none"),
        ("digest", record.digest),
        ("content", record.content_digest),
        ("parent", f"v{record.parent}" if record.parent else "none"),
        ("time", record.time),
        ("author", record.author),
        ("message", _indented(record.message, 11)),
        ("items", f"{counts.items} ({counted(counts.assets, 'asset')}, {human_bytes(counts.bytes)})"),
        ("changes", f"{counts.added} added, {counts.changed} changed, {counts.removed} removed"),
        ("bbox", bbox),
        ("time span", interval),
        (
            "checks",
            ", ".join(f"{each['name']} {'ok' if each['passed'] else 'FAILED'}" for each in record.checks) or "none",
        ),
        *(("refused", _refusal_text(each)) for each in _refused(version)),
        ("software", ", ".join(f"{name} {number}" for name, number in sorted(record.software.items())) or "unknown"),
    ]
    return "\n".join(f"{name:<10} {value}" for name, value in rows)


def _refused(version: Version) -> list[dict[str, Any]]:
    """What the recipe named and the ingest put into quarantine."""
    return (version.record.recipe or {}).get("skipped") or []


def _refusal_text(refusal: dict[str, Any]) -> str:
    return f"{refusal.get('item')}: {refusal.get('message')}"


def _indented(text: str, columns: int) -> str:
    return text.strip().replace("\n", "\n" + " " * columns)


def _diff_text(report: DiffReport, *, stat: bool) -> str:
    lines = [f"{report.old} -> {report.new}"]
    if not stat:
        lines += [f"+ {item_id}" for item_id in report.added]
        lines += [f"- {item_id}" for item_id in report.removed]
    for item in report.changed:
        lines += _item_lines(item, stat=stat)
    lines += [f"~ dataset: {name}" for name in report.collection]
    counts = f"{len(report.added)} added, {len(report.removed)} removed, {len(report.changed)} changed"
    lines.append(counts if report else "no difference")
    return "\n".join(lines)


def _item_lines(item: ItemReport, *, stat: bool) -> list[str]:
    if stat:
        counts = [f"{asset.key} {_features_text(asset)}" for asset in item.assets if asset.features]
        return [f"~ {item.id}{': ' if counts else ''}{'; '.join(counts)}"]
    lines = [f"~ {item.id}"]
    for asset in item.assets:
        lines.append(f"    asset {asset.key} {asset.state} ({asset.what})")
        if asset.features:
            lines.append(f"        {_features_text(asset)}")
        lines += [
            f"        {_EDITS.get(edit['kind'], edit['kind'])}: {edit['feature']}{_edit_text(edit)}"
            for edit in asset.edits[:_SHOWN]
        ]
        more = sum((asset.features or {}).values()) - (asset.features or {}).get("unchanged", 0) - _SHOWN
        if more > 0:
            lines.append(f"        and {more} more: see --json")
    for name, (old, new) in item.properties.items():
        lines.append(f"    {name}: changed" if name == "geometry" else f"    {name}: {old!r} -> {new!r}")
    return lines


def _features_text(asset: AssetChange) -> str:
    counts = asset.features or {}
    return "features: " + ", ".join(f"{count} {_EDITS.get(name, name)}" for name, count in counts.items() if count)


def _edit_text(edit: dict[str, Any]) -> str:
    place = f", at {edit['place'][0]:.9g},{edit['place'][1]:.9g}" if edit["place"] else ""
    parts = [f"{name}: {each['old']!r} -> {each['new']!r}" for name, each in edit["properties"].items()]
    if edit["distance"] is not None:
        parts.append(f"by up to {edit['distance']:.6g} units of the CRS")
    return f"{place}{', ' if parts else ''}{'; '.join(parts)}"
