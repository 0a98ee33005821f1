"""From what a request names to the versions that it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.backend import Backend
from versioning.errors import InvalidInput, NotFound
from versioning.ids import check_dataset_id, split_collection_id
from versioning.version import Version

__all__ = ["Selection", "dataset_name", "resolve", "select"]

_LATEST = "latest"
_MOST = 1_000


@dataclass(frozen=True, slots=True)
class Selection:
    """The versions that a search is drawn from. ``pinned`` if the request named each by its canonical collection id."""

    versions: tuple[Version, ...]
    pinned: bool

    @property
    def pins(self) -> list[str]:
        """``["landcover@v3"]``."""
        return [version.pin for version in self.versions]

    @property
    def collections(self) -> list[str]:
        """``["landcover--v3"]``."""
        return [version.collection_id for version in self.versions]


def resolve(backend: Backend, collection_id: str, version: str | None = None) -> Version:
    """The version that a collection id means, with the ``version`` parameter if there is one.

    Raises
    ------
    NotFound
        If there is no such dataset or version.
    InvalidInput
        If the collection id is of one version already, or ``version`` cannot be read.
    Expired
        If the version was retired.
    """
    dataset, number = split_collection_id(collection_id)
    if version is not None and number is not None:
        raise InvalidInput(
            f"{collection_id} is one version already; version={version[:100]} cannot be added to it.",
            hint=f"Ask for {dataset} with version, or for {collection_id} alone.",
            kind="pinned-twice",
        )
    if version == "":
        raise InvalidInput("version is empty.", hint="Name one, such as v3 or stable, or leave the parameter out.")
    ref = version if number is None else f"v{number}"
    return backend.resolve(_known(dataset), _LATEST if ref is None else ref)


def dataset_name(collection_id: str) -> str:
    """The dataset that a route below a dataset names.

    Raises
    ------
    InvalidInput
        If it names one version: such routes are about all of them.
    """
    dataset, number = split_collection_id(collection_id)
    if number is not None:
        raise InvalidInput(
            f"{collection_id} is one version, and this route is about all versions of {dataset}.",
            hint=f"Name the dataset: {dataset}.",
        )
    return _known(dataset)


def select(backend: Backend, collections: Sequence[str] | None, version: str | None) -> Selection:
    """The versions that a search names: all datasets at ``latest`` if it names none.

    Raises
    ------
    NotFound, Expired
        If something named does not exist (any more).
    InvalidInput
        If two versions of one dataset are named, or ``version`` with no dataset to apply it to.
    """
    if collections is None:
        if version is not None:
            raise InvalidInput(
                f"version={version[:100]} does not say of which dataset.", hint="Name it: collections=landcover."
            )
        return Selection(_all_latest(backend), pinned=False)
    if not collections or len(collections) > _MOST or not all(collections):
        raise InvalidInput(
            f"collections has {len(collections)} names, or an empty one.",
            hint=f"Name 1 to {_MOST:,}, or leave the parameter out for all datasets.",
        )
    found: dict[str, Version] = {}
    for name in dict.fromkeys(collections):
        one = resolve(backend, name, version)
        other = found.setdefault(one.dataset, one)
        if other.number != one.number:
            raise InvalidInput(
                f"{other.pin} and {one.pin} are two versions of one dataset.",
                hint="Search them one after the other, or see /collections/{dataset}/diff.",
                kind="two-versions",
            )
    versions = tuple(found[dataset] for dataset in sorted(found))
    return Selection(versions, pinned=set(collections) == {version.collection_id for version in versions})


def _all_latest(backend: Backend) -> tuple[Version, ...]:
    # A dataset may have no latest: every version of it failed its checks.
    named = (dataset for dataset in backend.dataset_ids() if backend.dataset(dataset).latest_number())
    return tuple(backend.resolve(dataset, _LATEST) for dataset in named)


def _known(dataset: str) -> str:
    try:
        return check_dataset_id(dataset)
    except InvalidInput as error:
        name, at, ref = dataset.partition("@")
        hint = f"A pin's collection id has '--' in it: {name[:100]}--{ref[:100]}." if at else error.hint
        raise NotFound(f"There is no collection {dataset[:100]!r}.", hint=hint, kind="no-such-dataset") from error
