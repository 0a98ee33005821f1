"""Commands that make versions: init, ingest, status, commit, digest."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stacpin.cli.context import (
    RECIPE,
    SAID,
    AuthorOption,
    CatalogOption,
    JsonOption,
    author,
    catalog_of,
    output,
    recipe_at,
    refuse_api,
    store_url,
)
from stacpin.cli.output import Output, counted, human_bytes
from stacpin.cli.plan_text import (
    compared_text,
    default_message,
    interrupted_text,
    plan_text,
    staged_dict,
    staged_text,
)
from versioning.errors import Conflict, Immutable, InvalidInput, NotFound, StacpinError

if TYPE_CHECKING:
    from ingest.planned import Plan
    from ingest.quick import Question
    from ingest.run import Run
    from ingest.staging import StagedRun
    from versioning.catalog import Catalog
    from versioning.commit import CommitResult
    from versioning.version import Version

__all__ = ["register"]

RecipeArgument = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="The recipe, or the folder it is in.", show_default=True)
]
MessageOption = Annotated[str | None, typer.Option("--message", "-m", metavar="TEXT", help="Why, in a sentence.")]
TagOption = Annotated[
    str | None, typer.Option(metavar="TAG", help="Give the new version this tag, e.g. v2.1.4.", show_default=False)
]
DatasetOption = Annotated[
    str | None, typer.Option("--dataset", "-d", metavar="ID", help="Another dataset than the recipe's.")
]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Processes that convert. [default: the CPUs]")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(epilog="Example: stacpin init data/catalog\n\nExample: stacpin init s3://acme/catalog")(init)
    examples = ("stacpin ingest -m 'July scenes' --tag v1.2.0", "stacpin ingest survey/stacpin.yaml --dry-run")
    app.command(epilog="\n\n".join(f"Example: {each}" for each in examples))(ingest)
    app.command(epilog="Example: stacpin status")(status)
    app.command(epilog="Example: stacpin commit -m 'Correct two outlines' --tag v2.1.4")(commit)
    app.command(epilog="Example: stacpin digest scene.tif labels.geojson")(digest)


def init(
    url: Annotated[str, typer.Argument(metavar="URL", help="A folder, or s3://…, gs://…, az://….")] = ".",
    title: Annotated[str, typer.Option(metavar="TEXT", help="What people shall read above it.")] = "",
    json: JsonOption = False,
) -> None:
    """Make a catalog. An existing one stays as it is."""
    out = output(json)
    from versioning.catalog import Catalog

    refuse_api(url)
    catalog = Catalog.create(url, title=title)
    data = {"url": catalog.url, "id": catalog.record.id, "format": catalog.record.format}
    where = catalog.url if "://" in catalog.url else Path(catalog.url).resolve()
    out.data(data, f"{where} is a stacpin catalog (format {catalog.record.format}).")


def ingest(
    recipe: RecipeArgument = Path(RECIPE),
    catalog: CatalogOption = None,
    dataset: DatasetOption = None,
    message: MessageOption = None,
    tag: TagOption = None,
    author_: AuthorOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and do nothing.")] = False,
    no_commit: Annotated[bool, typer.Option("--no-commit", help="Stop before the commit: see stacpin commit.")] = False,
    workers: WorkersOption = None,
    json: JsonOption = False,
) -> None:
    """Turn the recipe's sources into a new version. Or say that there is nothing to commit."""
    out = output(json)
    begun = _start(recipe, catalog, dataset, workers)
    run, to_make = begun.run, begun.to_make
    _check_tag(run.catalog, run.dataset.id, tag, staged=False)
    with out.progress() as listen:
        run.on_event = listen
        plan = run.plan()
        if dry_run:
            for refusal in plan.refused:
                out.warn({"kind": refusal.kind, "message": refusal.message, "hint": refusal.hint})
            out.data(plan.to_dict(), plan_text(plan))
            return
        if to_make is not None:
            _make_catalog(out, run, to_make)
        run.convert()
        checks = run.check()
        staged = run.staged()
        if staged is not None:
            run.verify()
    if run.resumed:
        out.note(f"{run.resumed} of {counted(run.summary()['files'], 'file')} taken over from an interrupted run")
    for refusal in plan.refused:
        out.warn({"kind": refusal.kind, "message": refusal.message, "hint": refusal.hint})
    if staged is None:
        begun.remember(plan)
        latest = plan.parent.summary() if plan.parent else None
        at = f" ({plan.parent.pin} {plan.parent.digest})" if plan.parent else ""
        left = f"; {len(plan.refused)} refused" if plan.refused else ""
        data = {"created": False, "version": latest, "run": run.summary()}
        out.data(data, f"nothing to commit: {plan.dataset} is as it was{at}{left}")
        if tag is not None and plan.parent is not None and run.dataset.find_tag(tag) is None:
            out.note(f"no new version, so no tag; to name the latest: stacpin tag {plan.parent.pin} {tag}")
        return
    if no_commit:
        data = {"run": staged.id, "staged": len(staged.items), "removed": staged.remove, "checks": checks}
        data |= {"did": run.summary()}
        out.data(data, f"{staged_text([staged])}\nto commit it: stacpin commit -m MESSAGE")
        return
    result = _commit(
        out, run.catalog, staged, message or default_message(plan), author(author_), tag, did=run.summary()
    )
    begun.remember_commit(plan, result.version)


