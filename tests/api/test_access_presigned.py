"""Objects on S3 by addresses that S3 itself signs: bytes do not pass through the API."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from access_site import KEY, Asked, access, bearer
from s3 import KEY as S3_KEY
from s3 import SECRET, s3_server  # noqa: F401 - a fixture

from catalog.assets import opaque_asset
from catalog.items import build_item
from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.errors import InvalidInput
from versioning.store import open_store

pytestmark = pytest.mark.slow


@pytest.fixture
def place(s3_server, monkeypatch, tmp_path):  # noqa: F811 - the fixture
    """A catalog below a path of a bucket, with one small file."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    url = f"{s3_server.new_bucket()}/deep/catalog"
    catalog = Catalog.create(url)
    note = tmp_path / "note.txt"
    note.write_text("About the roads.\n")
    parts = {"note": opaque_asset(note, catalog.objects.put_file(note))}
    item = build_item("r01", parts, datetime="2026-01-01T00:00:00Z")
    commit(catalog.dataset("roads"), items=[item], message="one", author="tester")
    return url


def test_objects_are_asked_for_at_the_bucket(place, tmp_path):
    settings = access(tmp_path, hrefs={"keys": [{"value": KEY}], "presign": True}, log={"path": "reads.jsonl"})
    asked = Asked(place, settings)
    answer = asked.client.get("/collections/roads--v1/items/r01", headers=bearer("ann"))
    href = answer.json()["assets"]["note"]["href"]
    for method in ("GET", "HEAD"):
        moved = asked.client.request(method, href)
        assert (moved.status_code, moved.headers["cache-control"]) == (307, "no-store")
        there = moved.headers["location"]
        assert int(parse_qs(urlsplit(there).query)["X-Amz-Expires"][0]) == 900
        assert SECRET not in there
        found = httpx.request(method, there)
        assert found.status_code == 200, found.text
        assert int(found.headers["content-length"]) == 17
    ranged = httpx.get(asked.client.get(href).headers["location"], headers={"Range": "bytes=0-4"})
    assert (ranged.status_code, ranged.text) == (206, "About")
    # An address is good for its object and its method only.
    there = asked.client.get(href).headers["location"]
    assert httpx.delete(there).status_code == 403
    assert httpx.get(there.replace("X-Amz-Expires=900", "X-Amz-Expires=9000")).status_code == 403
    # What is not signed by us leads nowhere.
    assert asked.client.get(href.partition("?")[0]).status_code == 403
    name = href.partition("?")[0].rpartition("/")[2][:64]
    assert f'"objects":["{name}"]' in (tmp_path / "reads.jsonl").read_text()
    assert S3_KEY not in (tmp_path / "reads.jsonl").read_text()


def test_files_lead_there_too(place, tmp_path):
    settings = access(tmp_path, hrefs={"keys": [{"value": KEY}], "presign": True})
    client = Asked(place, settings).client
    headers = bearer("ann")
    project = client.get("/files/?f=json", headers=headers).json()["entries"][0]["name"]
    folder = client.get(f"/files/{project}/roads/v1/file/", headers=headers).headers["location"]
    entry = client.get(f"{folder}?f=json", headers=headers).json()["entries"][0]
    moved = client.get(entry["href"])
    assert moved.status_code == 307
    assert httpx.get(moved.headers["location"]).text == "About the roads.\n"


def test_stores_that_cannot(tmp_path):
    for url in (str(tmp_path), "memory://"):
        store = open_store(url)
        assert not store.presigns
        with pytest.raises(InvalidInput):
            store.presigned("objects/x", "GET", seconds=60)
