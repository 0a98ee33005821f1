"""The content digest of vectors, scheme ``v1:``: equal for equal features, however they were written.

Definition
----------
All numbers are big-endian. ``u32`` and ``u64`` are unsigned integers, ``i64`` a signed one, ``f64`` an IEEE 754 double.
"Bytes order" is the order of unsigned bytes, a prefix before what it begins. || joins.

1. **Grid.** The step p of x and y is the declared precision, otherwise the one that the file declares (normalised
   files do, in their ``stacpin`` metadata), otherwise 1e-7 for a CRS in degrees and 0.001 for any other. The step of z
   is 0.001 for a CRS in degrees and p for any other. A coordinate c becomes the integer nearest to c / p (one IEEE
   division, ties to even); it must be below 2^53. M is not read. x is longitude or easting.
2. **Vertices.** Of a run of equal successive vertices one stays. A ring loses its closing vertex, compares its last
   vertex with its first as successive, and becomes the least of all its rotations in both directions, compared as
   sequences of tuples of integers. Rings and lines that collapse to one or two vertices stay so. Lines keep their
   direction: it can have a meaning.
3. **Geometry.** No geometry, or an empty one: ``N``. Otherwise ``P`` (points), ``L`` (lines) or ``A`` (polygons), the
   digit ``2`` or ``3`` (dimensions), u32 number of parts, and the parts in bytes order; a single geometry is one part.
   A point is its i64 coordinates. A line, and a ring, is u32 number of vertices and their i64 coordinates. A polygon
   is u32 number of rings, the shell, and the holes in bytes order. A collection is ``C``, u32 number of its members
   that are not empty, and their encodings in bytes order.
4. **Properties.** Missing are: null, NaN, and empty text (a DBF file has no other null). Integers named ``fid`` (in
   any case) and a feature's GeoJSON ``id`` that is a whole number (also as text) are row numbers and missing too; any
   other GeoJSON ``id`` is the property ``id`` unless there is one. What is not missing, in the bytes order of UTF-8
   names, is each u32 length of the name || name || value:

   - a number that a double holds exactly: ``n`` f64, with -0 as 0; true is 1 and false is 0 (geopandas writes them so
     where a null stands beside them); any other integer: ``i`` u32 length || its decimal digits;
   - text: ``s`` u32 length || UTF-8. Text that is a date or a date and time (``YYYY-MM-DD`` or ``YYYY/MM/DD``, then
     ``T`` or a space, ``HH:MM``, seconds, a fraction, and ``Z`` or an offset, each optional after what precedes it) is
     put into UTC (no offset counts as UTC), its fraction rounded half-even to milliseconds, and written ``YYYY-MM-DD``
     at midnight and otherwise ``YYYY-MM-DDTHH:MM:SS`` || ``.mmm`` unless zero || ``Z``;
   - bytes: ``b`` u32 length || bytes;
   - a JSON array: ``l`` u32 length || its values; an object: ``o`` u32 number of members || each key as above and its
     value, in the bytes order of keys. In there null is ``0``, and text is taken as it is. Text that begins with ``[``
     or ``{`` and is JSON (no duplicate keys, no NaN, at most 32 levels) counts as that JSON.
5. **Feature digest** = sha256("stacpin feature v1" || 0x00 || u64 length of the geometry || geometry || properties).
6. **Digest** = ``v1:`` and the hex sha256 of "stacpin vectors v1" || 0x00 || u32 length || CRS name || f64 p || u64
   number of features || their digests in bytes order, each as often as it occurs. The CRS's name is the UTF-8 of its
   identity as text (`catalog.crs_identity`: a code such as ``EPSG:32616``, or canonical JSON), with EPSG:4979 as
   EPSG:4326 (`catalog.vector_crs` says why).

Row order, column order, empty columns, the layer's name, foreign members of GeoJSON and styles count as nothing.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np

from catalog.vector_crs import Crs
from catalog.vector_normal import Grid, encode_geometries
from catalog.vector_values import encode_properties
from catalog.vectors import Features, open_vectors
from versioning.errors import InvalidInput

__all__ = [
    "digest_of_features",
    "encode_features",
    "feature_digest",
    "feature_digests",
    "grid_of",
    "step_of",
    "vector_digest",
]

_FEATURE = b"stacpin feature v1\0"
_VECTORS = b"stacpin vectors v1\0"
_DEGREES = 1e-7
_UNITS = 0.001
_BATCH = 1 << 15


def vector_digest(
    source: Path | str | Features,
    *,
    crs: str | int | None = None,
    precision: float | None = None,
    layer: str | None = None,
) -> str:
    """The ``v1:`` content digest of a vector file or of features in memory.

    Parameters
    ----------
    source
        A file (it is streamed: memory grows by 32 bytes a feature) or features.
    crs
        What is declared for a file that names no CRS.
    precision
        Step of the grid in units of the CRS; 1e-7 for degrees and 0.001 otherwise where neither it nor the file says.
    layer
        Which layer of a file with several.

    Raises
    ------
    NotFound, InvalidInput
        As `catalog.vectors.open_vectors` does.
    """
    if isinstance(source, Features):
        pieces, system, declared = iter([source]), source.crs, source.precision
    else:
        opened = open_vectors(source, crs=crs, layer=layer)
        pieces, system, declared = opened.batches(), opened.crs, opened.precision
    step = step_of(system, precision if precision is not None else declared)
    found = bytearray()
    for piece in pieces:
        found += b"".join(feature_digests(piece, step))
    return digest_of_features(found, system, step)


def step_of(crs: Crs, precision: float | None) -> float:
    """The step of x and y: the precision where one is declared, otherwise the default of the CRS's units."""
    if precision is None:
        return _DEGREES if crs.degrees else _UNITS
    if not (0 < precision < float("inf")):
        raise InvalidInput(f"a precision of {precision!r} is no positive number of CRS units.")
    return float(precision)


def grid_of(crs: Crs, step: float) -> Grid:
    """The precision grid of a CRS and the step of its x and y."""
    return Grid(step, _UNITS if crs.degrees else step)


def encode_features(features: Features, step: float) -> tuple[list[bytes], list[bytes]]:
    """The normal forms of each feature's geometry and of its properties (3. and 4. of the definition)."""
    geometries = encode_geometries(features.geometries, grid_of(features.crs, step), features.source)
    return geometries, encode_properties(features.columns, len(features), features.source)


def feature_digests(features: Features, step: float) -> list[bytes]:
    """The digest of each feature (5. of the definition), in the order of the features."""
    found: list[bytes] = []
    for start in range(0, len(features), _BATCH):
        part = slice(start, start + _BATCH)
        columns = {name: values[part] for name, values in features.columns.items()}
        piece = Features(features.geometries[part], columns, features.crs, features.layer, features.source)
        found += map(feature_digest, *encode_features(piece, step))
    return found


def feature_digest(geometry: bytes, properties: bytes) -> bytes:
    """The digest of a feature from the normal forms of its geometry and its properties."""
    return hashlib.sha256(_FEATURE + len(geometry).to_bytes(8) + geometry + properties).digest()


def digest_of_features(digests: bytes | bytearray, crs: Crs, step: float) -> str:
    """The digest of a set of features from theirs, joined in any order (6. of the definition)."""
    name = crs.identity.encode()
    total = hashlib.sha256(
        _VECTORS + struct.pack(">I", len(name)) + name + struct.pack(">dQ", step, len(digests) // 32)
    )
    words = np.frombuffer(digests, dtype=">u8").reshape(-1, 4)
    total.update(words[np.lexsort(words.T[::-1])].tobytes())
    return f"v1:{total.hexdigest()}"
