"""The names that a catalog accepts: datasets, items, tags, pointers. Everything else is refused before it is a path."""

from __future__ import annotations

import re

from versioning.errors import InvalidInput

__all__ = [
    "check_dataset_id",
    "check_item_id",
    "check_pointer_name",
    "check_tag_name",
    "collection_id",
    "split_collection_id",
]

_DATASET = re.compile(r"[a-z0-9](?:[a-z0-9_]|-(?!-|\Z)){0,99}")
_ITEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+=,-]{0,199}")
_TAG = re.compile(r"[A-Za-z][A-Za-z0-9._+-]{0,99}|[0-9]+\.[0-9A-Za-z.+-]{1,98}")
_POINTER = re.compile(r"[a-z][a-z0-9_-]{0,99}")
_VERSION = re.compile(r"[vV]?[0-9]+")
_COLLECTION = re.compile(r"(?P<dataset>.+)--v(?P<number>[1-9][0-9]{0,7})")


def check_dataset_id(name: str) -> str:
    """Return ``name`` if a dataset may have it.

    Lower-case letters, digits, ``-`` and ``_``; without ``--``, not ending in ``-``; at most 100 characters.

    Raises
    ------
    InvalidInput
        If the name is not of that form.
    """
    if not _DATASET.fullmatch(name):
        raise InvalidInput(
            f"{name!r} cannot be a dataset's id.",
            hint="Use lower-case letters, digits, '-' and '_' (no '--', not ending in '-'), at most 100 characters.",
            kind="invalid-id",
        )
    return name


def check_item_id(name: object) -> str:
    """Return ``name`` if an item may have it: ``[A-Za-z0-9][A-Za-z0-9._:+=,-]{0,199}``.

    Raises
    ------
    InvalidInput
        If the name is not of that form.
    """
    if not isinstance(name, str) or not _ITEM.fullmatch(name):
        raise InvalidInput(
            f"{name!r} cannot be an item's id.",
            hint="Use letters, digits and . _ : + = , - (first a letter or a digit), at most 200 characters.",
            kind="invalid-id",
        )
    return name


def check_tag_name(name: str) -> str:
    """Return ``name`` if a tag may have it: a semantic version (``v2.1.4``) or a name that cannot be mistaken.

    Raises
    ------
    InvalidInput
        If the name is malformed, or looks like a version, a digest or ``latest``.
    """
    hint = "Use a semantic version such as v2.1.4, or a name of letters, digits and . _ + -."
    if not _TAG.fullmatch(name) or ".." in name:
        raise InvalidInput(f"{name!r} cannot be a tag.", hint=hint, kind="invalid-id")
    if _VERSION.fullmatch(name) or name.lower().startswith("sha256") or name in {"latest", "stable"}:
        raise InvalidInput(
            f"{name!r} cannot be a tag: it looks like a version, a digest or a pointer.", hint=hint, kind="invalid-id"
        )
    return name


def check_pointer_name(name: str) -> str:
    """Return ``name`` if a pointer may have it: lower-case letters, digits, ``-`` and ``_``.

    Raises
    ------
    InvalidInput
        If the name is malformed or looks like a version or a digest.
    """
    if not _POINTER.fullmatch(name) or _VERSION.fullmatch(name) or name.startswith("sha256"):
        raise InvalidInput(
            f"{name!r} cannot be a pointer.",
            hint="Use a name such as stable or candidate: lower-case letters, digits, '-' and '_'.",
            kind="invalid-id",
        )
    return name


def collection_id(dataset: str, number: int) -> str:
    """The STAC collection id of a version: ``landcover--v3``."""
    return f"{dataset}--v{number}"


def split_collection_id(name: str) -> tuple[str, int | None]:
    """The dataset and the version number of a collection id; the number is None for a bare dataset id."""
    match = _COLLECTION.fullmatch(name)
    return (match["dataset"], int(match["number"])) if match else (name, None)
