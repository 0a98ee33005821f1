"""Label files as the map needs them: features in EPSG:3857, decoded once for each file, in a bounded memory.

A file is an object, named by its sha256, so what was decoded of it stays right for ever.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import orjson
from cachetools import LRUCache

from api.pictures.mercator import HIGHEST_LATITUDE, WORLD
from catalog.vector_columns import Value
from catalog.vector_crs import WGS84, to_pyproj
from versioning.catalog import Catalog
from versioning.digests import parse_multihash
from versioning.errors import Integrity, InvalidInput, NotFound

if TYPE_CHECKING:
    import numpy as np

    from catalog.vectors import Features

__all__ = ["LabelFile", "LabelFiles", "in_mercator"]

MIB = 1024 * 1024
LARGEST_FILE = 128 * MIB
"""Of a label file on disk: ours are compressed, and take some ten times as much in memory."""

_MEMORY = 512 * MIB
_LARGEST_DECODED = 256 * MIB
# What Python takes: of a geometry and of a value, beside the coordinates or the text in it.
_OF_GEOMETRY, _OF_COORDINATE, _OF_VALUE, _OF_JSON = 200, 24, 56, 8
_LOCKS = 16
_HALF_TURN = 180.0


@dataclass(frozen=True, slots=True)
class LabelFile:
    """Features of one file, in its order.

    Attributes
    ----------
    shapes
        Array of shapely geometries in EPSG:3857, x and y; None where a feature has none, or none that can be drawn.
    boxes
        West, south, east, north of each; NaN where there is none. East exceeds the square where a feature crosses the
        antimeridian.
    columns
        Property name to as many values.
    size
        About how many bytes all of it takes.
    """

    shapes: np.ndarray
    boxes: np.ndarray
    columns: dict[str, list[Value]]
    size: int

    def __len__(self) -> int:
        return len(self.shapes)


class LabelFiles:
    """The label files of a catalog, the last used in memory."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._memory: LRUCache[bytes, LabelFile] = LRUCache(_MEMORY, getsizeof=lambda file: file.size)
        self._lock = Lock()
        # Two tiles that want the same file decode it once; those that want others seldom wait.
        self._decoding = [Lock() for _ in range(_LOCKS)]

    def of(self, asset: dict[str, Any]) -> LabelFile:
        """The features of a stored label asset.

        Raises
        ------
        InvalidInput
            If the file is too large to be drawn, or is not one that can be read.
        Integrity
            If its bytes are missing or altered.
        """
        digest = parse_multihash(asset["file:checksum"])
        with self._decoding[digest[0] % _LOCKS]:
            with self._lock:
                found = self._memory.get(digest)
            if found is None:
                found = self._decode(asset, digest)
                with self._lock:
                    self._memory[digest] = found
        return found

    def _decode(self, asset: dict[str, Any], digest: bytes) -> LabelFile:
        href, size = asset["href"], asset["file:size"]
        name = href.rpartition("/")[2]
        if size > LARGEST_FILE:
            raise _too_large(name, f"it has {size:,} bytes, and {LARGEST_FILE:,} are drawn")
        # A file of its own also for a local store: its bytes are proven while they are copied.
        with tempfile.TemporaryDirectory(prefix="stacpin-labels-") as folder:
            path = Path(folder) / name
            try:
                with path.open("wb") as file:
                    for block in self._catalog.objects.read(href, digest, size):
                        file.write(block)
            except NotFound as error:
                raise Integrity(f"{href} is missing.", hint="Run stacpin verify.", kind="missing") from error
            return _read(path, name)


