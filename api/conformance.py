"""The conformance classes that the API declares: what its tests prove, and nothing else."""

from __future__ import annotations

from stac_fastapi.extensions.collection_search.collection_search import (
    CollectionSearchConformanceClasses as CollectionSearch,
)
from stac_fastapi.extensions.fields.fields import FieldsConformanceClasses as Fields
from stac_fastapi.extensions.filter.filter import FilterConformanceClasses as Filters
from stac_fastapi.extensions.free_text.free_text import FreeTextConformanceClasses as FreeText
from stac_fastapi.extensions.sort.sort import SortConformanceClasses as Sort
from stac_fastapi.types.conformance import BASE_CONFORMANCE_CLASSES

__all__ = ["BASE", "FILTER", "VERSIONS"]

BASE = [
    *(str(name) for name in BASE_CONFORMANCE_CLASSES),
    str(Fields.SEARCH),
    str(Fields.ITEMS),
    # The sort extension came to version 1.1.0 with sortables, which are not here; sorting is the same in both.
    str(Sort.ITEM_SEARCH_SORT),
    str(Sort.FEATURES_SORT),
    "https://api.stacspec.org/v1.0.0/item-search#sort",
    "https://api.stacspec.org/v1.0.0/ogcapi-features#sort",
    str(FreeText.SEARCH),
    str(FreeText.ITEMS),
    str(CollectionSearch.COLLECTIONSEARCH),
    str(CollectionSearch.BASIS),
    str(FreeText.COLLECTIONS),
    str(Filters.COLLECTIONS),
    str(Fields.COLLECTIONS),
    # stac-fastapi names no class for sorting collections; this is the extension's own.
    "https://api.stacspec.org/v1.0.0-rc.1/collection-search#sort",
]

FILTER = [
    str(name)
    for name in (
        Filters.FILTER,
        Filters.SEARCH,
        Filters.ITEMS,
        Filters.CQL2_TEXT,
        Filters.CQL2_JSON,
        Filters.BASIC_CQL2,
        Filters.ADVANCED_COMPARISON_OPERATORS,
        Filters.BASIC_SPATIAL_FUNCTIONS,
        Filters.TEMPORAL_FUNCTIONS,
        Filters.CASE_INSENSITIVE_COMPARISON,
    )
] + ["https://api.stacspec.org/v1.0.0/item-search#filter"]

VERSIONS = [
    # Deprecated for having one class for both halves, so that nobody could conform with one of them; we have both.
    "https://api.stacspec.org/v0.1.0/ogcapi-features/extensions/version",
    "https://stacpin.github.io/pin/v1.0.0/api/collection-versions",
    "https://stacpin.github.io/pin/v1.0.0/api/item-versions",
    "https://stacpin.github.io/pin/v1.0.0/api/pinned-search",
    "https://stacpin.github.io/pin/v1.0.0/api/asset-set",
    "https://stacpin.github.io/pin/v1.0.0/api/files",
]
