"""Versions as folders of files: every asset once, by an address that stays, listed for people and for GDAL."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin

import pytest

from api.file_listing import human_size, wants_json
from api.file_tree import project_of
from versioning.catalog import Catalog

IMMUTABLE = "public, max-age=31536000, immutable"
ROOT = "/files/test-catalog/"


def folder(site, pin: str) -> str:
    """The address of a version's folder."""
    version = site.catalog.resolve(pin)
    return f"{ROOT}{version.dataset}/sha256-{version.digest.removeprefix('sha256:')}/"


def listed(client, path: str) -> dict:
    answer = client.get(path, params={"f": "json"}, follow_redirects=False)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def blank(key: str, href: str, data: bytes = b"x", **more) -> dict:
    """An asset that is only a name; its bytes are never read."""
    sha256 = hashlib.sha256(data).hexdigest()
    return {"href": href, "file:checksum": f"1220{sha256}", "file:size": len(data), "title": key, **more}


def feature(item_id: str, assets: dict) -> dict:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": item_id,
        "geometry": None,
        "properties": {"datetime": "2024-01-01T00:00:00Z"},
        "assets": assets,
    }


class Page(HTMLParser):
    """What a reader of an Apache index takes from it: the links of the rows, and what stands in their cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.title, self.rows, self.crumbs, self._tag = "", [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._tag.append(tag)
        href = dict(attrs).get("href")
        if tag == "tr":
            self.rows.append([])
        elif tag == "a" and "nav" in self._tag:
            self.crumbs.append(href)
        elif tag == "a" and "tr" in self._tag:
            self.rows[-1].append(href)
        elif tag == "script":
            raise AssertionError("a script came through")

    def handle_endtag(self, tag):
        while self._tag and self._tag.pop() != tag:
            pass

    def handle_data(self, data):
        if "title" in self._tag:
            self.title += data
        elif "td" in self._tag:
            self.rows[-1].append(data)


def test_folders_hold_exactly_the_asset_set(client, site):
    assert [entry["name"] for entry in listed(client, "/files/")["entries"]] == ["test-catalog"]
    assert [entry["name"] for entry in listed(client, ROOT)["entries"]] == ["dem", "landcover"]
    versions = listed(client, f"{ROOT}landcover/")["entries"]
    assert [entry["names"] for entry in versions] == [["v3", "latest"], ["v2", "stable"], ["v1", "v2.1.4"]]
    for entry in versions:
        pin = f"landcover--{entry['names'][0]}"
        lines = client.get(f"/collections/{pin}/assets").text.splitlines()
        wanted = {(line["item"], line["key"]): line for line in map(json.loads, lines)}
        layers = listed(client, entry["href"])
        assert layers["digest"] == f"sha256:{entry['name'].removeprefix('sha256-')}"
        assert [layer["name"] for layer in layers["entries"]] == ["raster", "file"]
        files = [file for layer in layers["entries"] for file in listed(client, layer["href"])["entries"]]
        assert {(file["item"], file["key"]) for file in files} == set(wanted)
        assert len({file["name"] for file in files}) == len(files) == entry["files"]
        assert sum(layer["size"] for layer in layers["entries"]) == entry["size"] == sum(f["size"] for f in files)
        for file in files:
            line = wanted[file["item"], file["key"]]
            assert (file["sha256"], file["size"]) == (line["sha256"], line["file:size"])
            assert hashlib.sha256(client.get(file["href"]).content).hexdigest() == file["sha256"]
    v1 = folder(site, "landcover@v1")
    assert listed(client, f"{v1}raster/")["entries"][1]["name"] == "t01.cover.tif"
    assert listed(client, f"{v1}file/")["entries"][1]["name"] == "t01.note.txt"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Range": "bytes=0-15"},
        {"Range": "bytes=-7"},
        {"Range": "bytes=9999999-"},
        {"Range": "bytes=0-1,4-5"},
        {"Range": "bytes=0-15", "If-Range": '"other"'},
        {"If-None-Match": "*"},
        {"Accept-Encoding": "br, gzip"},
        {"Origin": "https://viewer.example"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_file_is_its_object(client, site, method, headers):
    path = f"{folder(site, 'landcover@v1')}raster/t01.cover.tif"
    href = client.get("/collections/landcover--v1/items/t01").json()["assets"]["cover"]["href"]
    named = {**headers, "X-Request-ID": "the-same-request"}
    file, stored = (client.request(method, address, headers=named) for address in (path, href))
    assert (file.status_code, file.content, file.headers) == (stored.status_code, stored.content, stored.headers)
    assert file.headers["cache-control"] == IMMUTABLE
    assert "content-encoding" not in file.headers


@pytest.mark.parametrize(
    ("alias", "pin"),
    [
        ("v1", "v1"),
        ("3", "v3"),
        ("latest", "v3"),
        ("stable", "v2"),
        ("v2.1.4", "v1"),
        ("{2999-01-01}", None),
        ("sha256:short", "v2"),
        ("sha256-short", "v2"),
    ],
)
def test_other_names_of_a_version_lead_to_its_hash(client, site, alias, pin):
    digits = site.catalog.resolve("landcover@v2").digest.removeprefix("sha256:")[:10]
    path = f"{ROOT}landcover/{alias.replace('short', digits)}"
    for rest in ("", "/", "/raster", "/raster/", "/raster/t01.cover.tif", "/?f=json"):
        answer = client.get(path + rest, follow_redirects=False)
        if pin is None:
            assert answer.status_code == 404
            continue
        below = rest.strip("/") if "f=" not in rest else rest[1:]
        closed = f"{below}/" if below == "raster" else below
        assert answer.status_code == 307
        assert answer.headers["location"] == f"http://api.test{folder(site, f'landcover@{pin}')}{closed}"
        assert answer.headers["cache-control"] == "no-cache"
    moved = client.get(f"/files/{site.catalog.record.id[:8]}/landcover/", follow_redirects=False)
    assert moved.headers["location"] == f"http://api.test{ROOT}landcover/"


def test_a_folder_without_its_slash_leads_to_it(client, site):
    for path in ("/files/", ROOT, f"{ROOT}dem/", folder(site, "dem@v1"), f"{folder(site, 'dem@v1')}raster/"):
        answer = client.get(path.rstrip("/"), params={"f": "json"}, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (308, f"http://api.test{path}?f=json")


@pytest.mark.parametrize(
    "rest",
    [
        "/files/other/",
        "/files/..%2f/",
        "/files/%00/",
        f"{ROOT}nothing/",
        f"{ROOT}landcover--v1/",
        f"{ROOT}Land%20Cover/",
        f"{ROOT}landcover/v9/",
        f"{ROOT}landcover/no such/",
        f"{ROOT}landcover/sha256-{'0' * 64}/",
        f"{ROOT}landcover/sha256-{'g' * 64}/",
        f"{ROOT}landcover/%2e%2e%2fdem/v1/",
        "{v1}rasters/",
        "{v1}labels/",
        "{v1}../",
        "{v1}raster/t99.cover.tif",
        "{v1}raster/t01.cover.TIF",
        "{v1}raster/t01.cover.tiff",
        "{v1}raster/t01.cover",
        "{v1}raster/t01",
        "{v1}raster/t01.note.txt",
        "{v1}file/t01.cover.tif",
        "{v1}raster/t01.c=6Fver.tif",
        "{v1}raster/t01.cover.tif/",
        "{v1}raster/..%2f..%2fstacpin.json",
        "{v1}raster/%00.cover.tif",
        "{v1}raster/%ff.cover.tif",
        "{v1}raster/" + "x" * 3000,
        "/files/stacpin.json",
        "/files/objects/ab/",
    ],
)
def test_what_is_not_there_is_a_problem(client, site, rest):
    path = rest.replace("{v1}", folder(site, "landcover@v1"))
    if path.endswith("../"):  # sent as it is, where clients take such parts away
        path = path.replace("../", "%2e%2e/")
    for method in ("GET", "HEAD"):
        answer = client.request(method, path, follow_redirects=False)
        assert answer.status_code == 404, answer.text
    assert client.get(path).json().keys() >= {"code", "description"}


def test_parameters_are_refused(client, site):
    assert client.get("/files/?f=xml").status_code == 400
    assert client.get("/files/?x=1").json()["code"] == "unknown-parameter"
    assert client.get(f"{folder(site, 'dem@v1')}raster/height.cover.tif?f=json").status_code == 400
    assert client.post("/files/").status_code == 405


def test_expired_versions_are_gone_but_not_what_another_still_has(client_of, own_site):
    client = client_of(own_site)
    dataset = own_site.catalog.dataset("landcover")
    # v4 is v2 again, byte by byte: one digest, and one folder.
    own_site.commit("landcover", *(row.parse() for row in dataset.version(2).rows()), whole=True)
    assert dataset.version(4).digest == dataset.version(2).digest
    shared, first = folder(own_site, "landcover@v2"), folder(own_site, "landcover@v1")
    names = [entry["names"] for entry in listed(client, f"{ROOT}landcover/")["entries"]]
    assert names == [["v4", "latest", "v2", "stable"], ["v3"], ["v1", "v2.1.4"]]
    assert listed(client, shared)["pin"] == "landcover@v2"

    def expire(number: int) -> None:
        time = "2026-01-01T00:00:00.000000Z"
        record = {"type": "expiry", "number": number, "why": "old", "author": "t", "nonce": "n", "time": time}
        own_site.catalog.store.put_record(f"datasets/landcover/expired/{number:08d}.json", json.dumps(record).encode())

    expire(1)
    expire(2)
    for path in (first, f"{first}raster/", f"{first}raster/t01.cover.tif", f"{ROOT}landcover/v1/"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (410, "expired")
    assert [entry["names"][0] for entry in listed(client, f"{ROOT}landcover/")["entries"]] == ["v4", "v3"]
    assert listed(client, shared)["pin"] == "landcover@v4"
    assert client.get(f"{shared}raster/t01.cover.tif").status_code == 200


def test_caching(client, site):
    v1 = folder(site, "landcover@v1")
    plain = {"Accept-Encoding": "identity"}
    for path in ("/files/", ROOT, f"{ROOT}landcover/", v1, f"{v1}raster/"):
        tags = set()
        for form in ("html", "json"):
            answer = client.get(path, params={"f": form}, headers=plain)
            assert answer.headers["cache-control"] == (IMMUTABLE if path.startswith(v1) else "no-cache")
            assert "Accept" in answer.headers["vary"].split(", ")
            etag = answer.headers["etag"]
            tags.add(etag)
            again = client.get(path, params={"f": form}, headers={**plain, "If-None-Match": etag})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
            head = client.head(path, params={"f": form}, headers=plain)
            assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", etag)
            assert head.headers.get("content-length") == answer.headers.get("content-length")
        assert len(tags) == 2


def test_what_is_published_shows_above_the_hash_and_not_below(client_of, own_site):
    client = client_of(own_site)
    v3 = folder(own_site, "landcover@v3")
    pinned, moving = (client.get(path) for path in (f"{v3}raster/", f"{ROOT}landcover/"))
    own_site.commit("landcover", remove=["t01"])
    assert client.get(f"{v3}raster/").content == pinned.content
    asked = {"If-None-Match": moving.headers["etag"]}
    assert client.get(f"{ROOT}landcover/", headers=asked).status_code == 200
    assert client.get(f"{ROOT}landcover/latest/").url.path == folder(own_site, "landcover@v4")


def test_a_page_reads_like_an_apache_index(client, site):
    path = f"{folder(site, 'landcover@v1')}raster/"
    answer = client.get(path, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "script" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    page = Page(answer.text)
    assert page.title == f"Index of {path}"
    entries = listed(client, path)["entries"]
    rows = [row for row in page.rows if row]
    assert [(row[0], row[1]) for row in rows] == [(entry["name"], entry["name"]) for entry in entries]
    for row, entry in zip(rows, entries, strict=True):
        number, unit = re.fullmatch(r"([\d.]+) (B|kB|MB)", row[2]).groups()
        assert float(number) * {"B": 1, "kB": 1e3, "MB": 1e6}[unit] == pytest.approx(entry["size"], rel=0.05)
        assert row[3].rstrip("…") == entry["sha256"][:16]
    assert f"<code>{site.catalog.resolve('landcover@v1').digest}</code>" in answer.text
    up = [urljoin(f"http://api.test{path}", href) for href in page.crumbs]
    assert [client.get(href).status_code for href in up] == [200] * 4
    assert up[0] == "http://api.test/files/"
    assert up[-1] == f"http://api.test{folder(site, 'landcover@v1')}"
    # GDAL takes every <a href=" of a page with this title for an entry.
    assert answer.text.count('<a href="') == len(entries)


def test_names_are_safe_and_of_one_file_each(client_of, own_site):
    keys = {
        "a": {"b.c", "b", "c/d", "../../x", 'q"<script>alert(1)</script>', "ü", "=2E", "with space", "", "%2f"},
        "a.b": {"c", "b.c"},
        "x:y+z=1,2": {"k"},
    }
    hrefs = ["https://elsewhere.example/a/b.TIF?sig=.php", "https://elsewhere.example/c", "s3://bucket/k.tif"]
    items = [
        feature(item_id, {key: blank(key, hrefs[0], f"{item_id} {key}".encode()) for key in names})
        for item_id, names in keys.items()
    ]
    scheme = {"pin:digest": f"v1:{'0' * 64}"}
    placed = {"plain": blank("plain", hrefs[1], **scheme), "bucket": blank("bucket", hrefs[2], **scheme)}
    own_site.commit("odd", *items, feature("placed", placed))
    client = client_of(own_site)
    path = f"{folder(own_site, 'odd@v1')}file/"
    entries = listed(client, path)["entries"]
    found = {entry["name"]: (entry["item"], entry["key"]) for entry in entries}
    assert set(found.values()) == {(item_id, key) for item_id, names in keys.items() for key in names}
    assert len(entries) == len(found) == sum(map(len, keys.values()))
    assert all(re.fullmatch(r"[A-Za-z0-9._:+=,-]+\.tif", name) for name in found)
    assert found["a.b=2Ec.tif"] == ("a", "b.c")
    assert found["a.b.c.tif"] == ("a.b", "c")
    for entry in entries:
        answer = client.get(entry["href"], follow_redirects=False)
        assert answer.status_code == 307, answer.text
        assert answer.headers["location"] == hrefs[0]
    page = Page(client.get(path).text)
    rows = [row for row in page.rows if row]
    assert {unquote(row[0]) for row in rows} == {row[1] for row in rows} == set(found)
    assert all(":" not in row[0] for row in rows)  # a colon would begin another scheme
    labels = f"{folder(own_site, 'odd@v1')}labels/"
    assert [entry["name"] for entry in listed(client, labels)["entries"]] == ["placed.bucket.tif", "placed.plain.bin"]
    assert client.get(f"{labels}placed.plain.bin", follow_redirects=False).headers["location"] == hrefs[1]
    refused = client.get(f"{labels}placed.bucket.tif", follow_redirects=False)
    assert (refused.status_code, refused.json()["code"]) == (404, "referenced-in-place")


def test_texts_of_the_catalog_are_escaped(client_of, tmp_path):
    catalog = Catalog.create(str(tmp_path / "catalog"), title="<script>alert(1)</script> Ünïcode & Co.")
    assert project_of(catalog) == "script-alert-1-script-unicode-co"
    from versioning.commit import commit

    message = "<script>alert('m')</script>"
    commit(catalog.dataset("empty"), items=[], collection={"title": message}, message=message, author="t")
    client = client_of(catalog)
    for path in ("/files/", f"/files/{project_of(catalog)}/", f"/files/{project_of(catalog)}/empty/"):
        Page(client.get(path).text)
    page = client.get(f"/files/{project_of(catalog)}/empty/v1/").text
    Page(page)
    assert "&lt;script&gt;alert(&#x27;m&#x27;)" in page
    assert "This version has no files." in page


def test_a_catalog_without_a_title_is_a_project_by_its_id(client_of):
    catalog = Catalog.create("memory://", title="日本")
    client = client_of(catalog)
    assert project_of(catalog) == catalog.record.id[:8]
    assert "No dataset has a version yet." in client.get(f"/files/{catalog.record.id[:8]}/").text


def test_a_long_listing_comes_in_blocks(client_of):
    catalog = Catalog.create("memory://")
    from versioning.commit import commit

    assets = {key: blank(key, "https://elsewhere.example/a.tif") for key in ("a", "b")}
    commit(catalog.dataset("big"), items=[feature(f"t{n:05d}", assets) for n in range(1_500)], message="", author="t")
    client = client_of(catalog)
    path = f"/files/{project_of(catalog)}/big/latest/file/"
    entries = client.get(path, params={"f": "json"}).json()["entries"]
    assert [entry["name"] for entry in entries] == [f"t{n:05d}.{key}.tif" for n in range(1_500) for key in "ab"]
    assert client.get(path).text.count('<a href="') == 3_000


def test_links_lead_to_the_files(client, site):
    root = next(link for link in client.get("/").json()["links"] if link["title"] == "Files of all versions")
    assert (root["rel"], root["href"]) == ("enclosure", "http://api.test/files/")
    documents = client.get("/collections?versions=all").json()["collections"]
    documents.append(client.get("/collections/landcover").json())
    for document in documents:
        found = next(link for link in document["links"] if link["rel"] == "enclosure")
        pin = f"{document['pin:dataset']}@v{document['pin:version']}"
        assert found["href"] == f"http://api.test{folder(site, pin)}"
        assert client.get(found["href"], follow_redirects=False).status_code == 200


def test_public_addresses(client_of, site):
    client = client_of(site, public_url="https://data.example/stac")
    path = f"{folder(site, 'dem@v1')}raster/"
    assert f"<title>Index of /stac{path}</title>" in client.get(path).text
    assert listed(client, path)["entries"][0]["href"] == f"https://data.example/stac{path}height.cover.tif"
    moved = client.get(f"{ROOT}dem/latest", follow_redirects=False)
    assert moved.headers["location"] == f"https://data.example/stac{folder(site, 'dem@v1')}"


# GDAL's own function, since rasterio has none that lists. In a process of its own: rasterio opens files without giving
# up Python's lock, so a server in the same process could not answer.
GDAL = """
import ctypes, json, pathlib, sys
import rasterio
url, *files = sys.argv[1:]
folder = pathlib.Path(rasterio.__file__).parents[1] / "rasterio.libs"
library = next(folder.glob("libgdal*"), None) if folder.is_dir() else None
found = None
if library is not None:
    function = ctypes.CDLL(str(library)).VSIReadDirRecursive
    function.restype, function.argtypes = ctypes.POINTER(ctypes.c_char_p), [ctypes.c_char_p]
    names, found = function(f"/vsicurl/{url}".encode()), []
    while names and names[len(found)]:
        found.append(names[len(found)].decode())