def status(
    recipe: RecipeArgument = Path(RECIPE),
    catalog: CatalogOption = None,
    dataset: DatasetOption = None,
    json: JsonOption = False,
) -> None:
    """Show what an ingest would change. Also what is staged and waits for a commit."""
    out = output(json)
    file = recipe / RECIPE if recipe.is_dir() else recipe
    if not file.is_file():
        if recipe != Path(RECIPE):
            recipe_at(recipe)  # it was named, so it is an error that it is not there
        staged = _staged(catalog_of(catalog, file), dataset)
        out.data({"staged": [staged_dict(run) for run in staged]}, staged_text(staged) or "nothing is staged")
        return
    if _answered(out, _question(file, catalog, dataset)):
        return
    begun = _start(recipe, catalog, dataset, None)
    run = begun.run
    with out.progress() as listen:
        run.on_event = listen
        plan = run.plan()
    begun.remember(plan, whole=True)
    staged = _staged(run.catalog, plan.dataset)
    for refusal in plan.refused:
        out.warn({"kind": refusal.kind, "message": refusal.message, "hint": refusal.hint})
    from ingest.unfinished import interrupted

    ended = list(interrupted(run.catalog, plan.dataset))
    data = plan.to_dict() | {"staged": [staged_dict(each) for each in staged]}
    data |= {"interrupted": [asdict(each) for each in ended]}
    text = "\n".join(part for part in (plan_text(plan), staged_text(staged), interrupted_text(ended)) if part)
    out.data(data, text)


def _answered(out: Output, question: Question) -> bool:
    """Answer from what the last plan noted, if nothing has changed since."""
    from ingest.quick import look

    found = look(question, whole=out.json)
    if found is None:
        return False
    staged: list[StagedRun] = []
    if found.waiting:
        from versioning.catalog import Catalog

        staged = _staged(Catalog.open(found.url), found.dataset)
    text = f"{compared_text(found.dataset, found.pin)}\n0 new, 0 changed, {found.items} unchanged, 0 removed, 0 refused"
    data = (found.plan or {}) | {"staged": [staged_dict(each) for each in staged], "interrupted": []}
    out.data(data, "\n".join(part for part in (text, staged_text(staged)) if part))
    return True


def _staged(place: Catalog, dataset: str | None) -> list[StagedRun]:
    from ingest.staging import find_staged

    return list(find_staged(place, dataset))


