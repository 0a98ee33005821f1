"""Signed hrefs: who has one can read the object, until it expires, and nothing else."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest
import rasterio
from access_site import KEY, WEEK, Asked, access, bearer, told, with_roads
from hypothesis import given
from hypothesis import strategies as st

import api.access.admission
from api.access.signatures import HrefKeys
from versioning.catalog import Catalog
from versioning.errors import InvalidInput

NOW = 1_800_000_000.0
PATHS = st.text(min_size=1, max_size=80)
KEYS = st.binary(min_size=32, max_size=64)


@pytest.fixture(scope="module")
def hidden(site, tmp_path_factory):
    return with_roads(site, tmp_path_factory.mktemp("hrefs"))


@pytest.fixture(scope="module")
def asked(hidden) -> Asked:
    return Asked(str(hidden.folder), access(hidden.folder))


def href_of(asked: Asked, path: str = "/collections/roads--v1/items/r01", who: str | None = "ann") -> str:
    answer = asked.client.get(path, headers=bearer(who) if who else {})
    assert answer.status_code == 200, answer.text
    return answer.json()["assets"]["cover"]["href"]


# -- the signature itself


def both(keys: HrefKeys, path: str, now: float) -> tuple[str, str]:
    query = parse_qs(keys.signer(now).query(path))
    return query["expires"][0], query["signature"][0]


@given(KEYS, PATHS, st.integers(60, WEEK), st.floats(1e6, 1e10))
def test_what_was_signed_is_valid_until_it_expires(key, path, seconds, now):
    keys = HrefKeys([key], seconds=seconds)
    expires, signature = both(keys, path, now)
    assert keys.valid_until(path, expires, signature, now) == int(expires)
    assert seconds < int(expires) - int(now) <= 2 * seconds
    assert keys.valid_until(path, expires, signature, int(expires) - 0.5) is not None
    assert keys.valid_until(path, expires, signature, int(expires)) is None


@given(KEYS, PATHS, PATHS, st.integers(-5, 5), st.integers(0, 42), st.integers(1, 63))
def test_what_was_not_signed_is_not_valid(key, path, other, later, place, change):
    keys = HrefKeys([key], seconds=3600)
    expires, signature = both(keys, path, NOW)
    assert (keys.valid_until(other, expires, signature, NOW) is not None) == (other == path)
    moved = str(int(expires) + later)
    assert (keys.valid_until(path, moved, signature, NOW) is not None) == (later == 0)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    changed = signature[:place] + alphabet[(alphabet.index(signature[place]) + change) % 64] + signature[place + 1 :]
    assert keys.valid_until(path, expires, changed, NOW) is None


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_text_is_a_signature(expires, signature):
    assert HrefKeys([KEY.encode()], seconds=3600).valid_until("objects/x", expires, signature, NOW) is None


@pytest.mark.parametrize("expires", ["", "0", "-1", "+1", " 1", "1.0", "1e9", "\u0661", "01", "9" * 13, "1\n", "0x1"])
def test_times_that_are_none(expires):
    keys = HrefKeys([KEY.encode()], seconds=3600)
    good = both(keys, "objects/x", NOW)
    assert keys.valid_until("objects/x", expires, good[1], 0) is None


def test_parts_cannot_be_shifted():
    keys = HrefKeys([KEY.encode()], seconds=3600)
    expires, signature = both(keys, "objects/a\n1", NOW)
    assert keys.valid_until("objects/a", f"1\n{expires}", signature, NOW) is None


def test_keys_are_changed_without_breaking_hrefs():
    old, new = b"o" * 32, b"n" * 32
    given_out = both(HrefKeys([old], seconds=3600), "objects/x", NOW)
    rotated = HrefKeys([new, old], seconds=3600)
    assert rotated.valid_until("objects/x", *given_out, NOW) is not None
    assert HrefKeys([new], seconds=3600).valid_until("objects/x", *given_out, NOW) is None
    assert HrefKeys([new], seconds=3600).valid_until("objects/x", *both(rotated, "objects/x", NOW), NOW) is not None
    assert HrefKeys([old], seconds=3600).signer(NOW).stamp != rotated.signer(NOW).stamp


@given(st.floats(1e6, 1e10), st.floats(0, 3600))
def test_within_a_window_all_is_the_same(now, later):
    signer = HrefKeys([KEY.encode()], seconds=3600).signer(now)
    after = HrefKeys([KEY.encode()], seconds=3600).signer(now + later)
    assert (signer == after) == (int(now + later) < signer.until)
    assert (signer.stamp == after.stamp) == (signer == after)


# -- over HTTP


def test_objects_need_a_signature(asked):
    href = href_of(asked)
    answer = asked.client.get(href)
    assert answer.status_code == 200
    assert re.fullmatch(r"private, max-age=\d+, immutable", answer.headers["cache-control"])
    bare, _, query = href.partition("?")
    other = href_of(asked, "/collections/dem--v1/items/height", None)
    nothing = "/objects/00/" + "0" * 64 + ".tif"
    expires, signature = (parse_qs(query)[name][0] for name in ("expires", "signature"))
    refused = [
        bare,
        f"{bare}?expires={expires}",
        f"{bare}?signature={signature}",
        f"{bare}?expires={int(expires) + 1}&signature={signature}",
        f"{bare}?expires={expires}&signature={signature[:-1]}",
        f"{bare}?expires={expires}&signature={signature}=",
        f"{bare}?{other.partition('?')[2]}",
        f"{nothing}?{query}",
        nothing,
        "/objects/zz/nonsense",
    ]
    for headers in ({}, bearer("ann"), bearer("root")):
        answers = []
        for address in refused:
            answer, calls = asked("GET", address, headers=headers)
            assert (answer.status_code, answer.json()["code"], calls) == (403, "unsigned", []), address
            answers.append(told(answer))
        # Also of an object that is there and of one that is not.
        assert len({str(each) for each in answers}) == 1


def test_a_signature_is_refused_when_given_twice_or_beside_something_else(asked):
    href = href_of(asked)
    for more in ("&expires=1", "&x=1", "&signature=x"):
        assert asked.client.get(href + more).status_code == 400


def test_heads_and_ranges(asked, hidden):
    href = href_of(asked)
    data = (hidden.folder / urlsplit(href).path[1:]).read_bytes()
    head = asked.client.head(href)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(data)))
    ranged = asked.client.get(href, headers={"Range": "bytes=10-19"})
    assert (ranged.status_code, ranged.content) == (206, data[10:20])
    assert asked.client.head(href.partition("?")[0]).status_code == 403
    again = asked.client.get(href, headers={"If-None-Match": head.headers["etag"]})
    assert again.status_code == 304
    assert asked.client.get(href, headers={"Range": "bytes=0-1", "If-Range": head.headers["etag"]}).status_code == 206


def test_every_href_of_an_object_is_signed(asked):
    """In items, pages, searches, asset sets and listings: none leads to a refusal."""
    headers = bearer("ann")
    pages = [asked.client.get(path, headers=headers).json() for path in ("/search", "/collections/roads--v1/items")]
    hrefs = [a["href"] for page in pages for item in page["features"] for a in item["assets"].values()]
    posted = asked.client.post("/search", json={"collections": ["roads"]}, headers=headers).json()
    hrefs += [asset["href"] for item in posted["features"] for asset in item["assets"].values()]
    lines = asked.client.get("/collections/roads/assets", headers=headers).text.splitlines()
    hrefs += [json.loads(line)["href"] for line in lines]
    folder = asked.client.get("/files/test-catalog/roads/v2/raster/", headers=headers, follow_redirects=True)
    listing = asked.client.get(str(folder.url) + "?f=json", headers=headers).json()
    hrefs += [entry["href"] for entry in listing["entries"]]
    assert len(hrefs) > 15
    for href in hrefs:
        assert asked.client.get(href).status_code == 200, href


def test_files_need_a_right_or_a_signature(asked):
    headers = bearer("ann")
    folder = asked.client.get("/files/test-catalog/roads/v2/raster/", headers=headers, follow_redirects=True)
    entry = asked.client.get(str(folder.url) + "?f=json", headers=headers).json()["entries"][0]
    bare, _, query = entry["href"].partition("?")
    assert "?" not in folder.text[folder.text.index("<tbody>") :]  # GDAL takes what stands there for names
    signed_ = asked.client.get(entry["href"])
    assert (signed_.status_code, signed_.headers["cache-control"][:8]) == (200, "private,")
    assert asked.client.get(bare, headers=headers).status_code == 200
    # Nobody, somebody else, and a signature that was given out for another file.
    assert asked.client.get(bare).status_code == 404
    assert asked.client.get(bare, headers=bearer("bob")).status_code == 404
    other = bare.replace("r01.cover", "r02.cover")
    assert asked.client.get(f"{other}?{query}").status_code == 403
    assert asked.client.get(f"{bare}?{query}x").status_code == 403
    assert asked.client.get(f"{bare}?expires=1").status_code == 403
    # A signature opens its file, not its folder.
    assert asked.client.get(f"{bare.rpartition('/')[0]}/?{query}").status_code == 400
    # What is public needs neither.
    public = asked.client.get("/files/test-catalog/dem/v1/raster/height.cover.tif", follow_redirects=True)
    assert public.status_code == 200
    assert public.headers["cache-control"].startswith("private")


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The time that whatever is made now goes by."""
    made = Clock()
    monkeypatch.setattr(api.access.admission.Desk.__init__, "__kwdefaults__", {"proxied": False, "clock": made})
    return made


