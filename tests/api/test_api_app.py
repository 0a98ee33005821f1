"""The application itself: made by a factory, described in OpenAPI 3.0, with STAC Browser on the same address."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from api.app import create_app
from api.settings import ApiSettings
from versioning.commit import Notes
from versioning.errors import InvalidInput, NotFound


def test_a_catalog_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(NotFound, match="does not exist"):
        create_app(ApiSettings(catalog=str(tmp_path / "nothing")))
    with pytest.raises(NotFound, match="not a stacpin catalog"):
        create_app(ApiSettings(catalog=str(tmp_path)))
    (tmp_path / "stacpin.json").write_text('{"format": 99}')
    with pytest.raises(InvalidInput, match="format 99"):
        create_app(ApiSettings(catalog=str(tmp_path)))


@pytest.mark.parametrize(
    "options", [{"public_url": "example.org"}, {"public_url": "https://a/?x=1"}, {"root_path": "stac"}, {"nonsense": 1}]
)
def test_settings_are_checked(options):
    with pytest.raises(ValueError):
        ApiSettings(catalog="x", **options)


def test_importing_does_nothing():
    code = "import sys, api.server; print([m for m in ('fastapi', 'uvicorn', 'pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_making_an_app_prints_nothing(site):
    code = f"import api.app, api.settings; api.app.create_app(api.settings.ApiSettings(catalog={str(site.folder)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_openapi_is_3_0(client):
    answer = client.get("/api")
    assert answer.headers["content-type"] == "application/vnd.oai.openapi+json;version=3.0"
    document = answer.json()
    assert document["openapi"] == "3.0.3"
    newer = {"const", "prefixItems", "$defs", "patternProperties", "propertyNames", "contentMediaType"}

    def walk(node, names=False):
        if isinstance(node, dict):
            if not names:
                assert not newer & node.keys(), node
                assert node.get("type") != "null", node
                assert not isinstance(node.get("type"), list), node
                assert isinstance(node.get("exclusiveMinimum", True), bool), node
            for key, value in node.items():
                walk(value, names=key in {"properties", "schemas"} and not names)
        elif isinstance(node, list):
            for part in node:
                walk(part)

    walk(document)
    texts = json.dumps(document)
    for ref in {part.split('"')[0] for part in texts.split('"#/components/schemas/')[1:]}:
        assert ref in document["components"]["schemas"], ref
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all("422" not in operation["responses"] for operation in operations)
    parameters = {p["name"] for p in document["paths"]["/search"]["get"]["parameters"]}
    assert {"version", "filter-lang", "collections", "token"} <= parameters
    assert client.get("/api.html").status_code == 200


def test_every_parameter_is_described(client):
    paths = client.get("/api").json()["paths"]
    for path, methods in paths.items():
        for parameter in methods.get("get", {}).get("parameters", []):
            if not path.startswith("/objects"):
                assert parameter.get("description"), (path, parameter["name"])


def test_browser_says_how_to_build_it(client_of, site, tmp_path):
    client = client_of(site, browser_dir=tmp_path / "none")
    for path in ("/browser/", "/browser/collections/landcover"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert "make browser" in answer.text
        assert answer.headers["content-type"].startswith("text/html")
    assert client.get("/browser/config.js").status_code == 200


def test_browser(client_of, site, tmp_path):
    dist = tmp_path / "dist"
    (dist / "js").mkdir(parents=True)
    (dist / "index.html").write_text("<title>the browser</title>")
    (dist / "js/app.123.js").write_text("run()")
    (tmp_path / "secret.txt").write_text("secret")
    client = client_of(site, browser_dir=dist, browser_options={"basemaps": []})
    moved = client.get("/browser", follow_redirects=False)
    assert (moved.status_code, moved.headers["location"]) == (308, "http://api.test/browser/")
    assert client.get("/browser/js/app.123.js").text == "run()"
    assert "immutable" in client.get("/browser/js/app.123.js").headers["cache-control"]
    for path in (
        "/browser/",
        "/browser/index.html",
        "/browser/collections/landcover?.language=de",
        "/browser/js/none.js",
    ):
        answer = client.get(path)
        assert "the browser" in answer.text
        assert answer.headers["cache-control"] == "no-cache"
    for path in ("/browser/..%2fsecret.txt", "/browser/%2e%2e/secret.txt", "/browser/%00", "/browser//etc/passwd"):
        answer = client.get(path)
        assert answer.status_code in {200, 404}
        assert "secret" not in answer.text
        assert "root:" not in answer.text
    script = client.get("/browser/config.js")
    assert script.headers["content-type"].startswith("text/javascript")
    settings = json.loads(script.text.removeprefix("window.STAC_BROWSER_CONFIG = ").rstrip(";\n"))
    assert settings["catalogUrl"] == "http://api.test/"
    assert settings["basemaps"] == []


def coded(*codes: str) -> Notes:
    return Notes(summaries={"proj:code": list(codes)})


def crs_of(client) -> dict[str, str]:
    script = client.get("/browser/config.js").text
    return json.loads(script.removeprefix("window.STAC_BROWSER_CONFIG = ").rstrip(";\n"))["crs"]


def test_the_browser_is_told_the_crss_that_it_would_ask_the_web_for(own_site, client_of):
    built_in = ["EPSG:4326", "EPSG:3857", "EPSG:32613", "EPSG:32760"]
    strange = ["EPSG:999999", "file:///etc/passwd", "+proj=longlat", "ESRI:nothing", "x" * 500]
    client = client_of(own_site)
    assert crs_of(client) == {}
    item = own_site.item("more", 9, west=9.0, when="2024-06-01T00:00:00Z")
    own_site.commit("dem", item, notes=coded(*built_in, *strange, "EPSG:26914", "ESRI:102008"))
    found = crs_of(client)
    assert sorted(found) == ["EPSG:26914", "ESRI:102008"]
    assert found["EPSG:26914"].startswith('PROJCS["NAD83 / UTM zone 14N",GEOGCS[')
    own_site.commit("dem", remove=["more"], notes=Notes(summaries={"proj:code": {"minimum": 1}}))
    assert crs_of(client) == {}


def test_options_add_to_the_browsers_crss(own_site, client_of):
    item = own_site.item("more", 9, west=9.0, when="2024-06-01T00:00:00Z")
    own_site.commit("dem", item, notes=coded("EPSG:26914"))
    client = client_of(own_site, browser_options={"crs": {"EPSG:1": "PROJCS[…]"}})
    assert sorted(crs_of(client)) == ["EPSG:1", "EPSG:26914"]