def _read(path: Path, name: str) -> LabelFile:
    import numpy as np
    import shapely

    from catalog.vectors import open_vectors

    shapes: list[np.ndarray] = []
    columns: dict[str, list[Value]] = {}
    count = size = 0
    try:
        for piece in open_vectors(path).batches():
            size += _size_of(piece)
            if size > _LARGEST_DECODED:
                raise _too_large(name, f"it takes more than {_LARGEST_DECODED:,} bytes of memory")
            shapes.append(in_mercator(piece))
            for key in piece.columns:
                columns.setdefault(key, [None] * count)
            for key, values in columns.items():
                values.extend(piece.columns.get(key) or [None] * len(piece))
            count += len(piece)
    except InvalidInput as error:
        # Where the copy lay is nobody's business.
        raise InvalidInput(error.message.replace(str(path), name), hint=error.hint, kind=error.kind) from error
    everything = np.concatenate(shapes) if shapes else np.empty(0, dtype=object)
    return LabelFile(everything, shapely.bounds(everything), columns, max(size, 1))


def _too_large(name: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"The label file {name} is too large for a map: {why}.",
        hint="Read it as a whole, or publish the labels in more items.",
        kind="too-large",
    )


def _size_of(piece: Features) -> int:
    import shapely

    size = len(piece) * _OF_GEOMETRY + _OF_COORDINATE * int(shapely.get_num_coordinates(piece.geometries).sum())
    for values in piece.columns.values():
        size += _OF_VALUE * len(values)
        for value in values:
            if isinstance(value, str | bytes):
                size += len(value)
            elif isinstance(value, list | dict):
                size += _OF_JSON * len(orjson.dumps(value, default=str))
    return size


def in_mercator(features: Features) -> np.ndarray:
    """The geometries of features in EPSG:3857, heights left out; None for those that have no place there.

    Vertices beyond the square's latitudes are put on its edge. What a projected CRS has across the antimeridian
    continues beyond 180 degrees, as it may in GeoJSON.
    """
    import numpy as np
    import pyproj
    import shapely
    from pyproj.network import set_network_enabled  # pyright: ignore[reportPrivateImportUsage] - documented here

    set_network_enabled(active=False)  # a grid fetched on one machine only would move its labels
    shapes = shapely.force_2d(features.geometries)
    at, owner = shapely.get_coordinates(shapes, return_index=True)
    if features.crs != WGS84:
        degrees = pyproj.Transformer.from_crs(to_pyproj(features.crs), to_pyproj(WGS84), always_xy=True)
        at = np.column_stack(degrees.transform(at[:, 0], at[:, 1]))
    nowhere = ~np.isfinite(at).all(axis=1)
    at[nowhere] = 0
    if not features.crs.degrees:
        at[:, 0] = _unwrapped(at[:, 0], owner, len(shapes))
    at[:, 1] = at[:, 1].clip(-HIGHEST_LATITUDE, HIGHEST_LATITUDE)
    metres = pyproj.Transformer.from_crs(to_pyproj(WGS84), "EPSG:3857", always_xy=True)
    # PROJ puts longitudes beyond 180 degrees back into the square, so it is given none.
    turns = np.floor((at[:, 0] + _HALF_TURN) / (2 * _HALF_TURN))
    x, y = metres.transform(at[:, 0] - turns * 2 * _HALF_TURN, at[:, 1])
    made = shapely.set_coordinates(shapes.copy(), np.column_stack([x + turns * WORLD, y]))
    made[np.unique(owner[nowhere])] = None
    return made


def _unwrapped(longitudes: np.ndarray, owner: np.ndarray, count: int) -> np.ndarray:
    """Longitudes with the western half beyond 180, for those geometries that are narrower so."""
    import numpy as np

    def widths(values: np.ndarray) -> np.ndarray:
        low, high = np.full(count, np.inf), np.full(count, -np.inf)
        np.minimum.at(low, owner, values)
        np.maximum.at(high, owner, values)
        return high - low

    eastwards = np.where(longitudes < 0, longitudes + 2 * _HALF_TURN, longitudes)
    narrower = (widths(longitudes) > _HALF_TURN) & (widths(eastwards) < _HALF_TURN)
    return np.where(narrower[owner], eastwards, longitudes)
