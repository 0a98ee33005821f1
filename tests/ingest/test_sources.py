"""From files to items: globs, names, templates, keys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ingest_samples import DAY, LABELS, RASTERS, Project, copied, features, pixels, write_geojson, write_raster

from ingest.listing import Listing, restate
from ingest.sources import find_items
from loaders import open as open_pin
from versioning.errors import InvalidInput, StorageUnavailable


def touch(project: Project, *names: str) -> None:
    for name in names:
        (project.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (project.folder / name).write_bytes(b"x")


def found(project: Project, **layer: Any) -> dict[str, list[str]]:
    """Item id -> asset keys."""
    recipe = project.recipe({"scenes": RASTERS | layer})
    return {item.id: sorted(item.assets) for item in find_items(recipe, project.folder)}


def refused(project: Project, **layer: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        found(project, **layer)
    assert caught.value.hint
    return caught.value


def test_one_item_a_file_and_the_layer_its_asset(project: Project) -> None:
    touch(project, "b.tif", "a.tif")
    assert found(project) == {"a": ["scenes"], "b": ["scenes"]}


def test_files_of_one_stem_are_the_assets_of_one_item(project: Project) -> None:
    touch(project, "red/x.tif", "nir/x.tif", "nir/y.tif")
    assert found(project, sources="*/*.tif") == {"x": ["nir", "red"], "y": ["scenes"]}


def test_groups_of_a_pattern(project: Project) -> None:
    touch(project, "s1/2024_red.tif", "s1/2024_nir.tif", "s2/2024_red.tif")
    pattern = r"(?P<scene>\w+)/(?P<year>\d+)_(?P<asset>\w+)\.tif"
    assert found(project, sources="**/*.tif", pattern=pattern, item="{scene}-{year}") == {
        "s1-2024": ["nir", "red"],
        "s2-2024": ["red"],
    }


def test_a_group_that_takes_no_part_is_missing(project: Project) -> None:
    touch(project, "a.tif")
    error = refused(project, pattern=r"(?P<name>\w)(_(?P<band>\w+))?\.tif", item="{name}-{band}")
    assert "a.tif" in error.message
    assert "'band'" in error.message


def test_a_file_that_does_not_match_the_pattern(project: Project) -> None:
    touch(project, "a.tif", "2024.tif")
    assert "a.tif" in refused(project, pattern=r"(?P<year>\d{4})\.tif").message


@pytest.mark.parametrize("template", ["{stem", "{0}", "{stem!r}", "{stem.__class__}", "{}", "{{stem}}"])
def test_templates_are_no_format_strings(project: Project, template: str) -> None:
    """What is no plain {name} stays as it is, and then is no id."""
    touch(project, "a.tif")
    assert "a.tif" in refused(project, item=template).message


def test_globs_may_lead_elsewhere_and_be_absolute(project: Project, tmp_path: Path) -> None:
    write_raster(tmp_path / "outside" / "a.tif")
    assert found(project, sources="../outside/*.tif") == {"a": ["scenes"]}
    assert found(project, sources=str(tmp_path / "outside" / "*.tif")) == {"a": ["scenes"]}
    both = ["../outside/*.tif", str(tmp_path / "outside" / "*.tif")]
    write_raster(project.folder / "b.tif")
    assert found(project, sources=["*.tif", "../outside/a.tif"]) == {"a": ["scenes"], "b": ["scenes"]}
    assert found(project, sources=both) == {"a": ["scenes"]}


@pytest.mark.parametrize("pattern", ["", "**a/*.tif", "[", "/"])
def test_globs_that_find_nothing(project: Project, pattern: str) -> None:
    touch(project, "a.tif")
    refused(project, sources=pattern)


def test_hidden_files_companions_and_folders_are_no_sources(project: Project) -> None:
    touch(project, "a.tif", ".b.tif", "a.tif.aux.xml", "a.tif.ovr", "a.tfw", "folder.tif/x")
    assert found(project, sources="*.tif*") == {"a": ["scenes"]}


@pytest.mark.parametrize("name", ["my scene.tif", "öl.tif", "-a.tif", "=a.tif", "a#b.tif", "x" * 201 + ".tif"])
def test_names_that_no_id_can_have_are_said_with_their_file(project: Project, name: str) -> None:
    touch(project, name)
    error = refused(project, sources="**/*.tif")
    assert error.kind == "invalid-id"
    assert Path(name).name in error.message
    assert "item:" in str(error.hint)


@pytest.mark.parametrize("item", ["a/{stem}", "../{stem}", "{parent}/{stem}", "", " ", "."])
def test_ids_with_slashes_or_dots(project: Project, item: str) -> None:
    touch(project, "s/a.tif")
    error = refused(project, sources="s/*.tif", item=item)
    assert "a.tif" in error.message
    assert "cannot be an item's id" in error.message


def test_two_files_for_one_place(project: Project) -> None:
    touch(project, "a.tif", "b.tif")
    error = refused(project, item="same")
    assert "a.tif" in error.message
    assert "b.tif" in error.message


def test_two_layers_for_one_id(project: Project) -> None:
    write_raster(project.folder / "labels.tif")
    write_geojson(project.folder / "labels.geojson")
    recipe = project.recipe({"scenes": RASTERS, "labels": LABELS | {"sources": "*.geojson"}})
    with pytest.raises(InvalidInput, match="has taken") as caught:
        find_items(recipe, project.folder)
    assert "scenes" in caught.value.message
    assert "labels.geojson" in caught.value.message
    assert "labels.tif" in caught.value.message


def test_files_of_one_item_that_do_not_agree(project: Project) -> None:
    touch(project, "2023/x.tif", "2024/x.tif")
    error = refused(project, sources="*/x.tif", datetime="{parent}-01-01")
    assert "do not agree on datetime" in error.message


@pytest.mark.parametrize("key", ["a b", "ä", "..", "a/b", "{stem}'\"", "$(x)", "%2e%2e", "con"])
def test_odd_keys_of_assets_survive_a_pull_inside_its_folder(project: Project, tmp_path: Path, key: str) -> None:
    write_raster(project.folder / "a.tif")
    project.recipe({"scenes": RASTERS | {"asset": key}})
    version = project.must_ingest()
    wanted = key.replace("{stem}", "a")
    assert [asset.key for _, asset in version.assets()] == [wanted]
    report = open_pin(project.catalog.url, "fields@v1").pull(tmp_path / "out" / "in")
    assert report.files == 1
    outside = [path for path in (tmp_path / "out").iterdir() if path.name != "in"]
    assert outside == []


def test_an_empty_key_is_refused(project: Project) -> None:
    touch(project, "a.tif")
    assert "a.tif" in refused(project, asset="").message


def test_linked_rasters_are_read(project: Project) -> None:
    """As DVC and git-annex lay them out."""
    real = write_raster(project.folder / ".annex" / "0a1b2c.tif")
    (project.folder / "a.tif").symlink_to(real)
    project.recipe()
    assert project.must_ingest().item("a")["assets"]["scenes"]["pin:digest"].startswith("r1:")
    real.unlink()
    with pytest.raises(InvalidInput, match="no file matches"):
        project.ingest()


@pytest.mark.parametrize("kind", ["raster", "file"])
@pytest.mark.parametrize(
    ("link", "target", "glob"),
    [
        ("in/a.tif", "out/a.tif", "in/*.tif"),
        ("in/deep", "out", "in/*/*.tif"),
        ("in/deep", "out", "in/*/a.tif"),
        ("in/x/deep", "out", "in/*/deep/*.tif"),
    ],
)
def test_links_that_lead_outside_are_refused(
    project: Project, tmp_path: Path, kind: str, link: str, target: str, glob: str
) -> None:
    """A folder of imagery that somebody sent must not bring the receiver's own files into a catalog."""
    write_raster(tmp_path / "out" / "a.tif")
    (project.folder / link).parent.mkdir(parents=True)
    (project.folder / link).symlink_to(tmp_path / target)
    layer = {"kind": kind, "sources": glob, "datetime": DAY}
    with pytest.raises(InvalidInput, match="is a link to") as caught:
        find_items(project.recipe({"scenes": layer}), project.folder)
    assert caught.value.kind == "link-outside"
    assert "'sources'" in str(caught.value.hint)
    # The way out that it names: the recipe says that files may come from there.
    more = layer | {"sources": [glob, str(tmp_path / "out" / "none*.tif")]}
    assert len(find_items(project.recipe({"scenes": more}), project.folder)) == 1


