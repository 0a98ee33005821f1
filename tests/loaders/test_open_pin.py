from __future__ import annotations

import copy
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import orjson
import pystac
import pytest
from loader_servers import api_of, serving
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from catalog.query import Query
from loaders import open as open_pin
from loaders.notebook import pin_html, size_text
from loaders.source import PinFacts
from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.errors import Expired, Forbidden, Integrity, InvalidInput, NotFound, StorageUnavailable
from versioning.records import ExpiryRecord, Statistics


class TestWhatItIs:
    @pytest.mark.parametrize(
        ("asked", "number"),
        [
            ("fields", 2),
            ("fields@latest", 2),
            ("fields@v1", 1),
            ("fields@1", 1),
            ("fields--v1", 1),
            ("fields@stable", 1),
            ("fields@v1.0.0", 1),
        ],
    )
    def test_every_form_of_pin(self, place, asked, number):
        pin = open_pin(place, asked)
        assert (pin.pin, pin.number, pin.dataset, pin.asked) == (f"fields@v{number}", number, "fields", asked)

    def test_by_digest_and_by_date(self, place, fields_template):
        digest = fields_template.catalog.resolve("fields@v1").digest
        assert open_pin(place, f"fields@{digest}").number == 1
        assert open_pin(place, f"fields@{digest[:19]}").digest == digest
        moment = fields_template.catalog.dataset("fields").record(2).time
        assert open_pin(place, f"fields@{{{moment}}}").number == 2

    def test_a_bare_name_says_what_it_resolved_to(self, place):
        assert "fields@v2, asked for as fields" in repr(open_pin(place, "fields"))
        assert "asked" not in repr(open_pin(place, "fields@v2"))

    def test_both_sources_say_the_same(self, fields_template, api_url):
        one, two = open_pin(fields_template.url, "fields").lineage(), open_pin(api_url, "fields").lineage()
        for key in (
            "pin",
            "catalog_id",
            "digest",
            "content_digest",
            "items",
            "assets",
            "bytes",
            "committed",
            "author",
            "message",
        ):
            assert one[key] == two[key], key
        assert (one["catalog"], two["catalog"]) == (fields_template.url, api_url)
        assert one["read_by"]["python"]
        assert orjson.loads(orjson.dumps(one)) == one

    def test_a_pin_stays_when_the_dataset_moves_on(self, fields, own_place):
        pin = open_pin(own_place, "fields")
        before = [item.to_dict() for item in pin.items()]
        commit(fields.catalog.dataset("fields"), items=[], whole=True, message="All gone", author="Eve")
        assert [item.to_dict() for item in pin.items()] == before
        assert open_pin(own_place, "fields").number == 3
        assert list(open_pin(own_place, "fields").items()) == []

    @pytest.mark.parametrize(
        ("asked", "error", "told"),
        [
            ("fields@v9", NotFound, "fields@v9 does not exist; versions: v1 v2"),
            ("fields@nightly", NotFound, "does not exist"),
            ("water", NotFound, "water"),
            ("Fields@v1", InvalidInput, "not a pin"),
            ("fields@{2999-01-01}", InvalidInput, "not over yet"),
            ("../x", InvalidInput, "not a pin"),
        ],
    )
    def test_what_does_not_exist(self, place, asked, error, told):
        with pytest.raises(error, match=told):
            open_pin(place, asked)

    def test_an_expired_version_says_so(self, fields, own_place):
        pin = open_pin(own_place, "fields@v2")
        expiry = ExpiryRecord(number=1, why="too old", author="Ada", time="2026-01-01T00:00:00.000000Z", nonce="0")
        fields.catalog.store.put_record("datasets/fields/expired/00000001.json", expiry.encode())
        for asked in ("fields@v1", "fields@stable", "fields@v1.0.0"):
            with pytest.raises(Expired, match="too old"):
                open_pin(own_place, asked)
        with pytest.raises(Expired):
            pin.diff("fields@v1")
        assert open_pin(own_place, "fields").number == 2

    def test_a_pin_must_be_named(self, place):
        with pytest.raises(InvalidInput, match="Which dataset"):
            open_pin(place)


