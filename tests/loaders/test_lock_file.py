from __future__ import annotations

import tomllib

import pytest

from loaders import LockEntry, read_lock, write_lock
from loaders import open as open_pin
from versioning.errors import Integrity, InvalidInput, NotFound

DIGEST = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32


def test_entries_come_back_sorted(tmp_path):
    entries = [LockEntry("water@v12", OTHER, "s3://acme/catalog"), LockEntry("landcover@v3", DIGEST, "https://x.org/a")]
    path = write_lock(tmp_path / "stacpin.lock", entries)
    assert read_lock(path) == sorted(entries, key=lambda entry: entry.pin)
    before = path.read_bytes()
    write_lock(path, reversed(entries))
    assert path.read_bytes() == before
    assert [name.name for name in tmp_path.iterdir()] == ["stacpin.lock"]


def test_a_catalog_below_the_lock_file_moves_with_it(tmp_path):
    first = tmp_path / "here"
    first.mkdir()
    write_lock(first / "stacpin.lock", [LockEntry("a@v1", DIGEST, str(first / "data" / "catalog"))])
    assert str(tmp_path) not in (first / "stacpin.lock").read_text()
    first.rename(tmp_path / "there")
    assert read_lock(tmp_path / "there" / "stacpin.lock")[0].catalog == str(tmp_path / "there" / "data" / "catalog")


def test_a_catalog_elsewhere_is_absolute(tmp_path):
    (tmp_path / "repo").mkdir()
    path = write_lock(tmp_path / "repo" / "x.lock", [LockEntry("a@v1", DIGEST, str(tmp_path / "catalog"))])
    assert read_lock(path)[0].catalog == str(tmp_path / "catalog")


@pytest.mark.parametrize("catalog", ['a"b', "a\\b", "a\nb", "ü/😀", "a\x7fb", "a\tb", "[[pin]]"])
def test_any_path_survives(tmp_path, catalog):
    path = write_lock(tmp_path / "stacpin.lock", [LockEntry("a@v1", DIGEST, f"s3://{catalog}")])
    assert read_lock(path)[0].catalog == f"s3://{catalog}"
    assert len(tomllib.loads(path.read_text())["pin"]) == 1


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([LockEntry("a@stable", DIGEST, "x")], "does not name one version"),
        ([LockEntry("a--v3", DIGEST, "x")], "does not name one version"),
        ([LockEntry("a@v1", "sha256:ab", "x")], "not a digest"),
        ([LockEntry("a@v1", DIGEST, "x"), LockEntry("a@v2", OTHER, "x")], "locked twice"),
        ([LockEntry("../a@v1", DIGEST, "x")], "not a pin"),
    ],
)
def test_nothing_that_is_not_a_lock_is_written(tmp_path, entries, told):
    with pytest.raises(InvalidInput, match=told):
        write_lock(tmp_path / "stacpin.lock", entries)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"\xff\xfe", "not a lock file"),
        (b"format = ", "not a lock file"),
        (b"", "has no format"),
        (b"format = 1\npin = 3\n", "has no format"),
        (b"format = 1\n[[pin]]\npin = 'a@v1'\n", "an entry needs"),
        (b"format = 1\n[[pin]]\npin = 1\ndigest = 2\ncatalog = 3\n", "an entry needs"),
        (b"format = 2\n", "lock format 2; this stacpin reads format 1"),
        (b"x" * (5 * 1024 * 1024), "larger than"),
    ],
)
def test_what_is_not_a_lock_file_is_refused(tmp_path, text, told):
    (tmp_path / "stacpin.lock").write_bytes(text)
    with pytest.raises(InvalidInput, match=told):
        read_lock(tmp_path / "stacpin.lock")


def test_a_missing_lock_file_says_how_to_make_one(tmp_path):
    with pytest.raises(NotFound, match="stacpin lock"):
        read_lock(tmp_path / "stacpin.lock")


class TestOpening:
    def test_one_entry_needs_no_name(self, fields, tmp_path):
        pin = open_pin(fields.url, "fields@stable")
        path = write_lock(tmp_path / "stacpin.lock", [pin.lock()])
        fields.catalog.dataset("fields").move("stable", 2, why="better", author="Ada")
        for place in (path, tmp_path):
            opened = open_pin(place)
            assert (opened.pin, opened.digest) == ("fields@v1", pin.digest)

    def test_a_name_chooses_the_entry(self, fields, tmp_path):
        pin = open_pin(fields.url, "fields@v1")
        path = write_lock(tmp_path / "l", [pin.lock(), LockEntry("water@v1", DIGEST, fields.url)])
        assert open_pin(path, "fields").pin == "fields@v1"
        assert open_pin(path, "fields@v1").pin == "fields@v1"
        assert open_pin(path, "fields--v1").pin == "fields@v1"
        with pytest.raises(InvalidInput, match="locks fields@v1, water@v1: which one"):
            open_pin(path)
        with pytest.raises(InvalidInput, match="locks fields@v1, not fields@v2"):
            open_pin(path, "fields@v2")
        with pytest.raises(NotFound, match="not 'snow'"):
            open_pin(path, "snow")

    def test_another_digest_is_refused(self, fields, tmp_path):
        path = write_lock(tmp_path / "l", [LockEntry("fields@v1", OTHER, fields.url)])
        with pytest.raises(Integrity, match=OTHER):
            open_pin(path)
