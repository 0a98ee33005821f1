"""The files of docker/, read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dockerfiles
import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def stages() -> list[dockerfiles.Stage]:
    """The stages of the image."""
    return dockerfiles.read((REPOSITORY / "docker/Dockerfile").read_text())


@pytest.fixture(scope="session")
def secured() -> dict[str, Any]:
    """What is put on top of it where access is asked for."""
    return yaml.safe_load((REPOSITORY / "docker/compose.access.yaml").read_text())


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """The deployment."""
    return yaml.safe_load((REPOSITORY / "docker/compose.yaml").read_text())
