"""Commands that use versions: lock, search, pull, verify."""

from __future__ import annotations

from json import loads as json_of
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stacpin.cli.context import JsonOption, PinArgument, SourceOption, catalog_url, output
from stacpin.cli.output import counted, human_bytes
from versioning.errors import InvalidInput

if TYPE_CHECKING:
    from loaders import Pin

__all__ = ["register"]

BboxOption = Annotated[
    str | None, typer.Option(help="west,south,east,north in degrees.", metavar="W,S,E,N", show_default=False)
]
DatetimeOption = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="A date, a time, or start/end with .. for open ends.", show_default=False),
]
FilterOption = Annotated[
    str | None, typer.Option("--filter", metavar="CQL2", help='CQL2, e.g. "eo:cloud_cover < 10".', show_default=False)
]
TextOption = Annotated[
    str | None,
    typer.Option(
        "--q",
        metavar="TEXT",
        help="Words or phrases with commas between them: any of them in title, description or keywords.",
        show_default=False,
    ),
]
IdsOption = Annotated[
    list[str] | None, typer.Option("--ids", metavar="ID", help="An item's id; may be repeated.", show_default=False)
]
IntersectsOption = Annotated[
    str | None, typer.Option(metavar="GEOJSON", help="A geometry, or a file with one.", show_default=False)
]
AssetOption = Annotated[
    list[str] | None,
    typer.Option("--asset", "-a", metavar="KEY", help="An asset's key; may be repeated.", show_default=False),
]

LinkOption = Annotated[
    Literal["auto", "copy", "reflink", "hardlink"],
    typer.Option(
        help="How files leave a catalog on this disk. A reflink shares blocks until one side is written to; a hardlink "
        "is the catalog's own file, made read-only; auto is a reflink where the disk can, else a copy.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(epilog="Example: stacpin lock landcover@stable dem@v2")(lock)
    clear = '"eo:cloud_cover < 10"'
    app.command(epilog=f"Example: stacpin search landcover@v3 --bbox -106,40,-105,41 --datetime 2024 --filter {clear}")(
        search
    )
    app.command(epilog="Example: stacpin pull landcover@v3 data/ --asset labels")(pull)
    examples = ("landcover@v3", "data/", "landcover --all --sample 5%", "--repair-from s3://acme/mirror")
    app.command(epilog="\n\n".join(f"Example: stacpin verify {each}" for each in examples))(verify)


def lock(
    pins: Annotated[
        list[str], typer.Argument(metavar="PIN", help="Pins; each is locked to the version that it means now.")
    ],
    file: Annotated[Path, typer.Option("--file", "-f", metavar="FILE", help="The lock file.")] = Path("stacpin.lock"),
    catalog: SourceOption = None,
    json: JsonOption = False,
) -> None:
    """Write the versions in use into stacpin.lock. With their digests, so that they can be proven anywhere."""
    out = output(json)
    from loaders import read_lock, write_lock

    _one_each(pins)
    new = {entry.dataset: entry for entry in (_open(catalog, pin).lock() for pin in pins)}
    old = {entry.dataset: entry for entry in read_lock(file)} if file.exists() else {}
    merged = old | new
    write_lock(file, merged.values())
    # What each dataset was locked to before, if that was something else.
    was = {name: old[name].pin for name in new if name in old and old[name].digest != new[name].digest}
    data = [
        {"pin": entry.pin, "digest": entry.digest, "catalog": entry.catalog, "was": was.get(entry.dataset)}
        for entry in merged.values()
    ]
    lines = [
        f"{entry.pin}  {entry.digest}" + (f"  (was {was[name].partition('@')[2]})" if name in was else "")
        for name, entry in new.items()
    ]
    out.data({"file": str(file), "locked": data}, "\n".join(lines))
    out.note(f"wrote {file}")


def search(
    pin: PinArgument,
    bbox: BboxOption = None,
    datetime: DatetimeOption = None,
    filter_: FilterOption = None,
    q: TextOption = None,
    ids: IdsOption = None,
    intersects: IntersectsOption = None,
    asset: AssetOption = None,
    assets: Annotated[bool, typer.Option("--assets", help="List assets instead of items.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most so many lines.", show_default=False)
    ] = None,
    catalog: SourceOption = None,
    json: JsonOption = False,
) -> None:
    """Find items of a version. With --json, one item a line, as STAC."""
    out = output(json)
    opened = _open(catalog, pin)
    if opened.pin != pin:
        out.note(f"{pin} is {opened.pin}")
    found = _search(bbox, datetime, filter_, ids, intersects)
    if q is not None:
        found["q"] = q
    count = 0
    if assets:
        for each in opened.assets(asset=asset, **found)[:limit]:
            data = {"item": each.item, "asset": each.key, "href": each.href, "sha256": each.sha256, "size": each.size}
            out.line(data, f"{each.sha256}  {each.size:>12}  {each.item}/{each.key}  {each.href}")
            count += 1
    else:
        having = {each.item for each in opened.assets(asset=asset, **found)} if asset else None
        for item in opened.items(**found):
            if having is not None and item.id not in having:
                continue
            if limit is not None and count >= limit:
                break
            when = item.properties.get("datetime") or _interval(item.properties)
            out.line(item.to_dict(include_self_link=False), f"{item.id}  {when}  {', '.join(item.assets)}")
            count += 1
    out.note(f"{counted(count, 'asset' if assets else 'item')} of {opened.pin}")


def pull(
    pin: PinArgument,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to; made if it is missing.")],
    bbox: BboxOption = None,
    datetime: DatetimeOption = None,
    filter_: FilterOption = None,
    ids: IdsOption = None,
    intersects: IntersectsOption = None,
    asset: AssetOption = None,
    workers: Annotated[int, typer.Option(min=1, max=256, metavar="N", help="How many files at once.")] = 8,
    link: LinkOption = "auto",
    catalog: SourceOption = None,
    json: JsonOption = False,
) -> None:
    """Bring the files of a version into a folder. Every byte is proven; a stopped pull goes on where it was."""
    out = output(json)
    opened = _open(catalog, pin)
    with out.progress() as listen:
        search = _search(bbox, datetime, filter_, ids, intersects)
        report = opened.pull(folder, asset=asset, workers=workers, link=link, on_event=listen, **search)
    what = f"{counted(report.files, 'file')} of {counted(report.items, 'item')}"
    text = (
        f"{report.pin}  {report.digest}\n"
        f"{what} in {report.dest} ({human_bytes(report.bytes)}): "
        f"{report.fetched} fetched, {report.kept} already there, all proven"
    )
    out.data(report.to_dict(), text)
    if report.linked and link == "hardlink":
        out.note(f"{counted(report.linked, 'file')} of the catalog itself: read-only here; to edit one, copy it first")
    if not report.items:
        out.note(f"no item of {report.pin} matches what was asked for")
    elif not report.files:
        keys = sorted(opened.facts.collection.get("item_assets", {}))
        out.note(
            f"none of these items has an asset {' or '.join(asset or [])}; assets of {report.pin}: {', '.join(keys)}"
        )


def verify(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="PIN|FOLDER",
            help="A pin, or a folder that was pulled; with --all a dataset. Without it the whole catalog.",
            show_default=False,
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All versions of the dataset.")] = False,
    sample: Annotated[
        str | None,
        typer.Option(
            metavar="N|P%", help="Read only so many objects, chosen at random; see that the others are there."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="What chooses the sample; it is told.", show_default=False)
    ] = None,
    repair_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Restore what is wrong from this catalog, proven; may be repeated. What was damaged is kept.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, metavar="N", help="How many objects at once.")] = 4,
    catalog: SourceOption = None,
    json: JsonOption = False,
) -> None:
    """Prove every byte of a version, a catalog or a folder.

    Exits with 30 if anything is wrong, and names it.
    """
    out = output(json)
    from stacpin.cli import proving

    proving.verify(
        out,
        what,
        proving.Asked(
            all=all_, sample=sample, seed=seed, repair_from=tuple(repair_from or ()), workers=workers, catalog=catalog
        ),
    )


