"""Folders as documents: a plain HTML index that people, GDAL and crawlers can read, and the same as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from itertools import islice
from typing import Any, Literal
from urllib.parse import quote

import orjson

__all__ = ["Column", "Fact", "Listed", "Listing", "html_blocks", "human_size", "json_blocks", "wants_json"]

_LINES = 1_000
_FEW_DIGITS = 16
_FEW_OF_FOLDER = len("sha256-") + _FEW_DIGITS
_TO_MINUTES = len("2026-01-31T12:00")
_HTML, _JSON = "text/html", "application/json"
_STEP = 1000
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: light-dark(#57606a, #9aa4af); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1.25rem; }
nav, dt, th { color: var(--soft); }
nav { margin-bottom: .25rem; }
h1 { font-size: 1.45rem; margin: 0 0 .75rem; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.25rem; margin: 0 0 1.5rem; }
dd { margin: 0; overflow-wrap: anywhere; }
code, td.name { font-family: ui-monospace, monospace; font-size: .92em; }
table { border-collapse: collapse; width: 100%; }
th { font-weight: 500; text-align: left; }
th, td { padding: .3rem 1.5rem .3rem 0; border-bottom: 1px solid var(--line); }
th:last-child, td:last-child { padding-right: 0; }
td.name { overflow-wrap: anywhere; } .number { text-align: right; }
.number, .time, .digest { white-space: nowrap; }
a { color: light-dark(#0a58ca, #7ab7ff); text-decoration: none; } a:hover { text-decoration: underline; }
"""


