"""Imports that wait until somebody needs them."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

__all__ = ["import_later"]


def import_later(package: str) -> None:
    """Have a package imported when something in it is looked at; does nothing if it is there, or not installed.

    rasterio imports boto3 in case somebody opens a file in S3: 0.1 s and 10 MB in each process that reads a GeoTIFF
    from a disk. Only for processes of our own: who imports stacpin finds the imports of others as they are. Not
    `importlib.util.LazyLoader`, whose module is loaded by the ``import`` statement that finds it.
    """
    spec = find_spec(package) if package not in sys.modules else None
    if spec is None:
        return
    stand_in = ModuleType(package)

    def load(name: str) -> Any:
        if sys.modules.get(package) is stand_in:
            del sys.modules[package]
        return getattr(import_module(package), name)

    stand_in.__spec__ = spec
    stand_in.__getattr__ = load
    sys.modules[package] = stand_in