def _one_each(pins: list[str]) -> None:
    """A lock file has one version of a dataset: which of two is meant cannot be guessed."""
    from versioning.pins import parse_pin

    first: dict[str, str] = {}
    for pin in pins:
        dataset = parse_pin(pin).dataset
        if dataset in first:
            raise InvalidInput(
                f"{first[dataset]} and {pin} are both pins of {dataset}; a lock file holds one version of a dataset.",
                hint="Name one of them, or write two lock files: --file.",
            )
        first[dataset] = pin


def _open(catalog: str | None, pin: str) -> Pin:
    from loaders import open as open_pin

    return open_pin(catalog_url(catalog), pin)


def _search(
    bbox: str | None, datetime: str | None, filter_: str | None, ids: list[str] | None, intersects: str | None
) -> dict[str, Any]:
    place = intersects
    if intersects is not None and not intersects.lstrip().startswith("{"):
        try:
            place = Path(intersects).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise InvalidInput(
                f"{intersects} cannot be read as a GeoJSON geometry: {why}.",
                hint="Give a GeoJSON geometry, or the name of a file that holds one.",
            ) from error
    area = None if place is None else _geometry_of(place)
    given = {"bbox": bbox, "datetime": datetime, "filter": filter_, "ids": ids, "intersects": area}
    return {name: value for name, value in given.items() if value is not None}


def _geometry_of(text: str) -> str | dict[str, Any]:
    """The geometry of a Feature, or of a FeatureCollection that has one; everything else as it is, to be judged there.

    Programs that draw an area write it as a Feature.
    """
    try:
        found = json_of(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(found, dict) and found.get("type") == "FeatureCollection":
        features = found.get("features")
        if not isinstance(features, list) or len(features) != 1:
            many = f"{len(features)} features" if isinstance(features, list) else "no list of features"
            raise InvalidInput(
                f"--intersects takes one geometry; the FeatureCollection has {many}.",
                hint="Give one feature, or a MultiPolygon.",
            )
        found = features[0]
    if isinstance(found, dict) and found.get("type") == "Feature" and isinstance(found.get("geometry"), dict):
        return found["geometry"]
    return text


def _interval(properties: dict[str, Any]) -> str:
    return f"{properties.get('start_datetime', '..')}/{properties.get('end_datetime', '..')}"
