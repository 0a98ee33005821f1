"""Fixtures of the version store's tests: every kind of store, and catalogs on them."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from s3 import S3Server, s3_server  # noqa: F401 - a fixture of this folder
from version_helpers import Clock, local_store

from versioning.catalog import Catalog
from versioning.store import Store, open_store

# Nothing here depends on how fast the machine is; examples are few because the whole suite has a minute.
settings.register_profile("stacpin", deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("stacpin")


@pytest.fixture(scope="session")
def s3_bucket(s3_server: S3Server) -> str:  # noqa: F811 - the fixture imported above
    return s3_server.new_bucket()


@pytest.fixture(params=["memory", "local", "s3"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store, on each kind of place."""
    if request.param == "memory":
        return open_store("memory://")
    if request.param == "local":
        return local_store(tmp_path / "catalog")
    for name, value in request.getfixturevalue("s3_server").environment.items():
        monkeypatch.setenv(name, value)
    return open_store(f"{request.getfixturevalue('s3_bucket')}/{uuid.uuid4().hex}/catalog")


@pytest.fixture
def any_catalog(any_store: Store) -> Catalog:
    return Catalog.create(any_store, clock=Clock())


@pytest.fixture
def catalog() -> Catalog:
    """An empty catalog in memory."""
    return Catalog.create("memory://", clock=Clock())
