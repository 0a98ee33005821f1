"""A catalog of a stranger: path tricks, links, absurd sizes and half of the files give errors that name them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "versioning"))
from version_helpers import AUTHOR, Clock, asset_of, item_of

from loaders import open as open_pin
from versioning.catalog import Catalog
from versioning.commit import commit
from versioning.errors import Integrity, InvalidInput, NotFound, StacpinError
from versioning.fsck import verify_catalog
from versioning.records import VersionRecord

SECRET = b'{"type":"version","secret":true}'


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A local catalog with one version of two items and an object each; beside it a secret."""
    folder = tmp_path / "catalog"
    made = Catalog.create(str(folder), clock=Clock())
    items = []
    for name in ("a", "b"):
        made.objects.put_bytes(name.encode() * 10, ".tif")
        items.append(item_of(name, assets={"data": asset_of(name.encode() * 10)}))
    commit(made.dataset("ds"), items=items, message="m", author=AUTHOR)
    (tmp_path / "secret").write_bytes(SECRET)
    return folder


def first(catalog: Path, pattern: str) -> Path:
    return min(path for path in catalog.glob(pattern) if path.is_file())


def use(catalog: Path, out: Path) -> None:
    """Open, search, read and pull."""
    pin = open_pin(str(catalog), "ds@v1")
    for asset in pin.assets(bbox=[-180, -90, 180, 90]):
        pin.read(asset)
    pin.pull(out)


def snapshot_of(folder: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.parametrize(
    "pattern",
    ["objects/*/*", "datasets/ds/manifests/*", "datasets/ds/snapshots/*", "datasets/ds/versions/*", "stacpin.json"],
)
def test_files_that_are_links(catalog: Path, tmp_path: Path, pattern: str):
    file = first(catalog, pattern)
    file.unlink()
    file.symlink_to(tmp_path / "secret")
    before = snapshot_of(catalog)
    with pytest.raises(StacpinError, match=str(file.relative_to(catalog))) as caught:
        use(catalog, tmp_path / "out")
    assert "secret" not in str(caught.value).replace(str(tmp_path), "")
    if pattern != "stacpin.json":
        report = verify_catalog(Catalog.open(str(catalog)))
        assert (str(file.relative_to(catalog)), "altered") in [(each.path, each.kind) for each in report.problems]
    assert snapshot_of(catalog) == before
    assert (tmp_path / "secret").read_bytes() == SECRET


def test_objects_below_a_link(catalog: Path, tmp_path: Path):
    file = first(catalog, "objects/*/*")
    outside = tmp_path / "outside"
    file.parent.rename(outside)
    file.parent.symlink_to(outside)
    with pytest.raises(Integrity, match="is a link, which no catalog holds"):
        use(catalog, tmp_path / "out")


TRICKS = ["../secret", "..", "a/../../secret", "%2e%2e", "-rf", "UPPER", "a" * 300, "con.", "latest", "a--b"]


def test_odd_names_are_not_taken_for_ours(catalog: Path, tmp_path: Path):
    made = 0
    for trick in TRICKS:
        name = trick.replace("/", "")
        for folder in ("datasets", "datasets/ds/pointers", "datasets/ds/tags", "objects", "objects/ab"):
            try:
                (catalog / folder / name).mkdir(parents=True, exist_ok=True)
                (catalog / folder / name / "00000001.json").write_bytes(SECRET)
                made += 1
            except OSError:
                continue
    assert made > 30
    report = verify_catalog(Catalog.open(str(catalog)))
    assert {each.path for each in report.problems} <= {
        "datasets/ds/pointers/latest/00000001.json",
        "datasets/con./versions/00000001.json",
        # A pointer may be called so, and is none.
        "datasets/ds/pointers/a--b/00000001.json",
    }
    assert report.datasets == ["ds"]
    assert report.extra.foreign.files > 20
    use(catalog, tmp_path / "out")
    for trick in TRICKS:
        for pin in (trick, f"ds@{trick}", f"{trick}@v1"):
            with pytest.raises(StacpinError):
                open_pin(str(catalog), pin)


def test_a_name_that_no_store_takes(catalog: Path, tmp_path: Path):
    (catalog / "datasets" / "x\ny").mkdir()
    use(catalog, tmp_path / "out")
    with pytest.raises(InvalidInput, match="catalog/datasets is not a path in a catalog"):
        verify_catalog(Catalog.open(str(catalog)))


def forge(catalog: Path, change: Callable[[VersionRecord], VersionRecord]) -> None:
    path = catalog / "datasets/ds/versions/00000001.json"
    record = VersionRecord.decode(path.read_bytes(), where="")
    path.chmod(0o644)
    path.write_bytes(change(record).encode())


def test_a_record_of_another_place(catalog: Path, tmp_path: Path):
    forge(catalog, lambda record: record.model_copy(update={"dataset": "../../etc"}))
    with pytest.raises(Integrity, match=r"versions/00000001\.json is the record of \.\./\.\./etc@v1"):
        use(catalog, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_numbers_beyond_all_bounds(catalog: Path, tmp_path: Path):
    for number in ("99999999", "00000000", "999999999999", "-0000001"):
        (catalog / "datasets/ds/versions" / f"{number}.json").write_bytes(SECRET)
    use(catalog, tmp_path / "out")
    found = verify_catalog(Catalog.open(str(catalog)))
    assert len(found.problems) < 30
    with pytest.raises(NotFound):
        open_pin(str(catalog), "ds@v99999998")


@pytest.mark.parametrize("lost", ["datasets/ds/snapshots", "datasets/ds/manifests", "objects", "datasets/ds/versions"])
def test_a_half_copied_catalog(catalog: Path, tmp_path: Path, lost: str):
    for path in sorted((catalog / lost).rglob("*")):
        if path.is_file():
            path.unlink()
    with pytest.raises(StacpinError, match=lost if "versions" not in lost else "no dataset 'ds'"):
        use(catalog, tmp_path / "out")
    pulled = list((tmp_path / "out").rglob("*.tif")) if (tmp_path / "out").exists() else []
    assert pulled == []
