"""Azure Blob (on Azurite): the contract of stores, and a round trip of a catalog through every kind of place.

GCS can be opened here, and no more: no emulator is on any registry that honours ``ifGenerationMatch``.
"""

from __future__ import annotations

import os
import uuid
from itertools import pairwise
from pathlib import Path

import pytest
from azure import AzureServer, azure_server  # noqa: F401 - a fixture of this file
from sync_helpers import DATASET, asset, digests, history, whole

# The contract that every store is held to, here by the fixture any_store below.
from test_store_contract import (
    test_a_folder_is_not_an_object,  # noqa: F401 - collected here
    test_an_empty_object,  # noqa: F401 - collected here
    test_nothing_is_ever_overwritten,  # noqa: F401 - collected here
    test_nothing_there,  # noqa: F401 - collected here
    test_one_writer_wins,  # noqa: F401 - collected here
    test_what_is_written_is_read,  # noqa: F401 - collected here
)
from version_helpers import Clock, local_store

from versioning.catalog import Catalog
from versioning.presence import missing
from versioning.store import Store, open_store
from versioning.sync import sync

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def container(azure_server: AzureServer) -> str:  # noqa: F811 - the fixture imported above
    return azure_server.new_container()


@pytest.fixture
def any_store(azure_server: AzureServer, container: str, monkeypatch: pytest.MonkeyPatch) -> Store:  # noqa: F811
    """An empty store on Azure."""
    for name, value in azure_server.environment.items():
        monkeypatch.setenv(name, value)
    return open_store(f"{container}/{uuid.uuid4().hex}/catalog")


def test_deleting_replacing_and_time(any_store: Store):
    any_store.put_new("a/1", b"one")
    (before,) = any_store.list("a")
    any_store.replace("a/1", b"two")
    assert any_store.get("a/1") == b"two"
    assert (any_store.now() - before.modified).total_seconds() >= 0
    any_store.delete(["a/1", "a/none"])
    assert any_store.size("a/1") is None


def test_presence(any_store: Store):
    paths = {asset(b"%d" % number)["href"]: 3 for number in range(40)}
    for path in list(paths)[:30]:
        any_store.put_new(path, b"123")
    assert missing(any_store, paths).missing == set(list(paths)[30:])


def test_round_trip(
    any_store: Store, s3_server: object, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """local -> Azure -> S3 -> memory -> local, with an object that goes in parts."""
    for name, value in s3_server.environment.items():  # type: ignore[attr-defined]
        monkeypatch.setenv(name, value)
    large = os.urandom(1024) * 17 * 1024
    source = history(items=40, extra=large, catalog=Catalog.create(local_store(tmp_path / "a"), clock=Clock()))
    places = [
        source.store,
        any_store,
        open_store(f"{s3_bucket}/{uuid.uuid4().hex}"),
        open_store("memory://"),
        local_store(tmp_path / "b"),
    ]
    for one, other in pairwise(places):
        report = sync(one, other)
        assert report.mirror
        assert whole(other, source) == 3
        assert sync(one, other).in_sync
    last = Catalog.open(places[-1])
    assert digests(last) == digests(source)
    assert last.record == source.record
    assert last.dataset(DATASET).pointers() == source.dataset(DATASET).pointers()
    assert sync(source, places[-1], deep=True).in_sync


def test_gcs_is_opened_as_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """That it is constructed is all that can be shown here."""
    key = tmp_path / "key.json"
    key.write_text('{"gcs_base_url":"http://127.0.0.1:1","disable_oauth":true,"client_email":"","private_key":"",'
                   '"private_key_id":""}')  # fmt: skip
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(key))
    store = open_store("gs://bucket/catalog")
    assert store.url == "gs://bucket/catalog"
    assert store.local_root is None
