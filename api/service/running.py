"""What an application is observed by, and what runs beside its requests, from its beginning to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from fastapi import FastAPI

from api.backend import Backend
from api.service.health import CatalogProbe, Health, Probe, Probed
from api.service.observing import Lagging, ObservedBackend, ObservedStore, Observer
from api.settings import ApiSettings
from versioning.catalog import Catalog
from versioning.store import open_store

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from api.service.metrics import Metrics
    from api.service.tracing import Tracing

__all__ = ["Running"]

_log = logging.getLogger(__name__)
_LOOK_EVERY = 5.0


@runtime_checkable
class Closing(Protocol):
    """A backend that holds connections."""

    def close(self) -> None:
        """End them."""
        ...


class Running:
    """The observers of one application.

    Parameters
    ----------
    settings
        Whether there are metrics and traces; neither's library is imported otherwise.
    provider
        Where spans go; None exports them as OpenTelemetry's variables say, if the settings want traces.
    """

    def __init__(self, settings: ApiSettings, provider: TracerProvider | None = None) -> None:
        self.metrics: Metrics | None = None
        self.tracing: Tracing | None = None
        if settings.metrics is not None:
            from api.service.metrics import Metrics

            self.metrics = Metrics()
        if settings.otel or provider is not None:
            from api.service.tracing import Tracing, exporting

            self.tracing = Tracing(exporting() if provider is None else provider)
        self._own_provider = provider is None

    @property
    def observers(self) -> Sequence[Observer]:
        """Who is told of searches and reads."""
        return [each for each in (self.metrics, self.tracing) if each is not None]

    def open(self, url: str) -> Catalog:
        """The catalog, with every read of its store observed."""
        store = open_store(url)
        return Catalog.open(ObservedStore(store, self.observers) if self.observers else store)

    def observed(self, backend: Backend) -> Backend:
        """The backend, with every search of it observed."""
        return ObservedBackend(backend, self.observers) if self.observers else backend

    def health(self, backend: Backend, *others: Probe) -> Health:
        """Readiness: the catalog, what the backend itself depends on, and others."""
        more = backend.probes() if isinstance(backend, Probed) else ()
        return Health([CatalogProbe(backend.catalog.store), *more, *others])

    def lifespan(self, backend: Backend, health: Health) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
        """What begins and ends with the application."""

        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[None]:
            tasks = [asyncio.create_task(self._look(backend)), asyncio.create_task(_first_look(health))]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                if isinstance(backend, Closing):
                    await asyncio.to_thread(backend.close)
                if self.tracing is not None and self._own_provider:
                    await asyncio.to_thread(self.tracing.close)

        return lifespan

    async def _look(self, backend: Backend) -> None:
        """Take down the index's lag now and then, not when it is asked for: a scrape must be cheap."""
        if self.metrics is None:
            return
        while isinstance(backend, Lagging):
            try:
                self.metrics.lag(await asyncio.to_thread(backend.lag))
            except Exception:  # noqa: BLE001 - whatever an index raises is logged, and the next look may do
                _log.exception("the lag of the index could not be found out")
            await asyncio.sleep(_LOOK_EVERY)


async def _first_look(health: Health) -> None:
    """Say at the start what does not work: else nobody would know before somebody asks."""
    for check in await health.look():
        if not check.ok:
            _log.warning("not ready: %s: %s", check.name, check.detail)
