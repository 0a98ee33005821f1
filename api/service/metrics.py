"""Metrics for Prometheus: requests, searches, reads of the store, the index's lag. Route templates only, never paths.

Names follow https://prometheus.io/docs/practices/naming/. Each application has a registry of its own, so that two can
live in one process. Several workers write into files of one folder (prometheus_client's multiprocess mode, which it
takes from ``PROMETHEUS_MULTIPROC_DIR`` when it is imported), and any of them answers for all.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.requests import Request
from starlette.responses import Response

from api.service.observing import Call, Lag

__all__ = ["FOLDER", "Metrics", "readable"]

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})
# From an answer out of memory (1 ms) to a search at its limit (20 s).
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 60)


class Metrics:
    """The metrics of one application, and an observer of its backend and its store."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._several = FOLDER in os.environ
        self._lag: tuple[Gauge, Gauge] | None = None
        to = self.registry
        self.requests = Counter(
            "stacpin_http_requests", "Requests that were answered.", ["method", "route", "status"], registry=to
        )
        self.seconds = Histogram(
            "stacpin_http_request_duration_seconds",
            "Time until an answer began: a client that reads slowly is not counted against the server.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=to,
        )
        self.sent = Counter(
            "stacpin_http_response_bytes", "Bytes of answers' bodies, as they were sent.", ["route"], registry=to
        )
        self.running = Gauge(
            "stacpin_http_requests_in_progress", "Requests that are being answered.", registry=to,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self.conditional = Counter(
            "stacpin_http_cache_lookups",
            "Requests of clients that have an answer already: hit if it is still right (304), miss if not.",
            ["result"],
            registry=to,
        )
        self.searches = Counter(
            "stacpin_searches", "Searches, by what they select by.", ["kind", "outcome"], registry=to
        )
        self.search_seconds = Histogram(
            "stacpin_search_duration_seconds", "Time in the backend for a page.", buckets=_SECONDS, registry=to
        )
        self.search_items = Counter("stacpin_search_items", "Items of the pages of searches.", registry=to)
        self.store_calls = Counter(
            "stacpin_store_calls", "Calls of the object store.", ["operation", "outcome"], registry=to
        )
        self.store_seconds = Counter(
            "stacpin_store_call_seconds", "Time in calls of the object store.", ["operation"], registry=to
        )
        self.store_bytes = Counter(
            "stacpin_store_read_bytes", "Bytes read from the object store.", ["operation"], registry=to
        )
        build = Gauge(
            "stacpin_build_info", "1; the labels say what runs.", ["version", "python"], registry=to,
            multiprocess_mode="max",
        )  # fmt: skip
        build.labels(_version(), platform.python_version()).set(1)

    def answered(self, method: str, route: str, status: int, *, seconds: float, sent: int, conditional: bool) -> None:
        """Count one request. A method that no route has is ``other``: strangers shall not make up labels."""
        method = method if method in _METHODS else "other"
        self.requests.labels(method, route, f"{status // 100}xx").inc()
        self.seconds.labels(method, route).observe(seconds)
        self.sent.labels(route).inc(sent)
        if conditional and status in {200, 304}:
            self.conditional.labels("hit" if status == 304 else "miss").inc()  # noqa: PLR2004 - Not Modified

    @contextmanager
    def search(self, kind: str, call: Call) -> Iterator[None]:
        """Around one search of the backend."""
        try:
            yield
        finally:
            self.searches.labels(kind, call.outcome).inc()
            self.search_seconds.observe(call.seconds)
            self.search_items.inc(call.size)

    @contextmanager
    def store_call(self, operation: str, call: Call) -> Iterator[None]:
        """Around one call of the store."""
        try:
            yield
        finally:
            self.store_calls.labels(operation, call.outcome).inc()
            self.store_seconds.labels(operation).inc(call.seconds)
            self.store_bytes.labels(operation).inc(call.size)

    def lag(self, lag: Lag) -> None:
        """Take down how far the index is behind. Where there is no index there is no such metric, not one that is 0."""
        if self._lag is None:
            self._lag = (
                Gauge(
                    "stacpin_index_lag_versions",
                    "Versions that the index lacks of those that stacpin index saw when it last looked.",
                    registry=self.registry,
                    multiprocess_mode="livemax",
                ),
                Gauge(
                    "stacpin_index_lag_seconds",
                    "Since stacpin index last looked at all of the catalog, or has seen a version that it lacks.",
                    registry=self.registry,
                    multiprocess_mode="livemax",
                ),
            )
        versions, seconds = self._lag
        versions.set(lag.versions)
        seconds.set(lag.seconds)

    def endpoint(self) -> Callable[[Request], Response]:
        """GET /_mgmt/metrics, in the form that the scraper asks for."""
        registry = readable() if self._several else self.registry

        def metrics(request: Request) -> Response:
            encode, kind = choose_encoder(request.headers.get("accept", ""))
            return Response(encode(registry), headers={"Content-Type": kind, "Cache-Control": "no-store"})

        return metrics


def readable() -> CollectorRegistry:
    """What all workers have counted, those that are gone too; for whoever has the same folder in the environment."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return registry


def _version() -> str:
    try:
        return version("stacpin")
    except PackageNotFoundError:
        return "unknown"