def test_documents_stay_the_same_within_a_window_and_are_asked_for_again_after_it(hidden, clock):
    seconds = 3600
    clock.now = NOW - NOW % seconds + 100
    asked = Asked(str(hidden.folder), access(hidden.folder, hrefs={"keys": [{"value": KEY}], "seconds": seconds}))
    paths = ["/collections/dem--v1/items/height", "/collections/dem--v1/items", "/collections/dem--v1/assets"]
    paths += ["/search?collections=dem--v1", "/search", "/collections/dem/items/height/versions/v1"]
    folder = asked.client.get("/files/test-catalog/dem/v1/raster/?f=json").headers["location"]
    paths.append(folder)
    for path in paths:
        clock.now = NOW - NOW % seconds + 100
        first = asked.client.get(path)
        assert first.status_code == 200
        match = re.search(r"max-age=(\d+)", first.headers["cache-control"])
        assert match is None or int(match[1]) == seconds - 100, path
        clock.now += seconds - 101
        same = asked.client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert same.status_code == 304, path
        assert "max-age=1," in same.headers["cache-control"] or match is None, path
        assert asked.client.get(path).content == first.content
        clock.now += 1
        later = asked.client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert later.status_code == 200, path
        assert later.headers["etag"] != first.headers["etag"]
        assert later.content != first.content


