"""The exact asset set: the same rows in both forms, by parameter and by Accept, in bounded pieces."""

from __future__ import annotations

import io
import json

import pyarrow.parquet as pq
import pytest

from api.asset_sets import asset_blocks
from api.urls import Urls
from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.version import Version

PARQUET, NDJSON = "application/vnd.apache.parquet", "application/x-ndjson"
PATH = "/collections/landcover--v2/assets"


def rows(answer) -> list[dict]:
    assert answer.status_code == 200, answer.text
    return pq.read_table(io.BytesIO(answer.content)).to_pylist()


def lines(answer) -> list[dict]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_both_forms_say_the_same(client, site):
    found = rows(client.get(f"{PATH}?f=parquet"))
    told = lines(client.get(f"{PATH}?f=ndjson"))
    names = {"file_checksum": "file:checksum", "size": "file:size"}
    assert [{names.get(name, name): value for name, value in row.items()} for row in found] == told
    wanted = [
        (item, each.key, f"http://api.test/{each.href}", each.sha256.hex(), each.size)
        for item, each in site.catalog.resolve("landcover@v2").assets()
    ]
    assert [(row["item"], row["key"], row["href"], row["sha256"], row["file:size"]) for row in told] == wanted


@pytest.mark.parametrize(
    ("asked", "accept", "form"),
    [
        ("", None, NDJSON),
        ("", "*/*", NDJSON),
        ("", PARQUET, PARQUET),
        ("", f"{PARQUET}, {NDJSON};q=0.5", PARQUET),
        ("", f"{PARQUET};q=0.5, {NDJSON}", NDJSON),
        ("", f"{PARQUET};q=0.5, */*;q=0.1", PARQUET),
        ("", f"{PARQUET};q=0, */*", NDJSON),
        ("", f"{NDJSON};q=0, application/*", PARQUET),
        ("", "text/html", NDJSON),
        ("", f"{PARQUET};q=nonsense", NDJSON),
        ("", ",;,;q=;", NDJSON),
        ("?f=parquet", NDJSON, PARQUET),
        ("?f=ndjson", PARQUET, NDJSON),
    ],
)
def test_the_parameter_wins_over_accept(client, asked, accept, form):
    headers = {} if accept is None else {"Accept": accept}
    answer = client.get(PATH + asked, headers=headers)
    assert answer.headers["content-type"] == form
    assert ("Accept" in [each.strip() for each in answer.headers.get("vary", "").split(",")]) == (not asked)
    assert rows(answer) if form == PARQUET else lines(answer)


def test_each_form_has_an_etag_of_its_own(client):
    tags = {}
    for form in ("parquet", "ndjson"):
        answer = client.get(f"{PATH}?f={form}", headers={"Accept-Encoding": "identity"})
        head = client.head(f"{PATH}?f={form}", headers={"Accept-Encoding": "identity"})
        assert answer.headers["cache-control"].endswith("immutable")
        assert head.content == b""
        assert head.headers.get("content-length") == answer.headers.get("content-length")
        for name in ("etag", "content-type", "cache-control"):
            assert head.headers[name] == answer.headers[name]
        tags[form] = answer.headers["etag"]
        assert client.get(f"{PATH}?f={form}", headers={"If-None-Match": tags[form]}).status_code == 304
    assert client.get(f"{PATH}?f=ndjson", headers={"If-None-Match": tags["parquet"]}).status_code == 200
    assert client.get(PATH, headers={"Accept": PARQUET, "If-None-Match": tags["parquet"]}).status_code == 304
    assert len(set(tags.values())) == 2


def test_parquet_is_not_compressed_again(client):
    for path, headers in ((f"{PATH}?f=parquet", {}), (PATH, {"Accept": PARQUET})):
        answer = client.get(path, headers={**headers, "Accept-Encoding": "br, gzip"})
        assert "content-encoding" not in answer.headers
        assert answer.content.startswith(b"PAR1")


