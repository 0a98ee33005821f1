"""stacpin pins geospatial training data: immutable, verified versions, each one a STAC Collection.

>>> import stacpin
>>> pin = stacpin.open("path/or/url/of/a/catalog", "landcover@v3")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loaders import Pin, open
    from versioning.catalog import Catalog
    from versioning.errors import (
        Conflict,
        Expired,
        Forbidden,
        Immutable,
        Integrity,
        InvalidInput,
        NotFound,
        StacpinError,
        StorageUnavailable,
    )

_ERRORS = (
    "Conflict",
    "Expired",
    "Forbidden",
    "Immutable",
    "Integrity",
    "InvalidInput",
    "NotFound",
    "StacpinError",
    "StorageUnavailable",
)
_PLACES = {"Catalog": "versioning.catalog", "Pin": "loaders", "open": "loaders"} | dict.fromkeys(
    _ERRORS, "versioning.errors"
)
_PACKAGES = ("api", "catalog", "ingest", "loaders", "versioning")

__all__ = [
    "Catalog",
    "Conflict",
    "Expired",
    "Forbidden",
    "Immutable",
    "Integrity",
    "InvalidInput",
    "NotFound",
    "Pin",
    "StacpinError",
    "StorageUnavailable",
    "__version__",
    "open",
]


def _check_not_hidden() -> None:
    """Our packages have everyday names; a file of the user's by such a name would be imported in their place."""
    home = Path(__file__).resolve().parent.parent
    for name in _PACKAGES:
        spec = util.find_spec(name)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if found is None or found != home / name / "__init__.py":
            raise ImportError(
                f"stacpin's package {name!r} is hidden by {found or 'another folder of that name'}. "
                "Rename that file or folder, or start Python from another folder."
            )


_check_not_hidden()
__version__: str = import_module("versioning.release").RELEASE


def __getattr__(name: str) -> Any:
    """Import the parts of the public surface when they are first used: ``stacpin --help`` needs none of them."""
    if name in _PLACES:
        value = getattr(import_module(_PLACES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'stacpin' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
