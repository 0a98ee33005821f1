"""A small catalog with real rasters, and two ways to ask its API: in the process, and over a real socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from label_tiles import buildings  # noqa: F401 - a fixture of this folder
from picture_shelf import drawn, shelf  # noqa: F401 - fixtures of this folder
from postgres import Cluster, postgres  # noqa: F401 - a fixture of this folder
from rasterio.transform import from_origin
from running import Server, TestClient, client_of_app
from s3 import s3_server  # noqa: F401 - a fixture of this folder

from api.app import create_app
from api.backend import EmbeddedBackend
from api.pgstac_backend import PgstacBackend
from api.settings import ApiSettings
from catalog.assets import opaque_asset, raster_asset
from catalog.items import build_item
from catalog.pgstac.database import Database
from catalog.pgstac.follow import Follower
from catalog.raster_digest import raster_digest
from versioning.catalog import Catalog
from versioning.commit import CommitResult, commit

COLLECTION = {
    "title": "Land cover",
    "description": "Squares of made-up land cover.",
    "license": "CC0-1.0",
    "keywords": ["test"],
    "links": [{"rel": "license", "href": "https://creativecommons.org/publicdomain/zero/1.0/"}],
}


class Site:
    """A catalog and what was put into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scratch = folder.parent / "scratch"
        self.scratch.mkdir()
        self.catalog = Catalog.create(str(folder), title="Test catalog")

    def raster(self, name: str, value: int, west: float, north: float) -> Path:
        path = self.scratch / f"{name}-{value}.tif"
        data = np.full((1, 256, 256), value, dtype="uint8")
        data[0, :16, :16] = 255
        profile = {"driver": "COG", "width": 256, "height": 256, "count": 1, "dtype": "uint8", "crs": "EPSG:4326"}
        with rasterio.open(path, "w", **profile, transform=from_origin(west, north, 1 / 256, 1 / 256)) as target:
            target.write(data)
        return path

    def item(self, name: str, value: int, *, west: float, north: float = 1.0, when: str, **properties) -> dict:
        path = self.raster(name, value, west, north)
        ref = self.catalog.objects.put_file(path)
        parts = {"cover": raster_asset(path, ref, digest=raster_digest(path), band_names=["cover"])}
        note = self.scratch / f"{name}.txt"
        note.write_text(f"About {name}.\n")
        parts["note"] = opaque_asset(note, self.catalog.objects.put_file(note))
        return build_item(name, parts, datetime=when, properties=properties)

    def commit(self, dataset: str, *items: dict, **options) -> CommitResult:
        options = {"message": "a change", "author": "tester", **options}
        return commit(self.catalog.dataset(dataset), items=items, **options)


def fill(site: Site) -> None:
    """Three versions of `landcover` (`latest` is 3, `stable` is 2, the tag v2.1.4 is 1), one of `dem`."""
    squares = [
        site.item(
            f"t{n:02d}",
            n,
            west=float(n),
            when=f"202{n}-06-01T00:00:00Z",
            platform="landsat-8" if n % 2 else "sentinel-2a",
            **{"eo:cloud_cover": 10 * n},
        )
        for n in range(5)
    ]
    site.commit("landcover", *squares, collection=COLLECTION, message="first")
    clearer = {"platform": "landsat-8", "eo:cloud_cover": 5}
    changed = site.item("t01", 101, west=1.0, when="2021-06-01T00:00:00Z", **clearer)
    site.commit("landcover", changed, site.item("t05", 5, west=5.0, when="2025-06-01T00:00:00Z"), message="second")
    site.commit("landcover", remove=["t00"], message="third")
    site.commit("dem", site.item("height", 7, west=-179.5, when="2020-01-01T00:00:00Z"), collection=COLLECTION)
    landcover = site.catalog.dataset("landcover")
    landcover.move("stable", 2, why="checked", author="tester")
    landcover.tag("v2.1.4", 1, author="tester")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The catalog that most tests read; none may write to it."""
    made = Site(tmp_path_factory.mktemp("api") / "catalog")
    fill(made)
    return made


@pytest.fixture
def own_site(tmp_path: Path) -> Site:
    """A catalog of a test's own, to publish into."""
    made = Site(tmp_path / "catalog")
    fill(made)
    return made


@pytest.fixture
def client_of() -> Callable[..., TestClient]:
    """Makes a client of the API of a site, or of an open catalog, in this process."""

    def make(site: Site | Catalog, **options) -> TestClient:
        if isinstance(site, Catalog):
            app = create_app(ApiSettings(catalog=site.url, **options), backend=EmbeddedBackend(site))
        else:
            app = create_app(ApiSettings(catalog=str(site.folder), **options))
        return client_of_app(app)

    return make


@pytest.fixture(scope="session", params=["embedded", pytest.param("pgstac", marks=pytest.mark.slow)])
def client(request: pytest.FixtureRequest, site: Site) -> Iterator[TestClient]:
    """What contract tests ask: the API on each backend."""
    catalog = Catalog.open(str(site.folder))
    if request.param == "embedded":
        backend = EmbeddedBackend(catalog)
    else:
        backend = PgstacBackend(catalog, request.getfixturevalue("index_of")(catalog))
    app = create_app(ApiSettings(catalog=str(site.folder)), backend=backend)
    yield client_of_app(app)
    if isinstance(backend, PgstacBackend):
        backend.close()


@pytest.fixture(scope="session")
def index_of(postgres: Cluster) -> Callable[[Catalog], str]:  # noqa: F811
    """Makes the index of a catalog, and gives the URL of its database."""

    def make(catalog: Catalog) -> str:
        database = Database(postgres.new_database())
        follower = Follower(catalog, database)
        follower.prepare()
        assert not follower.step().failed
        return database.url

    return make


@pytest.fixture
def server_of() -> type[Server]:
    """Makes a real server of the API of a site, with settings; to be used in ``with``."""
    return Server


@pytest.fixture
def server(own_site: Site) -> Iterator[Server]:
    """A real server over a catalog of the test's own."""
    with Server(own_site.folder) as running:
        yield running