class TestItems:
    @pytest.mark.parametrize(
        ("search", "ids"),
        [
            ({}, ["r0c0", "r0c1", "r1c1"]),
            ({"datetime": "2024"}, ["r1c1"]),
            ({"datetime": "2023-05-15/2023-12-31"}, ["r0c1"]),
            ({"ids": ["r1c1", "r0c0"]}, ["r0c0", "r1c1"]),
            ({"filter": "eo:cloud_cover >= 5"}, ["r1c1"]),
            ({"filter": {"op": "<", "args": [{"property": "eo:cloud_cover"}, 5]}}, ["r0c0", "r0c1"]),
            ({"bbox": [-10, -10, 10, 10]}, []),
            ({"bbox": [-180, -90, 180, 90], "datetime": "2023-01-01T00:00:00Z/.."}, ["r0c0", "r0c1", "r1c1"]),
        ],
    )
    def test_searches(self, place, search, ids):
        pin = open_pin(place, "fields@v2")
        assert [item.id for item in pin.items(**search)] == ids

    def test_places(self, place):
        pin = open_pin(place, "fields@v2")
        west, south, east, north = pin.item("r1c1").bbox
        inner = [west + (east - west) / 2, south + (north - south) / 2]
        assert [item.id for item in pin.items(bbox=[*inner, inner[0] + 1e-4, inner[1] + 1e-4])] == ["r1c1"]
        assert [item.id for item in pin.items(intersects={"type": "Point", "coordinates": inner})] == ["r1c1"]

    def test_items_are_pystac_items_with_hrefs_that_open(self, place):
        item = open_pin(place, "fields@stable").item("r0c0")
        assert isinstance(item, pystac.Item)
        assert item.collection_id == "fields--v1"
        href = item.assets["red"].href
        assert href.startswith(("/", "http://"))
        assert "/objects/" in href
        assert item.assets["red"].extra_fields["file:checksum"].startswith("1220")

    def test_both_sources_give_the_same_items(self, fields_template, api_url):
        def plain(url):
            items = [item.to_dict() for item in open_pin(url, "fields").items()]
            for item in items:
                for asset in item["assets"].values():
                    asset["href"] = asset["href"].removeprefix(f"{url}/")
            return items

        assert plain(fields_template.url) == plain(api_url)

    def test_free_text_is_the_same_from_a_catalog_and_from_an_api(self, tmp_path):
        place = {"type": "Point", "coordinates": [0, 0]}
        rest = {"type": "Feature", "stac_version": "1.1.0", "geometry": place, "bbox": [0, 0, 0, 0], "assets": {}}
        when = {"datetime": "2024-01-01T00:00:00Z"}
        items = [
            {**rest, "id": "a", "properties": {**when, "title": "Land cover"}},
            {**rest, "id": "b", "properties": {**when, "keywords": ["forest"]}},
            {**rest, "id": "c", "properties": when},
        ]
        commit(Catalog.create(str(tmp_path / "own")).dataset("ds"), items=items, message="m", author="t")
        with api_of(str(tmp_path / "own")) as url:
            for source in (str(tmp_path / "own"), url):
                pin = open_pin(source, "ds")
                assert [item.id for item in pin.items(q="land COVER,forest")] == ["a", "b"]
                assert [item.id for item in pin.items(q="cover", filter="title IS NULL")] == []
                assert pin.assets(q="forest") == []

    def test_no_such_item(self, place):
        with pytest.raises(NotFound, match="no item 'r9'"):
            open_pin(place, "fields@v1").item("r9")

    @pytest.mark.parametrize(
        "search", [{"bbox": [1, 2, 3]}, {"datetime": "soon"}, {"filter": "a ="}, {"ids": [""]}, {"q": "%"}]
    )
    def test_a_search_that_makes_no_sense(self, place, search):
        with pytest.raises(InvalidInput):
            list(open_pin(place, "fields").items(**search))


