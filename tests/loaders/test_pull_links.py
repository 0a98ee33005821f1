"""Pulls that share blocks with a catalog on a local disk: every byte is proven all the same."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import orjson
import pytest
from test_pull_folder import make_objects

from catalog.query import Query
from loaders import open as open_pin
from loaders import verify_folder
from loaders.drawn import drawn_row
from loaders.pull import PullReport, pull
from versioning.errors import Integrity, InvalidInput
from versioning.rows import make_row

FILES = 40


def bring(catalog: Path | str, dest: Path, **more) -> PullReport:
    return pull(open_pin(str(catalog), "many@v1").source, dest, Query(), **more)


def pulled(folder: Path) -> list[Path]:
    return sorted(folder.rglob("data.bin"))


@pytest.fixture
def catalog(tmp_path) -> Path:
    make_objects(tmp_path / "catalog", FILES, 3200)
    return tmp_path / "catalog"


@pytest.fixture
def elsewhere(tmp_path):
    """A folder on another file system, one that cannot clone."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    folder = memory / f"stacpin-{tmp_path.name}-{os.getpid()}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["btrfs", "xfs"])
def cloning(request, tmp_path):
    """A file system that can clone, made for the test; only root can mount one."""
    if os.geteuid() != 0 or shutil.which(f"mkfs.{request.param}") is None:
        pytest.skip(f"only root can mount, and mkfs.{request.param} is needed")
    image, folder = tmp_path / "image", tmp_path / "mounted"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(400 * 1024 * 1024)
    subprocess.run([f"mkfs.{request.param}", "-q", str(image)], check=True, capture_output=True)
    mounted = subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"this machine cannot mount it: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


class TestReflinks:
    @pytest.mark.parametrize("link", ["auto", "reflink"])
    def test_files_are_clones_where_the_disk_can(self, cloning, link):
        make_objects(cloning / "catalog", FILES, 320_000)
        report = bring(cloning / "catalog", cloning / "out", link=link)
        assert (report.fetched, report.linked) == (FILES, FILES)
        assert verify_folder(cloning / "out").ok
        # A clone is a file of its own: what is written to it stays in the folder.
        with pulled(cloning / "out")[0].open("r+b") as file:
            file.write(b"other")
        assert not verify_folder(cloning / "out").ok
        assert open_pin(str(cloning / "catalog"), "many@v1").verify().ok

    def test_a_damaged_object_is_not_cloned_unseen(self, cloning):
        make_objects(cloning / "catalog", FILES, 3200)
        victim = next((cloning / "catalog" / "objects").rglob("*.bin"))
        victim.write_bytes(b"x" * 3200)
        with pytest.raises(Integrity, match=victim.name):
            bring(cloning / "catalog", cloning / "out", link="reflink")
        assert len(pulled(cloning / "out")) == FILES - 1

    def test_copy_copies_all_the_same(self, cloning):
        make_objects(cloning / "catalog", 3, 3200)
        assert bring(cloning / "catalog", cloning / "out", link="copy").linked == 0

    def test_a_disk_that_cannot_says_so(self, catalog, elsewhere):
        with pytest.raises(InvalidInput, match="as a reflink") as error:
            bring(catalog, elsewhere, link="reflink")
        assert "auto" in str(error.value.hint)
        assert not pulled(elsewhere)

    def test_auto_copies_where_the_disk_cannot(self, catalog, elsewhere):
        report = bring(catalog, elsewhere)
        assert (report.fetched, report.linked) == (FILES, 0)
        assert verify_folder(elsewhere).ok


