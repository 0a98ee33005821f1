"""Commands about who may read over HTTP: token makes one, reads proves and exports the log of reads."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from stacpin.cli.context import JsonOption, output
from stacpin.cli.output import counted
from stacpin.cli.values import age, moment
from versioning.errors import Integrity, InvalidInput

if TYPE_CHECKING:
    from api.access.read_log_proof import Proof

__all__ = ["register"]

_AGE = re.compile(r"[0-9]{1,6}[smhdw]")
_SHOWN = 5
_COLUMNS = (
    *("n", "time", "user", "by", "client", "method", "path", "status"),
    *("datasets", "pins", "items", "objects", "reason", "id", "previous"),
)


class Form(StrEnum):
    """How lines of the log are written."""

    TEXT = "text"
    CSV = "csv"
    JSONL = "jsonl"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(
        epilog="Example: stacpin token training-ci --scope 'read:land*' --expires 90d\n\n"
        "Exit codes: 0 made, 50 a scope or an expiry that cannot be meant."
    )(token)
    app.command(
        epilog="Example: stacpin reads reads.jsonl --user training-ci --since 30d --format csv\n\n"
        "Exit codes: 0 the chain holds, 30 lines were changed or taken away, 40 no such log, 50 it cannot be read."
    )(reads)


def token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is, for the log of reads.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help="What it may read: read:landcover, read:land*, read:*; can be repeated.",
            show_default=False,
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(metavar="DATE|AGE", help="When it ends: 2027-01-31, or 90d from now.", show_default=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a token for readers of a served catalog.

    The token is shown once and kept nowhere. What is printed below it goes into the file of serve --access, which holds
    only its hash.
    """
    out = output(json)
    from api.access.bearer import hash_of, new_token
    from api.access.scopes import check_scope
    from api.access.settings import TokenSettings

    scopes = [check_scope(each) for each in scope or ()]
    if not scopes:
        raise InvalidInput("No scope is named.", hint="Say what it may read: --scope read:landcover.")
    if not name.strip() or len(name) > 200:  # noqa: PLR2004 - as the settings take it
        raise InvalidInput("A token needs a name of 1 to 200 characters.", hint="Name whoever gets it.")
    end = None if expires is None else _end(expires)
    made = new_token()
    entry = TokenSettings(name=name, sha256=hash_of(made), scopes=tuple(scopes), expires=end)
    shown = None if end is None else end.isoformat(timespec="seconds").replace("+00:00", "Z")
    lines = ["[[token]]", f"name = {_quoted(name)}", f'sha256 = "{entry.sha256}"']
    lines.append(f"scopes = [{', '.join(_quoted(each) for each in scopes)}]")
    lines += [f"expires = {shown}"] if shown else []
    data = {"name": name, "token": made, "sha256": entry.sha256, "scopes": scopes, "expires": shown}
    out.data(data, "\n".join([made, "", *lines]))
    out.note("the first line is the token: give it to its owner; the rest goes into the access settings")


def reads(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="The file that log.path of the access settings names.")],
    user: Annotated[str | None, typer.Option(metavar="NAME", help="Only this user's.", show_default=False)] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", metavar="DATASET", help="Only of this one.", show_default=False)
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DATE|AGE", help="Only from then on: 2026-01-31, 7d.", show_default=False)
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="DATE|AGE", help="Only before then.", show_default=False)] = None,
    form: Annotated[Form, typer.Option("--format", help="How lines are written.")] = Form.TEXT,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="N:HASH",
            help="A head that was kept elsewhere: prove that nothing up to it was changed or cut off.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Tell who read what from a served catalog, and prove the log.

    Every line holds the hash of the one before, so that a changed or missing line shows; that the end was not cut off
    shows by a head only, if it was kept where the server cannot change it. Files that were full are read too. With
    --json one read a line; the last line is the answer, with the head.
    """
    out = output(json)
    from api.access.read_log_proof import LogHead, Proof, Wanted, read_log

    if json and form is not Form.TEXT:
        raise InvalidInput("--format and --json exclude each other.", hint="Leave one of them out.")
    now = datetime.now(UTC)
    wanted = Wanted(
        user,
        dataset,
        None if since is None else moment("--since", since, now),
        None if until is None else moment("--until", until, now),
    )
    kept = None if head is None else LogHead.parse(head)
    proof, listed = Proof(), 0
    if form is Form.CSV:
        out.line({}, _csv(_COLUMNS))
    for entry in read_log(log, proof, head=kept):
        if wanted.fits(entry):
            listed += 1
            out.line(entry, _line(entry, form))
    data = {
        "log": str(log),
        "lines": proof.lines,
        "listed": listed,
        "first": proof.first,
        "recovered": proof.recovered,
        "head": None if proof.head is None else str(proof.head),
        "problems": proof.problems,
    }
    if proof.problems:
        _refuse(log, proof, data)
    out.data(data, lines=True)
    if proof.head is None:
        out.note("the log is empty: there is no line in it that could be proven, and no head to keep")
        return
    out.note(f"{counted(proof.lines, 'line')}, {listed} of them shown; the chain holds; head {proof.head}")
    if proof.first > 1:
        out.note(f"it begins with line {proof.first}: older files are not here")
    if proof.recovered:
        out.note(f"a writer died within a line, and the next went on: {counted(proof.recovered, 'time')}")


def _refuse(log: Path, proof: Proof, data: dict[str, Any]) -> None:
    told = "; ".join(proof.problems[:_SHOWN])
    more = f"; and {len(proof.problems) - _SHOWN} more" if len(proof.problems) > _SHOWN else ""
    raise Integrity(
        f"{log} is not as it was written: {told}{more}.",
        hint="Compare it with a backup, and look at who could write to it.",
        kind="altered",
        data=data,
    )


def _end(text: str) -> datetime:
    now = datetime.now(UTC)
    found = now + age("--expires", text) if _AGE.fullmatch(text) else moment("--expires", text, now)
    if found <= now:
        raise InvalidInput(f"--expires {text} is over already.", hint="Name a later time: 90d, 2027-01-31.")
    # A second is enough for whoever reads it, and TOML takes it as it is.
    return found.replace(microsecond=0) + timedelta(seconds=found.microsecond > 0)


def _quoted(text: str) -> str:
    """A basic string of TOML: JSON's, with DEL escaped too."""
    return orjson.dumps(text).decode().replace("\x7f", "\\u007f")


def _line(entry: dict[str, Any], form: Form) -> str:
    if form is Form.JSONL:
        return orjson.dumps(entry).decode()
    if form is Form.CSV:
        return _csv([_cell(entry.get(name)) for name in _COLUMNS])
    pins = ", ".join(entry.get("pins") or entry.get("datasets") or ())
    told = f"{str(entry.get('time'))[:19]}Z  {entry.get('user')}  {entry.get('status')}  {entry.get('method')}"
    why = f"  ({entry['reason']})" if entry.get("reason") else ""
    return f"{told} {entry.get('path')}  {pins}".rstrip() + why


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        value = [f"{key}={each}" for key, each in value.items()]
    text = " ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    # What a spreadsheet would take for a formula is text.
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


def _csv(cells: tuple[str, ...] | list[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()
