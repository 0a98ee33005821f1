"""Commands that watch over a catalog: audit, guard."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stacpin.cli import judging
from stacpin.cli.context import AuthorOption, CatalogOption, JsonOption, author, catalog_of, output
from stacpin.cli.output import Output, counted, table
from stacpin.cli.values import age, moment, version_number
from versioning.errors import Forbidden, Integrity, InvalidInput, NotFound
from versioning.ids import check_dataset_id

if TYPE_CHECKING:
    from versioning.audit import AuditEntry, AuditTrail
    from versioning.audit_head import AuditHead
    from versioning.verify_report import Problem

__all__ = ["register"]

_BAD = 1
_SHOWN = 5
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(
        epilog="Example: stacpin audit landcover --since 7d\n\n"
        "Example: stacpin audit --head head.json --save-head head.json\n\n"
        "Exit codes: 0 the records hold, 30 records were altered or taken away, 40 no such dataset or file."
    )(audit)
    app.command(
        epilog="Example: stacpin guard landcover@stable --metric IoU=0.64 --least IoU=0.7 --version v5\n\n"
        "Example: stacpin guard landcover@latest --verify --sample 5% --dry-run\n\n"
        "Exit codes: 0 nothing is wrong, 1 the version that was judged is bad, whether or not the pointer had to move, "
        "20 bad, and the pointer stays: nothing to go back to, or too many moves; 40 no such pointer."
    )(guard)


def audit(
    dataset: Annotated[
        str | None, typer.Argument(metavar="DATASET", help="Without it, the whole catalog.", show_default=False)
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="DATE|AGE", help="List only later writes: 2026-01-31, 7d.", show_default=False),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|DIGEST",
            help="A head that was kept elsewhere: prove that nothing of then was rewritten.",
            show_default=False,
        ),
    ] = None,
    save_head: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the head of what was read, if nothing is wrong.", show_default=False),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, metavar="N", help="How many records at once.")] = 16,
    catalog: CatalogOption = None,
    json: JsonOption = False,
) -> None:
    """Tell every write: who, when, what and why.

    Reads all records, in order of time, and proves their hash chains. What is newest, tags and expiries are proven by a
    head only, if it is kept where writers cannot change it. With --json one write a line; the last line is the answer,
    with the head.
    """
    out = output(json)
    from versioning.audit import audit as run

    start = None if since is None else moment("--since", since, datetime.now(UTC))
    if dataset is not None:
        check_dataset_id(dataset)  # "landcover@v3" is a version, not the dataset
    kept = None if head is None else _head(head, dataset)
    place = catalog_of(catalog)
    with out.progress() as listen:
        trail = run(place, dataset, workers=workers, on_event=listen)
    listed = _list(out, trail, start)
    broken = len(trail.problems)
    problems = trail.problems + (trail.check(kept) if kept is not None else [])
    data = {
        "catalog": trail.catalog,
        "dataset": dataset,
        "writes": len(trail.reads),
        "listed": listed,
        "head": trail.head.digest,
        "problems": [problem.to_dict() for problem in problems],
    }
    if problems:
        _refuse(out, trail, problems, data, chains=broken > 0)
    if save_head is not None:
        _write(save_head, trail.head.encode())
    out.data(data, lines=True)
    some = "" if since is None else f", {listed} of them since {since}"
    out.note(f"{counted(len(trail.reads), 'write')}{some}; all chains hold; head {trail.head.digest}")
    if kept is not None:
        later = "" if isinstance(kept, str) else f"; {counted(len(trail.reads) - _size(kept), 'write')} since"
        out.note(f"nothing of {head} was rewritten or taken away{later}")
    if save_head is not None:
        out.note(f"wrote {save_head}; keep it where those who write to the catalog cannot change it")


def guard(
    pin: Annotated[
        str, typer.Argument(metavar="PIN", help="A pointer: landcover@stable; landcover alone is its latest.")
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME=VALUE", help="A measured value; can be repeated.", show_default=False),
    ] = None,
    least: Annotated[
        list[str] | None,
        typer.Option("--least", metavar="NAME=N", help="What is below is bad.", show_default=False),
    ] = None,
    most: Annotated[
        list[str] | None, typer.Option("--most", metavar="NAME=N", help="What is above is bad.", show_default=False)
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(
            "--version",
            metavar="VERSION",
            help="The version that was measured: a pointer that means another one by now stays.",
            show_default=False,
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Prove the version's bytes too, and those of what it goes back to.")
    ] = False,
    sample: Annotated[
        str | None,
        typer.Option(metavar="N|P%", help="With --verify: read only so many objects, chosen at random."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="What chooses the sample.", show_default=False)
    ] = None,
    at_most: Annotated[
        int, typer.Option(min=1, metavar="N", help="So many moves by guards, then people must look.")
    ] = 3,
    within: Annotated[str, typer.Option(metavar="AGE", help="In which time: 1d, 12h.")] = "1d",
    workers: Annotated[int, typer.Option(min=1, max=256, metavar="N", help="How many objects at once.")] = 4,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    author_: AuthorOption = None,
    catalog: CatalogOption = None,
    json: JsonOption = False,
) -> None:
    """Judge a pointer's version, and go back if it is bad.

    It goes back to what the pointer meant before, never to a version that a guard left, and never undoes what somebody
    did meanwhile. The move stays in the log, with its reason.
    """
    out = output(json)
    from versioning.guard import guard as run

    dataset, pointer = judging.pointer_of(pin)
    metrics = judging.metrics_of(metric or [], least or [], most or [])
    if not metrics and not verify:
        raise InvalidInput(
            "A guard needs something to judge by.", hint="Give --metric NAME=VALUE with --least NAME=N, or --verify."
        )
    number = None if version is None else version_number("--version", version)
    sampling = judging.sampling_of(sample, seed, verify=verify)
    window = age("--within", within)
    place = catalog_of(catalog)
    history = place.dataset(dataset)
    head = history.head()
    if head == 0 or (number or 0) > head:
        place.resolve(f"{dataset}@{f'v{number}' if head else 'latest'}")  # says what there is instead
    # One value is enough to be bad.
    worst = next((each for each in metrics if each.fault()), metrics[0] if metrics else None)
    try:
        with out.progress() as listen:
            report = run(
                history,
                pointer,
                metric=worst,
                verify=verify,
                sampling=sampling,
                workers=workers,
                version=number,
                author=author(author_),
                at_most=at_most,
                within=window,
                apply=not dry_run,
                on_event=listen,
            )
    except NotFound as error:
        raise judging.no_pointer(error, history, pointer) from error
    data = report.to_dict() | judging.judged_by(metrics, sampling)
    out.data(data, judging.verdict(report, metrics, verify=verify))
    for note in judging.notes(report):
        out.note(note)
    if report.fault is not None:
        raise typer.Exit(_BAD)


def _head(text: str, dataset: str | None) -> AuditHead | str:
    """A head, or the digest of one."""
    from versioning.audit_head import AuditHead

    if text.startswith("sha256:"):
        if not _DIGEST.fullmatch(text):
            raise InvalidInput(f"{text} is not the digest of a head.", hint="A whole one has 64 hex digits.")
        return text
    try:
        found = AuditHead.decode(Path(text).read_bytes(), where=text)
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {text}.", hint=f"Write it: stacpin audit --save-head {text}") from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InvalidInput(f"{text} cannot be read: {why}.", hint="Name a file of --save-head.") from error
    if found.dataset != dataset:
        raise InvalidInput(
            f"{text} is the head of {found.dataset or 'all datasets'}, not of {dataset or 'all datasets'}.",
            hint=f"Ask for the same: stacpin audit {f'{found.dataset} ' if found.dataset else ''}--head {text}",
        )
    return found


def _size(head: AuditHead) -> int:
    """How many records a head covers; a chain that holds has no gaps."""
    return sum(number for number, _ in head.logs.values()) + len(head.records)


def _list(out: Output, trail: AuditTrail, start: datetime | None) -> int:
    from versioning.records import time_text

    # Texts of times sort as the times do; what a stranger wrote there need not be one.
    first = "" if start is None else time_text(start)
    entries = [entry for entry in trail.entries if entry.time >= first]
    if out.json:
        for entry in entries:
            out.line(entry.to_dict(), "")
    elif entries:
        rows = [
            (
                f"{entry.time[:19]}Z",
                entry.author or "-",
                entry.kind,
                _subject(entry),
                entry.digest[:19] or "-",
                entry.why,
            )
            for entry in entries
        ]
        out.data(None, table(rows, ("time", "author", "kind", "what", "digest", "why")))
    return len(entries)


def _subject(entry: AuditEntry) -> str:
    match entry.kind:
        case "tag":
            return f"{entry.dataset}@{entry.name} = v{entry.version}"
        case "move":
            return f"{entry.dataset}@{entry.name} -> v{entry.version}"
        case "version" | "expiry":
            return f"{entry.dataset}@v{entry.version}"
    return entry.path


def _refuse(out: Output, trail: AuditTrail, problems: list[Problem], data: dict[str, Any], *, chains: bool) -> None:
    for problem in problems:
        out.note(" ".join(f"{problem.kind}: {problem.path}: {problem.detail}".split()))
    paths = sorted({problem.path for problem in problems})
    names = ", ".join(paths[:_SHOWN]) + (", …" if len(paths) > _SHOWN else "")
    hint = "Restore what is damaged from a mirror of the catalog: stacpin verify --repair-from URL"
    if not chains:
        hint = "The chains hold; compare the records with those of a mirror: stacpin sync MIRROR CATALOG --dry-run"
    raise Integrity(
        f"The records of {trail.catalog} do not hold: {counted(len(problems), 'problem')}, in {names}.",
        hint=hint,
        kind="damaged",
        data=data,
    )


def _write(path: Path, data: bytes) -> None:
    """Write a file at once, or not at all: it may be the only head that is left."""
    part = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Forbidden(f"{path} cannot be written: {error.strerror}.", hint="Name another path.") from error
