from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pystac
import pytest
from loader_servers import serving
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from test_folder_layout import HOSTILE

from catalog.query import Query
from loaders import open as open_pin
from loaders import read_lock, verify_folder
from loaders.pull import proven_blocks, windowed
from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.digests import multihash, sha256
from versioning.errors import Conflict, Integrity, InvalidInput, NotFound, StorageUnavailable

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = {("red", ".tif"), ("nir", ".tif"), ("notes", ".txt")}


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def visible(folder: Path) -> set[str]:
    return {path for path in tree(folder) if not path.startswith(".stacpin/")}


def leftovers(folder: Path) -> list[Path]:
    return list((folder / ".stacpin" / "parts").iterdir())


def make_objects(root: Path, count: int, size: int) -> Catalog:
    catalog = Catalog.create(str(root))
    items = []
    for number in range(count):
        data = hashlib.sha256(str(number).encode()).digest() * (size // 32)
        ref = catalog.objects.put_bytes(data, ".bin")
        items.append(
            {
                "type": "Feature",
                "stac_version": "1.1.0",
                "id": f"i{number:04}",
                "geometry": None,
                "properties": {"datetime": "2024-01-01T00:00:00Z"},
                "assets": {"data": {"href": ref.href, "file:checksum": ref.checksum, "file:size": ref.size}},
            }
        )
    commit(catalog.dataset("many"), items=items, message="m", author="a")
    return catalog


class TestWhatIsPulled:
    def test_the_whole_version(self, place, fields_template, tmp_path):
        pin = open_pin(place, "fields@v2")
        report = pin.pull(tmp_path / "out")
        for (item, key), source in fields_template.files.items():
            assert (tmp_path / "out" / item / f"{key}{source.suffix}").read_bytes() == source.read_bytes()
        wanted = {f"{item}/{key}{ext}" for item in ("r0c0", "r0c1", "r1c1") for key, ext in NAMES}
        documents = {"stacpin.lock", "collection.json", *(f"{item}/item.json" for item in ("r0c0", "r0c1", "r1c1"))}
        assert visible(tmp_path / "out") == wanted | documents
        assert (report.items, report.files, report.fetched, report.kept, report.replaced) == (3, 9, 9, 0, 0)
        assert report.bytes == report.fetched_bytes == pin.facts.statistics.bytes
        assert report.whole
        assert leftovers(tmp_path / "out") == []

    def test_a_catalog_s_parts_are_proven_too(self, fields_template, tmp_path):
        report = open_pin(fields_template.url, "fields").pull(tmp_path, datetime="2024")
        assert (report.whole, report.proven) == (False, True)

    def test_some_assets_of_all_items_are_not_the_whole(self, place, tmp_path):
        report = open_pin(place, "fields@v2").pull(tmp_path, asset=["red"])
        assert (report.items, report.whole, report.proven) == (3, False, True)
        found = verify_folder(tmp_path)
        assert (found.ok, found.whole, found.proven) == (True, False, True)

    def test_pystac_reads_the_folder(self, place, tmp_path):
        open_pin(place, "fields@v2").pull(tmp_path)
        collection = pystac.Collection.from_file(str(tmp_path / "collection.json"))
        assert collection.id == "fields--v2"
        items = list(collection.get_items())
        assert [item.id for item in items] == ["r0c0", "r0c1", "r1c1"]
        for item in items:
            for key, asset in item.assets.items():
                data = Path(asset.get_absolute_href()).read_bytes()
                assert multihash(sha256(data)) == asset.extra_fields["file:checksum"], key
        assert {link.rel for link in collection.links} == {"root", "self", "license", "item"}

    def test_the_lock_file_leads_back(self, place, tmp_path):
        pin = open_pin(place, "fields@stable")
        pin.pull(tmp_path)
        assert read_lock(tmp_path / "stacpin.lock") == [pin.lock()]
        assert open_pin(tmp_path).pin == "fields@v1"

    def test_a_part_of_the_items_and_assets(self, place, tmp_path):
        pin = open_pin(place, "fields@v2")
        report = pin.pull(tmp_path, asset=["red"], datetime="2023")
        assert visible(tmp_path) == {
            *("stacpin.lock", "collection.json", "r0c0/item.json", "r0c0/red.tif", "r0c1/item.json", "r0c1/red.tif")
        }
        assert not report.whole
        assert list(pystac.Item.from_file(str(tmp_path / "r0c0" / "item.json")).assets) == ["red"]
        assert pin.verify(tmp_path).ok

    def test_nothing_found_is_an_empty_folder(self, place, tmp_path):
        report = open_pin(place, "fields").pull(tmp_path, datetime="1999")
        assert (report.items, report.files) == (0, 0)
        assert verify_folder(tmp_path).ok

    def test_two_machines_get_the_same_folder(self, fields_template, tmp_path):
        shutil.copytree(fields_template.root, tmp_path / "moved")
        open_pin(fields_template.url, "fields").pull(tmp_path / "a")
        open_pin(tmp_path / "moved", "fields").pull(tmp_path / "b", workers=1)
        names = {"stacpin.lock", ".stacpin/pull.json"}  # they name the catalog
        one, two = tree(tmp_path / "a"), tree(tmp_path / "b")
        assert {name: data for name, data in one.items() if name not in names} == {
            name: data for name, data in two.items() if name not in names
        }

    def test_progress_ends_at_the_total(self, place, tmp_path):
        events = []
        report = open_pin(place, "fields").pull(tmp_path, on_event=events.append)
        assert {event.total for event in events} == {report.bytes}
        done = [event.done for event in events]
        assert done == sorted(done)
        assert done[-1] == report.bytes

    def test_hostile_asset_keys_stay_in_the_folder(self, tmp_path):
        catalog = Catalog.create(str(tmp_path / "catalog"))
        keys = [key for key in HOSTILE if key != "\ud7ff"]
        assets = {}
        for key in keys:
            ref = catalog.objects.put_bytes(key.encode(), ".txt")
            assets[key] = {"href": ref.href, "file:checksum": ref.checksum, "file:size": ref.size}
        item = {
            "type": "Feature",
            "stac_version": "1.1.0",
            "id": "x",
            "geometry": None,
            "properties": {"datetime": "2024-01-01T00:00:00Z"},
            "assets": assets,
        }
        commit(catalog.dataset("evil"), items=[item], message="m", author="a")
        out = tmp_path / "deep" / "er" / "out"
        report = open_pin(tmp_path / "catalog", "evil").pull(out)
        assert report.files == len(keys)
        contents = sorted(data for name, data in tree(out / "x").items() if name != "item.json")
        assert contents == sorted(key.encode() for key in keys)
        assert {path.name for path in tmp_path.iterdir()} == {"catalog", "deep"}
        assert verify_folder(out).ok


class TestAgain:
    def test_what_is_there_and_right_is_kept(self, place, tmp_path):
        pin = open_pin(place, "fields@v2")
        pin.pull(tmp_path)
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if ".stacpin" not in path.parts}
        report = pin.pull(tmp_path)
        assert (report.fetched, report.fetched_bytes, report.kept) == (0, 0, 9)
        del before[tmp_path / "stacpin.lock"]
        assert {path: path.stat().st_mtime_ns for path in before} == before

    def test_only_what_is_missing_or_wrong_is_brought(self, place, tmp_path, damage):
        pin = open_pin(place, "fields@v2")
        pin.pull(tmp_path)
        (tmp_path / "r0c0" / "red.tif").unlink()
        damage(tmp_path / "r0c1" / "nir.tif")
        with (tmp_path / "r1c1" / "red.tif").open("r+b") as file:
            file.truncate(100)
        report = pin.pull(tmp_path)
        assert (report.fetched, report.replaced, report.kept) == (3, 2, 6)
        assert pin.verify(tmp_path).ok

    def test_the_next_version_brings_what_changed(self, place, tmp_path):
        open_pin(place, "fields@v1").pull(tmp_path)
        report = open_pin(place, "fields@v2").pull(tmp_path)
        assert (report.fetched, report.replaced, report.kept) == (4, 1, 5)
        found = open_pin(place, "fields@v2").verify(tmp_path)
        assert found.ok
        assert found.extra == ["r1c0/item.json", "r1c0/nir.tif", "r1c0/notes.txt", "r1c0/red.tif"]

    def test_a_narrower_pull_forgets_nothing(self, place, tmp_path):
        """Files of an earlier pull stay ours: replaced when another version wants them, and proven until then."""
        open_pin(place, "fields@v2").pull(tmp_path)
        narrow = open_pin(place, "fields@v1")
        narrow.pull(tmp_path, asset=["nir"])
        narrow.pull(tmp_path, asset=["nir"], ids=["r0c0"])
        report = verify_folder(tmp_path)
        assert report.ok
        assert {"r0c1/red.tif", "r1c1/item.json", "r1c1/nir.tif"} <= set(report.extra)
        whole = narrow.pull(tmp_path)
        assert (whole.replaced, whole.files) == (1, 9)
        assert narrow.verify(tmp_path).ok

    @pytest.mark.parametrize("path", ["r0c0/red.tif", "r1c1/item.json"])
    def test_what_an_earlier_pull_left_is_proven(self, fields_template, tmp_path, damage, path):
        pin = open_pin(fields_template.url, "fields@v2")
        pin.pull(tmp_path)
        pin.pull(tmp_path, asset=["nir"], ids=["r0c0"])
        damage(tmp_path / path)
        (problem,) = verify_folder(tmp_path).problems
        assert (problem.path, problem.kind) == (path, "altered")
        assert "an earlier pull brought it" in problem.detail
        (tmp_path / path).unlink()  # it is not of the last pull: it may be deleted
        assert verify_folder(tmp_path).ok

    @pytest.mark.parametrize(
        "data", [b"\0", b"{}", b'{"path": "../x", "sha256": "%s", "size": 1}' % (b"0" * 64), b'{"path": 1}', b"[1]"]
    )
    def test_a_damaged_list_of_what_is_left(self, fields_template, tmp_path, data):
        pin = open_pin(fields_template.url, "fields@v2")
        pin.pull(tmp_path)
        pin.pull(tmp_path, ids=["r0c0"])
        (tmp_path / ".stacpin" / "former.ndjson").write_bytes(data)
        assert [each.path for each in verify_folder(tmp_path).problems] == [".stacpin/former.ndjson"]
        assert pin.pull(tmp_path).replaced == 0  # what is right is taken for ours all the same

    def test_files_of_the_user_are_never_replaced(self, place, tmp_path):
        pin = open_pin(place, "fields@v2")
        (tmp_path / "r0c1").mkdir()
        mine = tmp_path / "r0c1" / "red.tif"
        mine.write_bytes(b"mine")
        for _ in range(2):  # the second time it must not think that the first one made it
            with pytest.raises(Conflict, match=r"r0c1/red\.tif is there, and no pull has made it"):
                pin.pull(tmp_path)
        assert mine.read_bytes() == b"mine"
        assert visible(tmp_path) == {"r0c1/red.tif"}

    @pytest.mark.parametrize("name", ["stacpin.lock", "collection.json"])
    def test_a_lock_file_of_the_user_is_never_replaced(self, place, tmp_path, name):
        (tmp_path / name).write_text("mine")
        with pytest.raises(Conflict, match=name):
            open_pin(place, "fields@v2").pull(tmp_path)
        assert (tmp_path / name).read_text() == "mine"

    def test_other_files_stay_and_are_reported(self, place, tmp_path):
        (tmp_path / "notes").mkdir()
        (tmp_path / "notes" / "mine.md").write_text("mine")
        pin = open_pin(place, "fields@v2")
        pin.pull(tmp_path)
        report = pin.verify(tmp_path)
        assert report.ok
        assert report.extra == ["notes/mine.md"]
        pin.pull(tmp_path)
        assert (tmp_path / "notes" / "mine.md").read_text() == "mine"

    def test_a_link_does_not_lead_out_of_the_folder(self, place, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "r0c0").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(InvalidInput, match="leads out of"):
            open_pin(place, "fields@v2").pull(tmp_path / "out")
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_a_second_pull_at_the_same_time_is_refused(self, place, tmp_path):
        pin = open_pin(place, "fields@v2")
        refused = []

        def again(event):
            if not refused:
                with pytest.raises(Conflict, match="Another process") as caught:
                    pin.pull(tmp_path)
                refused.append(caught)

        pin.pull(tmp_path, on_event=again)
        assert refused

    def test_a_file_is_no_folder(self, place, tmp_path):
        (tmp_path / "x").write_text("x")
        with pytest.raises(InvalidInput, match="is a file"):
            open_pin(place, "fields").pull(tmp_path / "x")