def commit(
    message: MessageOption = None,
    tag: TagOption = None,
    run: Annotated[str | None, typer.Option(metavar="ID", help="Which staged run, if there are several.")] = None,
    discard: Annotated[
        bool, typer.Option("--discard", help="Throw away a run that is staged or was interrupted.")
    ] = False,
    dataset: DatasetOption = None,
    author_: AuthorOption = None,
    catalog: CatalogOption = None,
    json: JsonOption = False,
) -> None:
    """Make a version of what `ingest --no-commit` has staged."""
    out = output(json)
    from ingest.staging import find_staged, mark_discarded

    place = catalog_of(catalog)
    waiting = [each for each in find_staged(place, dataset) if run is None or each.id == run]
    if not waiting and discard and run is not None:
        from ingest.unfinished import interrupted

        if any(each.id == run for each in interrupted(place, dataset)):
            mark_discarded(place, run, why="discarded by hand")
            out.data({"run": run, "discarded": True}, f"run {run}, which was interrupted, is discarded")
            return
    if not waiting:
        raise NotFound("Nothing is staged.", hint="Run: stacpin ingest --no-commit", kind="nothing-staged")
    if len(waiting) > 1:
        listed = ", ".join(f"{each.id} ({each.dataset})" for each in waiting)
        raise InvalidInput(f"{len(waiting)} runs are staged: {listed}.", hint="Choose one with --run ID.")
    if discard:
        mark_discarded(place, waiting[0])
        out.data({"run": waiting[0].id, "discarded": True}, f"run {waiting[0].id} is discarded")
        return
    if message is None:
        raise typer.BadParameter("--message is missing: say why, in a sentence.")
    _commit(out, place, waiting[0], message, author(author_), tag)