@dataclass(frozen=True, slots=True)
class Fact:
    """A line above the list: for people, and under ``member`` in JSON. ``code`` is for digests."""

    label: str
    member: str
    value: str
    href: str | None = None
    code: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A column beside name and size: its heading, and the member of the JSON entries that it shows."""

    heading: str
    member: str
    kind: Literal["text", "number", "digest", "time"] = "text"


@dataclass(frozen=True, slots=True)
class Listed:
    """A file or folder in a listing; ``more`` are its further members in JSON."""

    name: str
    folder: bool
    size: int | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listing:
    """A folder and what is in it.

    ``url`` has no slash at its end, ``parts`` are the names of the folders from ``files`` on. ``signed`` gives the
    parameters that prove a file's path, for JSON: in a page they would be part of the names that GDAL lists.
    """

    url: str
    parts: tuple[str, ...]
    title: str
    facts: tuple[Fact, ...]
    columns: tuple[Column, ...]
    entries: Iterable[Listed]
    empty: str = "Nothing is here."
    signed: Callable[[str], str] | None = None


def wants_json(asked: str | None, accept: str) -> bool:
    """Whether the answer is JSON: by the parameter ``f``, else by the Accept header, where HTML wins a tie."""
    if asked is not None:
        return asked == "json"
    weights: dict[str, float] = {}
    for part in accept.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        try:
            weights[kind] = float(weight)
        except ValueError:
            weights[kind] = 0.0
    rest = weights.get("*/*", 0.0)
    return weights.get(_JSON, weights.get("application/*", rest)) > weights.get(_HTML, weights.get("text/*", rest))


def human_size(size: int | None) -> str:
    """Bytes for people, in powers of 1000: ``1.4 MB``; a dash for what has no size."""
    if size is None:
        return "-"
    if size < _STEP:
        return f"{size} B"
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB", "EB", "ZB"):
        if value < _STEP - 0.5:
            break
        value, unit = value / _STEP, larger
    return f"{value:.1f} {unit}"


def json_blocks(listing: Listing) -> Iterator[bytes]:
    """The listing as one JSON object, entry after entry."""
    facts = {fact.member: fact.value for fact in listing.facts}
    head = orjson.dumps({"path": "/" + "/".join(listing.parts) + "/", "href": f"{listing.url}/", **facts})
    yield head[:-1] + b',"entries":['
    separator = b""
    entries = iter(listing.entries)
    while lines := [orjson.dumps(_member(listing, entry)) for entry in islice(entries, _LINES)]:
        yield separator + b",\n".join(lines)
        separator = b",\n"
    yield b"]}\n"


def html_blocks(listing: Listing, path: str) -> Iterator[bytes]:
    """The listing as a page, a thousand rows a block.

    What GDAL's ``/vsicurl/`` takes for a folder has a title ``Index of <path>``, and each name in an ``<a href="`` of a
    line of its own; links that are no entries must not be written that way, so theirs begin with a class.

    Parameters
    ----------
    listing
        The folder.
    path
        The path of its URL as clients see it, without the slash at the end.
    """
    headings = "".join(
        f'<th class="{column.kind}">{escape(column.heading)}</th>'
        for column in (Column("Name", "name"), Column("Size", "size", "number"), *listing.columns)
    )
    yield "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Index of {escape(path)}/</title>",
            f"<style>{_STYLE}</style>\n</head>\n<body>",
            f"<nav>{_crumbs(listing)}</nav>",
            f"<h1>{escape(listing.title)}</h1>",
            f"<dl>{''.join(_fact(fact) for fact in listing.facts)}</dl>",
            f"<table>\n<thead><tr>{headings}</tr></thead>\n<tbody>\n",
        ]
    ).encode()
    entries = iter(listing.entries)
    some = False
    while rows := [_row(listing, entry) for entry in islice(entries, _LINES)]:
        some = True
        yield ("\n".join(rows) + "\n").encode()
    nothing = "" if some else f"<p>{escape(listing.empty)}</p>\n"
    yield f"</tbody>\n</table>\n{nothing}</body>\n</html>\n".encode()


def _member(listing: Listing, entry: Listed) -> dict[str, Any]:
    kind = "directory" if entry.folder else "file"
    href = f"{listing.url}/{_quoted(entry)}"
    if listing.signed is not None and not entry.folder:
        href += f"?{listing.signed('/'.join((*listing.parts, entry.name)))}"
    return {"name": entry.name, "type": kind, "size": entry.size, "href": href, **entry.more}


def _row(listing: Listing, entry: Listed) -> str:
    name = escape(_short(entry.name) + "/" if entry.folder else entry.name)
    exact = f' title="{entry.size:,} bytes"' if entry.size is not None else ""
    cells = [
        f'<td class="name"><a href="{_quoted(entry)}" title="{escape(entry.name)}">{name}</a></td>',
        f'<td class="number"{exact}>{human_size(entry.size)}</td>',
        *(_cell(column, entry.more.get(column.member)) for column in listing.columns),
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _cell(column: Column, value: Any) -> str:
    text = escape(", ".join(value) if isinstance(value, list) else "" if value is None else str(value))
    match column.kind:
        case "number":
            shown = f">{value:,}"
        case "digest":
            shown = f' title="{text}"><code>{text[:_FEW_DIGITS]}…</code>'
        case "time":
            shown = f' title="{text}">{text[:_TO_MINUTES].replace("T", " ")}'
        case _:
            shown = f">{text}"
    return f'<td class="{column.kind}"{shown}</td>'


def _quoted(entry: Listed) -> str:
    """A relative address: a colon would be the end of a scheme."""
    return quote(entry.name, safe="+=,") + ("/" if entry.folder else "")


def _crumbs(listing: Listing) -> str:
    last = len(listing.parts) - 1
    links = [
        f'<a class="up" href="{"../" * (last - depth)}">{escape(_short(name))}</a>'
        for depth, name in enumerate(listing.parts[:-1])
    ]
    return " / ".join([*links, escape(_short(listing.parts[-1]))])


def _short(name: str) -> str:
    return f"{name[:_FEW_OF_FOLDER]}…" if name.startswith("sha256-") else name


def _fact(fact: Fact) -> str:
    value = escape(fact.value)
    if fact.code:
        value = f"<code>{value}</code>"
    if fact.href is not None:
        value = f'<a class="fact" href="{escape(fact.href)}">{value}</a>'
    return f"<dt>{escape(fact.label)}</dt><dd>{value}</dd>"