class TestDamage:
    @pytest.mark.parametrize("how", ["altered", "truncated", "missing"])
    def test_a_damaged_object_is_named_and_the_others_stay(self, fields, own_place, tmp_path, damage, how):
        broken = fields.object_of("r0c1", "red")
        if how == "altered":
            damage(broken)
        elif how == "truncated":
            broken.write_bytes(broken.read_bytes()[:1000])
        else:
            broken.unlink()
        out = tmp_path / "out"
        pin = open_pin(own_place, "fields@v2")
        with pytest.raises(Integrity, match=rf"1 of the files .*{broken.stem}.*r0c1/red\.tif") as caught:
            pin.pull(out)
        assert caught.value.kind == how
        assert not (out / "r0c1" / "red.tif").exists()
        assert leftovers(out) == []
        there = {path for path in visible(out) if not path.endswith(".json")}
        assert len(there) == 8
        report = verify_folder(out)
        assert {(problem.path, problem.kind) for problem in report.problems} >= {("r0c1/red.tif", "missing")}

        shutil.copyfile(fields.files["r0c1", "red"], broken)
        again = pin.pull(out)
        assert (again.fetched, again.kept) == (1, 8)
        assert pin.verify(out).ok

    def test_a_wrong_file_does_not_stay_when_it_cannot_be_mended(self, fields, tmp_path, damage):
        pin = open_pin(fields.url, "fields@v2")
        pin.pull(tmp_path / "out")
        damage(tmp_path / "out" / "r0c0" / "red.tif")
        fields.object_of("r0c0", "red").unlink()
        with pytest.raises(Integrity, match="missing"):
            pin.pull(tmp_path / "out")
        assert not (tmp_path / "out" / "r0c0" / "red.tif").exists()

    def test_a_damaged_manifest_brings_nothing(self, fields, tmp_path, damage):
        for path in (fields.root / "datasets" / "fields" / "manifests").iterdir():
            damage(path)
        with pytest.raises(Integrity):
            open_pin(fields.url, "fields@v2").pull(tmp_path / "out")
        assert visible(tmp_path / "out") == set()

    def test_an_object_that_is_longer_stops_at_once(self, fields):
        pin = open_pin(fields.url, "fields@v2")
        row = next(iter(pin.source.rows(Query())))
        broken = fields.root / row.assets[0].href
        broken.write_bytes(b"\0" * 50_000_000)
        blocks = proven_blocks(pin.source, row.assets[0], "x")
        with pytest.raises(Integrity, match="longer than"):
            next(blocks)


