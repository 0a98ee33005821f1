"""The pgstac index: every item revision once, with the versions in which it is valid. It can be rebuilt at any time."""
