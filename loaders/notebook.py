"""How a pin shows itself in a notebook: number, digest, extent, counts and a small map, as HTML without any script."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import isfinite

from loaders.source import PinFacts
from versioning.rows import BBox

__all__ = ["pin_html", "size_text"]

_WIDTH, _HEIGHT = 240, 120
_INK, _SEA, _LINE = "#c2410c", "#eef2f6", "#cbd5e1"
_MARGIN = 0.08


def pin_html(facts: PinFacts, *, url: str, asked: str, boxes: Sequence[BBox]) -> str:
    """The HTML of a pin; everything that comes from the catalog is escaped.

    Parameters
    ----------
    facts
        What the version says of itself.
    url
        Where it comes from.
    asked
        The pin as it was asked for.
    boxes
        Boxes of some of its items, in degrees.
    """
    statistics = facts.statistics
    title = str(facts.collection.get("title") or facts.dataset)
    rows = [
        ("Version", facts.pin if asked == facts.pin else f"{facts.pin} (asked for: {asked})"),
        ("Digest", facts.digest),
        ("Committed", f"{facts.time[:19].replace('T', ' ')} UTC by {facts.author}: {facts.message}"),
        ("Holds", f"{statistics.items:,} items, {statistics.assets:,} assets, {size_text(statistics.bytes)}"),
        ("Time", _interval(statistics.interval)),
        ("Extent", ", ".join(f"{value:.5g}" for value in statistics.bbox) if statistics.bbox else "none"),
        ("Source", url),
    ]
    cells = "".join(
        f'<tr><th style="text-align:left;padding:1px 12px 1px 0">{escape(name)}</th>'
        f'<td style="text-align:left;padding:1px 0;word-break:break-all">{escape(value)}</td></tr>'
        for name, value in rows
    )
    return (
        '<div style="display:flex;gap:16px;align-items:flex-start;flex-wrap:wrap">'
        f"<div><strong>{escape(title)}</strong>"
        f'<table style="margin:4px 0;border-collapse:collapse">{cells}</table></div>'
        f"{_maps(statistics.bbox, boxes)}</div>"
    )


def size_text(count: int) -> str:
    """Bytes for people: ``1.2 GB``, in powers of 1,000."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":  # noqa: PLR2004 - the step between two units
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError


def _interval(interval: Sequence[str | None] | None) -> str:
    if not interval:
        return "none"
    first, last = ((moment or "open")[:10] for moment in interval[:2])
    return first if first == last else f"{first} to {last}"


def _maps(bbox: Sequence[float] | None, boxes: Sequence[BBox]) -> str:
    """Where on Earth it is, and within its extent the boxes of the items."""
    if not bbox or len(bbox) != 4 or not all(isfinite(value) for value in bbox):  # noqa: PLR2004 - a box
        return ""
    west, south, east, north = bbox
    world = _svg((-180, -90, 180, 90), [(west, south, east, north)], label="The extent on a map of the world", dot=True)
    if west >= east or south >= north or not boxes:
        return f"<div>{world}</div>"
    pad = max(east - west, 2 * (north - south)) * _MARGIN
    height = max(north - south + 2 * pad, (east - west + 2 * pad) / 2)
    width, x, y = 2 * height, (west + east) / 2, (south + north) / 2
    near = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return f"<div>{world}<br/>{_svg(near, boxes, label='The boxes of the items', dot=False)}</div>"


def _svg(frame: BBox, boxes: Sequence[BBox], *, label: str, dot: bool) -> str:
    west, south, east, north = frame
    across, down = _WIDTH / (east - west), _HEIGHT / (north - south)
    shapes: list[str] = []
    if dot:
        lines = [f"M{x} 0V{_HEIGHT}" for x in range(20, _WIDTH, 20)] + [
            f"M0 {y}H{_WIDTH}" for y in range(20, _HEIGHT, 20)
        ]
        shapes.append(f'<path d="{"".join(lines)}" stroke="{_LINE}" stroke-width=".5" fill="none"/>')
    for left, low, right, high in boxes:
        # Across the antimeridian a box is two.
        for first, last in ((left, right),) if left <= right else ((left, 180.0), (-180.0, right)):
            x, y = (first - west) * across, (north - high) * down
            wide, tall = max((last - first) * across, 0.5), max((high - low) * down, 0.5)
            shapes.append(
                f'<rect x="{x:.2f}" y="{y:.2f}" width="{wide:.2f}" height="{tall:.2f}" '
                f'fill="{_INK}" fill-opacity=".18" '
                f'stroke="{_INK}" stroke-width=".8"/>'
            )
            if dot and max(wide, tall) < 4:  # noqa: PLR2004 - pixels: smaller than that nobody sees it
                shapes.append(f'<circle cx="{x + wide / 2:.2f}" cy="{y + tall / 2:.2f}" r="3" fill="{_INK}"/>')
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}" '
        f'style="background:{_SEA};margin:2px 0">{"".join(shapes)}</svg>'
    )