class TestAssets:
    def test_the_exact_asset_set(self, place, fields_template):
        pin = open_pin(place, "fields@v2")
        wanted = [
            (item_id, asset.key, asset.sha256.hex(), asset.size)
            for item_id, asset in fields_template.catalog.resolve("fields@v2").assets()
        ]
        assert [(asset.item, asset.key, asset.sha256, asset.size) for asset in pin.assets()] == wanted
        assert len(wanted) == 9

    def test_some_of_them(self, place):
        pin = open_pin(place, "fields")
        found = pin.assets(asset=["red", "notes"], datetime="2024")
        assert [(asset.item, asset.key) for asset in found] == [("r1c1", "notes"), ("r1c1", "red")]
        assert [asset.key for asset in pin.assets(asset="nir")] == ["nir"] * 3
        assert found[0].checksum == f"1220{found[0].sha256}"

    def test_reading_one_proves_it(self, fields, own_place, damage):
        pin = open_pin(own_place, "fields")
        red = pin.assets(asset="red", ids="r0c1")[0]
        assert pin.read(red) == fields.files["r0c1", "red"].read_bytes()
        damage(fields.object_of("r0c1", "red"))
        with pytest.raises(Integrity, match=red.sha256):
            pin.read(red)


class TestDiff:
    def test_from_the_older_to_the_newer(self, place):
        for pin, other in (("fields@v2", "fields@v1"), ("fields@v1", "fields@v2"), ("fields@v1", "fields")):
            found = open_pin(place, pin).diff(other)
            assert [row.id for row in found.added] == ["r1c1"]
            assert [row.id for row in found.removed] == ["r1c0"]
            assert [(change.id, change.assets()) for change in found.changed] == [("r0c1", {"red": "changed"})]
            assert not found.collection

    def test_across_sources(self, fields_template, api_url):
        one, two = open_pin(fields_template.url, "fields@v1"), open_pin(api_url, "fields@v2")
        assert [change.id for change in two.diff(one).changed] == ["r0c1"]
        assert not one.diff(open_pin(api_url, "fields@v1"))


class TestVerify:
    def test_all_is_well(self, place):
        report = open_pin(place, "fields").verify()
        assert report.ok
        # The notes of r0c1 and all nir are as they were; every object is read once.
        assert (report.items, report.objects) == (3, 9)

    def test_a_damaged_object_is_named(self, fields, own_place, damage):
        broken, gone = fields.object_of("r0c0", "red"), fields.object_of("r1c1", "nir")
        damage(broken)
        gone.unlink()
        report = open_pin(own_place, "fields").verify()
        assert not report.ok
        found = {problem.path: problem.kind for problem in report.problems}
        assert found == {f"objects/{p.parent.name}/{p.name}": k for p, k in ((broken, "altered"), (gone, "missing"))}

    def test_a_manifest_whose_rows_were_replaced_consistently(self, fields):
        """A forger who renames files and rewrites the record's snapshot still cannot make other items add up."""
        root, catalog = fields.root / "datasets" / "fields", fields.catalog
        record = orjson.loads((root / "versions" / "00000002.json").read_bytes())
        first = orjson.loads((root / "versions" / "00000001.json").read_bytes())
        record["snapshot"] = first["snapshot"]
        (root / "versions" / "00000002.json").write_bytes(orjson.dumps(record))
        assert catalog.resolve("fields@v2").digest == record["digest"]
        with pytest.raises(Integrity, match="does not add up"):
            list(open_pin(fields.url, "fields@v2").items())