def digest(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Rasters, vector files, or anything else.")],
    crs: Annotated[str | None, typer.Option(metavar="CRS", help="The CRS of files that have none.")] = None,
    layer: Annotated[str | None, typer.Option(metavar="NAME", help="Which layer of a file with several.")] = None,
    precision: Annotated[float | None, typer.Option(metavar="NUMBER", help="Of vectors, in units of the CRS.")] = None,
    json: JsonOption = False,
) -> None:
    """Print the content digest of each file. Equal pixels or features, equal digest."""
    out = output(json)
    from ingest.cache import DigestCache
    from ingest.inspect import content_digest

    cache = DigestCache()
    found: list[dict[str, str]] = []
    failed: StacpinError | None = None
    for file in files:
        try:
            value = content_digest(file, cache, crs=crs, layer=layer, precision=precision)
        except StacpinError as error:
            if len(files) == 1:
                raise
            out.warn({"kind": error.kind, "message": error.message, "hint": error.hint})
            failed = failed or error
            continue
        found.append({"path": str(file), "digest": value})
        if not out.json:
            out.line(None, f"{value}  {file}")
    out.data(found, ok=failed is None)
    if failed is not None:
        raise typer.Exit(failed.exit_code)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A run, and what it was asked for.

    Attributes
    ----------
    url
        Where its catalog is, or is to be.
    to_make
        The folder where its catalog is still to be made: a plan needs none, and may be refused.
    started
        When its recipe was about to be read, in nanoseconds since 1970.
    """

    run: Run
    question: Question
    url: str
    to_make: str | None
    started: int

    def remember(self, plan: Plan, *, whole: bool = False) -> None:
        """Note the plan, if it has no changes, for the next status; what cannot be noted costs only time."""
        from ingest.quick import note

        with suppress(StacpinError, OSError):
            note(
                self.question, self.run.recipe, plan, self.run.catalog, url=self.url, started=self.started, whole=whole
            )

    def remember_commit(self, plan: Plan, version: Version) -> None:
        """Compare the same sources with the version that was made of them: so the next status has nothing to do."""
        from ingest.cache import DigestCache
        from ingest.plan import compare_with

        with suppress(StacpinError):
            self.remember(compare_with(self.run.recipe, plan, version, cache=DigestCache()))


def _question(file: Path, catalog: str | None, dataset: str | None) -> Question:
    from ingest.quick import Question

    named = catalog or SAID.get().catalog or os.environ.get("STACPIN_CATALOG")
    return Question(file, named or None, dataset)


def _start(recipe: Path, catalog: str | None, dataset: str | None, workers: int | None) -> _Begun:
    """A run of a recipe. A local catalog is made by the first ingest, a remote one only by ``stacpin init``."""
    from ingest.imports import import_later

    import_later("boto3")
    from ingest.run import Run
    from versioning.catalog import Catalog

    started = time.time_ns()
    content, folder = recipe_at(recipe)
    if dataset is not None:
        from versioning.ids import check_dataset_id

        content = content.model_copy(update={"dataset": check_dataset_id(dataset)})
    file = folder / RECIPE if recipe.is_dir() else recipe
    url = store_url(catalog, file)
    to_make = None
    try:
        place = Catalog.open(url)
    except NotFound:
        if "://" in url and not url.startswith("file:"):
            raise
        place, to_make = Catalog.create("memory://"), url
    run = Run(place, content, folder, workers=workers or os.cpu_count() or 2)
    return _Begun(run, _question(file, catalog, dataset), url, to_make, started)


def _make_catalog(out: Output, run: Run, url: str) -> None:
    from versioning.catalog import Catalog

    run.move_to(Catalog.create(url))
    out.note(f"made a catalog in {url}")


def _check_tag(place: Catalog, dataset: str, tag: str | None, *, staged: bool) -> None:
    """A tag that cannot be given is refused before a version is made that was to have it.

    Before it is known whether there will be one, the tag of the latest version is fine: a run that changes nothing
    can be repeated.
    """
    if tag is None:
        return
    from versioning.ids import check_tag_name

    history = place.dataset(dataset)
    check_tag_name(tag)
    if tag in history.pointer_names():
        raise Conflict(f"{dataset} has a pointer {tag!r}; a tag cannot have its name.", hint="Use another name.")
    there = history.find_tag(tag)
    if there is not None and (staged or there.target != history.latest_number()):
        again = "What was made is staged: stacpin commit -m MESSAGE --tag ANOTHER" if staged else "Use a new name."
        raise Immutable(f"The tag {tag!r} of {dataset} is v{there.target}; tags never move.", hint=again)


def _commit(
    out: Output,
    place: Catalog,
    staged: StagedRun,
    message: str,
    who: str,
    tag: str | None,
    *,
    did: dict[str, int] | None = None,
) -> CommitResult:
    from ingest.publish import commit_staged

    _check_tag(place, staged.dataset, tag, staged=True)
    result = commit_staged(place, staged, message=message, author=who)
    if tag is not None:
        place.dataset(staged.dataset).tag(tag, result.version.number, author=who, message=message)
    data = {
        "created": result.created,
        "version": result.version.summary(),
        "added": result.added,
        "changed": result.changed,
        "removed": result.removed,
        "tag": tag,
        "checks": staged.checks,
        "run": did,
    }
    out.data(data, _commit_text(result, staged, tag))
    return result


def _commit_text(result: CommitResult, staged: StagedRun, tag: str | None) -> str:
    version = result.version
    if not result.created:
        return f"nothing to commit: {version.dataset} is as it was ({version.pin} {version.digest})"
    counts = version.record.statistics
    changes = f"{result.added} added, {result.changed} changed, {result.removed} removed"
    refused = len(staged.recipe.get("skipped") or [])
    changes += f", {refused} refused" if refused else ""
    now = f"now {counted(counts.items, 'item')}, {counted(counts.assets, 'asset')}, {human_bytes(counts.bytes)}"
    lines = [f"{version.pin}{f' ({tag})' if tag else ''}  {version.digest}", f"{changes}; {now}"]
    failed = [check["name"] for check in staged.checks if not check["passed"]]
    if failed:
        lines.append(f"checks failed: {', '.join(failed)}; latest stays where it is")
    return "\n".join(lines)
