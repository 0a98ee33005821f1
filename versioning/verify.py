"""Verification: every byte that a version needs is read and proven; what is wrong is named and told apart."""

from __future__ import annotations

from versioning.dataset import Dataset
from versioning.errors import NotFound
from versioning.events import Listener, silent
from versioning.verify_items import ItemProof
from versioning.verify_objects import Sampling, prove_objects
from versioning.verify_records import DatasetRecords
from versioning.verify_report import Problem, VerifyReport, detail_of
from versioning.version import Version

__all__ = ["WORKERS", "Problem", "Sampling", "VerifyReport", "detail_of", "verify_chain", "verify_version"]

WORKERS = 4


def verify_version(
    dataset: Dataset,
    version: Version,
    *,
    objects: bool = True,
    sampling: Sampling | None = None,
    workers: int = WORKERS,
    on_event: Listener = silent,
) -> VerifyReport:
    """Prove a version: its dataset's records and names, its manifests, each of its items, the bytes of its objects.

    Parameters
    ----------
    dataset
        The dataset of the version.
    version
        What to prove.
    objects
        Whether the objects are looked at too; otherwise only records, manifests and items are.
    sampling
        Which objects are read whole; of the others only presence and size are seen. None reads all of them.
    workers
        How many objects are read at once.
    on_event
        Hears how far it is, in items and then in bytes.
    """
    report = VerifyReport(version.pin, version.digest)
    # A new Dataset remembers nothing: what is proven is what the store holds now.
    fresh = Dataset(dataset.store, dataset.id, clock=dataset.now)
    records = DatasetRecords(fresh, report)
    if records.versions.get(version.number, version.record) != version.record:
        path = fresh.log.path(version.number)
        report.problems.append(Problem(path, "altered", "it is not what it was when the version was opened"))
    proof = ItemProof(report, on_event)
    proof.prove(fresh, version.record)
    if objects:
        prove_objects(fresh.store, proof.objects, report, sampling=sampling, workers=workers, on_event=on_event)
    return report


def verify_chain(dataset: Dataset) -> VerifyReport:
    """Prove all records of a dataset: each version and each pointer move names the hash of the one before it.

    Raises
    ------
    NotFound
        If the dataset has no versions.
    """
    head = dataset.head()
    if head == 0:
        raise NotFound(f"{dataset.id} has no versions.", kind="no-such-version")
    report = VerifyReport(f"{dataset.id}@v{head}", "")
    records = DatasetRecords(dataset, report)
    if head in records.versions:
        report.digest = records.versions[head].digest
    return report
