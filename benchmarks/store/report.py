"""Tables from the figures of some rounds: medians, ratios, and whether the targets are met."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks.store.timing import Measured

__all__ = ["STEPS", "Figures", "machine", "tables"]

Figures = dict[tuple[str, str], list[Measured]]
"""What was measured: (step, side) -> one figure a round."""


@dataclass(frozen=True, slots=True)
class Step:
    """A line of the table: ``rival`` is DVC's step to compare with, ``least`` how many times as fast ours shall be."""

    name: str
    text: str
    rival: str
    least: float
    most_of_copy: float | None = None
    most_seconds: float | None = None


STEPS = (
    Step("snapshot", "store-level snapshot of all bytes, against `dvc add` + `dvc push`", "first", 2.5, most_of_copy=2),
    Step("first", "full ingest with items and content digests, against `dvc add` + `dvc push`", "first", 1),
    Step("status", "status, nothing changed", "status", 4, most_seconds=0.5),
    Step("change", "1 % changed: ingest + commit, against `dvc add` + `dvc push`", "change", 8),
    Step("diff", "diff of two versions, 1 % apart", "diff", 5),
    Step("pull", "pull of everything, verified, against DVC's unverified pull", "pull", 1),
)
_MOST_MEMORY = 250


def tables(figures: Figures, tiles: int, rounds: int, note: str) -> str:
    """A section of RESULTS.md."""
    lines = [
        f"## store/against_dvc.py, {datetime.now(UTC):%Y-%m-%d}, {machine()}, {tiles:,} tiles, {rounds} rounds",
        "",
        f"{note} Seconds are wall time: the median, and each round.",
        "",
        "| step | DVC | stacpin | `cp -r` | `cp -r`, `sync -f` | DVC / stacpin | target |",
        "|---|---|---|---|---|---|---|",
    ]
    for step in STEPS:
        keys = (step.name, "stacpin"), (step.rival, "DVC"), (step.name, "cp -r"), (step.name, "cp -r + sync")
        ours, theirs, copy, synced = (figures.get(key, []) for key in keys)
        if ours or theirs:
            times = " | ".join(map(_seconds, (theirs, ours, copy, synced)))
            verdict = _verdict(step, ours, theirs, copy)
            lines.append(f"| {step.text} | {times} | {_ratio(theirs, ours)} | {verdict} |")
    lines += [
        "",
        "| step, CPU seconds and memory (MiB: main process, largest process, all together) | DVC | stacpin |",
        "|---|---|---|",
    ]
    for step in STEPS:
        ours, theirs = figures.get((step.name, "stacpin"), []), figures.get((step.name, "DVC"), [])
        if ours or theirs:
            lines.append(f"| {step.name} | {_memory(theirs)} | {_memory(ours)} |")
    return "\n".join(lines) + "\n"


def machine() -> str:
    """What it ran on, in a few words."""
    cpu = "unknown CPU"
    if Path("/proc/cpuinfo").exists():
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores of {cpu}, {memory:.0f} GiB, Python {platform.python_version()}, {sys.platform}"


def _of(figures: Sequence[Measured], what: str = "seconds") -> float:
    return median(getattr(each, what) for each in figures)


def _seconds(figures: Sequence[Measured]) -> str:
    if not figures:
        return ""
    each = ", ".join(f"{figure.seconds:.2f}" for figure in figures)
    return f"{_of(figures):.2f} ({each})" if len(figures) > 1 else f"{_of(figures):.2f}"


def _ratio(theirs: Sequence[Measured], ours: Sequence[Measured]) -> str:
    return f"{_of(theirs) / _of(ours):.1f}" if theirs and ours else ""


def _verdict(step: Step, ours: Sequence[Measured], theirs: Sequence[Measured], copy: Sequence[Measured]) -> str:
    """Every target of a step, each with whether it is met."""
    if not ours:
        return ""
    said = []
    if theirs:
        said.append((f"≥ {step.least:g} times", _of(theirs) >= step.least * _of(ours)))
    if step.most_seconds is not None:
        said.append((f"≤ {step.most_seconds:g} s", _of(ours) <= step.most_seconds))
    if step.most_of_copy is not None and copy:
        said.append((f"≤ {step.most_of_copy:g} times `cp -r`", _of(ours) <= step.most_of_copy * _of(copy)))
    said.append((f"≤ {_MOST_MEMORY} MiB", _of(ours, "largest") <= _MOST_MEMORY))
    return ", ".join(f"{what} {'met' if met else '**missed**'}" for what, met in said)


def _memory(figures: Sequence[Measured]) -> str:
    if not figures:
        return ""
    return (
        f"{_of(figures, 'cpu'):.1f} s; {_of(figures, 'main'):.0f}, {_of(figures, 'largest'):.0f}, "
        f"{_of(figures, 'together'):.0f}"
    )
