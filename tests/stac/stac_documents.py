"""What the tests of STAC documents share: link builders, references of files, assets of rasters."""

from __future__ import annotations

from pathlib import Path

from catalog.assets import AssetPart, raster_asset
from versioning.objects import ObjectRef, hash_file
from versioning.rows import object_path


class ApiLinks:
    """Absolute URLs, as an API has them."""

    base = "https://example.org/api"

    def root(self):
        return self.base

    def dataset(self, dataset):
        return f"{self.base}/collections/{dataset}"

    def history(self, dataset):
        return f"{self.base}/collections/{dataset}/versions"

    def collection(self, collection_id):
        return f"{self.base}/collections/{collection_id}"

    def items(self, collection_id):
        return f"{self.base}/collections/{collection_id}/items"

    def item(self, collection_id, item_id):
        return f"{self.base}/collections/{collection_id}/items/{item_id}"


class ExportLinks:
    """Relative paths from an item of a static export that holds version 3 alone."""

    def root(self):
        return "../../catalog.json"

    def dataset(self, dataset):
        return None

    def history(self, dataset):
        return None

    def collection(self, collection_id):
        return "../collection.json" if collection_id.endswith("--v3") else None

    def items(self, collection_id):
        return None

    def item(self, collection_id, item_id):
        return f"./{item_id}.json"


def ref_of(path: Path) -> ObjectRef:
    """The reference that storing a file would give."""
    digest = hash_file(path)
    return ObjectRef(object_path(digest, path.suffix.lower()), digest, path.stat().st_size)


def part_of(path: Path, **options) -> AssetPart:
    return raster_asset(path, ref_of(path), digest=f"r1:{hash_file(path).hex()}", **options)
