"""Pictures over HTTP: what is refused and never opened, what is cached, the links to them, and how many at once."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import rasterio
from picture_shelf import Shelf, pixels, ramp, write
from rasterio.transform import from_origin

from catalog.assets import raster_asset
from versioning.catalog import Catalog

# -- refusals


@pytest.mark.parametrize(
    ("name", "query", "status", "code"),
    [
        ("colours", "?asset=nothing", 404, "no-picture"),
        ("note", "", 404, "no-picture"),
        ("note", "?asset=note", 404, "no-picture"),
        ("colours", "?max_size=0", 400, "invalid-input"),
        ("colours", "?max_size=2049", 400, "invalid-input"),
        ("colours", "?max_size=1e3", 400, "invalid-input"),
        ("colours", "?f=gif", 400, "invalid-input"),
        ("colours", "?bidx=4", 400, "invalid-input"),
        ("colours", "?bidx=0", 400, "invalid-input"),
        ("colours", "?bidx=1,2", 400, "invalid-input"),
        ("colours", "?bidx=1;2", 400, "invalid-input"),
        ("colours", "?bidx=" + "1," * 5000 + "1", 400, "invalid-input"),
        ("colours", "?bands=", 400, "invalid-input"),
        ("colours", "?bands=red,green,blue,nir", 400, "invalid-input"),
        ("colours", "?bands=red&bidx=1", 400, "invalid-input"),
        ("apart", "?bidx=1", 400, "invalid-input"),
        ("apart", "?bands=red,green,other", 400, "invalid-input"),
        ("colours", "?rescale=1", 400, "invalid-input"),
        ("colours", "?rescale=1,1", 400, "invalid-input"),
        ("colours", "?rescale=nan,1", 400, "invalid-input"),
        ("colours", "?rescale=-inf,inf", 400, "invalid-input"),
        ("colours", "?rescale=0,1,0,1", 400, "invalid-input"),
        ("colours", "?rescale=" + "0,1," * 5000, 400, "invalid-input"),
        ("colours", "?colormap_name=viridis", 400, "invalid-input"),
        ("grey", "?colormap_name=../../etc/passwd", 400, "invalid-input"),
        ("grey", "?expression=b1", 400, "unknown-parameter"),
        ("grey", "?url=http://example.org/a.tif", 400, "unknown-parameter"),
        ("grey", "?f=png&f=png", 400, "repeated-parameter"),
        ("grey", "?version=v1", 400, "pinned-twice"),
    ],
)
def test_what_is_refused(drawn, name, query, status, code):
    answer = drawn(name, query)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json().get("hint") or query.startswith(("?max_size", "?f="))
    assert len(answer.content) < 1_500


@pytest.mark.parametrize("what", ["tiles/25/0/0.png", "tiles/1/2/0.png", "tiles/1/0/0.jpg", "tiles/1/0/0"])
def test_tiles_that_do_not_exist(drawn, what):
    assert drawn("grey", what=what).status_code == 404


def test_items_that_do_not_exist(drawn, client):
    assert client.get("/collections/landcover--v1/items/nobody/preview").json()["code"] == "no-such-item"
    assert client.get("/collections/nothing/items/a/preview").json()["code"] == "no-such-dataset"


VRT = b"""<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename>/etc/passwd</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"""


@pytest.mark.parametrize("store", ["local", "memory"])
def test_only_geotiffs_of_the_catalog_are_opened(client_of, tmp_path, store):
    """Whatever an item claims of its assets."""
    url = "memory://" if store == "memory" else str(tmp_path / "catalog")
    shelf = Shelf(Catalog.create(url), tmp_path)
    good = write(tmp_path / "good.tif", ramp())
    part = shelf.part(good)
    data = good.read_bytes()
    forged = {
        "vrt": VRT,
        "png": b"\x89PNG\r\n\x1a\n" + data,
        "cut": data[: len(data) // 3],
        "noise": data[:8] + bytes(range(256)) * 20,
        "empty": b"",
    }
    for name, content in forged.items():
        ref = shelf.catalog.objects.put_bytes(content, ".tif")
        asset = {**part.asset, "href": ref.href, "file:checksum": ref.checksum, "file:size": ref.size}
        shelf.publish(name, {"data": type(part)(asset, part.footprint)})
    away = {**part.asset, "href": f"file://{good}"}
    shelf.publish("away", {"data": type(part)(away, part.footprint)})
    client = client_of(shelf.catalog)
    for name in forged:
        for what in ("preview", "tiles/8/135/127.png"):
            answer = client.get(f"/collections/{name}--v1/items/{name}/{what}")
            assert answer.status_code == 400, (name, answer.text)
            assert answer.json()["code"] == "not-drawable"
            assert str(tmp_path) not in answer.text
            assert "vsi" not in answer.text
    assert client.get("/collections/away--v1/items/away/preview").json()["code"] == "no-picture"


def test_what_is_huge_and_has_no_overviews_is_refused(client_of, tmp_path):
    path = tmp_path / "huge.tif"
    profile = {"driver": "GTiff", "count": 1, "width": 30_000, "height": 30_000, "dtype": "uint8", "crs": "EPSG:4326"}
    layout = {"tiled": True, "compress": "deflate", "sparse_ok": True, "transform": from_origin(0, 30, 1e-3, 1e-3)}
    with rasterio.open(path, "w", **profile, **layout):
        pass
    shelf = Shelf(Catalog.create("memory://"), tmp_path)
    ref = shelf.catalog.objects.put_file(path)
    shelf.publish("huge", {"data": raster_asset(path, ref, digest="r1:" + "0" * 64)})
    client = client_of(shelf.catalog)
    answer = client.get("/collections/huge--v1/items/huge/preview")
    assert (answer.status_code, answer.json()["code"]) == (400, "too-large")
    assert "overviews" in answer.json()["hint"]
    assert client.get("/collections/huge--v1/items/huge/tiles/2/2/1.png").json()["code"] == "too-large"
    near = "/collections/huge--v1/items/huge/tiles/12/2050/2000.png"
    assert client.get(near).json()["code"] == "too-large"  # to find its range of values
    assert pixels(client.get(f"{near}?rescale=0,255")).shape == (256, 256, 4)


def test_complex_numbers_are_refused(client_of, tmp_path):
    shelf = Shelf(Catalog.create("memory://"), tmp_path)
    path = write(tmp_path / "radar.tif", ramp("complex64"))
    shelf.publish("radar", {"data": shelf.part(path)})
    answer = client_of(shelf.catalog).get("/collections/radar--v1/items/radar/preview")
    assert (answer.status_code, answer.json()["code"]) == (400, "not-drawable")


def test_a_missing_object(client_of, tmp_path):
    shelf = Shelf(Catalog.create(str(tmp_path / "catalog")), tmp_path)
    shelf.put("gone", ramp())
    client = client_of(shelf.catalog)
    href = client.get("/collections/gone--v1/items/gone").json()["assets"]["data"]["href"]
    (tmp_path / "catalog" / href.removeprefix("http://api.test/")).unlink()
    answer = client.get("/collections/gone--v1/items/gone/preview")
    assert (answer.status_code, answer.json()["code"]) == (500, "missing")


# -- HTTP and links


def test_caching(client_of, shelf):
    client = client_of(shelf.catalog)
    pinned = client.get("/collections/grey--v1/items/grey/preview?max_size=32")
    assert pinned.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "content-encoding" not in pinned.headers
    other = client.get("/collections/grey/items/grey/preview?max_size=32&version=v1")
    assert other.headers["cache-control"] == "no-cache"
    assert other.headers["content-location"].endswith("/collections/grey--v1/items/grey/preview?max_size=32")
    assert client.get(other.headers["content-location"]).content == other.content == pinned.content
    etag = pinned.headers["etag"]
    again = client.get(pinned.url, headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/collections/grey--v1/items/grey/preview?max_size=33").headers["etag"] != etag
    assert client.get("/collections/grey--v1/items/grey/preview?max_size=32&f=webp").headers["etag"] != etag


def test_items_and_versions_link_to_their_thumbnails(client_of, shelf):
    client = client_of(shelf.catalog)
    item = client.get("/collections/grey--v1/items/grey").json()
    (link,) = [link for link in item["links"] if link["rel"] == "preview"]
    assert (link["type"], client.get(link["href"]).headers["content-type"]) == ("image/png", "image/png")
    found = client.get("/search?collections=grey").json()["features"][0]
    assert link in found["links"]
    collection = client.get("/collections/grey--v1").json()
    (preview,) = [link for link in collection["links"] if link["rel"] == "preview"]
    assert client.get(preview["href"]).content == client.get(link["href"]).content
    assert client.get("/collections/grey/thumbnail").headers["cache-control"] == "no-cache"
    for address in ("/collections/note--v1/items/note", "/collections/note--v1"):
        assert not [link for link in client.get(address).json()["links"] if link["rel"] == "preview"]
    assert client.get("/collections/note--v1/thumbnail").json()["code"] == "no-picture"


def test_nothing_is_drawn_for_a_list(client_of, shelf, monkeypatch):
    monkeypatch.setattr("api.pictures.pictures.Pictures._draw", lambda *_: 1 / 0)
    monkeypatch.setattr("api.pictures.raster_files.open_stored", lambda *_: 1 / 0)
    client = client_of(shelf.catalog)
    for address in ("/collections", "/search", "/collections/grey/items"):
        assert client.get(address).status_code == 200


def test_without_the_libraries_there_are_no_pictures(client_of, shelf, monkeypatch):
    with_pictures = client_of(shelf.catalog).get("/collections/grey--v1/items/grey")
    for module in ("pictures.drawing", "app", "pictures.links", "responses"):
        monkeypatch.setattr(f"api.{module}.can_draw", lambda: False)
    client = client_of(shelf.catalog)
    item = client.get("/collections/grey--v1/items/grey")
    assert item.status_code == 200
    assert item.headers["etag"] != with_pictures.headers["etag"]
    assert not [link for link in item.json()["links"] if link["rel"] == "preview"]
    assert not [link for link in client.get("/collections/grey--v1").json()["links"] if link["rel"] == "preview"]
    assert client.get("/collections/grey--v1/items/grey/preview").json()["code"] == "not-found"
    assert client.get("/collections/grey--v1/tiles/0/0/0").status_code == 404
    declared = client.get("/conformance").json()["conformsTo"]
    assert not [name for name in declared if name.endswith(("tiles", "pictures"))]


START = """
import sys, threading
from api.app import create_app
from api.settings import ApiSettings
from fastapi.testclient import TestClient
client = TestClient(create_app(ApiSettings(catalog=sys.argv[1], max_drawings=4)), raise_server_exceptions=False)
together = threading.Barrier(4)
found = []
def ask(query):
    together.wait()
    found.append(client.get(f"/collections/grey--v1/items/grey/preview{query}").status_code)
