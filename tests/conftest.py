"""Fixtures that every folder of tests shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data that lies beside the repository during development; skips where it is missing."""
    folder = Path(os.environ.get("STACPIN_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "index.json").is_file():
        pytest.skip(f"no real data at {folder}: set STACPIN_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def examples() -> Path:
    """The real data that lives in the repository."""
    return REPOSITORY / "examples" / "rocky-mountain"
