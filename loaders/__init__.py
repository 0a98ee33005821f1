"""Pins for consumers: open one, search it, pull it, prove it, read it as arrays."""

from __future__ import annotations

from loaders.assets import Asset
from loaders.folder_check import FolderReport, verify_folder
from loaders.lock import LOCK_NAME, LockEntry, read_lock, write_lock
from loaders.opening import open_pin
from loaders.pin import Pin
from loaders.pull import PullReport

__all__ = [
    "LOCK_NAME",
    "Asset",
    "FolderReport",
    "LockEntry",
    "Pin",
    "PullReport",
    "open",
    "read_lock",
    "verify_folder",
    "write_lock",
]

open = open_pin  # noqa: A001 - users write stacpin.open, as they write rasterio.open
