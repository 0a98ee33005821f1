"""A real server on a real socket, asked by pystac-client and by GDAL."""

from __future__ import annotations

import concurrent.futures
import socket
import subprocess
import sys
import time

import httpx
import numpy as np
import pystac_client
import pytest
import rasterio

# pystac 1.15 announces names that pystac-client 0.9 still uses.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pystac_client")

SQUARE = (1.5, 0.5, 2.5, 0.6)


def found(search) -> list[tuple[str, str]]:
    return [(item.collection_id, item.id) for item in search.items()]


def test_pystac_client_gets_exactly_the_pinned_items(server, own_site):
    client = pystac_client.Client.open(server.url)
    assert client.conforms_to("ITEM_SEARCH")
    assert client.conforms_to("FILTER")
    assert client.conforms_to("SORT")
    assert client.conforms_to("FIELDS")
    pinned = client.search(collections=["landcover--v2"], limit=2)
    wanted = [("landcover--v2", f"t0{n}") for n in (5, 4, 3, 2, 1, 0)]
    assert found(pinned) == wanted
    assert pinned.matched() == 6
    assert found(client.search(collections=["landcover--v2"], limit=2, method="GET")) == wanted
    assert found(client.search(collections=["landcover--v2"], bbox=SQUARE)) == [wanted[3], wanted[4]]
    assert found(client.search(collections=["landcover--v2"], datetime="2021")) == [wanted[4]]
    assert found(client.search(collections=["landcover--v2"], filter="eo:cloud_cover < 10", sortby="+id")) == [
        ("landcover--v2", "t00"),
        ("landcover--v2", "t01"),
    ]
    assert found(client.search(collections=["landcover--v1"], ids=["t01"])) == [("landcover--v1", "t01")]
    # Unpinned answers name their version.
    assert {name for name, _ in found(client.search(collections=["landcover"]))} == {"landcover--v3"}

    own_site.commit("landcover", own_site.item("t09", 9, west=1.6, when="2021-06-01T00:00:00Z"), remove=["t02"])
    assert found(client.search(collections=["landcover--v2"], limit=2)) == wanted
    assert found(client.search(collections=["landcover--v2"], bbox=SQUARE)) == [wanted[3], wanted[4]]
    assert found(client.search(collections=["landcover"], bbox=SQUARE)) == [
        ("landcover--v4", "t09"),
        ("landcover--v4", "t01"),
    ]


def test_pystac_client_walks_collections(server):
    client = pystac_client.Client.open(server.url)
    assert [collection.id for collection in client.get_collections()] == ["dem--v1", "landcover--v3"]
    collection = client.get_collection("landcover")
    assert collection.id == "landcover--v3"
    assert [item.id for item in collection.get_items()] == ["t05", "t04", "t03", "t02", "t01"]
    assert client.get_collection("landcover--v1").get_item("t00").collection_id == "landcover--v1"
    queryables = client.get_collection("landcover--v1").get_queryables()
    assert "datetime" in queryables["properties"]


def test_gdal_reads_a_cog_by_its_href(server):
    item = httpx.get(f"{server.url}/collections/landcover--v1/items/t03").json()
    href = item["assets"]["cover"]["href"]
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(f"/vsicurl/{href}") as source:
        assert source.crs.to_epsg() == 4326
        window = source.read(1, window=((200, 210), (100, 110)))
        assert np.array_equal(window, np.full((10, 10), 3))
        assert source.read(1)[0, 0] == 255


def test_a_slow_search_holds_up_nobody(server, own_site):
    """Requests run side by side: the event loop is never the one that reads the store."""
    with concurrent.futures.ThreadPoolExecutor(16) as pool, httpx.Client(timeout=30) as http:
        urls = [f"{server.url}/search?collections=landcover&limit={n}" for n in range(1, 33)]
        answers = list(pool.map(http.get, urls))
    assert {answer.status_code for answer in answers} == {200}
    assert [answer.json()["numberReturned"] for answer in answers] == [min(n, 5) for n in range(1, 33)]


@pytest.mark.parametrize(
    "path", [b"/objects/ab/../../stacpin.json", b"/../stacpin.json", b"/objects/../stacpin.json", b"//etc/passwd"]
)
def test_paths_that_no_client_would_send(server, path):
    """Over the socket, since clients tidy such paths before they send them."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 404")
    assert b'"format"' not in answer


def test_head_over_the_socket(server):
    answer = httpx.head(f"{server.url}/collections/landcover--v1/items")
    assert (answer.status_code, answer.content) == (200, b"")
    assert httpx.get(f"{server.url}/collections/landcover--v1/items").json()["numberMatched"] == 5
    # What is streamed has no length, and so HEAD has none: 0 would be that of an empty file.
    streamed = httpx.head(f"{server.url}/collections/landcover--v1/assets?f=ndjson")
    assert (streamed.status_code, "content-length" in streamed.headers) == (200, False)


def test_serve_listens_and_stops(site):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = (
        "from api.server import serve; from api.settings import ApiSettings; "
        f"serve(ApiSettings(catalog={str(site.folder)!r}), port={port}, log_level='warning')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(200):
            try:
                assert httpx.get(f"http://127.0.0.1:{port}/").json()["title"] == "Test catalog"
                break
            except httpx.TransportError:
                time.sleep(0.05)
        else:
            pytest.fail("the server did not answer")
    finally:
        process.terminate()
        _, told = process.communicate(timeout=10)
    assert told == ""
    assert process.returncode in {0, -15}  # uvicorn ends in order, then lets the signal have its way
