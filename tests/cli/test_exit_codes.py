"""Every documented exit code, each by real cases; a refusal changes no version, no name, no item."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from pathlib import Path

import pytest
from cli_helpers import DATASET, Ran, listing, move_glacier

V1, V2, V3 = (f"{DATASET}@v{number}" for number in (1, 2, 3))


def _refused(cli, code: int, *words: object, names: str = "", catalog: Path | None = None) -> Ran:
    """Run it twice, for people and for programs: the same code, one clear error, nothing changed."""
    before = listing(catalog) if catalog else None
    said = cli(*words)
    assert (said.code, said.out) == (code, "")
    assert said.err.splitlines()[-1].startswith(("error: ", "hint: ")), said.err
    assert names in said.err
    told = cli(*words, "--json")
    assert told.code == code
    error = json.loads(told.out.splitlines()[-1])["errors"][-1]
    assert f"error: {error['message']}" in said.err
    assert not error["hint"] or f"hint: {error['hint']}" in said.err
    if catalog:
        assert listing(catalog) == before
    return told


@pytest.mark.parametrize(
    ("words", "kind", "names"),
    [
        (["show", f"{DATASET}@v9"], "no-such-version", "v1 v2 v3"),
        (["show", "rocky-montain"], "no-such-dataset", "Did you mean rocky-mountain?"),
        (["show", V3, "rmnp-de"], None, "rmnp-de"),
        (["show", f"{DATASET}@v9.9.9"], None, "v9.9.9"),
        (["show", f"{DATASET}@{{2001-01-31}}"], None, "no version then"),
        (["diff", V1, f"{DATASET}@v9"], "no-such-version", "v9"),
        (["pull", f"{DATASET}@v9", "nowhere"], "no-such-version", "v9"),
        (["search", f"{DATASET}@v9"], "no-such-version", "v9"),
        (["verify", f"{DATASET}@v9"], "no-such-version", "v9"),
        (["verify", "./nowhere"], None, "nowhere"),
        (["promote", f"{DATASET}@v9"], "no-such-version", "v9"),
        (["rollback", DATASET, "--to", "v9", "-m", "x"], "no-such-version", "v9"),
        (["rollback", DATASET, "--to", "v2", "-m", "x", "--pointer", "no"], "no-such-pointer", "stacpin promote"),
        (["log", DATASET, "--moves", "no"], "no-such-pointer", "latest, stable"),
        (["lock", f"{DATASET}@v9"], "no-such-version", "v9"),
        (["commit", "-m", "x"], "nothing-staged", "stacpin ingest --no-commit"),
        (["log", "-C", "nowhere"], None, "stacpin init"),
        (["ingest", "nowhere.yaml"], "no-such-recipe", "nowhere.yaml"),
        (["status", "nowhere.yaml"], "no-such-recipe", "nowhere.yaml"),
        (["digest", "nowhere.tif"], None, "nowhere.tif"),
    ],
)
def test_40_what_does_not_exist(cli, here, words, kind, names):
    told = _refused(cli, 40, *words, names=names, catalog=here / "catalog")
    if kind is not None:
        assert told.error["kind"] == kind
    assert not (here / "work" / "nowhere").exists()


def test_20_tags_never_move(cli, place):
    catalog = place / "catalog"
    _refused(cli, 20, "tag", V3, "v1.0.0", names="v1.0.0", catalog=catalog)
    move_glacier(place / "work", 0.01)
    _refused(cli, 20, "ingest", "--tag", "v1.0.0", names="v1.0.0", catalog=catalog)
    assert cli("log", DATASET, "--json").json["data"][0]["version"] == 3
    assert cli("ingest", "--no-commit").code == 0
    _refused(cli, 20, "commit", "-m", "x", "--tag", "v1.0.0", names="--tag ANOTHER", catalog=catalog)
    _refused(cli, 50, "commit", "-m", "x", "--tag", "v7", names="v7", catalog=catalog)
    assert cli("commit", "-m", "x", "--tag", "v2.0.0").code == 0


def test_20_two_who_changed_the_same(cli, place):
    move_glacier(place / "work", 0.01)
    assert cli("ingest", "--no-commit").code == 0
    move_glacier(place / "work", 0.01)
    assert cli("ingest").code == 0
    told = _refused(cli, 20, "commit", "-m", "mine", names="colorado-glaciers", catalog=place / "catalog")
    assert told.error["kind"] == "conflict"


def _newest(folder: Path, pattern: str) -> Path:
    return max(folder.glob(pattern), key=lambda path: (path.stat().st_mtime_ns, path.name))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_30_an_altered_object(cli, place):
    item = cli("show", V3, "rmnp-dem", "--json").json["data"]
    href = item["assets"]["dem"]["href"]
    _flip(place / "catalog" / href)
    told = _refused(cli, 30, "verify", V3, names=href, catalog=place / "catalog")
    assert told.json["data"]["problems"][0]["kind"] == "altered"
    assert cli("pull", V3, place / "out", "--json").error["kind"] == "altered"
    assert cli("pull", V3, place / "out2").code == 30
    assert not list((place / "out2").rglob("*dem*.tif"))
    (place / "catalog" / href).unlink()
    assert "missing: " in cli("verify", V3).err


@pytest.mark.parametrize("pattern", ["manifests/*", "snapshots/*"])
def test_30_an_altered_manifest(cli, place, pattern):
    for path in (place / "catalog" / "datasets" / DATASET).glob(pattern):
        _flip(path)
    for words in (["verify", V3], ["show", V3, "rmnp-dem"], ["diff", V1, V3], ["search", V3], ["pull", V3, "out"]):
        _refused(cli, 30, *words, catalog=place / "catalog")


def test_30_an_altered_record(cli, place):
    record = place / "catalog" / "datasets" / DATASET / "versions" / "00000002.json"
    record.chmod(0o644)
    record.write_text(record.read_text().replace('"number":2', '"number":7'))
    for words in (["show", V2], ["verify", V2], ["search", V2], ["pull", V2, "out"], ["diff", V2, V3]):
        _refused(cli, 30, *words, names="00000002.json", catalog=place / "catalog")


def test_30_an_altered_pull(cli, here, tmp_path):
    assert cli("pull", V1, tmp_path / "data").code == 0
    _flip(next((tmp_path / "data").rglob("*.tif")))
    _refused(cli, 30, "verify", tmp_path / "data", names="altered")


BAD_RECIPES = {
    "misspelt": ("layers: {a: {kind: raster, sorces: '*.tif'}}", "Did you mean 'sources'?"),
    "kind": ("layers: {a: {kind: rastr, sources: '*.tif'}}", "rastr"),
    "no-layers": ("title: x", "'layers' is missing"),
    "id": ("dataset: Rocky@1\nlayers: {a: {kind: raster, sources: '*.tif'}}", "Rocky@1"),
    "not-yaml": ("layers: [", "not valid YAML"),
    "alias": ("title: &a x\ndescription: *a", "aliases"),
    "twice": ("title: a\ntitle: b", "occurs twice"),
    "not-a-mapping": ("- a", "stacpin.yaml"),
    "empty": ("", "stacpin.yaml"),
    "escapes": ("layers: {a: {kind: raster, datetime: 2024-01-01, sources: '../../*.tif'}}", "../../*.tif"),
    "no-files": ("layers: {a: {kind: raster, datetime: 2024-01-01, sources: 'x/*.tif'}}", "x/*.tif"),
    "no-datetime": ("layers: {a: {kind: raster, sources: 'dem/*.tif'}}", "datetime"),
    "bad-item-id": ("layers: {a: {kind: raster, datetime: 2024-01-01, item: '../x', sources: 'dem/*.tif'}}", "../x"),
}


@pytest.mark.parametrize("name", BAD_RECIPES)
def test_50_bad_recipes(cli, here, tmp_path, name):
    content, names = BAD_RECIPES[name]
    head = "" if "dataset:" in content or name in {"not-a-mapping", "empty"} else "dataset: rocky-mountain\n"
    shutil.copytree(here / "work" / "dem", tmp_path / "dem")
    (tmp_path / "stacpin.yaml").write_text(head + content)
    before = listing(here / "catalog")
    _refused(cli, 50, "ingest", tmp_path, "-C", here / "catalog", names=names)
    _refused(cli, 50, "status", tmp_path, "-C", here / "catalog", names=names)
    assert listing(here / "catalog") == before


def _bad_sources(folder: Path) -> None:
    import numpy as np
    import rasterio

    profile = {"driver": "GTiff", "width": 64, "height": 64, "count": 1, "dtype": "uint8"}
    with rasterio.open(
        folder / "whole.tif", "w", **profile, crs="EPSG:4326", transform=(0.1, 0, 5, 0, -0.1, 50)
    ) as out:
        out.write(np.random.default_rng(1).integers(0, 255, (1, 64, 64), dtype="uint8"))
    data = (folder / "whole.tif").read_bytes()
    (folder / "truncated.tif").write_bytes(data[: len(data) // 2])
    (folder / "text.tif").write_text("not a raster")
    (folder / "empty.tif").write_bytes(b"")
    profile |= {"crs": None, "transform": (0.1, 0, 5, 0, -0.1, 50)}
    with rasterio.open(folder / "no-crs.tif", "w", **profile) as out:
        out.write(np.ones((1, 64, 64), dtype="uint8"))
    with rasterio.open(
        folder / "huge.tif", "w", driver="GTiff", width=100_000, height=100_000, count=1, dtype="uint8",
        crs="EPSG:4326", transform=(0.001, 0, 5, 0, -0.0001, 50), SPARSE_OK=True,
        tiled=True, blockxsize=16384, blockysize=16384,
    ):  # fmt: skip
        pass
    for name, source in (("outside", "/etc/hostname"), ("net", "/vsicurl/http://127.0.0.1:9/x.tif")):
        (folder / f"{name}.vrt").write_text(
            '<VRTDataset rasterXSize="4" rasterYSize="4"><SRS>EPSG:4326</SRS>'
            "<GeoTransform>0, 1, 0, 0, 0, -1</GeoTransform>"
            '<VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
            f'<SourceFilename relativeToVRT="0">{source}</SourceFilename><SourceBand>1</SourceBand>'
            "</SimpleSource></VRTRasterBand></VRTDataset>"
        )
    (folder / "nan.geojson").write_text(
        '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{},'
        '"geometry":{"type":"Point","coordinates":[NaN,1]}}]}'
    )
    (folder / "ring.geojson").write_text(
        '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{},'
        '"geometry":{"type":"Polygon","coordinates":[[[0,0],[1,1]]]}}]}'
    )


@pytest.fixture(scope="module")
def bad_sources(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    with pytest.MonkeyPatch.context():
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _bad_sources(folder)
    return folder


BAD_SOURCES = "truncated.tif text.tif empty.tif no-crs.tif huge.tif outside.vrt net.vrt nan.geojson ring.geojson"


@pytest.mark.parametrize("name", BAD_SOURCES.split())
def test_50_bad_sources(cli, here, bad_sources, tmp_path, name):
    kind = "labels" if name.endswith("geojson") else "raster"
    shutil.copy(bad_sources / name, tmp_path / name)
    recipe = f"dataset: rocky-mountain\nlayers:\n  a: {{kind: {kind}, sources: {name}, datetime: 2024-01-01}}\n"
    (tmp_path / "stacpin.yaml").write_text(recipe)
    before = listing(here / "catalog")
    _refused(cli, 50, "ingest", tmp_path, "-C", here / "catalog", names=name)
    assert listing(here / "catalog") == before


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["show", "../.."], "../.."),
        (["show", f"{DATASET}@{{2999-01-31}}"], "not over yet"),
        (["search", V3, "--bbox", "1,2,3"], "1,2,3"),
        (["search", V3, "--datetime", "yesterday"], "yesterday"),
        (["search", V3, "--filter", "a <"], "CQL2"),
        (["search", V3, "--intersects", "no-file"], "no-file"),
        (["search", V3, "--intersects", '{"type": "x"}'], "geometry"),
        (["tag", V3, "v3"], "looks like a version"),
        (["tag", V3, "a/b"], "a/b"),
        (["promote", V3, "v2"], "v2"),
        (["rollback", V3, "--to", "v2", "-m", "x"], V3),
        (["rollback", DATASET, "--to", "v3", "-m", "x"], "already is v3"),
        (["ingest", "--dataset", "A/B"], "A/B"),
        (["init", "ftp://x"], "ftp://x"),
        (["diff", V2, V3, "--key", "nosuch"], "properties: glacier_id"),
        (["log", "-C", "http://127.0.0.1:9/"], "stacpin log needs the catalog itself; http://127.0.0.1:9/"),
        (["ingest", "-C", "https://x.invalid"], "search, pull, verify and lock"),
        (["init", "http://127.0.0.1:9/"], "stacpin init needs"),
        (["log", "-C", "stacpin.yaml"], "stacpin.yaml is a file"),
        (["search", V3, "--intersects", '{"type": "FeatureCollection", "features": []}'], "has 0 features"),
        (["lock", f"{DATASET}@stable", DATASET], f"{DATASET}@stable and {DATASET} are both pins"),
    ],
)
def test_50_refused_words(cli, here, words, names):
    _refused(cli, 50, *words, names=names, catalog=here / "catalog")


def test_50_no_catalog(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (["log"], ["status"], ["verify", "ds"], ["resolve", "ds@v1"]):
        assert _refused(cli, 50, *words, names="-C PATH_OR_URL").error["kind"] == "no-catalog"


def test_50_a_newer_catalog(cli, place):
    mark = place / "catalog" / "stacpin.json"
    mark.chmod(0o644)
    mark.write_text(mark.read_text().replace('"format":1', '"format":2'))
    for words in (["log"], ["show", V3], ["ingest"], ["pull", V3, "out"], ["init", "../catalog"]):
        told = _refused(cli, 50, *words, names="pip install --upgrade stacpin", catalog=place / "catalog")
        assert told.error["kind"] == "newer-format"


def test_60_a_server_that_does_not_answer(cli, monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{probe.getsockname()[1]}"
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    start = time.monotonic()
    ran = cli("log", "-C", "s3://bucket/catalog", "--json")
    assert (ran.code, ran.error["kind"]) == (60, "storage-unavailable")
    assert "s3://bucket/catalog" in ran.error["message"]
    assert time.monotonic() - start < 60


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_60_a_catalog_that_may_not_be_written(cli, place):
    folder = place / "catalog" / "datasets" / DATASET / "tags"
    folder.chmod(0o555)
    try:
        _refused(cli, 60, "tag", V3, "v9.0.0", catalog=place / "catalog")
    finally:
        folder.chmod(0o755)


def test_60_where_nothing_can_be_made(cli):
    _refused(cli, 60, "init", "/proc/stacpin-catalog", names="/proc/stacpin-catalog")


@pytest.mark.parametrize(
    ("words", "command", "names"),
    [
        (["frobnicate"], "stacpin", "frobnicate"),
        (["log", "--frob"], "log", "--frob"),
        (["-C", "x", "log", "--frob"], "log", "stacpin log --help"),
        (["show"], "show", "PIN"),
        (["rollback", DATASET, "--to", "v2"], "rollback", "--message"),
        (["search", V3, "--limit", "0"], "search", "--limit"),
        (["search", V3, "--limit", "many"], "search", "--limit"),
        (["serve", "--port", "70000"], "serve", "--port"),
    ],
)
def test_2_usage(cli, here, words, command, names):
    ran = cli(*words)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert names in ran.err
    told = cli("--json", *words)
    assert (told.code, told.error["kind"], told.json["command"]) == (2, "usage", command)


def test_1_differences(cli, here):
    assert cli("diff", V1, V3, "--exit-code").code == 1
    assert cli("diff", V3, V3, "--exit-code").code == 0
    told = cli("diff", V1, V3, "--exit-code", "--json")
    assert (told.code, told.json["ok"]) == (1, True)


def test_11_a_defect_of_ours(cli, here, monkeypatch):
    from versioning.catalog import Catalog

    def broken(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(Catalog, "resolve", broken)
    told = _refused(cli, 11, "show", V3, names="STACPIN_DEBUG=1")
    assert told.error["kind"] == "unexpected"
    assert told.error["message"] == "ZeroDivisionError: by nothing"


def test_a_digest_that_fails_among_others(cli, here):
    ran = cli("digest", "imagery/red.tif", "no.tif", "--json")
    assert (ran.code, ran.json["ok"], len(ran.json["data"])) == (40, False, 1)
    assert ran.error["message"].startswith("no.tif")
