"""Fixtures of the ingest tests: a digest cache of their own, a folder for a recipe, catalogs on every kind of store."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from ingest_samples import Project
from s3 import S3Server, s3_server  # noqa: F401 - a fixture of this folder

from versioning.catalog import Catalog


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees what another has remembered, nor what the developer's own runs have."""
    monkeypatch.setenv("STACPIN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty folder for sources and a recipe, beside an empty local catalog."""
    return Project(tmp_path / "project", Catalog.create(str(tmp_path / "catalog")))


@pytest.fixture(scope="session")
def s3_bucket(s3_server: S3Server) -> str:  # noqa: F811 - the fixture imported above
    return s3_server.new_bucket()


@pytest.fixture
def s3_catalog(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, s3_bucket: str
) -> Callable[[], Catalog]:
    """Makes empty catalogs on the real S3 server."""
    for name, value in request.getfixturevalue("s3_server").environment.items():
        monkeypatch.setenv(name, value)
    return lambda: Catalog.create(f"{s3_bucket}/{uuid.uuid4().hex}/catalog")