class TestProofOfWhatAnApiGives:
    """A server that alters answers of the real API: what it says is proven by the version's digest, or refused."""

    @pytest.fixture
    def altered(self, api_url):
        """A function: how to alter a page of items -> the address of a server that does so."""
        from contextlib import ExitStack

        import httpx

        with ExitStack() as stack:

            def serve(alter):
                base = []

                async def forward(request):
                    async with httpx.AsyncClient(verify=False) as client:  # making an SSL context takes 50 ms
                        answer = await client.request(
                            request.method,
                            f"{api_url}{request.url.path}",
                            params=dict(request.query_params),
                            content=await request.body(),
                            headers={"Content-Type": "application/json"},
                        )
                    document = orjson.loads(answer.content.replace(api_url.encode(), base[0].encode()))
                    if request.url.path.endswith(("/search", "/versions")):
                        document = alter(document)
                    if isinstance(document, tuple):
                        return JSONResponse(document[1], status_code=document[0])
                    return JSONResponse(document, status_code=answer.status_code)

                app = Starlette(routes=[Route("/{path:path}", forward, methods=["GET", "POST", "HEAD"])])
                base.append(stack.enter_context(serving(app)))
                return base[0]

            yield serve

    def test_the_truth_is_proven(self, altered):
        pin = open_pin(altered(lambda page: page), "fields")
        assert len(list(pin.items())) == 3
        assert pin.source.proves(Query())

    def test_other_declared_metadata_is_found(self, altered):
        def alter(document):
            for entry in document.get("versions", ()):
                entry["collection"]["license"] = "other"
            return document

        pin = open_pin(altered(alter), "fields")
        with pytest.raises(Integrity, match="add up to"):
            list(pin.items())

    def test_two_digests_for_one_version_are_refused(self, altered):
        def alter(document):
            for entry in document.get("versions", ()):
                entry["digest"] = "sha256:" + "0" * 64
            return document

        with pytest.raises(Integrity, match="two digests"):
            open_pin(altered(alter), "fields")

    @pytest.mark.parametrize(
        ("lie", "told"),
        [
            (lambda page: page["features"].pop(1), "add up to"),
            (lambda page: page["features"][0]["properties"].update({"eo:cloud_cover": 99}), "add up to"),
            (lambda page: page["features"].reverse(), "in order"),
            (lambda page: page["features"].append(copy.deepcopy(page["features"][-1])), "in order"),
            (lambda page: page["features"][0].update(collection="fields--v1"), "its collection is 'fields--v1'"),
            (lambda page: page["features"][0]["assets"]["red"].update({"file:size": 1}), "add up to"),
            (lambda page: page["features"][0]["assets"]["red"].update({"file:checksum": "1220" + "0" * 64}), "r0c0"),
            (lambda page: page["features"][0]["assets"]["red"].pop("href"), "r0c0"),
            (lambda page: page["features"][0].pop("geometry"), "add up to"),
            (lambda page: page["features"][0].update(id="../../etc"), "etc"),
            (lambda page: page["features"][0].pop("links"), "links"),
        ],
    )
    def test_lies_are_found(self, altered, lie, told):
        def alter(page):
            if "features" in page:
                lie(page)
            return page

        pin = open_pin(altered(alter), "fields")
        with pytest.raises(Integrity, match=told):
            list(pin.items())

    @pytest.mark.parametrize(
        ("status", "error"),
        [(400, InvalidInput), (403, Forbidden), (404, NotFound), (410, Expired), (500, StorageUnavailable)],
    )
    def test_a_refused_search_keeps_its_meaning(self, altered, status, error):
        def alter(document):
            return (status, {"code": "why", "description": "Because."}) if "features" in document else document

        with pytest.raises(error, match=r"Because\.") as caught:
            list(open_pin(altered(alter), "fields").items())
        assert caught.value.kind == "why"

    def test_a_server_that_dies_is_unavailable(self, fields):
        with api_of(fields.url) as base:
            pin = open_pin(base, "fields")
            assert len(list(pin.items())) == 3
        with pytest.raises(StorageUnavailable):
            list(pin.items())

    @pytest.mark.parametrize("answer", [{}, [], {"id": "fields--v2"}, {"pin:version": "2"}, "x"])
    def test_another_api_is_refused(self, answer):
        app = Starlette(routes=[Route("/{path:path}", lambda request: JSONResponse(answer))])
        with serving(app) as base, pytest.raises(InvalidInput, match="not a stacpin STAC API"):
            open_pin(base, "fields")

    def test_no_server_is_storage_unavailable(self):
        import socket

        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            with pytest.raises(StorageUnavailable, match="did not answer"):
                open_pin(f"http://127.0.0.1:{held.getsockname()[1]}", "fields")


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = set()
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.found.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data):
        self.text += data


