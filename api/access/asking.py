"""What is known of a request while it is answered: who asks, what that reader may see, what the answer was drawn from.

It is found by context and not passed on: routes know nothing of it, so none can forget it. Where there is none, nothing
can be seen.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field

from api.access.scopes import Reader
from api.access.signatures import HrefSigner
from versioning.version import Version

__all__ = ["ASKING", "Asking", "current"]


@dataclass(slots=True)
class Asking:
    """One request. ``granted`` is a dataset that a signed address opens; the answer goes stale at ``fresh_until``."""

    reader: Reader
    signer: HrefSigner
    fresh_until: int
    granted: str | None = None
    datasets: set[str] = field(default_factory=set)
    pins: dict[str, str] = field(default_factory=dict)
    objects: set[str] = field(default_factory=set)
    items: int | None = None
    reason: str | None = None

    def may(self, dataset_id: str) -> bool:
        """Whether a dataset of that name can be seen; if not, that is the reason of what follows."""
        if self.reader.may(dataset_id) or dataset_id == self.granted:
            return True
        self.reason = f"no right to read {dataset_id[:100]!r}"
        return False

    def drawn_from(self, version: Version) -> None:
        """Note a version that the answer needed."""
        self.datasets.add(version.dataset)
        self.pins[version.pin] = version.digest

    def counted(self, items: int) -> None:
        """Note so many items more."""
        self.items = (self.items or 0) + items


ASKING: ContextVar[Asking | None] = ContextVar("ASKING", default=None)


def current() -> Asking | None:
    """The request that is answered here, None outside of any."""
    return ASKING.get()
