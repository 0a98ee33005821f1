"""The commands gc and expire."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from stacpin.cli.context import AuthorOption, CatalogOption, JsonOption, author, catalog_of, output
from stacpin.cli.output import counted, human_bytes, table
from stacpin.cli.values import age, version_number
from versioning.ids import check_dataset_id

if TYPE_CHECKING:
    from versioning.expire import ExpireReport
    from versioning.gc_report import Amount, GcReport, Waiting

__all__ = ["register"]

_SHORT = timedelta(hours=1)

ApplyOption = Annotated[bool, typer.Option("--apply", help="Do it. Without it, only say what would happen.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(
        epilog="Example: stacpin gc\n\nExample: stacpin gc --apply --older-than 30d\n\n"
        "Exit codes: 0 fine, 20 another one is at work, 30 damage: nothing is deleted before it is repaired."
    )(gc)
    app.command(
        epilog="Example: stacpin expire landcover --keep-last 10\n\n"
        "Example: stacpin expire landcover --version v2 -m 'licence withdrawn' --apply\n\n"
        "Exit codes: 0 fine, 20 a name means one of the versions, 40 no such version, 50 nothing says which."
    )(expire)


def gc(
    apply: ApplyOption = False,
    older_than: Annotated[
        str,
        typer.Option(metavar="AGE", help="What is younger stays, retired versions too: 14d, 12h, 2w."),
    ] = "14d",
    delay: Annotated[
        str, typer.Option(metavar="AGE", help="How long before its deletion a file was condemned at least.")
    ] = "24h",
    catalog: CatalogOption = None,
    json: JsonOption = False,
) -> None:
    """Delete what no version needs, in two runs. The first condemns, a later one deletes what is condemned.

    Versions, names, unfinished runs and running commits keep what they need. Retire versions with: stacpin expire.
    """
    out = output(json)
    from versioning.gc import collect

    ages = age("--older-than", older_than), age("--delay", delay)
    place = catalog_of(catalog)
    if apply and ages[1] < _SHORT:
        out.note("With a delay under an hour, let nobody commit until the second run is over.")
    with out.progress() as listen:
        report = collect(place, older_than=ages[0], delay=ages[1], apply=apply, on_event=listen)
    out.data(report.to_dict(), _gc_text(report, older_than, delay))


def expire(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="The dataset.")],
    keep_last: Annotated[
        int | None, typer.Option(metavar="N", help="Retire all but the newest N versions.", show_default=False)
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="AGE",
            help="Retire versions older than this: 90d. With --keep-last, both must agree.",
            show_default=False,
        ),
    ] = None,
    version: Annotated[
        list[str] | None, typer.Option("--version", metavar="VERSION", help="Retire this one; can be repeated.")
    ] = None,
    message: Annotated[
        str | None,
        typer.Option(
            "--message", "-m", metavar="TEXT", help="Why: whoever asks for one of them hears it.", show_default=False
        ),
    ] = None,
    apply: ApplyOption = False,
    author_: AuthorOption = None,
    catalog: CatalogOption = None,
    json: JsonOption = False,
) -> None:
    """Retire versions, by a policy or by name. Their records stay, and their pins say that they expired.

    What latest, a pointer or a tag means is never retired. It is final; gc deletes what only they needed.
    """
    out = output(json)
    from versioning.expire import expire as retire

    numbers = [version_number("--version", each) for each in version] if version else None
    oldest = None if older_than is None else age("--older-than", older_than)
    check_dataset_id(dataset)  # "landcover@v3" is a version, not the dataset
    place = catalog_of(catalog)
    history = place.dataset(dataset)
    if history.head() == 0:
        place.resolve(f"{dataset}@latest")  # says what there is instead
    with out.progress() as listen:
        report = retire(
            history,
            keep_last=keep_last,
            older_than=oldest,
            versions=numbers,
            why=message if message is not None else _policy(keep_last, older_than),
            author=author(author_),
            apply=apply,
            on_event=listen,
        )
    out.data(report.to_dict(), _expire_text(report))


def _policy(keep_last: int | None, older_than: str | None) -> str:
    said = [f"keep the last {keep_last}"] if keep_last is not None else []
    said += [f"older than {older_than}"] if older_than is not None else []
    return f"policy: {', '.join(said)}" if said else "retired by name"


def _gc_text(report: GcReport, older_than: str, delay: str) -> str:
    done = report.applied
    lines = [
        f"{'condemned' if done else 'would condemn'} {_amount(report.condemned)} that nothing needs"
        + (f" (gc/{report.record:08d}.json)" if report.record else ""),
        f"{'deleted' if done else 'would delete'} {_amount(report.deleted)} condemned before"
        + (f"; spared {counted(report.spared, 'file')} in use or rewritten since" if report.spared else ""),
    ]
    if report.cleared.files:
        runs = f", {counted(len(report.cleared_runs), 'finished run')} among them" if report.cleared_runs else ""
        lines.append(f"{'cleared' if done else 'would clear'} {_amount(report.cleared)} left behind{runs}")
    lines.append(f"kept {_amount(report.live)} of {counted(report.versions, 'version')}")
    if report.staged.files:
        lines.append(f"kept {_amount(report.staged)} of unfinished runs: {', '.join(report.unfinished)}")
    if report.recent.files:
        lines.append(f"kept {_amount(report.recent)} younger than {older_than}")
    lines += [_waiting_text(each) for each in report.waiting]
    return "\n".join([*lines, _next(report, older_than, delay)])


def _waiting_text(each: Waiting) -> str:
    what = f"waiting: {counted(each.files, 'file')}, {human_bytes(each.bytes)}, of gc/{each.record:08d}.json"
    if each.runs:
        return f"{what}, for {', '.join(each.runs)}, which began before: commit or discard it"
    return f"{what}, until {each.ready:%Y-%m-%dT%H:%M:%SZ}"


def _next(report: GcReport, older_than: str, delay: str) -> str:
    options = "".join(
        f" {name} {value}"
        for name, value, usual in (("--older-than", older_than, "14d"), ("--delay", delay, "24h"))
        if value != usual
    )
    if not report.applied:
        if report.condemned.files or report.deleted.files or report.cleared.files:
            return f"nothing was changed; to do it: stacpin gc --apply{options}"
        return "nothing to do"
    if report.waiting:
        last = max(each.ready for each in report.waiting)
        return f"to delete what waits, after {last:%Y-%m-%dT%H:%M:%SZ}: stacpin gc --apply{options}"
    return "nothing waits"


def _amount(amount: Amount) -> str:
    return f"{counted(amount.files, 'file')}, {human_bytes(amount.bytes)},"


def _expire_text(report: ExpireReport) -> str:
    lines = []
    if report.expired:
        rows = [
            [f"v{record.number}", f"{record.time[:19]}Z", record.statistics.items, record.message]
            for record in report.expired
        ]
        lines.append(table(rows, ("version", "time", "items", "message")))
    lines += [f"v{each.number} stays: {', '.join(each.names)}" for each in report.kept]
    count = counted(len(report.expired), "version")
    left = f"{counted(report.live, 'version')} of {report.dataset} {'is' if report.live == 1 else 'are'} left"
    if not report.expired:
        lines.append(f"no version expires; {left}")
    elif report.applied:
        lines.append(f"{count} expired ({report.why}); {left}")
        lines.append("their files stay for 14 days; to delete them then: stacpin gc --apply")
    else:
        lines.append(f"{count} would expire ({report.why}); {left.replace(' are left', ' would be left')}")
        lines.append("nothing was changed; to do it, for ever: the same with --apply")
    return "\n".join(lines)