def test_an_href_expires(hidden, clock):
    hrefs = {"keys": [{"value": KEY}], "seconds": 3600}
    asked = Asked(str(hidden.folder), access(hidden.folder, hrefs=hrefs))
    href = href_of(asked)
    expires = int(parse_qs(urlsplit(href).query)["expires"][0])
    clock.now = expires - 10
    assert asked.client.get(href).headers["cache-control"] == "private, max-age=10, immutable"
    clock.now = expires
    assert asked.client.get(href).status_code == 403


def test_what_is_the_same_for_ever_is_kept_no_longer_than_its_hrefs(asked):
    longest = 0
    for path in ("/collections/dem--v1/items/height", "/collections/dem/diff?from=v1&to=v1", "/collections/dem--v1"):
        for value in re.findall(r"max-age=(\d+)", asked.client.get(path).headers["cache-control"]):
            longest = max(longest, int(value))
    assert 0 < longest <= WEEK


def test_behind_a_proxy_that_adds_a_path(hidden):
    asked = Asked(str(hidden.folder), access(hidden.folder), public_url="https://geo.example/stac")
    href = href_of(asked)
    assert href.startswith("https://geo.example/stac/objects/")
    parts = urlsplit(href)
    for path in (parts.path, parts.path.removeprefix("/stac")):  # kept by the proxy, or taken away
        assert asked.client.get(f"{path}?{parts.query}").status_code == 200
    assert asked.client.get(parts.path).status_code == 403


@pytest.mark.parametrize("name", ["local", "memory"])
def test_presigning_needs_a_store_that_can(hidden, name):
    where = str(hidden.folder) if name == "local" else "memory://"
    if name == "memory":
        Catalog.create(where)
    with pytest.raises(InvalidInput, match="presign"):
        Asked(str(hidden.folder), access(hidden.folder, hrefs={"keys": [{"value": KEY}], "presign": True}))


# -- with GDAL


def test_gdal_reads_signed_hrefs_and_files_with_a_token(own_site, server_of, tmp_path):
    settings = access(tmp_path, public=[])
    headers = tmp_path / "headers.txt"
    headers.write_text(f"Authorization: {bearer('bob')['Authorization']}\n")
    with server_of(own_site.folder, access=settings) as server:
        item = httpx.get(f"{server.url}/collections/landcover--v1/items/t03", headers=bearer("bob")).json()
        href = item["assets"]["cover"]["href"]
        options = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
        with rasterio.Env(**options), rasterio.open(f"/vsicurl/{href}") as source:
            assert np.array_equal(source.read(1)[200:210, 100:110], np.full((10, 10), 3))
        bare = href.partition("?")[0]
        with rasterio.Env(**options), pytest.raises(rasterio.errors.RasterioIOError):
            rasterio.open(f"/vsicurl/{bare}")
        file = f"{server.url}/files/test-catalog/landcover/v1/raster/t03.cover.tif"
        with rasterio.Env(**options, GDAL_HTTP_HEADER_FILE=str(headers)), rasterio.open(f"/vsicurl/{file}") as source:
            assert source.read(1)[0, 0] == 255
        with rasterio.Env(**options), pytest.raises(rasterio.errors.RasterioIOError):
            rasterio.open(f"/vsicurl/{file}?x")
