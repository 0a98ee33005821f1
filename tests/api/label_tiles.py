"""What the tests of vector tiles share: labels as ingest makes them, tiles, and what a tile shows."""

from __future__ import annotations

import json
import math
from pathlib import Path

import mapbox_vector_tile
import numpy as np
import pytest
import shapely

from api.pictures.label_files import in_mercator
from api.pictures.mercator import Tile
from catalog.assets import labels_asset
from catalog.items import build_item
from catalog.summaries import dataset_summaries
from catalog.vectors import read_features
from ingest.labels import to_labels
from versioning.catalog import Catalog
from versioning.commit import Notes, commit

MVT = "application/vnd.mapbox-vector-tile"
BUILDINGS = "labels/alexandria-va-buildings/buildings.geojson"
FIRES = "labels/yellowstone-fires/ynp_fires_1984_2022.gpkg"
WHEN = "2020-01-01T00:00:00Z"


def label_item(
    catalog: Catalog,
    source: Path,
    scratch: Path,
    name: str,
    *,
    key: str = "labels",
    place: dict | None = None,
    **options,
) -> dict:
    """An item of the labels in a file, as ingest makes it; ``place`` is another footprint than it finds."""
    made = to_labels(source, scratch / f"{name}-{key}.parquet", **options)
    part = labels_asset(
        made.path,
        catalog.objects.put_file(made.path),
        digest=made.digest,
        count=made.count,
        geometry_types=made.geometry_types,
        columns={column: summary.kind for column, summary in made.properties.items()},
        crs=made.crs,
        footprint=place or made.footprint,
        native_bbox=made.native_bbox,
        title=f"The {key}",
    )
    return build_item(name, {key: part}, datetime=WHEN)


def publish(catalog: Catalog, *items: dict, dataset: str = "marks") -> None:
    commit(
        catalog.dataset(dataset),
        items=items,
        message="labels",
        author="tester",
        notes=Notes(summaries=dataset_summaries(items)),
        collection={"title": "Marks", "providers": [{"name": "Me & <you>"}]},
    )


def write_geojson(path: Path, *features: tuple[dict, dict]) -> Path:
    made = [{"type": "Feature", "geometry": shape, "properties": more} for shape, more in features]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": made}))
    return path


def square(west: float, south: float, side: float) -> dict:
    return shapely.geometry.mapping(shapely.box(west, south, west + side, south + side))


def tile_at(longitude: float, latitude: float, z: int) -> Tile:
    count = 2**z
    y = (1 - math.asinh(math.tan(math.radians(latitude))) / math.pi) / 2
    return Tile.checked(z, int((longitude + 180) / 360 * count), int(y * count))


def tiles_of(box: tuple[float, float, float, float], z: int) -> list[Tile]:
    first, last = tile_at(box[0], box[3], z), tile_at(box[2], box[1], z)
    return [Tile(z, x, y) for x in range(first.x, last.x + 1) for y in range(first.y, last.y + 1)]


def ask(client, tile: Tile, collection: str = "marks--v1", query: str = ""):
    return client.get(f"/collections/{collection}/tiles/{tile.z}/{tile.x}/{tile.y}{query}")


def features(answer, tile: Tile, key: str = "labels") -> list[tuple[int, dict, shapely.Geometry]]:
    """Id, properties and geometry in EPSG:3857 of what a tile shows."""
    assert answer.status_code in {200, 204}, answer.text
    if answer.status_code == 204:
        return []
    layer = mapbox_vector_tile.decode(answer.content, default_options={"y_coord_down": True}).get(key)
    if layer is None:
        return []
    assert (layer["extent"], layer["version"]) == (4096, 2)
    west, _, _, north = tile.bounds
    step = tile.side / 4096

    def placed(at: np.ndarray) -> np.ndarray:
        return np.column_stack([west + at[:, 0] * step, north - at[:, 1] * step])

    return [
        (each["id"], each["properties"], shapely.transform(shapely.geometry.shape(each["geometry"]), placed))
        for each in layer["features"]
    ]


@pytest.fixture(scope="module")
def buildings(shared_data, tmp_path_factory):
    """Real buildings: their catalog, and their outlines in EPSG:3857 in the order of the stored file."""
    folder = tmp_path_factory.mktemp("buildings")
    catalog = Catalog.create(str(folder / "catalog"), title="Buildings")
    source = shared_data / BUILDINGS
    item = label_item(catalog, source, folder, "alexandria")
    publish(catalog, item)
    return catalog, item, in_mercator(read_features(folder / "alexandria-labels.parquet"))
