from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loaders.layout import Layout, safe_name
from versioning.digests import multihash
from versioning.rows import make_row

HOSTILE = [
    *("..", ".", "", "../../etc/passwd", "/etc/passwd", "a/b", "a\\b", "C:\\x", "a\0b", "~", "-rf", "con", "aux.tif"),
    *(
        "item.json",
        "ITEM.JSON",
        "a.",
        "a ",
        "x" * 5000,
        "größe",
        "a\nb",
        "...",
        "\ud7ff",
        "nul",
        "a:b",
        "red.tif",
        "😀",
    ),
]


def row_with(keys, item_id="a"):
    digest = bytes(range(32))
    href = f"objects/{digest[:1].hex()}/{digest.hex()}.tif"
    asset = {"href": href, "file:checksum": multihash(digest), "file:size": 3}
    return make_row(
        {
            "type": "Feature",
            "stac_version": "1.1.0",
            "id": item_id,
            "geometry": None,
            "properties": {"datetime": "2024-01-01T00:00:00Z"},
            "assets": dict.fromkeys(keys, asset),
        }
    )


def is_plain(name: str) -> bool:
    return (
        PurePosixPath(name).name == name
        and PureWindowsPath(name).name == name
        and not PureWindowsPath(name).is_reserved()
        and name.isascii()
        and len(name) < 240
        and name[0] not in ".-"
        and name[-1] not in ". "
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_become_plain_names(text):
    assert is_plain(safe_name(text, ".tif"))
    assert is_plain(safe_name(text))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_becomes_a_plain_name(text):
    assert is_plain(safe_name(text, ".tif"))


def test_plain_names_stay():
    assert safe_name("red", ".tif") == "red.tif"
    assert safe_name("B04.tif", ".tif") == "B04.tif"
    assert safe_name("LC08_L2SP_006066_20200815") == "LC08_L2SP_006066_20200815"


def test_two_keys_never_share_a_file():
    files = Layout(None).place(row_with(HOSTILE)).files
    assert len({file.path.casefold() for file in files}) == len(HOSTILE)
    assert all(file.path.startswith("a/") and file.path.count("/") == 1 and ".." not in file.path for file in files)


@given(st.lists(st.text("aAbB./_", max_size=3), unique=True))
def test_keys_that_look_alike_get_files_of_their_own(keys):
    marked = [f"a-{'0' * 12}", *keys]
    files = Layout(None).place(row_with(dict.fromkeys(marked))).files
    assert len({file.path.casefold() for file in files}) == len(set(marked))


def test_a_name_does_not_depend_on_what_else_is_pulled():
    row = row_with(["a/b", "a_b", "A_B", "red"])
    everything = {file.asset.key: file.path for file in Layout(None).place(row).files}
    for key, path in everything.items():
        assert [file.path for file in Layout({key}).place(row).files] == [path]


def test_items_that_differ_in_case_or_have_our_names_get_folders_of_their_own():
    layout = Layout(None)
    ids = ["COLLECTION.json", "a", "A", "collection.json", "stacpin.lock", "a:b", "a_b", "CON"]
    folders = [layout.place(row_with(["x"], item_id)).folder for item_id in sorted(ids)]
    assert len({folder.casefold() for folder in folders} | {"collection.json", "stacpin.lock"}) == len(ids) + 2
    assert all(is_plain(folder) for folder in folders)