class TestNotebook:
    def test_it_shows_what_matters(self, place):
        html = open_pin(place, "fields")._repr_html_()
        tags = Tags()
        tags.feed(html)
        for text in (
            "fields@v2 (asked for: fields)",
            "3 items, 9 assets",
            "Fields <of> Peru",
            "<script>alert(1)</script>",
        ):
            assert text in tags.text
        assert tags.found == {*("div", "strong", "table", "tr", "th", "td", "svg", "path", "rect", "circle")} | (
            set() if place.startswith("http") else {"br"}
        )

    def test_everything_hostile_is_escaped(self):
        evil = "<img src=x onerror=alert(1)>\"'&"
        facts = PinFacts(
            dataset="a",
            number=1,
            digest=evil,
            content_digest="",
            parent=None,
            time=evil,
            author=evil,
            message=evil,
            collection={"title": evil},
            statistics=Statistics(items=1, assets=1, bytes=5, bbox=[-1, -1, 1, 1], interval=[evil, evil]),
            catalog_id=evil,
        )
        html = pin_html(facts, url=evil, asked=evil, boxes=[(0, 0, 1, 1)])
        tags = Tags()
        tags.feed(html)
        assert "img" not in tags.found
        ET.fromstring(html)

    @pytest.mark.parametrize(
        "bbox", [None, [-180, -90, 180, 90], [5, 5, 5, 5], [179, -1, -179, 1], [0, 0], [float("inf")] * 4]
    )
    def test_every_extent(self, bbox):
        facts = PinFacts(
            "a", 1, "d", "c", None, "t", "x", "m", {}, Statistics(items=0, assets=0, bytes=0, bbox=bbox), "id"
        )
        html = pin_html(facts, url="u", asked="a@v1", boxes=[(5, 5, 5, 5), (179, -1, -179, 1)])
        ET.fromstring(html)
        assert "nan" not in html.lower()

    def test_sizes(self):
        assert [size_text(n) for n in (0, 999, 1000, 1_500_000, 10**16)] == [
            "0 B",
            "999 B",
            "1.0 kB",
            "1.5 MB",
            "10000.0 TB",
        ]


def test_a_folder_that_is_no_catalog(tmp_path):
    with pytest.raises(NotFound, match="not a stacpin catalog"):
        open_pin(tmp_path, "fields")


def test_assets_referenced_in_place(tmp_path):
    """A local catalog may mean local files; their bytes are proven all the same."""
    from versioning.digests import multihash, sha256

    outside = tmp_path / "outside dir" / "a b.bin"
    outside.parent.mkdir()
    outside.write_bytes(b"referenced")
    catalog = Catalog.create(str(tmp_path / "catalog"))
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": "x",
        "geometry": None,
        "properties": {"datetime": "2024-01-01T00:00:00Z"},
        "assets": {
            "a": {
                "href": Path(outside).as_uri(),
                "file:checksum": multihash(sha256(b"referenced")),
                "file:size": 10,
            }
        },
    }
    commit(catalog.dataset("refs"), items=[item], message="m", author="a")
    pin = open_pin(tmp_path / "catalog", "refs")
    assert pin.read(pin.assets()[0]) == b"referenced"
    pin.pull(tmp_path / "out")
    assert (tmp_path / "out" / "x" / "a.bin").read_bytes() == b"referenced"
    outside.write_bytes(b"REFERENCED")
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(Integrity, match="altered"):
        pin.pull(tmp_path / "out")


def test_a_catalog_s_path_is_told_without_detours(fields, tmp_path):
    (tmp_path / "proj").mkdir()
    pin = open_pin(tmp_path / "proj" / ".." / "catalog", "fields")
    assert pin.lineage()["catalog"] == pin.lock().catalog == str(tmp_path.resolve() / "catalog")
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "deep")
    fields.root.rename(tmp_path / "far" / "catalog")
    behind = open_pin(tmp_path / "link" / ".." / "catalog", "fields")
    assert behind.lineage()["catalog"] == str(tmp_path.resolve() / "far" / "catalog")