def test_a_linked_folder_that_the_recipe_names_is_the_users_wish(project: Project, tmp_path: Path) -> None:
    write_raster(tmp_path / "out" / "deep" / "a.tif")
    (project.folder / "data").symlink_to(tmp_path / "out")
    assert found(project, sources="data/*/*.tif") == {"a": ["scenes"]}
    assert found(project, sources="data/deep/a.tif") == {"a": ["scenes"]}


def test_recursive_globs_enter_no_linked_folder(project: Project) -> None:
    touch(project, "x/a.tif")
    (project.folder / "x" / "loop").symlink_to(project.folder)
    (project.folder / "again").symlink_to(project.folder / "x")
    assert found(project, sources="**/*.tif") == {"a": ["scenes"]}


@pytest.mark.parametrize(
    "pattern", ["*.tif", "**/*.tif", "s?/*.tif", "s[12]/**/*.tif", "*/x/../*.tif", "./s1/a.tif", "**", "s1//*.tif", "*"]
)
def test_globs_mean_what_they_mean_in_python(project: Project, pattern: str) -> None:
    touch(project, "a.tif", "s1/a.tif", "s1/x/b.tif", "s2/x/y/c.tif", "s3/d.tif", "s4.tif/e.tif", "S1/f.tif")
    seen = Listing(project.folder, [pattern]).glob(pattern)
    assert seen == [str(path) for path in sorted(project.folder.glob(pattern)) if path.is_file()]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_no_empty_folder(project: Project) -> None:
    touch(project, "a.tif", "s1/b.tif")
    (project.folder / "s1").chmod(0)
    with pytest.raises(StorageUnavailable, match="s1 cannot be read"):
        found(project, sources="**/*.tif")


