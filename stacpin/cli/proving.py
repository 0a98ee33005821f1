"""What verify does: which proof is asked for, what is said of it, and what repair restored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacpin.cli.context import catalog_of, catalog_url
from stacpin.cli.output import Output, counted, human_bytes
from versioning.errors import Integrity, InvalidInput
from versioning.events import Listener
from versioning.verify_report import CatalogReport, VerifyReport

if TYPE_CHECKING:
    from loaders import FolderReport
    from versioning.repair import RepairReport
    from versioning.verify_objects import Sampling

__all__ = ["Asked", "verify"]

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of verify."""

    all: bool
    sample: str | None
    seed: int | None
    repair_from: tuple[str, ...]
    workers: int
    catalog: str | None

    def sampling(self) -> Sampling | None:
        """The sample that is asked for.

        Raises
        ------
        InvalidInput
            If it cannot be understood, or if there is a seed without it.
        """
        from versioning.verify_objects import Sampling

        if self.sample is None:
            if self.seed is not None:
                raise InvalidInput("--seed chooses a sample, and none is asked for.", hint="Add --sample 5%.")
            return None
        return Sampling.parse(self.sample, self.seed)


def verify(out: Output, what: str | None, asked: Asked) -> None:
    """Prove what is asked for, say what was proven, and fail if anything is wrong."""
    if what is not None and _is_folder(what):
        _refuse_options(asked, "a folder is proven whole; pull it again to mend it")
        from loaders import verify_folder

        with out.progress() as listen:
            report = verify_folder(what, on_event=listen)
        _answer(out, report)
    elif what is not None and not asked.all:
        if asked.repair_from:
            raise InvalidInput(
                "A single version is not repaired: its files belong to others too.",
                hint=f"Repair the dataset: stacpin verify {what.partition('@')[0]} --all --repair-from URL",
            )
        with out.progress() as listen:
            proof = _pin(what, asked, listen)
        _answer(out, proof)
    else:
        _whole(out, what, asked)


def _pin(what: str, asked: Asked, listen: Listener) -> VerifyReport:
    from loaders import open as open_pin
    from loaders.catalog_source import CatalogSource

    sampling = asked.sampling()
    source = open_pin(catalog_url(asked.catalog), what).source
    if isinstance(source, CatalogSource):
        return source.proof(sampling=sampling, workers=asked.workers, on_event=listen)
    if sampling is not None:
        raise InvalidInput("--sample needs the catalog itself, not an API.", hint="Name it: -C PATH_OR_URL.")
    return source.verify(on_event=listen)


def _whole(out: Output, dataset: str | None, asked: Asked) -> None:
    if dataset is not None and "@" in dataset:
        raise InvalidInput(
            f"--all is about all versions of a dataset; {dataset} is one version.",
            hint=f"stacpin verify {dataset.partition('@')[0]} --all",
        )
    catalog = catalog_of(asked.catalog)
    options: dict[str, Any] = {"sampling": asked.sampling(), "workers": asked.workers}
    if not asked.repair_from:
        from versioning.fsck import verify_catalog

        with out.progress() as listen:
            report = verify_catalog(catalog, dataset, on_event=listen, **options)
        _answer(out, report)
        return
    from versioning.repair import repair_catalog

    with out.progress() as listen:
        repair = repair_catalog(catalog, asked.repair_from, dataset, on_event=listen, **options)
    assert repair.after is not None
    for each in repair.mended:
        kept = f"; the damaged bytes are in {each.kept}" if each.kept else ""
        trust = ", which nothing proves: taken on trust" if each.proof == "trust" else ""
        out.note(f"repaired: {each.path} ({each.was}) from {each.source}{trust}{kept}")
    for each in repair.refused:
        out.note(f"not repaired: {each.path}: {each.detail}")
    _answer(out, repair.after, repair)


def _answer(out: Output, report: VerifyReport | FolderReport, repair: RepairReport | None = None) -> None:
    data = report.to_dict() | ({"repair": repair.to_dict()} if repair is not None else {})
    if report.ok:
        lines = [_proven(report)]
        if repair is not None:
            lines.append(f"repaired: {counted(len(repair.mended), 'file')}")
        out.data(data, "\n".join(lines))
        return
    if not out.json:
        for problem in report.problems:
            out.note(f"{problem.kind}: {problem.path}: {problem.detail}")
    names = ", ".join(sorted({problem.path for problem in report.problems})[:_SHOWN])
    if "dest" in data:
        hint = "Pull it again."
    elif repair is not None:
        hint = "Name another mirror: --repair-from URL."
    else:
        hint = "Restore what is damaged from a mirror of the catalog: stacpin verify --repair-from URL"
    raise Integrity(
        f"{_name(report)} is damaged: {counted(len(report.problems), 'problem')}, in {names}.",
        hint=hint,
        kind="damaged",
        data=data,
    )


def _name(report: VerifyReport | FolderReport) -> str:
    return report.pin or (report.catalog if isinstance(report, CatalogReport) else "")


def _proven(report: VerifyReport | FolderReport) -> str:
    data = report.to_dict()
    sample = data.get("sample")
    files = counted(data["objects" if "objects" in data else "files"], "file")
    if sample:
        files = f"{sample['objects']} of {counted(sample['of_objects'], 'file')}"
    parts = [counted(data["items"], "item"), files, human_bytes(data["bytes"])]
    lines = [f"{report.pin}  {report.digest}", f"proven: {', '.join(parts)}"]
    if isinstance(report, CatalogReport):
        versions = f"{counted(report.versions, 'version')} of {counted(len(report.datasets), 'dataset')}"
        counts = [versions, counted(report.records, "record"), counted(report.manifests, "manifest"), *parts]
        lines = [_name(report), f"proven: {', '.join(counts)}"]
        if report.expired:
            lines.append(f"not read: {counted(report.expired, 'expired version')}, but for the records")
    if sample:
        left = sample["of_objects"] - sample["objects"]
        lines.append(
            f"not read: {counted(left, 'file')}, {human_bytes(sample['of_bytes'] - sample['bytes'])}: seen to be "
            f"there in their sizes (--sample {sample['asked']} --seed {sample['seed']})"
        )
    if data.get("referenced"):
        lines.append(f"not read: {counted(data['referenced'], 'asset')} outside the catalog")
    if isinstance(report, CatalogReport):
        lines += _extras(report)
    else:
        lines += [f"extra: {path}" for path in data.get("extra", [])]
    return "\n".join(lines)


def _extras(report: CatalogReport) -> list[str]:
    needless, foreign = report.extra.unreferenced, report.extra.foreign
    lines: list[str] = []
    if needless.files:
        size = human_bytes(needless.bytes)
        lines.append(f"extra: {counted(needless.files, 'file')} that no version needs, {size}; see stacpin gc")
    if foreign.files:
        names = ", ".join(foreign.names[:_SHOWN]) + (", …" if foreign.files > _SHOWN else "")
        lines.append(f"extra: {counted(foreign.files, 'file')} that no catalog has: {names}")
    return lines


def _refuse_options(asked: Asked, why: str) -> None:
    given = {"--all": asked.all, "--sample": asked.sample, "--seed": asked.seed, "--repair-from": asked.repair_from}
    for name, value in given.items():
        if value:
            raise InvalidInput(f"{name} is not for folders: {why}.")


def _is_folder(what: str) -> bool:
    return "@" not in what and ("/" in what or Path(what).is_dir())
