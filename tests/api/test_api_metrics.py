"""Metrics: what was asked shows, and nothing that strangers send becomes a label."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from api.backend import EmbeddedBackend
from api.service.metrics import Lag
from api.service.settings import MetricsAddress
from api.settings import ApiSettings
from versioning.catalog import Catalog


def samples(client) -> dict[tuple, float]:
    """Every sample, by its name and its labels in their order."""
    answer = client.get("/_mgmt/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["cache-control"] == "no-store"
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found[(sample.name, *(sample.labels[key] for key in sorted(sample.labels)))] = sample.value
    return found


@pytest.fixture
def measured(client_of, site):
    return client_of(site, metrics="path")


def test_there_are_none_unless_asked_for(client, client_of, site):
    assert client.get("/_mgmt/metrics").status_code == 404
    # A port of their own takes them out of the API.
    assert client_of(site, metrics="9464").get("/_mgmt/metrics").status_code == 404
    code = (
        "import sys, api.app, api.settings; "
        f"api.app.create_app(api.settings.ApiSettings(catalog={str(site.folder)!r})); "
        "found = [m for m in sys.modules if m.startswith(('prometheus_client', 'opentelemetry'))]; "
        # FastAPI itself imports OpenTelemetry's interfaces where they are installed; nothing that works for us.
        "print([m for m in found if m.split('.')[1:2] in ([], ['sdk'], ['exporter'], ['instrumentation'])])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in {"[]", "['opentelemetry']"}


def test_requests_by_route_method_and_status(measured):
    for number in (1, 2, 3):
        measured.get(f"/collections/landcover--v{number}")
    measured.head("/collections/landcover--v1")
    measured.get("/collections/none")
    found = samples(measured)
    route = "/collections/{collection_id}"
    assert found[("stacpin_http_requests_total", "GET", route, "2xx")] == 3
    assert found[("stacpin_http_requests_total", "GET", route, "4xx")] == 1
    assert found[("stacpin_http_requests_total", "HEAD", route, "2xx")] == 1
    assert found[("stacpin_http_request_duration_seconds_count", "GET", route)] == 4
    assert found[("stacpin_http_requests_in_progress",)] == 1  # the scrape itself


def test_strangers_make_up_no_labels(measured):
    for path in ("/nothing", "/nothing/else?x=1", "/collections/../x", "/objects/zz/zz", "/browser/any/page"):
        measured.get(path)
    measured.request("BREW", "/collections/landcover")
    measured.request("X" * 100, "/")
    found = samples(measured)
    routes = {key[2] for key in found if key[0] == "stacpin_http_requests_total"}
    methods = {key[1] for key in found if key[0] == "stacpin_http_requests_total"}
    assert methods == {"GET", "other"}
    assert "none" in routes
    templates = set(measured.get("/api").json()["paths"])
    assert {route for route in routes if "{" not in route} <= {"none", "/", "/browser/", *templates}
    assert not any("else" in route or "any" in route or "zz" in route for route in routes)


def test_every_route_has_a_label_of_its_own(measured):
    paths = measured.get("/api").json()["paths"]
    fill = {"{collection_id}": "landcover", "{item_id}": "t01", "{version_id}": "v1", "{shard}": "ab", "{name}": "x"}
    for template in paths:
        path = template
        for name, value in fill.items():
            path = path.replace(name, value)
        measured.get(path.replace("{", "").replace("}", ""))
    counted = {key[2] for key in samples(measured) if key[0] == "stacpin_http_requests_total"}
    assert counted >= set(paths)


def test_bytes_are_those_that_were_sent(measured):
    plain = measured.get("/collections", headers={"Accept-Encoding": "identity"})
    answer = measured.send(measured.build_request("GET", "/collections", headers={"Accept-Encoding": "gzip"}))
    packed = int(answer.headers["content-length"])
    assert packed < len(plain.content)
    assert samples(measured)[("stacpin_http_response_bytes_total", "/collections")] == len(plain.content) + packed


def test_a_defect_of_ours_is_counted_as_one(measured, monkeypatch):
    monkeypatch.setattr("api.core.collection_document", lambda *_: 1 / 0)
    assert measured.get("/collections/landcover--v1").status_code == 500
    assert samples(measured)[("stacpin_http_requests_total", "GET", "/collections/{collection_id}", "5xx")] == 1


def test_what_clients_have_already(measured):
    path = "/collections/landcover--v1/items"
    etag = measured.get(path).headers["etag"]
    measured.get(path, headers={"If-None-Match": etag})
    measured.get(path, headers={"If-None-Match": '"other"'})
    found = samples(measured)
    assert found[("stacpin_http_cache_lookups_total", "hit")] == 1
    assert found[("stacpin_http_cache_lookups_total", "miss")] == 1


def test_searches_by_kind_and_reads_of_the_store(measured):
    asked = {
        "": "all",
        "ids=t01": "ids",
        "bbox=0,0,1,1": "space",
        "datetime=2021&filter=eo:cloud_cover<50": "time+filter",
        'intersects={"type":"Point","coordinates":[0.5,0.5]}&ids=t00,t01': "ids+space",
    }
    items = 0
    for query in asked:
        items += measured.get(f"/search?collections=landcover--v1&{query}").json()["numberReturned"]
    assert measured.get("/search?collections=landcover--v1&token=nonsense").status_code == 400
    found = samples(measured)
    assert {kind: found[("stacpin_searches_total", kind, "ok")] for kind in asked.values()} == dict.fromkeys(
        asked.values(), 1
    )
    assert found[("stacpin_searches_total", "all", "error")] == 1
    assert found[("stacpin_search_items_total",)] == items
    assert found[("stacpin_search_duration_seconds_count",)] == 6
    assert found[("stacpin_store_calls_total", "get", "ok")] > 0
    assert found[("stacpin_store_read_bytes_total", "get")] > 0
    assert found[("stacpin_store_call_seconds_total", "get")] > 0


def test_ranges_of_objects_are_counted_by_their_bytes(measured):
    href = measured.get("/collections/landcover--v1/items/t01").json()["assets"]["cover"]["href"]
    before = samples(measured).get(("stacpin_store_read_bytes_total", "get_range"), 0)
    assert measured.get(href, headers={"Range": "bytes=10-109"}).status_code == 206
    assert samples(measured)[("stacpin_store_read_bytes_total", "get_range")] == before + 100
    assert measured.get("/objects/00/" + "0" * 64).status_code == 404
    assert samples(measured)[("stacpin_store_calls_total", "size", "missing")] >= 1


def test_two_applications_count_for_themselves(client_of, site):
    one, other = client_of(site, metrics="path"), client_of(site, metrics="path")
    one.get("/conformance")
    key = ("stacpin_http_requests_total", "GET", "/conformance", "2xx")
    assert samples(one)[key] == 1
    assert key not in samples(other)


def test_observing_changes_no_answer(client, measured):
    for path in (
        "/collections",
        "/search?collections=landcover&limit=2",
        "/collections/landcover--v1/assets",
        "/files/",
    ):
        assert measured.get(path).content == client.get(path).content


class Behind(EmbeddedBackend):
    """A backend with an index that lags behind."""

    def lag(self) -> Lag:
        return Lag(versions=3, seconds=12.5)


def test_the_lag_of_an_index(client, measured, site):
    assert ("stacpin_index_lag_versions",) not in samples(measured)
    catalog = Catalog.open(str(site.folder))
    app = create_app(ApiSettings(catalog=catalog.url, metrics="path"), backend=Behind(catalog))
    with type(client)(app, base_url="http://api.test") as behind:
        end = time.monotonic() + 30
        while ("stacpin_index_lag_seconds",) not in samples(behind) and time.monotonic() < end:
            time.sleep(0.01)
        found = samples(behind)
    assert (found[("stacpin_index_lag_versions",)], found[("stacpin_index_lag_seconds",)]) == (3, 12.5)


def test_a_scraper_may_ask_for_openmetrics(measured):
    answer = measured.get("/_mgmt/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("9464", "127.0.0.1", 9464),
        ("0.0.0.0:1", "0.0.0.0", 1),
        ("[::1]:9464", "::1", 9464),
        ("metrics.local:80", "metrics.local", 80),
    ],
)
def test_addresses_of_metrics(text, host, port):
    assert MetricsAddress.parse(text) == MetricsAddress(host, port)
    assert ApiSettings(catalog="x", metrics=text).metrics_address == MetricsAddress(host, port)


@pytest.mark.parametrize(
    "text", ["", "x", "70000", "-1", ":9464", "::1:9464", "[x]:1", "a b:1", "9464 ", "http://x:1", "٣"]
)
def test_what_is_no_address_of_metrics(text):
    with pytest.raises(ValueError):
        ApiSettings(catalog="x", metrics=text)
