"""The command sync: from one catalog to another, what is missing there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stacpin.cli.context import JsonOption, output, refuse_api
from stacpin.cli.output import Output, counted, human_bytes
from versioning.errors import InvalidInput

if TYPE_CHECKING:
    from versioning.sync_report import SyncReport, Tally

__all__ = ["register"]

_DIFFERENT = 1
_SHOWN = 10
_WORDS = {
    "versions": ("version", None),
    "tags": ("tag", None),
    "moves": ("pointer move", None),
    "expired": ("expiry", "expiries"),
    "settings": ("settings file", None),
    "snapshots": ("snapshot", None),
    "manifests": ("manifest", None),
    "objects": ("object", None),
}


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(
        epilog="Example: stacpin sync catalog/ s3://acme/catalog\n\n"
        "Example: stacpin sync s3://acme/catalog mirror/ --dataset landcover --bandwidth 20MB\n\n"
        "Example: stacpin sync catalog/ s3://acme/catalog --dry-run --exit-code\n\n"
        "Exit codes: 0 done, 1 something is missing or different (--dry-run --exit-code), 20 the histories have "
        "diverged, 30 the source or the destination is damaged, 40 no catalog at the source."
    )(sync)


def sync(
    source: Annotated[str, typer.Argument(metavar="SRC", help="The catalog to copy from: a path or a URL.")],
    destination: Annotated[str, typer.Argument(metavar="DST", help="Where to; what is no catalog becomes a mirror.")],
    dataset: Annotated[
        list[str] | None,
        typer.Option("--dataset", "-d", metavar="DS", help="Only this dataset; may be repeated.", show_default=False),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, metavar="N", help="How many objects at once.")] = 8,
    bandwidth: Annotated[
        str | None,
        typer.Option(metavar="RATE", help="Bytes a second, all workers together: 20MB, 512KiB.", show_default=False),
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also compare, by name and size, what versions on both sides need.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is missing, extra and mismatched.")] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="With --dry-run: exit with 1 if not in sync.")] = False,
    json: JsonOption = False,
) -> None:
    """Copy what a catalog lacks from another. Readers of it see whole versions only; what stopped goes on.

    Every object is proven by its sha256 on arrival, and what is there is not moved again. Nothing is ever overwritten:
    if the histories have diverged, nothing is copied.
    """
    out = output(json)
    from versioning.sync import sync as run

    for url in (source, destination):
        refuse_api(url)
    with out.progress() as listen:
        report = run(
            source,
            destination,
            datasets=dataset,
            workers=workers,
            bandwidth=None if bandwidth is None else _rate(bandwidth),
            dry_run=dry_run,
            deep=deep,
            on_event=listen,
        )
    out.data(report.to_dict(), _text(report))
    _tell(out, report)
    if dry_run and exit_code and not report.in_sync:
        raise typer.Exit(_DIFFERENT)


def _rate(text: str) -> int:
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        rate = TypeAdapter(ByteSize).validate_python(text.removesuffix("/s"))
    except ValidationError:
        rate = 0
    if rate < 1:
        raise InvalidInput(f"{text!r} is no bandwidth.", hint="Write bytes a second, such as 20MB or 512KiB.")
    return int(rate)


def _text(report: SyncReport) -> str:
    lines: list[str] = []
    if report.dry_run:
        lines += _lines("missing", report.missing)
    else:
        lines += _lines("copied", report.copied)
    lines += [f"diverged: {each}" for each in report.diverged]
    lines += _lines("mismatched", report.mismatched)
    lines += _lines("extra", report.extra)
    lines += [f"kept: {each}" for each in report.kept]
    lines += [f"ahead: {name} by {counted(count, 'version')}" for name, count in report.ahead.items()]
    if report.skipped.count:
        lines.append(f"already there: {_parts(report.skipped)}")
    if report.in_sync:
        lines.insert(0, f"in sync: {report.destination} lacks nothing of {report.source}")
    return "\n".join(lines)


def _lines(word: str, tally: Tally) -> list[str]:
    if not tally.count:
        return []
    lines = [f"{word}: {_parts(tally)}"]
    if word in {"mismatched", "extra"}:
        lines += [f"  {name}" for name in sorted(tally.names)[:_SHOWN]]
        if tally.count > _SHOWN:
            lines.append(f"  … and {tally.count - min(_SHOWN, len(tally.names))} more")
    return lines


def _parts(tally: Tally) -> str:
    found = [counted(tally.kinds[kind], *words) for kind, words in _WORDS.items() if tally.kinds[kind]]
    return f"{', '.join(found)} ({human_bytes(tally.bytes)})"


def _tell(out: Output, report: SyncReport) -> None:
    for note in report.notes:
        out.note(f"note: {note}")
    if report.dry_run and report.mismatched.count:
        out.note("damaged files are never overwritten by a sync: repair them first, see stacpin verify --help")
    elif report.dry_run and report.diverged:
        out.note("nothing can be copied into a history that has diverged; other datasets can be named with --dataset")
    elif report.dry_run and report.missing.count:
        out.note("nothing was written; run it without --dry-run")
