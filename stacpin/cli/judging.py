"""What guard is told to judge by, and what is said of its decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from versioning.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from versioning.dataset import Dataset
    from versioning.guard import GuardReport, Metric
    from versioning.verify_objects import Sampling

__all__ = ["judged_by", "metrics_of", "no_pointer", "notes", "pointer_of", "sampling_of", "verdict"]


def pointer_of(pin: str) -> tuple[str, str]:
    """The dataset and the pointer that a pin names.

    Raises
    ------
    InvalidInput
        If it is no pin, or one that never moves.
    """
    from versioning.ids import check_pointer_name
    from versioning.pins import parse_pin

    found = parse_pin(pin)
    if found.kind != "name":
        raise InvalidInput(
            f"{pin} is a version, and a guard judges what a pointer means.",
            hint=f"Name the pointer, and the version that was measured: stacpin guard {found.dataset}@stable "
            f"--version {found.text if found.kind == 'version' else 'vN'}",
            kind="invalid-pin",
        )
    return found.dataset, check_pointer_name(found.text)


def no_pointer(error: NotFound, history: Dataset, pointer: str) -> NotFound:
    """Of a name that is none: perhaps it is a tag, which never moves."""
    if error.kind != "no-such-pointer":
        return error
    tag = history.find_tag(pointer)
    if tag is not None:
        what = f"{history.id}@{pointer} is a tag of v{tag.target}, and tags never move"
        return NotFound(f"{what}.", hint=f"Name a pointer: {history.id}@stable", kind=error.kind)
    return NotFound(
        f"{error.message.removesuffix('.')}; pointers: {', '.join(history.pointers()) or 'none'}.",
        hint=error.hint,
        kind=error.kind,
    )


def metrics_of(values: Sequence[str], least: Sequence[str], most: Sequence[str]) -> list[Metric]:
    """Measured values with their limits.

    Raises
    ------
    InvalidInput
        If a value has no limit, a limit has no value, or one of them makes no sense.
    """
    from versioning.guard import Metric

    measured, low, high = _numbers("--metric", values), _numbers("--least", least), _numbers("--most", most)
    for option, limits in (("--least", low), ("--most", high)):
        for name in limits:
            if name not in measured:
                raise InvalidInput(
                    f"{option} {name}: nothing says what {name} is.", hint=f"Give it: --metric {name}=VALUE"
                )
    found = []
    for name, value in measured.items():
        if name not in low and name not in high:
            raise InvalidInput(
                f"--metric {name}: nothing says what it must be.", hint=f"Add --least {name}=N or --most {name}=N."
            )
        found.append(Metric(name, value, least=low.get(name), most=high.get(name)))
        found[-1].fault()  # limits that make no sense are refused before anything is read
    return found


def _numbers(option: str, texts: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.rpartition("=")  # "mAP@IoU=0.5=0.71": the value is what comes last
        try:
            number = float(value)
        except ValueError:
            number = None
        if number is None or not name or name != name.strip() or not name.isprintable():
            raise InvalidInput(f"{option} {text}: not a name and a number.", hint=f"Write {option} IoU=0.7.")
        if name in found:
            raise InvalidInput(f"{option} {name} is given twice.", hint="Give it once.")
        found[name] = number
    return found


def sampling_of(sample: str | None, seed: int | None, *, verify: bool) -> Sampling | None:
    """Which part of the objects is read.

    Raises
    ------
    InvalidInput
        If it cannot be understood, or if there is nothing to take a sample of.
    """
    from versioning.verify_objects import Sampling

    for option, value in (("--sample", sample), ("--seed", seed)):
        if value is not None and not verify:
            raise InvalidInput(f"{option} is about a proof, and none is asked for.", hint="Add --verify.")
    if sample is None:
        if seed is not None:
            raise InvalidInput("--seed chooses a sample, and none is asked for.", hint="Add --sample 5%.")
        return None
    return Sampling.parse(sample, seed)


def judged_by(metrics: Sequence[Metric], sampling: Sampling | None) -> dict[str, Any]:
    """What the version was judged by, for ``--json``."""
    values = [{"name": each.name, "value": _finite(each.value), "fault": each.fault()} for each in metrics]
    sampled = None if sampling is None else {"asked": sampling.asked, "seed": sampling.seed}
    return {"metrics": values, "sample": sampled}


def _finite(value: float) -> float | str:
    """JSON has no word for what a training that diverged measures."""
    return value if abs(value) < float("inf") else str(value)


def verdict(report: GuardReport, metrics: list[Metric], *, verify: bool) -> str:
    """What the guard decided, for people."""
    name, judged = f"{report.dataset}@{report.pointer}", f"v{report.version}"
    now = f"{report.dataset}@v{report.target}"
    match report.state:
        case "holds":
            why = [f"{each.name} = {each.value:g}" for each in metrics] + (["its bytes are proven"] if verify else [])
            return f"{name} stays {now}: {', '.join(why)}"
        case "reverted":
            return f"{name} is {now} again (it was {judged}): {report.fault}"
        case "would-revert":
            return f"{name} would be {now} again (it is {judged}): {report.fault}"
        case "overtaken":
            return f"{name} is {now}: somebody moved it meanwhile, so it stays, though of {judged} {report.fault}"
    if report.version != report.target:
        return f"{name} stays {now}: it is not {judged}, which was measured{_though(report)}"
    return f"{name} stays {now}: a guard moved it last, and the value may be of what it left ({report.fault})"


def _though(report: GuardReport) -> str:
    return "" if report.fault is None else f" ({report.fault})"


def notes(report: GuardReport) -> list[str]:
    """What else is to be said of it."""
    found = [f"v{number} was passed over: {why}" for number, why in report.passed.items()]
    if report.state == "would-revert":
        found.append("nothing was changed; run it without --dry-run")
    if report.state == "left" and report.version == report.target:
        found.append(f"if v{report.target} was measured, say so: --version v{report.target}")
    return found