values = []
for file in files:
    with rasterio.open(f"/vsicurl/{file}") as source:
        values.append([int(source.read(1)[200, 200]), source.crs.to_epsg()])
print(json.dumps([found, values]))
"""


def test_gdal_lists_and_reads(server, own_site):
    path = folder(own_site, "landcover@v3")
    names = (path, f"{ROOT}landcover/latest/", f"{ROOT}landcover/stable/")
    urls = [f"{server.url}{name}raster/t01.cover.tif" for name in names]
    command = [sys.executable, "-c", GDAL, f"{server.url}{path}", *urls]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found, values = json.loads(done.stdout)
    assert values == [[101, 4326]] * 3
    if found is None:
        pytest.skip("rasterio does not bring its own GDAL library here, so its C functions cannot be called")
    files = [f"raster/t{n:02d}.cover.tif" for n in range(1, 6)], [f"file/t{n:02d}.note.txt" for n in range(1, 6)]
    assert found == ["raster/", *files[0], "file/", *files[1]]


def test_the_accept_header_decides():
    assert not wants_json(None, "")
    assert not wants_json(None, "*/*")
    assert not wants_json(None, "text/html, application/json")
    assert wants_json(None, "application/json")
    assert wants_json(None, "Application/JSON, text/html;q=0.5")
    assert wants_json(None, "application/*, */*;q=0.1")
    assert not wants_json(None, "application/json;q=x, text/html;q=0.1")
    assert wants_json("json", "text/html")
    assert not wants_json("html", "application/json")


def test_sizes_for_people():
    sizes = {None: "-", 0: "0 B", 999: "999 B", 1000: "1.0 kB", 1_449: "1.4 kB", 999_600: "1.0 MB", 2**48: "281.5 TB"}
    assert {size: human_size(size) for size in sizes} == sizes
    assert human_size(10**30) == "1000000000.0 ZB"
