"""Traces by OpenTelemetry: a span for each request, search and call of the store. Nothing is imported unless it is on.

Where they go is told in OpenTelemetry's own variables (``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_SERVICE_NAME``,
``OTEL_TRACES_SAMPLER``): https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from api.service.observing import Call

if TYPE_CHECKING:
    from fastapi import FastAPI
    from opentelemetry.sdk.trace import TracerProvider

__all__ = ["Tracing", "exporting", "wanted"]

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
# Probes and scrapes come every few seconds for ever.
_UNTRACED = "/_mgmt/"


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry's own variables ask for traces: an endpoint is named, and the SDK not disabled."""
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    none = environment.get("OTEL_TRACES_EXPORTER", "otlp").lower() == "none"
    return not off and not none and any(environment.get(name) for name in _ENDPOINTS)


def exporting() -> TracerProvider:
    """A provider that exports by OTLP over HTTP, as the environment says."""
    import os

    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # The variables go first: create() would put ours above OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(resource=Resource.create({} if named else {"service.name": "stacpin"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Tracing:
    """The traces of one application, and an observer of its backend and its store.

    What is read outside of a traced request, by probes every few seconds or at the start, makes no trace of its own.

    Parameters
    ----------
    provider
        Where spans go; it is not made the global one, so that two applications can live in one process.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider
        self._tracer = provider.get_tracer("stacpin")

    def instrument(self, app: FastAPI) -> None:
        """Give each request a span, named by its route, below the span that ``traceparent`` names."""
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        FastAPIInstrumentor.instrument_app(
            app, tracer_provider=self.provider, excluded_urls=_UNTRACED, exclude_spans=["receive", "send"]
        )

    def close(self) -> None:
        """Export what is left."""
        self.provider.shutdown()

    @contextmanager
    def search(self, kind: str, call: Call) -> Iterator[None]:
        """A span around one search of the backend."""
        if not _inside():
            yield
            return
        with self._tracer.start_as_current_span("search", attributes={"stacpin.search.kind": kind}) as span:
            try:
                yield
            finally:
                span.set_attributes({"stacpin.search.items": call.size, "stacpin.outcome": call.outcome})

    @contextmanager
    def store_call(self, operation: str, call: Call) -> Iterator[None]:
        """A span around one call of the store; without its path, which is an address."""
        if not _inside():
            yield
            return
        with self._tracer.start_as_current_span(
            f"store {operation}", record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            finally:
                span.set_attributes({"stacpin.store.bytes": call.size, "stacpin.outcome": call.outcome})


def _inside() -> bool:
    from opentelemetry.trace import get_current_span

    return get_current_span().is_recording()