def test_a_pattern_that_would_take_for_ever(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.patterns._SECONDS", 0.2)
    touch(project, "a" * 60 + "b.tif")
    error = refused(project, pattern=r"(a|aa)+x\.tif")
    assert error.kind == "slow-pattern"
    assert "(a|aa)+x" in error.message


def test_the_state_of_a_file_is_all_that_lies_beside_it(project: Project) -> None:
    def state(name: str = "a.tif") -> str:
        return Listing(project.folder, []).state(str(project.folder / name))

    touch(project, "a.tif", "a-b.tif", "b.tif")
    first = state()
    touch(project, "ab.tif", "a-b.tif.msk", "aa.hdr")
    assert state() == first == restate(str(project.folder / "a.tif"), first)
    for name in ("a.tif.msk", "a.hdr", "A.PRJ"):
        touch(project, name)
        assert state() != first
        (project.folder / name).unlink()
    assert state() == first
    other = project.folder / "b.tif"
    times = (project.folder / "a.tif").stat().st_mtime_ns
    os.utime(project.folder / "a.tif", ns=(times, times))
    assert state() != first, "the same size and time of writing, but not the same time of change"
    (project.folder / "link.tif").symlink_to(other)
    linked = state("link.tif")
    touch(project, "b.tif.msk")
    assert state("link.tif") != linked
    assert state("none.tif") == restate(str(project.folder / "none.tif"), state("none.tif"))


def test_many_files_of_one_stem_cost_no_square(project: Project) -> None:
    """Of frame.0001, frame.0002, … each has all others beside it; what nothing is known of is inspected each time."""
    touch(project, *(f"frame.{number:04}" for number in range(100)))
    listing = Listing(project.folder, [])
    path = str(project.folder / "frame.0001")
    assert listing.state(path) == ""
    assert restate(path, listing.state(path, alone=True)) == listing.state(path, alone=True)
    recipe = project.recipe({"frames": {"kind": "file", "sources": "frame.*", "datetime": DAY, "asset": "{stem}"}})
    with pytest.raises(InvalidInput, match="both want to be"):  # and each of them has a state of its own
        find_items(recipe, project.folder)


def test_linked_labels_are_refused_with_the_way_out(project: Project, tmp_path: Path) -> None:
    (project.folder / "labels.geojson").symlink_to(write_geojson(tmp_path / "real.geojson", features()))
    project.recipe({"labels": LABELS})
    with pytest.raises(InvalidInput, match="a link"):
        project.ingest()


def test_a_real_name_full_of_dots_and_minuses(project: Project, shared_data: Path) -> None:
    (source,) = (shared_data / "dem" / "srtm-colorado-asc").glob("*.asc")
    copied(source, project.folder / source.name)
    project.recipe({"dem": {"kind": "raster", "sources": "*.asc", "datetime": DAY, "source_crs": "EPSG:4326"}})
    version = project.must_ingest()
    assert [row.id for row in version.rows()] == [source.stem]
    assert "-105.56" in source.stem
    assert project.ingest() is None


def test_a_name_that_is_a_gdal_syntax(project: Project) -> None:
    name = "NETCDF:a.tif" if os.name == "posix" else "a.tif"
    write_raster(project.folder / "x.tif", pixels(2)).rename(project.folder / name)
    project.recipe()
    assert [row.id for row in project.must_ingest().rows()] == [Path(name).stem]


def test_a_glob_gives_its_files_by_folder_and_name_whatever_the_order_of_the_disk(tmp_path):
    names = ["b/1.tif", "b-/1.tif", "a/z.tif", "a/Z.tif", "a/é.tif", "a/c/2.tif", "a.tif", "b/10.tif", "b/2.tif"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for pattern in ("*/*.tif", "*.tif", "a/*.tif", "**/*.tif", "*/*/*.tif", "b*/1*.tif"):
        found = Listing(tmp_path, [pattern]).glob(pattern)
        assert found == sorted({str(path) for path in tmp_path.glob(pattern)}, key=lambda path: path.split("/"))
        assert found
