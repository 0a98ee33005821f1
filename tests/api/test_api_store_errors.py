"""A store that fails: strangers hear that it does, and the log hears where and why."""

from __future__ import annotations

from typing import Any

import pytest
from running import client_of_app

from api.app import create_app
from api.backend import EmbeddedBackend
from api.settings import ApiSettings
from versioning.catalog import Catalog
from versioning.errors import Forbidden
from versioning.store import open_store
from versioning.store_errors import by_code, no_login, translate

WHERE = "http://127.0.0.1:18333/bucket"
SAID = {
    "gone": f"Generic S3 error: Error performing GET {WHERE}?list-type=2",
    "denied": "<Code>AccessDenied</Code><Message>User arn:aws:iam::12:user/stacpin may not</Message>",
    "expired": "<Code>ExpiredToken</Code><Message>arn:aws:sts::12</Message>",
    "no bucket": "<Code>NoSuchBucket</Code><Message>bucket</Message>",
    "missing": "",
}


class Failing:
    """A store that has worked when the server began."""

    def __init__(self, url: str) -> None:
        self.inner = open_store(url)
        self.error: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not callable(found):
            return found

        def called(*words: Any, **options: Any) -> Any:
            if self.error is not None:
                raise translate(f"{WHERE}/{words[0]}", self.error)
            return found(*words, **options)

        return called


@pytest.fixture
def failing(site):
    """A store that can be made to fail, and a client of the API over it."""
    store = Failing(str(site.folder))
    app = create_app(ApiSettings(catalog=store.url), backend=EmbeddedBackend(Catalog.open(store)))
    return store, client_of_app(app)


@pytest.mark.parametrize("kind", SAID)
@pytest.mark.parametrize("path", ["/collections", "/search", f"/objects/aa/{'a' * 64}.tif"])
def test_what_a_store_says_is_not_for_strangers(failing, caplog, kind, path):
    store, client = failing
    store.error = FileNotFoundError() if kind == "missing" else OSError(SAID[kind])
    answer = client.get(path)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json() == {
        "code": "storage-unavailable",
        "description": "The catalog's store does not answer.",
        "hint": "Try again in a few seconds.",
    }
    told = [each for each in caplog.records if each.name == "api.errors"]
    assert [each.levelname for each in told] == ["ERROR"]
    assert WHERE in told[0].getMessage()


def test_what_the_api_refuses_keeps_its_words(failing):
    _, client = failing
    answer = client.get("/collections/landcover--v9")
    assert (answer.status_code, answer.json()["code"]) == (404, "no-such-version")
    assert "v1 v2 v3" in answer.text


def test_all_that_is_told_of_a_store_is_marked():
    for error in (
        translate("s3://a", OSError("?")),
        by_code("s3://a", "AccessDenied", "?"),
        by_code("s3://a", "SlowDown", "?"),
        no_login("s3://a", OSError("?")),
    ):
        assert error.of_store
    assert not Forbidden("what the API forbids").of_store