def test_gzip_has_an_etag_of_its_own(client):
    plain = client.get(PATH, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    for accepted in ("gzip", "deflate, gzip;q=0.5", "GZIP, br"):
        answer = client.get(PATH, headers={"Accept-Encoding": accepted})
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.content == plain.content
        assert answer.headers["etag"] == f'{plain.headers["etag"][:-1]}-gzip"'
        assert {each.strip() for each in answer.headers["vary"].split(",")} >= {"Accept", "Accept-Encoding"}
        head = client.head(PATH, headers={"Accept-Encoding": accepted})
        assert (head.headers["etag"], head.headers["content-encoding"]) == (answer.headers["etag"], "gzip")
        again = client.get(PATH, headers={"Accept-Encoding": accepted, "If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
    for refused in ("gzip;q=0", "br", ""):
        assert "content-encoding" not in client.get(PATH, headers={"Accept-Encoding": refused}).headers


def test_another_name_says_where_the_form_always_is(client):
    answer = client.get("/collections/landcover/assets?version=stable&f=parquet")
    assert answer.headers["content-location"] == f"http://api.test{PATH}?f=parquet"
    assert rows(client.get(answer.headers["content-location"])) == rows(answer)


@pytest.mark.parametrize("query", ["f=csv", "f=", "f=parquet&f=ndjson", "format=parquet", "f=PARQUET"])
def test_other_forms_are_refused(client, query):
    assert client.get(f"{PATH}?{query}").status_code == 400


def item(name: str, assets: dict[str, str]) -> dict:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "geometry": None,
        "properties": {"datetime": "2024-01-01T00:00:00Z"},
        "assets": {
            key: {"href": href, "file:checksum": "1220" + "ab" * 32, "file:size": 7} for key, href in assets.items()
        },
    }


def test_names_that_json_must_escape(tmp_path, client_of):
    catalog = Catalog.create(str(tmp_path / "odd"))
    odd = {
        'a"b': "https://x.example/1",
        "back\\slash": "https://x.example/ü",
        "line\nbreak\t\x01": "s3://b/\"q'",
        "é": "https://x/%22",
    }
    commit(
        catalog.dataset("odd"),
        items=[item("a", odd), item("b", {}), item("c", {"k": "https://y/2"})],
        message="",
        author="t",
    )
    client = client_of(catalog)
    told = lines(client.get("/collections/odd--v1/assets"))
    assert [(each["item"], each["key"], each["href"]) for each in told] == [
        *(("a", key, odd[key]) for key in sorted(odd, key=str.encode)),
        ("c", "k", "https://y/2"),
    ]
    assert [(row["key"], row["href"]) for row in rows(client.get("/collections/odd--v1/assets?f=parquet"))] == [
        (each["key"], each["href"]) for each in told
    ]


def test_a_version_without_assets(tmp_path, client_of):
    catalog = Catalog.create(str(tmp_path / "none"))
    commit(catalog.dataset("none"), items=[item("a", {})], message="", author="t")
    commit(catalog.dataset("none"), remove=["a"], message="", author="t")
    client = client_of(catalog)
    for number in (1, 2):
        assert client.get(f"/collections/none--v{number}/assets").content == b""
        assert rows(client.get(f"/collections/none--v{number}/assets?f=parquet")) == []


def test_it_comes_in_pieces(tmp_path, monkeypatch):
    """A piece is a chunk of items, or a row group: what is held of a million items is no more than that."""
    catalog = Catalog.create(str(tmp_path / "many"))
    assets = {f"k{number:02d}": "https://x.example/a.tif" for number in range(40)}
    items = [item(f"i{n:05d}", assets) for n in range(5_000)]
    version = commit(catalog.dataset("many"), items=items, message="", author="t").version
    read = []
    table = Version.table
    monkeypatch.setattr(Version, "table", lambda self, *args: read.append(1) or table(self, *args))
    urls = Urls("http://api.test")
    texts = asset_blocks(version, urls, "ndjson")
    first = next(texts)
    assert len(read) == 1
    texts = [first, *texts]
    assert len(texts) == len(version.chunks) > 2
    assert sum(text.count(b"\n") for text in texts) == 200_000
    read.clear()
    blocks = asset_blocks(version, urls, "parquet")
    first = next(blocks)
    assert len(read) < len(version.chunks)
    blocks = [first, *blocks]
    metadata = pq.ParquetFile(io.BytesIO(b"".join(blocks))).metadata
    groups = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    assert sum(groups) == 200_000
    assert max(groups) < 65_536 + 40 * 4_096
    assert 1 < len(groups) <= len(blocks) <= len(groups) + 1
