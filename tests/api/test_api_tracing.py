"""Traces: a span for each request, search and read, below the caller's; sent as OpenTelemetry's variables say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from served import served

from api.app import create_app
from api.service.tracing import wanted
from api.settings import ApiSettings

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


@pytest.fixture
def traced(client, site):
    """A client, and the spans that its requests make."""
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    app = create_app(ApiSettings(catalog=str(site.folder)), tracer_provider=provider)
    # Opening the catalog reads its store, which is no request.
    assert spans.get_finished_spans() == ()
    yield type(client)(app, base_url="http://api.test", raise_server_exceptions=False), spans
    provider.shutdown()


def test_a_search_is_one_trace_below_its_callers(traced):
    client, exporter = traced
    assert client.get("/search?collections=landcover--v1&bbox=0,0,9,9&limit=2", headers=PARENT).status_code == 200
    spans = exporter.get_finished_spans()
    assert {format(span.context.trace_id, "032x") for span in spans} == {TRACE}
    (server,) = [span for span in spans if span.name == "GET /search"]
    assert format(server.parent.span_id, "016x") == "b7ad6b7169203331"
    (search,) = [span for span in spans if span.name == "search"]
    assert search.parent.span_id == server.context.span_id
    assert dict(search.attributes) == {
        "stacpin.search.kind": "space",
        "stacpin.search.items": 2,
        "stacpin.outcome": "ok",
    }
    reads = [span for span in spans if span.name.startswith("store ")]
    assert reads
    assert all(set(span.attributes) == {"stacpin.store.bytes", "stacpin.outcome"} for span in reads)


def test_a_search_that_fails_says_so(traced):
    client, exporter = traced
    assert client.get("/search?collections=landcover--v1&token=nonsense").status_code == 400
    (search,) = [span for span in exporter.get_finished_spans() if span.name == "search"]
    assert search.status.status_code is StatusCode.ERROR
    assert search.attributes["stacpin.outcome"] == "error"


def test_probes_are_not_traced(traced):
    client, exporter = traced
    client.get("/_mgmt/ping")
    assert exporter.get_finished_spans() == ()
    assert client.get("/_mgmt/health").status_code == 200
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
    ],
)
def test_when_the_environment_asks_for_traces(environment, on):
    assert wanted(environment) is on


@pytest.fixture
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """A real OTLP receiver over HTTP: its address, and what it was sent."""
    received: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_a_service_exports_at_its_end(site, tmp_path, collector, workers):
    endpoint, received = collector
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test"}
    with served(tmp_path, str(site.folder), "--workers", workers, environment=environment) as server:
        assert server.get("/search?collections=landcover--v1", headers=PARENT).status_code == 200
        assert server.stop() == 0
        assert "Traceback" not in server.said
    spans = {}
    for request in received:
        for resource in request.resource_spans:
            attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
            assert attributes["service.name"] == "stacpin"
            assert attributes["deployment.environment"] == "test"
            for scope in resource.scope_spans:
                spans |= {span.name: span.trace_id.hex() for span in scope.spans if span.trace_id.hex() == TRACE}
    assert {"GET /search", "search"} <= spans.keys()
