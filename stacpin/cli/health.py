"""The commands doctor and lifecycle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stacpin.cli.context import CatalogOption, JsonOption, catalog_of, output, store_url
from stacpin.cli.output import counted, human_bytes, table
from versioning.errors import InvalidInput

if TYPE_CHECKING:
    from versioning.health_check import Check
    from versioning.lifecycle import LifecyclePlan

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(
        epilog="Example: stacpin doctor\n\nExample: stacpin doctor -C s3://acme/catalog --objects\n\n"
        "Exit codes: 0 no errors (warnings and advice are none), 30 data is damaged, 60 an error otherwise."
    )(doctor)
    app.command(
        epilog="Example: stacpin lifecycle -C s3://acme/catalog\n\n"
        "Example: stacpin lifecycle -C s3://acme/catalog --storage-class STANDARD_IA --apply"
    )(lifecycle)


def doctor(
    catalog: CatalogOption = None,
    objects: Annotated[
        bool, typer.Option("--objects", help="On S3, look at every object's storage class too (a listing).")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check a catalog, its store and this installation. Each finding says what to do about it.

    Without a catalog only the installation is checked. Nothing is changed; small files are written to staging/ and
    removed.
    """
    from stacpin.environment import environment_checks
    from versioning.events import Progress
    from versioning.health import examine
    from versioning.health_check import Check

    out = output(json)
    checks: list[Check] = []
    with out.progress() as listen:
        try:
            url: str | None = store_url(catalog)
        except InvalidInput as error:
            if error.kind != "no-catalog":
                raise
            url = None
            checks.append(Check("catalog", "unknown", error.message, error.hint))
        if url is not None:
            for check in examine(url, objects=objects, on_event=listen):
                checks.append(check)
                listen(Progress("checks", len(checks)))
        checks.extend(environment_checks())
    errors = [check for check in checks if check.status == "error"]
    if out.json:
        for check in errors:
            out.warn({"kind": check.name.lower().replace(" ", "-"), "message": check.message, "hint": check.hint})
    data = {"catalog": url, "checks": [check.to_dict() for check in checks]}
    out.data(data, _findings(checks), ok=not errors)
    if errors:
        raise typer.Exit(min(check.exit_code for check in errors))


def lifecycle(
    apply: Annotated[
        bool, typer.Option("--apply", help="Set the rules and the tags; otherwise only show them.")
    ] = False,
    transition_days: Annotated[
        int, typer.Option("--transition-days", metavar="N", min=0, help="Days after which S3 moves what has the tag.")
    ] = 30,
    storage_class: Annotated[
        str,
        typer.Option(
            "--storage-class", metavar="CLASS", help="Where to: GLACIER_IR, STANDARD_IA, INTELLIGENT_TIERING…."
        ),
    ] = "GLACIER_IR",
    catalog: CatalogOption = None,
    json: JsonOption = False,
) -> None:
    """Show, or set, the storage tier of what no version needs (S3).

    Objects that nothing needs get the tag stacpin=unreferenced, and a rule of the bucket moves what has it to a cheaper
    class; what is needed again loses the tag. Other rules of the bucket stay. To delete such objects: stacpin gc.
    """
    from versioning.lifecycle import apply_lifecycle, plan_lifecycle

    out = output(json)
    place = catalog_of(catalog)
    with out.progress() as listen:
        plan = plan_lifecycle(
            place, transition_days=transition_days, storage_class=storage_class.upper(), on_event=listen
        )
        result = apply_lifecycle(place, plan, on_event=listen) if apply else None
    data = plan.to_dict() | {"applied": result is not None}
    text = _policy(plan)
    if result is not None:
        data |= {"done": {"tagged": result.tagged, "untagged": result.untagged, "kept": result.kept}}
        text += (
            f"\n\napplied: {counted(result.rules, 'rule')} set, {result.kept} of others kept; "
            f"{counted(result.tagged, 'object')} tagged, {result.untagged} untagged"
        )
    out.data(data, text)
    for note in plan.notes:
        out.note(f"note: {note}")
    if result is None:
        out.note("nothing was changed; to apply it (S3 only): stacpin lifecycle --apply")


def _findings(checks: list[Check]) -> str:
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.status:<8} {check.name:<{width}}  {check.message}")
        if check.hint and check.status != "ok":
            lines.append(f"{'':<8} {'':<{width}}  -> {check.hint}")
    counts = {status: sum(check.status == status for check in checks) for status in ("error", "warning", "advice")}
    lines.append(
        f"\n{counted(counts['error'], 'error')}, {counted(counts['warning'], 'warning')}, {counts['advice']} advice"
    )
    return "\n".join(lines)


def _policy(plan: LifecyclePlan) -> str:
    import json

    meaning = {
        "live": "a version needs it",
        "staged": "an unfinished run needs it",
        "recent": "nothing needs it, too young to say so",
        "unreferenced": "nothing needs it",
    }
    rows = [(name, each["objects"], human_bytes(each["bytes"]), meaning[name]) for name, each in plan.classes.items()]
    text = table(rows, ("CLASS", "FILES", "BYTES", "MEANING"))
    text += f"\n\nto tag: {counted(len(plan.tag), 'object')}; to untag: {len(plan.untag)}; tagged before: {plan.tagged}"
    return f"{text}\n\n{json.dumps({'Rules': plan.rules}, indent=2)}"
