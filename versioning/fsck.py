"""A whole catalog, or all versions of a dataset: everything is proven once, and what no version needs is named."""

from __future__ import annotations

import re

from versioning.catalog import Catalog
from versioning.dataset import Dataset
from versioning.errors import NotFound
from versioning.events import Listener, silent
from versioning.ids import check_dataset_id, check_pointer_name, check_tag_name
from versioning.verify import WORKERS
from versioning.verify_items import ItemProof
from versioning.verify_objects import Sampling, prove_objects
from versioning.verify_records import DatasetRecords, is_name, prove_mark
from versioning.verify_report import CatalogReport

__all__ = ["verify_catalog"]

_NUMBER = r"[0-9]{8}\.json"
_OBJECT = re.compile(r"objects/([0-9a-f]{2})/\1[0-9a-f]{62}(?:\.[a-z0-9]{1,12})?")
_FILE = re.compile(r"(?:manifests|snapshots)/[0-9a-f]{64}\.parquet")
_LOG = re.compile(rf"(?:versions|expired)/{_NUMBER}")
_POINTER = re.compile(rf"pointers/([^/]+)/{_NUMBER}")
_TAG = re.compile(r"tags/([^/]+)\.json")
_TOP = re.compile(rf"stacpin\.json|settings/{_NUMBER}")
# What garbage collection and runs keep there is theirs; no reader looks.
_ASIDE = ("gc/", "staging/", "quarantine/")


def verify_catalog(
    catalog: Catalog,
    dataset: str | None = None,
    *,
    objects: bool = True,
    sampling: Sampling | None = None,
    workers: int = WORKERS,
    on_event: Listener = silent,
) -> CatalogReport:
    """Prove all versions of a dataset, or the whole catalog: every record, manifest, item and object.

    Chunks, manifests and objects that versions share are proven once. Of expired versions only the records are proven:
    their bytes may be gone.

    Parameters
    ----------
    catalog
        The catalog.
    dataset
        The id of a dataset; None is everything.
    objects
        Whether the objects are looked at too.
    sampling
        Which objects are read whole; of the others only presence and size are seen. None reads all of them.
    workers
        How many objects are read at once.
    on_event
        Hears how far it is, in items and then in bytes.

    Raises
    ------
    NotFound
        If there is no such dataset.
    """
    store = catalog.store
    report = CatalogReport(dataset or "", "", catalog=catalog.url)
    if dataset is not None and not any(store.list(f"datasets/{check_dataset_id(dataset)}")):
        listed = ", ".join(catalog.dataset_ids()[:20]) or "none"
        raise NotFound(f"{catalog.url} has no dataset {dataset!r}; datasets: {listed}.", kind="no-such-dataset")
    if dataset is None:
        prove_mark(store, report)
    names = [dataset] if dataset else [name for name in store.folders("datasets") if is_name(check_dataset_id, name)]
    proof = ItemProof(report, on_event)
    for name in names:
        fresh = Dataset(store, name, clock=catalog.dataset(name).now)
        records = DatasetRecords(fresh, report)
        if records.versions:
            report.datasets.append(name)
        for number, record in records.versions.items():
            if number in records.expired:
                report.expired += 1
            else:
                report.versions += 1
                proof.prove(fresh, record)
    report.extra.certain = report.ok
    report.items, report.manifests = proof.revisions, len(proof.needed)
    if objects:
        prove_objects(store, proof.objects, report, sampling=sampling, workers=workers, on_event=on_event)
    _find_extras(catalog, dataset, proof, report)
    return report


def _find_extras(catalog: Catalog, dataset: str | None, proof: ItemProof, report: CatalogReport) -> None:
    """Every file of the catalog that no proven version needs; of one dataset only its own, for objects are shared."""
    extra = report.extra
    for entry in catalog.store.list("" if dataset is None else f"datasets/{dataset}"):
        path = entry.path
        if _OBJECT.fullmatch(path):
            if not proof.objects.has_path(path):
                extra.unreferenced.add(path, entry.size)
        elif path.startswith("datasets/"):
            name, _, rest = path.removeprefix("datasets/").partition("/")
            if not is_name(check_dataset_id, name) or not _has_place(rest):
                extra.foreign.add(path, entry.size)
            elif _FILE.fullmatch(rest) and path not in proof.needed:
                extra.unreferenced.add(path, entry.size)
        elif not _TOP.fullmatch(path) and not path.startswith(_ASIDE):
            extra.foreign.add(path, entry.size)


def _has_place(path: str) -> bool:
    """Whether a path within a dataset is one of the format's."""
    if _FILE.fullmatch(path) or _LOG.fullmatch(path):
        return True
    pointer, tag = _POINTER.fullmatch(path), _TAG.fullmatch(path)
    return (pointer is not None and is_name(check_pointer_name, pointer[1])) or (
        tag is not None and is_name(check_tag_name, tag[1])
    )
