"""stacpin against DVC with a local remote, both from a shell, alternating, in one run.

    python -m benchmarks.store.against_dvc [--tiles 5000] [--rounds 3] [--steps snapshot,first] [--scratch DIR] [--keep]

Each round is a folder of its own with one copy of the tiles, which both sides version where it lies; who begins changes
from round to round and from step to step. Before every timed command all that was written before is on the disk. The
page cache is warm for both: all files have just been written, and fit in memory. A step that is not asked for runs all
the same where another needs it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

import stacpin
from benchmarks.store.disks import can_mount, empty
from benchmarks.store.report import STEPS, Figures, tables
from benchmarks.store.sides import Copy, Dvc, Round, Side, Stacpin, compiled, find_dvc
from benchmarks.store.tiles import change_some, make_tiles

RESULTS = Path(__file__).parents[1] / "RESULTS.md"
NAMES = [step.name for step in STEPS]
NEEDS = {
    "snapshot": set(),
    "first": set(),
    "status": {"first"},
    "change": {"first"},
    "diff": {"first", "change"},
    "pull": {"first"},
}


def main() -> None:
    options = _options()
    options.scratch.mkdir(parents=True, exist_ok=True)
    tiles = make_tiles(options.scratch, options.tiles)
    changed = change_some(options.scratch, tiles, options.tiles)
    dvc = find_dvc(options.scratch) if "DVC" in options.sides else None
    if dvc is None and "DVC" in options.sides:
        print("DVC cannot be had: its side is left out", file=sys.stderr)
    environ = compiled(options.scratch, *_modules(dvc))
    figures: Figures = {}
    note = ""
    own_disk = options.disk == "own" or (options.disk == "auto" and can_mount())
    size = sum(path.stat().st_size for path in tiles.rglob("*.tif"))
    for number in range(options.rounds):
        # work, catalog, DVC's cache and remote
        with empty(options.scratch / "round", 4 * size, own_disk=own_disk) as folder:
            turn = Round(folder, tiles, changed, options.scratch / "spare", size, own_disk, environ)
            turn.work.mkdir(parents=True)
            shutil.copytree(tiles, turn.data, copy_function=shutil.copyfile)
            note = _round(turn, dvc, options, figures, number)
    report = tables(figures, options.tiles, options.rounds, note)
    print(report)
    if options.keep:
        with RESULTS.open("a") as out:
            out.write(f"\n{report}")


def _round(turn: Round, dvc: Path | None, options: argparse.Namespace, figures: Figures, number: int) -> str:
    sides: list[Side] = [Copy(turn), Copy(turn, durable=True)] if "cp" in options.sides else []
    note = "Page cache warm; every timed command begins with nothing left to write"
    note += f" (load of the machine at first: {os.getloadavg()[0]:.1f})"
    note += ", on ext4 image files of their own." if turn.own_disk else ", in folders of one file system."
    if "stacpin" in options.sides:
        sides.append(Stacpin(turn))
    for side in sides:
        side.prepare()
    rival = None
    if dvc is not None:
        rival = Dvc(turn, dvc)
        rival.prepare()
        sides.append(rival)
    broken: set[str] = set()
    wanted = {side.name: _wanted(options.steps, side) for side in sides}
    for position, name in enumerate(step for step in NAMES if any(step in names for names in wanted.values())):
        if name == "change":
            turn.change()
        for side in sides if (number + position) % 2 else reversed(sides):
            step = side.steps().get(name)
            if step is None or name not in wanted[side.name] or side.name in broken:
                continue
            try:
                measured = step()
            except RuntimeError as error:
                print(f"{side.name} is left out of the rest of round {number + 1}: {error}", file=sys.stderr)
                broken.add(side.name)
                continue
            figures.setdefault((name, side.name), []).append(measured)
            shown = {key: round(value, 2) for key, value in measured.to_dict().items()}
            print(json.dumps({"round": number + 1, "step": name, "side": side.name} | shown), flush=True)
    return note if rival is None else f"{note} {rival.settings()}."


def _wanted(steps: list[str], side: Side) -> set[str]:
    """The steps that a side runs for those that are asked for: what is compared, and what that needs."""
    if isinstance(side, Copy):
        return set(steps)
    names = {"first" if name == "snapshot" and isinstance(side, Dvc) else name for name in steps}
    return names.union(*(NEEDS[name] for name in names))


def _modules(dvc: Path | None) -> list[Path]:
    """Where the modules of both sides lie."""
    ours = Path(stacpin.__file__).parents[1]
    found = [ours / name for name in ("api", "benchmarks", "catalog", "ingest", "loaders", "stacpin", "versioning")]
    found.append(Path(sysconfig.get_path("purelib")))
    return found if dvc is None else [*found, *dvc.parent.glob("lib/python*/site-packages")]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="stacpin against DVC, step by step")
    parser.add_argument("--tiles", type=int, default=5000, help="how many (default 5000; 20000 needs 25 GB of disk)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=_names(NAMES), default=NAMES, help=f"some of {','.join(NAMES)}")
    sides = ["DVC", "stacpin", "cp"]
    parser.add_argument("--sides", type=_names(sides), default=sides, help=f"some of {','.join(sides)}")
    scratch = Path(tempfile.gettempdir()) / "stacpin-bench"
    parser.add_argument("--scratch", type=Path, default=scratch, help=f"tiles and DVC stay here (default {scratch})")
    parser.add_argument(
        "--disk", choices=["auto", "own", "shared"], default="auto", help="own: new file systems (root); see disks.py"
    )
    parser.add_argument("--keep", action="store_true", help=f"append the tables to {RESULTS.name}")
    return parser.parse_args()


def _names(known: list[str]):
    def read(text: str) -> list[str]:
        names = text.split(",")
        if not set(names) <= set(known):
            raise argparse.ArgumentTypeError(f"choose of {','.join(known)}")
        return names

    return read


if __name__ == "__main__":
    main()
