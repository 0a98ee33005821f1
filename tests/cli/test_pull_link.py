"""stacpin pull --link: by what way files leave a catalog on the same disk."""

from __future__ import annotations

import shutil

import pytest

PIN = "rocky-mountain@v1"


@pytest.fixture
def catalog(made, tmp_path):
    """A copy: hard links make the catalog's own files read-only."""
    shutil.copytree(made / "catalog", tmp_path / "catalog")
    return tmp_path / "catalog"


def test_hard_links_are_the_catalogs_files(cli, catalog, tmp_path):
    ran = cli("-C", catalog, "pull", PIN, tmp_path / "linked", "--link", "hardlink")
    assert ": 4 fetched, 0 already there, all proven" in ran.out
    assert "4 files of the catalog itself: read-only here" in ran.err
    assert all(path.stat().st_nlink > 1 for path in (tmp_path / "linked").rglob("*.tif"))
    assert cli("verify", tmp_path / "linked").code == 0


def test_a_copy_is_a_file_of_its_own(cli, catalog, tmp_path):
    ran = cli("-C", catalog, "pull", PIN, tmp_path / "copied", "--link", "copy", "--json").json
    assert (ran["data"]["fetched"], ran["data"]["linked"]) == (4, 0)
    assert all(path.stat().st_nlink == 1 for path in (tmp_path / "copied").rglob("*.tif"))


def test_any_other_way_is_a_mistake_in_the_command(cli, catalog, tmp_path):
    ran = cli("-C", catalog, "pull", PIN, tmp_path / "out", "--link", "symlink")
    assert ran.code == 2
    assert "hardlink" in ran.err
