"""Features that the tests of labels share."""

from __future__ import annotations

SQUARE = [[0.1, 0.1], [0.3, 0.1], [0.3, 0.4], [0.1, 0.4]]


def feature(ring=SQUARE, properties=None, **members):
    polygon = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    return {"type": "Feature", "properties": properties or {}, "geometry": polygon, **members}


def shifted(x, y=0.0, ring=SQUARE):
    return [[at[0] + x, at[1] + y] for at in ring]


def three():
    return [
        feature(properties={"class": "roof", "height": 3, "note": None, "seen": "2024-05-01"}),
        feature(shifted(1), {"class": "tree", "height": 4.5, "tags": {"a": [1, 2.5], "b": None}}),
        feature(shifted(2), {"class": "roof", "ok": True, "at": "2024-05-01T12:00:00+02:00"}),
    ]
