"""Objects over HTTP: whole, in ranges, never anything else of the catalog."""

from __future__ import annotations

import pytest

from api.objects import media_type_of, parse_range
from versioning.catalog import Catalog

COG = "image/tiff; application=geotiff; profile=cloud-optimized"


@pytest.fixture(scope="module")
def cog(client, site):
    """The address and the bytes of a COG."""
    href = client.get("/collections/landcover--v1/items/t01").json()["assets"]["cover"]["href"]
    return href, (site.folder / href.removeprefix("http://api.test/")).read_bytes()


@pytest.fixture(params=["local", "memory"])
def stored(request, client, client_of, cog):
    """The same object, on a local disk and in another store."""
    href, data = cog
    if request.param == "local":
        return client, href, data
    catalog = Catalog.create("memory://")
    catalog.objects.put_bytes(data, ".tif")
    return client_of(catalog), href, data


def test_whole(stored):
    client, href, data = stored
    answer = client.get(href)
    assert answer.content == data
    assert answer.headers["content-type"] == COG
    assert answer.headers["content-length"] == str(len(data))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"].strip('"') in href
    assert answer.headers["cache-control"].endswith("immutable")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "content-encoding" not in answer.headers


def test_head(stored):
    client, href, data = stored
    answer = client.head(href)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(data))
    part = client.head(href, headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.headers["content-length"]) == (206, "10")


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("0-0", 0, 1),
        ("0-15", 0, 16),
        ("100-", 100, None),
        ("-7", -7, None),
        ("5-99999999", 5, None),
        ("-99999999", 0, None),
    ],
)
def test_ranges(stored, asked, start, end):
    client, href, data = stored
    answer = client.get(href, headers={"Range": f"bytes={asked}"})
    wanted = data[start:end]
    assert answer.status_code == 206
    assert answer.content == wanted
    first = start if start >= 0 else len(data) + start
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(wanted) - 1}/{len(data)}"
    assert answer.headers["content-length"] == str(len(wanted))


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=99999999-99999999", "bytes=-0"])
def test_ranges_of_nothing(stored, asked):
    client, href, data = stored
    answer = client.get(href, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{len(data)}"


@pytest.mark.parametrize(
    "asked",
    ["bytes=5-2", "bytes=-", "bytes=a-b", "items=0-5", "bytes=0-1,5-6", "bytes=0-1x", "0-5", "bytes=" + "9" * 99 + "-"],
)
def test_ranges_that_mean_nothing_give_the_whole(stored, asked):
    client, href, data = stored
    answer = client.get(href, headers={"Range": asked})
    assert answer.status_code == 200
    assert answer.content == data


def test_if_range_and_if_none_match(stored):
    client, href, data = stored
    etag = client.head(href).headers["etag"]
    assert client.get(href, headers={"Range": "bytes=0-3", "If-Range": etag}).content == data[:4]
    for other in ('"other"', f"W/{etag}", "Sat, 21 Nov 2026 10:00:00 GMT"):
        assert client.get(href, headers={"Range": "bytes=0-3", "If-Range": other}).status_code == 200
    again = client.get(href, headers={"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)


def test_ranges_are_never_compressed(stored):
    client, href, _ = stored
    answer = client.get(href, headers={"Range": "bytes=0-3999", "Accept-Encoding": "gzip, br"})
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "/objects/",
        "/objects/ab",
        "/objects/ab/",
        "/objects/ab/../../stacpin.json",
        "/objects/ab/..%2f..%2fstacpin.json",
        "/objects/..%2f/stacpin.json",
        "/objects/%2e%2e/stacpin.json",
        "/objects/ab/" + "a" * 64,
        "/objects/ab/ab" + "a" * 62,
        "/objects/AB/AB" + "A" * 62,
        "/objects/ab/ab" + "a" * 62 + "/x",
        "/objects/ab/ab" + "a" * 62 + ".tif%00",
        "/objects/ab/ab" + "a" * 62 + ".tif%0a",
        "/objects/ab/ab" + "a" * 62 + "#1",
        "/objects/" + "x" * 5000,
        "/stacpin.json",
        "/datasets/landcover/versions/00000001.json",
        "/settings/00000001.json",
    ],
)
def test_nothing_else_is_served(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["code"]


def test_query_parameters_are_refused(stored):
    client, href, _ = stored
    assert client.get(f"{href}?x=1").status_code == 400


def test_media_types():
    assert media_type_of("a.tif") == COG
    assert media_type_of("a.parquet") == "application/vnd.apache.parquet"
    for name in ("a.html", "a.svg", "a.js", "a", "a.exe"):
        assert media_type_of(name) == "application/octet-stream"


def test_an_empty_object(client_of):
    assert parse_range("bytes=0-", 0).length == 0
    assert parse_range("bytes=-5", 0).length == 0
    catalog = Catalog.create("memory://")
    ref = catalog.objects.put_bytes(b"", ".txt")
    client = client_of(catalog)
    assert client.get(f"/{ref.href}").content == b""
    assert client.get(f"/{ref.href}", headers={"Range": "bytes=0-"}).status_code == 416


def test_an_object_larger_than_a_block(client_of, own_site):
    data = bytes(range(256)) * 40_000  # 10 MB
    ref = own_site.catalog.objects.put_bytes(data, ".bin")
    client = client_of(own_site)
    assert client.get(f"/{ref.href}").content == data
    part = client.get(f"/{ref.href}", headers={"Range": "bytes=1000000-9000000"})
    assert part.content == data[1_000_000:9_000_001]
