"""STAC: items, collections, content digests, search at a pin."""