class TestHardLinks:
    def test_a_file_is_its_object_and_read_only(self, catalog, tmp_path):
        report = bring(catalog, tmp_path / "out", link="hardlink")
        assert (report.fetched, report.linked) == (FILES, FILES)
        objects = {path.stat().st_ino for path in (catalog / "objects").rglob("*.bin")}
        assert {path.stat().st_ino for path in pulled(tmp_path / "out")} == objects
        assert all(stat.S_IMODE(path.stat().st_mode) & 0o222 == 0 for path in pulled(tmp_path / "out"))
        assert verify_folder(tmp_path / "out").ok
        assert not any((tmp_path / "out" / ".stacpin" / "parts").iterdir())

    def test_a_second_pull_keeps_them(self, catalog, tmp_path):
        bring(catalog, tmp_path / "out", link="hardlink")
        again = bring(catalog, tmp_path / "out", link="hardlink")
        assert (again.kept, again.fetched) == (FILES, 0)

    def test_a_file_that_was_replaced_is_linked_again(self, catalog, tmp_path):
        bring(catalog, tmp_path / "out", link="hardlink")
        victim = pulled(tmp_path / "out")[3]
        victim.unlink()
        victim.write_bytes(b"mine now")
        again = bring(catalog, tmp_path / "out", link="hardlink")
        assert (again.kept, again.replaced, again.linked) == (FILES - 1, 1, 1)

    def test_the_catalog_goes_on_working(self, catalog, tmp_path):
        bring(catalog, tmp_path / "out", link="hardlink")
        shutil.rmtree(tmp_path / "out")
        make_objects(catalog, FILES + 1, 3200)
        assert open_pin(str(catalog), "many@v2").verify().ok

    @pytest.mark.parametrize("damage", ["altered", "truncated", "missing"])
    def test_a_damaged_object_is_not_linked(self, catalog, tmp_path, damage):
        victim = next((catalog / "objects").rglob("*.bin"))
        if damage == "missing":
            victim.unlink()
        else:
            victim.write_bytes(b"x" * (3200 if damage == "altered" else 7))
        with pytest.raises(Integrity, match=victim.name) as error:
            bring(catalog, tmp_path / "out", link="hardlink")
        assert error.value.kind == damage
        assert len(pulled(tmp_path / "out")) == FILES - 1
        assert len(list((tmp_path / "out").rglob("item.json"))) == FILES - 1

    def test_an_object_that_leads_elsewhere_is_not_linked(self, catalog, tmp_path):
        victim = next((catalog / "objects").rglob("*.bin"))
        victim.rename(tmp_path / "private")
        victim.symlink_to(tmp_path / "private")
        try:
            bring(catalog, tmp_path / "out", link="hardlink")
        except Integrity:
            assert len(pulled(tmp_path / "out")) == FILES - 1
        assert not any(path.is_symlink() for path in pulled(tmp_path / "out"))
        assert (tmp_path / "private").stat().st_nlink == 1

    def test_another_disk_is_refused(self, catalog, elsewhere):
        with pytest.raises(InvalidInput, match="as a hardlink") as error:
            bring(catalog, elsewhere, link="hardlink")
        assert error.value.kind == "no-link"
        assert not pulled(elsewhere)


def test_only_a_local_catalog_can_be_linked(own_place, fields, tmp_path):
    source = open_pin(own_place, "fields@v2").source
    if "://" in own_place:
        with pytest.raises(InvalidInput, match="local disk"):
            pull(source, tmp_path / "out", Query(), link="hardlink")
    else:
        assert pull(source, tmp_path / "out", Query(), link="hardlink").linked == len(fields.files)


ITEM = {
    "type": "Feature",
    "stac_version": "1.1.0",
    "id": "a",
    "geometry": None,
    "properties": {"datetime": "2024-01-01T00:00:00Z"},
    "assets": {
        key: {"href": href, "file:checksum": "1220" + "ab" * 32, "file:size": 7}
        for key, href in {
            "z": f"objects/ab/{'ab' * 32}",
            "a": f"objects/ab/{'ab' * 32}.tif",
            "é": "https://example.com/a b.tif".replace(" ", "%20"),
        }.items()
    },
}


class TestDrawnRows:
    """What is drawn from an item is what its row has, and what a row refuses is refused here."""

    def test_it_has_the_assets_of_the_row(self):
        row = make_row(ITEM)
        drawn = drawn_row(row.item)
        assert (drawn.id, drawn.assets, drawn.item) == (row.id, row.assets, row.item)

    @pytest.mark.parametrize(
        ("member", "value"),
        [
            ("href", "objects/../../etc/passwd"),
            ("href", f"objects/ab/{'ac' * 32}"),
            ("href", f"objects/ac/{'ab' * 32}"),
            ("href", f"objects/ab/{'ab' * 32}/../x"),
            ("href", f"objects/ab/{'ab' * 32}.TIF"),
            ("href", "/etc/passwd"),
            ("href", "s3://a b/c"),
            ("href", "://x"),
            ("href", 5),
            ("file:size", -1),
            ("file:size", True),
            ("file:size", 2**48),
            ("file:size", 1.5),
            ("file:checksum", "1220ab"),
            ("file:checksum", None),
        ],
    )
    def test_a_hostile_asset_is_refused(self, member, value):
        item = orjson.loads(orjson.dumps(ITEM))
        item["assets"]["z"][member] = value
        for refuses in (make_row, lambda each: drawn_row(orjson.dumps(each))):
            with pytest.raises(InvalidInput):
                refuses(item)

    @pytest.mark.parametrize(
        "more", [{"id": "../a"}, {"id": None}, {"assets": []}, {"assets": {"a": 1}}, {"type": "Catalog"}]
    )
    def test_a_hostile_item_is_refused(self, more):
        with pytest.raises(InvalidInput):
            drawn_row(orjson.dumps(ITEM | more))