class TestBadConnections:
    @pytest.fixture
    def cutting(self, api_url):
        """A server before the real API whose answers for objects end after the first half, as often as it says."""
        import httpx

        cuts = {"left": 0}

        async def forward(request):
            async with httpx.AsyncClient(verify=False) as client:
                answer = await client.request(
                    request.method,
                    f"{api_url}{request.url.path}",
                    params=dict(request.query_params),
                    content=await request.body(),
                    headers={"Content-Type": "application/json"},
                )
            body = answer.content.replace(api_url.encode(), str(request.base_url).rstrip("/").encode())
            if "/objects/" not in request.url.path:
                return Response(body, answer.status_code, media_type=answer.headers["Content-Type"])
            cut, cuts["left"] = cuts["left"] > 0, max(0, cuts["left"] - 1)

            async def blocks():
                yield answer.content[: len(answer.content) // (2 if cut else 1)]

            return StreamingResponse(blocks(), headers={"Content-Length": str(len(answer.content))})

        app = Starlette(routes=[Route("/{path:path}", forward, methods=["GET", "POST"])])
        with serving(app, log_level="critical") as base:
            yield base, cuts

    def test_an_answer_that_is_cut_off_is_asked_for_again(self, cutting, tmp_path):
        base, cuts = cutting
        pin = open_pin(base, "fields@v2")
        cuts["left"] = 2
        report = pin.pull(tmp_path, workers=1)
        assert cuts["left"] == 0
        assert report.fetched == 9
        assert pin.verify(tmp_path).ok

    def test_a_server_that_always_cuts_is_unavailable_and_leaves_nothing_half(self, cutting, tmp_path):
        base, cuts = cutting
        pin = open_pin(base, "fields@v2")
        cuts["left"] = 1000
        with pytest.raises(StorageUnavailable, match="did not answer"):
            pin.pull(tmp_path, workers=1)
        assert visible(tmp_path) == set()
        assert leftovers(tmp_path) == []
        cuts["left"] = 0
        assert pin.pull(tmp_path).fetched == 9


class TestKilled:
    def test_the_next_pull_brings_only_what_is_missing(self, tmp_path):
        catalog, out = tmp_path / "catalog", tmp_path / "out"
        make_objects(catalog, 60, 200_000)
        program = (
            "import sys, time; from loaders import open as open_pin\n"
            "def slowly(event):\n"
            "    time.sleep(0.02); print(event.done, flush=True)\n"
            f"open_pin({str(catalog)!r}, 'many').pull({str(out)!r}, workers=2, on_event=slowly)\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, env=os.environ
        )
        assert process.stdout is not None
        for _ in range(12):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        process.stdout.close()
        # What a kill in the middle of a write leaves behind.
        (out / ".stacpin" / "parts" / "dead").write_bytes(b"half")

        whole = {path.parent.name for path in out.rglob("data.bin")}
        assert 0 < len(whole) < 60
        for path in out.rglob("data.bin"):
            assert path.stat().st_size == 200_000
        killed = verify_folder(out)
        assert not killed.ok
        assert {problem.kind for problem in killed.problems} == {"missing"}

        pin = open_pin(catalog, "many")
        report = pin.pull(out)
        assert (report.kept, report.fetched) == (len(whole), 60 - len(whole))
        assert pin.verify(out).ok
        assert leftovers(out) == []


class TestVerifyFolder:
    @pytest.fixture
    def pulled(self, fields_template, tmp_path):
        open_pin(fields_template.url, "fields@v2").pull(tmp_path / "out")
        return tmp_path / "out"

    def test_all_is_well_without_the_catalog(self, pulled):
        report = verify_folder(pulled)
        assert report.ok
        assert (report.items, report.files, report.extra, report.proven) == (3, 9, [], True)
        assert orjson.dumps(report.to_dict())

    def test_everything_that_is_wrong_is_told_apart(self, pulled, damage):
        damage(pulled / "r0c0" / "red.tif")
        (pulled / "r0c0" / "nir.tif").write_bytes(b"II")
        (pulled / "r0c1" / "notes.txt").unlink()
        (pulled / "r0c1" / "item.json").write_text("{}")
        (pulled / "r1c1" / "red.tif.aux.xml").write_text("<x/>")
        with (pulled / "r1c1" / "red.tif").open("ab") as file:
            file.write(b"\0")
        report = verify_folder(pulled)
        assert {problem.path: problem.kind for problem in report.problems} == {
            "r0c0/red.tif": "altered",
            "r0c0/nir.tif": "truncated",
            "r0c1/notes.txt": "missing",
            "r0c1/item.json": "altered",
            "r1c1/red.tif": "altered",
        }
        assert report.extra == ["r1c1/red.tif.aux.xml"]

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: text.replace("fields@v2", "fields@v1"),
            lambda text: text.replace('digest = "sha256:', 'digest = "sha256:00')[:-2],
            lambda text: "x",
        ],
    )
    def test_a_changed_lock_file(self, pulled, change):
        lock = pulled / "stacpin.lock"
        lock.write_text(change(lock.read_text()))
        assert [problem.path for problem in verify_folder(pulled).problems] == ["stacpin.lock"]

    def test_a_forged_list_of_items_does_not_add_up(self, pulled):
        """Item, file and list changed together: only the digest can tell."""
        state = pulled / ".stacpin" / "items.ndjson"
        evil = b"EVIL NOTES 0\n"
        (pulled / "r0c0" / "notes.txt").write_bytes(evil)
        lines = [orjson.loads(line) for line in state.read_bytes().splitlines()]
        digest = sha256(evil)
        lines[0]["assets"]["notes"] |= {
            "href": f"objects/{digest.hex()[:2]}/{digest.hex()}.txt",
            "file:checksum": multihash(digest),
            "file:size": len(evil),
        }
        state.write_bytes(b"".join(orjson.dumps(line, option=orjson.OPT_SORT_KEYS) + b"\n" for line in lines))
        with pytest.raises(Integrity, match="does not add up to fields@v2"):
            verify_folder(pulled)

    @pytest.mark.parametrize("name", ["items.ndjson", "pull.json"])
    @pytest.mark.parametrize("data", [b"{", b"[]\n", b'{"id": 1}\n', b"\xff\n", b"null\n"])
    def test_damaged_notes(self, pulled, name, data):
        (pulled / ".stacpin" / name).write_bytes(data)
        with pytest.raises(Integrity, match="altered"):
            verify_folder(pulled)

    def test_damaged_notes_are_mended_by_pulling_again(self, pulled, fields_template):
        (pulled / ".stacpin" / "items.ndjson").write_bytes(b"{")
        report = open_pin(fields_template.url, "fields@v2").pull(pulled)
        assert (report.kept, report.fetched) == (9, 0)
        assert verify_folder(pulled).ok

    def test_another_version_is_told(self, pulled, fields_template):
        with pytest.raises(Integrity, match="holds fields@v2"):
            open_pin(fields_template.url, "fields@v1").verify(pulled)

    def test_a_folder_that_no_pull_has_made(self, tmp_path):
        with pytest.raises(NotFound, match="holds no pulled version"):
            verify_folder(tmp_path)


class TestWindowed:
    def test_order_is_kept_and_few_wait(self):
        drawn = []

        def things():
            for number in range(200):
                drawn.append(number)
                yield number

        results = windowed(lambda number: number * 2, things(), 2)
        assert next(results) == 0
        assert len(drawn) <= 17
        assert list(results) == [2 * number for number in range(1, 200)]

    def test_an_error_ends_it(self):
        def work(number):
            if number == 3:
                raise StorageUnavailable("gone")
            time.sleep(0.001)
            return number

        with pytest.raises(StorageUnavailable):
            list(windowed(work, range(1000), 4))
