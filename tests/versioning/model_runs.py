"""Runs of the state machine on each kind of place, reproducible from a seed."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import uuid
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from model_ingest import IngestMachine

from versioning.store import Store, open_store

__all__ = ["machine_on", "run_machine"]


def machine_on(kind: str, place: str = "") -> type[IngestMachine]:
    """The machine on ``memory``, on ``local`` disks (below a folder) or on ``s3`` (in a bucket)."""

    class Machine(IngestMachine):
        # What an object store has answered for is durable.
        torn_by_power = kind != "s3"
        folder: Path | None = None

        def make_store(self) -> Store:
            if kind == "memory":
                return open_store("memory://")
            if kind == "s3":
                return open_store(f"{place}/{uuid.uuid4().hex}")
            self.folder = Path(tempfile.mkdtemp(dir=place or None, prefix="model-"))
            return open_store(str(self.folder / "catalog"), create=True)

        def make_mirror(self) -> Store:
            """Of the same kind, where there is time for that."""
            if kind == "s3" and self.thorough:
                return open_store(f"{place}/{uuid.uuid4().hex}")
            if self.folder is not None and self.thorough:
                return open_store(str(self.folder / "mirror"), create=True)
            return super().make_mirror()

        def teardown(self) -> None:
            try:
                super().teardown()
            finally:
                if self.folder is not None:
                    shutil.rmtree(self.folder)

    Machine.__name__ = Machine.__qualname__ = f"MachineOn{kind.title()}"
    return Machine


def run_machine(
    machine: type[IngestMachine], *, examples: int, steps: int, number: int | None = None, shrink: bool = True
) -> None:
    """Run examples of the machine; the same ``number`` (the failure tells it) runs the same ones again."""
    number = secrets.randbelow(2**32) if number is None else number
    profile = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=False,
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
        suppress_health_check=[*HealthCheck],
    )
    try:
        run_state_machine_as_test(seed(number)(machine), settings=profile)
    except Exception as error:
        error.add_note(f"{machine.__name__}, seed {number}, {examples} examples of {steps} steps")
        raise
