"""The STAC API: pinned searches over a catalog, version routes, objects, STAC Browser."""