queries = ["", "?max_size=9", "?colormap_name=viridis", "?colormap_name=magma"]
threads = [threading.Thread(target=ask, args=(query,)) for query in queries]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(found)
"""


def test_a_server_may_begin_with_many_pictures_at_once(shelf):
    """In a process in which nothing is imported yet."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-W", "ignore", "-c", START, shelf.catalog.url]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[200, 200, 200, 200]", done.stderr


def test_so_many_are_drawn_at_once_and_the_rest_come_again(client_of, shelf, monkeypatch):
    client = client_of(shelf.catalog, max_drawings=1, max_drawings_waiting=1)
    begun, go_on = threading.Event(), threading.Event()

    def slow(*_):
        begun.set()
        assert go_on.wait(20)
        return b"drawn"

    monkeypatch.setattr("api.pictures.pictures.Pictures._draw", slow)
    address = "/collections/grey--v1/items/grey/preview"
    answers = []
    asking = [threading.Thread(target=lambda: answers.append(client.get(address))) for _ in range(6)]
    for thread in asking:
        thread.start()
    assert begun.wait(20)
    # All but the one that is drawn and the one that waits are answered at once.
    for thread in asking:
        thread.join(2)
        if len(answers) == 4:
            break
    assert client.get("/collections/grey--v1/items/grey").status_code == 200
    refused = client.get(address)
    go_on.set()
    for thread in asking:
        thread.join(20)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503, 503, 503]
    assert (refused.status_code, refused.json()["code"]) == (503, "busy")
    assert int(refused.headers["retry-after"]) > 0
    assert client.get(address).content == b"drawn"
