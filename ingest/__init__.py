"""Ingest: from raw files by a recipe to items of a version."""
